//! One attempt: sends the request to an upstream and brings the response back, both ways at once.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;

use super::client_response;
use super::exchange::{Exchange, ExchangeEnd, ExchangeFailure, Retry, WaitingFor, poll_once};
use super::headers::passes_as_trailer;
use super::refusal::Refusal;
use super::upload::Upload;
use super::upstream_response::{ResponseHeadError, UpstreamAttempt};
use crate::upstream::Failure;
use crate::wire::{BodyCopy, BodyLength, CopyError, Peer, ResponseHead, Version};

/// How long a client that has closed its direction may leave the response unread.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// After which failures a request may be sent again.
#[derive(Clone, Copy, Default)]
pub(super) struct RetryPolicy {
    /// The connection ended without an answer.
    pub(super) after_close: bool,
    /// The upstream takes no more on the connection.
    pub(super) after_goaway: bool,
    /// The upstream did not look at the request.
    pub(super) after_refused_stream: bool,
}

impl Exchange<'_> {
    /// Sends the body, and brings the response back. `Ok`: how it ended, and whether the upstream's connection can carry
    /// another request.
    pub(super) async fn run_attempt(
        &self,
        client: &mut Peer,
        upstream: &mut UpstreamAttempt,
        upload: &mut Upload<'_>,
        retry: RetryPolicy,
    ) -> Result<(ExchangeEnd, bool), ExchangeFailure> {
        let may_move = || self.permitted.has_lease();
        let mut head = ResponseHead::default();
        let mut informational = 0;
        self.wait_for(WaitingFor::Upstream, self.timeouts.upstream_response);
        loop {
            poll_fn(|cx| self.poll_response_head(cx, client, upstream, upload, &mut head, retry)).await?;
            match head.status {
                101 => break,
                100..=199 => {
                    informational += 1;
                    if informational > self.max_informational {
                        return Err(self.broken("the upstream sent too many interim answers"));
                    }
                    // HTTP/1.0 knows no interim answers (RFC 9110 §15.2)
                    let understood = self.permitted.admitted.head.version != Version::Http10;
                    if understood && !self.send_interim(client, head.status, Some(&head)).await {
                        return Err(ExchangeFailure::Ended(ExchangeEnd::ClientGone("the client is gone")));
                    }
                }
                _ => break,
            }
        }
        self.note_answer(head.status);
        match Failure::of_status(head.status) {
            Some(failure) => {
                self.failed(failure);
                if self.may_retry_elsewhere(upload) {
                    return Err(ExchangeFailure::Retry(Retry::OtherEndpoint));
                }
            }
            None => self.succeeded(),
        }
        // it is looked at: there is no second time
        upload.copy.stop_keeping();
        if head.status == 101 {
            return Box::pin(self.tunnel(client, upstream, upload.copy.is_done(), &head)).await;
        }
        // to an extended CONNECT, success means that the tunnel is open (RFC 8441 §5)
        if self.permitted.admitted.head.protocol().is_some() && (200..300).contains(&head.status) {
            return Err(self.broken("the upstream answered without opening the tunnel"));
        }
        let to_head = self.permitted.admitted.method == Method::HEAD;
        let length = upstream
            .begin_response_body(&head, to_head, &self.response_limits)
            .map_err(|_| self.broken("the upstream's answer has unclear framing"))?;
        // where it has broken off before anything of it went to the client, there is a better answer
        if let Some(Err(_)) = poll_once(|cx| upstream.peer_mut().poll_receive(cx)) {
            return Err(self.broken("the upstream's answer broke off"));
        }
        let answer = client_response::ForwardedResponse {
            head: &head,
            length,
            to_head,
            // asked only now: the gateway may have begun to stop while the upstream worked
            keep_alive: self.keep_alive && upload.copy.is_done() && !self.worker.is_draining(),
            version: self.permitted.admitted.head.version,
            cors: self.permitted.cors,
            has_cors_policy: self.permitted.has_cors_policy,
            date: self.worker.date(),
            key_expires: self.key_expires_soon(),
        };
        self.answered(head.status);
        let client_reusable = client_response::send_upstream_head(client, &answer)
            .map_err(|_| ExchangeFailure::Ended(ExchangeEnd::ClientGone("the client is gone")))?;
        if let (Peer::Http2(client), Peer::Http1(_), BodyLength::Exact(bytes)) =
            (&mut *client, &upstream.peer, length)
        {
            // HTTP/1.1 has no trailers after a body whose length it announced (RFC 9112 §6.5)
            client.set_body_length(bytes);
        }

        let trailer_passes = |rule, name: &[u8]| passes_as_trailer(&head.fields, rule, name);
        let mut download =
            BodyCopy::message(u64::MAX, &trailer_passes).only_while(&may_move).through_pipes(self.pipe_pool);
        let done = poll_fn(|cx| self.poll_response_body(cx, client, upstream, upload, &mut download)).await;
        self.progress.sent.set(download.bytes);
        done?;
        let uploaded = upload.copy.is_done();
        let upstream_reusable = uploaded && upstream.is_reusable(&head, length);
        Ok((ExchangeEnd::Completed { reusable: client_reusable && uploaded }, upstream_reusable))
    }

    fn poll_response_head(
        &self,
        cx: &mut Context<'_>,
        client: &mut Peer,
        upstream: &mut UpstreamAttempt,
        upload: &mut Upload<'_>,
        head: &mut ResponseHead,
        retry: RetryPolicy,
    ) -> Poll<Result<(), ExchangeFailure>> {
        self.poll_upload(cx, client, upstream, upload)?;
        match upstream.poll_head(cx, head, &self.response_limits) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                return Poll::Ready(Err(self.without_head(error, upstream, upload, retry)));
            }
            Poll::Pending => {}
        }
        if upload.copy.is_done() && client.poll_abandoned(cx).is_ready() {
            return Poll::Ready(Err(ExchangeFailure::Ended(ExchangeEnd::ClientGone("the client is gone"))));
        }
        if self.is_stalled(upstream.peer_mut()) {
            self.failed(Failure::Timeout);
            if self.may_retry_elsewhere(upload) {
                return Poll::Ready(Err(ExchangeFailure::Retry(Retry::OtherEndpoint)));
            }
            return Poll::Ready(Err(ExchangeFailure::Ended(ExchangeEnd::Refused(Refusal::UpstreamTimeout))));
        }
        Poll::Pending
    }

    /// What becomes of a request to which there is no answer.
    fn without_head(
        &self,
        error: ResponseHeadError,
        upstream: &UpstreamAttempt,
        upload: &Upload<'_>,
        retry: RetryPolicy,
    ) -> ExchangeFailure {
        // a kept connection may be closed by the upstream at any time. Where it says that it did not look at the request,
        // nothing of the request left, or doing it twice does no harm (RFC 9110 §9.2.2), it is sent again; otherwise it is
        // not known what the upstream did with it
        let is_unread = upstream.sent_nothing();
        let may_repeat = match error {
            ResponseHeadError::GoneAway => retry.after_goaway,
            ResponseHeadError::Refused => retry.after_refused_stream,
            ResponseHeadError::Closed => {
                retry.after_close && (is_unread || is_idempotent(&self.permitted.admitted.method))
            }
            ResponseHeadError::Reset | ResponseHeadError::Malformed => false,
        };
        if may_repeat && upload.copy.can_restart() {
            return ExchangeFailure::Retry(Retry::OtherConnection(error));
        }
        self.failed(match error {
            ResponseHeadError::Malformed => Failure::Broken,
            _ => Failure::Reset,
        });
        if self.may_retry_elsewhere(upload) {
            return ExchangeFailure::Retry(Retry::OtherEndpoint);
        }
        ExchangeFailure::Ended(ExchangeEnd::Refused(Refusal::UpstreamBroken(match error {
            ResponseHeadError::Reset => "the upstream reset the stream",
            ResponseHeadError::Malformed => "the upstream's answer is malformed",
            _ => "the upstream closed the connection without an answer",
        })))
    }

    /// Whether the request goes to another endpoint after it failed at this one: doing it twice does no harm, all of it is
    /// here, and there is an endpoint that is well.
    fn may_retry_elsewhere(&self, upload: &Upload<'_>) -> bool {
        is_idempotent(&self.permitted.admitted.method)
            && upload.copy.can_restart()
            && self
                .in_flight
                .borrow()
                .as_ref()
                .is_some_and(|in_flight| self.pool.may_retry(in_flight, &self.failed_at.borrow()))
    }

    fn poll_response_body(
        &self,
        cx: &mut Context<'_>,
        client: &mut Peer,
        upstream: &mut UpstreamAttempt,
        upload: &mut Upload<'_>,
        download: &mut BodyCopy<'_>,
    ) -> Poll<Result<(), ExchangeFailure>> {
        let state = |client: &Peer, upstream: &Peer, held: usize| {
            (is_half_closed(client), client.unsent() + held, !upstream.received().is_empty())
        };
        let moved = (upload.copy.bytes, download.bytes, self.progress.waiting_for.get());
        let before = (moved, state(client, upstream.peer_mut(), download.held()));
        if let Err(failure) = self.poll_upload(cx, client, upstream, upload) {
            // the answer was begun: there is no other
            return Poll::Ready(Err(match failure {
                ExchangeFailure::Ended(ExchangeEnd::Refused(_)) | ExchangeFailure::Retry(_) => {
                    ExchangeFailure::Ended(ExchangeEnd::Aborted("the request broke off"))
                }
                failure @ ExchangeFailure::Ended(_) => failure,
            }));
        }
        match download.poll(cx, upstream.peer_mut(), client) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(CopyError::To(_))) => {
                return Poll::Ready(Err(ExchangeFailure::Ended(ExchangeEnd::ClientGone(
                    "the client is gone",
                ))));
            }
            Poll::Ready(Err(_)) => {
                return Poll::Ready(Err(ExchangeFailure::Ended(ExchangeEnd::Aborted(
                    "the upstream's answer broke off",
                ))));
            }
            Poll::Pending => {}
        }
        if upload.copy.is_done() && client.poll_disconnected(cx).is_ready() {
            return Poll::Ready(Err(ExchangeFailure::Ended(ExchangeEnd::ClientGone("the client is gone"))));
        }
        let after = state(client, upstream.peer_mut(), download.held());
        let (half_closed, unsent, holds_more) = after;
        let waits_for_client = unsent > 0 || holds_more;
        let waiting_for = if waits_for_client { WaitingFor::Client } else { WaitingFor::ResponseBody };
        if before != ((upload.copy.bytes, download.bytes, waiting_for), after) {
            self.progress.sent.set(download.bytes);
            let limit = if waits_for_client { self.timeouts.write } else { self.timeouts.upstream_body };
            self.wait_for(waiting_for, if half_closed { limit.min(HALF_CLOSED) } else { limit });
        }
        if self.is_stalled(client) {
            return Poll::Ready(Err(ExchangeFailure::Ended(ExchangeEnd::ClientGone(
                "the client took nothing",
            ))));
        }
        Poll::Pending
    }
}

/// Whether the client has closed its direction; whether it still reads, only the next bytes will show.
fn is_half_closed(client: &Peer) -> bool {
    matches!(client, Peer::Http1(peer) if peer.socket.is_eof())
}

/// RFC 9110 §9.2.2.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::PUT | Method::DELETE) || crate::policy::is_safe(method)
}
