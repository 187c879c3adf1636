//! Keys in the record.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::audit::Attempt;
use super::author::Writing;
use super::change::{self, ChangeNumber, Subject};
use super::error::Fault;
use super::object::{self, Kind};
use super::page::{Cursor, FieldKind, Listing, Modifier, Page, Query};
use super::rows::Parsed;
use super::{
    Edit, KeyEntry, KeyVerifier, Store, StoreError, Transition, accounts, environments, notes, rows,
};
use crate::model::{AccessKey, ApiKey, Description, KeyId, KeyOwner, Name, State};
use crate::policy::Act;

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
        self.change(&Attempt::new("create", "key", &new.owner), |at| {
            at.permit(&Act::ChangeKeys(new.owner.clone()))?;
            // only a secret that somebody chose has no fingerprint
            if new.verifier.fingerprint.is_none() {
                at.permit(&Act::ImportKey)?;
            }
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
            log(at, id, "create", None)
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

    /// The key with this id, a removed one too, with what is kept beside it.
    pub fn key_entry(&self, id: KeyId) -> Result<KeyEntry, StoreError> {
        self.database.read(|at| {
            at.prepare_cached(&format!("{SELECT} WHERE keys.id = ?1"))?
                .query_row([id.row()], rows::key_entry)
                .optional()?
                .ok_or_else(|| Kind::Key.not_found(id))
        })
    }

    /// A page of all keys, or of those of one owner.
    pub fn key_page(&self, owner: Option<&KeyOwner>, query: &Query) -> Result<Page<KeyEntry>, StoreError> {
        self.database.read(|at| {
            let owner = match owner {
                Some(owner) => Some(owner_number(at, owner)?),
                None => only_owner(at, query)?,
            };
            let cursor = owner.map_or_else(Cursor::everything, Cursor::owned);
            Listing::KEYS.page(at, query, &cursor, rows::key_entry)
        })
    }

    /// Changes a key's name or description.
    pub fn edit_key(&mut self, id: KeyId, edit: &Edit) -> Result<(ApiKey, ChangeNumber), StoreError> {
        self.change(&Attempt::new("edit", "key", &id), |at| {
            let key = get(at, id)?.ok_or_else(|| Kind::Key.not_found(id))?;
            at.permit(&Act::ChangeKeys(key.owner.clone()))?;
            if key.state == State::Removed {
                return Err(object::removed(Kind::Key, &id));
            }
            object::refuse_changed(at, Kind::Key, id.row(), &id, &edit.expected)?;
            if object::edit(at, Kind::Key, id.row(), edit, key.name.as_ref(), key.description.as_ref())? {
                log(at, id, "edit", Some(&key))
            } else {
                Ok((key, change::head(at)?.number))
            }
        })
    }

    /// Activates or deactivates a key. Where it is so already, nothing changes.
    pub fn set_key_state(
        &mut self,
        id: KeyId,
        transition: impl Into<Transition>,
    ) -> Result<(ApiKey, ChangeNumber), StoreError> {
        let Transition { to: state, expected } = transition.into();
        self.change(&Attempt::new(object::action_to(state), "key", &id), |at| {
            let key = get(at, id)?.ok_or_else(|| Kind::Key.not_found(id))?;
            at.permit(&Act::ChangeKeys(key.owner.clone()))?;
            object::refuse_changed(at, Kind::Key, id.row(), &id, &expected)?;
            match object::transition(at, Kind::Key, &key.access_key, key.state, state)? {
                None => Ok((key, change::head(at)?.number)),
                Some("remove") => remove(at, &key),
                Some(action) => {
                    object::set_state(at, Kind::Key, id.row(), state)?;
                    log(at, id, action, Some(&key))
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
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT} WHERE keys.owner = ?1 AND keys.state <> 'removed' ORDER BY keys.id"
    ))?;
    Ok(statement.query_map([owner_number(connection, owner)?], rows::key)?.collect::<Result<_, _>>()?)
}

/// The owner that the query asks for by a filter, where only one can be meant: its keys have indexes of their own.
fn only_owner(connection: &Connection, query: &Query) -> Result<Option<i64>, Fault> {
    let mut owners = query.filters.iter().filter(|filter| filter.field.kind == FieldKind::Owner);
    let Some((account, environment)) =
        owners.find(|filter| filter.test.modifier() == Modifier::Eq).and_then(|filter| filter.test.owner())
    else {
        return Ok(None);
    };
    let row = connection
        .prepare_cached("SELECT row FROM environments WHERE id = ?1")?
        .query_row([environment], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(match (account, row) {
        (Some(account), None) => Some(account),
        (None, Some(row)) => Some(-row),
        _ => None,
    })
}

/// What stands for an owner in `keys.owner`.
fn owner_number(connection: &Connection, owner: &KeyOwner) -> Result<i64, Fault> {
    match owner {
        KeyOwner::Account(id) => Ok(id.row()),
        KeyOwner::Environment(id) => Ok(-environments::present(connection, id)?.0),
    }
}

/// Removes every key of `owner`, whatever its state: the owner goes, and is inactive, so none of them works.
pub(super) fn remove_all_of(at: &Writing<'_>, owner: &KeyOwner) -> Result<(), Fault> {
    of(at, owner)?.iter().try_for_each(|key| {
        remove(at, key)?;
        Ok(())
    })
}

fn remove(at: &Writing<'_>, key: &ApiKey) -> Result<(ApiKey, ChangeNumber), Fault> {
    at.prepare_cached("DELETE FROM fingerprints WHERE key = ?1")?.execute([key.id.row()])?;
    object::set_state(at, Kind::Key, key.id.row(), State::Removed)?;
    log(at, key.id, "remove", Some(key))
}

/// Writes the logs' rows for a key as it is now, and as it was.
fn log(
    at: &Writing<'_>,
    id: KeyId,
    action: &str,
    before: Option<&ApiKey>,
) -> Result<(ApiKey, ChangeNumber), Fault> {
    let key = get(at, id)?.ok_or_else(|| Kind::Key.not_found(id))?;
    let subject = Subject::Key { id, access_key: key.access_key.clone() };
    let before = before.map(rows::key_content);
    let number = change::append(at, &subject, action, before.as_ref(), &rows::key_content(&key))?;
    object::set_revision(at, Kind::Key, id.row(), number)?;
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
        Some(State::Removed) => Err(Fault::taken(
            "access key",
            format!(
                "access key {access_key} belonged to a key that was removed, and is never used again: use another one"
            ),
        )),
        Some(_) => Err(Fault::taken(
            "access key",
            format!("there is a key {access_key} already: use another access key"),
        )),
    }
}
