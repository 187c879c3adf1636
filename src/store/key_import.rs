//! Many keys from another system: what the store has of them already, and making several at once.

use rusqlite::OptionalExtension as _;

use super::audit::Attempt;
use super::error::TransactionError;
use super::keys;
use super::{ChangeNumber, KeyVerifier, NewKey, Store, StoreError, change, lookup};
use crate::model::{AccessKey, ApiKey, KeyId, KeyOwner};

/// A key that is in the store, as an import sees it.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub owner: KeyOwner,
    /// What verifies its secret.
    pub verifier: KeyVerifier,
    /// The hash that it was imported with was replaced when its secret was first used.
    pub is_rehashed: bool,
}

/// What became of several new keys, in their order, and the newest change after it.
pub type CreatedKeys = (Vec<Result<ApiKey, StoreError>>, ChangeNumber);

impl Store {
    /// The key with this access key that is not removed. Refused where no key can have this access key any more.
    pub fn stored_key(&self, access_key: &AccessKey) -> Result<Option<StoredKey>, StoreError> {
        self.database.read(|at| {
            let Some(record) = lookup::key(at, access_key.as_str())?.record else {
                keys::refuse_taken(at, access_key)?;
                return Ok(None);
            };
            let last = at
                .prepare_cached(
                    "SELECT action FROM changes JOIN keys ON changes.number = keys.revision WHERE keys.id = ?1",
                )?
                .query_row([record.principal.key.id.row()], |row| row.get::<_, String>(0))
                .optional()?;
            Ok(Some(StoredKey {
                id: record.principal.key.id,
                owner: record.principal.key.owner,
                verifier: record.verifiers.current,
                is_rehashed: last.is_some_and(|action| action == "rehash"),
            }))
        })
    }

    /// Makes keys of one owner in one transaction. One that is refused does not keep out the others.
    pub fn create_keys(&mut self, owner: &KeyOwner, new: &[NewKey]) -> Result<CreatedKeys, StoreError> {
        self.change(&Attempt::new("create", "key", owner), |at| {
            let mut created = Vec::with_capacity(new.len());
            for new in new {
                created.push(match keys::create(at, new) {
                    Ok((key, _)) => Ok(key),
                    Err(TransactionError::Store(refusal)) if refusal.is_refusal() => Err(refusal),
                    Err(error) => return Err(error),
                });
            }
            Ok((created, change::head(at)?.number))
        })
    }
}
