//! A replica that is damaged, cannot be written, or was left unfinished.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, LEASE, Node, SOON};
use crate::support::cli::Key;
use crate::support::gateway::Site;
use crate::support::relay::Relay;
use crate::support::{PATIENCE, wait_for};

/// The file that the replica's name leads to.
fn file(site: &Site) -> PathBuf {
    fs::canonicalize(site.replica()).expect("the replica's file")
}

/// A gateway's directory with a replica that knows a deactivated key; and that key.
fn stopped(cluster: &Cluster) -> (Site, Relay, Key) {
    let dead = cluster.new_key();
    let Node { gateway, relay } = cluster.node("one");
    assert_eq!(cluster.deactivate(&dead).code, 0);
    (gateway.stop().0, relay, dead)
}

#[track_caller]
fn starts_anew(cluster: &Cluster, site: Site, relay: Relay, dead: &Key) {
    let before = file(&site);
    let node = Node { gateway: site.start(), relay };
    assert_eq!(node.status(&cluster.key), 200);
    assert_eq!(node.status(dead), 401);
    node.logged(SOON, "the replica is made anew from the record");
    assert!(node.gateway.log().contains("ERROR"), "{}", node.gateway.log());
    assert_ne!(file(&node.gateway), before);
    assert!(!before.exists(), "the old one is left behind");
    assert_eq!(node.status(&cluster.new_key()), 200);
}

#[test]
fn case_76_a_replica_that_was_overwritten_is_rebuilt() {
    let cluster = Cluster::start();
    let (site, relay, dead) = stopped(&cluster);
    let mut bytes = fs::read(file(&site)).expect("the replica");
    // every page but the first, which says what the file is
    for page in (4096..bytes.len()).step_by(4096) {
        let end = bytes.len().min(page + 300);
        bytes[page..end].fill(0xa5);
    }
    fs::write(file(&site), bytes).expect("overwritten");
    starts_anew(&cluster, site, relay, &dead);
}

#[test]
fn case_76_a_replica_that_was_cut_short_is_rebuilt() {
    let cluster = Cluster::start();
    for left in [0, 100, 4096 * 3 + 17] {
        let (site, relay, dead) = stopped(&cluster);
        fs::File::options().write(true).open(file(&site)).expect("the file").set_len(left).expect("cut");
        starts_anew(&cluster, site, relay, &dead);
    }
}

#[test]
fn case_76_a_replica_whose_log_was_changed_is_rebuilt() {
    let cluster = Cluster::start();
    let (site, relay, dead) = stopped(&cluster);
    let connection = rusqlite::Connection::open(file(&site)).expect("the replica");
    // somebody brings a key back to life in the file, and takes the change out of its log
    let forge = format!(
        "UPDATE keys SET state = 'active' WHERE access_key = '{}';
         DELETE FROM changes WHERE number = (SELECT max(number) FROM changes)",
        dead.access_key
    );
    connection.execute_batch(&forge).expect("changed");
    drop(connection);
    starts_anew(&cluster, site, relay, &dead);
}

#[test]
fn a_replica_of_another_record_is_refused() {
    let (cluster, other) = (Cluster::start(), Cluster::start());
    let (site, relay, _) = stopped(&cluster);
    let rename = format!("ALTER DATABASE {} RENAME TO {}", other.database, cluster.database);
    other.server.sql("postgres", &rename);
    relay.point_to(&other.server.socket());
    let state = |site: &Site| {
        let connection = rusqlite::Connection::open(file(site)).expect("the replica");
        let state = "SELECT record, (SELECT number FROM change_head) FROM replica";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
        (file(site), connection.query_row(state, [], row).expect("a row"))
    };
    let before = state(&site);
    let (site, outcome) = *site.try_start().expect_err("it is another record's");
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.stderr.contains("replica.db") && outcome.stderr.contains("is not a replica of the record"),
        "{outcome:?}"
    );
    assert_eq!(state(&site), before, "it is left as it was");
    // so it is where the record is exchanged while the gateway runs
    relay.point_to(&cluster.server.socket());
    let node = Node { gateway: site.start(), relay };
    node.soon(SOON, &cluster.key, 200);
    node.relay.point_to(&other.server.socket());
    node.relay.reset_all();
    node.logged(PATIENCE, "the record cannot be followed");
    assert_eq!(node.status(&cluster.key), 200, "within the lease it goes on");
    node.soon(LEASE * 2, &cluster.key, 503);
    node.relay.point_to(&cluster.server.socket());
    node.soon(SOON, &cluster.key, 200);
}

