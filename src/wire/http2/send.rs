//! What goes to the client. All of it is appended to what waits to be written; the connection's task writes.

use super::connection::{CONNECTION_WINDOW_BYTES, Connection};
use super::frame::{
    self, CONTINUATION, DATA, DEFAULT_WINDOW, END_HEADERS, END_STREAM, FrameHeader, GOAWAY, HEADERS,
    Http2ErrorCode, PAYLOAD_BYTES, PING, RST_STREAM, SETTINGS, SHUTDOWN_PING, WINDOW_UPDATE, saturating_u32,
    setting,
};
use super::hpack_encoder::HeaderBlockWriter;
use super::streams::{EndReason, STREAM_WINDOW_BYTES, SendTurn, Stream};

/// How much of bodies may wait to be written. The streams of a connection take turns.
const SEND_BUFFER_BYTES: usize = 32 * 1024;
/// A body waits rather than being sent in smaller pieces.
const MIN_PIECE_BYTES: usize = 1024;
/// How many idle frames a piece of a body excuses, if it is not tiny.
const PER_PIECE: u32 = 2;
const TINY_PIECE: usize = 32;

/// How much of a body may be sent on a stream now.
pub(super) enum SendCapacity {
    /// So many bytes.
    Bytes(usize),
    /// Nothing, until the client opens the stream's window.
    StreamWindowClosed,
    /// Nothing, until other streams have been served or the client opens the connection's window.
    Wait,
    /// Nothing any more.
    Ended,
}

