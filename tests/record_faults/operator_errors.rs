//! Mistakes of operators, and what goes wrong around them: a database that is recreated under running gateways, a replica
//! that is deleted, a wrong path, a gateway that restarts again and again, a full disk.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, LEASE, Node, SOON};
use crate::support::gateway::Plan;
use crate::support::{PATIENCE, wait_for};

/// How many tables of ours are in the database.
fn tables(cluster: &Cluster) -> String {
    cluster.server.sql(&cluster.database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'portcullis'")
}

#[test]
fn a_database_that_is_rebuilt_stays_empty_until_it_is_restored() {
    let cluster = Cluster::start();
    let node = cluster.node_with_long_lease("one");
    node.soon(SOON, &cluster.key, 200);
    let dump = cluster.server.dump(&cluster.database);
    let database = &cluster.database;
    cluster.server.sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"));
    cluster.server.sql("postgres", &format!("CREATE DATABASE {database} STRATEGY wal_log"));
    // the gateway, and whoever starts or commands one, meet it empty
    let sessions = format!("SELECT coalesce(sessions, 0) FROM pg_stat_database WHERE datname = '{database}'");
    wait_for(PATIENCE, "the gateway has met the empty database", || {
        cluster.server.sql("postgres", &sessions).parse::<u32>().is_ok_and(|sessions| sessions > 0)
    });
    let outcome = cluster.operator_site.run(&["key", "list"]);
    assert!(outcome.stderr.contains("holds no record"), "{outcome:?}");
    let to = cluster.operator_site.directory().join("copy.db").display().to_string();
    let outcome =
        cluster.operator_site.run(&["store", "copy", "--from", &cluster.server.url(database), "--to", &to]);
    assert!(outcome.code == 1 && outcome.stderr.contains("holds no record"), "{outcome:?}");
    let Node { gateway, relay } = node;
    let node = Node { gateway: gateway.crash().start(), relay };
    assert_eq!(tables(&cluster), "0", "the tables are in the way of those that are restored");
    cluster.server.sql_file(&cluster.database, &dump);
    // leases that were given after the dump are not in it
    let outcome = cluster.deactivate(&cluster.key);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    let is_unsure = "SELECT unsure_until > clock_timestamp() FROM portcullis.record";
    assert_eq!(cluster.server.sql(&cluster.database, is_unsure), "t");
    node.soon(PATIENCE, &cluster.key, 401);
}

#[test]
fn a_replica_that_is_deleted_under_its_gateway_is_rebuilt() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    let never_used = cluster.new_key();
    node.soon(SOON, &cluster.key, 200);
    fs::remove_file(node.replica()).expect("the replica's name");
    node.logged(SOON, "made anew from the record");
    node.soon(SOON, &never_used, 200);
    assert_eq!(cluster.deactivate(&cluster.key).code, 0);
    assert_eq!(node.status(&cluster.key), 401);
}

#[test]
fn a_file_that_is_no_replica_is_left_as_it_is() {
    let cluster = Cluster::start();
    let (site, _relay) = cluster.site("one");
    let path = site.replica();
    let other = site.directory().join("other.db");
    let connection = rusqlite::Connection::open(&other).expect("a database");
    connection.execute_batch("CREATE TABLE precious (x)").expect("a table");
    drop(connection);
    for content in [b"precious".to_vec(), fs::read(&other).expect("a file")] {
        fs::write(&path, &content).expect("a file");
        for command in [&["key", "list"][..], &["serve"]] {
            let outcome = site.run(command);
            assert_eq!(outcome.code, 1, "{outcome:?}");
            assert!(outcome.stderr.contains("is not a replica of the record"), "{outcome:?}");
            assert_eq!(fs::read(&path).expect("it is there"), content, "after {command:?}");
        }
    }
    // nor is what a link of somebody's leads to
    fs::remove_file(&path).expect("it is ours");
    std::os::unix::fs::symlink("other.db", &path).expect("a link");
    assert_eq!(site.run(&["key", "list"]).code, 1);
    assert!(other.exists());
    // an empty file holds nothing
    fs::remove_file(&path).expect("it is ours");
    fs::write(&path, "").expect("a file");
    site.succeed(&["key", "list"]);
}

#[test]
fn a_gateway_that_cannot_start_leaves_no_lease() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    let relay = cluster.server.relay();
    // an address of a documentation network, which no machine has
    let plan = cluster.plan(&relay, "broken").listeners("  - address: 192.0.2.1:1\n");
    let (_, outcome) = *plan.join(&cluster.operator_site).try_start().expect_err("it has no such address");
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let rows = cluster.server.sql(&cluster.database, "SELECT name FROM portcullis.gateways");
    assert_eq!(rows, "one", "who is not there is waited for");
    assert_eq!(cluster.deactivate(&cluster.key).code, 0);
}

#[test]
fn a_first_host_that_takes_connections_and_says_nothing_does_not_hide_the_second() {
    let cluster = Cluster::start();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let relay = cluster.server.relay();
    let url = relay.url(&cluster.database);
    let hosts = format!("{},{}", silent.local_addr().expect("its address"), relay.address());
    let url = url.replace(&relay.address().to_string(), &hosts);
    let site = Plan::new(&cluster.upstream).postgres(&url, "one", "3s").join(&cluster.operator_site);
    let listed = site.succeed(&["key", "list"]);
    assert!(listed.stdout.contains(&cluster.key.access_key), "{listed:?}");
}

