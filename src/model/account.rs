//! Accounts: who owns keys.

use std::str::FromStr;

use jiff::Timestamp;

use super::{AccountId, Description, Name, State};

/// What an account may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountKind {
    /// Reaches everything, and manages everything.
    Admin,
    /// Reaches the environments it is a member of.
    User,
}

impl AccountKind {
    /// `admin` or `user`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }
}

/// A text that is neither `admin` nor `user`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an account is of kind 'admin' or 'user'")]
pub struct UnknownAccountKind;

impl FromStr for AccountKind {
    type Err = UnknownAccountKind;

    fn from_str(text: &str) -> Result<Self, UnknownAccountKind> {
        match text {
            "admin" => Ok(Self::Admin),
            "user" => Ok(Self::User),
            _ => Err(UnknownAccountKind),
        }
    }
}

/// Who owns account keys and is a member of environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `1a…`
    pub id: AccountId,
    /// What operators call it; accounts always have one.
    pub name: Name,
    /// Free text.
    pub description: Option<Description>,
    /// Admin or user.
    pub kind: AccountKind,
    /// Only an active account's keys work.
    pub state: State,
    /// A random UUID, for clients that want an id that no other store has.
    pub uuid: String,
    /// When it was created.
    pub created: Timestamp,
    /// When it was removed.
    pub removed: Option<Timestamp>,
}
