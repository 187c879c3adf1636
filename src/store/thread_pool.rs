//! A pool of threads for blocking work on the store. Each thread has a connection of its own, and all take their jobs from
//! one bounded queue.

use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::StoreError;

/// Work on what one thread holds.
type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// How often to look whether the threads have ended.
const POLL: Duration = Duration::from_millis(2);

/// Cloning is cheap. The threads end with the last clone, or when they are told to.
pub(super) struct ThreadPool<D> {
    /// `None` ends the thread that takes it.
    queue: mpsc::Sender<Option<Job<D>>>,
    running: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl<D> Clone for ThreadPool<D> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), running: Arc::clone(&self.running) }
    }
}

impl<D: Send + 'static> ThreadPool<D> {
    /// Starts a thread for each database. All take jobs from one queue with room for `places` jobs.
    pub(super) fn start(
        name: &str,
        databases: Vec<D>,
        places: usize,
        path: &Path,
    ) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel::<Option<Job<D>>>(places);
        let jobs = Arc::new(Mutex::new(jobs));
        let start = |mut database: D| {
            let jobs = Arc::clone(&jobs);
            let serve = move || {
                // one thread waits for the next job, the others wait for that thread; nobody holds the lock while
                // working
                while let Some(Some(job)) =
                    { jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv() }
                {
                    job(&mut database);
                }
                // one after the other: of two that close at once, each would leave SQLite's log to the other
                let _closing = jobs.lock().unwrap_or_else(PoisonError::into_inner);
                drop(database);
            };
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(serve)
                .map_err(|source| StoreError::Io { path: path.to_owned(), source })
        };
        let running = databases.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { queue, running: Arc::new(Mutex::new(running)) })
    }

    /// Runs `question` on a thread and waits for its answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut D) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Job<D> = Box::new(move |database| {
            // the caller may be gone: a request that was cancelled while it waited
            if !reply.is_closed() {
                let _ = reply.send(question(database));
            }
        });
        self.queue.send(Some(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Ends the threads after the jobs that are queued now, and closes what they hold. Blocks until then, or until
    /// `deadline`.
    pub(super) fn close(&self, deadline: Instant) {
        let running = mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for _ in &running {
            while let Err(TrySendError::Full(_)) = self.queue.try_send(None) {
                if Instant::now() >= deadline {
                    return;
                }
                thread::sleep(POLL);
            }
        }
        while running.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
    }
}
