//! API keys.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::{AccessKey, AccountId, Description, EnvironmentId, KeyId, Name, Scope, State};

/// The id of a key's owner, which also says what kind of key it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyOwner {
    /// An account key: acts for the account.
    Account(AccountId),
    /// An environment key: reaches only the environment's own paths.
    Environment(EnvironmentId),
}

impl fmt::Display for KeyOwner {
    /// The owner's id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => id.fmt(f),
            Self::Environment(id) => id.fmt(f),
        }
    }
}

/// The secret that a key had before it was rotated, as long as it is accepted beside the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormerSecret {
    /// Since when the key has had it.
    pub since: Timestamp,
    /// When it stops at the latest.
    pub ends: Timestamp,
    /// It stops earlier, once nobody has used it for so long and the new one was used.
    pub until_unused: Option<Duration>,
}

/// An API key, without its secret: nothing that verifies the secret is in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// `1c…`
    pub id: KeyId,
    /// The public half, the user name of HTTP Basic.
    pub access_key: AccessKey,
    /// Whose it is.
    pub owner: KeyOwner,
    /// Optional, editable.
    pub name: Option<Name>,
    /// Optional, editable.
    pub description: Option<Description>,
    /// Only an active key works.
    pub state: State,
    /// A random UUID.
    pub uuid: String,
    /// When it stops by itself; `None`: never.
    pub expires: Option<Timestamp>,
    /// What it may do of what its owner may; `None`: all of it.
    pub scope: Option<Box<Scope>>,
    /// Since when it has its secret. No two secrets of a key have the same.
    pub secret_since: Timestamp,
    /// The secret before that, if it may still be used.
    pub former: Option<FormerSecret>,
    /// When it was created.
    pub created: Timestamp,
    /// When it was removed.
    pub removed: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it has stopped by itself.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether it may be used from this address.
    pub fn may_come_from(&self, address: IpAddr) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.has_address(address))
    }

    /// Whether its scope narrows what a request may do, and not only where it may come from.
    pub fn has_narrowed_requests(&self) -> bool {
        self.scope.as_ref().is_some_and(|scope| scope.narrows_requests())
    }

    /// The secret before the last rotation, if it is still accepted.
    pub fn former_at(&self, now: Timestamp) -> Option<FormerSecret> {
        self.former.filter(|former| former.ends > now)
    }
}
