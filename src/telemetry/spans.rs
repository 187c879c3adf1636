//! Spans of recorded traces, from the workers to the exporter.
//!
//! A worker encodes spans into a buffer of its own; full buffers go to the exporter's thread. What waits there is bounded
//! in bytes. What does not fit is dropped and counted, never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;

pub use super::otlp_message::AttributeValue;
use super::otlp_message::Message;

/// Spans that a worker hands over at once, at most.
const BUFFERED_SPANS: u64 = 64;
/// What may wait for a collector that is slow or away, with what is being sent: some ten thousand spans.
const QUEUED_BYTES: usize = 4 << 20;

/// What a span stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that was served.
    Server = 2,
    /// A request that was sent to an upstream.
    Client = 3,
}

/// What is told of one request, or of one attempt to have it answered by an upstream.
///
/// There is no field for the query, for headers or for the body: they may hold secrets.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// The trace that it belongs to.
    pub trace_id: u128,
    /// Its own id.
    pub id: u64,
    /// The id of the span that it is a part of.
    pub parent_id: Option<u64>,
    /// Whether that is another program's.
    pub has_remote_parent: bool,
    /// What it stands for.
    pub kind: SpanKind,
    /// Of few different values.
    pub name: &'a str,
    /// In nanoseconds since 1970.
    pub start_unix_nanos: u64,
    /// In nanoseconds since 1970.
    pub end_unix_nanos: u64,
    /// Names as in OpenTelemetry's semantic conventions.
    pub attributes: &'a [(&'static str, AttributeValue<'a>)],
    /// Whether it failed.
    pub is_error: bool,
}

/// How many spans there were.
#[derive(Debug, Default)]
pub struct SpanCounts {
    pub(super) exported: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl SpanCounts {
    /// Spans that a collector has taken.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that were lost: too many waited, or no collector took them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Encoded spans: fields 2 of a `ScopeSpans`.
#[derive(Debug)]
pub(super) struct EncodedSpans {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u64,
}

/// The way to the exporter.
#[derive(Debug, Clone)]
pub(super) struct SpanQueue {
    sender: mpsc::UnboundedSender<EncodedSpans>,
    pub(super) counts: Arc<SpanCounts>,
    /// Of all spans that were handed over and are neither exported nor dropped.
    queued_bytes: Arc<AtomicUsize>,
}

impl SpanQueue {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<EncodedSpans>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, counts: Arc::default(), queued_bytes: Arc::default() }, receiver)
    }

    fn push(&self, spans: EncodedSpans) {
        let bytes = spans.bytes.len();
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let count = spans.count;
        if before + bytes > QUEUED_BYTES || self.sender.send(spans).is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What the exporter frees the queue by.
    pub(super) fn queued_bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.queued_bytes)
    }
}

/// One worker's way to the exporter.
#[derive(Debug)]
pub struct SpanWriter {
    pub(super) queue: SpanQueue,
    pub(super) buffer: Vec<u8>,
    pub(super) count: u64,
}

impl SpanWriter {
    /// Adds a span. It is handed over with others, or at the next [`SpanWriter::flush`].
    pub fn record(&mut self, span: &Span<'_>) {
        Message(&mut self.buffer).message_field(2, |message| write_span(message, span));
        self.count += 1;
        if self.count >= BUFFERED_SPANS {
            self.flush();
        }
    }

    /// Hands over what the buffer holds. A worker calls this a few times a second.
    pub fn flush(&mut self) {
        if self.count > 0 {
            let (bytes, count) = (std::mem::take(&mut self.buffer), std::mem::take(&mut self.count));
            self.queue.push(EncodedSpans { bytes, count });
        }
    }
}

impl Drop for SpanWriter {
    fn drop(&mut self) {
        self.flush();
    }
}

/// `Span`
fn write_span(message: &mut Message<'_>, span: &Span<'_>) {
    /// Of `SpanFlags`: it is known whether the parent is another program's; and it is.
    const HAS_IS_REMOTE: u32 = 0x100;
    const IS_REMOTE: u32 = 0x200;
    const SAMPLED: u32 = 1;
    /// Of `Status`.
    const ERROR: u64 = 2;
    message.bytes_field(1, &span.trace_id.to_be_bytes());
    message.bytes_field(2, &span.id.to_be_bytes());
    if let Some(parent_id) = span.parent_id {
        message.bytes_field(4, &parent_id.to_be_bytes());
    }
    message.bytes_field(5, span.name.as_bytes());
    message.varint_field(6, span.kind as u64);
    message.fixed64_field(7, span.start_unix_nanos);
    message.fixed64_field(8, span.end_unix_nanos);
    for (name, value) in span.attributes {
        message.attribute_field(9, name, *value);
    }
    if span.is_error {
        message.message_field(15, |status| status.varint_field(3, ERROR));
    }
    let remote = if span.has_remote_parent { IS_REMOTE } else { 0 };
    message.fixed32_field(16, HAS_IS_REMOTE | remote | SAMPLED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (queue, mut receiver) = SpanQueue::new();
        let counts = Arc::clone(&queue.counts);
        let chunk = || EncodedSpans { bytes: vec![0; QUEUED_BYTES / 4], count: 10 };
        (0..6).for_each(|_| queue.push(chunk()));
        assert_eq!(counts.dropped(), 20);
        // what was exported makes room
        let first = receiver.try_recv().unwrap();
        queue.queued_bytes().fetch_sub(first.bytes.len(), Ordering::Relaxed);
        (0..2).for_each(|_| queue.push(chunk()));
        assert_eq!(counts.dropped(), 30);
        drop(receiver);
        queue.push(EncodedSpans { bytes: vec![], count: 1 });
        assert_eq!(counts.dropped(), 31, "nobody takes them");
    }
}
