//! Keys with imported secrets: the first use replaces the hash of the other system, once, and nobody notices.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

#[path = "record/cluster.rs"]
#[allow(dead_code, reason = "the tests of several gateways use more of it")]
mod cluster;
mod support;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use cluster::Cluster;
use serde_json::Value;
use support::api::Api;
use support::cli::Key;
use support::gateway::Gateway;
use support::http1::Request;
use support::stage::Stage;
use support::{PATIENCE, wait_for};

const TARGET: &str = "/v1/projects/e1/x";

/// Imports a secret that htpasswd has hashed with these options, for `e1`.
fn import(gateway: &Gateway, name: &str, secret: &str, options: &[&str]) -> Key {
    let hashed = Command::new("htpasswd").arg("-nb").args(options).args([name, secret]).output();
    let path = gateway.site.directory().join(format!("{name}.htpasswd"));
    fs::write(&path, hashed.expect("htpasswd, of the package apache2-utils").stdout).unwrap();
    let file = path.to_str().unwrap();
    gateway.succeed(&["key", "import", "--format", "htpasswd", "--environment", "e1", file]);
    let id = gateway.json(&["key", "show", name])["id"].as_str().unwrap().to_owned();
    Key { id, access_key: name.to_owned(), secret: secret.to_owned() }
}

/// The rows of the audit log that say that this key's hash was replaced.
fn rehashes(gateway: &Gateway, key: &Key) -> Vec<Value> {
    let target = format!("/v2-beta/auditlogs?action=rehash&resourceId={}", key.id);
    Api::admin(gateway).document(&target)["data"].as_array().unwrap().clone()
}

/// How the hash of the key's secret was imported, as the gateway's file has it; and of its former secret.
fn inner(gateway: &Gateway, key: &Key) -> (Option<String>, Option<String>) {
    let sqlite = gateway.site.directory().join("portcullis.db");
    let file = if sqlite.exists() { sqlite } else { gateway.site.replica() };
    let store = rusqlite::Connection::open(file).unwrap();
    let select = "SELECT \"inner\", former_inner FROM keys WHERE access_key = ?1";
    store.query_row(select, [&key.access_key], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

fn status(gateway: &Gateway, key: &Key) -> u16 {
    gateway.exchange(Request::get(TARGET).key(key).end()).status
}

/// Sends this many requests at once to each gateway, which are all answered 200.
fn at_once(gateways: &[&Gateway], key: &Key, count: usize) {
    thread::scope(|scope| {
        for gateway in gateways {
            for _ in 0..count {
                scope.spawn(|| assert_eq!(status(gateway, key), 200));
            }
        }
    });
}

#[test]
fn the_first_use_replaces_the_hash_once_and_streams_go_on() {
    let stage = Stage::start();
    let gateway = &stage.gateway;
    let key = import(gateway, "bob", "correct horse", &["-B", "-C", "6"]);
    assert!(inner(gateway, &key).0.is_some_and(|inner| inner.starts_with("$2y$06$")));
    assert_eq!(status(gateway, &key.with_wrong_secret()), 401);
    // an upload that begins before the change, and fifty first requests beside it
    let mut upload = gateway.connect();
    upload.send(
        Request::new("POST", TARGET)
            .key(&key)
            .header("Transfer-Encoding", "chunked")
            .raw("\r\n1\r\nx\r\n")
            .unfinished(),
    );
    at_once(&[gateway], &key, 50);
    wait_for(PATIENCE, "the hash to be replaced", || inner(gateway, &key) == (None, None));
    for text in ["x", "y"] {
        upload.send(format!("1\r\n{text}\r\n"));
        assert_eq!(status(gateway, &key), 200);
    }
    upload.send("0\r\n\r\n");
    assert_eq!(upload.read().status, 200, "a stream goes on");
    let rows = rehashes(gateway, &key);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["via"], &rows[0]["outcome"]), (&"gateway".into(), &"done".into()));
    assert_eq!(status(gateway, &key.with_wrong_secret()), 401);
    wait_for(PATIENCE, "the uses to be saved", || {
        gateway.json(&["key", "show", "bob"])["useCount"].as_u64() >= Some(50)
    });

    // whoever starts anew pays for one argon2id, and for nothing else
    let Stage { gateway, upstream, .. } = stage;
    let gateway = gateway.stop().0.start();
    let runs = |event| gateway.authentication_count(event);
    let before = runs("argon2_runs");
    assert_eq!((status(&gateway, &key), status(&gateway, &key)), (200, 200));
    assert_eq!(runs("argon2_runs") - before, 1);
    assert_eq!(rehashes(&gateway, &key).len(), 1);
    // the same file again
    let file = gateway.site.directory().join("bob.htpasswd");
    let file = file.to_str().unwrap();
    let again = gateway.succeed(&["key", "import", "--format", "htpasswd", "--environment", "e1", file]);
    assert!(
        again.stdout.contains(": already imported as ") && again.stdout.contains("was used since"),
        "{again:?}"
    );
    drop((gateway, upstream));
}

