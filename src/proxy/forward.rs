//! The request to the upstream and the answer back, streamed both ways at once.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::Method;

use super::answer::{HeadFailure, Upstream};
use super::headers::passes_as_trailer;
use super::pipeline::{CountedOpen, Permitted};
use super::refusal::Refusal;
use super::respond;
use super::stall::Stall;
use super::streams::OpenStream;
use super::worker::Worker;
use crate::config::{Protocol, Timeouts};
use crate::telemetry::WorkerMetrics;
use crate::upstream::{Acquired, Asked, Avoid, ConnectError, Permit, Place, Pool, Queued, Requester};
use crate::wire::{
    BodyCopy, CopyError, Frames, HeadLimits, Http1Peer, Http2Upstream, Length, Peer, PeerError, Pipes,
    Received, ResponseHead, Version,
};

/// How long a client that has closed its direction may leave the answer unread.
const HALF_CLOSED: Duration = Duration::from_secs(5);
/// How often a request is sent again because the upstream says goodbye on connection after connection: it may take few
/// requests on each.
const MAX_GOODBYES: usize = 16;
/// How often it is sent again because the upstream refuses it alone: that may be too much work.
const MAX_REFUSALS: usize = 2;

/// How far an exchange has come; read from outside when it is interrupted.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) phase: Cell<Phase>,
    /// Whether the side that has to take bytes still takes any; for phases in which one has to.
    stall: Cell<Option<Stall>>,
    /// The time is up for a look at that.
    pub(super) look_is_due: Cell<bool>,
    pub(super) received: Cell<u64>,
    pub(super) sent: Cell<u64>,
    /// The status of the answer, once its head was begun towards the client.
    pub(super) status: Cell<Option<u16>>,
    /// What has passed of a WebSocket's frames to the client.
    pub(super) frames: Cell<Frames>,
    /// The same to the upstream.
    pub(super) frames_to_upstream: Cell<Frames>,
    /// The gateway is stopping: a WebSocket says goodbye both ways.
    pub(super) says_goodbye: Cell<bool>,
}

/// What an exchange waits for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its turn to have a connection to the upstream.
    Queued,
    /// A connection to the upstream.
    #[default]
    Connecting,
    /// The client's body.
    ClientBody,
    /// The upstream, to take the body or to answer.
    Upstream,
    /// The answer's body from the upstream.
    Answer,
    /// The client, to take the answer.
    Client,
    /// Bytes of a tunnel.
    Tunnel,
}

impl Phase {
    /// Whether what is waited for is that the other side takes bytes: those it takes are progress.
    pub(super) fn takes_bytes(self) -> bool {
        matches!(self, Self::Upstream | Self::Client)
    }
}

/// How an exchange ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The answer was sent whole; `reusable`: nothing is left of this request on the client's connection.
    Answered {
        /// Whether the client's connection can carry a next request.
        reusable: bool,
    },
    /// The identity changed before anything was sent: decide again.
    Stale,
    /// Nothing was sent to the client: answer with this.
    Refused(Refusal),
    /// The client is gone, or takes nothing: the connection or stream is cut.
    Gone(&'static str),
    /// The answer broke off: the client gets what came of it, and then sees that it is not whole.
    BrokenOff(&'static str),
    /// The answer was begun, and the key has lost the right to the rest of it.
    Lost(Refusal),
}

/// One exchange's surroundings.
pub(super) struct Exchange<'a> {
    pub(super) permitted: &'a Permitted<'a>,
    pub(super) pool: &'a Pool,
    pub(super) requester: Requester,
    pub(super) stream: &'a OpenStream,
    pub(super) progress: &'a Progress,
    pub(super) metrics: &'a WorkerMetrics,
    /// What large bodies may go through.
    pub(super) pipes: &'a Pipes,
    /// When the request's head had arrived.
    pub(super) arrived: Instant,
    pub(super) timeouts: &'a Timeouts,
    pub(super) response_limits: HeadLimits,
    pub(super) max_informational: usize,
    pub(super) body_limit: u64,
    /// Whether the client's connection may stay open afterwards.
    pub(super) keep_alive: bool,
    pub(super) worker: &'a Worker,
    /// Its place on a shared HTTP/2 connection, while it runs.
    pub(super) place: RefCell<Option<Place>>,
}

