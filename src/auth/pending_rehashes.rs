//! Secrets of imported keys that were right: what replaces the hashes of other systems, until the record has it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::Rehash;

/// What waits to be written into the record, by the hash that it replaces.
#[derive(Default)]
pub(super) struct PendingRehashes(Mutex<HashMap<String, Rehash>>);

impl PendingRehashes {
    /// While the record is away, more are dropped: the next verification of such a secret, after a restart at the latest,
    /// makes them again.
    const MOST: usize = 16_384;

    /// Whether a hash that replaces this one is wanted: there is room, and none yet.
    pub(super) fn wants(&self, old_phc: &str) -> bool {
        let pending = self.locked();
        pending.len() < Self::MOST && !pending.contains_key(old_phc)
    }

    pub(super) fn add(&self, rehash: Rehash) {
        self.locked().entry(rehash.old_phc.clone()).or_insert(rehash);
    }

    /// At most `most` of them. They stay until [`PendingRehashes::remove`].
    pub(super) fn some(&self, most: usize) -> Vec<Rehash> {
        self.locked().values().take(most).cloned().collect()
    }

    /// The record has these, or never takes them.
    pub(super) fn remove(&self, done: &[Rehash]) {
        let mut pending = self.locked();
        for rehash in done {
            pending.remove(&rehash.old_phc);
        }
        if pending.is_empty() {
            // after the first days nobody imports any more
            pending.shrink_to_fit();
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Rehash>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
