//! What is kept in memory of the store, and never longer than it is true.
//!
//! Reading the store and keeping what was read races with changes: a read from before a change may arrive in the
//! cache after the change has dropped what was there. So the two sides go opposite ways. Who applies a change first
//! publishes its number and then drops; who fills first puts the entry in, not yet live, and then looks at the
//! number. Whichever comes second sees the other. Only live entries are ever used.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::store::ChangeNumber;

/// Whether what was read of the store is still to be used.
#[derive(Default)]
pub(super) struct Life(AtomicU8);

impl Life {
    const NEW: u8 = 0;
    const LIVE: u8 = 1;
    const ENDED: u8 = 2;

    pub(super) fn is_live(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::LIVE
    }

    pub(super) fn begin(&self) -> bool {
        self.0.compare_exchange(Self::NEW, Self::LIVE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn end(&self) {
        self.0.store(Self::ENDED, Ordering::Release);
    }
}

/// What a [`ChangeCache`] keeps.
pub(super) trait Entry: Send + Sync + 'static {
    fn life(&self) -> &Life;

    /// Its size in memory, in bytes, about.
    fn bytes(&self) -> usize;
}

/// How far this gateway has followed the store's changes.
#[derive(Default)]
pub(super) struct Progress {
    /// Entries read before this change may be about to be dropped.
    applied: AtomicU64,
    /// All that this change and those before it end has been dropped.
    settled: AtomicU64,
    /// How often everything was dropped.
    resets: AtomicU64,
}

/// Taken before the store is read, shown when what was read is kept.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    resets: u64,
}

impl Progress {
    pub(super) fn stamp(&self) -> Stamp {
        Stamp { resets: self.resets.load(Ordering::SeqCst) }
    }

