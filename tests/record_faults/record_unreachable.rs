//! The record cannot be reached: while gateways run, and when they start.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, LEASE, Node, OFTEN, SOON};
use crate::support::cli::Key;
use crate::support::gateway::Plan;
use crate::support::postgres::Stop;
use crate::support::{PATIENCE, wait_for};

fn unknown() -> Key {
    let access_key = format!("pce_{:0<20}", "unknown");
    Key { id: String::new(), access_key, secret: crate::support::cli::minted_secret(7) }
}

/// How long until a write that cannot be made is answered.
const PATIENCE_WITH_THE_RECORD: Duration = Duration::from_secs(7);

/// The gateway serves what it knows while its lease runs, and nothing afterwards, until the record is back.
fn goes_away_and_comes_back(away: impl FnOnce(&Cluster, &Node), back: impl FnOnce(&Cluster, &Node)) {
    let cluster = Cluster::start();
    let never_used = cluster.new_key();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    assert_eq!(node.status(&unknown()), 401);
    let mut stream = node.stream(&cluster, &cluster.key);

    let since = Instant::now();
    away(&cluster, &node);
    // what is asked of the record is not waited for where keys are served
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let answer = node.write();
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.header("Retry-After").is_some(), "{answer:?}");
        });
        // a renewal that was just done leaves a whole lease; one that was about to be done, a third and a poll less
        while since.elapsed() < LEASE / 3 {
            assert_eq!(node.status(&cluster.key), 200, "after {:?}", since.elapsed());
            assert_eq!(node.status(&never_used), 200, "the replica knows it, after {:?}", since.elapsed());
            assert_eq!(node.readiness(), 200);
            let read = node.api().get("/v2-beta/accounts");
            assert_eq!(read.status, 200, "{read:?}");
            stream.goes_on();
            std::thread::sleep(OFTEN);
        }
        // what it does not know it cannot deny: it has heard nothing for too long
        node.soon(SOON, &unknown(), 503);
        node.is_refused_for_now(&unknown());
        node.soon(LEASE, &cluster.key, 503);
        assert!(since.elapsed() < LEASE + Duration::from_millis(500), "{:?}", since.elapsed());
        node.is_refused_for_now(&cluster.key);
        node.is_refused_for_now(&never_used);
        stream.ends(Duration::from_millis(500));
        assert_eq!((node.public(), node.readiness()), (200, 503));
        writing.join().expect("the write is refused");
    });

    back(&cluster, &node);
    node.soon(SOON, &cluster.key, 200);
    node.soon(SOON, &unknown(), 401);
    assert_eq!(node.readiness(), 200);
    node.stream(&cluster, &cluster.key).goes_on();
    let written = node.write();
    assert_eq!(written.status, 201, "{written:?}");
    node.logged(SOON, "the record is followed again");
}

#[test]
fn case_75_the_record_is_cut_off() {
    goes_away_and_comes_back(|_, node| node.relay.cut(), |_, node| node.relay.mend());
}

#[test]
fn case_75_the_record_is_stopped() {
    goes_away_and_comes_back(
        |cluster, _| cluster.server.stop(Stop::Fast),
        |cluster, _| cluster.server.start_again(),
    );
}

#[test]
fn case_75_the_record_swallows_what_is_sent() {
    goes_away_and_comes_back(|_, node| node.relay.black_hole(), |_, node| node.relay.mend());
}

#[test]
fn case_75_the_record_stands_still() {
    goes_away_and_comes_back(|cluster, _| cluster.server.pause(), |cluster, _| cluster.server.go_on());
}

#[test]
fn case_75_a_write_without_the_record_is_refused_in_time() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    // with a connection that is dead and does not say so
    assert_eq!(node.write().status, 201);
    node.relay.black_hole();
    let since = Instant::now();
    let answer = node.write();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(since.elapsed() < PATIENCE_WITH_THE_RECORD, "{:?}", since.elapsed());
    node.relay.cut();
    let outcome = node.gateway.run(&["account", "create", "--name", "late"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("nothing was changed"), "{outcome:?}");
    assert!(cluster.operator_site.succeed(&["account", "list"]).stdout.find("late").is_none());
}

#[test]
fn case_75_a_gateway_starts_from_its_replica_within_its_lease() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    let dead = cluster.new_key();
    assert_eq!(cluster.deactivate(&dead).code, 0);
    node.relay.cut();
    let Node { gateway, relay } = node;
    let since = Instant::now();
    // killed: its lease in the record and in the replica goes on
    let gateway = gateway.crash().start();
    let node = Node { gateway, relay };
    assert_eq!(node.status(&cluster.key), 200, "after {:?}", since.elapsed());
    assert_eq!(node.readiness(), 200);
    assert_ne!(node.status(&dead), 200);
    node.soon(LEASE, &cluster.key, 503);
    assert!(since.elapsed() < LEASE + Duration::from_millis(500));
    assert_eq!(node.readiness(), 503);
    // past it: a start serves no key, and says why
    let Node { gateway, relay } = node;
    let gateway = gateway.crash().start();
    let node = Node { gateway, relay };
    node.is_refused_for_now(&cluster.key);
    assert_eq!((node.readiness(), node.public()), (503, 200));
    node.logged(SOON, "starting from the replica alone");
    node.logged(SOON, "every key is answered 503");
    node.relay.mend();
    node.soon(SOON, &cluster.key, 200);
    assert_eq!(node.status(&dead), 401);
}

