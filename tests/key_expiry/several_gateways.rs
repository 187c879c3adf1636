//! Gateways that share a record end a key at the same moment, by the record's clock, whatever their own clocks say.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::cluster::Cluster;
use crate::endings::{BUSY, IN_E1, ending_key, in_seconds, last_success_before, set_end, status};
use crate::support::api::Api;
use crate::support::cli::Key;
use crate::support::gateway::Gateway;
use crate::support::http1::Request;
use crate::support::{PATIENCE, stays, wait_for};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Uses a key on all gateways until each refuses it, which must be soon after its end.
#[track_caller]
fn assert_ends_on_all(gateways: &[Gateway], key: &Key, end: Timestamp) {
    assert_ends_with(401, gateways, key, end);
}

#[track_caller]
fn assert_ends_with(refusal: u16, gateways: &[Gateway], key: &Key, end: Timestamp) {
    let late: Vec<SignedDuration> = std::thread::scope(|scope| {
        let watched: Vec<_> = gateways
            .iter()
            .map(|gateway| scope.spawn(|| last_success_before(refusal, gateway, key, end)))
            .collect();
        watched.into_iter().map(|watched| watched.join().unwrap()).collect()
    });
    assert!(late.iter().all(|late| *late < BUSY), "{late:?}");
}

/// Fails where the gateway's wall clock is not off by so much: the rest proves something only then.
#[track_caller]
fn wait_until_ahead(gateway: &Gateway, key: &Key, ahead: SignedDuration) {
    wait_for(PATIENCE, "the gateway's clock to be off as it was set, by libfaketime", || {
        let answer = gateway.exchange(Request::get("/v1/projects/none/x").key(key).end());
        let date = answer.header("Date").unwrap();
        let date = jiff::fmt::rfc2822::parse(&date).unwrap().timestamp();
        (date.duration_since(Timestamp::now()) - ahead).abs() < SignedDuration::from_secs(30)
    });
}

#[test]
fn case_131_all_stop_together_whatever_their_own_clocks_say() {
    let mut cluster = Cluster::start([SignedDuration::ZERO, DAY, -DAY]);
    let always = cluster.one().create_environment_key("e1");
    for (gateway, ahead) in cluster.gateways.iter().zip([SignedDuration::ZERO, DAY, -DAY]) {
        wait_until_ahead(gateway, &always, ahead);
    }
    // made on one whose clock says that this is past, and on one that says it is far away
    for maker in 0..3 {
        let end = in_seconds(2);
        let key = ending_key(&cluster.gateways[maker], end);
        assert_ends_on_all(&cluster.gateways, &key, end);
        for gateway in &cluster.gateways {
            let shown = Api::admin(gateway).document(&format!("/v2-beta/apikeys/{}", key.id));
            assert_eq!(shown["expired"], true, "{shown}");
        }
    }

    // what clients are told depends on the record's clock too
    let (told, untold) = (ending_key(cluster.one(), in_seconds(13 * 86_400)), in_seconds(15 * 86_400));
    let untold = ending_key(cluster.one(), untold);
    for gateway in &cluster.gateways {
        for (key, count) in [(&told, 1), (&untold, 0)] {
            let answer = gateway.exchange(Request::get(IN_E1).key(key).end());
            assert_eq!((answer.status, answer.all("X-API-Key-Expires").len()), (200, count), "{answer:?}");
        }
    }

    // clocks that jump while the key works change nothing either
    let end = in_seconds(6);
    let key = ending_key(cluster.one(), end);
    cluster.gateways.iter().for_each(|gateway| assert_eq!(status(gateway, &key), 200));
    for (at, ahead) in [DAY * 400, -DAY * 400, DAY].into_iter().enumerate() {
        cluster.clocks[at].set_ahead(ahead);
        wait_until_ahead(&cluster.gateways[at], &always, ahead);
    }
    cluster.gateways.iter().for_each(|gateway| assert_eq!(status(gateway, &key), 200));
    assert_ends_on_all(&cluster.gateways, &key, end);
    cluster.clocks[0].set_ahead(-DAY * 400);
    wait_until_ahead(cluster.one(), &always, -DAY * 400);
    cluster.gateways.iter().for_each(|gateway| assert_eq!(status(gateway, &key), 401, "it comes back"));
    assert_eq!(status(cluster.one(), &always), 200);

    // a gateway that starts after the end, with a clock that says it is before it
    let third = cluster.gateways.pop().unwrap();
    cluster.clocks[2].set_ahead(-DAY);
    let third = third.crash().start();
    wait_until_ahead(&third, &always, -DAY);
    assert_eq!((status(&third, &key), status(&third, &always)), (401, 200));
}

#[test]
fn case_131_an_end_that_is_brought_forward_or_put_off_holds_on_all_when_the_answer_says_so() {
    let cluster = Cluster::with_right_clocks();
    let end = in_seconds(3);
    let [put_off, brought_forward] = [end, in_seconds(3_600)].map(|end| ending_key(cluster.one(), end));
    let answer = Api::admin(&cluster.gateways[1])
        .put(&format!("/v2-beta/apikeys/{}", brought_forward.id), &json!({ "expires": end.to_string() }));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["receipt"]["applied"].as_array().unwrap().len(), 3, "{answer:?}");
    set_end(&cluster.gateways[2], &put_off, None);
    assert!(Timestamp::now() < end, "the machine is too busy for this test");
    assert_ends_on_all(&cluster.gateways, &brought_forward, end);
    for gateway in &cluster.gateways {
        assert_eq!(status(gateway, &put_off), 200);
    }
    set_end(&cluster.gateways[2], &brought_forward, Some(in_seconds(3_600)));
    for gateway in &cluster.gateways {
        assert_eq!(status(gateway, &brought_forward), 200);
    }
}

#[test]
fn case_131_keys_end_while_the_record_is_away_and_stay_ended_after_a_restart() {
    let mut cluster = Cluster::with_right_clocks();
    let always = cluster.one().create_environment_key("e1");
    let end = in_seconds(5);
    let key = ending_key(cluster.one(), end);
    for gateway in &cluster.gateways {
        assert_eq!((status(gateway, &key), status(gateway, &always)), (200, 200));
    }
    cluster.relay.black_hole();
    // what the replica denies is believed for two seconds more
    stays(Duration::from_millis(2_500), "the key works", || status(cluster.one(), &key) == 200);
    // not 401: while the record is away nobody knows whether the key was given a later end
    assert_ends_with(503, &cluster.gateways, &key, end);
    for gateway in &cluster.gateways {
        assert_eq!(status(gateway, &always), 200, "its lease goes on");
    }
    // from the replica alone
    cluster.relay.cut();
    let restarted = cluster.gateways.pop().unwrap().crash().start();
    assert_eq!((status(&restarted, &key), status(&restarted, &always)), (503, 200));
    cluster.relay.mend();
    wait_for(PATIENCE, "the record to be followed again", || {
        let body = json!({ "expires": in_seconds(3_600).to_string() });
        let answer = Api::admin(&restarted).put(&format!("/v2-beta/apikeys/{}", key.id), &body);
        // 202: the lease of the one that was killed goes on
        matches!(answer.status, 200 | 202)
    });
    for gateway in cluster.gateways.iter().chain([&restarted]) {
        wait_for(PATIENCE, "the later end", || status(gateway, &key) == 200);
    }
}
