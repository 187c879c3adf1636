//! The sixth step: what is counted and logged of a request. It never waits, and never holds a secret.

use std::sync::Arc;

use super::exchange::ExchangeProgress;
use super::refusal::Refusal;
use super::request_context::RequestContext;
use crate::auth::{AuthFailure, Credential, Identity};
use crate::telemetry::{AccessRecord, ReasonText};
use crate::wire::{RequestHead, Version};

/// What is known of a request when it is over.
#[derive(Default)]
pub(super) struct RequestOutcome<'a> {
    pub(super) refusal: Option<Refusal>,
    pub(super) identity: Option<Arc<Identity>>,
    /// What was sent, right or wrong.
    pub(super) credential: Option<&'a Credential>,
    /// Its place in the configuration.
    pub(super) route: Option<usize>,
    pub(super) upstream: Option<&'a str>,
    /// What let it pass.
    pub(super) rule: Option<crate::policy::Rule>,
    pub(super) progress: ExchangeProgress,
    /// Why it ended before its end.
    pub(super) aborted: Option<&'static str>,
}

impl RequestContext<'_> {
    /// Counts and logs.
    pub(super) fn record(&self, head: &RequestHead, outcome: &RequestOutcome<'_>) {
        let metrics = &self.worker.metrics;
        let progress = &outcome.progress;
        let duration = self.arrived.elapsed();
        let answered = progress.status.get();
        let auth_failure = outcome.refusal.as_ref().and_then(Refusal::auth_failure);
        let status = match (answered, &outcome.refusal) {
            (Some(status), _) => {
                metrics.count_allowed(status);
                status
            }
            (None, Some(refusal)) => {
                let answer = refusal.response();
                metrics.count_refused(answer.status, refusal.cause());
                if let Some(failure) = auth_failure {
                    metrics.count_auth_failure(failure.index());
                }
                answer.status
            }
            (None, None) => 0,
        };
        if let Some(route) = outcome.route {
            self.active_config.route_counts[route].count_request(status);
        }
        metrics.bytes_received.add(progress.received.get());
        metrics.bytes_sent.add(progress.sent.get());
        if self.trace.is_recorded()
            && let Some(spans) = &self.worker.spans
        {
            self.record_spans(&mut spans.borrow_mut(), head, outcome, status);
        }
        let refused = outcome.refusal.as_ref().map(Refusal::reason);
        let reason: Option<&dyn ReasonText> = match (&refused, &outcome.aborted, &outcome.rule) {
            (Some(refused), _, _) => Some(refused),
            (None, Some(aborted), _) => Some(aborted),
            (None, None, Some(rule)) => Some(rule),
            (None, None, None) => None,
        };
        let access_key = outcome.identity.as_ref().map(|identity| identity.principal.key.access_key.as_str());
        let claimed_key = match (auth_failure, outcome.credential, access_key) {
            (Some(failure), Some(credential), None) => Some(credential.access_key())
                .filter(|claimed| self.worker.shared.authenticator.may_be_logged(claimed, failure)),
            _ => None,
        };
        self.worker.access_log.borrow_mut().record(&AccessRecord {
            time_unix_ms: self.worker.unix_milliseconds(self.arrived),
            source: self.source(head),
            protocol: match head.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
                Version::Http2 => "HTTP/2.0",
            },
            method: std::str::from_utf8(head.method()).unwrap_or("?"),
            path: head.target(),
            status,
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            bytes_in: progress.received.get(),
            bytes_out: progress.sent.get(),
            access_key,
            route: outcome.route.map(|route| self.active_config.snapshot.route_names[route].as_str()),
            reason,
            auth_failure: auth_failure.map(AuthFailure::name),
            claimed_key,
            request_id: self.request_id,
            trace_id: self.trace.trace_id(),
            upstream: outcome.upstream,
        });
    }
}
