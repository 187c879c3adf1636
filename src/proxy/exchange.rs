//! One exchange with the upstream: what it works with, what it waits for, how it ends.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::client_response;
use super::decide::Permitted;
use super::open_streams::OpenStream;
use super::refusal::Refusal;
use super::request_spans::Attempt;
use super::upstream_response::ResponseHeadError;
use super::worker_context::WorkerContext;
use crate::config::Timeouts;
use crate::telemetry::{RouteCounts, WorkerMetrics};
use crate::upstream::{FailedDestinations, Failure, InFlight, Pool, Requester, StreamSlot};
use crate::wire::{HeadLimits, Peer, PipePool, ResponseHead, StallDetector, WebSocketFrames};

/// How far an exchange has come. It is read from outside when the exchange is interrupted.
#[derive(Debug, Default)]
pub(super) struct ExchangeProgress {
    pub(super) waiting_for: Cell<WaitingFor>,
    /// Whether the side that has to take bytes still takes any, where the exchange waits for that.
    pub(super) stall: Cell<Option<StallDetector>>,
    /// It is time to look at that.
    pub(super) stall_check_due: Cell<bool>,
    pub(super) received: Cell<u64>,
    pub(super) sent: Cell<u64>,
    /// What was tried at the upstream, if the trace is recorded.
    pub(super) attempts: RefCell<Vec<Attempt>>,
    /// The status of the answer, once its head was begun towards the client.
    pub(super) status: Cell<Option<u16>>,
    /// What has passed of a WebSocket's frames to the client.
    pub(super) frames: Cell<WebSocketFrames>,
    /// The same to the upstream.
    pub(super) frames_to_upstream: Cell<WebSocketFrames>,
    /// The gateway is stopping: a WebSocket is closed in order, both ways.
    pub(super) closes_websocket: Cell<bool>,
}

/// What an exchange waits for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitingFor {
    /// Permission to use a connection to the upstream, in a queue.
    Permit,
    /// A connection to the upstream.
    #[default]
    Connection,
    /// The client's body.
    ClientBody,
    /// The upstream, to take the body or to answer.
    Upstream,
    /// The answer's body from the upstream.
    ResponseBody,
    /// The client, to take the answer.
    Client,
    /// Bytes of a tunnel.
    TunnelBytes,
}

impl WaitingFor {
    /// Whether what is waited for is that the other side takes bytes: those it takes are progress.
    pub(super) fn waits_for_write(self) -> bool {
        matches!(self, Self::Upstream | Self::Client)
    }
}

/// How an exchange ended.
#[derive(Debug)]
pub(super) enum ExchangeEnd {
    /// The answer was sent whole; `reusable`: nothing is left of this request on the client's connection.
    Completed {
        /// Whether the client's connection can carry a next request.
        reusable: bool,
    },
    /// The key changed before anything was sent: authenticate and decide again.
    DecideAgain,
    /// Nothing was sent to the client: answer with this.
    Refused(Refusal),
    /// The client is gone, or takes nothing: the connection or stream is reset.
    ClientGone(&'static str),
    /// The answer broke off. The client gets what came of it, and then sees that it is not whole.
    Aborted(&'static str),
    /// The answer was begun, and the key has lost the right to the rest of it.
    AccessLost(Refusal),
}

/// What one exchange works with.
pub(super) struct Exchange<'a> {
    pub(super) permitted: &'a Permitted<'a>,
    pub(super) pool: &'a Rc<Pool>,
    pub(super) requester: Requester,
    pub(super) stream: &'a OpenStream,
    pub(super) progress: &'a ExchangeProgress,
    pub(super) metrics: &'a WorkerMetrics,
    pub(super) route_counts: &'a RouteCounts,
    /// What large bodies may go through.
    pub(super) pipe_pool: &'a PipePool,
    /// When the request's head had arrived.
    pub(super) arrived: Instant,
    /// How long before its end a key's clients are told of it.
    pub(super) expiry_notice: Option<Duration>,
    pub(super) timeouts: &'a Timeouts,
    pub(super) response_limits: HeadLimits,
    pub(super) max_informational: usize,
    pub(super) body_limit: u64,
    /// Whether the client's connection may stay open afterwards.
    pub(super) keep_alive: bool,
    pub(super) worker: &'a WorkerContext,
    /// Its place at one of the upstream's endpoints, from when it has a connection.
    pub(super) in_flight: RefCell<Option<InFlight>>,
    /// Where it failed, before it was sent elsewhere.
    pub(super) failed_at: RefCell<FailedDestinations>,
}

impl Exchange<'_> {
    /// Keeps later requests off a shared connection whose upstream was silent for too long: it may be dead. A connection
    /// of the request's own is closed with it anyway.
    fn mark_connection_unresponsive(&self) {
        if let Some(slot) = self.in_flight.borrow().as_ref().and_then(InFlight::slot) {
            slot.mark_unresponsive();
        }
    }

