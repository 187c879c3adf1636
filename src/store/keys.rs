//! Queries and changes of keys.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::audit::Attempt;
use super::change::{self, ChangeNumber, Subject};
use super::error::TransactionError;
use super::object::{self, ObjectKind};
use super::page::{FieldKind, ListDefinition, ListScope, Modifier, Page, PageQuery};
use super::row_mapping::Parsed;
use super::write_transaction::WriteTransaction;
use super::{
    Edit, EnvironmentScope, ExpectedRevision, KeyEntry, KeyVerifier, SecretId, StateTransition, Store,
    StoreError, accounts, environments, key_ends, row_mapping, uses_and_fingerprints,
};
use crate::config::{KeyLifetimes, LifetimeError};
use crate::model::{AccessKey, ApiKey, Description, KeyId, KeyOwner, Name, Scope, State};
use crate::policy::ManagementAction;

/// Keys, with all that is kept beside them.
fn select(rest: &str) -> String {
    format!("SELECT {} FROM keys {} {rest}", row_mapping::KEY_COLUMNS, row_mapping::KEY_JOINS)
}

/// What a new key is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Whose key it is.
    pub owner: KeyOwner,
    /// The public half.
    pub access_key: AccessKey,
    /// What its owner decides.
    pub properties: KeyProperties,
    /// What verifies the secret.
    pub verifier: KeyVerifier,
}

/// What the owner of a key decides, when it is made and later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyProperties {
    /// Optional.
    pub name: Option<Name>,
    /// Optional.
    pub description: Option<Description>,
    /// When it stops by itself; `None`: never.
    pub expires: Option<Timestamp>,
    /// What it may do of what its owner may; `None`: all of it.
    pub scope: Option<Scope>,
}

/// What is said of a key when it is made or edited: a field that is `None` was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyEdit {
    /// What all objects have.
    pub common: Edit,
    /// When it stops by itself; `Some(None)`: never.
    pub expires: Option<Option<Timestamp>>,
    /// What it may do of what its owner may; `Some(None)`: all of it.
    pub scope: Option<Option<Scope>>,
}

impl KeyEdit {
    /// What a new key is made with, of which this is said.
    pub fn into_properties(
        self,
        lifetimes: &KeyLifetimes,
        now: Timestamp,
    ) -> Result<KeyProperties, LifetimeError> {
        Ok(KeyProperties {
            name: self.common.name.flatten(),
            description: self.common.description.flatten(),
            expires: lifetimes.end_of_new_key(self.expires, now)?,
            scope: self.scope.flatten(),
        })
    }

    /// The same, if the key may be edited so. Clients send back all that they have read: what is as it was needs no check.
    pub fn checked(
        self,
        key: &ApiKey,
        lifetimes: &KeyLifetimes,
        now: Timestamp,
    ) -> Result<Self, LifetimeError> {
        let changed = self.expires.filter(|expires| *expires != key.expires);
        let expires = changed.map(|expires| lifetimes.check(expires, now)).transpose()?;
        Ok(Self { expires, ..self })
    }
}

impl From<Edit> for KeyEdit {
    fn from(common: Edit) -> Self {
        Self { common, ..Self::default() }
    }
}

impl Store {
    /// Makes a key; it is active. Refused without a whole argon2id verifier, and for an access key that any key has or
    /// had.
    pub fn create_key(&mut self, new: &NewKey) -> Result<(ApiKey, ChangeNumber), StoreError> {
        self.change(&Attempt::new("create", "key", &new.owner), |at| create(at, new, "create"))
    }

    /// The key with this id or this access key, a removed one too.
    pub fn find_key(&self, id_or_access_key: &str) -> Result<ApiKey, StoreError> {
        self.database.read(|at| {
            if let Ok(id) = id_or_access_key.parse()
                && let Some(key) = get(at, id)?
            {
                return Ok(key);
            }
            at.prepare_cached(&select("WHERE access_key = ?1"))?
                .query_row([id_or_access_key], row_mapping::key)
                .optional()?
                .ok_or_else(|| ObjectKind::Key.not_found(id_or_access_key))
        })
    }

