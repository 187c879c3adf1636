//! The fourth step: whether a request may pass.

use std::sync::Arc;

use super::admit::Admitted;
use super::cors::CorsGrant;
use super::headers::ClientInfo;
use super::open_streams::OpenStreams;
use super::refusal::Refusal;
use super::request_context::RequestContext;
use super::route::RoutedPaths;
use super::trace_context::TraceContext;
use super::websocket::websocket_key;
use crate::auth::{AuthFailure, Authenticator, Identity};
use crate::model::{Owner, State};
use crate::policy::{
    DecisionInput, Denial, DenialStatus, EnvironmentName, EnvironmentStatus, Grant, PathClass,
    WebDavDestination, decide,
};
use crate::wire::FieldNameSet;

/// A request that may be forwarded, with all that forwarding needs to know of it. It needs a [`Grant`], which only the
/// policy makes.
pub(super) struct Permitted<'a> {
    pub(super) admitted: &'a Admitted<'a>,
    pub(super) client: &'a ClientInfo,
    pub(super) identity: Option<&'a Arc<Identity>>,
    pub(super) grant: Grant<'a>,
    pub(super) stripped: &'a FieldNameSet,
    /// Names that no trailer of the request may have.
    pub(super) headers_only: &'a FieldNameSet,
    pub(super) request_id: &'a str,
    pub(super) trace: &'a TraceContext,
    /// What the gateway asks a WebSocket upstream with, for a client that came by HTTP/2.
    pub(super) websocket_key: Option<String>,
    /// What a script of the request's origin may do with the response.
    pub(super) cors: Option<CorsGrant<'a>>,
    /// The route has a CORS policy: the upstream's own does not count, whatever the origin.
    pub(super) has_cors_policy: bool,
    authenticator: &'a Authenticator,
    streams: &'a OpenStreams,
    changes_seen: u64,
}

impl Permitted<'_> {
    /// Whether nothing has changed since the key was looked up: a change that was applied meanwhile may be about it.
    pub(super) fn is_unchanged(&self) -> bool {
        self.streams.changes_seen() == self.changes_seen
            && !self.identity.is_some_and(|identity| identity.is_stale())
    }

    /// Whether the gateway may act on what it knows. Public paths do not depend on it.
    pub(super) fn has_lease(&self) -> bool {
        self.identity.is_none() || self.authenticator.has_lease()
    }
}

impl RequestContext<'_> {
    /// Asks the policy. `changes_seen`: as of before the key was looked up.
    pub(super) async fn decide<'a>(
        &'a self,
        admitted: &'a Admitted<'a>,
        paths: &'a RoutedPaths<'a>,
        identity: Option<&'a Arc<Identity>>,
        cors: Option<CorsGrant<'a>>,
        changes_seen: u64,
    ) -> Result<Permitted<'a>, Refusal> {
        let known = identity.map(Arc::as_ref);
        let facts = self.environment_facts(paths, known).await?;
        let grant = decide(&self.inquiry(admitted, paths, known, facts))
            .map_err(|denial| self.denied(denial, known))?;
        let snapshot = &self.active_config.snapshot;
        Ok(Permitted {
            admitted,
            client: self.client,
            identity,
            grant,
            stripped: &snapshot.stripped,
            headers_only: &snapshot.headers_only,
            request_id: self.request_id,
            trace: &self.trace,
            websocket_key: admitted.head.protocol().map(|_| websocket_key(self.worker.random_bytes())),
            cors,
            has_cors_policy: paths.routed.route.cors.is_some(),
            authenticator: &self.worker.shared.authenticator,
            streams: &self.worker.streams,
            changes_seen,
        })
    }

    /// Decides again for a request that is under way, after something about its key has changed.
    pub(super) async fn decide_again(
        &self,
        held: &Identity,
        admitted: &Admitted<'_>,
        paths: &RoutedPaths<'_>,
    ) -> Result<Arc<Identity>, Refusal> {
        loop {
            let seen = self.worker.streams.changes_seen();
            let client = self.source(admitted.head);
            let identity = self.worker.shared.authenticator.refresh(held, client).await?;
            let facts = self.environment_facts(paths, Some(&identity)).await?;
            decide(&self.inquiry(admitted, paths, Some(&identity), facts))
                .map_err(|denial| self.denied(denial, Some(&identity)))?;
            if seen == self.worker.streams.changes_seen() {
                self.stream.set_identity(Some(Arc::clone(&identity)));
                return Ok(identity);
            }
        }
    }

    fn inquiry<'i>(
        &self,
        admitted: &'i Admitted<'_>,
        paths: &'i RoutedPaths<'_>,
        identity: Option<&'i Identity>,
        environment: Option<EnvironmentStatus>,
    ) -> DecisionInput<'i> {
        DecisionInput {
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
        paths: &RoutedPaths<'_>,
        identity: Option<&Identity>,
    ) -> Result<Option<EnvironmentStatus>, Refusal> {
        let class = match (paths.routed.class, paths.destination) {
            (PathClass::Environment(_), _) | (_, None | Some(WebDavDestination::NoRoute)) => {
                paths.routed.class
            }
            (_, Some(WebDavDestination::Routed(second))) => second.class,
        };
        match class {
            PathClass::Environment(EnvironmentName::Named(id)) => {
                // an environment key brings its own environment along, as true as the key itself
                if let Some(Owner::Environment(own)) = identity.map(|identity| &identity.principal.owner)
                    && own.id.as_str() == id
                {
                    return Ok(Some(EnvironmentStatus { known: true, active: own.state == State::Active }));
                }
                let facts = self.unless_stopping(self.worker.shared.authenticator.environment(id)).await??;
                Ok(Some(facts))
            }
            _ => Ok(None),
        }
    }

    fn denied(&self, denial: Denial, identity: Option<&Identity>) -> Refusal {
        match denial.status {
            DenialStatus::Unauthenticated => {
                let now = self.worker.shared.authenticator.now();
                let failure = identity.and_then(|identity| AuthFailure::of(&identity.principal, now));
                Refusal::Unauthenticated(failure.unwrap_or(AuthFailure::NoCredential))
            }
            DenialStatus::Forbidden => Refusal::Forbidden(denial.rule),
        }
    }
}
