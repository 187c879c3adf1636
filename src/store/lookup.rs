//! The queries of the request path: a key with all that a decision needs to know, and an environment.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::change;
use super::error::TransactionError;
use super::row_mapping::{self, Parsed};
use super::{ChangeNumber, Fingerprint, KeyVerifier, KeyVerifiers, PepperId, Store, StoreError};
use crate::model::{
    AccessKey, AccountId, ApiKey, Environment, EnvironmentId, KeyId, KeyOwner, Owner, Principal, Role,
};

/// A key as the store has it, and what verifies its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key, its owner and its owner's memberships, whatever their states.
    pub principal: Principal,
    /// What verifies its secrets.
    pub verifiers: KeyVerifiers,
    /// The newest change when it was read: all of the above is the state right after it.
    pub as_of: ChangeNumber,
}

/// The answer to "which key is this?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRead {
    /// `None` for an access key that is unknown or whose key was removed.
    pub record: Option<KeyRecord>,
    /// The newest change when it was read.
    pub as_of: ChangeNumber,
}

/// The answer to "is this an environment?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentRead {
    /// `None` for an id that is unknown, removed, or spelt otherwise.
    pub environment: Option<Environment>,
    /// The newest change when it was read.
    pub as_of: ChangeNumber,
}

/// That a key was used, for [`RequestStore::save_uses`](super::RequestStore::save_uses).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// Which key.
    pub key: KeyId,
    /// Since when the key has the secret that was used; `None` where it has but one.
    pub secret: Option<Timestamp>,
    /// When it was last used.
    pub at: Timestamp,
    /// The client's address then.
    pub address: IpAddr,
    /// Requests with the key since its uses were last saved, whatever was decided about them.
    pub count: u64,
}

/// How a key was used so far. It may be some seconds old, and lost when the machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyUsage {
    /// When it was last used.
    pub at: Option<Timestamp>,
    /// The client's address then.
    pub address: Option<IpAddr>,
    /// How many requests it has made.
    pub uses: u64,
}

/// A key with its revision and usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// The key.
    pub key: ApiKey,
    /// Its last change; 0 if that was before revisions were kept.
    pub revision: ChangeNumber,
    /// How it was used.
    pub usage: KeyUsage,
    /// How its secret was used since the last rotation, as long as there are two.
    pub secret_usage: KeyUsage,
    /// How the secret before it was used since then.
    pub former_usage: KeyUsage,
}

impl KeyEntry {
    /// A key that was just made.
    pub fn unused(key: ApiKey, revision: ChangeNumber) -> Self {
        let usage = KeyUsage::default();
        Self { key, revision, usage, secret_usage: usage, former_usage: usage }
    }

    /// Whether the key was unused for longer than `idle` at a time, as far as that is known: since its last use, or on
    /// average.
    pub fn has_longer_gaps(&self, idle: Duration, now: Timestamp) -> bool {
        let since = |time: Timestamp| now.duration_since(time).unsigned_abs();
        match self.usage.at {
            None => true,
            Some(last) => {
                let uses = u32::try_from(self.usage.uses.max(1)).unwrap_or(u32::MAX);
                since(last) > idle || since(self.key.created) / uses > idle
            }
        }
    }
}

/// An account or an environment with its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithRevision<T> {
    /// The object.
    pub object: T,
    /// Its last change; 0 if that was before revisions were kept.
    pub revision: ChangeNumber,
}

pub(super) fn key(connection: &Connection, access_key: &str) -> Result<KeyRead, TransactionError> {
    let as_of = change::head(connection)?.number;
    let found = connection
        .prepare_cached(
            "SELECT keys.*, environments.id AS environment_id,
             now.mac, now_pepper.id AS pepper, former.mac AS former_mac, former_pepper.id AS former_pepper
             FROM keys
             LEFT JOIN environments ON environments.row = keys.environment
             LEFT JOIN fingerprints AS now ON now.key = keys.id AND now.secret = keys.secret_since
             LEFT JOIN peppers AS now_pepper ON now_pepper.number = now.pepper
             LEFT JOIN fingerprints AS former ON former.key = keys.id AND former.secret = keys.former_since
             LEFT JOIN peppers AS former_pepper ON former_pepper.number = former.pepper
             WHERE keys.access_key = ?1 AND keys.state <> 'removed'",
        )?
        .query_row([access_key], |row| {
            let verifier = |phc, inner, pepper, mac| -> rusqlite::Result<KeyVerifier> {
                let (pepper, mac): (Option<[u8; 8]>, Option<[u8; 32]>) = (row.get(pepper)?, row.get(mac)?);
                let fingerprint =
                    pepper.zip(mac).map(|(pepper, mac)| Fingerprint { pepper: PepperId(pepper), mac });
                Ok(KeyVerifier { phc: row.get(phc)?, fingerprint, inner: row.get(inner)? })
            };
            let current = verifier("phc", "inner", "pepper", "mac")?;
            let key = row_mapping::key(row)?;
            let former = match key.former {
                Some(_) => Some(verifier("former_phc", "former_inner", "former_pepper", "former_mac")?),
                None => None,
            };
            Ok((key, KeyVerifiers { current, former }))
        })
        .optional()?;
    let Some((key, verifiers)) = found else { return Ok(KeyRead { record: None, as_of }) };
    let owner = owner(connection, &key.owner)?;
    let principal = Principal { key, owner };
    Ok(KeyRead { record: Some(KeyRecord { principal, verifiers, as_of }), as_of })
}

