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

use super::concurrency_limit::{ConcurrencyLimit, PermitRequest, Requester};
use super::connect::{ConnectError, connect};
use super::endpoint::Upstream;
use super::endpoint_rotation::EndpointRotation;
use super::http2_connections::{ConnectionId, Http2Connections, StreamSlot};
use crate::config::Protocol;
use crate::wire::{BufferedSocket, Http1Peer, WatchedSocket};

/// What an HTTP/2 upstream may send ahead on one stream; so much of an answer is held for a client that reads slowly.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// No further limit on all streams of a connection: unrelated clients share it, and slow readers would use a common window
/// up for all of them.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// A connection on which one request may be sent.
pub enum AcquiredConnection {
    /// An HTTP/1.1 connection of one's own, to be given back with [`Pool::give_back`] when it may be used again.
    Http1 {
        /// The connection.
        peer: Box<Http1Peer>,
        /// Which endpoint it leads to.
        endpoint: usize,
        /// Whether it was used before, and so may have been closed by the upstream meanwhile.
        reused: bool,
    },
    /// A place for one stream on a shared HTTP/2 connection.
    Http2 {
        /// Where to send the request.
        send: SendRequest<Bytes>,
        /// To be held as long as the request runs.
        slot: StreamSlot,
        /// Whether the connection was there before.
        reused: bool,
    },
}

impl AcquiredConnection {
    /// Whether no connection had to be made.
    pub fn is_reused(&self) -> bool {
        let (Self::Http1 { reused, .. } | Self::Http2 { reused, .. }) = self;
        *reused
    }
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

/// One worker's connections to one upstream.
pub struct Pool {
    upstream: Arc<Upstream>,
    limit: Rc<ConcurrencyLimit>,
    connect_timeout: Duration,
    rotation: EndpointRotation,
    endpoints: Vec<EndpointConnections>,
    idle: Cell<usize>,
    /// A reload has replaced this pool: what still runs may end, nothing is kept.
    retired: Cell<bool>,
}

#[derive(Default)]
struct EndpointConnections {
    idle: RefCell<Vec<Idle>>,
    shared: Http2Connections,
}

struct Idle {
    peer: Box<Http1Peer>,
    since: Instant,
}

impl Pool {
    /// An empty pool.
    pub fn new(upstream: Arc<Upstream>, limit: Rc<ConcurrencyLimit>, connect_timeout: Duration) -> Self {
        let count = upstream.endpoints.len();
        Self {
            upstream,
            limit,
            connect_timeout,
            rotation: EndpointRotation::new(count),
            endpoints: (0..count).map(|_| EndpointConnections::default()).collect(),
            idle: Cell::new(0),
            retired: Cell::new(false),
        }
    }

    /// The upstream it leads to.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Asks for the permit that a request needs before it may acquire a connection, and keeps for as long as it has it.
    pub fn request_permit(&self, requester: Requester) -> PermitRequest {
        self.limit.request_permit(requester)
    }

