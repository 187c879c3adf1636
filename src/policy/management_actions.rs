//! Who may manage what. Pure, and asked twice: when a request comes, and again inside the transaction that makes the
//! change, against the record as it is then.

use crate::model::{AccountId, AccountKind, EnvironmentId, KeyOwner, Owner, Principal, Role, State};

/// What a caller asks the management API or page to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagementAction {
    /// See keys of an account or an environment.
    SeeKeys(KeyOwner),
    /// Make, edit, activate, deactivate or delete keys of an account or an environment.
    ChangeKeys(KeyOwner),
    /// Import a key whose secret a person or another system chose.
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
    /// Create environments with a chosen id. The id is a path segment of the upstream: whoever can choose it reaches what
    /// lies there already.
    CreateEnvironments,
    /// Create an environment whose id the gateway mints: nothing lies there yet.
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

/// The answer to an [`ManagementAction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The caller may do it.
    Allowed,
    /// The caller may see the object, but not do this to it.
    Refused,
    /// The key's owner may do it, but the key is narrowed by its scope.
    Narrowed,
    /// The caller may not know that the object exists.
    Hidden,
}

/// Whether the owner of a verified key may do it.
///
/// A key that is narrowed in what it requests sees what it would see, and changes nothing: it could make itself a key that
/// is not narrowed.
///
/// Admins can do everything. A user has the keys of the own account, and makes environments if the configuration lets
/// users do that. In an environment the role decides: owners manage keys and members; members and restricted ones see
/// both; readonly ones see the environment. An environment key only reads, and only its own environment.
pub fn authorize(principal: &Principal, action: &ManagementAction) -> Verdict {
    match authorize_owner(principal, action) {
        Verdict::Allowed if action.is_change() && principal.key.has_narrowed_requests() => Verdict::Narrowed,
        verdict => verdict,
    }
}

impl ManagementAction {
    fn is_change(&self) -> bool {
        match self {
            Self::ChangeKeys(_)
            | Self::ImportKey
            | Self::ManageAccounts
            | Self::CreateEnvironments
            | Self::MintEnvironment { .. }
            | Self::ChangeEnvironment(_)
            | Self::ChangeMembers(_) => true,
            Self::SeeKeys(_)
            | Self::SeeAccount(_)
            | Self::SeeEnvironment { .. }
            | Self::SeeMembers(_)
            | Self::SeeEverything => false,
        }
    }
}

fn authorize_owner(principal: &Principal, action: &ManagementAction) -> Verdict {
    match &principal.owner {
        Owner::Account { account, .. } if account.kind == AccountKind::Admin => Verdict::Allowed,
        Owner::Account { account, .. } => authorize_user(principal, account.id, action),
        Owner::Environment(own) => authorize_environment_key(&own.id, action),
    }
}

fn authorize_user(principal: &Principal, own: AccountId, action: &ManagementAction) -> Verdict {
    let role = |environment: &EnvironmentId| principal.role_in(environment.as_str());
    match action {
        ManagementAction::SeeKeys(KeyOwner::Account(id))
        | ManagementAction::ChangeKeys(KeyOwner::Account(id))
        | ManagementAction::SeeAccount(id) => {
            if *id == own {
                Verdict::Allowed
            } else {
                Verdict::Hidden
            }
        }
        ManagementAction::SeeKeys(KeyOwner::Environment(id)) | ManagementAction::SeeMembers(id) => {
            match role(id) {
                Some(Role::Owner | Role::Member | Role::Restricted) => Verdict::Allowed,
                Some(Role::Readonly) | None => Verdict::Hidden,
            }
        }
        ManagementAction::ChangeKeys(KeyOwner::Environment(id)) | ManagementAction::ChangeMembers(id) => {
            match role(id) {
                Some(Role::Owner) => Verdict::Allowed,
                Some(Role::Member | Role::Restricted) => Verdict::Refused,
                Some(Role::Readonly) | None => Verdict::Hidden,
            }
        }
        ManagementAction::SeeEnvironment { id, state } => match role(id) {
            Some(Role::Owner) => Verdict::Allowed,
            Some(_) if *state == State::Active => Verdict::Allowed,
            Some(_) | None => Verdict::Hidden,
        },
        ManagementAction::ChangeEnvironment(id) => match role(id) {
            Some(Role::Owner) => Verdict::Allowed,
            Some(_) => Verdict::Refused,
            None => Verdict::Hidden,
        },
        ManagementAction::MintEnvironment { most } if *most > 0 => Verdict::Allowed,
        ManagementAction::ImportKey
        | ManagementAction::ManageAccounts
        | ManagementAction::CreateEnvironments
        | ManagementAction::MintEnvironment { .. }
        | ManagementAction::SeeEverything => Verdict::Refused,
    }
}

