//! A rotation whose former secret ends once nobody uses it, while a gateway that sees it used is cut off.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{Cluster, LONG_LEASE, SOON};
use crate::support::cli::Key;
use crate::support::{PATIENCE, wait_for};

#[test]
fn a_former_secret_that_a_gateway_may_still_see_in_use_does_not_end() {
    const UNUSED: Duration = Duration::from_secs(1);
    let cluster = Cluster::start();
    let (one, two) = (cluster.node("one"), cluster.node_with_long_lease("two"));
    let former = &cluster.key;
    let rotated = one.gateway.json(&["key", "rotate", &former.id, "--until-unused", "1s"]);
    let secret = rotated["secretValue"].as_str().expect("a secret").to_owned();
    let current = Key { secret, ..former.clone() };
    for node in [&one, &two] {
        node.soon(SOON, &current, 200);
        node.soon(SOON, former, 200);
    }
    // a batch job goes on with the former secret where nobody hears of it
    two.relay.black_hole();
    let mut last = Timestamp::now();
    wait_for(2 * LONG_LEASE, "the lease of the one that is cut off ends", || {
        let is_answered = two.status(former) == 200;
        if is_answered {
            last = Timestamp::now();
        }
        !is_answered
    });
    let resource = format!("/v2-beta/apikeys/{}", former.id);
    wait_for(4 * PATIENCE, "the end of the former secret", || {
        one.api().document(&resource)["previousEnds"] == Value::Null
    });
    let log = one.api().document("/v2-beta/auditlogs?action=endrotation");
    let ended = log["data"][0]["created"].as_str().unwrap_or_else(|| panic!("no time: {log}"));
    let ended: Timestamp = ended.parse().expect("a time");
    assert!(ended >= last + UNUSED, "ended at {ended}, used until {last}");
    two.relay.mend();
    two.soon(PATIENCE, former, 401);
    two.soon(SOON, &current, 200);
}
