//! Connections to one HTTP/2 endpoint: each is shared by as many requests as the upstream takes on it at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;

use crate::wire::{SendProgress, SocketWatch};

/// One worker's connections to one HTTP/2 endpoint.
#[derive(Default)]
pub(super) struct Http2Connections {
    open: RefCell<Vec<SharedConnection>>,
    /// A request is opening one.
    opening: Cell<bool>,
    /// How many were opened so far.
    opened: Cell<u64>,
    changed: Notify,
    /// Nothing is kept any more.
    retired: Cell<bool>,
}

struct SharedConnection {
    send: SendRequest<Bytes>,
    state: Rc<ConnectionState>,
}

/// What a connection carries.
struct ConnectionState {
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    /// A request waited on it in vain: it may be dead without the kernel knowing.
    unresponsive: Cell<bool>,
    socket: SocketWatch,
}

/// One stream on a shared connection, free again when this is dropped.
pub struct StreamSlot {
    state: Rc<ConnectionState>,
}

/// Names one of the shared connections.
#[derive(Clone)]
pub struct ConnectionId(Rc<ConnectionState>);

impl StreamSlot {
    /// The connection that it is on.
    pub fn connection(&self) -> ConnectionId {
        ConnectionId(Rc::clone(&self.state))
    }

    /// Has later requests use another connection. What runs on this one goes on.
    pub fn mark_unresponsive(&self) {
        self.state.unresponsive.set(true);
    }

    /// How far the upstream has taken what was sent on the connection. `None` where the kernel does not say.
    pub fn progress(&self) -> Option<SendProgress> {
        self.state.socket.progress()
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.state.streams.set(self.state.streams.get() - 1);
        self.state.idle_since.set(Instant::now());
    }
}

impl SharedConnection {
    fn slot(&self) -> (SendRequest<Bytes>, StreamSlot) {
        self.state.streams.set(self.state.streams.get() + 1);
        (self.send.clone(), StreamSlot { state: Rc::clone(&self.state) })
    }

    /// Whether requests may still be sent on it: the upstream has neither closed it, nor sent GOAWAY, nor left a request
    /// without an answer.
    fn is_open(&mut self) -> bool {
        !self.state.unresponsive.get()
            && !matches!(self.send.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }
}

impl Http2Connections {
    /// A stream on a connection that is open, has room, and is not `excluded`.
    pub(super) fn take(&self, excluded: Option<&ConnectionId>) -> Option<(SendRequest<Bytes>, StreamSlot)> {
        let mut open = self.open.borrow_mut();
        open.retain_mut(SharedConnection::is_open);
        // a request beyond what the upstream takes would wait for another's end, however long that lasts
        let mut others = open
            .iter()
            .filter(|shared| excluded.is_none_or(|excluded| !Rc::ptr_eq(&excluded.0, &shared.state)));
        let free = others.find(|shared| shared.state.streams.get() < shared.send.current_max_send_streams());
        free.map(SharedConnection::slot)
    }

    /// As [`take`](Self::take), but waits while a connection is being opened: one request opens it for all that wait, and
    /// if that fails each tries for itself.
    pub(super) async fn take_or_wait(
        &self,
        excluded: Option<&ConnectionId>,
    ) -> Option<(SendRequest<Bytes>, StreamSlot)> {
        while self.opening.get() {
            let before = self.opened.get();
            self.changed.notified().await;
            if let Some(taken) = self.take(excluded) {
                return Some(taken);
            }
            if self.opened.get() == before {
                break;
            }
        }
        None
    }

    /// Says that a connection is being opened, until the returned value is dropped.
    pub(super) fn begin_opening(&self) -> Opening<'_> {
        self.opening.set(true);
        Opening(self)
    }

    /// Adds an open connection, and takes a place on it.
    pub(super) fn add(
        &self,
        send: SendRequest<Bytes>,
        socket: SocketWatch,
    ) -> (SendRequest<Bytes>, StreamSlot) {
        let state = ConnectionState {
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            unresponsive: Cell::new(false),
            socket,
        };
        let shared = SharedConnection { send, state: Rc::new(state) };
        let slot = shared.slot();
        if !self.retired.get() {
            self.open.borrow_mut().push(shared);
        }
        self.opened.set(self.opened.get() + 1);
        slot
    }

    /// Lets go of all connections, now and from now on: each closes when the last request on it ends.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.open.borrow_mut().clear();
    }

    /// Lets go of what has carried nothing since before `oldest`: without handles and streams a connection closes.
    pub(super) fn close_idle(&self, oldest: Instant) {
        self.open
            .borrow_mut()
            .retain(|shared| shared.state.streams.get() > 0 || shared.state.idle_since.get() >= oldest);
    }
}

/// A connection is being opened.
pub(super) struct Opening<'a>(&'a Http2Connections);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.changed.notify_waiters();
    }
}
