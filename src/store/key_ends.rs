//! Which keys end by themselves, and when: read off the store without a scan, whatever the number of keys.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::Subject;
use super::error::TransactionError;
use super::row_mapping::Parsed;
use crate::model::{AccessKey, KeyId};

/// When the first key ends after `after`; `None` where none does.
pub(super) fn next_end(
    connection: &Connection,
    after: Timestamp,
) -> Result<Option<Timestamp>, TransactionError> {
    let next = connection
        .prepare_cached(
            "SELECT expires FROM keys WHERE expires > ?1 AND state <> 'removed' ORDER BY expires LIMIT 1",
        )?
        .query_row([after.as_millisecond()], |row| super::row_mapping::time(row, "expires"))
        .optional()?;
    Ok(next)
}

/// The keys that end after `after` and not after `until`, at most `limit` of them.
pub(super) fn ended_between(
    connection: &Connection,
    after: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<Subject>, TransactionError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, access_key FROM keys WHERE expires > ?1 AND expires <= ?2 AND state <> 'removed'
         ORDER BY expires LIMIT ?3",
    )?;
    let found = statement.query_map((after.as_millisecond(), until.as_millisecond(), limit), |row| {
        let access_key = row.get::<_, Parsed<AccessKey>>("access_key")?.0;
        Ok(Subject::Key { id: KeyId::from_row(row.get("id")?), access_key })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}
