//! API keys and their states.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::{AccessKey, AccountId, Description, EnvironmentId, KeyId, Name};

/// The stored state of a key, an account or an environment.
///
/// `active ⇄ inactive → removed`; nothing leaves `removed`. `deactivating` is not stored: it is computed where a
/// gateway has not yet confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Works.
    Active,
    /// Does not work, and can be activated or removed.
    Inactive,
    /// Gone for good; kept so that it cannot come back.
    Removed,
}

impl State {
    /// The word used in the store, on the command line and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a state is one of active, inactive, removed")]
pub struct UnknownState;

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        [Self::Active, Self::Inactive, Self::Removed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(UnknownState)
    }
}

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
    /// When it was created.
    pub created: Timestamp,
    /// When it was removed.
    pub removed: Option<Timestamp>,
}
