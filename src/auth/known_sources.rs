//! Which source has used which access key with its right secret within a day.
//!
//! Such a source may have its secret compared at once, so that others who guess at the same key do not slow it down.
//! The table has a fixed size and no lock, as the throttle's: where the places of a bucket are taken, the oldest makes
//! room. A source that is forgotten waits for its turn once, and is known again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::guess_budget::KeyHash;
use crate::model::Source;
use crate::store::BootTime;

pub(super) struct KnownSources {
    /// A tag, never 0, and the second of a use.
    entries: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// A source and an access key, as the table knows them.
#[derive(Clone, Copy)]
pub(super) struct Place {
    bucket: usize,
    tag: u32,
    /// Of the access key alone.
    pub(super) key: KeyHash,
}

const BUCKET: usize = 4;

/// How long a source stays known without using the key.
const KNOWN_SECONDS: u64 = 24 * 60 * 60;

/// A use within this time of the last one is not written down.
const RENEW_SECONDS: u64 = 10 * 60;

impl KnownSources {
    pub(super) fn new(entries: usize) -> Self {
        let entries = entries.max(BUCKET).next_multiple_of(BUCKET);
        Self { entries: (0..entries).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    pub(super) fn place(&self, source: Source, access_key: &str) -> Place {
        let key = self.hasher.hash_one(access_key);
        let hash = self.hasher.hash_one((source, key));
        let [t0, t1, t2, t3, ..] = hash.to_be_bytes();
        let buckets = self.entries.len() / BUCKET;
        let bucket = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() % buckets * BUCKET;
        Place { bucket, tag: u32::from_be_bytes([t0, t1, t2, t3]).max(1), key }
    }

    pub(super) fn contains(&self, place: Place, now: BootTime) -> bool {
        let entry = self.bucket(place).iter().map(|entry| entry.load(Ordering::Relaxed));
        entry.into_iter().any(|entry| tag(entry) == place.tag && age(entry, now) < KNOWN_SECONDS)
    }

    /// The source has used the key now.
    pub(super) fn add(&self, place: Place, now: BootTime) {
        // its own, an empty one or the oldest
        let entries = self.bucket(place).iter();
        let entry = entries.min_by_key(|entry| {
            let entry = entry.load(Ordering::Relaxed);
            (tag(entry) != place.tag, second(entry))
        });
        let Some(entry) = entry else { return };
        let old = entry.load(Ordering::Relaxed);
        if tag(old) != place.tag || age(old, now) >= RENEW_SECONDS {
            entry.store(u64::from(place.tag) << 32 | seconds(now), Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&self, place: Place) {
        for entry in self.bucket(place) {
            if tag(entry.load(Ordering::Relaxed)) == place.tag {
                entry.store(0, Ordering::Relaxed);
            }
        }
    }

    fn bucket(&self, place: Place) -> &[AtomicU64] {
        &self.entries[place.bucket..place.bucket + BUCKET]
    }
}

fn tag(entry: u64) -> u32 {
    u32::try_from(entry >> 32).unwrap_or_default()
}

fn second(entry: u64) -> u64 {
    entry & u64::from(u32::MAX)
}

fn seconds(now: BootTime) -> u64 {
    (now.0 / 1000) & u64::from(u32::MAX)
}

fn age(entry: u64, now: BootTime) -> u64 {
    seconds(now).saturating_sub(second(entry))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(number.to_be_bytes().into())
    }

    #[test]
    fn a_source_is_known_with_the_key_it_has_used_for_a_day() {
        let known = KnownSources::new(1024);
        let now = BootTime(5_000_000);
        let place = known.place(source(1), "ROOT");
        assert!(!known.contains(place, now));
        known.add(place, now);
        assert!(known.contains(place, now));
        assert!(!known.contains(known.place(source(1), "OTHER"), now));
        assert!(!known.contains(known.place(source(2), "ROOT"), now));
        assert!(known.contains(place, now + Duration::from_hours(23)));
        assert!(!known.contains(place, now + Duration::from_hours(24)));
        known.add(place, now + Duration::from_hours(23));
        assert!(known.contains(place, now + Duration::from_hours(24)));
        known.remove(place);
        assert!(!known.contains(place, now));
    }

    #[test]
    fn the_table_never_grows_and_keeps_the_newest() {
        let known = KnownSources::new(64);
        for number in 0..10_000_u32 {
            let now = BootTime(u64::from(number) * 1000);
            let place = known.place(source(number), "ROOT");
            known.add(place, now);
            assert!(known.contains(place, now), "{number}");
        }
        assert_eq!(known.entries.len(), 64);
    }
}
