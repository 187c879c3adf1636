//! What all workers share: the configuration in use, the authenticator, and how many connections there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::config_snapshot::ConfigSnapshot;
use crate::auth::Authenticator;
use crate::config::Limits;
use crate::model::ClientSource;
use crate::upstream::EndpointCounts;

/// What all workers share.
pub struct SharedState {
    /// What requests are served by.
    pub snapshot: ArcSwap<ConfigSnapshot>,
    /// Who a credential belongs to.
    pub authenticator: Arc<Authenticator>,
    /// What the workers have counted at the upstreams' endpoints.
    pub endpoint_counts: Arc<EndpointCounts>,
    connections: AtomicUsize,
    /// Touched when connections open and close, never by a request.
    connections_by_source: Mutex<HashMap<ClientSource, usize>>,
}

impl SharedState {
    /// The shared state of a new gateway.
    pub fn new(
        snapshot: ConfigSnapshot,
        authenticator: Arc<Authenticator>,
        endpoint_counts: Arc<EndpointCounts>,
    ) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            authenticator,
            endpoint_counts,
            connections: AtomicUsize::new(0),
            connections_by_source: Mutex::default(),
        })
    }

    /// Counts a new connection, unless there are too many already.
    pub(super) fn count_connection(self: &Arc<Self>, limits: &Limits) -> Option<CountedConnection> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(CountedConnection { shared: Arc::clone(self), source: None })
    }
}

/// A connection that counts against the limits until it is dropped.
pub(super) struct CountedConnection {
    shared: Arc<SharedState>,
    /// Where it comes from, once that is known.
    source: Option<ClientSource>,
}

impl CountedConnection {
    /// Counts it for its source. `false`: this source has too many.
    pub(super) fn count_for_source(&mut self, address: IpAddr, limits: &Limits) -> bool {
        let source = ClientSource::of(address);
        self.source = Some(source);
        let mut sources = self.shared.connections_by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sources.entry(source).or_insert(0);
        *count += 1;
        *count <= limits.connections_per_source
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        let Some(source) = self.source else { return };
        let mut sources = self.shared.connections_by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&source);
            }
        }
    }
}
