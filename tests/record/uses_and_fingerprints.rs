//! Uses and fingerprints of keys are shared by all gateways.

use crate::cluster::{Cluster, IN_E1};
use crate::support::api::Api;
use crate::support::gateway::Plan;
use crate::support::http1::Request;
use crate::support::{PATIENCE, wait_for};

#[test]
fn uses_add_up_over_all_gateways_and_are_seen_on_each() {
    let cluster = Cluster::start(2);
    let key = cluster.one().create_environment_key("e1");
    let shown =
        |at: usize| Api::admin(&cluster.gateways[at]).document(&format!("/v2-beta/apikeys/{}", key.id));
    assert!(shown(0)["lastUsed"].is_null());
    // four on each
    cluster.all_answer(IN_E1, &key, 200);
    for at in [0, 1] {
        wait_for(PATIENCE, "the uses of both gateways are seen", || shown(at)["useCount"] == 8);
    }
    for field in ["lastUsedTS", "lastUsedAddress"] {
        assert!(
            !shown(0)[field].is_null() && shown(0)[field] == shown(1)[field],
            "{} {}",
            shown(0),
            shown(1)
        );
    }
    // they are no changes
    let listed = cluster.one().json(&["gateways"]);
    assert_eq!(listed["data"][0]["applied"], 5, "{listed}");
}

#[test]
fn a_fingerprint_that_one_gateway_made_spares_the_other_the_hash() {
    let plan = |plan: Plan| plan.top("allow_missing_pepper: true");
    let cluster = Cluster::with(2, plan);
    let key = cluster.one().create_environment_key("e1");
    let Cluster { gateways, upstream: _upstream, relay: _relay, server: _server, .. } = cluster;
    // another pepper: what was made under the first is of no use
    let sites: Vec<_> = gateways.into_iter().map(|gateway| gateway.stop().0).collect();
    for site in &sites {
        std::fs::write(site.directory().join("portcullis.pepper"), format!("{:064x}\n", 7)).unwrap();
    }
    let [one, two] = &sites.into_iter().map(|site| site.start()).collect::<Vec<_>>()[..] else {
        panic!("two")
    };
    let ask = |gateway: &crate::support::gateway::Gateway| {
        let before = gateway.authentication_count("argon2_runs");
        let answer = gateway.exchange(Request::get(IN_E1).key(&key).end());
        assert_eq!(answer.status, 200, "{answer:?}");
        gateway.authentication_count("argon2_runs") - before
    };
    let kept = || {
        let replica = rusqlite::Connection::open(two.replica()).unwrap();
        let mac = "SELECT mac FROM fingerprints WHERE key = (SELECT id FROM keys WHERE access_key = ?1)";
        replica.query_row(mac, [&key.access_key], |row| row.get::<_, Vec<u8>>(0)).unwrap()
    };
    let before = kept();
    assert_eq!(ask(one), 1, "nothing recognises the secret yet");
    wait_for(PATIENCE, "the other gateway has the new fingerprint", || kept() != before);
    assert_eq!(ask(two), 0, "the other gateway hashes what is known by its fingerprint");
}
