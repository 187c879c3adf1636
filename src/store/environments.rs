//! Queries and changes of environments.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::audit::Attempt;
use super::change::{self, ChangeNumber, Subject};
use super::error::TransactionError;
use super::object::{self, ObjectKind};
use super::page::{ListDefinition, ListScope, Page, PageQuery};
use super::row_mapping::Parsed;
use super::write_transaction::WriteTransaction;
use super::{
    Edit, ExpectedRevision, StateTransition, Store, StoreError, WithRevision, keys, memberships, row_mapping,
};
use crate::model::{AccountId, Description, Environment, EnvironmentId, KeyOwner, Name, Role, State};
use crate::policy::ManagementAction;

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

/// Which environments are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentScope {
    /// All.
    All,
    /// Those that an account owns, and the active ones of which it is a member.
    VisibleTo(AccountId),
    /// Only this one.
    Only(EnvironmentId),
}

impl Store {
    /// Makes an environment; it is active.
    pub fn create_environment(
        &mut self,
        new: &NewEnvironment,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.change(&Attempt::new("create", "environment", &new.id), |at| {
            at.authorize(&ManagementAction::CreateEnvironments)?;
            create(at, new)
        })
    }

    /// The same, with an id that the gateway has minted. Authors who may not choose ids may create `most` environments.
    pub fn create_minted_environment(
        &mut self,
        new: &NewEnvironment,
        most: u32,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.change(&Attempt::new("create", "environment", &new.id), |at| {
            at.authorize(&ManagementAction::MintEnvironment { most })?;
            if at.authorize(&ManagementAction::CreateEnvironments).is_err() && created_by_author(at)? >= most
            {
                return Err(StoreError::TooManyEnvironments { most }.into());
            }
            create(at, new)
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
                .query_map([id_or_name], row_mapping::environment)?
                .collect::<Result<_, _>>()?;
            object::only_one(ObjectKind::Environment, id_or_name, found, |environment| {
                environment.id.to_string()
            })
        })
    }

    /// The environment with exactly this id, a removed one too, with its revision.
    pub fn environment_entry(&self, id: &EnvironmentId) -> Result<WithRevision<Environment>, StoreError> {
        self.database.read(|at| {
            at.prepare_cached("SELECT * FROM environments WHERE id = ?1")?
                .query_row([id.as_str()], entry)
                .optional()?
                .filter(|entry| entry.object.id == *id)
                .ok_or_else(|| ObjectKind::Environment.not_found(id))
        })
    }

    /// A page of the environments in `scope`.
    pub fn environment_page(
        &self,
        scope: &EnvironmentScope,
        query: &PageQuery,
    ) -> Result<Page<WithRevision<Environment>>, StoreError> {
        let list_scope = match scope {
            EnvironmentScope::All => ListScope::everything(),
            EnvironmentScope::VisibleTo(account) => ListScope::matching(
                "environments.row IN (SELECT memberships.environment FROM memberships
                 WHERE memberships.account = ? AND (memberships.role = 'owner' OR environments.state = 'active'))",
                vec![account.row().into()],
            ),
            EnvironmentScope::Only(id) => ListScope::matching("environments.id = ?", vec![id.as_str().to_owned().into()]),
        };
        self.database.read(|at| ListDefinition::ENVIRONMENTS.page(at, query, &list_scope, entry))
    }

    /// Changes an environment's name or description.
    pub fn edit_environment(
        &mut self,
        id: &EnvironmentId,
        edit: &Edit,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.change(&Attempt::new("edit", "environment", &id), |at| {
            at.authorize(&ManagementAction::ChangeEnvironment(id.clone()))?;
            let (row, environment) = get_existing(at, id)?;
            object::refuse_changed(at, ObjectKind::Environment, row, id, &edit.expected)?;
            refuse_anothers_id(at, id, edit.name.as_ref().and_then(Option::as_ref))?;
            let (name, description) = (environment.name.as_ref(), environment.description.as_ref());
            if object::edit(at, ObjectKind::Environment, row, edit, name, description)? {
                log(at, id, "edit", Some(&environment))
            } else {
                Ok((environment, change::head(at)?.number))
            }
        })
    }

    /// Activates, deactivates or removes an environment. An inactive one is closed to every key.
    pub fn set_environment_state(
        &mut self,
        id: &EnvironmentId,
        transition: impl Into<StateTransition>,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        let StateTransition { to: state, expected } = transition.into();
        self.change(&Attempt::new(object::action_to(state), "environment", &id), |at| {
            at.authorize(&ManagementAction::ChangeEnvironment(id.clone()))?;
            refuse_changed(at, id, &expected)?;
            change_state(at, id, state)
        })
    }

    /// Removes an environment, with its keys and memberships. An active one is deactivated first, in the same transaction.
    pub fn remove_environment(
        &mut self,
        id: &EnvironmentId,
        expected: &ExpectedRevision,
    ) -> Result<(Environment, ChangeNumber), StoreError> {
        self.change(&Attempt::new("remove", "environment", &id), |at| {
            at.authorize(&ManagementAction::ChangeEnvironment(id.clone()))?;
            if refuse_changed(at, id, expected)? == State::Active {
                change_state(at, id, State::Inactive)?;
            }
            change_state(at, id, State::Removed)
        })
    }
}

