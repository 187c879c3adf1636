//! Which endpoint of an upstream is next: all in turn, those that have just failed last.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long an endpoint that could not be connected to is passed over while others are there.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Which endpoint is next, for one worker.
pub(super) struct EndpointRotation {
    next: Cell<usize>,
    paused_until: Vec<Cell<Option<Instant>>>,
}

impl EndpointRotation {
    pub(super) fn new(endpoints: usize) -> Self {
        Self { next: Cell::new(0), paused_until: (0..endpoints).map(|_| Cell::new(None)).collect() }
    }

    /// The endpoints in the order in which this request should try them: in turn, those that just failed last.
    pub(super) fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.paused_until.len();
        let first = self.next.get() % count;
        self.next.set(first + 1);
        // decided now, so that one that fails meanwhile is not tried twice; a bit each, the configuration allows 64
        let mut paused = 0u64;
        if count > 1 {
            let now = Instant::now();
            for (endpoint, until) in self.paused_until.iter().enumerate() {
                paused |= u64::from(until.get().is_some_and(|until| until > now)) << endpoint;
            }
        }
        let rotation = move |wanted| {
            (0..count).map(move |step| (first + step) % count).filter(move |at| (paused >> at) & 1 == wanted)
        };
        rotation(0).chain(rotation(1))
    }

    /// Passes an endpoint over for a while. Whether it was not paused yet.
    pub(super) fn pause(&self, endpoint: usize) -> bool {
        let now = Instant::now();
        let before = self.paused_until[endpoint].replace(Some(now + PAUSE_AFTER_FAILURE));
        before.is_none_or(|until| until <= now)
    }

    pub(super) fn succeeded(&self, endpoint: usize) {
        self.paused_until[endpoint].set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_take_turns_and_a_failed_one_comes_last() {
        let turn = EndpointRotation::new(3);
        assert_eq!(turn.order().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(turn.order().collect::<Vec<_>>(), [1, 2, 0]);
        turn.pause(2);
        assert_eq!(turn.order().collect::<Vec<_>>(), [0, 1, 2]);
        turn.succeeded(2);
        assert_eq!(turn.order().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(turn.order().collect::<Vec<_>>(), [1, 2, 0]);
    }
}
