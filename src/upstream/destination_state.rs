//! What one worker knows of a destination: requests in flight, failures, whether it is ejected. And the counts of all
//! workers, for the metrics.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a destination that could not be connected to is passed over while there are others.
const PAUSE_AFTER_CONNECT_FAILURE: Duration = Duration::from_secs(1);

/// How often at most the log tells that a destination is ejected.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What one worker knows of a destination. A reload leaves it as it is.
pub(super) struct DestinationState {
    counts: Arc<DestinationCounts>,
    in_flight: Cell<usize>,
    /// Failures since the last success.
    failures: Cell<u32>,
    /// No requests until then, if there are other destinations. When the time is up one request is sent there; it is
    /// ejected until one succeeds.
    ejected_until: Cell<Option<Instant>>,
    /// No requests until then either, since no connection could be made.
    paused_until: Cell<Option<Instant>>,
    /// By the health check.
    is_down: Cell<bool>,
    /// How often it was up again by the health check, as far as this worker knows.
    recoveries: Cell<u32>,
    /// When the log was told last that it is ejected, and whether it has been told of this time.
    logged: Cell<(Option<Instant>, bool)>,
}

/// What one worker has counted at one destination. Written by that worker alone, so that a load and a store do.
#[derive(Debug, Default)]
pub(super) struct DestinationCounts {
    requests: AtomicU64,
    failures: AtomicU64,
    ejections: AtomicU64,
    ejected: AtomicU64,
    down: AtomicU64,
}

fn increase(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl DestinationState {
    fn new(counts: Arc<DestinationCounts>) -> Rc<Self> {
        Rc::new(Self {
            counts,
            in_flight: Cell::new(0),
            failures: Cell::new(0),
            ejected_until: Cell::new(None),
            paused_until: Cell::new(None),
            is_down: Cell::new(false),
            recoveries: Cell::new(0),
            logged: Cell::new((None, false)),
        })
    }

    /// Counts a request. If the destination is ejected, the request is a trial, which is returned: until something is
    /// known of it, others are kept away for another `pause`.
    pub(super) fn begin_request(&self, pause: Duration) -> bool {
        self.in_flight.set(self.in_flight.get() + 1);
        increase(&self.counts.requests);
        let is_trial = self.is_ejected();
        if is_trial {
            self.ejected_until.set(Some(Instant::now() + pause));
        }
        is_trial
    }

    /// `is_open_trial`: it was a trial that showed nothing; the next request is one.
    pub(super) fn end_request(&self, is_open_trial: bool) {
        self.in_flight.set(self.in_flight.get() - 1);
        if is_open_trial && self.is_ejected() {
            self.ejected_until.set(Some(Instant::now()));
        }
    }

    /// Requests that are there now.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Whether it gets a request where others could too. `now` is asked only where there was a failure lately.
    /// `trial_delay`: how long after the pause an ejected one gets a request as a trial.
    pub(super) fn is_available(&self, trial_delay: Duration, now: impl Fn() -> Instant) -> bool {
        let is_over =
            |until: &Cell<Option<Instant>>, delay| until.get().is_none_or(|until| until + delay <= now());
        !self.is_down.get()
            && is_over(&self.ejected_until, trial_delay)
            && is_over(&self.paused_until, Duration::ZERO)
    }

    /// Whether it is ejected, or on trial after it.
    pub(super) fn is_ejected(&self) -> bool {
        self.ejected_until.get().is_some()
    }

    /// Whether it is neither ejected nor down.
    pub(super) fn is_well(&self) -> bool {
        !self.is_ejected() && !self.is_down.get()
    }

    /// Takes note of what the health checks say. If it is up again and was ejected too, it is tried at once.
    pub(super) fn set_health(&self, is_down: bool, recoveries: u32) {
        if self.is_down.replace(is_down) != is_down {
            self.counts.down.store(u64::from(is_down), Ordering::Relaxed);
        }
        if self.recoveries.replace(recoveries) != recoveries && self.is_ejected() {
            self.ejected_until.set(Some(Instant::now()));
        }
    }

    /// Whether the log is to be told now that it is ejected: not time and again where it is back each time.
    pub(super) fn tell_of_ejection(&self) -> bool {
        let (last, _) = self.logged.get();
        let is_due = last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL);
        self.logged.set((if is_due { Some(Instant::now()) } else { last }, is_due));
        is_due
    }

    /// Whether the log is to be told that it is back: if it was told that it was ejected.
    pub(super) fn tell_of_return(&self) -> bool {
        let (last, was_told) = self.logged.get();
        self.logged.set((last, false));
        was_told
    }

    /// Takes note of an answer. Whether it is back after it was ejected.
    pub(super) fn succeeded(&self, trial: bool) -> bool {
        self.failures.set(0);
        self.paused_until.set(None);
        if !trial {
            return false;
        }
        self.counts.ejected.store(0, Ordering::Relaxed);
        self.ejected_until.take().is_some()
    }

    /// Takes note of a failure: how many there were since the last success.
    pub(super) fn failed(&self) -> u32 {
        increase(&self.counts.failures);
        self.failures.set(self.failures.get().saturating_add(1));
        self.failures.get()
    }

    pub(super) fn eject(&self, until: Instant) {
        if self.ejected_until.replace(Some(until)).is_none() {
            increase(&self.counts.ejections);
            self.counts.ejected.store(1, Ordering::Relaxed);
        }
    }

    /// Passes it over for a while. Whether it was not paused yet.
    pub(super) fn pause(&self) -> bool {
        let now = Instant::now();
        let before = self.paused_until.replace(Some(now + PAUSE_AFTER_CONNECT_FAILURE));
        before.is_none_or(|until| until <= now)
    }
}

