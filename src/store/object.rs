//! What accounts, environments and keys have in common: states, names, descriptions.

use std::fmt::Display;

use jiff::Timestamp;
use rusqlite::Connection;

use super::author::Writing;
use super::error::Fault;
use super::{ChangeNumber, Edit, StoreError};
use crate::model::{Description, Name, State};

/// A kind of object that has a state, a name and a description.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Account,
    Environment,
    Key,
}

impl Kind {
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

    pub(super) fn not_found(self, wanted: impl Display) -> Fault {
        StoreError::NotFound { what: self.word(), wanted: wanted.to_string() }.into()
    }
}

/// As which revision an author knows the object: the change that was the last to touch it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Expected {
    /// It may be as it is.
    #[default]
    Any,
    /// One of these, else the change is refused.
    OneOf(Vec<ChangeNumber>),
}

/// The state that an object is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The new state.
    pub to: State,
    /// As what the author knows the object.
    pub expected: Expected,
}

impl From<State> for Transition {
    fn from(to: State) -> Self {
        Self { to, expected: Expected::Any }
    }
}

/// The log's word for going from one state to another; `None` where there is nothing to do.
pub(super) fn transition(
    at: &Writing<'_>,
    kind: Kind,
    id: &dyn Display,
    from: State,
    to: State,
) -> Result<Option<&'static str>, Fault> {
    match (from, to) {
        (State::Removed, _) if at.is_strict() => Err(wrong_state(kind, id, from)),
        (from, to) if from == to && at.is_strict() => Err(wrong_state(kind, id, from)),
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

/// The word for going to a state.
pub(super) fn action_to(state: State) -> &'static str {
    match state {
        State::Active => "activate",
        State::Inactive => "deactivate",
        State::Removed => "remove",
    }
}

fn wrong_state(kind: Kind, id: &dyn Display, state: State) -> Fault {
    StoreError::WrongState { what: kind.word(), id: id.to_string(), state }.into()
}

/// What is said about anything that is asked of a removed object.
pub(super) fn removed(kind: Kind, id: &dyn Display) -> Fault {
    Fault::refused(format!("{} {id} was removed, and nothing brings it back: create a new one", kind.word()))
}

/// Refuses where the object is not as it was when the author looked at it.
pub(super) fn refuse_changed(
    connection: &Connection,
    kind: Kind,
    row: i64,
    id: &dyn Display,
    expected: &Expected,
) -> Result<(), Fault> {
    let Expected::OneOf(expected) = expected else { return Ok(()) };
    if expected.contains(&revision(connection, kind, row)?) {
        Ok(())
    } else {
        Err(StoreError::Changed { what: kind.word(), id: id.to_string() }.into())
    }
}

/// The number of the change that last touched the object; 0 where that was before revisions were kept.
pub(super) fn revision(connection: &Connection, kind: Kind, row: i64) -> Result<ChangeNumber, Fault> {
    let (table, column) = kind.table();
    let number = connection
        .prepare_cached(&format!("SELECT revision FROM {table} WHERE {column} = ?1"))?
        .query_row([row], |row| row.get(0))?;
    ChangeNumber::from_row(number)
}

/// Notes the change that last touched the object.
pub(super) fn set_revision(at: &Connection, kind: Kind, row: i64, number: ChangeNumber) -> Result<(), Fault> {
    let (table, column) = kind.table();
    at.prepare_cached(&format!("UPDATE {table} SET revision = ?1 WHERE {column} = ?2"))?
        .execute((number.0.cast_signed(), row))?;
    Ok(())
}

pub(super) fn set_state(transaction: &Connection, kind: Kind, row: i64, state: State) -> Result<(), Fault> {
    let (table, column) = kind.table();
    let time = (state == State::Removed).then(|| Timestamp::now().as_millisecond());
    // with the key goes what verifies its secret
    let and = if matches!(kind, Kind::Key) && state == State::Removed { ", phc = ''" } else { "" };
    transaction
        .prepare_cached(&format!("UPDATE {table} SET state = ?1, removed = ?2{and} WHERE {column} = ?3"))?
        .execute((state.as_str(), time, row))?;
    Ok(())
}

/// Takes over what `edit` says; whether anything is different then.
pub(super) fn edit(
    transaction: &Connection,
    kind: Kind,
    row: i64,
    edit: &Edit,
    name: Option<&Name>,
    description: Option<&Description>,
) -> Result<bool, Fault> {
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
    kind: Kind,
    wanted: &str,
    mut found: Vec<T>,
    id: impl Fn(&T) -> String,
) -> Result<T, Fault> {
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
