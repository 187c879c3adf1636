//! One request of the API by an identified caller: what its path, query and headers say.

use http::header::IF_MATCH;

use super::audience::Audience;
use super::input::Input;
use super::query;
use super::url::url_prefix;
use crate::management::operations::{Caller, Operations, SelfLockout};
use crate::management::refusal::Refusal;
use crate::management::request::Request;
use crate::management::resource_json::RenderOptions;
use crate::management::state::Management;
use crate::model::{EnvironmentId, State};
use crate::store::{ChangeNumber, ConfirmedUpTo, ExpectedRevision, StateTransition};

/// One request of the API by an identified caller.
pub(super) struct ApiRequest<'a> {
    pub(super) management: &'a Management,
    pub(super) http: &'a Request,
    pub(super) caller: &'a Caller,
    /// The environment that the path goes through. It exists, and the caller may see it.
    pub(super) environment: Option<EnvironmentId>,
    pub(super) audience: Audience,
    /// The changes that every gateway has confirmed.
    pub(super) confirmed_up_to: ConfirmedUpTo,
}

impl<'a> ApiRequest<'a> {
    /// Refuses an environment that the caller may not see, and looks up what all types need.
    pub(super) async fn read(
        management: &'a Management,
        http: &'a Request,
        caller: &'a Caller,
        environment: Option<EnvironmentId>,
    ) -> Result<Self, Refusal> {
        if let Some(id) = &environment {
            management.operations.existing_environment(caller, id).await?;
        }
        let audience = Audience::of(&management.operations, caller, environment.as_ref());
        let confirmed_up_to = management.operations.confirmed_up_to().await;
        Ok(Self { management, http, caller, environment, audience, confirmed_up_to })
    }

    pub(super) fn operations(&self) -> &Operations {
        &self.management.operations
    }

    /// The fields that the body and the query set.
    pub(super) fn input(&self) -> Result<Input, Refusal> {
        Input::read(self.http)
    }

    /// What URLs of this place begin with.
    pub(super) fn url_prefix(&self) -> String {
        url_prefix(self.http, self.environment.as_ref())
    }

    /// What URLs outside environments begin with.
    pub(super) fn root_url(&self) -> String {
        url_prefix(self.http, None)
    }

    /// How to render a resource with links of this place.
    pub(super) fn options(&self, offers_actions: bool, is_pending: bool) -> RenderOptions {
        RenderOptions {
            prefix: Some(self.url_prefix()),
            offers_actions,
            is_pending,
            now: self.operations().now(),
        }
    }

    /// How to render a resource with links outside environments.
    pub(super) fn root_options(&self, offers_actions: bool, is_pending: bool) -> RenderOptions {
        RenderOptions {
            prefix: Some(self.root_url()),
            offers_actions,
            is_pending,
            now: self.operations().now(),
        }
    }

    /// `confirm=self`: the caller means the own key or account.
    pub(super) fn self_lockout(&self) -> SelfLockout {
        let is_confirmed =
            query::parameters(self.http.query()).any(|(name, value)| name == "confirm" && value == "self");
        if is_confirmed { SelfLockout::Confirmed } else { SelfLockout::NotConfirmed }
    }

    /// The revisions that `If-Match` names (RFC 9110 section 13.1.1). The record compares them in the change's own
    /// transaction, so that the audit log shows who was too late.
    pub(super) fn expected(&self) -> ExpectedRevision {
        let headers = &self.http.head.headers;
        if !headers.contains_key(IF_MATCH) {
            return ExpectedRevision::Any;
        }
        let given: Vec<_> = headers
            .get_all(IF_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        if given.contains(&"*") {
            return ExpectedRevision::Any;
        }
        // what is no tag of ours matches nothing
        ExpectedRevision::OneOf(given.into_iter().filter_map(revision_in).collect())
    }

    /// The transition to `to`, from the revisions that `If-Match` names.
    pub(super) fn transition(&self, to: State) -> StateTransition {
        StateTransition { to, expected: self.expected() }
    }
}

/// The `ETag` of a revision.
pub(super) fn etag(revision: ChangeNumber) -> String {
    format!("\"{revision}\"")
}

/// The revision that a tag names, if it is spelled as [`etag`] does.
fn revision_in(given: &str) -> Option<ChangeNumber> {
    let revision = given.trim_matches('"').parse().ok().map(ChangeNumber)?;
    (given == etag(revision)).then_some(revision)
}
