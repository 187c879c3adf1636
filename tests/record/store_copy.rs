//! `portcullis store copy`: a whole store goes to PostgreSQL and back.

use serde_json::Value;

use crate::cluster::{Cluster, IN_E1};
use crate::support::api::Api;
use crate::support::cli::{Cli, Key};
use crate::support::gateway::{Plan, Site};
use crate::support::http1::Request;
use crate::support::postgres::Postgres;
use crate::support::upstream::Upstream;

/// All that can be seen of a store.
fn seen(cli: &Cli) -> Vec<Value> {
    let lists: [&[&str]; 4] = [
        &["account", "list"],
        &["environment", "list"],
        &["key", "list"],
        &["environment", "member", "list", "--environment", "e1"],
    ];
    lists.iter().map(|list| cli.json(list)["data"].clone()).collect()
}

fn copy(cli: &Cli, from: &str, to: &str) {
    cli.succeed(&["store", "copy", "--from", from, "--to", to]);
}

#[track_caller]
fn answers(site: Site, upstream_of: &Upstream, live: &[&Key], dead: &Key) -> (Site, Value) {
    let gateway = site.start();
    let hashed = gateway.authentication_count("argon2_runs");
    for key in live {
        let answer = gateway.exchange(Request::get(IN_E1).key(key).end());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(gateway.exchange(Request::get(IN_E1).key(dead).end()).status, 401);
    assert_eq!(gateway.authentication_count("argon2_runs"), hashed, "the fingerprints came along");
    assert!(upstream_of.connections() > 0);
    let log = Api::admin(&gateway).document("/v2-beta/auditlogs")["data"].clone();
    let text = log.to_string().replace(&gateway.management().to_string(), "gateway");
    (gateway.stop().0, serde_json::from_str(&text).unwrap())
}

#[test]
fn a_store_goes_to_postgresql_and_back_with_its_keys_ids_and_logs() {
    let server = Postgres::start();
    let relay = server.relay();
    let upstream = Upstream::start();
    let embedded = Plan::new(&upstream).prepare();
    embedded.create_environment("e1");
    embedded.create_account("alice", "user");
    embedded.add_member("e1", "alice", "readonly");
    let of_e1 = embedded.create_environment_key("e1");
    let of_alice = embedded.create_account_key("alice");
    let gone = embedded.create_environment_key("e1");
    embedded.succeed(&["key", "deactivate", &gone.id]);
    embedded.succeed(&["key", "delete", &gone.id]);
    embedded.succeed(&["key", "edit", &of_e1.id, "--name", "Übrig 'ß\"", "--description", "a\tb"]);
    let live = [&of_e1, &of_alice];
    // used, so that there are uses to take along
    let (embedded, log) = answers(embedded, &upstream, &live, &gone);
    let before = seen(&embedded);
    assert!(before[2].to_string().contains("\"useCount\":1"), "{}", before[2]);

    let file = embedded.directory().join("portcullis.db").display().to_string();
    let database = server.create_database();
    let url = relay.url(&database);
    copy(&embedded, &file, &url);
    let shared = Plan::new(&upstream).postgres(&url, "gw", "60s").join(&embedded);
    assert_eq!(seen(&shared), before);
    let changes =
        server.sql(&database, "SELECT number || ' ' || encode(hash, 'hex') FROM portcullis.change_head");
    let (shared, copied_log) = answers(shared, &upstream, &live, &gone);
    assert_eq!(copied_log, log);
    // no id is given out again, a removed key's neither
    let new = shared.create_environment_key("e1");
    assert_eq!(new.id, "1c5");

    let back = Plan::new(&upstream).join(&embedded);
    let file = back.directory().join("portcullis.db").display().to_string();
    copy(&shared, &url, &file);
    assert_eq!(seen(&back), seen(&shared));
    let (back, _) = answers(back, &upstream, &[&of_e1, &of_alice, &new], &gone);
    // and once more: the logs go on from where they were
    let database = server.create_database();
    copy(&back, &file, &relay.url(&database));
    let heads = "SELECT number || ' ' || encode(hash, 'hex') FROM portcullis.changes ORDER BY number";
    let all = server.sql(&database, heads);
    assert!(all.lines().any(|line| line == changes), "{changes} is not in\n{all}");
}

#[test]
fn nothing_is_overwritten() {
    let cluster = Cluster::start(1);
    let upstream = &cluster.upstream;
    let embedded = Plan::new(upstream).prepare();
    let file = embedded.directory().join("portcullis.db").display().to_string();
    let url = cluster.server.url(&cluster.database);
    let before = seen(cluster.one());
    let refused = embedded.run(&["store", "copy", "--from", &file, "--to", &url]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("it holds keys already, and nothing is overwritten"), "{refused:?}");
    let refused = embedded.run(&["store", "copy", "--from", &url, "--to", &file]);
    assert!(refused.code == 1 && refused.stderr.contains("exists already"), "{refused:?}");
    let nowhere = embedded.directory().join("nowhere.db").display().to_string();
    let refused = embedded.run(&["store", "copy", "--from", &nowhere, "--to", &url]);
    assert!(refused.code == 1 && refused.stderr.contains("there is no store"), "{refused:?}");
    for (from, to) in [(&file, &nowhere), (&url, &url)] {
        let refused = embedded.run(&["store", "copy", "--from", from, "--to", to]);
        assert!(refused.code == 1 && refused.stderr.contains("one of the two must be"), "{refused:?}");
    }
    let wrong = embedded.run(&["store", "copy", "--from", &file, "--to", "postgres://u:hidden@/x"]);
    assert!(wrong.code == 2 && !wrong.stderr.contains("hidden"), "{wrong:?}");
    assert_eq!(seen(cluster.one()), before);
    embedded.json(&["account", "list"]);
    assert!(!std::path::Path::new(&nowhere).exists());
}

/// Takes minutes: `cargo nextest run --release --run-ignored only --test record --no-capture a_million_keys`.
#[test]
#[ignore = "takes minutes"]
fn a_million_keys_are_copied_within_a_minute() {
    let server = Postgres::start_with_fsync();
    let relay = server.relay();
    let upstream = Upstream::start();
    let embedded = Plan::new(&upstream).prepare();
    embedded.create_environment("e1");
    let database = server.create_database();
    let url = relay.url(&database);
    let file = embedded.directory().join("portcullis.db");
    copy(&embedded, &file.display().to_string(), &url);
    // as many as a test has no time to hash; none of them is ever used
    server.sql(
        &database,
        "SET search_path TO portcullis; INSERT INTO keys (id, access_key, environment, name, state, uuid, phc, created, revision)
         SELECT 100 + n, 'pce_' || lpad(n::text, 20, '0'), (SELECT \"row\" FROM environments), 'key ' || n, 'active',
         gen_random_uuid()::text, (SELECT phc FROM keys LIMIT 1), 0, 0 FROM generate_series(1, 1000000) AS n",
    );
    let begin = std::time::Instant::now();
    let gateway = Plan::new(&upstream).postgres(&url, "gw", "60s").join(&embedded).begin_to_start();
    let gateway = gateway.ready_within(std::time::Duration::from_mins(5));
    eprintln!("a gateway with 1,000,000 keys was ready after {:?}", begin.elapsed());
    let bytes = std::fs::metadata(gateway.replica()).unwrap().len();
    eprintln!("its replica has {bytes} bytes, {} a key", bytes / 1_000_000);
    // the promise is the release build's
    let limit = if cfg!(debug_assertions) { 240 } else { 60 };
    assert!(begin.elapsed().as_secs() < limit);
    let begin = std::time::Instant::now();
    let gateway = gateway.stop().0.start();
    eprintln!("and again after {:?}", begin.elapsed());
    assert_eq!(gateway.exchange(Request::get(IN_E1).key(&embedded.admin).end()).status, 200);
    // nothing is copied
    assert!(begin.elapsed().as_secs() < limit / 4);
}

#[test]
fn a_copy_of_a_replica_is_a_store_of_its_own() {
    let server = Postgres::start();
    let upstream = Upstream::start();
    let database = server.create_database();
    let relay = server.relay();
    let site = Plan::new(&upstream).postgres(&relay.url(&database), "gw", "60s").prepare();
    site.create_environment("e1");
    let [live, dead] = [(); 2].map(|()| site.create_environment_key("e1"));
    site.succeed(&["key", "deactivate", &dead.id]);
    let gateway = site.start();
    let file = gateway.directory().join("copy.db").to_str().unwrap().to_owned();
    // the record is not asked: it may be lost
    relay.cut();
    gateway.succeed(&["store", "backup", &file]);
    let refused = gateway.run(&["store", "restore", &file]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("restored by PostgreSQL's own means"), "{refused:?}");
    relay.mend();

    let embedded = Plan::new(&upstream).join(&gateway);
    embedded.succeed(&["store", "restore", &file]);
    let another = server.create_database();
    copy(&embedded, &file, &server.url(&another));
    let count = "SELECT count(*) FROM portcullis.keys WHERE state = 'active'";
    assert_eq!(server.sql(&another, count), server.sql(&database, count));
    let gateway = embedded.start();
    assert_eq!(gateway.exchange(Request::get(IN_E1).key(&live).end()).status, 200);
    assert_eq!(gateway.exchange(Request::get(IN_E1).key(&dead).end()).status, 401);
}