#[test]
fn a_gateway_that_is_killed_while_it_applies_goes_on_where_it_was() {
    let cluster = Cluster::start();
    let mut running = Some(cluster.node("one"));
    let dead: Vec<Key> = (0..2).map(|_| cluster.new_key()).collect();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // changes without end, each of them to be applied
            while !over.load(std::sync::atomic::Ordering::Acquire) {
                cluster.operator_site.run(&[
                    "key",
                    "edit",
                    &cluster.key.access_key,
                    "--name",
                    &crate::support::marker(),
                ]);
            }
        });
        for key in &dead {
            let outcome = cluster.deactivate(key);
            assert_eq!(outcome.code, 0, "{outcome:?}");
            let Node { gateway, relay } = running.take().expect("it runs");
            let node = running.insert(Node { gateway: gateway.crash().start(), relay });
            assert_eq!(node.status(key), 401, "dead from the first request on");
            assert_eq!(node.status(&cluster.key), 200);
        }
        over.store(true, std::sync::atomic::Ordering::Release);
    });
    let node = running.expect("it runs");
    assert!(!node.gateway.log().contains("made anew"), "{}", node.gateway.log());
    let replica = rusqlite::Connection::open(node.replica()).expect("the replica");
    let whole: String = replica.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
    assert_eq!(whole, "ok");
}

/// Names beside the replica that a copy has made.
fn copies(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).expect("the directory").filter_map(Result::ok);
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("replica.db.")).collect()
}

#[test]
fn what_copies_that_were_cut_off_have_left_is_removed_at_the_next_one() {
    let cluster = Cluster::start();
    let (site, relay) = cluster.site("one");
    // a copy that the network holds up in the middle, and its gateway killed
    relay.delay(Duration::from_millis(200));
    let starting = site.begin_to_start();
    wait_for(PATIENCE, "the copy has begun", || starting.log().contains("copying the record"));
    wait_for(PATIENCE, "its file is there", || !copies(starting.directory()).is_empty());
    let site = starting.crash();
    let left = copies(site.directory());
    assert!(!left.is_empty() && !site.replica().exists(), "{left:?}");
    relay.delay(Duration::ZERO);
    // one that is young may be another gateway's that is under way; one that is old is nobody's
    let young = site.directory().join(format!("replica.db.{}", "0".repeat(32)));
    let other = site.directory().join("replica.db.backup");
    for path in [&young, &other] {
        fs::write(path, "").expect("a file");
    }
    let old = ["-d", "2 hours ago"];
    for name in &left {
        let aged = Command::new("touch").args(old).arg(site.directory().join(name)).status();
        assert!(aged.is_ok_and(|status| status.success()));
    }
    let aged = Command::new("touch").args(old).arg(&other).status();
    assert!(aged.is_ok_and(|status| status.success()));
    let node = Node { gateway: site.start(), relay };
    assert_eq!(node.status(&cluster.key), 200);
    let now = copies(node.gateway.directory());
    assert!(left.iter().all(|name| !now.contains(name)), "{now:?}");
    assert!(young.exists() && other.exists(), "{now:?}");
}

#[test]
fn a_first_copy_is_stopped_by_a_signal() {
    let cluster = Cluster::start();
    let (site, relay) = cluster.site("one");
    relay.delay(Duration::from_millis(200));
    let starting = site.begin_to_start();
    wait_for(PATIENCE, "the copy has begun", || starting.log().contains("copying the record"));
    let since = Instant::now();
    let (site, code) = starting.stop();
    assert_eq!(code, Some(0));
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    assert!(!site.replica().exists(), "half a copy has no name");
    relay.delay(Duration::ZERO);
    let node = Node { gateway: site.start(), relay };
    assert_eq!(node.status(&cluster.key), 200);
}

#[test]
fn a_replica_on_a_full_disk_ends_its_gateways_lease_and_no_others() {
    let cluster = Cluster::start();
    let other = cluster.node("other");
    let (site, relay) = cluster.site("full");
    // a limit on the size of files, set once it runs: writes fail as they do on a full disk
    let site = site.started_by(&["env", "--ignore-signal=XFSZ"]);
    let node = Node { gateway: site.start(), relay };
    node.soon(SOON, &cluster.key, 200);
    let pid = node.gateway.pid().to_string();
    let limit = Command::new("prlimit").args(["--pid", &pid, "--fsize=4096:"]).status();
    assert!(limit.is_ok_and(|status| status.success()), "prlimit sets a limit");
    // it cannot apply this, and so does not renew its lease either: who waits for it waits for the lease's end
    let outcome = cluster.deactivate(&cluster.key);
    assert!(matches!(outcome.code, 0 | 3), "{outcome:?}");
    if outcome.code == 3 {
        let said = format!("{outcome:?}");
        assert!(said.contains("full") && !said.contains("other"), "{said}");
    } else {
        assert_ne!(node.status(&cluster.key), 200, "the receipt said that it is dead everywhere");
    }
    assert_eq!(other.status(&cluster.key), 401);
    node.soon(LEASE + SOON, &cluster.key, 503);
    node.logged(SOON, "the record cannot be followed");
    // nobody waits for it any more
    wait_for(PATIENCE, "its lease in the record ends", || {
        let live = "SELECT count(*) FROM portcullis.gateways WHERE lease_until > now()";
        cluster.server.sql(&cluster.database, live) == "1"
    });
    let alive = cluster.new_key();
    other.soon(SOON, &alive, 200);
    // with space again it goes on by itself
    let limit = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status();
    assert!(limit.is_ok_and(|status| status.success()));
    node.soon(SOON, &alive, 200);
    node.soon(SOON, &cluster.key, 401);
}

