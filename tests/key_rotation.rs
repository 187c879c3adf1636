//! Keys that change their secret: both secrets work while they may, and the former one stops with a receipt.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

#[path = "record/cluster.rs"]
#[allow(dead_code, reason = "the tests of several gateways use more of it")]
mod cluster;
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cluster::Cluster;
use serde_json::{Value, json};
use support::api::{self, Api};
use support::cli::Key;
use support::gateway::Gateway;
use support::http1::Request;
use support::stage::Stage;
use support::{PATIENCE, wait_for};

const TARGET: &str = "/v1/projects/e1/x";

fn key_in(document: &Value) -> Key {
    let text =
        |field: &str| document[field].as_str().unwrap_or_else(|| panic!("{field}: {document}")).to_owned();
    Key { id: text("id"), access_key: text("publicValue"), secret: text("secretValue") }
}

/// By command line.
fn rotate(gateway: &Gateway, key: &Key, options: &[&str]) -> Key {
    let words: Vec<_> = ["key", "rotate", &key.id].into_iter().chain(options.iter().copied()).collect();
    key_in(&gateway.json(&words))
}

fn status(gateway: &Gateway, key: &Key) -> u16 {
    gateway.exchange(Request::get(TARGET).key(key).end()).status
}

#[test]
fn both_secrets_work_by_command_line_and_the_former_ends_with_its_receipt() {
    let stage = Stage::start();
    let former = &stage.e1;
    stage.passes(Request::get(TARGET).key(former));
    let current = rotate(&stage.gateway, former, &[]);
    assert_eq!((&current.id, &current.access_key), (&former.id, &former.access_key));
    assert_ne!(current.secret, former.secret);
    for _ in 0..3 {
        for key in [former, &current] {
            let seen = stage.passes(Request::get(TARGET).key(key));
            assert_eq!(seen.header("X-API-Key-Id").as_deref(), Some(former.access_key.as_str()));
        }
        stage.refuses(Request::get(TARGET).key(&former.with_wrong_secret()), &[401]);
    }
    let shown = stage.gateway.succeed(&["key", "show", &former.id]).stdout;
    assert!(shown.contains("former secret  works until "), "{shown}");
    // a third secret would end the first, of which nobody was told
    let refused = stage.gateway.run(&["key", "rotate", &former.id]);
    assert!(refused.code == 1 && refused.stderr.contains("`portcullis key rotate "), "{refused:?}");

    let ended = stage.gateway.succeed(&["key", "rotate", &former.id, "--end"]).stdout;
    let name = format!("the former secret of key {} ({}) has ended (change ", former.access_key, former.id);
    assert!(ended.contains(&name) && ended.contains("in force on "), "{ended}");
    stage.refuses(Request::get(TARGET).key(former), &[401]);
    stage.passes(Request::get(TARGET).key(&current));
    // without an overlap the former one stops at once
    let last = rotate(&stage.gateway, former, &["--overlap", "0"]);
    stage.refuses(Request::get(TARGET).key(&current), &[401]);
    stage.passes(Request::get(TARGET).key(&last));
    for secret in [&former.secret, &current.secret, &last.secret] {
        assert!(!stage.gateway.log().contains(secret.as_str()), "a secret stands in the log");
    }
}

