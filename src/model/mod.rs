//! Plain data and its rules: accounts, environments, memberships, API keys. No I/O.
//!
//! Every type here holds valid values only: an [`EnvironmentId`] is always well-formed.

mod account;
mod client_source;
mod environment;
mod id;
mod key;
mod membership;
mod name_and_description;
mod principal;
mod scope;
mod state;
mod wanted_end;
mod wanted_overlap;

pub use account::{Account, AccountKind, UnknownAccountKind};
pub use client_source::ClientSource;
pub use environment::Environment;
pub use id::{AccessKey, AccountId, EnvironmentId, InvalidId, KeyId};
pub use key::{ApiKey, FormerSecret, KeyOwner};
pub use membership::{Membership, Role, UnknownRole};
pub use name_and_description::{Description, Name, TextError};
pub use principal::{Owner, Principal};
pub use scope::{Incomparable, Scope, ScopeError, ScopeFields, ScopePath, ScopePathError};
pub use state::State;
pub use wanted_end::{InvalidEnd, WantedEnd};
pub use wanted_overlap::{InvalidOverlap, WantedOverlap};
