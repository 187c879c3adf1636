//! How long the answer to a wrong secret takes, so that its time does not tell whether the access key exists.
//!
//! A turn without an argon2 run (an unknown access key, or one that memory knows) lasts as long as a turn with one.
//! Otherwise the last answer to a burst of wrong secrets would give it away. The thread sleeps meanwhile. Some turns are
//! measured. If such a turn has no run of its own, a decoy is run: at most one in eight turns of two runs each.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::key_format::random_bytes;

/// How many of the newest measured runs count.
const SAMPLES: usize = 16;

/// One turn in so many is measured, and the first one after a pause.
const MEASURE_EVERY: u32 = 8;
const PAUSE: Duration = Duration::from_secs(1);

/// A turn lasts at least so many runs: few real runs take longer.
const MARGIN: u32 = 2;

/// The times of the newest argon2 runs.
#[derive(Default)]
pub(super) struct ArgonTiming {
    measured: Mutex<Measured>,
}

#[derive(Default)]
struct Measured {
    runs: VecDeque<Duration>,
    last: Option<Instant>,
    turns_since: u32,
}

impl ArgonTiming {
    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the turn that ends now must be measured. Until one has been, all are.
    pub(super) fn should_measure(&self, now: Instant) -> bool {
        let mut measured = self.measured();
        measured.turns_since += 1;
        let is_due = measured.turns_since >= MEASURE_EVERY
            || measured.last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if is_due && !measured.runs.is_empty() {
            (measured.turns_since, measured.last) = (0, Some(now));
        }
        is_due
    }

    /// Adds a measured run.
    pub(super) fn record(&self, run: Duration, now: Instant) {
        let mut measured = self.measured();
        if measured.runs.len() == SAMPLES {
            measured.runs.pop_front();
        }
        measured.runs.push_back(run);
        measured.last = Some(now);
    }

    /// How long a turn lasts at least: twice the median run.
    pub(super) fn minimum_turn(&self) -> Duration {
        let mut runs: Vec<Duration> = self.measured().runs.iter().copied().collect();
        runs.sort_unstable();
        runs.get(runs.len() / 2).map_or(Duration::ZERO, |median| *median * MARGIN)
    }

    /// The time of one of the measured runs, chosen at random.
    pub(super) fn random_run_time(&self) -> Duration {
        let mut random = [0; 1];
        random_bytes(&mut random);
        let measured = self.measured();
        let any = usize::from(random[0]) % measured.runs.len().max(1);
        measured.runs.get(any).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_two_usual_runs_long() {
        let (length, start) = (ArgonTiming::default(), Instant::now());
        let milliseconds = Duration::from_millis;
        assert_eq!(length.minimum_turn(), Duration::ZERO);
        length.record(milliseconds(10), start);
        assert_eq!((length.minimum_turn(), length.random_run_time()), (milliseconds(20), milliseconds(10)));
        for run in [900, 11, 11] {
            length.record(milliseconds(run), start);
        }
        assert_eq!(length.minimum_turn(), milliseconds(22), "the median counts");
        for _ in 0..SAMPLES {
            length.record(milliseconds(5), start);
        }
        assert_eq!(
            (length.minimum_turn(), length.random_run_time()),
            (milliseconds(10), milliseconds(5)),
            "the newest count"
        );
    }

    #[test]
    fn one_turn_in_eight_is_measured_and_the_first_after_a_pause() {
        let (length, start) = (ArgonTiming::default(), Instant::now());
        assert!(length.should_measure(start) && length.should_measure(start), "all, until one is");
        length.record(Duration::from_millis(10), start);
        let turns = 10 * MEASURE_EVERY;
        let measured = (0..turns).filter(|_| length.should_measure(start)).count();
        assert_eq!(measured, 10);
        assert!(length.should_measure(start + PAUSE), "the first after a pause");
        assert!(!length.should_measure(start + PAUSE));
    }
}
