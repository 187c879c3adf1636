//! The clock by which keys end: the record's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::BootInstant;

/// Tells the record's time. For an embedded store this is the machine's clock. For PostgreSQL it is the server's, of which
/// the gateway learns the offset whenever it renews its lease; in between, this machine's clock may jump as it likes.
/// Clones show the same time.
#[derive(Debug, Clone)]
pub struct RecordClock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Milliseconds from [`BootInstant`] to the record's clock; [`UNKNOWN`]: the machine's clock counts.
    offset: AtomicI64,
    learned: Mutex<Option<Learned>>,
}

/// An answer of the record that told its time.
#[derive(Debug, Clone, Copy)]
struct Learned {
    at: BootInstant,
    offset: i64,
    /// How far it can be off, in milliseconds.
    error: i64,
}

const UNKNOWN: i64 = i64::MIN;

/// How far two clocks run apart, in milliseconds of an hour: 100 ppm.
const DRIFT_PER_HOUR: i64 = 360;

impl Default for RecordClock {
    fn default() -> Self {
        Self { shared: Arc::new(Shared { offset: AtomicI64::new(UNKNOWN), learned: Mutex::default() }) }
    }
}

impl RecordClock {
    /// The record's time.
    pub fn now(&self) -> Timestamp {
        match self.shared.offset.load(Ordering::Acquire) {
            UNKNOWN => Timestamp::now(),
            offset => {
                let now = BootInstant::now().0.cast_signed().saturating_add(offset);
                Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// The record has told its time, `told`, between `asked` and now.
    pub(super) fn learn(&self, asked: BootInstant, told: Timestamp) {
        self.learn_at(asked, told, BootInstant::now());
    }

    fn learn_at(&self, asked: BootInstant, told: Timestamp, now: BootInstant) {
        let round_trip = now.0.saturating_sub(asked.0).cast_signed();
        let middle = asked.0.cast_signed() + round_trip / 2;
        let new = Learned { at: now, offset: told.as_millisecond() - middle, error: round_trip / 2 + 1 };
        let mut learned = self.shared.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = *learned {
            let age = Duration::from_millis(now.0.saturating_sub(known.at.0));
            let drift = i64::try_from(age.as_millis()).unwrap_or(i64::MAX / DRIFT_PER_HOUR) * DRIFT_PER_HOUR
                / 3_600_000;
            let known_error = known.error.saturating_add(drift);
            // a slow answer tells less than what is known; one that contradicts it says that the record's clock was set
            if new.error > known_error
                && (new.offset - known.offset).abs() <= new.error.saturating_add(known_error)
            {
                return;
            }
        }
        *learned = Some(new);
        self.shared.offset.store(new.offset, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(clock: &RecordClock) -> i64 {
        clock.shared.offset.load(Ordering::Acquire)
    }

    fn learn(clock: &RecordClock, asked: u64, told: i64, now: u64) {
        clock.learn_at(BootInstant(asked), Timestamp::from_millisecond(told).unwrap(), BootInstant(now));
    }

    #[test]
    fn the_best_answer_counts_until_the_clock_is_set() {
        let clock = RecordClock::default();
        assert!((clock.now().as_millisecond() - Timestamp::now().as_millisecond()).abs() < 1_000);
        learn(&clock, 1_000, 501_005, 1_010);
        assert_eq!(offset(&clock), 500_000);
        // it took 2 s, and may be off by 1 s: nothing new
        learn(&clock, 2_000, 503_500, 4_000);
        assert_eq!(offset(&clock), 500_000);
        // a quick one is better than what has drifted for an hour
        learn(&clock, 3_602_000, 4_102_020, 3_602_004);
        assert_eq!(offset(&clock), 500_018);
        // the clock was set back by a minute: even a slow answer says so
        learn(&clock, 3_603_000, 4_044_000, 3_605_000);
        assert_eq!(offset(&clock), 440_000);
    }
}
