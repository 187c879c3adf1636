//! The record comes back in an earlier state, by a late standby or an old backup. Deactivated keys stay deactivated.

use std::path::Path;

use rusqlite::Connection;

use crate::cluster::{Cluster, Node, SOON};
use crate::support::cli::Key;
use crate::support::postgres::Stop;
use crate::support::{PATIENCE, wait_for};

/// The numbers and hashes of changes of a replica.
fn changes(replica: &Path) -> Vec<(i64, Vec<u8>)> {
    let connection = Connection::open(replica).expect("the replica");
    let mut statement =
        connection.prepare("SELECT number, hash FROM changes ORDER BY number").expect("a log");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("numbers and hashes")
}

/// What must hold after the record was put back to a state before `dead` was deactivated, `removed` was removed, and
/// `forgotten` was made.
#[track_caller]
fn is_noticed(cluster: &Cluster, nodes: &[Node], dead: &Key, removed: &Key, forgotten: &Key) {
    for node in nodes {
        node.logged(PATIENCE, "has been put back to an earlier state");
        node.logged(PATIENCE, "made anew from the record");
    }
    let written_back = |node: &Node| node.gateway.log().contains("they are made again");
    wait_for(PATIENCE, "what was forgotten is written back", || {
        nodes.iter().any(written_back)
            && cluster.state(dead) == "inactive"
            && cluster.state(removed) != "active"
    });
    for node in nodes {
        // a key that the record never heard of cannot be brought back; it is nobody's
        node.soon(PATIENCE, forgotten, 401);
        node.soon(SOON, dead, 401);
        node.soon(SOON, removed, 401);
        node.soon(SOON, &cluster.key, 200);
    }
    whole(cluster, dead);
    // new ones are as good as ever, on every gateway
    for _ in 0..3 {
        let key = cluster.new_key();
        for node in nodes {
            node.soon(SOON, &key, 200);
        }
        whole(cluster, &key);
        for node in nodes {
            assert_eq!(node.status(&key), 401);
        }
    }
    let logs: Vec<_> = nodes.iter().map(|node| changes(&node.replica())).collect();
    assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "the replicas differ");
    assert_eq!(logs[0].len(), cluster.changes(), "the replicas have what the record has");
}

/// Deactivates a key until the receipt is whole: right after a failover none is.
#[track_caller]
fn whole(cluster: &Cluster, key: &Key) {
    wait_for(PATIENCE, "a whole receipt", || cluster.deactivate(key).code == 0);
}

fn prepare(cluster: &Cluster, nodes: &[Node]) -> (Key, Key) {
    let (dead, removed) = (cluster.new_key(), cluster.new_key());
    for node in nodes {
        node.soon(SOON, &dead, 200);
        node.soon(SOON, &removed, 200);
    }
    (dead, removed)
}

/// The last changes: those that the record forgets.
#[track_caller]
fn change(cluster: &Cluster, nodes: &[Node], dead: &Key, removed: &Key) -> Key {
    let forgotten = cluster.new_key();
    for node in nodes {
        node.soon(SOON, &forgotten, 200);
    }
    for key in [dead, removed] {
        assert_eq!(cluster.deactivate(key).code, 0);
    }
    assert_eq!(cluster.operator_site.run(&["key", "delete", &removed.access_key]).code, 0);
    forgotten
}

#[test]
fn case_76_a_late_standby_takes_over() {
    let mut cluster = Cluster::start();
    let nodes = [cluster.node("one"), cluster.node("two")];
    let (dead, removed) = prepare(&cluster, &nodes);
    let standby = cluster.server.standby();
    cluster.server.wait_for_standby(&standby);
    standby.stop(Stop::Fast);
    let forgotten = change(&cluster, &nodes, &dead, &removed);
    cluster.server.kill();
    standby.start_again();
    standby.promote();
    for node in &nodes {
        node.relay.point_to(&standby.socket());
    }
    cluster.move_to(standby);
    is_noticed(&cluster, &nodes, &dead, &removed, &forgotten);
}

