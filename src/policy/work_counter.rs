//! Counts the work that a request target costs, so that tests can bound it without a clock.
//!
//! A unit of work is one byte, character or segment that is looked at. The gateway itself counts nothing: only tests
//! and the feature `count_work`, which the fuzz targets use, do.

#[cfg(any(test, feature = "count_work"))]
use std::cell::Cell;

#[cfg(any(test, feature = "count_work"))]
thread_local! {
    static COUNTED: Cell<usize> = const { Cell::new(0) };
}

/// Adds to what this thread has counted.
#[inline]
pub(super) fn add(units: usize) {
    #[cfg(any(test, feature = "count_work"))]
    COUNTED.with(|counted| counted.set(counted.get() + units));
    #[cfg(not(any(test, feature = "count_work")))]
    let _ = units;
}

/// How many units `work` takes.
#[cfg(any(test, feature = "count_work"))]
pub fn count_work(work: impl FnOnce()) -> usize {
    COUNTED.with(|counted| counted.set(0));
    work();
    COUNTED.with(Cell::get)
}

#[cfg(test)]
mod tests;
