//! What one worker has for all of its requests: the configuration in use, connections to upstreams, counters, clock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::clock::Clock;
use super::config_snapshot::ConfigSnapshot;
use super::http_date::HttpDate;
use super::open_streams::OpenStreams;
use super::random_numbers::RandomNumbers;
use super::shared_state::SharedState;
use crate::telemetry::{AccessLogWriter, RouteCounts, SpanWriter, WorkerMetrics};
use crate::upstream::{ConcurrencyLimits, DestinationStates, Pool};
use crate::wire::{PipePool, ReplayBudget};

/// A configuration that requests are served by, and the connections to its upstreams. A request keeps the one that it
/// began with.
pub(super) struct ActiveConfig {
    pub(super) snapshot: Arc<ConfigSnapshot>,
    pub(super) pools: Vec<Rc<Pool>>,
    /// What this worker counts of each route.
    pub(super) route_counts: Vec<Arc<RouteCounts>>,
}

impl ActiveConfig {
    fn new(
        snapshot: Arc<ConfigSnapshot>,
        limits: &ConcurrencyLimits,
        destinations: &DestinationStates,
        metrics: &WorkerMetrics,
    ) -> Rc<Self> {
        let timeout = snapshot.timeouts.upstream_connect;
        let limits = limits.for_upstreams(&snapshot.upstreams, snapshot.files.upstream_connections);
        let upstreams = snapshot.upstreams.iter().zip(limits);
        let pools = upstreams
            .map(|(upstream, limit)| Pool::new(Arc::clone(upstream), limit, destinations, timeout))
            .map(Rc::new);
        let pools = pools.collect();
        let route_counts = metrics.take_over_routes(&snapshot.route_names);
        Rc::new(Self { snapshot, pools, route_counts })
    }
}

/// What one worker has for all of its connections and requests. Never leaves its thread.
pub(super) struct WorkerContext {
    pub(super) shared: Arc<SharedState>,
    pub(super) streams: Rc<OpenStreams>,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) pipe_pool: PipePool,
    pub(super) replay_budget: ReplayBudget,
    /// Answered requests whose clients may still be sending.
    pub(super) lingering: Cell<usize>,
    pub(super) access_log: RefCell<AccessLogWriter>,
    /// Where spans go, if they are recorded.
    pub(super) spans: Option<RefCell<SpanWriter>>,
    active_config: RefCell<Rc<ActiveConfig>>,
    /// What the connections to upstreams are bounded by, those of earlier configurations too.
    upstream_limits: ConcurrencyLimits,
    /// What is known of the upstreams' endpoints. It outlasts a reload.
    destinations: DestinationStates,
    draining: Cell<bool>,
    closes_idle: Cell<bool>,
    random: RandomNumbers,
    clock: Cell<Clock>,
    date: Cell<HttpDate>,
}

impl WorkerContext {
    pub(super) fn new(
        shared: Arc<SharedState>,
        metrics: Arc<WorkerMetrics>,
        (access_log, spans): (AccessLogWriter, Option<SpanWriter>),
    ) -> Rc<Self> {
        let upstream_limits = ConcurrencyLimits::default();
        let destinations = DestinationStates::new(Arc::clone(&shared.endpoint_counts));
        let active_config =
            ActiveConfig::new(shared.snapshot.load_full(), &upstream_limits, &destinations, &metrics);
        let streams = OpenStreams::new(Arc::clone(&shared.authenticator));
        let clock = Clock::now();
        Rc::new(Self {
            shared,
            streams,
            metrics,
            replay_budget: ReplayBudget::default(),
            pipe_pool: PipePool::new(active_config.snapshot.files.pipes),
            lingering: Cell::new(0),
            access_log: RefCell::new(access_log),
            spans: spans.map(RefCell::new),
            active_config: RefCell::new(active_config),
            upstream_limits,
            destinations,
            draining: Cell::new(false),
            closes_idle: Cell::new(false),
            random: RandomNumbers::new(),
            clock: Cell::new(clock),
            date: Cell::new(HttpDate::at(clock.unix_milliseconds, None)),
        })
    }

    /// What is to be done a few times a second: timeouts, the clock, the access log, idle connections.
    pub(super) fn tick(&self) {
        self.streams.tick();
        let clock = Clock::now();
        self.clock.set(clock);
        self.date.set(HttpDate::at(clock.unix_milliseconds, Some(self.date.get())));
        // what is known may be out of date by now: nothing that a key has opened goes on by it
        if !self.shared.authenticator.has_lease() {
            self.streams.recheck_keys();
        }
        self.access_log.borrow_mut().flush();
        if let Some(spans) = &self.spans {
            spans.borrow_mut().flush();
        }
        let active_config = self.active_config();
        for pool in &active_config.pools {
            pool.refresh(&self.destinations);
        }
        if let Some(oldest) = Instant::now().checked_sub(active_config.snapshot.timeouts.upstream_idle) {
            for pool in &active_config.pools {
                pool.close_idle(oldest);
            }
        }
        self.upstream_limits.forget_unused(&active_config.snapshot.upstreams);
    }

    /// What the next request is served by.
    pub(super) fn active_config(&self) -> Rc<ActiveConfig> {
        let current = self.shared.snapshot.load();
        let mut active_config = self.active_config.borrow_mut();
        if !Arc::ptr_eq(&current, &active_config.snapshot) {
            // before the limits are divided anew: what it keeps idle is closed
            active_config.pools.iter().for_each(|pool| pool.retire());
            *active_config = ActiveConfig::new(
                Arc::clone(&current),
                &self.upstream_limits,
                &self.destinations,
                &self.metrics,
            );
        }
        Rc::clone(&active_config)
    }

    /// Keeps no connection open for a next request from now on.
    pub(super) fn begin_draining(&self) {
        self.draining.set(true);
    }

    /// From now on connections do not wait for a next request.
    pub(super) fn close_idle(&self) {
        self.closes_idle.set(true);
        self.streams.drain();
    }

    /// Whether a connection whose request has been answered is closed.
    pub(super) fn closes_idle(&self) -> bool {
        self.closes_idle.get()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// A moment as milliseconds since 1970, by the system's clock as of the last tick.
    pub(super) fn unix_milliseconds(&self, moment: Instant) -> i64 {
        self.clock.get().unix_milliseconds_at(moment)
    }

    /// The date of a response, as of the last tick.
    pub(super) fn date(&self) -> HttpDate {
        self.date.get()
    }

    /// For request ids and the like; not for secrets.
    pub(super) fn random_bytes(&self) -> [u8; 16] {
        self.random.next()
    }
}
