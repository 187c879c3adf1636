//! What one copy of the record has more than another: the changes after a place in the logs, and the rows as they are
//! after them.
//!
//! The logs tell which rows are different; the rows themselves are read whole, so that a replica that missed a
//! thousand changes of one key writes it once.

use rusqlite::{Connection, OptionalExtension};

use super::change::{self, Head, Subject};
use super::error::Fault;
use super::rowset::{self, ACCOUNTS, AUDIT, CHANGES, Cell, Cells, ENVIRONMENTS, KEYS, MEMBERSHIPS};
use super::{Fingerprint, PepperId, notes};
use crate::model::KeyId;

/// How far a copy's two logs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) head: Head,
    /// The newest row of the audit log; 0: none.
    pub(super) audit: i64,
}

/// Changes, and what they lead to.
#[derive(Debug)]
pub(super) struct Delta {
    /// What these changes follow.
    pub(super) since: Place,
    /// Where they end.
    pub(super) to: Place,
    pub(super) changes: Vec<Cells>,
    pub(super) audit: Vec<Cells>,
    pub(super) touched: Touched,
    pub(super) rows: Rows,
}

/// The rows of what was touched, as they are now. What is not among them is gone.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) accounts: Vec<Cells>,
    pub(super) environments: Vec<Cells>,
    pub(super) memberships: Vec<Cells>,
    pub(super) keys: Vec<Cells>,
    pub(super) fingerprints: Vec<Cells>,
}

/// What the changes are about.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) accounts: Vec<i64>,
    /// By their ids.
    pub(super) environments: Vec<String>,
    pub(super) keys: Vec<i64>,
    /// An account's number and an environment's id.
    pub(super) memberships: Vec<(i64, String)>,
}

impl Place {
    pub(super) fn of(connection: &Connection) -> Result<Self, Fault> {
        let audit = connection
            .prepare_cached("SELECT coalesce(max(id), 0) FROM audit")?
            .query_row([], |row| row.get(0))?;
        Ok(Self { head: change::head(connection)?, audit })
    }
}

impl Touched {
    /// What rows of `changes` are about.
    pub(super) fn by(changes: &[Cells]) -> Result<Self, Fault> {
        let mut touched = Self::default();
        for change in changes {
            let [number, _, Cell::Text(subject), Cell::Text(object), ..] = &change[..] else {
                return Err(Fault::Damaged("a change without a subject".to_owned()));
            };
            match Subject::parse(subject, object) {
                Some(Subject::Key { id, .. }) => touched.keys.push(id.row()),
                Some(Subject::Account(id)) => touched.accounts.push(id.row()),
                Some(Subject::Environment(id)) => touched.environments.push(id.as_str().to_owned()),
                Some(Subject::Membership { account, environment }) => {
                    touched.memberships.push((account.row(), environment.as_str().to_owned()));
                }
                Some(Subject::Everything) | None => {
                    let number = if let Cell::Int(number) = number { *number } else { 0 };
                    return Err(Fault::Damaged(format!("change {number} is about nothing known")));
                }
            }
        }
        touched.accounts.sort_unstable();
        touched.accounts.dedup();
        touched.environments.sort_unstable();
        touched.environments.dedup();
        touched.keys.sort_unstable();
        touched.keys.dedup();
        touched.memberships.sort_unstable();
        touched.memberships.dedup();
        Ok(touched)
    }
}

