//! Sends a request to the upstream: on a kept or a new connection, and on another one where the first was of no use.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::exchange::{Exchange, ExchangeEnd, ExchangeFailure, WaitingFor, poll_once};
use super::exchange_attempt::RetryPolicy;
use super::headers::passes_as_trailer;
use super::refusal::Refusal;
use super::upload::{Upload, UploadState};
use super::upstream_response::{ResponseHeadError, UpstreamAttempt};
use crate::config::Protocol;
use crate::telemetry::GaugeGuard;
use crate::upstream::{
    AcquiredConnection, ConnectError, ExcludedConnections, Permit, PermitRequest, QueuedRequest,
};
use crate::wire::{BodyCopy, BodyLength, Http1Peer, Http2UpstreamPeer, Peer};

/// How often a request is sent again because the upstream sends GOAWAY on connection after connection: it may take few
/// requests on each.
const MAX_GOAWAY_RETRIES: usize = 16;
/// How often it is sent again because the upstream refuses it alone: that may be too much work.
const MAX_REFUSED_STREAM_RETRIES: usize = 2;

impl Exchange<'_> {
    /// Sends the request and brings the answer back.
    pub(super) async fn send_with_retries(&self, client: &mut Peer) -> ExchangeEnd {
        // held until the connection is given back or closed
        let _permit = match self.pool.request_permit(self.requester) {
            PermitRequest::Granted(permit) => permit,
            PermitRequest::Queued(queued) => match Box::pin(self.wait_in_queue(queued, client)).await {
                Some(permit) => permit,
                None => return ExchangeEnd::ClientGone("the client is gone"),
            },
            PermitRequest::Full => return ExchangeEnd::Refused(Refusal::UpstreamBusy),
        };
        let may_move = || self.permitted.has_lease();
        // what comes on a stream that asks for a tunnel is the tunnel's (RFC 8441 §5)
        let request = &self.permitted.admitted.head.fields;
        let trailer_passes = |rule, name: &[u8]| {
            passes_as_trailer(request, rule, name) && !self.permitted.headers_only.contains(name)
        };
        let copy = match self.permitted.admitted.head.protocol() {
            None => BodyCopy::message(self.body_limit, &trailer_passes)
                .only_while(&may_move)
                .through_pipes(self.pipe_pool),
            Some(_) => BodyCopy::before_tunnel(),
        };
        let copy = match self.pool.upstream().protocol {
            Protocol::Http1 => copy,
            Protocol::Http2 => copy.replayable(&self.worker.replay_budget),
        };
        let mut upload = Upload { copy, state: UploadState::Running, is_continued: false };
        let mut excluded = ExcludedConnections::None;
        let (mut goaways, mut refused_streams) = (0, 0);
        loop {
            self.progress.waiting_for.set(WaitingFor::Connection);
            // each endpoint has a limit of its own; this one is for all of them
            self.stream.set_deadline(self.timeouts.upstream_response);
            let acquired = match self.pool.acquire(&excluded).await {
                Ok(acquired) => acquired,
                Err(ConnectError::AllInUse) => return ExchangeEnd::Refused(Refusal::UpstreamBusy),
                Err(error) => {
                    self.metrics.upstream_failures.increase();
                    return ExchangeEnd::Refused(match error {
                        ConnectError::Timeout { .. } => Refusal::UpstreamTimeout,
                        _ => Refusal::UpstreamUnreachable,
                    });
                }
            };
            if acquired.is_reused() {
                self.metrics.upstream_reuses.increase();
            } else {
                self.metrics.upstream_connects.increase();
            }
            // checked last, before the first byte goes: a change may have come while this waited
            if !self.permitted.is_unchanged() {
                if let AcquiredConnection::Http1 { peer, endpoint, .. } = acquired {
                    self.pool.give_back(peer, endpoint, self.stream.coarse_now());
                }
                // what was sent of the body in vain cannot be read from the client again
                return if upload.copy.bytes == 0 {
                    ExchangeEnd::DecideAgain
                } else {
                    ExchangeEnd::Refused(Refusal::Unavailable(Duration::from_secs(1)))
                };
            }
            // a client that has left meanwhile costs the upstream nothing; a kept connection was there at once
            let may_have_left = matches!(client, Peer::Http2(_))
                || (!acquired.is_reused() && self.permitted.admitted.body == BodyLength::NONE);
            if may_have_left && poll_once(|cx| client.poll_abandoned(cx)).is_some() {
                if let AcquiredConnection::Http1 { peer, endpoint, .. } = acquired {
                    self.pool.give_back(peer, endpoint, self.stream.coarse_now());
                }
                return ExchangeEnd::ClientGone("the client is gone");
            }
            if !self.permitted.has_lease() {
                return ExchangeEnd::Refused(Refusal::Unavailable(Duration::from_secs(1)));
            }
            match acquired {
                AcquiredConnection::Http1 { peer, endpoint, reused } => {
                    let retry = RetryPolicy { after_close: reused, ..RetryPolicy::default() };
                    match self.over_http1(client, &mut upload, peer, endpoint, retry).await {
                        // it was closed while it was kept
                        None => excluded = ExcludedConnections::Kept,
                        Some(ended) => return ended,
                    }
                }
                AcquiredConnection::Http2 { send, slot, .. } => {
                    let connection = slot.connection();
                    self.slot.replace(Some(slot));
                    let retry = RetryPolicy {
                        after_close: !matches!(excluded, ExcludedConnections::Kept),
                        after_goaway: goaways < MAX_GOAWAY_RETRIES,
                        after_refused_stream: refused_streams < MAX_REFUSED_STREAM_RETRIES,
                    };
                    let ended = Box::pin(self.over_http2(client, &mut upload, send, retry)).await;
                    self.slot.replace(None);
                    match ended {
                        Ok(ended) => return ended,
                        Err(ResponseHeadError::GoneAway) => {
                            goaways += 1;
                            excluded = ExcludedConnections::One(connection);
                        }
                        Err(ResponseHeadError::Refused) => {
                            refused_streams += 1;
                            excluded = ExcludedConnections::One(connection);
                        }
                        Err(_) => excluded = ExcludedConnections::Kept,
                    }
                }
            }
            upload.copy.restart();
            upload.state = UploadState::Running;
        }
    }

    /// Waits for a permit; `None`: the client has gone meanwhile.
    async fn wait_in_queue(&self, mut queued: QueuedRequest, client: &mut Peer) -> Option<Permit> {
        self.progress.waiting_for.set(WaitingFor::Permit);
        self.stream.set_deadline(self.timeouts.upstream_connect);
        let _waiting = GaugeGuard::increase(&self.metrics.upstream_waiting);
        poll_fn(|cx| match queued.poll(cx) {
            Poll::Ready(permit) => Poll::Ready(Some(permit)),
            Poll::Pending if self.permitted.admitted.body == BodyLength::NONE => {
                client.poll_abandoned(cx).map(|()| None)
            }
            Poll::Pending => client.poll_disconnected(cx).map(|()| None),
        })
        .await
    }

    /// `None`: the kept connection was dead, and the request can safely be sent again.
    async fn over_http1(
        &self,
        client: &mut Peer,
        upload: &mut Upload<'_>,
        mut peer: Box<Http1Peer>,
        endpoint: usize,
        retry: RetryPolicy,
    ) -> Option<ExchangeEnd> {
        self.write_http1_head(&mut peer);
        let mut upstream = UpstreamAttempt::http1(peer);
        let ended = self.run_attempt(client, &mut upstream, upload, retry).await;
        let (ended, upstream_reusable) = match ended {
            Err(ExchangeFailure::Retry(_)) => return None,
            Err(ExchangeFailure::Ended(ended)) => (ended, false),
            Ok((ended, reusable)) => (ended, reusable),
        };
        if upstream_reusable && let Peer::Http1(peer) = upstream.peer {
            self.pool.give_back(peer, endpoint, self.stream.coarse_now());
        }
        Some(ended)
    }

    /// `Err`: why the request can and may be sent again.
    async fn over_http2(
        &self,
        client: &mut Peer,
        upload: &mut Upload<'_>,
        mut send: h2::client::SendRequest<bytes::Bytes>,
        retry: RetryPolicy,
    ) -> Result<ExchangeEnd, ResponseHeadError> {
        let admitted = self.permitted.admitted;
        if admitted.upgrade.is_some() {
            return Ok(ExchangeEnd::Refused(Refusal::UpstreamBroken(
                "upgrades need an upstream with HTTP/1.1",
            )));
        }
        let request = match self.http2_request() {
            Ok(request) => request,
            Err(refusal) => return Ok(ExchangeEnd::Refused(refusal)),
        };
        let (response, stream) = match send.send_request(request, admitted.body == BodyLength::NONE) {
            Ok(begun) => begun,
            // it has ended since it was taken: nothing of the request has left
            Err(error) if (error.is_go_away() || error.is_io()) && retry.after_goaway => {
                return Err(ResponseHeadError::GoneAway);
            }
            Err(_) => return Ok(ExchangeEnd::Refused(Refusal::UpstreamUnreachable)),
        };
        if admitted.expects_continue
            && !std::mem::replace(&mut upload.is_continued, true)
            && !self.send_interim(client, 100, None).await
        {
            return Ok(ExchangeEnd::ClientGone("the client is gone"));
        }
        let mut peer = Http2UpstreamPeer::new(stream);
        if admitted.body == BodyLength::NONE {
            peer.request_ended();
        }
        let mut upstream = UpstreamAttempt::http2(peer, response);
        match self.run_attempt(client, &mut upstream, upload, retry).await {
            Ok((ended, _)) | Err(ExchangeFailure::Ended(ended)) => Ok(ended),
            Err(ExchangeFailure::Retry(why)) => Err(why),
        }
    }
}
