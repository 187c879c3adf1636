//! Counts the work that a request target costs, so that tests can bound it without a clock.
//!
//! A step is one byte, character or segment that is looked at. The gateway itself counts nothing: only tests and the
//! feature `count_steps`, which the fuzz targets use, do.

#[cfg(any(test, feature = "count_steps"))]
use std::cell::Cell;

#[cfg(any(test, feature = "count_steps"))]
thread_local! {
    static STEPS: Cell<usize> = const { Cell::new(0) };
}

/// Adds to the steps of this thread.
#[inline]
pub(super) fn add(steps: usize) {
    #[cfg(any(test, feature = "count_steps"))]
    STEPS.with(|counted| counted.set(counted.get() + steps));
    #[cfg(not(any(test, feature = "count_steps")))]
    let _ = steps;
}

/// How many steps `work` takes.
#[cfg(any(test, feature = "count_steps"))]
pub fn count_steps(work: impl FnOnce()) -> usize {
    STEPS.with(|counted| counted.set(0));
    work();
    STEPS.with(Cell::get)
}

#[cfg(test)]
mod tests;
