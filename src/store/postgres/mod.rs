//! The record in PostgreSQL, shared by several gateways.
//!
//! Every gateway keeps a replica: an embedded store of its own that is brought up to date through the change log, and
//! answers every question. So the rules of the record, and every query, exist once, in SQL for SQLite. A change goes
//! this way ([`Record::change`]):
//!
//! 1. lock the one row of the record's `change_head`: from here on nobody else changes anything;
//! 2. bring the replica up to it, where it is behind;
//! 3. make the change in the replica, in a transaction that is undone, and keep what it wrote (a [`Delta`]);
//! 4. write that into the record, and commit;
//! 5. apply it to the replica, as every other gateway will.
//!
//! [`Delta`]: super::delta::Delta

mod copy;
mod delta;
mod gateways;
mod link;
mod migrations;
mod notes;
mod rebuild;
mod record;
mod replica;
mod tls;

pub(super) use record::Record;
pub use replica::{Reached, Replica, Woken};

use self::migrations::Empty;
use super::database::Database;
use super::{Store, StoreError};
use crate::config::Postgres;

/// Copies a store into an empty record.
pub(super) fn fill(
    postgres: &Postgres,
    database: &Database,
    report: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    let mut link = migrations::connect(postgres, Empty::Begin)?;
    copy::fill(&mut link, database, report)
}

/// Copies the record into an empty store.
pub(super) fn read_into(
    postgres: &Postgres,
    database: &mut Database,
    report: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    let mut link = migrations::connect(postgres, Empty::Refuse)?;
    copy::read_into(&mut link, database, report)
}

/// Opens the record by way of the replica, which is made where there is none, and brought up to date. Where the record
/// is away, the replica is opened as it is: it can be read.
pub(super) fn open(postgres: &Postgres, report: &mut dyn FnMut(&str)) -> Result<Store, StoreError> {
    let (link, database, away) = replica::open(postgres, report)?;
    if let Some(error) = away {
        report(&format!("{error}; what follows is as the replica has it, and may be old"));
    }
    Ok(Store::with_replica(database, Record::new(postgres.clone(), link)))
}