impl Exchange<'_> {
    /// Sends the request and brings the answer back.
    pub(super) async fn run(&self, client: &mut Peer) -> Ended {
        // held until the connection is given back or closed
        let _permit = match self.pool.ask(self.requester) {
            Asked::Permitted(permit) => permit,
            Asked::Queued(queued) => match Box::pin(self.wait_in_queue(queued, client)).await {
                Some(permit) => permit,
                None => return Ended::Gone("the client is gone"),
            },
            Asked::Full => return Ended::Refused(Refusal::UpstreamBusy),
        };
        let may_move = || self.permitted.is_fresh();
        // what comes on a stream that asks for a tunnel is the tunnel's (RFC 8441 §5)
        let request = &self.permitted.admitted.head.fields;
        let trailer_passes = |kind, name: &[u8]| {
            passes_as_trailer(request, kind, name) && !self.permitted.headers_only.contains(name)
        };
        let copy = match self.permitted.admitted.head.protocol() {
            None => {
                BodyCopy::message(self.body_limit, &trailer_passes).only_while(&may_move).through(self.pipes)
            }
            Some(_) => BodyCopy::empty(),
        };
        let copy = match self.pool.upstream().protocol {
            Protocol::Http1 => copy,
            Protocol::Http2 => copy.keeping(&self.worker.kept_bodies),
        };
        let mut upload = Upload { copy, state: UploadState::Running, is_continued: false };
        let mut avoid = Avoid::Nothing;
        let (mut goodbyes, mut refusals) = (0, 0);
        loop {
            self.progress.phase.set(Phase::Connecting);
            // each endpoint has a limit of its own; this one is for all of them
            self.stream.set_deadline(self.timeouts.upstream_response);
            let acquired = match self.pool.acquire(&avoid).await {
                Ok(acquired) => acquired,
                Err(ConnectError::NoRoom) => return Ended::Refused(Refusal::UpstreamBusy),
                Err(error) => {
                    self.metrics.upstream_failures.increase();
                    return Ended::Refused(match error {
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
            // the last look before the first byte goes: a change may have come while this waited
            if !self.permitted.is_current() {
                if let Acquired::Http1 { peer, endpoint, .. } = acquired {
                    self.pool.give_back(peer, endpoint, self.stream.about_now());
                }
                // a part of the body that was sent in vain has left its client: whoever begins anew would not get it
                return if upload.copy.bytes == 0 {
                    Ended::Stale
                } else {
                    Ended::Refused(Refusal::Unavailable(Duration::from_secs(1)))
                };
            }
            // a client that has left meanwhile costs the upstream nothing; a kept connection was there at once
            let may_have_left = matches!(client, Peer::Http2(_))
                || (!acquired.is_reused() && self.permitted.admitted.body == Length::NONE);
            if may_have_left && now(|cx| client.poll_left(cx)).is_some() {
                if let Acquired::Http1 { peer, endpoint, .. } = acquired {
                    self.pool.give_back(peer, endpoint, self.stream.about_now());
                }
                return Ended::Gone("the client is gone");
            }
            if !self.permitted.is_fresh() {
                return Ended::Refused(Refusal::Unavailable(Duration::from_secs(1)));
            }
            match acquired {
                Acquired::Http1 { peer, endpoint, reused } => {
                    let again = Again { after_end: reused, ..Again::default() };
                    match self.over_http1(client, &mut upload, peer, endpoint, again).await {
                        // it was closed while it was kept
                        None => avoid = Avoid::Kept,
                        Some(ended) => return ended,
                    }
                }
                Acquired::Http2 { send, place, .. } => {
                    let connection = place.connection();
                    self.place.replace(Some(place));
                    let again = Again {
                        after_end: !matches!(avoid, Avoid::Kept),
                        after_goodbye: goodbyes < MAX_GOODBYES,
                        after_refusal: refusals < MAX_REFUSALS,
                    };
                    let ended = Box::pin(self.over_http2(client, &mut upload, send, again)).await;
                    self.place.replace(None);
                    match ended {
                        Ok(ended) => return ended,
                        Err(HeadFailure::GoneAway) => {
                            goodbyes += 1;
                            avoid = Avoid::Connection(connection);
                        }
                        Err(HeadFailure::Refused) => {
                            refusals += 1;
                            avoid = Avoid::Connection(connection);
                        }
                        Err(_) => avoid = Avoid::Kept,
                    }
                }
            }
            upload.copy.begin_again();
            upload.state = UploadState::Running;
        }
    }

    /// Waits for a permit; `None`: the client has gone meanwhile.
    async fn wait_in_queue(&self, mut queued: Queued, client: &mut Peer) -> Option<Permit> {
        self.progress.phase.set(Phase::Queued);
        self.stream.set_deadline(self.timeouts.upstream_connect);
        self.metrics.upstream_waiting.increase();
        let _waiting = CountedOpen(&self.metrics.upstream_waiting);
        poll_fn(|cx| match queued.poll(cx) {
            Poll::Ready(permit) => Poll::Ready(Some(permit)),
            Poll::Pending if self.permitted.admitted.body == Length::NONE => {
                client.poll_left(cx).map(|()| None)
            }
            Poll::Pending => client.poll_gone(cx).map(|()| None),
        })
        .await
    }

    /// The upstream was silent for too long. A connection of the request's own ends with it; a shared one may be dead
    /// too, and would take every later request with it.
    pub(super) fn distrust_upstream(&self) {
        if let Some(place) = self.place.borrow().as_ref() {
            place.distrust();
        }
    }

    /// The head of the upstream's answer is here and goes to the client.
    pub(super) fn answered(&self, status: u16) {
        self.progress.status.set(Some(status));
        self.metrics.latency.observe(self.arrived.elapsed());
    }

    /// `None`: the kept connection was dead, and the request can safely be sent again.
    async fn over_http1(
        &self,
        client: &mut Peer,
        upload: &mut Upload<'_>,
        mut peer: Box<Http1Peer>,
        endpoint: usize,
        again: Again,
    ) -> Option<Ended> {
        self.write_http1_head(&mut peer);
        let mut upstream = Upstream::http1(peer);
        let ended = self.exchange(client, &mut upstream, upload, again).await;
        let (ended, upstream_reusable) = match ended {
            Err(Failure::Again(_)) => return None,
            Err(Failure::Ended(ended)) => (ended, false),
            Ok((ended, reusable)) => (ended, reusable),
        };
        if upstream_reusable && let Peer::Http1(peer) = upstream.peer {
            self.pool.give_back(peer, endpoint, self.stream.about_now());
        }
        Some(ended)
    }

    /// `Err`: why the request can and may be sent again.
    async fn over_http2(
        &self,
        client: &mut Peer,
        upload: &mut Upload<'_>,
        mut send: h2::client::SendRequest<bytes::Bytes>,
        again: Again,
    ) -> Result<Ended, HeadFailure> {
        let admitted = self.permitted.admitted;
        if admitted.upgrade.is_some() {
            return Ok(Ended::Refused(Refusal::UpstreamBroken("upgrades need an upstream with HTTP/1.1")));
        }
        let request = match self.http2_request() {
            Ok(request) => request,
            Err(refusal) => return Ok(Ended::Refused(refusal)),
        };
        let (response, stream) = match send.send_request(request, admitted.body == Length::NONE) {
            Ok(begun) => begun,
            // it has ended since it was taken: nothing of the request has left
            Err(error) if (error.is_go_away() || error.is_io()) && again.after_goodbye => {
                return Err(HeadFailure::GoneAway);
            }
            Err(_) => return Ok(Ended::Refused(Refusal::UpstreamUnreachable)),
        };
        if admitted.expects_continue
            && !std::mem::replace(&mut upload.is_continued, true)
            && !self.inform(client, 100, None).await
        {
            return Ok(Ended::Gone("the client is gone"));
        }
        let mut peer = Http2Upstream::new(stream);
        if admitted.body == Length::NONE {
            peer.sent();
        }
        let mut upstream = Upstream::http2(peer, response);
        match self.exchange(client, &mut upstream, upload, again).await {
            Ok((ended, _)) | Err(Failure::Ended(ended)) => Ok(ended),
            Err(Failure::Again(why)) => Err(why),
        }
    }

    /// The exchange proper. `Ok`: how it ended, and whether the upstream's connection can carry a next request.
    async fn exchange(
        &self,
        client: &mut Peer,
        upstream: &mut Upstream,
        upload: &mut Upload<'_>,
        again: Again,
    ) -> Result<(Ended, bool), Failure> {
        let may_move = || self.permitted.is_fresh();
        let mut head = ResponseHead::default();
        let mut informational = 0;
        self.wait_for(Phase::Upstream, self.timeouts.upstream_response);
        loop {
            poll_fn(|cx| self.poll_answer_head(cx, client, upstream, upload, &mut head, again)).await?;
            match head.status {
                101 => break,
                100..=199 => {
                    informational += 1;
                    if informational > self.max_informational {
                        return Err(Failure::broken("the upstream sent too many interim answers"));
                    }
                    // HTTP/1.0 knows no interim answers (RFC 9110 §15.2)
                    let understood = self.permitted.admitted.head.version != Version::Http10;
                    if understood && !self.inform(client, head.status, Some(&head)).await {
                        return Err(Failure::Ended(Ended::Gone("the client is gone")));
                    }
                }
                _ => break,
            }
        }
        // it is looked at: there is no second time
        upload.copy.forget();
        if head.status == 101 {
            return Box::pin(self.tunnel(client, upstream, upload.copy.is_done(), &head)).await;
        }
        // to an extended CONNECT, success means that the tunnel is open (RFC 8441 §5)
        if self.permitted.admitted.head.protocol().is_some() && (200..300).contains(&head.status) {
            return Err(Failure::broken("the upstream answered without opening the tunnel"));
        }
        let to_head = self.permitted.admitted.method == Method::HEAD;
        let length = upstream
            .begin_answer(&head, to_head, &self.response_limits)
            .map_err(|_| Failure::broken("the upstream's answer has unclear framing"))?;
        // where it has broken off before anything of it went to the client, there is a better answer
        if let Some(Err(_)) = now(|cx| upstream.peer_mut().poll_receive(cx)) {
            return Err(Failure::broken("the upstream's answer broke off"));
        }
        let answer = respond::Answer {
            head: &head,
            length,
            to_head,
            // asked only now: the gateway may have begun to stop while the upstream worked
            keep_alive: self.keep_alive && upload.copy.is_done() && !self.worker.is_draining(),
            version: self.permitted.admitted.head.version,
            cors: self.permitted.cors,
            has_cors_policy: self.permitted.has_cors_policy,
            date: self.worker.date(),
        };
        self.answered(head.status);
        let client_reusable =
            respond::begin(client, &answer).map_err(|_| Failure::Ended(Ended::Gone("the client is gone")))?;
        if let (Peer::Http2(client), Peer::Http1(_), Length::Exact(bytes)) =
            (&mut *client, &upstream.peer, length)
        {
            // HTTP/1.1 has no trailers after a body whose length it announced (RFC 9112 §6.5)
            client.end_after(bytes);
        }

        let trailer_passes = |kind, name: &[u8]| passes_as_trailer(&head.fields, kind, name);
        let mut download =
            BodyCopy::message(u64::MAX, &trailer_passes).only_while(&may_move).through(self.pipes);
        let done = poll_fn(|cx| self.poll_answer_body(cx, client, upstream, upload, &mut download)).await;
        self.progress.sent.set(download.bytes);
        done?;
        let uploaded = upload.copy.is_done();
        let upstream_reusable = uploaded && upstream.is_reusable(&head, length);
        Ok((Ended::Answered { reusable: client_reusable && uploaded }, upstream_reusable))
    }

    fn poll_answer_head(
        &self,
        cx: &mut Context<'_>,
        client: &mut Peer,
        upstream: &mut Upstream,
        upload: &mut Upload<'_>,
        head: &mut ResponseHead,
        again: Again,
    ) -> Poll<Result<(), Failure>> {
        self.poll_upload(cx, client, upstream, upload)?;
        match upstream.poll_head(cx, head, &self.response_limits) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(
                failure @ (HeadFailure::Closed | HeadFailure::GoneAway | HeadFailure::Refused),
            )) => {
                // a kept connection may be closed by the upstream at any time. Where it says that it did not look at
                // the request, nothing of the request left, or doing it twice does no harm (RFC 9110 §9.2.2), it is
                // sent again; else nobody knows what the upstream did with it
                let may_repeat = match failure {
                    HeadFailure::GoneAway => again.after_goodbye,
                    HeadFailure::Refused => again.after_refusal,
                    _ => {
                        again.after_end
                            && (upstream.sent_nothing() || is_idempotent(&self.permitted.admitted.method))
                    }
                };
                if may_repeat && upload.copy.can_begin_again() {
                    return Poll::Ready(Err(Failure::Again(failure)));
                }
                return Poll::Ready(Err(Failure::broken(
                    "the upstream closed the connection without an answer",
                )));
            }
            Poll::Ready(Err(HeadFailure::Reset)) => {
                return Poll::Ready(Err(Failure::broken("the upstream reset the stream")));
            }
            Poll::Ready(Err(HeadFailure::Malformed)) => {
                return Poll::Ready(Err(Failure::broken("the upstream's answer is malformed")));
            }
            Poll::Pending => {}
        }
        if upload.copy.is_done() && client.poll_left(cx).is_ready() {
            return Poll::Ready(Err(Failure::Ended(Ended::Gone("the client is gone"))));
        }
        if self.is_stalled(upstream.peer_mut()) {
            self.distrust_upstream();
            return Poll::Ready(Err(Failure::Ended(Ended::Refused(Refusal::UpstreamTimeout))));
        }
        Poll::Pending
    }

    fn poll_answer_body(
        &self,
        cx: &mut Context<'_>,
        client: &mut Peer,
        upstream: &mut Upstream,
        upload: &mut Upload<'_>,
        download: &mut BodyCopy<'_>,
    ) -> Poll<Result<(), Failure>> {
        let state = |client: &Peer, upstream: &Peer, held: usize| {
            (is_half_closed(client), client.unsent() + held, !upstream.received().is_empty())
        };
        let moved = (upload.copy.bytes, download.bytes, self.progress.phase.get());
        let before = (moved, state(client, upstream.peer_mut(), download.held()));
        if let Err(failure) = self.poll_upload(cx, client, upstream, upload) {
            // the answer was begun: there is no other
            return Poll::Ready(Err(match failure {
                Failure::Ended(Ended::Refused(_)) | Failure::Again(_) => {
                    Failure::Ended(Ended::BrokenOff("the request broke off"))
                }
                failure @ Failure::Ended(_) => failure,
            }));
        }
        match download.poll(cx, upstream.peer_mut(), client) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(CopyError::To(_))) => {
                return Poll::Ready(Err(Failure::Ended(Ended::Gone("the client is gone"))));
            }
            Poll::Ready(Err(_)) => {
                return Poll::Ready(Err(Failure::Ended(Ended::BrokenOff("the upstream's answer broke off"))));
            }
            Poll::Pending => {}
        }
        if upload.copy.is_done() && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::Ended(Ended::Gone("the client is gone"))));
        }
        let after = state(client, upstream.peer_mut(), download.held());
        let (half_closed, unsent, holds_more) = after;
        let waits_for_client = unsent > 0 || holds_more;
        let phase = if waits_for_client { Phase::Client } else { Phase::Answer };
        if before != ((upload.copy.bytes, download.bytes, phase), after) {
            self.progress.sent.set(download.bytes);
            let limit = if waits_for_client { self.timeouts.write } else { self.timeouts.upstream_body };
            self.wait_for(phase, if half_closed { limit.min(HALF_CLOSED) } else { limit });
        }
        if self.is_stalled(client) {
            return Poll::Ready(Err(Failure::Ended(Ended::Gone("the client took nothing"))));
        }
        Poll::Pending
    }

    /// Moves the client's body on, and keeps the deadline of whoever it waits for.
    fn poll_upload(
        &self,
        cx: &mut Context<'_>,
        client: &mut Peer,
        upstream: &mut Upstream,
        upload: &mut Upload<'_>,
    ) -> Result<(), Failure> {
        if upload.state != UploadState::Running {
            return Ok(());
        }
        let before = upload.copy.bytes;
        let answering = matches!(self.progress.phase.get(), Phase::Answer | Phase::Client);
        match upload.copy.poll(cx, client, upstream.peer_mut()) {
            // an upstream that takes no more may still say why
            Poll::Ready(
                Ok(()) | Err(CopyError::To(PeerError::Io(_) | PeerError::Http2(_) | PeerError::Closed)),
            ) => {
                upload.state = UploadState::Stopped;
                if !answering {
                    self.wait_for(Phase::Upstream, self.timeouts.upstream_response);
                }
            }
            Poll::Ready(Err(error)) => return Err(Failure::Ended(upload_failed(&error))),
            Poll::Pending if answering => {}
            Poll::Pending => {
                let waits_for_client = client.received().is_empty()
                    && upload.copy.held() == 0
                    && upstream.peer_mut().unsent() == 0;
                let phase = if waits_for_client { Phase::ClientBody } else { Phase::Upstream };
                if before != upload.copy.bytes || phase != self.progress.phase.get() {
                    self.wait_for(phase, self.timeouts.body);
                }
            }
        }
        self.progress.received.set(upload.copy.bytes);
        Ok(())
    }

    fn wait_for(&self, phase: Phase, limit: Duration) {
        let before = self.progress.phase.replace(phase);
        self.progress.look_is_due.set(false);
        if phase.takes_bytes() {
            let now = self.stream.about_now();
            let mut stall = self.progress.stall.get().filter(|_| before == phase);
            stall.get_or_insert_with(|| Stall::new(limit, now)).moved(limit, now);
            self.progress.stall.set(stall);
            self.stream.set_deadline(Stall::first_look(limit));
        } else {
            self.stream.set_deadline(limit);
        }
    }

    /// Where a look is due: whether the side that is waited for has taken nothing for as long as it may.
    fn is_stalled(&self, side: &Peer) -> bool {
        if !self.progress.look_is_due.take() {
            return false;
        }
        let progress = match side {
            Peer::Http2Upstream(_) => self.place.borrow().as_ref().and_then(Place::progress),
            peer => peer.progress(),
        };
        let Some(mut stall) = self.progress.stall.get() else { return true };
        let next = stall.look(self.stream.about_now(), progress);
        self.progress.stall.set(Some(stall));
        if let Some(next) = next {
            self.stream.set_deadline(next);
        }
        next.is_none()
    }

    /// Sends an interim answer; `false`: the client is gone, or takes nothing.
    async fn inform(&self, client: &mut Peer, status: u16, head: Option<&ResponseHead>) -> bool {
        if respond::inform(client, status, head).is_err() {
            return false;
        }
        self.wait_for(Phase::Client, self.timeouts.write);
        let sent = poll_fn(|cx| match client.poll_flush(cx) {
            Poll::Pending if self.is_stalled(client) => Poll::Ready(false),
            flushed => flushed.map(|flushed| flushed.is_ok()),
        })
        .await;
        self.wait_for(Phase::Upstream, self.timeouts.upstream_response);
        sent
    }
}

