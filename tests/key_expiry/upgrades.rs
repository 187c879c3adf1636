//! Stores, replicas and backups of programs that did not know of ends.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::cluster::Cluster;
use crate::endings::{ending_key, in_seconds, set_end, status, wait_for_end};
use crate::support::stage::Stage;
use crate::support::{PATIENCE, wait_for};

/// What the program before ends had.
const OLD: [&str; 4] = [
    include_str!("../../src/store/migrations/0001.sql"),
    include_str!("../../src/store/migrations/0002.sql"),
    include_str!("../../src/store/migrations/0003.sql"),
    include_str!("../../src/store/migrations/0004.sql"),
];

/// Makes of a store that nobody has open what a program would have written that did not know of ends.
#[track_caller]
fn make_old(store: &Path) {
    let old = store.with_extension("old");
    let connection = Connection::open(&old).unwrap();
    for migration in OLD {
        connection.execute_batch(migration).unwrap();
    }
    connection.pragma_update(None, "user_version", 4).unwrap();
    connection.pragma_update(None, "application_id", i32::from_be_bytes(*b"PCLS")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute("ATTACH ?1 AS new", [store.to_str().unwrap()]).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    for table in
        texts("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    {
        let columns =
            texts(&format!("SELECT '\"' || name || '\"' FROM pragma_table_info('{table}', 'main')"));
        let columns = columns.join(", ");
        let copy = format!(
            "DELETE FROM main.{table}; INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table};"
        );
        connection.execute_batch(&copy).unwrap();
    }
    drop(connection);
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(format!("{}{suffix}", store.display())).ok();
    }
    fs::rename(old, store).unwrap();
}

fn version(store: &Path) -> i64 {
    Connection::open(store).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn an_old_store_and_an_old_backup_keep_their_keys_which_can_be_given_ends() {
    let stage = Stage::start();
    let Stage { gateway, upstream, e1, e2 } = stage;
    let store = gateway.directory().join("portcullis.db");
    let (site, _) = gateway.stop();
    make_old(&store);
    assert_eq!(version(&store), 4);
    let backup = site.directory().join("backup.db");
    fs::copy(&store, &backup).unwrap();

    let gateway = site.start();
    assert!(version(&store) > 4);
    assert_eq!(status(&gateway, &e1), 200);
    let end = in_seconds(1);
    set_end(&gateway, &e1, Some(end));
    wait_for_end(&gateway, &e1, end);
    gateway.create_environment_key("e1");
    let (site, _) = gateway.stop();

    // the backup knows nothing of the end that was set since: it is set again
    let outcome = site.succeed(&["store", "restore", "--discard-newer", backup.to_str().unwrap()]);
    let gateway = site.start();
    assert_eq!(status(&gateway, &e1), 401, "{outcome:?}");
    let shown = gateway.json(&["key", "show", &e1.id]);
    assert_eq!((&shown["expired"], &shown["expires"]), (&true.into(), &end.to_string().into()), "{shown}");
    set_end(&gateway, &e1, None);
    assert_eq!(status(&gateway, &e1), 200);
    drop((gateway, upstream, e2));
}

#[test]
fn an_old_replica_is_copied_anew_and_knows_the_ends() {
    let mut cluster = Cluster::with_right_clocks();
    let always = cluster.one().create_environment_key("e1");
    let (end, far) = (in_seconds(1), in_seconds(3_600));
    let [ended, ending] = [end, far].map(|end| ending_key(cluster.one(), end));
    wait_for_end(cluster.one(), &ended, end);
    let third = cluster.gateways.pop().unwrap();
    let (site, _) = third.stop();
    make_old(&site.replica());

    let third = site.start();
    assert!(third.log().contains("an older portcullis wrote the replica"), "{}", third.log());
    assert_eq!((status(&third, &ended), status(&third, &ending), status(&third, &always)), (401, 200, 200));
    let shown = third.json(&["key", "show", &ending.id]);
    assert_eq!(shown["expires"], far.to_string(), "{shown}");
    // and once more with a record that is away when the gateway starts
    let (site, _) = third.stop();
    make_old(&site.replica());
    cluster.relay.cut();
    let third = site.start();
    cluster.relay.mend();
    wait_for(PATIENCE, "the replica is made anew", || {
        third.log().contains("made anew") && status(&third, &ended) == 401 && status(&third, &always) == 200
    });
    let end = in_seconds(1);
    set_end(&third, &ending, Some(end));
    wait_for_end(&third, &ending, end);
    assert!(Timestamp::now() > end);
}