#[test]
fn the_api_rotates_shows_both_uses_and_ends() {
    let stage = Stage::start();
    let admin = Api::admin(&stage.gateway);
    let resource = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let before = admin.document(&resource);
    assert!(
        before["actions"]["rotate"].is_string() && before["actions"].get("endrotation").is_none(),
        "{before}"
    );
    assert_eq!(before["previousEnds"], Value::Null);

    let answer =
        admin.post(&format!("{resource}/?action=rotate"), &json!({ "untilUnused": "2h", "atMost": "7d" }));
    let document = answer.json();
    assert_eq!(answer.status, 201, "{document}");
    assert!(document["receipt"]["complete"] == true && document["secretSinceTS"] != before["secretSinceTS"]);
    assert_eq!(document["previousSinceTS"], before["secretSinceTS"]);
    assert_eq!(document["previousUntilUnused"], "2h");
    let current = key_in(&document);
    assert_eq!(admin.document(&resource)["secretValue"], Value::Null, "it is shown once");
    stage.passes(Request::get(TARGET).key(&stage.e1));
    stage.passes(Request::get(TARGET).key(&current));
    stage.passes(Request::get(TARGET).key(&current));
    wait_for(PATIENCE, "the uses of both secrets", || {
        let document = admin.document(&resource);
        (&document["previousUses"], &document["secretUses"]) == (&json!(1), &json!(2))
            && document["previousLastUsedAddress"].is_string()
            && document["previousLastUsed"].is_string()
            && document["useCount"] == 3
    });
    for (body, field) in [
        (json!({ "overlap": "soon" }), "overlap"),
        (json!({ "overlap": "1h", "untilUnused": "1h" }), "overlap"),
        (json!({ "atMost": "1h" }), "atMost"),
        (json!({ "overlap": "400d" }), "overlap"),
    ] {
        let refused = admin.post(&format!("{resource}/?action=rotate"), &body).json();
        assert_eq!((&refused["status"], &refused["fieldName"]), (&json!(422), &json!(field)), "{body}");
    }
    let refused = admin.act(&resource, "rotate").json();
    assert_eq!((&refused["status"], &refused["code"]), (&json!(422), &json!("InvalidState")));

    let ended = admin.act(&resource, "endrotation");
    assert_eq!((ended.status, &ended.json()["previousEnds"]), (200, &Value::Null));
    stage.refuses(Request::get(TARGET).key(&stage.e1), &[401]);
    stage.passes(Request::get(TARGET).key(&current));
    assert_eq!(admin.act(&resource, "endrotation").json()["status"], 422);
    // who may not change the key may not rotate it
    let member = stage.gateway.create_account("mia", "user");
    stage.gateway.add_member("e1", &member, "member");
    let mia = stage.gateway.create_account_key("mia");
    let refused = Api::new(&stage.gateway, &mia).act(&resource, "rotate");
    assert!([403, 404, 405].contains(&refused.status), "{refused:?}");
    let log = admin.document("/v2-beta/auditlogs?action=rotate");
    let row = log["data"].as_array().unwrap().iter().find(|row| row["outcome"] == "done").unwrap();
    assert_eq!(row["after"]["previousSince"], row["before"]["secretSince"]);
    assert!(!row.to_string().contains(&current.secret));
    let _ = api::ids(&log);
}

#[test]
fn what_was_opened_with_the_former_secret_ends_with_it_and_nothing_else() {
    let stage = Stage::start();
    let current = rotate(&stage.gateway, &stage.e1, &[]);
    // uploads that are under way
    let upload = |key: &Key| {
        let mut client = stage.gateway.connect();
        client.send(
            Request::new("POST", TARGET)
                .key(key)
                .header("Transfer-Encoding", "chunked")
                .raw("\r\n1\r\nx\r\n")
                .unfinished(),
        );
        client
    };
    let (mut then, mut now) = (upload(&stage.e1), upload(&current));
    wait_for(PATIENCE, "both uploads", || stage.gateway.metric("portcullis_requests_open") == 2);
    stage.gateway.succeed(&["key", "rotate", &stage.e1.id, "--end"]);
    assert_eq!(then.read().status, 401);
    now.send("0\r\n\r\n");
    assert_eq!(now.read().status, 200);
}

#[test]
fn of_two_rotations_at_once_one_wins_and_its_secret_works() {
    let stage = Stage::start();
    let resource = format!("/v2-beta/apikeys/{}/?action=rotate", stage.e1.id);
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = || Api::admin(&stage.gateway).post(&resource, &json!({}));
        let asked: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| [201, 422].contains(&answer.status)), "{answers:?}");
    stage.passes(Request::get(TARGET).key(&key_in(&made[0].json())));
    stage.passes(Request::get(TARGET).key(&stage.e1));
}

