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
    /// Make an environment whose id the gateway mints: nothing lies there yet.
    MintEnvironment {
        /// How many a user account may make.
        most: u32,
    },
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
/// Admins can do everything. A user has the keys of the own account, and makes environments if the configuration lets
/// users do that. In an environment the role decides: owners manage keys and members; members and restricted ones see
/// both; readonly ones see the environment. An environment key only reads, and only its own environment.
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
        Act::MintEnvironment { most } if *most > 0 => Verdict::Allowed,
        Act::ImportKey
        | Act::ManageAccounts
        | Act::CreateEnvironments
        | Act::MintEnvironment { .. }
        | Act::SeeEverything => Verdict::Refused,
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
        Act::ImportKey
        | Act::ManageAccounts
        | Act::CreateEnvironments
        | Act::MintEnvironment { .. }
        | Act::SeeEverything => Verdict::Refused,
        _ => Verdict::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{account_key, environment_key};
    use super::*;

    fn user(role: Option<Role>) -> Principal {
        let roles: Vec<_> = role.into_iter().map(|role| ("e1", role)).collect();
        account_key(AccountKind::User, &roles)
    }

    #[test]
    fn every_act_is_judged_by_who_asks() {
        // the fixture's accounts are all this one
        let own = AccountId::from_row(7);
        let other = AccountId::from_row(8);
        let e1: EnvironmentId = "e1".parse().unwrap();
        let e1s = KeyOwner::Environment(e1.clone());
        let see_e1 = |state| Act::SeeEnvironment { id: e1.clone(), state };
        let callers = [
            ("an admin", account_key(AccountKind::Admin, &[])),
            ("an owner", user(Some(Role::Owner))),
            ("a member", user(Some(Role::Member))),
            ("a restricted member", user(Some(Role::Restricted))),
            ("a readonly member", user(Some(Role::Readonly))),
            ("a stranger", user(None)),
            ("a member elsewhere", account_key(AccountKind::User, &[("e2", Role::Owner)])),
            ("a key of e1", environment_key("e1")),
            ("a key of e2", environment_key("e2")),
        ];
        // a letter for each caller: allowed, refused, hidden
        for (act, verdicts) in [
            (Act::SeeKeys(KeyOwner::Account(own)), "aaaaaaahh"),
            (Act::ChangeKeys(KeyOwner::Account(own)), "aaaaaaahh"),
            (Act::SeeAccount(own), "aaaaaaahh"),
            (Act::SeeKeys(KeyOwner::Account(other)), "ahhhhhhhh"),
            (Act::ChangeKeys(KeyOwner::Account(other)), "ahhhhhhhh"),
            (Act::SeeAccount(other), "ahhhhhhhh"),
            (Act::ManageAccounts, "arrrrrrrr"),
            (Act::ImportKey, "arrrrrrrr"),
            (Act::SeeEverything, "arrrrrrrr"),
            (Act::CreateEnvironments, "arrrrrrrr"),
            (Act::MintEnvironment { most: 0 }, "arrrrrrrr"),
            (Act::MintEnvironment { most: 1 }, "aaaaaaarr"),
            (see_e1(State::Active), "aaaaahhah"),
            (see_e1(State::Inactive), "aahhhhhah"),
            (see_e1(State::Removed), "aahhhhhah"),
            (Act::ChangeEnvironment(e1.clone()), "aarrrhhrh"),
            (Act::SeeKeys(e1s.clone()), "aaaahhhah"),
            (Act::ChangeKeys(e1s), "aarrhhhrh"),
            (Act::SeeMembers(e1.clone()), "aaaahhhah"),
            (Act::ChangeMembers(e1.clone()), "aarrhhhrh"),
        ] {
            assert_eq!(verdicts.len(), callers.len(), "{act:?}");
            for ((who, principal), letter) in callers.iter().zip(verdicts.chars()) {
                let expected = match letter {
                    'a' => Verdict::Allowed,
                    'r' => Verdict::Refused,
                    _ => Verdict::Hidden,
                };
                assert_eq!(judge(principal, &act), expected, "{who}: {act:?}");
            }
        }
    }
}
