//! The upstream's response: its head, the framing of its body, and whether its connection can be used again.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::client_response;
use crate::wire::{
    BodyError, BodyLength, HeadLimits, HeaderRule, Http1Peer, Http2UpstreamPeer, Peer, ResponseHead, Version,
};

/// A connection or stream to the upstream on which a request is sent and its response read.
pub(super) struct UpstreamAttempt {
    pub(super) peer: Peer,
    answer: PendingHead,
}

enum PendingHead {
    Http1 { scanned: usize },
    Http2 { response: Box<h2::client::ResponseFuture> },
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseHeadError {
    /// The connection ended before anything of an answer had arrived.
    Closed,
    /// GOAWAY: the upstream did not look at the request, and takes no more on this connection.
    GoneAway,
    /// `REFUSED_STREAM`: the upstream did not look at the request.
    Refused,
    /// `RST_STREAM`: the upstream ended this request alone.
    Reset,
    Malformed,
}

impl ResponseHeadError {
    /// RFC 9113 §8.7: what was not processed at all. Whatever a GOAWAY's reason, the library hands it on to the streams
    /// beyond the last that the upstream has looked at, and to no other.
    pub(super) fn of(error: &h2::Error) -> Self {
        if error.is_go_away() && error.is_remote() {
            Self::GoneAway
        } else if error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
        {
            Self::Refused
        } else if error.is_io() {
            Self::Closed
        } else {
            Self::Reset
        }
    }
}

impl UpstreamAttempt {
    /// An HTTP/1.1 connection on which the request is sent.
    pub(super) fn http1(peer: Box<Http1Peer>) -> Self {
        Self { peer: Peer::Http1(peer), answer: PendingHead::Http1 { scanned: 0 } }
    }

    /// A stream of an HTTP/2 connection on which the request is sent.
    pub(super) fn http2(peer: Http2UpstreamPeer, response: h2::client::ResponseFuture) -> Self {
        Self { peer: Peer::Http2Upstream(peer), answer: PendingHead::Http2 { response: Box::new(response) } }
    }

    pub(super) fn peer_mut(&mut self) -> &mut Peer {
        &mut self.peer
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        limits: &HeadLimits,
    ) -> Poll<Result<(), ResponseHeadError>> {
        match (&mut self.peer, &mut self.answer) {
            (Peer::Http1(peer), PendingHead::Http1 { scanned }) => loop {
                match head.parse(peer.socket.input(), scanned, limits) {
                    Ok(Some(length)) => {
                        peer.socket.consume(length);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(None) => {}
                    Err(_) => return Poll::Ready(Err(ResponseHeadError::Malformed)),
                }
                match std::task::ready!(peer.socket.poll_fill(cx)) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) if peer.socket.input().is_empty() => {
                        return Poll::Ready(Err(ResponseHeadError::Closed));
                    }
                    Ok(_) | Err(_) => return Poll::Ready(Err(ResponseHeadError::Malformed)),
                }
            },
            (Peer::Http2Upstream(peer), PendingHead::Http2 { response }) => {
                if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
                    head.from_http2(&interim.into_parts().0);
                    return Poll::Ready(Ok(()));
                }
                match std::task::ready!(Pin::new(response.as_mut()).poll(cx)) {
                    Ok(answer) => {
                        let (parts, body) = answer.into_parts();
                        head.from_http2(&parts);
                        if !head.is_within(limits) {
                            return Poll::Ready(Err(ResponseHeadError::Malformed));
                        }
                        peer.expect_body(body);
                        Poll::Ready(Ok(()))
                    }
                    Err(error) => Poll::Ready(Err(ResponseHeadError::of(&error))),
                }
            }
            _ => Poll::Ready(Err(ResponseHeadError::Malformed)),
        }
    }

    /// Prepares for the answer's body.
    pub(super) fn begin_response_body(
        &mut self,
        head: &ResponseHead,
        to_head: bool,
        limits: &HeadLimits,
    ) -> Result<BodyLength, BodyError> {
        match &mut self.peer {
            Peer::Http1(peer) => {
                let length = BodyLength::of_response(head, to_head)?;
                peer.expect_response(length, *limits);
                Ok(length)
            }
            Peer::Http2Upstream(peer) => peer.response_length(head, to_head),
            Peer::Http2(_) => Err(BodyError::Truncated),
        }
    }

    /// Whether not one byte of the request has left.
    pub(super) fn sent_nothing(&self) -> bool {
        matches!(&self.peer, Peer::Http1(peer) if peer.socket.sent_nothing())
    }

    /// Whether a next request may follow on the same connection: it says so, and nothing is left of this one.
    pub(super) fn is_reusable(&mut self, head: &ResponseHead, length: BodyLength) -> bool {
        let Peer::Http1(peer) = &self.peer else { return false };
        head.version == Version::Http11
            && length != BodyLength::UntilClose
            // a body that it announces may still come, against all rules
            && !(head.status == 204 && announces_body(head))
            && !client_response::closes_connection(head)
            && !peer.socket.is_eof()
            && peer.socket.input().is_empty()
            && peer.socket.is_flushed()
            && self.peer.is_received()
    }
}

fn announces_body(head: &ResponseHead) -> bool {
    let mut lengths = head.fields.values(HeaderRule::ContentLength);
    lengths.any(|length| length != b"0") || head.fields.values(HeaderRule::TransferEncoding).next().is_some()
}