fn owner(connection: &Connection, owner: &KeyOwner) -> Result<Owner, TransactionError> {
    Ok(match owner {
        KeyOwner::Account(id) => Owner::Account {
            account: connection
                .prepare_cached("SELECT * FROM accounts WHERE id = ?1")?
                .query_row([id.row()], row_mapping::account)?,
            memberships: roles(connection, *id)?,
        },
        KeyOwner::Environment(id) => Owner::Environment(
            connection
                .prepare_cached("SELECT * FROM environments WHERE id = ?1")?
                .query_row([id.as_str()], row_mapping::environment)?,
        ),
    })
}

impl Store {
    /// An owner of keys, with an account's memberships; a removed one too.
    pub fn owner(&self, of: &KeyOwner) -> Result<Owner, StoreError> {
        self.database.read(|at| owner(at, of))
    }
}

/// An account's memberships, sorted by environment id, byte by byte.
fn roles(
    connection: &Connection,
    account: AccountId,
) -> Result<Vec<(EnvironmentId, Role)>, TransactionError> {
    let mut statement = connection.prepare_cached(
        "SELECT environments.id, memberships.role FROM memberships
         JOIN environments ON environments.row = memberships.environment
         WHERE memberships.account = ?1",
    )?;
    let found = statement.query_map([account.row()], |row| {
        Ok((row.get::<_, Parsed<EnvironmentId>>(0)?.0, row.get::<_, Parsed<Role>>(1)?.0))
    })?;
    let mut roles = found.collect::<Result<Vec<_>, _>>()?;
    roles.sort_unstable_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    Ok(roles)
}

pub(super) fn environment(connection: &Connection, id: &str) -> Result<EnvironmentRead, TransactionError> {
    let as_of = change::head(connection)?.number;
    let environment = connection
        .prepare_cached("SELECT * FROM environments WHERE id = ?1 AND state <> 'removed'")?
        .query_row([id], row_mapping::environment)
        .optional()?
        // the column compares without regard to case; only the stored spelling is known
        .filter(|environment| environment.id.as_str() == id);
    Ok(EnvironmentRead { environment, as_of })
}

/// The access keys of all keys of `owner` that are not removed.
pub(super) fn access_keys_of(
    connection: &Connection,
    owner: &KeyOwner,
) -> Result<Vec<AccessKey>, TransactionError> {
    let access_key = |row: &rusqlite::Row<'_>| row.get::<_, Parsed<AccessKey>>(0).map(|parsed| parsed.0);
    let found = match owner {
        KeyOwner::Account(id) => connection
            .prepare_cached("SELECT access_key FROM keys WHERE owner = ?1 AND state <> 'removed'")?
            .query_map([id.row()], access_key)?
            .collect::<Result<_, _>>()?,
        KeyOwner::Environment(id) => connection
            .prepare_cached(
                "SELECT access_key FROM keys
                 WHERE owner = (SELECT -row FROM environments WHERE id = ?1) AND state <> 'removed'",
            )?
            .query_map([id.as_str()], access_key)?
            .collect::<Result<_, _>>()?,
    };
    Ok(found)
}

/// The peppers under which fingerprints are kept.
pub(super) fn peppers(connection: &Connection) -> Result<Vec<PepperId>, TransactionError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM peppers WHERE EXISTS (SELECT 1 FROM fingerprints WHERE pepper = peppers.number) ORDER BY id",
    )?;
    let found = statement.query_map([], |row| row.get(0).map(PepperId))?;
    Ok(found.collect::<Result<_, _>>()?)
}
