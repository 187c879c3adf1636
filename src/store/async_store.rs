//! The store for asynchronous callers, such as the management plane. It runs on threads of its own, so that neither the
//! request path's queries nor a runtime ever wait for it.

use std::time::{Duration, Instant};

use super::list_queue::ListQueue;
use super::thread_pool::ThreadPool;
use super::{Author, Gateways, RecordClock, Store, StoreError};
use crate::config;
use crate::model::KeyOwner;

/// How many calls may wait. Further callers wait to be queued.
const QUEUE: usize = 256;

/// Threads that read single objects.
const READERS: usize = 2;

/// How long a change waits for its turn.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads and changes the record without blocking. Cloning is cheap; the threads end with the last clone.
#[derive(Clone)]
pub struct AsyncStore {
    reading: ThreadPool<Store>,
    /// Lists have threads of their own: a search through a million keys delays no change, no receipt and no single object.
    lists: ListQueue,
    writing: ThreadPool<Store>,
    /// For the list of gateways: apart, so that receipts do not wait for changes, nor changes for receipts.
    gateway_lists: ThreadPool<Store>,
}

impl std::fmt::Debug for AsyncStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AsyncStore")
    }
}

impl AsyncStore {
    /// Opens a store that was checked before, and starts the threads. `clock` tells the record's time.
    pub fn open(
        store: &config::Store,
        lists: config::Lists,
        clock: &RecordClock,
    ) -> Result<Self, StoreError> {
        let path = store.path();
        let writer = Store::open_unchecked(store)?.with_clock(clock.clone());
        let readers = (0..READERS).map(|_| Store::open_read_only(path)).collect::<Result<_, _>>()?;
        Ok(Self {
            reading: ThreadPool::start("store-objects", readers, QUEUE, path)?,
            lists: ListQueue::open(path, lists)?,
            writing: ThreadPool::start("store-changes", vec![writer], QUEUE, path)?,
            gateway_lists: ThreadPool::start(
                "store-gateways",
                vec![Store::open_unchecked(store)?],
                QUEUE,
                path,
            )?,
        })
    }

    /// Reads one object, or a few.
    pub async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reading.ask(|store| question(store)).await
    }

    /// Reads a list for a caller, in its turn and within the limits for lists.
    pub async fn list<T: Send + 'static>(
        &self,
        caller: &KeyOwner,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.lists.ask(caller, question).await
    }

    /// Changes the limits for lists.
    pub fn set_list_bounds(&self, bounds: config::Lists) {
        self.lists.set_bounds(bounds);
    }

    /// Which gateways there are, and what each has applied.
    pub async fn gateways(&self) -> Result<Gateways, StoreError> {
        self.gateway_lists.ask(Store::gateways).await
    }

    /// Makes changes for `author`. Once it has started, `work` is done whole, even if the caller no longer waits.
    pub async fn write<T: Send + 'static>(
        &self,
        author: Author,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let asked = Instant::now();
        let write = move |store: &mut Store| {
            // after a write that has waited for the store in vain, all others would wait as long again
            if asked.elapsed() > WRITE_TIMEOUT {
                return Err(store.locked());
            }
            store.refuse_if_replaced()?;
            store.set_author(author);
            work(store)
        };
        self.writing.ask(write).await
    }

    /// Closes the connections. Blocks until then, or until `deadline`.
    pub fn close(&self, deadline: Instant) {
        for threads in [&self.reading, &self.writing, &self.gateway_lists] {
            threads.close(deadline);
        }
        self.lists.close(deadline);
    }
}
