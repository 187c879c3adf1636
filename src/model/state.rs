//! The states of keys, accounts and environments.

use std::fmt;
use std::str::FromStr;

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
