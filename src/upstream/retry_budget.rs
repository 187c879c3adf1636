//! How many requests may be sent to another endpoint after they failed at one: a fifth of all. Without a bound, an upstream
//! that fails under its load would get twice the load.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Over so long a time what was sent is compared with what was sent again.
const WINDOW: Duration = Duration::from_secs(10);
/// One of so many requests may be sent again.
const REQUESTS_PER_RETRY: f64 = 5.0;
/// Retries in a window that are there for few requests.
const LEAST: f64 = 10.0;

/// One worker's budget for one upstream.
pub(super) struct RetryBudget {
    /// Requests since the window began.
    requests: Cell<u32>,
    retries: Cell<u32>,
    /// Those of the window before.
    former_requests: Cell<f64>,
    former_retries: Cell<f64>,
    began: Cell<Instant>,
}

impl RetryBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            requests: Cell::new(0),
            retries: Cell::new(0),
            former_requests: Cell::new(0.0),
            former_retries: Cell::new(0.0),
            began: Cell::new(now),
        }
    }

    /// Counts a request.
    pub(super) fn count_request(&self) {
        self.requests.set(self.requests.get().saturating_add(1));
    }

    /// Takes one retry, if there is any left.
    pub(super) fn take(&self, now: Instant) -> bool {
        self.move_window(now);
        let requests = self.former_requests.get() + f64::from(self.requests.get());
        let retries = self.former_retries.get() + f64::from(self.retries.get());
        let is_left = retries < LEAST + requests / REQUESTS_PER_RETRY;
        if is_left {
            self.retries.set(self.retries.get() + 1);
        }
        is_left
    }

    /// Begins a new window if this one is over. Nobody asks while nothing fails, so it may have lasted for long: then what
    /// counts of it is the average.
    fn move_window(&self, now: Instant) {
        let windows = now.saturating_duration_since(self.began.get()).as_secs_f64() / WINDOW.as_secs_f64();
        if windows >= 1.0 {
            self.former_requests.set(f64::from(self.requests.take()) / windows);
            self.former_retries.set(f64::from(self.retries.take()) / windows);
            self.began.set(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_requests_and_a_few_more_may_be_sent_again() {
        let began = Instant::now();
        let budget = RetryBudget::new(began);
        let taken = |at| (0..10_000).take_while(|_| budget.take(began + Duration::from_secs(at))).count();
        assert_eq!(taken(0), 10);
        for _ in 0..1000 {
            budget.count_request();
        }
        assert_eq!(taken(1), 200);
        // in the next window what was sent in the last one counts
        assert_eq!(taken(10), 0);
        assert_eq!(taken(20), 10);
        // an hour of a thousand requests every ten seconds is no stock
        for _ in 0..360_000 {
            budget.count_request();
        }
        assert_eq!(taken(3_620), 210);
    }
}
