//! Exports spans to a collector by the OpenTelemetry Protocol over HTTP, on a thread of its own.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

use super::otlp_client::{OtlpAnswer, OtlpClient};
use super::otlp_message::{AttributeValue, FieldValue, Message, fields};
use super::spans::{EncodedSpans, SpanCounts, SpanQueue, SpanWriter};
use super::{LogThrottle, TelemetryError};
use crate::config::{OtlpUrl, Tracing};

/// Spans that are sent at once: a few more where the last of them came together.
const BATCH_SPANS: u64 = 512;
/// How long the first span of a batch waits for others.
const BATCH_TIME: Duration = Duration::from_secs(5);
/// How often a batch is sent.
const TRIES: u32 = 4;
/// The pause before the second time; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that a collector can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How much is logged of what a collector says.
const SAID_CHARACTERS: usize = 200;

/// The exporter, seen from outside.
#[derive(Debug)]
pub struct SpanExporter {
    queue: SpanQueue,
    stop: oneshot::Sender<Duration>,
    thread: JoinHandle<()>,
}

impl SpanExporter {
    /// Starts the exporter; the gateway is called `name`.
    pub fn start(tracing: &Tracing, name: &str) -> Result<Self, TelemetryError> {
        let client = OtlpClient::new(&tracing.otlp).map_err(TelemetryError::Roots)?;
        let (queue, receiver) = SpanQueue::new();
        let exporter = Exporter {
            client,
            url: tracing.otlp.clone(),
            resource: resource(name),
            counts: Arc::clone(&queue.counts),
            queued_bytes: queue.queued_bytes(),
            log_throttle: LogThrottle::default(),
        };
        let (stop, stopped) = oneshot::channel();
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(TelemetryError::Exporter)?;
        let thread = std::thread::Builder::new().name("spans".to_owned()).spawn(move || {
            runtime.block_on(exporter.run(receiver, stopped));
            // a look-up of the collector's name may hang for long, and cannot be stopped
            runtime.shutdown_background();
        });
        Ok(Self { queue, stop, thread: thread.map_err(TelemetryError::Exporter)? })
    }

    /// A worker's own way to it.
    pub fn writer(&self) -> SpanWriter {
        SpanWriter { queue: self.queue.clone(), buffer: Vec::new(), count: 0 }
    }

    /// How many spans there were.
    pub fn counts(&self) -> Arc<SpanCounts> {
        Arc::clone(&self.queue.counts)
    }

    /// Sends what was handed over, and ends; waits `at_most` so long. The workers' writers must be gone.
    pub fn stop(self, at_most: Duration) {
        let Self { queue, stop, thread } = self;
        // its end is the end of what is to be exported
        drop(queue);
        // an error would mean that the thread is gone
        let _ = stop.send(at_most);
        if thread.join().is_err() {
            tracing::error!("the thread that exports spans panicked");
        }
    }
}

struct Exporter {
    client: OtlpClient,
    url: OtlpUrl,
    /// `Resource`
    resource: Vec<u8>,
    counts: Arc<SpanCounts>,
    queued_bytes: Arc<AtomicUsize>,
    log_throttle: LogThrottle,
}

/// What came of sending a batch.
enum Outcome {
    /// All but so many were taken; what the collector says of it.
    Taken { rejected: u64, said: String },
    /// It can be sent again.
    Later { after: Option<Duration>, why: String },
    /// It never will be taken.
    Refused(String),
}

impl Exporter {
    /// Exports until all writers are gone, or until the time is over that it gets at the stop.
    async fn run(
        self,
        receiver: mpsc::UnboundedReceiver<EncodedSpans>,
        stopped: oneshot::Receiver<Duration>,
    ) {
        let counts = Arc::clone(&self.counts);
        let queued_bytes = Arc::clone(&self.queued_bytes);
        let mut exporting = pin!(self.export_all(receiver));
        let at_most = tokio::select! {
            () = &mut exporting => return,
            at_most = stopped => at_most.unwrap_or_default(),
        };
        if tokio::time::timeout(at_most, exporting).await.is_err() {
            let bytes = queued_bytes.load(Ordering::Relaxed);
            tracing::warn!(
                bytes,
                dropped_before = counts.dropped(),
                "spans were not exported before the stop"
            );
        }
    }

