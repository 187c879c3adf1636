//! The caller of an operation.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::Identity;
use crate::management::refusal::Refusal;
use crate::model::{Account, EnvironmentId, KeyOwner, Owner, Principal, Role};
use crate::policy::{ManagementAction, Verdict, authorize};
use crate::store::{ActingKey, Author, Via};

/// A verified caller, and the request that the call is part of.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The verified key, from a credential or from a session.
    pub identity: Arc<Identity>,
    /// Whether the request came to the API or to the page.
    pub via: Via,
    /// The client's address.
    pub source: IpAddr,
    /// The request's id.
    pub request_id: String,
}

impl Caller {
    /// The key, its owner and the owner's memberships.
    pub fn principal(&self) -> &Principal {
        &self.identity.principal
    }

    /// Whether it is an admin account's key.
    pub fn is_admin(&self) -> bool {
        self.principal().is_admin()
    }

    /// The account of an account key; `None` for an environment key.
    pub fn account(&self) -> Option<&Account> {
        match &self.principal().owner {
            Owner::Account { account, .. } => Some(account),
            Owner::Environment(_) => None,
        }
    }

    /// The owner of the key.
    pub fn owner(&self) -> &KeyOwner {
        &self.principal().key.owner
    }

    /// The caller's role in an environment. Admins act as owners.
    pub fn role_in(&self, environment: &EnvironmentId) -> Option<Role> {
        if self.is_admin() { Some(Role::Owner) } else { self.principal().role_in(environment.as_str()) }
    }

    /// Whether the caller may do it.
    pub fn may(&self, act: &ManagementAction) -> bool {
        authorize(self.principal(), act) == Verdict::Allowed
    }

    /// Refuses what the caller may not do: 404 if the caller may not know that the object exists, else 403.
    pub(in crate::management) fn require(&self, act: &ManagementAction) -> Result<(), Refusal> {
        match authorize(self.principal(), act) {
            Verdict::Allowed => Ok(()),
            Verdict::Refused => Err(Refusal::Forbidden { detail: None }),
            Verdict::Narrowed => Err(Refusal::NarrowedKey),
            Verdict::Hidden => Err(Refusal::NotFound),
        }
    }

    /// The author of a change, for the record.
    pub(super) fn author(&self) -> Author {
        Author::Key(ActingKey {
            access_key: self.principal().key.access_key.clone(),
            owner: self.owner().clone(),
            via: self.via,
            address: self.source,
            request: self.request_id.clone(),
        })
    }
}
