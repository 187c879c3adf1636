//! What accounts, environments and keys have in common: states, names, descriptions, revisions.

use std::fmt::Display;

use jiff::Timestamp;
use rusqlite::Connection;

use super::error::TransactionError;
use super::write_transaction::WriteTransaction;
use super::{ChangeNumber, Edit, StoreError};
use crate::model::{Description, Name, State};

/// A kind of object that has a state, a name and a description.
#[derive(Debug, Clone, Copy)]
pub(super) enum ObjectKind {
    Account,
    Environment,
    Key,
}

impl ObjectKind {
    /// The word for one of them.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Environment => "environment",
            Self::Key => "key",
        }
    }

    /// Its table, and the column that holds the row number.
    fn table(self) -> (&'static str, &'static str) {
        match self {
            Self::Account => ("accounts", "id"),
            Self::Environment => ("environments", "row"),
            Self::Key => ("keys", "id"),
        }
    }

    pub(super) fn not_found(self, wanted: impl Display) -> TransactionError {
        StoreError::NotFound { what: self.word(), wanted: wanted.to_string() }.into()
    }
}

/// Which revision of the object the author expects. A revision is the last change of the object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExpectedRevision {
    /// Any.
    #[default]
    Any,
    /// One of these; else the change is refused.
    OneOf(Vec<ChangeNumber>),
}

/// A change of an object's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateTransition {
    /// The new state.
    pub to: State,
    /// As which revision the author knows the object.
    pub expected: ExpectedRevision,
}

impl From<State> for StateTransition {
    fn from(to: State) -> Self {
        Self { to, expected: ExpectedRevision::Any }
    }
}

/// The action that goes from one state to another, in the logs' words. `None` if there is nothing to do.
pub(super) fn transition(
    at: &WriteTransaction<'_>,
    kind: ObjectKind,
    id: &dyn Display,
    from: State,
    to: State,
) -> Result<Option<&'static str>, TransactionError> {
    match (from, to) {
        (State::Removed, _) if at.author_is_key_holder() => Err(wrong_state(kind, id, from)),
        (from, to) if from == to && at.author_is_key_holder() => Err(wrong_state(kind, id, from)),
        (State::Removed, State::Removed)
        | (State::Active, State::Active)
        | (State::Inactive, State::Inactive) => Ok(None),
        (State::Removed, _) => Err(removed(kind, id)),
        (State::Active, State::Removed) => {
            Err(StoreError::StillActive { what: kind.word(), id: id.to_string() }.into())
        }
        (State::Inactive, State::Removed) => Ok(Some("remove")),
        (State::Inactive, State::Active) => Ok(Some("activate")),
        (State::Active, State::Inactive) => Ok(Some("deactivate")),
    }
}

/// The action that goes to a state.
pub(super) fn action_to(state: State) -> &'static str {
    match state {
        State::Active => "activate",
        State::Inactive => "deactivate",
        State::Removed => "remove",
    }
}

fn wrong_state(kind: ObjectKind, id: &dyn Display, state: State) -> TransactionError {
    StoreError::WrongState { what: kind.word(), id: id.to_string(), state }.into()
}

/// The error for any change of a removed object.
pub(super) fn removed(kind: ObjectKind, id: &dyn Display) -> TransactionError {
    TransactionError::refused(format!(
        "{} {id} was removed, and nothing brings it back: create a new one",
        kind.word()
    ))
}

/// Refuses if the object has another revision than the author expects.
pub(super) fn refuse_changed(
    connection: &Connection,
    kind: ObjectKind,
    row: i64,
    id: &dyn Display,
    expected: &ExpectedRevision,
) -> Result<(), TransactionError> {
    let ExpectedRevision::OneOf(expected) = expected else { return Ok(()) };
    if expected.contains(&revision(connection, kind, row)?) {
        Ok(())
    } else {
        Err(StoreError::RevisionConflict { what: kind.word(), id: id.to_string() }.into())
    }
}

/// The object's revision; 0 if its last change was before revisions were kept.
pub(super) fn revision(
    connection: &Connection,
    kind: ObjectKind,
    row: i64,
) -> Result<ChangeNumber, TransactionError> {
    let (table, column) = kind.table();
    let number = connection
        .prepare_cached(&format!("SELECT revision FROM {table} WHERE {column} = ?1"))?
        .query_row([row], |row| row.get(0))?;
    ChangeNumber::from_row(number)
}

/// Sets the object's revision.
pub(super) fn set_revision(
    at: &Connection,
    kind: ObjectKind,
    row: i64,
    number: ChangeNumber,
) -> Result<(), TransactionError> {
    let (table, column) = kind.table();
    at.prepare_cached(&format!("UPDATE {table} SET revision = ?1 WHERE {column} = ?2"))?
        .execute((number.0.cast_signed(), row))?;
    Ok(())
}

pub(super) fn set_state(
    transaction: &Connection,
    kind: ObjectKind,
    row: i64,
    state: State,
) -> Result<(), TransactionError> {
    let (table, column) = kind.table();
    let time = (state == State::Removed).then(|| Timestamp::now().as_millisecond());
    // a removed key loses what verifies its secret
    let and = if matches!(kind, ObjectKind::Key) && state == State::Removed {
        ", phc = '', former_phc = '', \"inner\" = NULL, former_inner = NULL, former_ends = 0, former_idle = 0"
    } else {
        ""
    };
    transaction
        .prepare_cached(&format!("UPDATE {table} SET state = ?1, removed = ?2{and} WHERE {column} = ?3"))?
        .execute((state.as_str(), time, row))?;
    Ok(())
}

/// Makes the edit. Whether anything has changed by it.
pub(super) fn edit(
    transaction: &Connection,
    kind: ObjectKind,
    row: i64,
    edit: &Edit,
    name: Option<&Name>,
    description: Option<&Description>,
) -> Result<bool, TransactionError> {
    let (table, column) = kind.table();
    let new_name = edit.name.as_ref().map_or(name, Option::as_ref);
    let new_description = edit.description.as_ref().map_or(description, Option::as_ref);
    if (new_name, new_description) == (name, description) {
        return Ok(false);
    }
    transaction
        .prepare_cached(&format!("UPDATE {table} SET name = ?1, description = ?2 WHERE {column} = ?3"))?
        .execute((new_name.map(Name::as_str), new_description.map(Description::as_str), row))?;
    Ok(true)
}

/// The one object that was found by a name.
pub(super) fn only_one<T>(
    kind: ObjectKind,
    wanted: &str,
    mut found: Vec<T>,
    id: impl Fn(&T) -> String,
) -> Result<T, TransactionError> {
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(kind.not_found(wanted)),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            found.push(last);
            let ids = found.iter().take(5).map(id).collect::<Vec<_>>().join(", ");
            let (what, wanted, count) = (kind.word(), wanted.to_owned(), found.len());
            Err(StoreError::Ambiguous { what, wanted, count, ids }.into())
        }
    }
}
