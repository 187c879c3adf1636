//! Keys in the record.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::change::{self, ChangeNumber, Subject};
use super::error::Fault;
use super::object::{self, Kind};
use super::rows::Parsed;
use super::{Edit, KeyVerifier, Store, StoreError, accounts, environments, notes, rows};
use crate::model::{AccessKey, ApiKey, Description, KeyId, KeyOwner, Name, State};

/// A key with its environment's id.
const SELECT: &str = "SELECT keys.*, environments.id AS environment_id
    FROM keys LEFT JOIN environments ON environments.row = keys.environment";

/// What a new key is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Whose key it is.
    pub owner: KeyOwner,
    /// The public half.
    pub access_key: AccessKey,
    /// Optional.
    pub name: Option<Name>,
    /// Optional.
    pub description: Option<Description>,
    /// What verifies the secret.
    pub verifier: KeyVerifier,
}

impl Store {
    /// Makes a key; it is active. Refused without a whole argon2id verifier, and for an access key that any key has or
    /// had.
    pub fn create_key(&mut self, new: &NewKey) -> Result<(ApiKey, ChangeNumber), StoreError> {
        self.database.write(|at| {
            if !new.verifier.is_whole() {
                return Err(Fault::refused("a key needs an argon2id verifier of its secret: none was given"));
            }
            refuse_taken(at, &new.access_key)?;
            let (account, environment) = match &new.owner {
                KeyOwner::Account(id) => (Some(accounts::present(at, *id)?.id.row()), None),
                KeyOwner::Environment(id) => (None, Some(environments::present(at, id)?.0)),
            };
            at.prepare_cached(
                "INSERT INTO keys (access_key, account, environment, name, description, state, uuid, phc, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'active', ?6, ?7, ?8)",
            )?
            .execute((
                new.access_key.as_str(),
                account,
                environment,
                new.name.as_ref().map(Name::as_str),
                new.description.as_ref().map(Description::as_str),
                Uuid::new_v4().to_string(),
                &new.verifier.phc,
                Timestamp::now().as_millisecond(),
            ))?;
            let id = KeyId::from_row(at.last_insert_rowid());
            if let Some(fingerprint) = &new.verifier.fingerprint {
                notes::save_fingerprint(at, id, fingerprint)?;
            }
            log(at, id, "create")
        })
    }

    /// All keys that are not removed, or those of one owner, by id.
    pub fn keys(&self, owner: Option<&KeyOwner>) -> Result<Vec<ApiKey>, StoreError> {
        self.database.read(|at| match owner {
            None => {
                let mut statement =
                    at.prepare_cached(&format!("{SELECT} WHERE keys.state <> 'removed' ORDER BY keys.id"))?;
                Ok(statement.query_map([], rows::key)?.collect::<Result<_, _>>()?)
            }
            Some(owner) => of(at, owner),
        })
    }

    /// The key with this id or this access key, a removed one too.
    pub fn find_key(&self, id_or_access_key: &str) -> Result<ApiKey, StoreError> {
        self.database.read(|at| {
            if let Ok(id) = id_or_access_key.parse()
                && let Some(key) = get(at, id)?
            {
                return Ok(key);
            }
            at.prepare_cached(&format!("{SELECT} WHERE access_key = ?1"))?
                .query_row([id_or_access_key], rows::key)
                .optional()?
                .ok_or_else(|| Kind::Key.not_found(id_or_access_key))
        })
    }

    /// Changes a key's name or description.
    pub fn edit_key(&mut self, id: KeyId, edit: &Edit) -> Result<(ApiKey, ChangeNumber), StoreError> {
        self.database.write(|at| {
            let key = get(at, id)?.ok_or_else(|| Kind::Key.not_found(id))?;
            if key.state == State::Removed {
                return Err(object::removed(Kind::Key, &id));
            }
            if object::edit(at, Kind::Key, id.row(), edit, key.name.as_ref(), key.description.as_ref())? {
                log(at, id, "edit")
            } else {
                Ok((key, change::head(at)?.number))
            }
        })
    }

