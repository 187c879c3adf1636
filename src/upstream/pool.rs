//! One worker's connections to one upstream. No lock: a pool lives and dies on its worker's thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::oneshot;

use super::balancer::{AfterFailure, Balancer};
use super::concurrency_limit::{ConcurrencyLimit, PermitRequest, Requester};
use super::connect::{ConnectError, connect};
use super::destination::{Destination, FailedDestinations, Idle, InFlight};
use super::destination_state::{DestinationStates, EndpointAddress};
use super::failure::Failure;
use super::http2_connections::ConnectionId;
use super::observed_addresses::ObservedAddress;
use super::prepared_upstream::Upstream;
use super::retry_budget::RetryBudget;
use crate::config::Protocol;
use crate::wire::{BufferedSocket, Http1Peer, WatchedSocket};

/// What an HTTP/2 upstream may send ahead on one stream; so much of an answer is held for a client that reads slowly.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// No further limit on all streams of a connection: unrelated clients share it, and slow readers would use a common window
/// up for all of them.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// How often a request that failed is sent to another endpoint. Each can take as long as an answer may.
const MAX_RETRIES: usize = 2;

/// A connection on which one request may be sent.
pub struct AcquiredConnection {
    /// The request's place there, to be held as long as it runs.
    pub in_flight: InFlight,
    /// Whether no connection had to be made. Then the upstream may have closed it meanwhile.
    pub is_reused: bool,
    /// The connection.
    pub connection: Connection,
}

/// What a request is sent on.
pub enum Connection {
    /// A connection of one's own, to be given back with [`Pool::give_back`] when it may be used again.
    Http1(Box<Http1Peer>),
    /// A place for one stream on a shared connection.
    Http2(SendRequest<Bytes>),
}

/// Connections that a request is not to be sent on again, because it failed on them.
pub enum ExcludedConnections {
    /// None: it is sent for the first time.
    None,
    /// All that were kept: one turned out dead, and others may be too.
    Kept,
    /// This one: the upstream did not look at the request on it.
    One(ConnectionId),
}

impl ExcludedConnections {
    pub(super) fn connection(&self) -> Option<&ConnectionId> {
        match self {
            Self::One(connection) => Some(connection),
            Self::None | Self::Kept => None,
        }
    }
}

/// One worker's connections to one upstream.
pub struct Pool {
    upstream: Arc<Upstream>,
    limit: Rc<ConcurrencyLimit>,
    connect_timeout: Duration,
    pub(super) balancer: Balancer,
    /// What its destinations are made of.
    observed: RefCell<Arc<Vec<ObservedAddress>>>,
    retry_budget: RetryBudget,
    idle: Cell<usize>,
    /// A reload has replaced this pool: what still runs may end, nothing is kept.
    retired: Cell<bool>,
}

impl Pool {
    /// An empty pool.
    pub fn new(
        upstream: Arc<Upstream>,
        limit: Rc<ConcurrencyLimit>,
        states: &DestinationStates,
        connect_timeout: Duration,
    ) -> Self {
        let observed = upstream.observed.load();
        let destinations = observed.iter().map(|at| Destination::new(&upstream, at, states)).collect();
        Self {
            observed: RefCell::new(observed),
            balancer: Balancer::new(destinations, upstream.balance, upstream.ejection),
            retry_budget: RetryBudget::new(Instant::now()),
            upstream,
            limit,
            connect_timeout,
            idle: Cell::new(0),
            retired: Cell::new(false),
        }
    }

    /// The upstream it leads to.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Where a request is sent.
    pub fn endpoint_of(&self, request: &InFlight) -> EndpointAddress {
        self.upstream.endpoint_address(request.destination.endpoint, request.destination.address)
    }

    /// Asks for the permit that a request needs before it may acquire a connection, and keeps for as long as it has it.
    pub fn request_permit(&self, requester: Requester) -> PermitRequest {
        self.retry_budget.count_request();
        self.limit.request_permit(requester)
    }

    /// A connection for one request: a kept one that is still open, else a new one; each endpoint is tried once, but
    /// those where the request failed before. `may_be_lost`: the request can be sent only once.
    pub async fn acquire(
        self: &Rc<Self>,
        excluded: &ExcludedConnections,
        failed: &FailedDestinations,
        may_be_lost: bool,
    ) -> Result<AcquiredConnection, ConnectError> {
        let Some(mut in_flight) = self.balancer.choose(&failed.0, may_be_lost, true) else {
            return Err(ConnectError::AllInUse);
        };
        if !matches!(excluded, ExcludedConnections::Kept)
            && let Some(connection) = self.take_kept(&mut in_flight, excluded.connection())
        {
            return Ok(AcquiredConnection { in_flight, is_reused: true, connection });
        }
        // on the heap: most requests find a kept connection, and need not carry the room for this
        Box::pin(self.open_somewhere(in_flight, excluded, failed.0.clone(), may_be_lost)).await
    }

