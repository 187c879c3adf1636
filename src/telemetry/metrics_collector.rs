//! Collects the values of all metrics when somebody asks: sums the workers' counters, reads what other modules keep, and
//! hands each to the encoder with its name and its help.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::metric_source::{MetricFamily, MetricKind, MetricNames, MetricSource};
use super::route_counts::{ListenerCounts, RouteCounts, STATUS_CLASSES};
use super::worker_metrics::{BUCKETS_US, Count, Histogram, REFUSAL_STATUSES, WorkerMetrics};

/// What the metrics are collected from.
#[derive(Debug)]
pub(super) struct MetricsCollector {
    pub(super) workers: Vec<Arc<WorkerMetrics>>,
    pub(super) names: MetricNames,
    pub(super) sources: Vec<MetricSource>,
    pub(super) families: Vec<MetricFamily>,
    /// When the process started, since 1970.
    pub(super) started: Duration,
}

type NoExemplar<'a> = Option<&'a Exemplar<NoLabelSet, u64>>;
pub(super) const NO_EXEMPLAR: NoExemplar<'static> = None;

impl MetricsCollector {
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

    /// A family of counters that differ in one label: one for each value, in the order in which workers count them.
    fn counters<'v>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        (label, values): (&str, impl IntoIterator<Item = &'v str>),
        count: impl Fn(&WorkerMetrics, usize) -> &Count,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (at, value) in values.into_iter().enumerate() {
            let sum = self.sum(|worker| count(worker, at));
            write_value(&mut family.encode_family(&[(label, value)])?, MetricKind::Counter, sum)?;
        }
        Ok(())
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that were let through, by the class of the upstream's answer";
        self.counters(encoder, ("requests_allowed", help), ("class", STATUS_CLASSES), |worker, at| {
            &worker.allowed[at]
        })?;
        let help = "Requests that the gateway answered itself, by status";
        let statuses = REFUSAL_STATUSES.map(|status| match status {
            0 => "other".to_owned(),
            status => status.to_string(),
        });
        let statuses = statuses.iter().map(String::as_str);
        self.counters(encoder, ("requests_refused", help), ("status", statuses), |worker, at| {
            &worker.refused[at]
        })?;
        let help = "Requests that the gateway answered itself, by cause";
        let causes = self.names.causes.iter().copied();
        self.counters(encoder, ("refusals", help), ("cause", causes), |worker, at| &worker.causes[at])?;
        let help = "Requests that were answered with 401, by what is wrong with their key";
        let failures = self.names.auth_failures.iter().copied();
        self.counters(encoder, ("authentication_failures", help), ("reason", failures), |worker, at| {
            &worker.auth_failures[at]
        })
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

impl Collector for MetricsCollector {
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