#[test]
fn a_replica_that_cannot_be_put_in_place_does_not_fill_the_disk() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    let copies = || {
        let names = fs::read_dir(node.gateway.directory()).expect("the directory").filter_map(Result::ok);
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with("replica.db.") && name.len() == 43).count()
    };
    assert_eq!(copies(), 1);
    // as where somebody else's command has made the lock's file
    let lock = node.gateway.directory().join("replica.db.lock");
    fs::remove_file(&lock).ok();
    fs::create_dir(&lock).expect("a directory in its place");
    // what its replica has more is not in the record any more
    let forget = "DELETE FROM portcullis.changes WHERE number = (SELECT max(number) FROM portcullis.changes);
        UPDATE portcullis.change_head SET number = last.number, hash = last.hash
        FROM (SELECT number, hash FROM portcullis.changes ORDER BY number DESC LIMIT 1) AS last";
    cluster.server.sql(&cluster.database, forget);
    node.logged(PATIENCE, "the record cannot be followed");
    node.soon(LEASE + SOON, &cluster.key, 503);
    assert!(copies() <= 2, "{} copies", copies());
    // others do not have their receipts doubted for as long as this one is stuck
    let is_sure = "SELECT unsure_until BETWEEN '2000-01-01' AND clock_timestamp() FROM portcullis.record";
    wait_for(LEASE + SOON, "receipts are sure again", || {
        cluster.server.sql(&cluster.database, is_sure) == "t"
    });
    fs::remove_dir(&lock).expect("it is empty");
    node.soon(PATIENCE, &cluster.key, 200);
    assert_eq!(copies(), 1);
}

#[test]
fn a_gateway_that_lacks_a_great_many_rows_of_the_audit_log_copies_the_record_again() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    let many = "INSERT INTO portcullis.audit (id, at, via, actor, action, subject, object, outcome)
        SELECT audit + n, 0, 'api', '1a1', 'create', 'account', '-', 'refused'
        FROM portcullis.change_head, generate_series(1, 50001) AS n;
        UPDATE portcullis.change_head SET audit = audit + 50001";
    cluster.server.sql(&cluster.database, &format!("BEGIN; {many}; COMMIT"));
    node.logged(PATIENCE, "is too far behind the record");
    node.soon(PATIENCE, &cluster.key, 200);
    assert_eq!(cluster.deactivate(&cluster.key).code, 0);
}

#[test]
fn a_record_whose_head_is_behind_its_log_is_not_copied() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    let (number, back) = (cluster.changes(), "UPDATE portcullis.change_head SET number = ");
    cluster.server.sql(&cluster.database, &format!("{back} 1"));
    node.logged(PATIENCE, "the record cannot be followed");
    node.logged(PATIENCE, "its logs do not end where it says");
    assert!(!node.gateway.log().contains("panicked"), "{}", node.gateway.log());
    cluster.server.sql(&cluster.database, &format!("{back} {number}"));
    node.soon(SOON + LEASE, &cluster.key, 200);
    wait_for(PATIENCE, "a whole receipt", || cluster.deactivate(&cluster.key).code == 0);
}

#[test]
fn a_record_that_stops_answering_in_the_middle_of_a_start_leaves_the_replica() {
    let cluster = Cluster::start();
    let node = cluster.node_with_long_lease("one");
    node.soon(SOON, &cluster.key, 200);
    let Node { gateway, relay } = node;
    let site = gateway.crash();
    std::thread::scope(|scope| {
        // it connects and reads, and cannot renew
        let hold = "BEGIN; LOCK TABLE portcullis.gateways IN EXCLUSIVE MODE; SELECT pg_sleep(5)";
        scope.spawn(|| cluster.server.sql(&cluster.database, hold));
        let locked = "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'portcullis.gateways'::regclass";
        wait_for(PATIENCE, "the table is locked", || cluster.server.sql(&cluster.database, locked) == "1");
        let gateway = site.start();
        let node = Node { gateway, relay };
        node.soon(PATIENCE, &cluster.key, 200);
    });
}

#[test]
fn a_change_of_which_nobody_knows_whether_it_was_made_is_answered_so() {
    let cluster = Cluster::start();
    let node = cluster.node_with_long_lease("one");
    assert_eq!(node.write().status, 201);
    // a commit that takes its time
    cluster.server.sql(
        &cluster.database,
        "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER pause AFTER INSERT ON portcullis.changes DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION pause()",
    );
    let since = Instant::now();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| node.write());
        let committing =
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'";
        wait_for(PATIENCE, "it commits", || cluster.server.sql(&cluster.database, committing) == "1");
        node.relay.reset_all();
        let answer = writing.join().expect("an answer");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.text().contains("may have been made"), "{answer:?}");
        assert_eq!(answer.header("Retry-After"), None, "to repeat it blindly may do it twice: {answer:?}");
    });
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}
