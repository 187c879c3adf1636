//! Who may manage what. Pure, and asked twice: when a request is judged, and again inside the transaction that makes
//! the change, against the record as it is then.

use crate::model::{AccountId, AccountKind, EnvironmentId, KeyOwner, Owner, Principal, Role, State};

/// Something that the management plane is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// See keys of an account or an environment.
    SeeKeys(KeyOwner),
    /// Make, edit, activate, deactivate or delete keys of an account or an environment.
    ChangeKeys(KeyOwner),
    /// Bring a key whose secret somebody chose.
    ImportKey,
    /// See an account.
    SeeAccount(AccountId),
    /// Make and change accounts.
    ManageAccounts,
    /// See an environment's own document.
    SeeEnvironment {
        /// Which.
        id: EnvironmentId,
        /// Its state: members lose sight of an inactive one, its owners do not.
        state: State,
    },
    /// Make environments. An environment's id is a path segment of the upstream: whoever could choose one would reach
    /// what lies there already.
    CreateEnvironments,
    /// Edit, activate, deactivate or delete an environment.
    ChangeEnvironment(EnvironmentId),
    /// See who belongs to an environment.
    SeeMembers(EnvironmentId),
    /// Add and remove members, and change their roles.
    ChangeMembers(EnvironmentId),
    /// Read the audit log and the figures of the whole gateway.
    SeeEverything,
}

/// The answer to an [`Act`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// The object may be seen, but this is not for the caller to do.
    Refused,
    /// The caller may not know that the object exists.
    Hidden,
}

/// Whether the owner of a verified key may do it.
///
/// Admins may do everything. A user has the own account's keys, and in environments what the role gives: owners keys
/// and members, members and restricted ones see keys and members, readonly ones see the environment. An environment
/// key only reads, and only its own environment.
pub fn judge(principal: &Principal, act: &Act) -> Verdict {
    match &principal.owner {
        Owner::Account { account, .. } if account.kind == AccountKind::Admin => Verdict::Allowed,
        Owner::Account { account, .. } => judge_user(principal, account.id, act),
        Owner::Environment(own) => judge_environment_key(&own.id, act),
    }
}

fn judge_user(principal: &Principal, own: AccountId, act: &Act) -> Verdict {
    let role = |environment: &EnvironmentId| principal.role_in(environment.as_str());
    match act {
        Act::SeeKeys(KeyOwner::Account(id))
        | Act::ChangeKeys(KeyOwner::Account(id))
        | Act::SeeAccount(id) => {
            if *id == own {
                Verdict::Allowed
            } else {
                Verdict::Hidden
            }
        }
        Act::SeeKeys(KeyOwner::Environment(id)) | Act::SeeMembers(id) => match role(id) {
            Some(Role::Owner | Role::Member | Role::Restricted) => Verdict::Allowed,
            Some(Role::Readonly) | None => Verdict::Hidden,
        },
        Act::ChangeKeys(KeyOwner::Environment(id)) | Act::ChangeMembers(id) => match role(id) {
            Some(Role::Owner) => Verdict::Allowed,
            Some(Role::Member | Role::Restricted) => Verdict::Refused,
            Some(Role::Readonly) | None => Verdict::Hidden,
        },
        Act::SeeEnvironment { id, state } => match role(id) {
            Some(Role::Owner) => Verdict::Allowed,
            Some(_) if *state == State::Active => Verdict::Allowed,
            Some(_) | None => Verdict::Hidden,
        },
        Act::ChangeEnvironment(id) => match role(id) {
            Some(Role::Owner) => Verdict::Allowed,
            Some(_) => Verdict::Refused,
            None => Verdict::Hidden,
        },
        Act::ImportKey | Act::ManageAccounts | Act::CreateEnvironments | Act::SeeEverything => {
            Verdict::Refused
        }
    }
}

fn judge_environment_key(own: &EnvironmentId, act: &Act) -> Verdict {
    match act {
        Act::SeeKeys(KeyOwner::Environment(id)) | Act::SeeEnvironment { id, .. } | Act::SeeMembers(id)
            if id == own =>
        {
            Verdict::Allowed
        }
        Act::ChangeKeys(KeyOwner::Environment(id)) | Act::ChangeEnvironment(id) | Act::ChangeMembers(id)
            if id == own =>
        {
            Verdict::Refused
        }
        Act::ImportKey | Act::ManageAccounts | Act::CreateEnvironments | Act::SeeEverything => {
            Verdict::Refused
        }
        _ => Verdict::Hidden,
    }
}