    /// Takes note that no connection could be made.
    pub(super) fn connect_failed(&self, request: &InFlight, error: &ConnectError) {
        // once a pause: an upstream that is down fails every request
        if request.destination.state.pause() {
            tracing::warn!(upstream = %self.upstream.name, %error, "endpoint failed");
        }
        self.failed(request, Failure::Connect);
    }

    /// Takes over what has been found out about the endpoints since the last time. To be called now and then.
    pub fn refresh(&self, states: &DestinationStates) {
        let observed = self.upstream.observed.load();
        if !Arc::ptr_eq(&observed, &self.observed.borrow()) {
            let before = self.balancer.destinations();
            let after: Vec<_> = observed
                .iter()
                .map(|at| {
                    let same = |it: &&Rc<Destination>| it.endpoint == at.endpoint && it.address == at.address;
                    let known = before.iter().find(same).cloned();
                    known.unwrap_or_else(|| Destination::new(&self.upstream, at, states))
                })
                .collect();
            for gone in before.iter().filter(|gone| !after.iter().any(|it| Rc::ptr_eq(it, gone))) {
                self.idle.set(self.idle.get() - gone.retire());
            }
            self.balancer.set_destinations(after);
            self.observed.replace(observed);
        }
        for destination in self.balancer.destinations() {
            destination.state.set_health(destination.health.is_down(), destination.health.recoveries());
        }
    }

    /// Whether a request that failed here may be sent to another endpoint: one that is well, and not where it has failed
    /// before. Takes from the budget that there is for this.
    pub fn may_retry(&self, request: &InFlight, failed: &FailedDestinations) -> bool {
        if failed.0.len() >= MAX_RETRIES {
            return false;
        }
        let mut tried = failed.0.clone();
        tried.push(Rc::clone(&request.destination));
        self.balancer.has_other_than(&tried) && self.retry_budget.take(Instant::now())
    }

    /// Whether there are several places that a request can go to.
    pub fn has_several(&self) -> bool {
        self.balancer.has_several()
    }

    /// Takes note that the destination of a request answers.
    pub fn succeeded(&self, request: &InFlight) {
        if request.succeeded() && request.destination.state.tell_of_return() {
            let endpoint = self.name_of(&request.destination);
            tracing::info!(upstream = %self.upstream.name, endpoint, "the endpoint is back");
        }
    }

    /// Takes note that a request failed because of its destination.
    pub fn failed(&self, request: &InFlight, failure: Failure) {
        if let AfterFailure::Ejected(failures, pause) = self.balancer.failed(request)
            && request.destination.state.tell_of_ejection()
        {
            let endpoint = self.name_of(&request.destination);
            tracing::warn!(
                upstream = %self.upstream.name,
                endpoint,
                failures,
                last = %failure,
                ?pause,
                "the endpoint is ejected: requests fail there"
            );
        }
    }

    fn name_of(&self, destination: &Destination) -> String {
        self.upstream.address_name(destination.endpoint, destination.address)
    }

    /// Keeps a connection for the next request. Only one on which the last exchange ended in order, both ways, and
    /// on which nothing has arrived since. `now` may be as old as a tick of the worker.
    pub fn give_back(&self, mut peer: Box<Http1Peer>, request: &InFlight, now: Instant) {
        let kept_at_most = self.upstream.idle_connections.min(self.limit.max_connections());
        let is_retired = self.retired.get() || request.destination.is_retired();
        let has_room = self.idle.get() < kept_at_most && !is_retired;
        if has_room && peer.socket.input().is_empty() {
            peer.socket.release();
            self.idle.set(self.idle.get() + 1);
            request.destination.idle.borrow_mut().push(Idle { peer, since: now });
        }
    }

    /// Closes what is idle, now and from now on: for a pool that only running requests still use.
    pub fn retire(&self) {
        self.retired.set(true);
        self.idle.set(0);
        for destination in self.balancer.destinations() {
            destination.retire();
        }
    }

    /// Closes what has been idle since before `oldest`.
    pub fn close_idle(&self, oldest: Instant) {
        for connections in self.balancer.destinations() {
            let mut idle = connections.idle.borrow_mut();
            let before = idle.len();
            idle.retain(|kept| kept.since >= oldest);
            self.idle.set(self.idle.get() - (before - idle.len()));
            connections.shared.close_idle(oldest);
        }
    }

    /// Closes idle connections, those first that have been for longest, until there may be one more. Each permit stands
    /// for a connection, the caller's for the one that is to come.
    fn make_room(&self) {
        while self.idle.get() > 0 && self.idle.get() + self.limit.permits() > self.limit.max_connections() {
            let with_idle = self.balancer.destinations().into_iter().filter_map(|connections| {
                let since = connections.idle.borrow().first()?.since;
                Some((since, connections))
            });
            let Some((_, connections)) = with_idle.min_by_key(|(since, _)| *since) else { return };
            connections.idle.borrow_mut().remove(0);
            self.idle.set(self.idle.get() - 1);
        }
    }

