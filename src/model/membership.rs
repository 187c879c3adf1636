//! Memberships: which account has which role in which environment.

use std::fmt;
use std::str::FromStr;

use super::{AccountId, EnvironmentId};

/// What a member of an environment may do, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Everything, the environment's own document and its members included.
    Owner,
    /// Everything but what only owners may.
    Member,
    /// Decided as [`Role::Member`]; the upstream is told and may restrict further.
    Restricted,
    /// Reading only.
    Readonly,
}

impl Role {
    /// Every role, strongest first.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Member, Self::Restricted, Self::Readonly];

    /// The word used on the command line, in the API and in `X-API-Roles`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Member => "member",
            Self::Restricted => "restricted",
            Self::Readonly => "readonly",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of owner, member, restricted, readonly")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// One account's role in one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The account.
    pub account: AccountId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The account's role there.
    pub role: Role,
}