#[test]
fn case_75_a_gateway_without_record_and_replica_says_what_is_wrong() {
    let cluster = Cluster::start();
    let (site, relay) = cluster.site("one");
    relay.cut();
    let (_, outcome) = *site.try_start().expect_err("it cannot start");
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("cannot be reached"), "{outcome:?}");
    assert!(outcome.stderr.contains("127.0.0.1"), "{outcome:?}");
}

#[test]
fn a_gateway_is_stopped_while_the_record_does_not_answer() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.relay.black_hole();
    wait_for(PATIENCE, "it waits for an answer", || node.relay.has_swallowed());
    let since = Instant::now();
    let (_, code) = node.gateway.stop();
    assert_eq!(code, Some(0));
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn a_slow_record_is_a_record() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    // there and back takes as long as to the other side of the world
    node.relay.delay(Duration::from_millis(150));
    let since = Instant::now();
    while since.elapsed() < LEASE + Duration::from_secs(1) {
        assert_eq!(node.status(&cluster.key), 200, "after {:?}", since.elapsed());
        assert_eq!(node.readiness(), 200);
        std::thread::sleep(OFTEN);
    }
    let written = node.write();
    assert_eq!(written.status, 201, "{written:?}");
    // a receipt waits for the slow one
    let outcome = cluster.deactivate(&cluster.key);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_ne!(node.status(&cluster.key), 200);
    node.soon(SOON, &cluster.key, 401);
    node.soon(SOON, &unknown(), 401);
    wait_for(PATIENCE, "nothing is said to be away", || !node.gateway.log().contains("cannot be followed"));
}

/// A lease that lasts while a gateway without its record is stopped and started.
const LEASE_OVER_A_RESTART: &str = "20s";

#[track_caller]
fn node_over_a_restart(cluster: &Cluster) -> Node {
    let relay = cluster.server.relay();
    let plan =
        Plan::new(&cluster.upstream).postgres(&relay.url(&cluster.database), "one", LEASE_OVER_A_RESTART);
    let node = Node { gateway: plan.join(&cluster.operator_site).start(), relay };
    node.soon(SOON, &cluster.key, 200);
    node
}

/// How many gateways the record waits for.
fn waited_for(cluster: &Cluster) -> String {
    let live = "SELECT count(*) FROM portcullis.gateways WHERE lease_until > now()";
    cluster.server.sql(&cluster.database, live)
}

#[test]
fn case_122_a_gateway_stopped_in_order_without_the_record_keeps_what_a_killed_one_keeps() {
    let cluster = Cluster::start();
    let Node { gateway, relay } = node_over_a_restart(&cluster);
    relay.cut();
    let (site, code) = gateway.stop();
    assert_eq!(code, Some(0));
    let node = Node { gateway: site.start(), relay };
    assert_eq!((node.status(&cluster.key), node.readiness()), (200, 200));
    node.logged(SOON, "starting from the replica alone");
    // who changes something elsewhere waits for it
    assert_eq!(waited_for(&cluster), "1");
    let outcome = cluster.deactivate(&cluster.key);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("one"), "{outcome:?}");
    node.relay.mend();
    node.soon(PATIENCE, &cluster.key, 401);
}

#[test]
fn case_122_a_gateway_started_again_without_the_record_stops_with_its_lease() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    node.relay.cut();
    let since = Instant::now();
    let Node { gateway, relay } = node;
    let node = Node { gateway: gateway.stop().0.start(), relay };
    // its receipt comes when the lease in the record is over: from then on nobody may act on what was before
    let outcome = cluster.deactivate(&cluster.key);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    node.is_refused_for_now(&cluster.key);
    assert!(since.elapsed() > LEASE / 2, "nobody waited for it: {:?}", since.elapsed());
}

#[test]
fn case_122_a_silent_record_counts_as_away_when_a_gateway_is_stopped() {
    let cluster = Cluster::start();
    let Node { gateway, relay } = node_over_a_restart(&cluster);
    relay.black_hole();
    let (site, code) = gateway.stop();
    assert_eq!(code, Some(0));
    // so that the start need not wait for it
    relay.cut();
    let node = Node { gateway: site.start(), relay };
    assert_eq!((node.status(&cluster.key), node.readiness()), (200, 200));
    assert_eq!(waited_for(&cluster), "1");
}

#[test]
fn case_122_a_gateway_that_has_given_its_lease_up_is_trusted_no_longer() {
    let cluster = Cluster::start();
    let Node { gateway, relay } = node_over_a_restart(&cluster);
    let (site, code) = gateway.stop();
    assert_eq!(code, Some(0));
    assert_eq!(waited_for(&cluster), "0", "a receipt need not wait for it");
    relay.cut();
    let node = Node { gateway: site.start(), relay };
    node.is_refused_for_now(&cluster.key);
    assert_eq!(cluster.deactivate(&cluster.key).code, 0);
    node.relay.mend();
    node.soon(PATIENCE, &cluster.key, 401);
}
