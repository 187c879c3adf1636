//! Environments in the record.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::audit::Attempt;
use super::author::Writing;
use super::change::{self, ChangeNumber, Subject};
use super::error::Fault;
use super::object::{self, Kind};
use super::page::{Cursor, Listing, Page, Query};
use super::rows::Parsed;
use super::{Edit, Entry, Expected, Store, StoreError, Transition, keys, memberships, rows};
use crate::model::{AccountId, Description, Environment, EnvironmentId, KeyOwner, Name, Role, State};
use crate::policy::Act;

/// What a new environment is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEnvironment {
    /// The path segment that stands for it.
    pub id: EnvironmentId,
    /// What operators call it.
    pub name: Option<Name>,
    /// Free text.
    pub description: Option<Description>,
    /// Its first members.
    pub members: Vec<(AccountId, Role)>,
}

/// Who looks at a list of environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenBy {
    /// Somebody who sees all.
    Everyone,
    /// An account sees what it owns, and what is active where it is a member.
    Member(AccountId),
    /// An environment's key sees only that one.
    Itself(EnvironmentId),
}

impl Store {
    /// Makes an environment; it is active.
    pub fn create_environment(
        &mut self,
        new: &NewEnvironment,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.change(&Attempt::new("create", "environment", &new.id), |at| {
            at.permit(&Act::CreateEnvironments)?;
            make(at, new)
        })
    }

