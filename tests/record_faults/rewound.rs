//! The record comes back as it was earlier: a standby that was late, an old backup. What was dead stays dead.

use std::path::Path;

use rusqlite::Connection;

use crate::scene::{Node, SOON, Scene};
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
fn is_noticed(scene: &Scene, nodes: &[Node], dead: &Key, removed: &Key, forgotten: &Key) {
    for node in nodes {
        node.logged(PATIENCE, "has been put back to an earlier state");
        node.logged(PATIENCE, "made anew from the record");
    }
    let written_back = |node: &Node| node.gateway.log().contains("they are made again");
    wait_for(PATIENCE, "what was forgotten is written back", || {
        nodes.iter().any(written_back) && scene.state(dead) == "inactive" && scene.state(removed) != "active"
    });
    for node in nodes {
        // a key that the record never heard of cannot be brought back; it is nobody's
        node.soon(PATIENCE, forgotten, 401);
        node.soon(SOON, dead, 401);
        node.soon(SOON, removed, 401);
        node.soon(SOON, &scene.key, 200);
    }
    whole(scene, dead);
    // new ones are as good as ever, on every gateway
    for _ in 0..3 {
        let key = scene.new_key();
        for node in nodes {
            node.soon(SOON, &key, 200);
        }
        whole(scene, &key);
        for node in nodes {
            assert_eq!(node.status(&key), 401);
        }
    }
    let logs: Vec<_> = nodes.iter().map(|node| changes(&node.replica())).collect();
    assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "the replicas differ");
    assert_eq!(logs[0].len(), scene.changes(), "the replicas have what the record has");
}

/// Deactivates a key until the receipt is whole: right after a failover none is.
#[track_caller]
fn whole(scene: &Scene, key: &Key) {
    wait_for(PATIENCE, "a whole receipt", || scene.deactivate(key).code == 0);
}

fn prepare(scene: &Scene, nodes: &[Node]) -> (Key, Key) {
    let (dead, removed) = (scene.new_key(), scene.new_key());
    for node in nodes {
        node.soon(SOON, &dead, 200);
        node.soon(SOON, &removed, 200);
    }
    (dead, removed)
}

/// The last changes: those that the record forgets.
#[track_caller]
fn change(scene: &Scene, nodes: &[Node], dead: &Key, removed: &Key) -> Key {
    let forgotten = scene.new_key();
    for node in nodes {
        node.soon(SOON, &forgotten, 200);
    }
    for key in [dead, removed] {
        assert_eq!(scene.deactivate(key).code, 0);
    }
    assert_eq!(scene.office.run(&["key", "delete", &removed.access_key]).code, 0);
    forgotten
}

#[test]
fn case_76_a_late_standby_takes_over() {
    let mut scene = Scene::start();
    let nodes = [scene.node("one"), scene.node("two")];
    let (dead, removed) = prepare(&scene, &nodes);
    let standby = scene.server.standby();
    scene.server.wait_for_standby(&standby);
    standby.stop(Stop::Fast);
    let forgotten = change(&scene, &nodes, &dead, &removed);
    scene.server.kill();
    standby.start_again();
    standby.promote();
    for node in &nodes {
        node.relay.point_to(&standby.socket());
    }
    scene.move_to(standby);
    is_noticed(&scene, &nodes, &dead, &removed, &forgotten);
}

#[test]
fn a_standby_that_is_up_to_date_takes_over_unnoticed() {
    let mut scene = Scene::start();
    let nodes = [scene.node("one")];
    let standby = scene.server.standby();
    let (dead, removed) = prepare(&scene, &nodes);
    let forgotten = change(&scene, &nodes, &dead, &removed);
    scene.server.wait_for_standby(&standby);
    // one that answers but cannot be written to is not the record
    let (site, relay) = scene.site("late");
    relay.point_to(&standby.socket());
    let (_, outcome) = *site.try_start().expect_err("a standby is no record");
    assert_eq!(outcome.code, 1, "{outcome:?}");
    scene.server.kill();
    standby.promote();
    nodes[0].relay.point_to(&standby.socket());
    scene.move_to(standby);
    let node = &nodes[0];
    node.soon(PATIENCE, &forgotten, 200);
    assert_eq!((node.status(&dead), node.status(&removed)), (401, 401));
    whole(&scene, &forgotten);
    assert_eq!(node.status(&forgotten), 401);
    assert!(!node.gateway.log().contains("made anew"), "{}", node.gateway.log());
}

/// The gateway that is cut off has a lease that the new record has never heard of.
#[test]
fn case_71_a_standby_that_lacks_a_lease_calls_no_receipt_whole_until_it_has_ended() {
    let mut scene = Scene::start();
    let standby = scene.server.standby();
    let key = scene.new_key();
    // the record knows how long leases are, and not that there is another gateway
    drop(scene.node_with_long_lease("before"));
    scene.server.wait_for_standby(&standby);
    // it hears of nothing more, and is ready before the other one ends: the lease must not be over until then
    standby.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
    standby.stop(Stop::Fast);
    let node = scene.node_with_long_lease("alone");
    node.soon(SOON, &key, 200);
    standby.start_again();
    standby.promote();
    node.relay.black_hole();
    scene.server.kill();
    scene.move_to(standby);
    // no gateway has a row there, and this one still acts
    let (outcome, passes) = std::thread::scope(|scope| {
        let deactivating = scope.spawn(|| scene.deactivate(&key));
        wait_for(PATIENCE, "it is in the record", || scene.state(&key) == "inactive");
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
    wait_for(PATIENCE, "receipts are whole again", || scene.deactivate(&scene.new_key()).code == 0);
}

#[test]
fn case_76_an_old_backup_is_restored() {
    let scene = Scene::start();
    let nodes = [scene.node("one"), scene.node("two")];
    let (dead, removed) = prepare(&scene, &nodes);
    let backup = scene.server.backup();
    let forgotten = change(&scene, &nodes, &dead, &removed);
    scene.server.stop(Stop::Fast);
    scene.server.restore(&backup);
    scene.server.start_again();
    is_noticed(&scene, &nodes, &dead, &removed, &forgotten);
}

#[test]
fn case_76_a_backup_is_restored_while_the_gateway_is_down_and_others_go_on() {
    let scene = Scene::start();
    let nodes = [scene.node("one")];
    let (dead, removed) = prepare(&scene, &nodes);
    let backup = scene.server.backup();
    let forgotten = change(&scene, &nodes, &dead, &removed);
    let [node] = nodes;
    let Node { gateway, relay } = node;
    let (site, _) = gateway.stop();
    scene.server.stop(Stop::Fast);
    scene.server.restore(&backup);
    scene.server.start_again();
    // as many changes as were forgotten, and more: the number alone does not tell
    std::fs::remove_file(scene.office.replica()).expect("the office begins anew");
    for _ in 0..8 {
        scene.new_key();
    }
    let nodes = [Node { gateway: site.start(), relay }];
    assert_ne!(nodes[0].status(&dead), 200, "dead from the first request on");
    assert_ne!(nodes[0].status(&removed), 200, "dead from the first request on");
    is_noticed(&scene, &nodes, &dead, &removed, &forgotten);
}
