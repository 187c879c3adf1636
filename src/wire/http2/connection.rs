//! The state of a client's HTTP/2 connection, from its preface to its end.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::super::buffered_socket::BufferedSocket;
use super::closed_streams::{ClosedState, ClosedStreams};
use super::frame::{DEFAULT_WINDOW, Http2ErrorCode};
use super::frame_outcome::{FrameOutcome, NewRequest, PartialHeaderBlock, Violation};
use super::hpack_decoder::HpackDecoder;
use super::streams::{EndReason, Streams};

/// The flow-control window of a connection: what a client may send before the gateway has taken any of it.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// If more than this waits to be written, nothing is read: a client must fetch what it asks for.
pub(super) const UNSENT_BYTES: usize = 128 * 1024;
/// How much is read and dropped after the last GOAWAY, before the connection is closed. If bytes were left unread, the
/// system would reset the connection, and the client might lose the GOAWAY.
const LINGER_BYTES: usize = 256 * 1024;
/// Streams that may have to be reset because of the client's errors, beyond those that were served, before the
/// connection is ended (`MadeYouReset`, CVE-2025-8671).
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

pub(super) struct Connection {
    pub(super) socket: BufferedSocket,
    pub(super) limits: Http2Limits,
    pub(super) state: State,
    pub(super) streams: Streams,
    pub(super) closed: ClosedStreams,

    // what comes
    pub(super) decoder: HpackDecoder,
    /// How much of the preface has come.
    pub(super) preface: usize,
    pub(super) has_settings: bool,
    /// A header block of which more is to come.
    pub(super) block: Option<PartialHeaderBlock>,
    pub(super) receive_window: u32,
    pub(super) taken: u32,
    idle_frames: u32,
    idle_frames_since: Instant,
    error_resets: usize,

    // what goes
    pub(super) send_window: i64,
    pub(super) initial_send_window: u32,
    /// The client has set the size of its HPACK table, and must be told that the gateway uses none.
    pub(super) announce_no_table: bool,
    pub(super) head_block: Vec<u8>,
    /// Of the task that reads and writes.
    pub(super) task: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// The client was told that the connection will end. Its answer to a ping will show that it knows.
    Draining,
    /// No new streams are served. The connection ends with the last open one.
    LastStreams,
    /// Nothing more is served. What waits is written, then the connection is closed.
    Closing {
        discarded: usize,
    },
    /// The socket is of no use any more.
    Closed,
}

impl State {
    /// Whether nothing more is served.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Closing { .. } | Self::Closed)
    }
}