    /// The key with this id, a removed one too, with its revision and usage.
    pub fn key_entry(&self, id: KeyId) -> Result<KeyEntry, StoreError> {
        self.database.read(|at| {
            at.prepare_cached(&select("WHERE keys.id = ?1"))?
                .query_row([id.row()], row_mapping::key_entry)
                .optional()?
                .ok_or_else(|| ObjectKind::Key.not_found(id))
        })
    }

    /// The key with this access key, a removed one too, with what is kept beside it.
    pub fn key_entry_of(&self, access_key: &AccessKey) -> Result<KeyEntry, StoreError> {
        self.database.read(|at| {
            at.prepare_cached(&select("WHERE keys.access_key = ?1"))?
                .query_row([access_key.as_str()], row_mapping::key_entry)
                .optional()?
                .ok_or_else(|| ObjectKind::Key.not_found(access_key))
        })
    }

    /// A page of the keys that somebody sees, whoever owns them, removed ones too. Costs the least by id.
    pub fn key_page_with_removed(
        &self,
        seen_by: &EnvironmentScope,
        query: &PageQuery,
    ) -> Result<Page<KeyEntry>, StoreError> {
        let condition: Option<(_, Vec<Sql>)> = match seen_by {
            EnvironmentScope::All => None,
            EnvironmentScope::VisibleTo(id) => Some((
                "(keys.account = ? OR keys.environment IN (SELECT environment FROM memberships \
                 WHERE memberships.account = ? AND memberships.role <> 'readonly'))",
                vec![id.row().into(), id.row().into()],
            )),
            EnvironmentScope::Only(id) => Some((
                "keys.environment = (SELECT row FROM environments WHERE id = ?)",
                vec![id.as_str().to_owned().into()],
            )),
        };
        let cursor = ListScope::with_removed(condition);
        self.database.read(|at| ListDefinition::KEYS.page(at, query, &cursor, row_mapping::key_entry))
    }

    /// A page of all keys, or of those of one owner.
    pub fn key_page(
        &self,
        owner: Option<&KeyOwner>,
        query: &PageQuery,
    ) -> Result<Page<KeyEntry>, StoreError> {
        self.database.read(|at| {
            let owner = match owner {
                Some(owner) => Some(owner_number(at, owner)?),
                None => only_owner(at, query)?,
            };
            let scope = owner.map_or_else(ListScope::everything, ListScope::owned_by);
            ListDefinition::KEYS.page(at, query, &scope, row_mapping::key_entry)
        })
    }

    /// How many active keys end by themselves within this time; at most 100,000 are counted.
    pub fn count_keys_that_end_within(&self, now: Timestamp, within: Duration) -> Result<u64, StoreError> {
        let until = now.checked_add(within).unwrap_or(Timestamp::MAX);
        self.database.read(|at| key_ends::count_between(at, now, until))
    }

    /// Changes what its owner decides of a key.
    pub fn edit_key(&mut self, id: KeyId, edit: &KeyEdit) -> Result<(ApiKey, ChangeNumber), StoreError> {
        self.change(&Attempt::new("edit", "key", &id), |at| {
            let KeyEdit { common, expires, scope } = edit;
            let key = editable(at, id, &common.expected)?;
            let mut is_changed = object::edit(
                at,
                ObjectKind::Key,
                id.row(),
                common,
                key.name.as_ref(),
                key.description.as_ref(),
            )?;
            if let Some(expires) = expires.filter(|expires| *expires != key.expires) {
                at.prepare_cached("UPDATE keys SET expires = ?1 WHERE id = ?2")?
                    .execute((row_mapping::milliseconds_or_zero(expires), id.row()))?;
                is_changed = true;
            }
            if let Some(scope) = scope.as_ref().filter(|scope| scope.as_ref() != key.scope.as_deref()) {
                at.prepare_cached("UPDATE keys SET scope = ?1 WHERE id = ?2")?
                    .execute((scope.as_ref().map(ToString::to_string), id.row()))?;
                is_changed = true;
            }
            if is_changed { log(at, id, "edit", Some(&key)) } else { Ok((key, change::head(at)?.number)) }
        })
    }

