//! Watches the endpoints of all upstreams for the whole process: looks their names up again, and makes health checks.
//!
//! One task for each upstream, and below it one for each name and one for the health checks. Workers are told through
//! [`ObservedAddresses`](super::observed_addresses), and what stands there is good for a limited time.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::health_check::check_health;
use super::prepared_upstream::{Endpoint, Upstream};
use crate::config::HealthCheck;

/// How often names are looked up. The system does not say how long an answer is good for (`getaddrinfo` has no TTL). Five
/// seconds is what the names of Kubernetes services are good for by default, and one question in five seconds costs a
/// resolver nothing.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(5);

/// Watches the upstreams of the configuration in use, until the other end of `upstreams` is dropped. `first_round`: dropped
/// once all endpoints of the first configuration were checked.
pub async fn monitor(mut upstreams: watch::Receiver<Vec<Arc<Upstream>>>, first_round: mpsc::Sender<()>) {
    let mut first_round = Some(first_round);
    loop {
        // dropped with their set
        let mut tasks = JoinSet::new();
        let first_round = first_round.take();
        for upstream in upstreams.borrow_and_update().iter() {
            tasks.spawn(watch_upstream(Arc::clone(upstream), first_round.clone()));
        }
        drop(first_round);
        if upstreams.changed().await.is_err() {
            return;
        }
    }
}

async fn watch_upstream(upstream: Arc<Upstream>, first_round: Option<mpsc::Sender<()>>) {
    // dropped with their set
    let mut look_ups = JoinSet::new();
    let mut looked_up = Vec::new();
    for (number, endpoint) in upstream.endpoints.iter().enumerate() {
        if endpoint.host_name().is_some() {
            let (done, first) = oneshot::channel();
            look_ups.spawn(look_up_again(Arc::clone(&upstream), number, done));
            looked_up.push(first);
        }
    }
    if let Some(check) = upstream.health.clone() {
        // a name whose look-up hangs does not keep the other endpoints from being checked
        let _ = tokio::time::timeout(check.timeout, join_all(looked_up)).await;
        check_all(upstream, check, first_round).await;
    } else {
        drop(first_round);
        while look_ups.join_next().await.is_some() {}
    }
}

/// Looks a name up again and again. As long as nothing is found, the addresses that were found last stay. `done`: dropped
/// after the first time.
async fn look_up_again(upstream: Arc<Upstream>, number: usize, done: oneshot::Sender<()>) {
    let mut done = Some(done);
    let endpoint = upstream.endpoints.get(number);
    let Some((name, port)) = endpoint.and_then(Endpoint::host_name) else { return };
    let mut interval = tokio::time::interval(LOOKUP_INTERVAL);
    // a look-up that hangs is not made up for
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_failing = false;
    loop {
        interval.tick().await;
        let found = lookup_host((name, port)).await;
        let upstream_name = &upstream.name;
        match found.map(distinct) {
            Ok(addresses) if !addresses.is_empty() => {
                if std::mem::take(&mut was_failing) {
                    tracing::info!(upstream = %upstream_name, %name, "the name of the endpoint is found again");
                }
                if upstream.observed.set(number, &addresses) {
                    tracing::info!(upstream = %upstream_name, %name, ?addresses, "the endpoint has these addresses");
                }
            }
            failed => {
                if !std::mem::replace(&mut was_failing, true) {
                    let error =
                        failed.err().map_or_else(|| "no address".to_owned(), |error| error.to_string());
                    tracing::warn!(
                        upstream = %upstream_name,
                        %name,
                        error,
                        "the name of the endpoint is not found; the addresses found last are used"
                    );
                }
            }
        }
        drop(done.take());
    }
}

fn distinct(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Checks all addresses of an upstream at once, again and again. A round is over before the next begins. `first_round`:
/// dropped after the first one.
async fn check_all(upstream: Arc<Upstream>, check: HealthCheck, mut first_round: Option<mpsc::Sender<()>>) {
    let check = Arc::new(check);
    let mut interval = tokio::time::interval(check.interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let mut round = JoinSet::new();
        let observed = upstream.observed.load();
        for at in observed.iter().filter(|at| upstream.is_located(at.endpoint, at.address)) {
            let (upstream, at, check) = (Arc::clone(&upstream), at.clone(), Arc::clone(&check));
            round.spawn(async move {
                let result = check_health(&upstream, &at, &check).await;
                at.health.record(result.is_ok(), &check);
                let Some(is_down) = at.health.news() else { return };
                let (upstream, endpoint) = (&upstream.name, upstream.address_name(at.endpoint, at.address));
                match (is_down, result) {
                    (true, Err(error)) => {
                        tracing::warn!(%upstream, %endpoint, %error, "health check: the endpoint is down");
                    }
                    (true, Ok(())) => {
                        tracing::warn!(%upstream, %endpoint, "health check: the endpoint is down");
                    }
                    (false, _) => tracing::info!(%upstream, %endpoint, "health check: the endpoint is up"),
                }
            });
        }
        // a check that panics has no result, and without results nobody stays down
        while round.join_next().await.is_some() {}
        drop(first_round.take());
    }
}