impl Delta {
    /// What the transaction has written after `since`.
    pub(super) fn collect(connection: &Connection, since: Place) -> Result<Self, Fault> {
        let after = |number: i64| [Cell::Int(number)];
        let changes = CHANGES.get(
            connection,
            "WHERE number > ? ORDER BY number",
            after(since.head.number.0.cast_signed()),
        )?;
        let audit = AUDIT.get(connection, "WHERE id > ? ORDER BY id", after(since.audit))?;
        let touched = Touched::by(&changes)?;
        let mut rows = Rows::default();
        for id in &touched.accounts {
            rows.accounts.extend(ACCOUNTS.get(connection, "WHERE id = ?", [Cell::Int(*id)])?);
        }
        for id in &touched.environments {
            rows.environments.extend(ENVIRONMENTS.get(
                connection,
                "WHERE id = ?",
                [Cell::Text(id.clone())],
            )?);
        }
        for (account, environment) in &touched.memberships {
            let by = "WHERE account = ? AND environment = (SELECT \"row\" FROM environments WHERE id = ?)";
            let pair = [Cell::Int(*account), Cell::Text(environment.clone())];
            rows.memberships.extend(MEMBERSHIPS.get(connection, by, pair)?);
        }
        for id in &touched.keys {
            rows.keys.extend(KEYS.get(connection, "WHERE id = ?", [Cell::Int(*id)])?);
            rows.fingerprints.extend(fingerprint(connection, *id)?);
        }
        Ok(Self { since, to: Place::of(connection)?, changes, audit, touched, rows })
    }

    /// Writes all of it into a copy that is at [`Delta::since`]; `false`, and nothing, where it is elsewhere.
    ///
    /// The changes must follow from one another and from what the copy has.
    pub(super) fn apply(&self, connection: &Connection) -> Result<bool, Fault> {
        if Place::of(connection)? != self.since {
            return Ok(false);
        }
        let Rows { accounts, environments, memberships, keys, fingerprints } = &self.rows;
        for (table, rows) in [(ACCOUNTS, accounts), (ENVIRONMENTS, environments), (KEYS, keys)] {
            rows.iter().try_for_each(|row| table.put(connection, row))?;
        }
        for (account, environment) in &self.touched.memberships {
            connection
                .prepare_cached(
                    "DELETE FROM memberships
                     WHERE account = ?1 AND environment = (SELECT row FROM environments WHERE id = ?2)",
                )?
                .execute((account, environment))?;
        }
        memberships.iter().try_for_each(|row| MEMBERSHIPS.put(connection, row))?;
        for id in &self.touched.keys {
            connection.prepare_cached("DELETE FROM fingerprints WHERE key = ?1")?.execute([id])?;
        }
        fingerprints.iter().try_for_each(|row| put_fingerprint(connection, row))?;
        self.changes.iter().try_for_each(|row| CHANGES.put(connection, row))?;
        self.audit.iter().try_for_each(|row| AUDIT.put(connection, row))?;
        connection
            .prepare_cached("UPDATE change_head SET number = ?1, hash = ?2")?
            .execute((self.to.head.number.0.cast_signed(), self.to.head.hash))?;
        change::check_after(connection, self.since.head)?;
        if Place::of(connection)? != self.to {
            return Err(Fault::Damaged(format!(
                "change {} does not end where it should",
                self.to.head.number
            )));
        }
        Ok(true)
    }
}

/// A key's fingerprint in SQLite, as a row of the record.
fn fingerprint(connection: &Connection, key: i64) -> Result<Option<Cells>, Fault> {
    let found = connection
        .prepare_cached(
            "SELECT fingerprints.key, peppers.id, fingerprints.mac FROM fingerprints
             JOIN peppers ON peppers.number = fingerprints.pepper WHERE fingerprints.key = ?1",
        )?
        .query_row([key], |row| rowset::FINGERPRINTS.cells(row))
        .optional()?;
    Ok(found)
}

/// Keeps a fingerprint that the record has.
pub(super) fn put_fingerprint(connection: &Connection, row: &[Cell]) -> Result<(), Fault> {
    let damaged = || Fault::Damaged("a fingerprint of another form".to_owned());
    let [Cell::Int(key), Cell::Bytes(pepper), Cell::Bytes(mac)] = row else { return Err(damaged()) };
    let fingerprint = Fingerprint {
        pepper: PepperId(pepper.as_slice().try_into().map_err(|_| damaged())?),
        mac: mac.as_slice().try_into().map_err(|_| damaged())?,
    };
    notes::save_fingerprint(connection, KeyId::from_row(*key), &fingerprint)
}
