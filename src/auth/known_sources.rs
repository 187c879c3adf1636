//! Which sources have used which access key with its right secret within a day.
//!
//! The secret of a known source is compared at once, so that others who guess at the same key do not slow it down. The
//! table has a fixed size and no lock, like the throttle's: when a bucket is full, the oldest entry is replaced. A source
//! that was replaced waits for its turn once, and is known again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::guess_budget::AccessKeyHash;
use crate::model::ClientSource;
use crate::store::BootInstant;

pub(super) struct KnownSources {
    /// A tag, never 0, and the second of a use.
    entries: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// Where a source with an access key is in the table.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    bucket: usize,
    tag: u32,
    /// Of the access key alone.
    pub(super) key: AccessKeyHash,
}

const BUCKET: usize = 4;

/// How long a source stays known without using the key.
const KNOWN_SECONDS: u64 = 24 * 60 * 60;

/// A use so soon after the last one is not written down.
const RENEW_SECONDS: u64 = 10 * 60;

impl KnownSources {
    pub(super) fn new(entries: usize) -> Self {
        let entries = entries.max(BUCKET).next_multiple_of(BUCKET);
        Self { entries: (0..entries).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    pub(super) fn slot(&self, source: ClientSource, access_key: &str) -> Slot {
        let key = self.hasher.hash_one(access_key);
        let hash = self.hasher.hash_one((source, key));
        let [t0, t1, t2, t3, ..] = hash.to_be_bytes();
        let buckets = self.entries.len() / BUCKET;
        let bucket = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() % buckets * BUCKET;
        Slot { bucket, tag: u32::from_be_bytes([t0, t1, t2, t3]).max(1), key }
    }

    pub(super) fn contains(&self, slot: Slot, now: BootInstant) -> bool {
        let entry = self.bucket(slot).iter().map(|entry| entry.load(Ordering::Relaxed));
        entry.into_iter().any(|entry| tag(entry) == slot.tag && age(entry, now) < KNOWN_SECONDS)
    }

    /// The source has used the key now.
    pub(super) fn add(&self, slot: Slot, now: BootInstant) {
        // its own entry, an empty one or the oldest
        let entries = self.bucket(slot).iter();
        let entry = entries.min_by_key(|entry| {
            let entry = entry.load(Ordering::Relaxed);
            (tag(entry) != slot.tag, second(entry))
        });
        let Some(entry) = entry else { return };
        let old = entry.load(Ordering::Relaxed);
        if tag(old) != slot.tag || age(old, now) >= RENEW_SECONDS {
            entry.store(u64::from(slot.tag) << 32 | seconds(now), Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&self, slot: Slot) {
        for entry in self.bucket(slot) {
            if tag(entry.load(Ordering::Relaxed)) == slot.tag {
                entry.store(0, Ordering::Relaxed);
            }
        }
    }

    fn bucket(&self, slot: Slot) -> &[AtomicU64] {
        &self.entries[slot.bucket..slot.bucket + BUCKET]
    }
}

fn tag(entry: u64) -> u32 {
    u32::try_from(entry >> 32).unwrap_or_default()
}

fn second(entry: u64) -> u64 {
    entry & u64::from(u32::MAX)
}

fn seconds(now: BootInstant) -> u64 {
    (now.0 / 1000) & u64::from(u32::MAX)
}

fn age(entry: u64, now: BootInstant) -> u64 {
    seconds(now).saturating_sub(second(entry))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn source(number: u32) -> ClientSource {
        ClientSource::of(number.to_be_bytes().into())
    }

    #[test]
    fn a_source_is_known_with_the_key_it_has_used_for_a_day() {
        let known = KnownSources::new(1024);
        let now = BootInstant(5_000_000);
        let slot = known.slot(source(1), "ROOT");
        assert!(!known.contains(slot, now));
        known.add(slot, now);
        assert!(known.contains(slot, now));
        assert!(!known.contains(known.slot(source(1), "OTHER"), now));
        assert!(!known.contains(known.slot(source(2), "ROOT"), now));
        assert!(known.contains(slot, now + Duration::from_hours(23)));
        assert!(!known.contains(slot, now + Duration::from_hours(24)));
        known.add(slot, now + Duration::from_hours(23));
        assert!(known.contains(slot, now + Duration::from_hours(24)));
        known.remove(slot);
        assert!(!known.contains(slot, now));
    }

    #[test]
    fn the_table_never_grows_and_keeps_the_newest() {
        let known = KnownSources::new(64);
        for number in 0..10_000_u32 {
            let now = BootInstant(u64::from(number) * 1000);
            let slot = known.slot(source(number), "ROOT");
            known.add(slot, now);
            assert!(known.contains(slot, now), "{number}");
        }
        assert_eq!(known.entries.len(), 64);
    }
}
