//! First starts: on an empty database, several at once, and what is refused.

use crate::cluster::{Cluster, IN_E1};
use crate::support::cli::Cli;
use crate::support::gateway::Plan;
use crate::support::http1::Request;
use crate::support::postgres::Postgres;
use crate::support::upstream::Upstream;

#[test]
fn init_makes_a_record_once() {
    let server = Postgres::start();
    let url = server.relay();
    let upstream = Upstream::start();
    let database = server.create_database();
    let plan = |name: &str| Plan::new(&upstream).postgres(&url.url(&database), name, "60s");
    let site = plan("first").prepare();
    for gateway in [&site, &plan("second").join(&site)] {
        let again = gateway.run(&["init"]);
        assert_eq!(again.code, 1, "{again:?}");
        assert!(
            again.stderr.contains("holds keys already, and nothing is overwritten")
                && again.stderr.contains("`portcullis key create`"),
            "{again:?}"
        );
        assert!(!again.stderr.contains("postgres://"), "a URL may hold a password: {again:?}");
    }
    assert_eq!(server.sql(&database, "SELECT count(*) FROM portcullis.accounts"), "1");
    // on a machine that has not got the pepper yet: another would be of no use
    let third = plan("third").join(&site);
    let pepper = third.directory().join("portcullis.pepper");
    std::fs::remove_file(&pepper).unwrap();
    assert_eq!(third.run(&["init"]).code, 1);
    assert!(!pepper.exists());
    // at once, on an empty one
    let url = url.url(&server.create_database());
    let sites: Vec<_> = (0..3)
        .map(|at| Plan::new(&upstream).postgres(&url, &format!("gw-{at}"), "60s").join(&site))
        .collect();
    let codes: Vec<_> = std::thread::scope(|scope| {
        let inits: Vec<_> = sites.iter().map(|site| scope.spawn(|| site.run(&["init"]))).collect();
        inits.into_iter().map(|init| init.join().unwrap().code).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    let listed = sites[0].json(&["account", "list"]);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    let listed = site.json(&["account", "list"]);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn gateways_start_at_once_on_an_empty_database_and_the_first_key_is_made_afterwards() {
    let server = Postgres::start();
    let relay = server.relay();
    let upstream = Upstream::start();
    let pepper = format!("{:064x}\n", 5);
    let url = relay.url(&server.create_database());
    let starting: Vec<_> = (0..4)
        .map(|number| {
            let plan = Plan::new(&upstream).postgres(&url, &format!("gw-{number}"), "60s");
            let site = plan.listeners("  - address: 127.0.0.1:0\n").write_alone();
            std::fs::write(site.directory().join("portcullis.pepper"), &pepper).unwrap();
            site.begin_to_start()
        })
        .collect();
    let gateways: Vec<_> = starting
        .into_iter()
        .map(|starting| starting.ready().unwrap_or_else(|failed| panic!("{:?}", failed.1)))
        .collect();
    // as a person does it who has several machines: the gateways are there, then the first key is made beside one
    let made = gateways[2].succeed(&["init"]);
    let admin = crate::support::cli::key_in(&made.stdout).unwrap_or_else(|| panic!("no key: {made:?}"));
    gateways[0].create_environment("e1");
    for gateway in &gateways {
        let answer = gateway.exchange(Request::get(IN_E1).key(&admin).end());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let listed = gateways[1].json(&["gateways"]);
    let rows = listed["data"].as_array().unwrap();
    assert!(rows.len() == 4 && rows.iter().all(|row| row["lag"] == 0), "{listed}");
}

#[test]
fn a_replica_is_not_taken_for_an_embedded_store() {
    let cluster = Cluster::start(1);
    let config = cluster.one().directory().join("embedded.yaml");
    let text = std::fs::read_to_string(cluster.one().config()).unwrap();
    let start = text.find("  postgres:").unwrap();
    let end = text.find("pepper_file").unwrap();
    let text = format!("{}  sqlite: replica.db\n{}", &text[..start], &text[end..]);
    std::fs::write(&config, text).unwrap();
    let cli = Cli::new(&config);
    for command in
        [&["key", "list"][..], &["account", "create", "--name", "x"], &["gateways"], &["check"], &["serve"]]
    {
        let refused = cli.run(command);
        assert_eq!(refused.code, 1, "{command:?}: {refused:?}");
        assert!(refused.stderr.contains("is a gateway's replica of a record in PostgreSQL"), "{refused:?}");
    }
    let replica = cluster.one().replica();
    let away = cluster.one().directory().join("copy.db");
    let (replica, copy) = (replica.to_str().unwrap(), away.to_str().unwrap());
    let url = cluster.server.url(&cluster.server.create_database());
    let refused = cli.run(&["store", "copy", "--from", replica, "--to", &url]);
    assert!(refused.code == 1 && refused.stderr.contains("is a gateway's replica"), "{refused:?}");
    // the way that the message names works
    let from = cluster.server.url(&cluster.database);
    cli.succeed(&["store", "copy", "--from", &from, "--to", copy]);
}
