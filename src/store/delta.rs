//! What one copy of the record has and another lacks: the newer rows of the logs, and the rows that they changed, as they
//! are now.
//!
//! The logs tell which rows are different; the rows themselves are read whole, so that a replica that missed a
//! thousand changes of one key writes it once.

use jiff::Timestamp;
use rusqlite::Connection;

use super::change::{self, ChangeHead, Subject};
use super::error::TransactionError;
use super::tables::{self, ACCOUNTS, AUDIT, CHANGES, Cell, ENVIRONMENTS, KEYS, MEMBERSHIPS, TableRow};
use super::{Fingerprint, PepperId, SecretId, uses_and_fingerprints};
use crate::model::KeyId;

/// Where a copy's two logs end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogEnds {
    pub(super) head: ChangeHead,
    /// The newest row of the audit log; 0: none.
    pub(super) audit: i64,
}

/// Changes, and the rows that they changed.
#[derive(Debug)]
pub(super) struct Delta {
    /// What these changes follow.
    pub(super) since: LogEnds,
    /// Where they end.
    pub(super) to: LogEnds,
    pub(super) changes: Vec<TableRow>,
    pub(super) audit: Vec<TableRow>,
    pub(super) objects: ChangedObjects,
    pub(super) rows: ChangedRows,
}

/// The rows of the changed objects, as they are now. An object without a row is gone.
#[derive(Debug, Default)]
pub(super) struct ChangedRows {
    pub(super) accounts: Vec<TableRow>,
    pub(super) environments: Vec<TableRow>,
    pub(super) memberships: Vec<TableRow>,
    pub(super) keys: Vec<TableRow>,
    pub(super) fingerprints: Vec<TableRow>,
}

/// The objects that changes are about.
#[derive(Debug, Default)]
pub(super) struct ChangedObjects {
    pub(super) accounts: Vec<i64>,
    /// By their ids.
    pub(super) environments: Vec<String>,
    pub(super) keys: Vec<i64>,
    /// An account's number and an environment's id.
    pub(super) memberships: Vec<(i64, String)>,
}

impl LogEnds {
    pub(super) fn of(connection: &Connection) -> Result<Self, TransactionError> {
        let audit = connection
            .prepare_cached("SELECT coalesce(max(id), 0) FROM audit")?
            .query_row([], |row| row.get(0))?;
        Ok(Self { head: change::head(connection)?, audit })
    }
}

impl ChangedObjects {
    /// The subjects of these rows of the change log.
    pub(super) fn of_changes(changes: &[TableRow]) -> Result<Self, TransactionError> {
        let mut objects = Self::default();
        for change in changes {
            let [number, _, Cell::Text(subject), Cell::Text(object), ..] = &change[..] else {
                return Err(TransactionError::Damaged("a change without a subject".to_owned()));
            };
            match Subject::parse(subject, object) {
                Some(Subject::Key { id, .. }) => objects.keys.push(id.row()),
                Some(Subject::Account(id)) => objects.accounts.push(id.row()),
                Some(Subject::Environment(id)) => objects.environments.push(id.as_str().to_owned()),
                Some(Subject::Membership { account, environment }) => {
                    objects.memberships.push((account.row(), environment.as_str().to_owned()));
                }
                Some(Subject::Everything) | None => {
                    let number = if let Cell::Int(number) = number { *number } else { 0 };
                    return Err(TransactionError::Damaged(format!("change {number} is about nothing known")));
                }
            }
        }
        objects.accounts.sort_unstable();
        objects.accounts.dedup();
        objects.environments.sort_unstable();
        objects.environments.dedup();
        objects.keys.sort_unstable();
        objects.keys.dedup();
        objects.memberships.sort_unstable();
        objects.memberships.dedup();
        Ok(objects)
    }
}

