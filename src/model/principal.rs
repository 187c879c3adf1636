//! Who a verified request acts for.

use super::{Account, AccountKind, ApiKey, Environment, EnvironmentId, Role, State};

/// The owner of a key, as of the moment it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The account of an account key, and its memberships sorted by environment.
    Account {
        /// The owner.
        account: Account,
        /// Where it is a member; sorted by environment id.
        memberships: Vec<(EnvironmentId, Role)>,
    },
    /// The environment of an environment key.
    Environment(Environment),
}

/// A key, its owner and its owner's memberships: all that a decision needs to know of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key that was presented.
    pub key: ApiKey,
    /// Its owner.
    pub owner: Owner,
}

impl Principal {
    /// Whether this key works at all: it and its owner are active.
    pub fn is_active(&self) -> bool {
        let owner = match &self.owner {
            Owner::Account { account, .. } => account.state,
            Owner::Environment(environment) => environment.state,
        };
        self.key.state == State::Active && owner == State::Active
    }

    /// Whether the key is an admin account's.
    pub fn is_admin(&self) -> bool {
        matches!(&self.owner, Owner::Account { account, .. } if account.kind == AccountKind::Admin)
    }

    /// The account's role in `environment`, where it has one.
    pub fn role_in(&self, environment: &str) -> Option<Role> {
        let Owner::Account { memberships, .. } = &self.owner else { return None };
        memberships.binary_search_by(|(id, _)| id.as_str().cmp(environment)).ok().map(|at| memberships[at].1)
    }
}