/// Why an exchange did not come to its end.
pub(super) enum Failure {
    /// The upstream did not look at the request, or may do it twice: it can be sent again.
    Again(HeadFailure),
    Ended(Ended),
}

impl Failure {
    pub(super) fn broken(what: &'static str) -> Self {
        Self::Ended(Ended::Refused(Refusal::UpstreamBroken(what)))
    }
}

/// Whether the client has closed its direction; whether it still reads, only the next bytes will show.
fn is_half_closed(client: &Peer) -> bool {
    matches!(client, Peer::Http1(peer) if peer.wire.is_eof())
}

struct Upload<'a> {
    copy: BodyCopy<'a>,
    state: UploadState,
    /// The client was told to send its body.
    is_continued: bool,
}

/// After what a request may be sent again.
#[derive(Clone, Copy, Default)]
struct Again {
    /// The connection ended without an answer.
    after_end: bool,
    /// The upstream takes no more on the connection.
    after_goodbye: bool,
    /// The upstream did not look at the request.
    after_refusal: bool,
}

#[derive(PartialEq, Eq)]
enum UploadState {
    Running,
    /// Done, or the upstream takes no more.
    Stopped,
}

fn upload_failed(error: &CopyError) -> Ended {
    match error {
        CopyError::TooLarge { .. } => Ended::Refused(Refusal::BodyTooLarge),
        CopyError::From(PeerError::Body(error)) => Ended::Refused(Refusal::Framing(*error)),
        CopyError::From(_) => Ended::Gone("the client is gone"),
        CopyError::To(_) => Ended::Refused(Refusal::UpstreamBroken("the request could not be sent on")),
    }
}

/// What `poll` says at once.
fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => Some(ready),
        Poll::Pending => None,
    }
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::PUT | Method::DELETE) || crate::policy::is_safe(method)
}

/// Reads and drops what is left of the client's body, so that the connection can carry a next request.
pub(super) async fn drain(client: &mut Peer) -> bool {
    poll_fn(|cx| {
        loop {
            match std::task::ready!(client.poll_receive(cx)) {
                Ok(Received::Data) => {
                    let count = client.received().len();
                    client.consume(count);
                }
                Ok(Received::End) => return Poll::Ready(true),
                Err(_) => return Poll::Ready(false),
            }
        }
    })
    .await
}
