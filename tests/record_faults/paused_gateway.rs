//! A gateway that was paused past its lease (SIGSTOP, a paused machine) accepts no key that was deactivated meanwhile; nor
//! does one whose clock is wrong.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use crate::cluster::{Cluster, LEASE, Node, OFTEN, SOON};
use crate::support::cli::Key;
use crate::support::clock::WallClock;
use crate::support::gateway::Gateway;
use crate::support::http1::{Client, NoAnswer, Request};
use crate::support::upstream::Answer;
use crate::support::{PATIENCE, marker, wait_for};

/// How many requests wait for the gateway to go on.
const WAITING: usize = 20;

#[test]
fn case_71_a_gateway_that_stood_still_past_its_lease_accepts_no_deactivated_key() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    let alive = cluster.new_key();
    node.soon(SOON, &alive, 200);
    let mut stream = node.stream(&cluster, &cluster.key);
    // its upload: the upstream waits for more of it
    let upload_path = format!("/v1/projects/e1/{}", marker());
    let mut upload = node.gateway.connect();
    let head = Request::new("POST", &upload_path).key(&cluster.key).header("Transfer-Encoding", "chunked");
    upload.send(head.end());
    upload.send("3\r\nabc\r\n");
    let upload_connection = cluster.upstream.wait_for(&upload_path).connection;
    let mut kept: Vec<Client> = (0..WAITING).map(|_| node.gateway.connect()).collect();
    for client in &mut kept {
        client.send(Request::get("/v1/projects/e1/x").key(&cluster.key).end());
        assert_eq!(client.read().status, 200);
    }

    node.stand_still();
    // its lease ends while the receipt is waited for; from that moment on the key is said to be dead everywhere
    let since = Instant::now();
    let outcome = cluster.deactivate(&cluster.key);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        since.elapsed() > LEASE / 2,
        "the receipt did not wait for a live gateway: {:?}",
        since.elapsed()
    );
    // what came before it stood still is nobody's business; drained, so that all that follows came afterwards
    while stream.client.take(1, Duration::from_millis(50)).is_ok() {}
    let received = cluster.upstream.bytes_of(upload_connection).len();
    // all that a client can do waits in the gateway's sockets when it goes on
    let mut marks = Vec::new();
    let mut new: Vec<Client> = (0..WAITING).map(|_| node.gateway.connect()).collect();
    for client in kept.iter_mut().chain(&mut new) {
        let mark = marker();
        client.send(Request::get("/v1/projects/e1/x").mark(&mark).key(&cluster.key).end());
        marks.push(mark);
    }
    upload.send("3\r\ndef\r\n");
    node.gateway.signal("CONT");

    for (client, mark) in kept.iter_mut().chain(&mut new).zip(&marks) {
        let answer = client.read();
        assert!(matches!(answer.status, 401 | 503), "{answer:?}");
        cluster.upstream.assert_unseen(mark, "a dead key's request");
    }
    assert!(upload.ends_within(PATIENCE), "the upload goes on");
    assert_eq!(
        cluster.upstream.bytes_of(upload_connection).len(),
        received,
        "bytes of a dead key's upload moved"
    );
    let after = stream.client.take(1, PATIENCE);
    assert!(after.is_err(), "bytes of a dead key's stream moved");
    node.soon(SOON, &alive, 200);
    node.soon(SOON, &cluster.key, 401);
}

