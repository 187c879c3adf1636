//! How late keys end, over many keys and three gateways.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::cluster::Cluster;
use crate::endings::{BUSY, IN_E1, ending_key};
use crate::support::cli::Key;
use crate::support::gateway::Gateway;
use crate::support::http1::{Client, Request};

/// Uses keys that end together, one after the other and again and again, until each is refused. How long after the end the
/// last request of each was sent that succeeded.
fn last_successes(gateway: &Gateway, keys: &[Key], end: Timestamp) -> Vec<SignedDuration> {
    let mut client = Client::connect(gateway.http());
    // known to the gateway, as keys are that are in use
    let mut left: Vec<(&Key, Timestamp)> = keys.iter().map(|key| (key, Timestamp::MIN)).collect();
    let mut late = Vec::new();
    while !left.is_empty() {
        left.retain_mut(|(key, last)| {
            let sent = Timestamp::now();
            client.send(Request::get(IN_E1).key(key).end());
            let works = client.read().status == 200;
            if works {
                *last = sent;
            } else {
                // of many failures the gateway may have had enough, and ended the connection
                client = Client::connect(gateway.http());
                late.push(last.duration_since(end).max(SignedDuration::ZERO));
            }
            works
        });
        if Timestamp::now() < end - SignedDuration::from_millis(50) {
            std::thread::sleep(Duration::from_millis(30));
        }
    }
    late
}

/// Sorted: one for each key on each gateway.
fn measure(rounds: i64, keys_each: usize) -> Vec<SignedDuration> {
    let cluster = Cluster::with_right_clocks();
    let since = Timestamp::now();
    let trial = ending_key(cluster.one(), since + SignedDuration::from_hours(1));
    let count = i32::try_from(rounds).unwrap() * i32::try_from(keys_each).unwrap();
    let begin =
        Timestamp::now() + Timestamp::now().duration_since(since) * count * 2 + SignedDuration::from_secs(2);
    let ends: Vec<Timestamp> =
        (0..rounds).map(|round| Timestamp::from_second(begin.as_second() + 2 * round).unwrap()).collect();
    let groups: Vec<(Timestamp, Vec<Key>)> = ends
        .into_iter()
        .map(|end| (end, (0..keys_each).map(|_| ending_key(cluster.one(), end)).collect()))
        .collect();
    assert!(Timestamp::now() < groups[0].0, "the machine is too busy for this test: {}", trial.id);
    let mut late: Vec<SignedDuration> = std::thread::scope(|scope| {
        let watched: Vec<_> = cluster
            .gateways
            .iter()
            .map(|gateway| {
                let groups = &groups;
                scope.spawn(move || {
                    groups
                        .iter()
                        .flat_map(|(end, keys)| last_successes(gateway, keys, *end))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        watched.into_iter().flat_map(|watched| watched.join().unwrap()).collect()
    });
    late.sort_unstable();
    late
}

fn report(late: &[SignedDuration]) -> String {
    let at = |percent: usize| late[(late.len() - 1) * percent / 100].as_millis();
    format!("{} last successes: p50 {} ms, p99 {} ms, the latest {} ms", late.len(), at(50), at(99), at(100))
}

#[test]
fn keys_that_end_together_stop_in_time_on_every_gateway() {
    let late = measure(2, 20);
    assert_eq!(late.len(), 120);
    assert!(late[late.len() * 99 / 100] < BUSY, "{}", report(&late));
}

#[test]
#[ignore = "a measurement for docs/performance.md: --run-ignored only --no-capture"]
fn a_thousand_keys_on_three_gateways() {
    println!("{}", report(&measure(20, 50)));
}