/// Refuses if the environment has another revision than expected. Its state.
fn refuse_changed(
    at: &WriteTransaction<'_>,
    id: &EnvironmentId,
    expected: &ExpectedRevision,
) -> Result<State, TransactionError> {
    let (row, environment) = get(at, id.as_str())?.ok_or_else(|| ObjectKind::Environment.not_found(id))?;
    object::refuse_changed(at, ObjectKind::Environment, row, id, expected)?;
    Ok(environment.state)
}

/// Changes the state of an environment. A removed one loses its keys and memberships.
fn change_state(
    at: &WriteTransaction<'_>,
    id: &EnvironmentId,
    state: State,
) -> Result<(Environment, ChangeNumber), TransactionError> {
    let (row, environment) = get(at, id.as_str())?.ok_or_else(|| ObjectKind::Environment.not_found(id))?;
    let Some(action) = object::transition(at, ObjectKind::Environment, id, environment.state, state)? else {
        return Ok((environment, change::head(at)?.number));
    };
    if state == State::Removed {
        keys::remove_all_of(at, &KeyOwner::Environment(id.clone()))?;
        memberships::remove_all_of_environment(at, row)?;
    }
    object::set_state(at, ObjectKind::Environment, row, state)?;
    log(at, id, action, Some(&environment))
}

fn create(
    at: &WriteTransaction<'_>,
    new: &NewEnvironment,
) -> Result<(Environment, ChangeNumber), TransactionError> {
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

/// How many environments the author has created by a key, without removed ones. Their present owners do not count: an
/// author could hand them over and create more. The audit log knows it, and its rows cannot be deleted.
fn created_by_author(at: &WriteTransaction<'_>) -> Result<u32, TransactionError> {
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

fn entry(row: &Row<'_>) -> rusqlite::Result<WithRevision<Environment>> {
    Ok(WithRevision { object: row_mapping::environment(row)?, revision: row_mapping::revision(row)? })
}

/// The row number and the environment with exactly this id.
fn get(connection: &Connection, id: &str) -> Result<Option<(i64, Environment)>, TransactionError> {
    let found = connection
        .prepare_cached("SELECT * FROM environments WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get("row")?, row_mapping::environment(row)?)))
        .optional()?
        // the column compares without regard to case
        .filter(|(_, environment)| environment.id.as_str() == id);
    Ok(found)
}

/// The environment, which must exist and not be removed, and its row number.
pub(super) fn get_existing(
    connection: &Connection,
    id: &EnvironmentId,
) -> Result<(i64, Environment), TransactionError> {
    let found = get(connection, id.as_str())?.ok_or_else(|| ObjectKind::Environment.not_found(id))?;
    if found.1.state == State::Removed {
        Err(object::removed(ObjectKind::Environment, id))
    } else {
        Ok(found)
    }
}

/// Adds rows to the logs, with the environment as it is now and as it was.
fn log(
    at: &WriteTransaction<'_>,
    id: &EnvironmentId,
    action: &str,
    before: Option<&Environment>,
) -> Result<(Environment, ChangeNumber), TransactionError> {
    let (row, environment) = get(at, id.as_str())?.ok_or_else(|| ObjectKind::Environment.not_found(id))?;
    let before = before.map(row_mapping::environment_json);
    let after = row_mapping::environment_json(&environment);
    let number = change::append(at, &Subject::Environment(id.clone()), action, before.as_ref(), &after)?;
    object::set_revision(at, ObjectKind::Environment, row, number)?;
    Ok((environment, number))
}

fn refuse_taken_id(connection: &Connection, id: &EnvironmentId) -> Result<(), TransactionError> {
    let taken = connection
        .prepare_cached("SELECT id, state FROM environments WHERE id = ?1")?
        .query_row([id.as_str()], |row| {
            Ok((row.get::<_, Parsed<EnvironmentId>>(0)?.0, row.get::<_, Parsed<State>>(1)?.0))
        })
        .optional()?;
    match taken {
        Some((taken, State::Removed)) => Err(TransactionError::taken(
            "id",
            format!(
                "environment id '{id}' belonged to '{taken}', which was removed, and is not given out again: \
             use another id"
            ),
        )),
        Some((taken, _)) => Err(TransactionError::taken(
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
                Some(named) => Err(TransactionError::taken(
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

/// A name that is another environment's id would be mistaken for that environment.
fn refuse_anothers_id(
    connection: &Connection,
    own: &EnvironmentId,
    name: Option<&Name>,
) -> Result<(), TransactionError> {
    let Some(name) = name else { return Ok(()) };
    let other = connection
        .prepare_cached("SELECT id FROM environments WHERE id = ?1 AND id <> ?2")?
        .query_row([name.as_str(), own.as_str()], |row| row.get::<_, String>(0))
        .optional()?;
    match other {
        Some(other) => Err(TransactionError::taken(
            "name",
            format!("'{name}' is the id of environment {other}: give another name"),
        )),
        None => Ok(()),
    }
}