/// What one worker knows of all destinations, those of former configurations too as long as requests run there.
pub struct DestinationStates {
    counts: Arc<EndpointCounts>,
    all: RefCell<HashMap<EndpointAddress, Weak<DestinationState>>>,
}

impl DestinationStates {
    /// Nothing is known yet. What is counted is added to `counts`.
    pub fn new(counts: Arc<EndpointCounts>) -> Self {
        Self { counts, all: RefCell::default() }
    }

    pub(super) fn find_or_add(&self, of: &EndpointAddress) -> Rc<DestinationState> {
        let mut all = self.all.borrow_mut();
        if let Some(state) = all.get(of).and_then(Weak::upgrade) {
            return state;
        }
        all.retain(|_, state| state.strong_count() > 0);
        let state = DestinationState::new(self.counts.add(of));
        all.insert(of.clone(), Rc::downgrade(&state));
        state
    }
}

/// Names an address that requests go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointAddress {
    /// The upstream's name.
    pub upstream: String,
    /// The endpoint's host and port, or the path of its Unix socket, as configured.
    pub endpoint: String,
    /// The address that its name stands for; absent where the configuration has an address, or before it is looked up.
    pub address: Option<SocketAddr>,
}

/// What was counted at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointCount {
    /// Requests that were sent there, or for which a connection was tried.
    pub requests: u64,
    /// Those of them that failed: no connection, no answer, 502, 503 or 504.
    pub failures: u64,
    /// How often a worker ejected it.
    pub ejections: u64,
    /// Workers that have it ejected now.
    pub ejected: u64,
    /// Workers for which it is down by the health check.
    pub down: u64,
}

/// What all workers have counted at all addresses.
#[derive(Debug, Default)]
pub struct EndpointCounts(Mutex<Vec<(EndpointAddress, Arc<DestinationCounts>)>>);

impl EndpointCounts {
    fn add(&self, of: &EndpointAddress) -> Arc<DestinationCounts> {
        let counts = Arc::<DestinationCounts>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((of.clone(), Arc::clone(&counts)));
        counts
    }

    /// The sums of all workers, in the order of the names. What no configuration has any more is left out.
    pub fn sums(&self) -> Vec<(EndpointAddress, EndpointCount)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, counts)| Arc::strong_count(counts) > 1);
        let mut sums = BTreeMap::<_, EndpointCount>::new();
        for (of, counts) in all.iter() {
            let sum = sums.entry(of.clone()).or_default();
            let add = |sum: &mut u64, count: &AtomicU64| *sum += count.load(Ordering::Relaxed);
            add(&mut sum.requests, &counts.requests);
            add(&mut sum.failures, &counts.failures);
            add(&mut sum.ejections, &counts.ejections);
            add(&mut sum.ejected, &counts.ejected);
            add(&mut sum.down, &counts.down);
        }
        sums.into_iter().collect()
    }
}
