//! One request, front to back: admit → route → authenticate → decide → forward → record.
//!
//! Each step hands the next a value of its own type, so that nothing can be forwarded without having passed all of
//! them: `forward` needs a [`Permitted`](super::decide::Permitted), which needs a grant, which only the policy makes.

use super::admit::{Admitted, admit};
use super::client_response;
use super::cors::{self, CorsGrant};
use super::exchange::{ExchangeEnd, WaitingFor};
use super::flush_to_client::flush;
use super::record_outcome::RequestOutcome;
use super::refusal::Refusal;
use super::request_context::{AfterRequest, RequestContext};
use super::websocket::end_websocket;
use crate::telemetry::GaugeGuard;
use crate::wire::{BodyLength, Peer, RequestHead};

impl RequestContext<'_> {
    /// Serves a request: its head was read, and what its body's framing says.
    pub(super) async fn serve(
        &self,
        head: &RequestHead,
        body: Result<BodyLength, Refusal>,
        client: &mut Peer,
    ) -> AfterRequest {
        let open = GaugeGuard::increase(&self.worker.metrics.requests_open);
        let snapshot = &self.active_config.snapshot;
        let credential;
        let mut outcome = RequestOutcome::default();
        let mut origin_form = Vec::new();
        let after = 'answered: {
            let admitted = match body.and_then(|body| {
                admit(head, body, &snapshot.limits, &snapshot.credential_places, &mut origin_form)
            }) {
                Ok(admitted) => admitted,
                Err(refusal) => {
                    break 'answered self.refuse_unread(head, refusal, &mut outcome, client).await;
                }
            };
            let keep_alive = self.keep_alive && admitted.keeps_alive();

            let paths = match self.route(&admitted) {
                Ok(paths) => paths,
                Err(refusal) => {
                    let end = ExchangeEnd::Refused(refusal);
                    break 'answered self
                        .finish(end, &admitted, None, keep_alive, &mut outcome, client)
                        .await;
                }
            };
            let route = paths.routed.route;
            outcome.route = Some(paths.routed.index);
            let cors = cors::grant(route.cors.as_ref(), head);
            if let Some(preflight) = cors::preflight_response(route.cors.as_ref(), &admitted) {
                let options = self.response_options(head, keep_alive && !self.worker.is_draining(), cors);
                let fields = preflight.fields(self.request_id);
                let sent = client_response::send_own_response(client, 204, fields, &[], options);
                outcome.progress.status.set(Some(204));
                break 'answered self.after_own_response(head.version, admitted.body, sent, client).await;
            }

            credential = self.credential(&admitted, &paths.routed);
            outcome.credential = credential.as_ref().ok().and_then(Option::as_ref);
            let end = match &credential {
                Err(refusal) => ExchangeEnd::Refused(refusal.clone()),
                // once more from here where the key changed before anything was sent
                Ok(credential) => loop {
                    // as of now: had a change been applied between this and the first byte to the upstream, everything
                    // is asked again
                    let changes_seen = self.worker.streams.changes_seen();
                    let identity = match credential {
                        None => None,
                        Some(credential) => match self.authenticate(&admitted, credential).await {
                            Ok(identity) => Some(identity),
                            Err(refusal) => break ExchangeEnd::Refused(refusal),
                        },
                    };
                    outcome.identity.clone_from(&identity);

                    let decided = self.decide(&admitted, &paths, identity.as_ref(), cors, changes_seen).await;
                    let permitted = match decided {
                        Ok(permitted) => permitted,
                        Err(refusal) => break ExchangeEnd::Refused(refusal),
                    };
                    outcome.rule = Some(permitted.grant.rule());
                    let pool = &self.active_config.pools[route.upstream];
                    outcome.upstream = Some(&pool.upstream().name);

                    match self.forward(&permitted, &paths, pool, keep_alive, &outcome.progress, client).await
                    {
                        ExchangeEnd::DecideAgain => {}
                        end => break end,
                    }
                },
            };
            self.finish(end, &admitted, cors, keep_alive, &mut outcome, client).await
        };
        self.stream.set_identity(None);
        self.stream.clear_deadline();
        self.record(head, &outcome);
        drop(open);
        after
    }

    /// Refuses a request that cannot be read.
    async fn refuse_unread(
        &self,
        head: &RequestHead,
        refusal: Refusal,
        outcome: &mut RequestOutcome<'_>,
        client: &mut Peer,
    ) -> AfterRequest {
        // what comes after CONNECT may be meant for the tunnel, and written by others than the client (RFC 9931)
        let options = self.response_options(head, self.keep_alive && head.method() != b"CONNECT", None);
        // what the body is was not even asked
        let body = BodyLength::UntilClose;
        let after = self.refuse(options, body, false, &refusal, &outcome.progress.sent, client).await;
        outcome.refusal = Some(refusal);
        after
    }

    /// Does what the end of the exchange asks for: a refusal, or an end of the connection.
    async fn finish(
        &self,
        end: ExchangeEnd,
        admitted: &Admitted<'_>,
        cors: Option<CorsGrant<'_>>,
        keep_alive: bool,
        outcome: &mut RequestOutcome<'_>,
        client: &mut Peer,
    ) -> AfterRequest {
        match end {
            ExchangeEnd::Completed { reusable: true } => AfterRequest::KeepAlive,
            ExchangeEnd::Completed { reusable: false } => AfterRequest::Close,
            ExchangeEnd::Refused(refusal) if outcome.progress.status.get().is_none() => {
                // a browser would ask its user for a key that a script's WebSocket has no use for
                let challenge = !admitted.no_challenge && !admitted.is_websocket();
                // a client that waits for 100 may send its body or not: what follows cannot be told apart
                let body = if admitted.expects_continue { BodyLength::UntilClose } else { admitted.body };
                let options = self.response_options(admitted.head, keep_alive, cors);
                let sent = &outcome.progress.sent;
                let after = self.refuse(options, body, challenge, &refusal, sent, client).await;
                outcome.refusal = Some(refusal);
                after
            }
            ExchangeEnd::Refused(refusal) => {
                outcome.refusal = Some(refusal);
                AfterRequest::Reset
            }
            ExchangeEnd::DecideAgain => AfterRequest::Reset,
            ExchangeEnd::ClientGone(why) => client_gone(why, client, outcome),
            ExchangeEnd::Aborted(why) => {
                outcome.aborted = Some(why);
                let limit = self.active_config.snapshot.timeouts.write;
                if flush(client, self.stream, limit).await {
                    AfterRequest::ResetWhenSent
                } else {
                    client_gone(why, client, outcome)
                }
            }
            ExchangeEnd::AccessLost(refusal) => {
                outcome.aborted = Some("the key lost the right to this");
                let is_closed = admitted.is_websocket()
                    && outcome.progress.waiting_for.get() == WaitingFor::TunnelBytes
                    && outcome.progress.frames.get().is_between_frames()
                    && end_websocket(client, &refusal);
                if is_closed { AfterRequest::Close } else { AfterRequest::Reset }
            }
        }
    }
}

/// Notes for the log how much of the response left for a client that is gone.
fn client_gone(why: &'static str, client: &Peer, outcome: &mut RequestOutcome<'_>) -> AfterRequest {
    outcome.aborted = Some(why);
    if let Peer::Http1(peer) = client {
        let sent = outcome.progress.sent.get();
        outcome.progress.sent.set(sent.saturating_sub(peer.socket.unsent() as u64));
        if peer.socket.sent_nothing() {
            outcome.progress.status.set(None);
        }
    }
    AfterRequest::Reset
}
