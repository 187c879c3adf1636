//! What the process has found out about an upstream's endpoints: their addresses, and which are down by the health check.
//!
//! The [monitor](super::monitor) writes it, and each worker reads it at its tick. Requests do not touch it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::config::HealthCheck;

/// So many checks may be missing until nothing is known any more.
const CHECKS_UNTIL_UNKNOWN: u32 = 3;
/// How often at most the log tells of one address.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The addresses of an upstream's endpoints, as last looked up.
#[derive(Debug)]
pub(super) struct ObservedAddresses(ArcSwap<Vec<ObservedAddress>>);

/// One address of an endpoint.
#[derive(Debug, Clone)]
pub(super) struct ObservedAddress {
    /// The endpoint's number in the upstream.
    pub(super) endpoint: usize,
    /// `None`: its name was not looked up yet, or it is a Unix socket.
    pub(super) address: Option<SocketAddr>,
    pub(super) health: Arc<CheckedHealth>,
}

impl ObservedAddresses {
    /// `None` stands for an endpoint whose name has yet to be looked up, and for a Unix socket.
    pub(super) fn new(endpoints: impl Iterator<Item = Option<SocketAddr>>) -> Self {
        let addresses = endpoints.enumerate().map(|(endpoint, address)| ObservedAddress {
            endpoint,
            address,
            health: CheckedHealth::new(),
        });
        Self(ArcSwap::from_pointee(addresses.collect()))
    }

    pub(super) fn load(&self) -> Arc<Vec<ObservedAddress>> {
        self.0.load_full()
    }

    /// Sets the addresses of one endpoint; what is known of those that it had before stays. Whether they are others than
    /// before. Only the monitor's thread calls this.
    pub(super) fn set(&self, endpoint: usize, addresses: &[SocketAddr]) -> bool {
        let before = self.load();
        let (own, mut all): (Vec<_>, Vec<_>) =
            before.iter().cloned().partition(|observed| observed.endpoint == endpoint);
        let mut is_changed = own.len() != addresses.len();
        for address in addresses {
            let known = own.iter().find(|observed| observed.address == Some(*address));
            is_changed |= known.is_none();
            all.push(known.cloned().unwrap_or_else(|| ObservedAddress {
                endpoint,
                address: Some(*address),
                health: CheckedHealth::new(),
            }));
        }
        if is_changed {
            self.0.store(Arc::new(all));
        }
        is_changed
    }

    /// Forgets what the checks say, where there are none any more.
    pub(super) fn forget_health(&self) {
        let all = self.load();
        let forget =
            |observed: &ObservedAddress| ObservedAddress { health: CheckedHealth::new(), ..observed.clone() };
        self.0.store(Arc::new(all.iter().map(forget).collect()));
    }

    /// Takes over what is known of an endpoint in a former configuration.
    pub(super) fn take_over(&self, endpoint: usize, former: &Self, former_endpoint: usize) {
        let former = former.load();
        let known = former.iter().filter(|observed| observed.endpoint == former_endpoint);
        let known = known.map(|observed| ObservedAddress { endpoint, ..observed.clone() });
        let others = self.load();
        let others = others.iter().filter(|observed| observed.endpoint != endpoint).cloned();
        self.0.store(Arc::new(others.chain(known).collect()));
    }
}

/// What the health checks of an address say.
#[derive(Debug)]
pub(super) struct CheckedHealth {
    created: Instant,
    failures: AtomicU32,
    successes: AtomicU32,
    /// Milliseconds since `created`. It is down until then: a checker that has stopped leaves nobody down for ever.
    down_until: AtomicU64,
    /// How often it was up again after it had been down.
    recoveries: AtomicU32,
    logged_at: AtomicU64,
    logged_down: AtomicBool,
}

