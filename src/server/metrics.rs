//! What the metrics show beside the workers' own counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::auth::{AuthFailure, Authenticator};
use crate::management::KeysExpiring;
use crate::proxy::REFUSAL_CAUSES;
use crate::telemetry::{AccessLog, MetricKind, MetricSource, Metrics, WorkerMetrics};

/// The metrics of a gateway with so many workers.
pub(super) fn build(
    workers: usize,
    authenticator: &Arc<Authenticator>,
    access_log: &AccessLog,
    keys_expiring: Option<&KeysExpiring>,
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
    for (within, count) in keys_expiring.into_iter().flat_map(KeysExpiring::counts) {
        sources.push(MetricSource {
            name: "keys_expiring",
            help: "Active keys that end by themselves within this time; at most 100000 are counted",
            label: Some(("within", within)),
            kind: MetricKind::Gauge,
            read: Box::new(move || count.load(Ordering::Relaxed)),
        });
    }
    Metrics::new(workers, REFUSAL_CAUSES, AuthFailure::NAMES, sources)
}
