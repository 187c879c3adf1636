//! One address that an upstream's requests go to, and one worker's connections there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::destination_state::DestinationState;
use super::http2_connections::{Http2Connections, StreamSlot};
use crate::wire::Http1Peer;

/// One address of an endpoint, for one worker.
pub(super) struct Destination {
    /// Its endpoint's number in the upstream.
    pub(super) endpoint: usize,
    pub(super) idle: RefCell<Vec<Idle>>,
    pub(super) shared: Http2Connections,
    pub(super) state: Rc<DestinationState>,
}

/// A kept HTTP/1.1 connection.
pub(super) struct Idle {
    pub(super) peer: Box<Http1Peer>,
    pub(super) since: Instant,
}

impl Destination {
    pub(super) fn new(endpoint: usize, state: Rc<DestinationState>) -> Rc<Self> {
        Rc::new(Self { endpoint, idle: RefCell::default(), shared: Http2Connections::default(), state })
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