impl Delta {
    /// What the transaction has written after `since`.
    pub(super) fn collect(connection: &Connection, since: LogEnds) -> Result<Self, TransactionError> {
        let after = |number: i64| [Cell::Int(number)];
        let changes = CHANGES.select(
            connection,
            "WHERE number > ? ORDER BY number",
            after(since.head.number.0.cast_signed()),
        )?;
        let audit = AUDIT.select(connection, "WHERE id > ? ORDER BY id", after(since.audit))?;
        let objects = ChangedObjects::of_changes(&changes)?;
        let mut rows = ChangedRows::default();
        for id in &objects.accounts {
            rows.accounts.extend(ACCOUNTS.select(connection, "WHERE id = ?", [Cell::Int(*id)])?);
        }
        for id in &objects.environments {
            rows.environments.extend(ENVIRONMENTS.select(
                connection,
                "WHERE id = ?",
                [Cell::Text(id.clone())],
            )?);
        }
        for (account, environment) in &objects.memberships {
            let by = "WHERE account = ? AND environment = (SELECT \"row\" FROM environments WHERE id = ?)";
            let pair = [Cell::Int(*account), Cell::Text(environment.clone())];
            rows.memberships.extend(MEMBERSHIPS.select(connection, by, pair)?);
        }
        for id in &objects.keys {
            rows.keys.extend(KEYS.select(connection, "WHERE id = ?", [Cell::Int(*id)])?);
            rows.fingerprints.extend(fingerprints(connection, *id)?);
        }
        Ok(Self { since, to: LogEnds::of(connection)?, changes, audit, objects, rows })
    }

    /// Writes all of it into a copy that is at [`Delta::since`]. If the copy is elsewhere, writes nothing and returns `false`.
    ///
    /// The changes must follow from one another and from what the copy has.
    pub(super) fn apply(&self, connection: &Connection) -> Result<bool, TransactionError> {
        if LogEnds::of(connection)? != self.since {
            return Ok(false);
        }
        let ChangedRows { accounts, environments, memberships, keys, fingerprints } = &self.rows;
        for (table, rows) in [(ACCOUNTS, accounts), (ENVIRONMENTS, environments), (KEYS, keys)] {
            rows.iter().try_for_each(|row| table.upsert(connection, row))?;
        }
        for (account, environment) in &self.objects.memberships {
            connection
                .prepare_cached(
                    "DELETE FROM memberships
                     WHERE account = ?1 AND environment = (SELECT row FROM environments WHERE id = ?2)",
                )?
                .execute((account, environment))?;
        }
        memberships.iter().try_for_each(|row| MEMBERSHIPS.upsert(connection, row))?;
        for id in &self.objects.keys {
            connection.prepare_cached("DELETE FROM fingerprints WHERE key = ?1")?.execute([id])?;
        }
        fingerprints.iter().try_for_each(|row| put_fingerprint(connection, row))?;
        self.changes.iter().try_for_each(|row| CHANGES.upsert(connection, row))?;
        self.audit.iter().try_for_each(|row| AUDIT.upsert(connection, row))?;
        connection
            .prepare_cached("UPDATE change_head SET number = ?1, hash = ?2")?
            .execute((self.to.head.number.0.cast_signed(), self.to.head.hash))?;
        change::check_after(connection, self.since.head)?;
        if LogEnds::of(connection)? != self.to {
            return Err(TransactionError::Damaged(format!(
                "change {} does not end where it should",
                self.to.head.number
            )));
        }
        Ok(true)
    }
}

/// A key's fingerprints in SQLite, as rows of the record.
fn fingerprints(connection: &Connection, key: i64) -> Result<Vec<TableRow>, TransactionError> {
    let mut statement = connection.prepare_cached(
        "SELECT fingerprints.key, fingerprints.secret, peppers.id, fingerprints.mac FROM fingerprints
         JOIN peppers ON peppers.number = fingerprints.pepper WHERE fingerprints.key = ?1",
    )?;
    let found = statement.query_map([key], |row| tables::FINGERPRINTS.read_row(row))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Keeps a fingerprint that the record has.
pub(super) fn put_fingerprint(connection: &Connection, row: &[Cell]) -> Result<(), TransactionError> {
    let damaged = || TransactionError::Damaged("a fingerprint of another form".to_owned());
    let [Cell::Int(key), Cell::Int(since), Cell::Bytes(pepper), Cell::Bytes(mac)] = row else {
        return Err(damaged());
    };
    let since = Timestamp::from_millisecond(*since).map_err(|_| damaged())?;
    let fingerprint = Fingerprint {
        pepper: PepperId(pepper.as_slice().try_into().map_err(|_| damaged())?),
        mac: mac.as_slice().try_into().map_err(|_| damaged())?,
    };
    let secret = SecretId { key: KeyId::from_row(*key), since };
    uses_and_fingerprints::save_fingerprint(connection, secret, &fingerprint)
}
