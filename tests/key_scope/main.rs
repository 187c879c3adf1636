//! Keys with a scope: what requests they may make, from where, what they have open, and what they may manage.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

#[path = "../command_line_remote/remote_machine.rs"]
#[allow(dead_code, reason = "the tests of remote commands use more of it")]
mod remote_machine;
#[path = "../support/mod.rs"]
mod support;
#[path = "../web_page/visitor.rs"]
#[allow(dead_code, reason = "the page's own tests use more of it")]
mod visitor;

mod management;
mod networks;
mod page;
mod requests;
mod streams;

use serde_json::{Value, json};
use support::api::Api;
use support::cli::Key;
use support::gateway::Gateway;

/// Makes a key of `e1` with this scope.
#[track_caller]
fn narrow_key(gateway: &Gateway, scope: &Value) -> Key {
    Api::admin(gateway).create_key("/v2-beta/projects/e1/apikeys", &json!({ "scope": scope }))
}

/// Gives a key another scope, which must be in force when the answer is there.
#[track_caller]
fn set_scope(gateway: &Gateway, key: &Key, scope: &Value) {
    let body = json!({ "scope": scope });
    let answer = Api::admin(gateway).put(&format!("/v2-beta/apikeys/{}", key.id), &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["receipt"]["complete"], true, "{answer:?}");
}
