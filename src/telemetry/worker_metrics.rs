//! What a worker counts. Each worker has counters of its own and is the only one to write them, so counting is a plain load
//! and store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::route_counts::{ListenerCounts, RouteCounts, STATUS_CLASSES, status_class};

/// The upper bounds of the latency buckets, in microseconds; above the last there is one more.
pub(super) const BUCKETS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 60_000_000,
];

/// The statuses that the gateway answers itself; others are counted under 0.
pub(super) const REFUSAL_STATUSES: [u16; 18] =
    [0, 400, 401, 403, 404, 405, 408, 413, 414, 417, 421, 429, 431, 500, 501, 502, 503, 504];

/// A count that only rises, or a gauge. Written by one thread, read by any.
///
/// Two threads that write lose counts (nothing worse): a worker's counters are the worker's own.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn increase(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// One less: for what is open now.
    pub fn decrease(&self) {
        self.0.store(self.get().saturating_sub(1), Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A gauge that is one higher until this is dropped: a request or a tunnel may end by being dropped with its connection.
pub struct GaugeGuard<'a>(&'a Count);

impl<'a> GaugeGuard<'a> {
    /// One more.
    pub fn increase(gauge: &'a Count) -> Self {
        gauge.increase();
        Self(gauge)
    }
}

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.decrease();
    }
}

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    pub(super) buckets: [Count; BUCKETS_US.len() + 1],
    pub(super) sum_us: Count,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BUCKETS_US.partition_point(|bound| *bound < us)].increase();
        self.sum_us.add(us);
    }
}

/// What one worker counts. Aligned so that two workers' counters never share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// Connections closed at once because a limit was reached.
    pub connections_refused: Count,
    /// Requests in work now.
    pub requests_open: Count,
    /// Tunnels (upgraded connections) open now.
    pub tunnels_open: Count,
    /// Body bytes from clients.
    pub bytes_received: Count,
    /// Body bytes to clients.
    pub bytes_sent: Count,
    /// Connections made to upstreams.
    pub upstream_connects: Count,
    /// Requests that went over a kept connection.
    pub upstream_reuses: Count,
    /// Requests for which no connection to the upstream could be made.
    pub upstream_failures: Count,
    /// Requests that were sent to another endpoint after they had failed at one.
    pub upstream_retries: Count,
    /// Requests that wait now for a connection to their upstream.
    pub upstream_waiting: Count,
    /// In the order of the configuration.
    pub(super) listeners: Box<[ListenerCounts]>,
    /// By the routes' names. Requests have the counts of theirs at hand, and do not come here.
    pub(super) routes: Mutex<BTreeMap<String, Arc<RouteCounts>>>,
    pub(super) allowed: [Count; STATUS_CLASSES.len()],
    pub(super) refused: [Count; REFUSAL_STATUSES.len()],
    pub(super) causes: Box<[Count]>,
    pub(super) auth_failures: Box<[Count]>,
}

impl WorkerMetrics {
    pub(super) fn new(listeners: usize, causes: usize, auth_failures: usize) -> Self {
        let counts = |number| (0..number).map(|_| Count::default()).collect();
        Self {
            connections_refused: Count::default(),
            requests_open: Count::default(),
            tunnels_open: Count::default(),
            bytes_received: Count::default(),
            bytes_sent: Count::default(),
            upstream_connects: Count::default(),
            upstream_reuses: Count::default(),
            upstream_failures: Count::default(),
            upstream_retries: Count::default(),
            upstream_waiting: Count::default(),
            listeners: (0..listeners).map(|_| ListenerCounts::default()).collect(),
            routes: Mutex::default(),
            allowed: Default::default(),
            refused: Default::default(),
            causes: counts(causes),
            auth_failures: counts(auth_failures),
        }
    }

    /// The counts of the listener with this number in the configuration, which no reload changes.
    pub fn listener(&self, number: usize) -> &ListenerCounts {
        &self.listeners[number]
    }

    /// The counts of these routes, in this order: those that are known by their names, and new ones. Those that neither a
    /// configuration nor a request has any more are forgotten.
    pub fn take_over_routes(&self, names: &[String]) -> Vec<Arc<RouteCounts>> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = names.iter().map(|name| Arc::clone(routes.entry(name.clone()).or_default())).collect();
        routes.retain(|_, counts| Arc::strong_count(counts) > 1);
        counts
    }

    /// Counts a request that the upstream answered with `status`.
    pub fn count_allowed(&self, status: u16) {
        self.allowed[status_class(status)].increase();
    }

    /// Counts a request that the gateway answered itself; `cause` is the place of the cause in the list that
    /// [`Metrics::new`](super::Metrics::new) was given.
    pub fn count_refused(&self, status: u16, cause: usize) {
        self.refused[REFUSAL_STATUSES.binary_search(&status).unwrap_or(0)].increase();
        if let Some(count) = self.causes.get(cause) {
            count.increase();
        }
    }

    /// Counts why a request was not authenticated: the place of the reason in the list that [`Metrics::new`](super::Metrics::new) was given.
    pub fn count_auth_failure(&self, failure: usize) {
        if let Some(count) = self.auth_failures.get(failure) {
            count.increase();
        }
    }
}
