//! A connection's life: from the preface to the last word.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use super::super::body::{BodyError, Length};
use super::super::buffer::Wire;
use super::super::head::{HeadError, RequestHead};
use super::super::tcp_progress::TcpProgress;
use super::closed::{Closed, ClosedStreams};
use super::decode::Decoder;
use super::frame::{DEFAULT_WINDOW, Reason};
use super::peer::Http2Peer;
use super::receive::{Begun, Block, Step, Violation};
use super::streams::{Ended, Streams};

/// What a client may send ahead of what is taken, on all streams together.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Where more than this waits to be written, no more is read: what a client asks for has to be fetched by it.
pub(super) const UNSENT_BYTES: usize = 128 * 1024;
/// What is read from a client that was told goodbye, before the connection is closed whatever it sends: bytes that
/// are left unread would have the system reset the connection, and the goodbye with it.
const LINGER_BYTES: usize = 256 * 1024;
/// Streams that may have to be reset because of the client's errors, beyond those that were served, before the
/// connection is given up (`MadeYouReset`, CVE-2025-8671).
const MAX_ERROR_RESETS: usize = 256;
/// How many frames in a second a client may send that ask for nothing and bring nothing (pings, settings, empty
/// bodies, priorities: CVE-2019-9512 and its kin).
const MAX_IDLE_FRAMES: u32 = 1000;
const IDLE_FRAMES_SPAN: Duration = Duration::from_secs(1);

/// What a client may do.
#[derive(Debug, Clone, Copy)]
pub struct Http2Limits {
    /// Bytes of a head's fields together, each with what it takes in HTTP/1.1 beside its name and value.
    pub header_bytes: usize,
    /// Number of a head's fields.
    pub header_count: usize,
    /// Bytes of what the request line says in HTTP/1.1.
    pub line_bytes: usize,
    /// Streams at once.
    pub streams: u32,
    /// Streams that are reset before anybody could begin with them (rapid reset, CVE-2023-44487).
    pub early_resets: usize,
}

/// A request that a client has sent: its head, and the stream on which the rest comes and the answer goes.
pub struct Http2Request {
    /// The head, or what is known of it where it was refused.
    pub head: RequestHead,
    /// Why the head is not served.
    pub refused: Option<HeadError>,
    /// How long the body is.
    pub length: Result<Length, BodyError>,
    /// The stream.
    pub peer: Http2Peer,
}

/// A client's HTTP/2 connection.
pub struct Http2Connection {
    pub(super) connection: Rc<RefCell<Connection>>,
}

pub(super) struct Connection {
    pub(super) wire: Wire,
    pub(super) limits: Http2Limits,
    pub(super) state: State,
    pub(super) streams: Streams,
    pub(super) closed: ClosedStreams,

    // what comes
    pub(super) decoder: Decoder,
    /// How much of the preface has come.
    pub(super) preface: usize,
    pub(super) has_settings: bool,
    /// A header block of which more is to come.
    pub(super) block: Option<Block>,
    pub(super) receive_window: u32,
    pub(super) taken: u32,
    idle_frames: u32,
    idle_frames_since: Instant,
    error_resets: usize,

    // what goes
    pub(super) send_window: i64,
    pub(super) initial_send_window: u32,
    /// The client has set the size of its table, and is to hear that it is not used.
    pub(super) forget: bool,
    pub(super) head_block: Vec<u8>,
    /// Of the task that reads and writes.
    pub(super) task: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// The client was told that there will be an end; whether it knows, its answer to a ping will show.
    Leaving,
    /// The client knows which streams are still served: the last of them ends the connection.
    Left,
    /// Nothing more is served. What waits is written, then the connection is closed.
    Closing {
        discarded: usize,
    },
    /// The socket is of no use any more.
    Gone,
}

impl State {
    /// Whether nothing more is served.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Closing { .. } | Self::Gone)
    }
}

impl Http2Connection {
    /// Begins with a client that has sent, or is to send, the preface.
    pub fn new(wire: Wire, limits: Http2Limits, now: Instant) -> Self {
        let mut connection = Connection {
            wire,
            limits,
            state: State::Open,
            streams: Streams::default(),
            closed: ClosedStreams::new(),
            decoder: Decoder::new(),
            preface: 0,
            has_settings: false,
            block: None,
            receive_window: CONNECTION_WINDOW_BYTES,
            taken: 0,
            idle_frames: 0,
            idle_frames_since: now,
            error_resets: 0,
            send_window: i64::from(DEFAULT_WINDOW),
            initial_send_window: DEFAULT_WINDOW,
            forget: false,
            head_block: Vec::new(),
            task: None,
        };
        connection.greet();
        Self { connection: Rc::new(RefCell::new(connection)) }
    }

    /// Reads and writes, until there is a next request. `None`: the connection is over. `now` may be as old as a tick of
    /// the worker.
    pub fn poll_request(&self, cx: &mut Context<'_>, now: Instant) -> Poll<Option<Http2Request>> {
        let begun = ready!(self.connection.borrow_mut().poll(cx, now));
        Poll::Ready(begun.map(|Begun { head, refused, length, stream }| {
            let peer = Http2Peer::new(Rc::clone(&self.connection), stream);
            Http2Request { head, refused, length, peer }
        }))
    }

    /// Whether the client has shown that it speaks HTTP/2.
    pub fn is_greeted(&self) -> bool {
        self.connection.borrow().has_settings
    }

    /// Tells the client to begin nothing new here. What it has begun is served.
    pub fn drain(&self) {
        self.connection.borrow_mut().drain();
    }

