//! How many requests ended in each minute of the last hour, by their outcome.

use std::array;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::Metrics;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The upstream answered, below 500; or the gateway itself answered a CORS preflight.
    Allowed,
    /// The upstream answered with a server error, or did not serve (502, 504), or the gateway cannot serve now (503).
    Failed,
    /// No key that works (401), or too many attempts without one (429).
    Unauthorized,
    /// The key may not do this (403).
    Forbidden,
    /// Every other answer of the gateway's own: malformed, ambiguous, too large, no route.
    Refused,
}

impl Outcome {
    /// Every outcome, best first.
    pub const ALL: [Self; 5] =
        [Self::Allowed, Self::Failed, Self::Unauthorized, Self::Forbidden, Self::Refused];

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Failed => "failed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
        }
    }

    /// Of a request that the upstream answered, by the hundreds of its status; 0 is all beyond 1 to 5, which counts as
    /// a server error (RFC 9110 §15).
    pub(super) fn of_class(class: usize) -> Self {
        match class {
            1..=4 => Self::Allowed,
            _ => Self::Failed,
        }
    }

    /// Of a request that the gateway answered itself.
    pub(super) fn of_refusal(status: u16) -> Self {
        match status {
            401 | 429 => Self::Unauthorized,
            403 => Self::Forbidden,
            502..=504 => Self::Failed,
            _ => Self::Refused,
        }
    }
}

/// A number of requests for each outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutcomeCounts([u64; Outcome::ALL.len()]);

impl OutcomeCounts {
    /// Requests with this outcome.
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    pub(super) fn add(&mut self, outcome: Outcome, requests: u64) {
        let count = &mut self.0[outcome as usize];
        *count = count.wrapping_add(requests);
    }

    fn plus(self, other: Self) -> Self {
        Self(array::from_fn(|at| self.0[at].wrapping_add(other.0[at])))
    }

    fn minus(self, other: Self) -> Self {
        Self(array::from_fn(|at| self.0[at].wrapping_sub(other.0[at])))
    }
}

/// A minute of the wall clock, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minute {
    /// Its first instant.
    pub start: Timestamp,
    /// The requests that ended in it. Those whose client was gone before there was an answer are not among them.
    pub requests: OutcomeCounts,
}

/// How many requests ended in each of the last 60 minutes; in memory only, so it begins with the process.
///
/// The workers know nothing of it. Their counts are read now and then ([`RequestHistory::sample`]), and what is new since the
/// last time belongs to the minute in which that is seen. So a request may be found in the minute after its own, if it
/// ended less than the time between two samples before that; none is lost or counted twice.
#[derive(Debug)]
pub struct RequestHistory {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the workers had counted at the last sample.
    seen: OutcomeCounts,
    /// By the minute's number since 1970; those of the hour before the last sample in which there was one.
    minutes: BTreeMap<i64, OutcomeCounts>,
}

impl RequestHistory {
    /// The history of what `metrics` counts.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, state: Mutex::default() }
    }

    /// Puts what was counted since the last time into the minute of `now`; to be called every few seconds. Minutes in
    /// which it was not called read as zero. Where the clock was put back, the minutes that are yet to come are
    /// forgotten, so that they do not count twice.
    pub fn sample(&self, now: Timestamp) {
        let hour = hour(now);
        let mut state = self.state();
        let total = self.metrics.outcomes();
        let fresh = total.minus(state.seen);
        state.seen = total;
        state.minutes.retain(|number, _| hour.contains(number));
        let minute = state.minutes.entry(*hour.end()).or_default();
        *minute = minute.plus(fresh);
    }

    /// The last 60 minutes, oldest first, always all of them. The last one is running at `now`, and holds what was
    /// counted since the last sample too.
    pub fn minutes(&self, now: Timestamp) -> Vec<Minute> {
        let hour = hour(now);
        let newest = *hour.end();
        let state = self.state();
        let fresh = self.metrics.outcomes().minus(state.seen);
        hour.map(|number| {
            let kept = state.minutes.get(&number).copied().unwrap_or_default();
            Minute {
                // there is nothing before the first hour that a timestamp can name
                start: Timestamp::from_second(number * 60).unwrap_or(Timestamp::MIN),
                requests: if number == newest { kept.plus(fresh) } else { kept },
            }
        })
        .collect()
    }

    /// The workers' counts are read under this lock: who reads them later never sees less.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers of the 60 minutes that end with the one of `now`.
