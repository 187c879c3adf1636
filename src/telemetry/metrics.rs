//! All metrics in the text formats that Prometheus reads: the workers' counters, summed when somebody reads them, and values
//! that other modules keep.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::metrics_format::{MetricsFormat, to_prometheus};
use super::process_metrics::ProcessMetrics;
use super::request_history::{Outcome, OutcomeCounts};
use super::route_counts::{ListenerCounts, RouteCounts, STATUS_CLASSES};
use super::worker_metrics::{BUCKETS_US, Count, Histogram, REFUSAL_STATUSES, WorkerMetrics};

/// What a value of a [`MetricSource`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// A value that another module keeps, read when the metrics are read.
pub struct MetricSource {
    /// Without the prefix `portcullis_` and, for counters, without `_total`.
    pub name: &'static str,
    /// One sentence without a full stop at its end. Sources of one name stand together and share the first one's.
    pub help: &'static str,
    /// A label that tells sources of one name apart.
    pub label: Option<(&'static str, String)>,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Reads the value.
    pub read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for MetricSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("label", &self.label).finish_non_exhaustive()
    }
}

/// Values that another module keeps under labels that come and go, read when the metrics are read.
pub struct MetricFamily {
    /// As in [`MetricSource`].
    pub name: &'static str,
    /// One sentence without a full stop at its end.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Reads all values, each with its labels.
    pub read: Box<dyn Fn() -> Vec<LabelledValue> + Send + Sync>,
}

/// The labels of a value, and the value.
pub type LabelledValue = (Vec<(&'static str, String)>, u64);

impl fmt::Debug for MetricFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricFamily").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the workers count by number, by the names that the metrics give it.
#[derive(Debug, Clone)]
pub struct MetricNames {
    /// The listeners' addresses.
    pub listeners: Vec<String>,
    /// The causes of refusals.
    pub causes: &'static [&'static str],
    /// Why requests are not authenticated.
    pub auth_failures: &'static [&'static str],
}

/// The metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    workers: Vec<Arc<WorkerMetrics>>,
}

impl Metrics {
    /// The metrics of `workers` threads and of `sources`.
    pub fn new(
        workers: usize,
        names: MetricNames,
        sources: Vec<MetricSource>,
        families: Vec<MetricFamily>,
    ) -> (Self, Vec<Arc<WorkerMetrics>>) {
        let MetricNames { listeners, causes, auth_failures } = &names;
        let worker = || Arc::new(WorkerMetrics::new(listeners.len(), causes.len(), auth_failures.len()));
        let workers: Vec<_> = (0..workers).map(|_| worker()).collect();
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut registry = Registry::default();
        registry.sub_registry_with_prefix("portcullis").register_collector(Box::new(Gathered {
            workers: workers.clone(),
            names,
            sources,
            families,
            started,
        }));
        registry.register_collector(Box::new(ProcessMetrics { started: started.as_secs_f64() }));
        (Self { registry, workers: workers.clone() }, workers)
    }

    /// All values as text.
    pub fn text(&self, format: MetricsFormat) -> String {
        let mut text = String::new();
        // writing to a string cannot fail, and no value refuses to be written
        let _ = encode(&mut text, &self.registry);
        match format {
            MetricsFormat::OpenMetrics => text,
            MetricsFormat::Prometheus => to_prometheus(&text),
        }
    }

    /// How many requests have ended since the start, by what became of them.
    pub fn outcomes(&self) -> OutcomeCounts {
        let mut counts = OutcomeCounts::default();
        for worker in &self.workers {
            for (class, count) in worker.allowed.iter().enumerate() {
                counts.add(Outcome::of_class(class), count.get());
            }
            for (status, count) in REFUSAL_STATUSES.into_iter().zip(&worker.refused) {
                counts.add(Outcome::of_refusal(status), count.get());
            }
        }
        counts
    }
}

