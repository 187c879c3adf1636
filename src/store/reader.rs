//! Reading for the request path: a few connections, each on a thread of its own, behind a bounded queue.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::database::{Database, Purpose};
use super::error::Fault;
use super::{EnvironmentRead, Fingerprint, KeyRead, KeyUse, PepperId, StoreError, lookup, notes};
use crate::model::{AccessKey, KeyId, KeyOwner};

/// How many questions may wait for a connection; who asks beyond that waits to ask.
const QUEUE: usize = 1024;

/// Uses that are saved in one write: some milliseconds.
const USES_PER_WRITE: usize = 1_000;

/// A question to what one thread holds.
pub(super) type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Reads the store without blocking a worker. Cloning is cheap; the threads end with the last clone.
#[derive(Clone)]
pub struct Reader {
    questions: mpsc::Sender<Job<Database>>,
    notes: mpsc::Sender<Job<Database>>,
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
        let questions = start("store-read", reading, QUEUE, path)?;
        let notes = start("store-notes", vec![Database::open(path, Purpose::Notes)?], QUEUE, path)?;
        Ok(Self { questions, notes, outbox: None })
    }

    /// Hands notes to this, too, from now on: it takes them to the record.
    #[must_use]
    pub fn with_outbox(self, outbox: impl Fn(Note) + Send + Sync + 'static) -> Self {
        Self { outbox: Some(Arc::new(outbox)), ..self }
    }

    /// The key with this access key, and all that a decision needs to know of it, read in one piece.
    pub async fn key(&self, access_key: &AccessKey) -> Result<KeyRead, StoreError> {
        let access_key = access_key.clone();
        ask(&self.questions, move |database| database.read(|at| lookup::key(at, access_key.as_str()))).await
    }

    /// The environment with exactly this id.
    pub async fn environment(&self, id: &str) -> Result<EnvironmentRead, StoreError> {
        let id = id.to_owned();
        ask(&self.questions, move |database| database.read(|at| lookup::environment(at, &id))).await
    }

    /// The access keys of all keys of `owner` that are not removed.
    pub async fn access_keys_of(&self, owner: &KeyOwner) -> Result<Vec<AccessKey>, StoreError> {
        let owner = owner.clone();
        ask(&self.questions, move |database| database.read(|at| lookup::access_keys_of(at, &owner))).await
    }

    /// The peppers under which the store keeps fingerprints.
    pub async fn peppers(&self) -> Result<Vec<PepperId>, StoreError> {
        ask(&self.questions, |database| database.read(lookup::peppers)).await
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

    async fn note(
        &self,
        write: impl FnOnce(&rusqlite::Connection) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), StoreError> {
        ask(&self.notes, move |database| database.write(write)).await
    }
}

/// Sends a question to a thread and waits for its answer.
pub(super) async fn ask<D: 'static, T: Send + 'static>(
    queue: &mpsc::Sender<Job<D>>,
    question: impl FnOnce(&mut D) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (reply, answer) = oneshot::channel();
    let job: Job<D> = Box::new(move |database| {
        // who asked may be gone: a request that was cancelled while it waited
        if !reply.is_closed() {
            let _ = reply.send(question(database));
        }
    });
    queue.send(job).await.map_err(|_| StoreError::Closed)?;
    answer.await.map_err(|_| StoreError::Closed)?
}

/// Starts a thread for each database, all taking jobs from one queue of so many places.
pub(super) fn start<D: Send + 'static>(
    name: &str,
    databases: Vec<D>,
    places: usize,
    path: &Path,
) -> Result<mpsc::Sender<Job<D>>, StoreError> {
    let (queue, jobs) = mpsc::channel::<Job<D>>(places);
    let jobs = Arc::new(Mutex::new(jobs));
    for mut database in databases {
        let jobs = Arc::clone(&jobs);
        let serve = move || {
            // one thread waits for the next job, the others wait for that thread; nobody holds the lock while working
            while let Some(job) = { jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv() } {
                job(&mut database);
            }
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(serve)
            .map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
    }
    Ok(queue)
}
