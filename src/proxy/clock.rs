//! The time of day, read from the system once a tick: one look at its clock less for each request.

use std::time::{Duration, Instant, SystemTime};

/// The time of day at one moment, from which that of moments near it follows.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    moment: Instant,
    pub(super) unix_milliseconds: i64,
}

impl Clock {
    /// Reads the system's clock.
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            moment: Instant::now(),
            unix_milliseconds: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// A moment as milliseconds since 1970.
    pub(super) fn unix_milliseconds_at(self, moment: Instant) -> i64 {
        let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        match moment.checked_duration_since(self.moment) {
            Some(after) => self.unix_milliseconds.saturating_add(milliseconds(after)),
            None => self.unix_milliseconds.saturating_sub(milliseconds(self.moment - moment)),
        }
    }
}
