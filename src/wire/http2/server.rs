//! A client's HTTP/2 connection as the proxy sees it: it gives requests, and can be drained or ended.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::super::body_framing::{BodyError, BodyLength};
use super::super::buffered_socket::BufferedSocket;
use super::super::field_name_set::FieldNameSet;
use super::super::head::{HeadError, RequestHead};
use super::super::send_progress::SendProgress;
use super::connection::{Connection, Http2Limits, State};
use super::frame::Http2ErrorCode;
use super::frame_outcome::NewRequest;
use super::peer::Http2Peer;

/// A request that a client has sent: its head, and the stream on which the rest comes and the answer goes.
pub struct Http2Request {
    /// The head, or what is known of it where it was refused.
    pub head: RequestHead,
    /// Why the head is not served.
    pub refused: Option<HeadError>,
    /// How long the body is.
    pub length: Result<BodyLength, BodyError>,
    /// The stream.
    pub peer: Http2Peer,
}

/// A client's HTTP/2 connection.
pub struct Http2Connection {
    pub(super) connection: Rc<RefCell<Connection>>,
}

impl Http2Connection {
    /// Begins with a client that has sent, or is to send, the preface.
    pub fn new(socket: BufferedSocket, limits: Http2Limits, now: Instant) -> Self {
        Self { connection: Rc::new(RefCell::new(Connection::new(socket, limits, now))) }
    }

    /// Wipes the values of the fields with these names too, as it does with `Authorization`.
    pub fn wipe_fields(&self, names: FieldNameSet) {
        self.connection.borrow_mut().decoder.credential_names = names;
    }

    /// Reads and writes, until there is a next request. `None`: the connection is over. `now` may be as old as a tick of
    /// the worker.
    pub fn poll_request(&self, cx: &mut Context<'_>, now: Instant) -> Poll<Option<Http2Request>> {
        let request = ready!(self.connection.borrow_mut().poll(cx, now));
        Poll::Ready(request.map(|NewRequest { head, refused, length, stream }| {
            let peer = Http2Peer::new(Rc::clone(&self.connection), stream);
            Http2Request { head, refused, length, peer }
        }))
    }

    /// Whether the client's SETTINGS have come, which shows that it speaks HTTP/2.
    pub fn has_received_settings(&self) -> bool {
        self.connection.borrow().has_settings
    }

    /// Tells the client to begin nothing new here. What it has begun is served.
    pub fn drain(&self) {
        self.connection.borrow_mut().drain();
    }

    /// Whether no new streams are wanted, because of a [`drain`](Self::drain) or for another reason.
    pub fn is_draining(&self) -> bool {
        self.connection.borrow().state != State::Open
    }

    /// Ends a [`drain`](Self::drain): no new streams are served from now on, whether or not the client has answered.
    pub fn finish_draining(&self) {
        self.connection.borrow_mut().shutdown_ping_answered();
    }

    /// How many bytes wait for the client to fetch them, about.
    pub fn unsent(&self) -> usize {
        self.connection.borrow().socket.unsent()
    }

    /// How far the client has fetched what was sent. `None` where the kernel does not say.
    pub fn progress(&self) -> Option<SendProgress> {
        self.connection.borrow().socket.progress()
    }

    /// Ends the connection and all of its streams, and tells the client why.
    pub fn abort(&self, reason: Http2ErrorCode) {
        self.connection.borrow_mut().abort(reason);
    }
}
