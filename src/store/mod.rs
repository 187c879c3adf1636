//! The record: accounts, environments, memberships and keys in one SQLite file, and the log of every change to them.
//!
//! - [`Store`] makes changes, on one connection; the command line and the management plane hold one.
//! - [`Reader`] answers the request path from threads of its own.
//! - [`Follower`] tells a running gateway what others have changed.
//!
//! A change is one transaction, `BEGIN IMMEDIATE`, with its row in the log ([`ChangeNumber`], hash of its content and
//! of the row before), and is on the disk before it is acknowledged. Fingerprints and uses of keys are no changes.
//! Removed objects keep their row, so that no id and no access key is ever given out again.

mod accounts;
mod change;
mod database;
mod environments;
mod error;
mod follower;
mod keys;
mod lookup;
mod memberships;
mod migrations;
mod notes;
mod object;
mod reader;
mod record;
mod rows;
mod verifier;

pub use accounts::NewAccount;
pub use change::{Change, ChangeNumber, Subject};
pub use environments::NewEnvironment;
pub use error::StoreError;
pub use follower::Follower;
pub use keys::NewKey;
pub use lookup::{EnvironmentRead, KeyRead, KeyRecord, KeyUse};
pub use reader::Reader;
pub use record::{Edit, Store};
pub use verifier::{Fingerprint, KeyVerifier, PepperId};

#[cfg(test)]
mod tests;