impl Connection {
    pub(super) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        if !self.state.is_over() {
            frame::write(self.socket.output(), kind, flags, stream, payload);
            self.wake();
        }
    }

    /// Sends the server's connection preface (RFC 9113 §3.4).
    pub(super) fn send_preface(&mut self) {
        let settings = [
            (setting::MAX_CONCURRENT_STREAMS, self.limits.streams),
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
            (
                setting::MAX_HEADER_LIST_SIZE,
                saturating_u32(self.limits.header_bytes + self.limits.line_bytes),
            ),
            (setting::ENABLE_CONNECT_PROTOCOL, 1),
        ];
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.send(SETTINGS, 0, 0, &payload);
        self.send_window_update(0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW);
    }

    fn send_window_update(&mut self, stream: u32, increment: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
    }

    pub(super) fn send_reset(&mut self, stream: u32, reason: Http2ErrorCode) {
        self.send(RST_STREAM, 0, stream, &reason.0.to_be_bytes());
    }

    pub(super) fn send_goaway(&mut self, last: u32, reason: Http2ErrorCode) {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&last.to_be_bytes());
        payload[4..].copy_from_slice(&reason.0.to_be_bytes());
        self.send(GOAWAY, 0, 0, &payload);
    }

    pub(super) fn send_shutdown_ping(&mut self) {
        self.send(PING, 0, 0, &SHUTDOWN_PING);
    }

    /// Ends a stream before its time.
    pub(super) fn reset(&mut self, number: usize, reason: Http2ErrorCode) {
        let stream = self.streams.get(number);
        if stream.ended.is_none() {
            let id = stream.id;
            stream.end(EndReason::ResetHere);
            self.send_reset(id, reason);
        }
    }

    /// Sends a header block with the lines that `write` gives.
    pub(super) fn send_head(
        &mut self,
        number: usize,
        ends: bool,
        write: impl FnOnce(&mut HeaderBlockWriter<'_>),
    ) {
        let mut block = std::mem::take(&mut self.head_block);
        write(&mut HeaderBlockWriter::new(&mut block, std::mem::take(&mut self.announce_no_table)));
        let stream = self.streams.get(number);
        stream.is_sent = ends;
        let id = stream.id;
        let mut kind = HEADERS;
        let mut flags = if ends { END_STREAM } else { 0 };
        let mut rest = &block[..];
        loop {
            let (payload, tail) = rest.split_at(rest.len().min(PAYLOAD_BYTES));
            if tail.is_empty() {
                flags |= END_HEADERS;
            }
            frame::write(self.socket.output(), kind, flags, id, payload);
            if tail.is_empty() {
                break;
            }
            (kind, flags, rest) = (CONTINUATION, 0, tail);
        }
        // one that was unusually large is not kept for the life of the connection
        if block.capacity() <= PAYLOAD_BYTES {
            self.head_block = block;
        }
        self.wake();
    }

    /// How much of a body may be sent on a stream now.
    pub(super) fn send_capacity(&mut self, number: usize) -> SendCapacity {
        let room = SEND_BUFFER_BYTES.saturating_sub(self.socket.unsent());
        let stream = self.streams.get(number);
        if stream.ended.is_some() || stream.is_sent {
            return SendCapacity::Ended;
        }
        if stream.send_window <= 0 {
            return SendCapacity::StreamWindowClosed;
        }
        let (window, is_next) = (stream.send_window.min(self.send_window), stream.turn == SendTurn::Next);
        // streams that wait go first
        let is_others_turn = !is_next && !self.streams.waiting.is_empty();
        if self.send_window <= 0 || room < MIN_PIECE_BYTES || is_others_turn {
            return SendCapacity::Wait;
        }
        SendCapacity::Bytes(usize::try_from(window).unwrap_or(usize::MAX).min(room).min(PAYLOAD_BYTES))
    }

    /// Sends a piece of a body for which there is room.
    pub(super) fn send_data(&mut self, number: usize, bytes: &[u8], ends: bool) {
        let stream = self.streams.get(number);
        let count = i64::from(saturating_u32(bytes.len()));
        stream.send_window -= count;
        self.send_window -= count;
        stream.is_sent = ends;
        if stream.turn == SendTurn::Next {
            stream.turn = SendTurn::None;
        }
        let flags = if ends { END_STREAM } else { 0 };
        let output = self.socket.output();
        FrameHeader { length: bytes.len(), kind: DATA, flags, stream: stream.id }.write(output);
        output.extend_from_slice(bytes);
        if bytes.len() >= TINY_PIECE {
            self.credit_idle_frames(PER_PIECE);
        }
        self.wake();
    }

    /// Wakes as many of the waiting streams as there is room for. Each that writes has the connection's task come here
    /// again; each that does not, comes here itself.
    pub(super) fn wake_senders(&mut self) {
        let mut room = SEND_BUFFER_BYTES.saturating_sub(self.socket.unsent());
        while room >= MIN_PIECE_BYTES && self.send_window > 0 && self.streams.wake_next() {
            room = room.saturating_sub(PAYLOAD_BYTES);
        }
    }

    /// Notes that received bytes were taken, of a stream or of none: the client may send as many again.
    pub(super) fn release_capacity(&mut self, number: Option<usize>, count: u32) {
        self.taken += count;
        if self.taken >= CONNECTION_WINDOW_BYTES / 2 {
            let increment = std::mem::take(&mut self.taken);
            self.receive_window += increment;
            self.send_window_update(0, increment);
        }
        let Some(stream) = number.map(|number| self.streams.get(number)) else { return };
        stream.taken += count;
        if stream.receives() && stream.taken >= STREAM_WINDOW_BYTES / 2 {
            let (id, increment) = (stream.id, std::mem::take(&mut stream.taken));
            stream.receive_window += increment;
            self.send_window_update(id, increment);
        }
    }

    /// Removes a stream whose exchange is over. `unread`: what was handed out of it and not taken.
    pub(super) fn close(&mut self, number: usize, unread: usize) {
        let stream: Stream = self.streams.close(number);
        if let Some(closed) = stream.closed() {
            self.closed.end(stream.id, closed);
        }
        match (stream.ended, stream.is_sent, stream.is_received) {
            (Some(_), ..) => {}
            (None, true, true) => self.credit_error_reset(),
            // the answer is whole, and the rest of the request is of no use (RFC 9113 §8.1)
            (None, true, false) => self.send_reset(stream.id, Http2ErrorCode::NO_ERROR),
            (None, false, _) => self.send_reset(stream.id, Http2ErrorCode::INTERNAL_ERROR),
        }
        // bounded by the window
        self.release_capacity(None, saturating_u32(stream.received.len() + unread));
        // it may have been woken to send and not have sent
        self.wake_senders();
        if self.streams.len() == 0 {
            self.wake();
        }
    }
}
