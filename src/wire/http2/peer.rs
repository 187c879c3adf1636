//! One stream, as its exchange sees it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::super::buffer_pool;
use super::super::field_block::FieldBlock;
use super::super::peer_result::{PeerError, Received};
use super::super::send_progress::SendProgress;
use super::connection::Connection;
use super::frame::{Http2ErrorCode, saturating_u32};
use super::hpack_encoder::HeaderBlockWriter;
use super::send::SendCapacity;
use super::streams::MAX_POOLED_BYTES;

/// A client's stream during one exchange. Dropping it ends what of the stream is still open.
pub struct Http2Peer {
    connection: Rc<RefCell<Connection>>,
    stream: usize,
    /// What was received and handed out, and how much of it was taken.
    chunk: Vec<u8>,
    taken: usize,
    trailers: FieldBlock,
    /// A head was sent that is not of an interim answer.
    is_answered: bool,
    /// How many bytes are still to be sent, where the last of them ends the stream.
    left: Option<u64>,
    /// What is to be sent last, of the gateway's own answer.
    last: Vec<u8>,
}

impl Http2Peer {
    pub(super) fn new(connection: Rc<RefCell<Connection>>, stream: usize) -> Self {
        Self {
            connection,
            stream,
            chunk: Vec::new(),
            taken: 0,
            trailers: FieldBlock::default(),
            is_answered: false,
            left: None,
            last: Vec::new(),
        }
    }

    /// Sends the head of an answer, interim (1xx) or not, with the fields that `write` gives; `ends`: no body follows.
    pub fn respond(
        &mut self,
        status: u16,
        ends: bool,
        write: impl FnOnce(&mut HeaderBlockWriter<'_>),
    ) -> Result<(), PeerError> {
        let mut connection = self.connection.borrow_mut();
        let stream = connection.streams.get(self.stream);
        if stream.ended.is_some() || self.is_answered {
            return Err(PeerError::Closed);
        }
        self.is_answered = status >= 200;
        connection.send_head(self.stream, ends, |block| {
            block.status(status);
            write(block);
        });
        Ok(())
    }

    /// Sends a small body whole, as much at a time as the client takes; `poll_flush` brings out
    /// what it does not take at once.
    pub fn send_whole_body(&mut self, body: &[u8]) {
        self.left = Some(body.len() as u64);
        self.last = body.to_vec();
    }

    /// Says that the body has so many bytes and no trailers: the stream ends with the last of them, not after it.
    pub fn set_body_length(&mut self, length: u64) {
        self.left = Some(length);
    }

    /// Whether the client has cancelled the stream, or broken a rule on it.
    pub fn is_reset_by_client(&self) -> bool {
        self.connection.borrow_mut().streams.get(self.stream).ended.is_some()
    }

    /// Ends the stream at once.
    pub fn reset(&mut self, reason: Http2ErrorCode) {
        self.connection.borrow_mut().reset(self.stream, reason);
    }

    pub(in super::super) fn progress(&self) -> Option<SendProgress> {
        self.connection.borrow().socket.progress()
    }

    pub(in super::super) fn received(&self) -> &[u8] {
        &self.chunk[self.taken..]
    }

    pub(in super::super) fn consume(&mut self, count: usize) {
        self.taken += count;
        // a chunk is never larger than the window
        self.connection.borrow_mut().release_capacity(Some(self.stream), saturating_u32(count));
    }

    pub(in super::super) fn trailers(&mut self) -> &mut FieldBlock {
        &mut self.trailers
    }

    pub(in super::super) fn is_received(&self) -> bool {
        let mut connection = self.connection.borrow_mut();
        let stream = connection.streams.get(self.stream);
        self.received().is_empty() && stream.is_received && stream.received.is_empty()
    }

    pub(in super::super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Received, PeerError>> {
        if self.taken < self.chunk.len() {
            return Poll::Ready(Ok(Received::Data));
        }
        let mut connection = self.connection.borrow_mut();
        let stream = connection.streams.get(self.stream);
        stream.wake_with(cx);
        if stream.ended.is_some() {
            return Poll::Ready(Err(PeerError::Closed));
        }
        if !stream.received.is_empty() {
            self.chunk.clear();
            self.taken = 0;
            std::mem::swap(&mut self.chunk, &mut stream.received);
            return Poll::Ready(Ok(Received::Data));
        }
        if stream.is_received {
            if !stream.trailers.is_empty() {
                self.trailers = std::mem::take(&mut stream.trailers);
            }
            return Poll::Ready(Ok(Received::End));
        }
        Poll::Pending
    }

    pub(in super::super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, PeerError>> {
        let mut connection = self.connection.borrow_mut();
        let room = match connection.send_capacity(self.stream) {
            SendCapacity::Bytes(room) => room,
            SendCapacity::Ended => return Poll::Ready(Err(PeerError::Closed)),
            SendCapacity::StreamWindowClosed => {
                connection.streams.get(self.stream).wake_with(cx);
                connection.wake_senders();
                return Poll::Pending;
            }
            SendCapacity::Wait => {
                connection.streams.get(self.stream).wake_with(cx);
                connection.streams.wait(self.stream);
                // to those that wait longer, where it is only their turn
                connection.wake_senders();
                return Poll::Pending;
            }
        };
        let count = room.min(bytes.len());
        self.left = self.left.map(|left| left.saturating_sub(count as u64));
        connection.send_data(self.stream, &bytes[..count], self.left == Some(0));
        Poll::Ready(Ok(count))
    }

    pub(in super::super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        while !self.last.is_empty() {
            let last = std::mem::take(&mut self.last);
            let sent = self.poll_send(cx, &last);
            self.last = last;
            match sent {
                Poll::Ready(Ok(count)) => drop(self.last.drain(..count)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // the connection's own task writes
        Poll::Ready(Ok(()))
    }

    pub(in super::super) fn finish(&mut self, trailers: &FieldBlock) -> Result<(), PeerError> {
        let mut connection = self.connection.borrow_mut();
        let stream = connection.streams.get(self.stream);
        if stream.is_sent {
            return Ok(());
        }
        if stream.ended.is_some() {
            return Err(PeerError::Closed);
        }
        if trailers.is_empty() {
            connection.send_data(self.stream, &[], true);
        } else {
            connection.send_head(self.stream, true, |block| {
                trailers.iter().for_each(|(_, name, value)| block.field(name, value));
            });
        }
        Ok(())
    }

    pub(in super::super) fn poll_disconnected(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut connection = self.connection.borrow_mut();
        let stream = connection.streams.get(self.stream);
        if stream.ended.is_some() {
            return Poll::Ready(());
        }
        stream.wake_with(cx);
        Poll::Pending
    }
}

impl Drop for Http2Peer {
    fn drop(&mut self) {
        self.connection.borrow_mut().close(self.stream, self.chunk.len() - self.taken);
        buffer_pool::return_output(std::mem::take(&mut self.chunk), MAX_POOLED_BYTES);
    }
}
