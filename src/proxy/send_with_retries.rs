//! Sends a request to the upstream: on a kept or a new connection, and on another one where the first was of no use.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::exchange::{Exchange, ExchangeEnd, ExchangeFailure, Retry, WaitingFor, poll_once};
use super::exchange_attempt::{RetryPolicy, is_idempotent};
use super::headers::passes_as_trailer;
use super::refusal::Refusal;
use super::upload::{Upload, UploadState};
use super::upstream_response::{ResponseHeadError, UpstreamAttempt};
use crate::config::Protocol;
use crate::telemetry::GaugeGuard;
use crate::upstream::{
    AcquiredConnection, ConnectError, Connection, ExcludedConnections, Failure, Permit, PermitRequest,
    QueuedRequest, StreamSlot,
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
        let may_be_lost = !is_idempotent(&self.permitted.admitted.method);
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
            Protocol::Http1 if may_be_lost || !self.pool.has_several() => copy,
            Protocol::Http1 | Protocol::Http2 => copy.replayable(&self.worker.replay_budget),
        };
        let mut upload = Upload { copy, state: UploadState::Running, is_continued: false };
        let mut excluded = ExcludedConnections::None;
        let (mut goaways, mut refused_streams) = (0, 0);
        loop {
            self.progress.waiting_for.set(WaitingFor::Connection);
            // each endpoint has a limit of its own; this one is for all of them
            self.stream.set_deadline(self.timeouts.upstream_response);
            let begun = self.attempt_start();
            let acquired = match self.acquire(&excluded, may_be_lost).await {
                Ok(acquired) => acquired,
                Err(ConnectError::AllInUse) => return ExchangeEnd::Refused(Refusal::UpstreamBusy),
                Err(error) => {
                    self.metrics.upstream_failures.increase();
                    let (refusal, failure) = match error {
                        ConnectError::Timeout { .. } => (Refusal::UpstreamTimeout, Failure::Timeout),
                        _ => (Refusal::UpstreamUnreachable, Failure::Connect),
                    };
                    self.note_attempt(begun, None);
                    self.note_failure(failure);
                    return ExchangeEnd::Refused(refusal);
                }
            };
            if acquired.is_reused {
                self.metrics.upstream_reuses.increase();
            } else {
                self.metrics.upstream_connects.increase();
            }
            // checked last, before the first byte goes: a change may have come while this waited
            if !self.permitted.is_unchanged() {
                self.give_back_unused(acquired);
                // what was sent of the body in vain cannot be read from the client again
                return if upload.copy.bytes == 0 {
                    ExchangeEnd::DecideAgain
                } else {
                    ExchangeEnd::Refused(Refusal::Unavailable(Duration::from_secs(1)))
                };
            }
            // a client that has left meanwhile costs the upstream nothing; a kept connection was there at once
            let may_have_left = matches!(client, Peer::Http2(_))
                || (!acquired.is_reused && self.permitted.admitted.body == BodyLength::NONE);
            if may_have_left && poll_once(|cx| client.poll_abandoned(cx)).is_some() {
                self.give_back_unused(acquired);
                return ExchangeEnd::ClientGone("the client is gone");
            }
            if !self.permitted.has_lease() {
                return ExchangeEnd::Refused(Refusal::Unavailable(Duration::from_secs(1)));
            }
            let AcquiredConnection { in_flight, is_reused, connection } = acquired;
            let id = in_flight.slot().map(StreamSlot::connection);
            self.note_attempt(begun, Some(&in_flight));
            self.in_flight.replace(Some(in_flight));
            let ended = match connection {
                Connection::Http1(peer) => {
                    let retry = RetryPolicy { after_close: is_reused, ..RetryPolicy::default() };
                    self.over_http1(client, &mut upload, peer, retry).await
                }
                Connection::Http2(send) => {
                    let retry = RetryPolicy {
                        after_close: !matches!(excluded, ExcludedConnections::Kept),
                        after_goaway: goaways < MAX_GOAWAY_RETRIES,
                        after_refused_stream: refused_streams < MAX_REFUSED_STREAM_RETRIES,
                    };
                    Box::pin(self.over_http2(client, &mut upload, send, retry)).await
                }
            };
            self.note_end(&ended);
            let retry = match ended {
                Ok(ended) => return ended,
                Err(retry) => retry,
            };
            let in_flight = self.in_flight.take();
            excluded = match (retry, id) {
                (Retry::OtherEndpoint, _) => {
                    self.metrics.upstream_retries.increase();
                    if let Some(in_flight) = &in_flight {
                        self.failed_at.borrow_mut().add(in_flight);
                    }
                    ExcludedConnections::None
                }
                (Retry::OtherConnection(ResponseHeadError::GoneAway), Some(connection)) => {
                    goaways += 1;
                    ExcludedConnections::One(connection)
                }
                (Retry::OtherConnection(ResponseHeadError::Refused), Some(connection)) => {
                    refused_streams += 1;
                    ExcludedConnections::One(connection)
                }
                // it was closed while it was kept
                (Retry::OtherConnection(_), _) => ExcludedConnections::Kept,
            };
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

    async fn acquire(
        &self,
        excluded: &ExcludedConnections,
        may_be_lost: bool,
    ) -> Result<AcquiredConnection, ConnectError> {
        let failed_at = self.failed_at.take();
        let acquired = self.pool.acquire(excluded, &failed_at, may_be_lost).await;
        self.failed_at.replace(failed_at);
        acquired
    }

    /// Keeps a connection on which nothing was sent.
    fn give_back_unused(&self, acquired: AcquiredConnection) {
        if let Connection::Http1(peer) = acquired.connection {
            self.pool.give_back(peer, &acquired.in_flight, self.stream.coarse_now());
        }
    }

    /// `Err`: why the request can and may be sent again.
    async fn over_http1(
        &self,
        client: &mut Peer,
        upload: &mut Upload<'_>,
        mut peer: Box<Http1Peer>,
        retry: RetryPolicy,
    ) -> Result<ExchangeEnd, Retry> {
        self.write_http1_head(&mut peer);
        let mut upstream = UpstreamAttempt::http1(peer);
        let (ended, is_upstream_reusable) = match self.run_attempt(client, &mut upstream, upload, retry).await
        {
            Err(ExchangeFailure::Retry(why)) => return Err(why),
            Err(ExchangeFailure::Ended(ended)) => (ended, false),
            Ok(ended) => ended,
        };
        if is_upstream_reusable
            && let Peer::Http1(peer) = upstream.peer
            && let Some(in_flight) = &*self.in_flight.borrow()
        {
            self.pool.give_back(peer, in_flight, self.stream.coarse_now());
        }
        Ok(ended)
    }

    /// `Err`: why the request can and may be sent again.
    async fn over_http2(
        &self,
        client: &mut Peer,
        upload: &mut Upload<'_>,
        mut send: h2::client::SendRequest<bytes::Bytes>,
        retry: RetryPolicy,
    ) -> Result<ExchangeEnd, Retry> {
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
                return Err(Retry::OtherConnection(ResponseHeadError::GoneAway));
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