    pub(super) fn publish(&self, number: ChangeNumber) {
        self.applied.fetch_max(number.0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn settle(&self, number: ChangeNumber) {
        self.settled.fetch_max(number.0, Ordering::SeqCst);
    }

    pub(super) fn settled(&self) -> ChangeNumber {
        ChangeNumber(self.settled.load(Ordering::SeqCst))
    }

    /// Numbers count anew from here: the store was put back to an earlier state. To be followed by a reset, which
    /// keeps out what was read before.
    pub(super) fn begin_again(&self, number: ChangeNumber) {
        self.applied.store(number.0, Ordering::SeqCst);
        self.settled.store(number.0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether nothing has happened that what was read at `as_of` may not know.
    fn permits(&self, as_of: ChangeNumber, stamp: Stamp) -> bool {
        fence(Ordering::SeqCst);
        self.applied.load(Ordering::SeqCst) <= as_of.0 && self.resets.load(Ordering::SeqCst) == stamp.resets
    }
}

/// A bounded cache of what was read of the store. What leaves it, for whatever reason, ends.
pub(super) struct ChangeCache<K, V> {
    entries: Cache<K, Arc<V>>,
}

/// What the cache itself needs for an entry, in bytes, about.
const OVERHEAD: usize = 256;

impl<K, V> ChangeCache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Entry,
{
    /// At most so much memory.
    pub(super) fn of_bytes(capacity: u64) -> Self {
        let weigh = |_: &K, entry: &Arc<V>| u32::try_from(entry.bytes() + OVERHEAD).unwrap_or(u32::MAX);
        Self::build(Cache::builder().max_capacity(capacity).weigher(weigh))
    }

    /// At most so many entries; for entries of bounded size.
    pub(super) fn of_entries(capacity: u64) -> Self {
        Self::build(Cache::builder().max_capacity(capacity))
    }

    fn build(builder: moka::sync::CacheBuilder<K, Arc<V>, Cache<K, Arc<V>>>) -> Self {
        let entries = builder
            // moka's own policy may turn a new entry away at once; what serves a request must stay a while, for an
            // open stream that finds its entry ended reads the store again
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(|_, entry: Arc<V>, _| entry.life().end())
            .build();
        Self { entries }
    }

    /// The live entry of `key`.
    pub(super) fn get<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.get(key).filter(|entry| entry.life().is_live())
    }

    /// Keeps what was read and makes it live; `None` where a change has come between, and it must be read again.
    /// Where a live entry has come first, that one stays and is returned.
    pub(super) fn fill(
        &self,
        key: &K,
        entry: V,
        as_of: ChangeNumber,
        progress: &Progress,
        stamp: Stamp,
    ) -> Option<Arc<V>> {
        let entry = Arc::new(entry);
        let kept = self.entries.entry_by_ref(key).or_insert(Arc::clone(&entry)).into_value();
        if !Arc::ptr_eq(&kept, &entry) {
            if kept.life().is_live() {
                return Some(kept);
            }
            self.entries.insert(key.clone(), Arc::clone(&entry));
        }
        if progress.permits(as_of, stamp) && entry.life().begin() {
            return Some(entry);
        }
        self.end(key);
        None
    }

    /// Drops the entry of `key`.
    pub(super) fn end<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(entry) = self.entries.remove(key) {
            entry.life().end();
        }
    }

    /// Drops everything that was there when this was called.
    pub(super) fn end_all(&self) {
        // one by one: `invalidate_all` would hide the entries at once, and end them some time later
        for (key, entry) in &self.entries {
            entry.life().end();
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
        life: Life,
        as_of: u64,
        bytes: usize,
    }

    impl Fact {
        fn read(as_of: u64) -> Self {
            Self { life: Life::default(), as_of, bytes: 0 }
        }
    }

    impl Entry for Fact {
        fn life(&self) -> &Life {
            &self.life
        }

        fn bytes(&self) -> usize {
            self.bytes
        }
    }

    fn fill(cache: &ChangeCache<u32, Fact>, key: u32, as_of: u64, progress: &Progress) -> Option<Arc<Fact>> {
        cache.fill(&key, Fact::read(as_of), ChangeNumber(as_of), progress, progress.stamp())
    }

    #[test]
    fn what_was_read_before_an_applied_change_is_not_kept() {
        let (cache, progress) = (ChangeCache::of_entries(10), Progress::default());
        progress.publish(ChangeNumber(5));
        assert!(fill(&cache, 1, 4, &progress).is_none());
        assert!(cache.get(&1).is_none());
        assert!(fill(&cache, 1, 5, &progress).is_some());
        assert!(cache.get(&1).is_some());
        progress.publish(ChangeNumber(6));
        assert!(cache.get(&1).is_some(), "a change about something else drops nothing");
    }

    #[test]
    fn what_was_read_before_everything_was_dropped_is_not_kept() {
        let (cache, progress) = (ChangeCache::of_entries(10), Progress::default());
        let stamp = progress.stamp();
        progress.reset();
        assert!(cache.fill(&1, Fact::read(9), ChangeNumber(9), &progress, stamp).is_none());
        assert!(cache.get(&1).is_none());
    }

    #[test]
    fn only_a_live_entry_is_found() {
        let (cache, progress) = (ChangeCache::<u32, Fact>::of_entries(10), Progress::default());
        // as between the moment it is put in and the moment its reader has looked at the progress
        cache.entries.insert(1, Arc::new(Fact::read(0)));
        assert!(cache.get(&1).is_none());
        let ended = fill(&cache, 2, 0, &progress).unwrap();
        ended.life.end();
        assert!(cache.get(&2).is_none());
    }

    #[test]
    fn whatever_leaves_ends() {
        let (cache, progress) = (ChangeCache::<u32, Fact>::of_entries(10), Progress::default());
        let dropped = fill(&cache, 1, 0, &progress).unwrap();
        cache.end(&1);
        assert!(!dropped.life.is_live());

        let all: Vec<_> = (0..10).map(|key| fill(&cache, key, 0, &progress).unwrap()).collect();
        cache.end_all();
        assert!(all.iter().all(|fact| !fact.life.is_live()));
        assert_eq!(cache.len(), 0);

        let many: Vec<_> = (0..1_000).map(|key| fill(&cache, key, 0, &progress).unwrap()).collect();
        assert!(cache.len() <= 10);
        let live = many.iter().filter(|fact| fact.life.is_live()).count();
        assert!(live <= 10, "{live} evicted entries still count as live");
    }

    #[test]
    fn a_live_entry_stays_and_serves_who_comes_second() {
        let (cache, progress) = (ChangeCache::of_entries(10), Progress::default());
        let first = fill(&cache, 1, 3, &progress).unwrap();
        let second = fill(&cache, 1, 4, &progress).unwrap();
        assert!(Arc::ptr_eq(&first, &second) && first.life.is_live());
    }

    #[test]
    fn a_cache_of_bytes_holds_no_more() {
        let (cache, progress) = (ChangeCache::of_bytes(100_000), Progress::default());
        for key in 0..1_000_u32 {
            let fact = Fact { life: Life::default(), as_of: 0, bytes: 1_000 };
            cache.fill(&key, fact, ChangeNumber(0), &progress, progress.stamp());
        }
        assert!((1..=80).contains(&cache.len()), "{}", cache.len());
    }

    /// Readers fill and use, a writer changes, publishes and drops: once a change is settled, nobody may get from the
    /// cache what was read before it.
    #[test]
    fn nothing_outlives_its_change_however_threads_interleave() {
        const CHANGES: u64 = 20_000;
        let (cache, progress) = (ChangeCache::<u32, Fact>::of_entries(10), Progress::default());
        let (store, settled) = (AtomicU64::new(0), AtomicU64::new(0));
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    loop {
                        let must_know = settled.load(Ordering::SeqCst);
                        let fact = cache.get(&1).or_else(|| {
                            let read = store.load(Ordering::SeqCst);
                            fill(&cache, 1, read, &progress)
                        });
                        if let Some(fact) = fact {
                            assert!(fact.as_of >= must_know, "{} after {must_know}", fact.as_of);
                        }
                        if must_know == CHANGES {
                            return;
                        }
                    }
                });
            }
            barrier.wait();
            for number in 1..=CHANGES {
                store.store(number, Ordering::SeqCst);
                progress.publish(ChangeNumber(number));
                cache.end(&1);
                settled.store(number, Ordering::SeqCst);
            }
        });
    }
}
