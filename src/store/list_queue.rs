//! A queue of list queries: on threads of their own, in turns that are fair between callers, and within limits.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::query_budget::QueryBudget;
use super::thread_pool::ThreadPool;
use super::{Store, StoreError};
use crate::config;
use crate::model::KeyOwner;

/// Lists that are read at the same time, each on a thread. A caller has one of them at most.
const AT_ONCE: usize = 2;

/// Reads lists. Cloning is cheap.
#[derive(Clone)]
pub(super) struct ListQueue {
    threads: ThreadPool<Store>,
    /// First come, first served, with one list of a caller at a time.
    turns: Arc<Semaphore>,
    callers: Arc<Callers>,
    bounds: Arc<ArcSwap<config::Lists>>,
}

/// The callers with lists that wait or are read.
#[derive(Default)]
struct Callers(Mutex<HashMap<KeyOwner, Caller>>);

struct Caller {
    lists: usize,
    turn: Arc<Semaphore>,
}

/// A list that waits or is read.
struct ListSlot {
    callers: Arc<Callers>,
    caller: KeyOwner,
    turn: Arc<Semaphore>,
}

impl ListQueue {
    pub(super) fn open(path: &Path, bounds: config::Lists) -> Result<Self, StoreError> {
        let stores = (0..AT_ONCE).map(|_| Store::open_read_only(path)).collect::<Result<_, _>>()?;
        Ok(Self {
            // a list is sent there when it has its turn, so that there is a free thread for it
            threads: ThreadPool::start("store-lists", stores, AT_ONCE, path)?,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            callers: Arc::default(),
            bounds: Arc::new(ArcSwap::from_pointee(bounds)),
        })
    }

    pub(super) fn set_bounds(&self, bounds: config::Lists) {
        self.bounds.store(Arc::new(bounds));
    }

    /// Waits for the caller's turn, then reads. Dropping the future cancels the query.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        caller: &KeyOwner,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let config::Lists { timeout, steps, per_caller, total } = **self.bounds.load();
        let slot = Callers::enter(&self.callers, caller, per_caller, total)?;
        let turns = async {
            let own = Arc::clone(&slot.turn).acquire_owned().await;
            (own, Arc::clone(&self.turns).acquire_owned().await)
        };
        let (Ok(own), Ok(turn)) =
            tokio::time::timeout(timeout, turns).await.map_err(|_| StoreError::ListsBusy)?
        else {
            return Err(StoreError::Closed);
        };
        let budget = QueryBudget::new(Instant::now() + timeout, steps);
        let _asking = budget.cancel_on_drop();
        let read = move |store: &mut Store| {
            store.database.set_budget(budget);
            let found = question(store);
            // kept until here: a cancelled query uses the thread until SQLite has noticed
            drop((turn, own, slot));
            found
        };
        self.threads.ask(read).await
    }

    /// See [`super::AsyncStore::close`].
    pub(super) fn close(&self, deadline: Instant) {
        self.threads.close(deadline);
    }
}

impl Callers {
    fn enter(
        this: &Arc<Self>,
        caller: &KeyOwner,
        per_caller: usize,
        total: usize,
    ) -> Result<ListSlot, StoreError> {
        let mut callers = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = callers.get(caller).map_or(0, |own| own.lists);
        if own >= per_caller {
            return Err(StoreError::TooManyLists { most: per_caller });
        }
        if callers.values().map(|caller| caller.lists).sum::<usize>() >= total {
            return Err(StoreError::ListsBusy);
        }
        let new = || Caller { lists: 0, turn: Arc::new(Semaphore::new(1)) };
        let entry = callers.entry(caller.clone()).or_insert_with(new);
        entry.lists += 1;
        Ok(ListSlot { callers: Arc::clone(this), caller: caller.clone(), turn: Arc::clone(&entry.turn) })
    }
}

impl Drop for ListSlot {
    fn drop(&mut self) {
        let mut callers = self.callers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caller) = callers.get_mut(&self.caller) {
            caller.lists -= 1;
            if caller.lists == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::AccountId;

    const BOUNDS: config::Lists =
        config::Lists { timeout: Duration::from_mins(1), steps: u64::MAX, per_caller: 4, total: 6 };

    fn opened(bounds: config::Lists) -> (tempfile::TempDir, ListQueue) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portcullis.db");
        drop(Store::create(&path).unwrap());
        (directory, ListQueue::open(&path, bounds).unwrap())
    }

    fn account(number: i64) -> KeyOwner {
        KeyOwner::Account(AccountId::from_row(number))
    }

    /// Counts for ever.
    fn endless(store: &Store) -> Result<i64, StoreError> {
        let counting =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        store.database.read(|at| Ok(at.query_row(counting, [], |row| row.get(0))?))
    }

    #[tokio::test]
    async fn case_102_a_list_ends_with_its_steps_with_its_time_and_with_whoever_asked() {
        let steps = config::Lists { steps: 100_000, ..BOUNDS };
        let (_directory, lists) = opened(steps);
        assert!(matches!(lists.ask(&account(1), endless).await, Err(StoreError::TooCostly)));
        lists.set_bounds(config::Lists { timeout: Duration::from_millis(100), ..BOUNDS });
        assert!(matches!(lists.ask(&account(1), endless).await, Err(StoreError::TooCostly)));
        lists.set_bounds(BOUNDS);
        // more of them than there are threads, one after the other
        for _ in 0..=AT_ONCE {
            let gone = tokio::time::timeout(Duration::from_millis(50), lists.ask(&account(1), endless)).await;
            assert!(gone.is_err(), "nobody waits for it any more");
        }
        lists.ask(&account(1), Store::head).await.unwrap();
        // the thread gives the slot back last of all
        let deadline = Instant::now() + Duration::from_secs(20);
        while !lists.callers.0.lock().unwrap().is_empty() {
            assert!(Instant::now() < deadline, "a slot is never given back");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn case_102_one_caller_has_one_turn_and_so_many_places() {
        let (_directory, lists) = opened(BOUNDS);
        let begin = |number| {
            let lists = lists.clone();
            tokio::spawn(async move { lists.ask(&account(number), endless).await })
        };
        let mut running: Vec<_> = (0..BOUNDS.per_caller).map(|_| begin(1)).collect();
        while lists.callers.0.lock().unwrap().get(&account(1)).is_none_or(|own| own.lists < BOUNDS.per_caller)
        {
            tokio::task::yield_now().await;
        }
        let more = lists.ask(&account(1), Store::head).await;
        assert!(matches!(more, Err(StoreError::TooManyLists { most: 4 })), "{more:?}");
        // the others have a thread left
        lists.ask(&account(2), Store::head).await.unwrap();
        running.extend([begin(2), begin(3)]);
        while lists.callers.0.lock().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
        let more = lists.ask(&account(4), Store::head).await;
        assert!(matches!(more, Err(StoreError::ListsBusy)), "{more:?}");
        lists.set_bounds(config::Lists { total: 100, timeout: Duration::from_millis(50), ..BOUNDS });
        let late = lists.ask(&account(4), Store::head).await;
        assert!(matches!(late, Err(StoreError::ListsBusy)), "{late:?}");
        for task in &running {
            task.abort();
        }
        lists.set_bounds(BOUNDS);
        for task in running {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        lists.ask(&account(4), Store::head).await.unwrap();
    }
}