#[test]
fn an_imported_key_is_rotated_and_its_former_secret_is_rehashed_too() {
    let stage = Stage::start();
    let gateway = &stage.gateway;
    let former = import(gateway, "bob", "correct horse", &["-m"]);
    let rotated = gateway.json(&["key", "rotate", &former.id]);
    let current = Key { secret: rotated["secretValue"].as_str().unwrap().to_owned(), ..former.clone() };
    let kept = inner(gateway, &former);
    assert!(kept.0.is_none() && kept.1.is_some_and(|inner| inner.starts_with("$apr1$")));
    for key in [&current, &former] {
        assert_eq!((status(gateway, key), status(gateway, &key.with_wrong_secret())), (200, 401));
    }
    wait_for(PATIENCE, "the former hash to be replaced", || inner(gateway, &former) == (None, None));
    for key in [&current, &former] {
        assert_eq!(status(gateway, key), 200);
    }
    let file = gateway.site.directory().join("bob.htpasswd");
    let file = file.to_str().unwrap();
    let again = gateway.succeed(&["key", "import", "--format", "htpasswd", "--environment", "e1", file]);
    assert!(
        again.stdout.contains("already imported") && again.stdout.contains("another secret since"),
        "{again:?}"
    );
    gateway.succeed(&["key", "rotate", &former.id, "--end"]);
    assert_eq!((status(gateway, &former), status(gateway, &current)), (401, 200));
    assert_eq!(rehashes(gateway, &former).len(), 1);
    gateway.succeed(&["key", "deactivate", &former.id]);
    assert_eq!(status(gateway, &current), 401);
}

#[test]
fn several_gateways_replace_a_hash_once_and_one_that_is_cut_off_does_it_later() {
    let cluster = Cluster::start(2);
    let gateways = [cluster.one(), cluster.two()];
    let key = import(gateways[0], "bob", "correct horse", &["-s"]);
    at_once(&gateways, &key, 25);
    for gateway in gateways {
        wait_for(PATIENCE, "the hash to be replaced everywhere", || inner(gateway, &key) == (None, None));
    }
    cluster.all_answer(TARGET, &key, 200);
    // longer than the gateways take to look again
    let other = import(gateways[1], "ann", "another horse", &["-B", "-C", "4"]);
    let record = |column: &str| {
        let select = format!("SELECT count(*) FROM portcullis.keys WHERE {column} IS NOT NULL");
        cluster.server.sql(&cluster.database, &select).trim().to_owned()
    };
    assert_eq!(record("\"inner\""), "1");
    // the record is away: the secret works, and nothing is lost
    cluster.relay.cut();
    at_once(&gateways, &other, 5);
    let warned = |gateway: &Gateway| gateway.log().contains("imported hashes cannot be replaced");
    wait_for(Duration::from_mins(1), "a gateway to have tried", || {
        gateways.iter().any(|gateway| warned(gateway))
    });
    assert!(inner(gateways[0], &other).0.is_some());
    cluster.relay.mend();
    for gateway in gateways {
        wait_for(Duration::from_mins(1), "the hash to be replaced later", || {
            inner(gateway, &other) == (None, None)
        });
    }
    assert_eq!((record("\"inner\""), record("former_inner")), ("0".to_owned(), "0".to_owned()));
    for key in [&key, &other] {
        cluster.all_answer(TARGET, key, 200);
        cluster.all_answer(TARGET, &key.with_wrong_secret(), 401);
        assert_eq!(rehashes(gateways[1], key).len(), 1);
    }
    // rotated by another gateway than the one it was imported by, and back in a copy of the record
    let rotated = gateways[1].json(&["key", "rotate", &other.id]);
    let current = Key { secret: rotated["secretValue"].as_str().unwrap().to_owned(), ..other.clone() };
    cluster.all_answer(TARGET, &current, 200);
    cluster.all_answer(TARGET, &other, 200);
}