fn hour(now: Timestamp) -> RangeInclusive<i64> {
    let minute = now.as_second().div_euclid(60);
    minute - 59..=minute
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{MetricNames, WorkerMetrics};

    /// 2026-11-25T12:00:00Z.
    const NOON: i64 = 1_795_608_000;

    struct Gateway {
        history: RequestHistory,
        workers: Vec<Arc<WorkerMetrics>>,
    }

    impl Gateway {
        fn new() -> Self {
            let names = MetricNames { listeners: Vec::new(), causes: &["x"], auth_failures: &[] };
            let (metrics, workers) = Metrics::new(2, names, Vec::new(), Vec::new());
            Self { history: RequestHistory::new(Arc::new(metrics)), workers }
        }

        /// Requests that succeed, on both workers in turn.
        fn serve(&self, requests: usize) {
            (0..requests).for_each(|at| self.workers[at % 2].count_allowed(200));
        }

        fn sample(&self, seconds: i64) {
            self.history.sample(after_noon(seconds));
        }

        /// The minutes after noon that are not empty, with the number of requests that succeeded.
        fn allowed(&self, seconds: i64) -> Vec<(i64, u64)> {
            let minutes = self.history.minutes(after_noon(seconds));
            assert_eq!(minutes.len(), 60);
            assert!(minutes.is_sorted_by(|a, b| b.start.duration_since(a.start).as_secs() == 60));
            let minute = |at: &Minute| (at.start.as_second() - NOON) / 60;
            assert_eq!(minutes.last().map(minute), Some(seconds.div_euclid(60)));
            let counted = minutes.iter().map(|at| (minute(at), at.requests.get(Outcome::Allowed)));
            counted.filter(|(_, requests)| *requests > 0).collect()
        }
    }

    fn after_noon(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOON + seconds).unwrap()
    }

    #[test]
    fn every_answer_has_one_outcome() {
        let gateway = Gateway::new();
        for status in [101, 204, 304, 404, 499, 500, 503, 599, 600, 999] {
            gateway.workers[0].count_allowed(status);
        }
        for status in
            [400, 401, 403, 404, 405, 408, 413, 414, 417, 421, 429, 431, 500, 501, 502, 503, 504, 599]
        {
            gateway.workers[1].count_refused(status, 0);
        }
        let minutes = gateway.history.minutes(after_noon(0));
        let counts = Outcome::ALL.map(|outcome| (outcome.as_str(), minutes[59].requests.get(outcome)));
        assert_eq!(
            counts,
            [("allowed", 5), ("failed", 8), ("unauthorized", 2), ("forbidden", 1), ("refused", 12)]
        );
    }

    #[test]
    fn a_request_counts_once_in_the_minute_in_which_it_is_seen() {
        let gateway = Gateway::new();
        assert_eq!(gateway.allowed(0), []);
        gateway.serve(3);
        assert_eq!(gateway.allowed(1), [(0, 3)], "before the first sample");
        gateway.sample(2);
        gateway.serve(4);
        assert_eq!(gateway.allowed(3), [(0, 7)], "since the last sample");
        gateway.sample(59);
        gateway.sample(60);
        gateway.serve(5);
        gateway.sample(65);
        assert_eq!(gateway.allowed(65), [(0, 7), (1, 5)]);
    }

    #[test]
    fn a_minute_is_kept_for_an_hour() {
        let gateway = Gateway::new();
        for minute in 0..200 {
            gateway.serve(1);
            gateway.sample(60 * minute + 30);
        }
        let last = 199 * 60 + 59;
        assert_eq!(gateway.allowed(last), (140..200).map(|minute| (minute, 1)).collect::<Vec<_>>());
        assert_eq!(gateway.history.state().minutes.len(), 60);
        assert_eq!(gateway.allowed(last + 1).first(), Some(&(141, 1)));
        assert_eq!(gateway.allowed(last + 1).last(), Some(&(199, 1)));
    }

    #[test]
    fn minutes_without_a_sample_read_as_zero() {
        let gateway = Gateway::new();
        gateway.serve(2);
        gateway.sample(0);
        gateway.serve(3);
        gateway.sample(5 * 60);
        assert_eq!(gateway.allowed(7 * 60), [(0, 2), (5, 3)]);
        gateway.serve(4);
        assert_eq!(gateway.allowed(600 * 60), [(600, 4)]);
    }

    #[test]
    fn a_clock_that_jumps_ahead_leaves_what_is_still_of_the_last_hour() {
        let gateway = Gateway::new();
        gateway.serve(2);
        gateway.sample(0);
        gateway.serve(3);
        gateway.sample(40 * 60);
        assert_eq!(gateway.allowed(40 * 60), [(0, 2), (40, 3)]);
        gateway.serve(4);
        gateway.sample(1_000 * 60);
        assert_eq!(gateway.allowed(1_000 * 60), [(1_000, 4)]);
    }

    #[test]
    fn a_clock_that_is_put_back_makes_no_minute_count_twice() {
        let gateway = Gateway::new();
        for minute in 0..=10 {
            gateway.serve(1);
            gateway.sample(minute * 60);
        }
        gateway.serve(5);
        assert_eq!(gateway.allowed(8 * 60), (0..8).map(|at| (at, 1)).chain([(8, 6)]).collect::<Vec<_>>());
        gateway.sample(8 * 60);
        gateway.serve(2);
        gateway.sample(9 * 60);
        let expected = (0..8).map(|at| (at, 1)).chain([(8, 6), (9, 2)]).collect::<Vec<_>>();
        assert_eq!(gateway.allowed(10 * 60), expected);
        // to before all that was seen
        gateway.sample(-1_000 * 60);
        assert_eq!(gateway.allowed(-1_000 * 60), []);
        gateway.serve(1);
        assert_eq!(gateway.allowed(-1_000 * 60), [(-1_000, 1)]);
    }

    #[test]
    fn the_first_and_last_timestamps_work() {
        let gateway = Gateway::new();
        for now in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            gateway.serve(1);
            gateway.history.sample(now);
            let minutes = gateway.history.minutes(now);
            assert_eq!((minutes.len(), minutes[59].requests.get(Outcome::Allowed)), (60, 1));
        }
    }
}
