//! Caches of what was read from the store, which never outlive a change.
//!
//! Reading the store and caching what was read races with changes: what was read before a change may reach the cache
//! after the change has dropped the entry. So both sides work in opposite order. A change first publishes its number, and
//! then drops entries. A reader first inserts its entry, not yet live, and then looks at the number. Whichever comes
//! second sees the other. Only live entries are ever used. What ends by itself is dropped in the same way, by its time in
//! place of a change's number.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering, fence};

use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::store::ChangeNumber;

/// Whether a cached entry may be used: new, live, then invalidated for good.
#[derive(Default)]
pub(super) struct EntryState(AtomicU8);

impl EntryState {
    const NEW: u8 = 0;
    const LIVE: u8 = 1;
    const INVALIDATED: u8 = 2;

    pub(super) fn is_live(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::LIVE
    }

    pub(super) fn activate(&self) -> bool {
        self.0.compare_exchange(Self::NEW, Self::LIVE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn invalidate(&self) {
        self.0.store(Self::INVALIDATED, Ordering::Release);
    }
}

/// What a [`StoreCache`] holds.
pub(super) trait CacheEntry: Send + Sync + 'static {
    fn state(&self) -> &EntryState;

    /// About how many bytes of memory it takes.
    fn bytes(&self) -> usize;

    /// When it stops being true by itself.
    fn ends(&self) -> Option<Timestamp> {
        None
    }
}

/// Which of the store's changes this gateway has applied to its caches.
#[derive(Default)]
pub(super) struct ChangeProgress {
    /// Entries that were read before this change are dropped, or about to be.
    applying: AtomicU64,
    /// All entries that this change and those before it concern have been dropped.
    applied: AtomicU64,
    /// How often everything was dropped.
    epoch: AtomicU64,
    /// Entries that end until then are dropped, or about to be. Milliseconds since 1970, by the record's clock.
    ended_until: AtomicI64,
}

/// Taken before the store is read, compared when what was read is cached: in between, everything may have been dropped.
#[derive(Clone, Copy)]
pub(super) struct Epoch(u64);

impl ChangeProgress {
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::SeqCst))
    }

    pub(super) fn start_applying(&self, number: ChangeNumber) {
        self.applying.fetch_max(number.0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn finish_applying(&self, number: ChangeNumber) {
        self.applied.fetch_max(number.0, Ordering::SeqCst);
    }

    pub(super) fn applied_up_to(&self) -> ChangeNumber {
        ChangeNumber(self.applied.load(Ordering::SeqCst))
    }

    /// Changes are numbered anew from here, because the store was put back to an earlier state. Follow it with
    /// [`Self::start_new_epoch`], which keeps out what was read before.
    pub(super) fn restart_at(&self, number: ChangeNumber) {
        self.applied.store(number.0, Ordering::SeqCst);
        self.applying.store(number.0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn start_new_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// What ends until then has ended. Drop the entries after this call.
    pub(super) fn set_ended_until(&self, until: Timestamp) {
        self.ended_until.store(until.as_millisecond(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn ended_until(&self) -> Timestamp {
        Timestamp::from_millisecond(self.ended_until.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }

    /// Whether what was read as of `as_of` may be cached: no change after it has been applied, and it has not ended.
    fn allows(&self, as_of: ChangeNumber, epoch: Epoch, ends: Option<Timestamp>) -> bool {
        fence(Ordering::SeqCst);
        self.applying.load(Ordering::SeqCst) <= as_of.0
            && self.epoch.load(Ordering::SeqCst) == epoch.0
            && ends.is_none_or(|ends| ends > self.ended_until())
    }
}

/// A bounded cache of what was read from the store. An entry that leaves it, for whatever reason, is invalidated.
pub(super) struct StoreCache<K, V> {
    entries: Cache<K, Arc<V>>,
}

/// About how many bytes the cache itself needs for an entry.
const OVERHEAD: usize = 256;

impl<K, V> StoreCache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: CacheEntry,
{
    /// With a limit on its memory.
    pub(super) fn with_max_bytes(capacity: u64) -> Self {
        let weigh = |_: &K, entry: &Arc<V>| u32::try_from(entry.bytes() + OVERHEAD).unwrap_or(u32::MAX);
        Self::build(Cache::builder().max_capacity(capacity).weigher(weigh))
    }

    /// With a limit on the number of its entries, for entries of bounded size.
    pub(super) fn with_max_entries(capacity: u64) -> Self {
        Self::build(Cache::builder().max_capacity(capacity))
    }

    fn build(builder: moka::sync::CacheBuilder<K, Arc<V>, Cache<K, Arc<V>>>) -> Self {
        let entries = builder
            // moka's default policy may evict a new entry at once; but an open stream whose entry is gone reads the
            // store again
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(|_, entry: Arc<V>, _| entry.state().invalidate())
            .build();
        Self { entries }
    }

    /// The live entry of `key`.
    pub(super) fn get<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.get(key).filter(|entry| entry.state().is_live())
    }

    /// Inserts what was read and makes it live. `None` if a change came between: read it again. If there is a live entry
    /// already, that one stays and is returned.
    pub(super) fn fill(
        &self,
        key: &K,
        entry: V,
        as_of: ChangeNumber,
        progress: &ChangeProgress,
        epoch: Epoch,
    ) -> Option<Arc<V>> {
        let entry = Arc::new(entry);
        let kept = self.entries.entry_by_ref(key).or_insert(Arc::clone(&entry)).into_value();
        if !Arc::ptr_eq(&kept, &entry) {
            if kept.state().is_live() {
                return Some(kept);
            }
            self.entries.insert(key.clone(), Arc::clone(&entry));
        }
        if progress.allows(as_of, epoch, entry.ends()) && entry.state().activate() {
            return Some(entry);
        }
        self.invalidate(key);
        None
    }

    /// The live entries.
    pub(super) fn live(&self) -> impl Iterator<Item = Arc<V>> {
        self.entries.iter().map(|(_, entry)| entry).filter(|entry| entry.state().is_live())
    }

    /// Drops the entry of `key`.
    pub(super) fn invalidate<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(entry) = self.entries.remove(key) {
            entry.state().invalidate();
        }
    }

    /// Drops everything that was there when this was called.
    pub(super) fn invalidate_all(&self) {
        // one by one: moka's `invalidate_all` hides the entries at once, and calls the listener some time later
        for (key, entry) in &self.entries {
            entry.state().invalidate();
            self.entries.invalidate(&*key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// What the store said of one thing when change `as_of` was the newest.
    struct Fact {
        state: EntryState,
        as_of: u64,
        bytes: usize,
        ends: Option<Timestamp>,
    }

    impl Fact {
        fn read(as_of: u64) -> Self {
            Self { state: EntryState::default(), as_of, bytes: 0, ends: None }
        }
    }

    impl CacheEntry for Fact {
        fn state(&self) -> &EntryState {
            &self.state
        }

        fn bytes(&self) -> usize {
            self.bytes
        }

        fn ends(&self) -> Option<Timestamp> {
            self.ends
        }
    }

    fn fill(
        cache: &StoreCache<u32, Fact>,
        key: u32,
        as_of: u64,
        progress: &ChangeProgress,
    ) -> Option<Arc<Fact>> {
        cache.fill(&key, Fact::read(as_of), ChangeNumber(as_of), progress, progress.epoch())
    }

    #[test]
    fn what_was_read_before_an_applied_change_is_not_cached() {
        let (cache, progress) = (StoreCache::with_max_entries(10), ChangeProgress::default());
        progress.start_applying(ChangeNumber(5));
        assert!(fill(&cache, 1, 4, &progress).is_none());
        assert!(cache.get(&1).is_none());
        assert!(fill(&cache, 1, 5, &progress).is_some());
        assert!(cache.get(&1).is_some());
        progress.start_applying(ChangeNumber(6));
        assert!(cache.get(&1).is_some(), "a change about something else drops nothing");
    }

    #[test]
    fn what_was_read_before_everything_was_dropped_is_not_cached() {
        let (cache, progress) = (StoreCache::with_max_entries(10), ChangeProgress::default());
        let epoch = progress.epoch();
        progress.start_new_epoch();
        assert!(cache.fill(&1, Fact::read(9), ChangeNumber(9), &progress, epoch).is_none());
        assert!(cache.get(&1).is_none());
    }

    #[test]
    fn only_a_live_entry_is_found() {
        let (cache, progress) = (StoreCache::<u32, Fact>::with_max_entries(10), ChangeProgress::default());
        // as between the moment it is put in and the moment its reader has looked at the progress
        cache.entries.insert(1, Arc::new(Fact::read(0)));
        assert!(cache.get(&1).is_none());
        let ended = fill(&cache, 2, 0, &progress).unwrap();
        ended.state.invalidate();
        assert!(cache.get(&2).is_none());
    }

    #[test]
    fn an_entry_that_leaves_the_cache_is_invalidated() {
        let (cache, progress) = (StoreCache::<u32, Fact>::with_max_entries(10), ChangeProgress::default());
        let dropped = fill(&cache, 1, 0, &progress).unwrap();
        cache.invalidate(&1);
        assert!(!dropped.state.is_live());

        let all: Vec<_> = (0..10).map(|key| fill(&cache, key, 0, &progress).unwrap()).collect();
        cache.invalidate_all();
        assert!(all.iter().all(|fact| !fact.state.is_live()));
        assert_eq!(cache.len(), 0);

        let many: Vec<_> = (0..1_000).map(|key| fill(&cache, key, 0, &progress).unwrap()).collect();
        assert!(cache.len() <= 10);
        let live = many.iter().filter(|fact| fact.state.is_live()).count();
        assert!(live <= 10, "{live} evicted entries still count as live");
    }

    #[test]
    fn a_live_entry_stays_and_is_returned_to_a_second_reader() {
        let (cache, progress) = (StoreCache::with_max_entries(10), ChangeProgress::default());
        let first = fill(&cache, 1, 3, &progress).unwrap();
        let second = fill(&cache, 1, 4, &progress).unwrap();
        assert!(Arc::ptr_eq(&first, &second) && first.state.is_live());
    }

    #[test]
    fn a_cache_of_bytes_holds_no_more() {
        let (cache, progress) = (StoreCache::with_max_bytes(100_000), ChangeProgress::default());
        for key in 0..1_000_u32 {
            let fact = Fact { bytes: 1_000, ..Fact::read(0) };
            cache.fill(&key, fact, ChangeNumber(0), &progress, progress.epoch());
        }
        assert!((1..=80).contains(&cache.len()), "{}", cache.len());
    }

    /// One thread applies `steps` steps while two others use the cache. A user is told how many were applied before it
    /// looked.
    fn race(steps: u64, apply: impl Fn(u64), use_cache: impl Fn(u64) + Sync) {
        let applied = AtomicU64::new(0);
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    loop {
                        let before = applied.load(Ordering::SeqCst);
                        use_cache(before);
                        if before == steps {
                            return;
                        }
                    }
                });
            }
            barrier.wait();
            for step in 1..=steps {
                apply(step);
                applied.store(step, Ordering::SeqCst);
            }
        });
    }

    /// Readers fill and use, a writer changes, publishes and drops: once a change is applied, nobody may get from the
    /// cache what was read before it.
    #[test]
    fn no_entry_outlives_a_change_however_threads_interleave() {
        let (cache, progress) = (StoreCache::<u32, Fact>::with_max_entries(10), ChangeProgress::default());
        let store = AtomicU64::new(0);
        let change = |number| {
            store.store(number, Ordering::SeqCst);
            progress.start_applying(ChangeNumber(number));
            cache.invalidate(&1);
        };
        race(20_000, change, |must_know| {
            let read = || fill(&cache, 1, store.load(Ordering::SeqCst), &progress);
            if let Some(fact) = cache.get(&1).or_else(read) {
                assert!(fact.as_of >= must_know, "{} after {must_know}", fact.as_of);
            }
        });
    }

    /// The same for what ends by itself: readers fill with what holds until some millisecond, and once that has been
    /// applied as past, nobody may get it from the cache.
    #[test]
    fn case_131_no_entry_outlives_its_end_however_threads_interleave() {
        let (cache, progress) = (StoreCache::<u32, Fact>::with_max_entries(10), ChangeProgress::default());
        let at = |millisecond| Timestamp::from_millisecond(i64::try_from(millisecond).unwrap()).unwrap();
        let pass = |millisecond| {
            progress.set_ended_until(at(millisecond));
            cache.invalidate(&1);
        };
        race(20_000, pass, |past| {
            // it still held when it was read
            let fact = || Fact { ends: Some(at(past + 1)), ..Fact::read(0) };
            let read = || cache.fill(&1, fact(), ChangeNumber(0), &progress, progress.epoch());
            if let Some(ends) = cache.get(&1).or_else(read).and_then(|fact| fact.ends) {
                assert!(ends > at(past), "{ends} is used when {past} ms are over");
            }
        });
    }
}
