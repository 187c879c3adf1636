//! What the metrics show beside the workers' own counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::config_status::ConfigStatus;
use super::gateway::Addresses;
use crate::auth::{AuthFailure, Authenticator};
use crate::management::KeysExpiring;
use crate::proxy::REFUSAL_CAUSES;
use crate::telemetry::{
    AccessLog, LabelledValue, MetricFamily, MetricKind, MetricNames, MetricSource, Metrics, SpanExporter,
    WorkerMetrics,
};
use crate::upstream::{EndpointCount, EndpointCounts};

/// The metrics of a gateway with so many workers.
pub(super) fn build(
    workers: usize,
    authenticator: &Arc<Authenticator>,
    (access_log, spans): (&AccessLog, Option<&SpanExporter>),
    keys_expiring: Option<&KeysExpiring>,
    endpoints: &Arc<EndpointCounts>,
    (addresses, status): (&Addresses, &Arc<ConfigStatus>),
) -> (Metrics, Vec<Arc<WorkerMetrics>>) {
    let mut sources: Vec<MetricSource> = authenticator
        .counters()
        .named()
        .map(|(name, _)| {
            let authenticator = Arc::clone(authenticator);
            MetricSource {
                name: "authentication",
                help: "What authentication has done, by what it was",
                label: Some(("event", name.to_owned())),
                kind: MetricKind::Counter,
                read: Box::new(move || {
                    let counters = authenticator.counters();
                    counters.named().find(|(other, _)| *other == name).map_or(0, |(_, value)| value)
                }),
            }
        })
        .collect();
    let queue = Arc::clone(authenticator);
    sources.push(MetricSource {
        name: "argon2_open",
        help: "Secrets that argon2 is verifying, or that wait for it",
        label: None,
        kind: MetricKind::Gauge,
        read: Box::new(move || queue.pending_verifications() as u64),
    });
    let staleness = Arc::clone(authenticator);
    sources.push(MetricSource {
        name: "record_staleness_seconds",
        help: "How long ago the record was last known to be read to its end; 0 while it is followed",
        label: None,
        kind: MetricKind::Gauge,
        read: Box::new(move || staleness.staleness().map_or(0, |age| age.as_secs())),
    });
    sources.push(MetricSource {
        name: "access_log_lines_dropped",
        help: "Lines of the access log that were lost because its target was too slow",
        label: None,
        kind: MetricKind::Counter,
        read: Box::new(access_log.dropped_reader()),
    });
    if let Some(spans) = spans {
        let (exported, dropped) = (spans.counts(), spans.counts());
        sources.push(MetricSource {
            name: "spans_exported",
            help: "Spans that the collector has taken",
            label: None,
            kind: MetricKind::Counter,
            read: Box::new(move || exported.exported()),
        });
        sources.push(MetricSource {
            name: "spans_dropped",
            help: "Spans that were lost because too many waited for the collector, or it did not take them",
            label: None,
            kind: MetricKind::Counter,
            read: Box::new(move || dropped.dropped()),
        });
    }
    for (within, count) in keys_expiring.into_iter().flat_map(KeysExpiring::counts) {
        sources.push(MetricSource {
            name: "keys_expiring",
            help: "Active keys that end by themselves within this time; at most 100000 are counted",
            label: Some(("within", within)),
            kind: MetricKind::Gauge,
            read: Box::new(move || count.load(Ordering::Relaxed)),
        });
    }
    let mut families = endpoint_metrics(endpoints);
    families.extend(config_metrics(status));
    let names = MetricNames {
        listeners: addresses.listeners.iter().map(|(address, _)| address.to_string()).collect(),
        causes: REFUSAL_CAUSES,
        auth_failures: AuthFailure::NAMES,
    };
    Metrics::new(workers, names, sources, families)
}

/// How the last reload went, until when the certificates are valid, and whether changed ones are in use.
fn config_metrics(status: &Arc<ConfigStatus>) -> [MetricFamily; 4] {
    let gauge = |name, help, read: fn(&ConfigStatus) -> Vec<LabelledValue>| {
        let status = Arc::clone(status);
        MetricFamily { name, help, kind: MetricKind::Gauge, read: Box::new(move || read(&status)) }
    };
    [
        gauge(
            "config_last_reload_successful",
            "1 if the last reload was taken over, 0 if it was refused",
            |status| vec![(Vec::new(), u64::from(status.last_reload_succeeded.load(Ordering::Relaxed)))],
        ),
        gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in use was taken over, since 1970",
            |status| vec![(Vec::new(), status.taken_over_at.load(Ordering::Relaxed))],
        ),
        gauge(
            "certificate_expiry_timestamp_seconds",
            "When a certificate ends that a listener shows, since 1970",
            |status| {
                let ends = status.certificate_ends().into_iter();
                ends.map(|of| (vec![("listener", of.listener), ("certificate", of.file)], of.end)).collect()
            },
        ),
        gauge(
            "certificate_last_reload_successful",
            "1 if what the file holds is in use; 0 if it changed, alone or its key, to something that cannot be used",
            |status| {
                let files = status.certificate_files().into_iter();
                files.map(|(file, is_current)| (vec![("certificate", file)], u64::from(is_current))).collect()
            },
        ),
    ]
}

/// What the workers see of each address of the upstreams.
fn endpoint_metrics(endpoints: &Arc<EndpointCounts>) -> Vec<MetricFamily> {
    let family = |name, help, kind, value: fn(EndpointCount) -> u64| {
        let endpoints = Arc::clone(endpoints);
        let read = move || {
            let sums = endpoints.sums().into_iter();
            sums.map(|(of, count)| {
                let mut labels = vec![("upstream", of.upstream), ("endpoint", of.endpoint)];
                labels.extend(of.address.map(|address| ("address", address.ip().to_string())));
                (labels, value(count))
            })
            .collect()
        };
        MetricFamily { name, help, kind, read: Box::new(read) }
    };
    vec![
        family(
            "upstream_endpoint_up",
            "Whether requests are sent to the endpoint; 0 while it is down by its health check, or a worker has it ejected",
            MetricKind::Gauge,
            |count| u64::from(count.ejected == 0 && count.down == 0),
        ),
        family(
            "upstream_endpoint_requests",
            "Requests that were sent to the endpoint, or for which a connection was tried",
            MetricKind::Counter,
            |count| count.requests,
        ),
        family(
            "upstream_endpoint_failures",
            "Requests that failed at the endpoint: no connection, no answer, or 502, 503 or 504",
            MetricKind::Counter,
            |count| count.failures,
        ),
        family(
            "upstream_endpoint_ejections",
            "How often a worker ejected the endpoint",
            MetricKind::Counter,
            |count| count.ejections,
        ),
    ]
}