    /// A connection for one request: a kept one that is still open, else a new one; each endpoint is tried once.
    pub async fn acquire(&self, excluded: &ExcludedConnections) -> Result<AcquiredConnection, ConnectError> {
        let connection = match excluded {
            ExcludedConnections::One(connection) => Some(connection),
            ExcludedConnections::None | ExcludedConnections::Kept => None,
        };
        let mut last = ConnectError::AllInUse;
        for endpoint in self.rotation.order() {
            if !matches!(excluded, ExcludedConnections::Kept)
                && let Some(kept) = self.take_kept(endpoint, connection)
            {
                return Ok(kept);
            }
            let shared = &self.endpoints[endpoint].shared;
            if self.upstream.protocol == Protocol::Http2
                && let Some((send, slot)) = shared.take_or_wait(connection).await
            {
                return Ok(AcquiredConnection::Http2 { send, slot, reused: true });
            }
            let opening = (self.upstream.protocol == Protocol::Http2).then(|| shared.begin_opening());
            // on the heap: most requests find a kept connection, and need not carry the room for this
            let opened = Box::pin(self.open(endpoint)).await;
            drop(opening);
            match opened {
                Ok(acquired) => {
                    self.rotation.succeeded(endpoint);
                    return Ok(acquired);
                }
                // not the endpoint's fault, and the best there is
                Err(ConnectError::AllInUse) => {
                    if let Some(kept) = self.take_kept(endpoint, None) {
                        return Ok(kept);
                    }
                }
                Err(error) => {
                    // once a pause: an upstream that is down fails every request
                    if self.rotation.pause(endpoint) {
                        tracing::warn!(upstream = %self.upstream.name, %error, "endpoint failed");
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Keeps a connection for the next request. Only one on which the last exchange ended in order, both ways, and
    /// on which nothing has arrived since. `now` may be as old as a tick of the worker.
    pub fn give_back(&self, mut peer: Box<Http1Peer>, endpoint: usize, now: Instant) {
        let kept_at_most = self.upstream.idle_connections.min(self.limit.max_connections());
        let has_room = self.idle.get() < kept_at_most && !self.retired.get();
        if has_room && peer.socket.input().is_empty() {
            peer.socket.release();
            self.idle.set(self.idle.get() + 1);
            self.endpoints[endpoint].idle.borrow_mut().push(Idle { peer, since: now });
        }
    }

    /// Closes what is idle, now and from now on: for a pool that only running requests still use.
    pub fn retire(&self) {
        self.retired.set(true);
        self.idle.set(0);
        for connections in &self.endpoints {
            connections.idle.borrow_mut().clear();
            connections.shared.retire();
        }
    }

    /// Closes what has been idle since before `oldest`.
    pub fn close_idle(&self, oldest: Instant) {
        for connections in &self.endpoints {
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
            let with_idle = self.endpoints.iter().filter_map(|connections| {
                let since = connections.idle.borrow().first()?.since;
                Some((since, connections))
            });
            let Some((_, connections)) = with_idle.min_by_key(|(since, _)| *since) else { return };
            connections.idle.borrow_mut().remove(0);
            self.idle.set(self.idle.get() - 1);
        }
    }

    fn take_kept(&self, endpoint: usize, excluded: Option<&ConnectionId>) -> Option<AcquiredConnection> {
        match self.upstream.protocol {
            Protocol::Http1 => {
                // the one used last is the one most likely to be open still
                loop {
                    let mut idle = self.endpoints[endpoint].idle.borrow_mut().pop()?;
                    self.idle.set(self.idle.get() - 1);
                    if is_open(&mut idle.peer.socket) {
                        return Some(AcquiredConnection::Http1 { peer: idle.peer, endpoint, reused: true });
                    }
                }
            }
            Protocol::Http2 => {
                let (send, slot) = self.endpoints[endpoint].shared.take(excluded)?;
                Some(AcquiredConnection::Http2 { send, slot, reused: true })
            }
        }
    }

    async fn open(&self, endpoint: usize) -> Result<AcquiredConnection, ConnectError> {
        let target = &self.upstream.endpoints[endpoint];
        match self.upstream.protocol {
            Protocol::Http1 => {
                self.make_room();
                let stream = connect(target, self.upstream.protocol, self.connect_timeout).await?;
                let peer = Box::new(Http1Peer::new(BufferedSocket::new(stream)));
                Ok(AcquiredConnection::Http1 { peer, endpoint, reused: false })
            }
            Protocol::Http2 => {
                let counted = self.limit.reserve_connection().ok_or(ConnectError::AllInUse)?;
                let stream = connect(target, self.upstream.protocol, self.connect_timeout).await?;
                let stream = WatchedSocket::new(stream);
                let socket = stream.watch();
                let not_http2 = |detail: String| ConnectError::NotHttp2 {
                    host: target.host.clone(),
                    port: target.port,
                    detail,
                };
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
                let (send, slot) = self.endpoints[endpoint].shared.add(send, socket);
                Ok(AcquiredConnection::Http2 { send, slot, reused: false })
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
    match socket.tcp().poll_read_ready(&mut cx) {
        Poll::Pending => true,
        // the connection has ended, or unexpected bytes have come
        Poll::Ready(_) => socket.poll_fill(&mut cx).is_pending(),
    }
}