#[test]
fn a_standby_that_is_up_to_date_takes_over_unnoticed() {
    let mut cluster = Cluster::start();
    let nodes = [cluster.node("one")];
    let standby = cluster.server.standby();
    let (dead, removed) = prepare(&cluster, &nodes);
    let forgotten = change(&cluster, &nodes, &dead, &removed);
    cluster.server.wait_for_standby(&standby);
    // one that answers but cannot be written to is not the record
    let (site, relay) = cluster.site("late");
    relay.point_to(&standby.socket());
    let (_, outcome) = *site.try_start().expect_err("a standby is no record");
    assert_eq!(outcome.code, 1, "{outcome:?}");
    cluster.server.kill();
    standby.promote();
    nodes[0].relay.point_to(&standby.socket());
    cluster.move_to(standby);
    let node = &nodes[0];
    node.soon(PATIENCE, &forgotten, 200);
    assert_eq!((node.status(&dead), node.status(&removed)), (401, 401));
    whole(&cluster, &forgotten);
    assert_eq!(node.status(&forgotten), 401);
    assert!(!node.gateway.log().contains("made anew"), "{}", node.gateway.log());
}

/// The gateway that is cut off has a lease that the new record has never heard of.
#[test]
fn case_71_a_standby_that_lacks_a_lease_calls_no_receipt_complete_until_it_has_ended() {
    let mut cluster = Cluster::start();
    let standby = cluster.server.standby();
    let key = cluster.new_key();
    // the record knows how long leases are, and not that there is another gateway
    drop(cluster.node_with_long_lease("before"));
    cluster.server.wait_for_standby(&standby);
    // it hears of nothing more, and is ready before the other one ends: the lease must not be over until then
    standby.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
    standby.stop(Stop::Fast);
    let node = cluster.node_with_long_lease("alone");
    node.soon(SOON, &key, 200);
    standby.start_again();
    standby.promote();
    node.relay.black_hole();
    cluster.server.kill();
    cluster.move_to(standby);
    // no gateway has a row there, and this one still acts
    let (outcome, passes) = std::thread::scope(|scope| {
        let deactivating = scope.spawn(|| cluster.deactivate(&key));
        wait_for(PATIENCE, "it is in the record", || cluster.state(&key) == "inactive");
        let passes = node.status(&key) == 200;
        (deactivating.join().expect("it ends"), passes)
    });
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(
        outcome.stderr.contains("that it does not know of may act on what was before until"),
        "{outcome:?}"
    );
    assert!(passes, "its lease is not over yet, or this shows nothing");
    node.soon(PATIENCE, &key, 503);
    wait_for(PATIENCE, "receipts are whole again", || cluster.deactivate(&cluster.new_key()).code == 0);
}

#[test]
fn case_76_an_old_backup_is_restored() {
    let cluster = Cluster::start();
    let nodes = [cluster.node("one"), cluster.node("two")];
    let (dead, removed) = prepare(&cluster, &nodes);
    let backup = cluster.server.backup();
    let forgotten = change(&cluster, &nodes, &dead, &removed);
    cluster.server.stop(Stop::Fast);
    cluster.server.restore(&backup);
    cluster.server.start_again();
    is_noticed(&cluster, &nodes, &dead, &removed, &forgotten);
}

#[test]
fn case_76_a_backup_is_restored_while_the_gateway_is_down_and_others_go_on() {
    let cluster = Cluster::start();
    let nodes = [cluster.node("one")];
    let (dead, removed) = prepare(&cluster, &nodes);
    let backup = cluster.server.backup();
    let forgotten = change(&cluster, &nodes, &dead, &removed);
    let [node] = nodes;
    let Node { gateway, relay } = node;
    let (site, _) = gateway.stop();
    cluster.server.stop(Stop::Fast);
    cluster.server.restore(&backup);
    cluster.server.start_again();
    // as many changes as were forgotten, and more: the number alone does not tell
    std::fs::remove_file(cluster.operator_site.replica()).expect("the operator_site begins anew");
    for _ in 0..8 {
        cluster.new_key();
    }
    let nodes = [Node { gateway: site.start(), relay }];
    assert_ne!(nodes[0].status(&dead), 200, "dead from the first request on");
    assert_ne!(nodes[0].status(&removed), 200, "dead from the first request on");
    is_noticed(&cluster, &nodes, &dead, &removed, &forgotten);
}
