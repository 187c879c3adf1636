//! The two peers of a proxied exchange, client and upstream, whatever protocol each speaks.

use std::io;
use std::task::{Context, Poll, ready};

use super::body_framing::{BodyDecoder, BodyEncoder, BodyError, BodyLength, Decoded};
use super::buffered_socket::BufferedSocket;
use super::field_block::FieldBlock;
use super::head::{HeadLimits, RequestHead};
use super::http2::Http2Peer;
use super::http2_upstream_peer::Http2UpstreamPeer;
use super::splice::Pipe;
use super::tcp_progress::TcpProgress;

/// Why a message could not be received or sent.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The socket failed or was closed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The message's framing is broken.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The HTTP/2 stream failed or was reset.
    #[error("the HTTP/2 stream failed: {0}")]
    Http2(#[from] h2::Error),
    /// The HTTP/2 stream was closed by the other side.
    #[error("the HTTP/2 stream was closed")]
    Closed,
}

/// What a peer has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// There are body bytes to take, see [`Peer::received`].
    Data,
    /// The body is complete, see [`Peer::trailers`].
    End,
}

/// The client or the upstream of one exchange, whatever protocol it speaks.
pub enum Peer {
    /// An HTTP/1.1 connection.
    Http1(Box<Http1Peer>),
    /// A stream of a client's HTTP/2 connection.
    Http2(Http2Peer),
    /// A stream of an HTTP/2 connection to an upstream.
    Http2Upstream(Http2UpstreamPeer),
}

impl Peer {
    /// Waits for more of the body.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, PeerError>> {
        match self {
            Self::Http1(peer) => peer.poll_receive(cx),
            Self::Http2(peer) => peer.poll_receive(cx),
            Self::Http2Upstream(peer) => peer.poll_receive(cx),
        }
    }

    /// The body bytes received and not yet consumed.
    pub fn received(&self) -> &[u8] {
        match self {
            Self::Http1(peer) => &peer.socket.input()[..peer.ready],
            Self::Http2(peer) => peer.received(),
            Self::Http2Upstream(peer) => peer.received(),
        }
    }

    /// Drops the first `count` received body bytes.
    pub fn consume(&mut self, count: usize) {
        match self {
            Self::Http1(peer) => peer.consume(count),
            Self::Http2(peer) => peer.consume(count),
            Self::Http2Upstream(peer) => peer.consume(count),
        }
    }

    /// The trailers received with the end of the body.
    pub fn trailers(&mut self) -> &mut FieldBlock {
        match self {
            Self::Http1(peer) => &mut peer.trailers,
            Self::Http2(peer) => peer.trailers(),
            Self::Http2Upstream(peer) => peer.trailers(),
        }
    }

    /// Takes some of `bytes` as the next part of the body to send; more than zero.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, PeerError>> {
        match self {
            Self::Http1(peer) => peer.poll_send(cx, bytes),
            Self::Http2(peer) => peer.poll_send(cx, bytes),
            Self::Http2Upstream(peer) => peer.poll_send(cx, bytes),
        }
    }

    /// Ends the sent body. To be called once; [`poll_flush`](Self::poll_flush) then brings it out.
    pub fn finish(&mut self, trailers: &FieldBlock) -> Result<(), PeerError> {
        match self {
            Self::Http1(peer) => Ok(peer.encoder.finish(trailers, peer.socket.output())?),
            Self::Http2(peer) => peer.finish(trailers),
            Self::Http2Upstream(peer) => peer.finish(trailers),
        }
    }

    /// Writes out what was taken.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        match self {
            Self::Http1(peer) => Poll::Ready(Ok(ready!(peer.socket.poll_flush(cx))?)),
            Self::Http2(peer) => peer.poll_flush(cx),
            // the connection's own task writes
            Self::Http2Upstream(_) => Poll::Ready(Ok(())),
        }
    }

    /// How many bytes wait to be written, roughly. It changes while the other side takes any.
    pub fn unsent(&self) -> usize {
        match self {
            Self::Http1(peer) => peer.socket.unsent(),
            // what the connection's own task has is not known here
            Self::Http2(_) | Self::Http2Upstream(_) => 0,
        }
    }

    /// How far the other side has taken what was sent. `None` where the kernel does not say, and for a stream to an
    /// upstream, whose connection others share: its place knows.
    pub fn progress(&self) -> Option<TcpProgress> {
        match self {
            Self::Http1(peer) => peer.socket.progress(),
            Self::Http2(peer) => peer.progress(),
            Self::Http2Upstream(_) => None,
        }
    }

    /// Tells the other side of a tunnel that nothing more will come.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        match self {
            Self::Http1(peer) => Poll::Ready(Ok(ready!(peer.socket.poll_shutdown(cx))?)),
            Self::Http2(peer) => Poll::Ready(peer.finish(&FieldBlock::default())),
            Self::Http2Upstream(peer) => Poll::Ready(peer.finish(&FieldBlock::default())),
        }
    }

    /// Whether the whole received body was taken.
    pub fn is_received(&self) -> bool {
        match self {
            Self::Http1(peer) => peer.ready == 0 && peer.decoder.is_done(),
            Self::Http2(peer) => peer.is_received(),
            Self::Http2Upstream(peer) => peer.is_received(),
        }
    }

    /// Waits, before a response begins, for a sign that the client has left: a failed connection, or a client that has
    /// ended its direction and has not sent a whole next request before.
    pub fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(peer) => peer.poll_abandoned(cx),
            Self::Http2(_) | Self::Http2Upstream(_) => self.poll_disconnected(cx),
        }
    }

    /// Waits, while a response is sent, for a sign that the client has left: only a failed connection is one.
    pub fn poll_disconnected(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(peer) => peer.poll_disconnected(cx),
            Self::Http2(peer) => peer.poll_disconnected(cx),
            Self::Http2Upstream(peer) => peer.poll_disconnected(cx),
        }
    }
}

/// An HTTP/1.1 connection during one exchange.
pub struct Http1Peer {
    /// The connection.
    pub socket: BufferedSocket,
    decoder: BodyDecoder,
    encoder: BodyEncoder,
    /// How many bytes at the front of the input are body.
    ready: usize,
    trailers: FieldBlock,
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

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, PeerError>> {
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

    fn consume(&mut self, count: usize) {
        self.socket.consume(count);
        self.decoder.consumed(count);
        self.ready -= count;
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, PeerError>> {
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

    /// Ready when the connection failed, or ended with nothing behind the request that waits for its answer.
    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_disconnected(cx).is_ready() {
            return Poll::Ready(());
        }
        let has_left = self.socket.is_eof()
            && if self.ended_before {
                // it sent several requests and then ended its direction; if it is gone, it resets what it is answered
                !matches!(self.socket.tcp().take_error(), Ok(None))
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
    fn poll_disconnected(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.socket.is_eof() && self.socket.input().len() < READ_AHEAD_BYTES {
            if ready!(self.socket.poll_fill(cx)).is_err() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