/// Sums and writes.
#[derive(Debug)]
struct Gathered {
    workers: Vec<Arc<WorkerMetrics>>,
    names: MetricNames,
    sources: Vec<MetricSource>,
    families: Vec<MetricFamily>,
    started: Duration,
}

type NoExemplar<'a> = Option<&'a Exemplar<NoLabelSet, u64>>;
pub(super) const NO_EXEMPLAR: NoExemplar<'static> = None;

impl Gathered {
    fn sum(&self, count: impl Fn(&WorkerMetrics) -> &Count) -> u64 {
        self.workers.iter().map(|worker| count(worker).get()).fold(0, u64::wrapping_add)
    }

    fn one(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        kind: MetricKind,
        (name, help): (&str, &str),
        count: impl Fn(&WorkerMetrics) -> &Count,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, metric_type(kind))?;
        write_value(&mut metric, kind, self.sum(count))
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that were let through, by the class of the upstream's answer";
        let mut allowed = encoder.encode_descriptor("requests_allowed", help, None, MetricType::Counter)?;
        for (class, name) in STATUS_CLASSES.into_iter().enumerate() {
            let labels = [("class", name)];
            write_value(
                &mut allowed.encode_family(&labels)?,
                MetricKind::Counter,
                self.sum(|worker| &worker.allowed[class]),
            )?;
        }
        let help = "Requests that the gateway answered itself, by status";
        let mut refused = encoder.encode_descriptor("requests_refused", help, None, MetricType::Counter)?;
        for (at, status) in REFUSAL_STATUSES.into_iter().enumerate() {
            let name = if status == 0 { "other".to_owned() } else { status.to_string() };
            let labels = [("status", name.as_str())];
            write_value(
                &mut refused.encode_family(&labels)?,
                MetricKind::Counter,
                self.sum(|worker| &worker.refused[at]),
            )?;
        }
        let help = "Requests that the gateway answered itself, by cause";
        let mut causes = encoder.encode_descriptor("refusals", help, None, MetricType::Counter)?;
        for (at, cause) in self.names.causes.iter().enumerate() {
            let labels = [("cause", *cause)];
            write_value(
                &mut causes.encode_family(&labels)?,
                MetricKind::Counter,
                self.sum(|worker| &worker.causes[at]),
            )?;
        }
        let help = "Requests that were answered with 401, by what is wrong with their key";
        let mut failures =
            encoder.encode_descriptor("authentication_failures", help, None, MetricType::Counter)?;
        for (at, failure) in self.names.auth_failures.iter().enumerate() {
            let labels = [("reason", *failure)];
            write_value(
                &mut failures.encode_family(&labels)?,
                MetricKind::Counter,
                self.sum(|worker| &worker.auth_failures[at]),
            )?;
        }
        Ok(())
    }

    fn listeners(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Family = (&'static str, &'static str, &'static str, MetricKind, fn(&ListenerCounts) -> &Count);
        let sum = |number: usize, count: fn(&ListenerCounts) -> &Count| {
            self.sum(|worker| count(worker.listener(number)))
        };
        let families: [Family; 4] = [
            (
                "connections_accepted",
                "listener_connections_accepted",
                "Connections taken",
                MetricKind::Counter,
                |counts| &counts.connections_accepted,
            ),
            (
                "connections_open",
                "listener_connections_open",
                "Client connections open now",
                MetricKind::Gauge,
                |counts| &counts.connections_open,
            ),
            (
                "tls_failures",
                "listener_tls_failures",
                "TLS handshakes that failed or took too long",
                MetricKind::Counter,
                |counts| &counts.tls_failures,
            ),
            (
                "proxy_protocol_failures",
                "listener_proxy_protocol_failures",
                "Connections closed because their PROXY protocol header was missing, malformed or late",
                MetricKind::Counter,
                |counts| &counts.proxy_protocol_failures,
            ),
        ];
        for (total, by_listener, help, kind, count) in families {
            let listeners = self.names.listeners.iter().enumerate();
            let sums: Vec<_> = listeners.map(|(at, name)| (name.as_str(), sum(at, count))).collect();
            let total_of_all = sums.iter().map(|(_, sum)| sum).sum();
            write_value(
                &mut encoder.encode_descriptor(total, help, None, metric_type(kind))?,
                kind,
                total_of_all,
            )?;
            let help = format!("{help}, by listener");
            let mut metric = encoder.encode_descriptor(by_listener, &help, None, metric_type(kind))?;
            for (listener, sum) in sums {
                write_value(&mut metric.encode_family(&[("listener", listener)])?, kind, sum)?;
            }
        }
        Ok(())
    }

    fn routes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut routes = BTreeMap::<String, Vec<Arc<RouteCounts>>>::new();
        for worker in &self.workers {
            // a worker waits for it only when it takes a configuration over
            let of_worker = worker.routes.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, counts) in of_worker.iter() {
                routes.entry(name.clone()).or_default().push(Arc::clone(counts));
            }
        }
        let help = "Requests, by route and by the class of the answer that the client got";
        let mut requests = encoder.encode_descriptor("route_requests", help, None, MetricType::Counter)?;
        for (route, counts) in &routes {
            for (class, name) in STATUS_CLASSES.into_iter().enumerate() {
                let sum = counts.iter().map(|counts| counts.requests[class].get()).sum();
                let labels = [("route", route.as_str()), ("class", name)];
                write_value(&mut requests.encode_family(&labels)?, MetricKind::Counter, sum)?;
            }
        }
        let help = "From a request's head to the head of the upstream's answer";
        let all = HistogramSum::of(routes.values().flatten().map(|counts| &counts.latency));
        all.write(&mut encoder.encode_descriptor(
            "request_duration_seconds",
            help,
            None,
            MetricType::Histogram,
        )?)?;
        let help = format!("{help}, by route");
        let name = "route_request_duration_seconds";
        let mut by_route = encoder.encode_descriptor(name, &help, None, MetricType::Histogram)?;
        for (route, counts) in &routes {
            let sum = HistogramSum::of(counts.iter().map(|counts| &counts.latency));
            sum.write(&mut by_route.encode_family(&[("route", route.as_str())])?)?;
        }
        Ok(())
    }

    fn sources(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for family in self.sources.chunk_by(|a, b| a.name == b.name) {
            let Some(first) = family.first() else { continue };
            let mut metric =
                encoder.encode_descriptor(first.name, first.help, None, metric_type(first.kind))?;
            for source in family {
                let value = (source.read)();
                match &source.label {
                    Some((name, value_of)) => write_value(
                        &mut metric.encode_family(&[(*name, value_of.as_str())])?,
                        first.kind,
                        value,
                    )?,
                    None => write_value(&mut metric, first.kind, value)?,
                }
            }
        }
        Ok(())
    }
}

