//! How long a wrong secret keeps its turn.
//!
//! A turn without an argon2 run (an unknown access key, or one that memory has settled) lasts as long as one with it.
//! Otherwise the last answer to a burst of wrong secrets would tell whether the access key exists. Nothing is computed
//! meanwhile: the thread sleeps. Some turns are measured, and where such a turn has no run of its own, a decoy is run:
//! at most one in eight turns of two runs each.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::secret::random_bytes;

/// The measured runs that count.
const SAMPLES: usize = 16;

/// One turn in so many is measured, and the first after a pause.
const MEASURE_EVERY: u32 = 8;
const PAUSE: Duration = Duration::from_secs(1);

/// A turn is so many runs long at least: few real runs take longer.
const MARGIN: u32 = 2;

#[derive(Default)]
pub(super) struct TurnLength {
    measured: Mutex<Measured>,
}

#[derive(Default)]
struct Measured {
    runs: VecDeque<Duration>,
    last: Option<Instant>,
    turns_since: u32,
}

impl TurnLength {
    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the turn that ends now is to be measured. Until one is, all are.
    pub(super) fn is_measured(&self, now: Instant) -> bool {
        let mut measured = self.measured();
        measured.turns_since += 1;
        let is_due = measured.turns_since >= MEASURE_EVERY
            || measured.last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if is_due && !measured.runs.is_empty() {
            (measured.turns_since, measured.last) = (0, Some(now));
        }
        is_due
    }

    /// Counts a measured run.
    pub(super) fn count(&self, run: Duration, now: Instant) {
        let mut measured = self.measured();
        if measured.runs.len() == SAMPLES {
            measured.runs.pop_front();
        }
        measured.runs.push_back(run);
        measured.last = Some(now);
    }

    /// How long a turn lasts at least.
    pub(super) fn least(&self) -> Duration {
        let mut runs: Vec<Duration> = self.measured().runs.iter().copied().collect();
        runs.sort_unstable();
        runs.get(runs.len() / 2).map_or(Duration::ZERO, |median| *median * MARGIN)
    }

    /// How long a run may have taken: one of those that were measured, by chance.
    pub(super) fn any_run(&self) -> Duration {
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
        let (length, start) = (TurnLength::default(), Instant::now());
        let milliseconds = Duration::from_millis;
        assert_eq!(length.least(), Duration::ZERO);
        length.count(milliseconds(10), start);
        assert_eq!((length.least(), length.any_run()), (milliseconds(20), milliseconds(10)));
        for run in [900, 11, 11] {
            length.count(milliseconds(run), start);
        }
        assert_eq!(length.least(), milliseconds(22), "the median counts");
        for _ in 0..SAMPLES {
            length.count(milliseconds(5), start);
        }
        assert_eq!(
            (length.least(), length.any_run()),
            (milliseconds(10), milliseconds(5)),
            "the newest count"
        );
    }

    #[test]
    fn few_turns_are_measured() {
        let (length, start) = (TurnLength::default(), Instant::now());
        assert!(length.is_measured(start) && length.is_measured(start), "all, until one is");
        length.count(Duration::from_millis(10), start);
        let turns = 10 * MEASURE_EVERY;
        let measured = (0..turns).filter(|_| length.is_measured(start)).count();
        assert_eq!(measured, 10);
        assert!(length.is_measured(start + PAUSE), "the first after a pause");
        assert!(!length.is_measured(start + PAUSE));
    }
}