    /// Whether the client was told so, or the connection is over for another reason.
    pub fn is_draining(&self) -> bool {
        self.connection.borrow().state != State::Open
    }

    /// The client has had the time to hear of the [`drain`](Self::drain): nothing new is served any more, whether it
    /// says that it knows or not.
    pub fn stop_waiting(&self) {
        self.connection.borrow_mut().farewell_is_known();
    }

    /// How many bytes wait for the client to fetch them, about.
    pub fn unsent(&self) -> usize {
        self.connection.borrow().wire.unsent()
    }

    /// How far the client has fetched what was sent. `None` where the kernel does not say.
    pub fn progress(&self) -> Option<TcpProgress> {
        self.connection.borrow().wire.progress()
    }

    /// Ends the connection and all that is on it, and says why.
    pub fn give_up(&self, reason: Reason) {
        self.connection.borrow_mut().give_up(reason);
    }
}

impl Connection {
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Option<Begun>> {
        if now.saturating_duration_since(self.idle_frames_since) >= IDLE_FRAMES_SPAN {
            (self.idle_frames, self.idle_frames_since) = (0, now);
        }
        loop {
            if let Some(begun) = self.read_on() {
                return Poll::Ready(Some(begun));
            }
            let was_full = self.is_full();
            let flushed = self.wire.poll_flush(cx);
            if matches!(flushed, Poll::Ready(Err(_))) {
                self.lose();
            }
            self.offer_room();
            // what was left unread meanwhile may be all that ever comes
            if was_full && !self.is_full() {
                continue;
            }
            if self.state == State::Left && self.streams.len() == 0 {
                self.state = State::Closing { discarded: 0 };
            }
            let filled = match self.state {
                State::Gone => return Poll::Ready(None),
                State::Closing { .. } => {
                    if flushed.is_pending() || self.wire.poll_shutdown(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.wire.poll_fill(cx)
                }
                _ if self.is_full() => Poll::Pending,
                _ => self.wire.poll_fill(cx),
            };
            match filled {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => self.lose(),
                Poll::Pending => {
                    self.task = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }

    /// Whether the client has yet to fetch so much that it is not listened to.
    fn is_full(&self) -> bool {
        self.wire.unsent() > UNSENT_BYTES
    }

    /// Understands what has been read, as far as the next request.
    fn read_on(&mut self) -> Option<Begun> {
        while !self.state.is_over() && !self.is_full() {
            match self.receive() {
                Ok(Step::Begun(begun)) => return Some(begun),
                Ok(Step::Done) => {}
                Ok(Step::NeedMore) => return None,
                Err(Violation::Stream(id, reason)) => self.reset_for(id, reason),
                Err(Violation::Connection(reason)) => self.give_up(reason),
            }
        }
        if let State::Closing { discarded } = &mut self.state {
            let waiting = self.wire.input().len();
            self.wire.consume(waiting);
            *discarded += waiting;
            if *discarded > LINGER_BYTES {
                self.lose();
            }
        }
        None
    }

    /// A frame came that asks for nothing and brings nothing.
    pub(super) fn idle_frame(&mut self) -> Result<Step, Violation> {
        self.idle_frames += 1;
        if self.idle_frames > MAX_IDLE_FRAMES {
            return Err(Violation::Connection(Reason::ENHANCE_YOUR_CALM));
        }
        Ok(Step::Done)
    }

    /// Something useful was done, which brings so many idle frames along.
    pub(super) fn excuse_idle_frames(&mut self, count: u32) {
        self.idle_frames = self.idle_frames.saturating_sub(count);
    }

    /// A request was answered whole: one that could not be is forgotten, or a client that shares its connection among
    /// many, for days, would lose it in the end.
    pub(super) fn excuse_error(&mut self) {
        self.error_resets = self.error_resets.saturating_sub(1);
    }

    /// The client has broken the rules on one stream.
    fn reset_for(&mut self, id: u32, reason: Reason) {
        self.error_resets += 1;
        if self.error_resets > MAX_ERROR_RESETS {
            return self.give_up(Reason::ENHANCE_YOUR_CALM);
        }
        match self.streams.find(id) {
            Some(number) if self.streams.get(number).closed() != Some(Closed::Reset) => {
                self.reset(number, reason);
            }
            _ => self.send_reset(id, reason),
        }
    }

    fn drain(&mut self) {
        if self.state == State::Open {
            // what it sends until it knows is served too (RFC 9113 §6.8)
            self.send_goodbye(u32::MAX >> 1, Reason::NO_ERROR);
            self.send_farewell_ping();
            self.state = State::Leaving;
        }
    }

    /// The client has answered the ping: what it has begun before it knew of the goodbye has come.
    pub(super) fn farewell_is_known(&mut self) {
        if self.state == State::Leaving {
            self.leave();
        }
    }

    /// The client has said goodbye. It gets what it has asked for.
    pub(super) fn client_leaves(&mut self) {
        if matches!(self.state, State::Open | State::Leaving) {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.send_goodbye(self.closed.last(), Reason::NO_ERROR);
        self.state = State::Left;
        // the last of its streams may have ended
        self.wake();
    }

    fn give_up(&mut self, reason: Reason) {
        if self.state.is_over() {
            return;
        }
        self.send_goodbye(self.closed.last(), reason);
        self.state = State::Closing { discarded: 0 };
        self.end_streams();
    }

    /// The socket has failed, or the client has closed it.
    fn lose(&mut self) {
        self.state = State::Gone;
        self.end_streams();
    }

    fn end_streams(&mut self) {
        self.block = None;
        self.streams.each().for_each(|stream| stream.end(Ended::Connection));
    }

    pub(super) fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}