impl CheckedHealth {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            created: Instant::now(),
            failures: AtomicU32::new(0),
            successes: AtomicU32::new(0),
            down_until: AtomicU64::new(0),
            recoveries: AtomicU32::new(0),
            logged_at: AtomicU64::new(0),
            logged_down: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        milliseconds(self.created.elapsed()).max(1)
    }

    /// Whether it gets no requests, if there are others.
    pub(super) fn is_down(&self) -> bool {
        let until = self.down_until.load(Ordering::Relaxed);
        until > 0 && self.now() < until
    }

    /// A number that changes each time it is up again. A worker that looks seldom sees by it what it has missed.
    pub(super) fn recoveries(&self) -> u32 {
        self.recoveries.load(Ordering::Relaxed)
    }

    /// Takes note of a check. Only one task calls this. The first one decides alone: until then nothing is known, and
    /// requests should not be what finds out.
    pub(super) fn record(&self, is_well: bool, check: &HealthCheck) {
        let (more, none) =
            if is_well { (&self.successes, &self.failures) } else { (&self.failures, &self.successes) };
        let count = more.load(Ordering::Relaxed).saturating_add(1);
        let is_first = none.swap(0, Ordering::Relaxed) == 0 && count == 1;
        more.store(count, Ordering::Relaxed);
        let is_down = if is_well {
            self.is_down() && count < check.up
        } else {
            self.is_down() || is_first || count >= check.down
        };
        if !is_down && self.is_down() {
            self.recoveries.store(self.recoveries().wrapping_add(1), Ordering::Relaxed);
        }
        let valid = (check.interval + check.timeout) * CHECKS_UNTIL_UNKNOWN;
        self.down_until.store(if is_down { self.now() + milliseconds(valid) } else { 0 }, Ordering::Relaxed);
    }

    /// What the log has to be told now: down or up. Seldom, and the last word is right, however fast it changes.
    pub(super) fn news(&self) -> Option<bool> {
        let (is_down, now) = (self.is_down(), self.now());
        let logged_at = self.logged_at.load(Ordering::Relaxed);
        let is_due = logged_at == 0 || now - logged_at >= milliseconds(LOG_INTERVAL);
        if !is_due || self.logged_down.load(Ordering::Relaxed) == is_down {
            return None;
        }
        self.logged_at.store(now, Ordering::Relaxed);
        self.logged_down.store(is_down, Ordering::Relaxed);
        Some(is_down)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(down: u32, up: u32, interval: Duration) -> HealthCheck {
        HealthCheck { path: "/".to_owned(), interval, timeout: interval, down, up }
    }

    #[test]
    fn it_is_down_after_failures_in_a_row_and_up_after_successes() {
        let health = CheckedHealth::new();
        let check = check(3, 2, Duration::from_mins(1));
        health.record(true, &check);
        let results = [false, false, true, false, false, false, true, false, true, true, false, false];
        let states = results.map(|is_well| {
            health.record(is_well, &check);
            health.is_down()
        });
        let expected = [false, false, false, false, false, true, true, true, true, false, false, false];
        assert_eq!(states, expected);
    }

    #[test]
    fn the_first_check_decides_alone() {
        let check = check(3, 2, Duration::from_mins(1));
        for is_well in [true, false] {
            let health = CheckedHealth::new();
            health.record(is_well, &check);
            assert_eq!(health.is_down(), !is_well);
            health.record(!is_well, &check);
            assert_eq!(health.is_down(), !is_well, "others do not");
        }
    }

    #[test]
    fn without_checks_it_is_not_down_for_long() {
        let health = CheckedHealth::new();
        health.record(false, &check(1, 1, Duration::from_millis(5)));
        assert!(health.is_down());
        let begun = Instant::now();
        while health.is_down() {
            assert!(begun.elapsed() < Duration::from_secs(10), "down for ever");
            std::thread::yield_now();
        }
        assert!(begun.elapsed() >= Duration::from_millis(25), "after {:?}", begun.elapsed());
    }

    #[test]
    fn addresses_that_stay_keep_what_is_known_of_them() {
        let address = |last| SocketAddr::from(([127, 0, 0, last], 80));
        let observed = ObservedAddresses::new([Some(address(1)), None].into_iter());
        assert!(observed.set(1, &[address(2), address(3)]));
        assert!(!observed.set(1, &[address(3), address(2)]), "the order means nothing");
        let health = |last| {
            let all = observed.load();
            all.iter().find(|it| it.address == Some(address(last))).map(|it| Arc::clone(&it.health))
        };
        let before = health(3).expect("known");
        assert!(observed.set(1, &[address(3), address(4)]));
        assert!(health(3).is_some_and(|health| Arc::ptr_eq(&health, &before)));
        assert!(health(2).is_none());
        let moved = ObservedAddresses::new([None].into_iter());
        moved.take_over(0, &observed, 1);
        let all = moved.load();
        assert_eq!(
            all.iter().map(|it| (it.endpoint, it.address)).collect::<Vec<_>>(),
            [(0, Some(address(3))), (0, Some(address(4)))]
        );
    }
}
