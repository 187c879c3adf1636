//! For whom the API looks how: types, methods and fields differ by the caller's role.

use crate::management::operations::{Caller, Operations};
use crate::model::{EnvironmentId, Role};

/// The caller's role, as far as types differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// An admin account's key, anywhere.
    Admin,
    /// A user account's key, outside environments.
    User,
    /// The same, where users may create environments.
    Creator,
    /// A user account's key, inside an environment that the account owns.
    Owner,
    /// The same, inside one where the account is a member or restricted.
    Member,
    /// The same, inside one where the account is readonly.
    Readonly,
    /// An environment's key.
    EnvironmentKey,
}

impl Audience {
    /// Every audience.
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] = [
        Self::Admin,
        Self::User,
        Self::Creator,
        Self::Owner,
        Self::Member,
        Self::Readonly,
        Self::EnvironmentKey,
    ];

    /// The audience that a caller is, inside `environment` if the path goes through one.
    pub(super) fn of(operations: &Operations, caller: &Caller, environment: Option<&EnvironmentId>) -> Self {
        if caller.is_admin() {
            return Self::Admin;
        }
        if caller.account().is_none() {
            return Self::EnvironmentKey;
        }
        match environment.map(|id| caller.role_in(id)) {
            None if operations.may_create_environments(caller) => Self::Creator,
            None => Self::User,
            Some(Some(Role::Owner)) => Self::Owner,
            Some(Some(Role::Member | Role::Restricted)) => Self::Member,
            Some(Some(Role::Readonly) | None) => Self::Readonly,
        }
    }
}