    /// Takes note that the endpoint answers.
    pub(super) fn succeeded(&self) {
        if let Some(in_flight) = self.in_flight.borrow().as_ref() {
            self.pool.succeeded(in_flight);
        }
    }

    /// Takes note that the request failed because of the endpoint.
    pub(super) fn failed(&self, failure: Failure) {
        if failure == Failure::Timeout {
            self.mark_connection_unresponsive();
        }
        self.note_failure(failure);
        if let Some(in_flight) = self.in_flight.borrow().as_ref() {
            self.pool.failed(in_flight, failure);
        }
    }

    /// The upstream does something that cannot be passed on.
    pub(super) fn broken(&self, what: &'static str) -> ExchangeFailure {
        self.failed(Failure::Broken);
        ExchangeFailure::Ended(ExchangeEnd::Refused(Refusal::UpstreamBroken(what)))
    }

    /// Notes that the head of the upstream's answer has arrived and goes to the client.
    pub(super) fn answered(&self, status: u16) {
        self.progress.status.set(Some(status));
        self.route_counts.latency.observe(self.arrived.elapsed());
    }

    /// When the request's key ends, if that is before long by the record's clock.
    pub(super) fn key_expires_soon(&self) -> Option<Timestamp> {
        let expires = self.permitted.identity?.principal.key.expires?;
        let left = expires.duration_since(self.worker.shared.authenticator.now());
        (left <= SignedDuration::try_from(self.expiry_notice?).unwrap_or(SignedDuration::MAX))
            .then_some(expires)
    }

    /// Whether it is a WebSocket whose tunnel is open.
    pub(super) fn is_open_websocket(&self) -> bool {
        self.progress.waiting_for.get() == WaitingFor::TunnelBytes && self.permitted.admitted.is_websocket()
    }

    /// Notes what is waited for from now on, and for how long at most.
    pub(super) fn wait_for(&self, waiting_for: WaitingFor, limit: Duration) {
        let before = self.progress.waiting_for.replace(waiting_for);
        self.progress.stall_check_due.set(false);
        if waiting_for.waits_for_write() {
            let now = self.stream.coarse_now();
            let mut stall = self.progress.stall.get().filter(|_| before == waiting_for);
            stall.get_or_insert_with(|| StallDetector::new(limit, now)).bytes_moved(limit, now);
            self.progress.stall.set(stall);
            self.stream.set_deadline(StallDetector::first_check(limit));
        } else {
            self.stream.set_deadline(limit);
        }
    }

    /// Whether the side that is waited for has taken nothing for as long as it may. Asks the kernel only when that is
    /// due.
    pub(super) fn is_stalled(&self, side: &Peer) -> bool {
        if !self.progress.stall_check_due.take() {
            return false;
        }
        let progress = match side {
            Peer::Http2Upstream(_) => {
                self.in_flight.borrow().as_ref().and_then(InFlight::slot).and_then(StreamSlot::progress)
            }
            peer => peer.progress(),
        };
        let Some(mut stall) = self.progress.stall.get() else { return true };
        let next = stall.check(self.stream.coarse_now(), progress);
        self.progress.stall.set(Some(stall));
        if let Some(next) = next {
            self.stream.set_deadline(next);
        }
        next.is_none()
    }

    /// Sends an interim answer; `false`: the client is gone, or takes nothing.
    pub(super) async fn send_interim(
        &self,
        client: &mut Peer,
        status: u16,
        head: Option<&ResponseHead>,
    ) -> bool {
        if client_response::send_interim(client, status, head).is_err() {
            return false;
        }
        self.wait_for(WaitingFor::Client, self.timeouts.write);
        let sent = poll_fn(|cx| match client.poll_flush(cx) {
            Poll::Pending if self.is_stalled(client) => Poll::Ready(false),
            flushed => flushed.map(|flushed| flushed.is_ok()),
        })
        .await;
        self.wait_for(WaitingFor::Upstream, self.timeouts.upstream_response);
        sent
    }
}

/// Why an exchange did not come to its end.
pub(super) enum ExchangeFailure {
    Retry(Retry),
    Ended(ExchangeEnd),
}

/// Why a request can and may be sent again.
pub(super) enum Retry {
    /// The upstream did not look at it, or had closed a kept connection.
    OtherConnection(ResponseHeadError),
    /// It failed at this endpoint, nothing of an answer has gone to the client, and it does no harm to do it twice.
    OtherEndpoint,
}

/// The result of `poll`, if it is there at once.
pub(super) fn poll_once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => Some(ready),
        Poll::Pending => None,
    }
}