    /// Activates, deactivates or removes a key.
    pub fn set_key_state(
        &mut self,
        id: KeyId,
        transition: impl Into<StateTransition>,
    ) -> Result<(ApiKey, ChangeNumber), StoreError> {
        let StateTransition { to: state, expected } = transition.into();
        self.change(&Attempt::new(object::action_to(state), "key", &id), |at| {
            let key = get(at, id)?.ok_or_else(|| ObjectKind::Key.not_found(id))?;
            at.authorize(&ManagementAction::ChangeKeys(key.owner.clone()))?;
            object::refuse_changed(at, ObjectKind::Key, id.row(), &id, &expected)?;
            match object::transition(at, ObjectKind::Key, &key.access_key, key.state, state)? {
                None => Ok((key, change::head(at)?.number)),
                Some("remove") => remove(at, &key),
                Some(action) => {
                    object::set_state(at, ObjectKind::Key, id.row(), state)?;
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

/// A key that the author may change now.
pub(super) fn editable(
    at: &WriteTransaction<'_>,
    id: KeyId,
    expected: &ExpectedRevision,
) -> Result<ApiKey, TransactionError> {
    let key = get(at, id)?.ok_or_else(|| ObjectKind::Key.not_found(id))?;
    at.authorize(&ManagementAction::ChangeKeys(key.owner.clone()))?;
    if key.state == State::Removed {
        return Err(object::removed(ObjectKind::Key, &id));
    }
    object::refuse_changed(at, ObjectKind::Key, id.row(), &id, expected)?;
    Ok(key)
}

/// A time as the store keeps it.
pub(super) fn whole_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Makes a key; `action` is the logs' word for it. A refusal has written nothing.
pub(super) fn create(
    at: &WriteTransaction<'_>,
    new: &NewKey,
    action: &str,
) -> Result<(ApiKey, ChangeNumber), TransactionError> {
    at.authorize(&ManagementAction::ChangeKeys(new.owner.clone()))?;
    // only a secret that somebody chose has no fingerprint
    if new.verifier.fingerprint.is_none() {
        at.authorize(&ManagementAction::ImportKey)?;
    }
    if !new.verifier.has_valid_hash() {
        return Err(TransactionError::refused(
            "a key needs an argon2id verifier of its secret: none was given",
        ));
    }
    refuse_taken(at, &new.access_key)?;
    let (account, environment) = match &new.owner {
        KeyOwner::Account(id) => (Some(accounts::get_existing(at, *id)?.id.row()), None),
        KeyOwner::Environment(id) => (None, Some(environments::get_existing(at, id)?.0)),
    };
    let created = Timestamp::now();
    at.prepare_cached(
        "INSERT INTO keys
         (access_key, account, environment, name, description, state, uuid, phc, expires, scope, created,
          secret_since, \"inner\")
         VALUES (?1, ?2, ?3, ?4, ?5, 'active', ?6, ?7, ?8, ?9, ?10, ?10, ?11)",
    )?
    .execute((
        new.access_key.as_str(),
        account,
        environment,
        new.properties.name.as_ref().map(Name::as_str),
        new.properties.description.as_ref().map(Description::as_str),
        Uuid::new_v4().to_string(),
        &new.verifier.phc,
        row_mapping::milliseconds_or_zero(new.properties.expires),
        new.properties.scope.as_ref().map(ToString::to_string),
        created.as_millisecond(),
        &new.verifier.inner,
    ))?;
    let id = KeyId::from_row(at.last_insert_rowid());
    if let Some(fingerprint) = &new.verifier.fingerprint {
        let secret = SecretId { key: id, since: whole_milliseconds(created) };
        uses_and_fingerprints::save_fingerprint(at, secret, fingerprint)?;
    }
    log(at, id, action, None)
}

/// The key with this id, a removed one too.
pub(super) fn get(connection: &Connection, id: KeyId) -> Result<Option<ApiKey>, TransactionError> {
    let found = connection
        .prepare_cached(&select("WHERE keys.id = ?1"))?
        .query_row([id.row()], row_mapping::key)
        .optional()?;
    Ok(found)
}

/// The keys of `owner` that are not removed, by id.
fn of(connection: &Connection, owner: &KeyOwner) -> Result<Vec<ApiKey>, TransactionError> {
    let mut statement = connection
        .prepare_cached(&select("WHERE keys.owner = ?1 AND keys.state <> 'removed' ORDER BY keys.id"))?;
    Ok(statement
        .query_map([owner_number(connection, owner)?], row_mapping::key)?
        .collect::<Result<_, _>>()?)
}

/// The only owner that the query's filters allow, if there is one: the keys of one owner have indexes of their own.
fn only_owner(connection: &Connection, query: &PageQuery) -> Result<Option<i64>, TransactionError> {
    let mut owners = query.filters.iter().filter(|filter| filter.field.kind == FieldKind::Owner);
    let Some((account, environment)) = owners
        .find(|filter| filter.comparison.modifier() == Modifier::Eq)
        .and_then(|filter| filter.comparison.owner())
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

/// The owner's number in the column `keys.owner`.
fn owner_number(connection: &Connection, owner: &KeyOwner) -> Result<i64, TransactionError> {
    match owner {
        KeyOwner::Account(id) => Ok(id.row()),
        KeyOwner::Environment(id) => Ok(-environments::get_existing(connection, id)?.0),
    }
}

/// Removes all keys of `owner`, whatever their states. The owner is inactive already, so none of them works.
pub(super) fn remove_all_of(at: &WriteTransaction<'_>, owner: &KeyOwner) -> Result<(), TransactionError> {
    of(at, owner)?.iter().try_for_each(|key| {
        remove(at, key)?;
        Ok(())
    })
}

fn remove(at: &WriteTransaction<'_>, key: &ApiKey) -> Result<(ApiKey, ChangeNumber), TransactionError> {
    at.prepare_cached("DELETE FROM fingerprints WHERE key = ?1")?.execute([key.id.row()])?;
    object::set_state(at, ObjectKind::Key, key.id.row(), State::Removed)?;
    log(at, key.id, "remove", Some(key))
}

/// Adds rows to the logs, with the key as it is now and as it was.
pub(super) fn log(
    at: &WriteTransaction<'_>,
    id: KeyId,
    action: &str,
    before: Option<&ApiKey>,
) -> Result<(ApiKey, ChangeNumber), TransactionError> {
    let key = get(at, id)?.ok_or_else(|| ObjectKind::Key.not_found(id))?;
    let subject = Subject::Key { id, access_key: key.access_key.clone() };
    let before = before.map(row_mapping::key_json);
    let number = change::append(at, &subject, action, before.as_ref(), &row_mapping::key_json(&key))?;
    object::set_revision(at, ObjectKind::Key, id.row(), number)?;
    Ok((key, number))
}

pub(super) fn refuse_taken(connection: &Connection, access_key: &AccessKey) -> Result<(), TransactionError> {
    if access_key.as_str().parse::<KeyId>().is_ok() {
        return Err(TransactionError::refused(format!(
            "'{access_key}' has the form of a key id: use another access key"
        )));
    }
    let taken = connection
        .prepare_cached("SELECT state FROM keys WHERE access_key = ?1")?
        .query_row([access_key.as_str()], |row| row.get::<_, Parsed<State>>(0))
        .optional()?;
    match taken.map(|state| state.0) {
        None => Ok(()),
        Some(State::Removed) => Err(TransactionError::taken(
            "access key",
            format!(
                "access key {access_key} belonged to a key that was removed, and is never used again: use another one"
            ),
        )),
        Some(_) => Err(TransactionError::taken(
            "access key",
            format!("there is a key {access_key} already: use another access key"),
        )),
    }
}
