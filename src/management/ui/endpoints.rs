//! Where the keys of an owner can be used.

use super::super::refusal::Refusal;
use super::signed_in_request::SignedInRequest;
use crate::model::{KeyOwner, Owner};

/// URLs that the keys of an owner may read, or why there are none.
#[derive(Default)]
pub(super) struct Endpoints {
    pub(super) urls: Vec<String>,
    /// What to do where there are none.
    pub(super) missing: Option<&'static str>,
}

impl Endpoints {
    /// Those of the keys of `owner`.
    pub(super) async fn of(request: &SignedInRequest<'_>, owner: &KeyOwner) -> Result<Self, Refusal> {
        let owner = request.operations().key_owner(&request.caller, owner).await?;
        let urls = request.management.settings().endpoints(&owner, &request.http.host);
        let missing = match &owner {
            _ if !urls.is_empty() => None,
            Owner::Environment(_) => Some(
                "No route of the configuration leads into this environment, so its keys reach nothing. Give a route \
                 an environment template, such as environment: \"/v1/projects/{environment}\".",
            ),
            Owner::Account { memberships, .. } if memberships.is_empty() => Some(
                "Keys of this account reach nothing yet. Make the account a member of an environment, or give a route \
                 account: allow.",
            ),
            Owner::Account { .. } => Some(
                "No route of the configuration is open to this account, so its keys reach nothing. Give a route \
                 account: allow, or an environment template.",
            ),
        };
        Ok(Self { urls, missing })
    }
}