    /// Activates or deactivates a key. Where it is so already, nothing changes.
    pub fn set_key_state(&mut self, id: KeyId, state: State) -> Result<(ApiKey, ChangeNumber), StoreError> {
        self.database.write(|at| {
            let key = get(at, id)?.ok_or_else(|| Kind::Key.not_found(id))?;
            match object::transition(Kind::Key, &key.access_key, key.state, state)? {
                None => Ok((key, change::head(at)?.number)),
                Some("remove") => remove(at, id),
                Some(action) => {
                    object::set_state(at, Kind::Key, id.row(), state)?;
                    log(at, id, action)
                }
            }
        })
    }

    /// Removes an inactive key, and what verified its secret.
    pub fn remove_key(&mut self, id: KeyId) -> Result<(ApiKey, ChangeNumber), StoreError> {
        self.set_key_state(id, State::Removed)
    }
}

fn get(connection: &Connection, id: KeyId) -> Result<Option<ApiKey>, Fault> {
    let found = connection
        .prepare_cached(&format!("{SELECT} WHERE keys.id = ?1"))?
        .query_row([id.row()], rows::key)
        .optional()?;
    Ok(found)
}

/// The keys of `owner` that are not removed, by id.
fn of(connection: &Connection, owner: &KeyOwner) -> Result<Vec<ApiKey>, Fault> {
    let (column, row) = match owner {
        KeyOwner::Account(id) => ("account", id.row()),
        KeyOwner::Environment(id) => ("environment", environments::present(connection, id)?.0),
    };
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT} WHERE keys.{column} = ?1 AND keys.state <> 'removed' ORDER BY keys.id"
    ))?;
    Ok(statement.query_map([row], rows::key)?.collect::<Result<_, _>>()?)
}

/// Removes every key of `owner`, whatever its state: the owner goes, and is inactive, so none of them works.
pub(super) fn remove_all_of(transaction: &Connection, owner: &KeyOwner) -> Result<(), Fault> {
    of(transaction, owner)?.iter().try_for_each(|key| {
        remove(transaction, key.id)?;
        Ok(())
    })
}

fn remove(transaction: &Connection, id: KeyId) -> Result<(ApiKey, ChangeNumber), Fault> {
    transaction.prepare_cached("DELETE FROM fingerprints WHERE key = ?1")?.execute([id.row()])?;
    object::set_state(transaction, Kind::Key, id.row(), State::Removed)?;
    log(transaction, id, "remove")
}

/// Writes the log's row for a key as it is now.
fn log(transaction: &Connection, id: KeyId, action: &str) -> Result<(ApiKey, ChangeNumber), Fault> {
    let key = get(transaction, id)?.ok_or_else(|| Kind::Key.not_found(id))?;
    let subject = Subject::Key { id, access_key: key.access_key.clone() };
    let number = change::append(transaction, &subject, action, &rows::key_content(&key))?;
    Ok((key, number))
}

fn refuse_taken(connection: &Connection, access_key: &AccessKey) -> Result<(), Fault> {
    if access_key.as_str().parse::<KeyId>().is_ok() {
        return Err(Fault::refused(format!(
            "'{access_key}' has the form of a key id: use another access key"
        )));
    }
    let taken = connection
        .prepare_cached("SELECT state FROM keys WHERE access_key = ?1")?
        .query_row([access_key.as_str()], |row| row.get::<_, Parsed<State>>(0))
        .optional()?;
    match taken.map(|state| state.0) {
        None => Ok(()),
        Some(State::Removed) => Err(Fault::refused(format!(
            "access key {access_key} belonged to a key that was removed, and is never used again: use another one"
        ))),
        Some(_) => {
            Err(Fault::refused(format!("there is a key {access_key} already: use another access key")))
        }
    }
}
