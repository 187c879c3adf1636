//! The management plane: whose key has ended can do nothing there, and what had begun is not done.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::endings::{BUSY, PROMISED, in_seconds, set_end};
use crate::support::api::Api;
use crate::support::cli::Key;
use crate::support::stage::Stage;
use crate::support::{PATIENCE, wait_for};
use crate::visitor::Visitor;

/// One more admin's key that ends then.
#[track_caller]
fn ending_admin(stage: &Stage, end: Timestamp) -> Key {
    Api::admin(&stage.gateway).create_key("/v2-beta/apikeys", &json!({ "expires": end.to_string() }))
}

#[test]
fn case_131_an_ended_key_cannot_act_and_its_session_ends() {
    let stage = Stage::start();
    let end = in_seconds(2);
    let key = ending_admin(&stage, end);
    let api = Api::new(&stage.gateway, &key);
    let visitor = Visitor::signed_in(&stage.gateway, &key);
    let other = Visitor::signed_in(&stage.gateway, &stage.gateway.admin);
    let create = || api.post("/v2-beta/accounts", &json!({ "name": "late", "kind": "user" }));
    assert_eq!(create().status, 201);
    let mut last = None;
    loop {
        let sent = Timestamp::now();
        let answer = api.get("/v2-beta/accounts");
        if answer.status == 401 {
            break;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        last = Some(sent.duration_since(end));
        assert!(sent.duration_since(end) < BUSY, "the key goes on");
        std::thread::sleep(Duration::from_millis(3));
    }
    let late = last.expect("it worked");
    assert!(Timestamp::now() >= end && late < BUSY, "the last success was {late:#} after the end");
    assert_eq!(create().status, 401);
    assert_eq!(api.get("/metrics").status, 401);
    // the page tells why, and lets nobody in
    let answer = visitor.get("/keys");
    assert_eq!(answer.status, 303, "{answer:?}");
    let to = answer.header("Location").unwrap();
    assert!(to.starts_with("/sign-in?") && to.contains("why=key"), "{to}");
    assert_eq!(Visitor::new(&stage.gateway).sign_in(&key).status, 403);
    other.page("/keys");
    // nobody but another key can let it live longer
    assert_eq!(api.put(&format!("/v2-beta/apikeys/{}", key.id), &json!({ "expires": null })).status, 401);
    set_end(&stage.gateway, &key, None);
    assert_eq!(create().status, 201);
    assert_eq!(visitor.get("/keys").status, 303, "a session that has ended does not come back");
}

#[test]
fn case_131_a_write_that_waits_while_its_key_ends_is_refused_in_the_transaction() {
    let stage = Stage::start();
    let end = in_seconds(1);
    let key = ending_admin(&stage, end);
    let file = stage.gateway.directory().join("portcullis.db");
    let api = Api::new(&stage.gateway, &key);
    assert_eq!(api.get("/v2-beta/accounts").status, 200);
    // another program writes: the request is authorized, and then waits for its turn
    let mut blocking = rusqlite::Connection::open(file).unwrap();
    let lock = blocking.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let answer = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let body = json!({ "name": "too-late", "kind": "user" });
            (Timestamp::now(), api.post("/v2-beta/accounts", &body))
        });
        wait_for(PATIENCE, "the end", || Timestamp::now().duration_since(end) > PROMISED);
        drop(lock);
        let (sent, answer) = waiting.join().unwrap();
        assert!(sent < end, "the machine is too busy for this test");
        answer
    });
    assert_eq!(answer.status, 401, "{answer:?}");
    let accounts = stage.gateway.json(&["account", "list"]);
    assert!(!accounts.to_string().contains("too-late"), "{accounts}");
}

#[test]
fn the_audit_log_has_the_ends_before_and_after_and_who_set_them() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let path = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let [first, second] = [3_600, 7_200].map(in_seconds);
    let words = [first, second].map(|end| end.strftime("%F %T UTC").to_string());
    for end in [json!(first.to_string()), json!(second.to_string()), Value::Null] {
        assert_eq!(api.put(&path, &json!({ "expires": end })).status, 200);
    }
    // what changes nothing is no entry
    assert_eq!(api.put(&path, &json!({ "expires": null })).status, 200);
    let entries =
        api.document(&format!("/v2-beta/auditlogs?limit=-1&action=edit&resourceId={}", stage.e1.id));
    let entries = entries["data"].as_array().unwrap();
    let mut ends: Vec<[Value; 2]> =
        entries.iter().map(|entry| ["before", "after"].map(|at| entry[at]["expires"].clone())).collect();
    if ends.first().is_some_and(|newest| newest[1].is_null()) {
        ends.reverse();
    }
    let [first, second] = [first, second].map(|end| json!(end.as_millisecond()));
    assert_eq!(ends, [[Value::Null, first.clone()], [first, second.clone()], [second, Value::Null]]);
    let visitor = Visitor::signed_in(&stage.gateway, &stage.gateway.admin);
    let page = visitor.page(&format!("/audit?object={}", stage.e1.id));
    assert!(words.iter().all(|words| page.contains(words)), "{page}");
}