    /// The same with an id that the gateway has minted. Whoever may not choose ids may make `most`.
    pub fn create_minted_environment(
        &mut self,
        new: &NewEnvironment,
        most: u32,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.change(&Attempt::new("create", "environment", &new.id), |at| {
            at.permit(&Act::MintEnvironment { most })?;
            if at.permit(&Act::CreateEnvironments).is_err() && made_by(at)? >= most {
                return Err(StoreError::TooManyEnvironments { most }.into());
            }
            make(at, new)
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

    /// The environment with exactly this id, a removed one too, with what is kept beside it.
    pub fn environment_entry(&self, id: &EnvironmentId) -> Result<Entry<Environment>, StoreError> {
        self.database.read(|at| {
            at.prepare_cached("SELECT * FROM environments WHERE id = ?1")?
                .query_row([id.as_str()], entry)
                .optional()?
                .filter(|entry| entry.object.id == *id)
                .ok_or_else(|| Kind::Environment.not_found(id))
        })
    }

    /// A page of all environments, or of those that `seen_by` says.
    pub fn environment_page(
        &self,
        seen_by: &SeenBy,
        query: &Query,
    ) -> Result<Page<Entry<Environment>>, StoreError> {
        let cursor = match seen_by {
            SeenBy::Everyone => Cursor::everything(),
            SeenBy::Member(account) => Cursor::few(
                "environments.row IN (SELECT memberships.environment FROM memberships
                 WHERE memberships.account = ? AND (memberships.role = 'owner' OR environments.state = 'active'))",
                vec![account.row().into()],
            ),
            SeenBy::Itself(id) => Cursor::few("environments.id = ?", vec![id.as_str().to_owned().into()]),
        };
        self.database.read(|at| Listing::ENVIRONMENTS.page(at, query, &cursor, entry))
    }

    /// Changes an environment's name or description.
    pub fn edit_environment(
        &mut self,
        id: &EnvironmentId,
        edit: &Edit,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.change(&Attempt::new("edit", "environment", &id), |at| {
            at.permit(&Act::ChangeEnvironment(id.clone()))?;
            let (row, environment) = present(at, id)?;
            object::refuse_changed(at, Kind::Environment, row, id, &edit.expected)?;
            refuse_anothers_id(at, id, edit.name.as_ref().and_then(Option::as_ref))?;
            let (name, description) = (environment.name.as_ref(), environment.description.as_ref());
            if object::edit(at, Kind::Environment, row, edit, name, description)? {
                log(at, id, "edit", Some(&environment))
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
        transition: impl Into<Transition>,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        let Transition { to: state, expected } = transition.into();
        self.change(&Attempt::new(object::action_to(state), "environment", &id), |at| {
            at.permit(&Act::ChangeEnvironment(id.clone()))?;
            refuse_changed(at, id, &expected)?;
            enter(at, id, state)
        })
    }

    /// Removes an environment, with its keys and memberships. An active one is closed first, in the same transaction.
    pub fn remove_environment(
        &mut self,
        id: &EnvironmentId,
        expected: &Expected,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.change(&Attempt::new("remove", "environment", &id), |at| {
            at.permit(&Act::ChangeEnvironment(id.clone()))?;
            if refuse_changed(at, id, expected)? == State::Active {
                enter(at, id, State::Inactive)?;
            }
            enter(at, id, State::Removed)
        })
    }
}

/// Refuses an environment that is not as the author knows it; its state.
fn refuse_changed(at: &Writing<'_>, id: &EnvironmentId, expected: &Expected) -> Result<State, Fault> {
    let (row, environment) = get(at, id.as_str())?.ok_or_else(|| Kind::Environment.not_found(id))?;
    object::refuse_changed(at, Kind::Environment, row, id, expected)?;
    Ok(environment.state)
}

/// Takes an environment to a state, if it may go there. A removed one takes its keys and memberships with it.
fn enter(at: &Writing<'_>, id: &EnvironmentId, state: State) -> Result<(Environment, ChangeNumber), Fault> {
    let (row, environment) = get(at, id.as_str())?.ok_or_else(|| Kind::Environment.not_found(id))?;
    let Some(action) = object::transition(at, Kind::Environment, id, environment.state, state)? else {
        return Ok((environment, change::head(at)?.number));
    };
    if state == State::Removed {
        keys::remove_all_of(at, &KeyOwner::Environment(id.clone()))?;
        memberships::remove_all_of_environment(at, row)?;
    }
    object::set_state(at, Kind::Environment, row, state)?;
    log(at, id, action, Some(&environment))
}

fn make(at: &Writing<'_>, new: &NewEnvironment) -> Result<(Environment, ChangeNumber), Fault> {
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
    let (environment, _) = log(at, &new.id, "create", None)?;
    memberships::add_all(at, &new.id, &new.members)?;
    Ok((environment, change::head(at)?.number))
}

/// How many environments the author has made by a key, of those that are not removed. Who owns them does not count: they
/// could be handed over, and more made. The audit log knows it, and nobody can take rows from there.
fn made_by(at: &Writing<'_>) -> Result<u32, Fault> {
    let made = at
        .prepare_cached(
            // the sign keeps SQLite from going through all that the author has ever done
            "SELECT count(*) FROM environments WHERE state <> 'removed' AND EXISTS (
                SELECT 1 FROM audit WHERE audit.object = environments.id AND subject = 'environment'
                AND action = 'create' AND outcome = 'done' AND via IN ('api', 'page') AND +actor = ?1)",
        )?
        .query_row([at.author.name()], |row| row.get(0))?;
    Ok(made)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry<Environment>> {
    Ok(Entry { object: rows::environment(row)?, revision: rows::revision(row)? })
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

/// Writes the logs' rows for an environment as it is now, and as it was.
fn log(
    at: &Writing<'_>,
    id: &EnvironmentId,
    action: &str,
    before: Option<&Environment>,
) -> Result<(Environment, ChangeNumber), Fault> {
    let (row, environment) = get(at, id.as_str())?.ok_or_else(|| Kind::Environment.not_found(id))?;
    let before = before.map(rows::environment_content);
    let after = rows::environment_content(&environment);
    let number = change::append(at, &Subject::Environment(id.clone()), action, before.as_ref(), &after)?;
    object::set_revision(at, Kind::Environment, row, number)?;
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
        Some((taken, State::Removed)) => Err(Fault::taken(
            "id",
            format!(
                "environment id '{id}' belonged to '{taken}', which was removed, and is not given out again: \
             use another id"
            ),
        )),
        Some((taken, _)) => Err(Fault::taken(
            "id",
            format!(
                "environment id '{id}' is taken by '{taken}' (ids are compared without regard to case): use another id"
            ),
        )),
        None => {
            let named = connection
                .prepare_cached(
                    "SELECT id FROM environments WHERE name = ?1 COLLATE NOCASE AND state <> 'removed' LIMIT 1",
                )?
                .query_row([id.as_str()], |row| row.get::<_, String>(0))
                .optional()?;
            match named {
                Some(named) => Err(Fault::taken(
                    "id",
                    format!(
                        "environment id '{id}' is the name of environment {named}: use another id, or rename that one"
                    ),
                )),
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
            Err(Fault::taken("name", format!("'{name}' is the id of environment {other}: give another name")))
        }
        None => Ok(()),
    }
}