impl Gathered {
    fn families(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.families {
            let mut metric =
                encoder.encode_descriptor(family.name, family.help, None, metric_type(family.kind))?;
            for (labels, value) in (family.read)() {
                if labels.is_empty() {
                    write_value(&mut metric, family.kind, value)?;
                } else {
                    write_value(&mut metric.encode_family(&labels)?, family.kind, value)?;
                }
            }
        }
        Ok(())
    }
}

/// Several histograms as one.
#[derive(Default)]
struct HistogramSum {
    buckets: [u64; BUCKETS_US.len() + 1],
    sum_us: u64,
}

impl HistogramSum {
    fn of<'h>(histograms: impl Iterator<Item = &'h Histogram>) -> Self {
        let mut sum = Self::default();
        for histogram in histograms {
            sum.buckets.iter_mut().zip(&histogram.buckets).for_each(|(sum, count)| *sum += count.get());
            sum.sum_us = sum.sum_us.wrapping_add(histogram.sum_us.get());
        }
        sum
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds as f64 are what the format wants")]
    fn write(&self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        let bounds = BUCKETS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.buckets).collect();
        let count = self.buckets.iter().sum();
        metric.encode_histogram::<NoLabelSet>(self.sum_us as f64 / 1e6, count, &buckets, None)
    }
}

