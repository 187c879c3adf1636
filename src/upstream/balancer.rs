//! Which destination a request goes to, and which get none for a while because requests failed there.
//!
//! Each worker has its own view: it counts what it sees, and shares nothing on the request path.

use std::cell::{Cell, LazyCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::destination::{Destination, InFlight};
use crate::config::{Balance, Ejection};

/// One worker's choice among an upstream's destinations.
pub(super) struct Balancer {
    destinations: RefCell<Vec<Rc<Destination>>>,
    balance: Balance,
    ejection: Option<Ejection>,
    next: Cell<usize>,
    random: Cell<u32>,
}

/// What a reported failure led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterFailure {
    Nothing,
    /// The destination was ejected after so many failures, for so long.
    Ejected(u32, Duration),
}

impl Balancer {
    pub(super) fn new(
        destinations: Vec<Rc<Destination>>,
        balance: Balance,
        ejection: Option<Ejection>,
    ) -> Self {
        Self {
            destinations: RefCell::new(destinations),
            balance,
            ejection,
            next: Cell::new(0),
            // any but 0
            random: Cell::new(0x9E37_79B9),
        }
    }

    /// The destinations as of now.
    pub(super) fn destinations(&self) -> Vec<Rc<Destination>> {
        self.destinations.borrow().clone()
    }

    /// Requests go there from now on.
    pub(super) fn set_destinations(&self, destinations: Vec<Rc<Destination>>) {
        self.destinations.replace(destinations);
    }

    pub(super) fn has_several(&self) -> bool {
        self.destinations.borrow().len() > 1
    }

    /// Where a request goes that did not get through at `tried`; `None`: everything was tried. Destinations that are
    /// ejected or down come last, and only with `last_resort`. `may_be_lost`: the request can be sent only once, so it is not
    /// the first to go on trial.
    pub(super) fn choose(
        &self,
        tried: &[Rc<Destination>],
        may_be_lost: bool,
        last_resort: bool,
    ) -> Option<InFlight> {
        let all = self.destinations.borrow();
        let pause = self.ejection.map_or(Duration::ZERO, |ejection| ejection.pause);
        let is_untried = |at: &usize| !tried.iter().any(|tried| Rc::ptr_eq(tried, &all[*at]));
        let begin = |at: usize| Some(InFlight::begin(&all[at], pause));
        if all.len() == 1 {
            return is_untried(&0).then_some(0).and_then(begin);
        }
        let now = LazyCell::new(Instant::now);
        let delay = if may_be_lost { pause } else { Duration::ZERO };
        let is_usable = |at: &usize| all[*at].state.is_available(delay, || *now) && is_untried(at);
        let count = all.len();
        let from = |first: usize| (0..count).map(move |step| (first + step) % count);
        // a second attempt takes no turn: of two destinations, the one that fails would come first in every request
        let takes_turn = tried.is_empty();
        let in_turn = if takes_turn { self.next.get() } else { self.random_below(count) };
        let first = from(in_turn).find(is_usable);
        let chosen = first.or_else(|| from(in_turn).find(is_untried).filter(|_| last_resort))?;
        if takes_turn {
            self.next.set(chosen + 1);
        }
        let Some(first) = first else { return begin(chosen) };
        if self.balance == Balance::Turn {
            return begin(first);
        }
        let other = from(first + 1 + self.random_below(count - 1)).find(|at| *at != first && is_usable(at));
        // where both have as many it is the one whose turn it is: few requests are spread evenly
        begin(
            other
                .filter(|other| all[*other].state.in_flight() < all[first].state.in_flight())
                .unwrap_or(first),
        )
    }

    /// Whether there is a destination that is well and not among these.
    pub(super) fn has_other_than(&self, tried: &[Rc<Destination>]) -> bool {
        let all = self.destinations.borrow();
        all.iter().any(|one| one.state.is_well() && !tried.iter().any(|tried| Rc::ptr_eq(tried, one)))
    }

    /// Takes note of a failure.
    pub(super) fn failed(&self, request: &InFlight) -> AfterFailure {
        let destination = &request.destination.state;
        let failures = destination.failed();
        let is_trial = request.is_trial.take();
        let Some(ejection) = self.ejection else { return AfterFailure::Nothing };
        if destination.is_ejected() {
            if is_trial {
                destination.eject(Instant::now() + ejection.pause);
            }
            return AfterFailure::Nothing;
        }
        if failures < ejection.consecutive || !self.may_eject(&request.destination, ejection) {
            return AfterFailure::Nothing;
        }
        destination.eject(Instant::now() + ejection.pause);
        AfterFailure::Ejected(failures, ejection.pause)
    }

    /// Whether one more may be ejected: never the last.
    fn may_eject(&self, destination: &Rc<Destination>, ejection: Ejection) -> bool {
        let all = self.destinations.borrow();
        let ejected = all.iter().filter(|one| one.state.is_ejected()).count();
        let at_most = (all.len() * usize::from(ejection.at_most_percent) / 100).max(1);
        drop(all);
        ejected < at_most && self.has_other_than(std::slice::from_ref(destination))
    }

    /// A number below `limit`, evenly enough: xorshift.
    fn random_below(&self, limit: usize) -> usize {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x as usize % limit
    }
}

#[cfg(test)]
mod tests;
