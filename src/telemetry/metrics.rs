//! The metrics of the process, as text in the formats that Prometheus reads.

use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::metric_source::{MetricFamily, MetricNames, MetricSource};
use super::metrics_collector::MetricsCollector;
use super::metrics_format::{MetricsFormat, to_prometheus};
use super::process_metrics::ProcessMetrics;
use super::request_history::{Outcome, OutcomeCounts};
use super::worker_metrics::{REFUSAL_STATUSES, WorkerMetrics};

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
        registry.sub_registry_with_prefix("portcullis").register_collector(Box::new(MetricsCollector {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::super::metric_source::MetricKind;
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
