//! Many keys from another system: what the store has of them already, and making several at once.

use rusqlite::Connection;

use super::audit::Attempt;
use super::error::TransactionError;
use super::keys;
use super::{ChangeNumber, KeyVerifiers, NewKey, Store, StoreError, change, lookup};
use crate::model::{AccessKey, ApiKey, KeyId, KeyOwner};

/// A key that is in the store, as an import sees it.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub owner: KeyOwner,
    /// What verifies its secrets.
    pub verifiers: KeyVerifiers,
    /// It was imported, and what was imported verifies nothing any more.
    pub replaced: Option<ReplacedSecret>,
}

/// What became of the hash that a key was imported with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplacedSecret {
    /// The same secret has another hash, since it was first used.
    Rehashed,
    /// The key was given another secret.
    Rotated,
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
            let key = record.principal.key;
            let replaced = replaced_secret(at, &key)?;
            Ok(Some(StoredKey { id: key.id, owner: key.owner, verifiers: record.verifiers, replaced }))
        })
    }

    /// Makes keys of one owner in one transaction. One that is refused does not keep out the others.
    pub fn import_keys(&mut self, owner: &KeyOwner, new: &[NewKey]) -> Result<CreatedKeys, StoreError> {
        self.change(&Attempt::new("import", "key", owner), |at| {
            let mut created = Vec::with_capacity(new.len());
            for new in new {
                created.push(match keys::create(at, new, "import") {
                    Ok((key, _)) => Ok(key),
                    Err(TransactionError::Store(refusal)) if refusal.is_refusal() => Err(refusal),
                    Err(error) => return Err(error),
                });
            }
            Ok((created, change::head(at)?.number))
        })
    }
}

/// By the audit log, which has an index of the objects.
fn replaced_secret(at: &Connection, key: &ApiKey) -> Result<Option<ReplacedSecret>, TransactionError> {
    let mut statement = at.prepare_cached(
        "SELECT action FROM audit WHERE object = ?1 AND subject = 'key' AND outcome = 'done' AND at >= ?2
         AND action IN ('import', 'rehash', 'rotate') ORDER BY id",
    )?;
    // an older row is about another key, of a record that was put back since
    let found = statement
        .query_map((key.id.to_string(), key.created.as_millisecond()), |row| row.get::<_, String>(0))?;
    let actions: Vec<String> = found.collect::<Result<_, _>>()?;
    let Some(("import", since)) = actions.split_first().map(|(first, since)| (first.as_str(), since)) else {
        return Ok(None);
    };
    Ok(if since.iter().any(|action| action == "rotate") {
        Some(ReplacedSecret::Rotated)
    } else {
        (!since.is_empty()).then_some(ReplacedSecret::Rehashed)
    })
}
