//! The record is restarted under traffic: no answer is wrong, and no acknowledged change is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::cluster::{Cluster, OFTEN, SOON};
use crate::support::cli::Key;
use crate::support::postgres::{Postgres, Stop};
use crate::support::{PATIENCE, wait_for};

/// Restarts the record while keys are used and changed.
fn is_restarted(end: impl Fn(&Postgres)) {
    let cluster = Cluster::start();
    let nodes = ["one", "two"].map(|name| cluster.node_with_long_lease(name));
    let dead = cluster.new_key();
    for node in &nodes {
        node.soon(SOON, &cluster.key, 200);
    }
    assert_eq!(cluster.deactivate(&dead).code, 0);
    let over = AtomicBool::new(false);
    let asked = AtomicU64::new(0);
    let mut acknowledged: Vec<Key> = Vec::new();
    std::thread::scope(|scope| {
        for node in &nodes {
            let (cluster, over, asked, dead) = (&cluster, &over, &asked, &dead);
            scope.spawn(move || {
                while !over.load(Ordering::Acquire) {
                    assert_eq!(node.status(&cluster.key), 200);
                    let status = node.status(dead);
                    assert!(matches!(status, 401 | 503), "a dead key is answered {status}");
                    asked.fetch_add(1, Ordering::AcqRel);
                    std::thread::sleep(OFTEN);
                }
            });
        }
        let (cluster, over, asked) = (&cluster, &over, &asked);
        let changing = scope.spawn(move || {
            let mut acknowledged = Vec::new();
            while !over.load(Ordering::Acquire) {
                let made =
                    cluster.operator_site.run(&["key", "create", "--environment", "e1", "--output", "json"]);
                let Ok(document) = serde_json::from_str::<serde_json::Value>(&made.stdout) else { continue };
                let key = crate::support::api::key_in(&document);
                // 3: not everywhere yet, but made
                if made.code == 0 && matches!(cluster.deactivate(&key).code, 0 | 3) {
                    acknowledged.push(key);
                }
            }
            acknowledged
        });
        // a test that fails must not leave the others running
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // few, so that the lease does not end meanwhile
            let more_are_asked = || {
                let before = asked.load(Ordering::Acquire);
                wait_for(PATIENCE, "requests go on", || asked.load(Ordering::Acquire) >= before + 6);
            };
            for _ in 0..2 {
                more_are_asked();
                end(&cluster.server);
                more_are_asked();
                cluster.server.start_again();
            }
            more_are_asked();
        }));
        over.store(true, Ordering::Release);
        acknowledged = changing.join().expect("it changes");
        assert!(done.is_ok());
    });
    assert!(asked.load(Ordering::Acquire) > 20 && !acknowledged.is_empty(), "{asked:?} {acknowledged:?}");
    for node in &nodes {
        node.soon(PATIENCE, &dead, 401);
        for key in &acknowledged {
            assert_eq!(node.status(key), 401);
        }
        assert!(!node.gateway.log().contains("made anew"), "nothing was rewound");
    }
    for key in &acknowledged {
        assert_eq!(cluster.state(key), "inactive", "an acknowledged change is lost");
    }
}

#[test]
fn the_record_is_restarted_in_order() {
    is_restarted(|server| server.stop(Stop::Fast));
}

#[test]
fn the_record_is_restarted_at_once() {
    is_restarted(|server| server.stop(Stop::Immediate));
}

#[test]
fn the_record_is_killed_and_recovers() {
    is_restarted(Postgres::kill);
}
