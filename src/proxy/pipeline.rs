//! One request, front to back: admit → route → authenticate → decide → forward → record.
//!
//! Each step hands the next a value of its own type, so that nothing can be forwarded without having passed all of
//! them: `forward` needs a [`Permitted`], which needs a [`Grant`], which only the policy makes.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;

use super::admit::{Admitted, admit};
use super::destination::destination;
use super::forward::{Ended, Exchange, Phase, drain};
use super::headers::{Client, nominated, source_address};
use super::preflight::{self, CorsGrant};
use super::record::Outcome;
use super::refusal::Refusal;
use super::respond::{self, Terms};
use super::stall;
use super::streams::{Interrupt, OpenStream, Streams};
use super::upgrade::{end_websocket, websocket_key};
use super::worker::{Generation, Worker};
use crate::auth::{Authenticator, Credential, Identity};
use crate::config::AccessControl;
use crate::model::{Owner, Source, State};
use crate::policy::{
    Class, DenialStatus, Destination, EnvironmentFacts, EnvironmentName, Grant, HeaderValues, Inquiry,
    Routed, Target, Unrouted, decide, select,
};
use crate::upstream::Requester;
use crate::wire::{HeadLimits, Length, NameList, Peer, RequestHead, Version, same_name};

/// How much of a refused request's body is read and dropped to keep the connection; beyond it is closed.
const DRAIN_BYTES: u64 = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long a WebSocket may take to end its last frame and to answer the Close when the gateway stops.
const GOODBYE: Duration = Duration::from_millis(700);

/// What becomes of the client's connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// A next request may follow.
    KeepAlive,
    /// It is closed in order: the client is given time to read the answer.
    Close,
    /// The answer broke off: the client is given what came of it, and then sees that it is not whole.
    BreakOff,
    /// It is cut: the client is gone, takes nothing, or may have nothing more.
    Cut,
}

/// A request that may be forwarded, with all that forwarding needs to know of it.
pub(super) struct Permitted<'a> {
    pub(super) admitted: &'a Admitted<'a>,
    pub(super) client: &'a Client,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) grant: Grant<'a>,
    pub(super) stripped: &'a NameList,
    /// Names that no trailer of the request may have.
    pub(super) headers_only: &'a NameList,
    pub(super) request_id: &'a str,
    /// What the gateway asks a WebSocket upstream with, for a client that came by HTTP/2.
    pub(super) websocket_key: Option<&'a str>,
    /// What a script of the request's origin may do with the answer.
    pub(super) cors: Option<CorsGrant<'a>>,
    /// The route has a CORS policy: the upstream's own does not count, whatever the origin.
    pub(super) has_cors_policy: bool,
    authenticator: &'a Authenticator,
    streams: &'a Streams,
    changes_seen: u64,
}

impl Permitted<'_> {
    /// Whether nothing has changed since the key was looked up: a change that was applied meanwhile may be about it.
    pub(super) fn is_current(&self) -> bool {
        self.streams.changes_seen() == self.changes_seen
            && !self.identity.as_deref().is_some_and(Identity::is_stale)
    }

    /// Whether what the gateway knows is recent enough to act on. Public paths do not depend on it.
    pub(super) fn is_fresh(&self) -> bool {
        self.identity.is_none() || self.authenticator.is_fresh()
    }
}

/// What the paths of a request are under the routes.
struct Paths<'a> {
    routed: Routed<'a, 'a>,
    /// The second one of a COPY or MOVE.
    destination: Option<Destination<'a>>,
}

/// One request on its way.
pub(super) struct RequestContext<'a> {
    pub(super) worker: &'a Worker,
    pub(super) generation: &'a Generation,
    pub(super) client: &'a Client,
    pub(super) stream: &'a OpenStream,
    /// Where the listener wants a key.
    pub(super) access_control: AccessControl,
    pub(super) request_id: &'a str,
    pub(super) arrived: Instant,
    /// Whether the connection may stay open, as far as the connection itself is concerned.
    pub(super) keep_alive: bool,
}

