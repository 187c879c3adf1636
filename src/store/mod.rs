//! The record: accounts, environments, memberships and keys, and the log of every change to them. It is one SQLite file
//! (the embedded store), or PostgreSQL with a replica, an SQLite file of the same tables, on every gateway: see
//! `postgres/mod.rs`.
//!
//! - [`Store`] reads and changes the record on one connection, and blocks. The command line uses it.
//! - [`RequestStore`] answers the request path, on threads of its own.
//! - [`AsyncStore`] runs a `Store` for the management plane, on threads of its own. Lists have threads apart, and limits.
//! - [`Follower`] reads the change log for a running gateway.
//! - [`Replica`] keeps a gateway's replica at the record's newest change, and its lease in the record.
//! - [`Gateways`] and [`Receipt`] say which gateways have applied a change.
//!
//! A change is one transaction, `BEGIN IMMEDIATE`, with its row in the change log ([`ChangeNumber`], a hash of its content
//! and of the row before). It is on the disk before it is acknowledged. Fingerprints and uses of keys are not changes.
//! Removed objects keep their row, so that no id and no access key is ever given out again.

mod accounts;
mod async_store;
mod audit;
mod author;
mod backup;
mod boot_clock;
mod change;
mod change_log_follower;
mod database;
mod delta;
mod environments;
mod error;
mod file_owner;
mod file_watch;
mod gateways;
mod key_ends;
mod key_import;
mod key_secrets;
mod keys;
mod lease;
mod list_queue;
mod lookup;
mod lost_revocations;
mod memberships;
mod migrations;
mod object;
mod object_names;
mod page;
mod postgres;
mod process_identity;
mod query_budget;
mod record_clock;
mod rehash;
mod request_store;
mod rotations;
mod row_mapping;
mod store_handle;
mod tables;
mod thread_pool;
mod uses_and_fingerprints;
mod verifier;
mod write_transaction;

pub use accounts::NewAccount;
pub use async_store::AsyncStore;
pub use audit::{Attempt, AuditEntry};
pub use author::{ActingKey, Author, Via};
pub use backup::{Backup, Restored};
pub use boot_clock::BootInstant;
pub use change::{Change, ChangeHash, ChangeHead, ChangeNumber, Subject, last_common_change};
pub use change_log_follower::{Follower, KeysEnded, StorePosition};
pub use database::FileId;
pub use environments::{EnvironmentScope, NewEnvironment};
pub use error::StoreError;
pub use file_owner::give_to_owner_of_folder;
pub use file_watch::uncheckpointed_wal;
pub use gateways::{
    ConfirmedUpTo, GatewayEntry, GatewayRegistration, Gateways, RECEIPT_TIMEOUT, Receipt,
    receipt_poll_interval,
};
pub use key_import::{CreatedKeys, ReplacedSecret, StoredKey};
pub use key_secrets::Overlap;
pub use keys::{KeyEdit, KeyProperties, NewKey};
pub use lease::{LeaseAction, LeaseState};
pub use lookup::{EnvironmentRead, KeyEntry, KeyRead, KeyRecord, KeyUsage, KeyUse, WithRevision};
pub use lost_revocations::lost_revocation;
pub use memberships::{MemberEntry, MembershipScope};
pub use object::{ExpectedRevision, StateTransition};
pub use object_names::{MAX_IDS_OF_A_NAME, NameAndState, ObjectId};
pub use page::{
    ACCOUNT_FIELDS, AUDIT_FIELDS, ENVIRONMENT_FIELDS, Field, FieldKind, Filter, InvalidDate, InvalidMarker,
    KEY_FIELDS, MEMBER_FIELDS, Marker, Modifier, Page, PageQuery, Total,
};
pub use postgres::{Replica, ReplicaHead, Wakeup};
pub use record_clock::RecordClock;
pub use rehash::Rehash;
pub use request_store::{RequestStore, StoreNote};
pub use store_handle::{Edit, Store};
pub use verifier::{Fingerprint, KeyVerifier, KeyVerifiers, PepperId, SecretId};

#[cfg(test)]
mod tests;
