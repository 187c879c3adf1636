//! The upstream's side of one exchange: its answer's head, its body, whether its connection can be used again.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::respond;
use crate::wire::{
    BodyError, FieldName, HeadLimits, Http1Peer, Http2Upstream, Length, Peer, ResponseHead, Version,
};

/// The upstream's side of one exchange.
pub(super) struct Upstream {
    pub(super) peer: Peer,
    answer: AnswerHead,
}

enum AnswerHead {
    Http1 { scanned: usize },
    Http2 { response: Box<h2::client::ResponseFuture> },
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadFailure {
    /// The connection ended before anything of an answer had arrived.
    Closed,
    /// The upstream says that it did not look at the request: it takes no more on this connection.
    GoneAway,
    /// The upstream says that it did not look at the request.
    Refused,
    /// The upstream gave up this request alone.
    Reset,
    Malformed,
}

impl HeadFailure {
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

impl Upstream {
    /// An HTTP/1.1 connection on which the request is sent.
    pub(super) fn http1(peer: Box<Http1Peer>) -> Self {
        Self { peer: Peer::Http1(peer), answer: AnswerHead::Http1 { scanned: 0 } }
    }

    /// A stream of an HTTP/2 connection on which the request is sent.
    pub(super) fn http2(peer: Http2Upstream, response: h2::client::ResponseFuture) -> Self {
        Self { peer: Peer::Http2Upstream(peer), answer: AnswerHead::Http2 { response: Box::new(response) } }
    }

    pub(super) fn peer_mut(&mut self) -> &mut Peer {
        &mut self.peer
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        limits: &HeadLimits,
    ) -> Poll<Result<(), HeadFailure>> {
        match (&mut self.peer, &mut self.answer) {
            (Peer::Http1(peer), AnswerHead::Http1 { scanned }) => loop {
                match head.parse(peer.wire.input(), scanned, limits) {
                    Ok(Some(length)) => {
                        peer.wire.consume(length);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(None) => {}
                    Err(_) => return Poll::Ready(Err(HeadFailure::Malformed)),
                }
                match std::task::ready!(peer.wire.poll_fill(cx)) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) if peer.wire.input().is_empty() => {
                        return Poll::Ready(Err(HeadFailure::Closed));
                    }
                    Ok(_) | Err(_) => return Poll::Ready(Err(HeadFailure::Malformed)),
                }
            },
            (Peer::Http2Upstream(peer), AnswerHead::Http2 { response }) => {
                if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
                    head.from_http2(&interim.into_parts().0);
                    return Poll::Ready(Ok(()));
                }
                match std::task::ready!(Pin::new(response.as_mut()).poll(cx)) {
                    Ok(answer) => {
                        let (parts, body) = answer.into_parts();
                        head.from_http2(&parts);
                        if !head.is_within(limits) {
                            return Poll::Ready(Err(HeadFailure::Malformed));
                        }
                        peer.expect_body(body);
                        Poll::Ready(Ok(()))
                    }
                    Err(error) => Poll::Ready(Err(HeadFailure::of(&error))),
                }
            }
            _ => Poll::Ready(Err(HeadFailure::Malformed)),
        }
    }

    /// Prepares for the answer's body.
    pub(super) fn begin_answer(
        &mut self,
        head: &ResponseHead,
        to_head: bool,
        limits: &HeadLimits,
    ) -> Result<Length, BodyError> {
        match &mut self.peer {
            Peer::Http1(peer) => {
                let length = Length::of_response(head, to_head)?;
                peer.expect_answer(length, *limits);
                Ok(length)
            }
            Peer::Http2Upstream(peer) => peer.announced(head, to_head),
            Peer::Http2(_) => Err(BodyError::Truncated),
        }
    }

    /// Whether not one byte of the request has left.
    pub(super) fn sent_nothing(&self) -> bool {
        matches!(&self.peer, Peer::Http1(peer) if peer.wire.sent_nothing())
    }

    /// Whether a next request may follow on the same connection: it says so, and nothing is left of this one.
    pub(super) fn is_reusable(&mut self, head: &ResponseHead, length: Length) -> bool {
        let Peer::Http1(peer) = &self.peer else { return false };
        head.version == Version::Http11
            && length != Length::UntilClose
            // a body that it announces may still come, against all rules
            && !(head.status == 204 && announces_body(head))
            && !respond::closes(head)
            && !peer.wire.is_eof()
            && peer.wire.input().is_empty()
            && peer.wire.is_flushed()
            && self.peer.is_received()
    }
}

fn announces_body(head: &ResponseHead) -> bool {
    let mut lengths = head.fields.values(FieldName::ContentLength);
    lengths.any(|length| length != b"0") || head.fields.values(FieldName::TransferEncoding).next().is_some()
}
