//! Environments in the record.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::change::{self, ChangeNumber, Subject};
use super::error::Fault;
use super::object::{self, Kind};
use super::rows::Parsed;
use super::{Edit, Store, StoreError, keys, memberships, rows};
use crate::model::{
    AccountId, Description, Environment, EnvironmentId, KeyOwner, Membership, Name, Role, State,
};

/// What a new environment is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEnvironment {
    /// The path segment that stands for it.
    pub id: EnvironmentId,
    /// What operators call it.
    pub name: Option<Name>,
    /// Free text.
    pub description: Option<Description>,
    /// Who becomes its first owner.
    pub owner: Option<AccountId>,
}

impl Store {
    /// Makes an environment; it is active.
    pub fn create_environment(
        &mut self,
        new: &NewEnvironment,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.database.write(|at| {
            refuse_taken_id(at, &new.id)?;
            refuse_anothers_id(at, &new.id, new.name.as_ref())?;
            at.prepare_cached(
                "INSERT INTO environments (id, name, description, state, uuid, created)
                 VALUES (?1, ?2, ?3, 'active', ?4, ?5)",
            )?
            .execute((
                new.id.as_str(),
                new.name.as_ref().map(Name::as_str),
                new.description.as_ref().map(Description::as_str),
                Uuid::new_v4().to_string(),
                Timestamp::now().as_millisecond(),
            ))?;
            let (environment, number) = log(at, &new.id, "create")?;
            let Some(account) = new.owner else { return Ok((environment, number)) };
            let membership = Membership { account, environment: new.id.clone(), role: Role::Owner };
            Ok((environment, memberships::add(at, &membership)?))
        })
    }

    /// All environments that are not removed, in the order of their creation.
    pub fn environments(&self) -> Result<Vec<Environment>, StoreError> {
        self.database.read(|at| {
            let mut statement =
                at.prepare_cached("SELECT * FROM environments WHERE state <> 'removed' ORDER BY row")?;
            Ok(statement.query_map([], rows::environment)?.collect::<Result<_, _>>()?)
        })
    }

    /// The environment with this id, a removed one too, or else the only one with this name.
    pub fn find_environment(&self, id_or_name: &str) -> Result<Environment, StoreError> {
        self.database.read(|at| {
            if let Some((_, environment)) = get(at, id_or_name)? {
                return Ok(environment);
            }
            let found: Vec<Environment> = at
                .prepare_cached(
                    // the index compares without regard to case, the second condition does not
                    "SELECT * FROM environments
                     WHERE name = ?1 COLLATE NOCASE AND name = ?1 AND state <> 'removed' ORDER BY row",
                )?
                .query_map([id_or_name], rows::environment)?
                .collect::<Result<_, _>>()?;
            object::only_one(Kind::Environment, id_or_name, found, |environment| environment.id.to_string())
        })
    }

    /// Changes an environment's name or description.
    pub fn edit_environment(
        &mut self,
        id: &EnvironmentId,
        edit: &Edit,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.database.write(|at| {
            let (row, environment) = present(at, id)?;
            refuse_anothers_id(at, id, edit.name.as_ref().and_then(Option::as_ref))?;
            let (name, description) = (environment.name.as_ref(), environment.description.as_ref());
            if object::edit(at, Kind::Environment, row, edit, name, description)? {
                log(at, id, "edit")
            } else {
                Ok((environment, change::head(at)?.number))
            }
        })
    }

    /// Activates or deactivates an environment: an inactive one is closed to every key. Where it is so already,
    /// nothing changes.
    pub fn set_environment_state(
        &mut self,
        id: &EnvironmentId,
        state: State,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.database.write(|at| {
            let (row, environment) = get(at, id.as_str())?.ok_or_else(|| Kind::Environment.not_found(id))?;
            let Some(action) = object::transition(Kind::Environment, id, environment.state, state)? else {
                return Ok((environment, change::head(at)?.number));
            };
            if state == State::Removed {
                keys::remove_all_of(at, &KeyOwner::Environment(id.clone()))?;
                memberships::remove_all_of_environment(at, row)?;
            }
            object::set_state(at, Kind::Environment, row, state)?;
            log(at, id, action)
        })
    }

    /// Removes an inactive environment, with its keys and memberships.
    pub fn remove_environment(
        &mut self,
        id: &EnvironmentId,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.set_environment_state(id, State::Removed)
    }
}

/// The row number and the environment with exactly this id.
fn get(connection: &Connection, id: &str) -> Result<Option<(i64, Environment)>, Fault> {
    let found = connection
        .prepare_cached("SELECT * FROM environments WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get("row")?, rows::environment(row)?)))
        .optional()?
        // the column compares without regard to case
        .filter(|(_, environment)| environment.id.as_str() == id);
    Ok(found)
}

/// The environment, which must be there and not removed, and its row number.
pub(super) fn present(connection: &Connection, id: &EnvironmentId) -> Result<(i64, Environment), Fault> {
    let found = get(connection, id.as_str())?.ok_or_else(|| Kind::Environment.not_found(id))?;
    if found.1.state == State::Removed { Err(object::removed(Kind::Environment, id)) } else { Ok(found) }
}

/// Writes the log's row for an environment as it is now.
fn log(
    transaction: &Connection,
    id: &EnvironmentId,
    action: &str,
) -> Result<(Environment, ChangeNumber), Fault> {
    let (_, environment) = get(transaction, id.as_str())?.ok_or_else(|| Kind::Environment.not_found(id))?;
    let content = rows::environment_content(&environment);
    let number = change::append(transaction, &Subject::Environment(id.clone()), action, &content)?;
    Ok((environment, number))
}

fn refuse_taken_id(connection: &Connection, id: &EnvironmentId) -> Result<(), Fault> {
    let taken = connection
        .prepare_cached("SELECT id, state FROM environments WHERE id = ?1")?
        .query_row([id.as_str()], |row| {
            Ok((row.get::<_, Parsed<EnvironmentId>>(0)?.0, row.get::<_, Parsed<State>>(1)?.0))
        })
        .optional()?;
    match taken {
        Some((taken, State::Removed)) => Err(Fault::refused(format!(
            "environment id '{id}' belonged to '{taken}', which was removed, and is not given out again: \
             use another id"
        ))),
        Some((taken, _)) => Err(Fault::refused(format!(
            "environment id '{id}' is taken by '{taken}' (ids are compared without regard to case): use another id"
        ))),
        None => {
            let named = connection
                .prepare_cached(
                    "SELECT id FROM environments WHERE name = ?1 COLLATE NOCASE AND state <> 'removed' LIMIT 1",
                )?
                .query_row([id.as_str()], |row| row.get::<_, String>(0))
                .optional()?;
            match named {
                Some(named) => Err(Fault::refused(format!(
                    "environment id '{id}' is the name of environment {named}: use another id, or rename that one"
                ))),
                None => Ok(()),
            }
        }
    }
}

/// A name that is another environment's id would be hidden by it.
fn refuse_anothers_id(
    connection: &Connection,
    own: &EnvironmentId,
    name: Option<&Name>,
) -> Result<(), Fault> {
    let Some(name) = name else { return Ok(()) };
    let other = connection
        .prepare_cached("SELECT id FROM environments WHERE id = ?1 AND id <> ?2")?
        .query_row([name.as_str(), own.as_str()], |row| row.get::<_, String>(0))
        .optional()?;
    match other {
        Some(other) => {
            Err(Fault::refused(format!("'{name}' is the id of environment {other}: give another name")))
        }
        None => Ok(()),
    }
}
