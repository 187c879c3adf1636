//! Reading for the request path: a few connections, each on a thread of its own, behind a bounded queue.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::database::{Database, Purpose};
use super::error::Fault;
use super::threads::Threads;
use super::{EnvironmentRead, FileId, Fingerprint, KeyRead, KeyUse, PepperId, StoreError, lookup, notes};
use crate::model::{AccessKey, KeyId, KeyOwner};

/// How many questions may wait for a connection; who asks beyond that waits to ask.
const QUEUE: usize = 1024;

/// Uses that are saved in one write: some milliseconds.
const USES_PER_WRITE: usize = 1_000;

/// Reads the store without blocking a worker. Cloning is cheap; the threads end with the last clone.
#[derive(Clone)]
pub struct Reader {
    questions: Threads<Database>,
    notes: Threads<Database>,
    /// Where the record is elsewhere, who takes notes to it.
    outbox: Option<Arc<dyn Fn(Note) + Send + Sync>>,
}

/// What is no change, and is to be kept.
#[derive(Debug)]
pub enum Note {
    /// Keys were used.
    Uses(Vec<KeyUse>),
    /// A key's secret can be recognised by this.
    Fingerprint(KeyId, Fingerprint),
    /// This file of a replica cannot be read as it was written, for this reason.
    Damage(FileId, String),
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// Checks the store, brings an older schema up to date, and starts `threads` reading threads (at least one) and
    /// one that writes notes.
    pub fn open(path: &Path, threads: usize) -> Result<Self, StoreError> {
        drop(Database::open_checked(path, Purpose::Record)?);
        let reading =
            (0..threads.max(1)).map(|_| Database::open(path, Purpose::Reading)).collect::<Result<_, _>>()?;
        let questions = Threads::start("store-read", reading, QUEUE, path)?;
        let notes = Threads::start("store-notes", vec![Database::open(path, Purpose::Notes)?], QUEUE, path)?;
        Ok(Self { questions, notes, outbox: None })
    }

    /// Hands notes to this, too, from now on: it takes them to the record, and makes a damaged replica anew.
    #[must_use]
    pub fn with_outbox(self, outbox: impl Fn(Note) + Send + Sync + 'static) -> Self {
        Self { outbox: Some(Arc::new(outbox)), ..self }
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

    /// Keeps a fingerprint beside its key. Not a change, and it may be lost when the machine stops.
    pub async fn save_fingerprint(&self, key: KeyId, fingerprint: Fingerprint) -> Result<(), StoreError> {
        if let Some(outbox) = &self.outbox {
            outbox(Note::Fingerprint(key, fingerprint));
        }
        self.note(move |at| notes::save_fingerprint(at, key, &fingerprint)).await
    }

    /// Keeps when keys were last used and adds to how often. Not a change, and it may be lost when the machine stops.
    ///
    /// In several writes, so that changes need not wait for thousands of notes.
    pub async fn save_uses(&self, uses: Vec<KeyUse>) -> Result<(), StoreError> {
        if let Some(outbox) = &self.outbox {
            // they come back from the record, summed with what the other gateways have seen
            outbox(Note::Uses(uses));
            return Ok(());
        }
        for some in uses.chunks(USES_PER_WRITE) {
            let some = some.to_vec();
            self.note(move |at| some.iter().try_for_each(|used| notes::save_use(at, used))).await?;
        }
        Ok(())
    }

    /// Closes the connections: nobody asks any more. Blocks; gives up at `deadline`.
    pub fn close(&self, deadline: Instant) {
        self.questions.close(deadline);
        self.notes.close(deadline);
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let outbox = self.outbox.clone();
        let read = move |database: &mut Database| {
            let found = database.read(question);
            if let (Some(outbox), Err(error)) = (outbox, &found)
                && error.is_damage()
            {
                outbox(Note::Damage(database.file(), error.to_string()));
            }
            found
        };
        self.questions.ask(read).await
    }

    async fn note(
        &self,
        write: impl FnOnce(&rusqlite::Connection) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.notes.ask(move |database| database.write(write)).await
    }
}