    pub(super) fn take_kept(
        &self,
        request: &mut InFlight,
        excluded: Option<&ConnectionId>,
    ) -> Option<Connection> {
        match self.upstream.protocol {
            Protocol::Http1 => {
                // the one used last is the one most likely to be open still
                loop {
                    let mut idle = request.destination.idle.borrow_mut().pop()?;
                    self.idle.set(self.idle.get() - 1);
                    if is_open(&mut idle.peer.socket) {
                        return Some(Connection::Http1(idle.peer));
                    }
                }
            }
            Protocol::Http2 => {
                let (send, slot) = request.destination.shared.take(excluded)?;
                request.slot = Some(slot);
                Some(Connection::Http2(send))
            }
        }
    }

    /// A new connection; with HTTP/2 one that another request opens, too. Whether that is so.
    pub(super) async fn open_or_wait(
        &self,
        request: &mut InFlight,
        excluded: Option<&ConnectionId>,
    ) -> Result<(Connection, bool), ConnectError> {
        let destination = Rc::clone(&request.destination);
        if self.upstream.protocol == Protocol::Http1 {
            return Ok((self.open(request).await?, false));
        }
        if let Some((send, slot)) = destination.shared.take_or_wait(excluded).await {
            request.slot = Some(slot);
            return Ok((Connection::Http2(send), true));
        }
        let _opening = destination.shared.begin_opening();
        Ok((self.open(request).await?, false))
    }

    async fn open(&self, request: &mut InFlight) -> Result<Connection, ConnectError> {
        let Destination { endpoint, address, .. } = *request.destination;
        let target = &self.upstream.endpoints[endpoint];
        match self.upstream.protocol {
            Protocol::Http1 => {
                self.make_room();
                let stream = connect(target, address, self.upstream.protocol, self.connect_timeout).await?;
                Ok(Connection::Http1(Box::new(Http1Peer::new(BufferedSocket::new(stream)))))
            }
            Protocol::Http2 => {
                let counted = self.limit.reserve_connection().ok_or(ConnectError::AllInUse)?;
                let stream = connect(target, address, self.upstream.protocol, self.connect_timeout).await?;
                let stream = WatchedSocket::new(stream);
                let socket = stream.watch();
                let not_http2 =
                    |detail: String| ConnectError::NotHttp2 { endpoint: target.name(address), detail };
                let handshake = h2::client::Builder::new()
                    .enable_push(false)
                    // until it has said how many it takes: what it gets beyond that it would refuse
                    .initial_max_send_streams(0)
                    .initial_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                    .handshake::<_, Bytes>(stream);
                let (mut send, mut connection) = tokio::time::timeout(self.connect_timeout, handshake)
                    .await
                    .map_err(|_| not_http2("no answer to the preface".to_owned()))?
                    .map_err(|error| not_http2(error.to_string()))?;
                let name = self.upstream.name.clone();
                let (greeted, greeting) = oneshot::channel();
                let mut greeted = Some(greeted);
                tokio::task::spawn_local(async move {
                    let ended = poll_fn(|cx| {
                        let ended = Pin::new(&mut connection).poll(cx);
                        if greeted.is_some() && connection.max_concurrent_send_streams() > 0 {
                            // an error means that nobody waits for it any more
                            let _ = greeted.take().map(|greeted| greeted.send(()));
                        }
                        ended
                    });
                    if let Err(error) = ended.await {
                        tracing::debug!(upstream = %name, %error, "an HTTP/2 connection ended");
                    }
                    drop(counted);
                });
                match tokio::time::timeout(self.connect_timeout, greeting).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Err(not_http2("it closed the connection".to_owned())),
                    Err(_) => return Err(not_http2("it does not say how many requests it takes".to_owned())),
                }
                poll_fn(|cx| send.poll_ready(cx)).await.map_err(|error| not_http2(error.to_string()))?;
                self.limit.set_streams(send.current_max_send_streams());
                let (send, slot) = request.destination.shared.add(send, socket);
                request.slot = Some(slot);
                Ok(Connection::Http2(send))
            }
        }
    }
}

/// Whether a kept connection is still open and silent. Costs no system call unless something has arrived: the
/// worker's event loop has already noted a close.
fn is_open(socket: &mut BufferedSocket) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    // TLS may hold bytes that it has read already: unexpected ones
    if socket.is_tls() {
        return socket.poll_fill(&mut cx).is_pending();
    }
    match socket.stream().poll_read_ready(&mut cx) {
        Poll::Pending => true,
        // the connection has ended, or unexpected bytes have come
        Poll::Ready(_) => socket.poll_fill(&mut cx).is_pending(),
    }
}
