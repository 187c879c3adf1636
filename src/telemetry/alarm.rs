//! Failures that last: told at once, then once in a while.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How often a lasting failure is told again.
const INTERVAL: Duration = Duration::from_secs(10);

/// Keeps a failure that comes back many times a second from flooding the log.
#[derive(Debug, Default)]
pub struct Alarm(Cell<Option<Instant>>);

impl Alarm {
    /// Whether the failure is to be told now.
    pub fn rings(&self) -> bool {
        let due = self.0.get().is_none_or(|last| last.elapsed() >= INTERVAL);
        if due {
            self.0.set(Some(Instant::now()));
        }
        due
    }

    /// The failure is over; `true`: it had been told.
    pub fn ends(&self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::Alarm;

    #[test]
    fn a_failure_is_told_once_and_again_after_it_was_over() {
        let alarm = Alarm::default();
        assert!(!alarm.ends());
        assert!(alarm.rings());
        assert!(!alarm.rings());
        assert!(alarm.ends());
        assert!(alarm.rings());
    }
}
