//! Keys that are deactivated and activated again, and gateways that start while many clients wait.

use std::sync::Barrier;

use crate::cluster::{Cluster, Node, SOON};
use crate::support::cli::Key;

#[test]
fn case_73_a_key_that_is_activated_again_is_refused_nowhere() {
    let cluster = Cluster::start();
    let nodes = [cluster.node("one"), cluster.node("two")];
    for node in &nodes {
        node.soon(SOON, &cluster.key, 200);
    }
    for round in 0..5 {
        assert_eq!(cluster.deactivate(&cluster.key).code, 0);
        // refused, and the refusal remembered, by every worker of both
        for node in &nodes {
            assert_eq!([(); 6].map(|()| node.status(&cluster.key)), [401; 6], "round {round}");
        }
        let outcome = cluster.operator_site.run(&["key", "activate", &cluster.key.access_key]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        for node in &nodes {
            assert_eq!([(); 6].map(|()| node.status(&cluster.key)), [200; 6], "round {round}");
        }
    }
}

#[test]
fn case_73_a_key_that_is_replaced_ends_and_the_new_one_works_at_once() {
    let cluster = Cluster::start();
    let nodes = [cluster.node("one"), cluster.node("two")];
    for _ in 0..3 {
        let old = cluster.new_key();
        for node in &nodes {
            assert_eq!(node.status(&old), 200, "at once on every gateway");
        }
        // both work until the old one is ended
        let new = cluster.new_key();
        for node in &nodes {
            assert_eq!((node.status(&old), node.status(&new)), (200, 200));
        }
        assert_eq!(cluster.deactivate(&old).code, 0);
        for node in &nodes {
            assert_eq!((node.status(&old), node.status(&new)), (401, 200));
        }
    }
}

#[test]
fn case_78_a_gateway_that_starts_before_many_waiting_clients_verifies_no_secret_again() {
    const CLIENTS: usize = 16;
    let cluster = Cluster::start();
    let keys: Vec<Key> = (0..24).map(|_| cluster.new_key()).collect();
    let dead = &keys[0];
    assert_eq!(cluster.deactivate(dead).code, 0);
    let Node { gateway, relay } = cluster.node("one");
    // its memory is empty after the start, and its record away: it has its replica alone
    let site = gateway.crash();
    relay.cut();
    let node = Node { gateway: site.start(), relay };
    let begin = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (node, keys, begin) = (&node, &keys, &begin);
            scope.spawn(move || {
                begin.wait();
                for (number, key) in keys.iter().enumerate().skip(client % 2) {
                    let status = node.status(key);
                    let expected: &[u16] = if number == 0 { &[401, 503] } else { &[200] };
                    assert!(expected.contains(&status), "key {number} is answered {status}");
                }
            });
        }
    });
    // each was recognised by its fingerprint: no storm of argon2, whose memory and time would be the end
    assert_eq!(node.gateway.authentication_count("argon2_runs"), 0);
}