    async fn export_all(mut self, mut receiver: mpsc::UnboundedReceiver<EncodedSpans>) {
        while let Some(mut batch) = receiver.recv().await {
            let mut is_due = pin!(tokio::time::sleep(BATCH_TIME));
            while batch.count < BATCH_SPANS {
                let next = tokio::select! {
                    next = receiver.recv() => next,
                    () = &mut is_due => None,
                };
                let Some(next) = next else { break };
                batch.bytes.extend_from_slice(&next.bytes);
                batch.count += next.count;
            }
            let bytes = batch.bytes.len();
            self.export(batch).await;
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Sends a batch, again where that may help.
    async fn export(&mut self, batch: EncodedSpans) {
        let message = Bytes::from(request(&self.resource, &batch.bytes));
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        let why = loop {
            let outcome = match self.client.post(message.clone()).await {
                Ok(answer) => outcome_of(&answer),
                Err(error) => Outcome::Later { after: None, why: error.to_string() },
            };
            match outcome {
                Outcome::Taken { rejected, said } => {
                    let rejected = rejected.min(batch.count);
                    self.counts.exported.fetch_add(batch.count - rejected, Ordering::Relaxed);
                    self.counts.dropped.fetch_add(rejected, Ordering::Relaxed);
                    if rejected > 0 || !said.is_empty() {
                        if self.log_throttle.should_log() {
                            tracing::warn!(rejected, "{} says of spans: {said}", self.url);
                        }
                    } else if self.log_throttle.recovered() {
                        tracing::info!("{} takes spans again", self.url);
                    }
                    return;
                }
                Outcome::Later { after, why } => {
                    if tries == TRIES {
                        break why;
                    }
                    tokio::time::sleep(after.unwrap_or(pause).min(LONGEST_PAUSE) + jitter(pause)).await;
                    pause *= 2;
                    tries += 1;
                }
                Outcome::Refused(why) => break why,
            }
        };
        self.counts.dropped.fetch_add(batch.count, Ordering::Relaxed);
        if self.log_throttle.should_log() {
            tracing::warn!(spans = batch.count, "{} does not take spans, which are lost: {why}", self.url);
        }
    }
}

/// As the protocol has it: which answers are final, and which are not.
fn outcome_of(answer: &OtlpAnswer) -> Outcome {
    match answer.status {
        status if status.is_success() => {
            let (rejected, said) = partial_success(&answer.body);
            Outcome::Taken { rejected, said }
        }
        status @ (StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT) => {
            Outcome::Later { after: answer.retry_after, why: format!("status {status}") }
        }
        status => Outcome::Refused(format!("status {status}")),
    }
}

/// `ExportTraceServiceResponse`: how many spans were rejected, and what is said of it. What is no such message says
/// nothing.
fn partial_success(body: &[u8]) -> (u64, String) {
    let mut found = (0, String::new());
    for (field, value) in fields(body) {
        let (1, FieldValue::Bytes(partial)) = (field, value) else { continue };
        for (field, value) in fields(partial) {
            match (field, value) {
                (1, FieldValue::Number(rejected)) => found.0 = rejected,
                (2, FieldValue::Bytes(said)) => {
                    let said = String::from_utf8_lossy(said);
                    found.1 = said.chars().take(SAID_CHARACTERS).flat_map(char::escape_debug).collect();
                }
                _ => {}
            }
        }
    }
    found
}

/// `ExportTraceServiceRequest`
fn request(resource: &[u8], spans: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(resource.len() + spans.len() + 128);
    // `ResourceSpans`
    Message(&mut bytes).message_field(1, |resource_spans| {
        resource_spans.bytes_field(1, resource);
        // `ScopeSpans`
        resource_spans.message_field(2, |scope_spans| {
            // `InstrumentationScope`
            scope_spans.message_field(1, |scope| {
                scope.bytes_field(1, b"portcullis");
                scope.bytes_field(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            scope_spans.0.extend_from_slice(spans);
        });
    });
    bytes
}

/// `Resource`
fn resource(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut resource = Message(&mut bytes);
    for (attribute, value) in [
        ("service.name", "portcullis"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", name),
    ] {
        resource.attribute_field(1, attribute, AttributeValue::Text(value));
    }
    bytes
}

/// Up to a quarter of `pause`, so that gateways that were refused together do not come back together.
fn jitter(pause: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    pause / 4 * (nanos % 256) / 256
}
