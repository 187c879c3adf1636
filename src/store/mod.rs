//! The record: accounts, environments, memberships and keys, and the log of every change to them. It is one SQLite file
//! (the embedded store), or PostgreSQL with a replica, an SQLite file of the same tables, on every gateway: see
//! `postgres/mod.rs`.
//!
//! - [`Store`] makes changes, on one connection; the command line and the management plane hold one.
//! - [`Reader`] answers the request path from threads of its own.
//! - [`Registry`] does both for the management plane, on threads of its own; lists have theirs apart, and bounds.
//! - [`Follower`] tells a running gateway what others have changed.
//! - [`Replica`] keeps a gateway's replica at the record's newest change, and its lease in the record.
//! - [`Gateways`] and [`Receipt`] tell where a change is in force.
//!
//! A change is one transaction, `BEGIN IMMEDIATE`, with its row in the log ([`ChangeNumber`], hash of its content and
//! of the row before), and is on the disk before it is acknowledged. Fingerprints and uses of keys are no changes.
//! Removed objects keep their row, so that no id and no access key is ever given out again.

mod accounts;
mod audit;
mod author;
mod backup;
mod boot;
mod budget;
mod change;
mod database;
mod delta;
mod environments;
mod error;
mod file_watch;
mod follower;
mod forgotten;
mod gateways;
mod keys;
mod lease;
mod lists;
mod lookup;
mod memberships;
mod migrations;
mod notes;
mod object;
mod page;
mod postgres;
mod reader;
mod record;
mod registry;
mod rows;
mod rowset;
mod threads;
mod verifier;

pub use accounts::NewAccount;
pub use audit::{Attempt, AuditEntry};
pub use author::{ActingKey, Author, Via};
pub use backup::{Backup, Restored};
pub use boot::BootTime;
pub use change::{Change, ChangeNumber, Hash, Head, Subject, last_common};
pub use database::FileId;
pub use environments::{NewEnvironment, SeenBy};
pub use error::StoreError;
pub use file_watch::unwritten_log;
pub use follower::{Follower, Position};
pub use forgotten::lost;
pub use gateways::{
    ConfirmedUpTo, GatewayEntry, Gateways, Presence, RECEIPT_PATIENCE, Receipt, receipt_pause,
};
pub use keys::NewKey;
pub use lease::{LeaseState, Next};
pub use lookup::{Entry, EnvironmentRead, KeyEntry, KeyRead, KeyRecord, KeyUsage, KeyUse};
pub use memberships::{MemberEntry, MembersOf};
pub use object::{Expected, Transition};
pub use page::{
    ACCOUNT_FIELDS, AUDIT_FIELDS, ENVIRONMENT_FIELDS, Field, FieldKind, Filter, InvalidDate, InvalidMarker,
    KEY_FIELDS, MEMBER_FIELDS, Marker, Modifier, Page, Query,
};
pub use postgres::{Reached, Replica, Woken};
pub use reader::{Note, Reader};
pub use record::{Edit, Store};
pub use registry::Registry;
pub use verifier::{Fingerprint, KeyVerifier, PepperId};

#[cfg(test)]
mod tests;
