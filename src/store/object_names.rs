//! What accounts, environments and keys are called.

use std::collections::HashMap;
use std::{fmt, mem};

use rusqlite::OptionalExtension;

use super::row_mapping::Parsed;
use super::{Store, StoreError};
use crate::model::{AccountId, EnvironmentId, KeyId, KeyOwner, Name, State};

/// The id of something that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ObjectId {
    /// An account's.
    Account(AccountId),
    /// An environment's.
    Environment(EnvironmentId),
    /// A key's.
    Key(KeyId),
}

/// What something is called, and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAndState {
    /// The name; a key without one is called by its access key, an environment by its id.
    pub name: String,
    /// Its state.
    pub state: State,
}

impl From<&KeyOwner> for ObjectId {
    fn from(owner: &KeyOwner) -> Self {
        match owner {
            KeyOwner::Account(id) => Self::Account(*id),
            KeyOwner::Environment(id) => Self::Environment(id.clone()),
        }
    }
}

/// So many ids of each kind are found by one name.
pub const MAX_IDS_OF_A_NAME: usize = 100;

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => id.fmt(f),
            Self::Environment(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
        }
    }
}

impl Store {
    /// The ids of the accounts, environments and keys that have this name, without regard to case, and of the key with
    /// this access key; removed ones too. Of each kind at most one more than [`MAX_IDS_OF_A_NAME`].
    pub fn ids_of_name(&self, name: &str) -> Result<Vec<ObjectId>, StoreError> {
        self.database.read(|at| {
            let mut ids = Vec::new();
            let limit = MAX_IDS_OF_A_NAME + 1;
            let by_name = |table: &str, id: &str| {
                format!("SELECT {id} FROM {table} WHERE name = ?1 COLLATE NOCASE LIMIT {limit}")
            };
            let mut accounts = at.prepare_cached(&by_name("accounts", "id"))?;
            for row in accounts.query_map([name], |row| row.get(0))? {
                ids.push(ObjectId::Account(AccountId::from_row(row?)));
            }
            let mut environments = at.prepare_cached(&by_name("environments", "id"))?;
            for id in environments.query_map([name], |row| row.get::<_, Parsed<EnvironmentId>>(0))? {
                ids.push(ObjectId::Environment(id?.0));
            }
            let mut keys = at.prepare_cached(&by_name("keys", "id"))?;
            for row in keys.query_map([name], |row| row.get(0))? {
                ids.push(ObjectId::Key(KeyId::from_row(row?)));
            }
            let by_access_key = at
                .prepare_cached("SELECT id FROM keys WHERE access_key = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()?;
            ids.extend(by_access_key.map(|row| ObjectId::Key(KeyId::from_row(row))));
            Ok(ids)
        })
    }

    /// Other objects of the same kind that are called so too, without removed ones. Nothing but their ids tells them apart.
    pub fn namesakes(&self, id: &ObjectId, name: &Name) -> Result<Vec<ObjectId>, StoreError> {
        let mut ids = self.ids_of_name(name.as_str())?;
        ids.retain(|other| other != id && mem::discriminant(other) == mem::discriminant(id));
        let names = self.names(&ids)?;
        let has_name = |found: &NameAndState| found.state != State::Removed && found.name == name.as_str();
        ids.retain(|id| names.get(id).is_some_and(has_name));
        Ok(ids)
    }

    /// What these are called, removed ones too. Ids that nothing has are left out.
    pub fn names(&self, ids: &[ObjectId]) -> Result<HashMap<ObjectId, NameAndState>, StoreError> {
        self.database.read(|at| {
            let mut names = HashMap::new();
            for id in ids {
                if names.contains_key(id) {
                    continue;
                }
                let read = |row: &rusqlite::Row<'_>| {
                    Ok(NameAndState { name: row.get(0)?, state: row.get::<_, Parsed<State>>(1)?.0 })
                };
                let found = match id {
                    ObjectId::Account(id) => at
                        .prepare_cached("SELECT name, state FROM accounts WHERE id = ?1")?
                        .query_row([id.row()], read),
                    ObjectId::Environment(id) => at
                        .prepare_cached("SELECT coalesce(name, id), state FROM environments WHERE id = ?1")?
                        .query_row([id.as_str()], read),
                    ObjectId::Key(id) => at
                        .prepare_cached("SELECT coalesce(name, access_key), state FROM keys WHERE id = ?1")?
                        .query_row([id.row()], read),
                };
                if let Some(found) = found.optional()? {
                    names.insert(id.clone(), found);
                }
            }
            Ok(names)
        })
    }
}
