//! Connections to one HTTP/2 endpoint: each is shared by as many requests as the upstream takes on it at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;

use crate::wire::{StreamWatch, TcpProgress};

/// One worker's connections to one HTTP/2 endpoint.
#[derive(Default)]
pub(super) struct SharedConnections {
    open: RefCell<Vec<Shared>>,
    /// Somebody is opening one.
    opening: Cell<bool>,
    /// How many were opened so far.
    opened: Cell<u64>,
    changed: Notify,
    /// Nothing is kept any more.
    retired: Cell<bool>,
}

struct Shared {
    send: SendRequest<Bytes>,
    load: Rc<Load>,
}

/// What a connection carries.
struct Load {
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    /// A request waited on it in vain: it may be dead without the system knowing.
    distrusted: Cell<bool>,
    socket: StreamWatch,
}

/// A place for one stream on a shared connection, free again when this is dropped.
pub struct Place {
    load: Rc<Load>,
}

/// Which of the shared connections one is.
pub struct Connection(Rc<Load>);

impl Place {
    /// The connection that it is on.
    pub fn connection(&self) -> Connection {
        Connection(Rc::clone(&self.load))
    }

    /// Has later requests use another connection. What runs on this one goes on.
    pub fn distrust(&self) {
        self.load.distrusted.set(true);
    }

    /// How far the upstream has taken what was sent on the connection. `None` where the kernel does not say.
    pub fn progress(&self) -> Option<TcpProgress> {
        self.load.socket.progress()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.streams.set(self.load.streams.get() - 1);
        self.load.idle_since.set(Instant::now());
    }
}

impl Shared {
    fn place(&self) -> (SendRequest<Bytes>, Place) {
        self.load.streams.set(self.load.streams.get() + 1);
        (self.send.clone(), Place { load: Rc::clone(&self.load) })
    }

    /// Whether requests may still be sent on it: the upstream has neither closed it, nor said goodbye, nor left a
    /// request without an answer.
    fn is_open(&mut self) -> bool {
        !self.load.distrusted.get()
            && !matches!(self.send.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }
}

impl SharedConnections {
    /// A place on a connection that is open, has room, and is another than this one.
    pub(super) fn take(&self, avoid: Option<&Connection>) -> Option<(SendRequest<Bytes>, Place)> {
        let mut open = self.open.borrow_mut();
        open.retain_mut(Shared::is_open);
        // a request beyond what the upstream takes would wait for another's end, however long that lasts
        let mut others =
            open.iter().filter(|shared| avoid.is_none_or(|avoid| !Rc::ptr_eq(&avoid.0, &shared.load)));
        let free = others.find(|shared| shared.load.streams.get() < shared.send.current_max_send_streams());
        free.map(Shared::place)
    }

    /// As [`take`](Self::take), but waits while a connection is being opened: one opens it for all who wait, and
    /// where that fails each tries for itself.
    pub(super) async fn take_opened(
        &self,
        avoid: Option<&Connection>,
    ) -> Option<(SendRequest<Bytes>, Place)> {
        while self.opening.get() {
            let before = self.opened.get();
            self.changed.notified().await;
            if let Some(taken) = self.take(avoid) {
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
    pub(super) fn add(&self, send: SendRequest<Bytes>, socket: StreamWatch) -> (SendRequest<Bytes>, Place) {
        let load = Load {
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            distrusted: Cell::new(false),
            socket,
        };
        let shared = Shared { send, load: Rc::new(load) };
        let place = shared.place();
        if !self.retired.get() {
            self.open.borrow_mut().push(shared);
        }
        self.opened.set(self.opened.get() + 1);
        place
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
            .retain(|shared| shared.load.streams.get() > 0 || shared.load.idle_since.get() >= oldest);
    }
}

/// A connection is being opened.
pub(super) struct Opening<'a>(&'a SharedConnections);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.changed.notify_waiters();
    }
}
