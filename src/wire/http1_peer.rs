//! An HTTP/1.1 connection as one side of an exchange.

use std::task::{Context, Poll, ready};

use super::body_framing::{BodyDecoder, BodyEncoder, BodyLength};
use super::buffered_socket::BufferedSocket;
use super::chunked::Decoded;
use super::field_block::FieldBlock;
use super::head::{HeadLimits, RequestHead};
use super::peer_result::{PeerError, Received};
use super::splice::Pipe;

/// An HTTP/1.1 connection during one exchange.
pub struct Http1Peer {
    /// The connection.
    pub socket: BufferedSocket,
    pub(super) decoder: BodyDecoder,
    pub(super) encoder: BodyEncoder,
    /// How many bytes at the front of the input are body.
    pub(super) ready: usize,
    pub(super) trailers: FieldBlock,
    /// The other side had ended its direction before the message that is being received began.
    ended_before: bool,
}

/// How much is read of pipelined requests while a response is prepared.
const READ_AHEAD_BYTES: usize = 16 * 1024;

impl Http1Peer {
    /// A connection that receives and sends nothing yet.
    pub fn new(socket: BufferedSocket) -> Self {
        Self {
            socket,
            decoder: BodyDecoder::new(BodyLength::NONE),
            encoder: BodyEncoder::new(BodyLength::NONE),
            ready: 0,
            trailers: FieldBlock::default(),
            ended_before: false,
        }
    }

    /// Expects a body of this length next.
    pub fn expect_body(&mut self, length: BodyLength) {
        self.decoder = BodyDecoder::new(length);
        self.ready = 0;
        self.trailers.clear();
        self.ended_before = self.socket.is_eof();
    }

    /// Expects an answer's body of this length next, with trailers within these limits.
    pub fn expect_response(&mut self, length: BodyLength, limits: HeadLimits) {
        self.expect_body(length);
        self.decoder = BodyDecoder::of_response(length, limits);
    }

    /// Announces that a body of this length will be sent next.
    pub fn begin_body(&mut self, length: BodyLength) {
        self.encoder = BodyEncoder::new(length);
    }

    /// Whether an orderly end of the connection would make a whole body of what was sent so far.
    pub fn sends_until_close(&self) -> bool {
        self.encoder.is_until_close()
    }

    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, PeerError>> {
        loop {
            if self.ready > 0 {
                return Poll::Ready(Ok(Received::Data));
            }
            let (skipped, decoded) =
                self.decoder.decode(self.socket.input(), self.socket.is_eof(), &mut self.trailers)?;
            self.socket.consume(skipped);
            match decoded {
                Decoded::Data(ready) => self.ready = ready,
                Decoded::End => return Poll::Ready(Ok(Received::End)),
                // at the end of the stream the decoder says whether the body may end there
                Decoded::NeedMore => {
                    ready!(self.socket.poll_fill(cx))?;
                }
            }
        }
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.socket.consume(count);
        self.decoder.consumed(count);
        self.ready -= count;
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, PeerError>> {
        let count = self.encoder.begin(bytes.len(), self.socket.output())?;
        let sent = ready!(self.socket.poll_send(cx, &bytes[..count]))?;
        self.encoder.written(sent, self.socket.output());
        Poll::Ready(Ok(sent))
    }

    /// Whether what comes next of the body received can go to `to` as it is, and is `least` bytes or more.
    pub(super) fn may_splice(&self, to: &Self, least: u64) -> bool {
        self.decoder.exact().is_some_and(|left| left >= least && to.encoder.exact() == Some(left))
            && self.socket.input().is_empty()
            && !self.socket.is_eof()
            && !self.socket.is_tls()
            && !to.socket.is_tls()
    }

    /// Takes more of the body into an empty pipe; 0 at the end of the stream.
    pub(super) fn poll_receive_into(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe<'_>,
    ) -> Poll<Result<usize, PeerError>> {
        let Some(left) = self.decoder.exact() else { return Poll::Ready(Ok(0)) };
        let taken = ready!(self.socket.poll_fill_pipe(cx, pipe, left))?;
        self.decoder.consumed(taken);
        Poll::Ready(Ok(taken))
    }

    /// Sends what a pipe holds as the next part of the body.
    pub(super) fn poll_send_from(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe<'_>,
    ) -> Poll<Result<usize, PeerError>> {
        let sent = ready!(self.socket.poll_empty_pipe(cx, pipe))?;
        self.encoder.written(sent, self.socket.output());
        Poll::Ready(Ok(sent))
    }

    /// Ready when the connection failed, or ended without a whole next request.
    pub(super) fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_disconnected(cx).is_ready() {
            return Poll::Ready(());
        }
        let has_left = self.socket.is_eof()
            && if self.ended_before {
                // it sent several requests and then ended its direction; if it is gone, it resets what it is answered
                !matches!(self.socket.stream().take_error(), Ok(None))
            } else {
                !self.holds_request()
            };
        if has_left { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether a whole next request has been read.
    fn holds_request(&self) -> bool {
        let most = READ_AHEAD_BYTES;
        let limits = HeadLimits { header_bytes: most, header_count: most, line_bytes: most };
        let input = self.socket.input();
        let mut head = RequestHead::default();
        let Ok(Some(mut at)) = head.parse(input, &mut 0, &limits) else { return false };
        let Ok(length) = BodyLength::of_request(&head) else { return false };
        let mut decoder = BodyDecoder::new(length);
        let mut trailers = FieldBlock::default();
        while let Ok((skipped, decoded)) = decoder.decode(&input[at..], true, &mut trailers) {
            at += skipped;
            match decoded {
                Decoded::Data(count) => {
                    decoder.consumed(count);
                    at += count;
                }
                Decoded::End => return true,
                Decoded::NeedMore => return false,
            }
        }
        false
    }

    /// Ready when the connection failed. The end of the stream alone is no such sign: a client may close its
    /// direction after the request and still read the answer.
    pub(super) fn poll_disconnected(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.socket.is_eof() && self.socket.input().len() < READ_AHEAD_BYTES {
            if ready!(self.socket.poll_fill(cx)).is_err() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
