//! What a worker counts of one route or listener.

use super::worker_metrics::{Count, Histogram};

/// The classes of statuses, as metrics name them. A request without an answer is in the first.
pub(super) const STATUS_CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The place of a status in [`STATUS_CLASSES`].
pub(super) fn status_class(status: u16) -> usize {
    let class = usize::from(status / 100);
    if class < STATUS_CLASSES.len() { class } else { 0 }
}

/// What one worker has counted of the requests of one route.
#[derive(Debug, Default)]
pub struct RouteCounts {
    pub(super) requests: [Count; STATUS_CLASSES.len()],
    /// From a request's head to the head of the upstream's answer.
    pub latency: Histogram,
}

impl RouteCounts {
    /// Counts a request that is over, by the status of the answer that the client got; 0: none.
    pub fn count_request(&self, status: u16) {
        self.requests[status_class(status)].increase();
    }
}

/// What one worker has counted at one listener.
#[derive(Debug, Default)]
pub struct ListenerCounts {
    /// Connections taken.
    pub connections_accepted: Count,
    /// Client connections open now.
    pub connections_open: Count,
    /// TLS handshakes that failed or took too long.
    pub tls_failures: Count,
    /// PROXY protocol headers that were missing, malformed or late.
    pub proxy_protocol_failures: Count,
}