#[test]
fn no_request_fails_while_keys_are_rotated_and_none_succeeds_after_the_receipt_of_the_end() {
    let stage = Stage::start();
    let (stop, failed, sent) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut keys = vec![stage.e1.clone()];
    for _ in 0..10 {
        let former = keys.last().unwrap().clone();
        let current = rotate(&stage.gateway, &former, &[]);
        stop.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            for key in [&former, &current] {
                scope.spawn(|| {
                    let mut client = stage.gateway.connect();
                    let request = Request::get(TARGET).key(key).end();
                    while !stop.load(Ordering::Relaxed) {
                        client.send(&request);
                        failed.fetch_add(u64::from(client.read().status != 200), Ordering::Relaxed);
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let goal = sent.load(Ordering::Relaxed) + 200;
            wait_for(PATIENCE, "requests with both secrets", || sent.load(Ordering::Relaxed) > goal);
            stop.store(true, Ordering::Relaxed);
        });
        stage.gateway.succeed(&["key", "rotate", &former.id, "--end"]);
        assert_eq!((status(&stage.gateway, &former), status(&stage.gateway, &current)), (401, 200));
        keys.push(current);
    }
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {} requests", sent.load(Ordering::Relaxed));
}

#[test]
fn a_restart_in_the_middle_keeps_both_and_a_deactivation_stops_both() {
    let stage = Stage::start();
    let current = rotate(&stage.gateway, &stage.e1, &["--overlap", "1h"]);
    let Stage { gateway, upstream, e1, .. } = stage;
    let gateway = gateway.stop().0.start();
    assert_eq!((status(&gateway, &e1), status(&gateway, &current)), (200, 200));
    gateway.succeed(&["key", "deactivate", &e1.id]);
    assert_eq!((status(&gateway, &e1), status(&gateway, &current)), (401, 401));
    gateway.succeed(&["key", "activate", &e1.id]);
    assert_eq!((status(&gateway, &e1), status(&gateway, &current)), (200, 200));
    drop((gateway, upstream));
}

#[test]
fn the_former_secret_ends_by_itself_when_its_time_is_up_or_nobody_uses_it() {
    let stage = Stage::with(|plan| plan.store("  sqlite: portcullis.db\n  max_staleness: 3s"));
    let current = rotate(&stage.gateway, &stage.e1, &["--overlap", "1s"]);
    wait_for(PATIENCE, "the end of the overlap", || status(&stage.gateway, &stage.e1) == 401);
    assert_eq!(status(&stage.gateway, &current), 200);

    let next = rotate(&stage.gateway, &current, &["--until-unused", "2s", "--at-most", "1h"]);
    // as long as it is used it goes on, and nobody uses the new one
    assert_eq!(status(&stage.gateway, &current), 200);
    wait_for(PATIENCE, "a use of the former secret to be saved", || {
        stage.gateway.json(&["key", "show", &current.id])["previousUses"] != json!(0)
    });
    assert_eq!(status(&stage.gateway, &current), 200);
    assert_eq!(status(&stage.gateway, &next), 200);
    wait_for(4 * PATIENCE, "the end of the former secret that nobody uses", || {
        stage.gateway.json(&["key", "show", &current.id])["previousEnds"] == Value::Null
    });
    wait_for(PATIENCE, "the end to be in force", || status(&stage.gateway, &current) == 401);
    assert_eq!(status(&stage.gateway, &next), 200);
    let log = Api::admin(&stage.gateway).document("/v2-beta/auditlogs?action=endrotation");
    assert_eq!(log["data"][0]["via"], "gateway", "{log}");
}

#[test]
fn on_several_gateways_both_work_at_once_and_the_end_is_in_force_everywhere() {
    let cluster = Cluster::start(3);
    let former = cluster.one().create_environment_key("e1");
    let current = rotate(cluster.two(), &former, &[]);
    for key in [&former, &current] {
        cluster.all_answer("/v1/projects/e1/x", key, 200);
    }
    let resource = format!("/v2-beta/apikeys/{}", former.id);
    // every gateway's uses add up in the record
    wait_for(Duration::from_mins(1), "the uses of all gateways", || {
        let document = Api::admin(cluster.two()).document(&resource);
        document["previousUses"].as_u64() >= Some(3) && document["secretUses"].as_u64() >= Some(3)
    });
    let ended = Api::admin(cluster.one()).act(&resource, "endrotation");
    assert_eq!((ended.status, ended.json()["receipt"]["applied"].as_array().map(Vec::len)), (200, Some(3)));
    cluster.all_answer("/v1/projects/e1/x", &former, 401);
    cluster.all_answer("/v1/projects/e1/x", &current, 200);
}
