//! The audit log: who made, or tried to make, which change. Rows are only ever added.

use jiff::Timestamp;
use rusqlite::{Connection, Row};
use serde_json::Value;

use super::author::Author;
use super::change::{ChangeNumber, Subject};
use super::error::TransactionError;
use super::page::{ListDefinition, ListScope};
use super::write_transaction::WriteTransaction;
use super::{Page, PageQuery, Store, StoreError, row_mapping};

/// How many characters are kept of an object that a client has named.
const MAX_CLIENT_OBJECT_CHARACTERS: usize = 64;

/// A change that somebody tries to make, for the audit log's row if it is refused.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// `create`, `import`, `edit`, `activate`, `deactivate`, `remove`, `rotate`, `endrotation`, `rehash`, `add` or `role`
    pub(super) action: &'static str,
    /// `key`, `account`, `environment` or `membership`
    pub(super) subject: &'static str,
    /// Its id; for one that does not exist yet, its owner or its name.
    pub(super) object: String,
}

impl Attempt {
    /// An action on an object, in the audit log's words.
    pub(super) fn new(
        action: &'static str,
        subject: &'static str,
        object: &(impl ToString + ?Sized),
    ) -> Self {
        Self { action, subject, object: object.to_string() }
    }

    /// The same for an object that a client has named and that may not exist: cut to the length of an id, without control
    /// characters.
    pub fn from_client(action: &'static str, subject: &'static str, object: &str) -> Self {
        let shown =
            object.chars().filter(|character| !character.is_control()).take(MAX_CLIENT_OBJECT_CHARACTERS);
        Self { action, subject, object: shown.collect() }
    }
}

/// One row of the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its number; later rows have greater ones.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// `command`, `api` or `page`
    pub via: String,
    /// The account or environment whose key acted, or the user who ran the command.
    pub actor: String,
    /// The key that acted.
    pub access_key: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// The request's id.
    pub request: Option<String>,
    /// `create`, `import`, `edit`, `activate`, `deactivate`, `remove`, `rotate`, `endrotation`, `rehash`, `add` or `role`
    pub action: String,
    /// `key`, `account`, `environment` or `membership`
    pub subject: String,
    /// The object's id; a membership's is the environment's and the account's with a colon between them.
    pub object: String,
    /// Why it was refused. `None` if it was done.
    pub refusal: Option<String>,
    /// The number in the change log, for what was done.
    pub change: Option<ChangeNumber>,
    /// The object before, where there was one.
    pub before: Option<Value>,
    /// The object afterwards.
    pub after: Option<Value>,
}

const INSERT: &str = "INSERT INTO audit
    (at, via, actor, access_key, address, request, action, subject, object, outcome, reason, change, before, after)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

/// Adds a change to the audit log, in the transaction that makes it.
pub(super) fn done(
    at: &WriteTransaction<'_>,
    subject: &Subject,
    action: &str,
    number: ChangeNumber,
    before: Option<&Value>,
    after: &Value,
) -> Result<(), TransactionError> {
    let object = match subject {
        Subject::Key { id, .. } => id.to_string(),
        Subject::Account(id) => id.to_string(),
        Subject::Environment(id) => id.to_string(),
        Subject::Membership { account, environment } => format!("{environment}:{account}"),
        Subject::Everything => String::new(),
    };
    let content = Content {
        action,
        subject: subject.kind(),
        object: &object,
        refusal: None,
        change: Some(number),
        before,
        after: Some(after),
    };
    insert(at.connection, at.author, &content)
}

/// Adds a refusal to the audit log. The transaction of the refused change is rolled back already.
pub(super) fn refused(
    connection: &Connection,
    author: &Author,
    attempt: &Attempt,
    reason: &str,
) -> Result<(), TransactionError> {
    let content = Content {
        action: attempt.action,
        subject: attempt.subject,
        object: &attempt.object,
        refusal: Some(reason),
        change: None,
        before: None,
        after: None,
    };
    insert(connection, author, &content)
}

struct Content<'a> {
    action: &'a str,
    subject: &'a str,
    object: &'a str,
    refusal: Option<&'a str>,
    change: Option<ChangeNumber>,
    before: Option<&'a Value>,
    after: Option<&'a Value>,
}

fn insert(connection: &Connection, author: &Author, content: &Content<'_>) -> Result<(), TransactionError> {
    let key = match author {
        Author::Key(acting) => Some(acting),
        Author::CommandLine { .. } | Author::Gateway => None,
    };
    connection.prepare_cached(INSERT)?.execute(rusqlite::params![
        Timestamp::now().as_millisecond(),
        author.via().as_str(),
        author.name(),
        key.map(|key| key.access_key.as_str()),
        key.map(|key| key.address.to_string()),
        key.map(|key| key.request.as_str()),
        content.action,
        content.subject,
        content.object,
        if content.refusal.is_none() { "done" } else { "refused" },
        content.refusal,
        content.change.map(|number| number.0.cast_signed()),
        content.before.map(Value::to_string),
        content.after.map(Value::to_string),
    ])?;
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let json = |column: &str| -> rusqlite::Result<Option<Value>> {
        let text = row.get::<_, Option<String>>(column)?;
        // no version writes anything else; a row that is not JSON shows as text
        Ok(text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))))
    };
    Ok(AuditEntry {
        id: row.get("id")?,
        at: row_mapping::time(row, "at")?,
        via: row.get("via")?,
        actor: row.get("actor")?,
        access_key: row.get("access_key")?,
        address: row.get("address")?,
        request: row.get("request")?,
        action: row.get("action")?,
        subject: row.get("subject")?,
        object: row.get("object")?,
        refusal: row.get("reason")?,
        change: row.get::<_, Option<i64>>("change")?.map(|number| ChangeNumber(number.cast_unsigned())),
        before: json("before")?,
        after: json("after")?,
    })
}

impl Store {
    /// A page of the audit log.
    pub fn audit_page(&self, query: &PageQuery) -> Result<Page<AuditEntry>, StoreError> {
        self.database.read(|at| ListDefinition::AUDIT.page(at, query, &ListScope::everything(), entry))
    }

    /// The rows after the one with this number, the oldest first, and at most so many.
    pub fn audit_after(&self, id: i64, most: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.database.read(|at| {
            let mut rows = at.prepare_cached("SELECT * FROM audit WHERE id > ?1 ORDER BY id LIMIT ?2")?;
            let entries = rows.query_map((id, most), entry)?.collect::<Result<_, _>>()?;
            Ok(entries)
        })
    }

    /// One row of the audit log.
    pub fn audit_entry(&self, id: i64) -> Result<AuditEntry, StoreError> {
        self.database.read(|at| {
            use rusqlite::OptionalExtension as _;
            at.prepare_cached("SELECT * FROM audit WHERE id = ?1")?
                .query_row([id], entry)
                .optional()?
                .ok_or_else(|| StoreError::NotFound { what: "audit entry", wanted: id.to_string() }.into())
        })
    }
}