impl RequestContext<'_> {
    /// Serves a request: its head was read, and what its body's framing says.
    pub(super) async fn serve(
        &self,
        head: &RequestHead,
        body: Result<Length, Refusal>,
        client: &mut Peer,
    ) -> Afterwards {
        self.worker.metrics.requests_open.increase();
        let open = CountedOpen(&self.worker.metrics.requests_open);
        let mut outcome = Outcome::default();
        let mut origin_form = Vec::new();
        let admitted =
            body.and_then(|body| admit(head, body, &self.generation.snapshot.limits, &mut origin_form));
        let afterwards = match &admitted {
            Err(refusal) => {
                outcome.refusal = Some(refusal.clone());
                // what comes after CONNECT may be meant for the tunnel, and written by others than the client (RFC 9931)
                let terms = self.terms(head, self.keep_alive && head.method() != b"CONNECT", None);
                // what the body is was not even asked
                self.refuse(terms, Length::UntilClose, false, refusal, &outcome.progress.sent, client).await
            }
            Ok(admitted) => self.serve_admitted(admitted, client, &mut outcome).await,
        };
        self.stream.set_identity(None);
        self.stream.clear_deadline();
        self.record(head, &outcome);
        drop(open);
        afterwards
    }

    async fn serve_admitted<'a>(
        &'a self,
        admitted: &'a Admitted<'a>,
        client: &mut Peer,
        outcome: &mut Outcome<'a>,
    ) -> Afterwards {
        let keep_alive = self.keep_alive && keeps_alive(admitted);
        let (ended, cors) = match self.route(admitted) {
            Err(refusal) => (Ended::Refused(refusal), None),
            Ok(paths) => {
                let routed = &paths.routed;
                outcome.route = Some(&self.generation.snapshot.route_names[routed.index]);
                let cors = preflight::grant(routed.route.cors.as_ref(), admitted.head);
                if let Some(answer) = preflight::answer(routed.route.cors.as_ref(), admitted) {
                    let terms = self.terms(admitted.head, keep_alive && !self.worker.is_draining(), cors);
                    let sent = respond::own(client, 204, answer.fields(self.request_id), &[], terms);
                    outcome.progress.status.set(Some(204));
                    return self.after_own_answer(admitted.head.version, admitted.body, sent, client).await;
                }
                (self.permit_and_forward(admitted, &paths, cors, keep_alive, client, outcome).await, cors)
            }
        };
        match ended {
            Ended::Answered { reusable: true } => Afterwards::KeepAlive,
            Ended::Answered { reusable: false } => Afterwards::Close,
            Ended::Refused(refusal) if outcome.progress.status.get().is_none() => {
                // a browser would ask its user for a key that a script's WebSocket has no use for
                let challenge = !admitted.no_challenge && !admitted.is_websocket();
                // a client that waits for 100 may send its body or not: what follows cannot be told apart
                let body = if admitted.expects_continue { Length::UntilClose } else { admitted.body };
                let terms = self.terms(admitted.head, keep_alive, cors);
                let afterwards =
                    self.refuse(terms, body, challenge, &refusal, &outcome.progress.sent, client).await;
                outcome.refusal = Some(refusal);
                afterwards
            }
            Ended::Refused(refusal) => {
                outcome.refusal = Some(refusal);
                Afterwards::Cut
            }
            Ended::Stale => Afterwards::Cut,
            Ended::Gone(why) => gone(why, client, outcome),
            Ended::BrokenOff(why) => {
                outcome.broken = Some(why);
                let limit = self.generation.snapshot.timeouts.write;
                if stall::flush(client, self.stream, limit).await {
                    Afterwards::BreakOff
                } else {
                    gone(why, client, outcome)
                }
            }
            Ended::Lost(refusal) => {
                outcome.broken = Some("the key lost the right to this");
                let is_closed = admitted.is_websocket()
                    && outcome.progress.phase.get() == Phase::Tunnel
                    && outcome.progress.frames.get().takes_another()
                    && end_websocket(client, &refusal);
                if is_closed { Afterwards::Close } else { Afterwards::Cut }
            }
        }
    }

    /// The second step.
    fn route<'a>(&'a self, admitted: &Admitted<'a>) -> Result<Paths<'a>, Refusal> {
        let destination = destination(admitted, self.client)?;
        let routed = self.classify(admitted, &admitted.target)?.ok_or(Refusal::NoRoute)?;
        let destination = match &destination {
            None => None,
            Some(target) => {
                let routed = self.classify(admitted, target)?;
                Some(routed.map_or(Destination::NoRoute, Destination::Routed))
            }
        };
        Ok(Paths { routed, destination })
    }

    /// What a path is under the routes; `None`: no route leads there.
    fn classify<'a>(
        &'a self,
        admitted: &Admitted<'a>,
        target: &Target<'a>,
    ) -> Result<Option<Routed<'a, 'a>>, Refusal> {
        let routed = match self.generation.snapshot.routes.classify(target) {
            Ok(routed) => routed,
            Err(Unrouted::NoRoute) => return Ok(None),
            Err(Unrouted::Ambiguous(why)) => return Err(Refusal::Path(why)),
        };
        let head = admitted.head;
        let selected = select(routed, target.query, &|name| header_values(head, name));
        selected.map(Some).map_err(Refusal::Selector)
    }

    /// The third to the fifth step; again from the third where the key changed before anything was sent.
    async fn permit_and_forward<'a>(
        &'a self,
        admitted: &'a Admitted<'a>,
        paths: &Paths<'a>,
        cors: Option<CorsGrant<'a>>,
        keep_alive: bool,
        client: &mut Peer,
        outcome: &mut Outcome<'a>,
    ) -> Ended {
        let routed = &paths.routed;
        let credential = match self.credential(admitted, routed) {
            Ok(credential) => credential,
            Err(refusal) => return Ended::Refused(refusal),
        };
        loop {
            // registered from here on: had a change been applied between this and the first byte to the upstream,
            // everything is asked again
            let seen = self.worker.streams.changes_seen();
            let identity = match &credential {
                None => None,
                Some(credential) => match self.authenticate(admitted, credential).await {
                    Ok(identity) => Some(identity),
                    Err(refusal) => return Ended::Refused(refusal),
                },
            };
            outcome.identity.clone_from(&identity);
            let facts = match self.environment_facts(paths, identity.as_deref()).await {
                Ok(facts) => facts,
                Err(refusal) => return Ended::Refused(refusal),
            };
            let grant = match decide(&self.inquiry(admitted, paths, identity.as_deref(), facts)) {
                Ok(grant) => grant,
                Err(denial) => return Ended::Refused(denied(denial)),
            };
            outcome.rule = Some(grant.rule());
            let pool = &self.generation.pools[routed.route.upstream];
            outcome.upstream = Some(&pool.upstream().name);
            let random_key = admitted.head.protocol().map(|_| websocket_key(self.worker.random_bytes()));
            let snapshot = &self.generation.snapshot;
            let permitted = Permitted {
                admitted,
                client: self.client,
                identity: identity.clone(),
                grant,
                stripped: &snapshot.stripped,
                headers_only: &snapshot.headers_only,
                request_id: self.request_id,
                websocket_key: random_key.as_deref(),
                cors,
                has_cors_policy: routed.route.cors.is_some(),
                authenticator: &self.worker.shared.authenticator,
                streams: &self.worker.streams,
                changes_seen: seen,
            };
            let exchange = Exchange {
                permitted: &permitted,
                pool,
                requester: Requester {
                    key: identity.as_ref().map(|identity| identity.principal.key.id),
                    source: Source::of(self.source(admitted.head)),
                },
                stream: self.stream,
                progress: &outcome.progress,
                metrics: &self.worker.metrics,
                pipes: &self.worker.pipes,
                arrived: self.arrived,
                timeouts: &snapshot.timeouts,
                response_limits: HeadLimits {
                    header_bytes: snapshot.limits.response_header_bytes,
                    header_count: snapshot.limits.header_count * 2,
                    line_bytes: snapshot.limits.uri_bytes,
                },
                max_informational: snapshot.limits.informational_responses,
                body_limit: routed.route.body_bytes.unwrap_or(snapshot.limits.body_bytes),
                keep_alive,
                worker: self.worker,
                place: RefCell::default(),
            };
            if let Length::Exact(length) = admitted.body
                && length > exchange.body_limit
            {
                return Ended::Refused(Refusal::BodyTooLarge);
            }
            match self.forward(&exchange, admitted, paths, identity.clone(), client).await {
                Ended::Stale => {}
                ended => {
                    // nothing of it goes on: a change need not wait until the client has taken its refusal
                    self.stream.set_identity(None);
                    return ended;
                }
            }
        }
    }

    /// The fifth step, and what can come between: a time that is up, a change to the key, the gateway's end.
    async fn forward(
        &self,
        exchange: &Exchange<'_>,
        admitted: &Admitted<'_>,
        paths: &Paths<'_>,
        mut identity: Option<Arc<Identity>>,
        client: &mut Peer,
    ) -> Ended {
        let mut running = pin!(exchange.run(client));
        loop {
            let interrupt = match self.stream.run(running.as_mut()).await {
                Ok(ended) => return ended,
                Err(interrupt) => interrupt,
            };
            let answered = exchange.progress.status.get().is_some();
            match interrupt {
                Interrupt::Changed => {
                    let Some(held) = &identity else { continue };
                    match Box::pin(self.decide_again(held, admitted, paths)).await {
                        Ok(renewed) => identity = Some(renewed),
                        Err(refusal) if answered => return Ended::Lost(refusal),
                        Err(refusal) => return Ended::Refused(refusal),
                    }
                }
                // what runs may finish
                Interrupt::Drain => {}
                Interrupt::Close if exchange.is_open_websocket() => {
                    exchange.progress.says_goodbye.set(true);
                    let goodbye = tokio::time::timeout(GOODBYE, running.as_mut()).await;
                    return goodbye.unwrap_or(Ended::BrokenOff("the gateway is stopping"));
                }
                Interrupt::Close if answered => return Ended::BrokenOff("the gateway is stopping"),
                Interrupt::Close => return Ended::Refused(Refusal::Stopping),
                Interrupt::Deadline => {
                    let phase = exchange.progress.phase.get();
                    // whether a slow side still takes bytes is looked at where its connection is at hand
                    if phase.takes_bytes() && !exchange.progress.look_is_due.replace(true) {
                        self.stream.set_deadline(Duration::ZERO);
                        continue;
                    }
                    return match phase {
                        Phase::Queued => Ended::Refused(Refusal::UpstreamBusy),
                        Phase::Connecting => Ended::Refused(Refusal::UpstreamTimeout),
                        Phase::Upstream => {
                            exchange.distrust_upstream();
                            Ended::Refused(Refusal::UpstreamTimeout)
                        }
                        Phase::ClientBody => Ended::Refused(Refusal::ClientTimeout),
                        Phase::Answer => Ended::BrokenOff("the upstream's answer made no progress"),
                        Phase::Client => Ended::Gone("the client took nothing"),
                        Phase::Tunnel => Ended::BrokenOff("the tunnel was idle"),
                    };
                }
            }
        }
    }

    /// The third step: the credential that was sent, if the path needs one or one was given.
    fn credential(
        &self,
        admitted: &Admitted<'_>,
        routed: &Routed<'_, '_>,
    ) -> Result<Option<Credential>, Refusal> {
        if routed.needs_no_key(&admitted.method) {
            return Ok(None);
        }
        match admitted.authorization {
            None if self.access_control == AccessControl::Disabled => Ok(None),
            None => Err(Refusal::Unauthenticated),
            Some(value) => Credential::parse(value).map(Some).map_err(|_| {
                self.worker.shared.authenticator.refuse_unreadable(self.source(admitted.head)).into()
            }),
        }
    }

    async fn authenticate(
        &self,
        admitted: &Admitted<'_>,
        credential: &Credential,
    ) -> Result<Arc<Identity>, Refusal> {
        let source = self.source(admitted.head);
        let authenticator = &self.worker.shared.authenticator;
        let identity =
            self.until_closed(authenticator.authenticate(credential, source, self.arrived)).await??;
        self.stream.set_identity(Some(Arc::clone(&identity)));
        identity.touch(self.worker.unix_milliseconds(self.arrived).unsigned_abs() / 1000, source);
        Ok(identity)
    }

    /// What a request that is already under way may still do, after something about its key has changed.
    async fn decide_again(
        &self,
        held: &Identity,
        admitted: &Admitted<'_>,
        paths: &Paths<'_>,
    ) -> Result<Arc<Identity>, Refusal> {
        loop {
            let seen = self.worker.streams.changes_seen();
            let identity = self.worker.shared.authenticator.reread(held).await?;
            let facts = self.environment_facts(paths, Some(&identity)).await?;
            decide(&self.inquiry(admitted, paths, Some(&identity), facts)).map_err(denied)?;
            if seen == self.worker.streams.changes_seen() {
                self.stream.set_identity(Some(Arc::clone(&identity)));
                return Ok(identity);
            }
        }
    }

    fn inquiry<'i>(
        &self,
        admitted: &'i Admitted<'_>,
        paths: &'i Paths<'_>,
        identity: Option<&'i Identity>,
        environment: Option<EnvironmentFacts>,
    ) -> Inquiry<'i> {
        Inquiry {
            principal: identity.map(|identity| &identity.principal),
            access_control: self.access_control,
            method: &admitted.method,
            upgrade: admitted.upgrade.is_some(),
            routed: &paths.routed,
            destination: paths.destination,
            environment,
        }
    }

    /// What is known of the environment that the path names, or else the second path.
    async fn environment_facts(
        &self,
        paths: &Paths<'_>,
        identity: Option<&Identity>,
    ) -> Result<Option<EnvironmentFacts>, Refusal> {
        let class = match (paths.routed.class, paths.destination) {
            (Class::Environment(_), _) | (_, None | Some(Destination::NoRoute)) => paths.routed.class,
            (_, Some(Destination::Routed(second))) => second.class,
        };
        match class {
            Class::Environment(EnvironmentName::Named(id)) => {
                // an environment key brings its own environment along, as true as the key itself
                if let Some(Owner::Environment(own)) = identity.map(|identity| &identity.principal.owner)
                    && own.id.as_str() == id
                {
                    return Ok(Some(EnvironmentFacts { known: true, active: own.state == State::Active }));
                }
                let facts = self.until_closed(self.worker.shared.authenticator.environment(id)).await??;
                Ok(Some(facts))
            }
            _ => Ok(None),
        }
    }

    /// Waits for a verification; only the gateway's end comes before it.
    async fn until_closed<F: Future>(&self, step: F) -> Result<F::Output, Refusal> {
        let mut step = pin!(step);
        loop {
            match self.stream.run_through(step.as_mut()).await {
                Ok(output) => return Ok(output),
                Err(Interrupt::Close) => return Err(Refusal::Stopping),
                Err(_) => {}
            }
        }
    }

    /// Answers with a refusal.
    async fn refuse(
        &self,
        mut terms: Terms<'_>,
        body: Length,
        challenge: bool,
        refusal: &Refusal,
        bytes_sent: &Cell<u64>,
        client: &mut Peer,
    ) -> Afterwards {
        // as with an upstream's answer: the gateway may have begun to stop while this was being decided
        terms.keep_alive &= !self.worker.is_draining();
        let reads_on = match refusal {
            Refusal::ClientTimeout | Refusal::Stopping => false,
            // the stream of requests itself is unclear
            refusal if refusal.is_ill_formed() => false,
            _ => can_drain(client, body),
        };
        terms.keep_alive &= reads_on;
        let sent = respond::refuse(client, refusal, self.request_id, challenge, terms);
        let sent = sent.map(|(keep_alive, bytes)| {
            bytes_sent.set(bytes);
            keep_alive
        });
        self.after_own_answer(terms.version, body, sent, client).await
    }

    async fn after_own_answer(
        &self,
        version: Version,
        body: Length,
        sent: Result<bool, crate::wire::PeerError>,
        client: &mut Peer,
    ) -> Afterwards {
        let Ok(keep_alive) = sent else { return Afterwards::Cut };
        if !stall::flush(client, self.stream, DRAIN_TIME).await {
            return Afterwards::Cut;
        }
        self.stream.set_deadline(DRAIN_TIME);
        // an HTTP/2 connection goes on whatever becomes of the rest of a request
        if !keep_alive || version == Version::Http2 {
            return Afterwards::Close;
        }
        let drained = body == Length::NONE
            || client.is_received()
            || self.stream.run_through(drain(client)).await == Ok(true);
        if drained { Afterwards::KeepAlive } else { Afterwards::Close }
    }

    /// How a request is answered, whatever the answer is.
    fn terms<'a>(&self, head: &RequestHead, keep_alive: bool, cors: Option<CorsGrant<'a>>) -> Terms<'a> {
        let (version, to_head, date) = (head.version, head.method() == b"HEAD", self.worker.date());
        Terms { version, to_head, keep_alive, cors, date }
    }

    pub(super) fn source(&self, head: &RequestHead) -> IpAddr {
        source_address(self.client, head, &self.generation.snapshot.trusted_proxies)
    }
}

