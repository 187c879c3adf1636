//! The two peers of a proxied exchange, client and upstream, whatever protocol each speaks.

use std::task::{Context, Poll, ready};

use super::field_block::FieldBlock;
use super::http1_peer::Http1Peer;
use super::http2::Http2Peer;
use super::http2_upstream_peer::Http2UpstreamPeer;
use super::peer_result::{PeerError, Received};
use super::send_progress::SendProgress;

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
    pub fn progress(&self) -> Option<SendProgress> {
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
