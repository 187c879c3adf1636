//! Failures that repeat many times a second: logged at once, then once in ten seconds.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How often a lasting failure is logged again.
const INTERVAL: Duration = Duration::from_secs(10);

/// Keeps a failure that comes back many times a second from flooding the log.
#[derive(Debug, Default)]
pub struct LogThrottle(Cell<Option<Instant>>);

impl LogThrottle {
    /// Whether to log the failure now.
    pub fn should_log(&self) -> bool {
        let due = self.0.get().is_none_or(|last| last.elapsed() >= INTERVAL);
        if due {
            self.0.set(Some(Instant::now()));
        }
        due
    }

    /// Notes that the failure is over. `true`: it had been logged.
    pub fn recovered(&self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::LogThrottle;

    #[test]
    fn a_failure_is_logged_once_and_again_after_it_was_over() {
        let log_throttle = LogThrottle::default();
        assert!(!log_throttle.recovered());
        assert!(log_throttle.should_log());
        assert!(!log_throttle.should_log());
        assert!(log_throttle.recovered());
        assert!(log_throttle.should_log());
    }
}
