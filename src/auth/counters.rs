//! Counts what each step did.

use std::sync::atomic::{AtomicU64, Ordering};

/// One figure that only grows.
#[derive(Default)]
// a cache line of its own: workers count hits all the time, and nothing else should wait for that line
#[repr(align(64))]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add_one(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What authentication has done since the start; every figure only grows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// What was added since an earlier reading.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }

            /// Every figure with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        /// The figures while they are counted, shared by all threads.
        #[derive(Default)]
        pub(super) struct AtomicCounters {
            $(pub(super) $name: Counter,)*
        }

        impl AtomicCounters {
            pub(super) fn read(&self) -> Counters {
                Counters { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Step 1: minted pairs whose check characters are wrong.
    checksum_refusals,
    /// Step 1: one half minted, the other not.
    mixed_refusals,
    /// Step 2: right secrets, found in memory.
    memory_hits,
    /// Step 2: wrong secrets, refused by memory.
    memory_mismatches,
    /// Keys read from the store.
    store_reads,
    /// Step 3: recognised by the stored fingerprint.
    fingerprint_matches,
    /// Step 3: refused by the stored fingerprint, or by the absence of such a key.
    fingerprint_mismatches,
    /// Step 4: times argon2 ran.
    argon2_runs,
    /// Step 4: runs of a decoy, which tell how long a turn lasts.
    argon2_measurements,
    /// Step 4: verifications that were queued for their turn.
    argon2_queued,
    /// Step 4: how long they waited for it, all together, in milliseconds.
    argon2_wait_milliseconds,
    /// Step 4: verifications that waited for another request's run of the same pair.
    argon2_shared,
    /// Step 4: refused because the queue was full, or the source's share of it, or the wait for a guess too long.
    argon2_queue_refusals,
    /// Step 4: runs without an answer: an unusable record, or no memory.
    argon2_failures,
    /// Refusals with 401.
    unauthorized,
    /// Refusals with 429, too many failures.
    throttled,
    /// Refused because the lease had ended, or the store could not be read.
    unavailable,
    /// Reads that raced with a change and were repeated.
    raced_fills,
    /// Environments read from the store.
    environment_reads,
}
