//! One address that an upstream's requests go to, and one worker's connections there.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::destination_state::{DestinationState, DestinationStates};
use super::http2_connections::{Http2Connections, StreamSlot};
use super::observed_addresses::{CheckedHealth, ObservedAddress};
use super::prepared_upstream::Upstream;
use crate::wire::Http1Peer;

/// One address of an endpoint, for one worker.
pub(super) struct Destination {
    /// Its endpoint's number in the upstream.
    pub(super) endpoint: usize,
    /// `None`: its name was not looked up yet, and is with each connection; or it is a Unix socket.
    pub(super) address: Option<SocketAddr>,
    /// What the health checks say of it.
    pub(super) health: Arc<CheckedHealth>,
    pub(super) idle: RefCell<Vec<Idle>>,
    pub(super) shared: Http2Connections,
    pub(super) state: Rc<DestinationState>,
    /// The endpoint has this address no more, or the pool is gone.
    is_retired: Cell<bool>,
}

/// A kept HTTP/1.1 connection.
pub(super) struct Idle {
    pub(super) peer: Box<Http1Peer>,
    pub(super) since: Instant,
}

impl Destination {
    pub(super) fn new(upstream: &Upstream, at: &ObservedAddress, states: &DestinationStates) -> Rc<Self> {
        let state = states.find_or_add(&upstream.endpoint_address(at.endpoint, at.address));
        state.set_health(at.health.is_down(), at.health.recoveries());
        Self::with(at.endpoint, at.address, Arc::clone(&at.health), state)
    }

    #[cfg(test)]
    pub(super) fn for_tests(endpoint: usize, state: Rc<DestinationState>) -> Rc<Self> {
        Self::with(endpoint, None, CheckedHealth::new(), state)
    }

    fn with(
        endpoint: usize,
        address: Option<SocketAddr>,
        health: Arc<CheckedHealth>,
        state: Rc<DestinationState>,
    ) -> Rc<Self> {
        let (idle, shared, is_retired) = (RefCell::default(), Http2Connections::default(), Cell::new(false));
        Rc::new(Self { endpoint, address, health, idle, shared, state, is_retired })
    }

    /// Keeps no connections, now and from now on. How many were idle.
    pub(super) fn retire(&self) -> usize {
        self.is_retired.set(true);
        self.shared.retire();
        self.idle.take().len()
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.get()
    }
}

/// One request at a destination; it counts as in flight until this is dropped.
pub struct InFlight {
    pub(super) destination: Rc<Destination>,
    /// Whether the destination was ejected when the request was sent there, and what becomes of it was not reported yet.
    pub(super) is_trial: Cell<bool>,
    /// Its stream, on a shared HTTP/2 connection.
    pub(super) slot: Option<StreamSlot>,
}

impl InFlight {
    /// A request goes to a destination. If that is ejected, the request is a trial: until something is known of it,
    /// others are kept away for another `pause`.
    pub(super) fn begin(destination: &Rc<Destination>, pause: Duration) -> Self {
        let is_trial = destination.state.begin_request(pause);
        Self { destination: Rc::clone(destination), is_trial: Cell::new(is_trial), slot: None }
    }

    /// Takes note of an answer. Whether the destination is back after it was ejected.
    pub(super) fn succeeded(&self) -> bool {
        self.destination.state.succeeded(self.is_trial.take())
    }

    /// Its stream, where it is on a shared connection.
    pub fn slot(&self) -> Option<&StreamSlot> {
        self.slot.as_ref()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.destination.state.end_request(self.is_trial.get());
    }
}

/// Where a request has failed that may be sent again: next it goes elsewhere.
#[derive(Default)]
pub struct FailedDestinations(pub(super) Vec<Rc<Destination>>);

impl FailedDestinations {
    /// One more.
    pub fn add(&mut self, request: &InFlight) {
        self.0.push(Rc::clone(&request.destination));
    }
}
