//! The management plane: a narrowed key reads there within its scope, and changes nothing.

use serde_json::{Value, json};

use crate::set_scope;
use crate::support::PATIENCE;
use crate::support::api::Api;
use crate::support::cli::Key;
use crate::support::stage::Stage;
use crate::support::wait_for;
use crate::visitor::Visitor;

/// One more admin's key with this scope.
#[track_caller]
fn narrow_admin(stage: &Stage, scope: &Value) -> Key {
    Api::admin(&stage.gateway).create_key("/v2-beta/apikeys", &json!({ "scope": scope }))
}

const DETAIL: &str = "narrowed by its scope";

#[test]
fn a_narrowed_key_reads_within_its_scope_and_changes_nothing() {
    let stage = Stage::start();
    for scope in [
        json!({ "read_only": true }),
        json!({ "methods": ["GET", "POST", "PUT", "DELETE"] }),
        json!({ "paths": ["/**"] }),
    ] {
        let key = narrow_admin(&stage, &scope);
        let api = Api::new(&stage.gateway, &key);
        assert_eq!(api.get("/v2-beta/accounts").status, 200, "{scope}");
        assert_eq!(api.get("/metrics").status, 200, "{scope}");
        let own = format!("/v2-beta/apikeys/{}", key.id);
        for answer in [
            // a wider key, and its own scope
            api.post("/v2-beta/apikeys", &json!({})),
            api.put(&own, &json!({ "scope": null })),
            api.act(&own, "deactivate"),
            api.delete(&own),
            api.post("/v2-beta/accounts", &json!({ "name": "late", "kind": "admin" })),
        ] {
            assert_eq!(answer.status, 403, "{scope}: {answer:?}");
            assert!(answer.text().contains(DETAIL), "{answer:?}");
        }
        let rows = Api::admin(&stage.gateway).document("/v2-beta/auditlogs?outcome=refused&limit=-1");
        let is_told = |row: &Value| row["accessKey"] == key.access_key.as_str();
        assert!(rows["data"].as_array().unwrap().iter().any(is_told), "{rows}");
    }
    let accounts = stage.gateway.json(&["account", "list"]);
    assert!(!accounts.to_string().contains("late"), "{accounts}");
    // outside its paths or methods it reads nothing
    for scope in [json!({ "paths": ["/v1/**", "/v2-beta/apikeys"] }), json!({ "methods": ["POST"] })] {
        let key = narrow_admin(&stage, &scope);
        let api = Api::new(&stage.gateway, &key);
        for path in ["/v2-beta/accounts", "/metrics", "/v2-beta"] {
            let answer = api.get(path);
            assert_eq!(answer.status, 403, "{scope} {path}: {answer:?}");
        }
    }
}

#[test]
fn a_key_of_networks_alone_manages_from_there() {
    let stage = Stage::start();
    let inside = narrow_admin(&stage, &json!({ "networks": ["127.0.0.0/8"] }));
    assert_eq!(Api::new(&stage.gateway, &inside).post("/v2-beta/apikeys", &json!({})).status, 201);
    let visitor = Visitor::signed_in(&stage.gateway, &inside);
    visitor.page("/keys");
    let outside = narrow_admin(&stage, &json!({ "networks": ["10.0.0.0/8"] }));
    let api = Api::new(&stage.gateway, &outside);
    for path in ["/v2-beta/apikeys", "/metrics"] {
        assert_eq!(api.get(path).status, 401, "{path}");
    }
    assert_eq!(Visitor::new(&stage.gateway).sign_in(&outside).status, 403);
    // and a session does not leave them either
    set_scope(&stage.gateway, &inside, &json!({ "networks": ["10.0.0.0/8"] }));
    let answer = visitor.get("/keys");
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(answer.header("Location").unwrap().contains("why=network"), "{answer:?}");
}

#[test]
fn a_write_that_waits_while_its_key_is_narrowed_is_refused_in_the_transaction() {
    let stage = Stage::start();
    let key = narrow_admin(&stage, &Value::Null);
    let file = stage.gateway.directory().join("portcullis.db");
    let api = Api::new(&stage.gateway, &key);
    assert_eq!(api.get("/v2-beta/accounts").status, 200);
    let mut blocking = rusqlite::Connection::open(file).unwrap();
    let lock = blocking.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let answer = std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| api.post("/v2-beta/accounts", &json!({ "name": "late", "kind": "user" })));
        // authorized by what memory knows, and waiting for its turn
        let uses = || stage.gateway.authentication_count("memory_hits");
        let before = uses();
        wait_for(PATIENCE, "the request", || uses() > before || waiting.is_finished());
        let row: i64 = key.id.trim_start_matches("1c").parse().unwrap();
        let narrowed = lock.execute("UPDATE keys SET scope = '{\"read_only\":true}' WHERE id = ?1", [row]);
        assert_eq!(narrowed.unwrap(), 1);
        lock.commit().unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(answer.status, 403, "{answer:?}");
    let accounts = stage.gateway.json(&["account", "list"]);
    assert!(!accounts.to_string().contains("late"), "{accounts}");
}