/// The client is gone: the log tells how much of the answer left for it.
fn gone(why: &'static str, client: &Peer, outcome: &mut Outcome<'_>) -> Afterwards {
    outcome.broken = Some(why);
    if let Peer::Http1(peer) = client {
        let sent = outcome.progress.sent.get();
        outcome.progress.sent.set(sent.saturating_sub(peer.wire.unsent() as u64));
        if peer.wire.sent_nothing() {
            outcome.progress.status.set(None);
        }
    }
    Afterwards::Cut
}

fn denied(denial: crate::policy::Denial) -> Refusal {
    match denial.status {
        DenialStatus::Unauthenticated => Refusal::Unauthenticated,
        DenialStatus::Forbidden => Refusal::Forbidden(denial.rule),
    }
}

/// What the client's version and `Connection` say (RFC 9112 §9.3).
fn keeps_alive(admitted: &Admitted<'_>) -> bool {
    match admitted.head.version {
        Version::Http10 => admitted.connection.keep_alive && !admitted.connection.close,
        Version::Http11 | Version::Http2 => !admitted.connection.close,
    }
}

/// Whether what is left of a request's body is little enough to read and drop.
fn can_drain(client: &Peer, body: Length) -> bool {
    client.is_received() || matches!(body, Length::Exact(length) if length <= DRAIN_BYTES)
}

