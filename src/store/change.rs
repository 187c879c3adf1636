//! The change log: one numbered row for every write to a key, an account, an environment or a membership.
//!
//! Numbers follow the order of the commits, and each row's hash covers its content and the hash before it. So a reader that
//! has seen a change and its hash can check whether a store still has it, or was put back to an earlier state.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use super::audit;
use super::error::TransactionError;
use super::write_transaction::WriteTransaction;
use crate::model::{AccessKey, AccountId, EnvironmentId, KeyId};

/// The number of a change; 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChangeNumber(pub u64);

impl fmt::Display for ChangeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ChangeNumber {
    pub(super) fn from_row(number: i64) -> Result<Self, TransactionError> {
        u64::try_from(number)
            .map(Self)
            .map_err(|_| TransactionError::Damaged(format!("change number {number}")))
    }
}

/// What a change is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A key.
    Key {
        /// Its id.
        id: KeyId,
        /// Its public half, by which caches know it.
        access_key: AccessKey,
    },
    /// An account: everything that its keys may do can be different now.
    Account(AccountId),
    /// An environment: its own keys, and its members' rights in it.
    Environment(EnvironmentId),
    /// An account's role in an environment.
    Membership {
        /// Who.
        account: AccountId,
        /// Where.
        environment: EnvironmentId,
    },
    /// Anything: a replica was rebuilt. No row of the log has this subject.
    Everything,
}

impl Subject {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Key { .. } => "key",
            Self::Account(_) => "account",
            Self::Environment(_) => "environment",
            Self::Membership { .. } => "membership",
            Self::Everything => "everything",
        }
    }

    /// Which one, in one word: neither ids nor access keys hold a space.
    fn object(&self) -> String {
        match self {
            Self::Key { id, access_key } => format!("{id} {access_key}"),
            Self::Account(id) => id.to_string(),
            Self::Environment(id) => id.to_string(),
            Self::Membership { account, environment } => format!("{account} {environment}"),
            Self::Everything => String::new(),
        }
    }

    pub(super) fn parse(kind: &str, object: &str) -> Option<Self> {
        Some(match kind {
            "account" => Self::Account(object.parse().ok()?),
            "environment" => Self::Environment(object.parse().ok()?),
            "key" => {
                let (id, access_key) = object.split_once(' ')?;
                Self::Key { id: id.parse().ok()?, access_key: access_key.parse().ok()? }
            }
            "membership" => {
                let (account, environment) = object.split_once(' ')?;
                Self::Membership { account: account.parse().ok()?, environment: environment.parse().ok()? }
            }
            _ => return None,
        })
    }
}

/// One row of the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place in the order of commits.
    pub number: ChangeNumber,
    /// What is different.
    pub subject: Subject,
    /// `create`, `import`, `edit`, `activate`, `deactivate`, `remove`, `rotate`, `endrotation`, `rehash`, `add` or `role`.
    pub action: String,
}

/// SHA-256.
pub type ChangeHash = [u8; 32];

/// The newest change: its number and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeHead {
    /// Its number.
    pub number: ChangeNumber,
    /// Its hash, which covers all changes before it too.
    pub hash: ChangeHash,
}

impl ChangeHead {
    /// Before the first change.
    pub const BEGINNING: Self = Self { number: ChangeNumber(0), hash: [0; 32] };

    /// Whether a log whose change of this number has the hash `there` holds this change, and so all before it. The number
    /// alone does not tell: a record that was put back to an earlier state counts on from there.
    pub fn is_in(self, there: Option<ChangeHash>) -> bool {
        self == Self::BEGINNING || there == Some(self.hash)
    }

    /// One more change: when, and its subject, object, action and content.
    #[must_use]
    pub fn followed_by(self, at: i64, texts: [&str; 4]) -> Self {
        let number = ChangeNumber(self.number.0 + 1);
        Self { number, hash: hash(&self.hash, number.0.cast_signed(), at, texts) }
    }
}

/// The newest change up to `newest` that is the same in two logs. If a change is the same, so are all before it.
pub fn last_common_change<E>(
    newest: ChangeNumber,
    mut is_same: impl FnMut(u64) -> Result<bool, E>,
) -> Result<u64, E> {
    let (mut common, mut above) = (0, newest.0 + 1);
    while common + 1 < above {
        let middle = u64::midpoint(common, above);
        if is_same(middle)? {
            common = middle;
        } else {
            above = middle;
        }
    }
    Ok(common)
}

pub(super) fn head(connection: &Connection) -> Result<ChangeHead, TransactionError> {
    let (number, hash) = connection
        .prepare_cached("SELECT number, hash FROM change_head")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, ChangeHash>(1)?)))?;
    Ok(ChangeHead { number: ChangeNumber::from_row(number)?, hash })
}