fn metric_type(kind: MetricKind) -> MetricType {
    match kind {
        MetricKind::Counter => MetricType::Counter,
        MetricKind::Gauge => MetricType::Gauge,
    }
}

fn write_value(metric: &mut MetricEncoder<'_>, kind: MetricKind, value: u64) -> fmt::Result {
    match kind {
        MetricKind::Counter => metric.encode_counter(&value, NO_EXEMPLAR),
        MetricKind::Gauge => metric.encode_gauge(&value),
    }
}

impl Collector for Gathered {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        encoder
            .encode_descriptor("build", "The version that runs", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        encoder
            .encode_descriptor(
                "start_time_seconds",
                "When the process started, since 1970",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&self.started.as_secs())?;

        let counter = MetricKind::Counter;
        self.listeners(encoder)?;
        let help = ("connections_refused", "Connections closed at once because a limit was reached");
        self.one(encoder, counter, help, |worker| &worker.connections_refused)?;
        let help = ("received_bytes", "Body bytes from clients");
        self.one(encoder, counter, help, |worker| &worker.bytes_received)?;
        let help = ("sent_bytes", "Body bytes to clients");
        self.one(encoder, counter, help, |worker| &worker.bytes_sent)?;
        let help = ("upstream_connects", "Connections made to upstreams");
        self.one(encoder, counter, help, |worker| &worker.upstream_connects)?;
        let help = ("upstream_reuses", "Requests that went over a kept connection");
        self.one(encoder, counter, help, |worker| &worker.upstream_reuses)?;
        let help = ("upstream_failures", "Requests for which no connection to the upstream could be made");
        self.one(encoder, counter, help, |worker| &worker.upstream_failures)?;
        let help =
            ("upstream_retries", "Requests that were sent to another endpoint after they failed at one");
        self.one(encoder, counter, help, |worker| &worker.upstream_retries)?;

        let gauge = MetricKind::Gauge;
        let help = ("requests_open", "Requests in work now");
        self.one(encoder, gauge, help, |worker| &worker.requests_open)?;
        let help = ("upstream_waiting", "Requests that wait now for a connection to their upstream");
        self.one(encoder, gauge, help, |worker| &worker.upstream_waiting)?;
        let help = ("tunnels_open", "Tunnels open now");
        self.one(encoder, gauge, help, |worker| &worker.tunnels_open)?;

        self.requests(encoder)?;
        self.routes(encoder)?;
        self.sources(encoder)?;
        self.families(encoder)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const NAMES: MetricNames = MetricNames { listeners: Vec::new(), causes: &["x"], auth_failures: &["y"] };

    #[test]
    fn workers_are_summed() {
        let names = MetricNames {
            listeners: vec!["a:1".to_owned(), "b:2".to_owned()],
            causes: &["no_key", "wrong_environment"],
            auth_failures: &["unknown", "wrong_secret"],
        };
        let (metrics, workers) = Metrics::new(2, names, Vec::new(), Vec::new());
        let routes = ["/v1".to_owned(), "/v2".to_owned()];
        let routes = [&workers[0], &workers[1]].map(|worker| worker.take_over_routes(&routes));
        for worker in &workers {
            worker.count_allowed(204);
            worker.listener(1).connections_open.increase();
            worker.bytes_sent.add(500);
        }
        workers[0].listener(1).connections_open.decrease();
        workers[0].listener(0).connections_open.increase();
        workers[1].count_refused(403, 1);
        workers[1].count_refused(599, 0);
        for worker in &workers {
            worker.count_auth_failure(1);
        }
        routes[0][0].latency.observe(Duration::from_micros(100));
        routes[1][0].latency.observe(Duration::from_millis(3));
        routes[1][1].latency.observe(Duration::from_mins(10));
        routes[0][0].count_request(404);
        routes[1][0].count_request(403);
        routes[1][0].count_request(0);
        let text = metrics.text(MetricsFormat::OpenMetrics);
        for line in [
            "portcullis_requests_allowed_total{class=\"2xx\"} 2",
            "portcullis_requests_allowed_total{class=\"5xx\"} 0",
            "portcullis_requests_refused_total{status=\"403\"} 1",
            "portcullis_requests_refused_total{status=\"other\"} 1",
            "portcullis_refusals_total{cause=\"wrong_environment\"} 1",
            "portcullis_refusals_total{cause=\"no_key\"} 1",
            "portcullis_authentication_failures_total{reason=\"wrong_secret\"} 2",
            "portcullis_authentication_failures_total{reason=\"unknown\"} 0",
            "portcullis_connections_open 2",
            "portcullis_listener_connections_open{listener=\"a:1\"} 1",
            "portcullis_listener_connections_open{listener=\"b:2\"} 1",
            "portcullis_route_requests_total{route=\"/v1\",class=\"4xx\"} 2",
            "portcullis_route_requests_total{route=\"/v1\",class=\"other\"} 1",
            "portcullis_route_request_duration_seconds_count{route=\"/v1\"} 2",
            "portcullis_route_request_duration_seconds_bucket{le=\"+Inf\",route=\"/v2\"} 1",
            "portcullis_sent_bytes_total 1000",
            "portcullis_request_duration_seconds_count 3",
            "portcullis_request_duration_seconds_bucket{le=\"0.0001\"} 1",
            "portcullis_request_duration_seconds_bucket{le=\"0.0025\"} 1",
            "portcullis_request_duration_seconds_bucket{le=\"0.005\"} 2",
            "portcullis_request_duration_seconds_bucket{le=\"+Inf\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_route_keeps_its_counts_over_a_reload_and_one_that_is_gone_is_forgotten() {
        let (metrics, workers) = Metrics::new(1, NAMES, Vec::new(), Vec::new());
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let routes = workers[0].take_over_routes(&names(&["/a", "/b"]));
        for route in &routes {
            route.count_request(200);
        }
        let next = workers[0].take_over_routes(&names(&["/c", "/b"]));
        next[1].count_request(200);
        let has = |line: &str| metrics.text(MetricsFormat::Prometheus).lines().any(|found| found == line);
        assert!(has("portcullis_route_requests_total{route=\"/b\",class=\"2xx\"} 2"));
        // a request may still have it
        assert!(has("portcullis_route_requests_total{route=\"/a\",class=\"2xx\"} 1"));
        drop(routes);
        drop(workers[0].take_over_routes(&names(&["/b"])));
        assert!(!metrics.text(MetricsFormat::Prometheus).contains("route=\"/a\""));
    }

    #[test]
    fn sources_of_one_name_are_one_family() {
        let value = Arc::new(AtomicU64::new(7));
        let read = Arc::clone(&value);
        let step = |label, read: Box<dyn Fn() -> u64 + Send + Sync>| MetricSource {
            name: "authentications",
            help: "Verified keys, by step",
            label: Some(("step", String::from(label))),
            kind: MetricKind::Counter,
            read,
        };
        let sources = vec![
            step("memory", Box::new(move || read.load(Ordering::Relaxed))),
            step("argon2", Box::new(|| 1)),
            MetricSource {
                name: "keys_cached",
                help: "Keys",
                label: None,
                kind: MetricKind::Gauge,
                read: Box::new(|| 3),
            },
        ];
        let (metrics, _) = Metrics::new(0, NAMES, sources, Vec::new());
        value.store(8, Ordering::Relaxed);
        let text = metrics.text(MetricsFormat::OpenMetrics);
        assert_eq!(text.matches("# TYPE portcullis_authentications counter").count(), 1, "{text}");
        assert!(text.contains("portcullis_authentications_total{step=\"memory\"} 8\n"), "{text}");
        assert!(text.contains("portcullis_authentications_total{step=\"argon2\"} 1\n"), "{text}");
        assert!(text.contains("portcullis_keys_cached 3\n"), "{text}");
    }
}
