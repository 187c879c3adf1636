//! Counts wrong credentials by source, and tells sources with too many to wait.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config;
use crate::model::ClientSource;

/// Counts failures by source.
///
/// The table has a fixed size and no lock: an entry is one word, found by a keyed hash. When the four entries of a bucket
/// are taken, the oldest is replaced. So a flood from many addresses makes the gateway forget some counts, and nothing
/// else: only wrong credentials are ever throttled.
pub(super) struct Throttle {
    entries: Box<[AtomicU64]>,
    hasher: RandomState,
    start: Instant,
    failures: u16,
    window: u32,
    block: u32,
}

/// Entries that a source may be in.
const BUCKET: usize = 4;

/// The table's clock: one tick.
const TICK: Duration = Duration::from_millis(100);

/// One word of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Which source, never 0. Two sources share one by chance in 65,535 of those in a bucket.
    tag: u16,
    /// In ticks: when counting began, or for a blocked source when the block ends.
    when: u32,
    /// Failures since; [`Entry::BLOCKED`] while blocked.
    count: u16,
}

impl Entry {
    const BLOCKED: u16 = u16::MAX;

    fn unpack(word: u64) -> Self {
        let [t0, t1, w0, w1, w2, w3, c0, c1] = word.to_be_bytes();
        Self {
            tag: u16::from_be_bytes([t0, t1]),
            when: u32::from_be_bytes([w0, w1, w2, w3]),
            count: u16::from_be_bytes([c0, c1]),
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.tag) << 48 | u64::from(self.when) << 16 | u64::from(self.count)
    }
}

impl Throttle {
    pub(super) fn new(settings: &config::Throttle) -> Self {
        let entries = settings.sources.max(BUCKET).next_multiple_of(BUCKET);
        Self {
            entries: (0..entries).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            start: Instant::now(),
            failures: u16::try_from(settings.failures).unwrap_or(u16::MAX).min(Entry::BLOCKED - 1),
            window: ticks(settings.window),
            block: ticks(settings.block),
        }
    }

    /// Counts a failure. If the source had too many before this one, how long it must wait.
    pub(super) fn failed(&self, source: ClientSource, now: Instant) -> Option<Duration> {
        let now = ticks(now.saturating_duration_since(self.start));
        let (bucket, tag) = self.bucket(source);
        loop {
            let (word, old) = Self::entry_for(bucket, tag)?;
            let entry = Entry::unpack(old);
            let is_same = entry.tag == tag;
            if is_same && entry.count == Entry::BLOCKED && now < entry.when {
                return Some(TICK * (entry.when - now));
            }
            let is_counting =
                is_same && entry.count != Entry::BLOCKED && now.saturating_sub(entry.when) < self.window;
            let (count, when) = if is_counting { (entry.count + 1, entry.when) } else { (1, now) };
            let next = if count >= self.failures {
                Entry { tag, when: now.saturating_add(self.block), count: Entry::BLOCKED }
            } else {
                Entry { tag, when, count }
            };
            if word.compare_exchange_weak(old, next.pack(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return None;
            }
        }
    }

    /// How long a source must wait that has too many failures. Counts nothing.
    pub(super) fn wait(&self, source: ClientSource, now: Instant) -> Option<Duration> {
        let now = ticks(now.saturating_duration_since(self.start));
        let (bucket, tag) = self.bucket(source);
        let (_, word) = Self::entry_for(bucket, tag)?;
        let entry = Entry::unpack(word);
        let is_blocked = entry.tag == tag && entry.count == Entry::BLOCKED && now < entry.when;
        is_blocked.then(|| TICK * (entry.when - now))
    }

    /// The entries that a source may be in, and its tag.
    fn bucket(&self, source: ClientSource) -> (&[AtomicU64], u16) {
        let hash = self.hasher.hash_one(source);
        let [high, low, ..] = hash.to_be_bytes();
        let buckets = self.entries.len() / BUCKET;
        let bucket = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() % buckets * BUCKET;
        (&self.entries[bucket..bucket + BUCKET], u16::from_be_bytes([high, low]).max(1))
    }

    /// The source's own entry, or the one that it takes: an empty one or the oldest.
    fn entry_for(bucket: &[AtomicU64], tag: u16) -> Option<(&AtomicU64, u64)> {
        let words = bucket.iter().map(|word| (word, word.load(Ordering::Relaxed)));
        words.min_by_key(|(_, value)| {
            let entry = Entry::unpack(*value);
            (entry.tag != tag, entry.when)
        })
    }
}

fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn throttle(failures: u32, sources: usize) -> Throttle {
        let (window, block) = (Duration::from_mins(1), Duration::from_secs(30));
        Throttle::new(&config::Throttle { failures, window, block, sources, ..config::Throttle::default() })
    }

    fn source(address: &str) -> ClientSource {
        ClientSource::of(address.parse().unwrap())
    }

    #[test]
    fn the_failure_after_the_last_permitted_one_is_told_to_wait() {
        let throttle = throttle(3, 1024);
        let start = throttle.start;
        for _ in 0..3 {
            assert_eq!(throttle.failed(source("192.0.2.1"), start), None);
        }
        let later = start + Duration::from_secs(10);
        assert_eq!(throttle.failed(source("192.0.2.1"), later), Some(Duration::from_secs(20)));
        assert_eq!(throttle.failed(source("192.0.2.2"), later), None, "another source has its own count");
    }

    #[test]
    fn a_block_ends_and_failures_while_blocked_do_not_prolong_it() {
        let throttle = throttle(2, 1024);
        let at = |seconds| throttle.start + Duration::from_secs(seconds);
        for seconds in [0, 0] {
            assert_eq!(throttle.failed(source("192.0.2.1"), at(seconds)), None);
        }
        for seconds in 1..30 {
            assert!(throttle.failed(source("192.0.2.1"), at(seconds)).is_some(), "{seconds}");
        }
        assert_eq!(throttle.failed(source("192.0.2.1"), at(30)), None);
    }

    #[test]
    fn failures_that_are_a_window_apart_do_not_add_up() {
        let throttle = throttle(2, 1024);
        for minute in 0..10 {
            let now = throttle.start + Duration::from_secs(60 * minute);
            assert_eq!(throttle.failed(source("192.0.2.1"), now), None, "{minute}");
        }
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_a_64_of_ipv6() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn the_table_never_grows_and_a_flood_blocks_nobody_else() {
        let throttle = throttle(20, 256);
        let entries = throttle.entries.len();
        let now = throttle.start;
        for address in 0..100_000_u32 {
            let flood = ClientSource::of(IpAddr::from(address.to_be_bytes()));
            assert_eq!(throttle.failed(flood, now), None, "{flood:?}");
        }
        assert_eq!(throttle.entries.len(), entries);
        // and one that keeps failing is still caught
        let caught = (0..21).filter_map(|_| throttle.failed(source("2001:db8::1"), now)).count();
        assert_eq!(caught, 1);
    }
}