/// Adds a row to the log, within the transaction that makes the change, and one to the audit log.
pub(super) fn append(
    at: &WriteTransaction<'_>,
    subject: &Subject,
    action: &str,
    before: Option<&Value>,
    content: &Value,
) -> Result<ChangeNumber, TransactionError> {
    let last = head(at)?;
    let logged = Logged {
        number: i64::try_from(last.number.0 + 1)
            .map_err(|_| TransactionError::Damaged("change number".to_owned()))?,
        at: Timestamp::now().as_millisecond(),
        subject: subject.kind().to_owned(),
        object: subject.object(),
        action: action.to_owned(),
        content: content.to_string(),
    };
    let hash = logged.hash(&last.hash);
    at.prepare_cached("INSERT INTO changes (number, at, subject, object, action, content, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute((logged.number, logged.at, logged.subject, logged.object, logged.action, logged.content, hash))?;
    at.prepare_cached("UPDATE change_head SET number = ?1, hash = ?2")?.execute((logged.number, hash))?;
    let number = ChangeNumber::from_row(logged.number)?;
    audit::done(at, subject, action, number, before, content)?;
    Ok(number)
}

/// The hash of a change that was seen before; `None` where the log does not hold it.
pub(super) fn hash_of(
    connection: &Connection,
    number: ChangeNumber,
) -> Result<Option<ChangeHash>, TransactionError> {
    if number == ChangeNumber(0) {
        return Ok(Some([0; 32]));
    }
    let hash = connection
        .prepare_cached("SELECT hash FROM changes WHERE number = ?1")?
        .query_row([number.0.cast_signed()], |row| row.get(0))
        .optional()?;
    Ok(hash)
}

/// Up to `limit` changes after `after`, oldest first, and the last one's hash. Every row is checked against the one
/// before it.
pub(super) fn since(
    connection: &Connection,
    after: ChangeHead,
    limit: u32,
) -> Result<(Vec<Change>, ChangeHead), TransactionError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, at, subject, object, action, content, hash FROM changes WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let mut rows = statement.query((after.number.0.cast_signed(), limit))?;
    let mut last = after;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let logged = Logged::read(row)?;
        let hash: ChangeHash = row.get(6)?;
        let number = ChangeNumber::from_row(logged.number)?;
        if number.0 != last.number.0 + 1 || logged.hash(&last.hash) != hash {
            return Err(TransactionError::Damaged(format!(
                "change {number} does not follow from the one before it"
            )));
        }
        let subject = Subject::parse(&logged.subject, &logged.object)
            .ok_or_else(|| TransactionError::Damaged(format!("change {number} is about nothing known")))?;
        found.push(Change { number, subject, action: logged.action });
        last = ChangeHead { number, hash };
    }
    Ok((found, last))
}

/// Whether the rows after `after` follow from one another up to the head.
pub(super) fn check_after(connection: &Connection, after: ChangeHead) -> Result<(), TransactionError> {
    let (mut last, head) = (after, head(connection)?);
    while last.number < head.number {
        let (found, newest) = since(connection, last, 10_000)?;
        if found.is_empty() {
            break;
        }
        last = newest;
    }
    if last == head {
        Ok(())
    } else {
        Err(TransactionError::Damaged("the change log does not end where it says".to_owned()))
    }
}

/// A row as it is hashed.
struct Logged {
    number: i64,
    at: i64,
    subject: String,
    object: String,
    action: String,
    content: String,
}

impl Logged {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            at: row.get(1)?,
            subject: row.get(2)?,
            object: row.get(3)?,
            action: row.get(4)?,
            content: row.get(5)?,
        })
    }

    fn hash(&self, before: &ChangeHash) -> ChangeHash {
        hash(before, self.number, self.at, [&self.subject, &self.object, &self.action, &self.content])
    }
}

fn hash(before: &ChangeHash, number: i64, at: i64, texts: [&str; 4]) -> ChangeHash {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&number.to_be_bytes());
    context.update(&at.to_be_bytes());
    for text in texts {
        // with its length before it, so that no two rows read alike
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_covers_every_field_and_the_hash_before() {
        let text = str::to_owned;
        let logged = |number, at, subject: &str, object: &str, action: &str, content: &str| Logged {
            number,
            at,
            subject: text(subject),
            object: text(object),
            action: text(action),
            content: text(content),
        };
        let hash = logged(1, 2, "key", "1c1 a", "edit", "{}").hash(&[0; 32]);
        for other in [
            logged(2, 2, "key", "1c1 a", "edit", "{}"),
            logged(1, 3, "key", "1c1 a", "edit", "{}"),
            logged(1, 2, "account", "1c1 a", "edit", "{}"),
            logged(1, 2, "key", "1c1 b", "edit", "{}"),
            logged(1, 2, "key", "1c1 a", "create", "{}"),
            logged(1, 2, "key", "1c1 a", "edit", "[]"),
            // the same letters, cut elsewhere
            logged(1, 2, "key1", "c1 a", "edit", "{}"),
        ] {
            assert_ne!(other.hash(&[0; 32]), hash);
        }
        assert_ne!(logged(1, 2, "key", "1c1 a", "edit", "{}").hash(&[1; 32]), hash);
    }

    #[test]
    fn a_subject_is_read_back_as_it_was_written() {
        let (account, environment) = ("1a7".parse().unwrap(), "e1".parse().unwrap());
        for subject in [
            Subject::Key { id: "1c42".parse().unwrap(), access_key: "pca_0".parse().unwrap() },
            Subject::Account(account),
            Subject::Environment("e1".parse().unwrap()),
            Subject::Membership { account, environment },
        ] {
            assert_eq!(Subject::parse(subject.kind(), &subject.object()), Some(subject));
        }
        assert_eq!(Subject::parse("nonsense", "1a7"), None);
    }
}
