//! The record as the management plane uses it: changes and lists, on threads of their own, so that neither the request
//! path's questions nor the runtime ever wait for them.

use std::time::{Duration, Instant};

use super::lists::Lists;
use super::threads::Threads;
use super::{Author, Gateways, Store, StoreError};
use crate::config;
use crate::model::KeyOwner;

/// How many questions may wait; who asks beyond that waits to ask.
const QUEUE: usize = 256;

/// Threads that read single objects.
const READERS: usize = 2;

/// How long a change waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads and changes the record without blocking. Cloning is cheap; the threads end with the last clone.
#[derive(Clone)]
pub struct Registry {
    reading: Threads<Store>,
    /// Lists, apart: a search through a million keys keeps no change, no receipt and no single object waiting.
    lists: Lists,
    writing: Threads<Store>,
    /// Which gateways there are: apart, so that who waits for a receipt is not held up by a change, nor the reverse.
    watching: Threads<Store>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

impl Registry {
    /// Opens a store that was checked before, and starts the threads.
    pub fn open(store: &config::Store, lists: config::Lists) -> Result<Self, StoreError> {
        let path = store.path();
        let writer = Store::of_running(store)?;
        let readers = (0..READERS).map(|_| Store::open_to_read(path)).collect::<Result<_, _>>()?;
        Ok(Self {
            reading: Threads::start("registry-read", readers, QUEUE, path)?,
            lists: Lists::open(path, lists)?,
            writing: Threads::start("registry-write", vec![writer], QUEUE, path)?,
            watching: Threads::start("registry-watch", vec![Store::of_running(store)?], QUEUE, path)?,
        })
    }

    /// Asks something of one object, or a few, that changes nothing.
    pub async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reading.ask(|store| question(store)).await
    }

    /// Reads a list for a caller, in its turn and within its bounds.
    pub async fn list<T: Send + 'static>(
        &self,
        caller: &KeyOwner,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.lists.ask(caller, question).await
    }

    /// Gives lists other bounds from now on.
    pub fn set_list_bounds(&self, bounds: config::Lists) {
        self.lists.set_bounds(bounds);
    }

    /// Which gateways there are, and what each has applied.
    pub async fn gateways(&self) -> Result<Gateways, StoreError> {
        self.watching.ask(Store::gateways).await
    }

    /// Makes changes for `author`. Once it was taken from the queue it is done whole, whether or not the caller still
    /// waits.
    pub async fn write<T: Send + 'static>(
        &self,
        author: Author,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let asked = Instant::now();
        let write = move |store: &mut Store| {
            // behind a write that has waited for the store in vain, all others would wait as long again
            if asked.elapsed() > PATIENCE {
                return Err(store.locked());
            }
            store.check_in_place()?;
            store.set_author(author);
            work(store)
        };
        self.writing.ask(write).await
    }

    /// Closes the connections: nobody asks any more. Blocks; gives up at `deadline`.
    pub fn close(&self, deadline: Instant) {
        for threads in [&self.reading, &self.writing, &self.watching] {
            threads.close(deadline);
        }
        self.lists.close(deadline);
    }
}