/// The write-ahead log of the replica.
fn log(site: &Site) -> PathBuf {
    let mut log = file(site).into_os_string();
    log.push("-wal");
    PathBuf::from(log)
}

/// A running gateway whose replica knows a deactivated key by its write-ahead log.
fn running(cluster: &Cluster) -> (Node, Key) {
    let dead = cluster.new_key();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    assert_eq!(cluster.deactivate(&dead).code, 0);
    assert!(fs::metadata(log(&node.gateway)).is_ok_and(|log| log.len() > 0));
    (node, dead)
}

#[track_caller]
fn goes_on_anew(cluster: &Cluster, node: &Node, dead: &Key, before: &Path) {
    node.logged(PATIENCE, "the replica is made anew from the record");
    wait_for(PATIENCE, "another file is the replica", || file(&node.gateway) != before);
    node.soon(PATIENCE, &cluster.key, 200);
    node.soon(SOON, dead, 401);
    // commands beside it, too
    let outcome = node.gateway.run(&["key", "deactivate", &cluster.key.access_key]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(node.status(&cluster.key), 401);
}

#[test]
fn case_127_a_replica_whose_log_is_cut_short_while_it_is_open_is_rebuilt() {
    let cluster = Cluster::start();
    let (node, dead) = running(&cluster);
    let before = file(&node.gateway);
    // a command, say: as long as it has the replica open, the log's index speaks of what is not there any more
    let other = rusqlite::Connection::open(&before).expect("the replica");
    other.query_row("SELECT count(*) FROM keys", [], |_| Ok(())).expect("read");
    let Node { gateway, relay } = node;
    let site = gateway.crash();
    fs::File::options().write(true).open(log(&site)).expect("the log").set_len(0).expect("cut");
    let node = Node { gateway: site.start(), relay };
    goes_on_anew(&cluster, &node, &dead, &before);
    drop(other);
}

#[test]
fn case_127_a_replica_whose_log_is_removed_under_a_running_gateway_is_rebuilt() {
    let cluster = Cluster::start();
    let (node, dead) = running(&cluster);
    let before = file(&node.gateway);
    fs::remove_file(log(&node.gateway)).expect("removed");
    goes_on_anew(&cluster, &node, &dead, &before);
}

#[test]
fn case_127_a_replica_that_is_overwritten_under_a_running_gateway_is_rebuilt() {
    let cluster = Cluster::start();
    let (node, dead) = running(&cluster);
    let before = file(&node.gateway);
    let other = rusqlite::Connection::open(&before).expect("the replica");
    other.busy_timeout(PATIENCE).expect("a timeout");
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("all is in the file");
    let mut bytes = fs::read(&before).expect("the replica");
    bytes[4096..].fill(0xa5);
    fs::write(&before, bytes).expect("overwritten");
    goes_on_anew(&cluster, &node, &dead, &before);
    drop(other);
}

#[test]
fn case_127_a_replica_that_lacks_what_every_replica_has_is_rebuilt() {
    let cluster = Cluster::start();
    for harm in [
        "DELETE FROM change_head",
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 9999 WHERE name = 'keys'",
    ] {
        let (site, relay, dead) = stopped(&cluster);
        let connection = rusqlite::Connection::open(file(&site)).expect("the replica");
        connection.execute_batch("PRAGMA foreign_keys = OFF").expect("set");
        connection.execute_batch(harm).expect("harmed");
        drop(connection);
        starts_anew(&cluster, site, relay, &dead);
    }
    let (site, relay, dead) = stopped(&cluster);
    let mut bytes = fs::read(file(&site)).expect("the replica");
    bytes[..100].fill(0xa5);
    fs::write(file(&site), bytes).expect("overwritten");
    starts_anew(&cluster, site, relay, &dead);
}