/// It may stand still in the very middle of moving bytes: what is ready to be moved then is not moved any more.
#[test]
fn case_71_a_gateway_that_stood_still_while_it_moved_bytes_moves_no_more() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    let mut streams: Vec<Client> = (0..4)
        .map(|_| {
            let path = format!("/v1/projects/e1/{}", marker());
            let flood = Answer::after_head(|_, conversation| {
                conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n").ok();
                let piece = vec![b'x'; 256 * 1024];
                while conversation.send(&piece).is_ok() {}
                false
            });
            cluster.upstream.answer(&path, flood);
            let mut client = node.gateway.connect();
            client.send(Request::get(&path).key(&cluster.key).end());
            client.take(1_000_000, PATIENCE).expect("the answer flows");
            client
        })
        .collect();
    let read = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let readers: Vec<_> = streams
            .iter_mut()
            .map(|client| {
                let read = &read;
                scope.spawn(move || {
                    while client.take(65_536, Duration::from_secs(1)).is_ok() {
                        read.fetch_add(1, Ordering::AcqRel);
                    }
                })
            })
            .collect();
        wait_for(PATIENCE, "the answers flow", || read.load(Ordering::Acquire) >= 100);
        node.stand_still();
        let outcome = cluster.deactivate(&cluster.key);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        for reader in readers {
            reader.join().expect("it reads");
        }
    });
    // everything that had left the gateway is read; what comes now was moved afterwards
    for client in &mut streams {
        while client.take(1, Duration::from_millis(20)).is_ok() {}
    }
    node.gateway.signal("CONT");
    let moved: Vec<usize> = streams
        .iter_mut()
        .map(|client| match client.take(usize::MAX, PATIENCE) {
            Err(NoAnswer::Closed(bytes)) => bytes.len(),
            other => panic!("the stream does not end: {other:?}"),
        })
        .collect();
    assert_eq!(moved, [0; 4], "bytes moved after the key was dead");
}

#[test]
fn case_71_a_gateway_that_stood_still_within_its_lease_applies_what_it_missed() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    let alive = cluster.new_key();
    let mut stream = node.stream(&cluster, &cluster.key);
    let mut other = node.stream(&cluster, &alive);
    node.stand_still();
    std::thread::scope(|scope| {
        // its author waits for the gateway: 5 s at most
        let deactivating = scope.spawn(|| cluster.deactivate(&cluster.key));
        wait_for(PATIENCE, "it is in the record", || cluster.state(&cluster.key) == "inactive");
        assert!(!deactivating.is_finished(), "the receipt does not wait for a gateway that is live");
        node.gateway.signal("CONT");
        let outcome = deactivating.join().expect("it ends");
        assert_eq!(outcome.code, 0, "{outcome:?}");
    });
    // what the receipt says is so: at once, and not soon
    assert_eq!(node.status(&cluster.key), 401);
    stream.ends(Duration::from_millis(500));
    other.goes_on();
}

#[test]
fn case_77_a_gateway_whose_clock_is_an_hour_off_keeps_its_lease_and_its_promises() {
    let cluster = Cluster::start();
    // one whose record is away would be waited for
    let both_are_done = Barrier::new(2);
    std::thread::scope(|scope| {
        for hours in [1, -1] {
            let (cluster, both_are_done) = (&cluster, &both_are_done);
            scope.spawn(move || {
                // a failure must not leave the other one waiting
                let done = catch_unwind(AssertUnwindSafe(|| keeps_its_word(cluster, hours)));
                both_are_done.wait();
                let (node, other) = done.unwrap_or_else(|panic| resume_unwind(panic));
                // its lease ends in time all the same
                node.relay.cut();
                let since = Instant::now();
                node.soon(LEASE + Duration::from_millis(500), &other, 503);
                assert!(since.elapsed() > LEASE / 3, "{:?}", since.elapsed());
            });
        }
    });
}

/// A gateway whose clock is so many hours off, and a key that it honours.
fn keeps_its_word(cluster: &Cluster, hours: i64) -> (Node, Key) {
    let (site, relay) = cluster.site("wrong");
    let clock = WallClock::in_directory(site.directory());
    clock.set_ahead(SignedDuration::from_hours(hours));
    let gateway: Gateway = site.environment(clock.environment()).start();
    let node = Node { gateway, relay };
    let key = cluster.new_key();
    node.soon(SOON, &key, 200);
    let listed = cluster.operator_site.json(&["gateways"]);
    let live = listed["data"].as_array().expect("a list").iter().any(|gateway| gateway["state"] == "active");
    assert!(live, "{listed}");
    // there and back while it runs
    let since = Instant::now();
    clock.set_ahead(SignedDuration::from_hours(-hours));
    while since.elapsed() < LEASE {
        assert_eq!((node.status(&key), node.readiness()), (200, 200));
        std::thread::sleep(OFTEN);
    }
    let outcome = cluster.deactivate(&key);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(node.status(&key), 401);
    let other = cluster.new_key();
    node.soon(SOON, &other, 200);
    (node, other)
}