impl Connection {
    /// Begins with a client that has sent, or is to send, the preface.
    pub(super) fn new(socket: BufferedSocket, limits: Http2Limits, now: Instant) -> Self {
        let mut connection = Self {
            socket,
            limits,
            state: State::Open,
            streams: Streams::default(),
            closed: ClosedStreams::new(),
            decoder: HpackDecoder::new(),
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
            announce_no_table: false,
            head_block: Vec::new(),
            task: None,
        };
        connection.send_preface();
        connection
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Option<NewRequest>> {
        if now.saturating_duration_since(self.idle_frames_since) >= IDLE_FRAMES_SPAN {
            (self.idle_frames, self.idle_frames_since) = (0, now);
        }
        loop {
            if let Some(request) = self.read_on() {
                return Poll::Ready(Some(request));
            }
            let was_full = self.is_full();
            let flushed = self.socket.poll_flush(cx);
            if matches!(flushed, Poll::Ready(Err(_))) {
                self.socket_closed();
            }
            self.wake_senders();
            // what was left unread meanwhile may be all that ever comes
            if was_full && !self.is_full() {
                continue;
            }
            if self.state == State::LastStreams && self.streams.len() == 0 {
                self.state = State::Closing { discarded: 0 };
            }
            let filled = match self.state {
                State::Closed => return Poll::Ready(None),
                State::Closing { .. } => {
                    if flushed.is_pending() || self.socket.poll_shutdown(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.socket.poll_fill(cx)
                }
                _ if self.is_full() => Poll::Pending,
                _ => self.socket.poll_fill(cx),
            };
            match filled {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => self.socket_closed(),
                Poll::Pending => {
                    self.task = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }

    /// Whether so much waits to be written that nothing more is read.
    fn is_full(&self) -> bool {
        self.socket.unsent() > UNSENT_BYTES
    }

    /// Handles frames that have been read, as far as the next request.
    fn read_on(&mut self) -> Option<NewRequest> {
        while !self.state.is_over() && !self.is_full() {
            match self.receive() {
                Ok(FrameOutcome::Request(request)) => return Some(request),
                Ok(FrameOutcome::Handled) => {}
                Ok(FrameOutcome::Incomplete) => return None,
                Err(Violation::Stream(id, reason)) => self.reset_for(id, reason),
                Err(Violation::Connection(reason)) => self.abort(reason),
            }
        }
        if let State::Closing { discarded } = &mut self.state {
            let waiting = self.socket.input().len();
            self.socket.consume(waiting);
            *discarded += waiting;
            if *discarded > LINGER_BYTES {
                self.socket_closed();
            }
        }
        None
    }

    /// Counts a frame that asks for nothing and brings nothing.
    pub(super) fn count_idle_frame(&mut self) -> Result<FrameOutcome, Violation> {
        self.idle_frames += 1;
        if self.idle_frames > MAX_IDLE_FRAMES {
            return Err(Violation::Connection(Http2ErrorCode::ENHANCE_YOUR_CALM));
        }
        Ok(FrameOutcome::Handled)
    }

    /// Forgives idle frames after something useful was done.
    pub(super) fn credit_idle_frames(&mut self, count: u32) {
        self.idle_frames = self.idle_frames.saturating_sub(count);
    }

    /// Forgives one error after a request was answered whole. Otherwise a connection that many share for days would be
    /// ended at some point.
    pub(super) fn credit_error_reset(&mut self) {
        self.error_resets = self.error_resets.saturating_sub(1);
    }

    /// The client has broken the rules on one stream.
    fn reset_for(&mut self, id: u32, reason: Http2ErrorCode) {
        self.error_resets += 1;
        if self.error_resets > MAX_ERROR_RESETS {
            return self.abort(Http2ErrorCode::ENHANCE_YOUR_CALM);
        }
        match self.streams.find(id) {
            Some(number) if self.streams.get(number).closed() != Some(ClosedState::Reset) => {
                self.reset(number, reason);
            }
            _ => self.send_reset(id, reason),
        }
    }

    pub(super) fn drain(&mut self) {
        if self.state == State::Open {
            // what it sends until it knows is served too (RFC 9113 §6.8)
            self.send_goaway(u32::MAX >> 1, Http2ErrorCode::NO_ERROR);
            self.send_shutdown_ping();
            self.state = State::Draining;
        }
    }

    /// The client has answered the ping: all streams that it began before it knew of the GOAWAY have come.
    pub(super) fn shutdown_ping_answered(&mut self) {
        if self.state == State::Draining {
            self.refuse_new_streams();
        }
    }

    /// The client has sent GOAWAY. It still gets what it has asked for.
    pub(super) fn client_sent_goaway(&mut self) {
        if matches!(self.state, State::Open | State::Draining) {
            self.refuse_new_streams();
        }
    }

    fn refuse_new_streams(&mut self) {
        self.send_goaway(self.closed.last(), Http2ErrorCode::NO_ERROR);
        self.state = State::LastStreams;
        // the last of its streams may have ended
        self.wake();
    }

    pub(super) fn abort(&mut self, reason: Http2ErrorCode) {
        if self.state.is_over() {
            return;
        }
        self.send_goaway(self.closed.last(), reason);
        self.state = State::Closing { discarded: 0 };
        self.end_streams();
    }

    /// The socket has failed, or the client has closed it.
    fn socket_closed(&mut self) {
        self.state = State::Closed;
        self.end_streams();
    }

    fn end_streams(&mut self) {
        self.block = None;
        self.streams.each().for_each(|stream| stream.end(EndReason::ConnectionClosed));
    }

    pub(super) fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}
