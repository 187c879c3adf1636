//! Whether the other side of a connection still takes bytes.

use std::time::{Duration, Instant};

use super::send_progress::SendProgress;

/// How often a side is checked within its time limit. It is ended late by this part of the limit at most.
const CHECKS: u32 = 8;
/// Added while bytes are unacknowledged: a receiver whose buffer was full acknowledges nothing until much of it has been
/// read (over loopback, all of it). So the connection is silent for longer than its reader.
const GRACE: Duration = Duration::from_secs(3);
/// By how much the limit grows for a side that has been seen to take bytes: it may take them in large steps.
const STEADY: u32 = 2;

/// Measures the time in which the other side takes no byte at all: what it has acknowledged counts, not what the kernel
/// had room for. To be checked when a deadline falls due; while bytes move, it costs nothing.
#[derive(Debug, Clone, Copy)]
pub struct StallDetector {
    limit: Duration,
    /// The last moment at which it is known to have taken something, or nothing was there to take.
    since: Instant,
    /// What it had acknowledged at the last check.
    acknowledged: Option<u64>,
    /// What was on its way at the first check since bytes have moved. What others send later on the same connection is no
    /// progress.
    until: Option<u64>,
    /// It has acknowledged something between two checks.
    is_steady: bool,
}

impl StallDetector {
    /// Begins now. `limit`: how long the other side may take nothing.
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, since: now, acknowledged: None, until: None, is_steady: false }
    }

    /// Begins the time anew, because bytes have moved.
    pub fn bytes_moved(&mut self, limit: Duration, now: Instant) {
        (self.limit, self.since, self.until) = (limit, now, None);
    }

    /// When to check first.
    pub fn first_check(limit: Duration) -> Duration {
        limit / CHECKS
    }

    /// Checks when a deadline has fallen due. Returns when to check again; `None`: the other side has taken nothing for as
    /// long as it may. Unknown `progress` counts as none.
    pub fn check(&mut self, now: Instant, progress: Option<SendProgress>) -> Option<Duration> {
        let mut is_whole = true;
        if let Some(SendProgress { acknowledged, waiting }) = progress {
            // at the first look it may have taken some up to this moment
            let is_first = self.until.is_none();
            let until = *self.until.get_or_insert(acknowledged + u64::from(waiting));
            let acknowledged = acknowledged.min(until);
            let before = self.acknowledged.replace(acknowledged);
            let has_taken = before.is_some_and(|before| acknowledged > before);
            self.is_steady |= has_taken;
            if has_taken || (is_first && waiting > 0) {
                self.since = now;
            }
            is_whole = acknowledged == until;
        }
        let limit = match (is_whole, self.is_steady) {
            (true, _) => self.limit,
            (false, false) => self.limit + GRACE,
            (false, true) => (self.limit + GRACE).max(self.limit * STEADY),
        };
        let left = limit.checked_sub(now.saturating_duration_since(self.since))?;
        let next = if is_whole { left } else { left.min(self.limit / CHECKS) };
        (!left.is_zero()).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn check(stall: &mut StallDetector, now: Instant, acknowledged: u64, waiting: u32) -> Option<Duration> {
        stall.check(now, Some(SendProgress { acknowledged, waiting }))
    }

    #[test]
    fn a_reader_that_takes_a_byte_now_and_then_is_never_stalled() {
        let start = Instant::now();
        let mut stall = StallDetector::new(LIMIT, start);
        for second in 1..1000 {
            // at first one byte each second, then each fifteen seconds
            let acknowledged = if second < 4 { second } else { 4 + second / 15 };
            let next = check(&mut stall, at(start, second), acknowledged, 5000);
            assert_eq!(next, Some(Duration::from_secs(1)), "after {second} s");
            if second == 5 {
                stall.bytes_moved(LIMIT, at(start, second));
            }
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_is_stalled_in_time() {
        let start = Instant::now();
        let mut stall = StallDetector::new(LIMIT, start);
        for second in 1..12 {
            assert!(check(&mut stall, at(start, second), 7, 5000).is_some(), "after {second} s");
        }
        assert_eq!(check(&mut stall, at(start, 12), 7, 5000), None);
    }

    #[test]
    fn without_unacknowledged_bytes_the_limit_is_exact() {
        let start = Instant::now();
        for known in [Some(SendProgress { acknowledged: 7, waiting: 0 }), None] {
            let mut stall = StallDetector::new(LIMIT, start);
            assert_eq!(stall.check(at(start, 1), known), Some(Duration::from_secs(7)));
            assert_eq!(stall.check(at(start, 8), known), None);
        }
    }

    #[test]
    fn what_others_send_on_the_same_connection_is_no_progress() {
        let start = Instant::now();
        let mut stall = StallDetector::new(LIMIT, start);
        assert!(check(&mut stall, at(start, 1), 0, 100).is_some());
        assert!(check(&mut stall, at(start, 2), 5000, 100).is_some());
        // 100 bytes were on their way at the first look, all taken at the second
        assert!(check(&mut stall, at(start, 9), 90_000, 100).is_some());
        assert_eq!(check(&mut stall, at(start, 10), 99_000, 100), None);
    }
}
