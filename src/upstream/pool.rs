//! One worker's connections to one upstream. No lock: a pool lives and dies on its worker's thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;

use super::connect::{ConnectError, connect};
use super::endpoint::{Turn, Upstream};
use super::shared::{Place, SharedConnections};
use crate::config::Protocol;
use crate::wire::{Http1Peer, Wire};

/// What an HTTP/2 upstream may send ahead on one stream; so much of an answer is held for a client that reads slowly.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// No further limit on all streams of a connection: clients who know nothing of each other share it, and slow readers
/// would use a common window up for all of them.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// A connection on which one request may be sent.
pub enum Acquired {
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
        place: Place,
        /// Whether the connection was there before.
        reused: bool,
    },
}

impl Acquired {
    /// Whether no connection had to be made.
    pub fn is_reused(&self) -> bool {
        let (Self::Http1 { reused, .. } | Self::Http2 { reused, .. }) = self;
        *reused
    }
}

/// One worker's connections to one upstream.
pub struct Pool {
    upstream: Arc<Upstream>,
    connect_timeout: Duration,
    turn: Turn,
    endpoints: Vec<Connections>,
    idle: Cell<usize>,
    /// A reload has put another pool in its place: what still runs may end, nothing is kept.
    retired: Cell<bool>,
}

#[derive(Default)]
struct Connections {
    idle: RefCell<Vec<Idle>>,
    shared: SharedConnections,
}

struct Idle {
    peer: Box<Http1Peer>,
    since: Instant,
}

impl Pool {
    /// An empty pool.
    pub fn new(upstream: Arc<Upstream>, connect_timeout: Duration) -> Self {
        let count = upstream.endpoints.len();
        Self {
            upstream,
            connect_timeout,
            turn: Turn::new(count),
            endpoints: (0..count).map(|_| Connections::default()).collect(),
            idle: Cell::new(0),
            retired: Cell::new(false),
        }
    }

    /// The upstream it leads to.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// A connection for one request: a kept one that is still open, else a new one; each endpoint is tried once.
    /// `fresh`: a kept one just turned out dead, so take none of them.
    ///
    /// # Panics
    ///
    /// Never: an upstream has at least one endpoint.
    pub async fn acquire(&self, fresh: bool) -> Result<Acquired, ConnectError> {
        let mut last = None;
        for endpoint in self.turn.order() {
            if !fresh && let Some(kept) = self.take_kept(endpoint) {
                return Ok(kept);
            }
            let shared = &self.endpoints[endpoint].shared;
            if self.upstream.protocol == Protocol::Http2
                && let Some((send, place)) = shared.take_opened().await
            {
                return Ok(Acquired::Http2 { send, place, reused: true });
            }
            let opening = (self.upstream.protocol == Protocol::Http2).then(|| shared.begin_opening());
            // on the heap: most requests find a kept connection, and need not carry the room for this
            let opened = Box::pin(self.open(endpoint)).await;
            drop(opening);
            match opened {
                Ok(acquired) => {
                    self.turn.succeeded(endpoint);
                    return Ok(acquired);
                }
                Err(error) => {
                    // once a pause: an upstream that is down fails every request
                    if self.turn.failed(endpoint) {
                        tracing::warn!(upstream = %self.upstream.name, %error, "endpoint failed");
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.expect("an upstream has at least one endpoint, so the loop ran and left an error"))
    }

    /// Keeps a connection for the next request. Only one on which the last exchange ended in order, both ways, and
    /// on which nothing has arrived since. `now` may be as old as a tick of the worker.
    pub fn give_back(&self, mut peer: Box<Http1Peer>, endpoint: usize, now: Instant) {
        let has_room = self.idle.get() < self.upstream.idle_connections && !self.retired.get();
        if has_room && peer.wire.input().is_empty() {
            peer.wire.release();
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

    fn take_kept(&self, endpoint: usize) -> Option<Acquired> {
        match self.upstream.protocol {
            Protocol::Http1 => {
                // the one used last is the one most likely to be open still
                loop {
                    let mut idle = self.endpoints[endpoint].idle.borrow_mut().pop()?;
                    self.idle.set(self.idle.get() - 1);
                    if is_open(&mut idle.peer.wire) {
                        return Some(Acquired::Http1 { peer: idle.peer, endpoint, reused: true });
                    }
                }
            }
            Protocol::Http2 => {
                let (send, place) = self.endpoints[endpoint].shared.take()?;
                Some(Acquired::Http2 { send, place, reused: true })
            }
        }
    }

    async fn open(&self, endpoint: usize) -> Result<Acquired, ConnectError> {
        let target = &self.upstream.endpoints[endpoint];
        let stream = connect(target, self.upstream.protocol, self.connect_timeout).await?;
        match self.upstream.protocol {
            Protocol::Http1 => {
                let peer = Box::new(Http1Peer::new(Wire::new(stream)));
                Ok(Acquired::Http1 { peer, endpoint, reused: false })
            }
            Protocol::Http2 => {
                let not_http2 = |detail: String| ConnectError::NotHttp2 {
                    host: target.host.clone(),
                    port: target.port,
                    detail,
                };
                let handshake = h2::client::Builder::new()
                    .enable_push(false)
                    .initial_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                    .handshake::<_, Bytes>(stream);
                let (mut send, connection) = tokio::time::timeout(self.connect_timeout, handshake)
                    .await
                    .map_err(|_| not_http2("no answer to the preface".to_owned()))?
                    .map_err(|error| not_http2(error.to_string()))?;
                let name = self.upstream.name.clone();
                tokio::task::spawn_local(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(upstream = %name, %error, "an HTTP/2 connection ended");
                    }
                });
                poll_fn(|cx| send.poll_ready(cx)).await.map_err(|error| not_http2(error.to_string()))?;
                let (send, place) = self.endpoints[endpoint].shared.add(send);
                Ok(Acquired::Http2 { send, place, reused: false })
            }
        }
    }
}

/// Whether a kept connection is still open and silent. Costs no system call unless something has arrived: the
/// worker's event loop has already noted a close.
fn is_open(wire: &mut Wire) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    // TLS may hold bytes that the socket has given it already: an answer to a question nobody asked yet
    if wire.stream().is_tls() {
        return wire.poll_fill(&mut cx).is_pending();
    }
    match wire.stream().tcp().poll_read_ready(&mut cx) {
        Poll::Pending => true,
        // an end, or bytes nobody asked for, is fatal
        Poll::Ready(_) => wire.poll_fill(&mut cx).is_pending(),
    }
}
