//! Environments in memory, by id: every request whose path names one asks for it.

use super::cache::{CacheEntry, ChangeProgress, EntryState, Epoch, StoreCache};
use crate::model::EnvironmentId;
use crate::policy::EnvironmentStatus;
use crate::store::ChangeNumber;

/// Environments as the store had them. Ids that do not exist have a cache of their own, so that asking for many of them
/// evicts no environment.
pub(super) struct EnvironmentCache {
    known: StoreCache<EnvironmentId, CachedEnvironment>,
    unknown: StoreCache<EnvironmentId, CachedEnvironment>,
}

struct CachedEnvironment {
    status: EnvironmentStatus,
    state: EntryState,
}

impl CacheEntry for CachedEnvironment {
    fn state(&self) -> &EntryState {
        &self.state
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl EnvironmentCache {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            known: StoreCache::with_max_entries(capacity),
            unknown: StoreCache::with_max_entries(capacity),
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<EnvironmentStatus> {
        self.known.get(id).or_else(|| self.unknown.get(id)).map(|cached| cached.status)
    }

    /// See [`StoreCache::fill`].
    pub(super) fn fill(
        &self,
        id: &EnvironmentId,
        status: EnvironmentStatus,
        as_of: ChangeNumber,
        progress: &ChangeProgress,
        epoch: Epoch,
    ) -> Option<EnvironmentStatus> {
        let cache = if status.known { &self.known } else { &self.unknown };
        let cached = CachedEnvironment { status, state: EntryState::default() };
        cache.fill(id, cached, as_of, progress, epoch).map(|kept| kept.status)
    }

    pub(super) fn invalidate(&self, id: &EnvironmentId) {
        self.known.invalidate(id);
        self.unknown.invalidate(id);
    }

    pub(super) fn invalidate_all(&self) {
        self.known.invalidate_all();
        self.unknown.invalidate_all();
    }
}
