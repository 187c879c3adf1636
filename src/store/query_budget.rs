//! Limits on what a query may cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// The steps of SQLite and the time that queries may still take. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct QueryBudget {
    deadline: Instant,
    /// How many more times SQLite may call [`Self::is_spent`].
    checks_left: Arc<AtomicU64>,
    is_cancelled: Arc<AtomicBool>,
}

/// Cancels the query when it is dropped: the caller is gone.
pub(super) struct CancelOnDrop(Arc<AtomicBool>);

impl QueryBudget {
    /// SQLite calls [`Self::is_spent`] after so many steps of its machine: some ten microseconds.
    pub(super) const STEPS_AT_ONCE: i32 = 1_000;

    pub(super) fn new(deadline: Instant, steps: u64) -> Self {
        let checks_left = steps / u64::from(Self::STEPS_AT_ONCE.unsigned_abs());
        Self { deadline, checks_left: Arc::new(checks_left.into()), is_cancelled: Arc::default() }
    }

    pub(super) fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(Arc::clone(&self.is_cancelled))
    }

    /// Whether to stop.
    pub(super) fn is_spent(&self) -> bool {
        let take_one = |left: u64| left.checked_sub(1);
        self.checks_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one).is_err()
            || self.is_cancelled.load(Ordering::Relaxed)
            || Instant::now() >= self.deadline
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