/// The values of a header under every spelling that folds to `name`.
fn header_values<'h>(head: &'h RequestHead, name: &str) -> HeaderValues<'h> {
    let mut found = HeaderValues::Absent;
    for (_, field, value) in head.fields.iter() {
        if same_name(field, name.as_bytes()) {
            // it would be judged here and not reach the upstream
            if nominated(&head.fields, field) {
                return HeaderValues::Withheld;
            }
            if !matches!(found, HeaderValues::Absent) {
                return HeaderValues::Many;
            }
            found = HeaderValues::One(value);
        }
    }
    found
}

/// Counts one down when dropped: a request or a tunnel may end by being dropped with its connection.
pub(super) struct CountedOpen<'a>(pub(super) &'a crate::telemetry::Count);

impl Drop for CountedOpen<'_> {
    fn drop(&mut self) {
        self.0.decrease();
    }
}

impl Admitted<'_> {
    /// Whether the client takes trailers (`TE: trailers`).
    pub(super) fn accepts_trailers(&self) -> bool {
        self.head
            .fields
            .values(crate::wire::FieldName::Te)
            .flat_map(super::admit::list)
            .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
    }

    /// Whether this is what a browser asks before it sends the real request.
    pub(super) fn is_preflight(&self) -> bool {
        self.method == Method::OPTIONS
            && self.head.fields.values(crate::wire::FieldName::Origin).next().is_some()
            && self.head.fields.values(crate::wire::FieldName::AccessControlRequestMethod).next().is_some()
    }
}
