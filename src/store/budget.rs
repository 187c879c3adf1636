//! What a reading may cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// What a reading may cost, in steps of SQLite and in time. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    deadline: Instant,
    /// How often SQLite may still ask.
    questions: Arc<AtomicU64>,
    is_cancelled: Arc<AtomicBool>,
}

/// Ends what a budget is for when it is dropped: whoever asked is gone.
pub(super) struct CancelOnDrop(Arc<AtomicBool>);

impl Budget {
    /// SQLite asks after so many steps of its machine: some ten microseconds.
    pub(super) const STEPS_AT_ONCE: i32 = 1_000;

    pub(super) fn new(deadline: Instant, steps: u64) -> Self {
        let questions = steps / u64::from(Self::STEPS_AT_ONCE.unsigned_abs());
        Self { deadline, questions: Arc::new(questions.into()), is_cancelled: Arc::default() }
    }

    pub(super) fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(Arc::clone(&self.is_cancelled))
    }

    /// Whether to stop; asked after every [`Self::STEPS_AT_ONCE`] steps.
    pub(super) fn is_spent(&self) -> bool {
        let take_one = |left: u64| left.checked_sub(1);
        self.questions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one).is_err()
            || self.is_cancelled.load(Ordering::Relaxed)
            || Instant::now() >= self.deadline
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
