//! The schema's versions, numbered from 1; `PRAGMA user_version` says which one a file has.
//!
//! A migration that was released is never edited: a new one is added after it.

use rusqlite::{Connection, TransactionBehavior};

use super::error::TransactionError;

const MIGRATIONS: [(i64, &str); 8] = [
    (1, include_str!("migrations/0001.sql")),
    (2, include_str!("migrations/0002.sql")),
    (3, include_str!("migrations/0003.sql")),
    (4, include_str!("migrations/0004.sql")),
    (5, include_str!("migrations/0005.sql")),
    (6, include_str!("migrations/0006.sql")),
    (7, include_str!("migrations/0007.sql")),
    (8, include_str!("migrations/0008.sql")),
];

/// The first schema version that knows replicas.
pub(super) const WITH_REPLICAS: i64 = 3;

/// The schema version that this program writes.
pub(super) const NEWEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Brings the file to [`NEWEST`], in one transaction.
pub(super) fn run(connection: &mut Connection) -> Result<(), TransactionError> {
    if version(connection)? >= NEWEST {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // read again under the lock: another process may have done it meanwhile
    let found = version(&transaction)?;
    for (_, migration) in MIGRATIONS.iter().filter(|(number, _)| *number > found) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", NEWEST)?;
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, TransactionError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
