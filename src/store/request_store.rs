//! The store for the request path: a few connections, each on a thread of its own, behind a bounded queue.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::database::{Database, OpenMode};
use super::error::TransactionError;
use super::thread_pool::ThreadPool;
use super::{
    EnvironmentRead, FileId, Fingerprint, KeyRead, KeyUse, PepperId, SecretId, StoreError, lookup,
    uses_and_fingerprints,
};
use crate::model::{AccessKey, KeyOwner};

/// How many queries may wait for a connection. Further callers wait to be queued.
const QUEUE: usize = 1024;

/// Uses that are saved in one transaction, which takes some milliseconds.
const USES_PER_WRITE: usize = 1_000;

/// Reads keys and environments, and saves uses and fingerprints, without blocking a worker. Cloning is cheap; the
/// threads end with the last clone.
#[derive(Clone)]
pub struct RequestStore {
    reading: ThreadPool<Database>,
    saving: ThreadPool<Database>,
    /// If the record is in PostgreSQL: takes uses and fingerprints to it.
    note_sink: Option<Arc<dyn Fn(StoreNote) + Send + Sync>>,
}

/// What the request path notes for the record in PostgreSQL and for the replica.
#[derive(Debug)]
pub enum StoreNote {
    /// Keys were used.
    Uses(Vec<KeyUse>, Timestamp),
    /// A key's secret can be recognised by this.
    Fingerprint(SecretId, Fingerprint),
    /// This file of a replica is damaged, for this reason.
    Damage(FileId, String),
}

impl std::fmt::Debug for RequestStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestStore")
    }
}

impl RequestStore {
    /// Checks the store, brings an older schema up to date, and starts `threads` threads that read (at least one) and one
    /// that saves uses and fingerprints.
    pub fn open(path: &Path, threads: usize) -> Result<Self, StoreError> {
        drop(Database::open_checked(path, OpenMode::Durable)?);
        let connections = (0..threads.max(1))
            .map(|_| Database::open(path, OpenMode::ReadOnly))
            .collect::<Result<_, _>>()?;
        let reading = ThreadPool::start("store-read", connections, QUEUE, path)?;
        let saving =
            ThreadPool::start("store-uses", vec![Database::open(path, OpenMode::Relaxed)?], QUEUE, path)?;
        Ok(Self { reading, saving, note_sink: None })
    }

    /// From now on, hands what is to be saved, and damage, to `note_sink` too.
    #[must_use]
    pub fn with_note_sink(self, note_sink: impl Fn(StoreNote) + Send + Sync + 'static) -> Self {
        Self { note_sink: Some(Arc::new(note_sink)), ..self }
    }

    /// The key with this access key, and all that a decision needs to know of it, read in one piece.
    pub async fn key(&self, access_key: &AccessKey) -> Result<KeyRead, StoreError> {
        let access_key = access_key.clone();
        self.ask(move |at| lookup::key(at, access_key.as_str())).await
    }

    /// The environment with exactly this id.
    pub async fn environment(&self, id: &str) -> Result<EnvironmentRead, StoreError> {
        let id = id.to_owned();
        self.ask(move |at| lookup::environment(at, &id)).await
    }

    /// The access keys of all keys of `owner` that are not removed.
    pub async fn access_keys_of(&self, owner: &KeyOwner) -> Result<Vec<AccessKey>, StoreError> {
        let owner = owner.clone();
        self.ask(move |at| lookup::access_keys_of(at, &owner)).await
    }

    /// The peppers under which the store keeps fingerprints.
    pub async fn peppers(&self) -> Result<Vec<PepperId>, StoreError> {
        self.ask(lookup::peppers).await
    }

    /// Saves the fingerprint of a secret. This is not a change, and may be lost when the machine stops.
    pub async fn save_fingerprint(
        &self,
        secret: SecretId,
        fingerprint: Fingerprint,
    ) -> Result<(), StoreError> {
        if let Some(note_sink) = &self.note_sink {
            note_sink(StoreNote::Fingerprint(secret, fingerprint));
        }
        self.save(move |at| uses_and_fingerprints::save_fingerprint(at, secret, &fingerprint)).await
    }

    /// Saves the uses of keys: all until then of keys with two secrets. This is not a change, and may be lost when the machine
    /// stops.
    ///
    /// In several transactions, so that a change need not wait for thousands of them.
    pub async fn save_uses(&self, uses: Vec<KeyUse>, until: Timestamp) -> Result<(), StoreError> {
        if let Some(note_sink) = &self.note_sink {
            // they come back from the record, added to those of the other gateways
            note_sink(StoreNote::Uses(uses, until));
            return Ok(());
        }
        for some in uses.chunks(USES_PER_WRITE) {
            let some = some.to_vec();
            self.save(move |at| some.iter().try_for_each(|used| uses_and_fingerprints::save_use(at, used)))
                .await?;
        }
        Ok(())
    }

    /// Closes the connections. Blocks until then, or until `deadline`.
    pub fn close(&self, deadline: Instant) {
        self.reading.close(deadline);
        self.saving.close(deadline);
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> Result<T, TransactionError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let note_sink = self.note_sink.clone();
        let read = move |database: &mut Database| {
            let found = database.read(question);
            if let (Some(note_sink), Err(error)) = (note_sink, &found)
                && error.is_damage()
            {
                note_sink(StoreNote::Damage(database.file(), error.to_string()));
            }
            found
        };
        self.reading.ask(read).await
    }

    async fn save(
        &self,
        write: impl FnOnce(&rusqlite::Connection) -> Result<(), TransactionError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.saving.ask(move |database| database.write(write)).await
    }
}