fn authorize_environment_key(own: &EnvironmentId, action: &ManagementAction) -> Verdict {
    match action {
        ManagementAction::SeeKeys(KeyOwner::Environment(id))
        | ManagementAction::SeeEnvironment { id, .. }
        | ManagementAction::SeeMembers(id)
            if id == own =>
        {
            Verdict::Allowed
        }
        ManagementAction::ChangeKeys(KeyOwner::Environment(id))
        | ManagementAction::ChangeEnvironment(id)
        | ManagementAction::ChangeMembers(id)
            if id == own =>
        {
            Verdict::Refused
        }
        ManagementAction::ImportKey
        | ManagementAction::ManageAccounts
        | ManagementAction::CreateEnvironments
        | ManagementAction::MintEnvironment { .. }
        | ManagementAction::SeeEverything => Verdict::Refused,
        _ => Verdict::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_fixtures::{account_key, environment_key};
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
        let see_e1 = |state| ManagementAction::SeeEnvironment { id: e1.clone(), state };
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
        for (action, verdicts) in [
            (ManagementAction::SeeKeys(KeyOwner::Account(own)), "aaaaaaahh"),
            (ManagementAction::ChangeKeys(KeyOwner::Account(own)), "aaaaaaahh"),
            (ManagementAction::SeeAccount(own), "aaaaaaahh"),
            (ManagementAction::SeeKeys(KeyOwner::Account(other)), "ahhhhhhhh"),
            (ManagementAction::ChangeKeys(KeyOwner::Account(other)), "ahhhhhhhh"),
            (ManagementAction::SeeAccount(other), "ahhhhhhhh"),
            (ManagementAction::ManageAccounts, "arrrrrrrr"),
            (ManagementAction::ImportKey, "arrrrrrrr"),
            (ManagementAction::SeeEverything, "arrrrrrrr"),
            (ManagementAction::CreateEnvironments, "arrrrrrrr"),
            (ManagementAction::MintEnvironment { most: 0 }, "arrrrrrrr"),
            (ManagementAction::MintEnvironment { most: 1 }, "aaaaaaarr"),
            (see_e1(State::Active), "aaaaahhah"),
            (see_e1(State::Inactive), "aahhhhhah"),
            (see_e1(State::Removed), "aahhhhhah"),
            (ManagementAction::ChangeEnvironment(e1.clone()), "aarrrhhrh"),
            (ManagementAction::SeeKeys(e1s.clone()), "aaaahhhah"),
            (ManagementAction::ChangeKeys(e1s), "aarrhhhrh"),
            (ManagementAction::SeeMembers(e1.clone()), "aaaahhhah"),
            (ManagementAction::ChangeMembers(e1.clone()), "aarrhhhrh"),
        ] {
            assert_eq!(verdicts.len(), callers.len(), "{action:?}");
            for ((who, principal), letter) in callers.iter().zip(verdicts.chars()) {
                let expected = match letter {
                    'a' => Verdict::Allowed,
                    'r' => Verdict::Refused,
                    _ => Verdict::Hidden,
                };
                assert_eq!(authorize(principal, &action), expected, "{who}: {action:?}");
                let narrowed = |scope: &str| {
                    let mut principal = principal.clone();
                    principal.key.scope = Some(Box::new(scope.parse().unwrap()));
                    authorize(&principal, &action)
                };
                let is_change = !format!("{action:?}").starts_with("See");
                let lost = if is_change && letter == 'a' { Verdict::Narrowed } else { expected };
                for scope in [r#"{"read_only":true}"#, r#"{"methods":["POST"]}"#, r#"{"paths":["/**"]}"#] {
                    assert_eq!(narrowed(scope), lost, "{who}, {scope}: {action:?}");
                }
                assert_eq!(narrowed(r#"{"networks":["::/0"]}"#), expected, "{who}: {action:?}");
            }
        }
    }
}
