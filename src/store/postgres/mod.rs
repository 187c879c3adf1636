//! The record in PostgreSQL, shared by several gateways.
//!
//! Every gateway keeps a replica: an SQLite file that is brought up to date through the change log and answers every query.
//! So the rules of the record, and every query, exist once, in SQL for SQLite. A change ([`Record::change`]) takes these
//! steps:
//!
//! 1. Lock the one row of the record's `change_head`. From here on nobody else changes anything.
//! 2. Bring the replica up to it, if it is behind.
//! 3. Make the change in the replica, in a transaction that is rolled back, and keep what it wrote (a [`Delta`]).
//! 4. Write that into the record, and commit.
//! 5. Apply it to the replica, as every other gateway does.
//!
//! [`Delta`]: super::delta::Delta

mod connection;
mod delta;
mod full_copy;
mod gateways;
mod migrations;
mod rebuild;
mod record;
mod replica;
mod tls;
mod uses_and_fingerprints;

pub(super) use record::Record;
pub use replica::{Replica, ReplicaHead, Wakeup};

use self::migrations::IfEmpty;
use super::database::Database;
use super::{Store, StoreError};
use crate::config::Postgres;

/// Copies a store into an empty record.
pub(super) fn copy_into_record(
    postgres: &Postgres,
    database: &Database,
    on_progress: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    let mut link = migrations::connect(postgres, IfEmpty::CreateSchema)?;
    full_copy::copy_into_record(&mut link, database, on_progress)
}

/// Copies the record into an empty store.
pub(super) fn copy_from_record(
    postgres: &Postgres,
    database: &mut Database,
    on_progress: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    let mut link = migrations::connect(postgres, IfEmpty::Refuse)?;
    full_copy::copy_from_record(&mut link, database, on_progress)
}

/// Opens the record and the replica, which is created if there is none, and brought up to date. If the record cannot be
/// reached, the replica is opened as it is, for reading.
pub(super) fn open(postgres: &Postgres, on_progress: &mut dyn FnMut(&str)) -> Result<Store, StoreError> {
    let (link, database, away) = replica::open(postgres, on_progress)?;
    if let Some(error) = away {
        on_progress(&format!("{error}; what follows is as the replica has it, and may be old"));
    }
    Ok(Store::with_replica(database, Record::new(postgres.clone(), link)))
}
