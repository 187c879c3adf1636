//! Every change that takes rights away is in force on all gateways when its answer comes.

use serde_json::json;

use crate::cluster::{Cluster, IN_E1, IN_E2};
use crate::support::api::Api;
use crate::support::http1::Request;

#[test]
fn a_lesser_role_and_an_ended_membership_hold_on_all() {
    let cluster = Cluster::start(2);
    cluster.one().create_account("alice", "user");
    cluster.one().add_member("e1", "alice", "member");
    cluster.one().add_member("e2", "alice", "member");
    let alice = cluster.two().create_account_key("alice");
    let writing = || Request::new("POST", IN_E1);
    cluster.everywhere(writing, &alice, 200);
    cluster.two().add_member("e1", "alice", "readonly");
    cluster.everywhere(writing, &alice, 403);
    cluster.all_answer(IN_E1, &alice, 200);
    let id = cluster.one().json(&["account", "show", "alice"])["id"].as_str().unwrap().to_owned();
    let answer = Api::admin(cluster.one()).delete(&format!("/v2-beta/projectmembers/e1:{id}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["receipt"]["applied"].as_array().unwrap().len(), 2, "{answer:?}");
    cluster.all_answer(IN_E1, &alice, 403);
    cluster.all_answer(IN_E2, &alice, 200);
    // all members at once
    let admin = cluster.one().json(&["account", "show", "admin"])["id"].clone();
    let members = json!({ "members": [{ "externalId": admin, "role": "owner" }] });
    let answer = Api::admin(cluster.two()).post("/v2-beta/projects/e2/?action=setmembers", &members);
    assert_eq!(answer.status, 200, "{answer:?}");
    cluster.all_answer(IN_E2, &alice, 403);
}

#[test]
fn a_stopped_account_and_a_closed_environment_are_so_on_all() {
    let cluster = Cluster::start(2);
    cluster.one().create_account("alice", "user");
    cluster.one().add_member("e1", "alice", "member");
    let alice = cluster.one().create_account_key("alice");
    let of_e1 = cluster.two().create_environment_key("e1");
    let admin = cluster.one().admin.clone();
    cluster.all_answer(IN_E1, &alice, 200);
    cluster.all_answer(IN_E1, &of_e1, 200);
    cluster.all_answer(IN_E1, &admin, 200);

    cluster.one().succeed(&["environment", "deactivate", "e1"]);
    cluster.all_answer(IN_E1, &of_e1, 401);
    cluster.all_answer(IN_E1, &alice, 403);
    cluster.all_answer(IN_E1, &admin, 403);
    let answer = Api::admin(cluster.two()).act("/v2-beta/projects/e1", "activate");
    assert_eq!(answer.status, 200, "{answer:?}");
    cluster.all_answer(IN_E1, &of_e1, 200);
    cluster.all_answer(IN_E1, &alice, 200);

    let id = cluster.two().json(&["account", "show", "alice"])["id"].as_str().unwrap().to_owned();
    let answer = Api::admin(cluster.two()).act(&format!("/v2-beta/accounts/{id}"), "deactivate");
    assert_eq!(answer.status, 200, "{answer:?}");
    cluster.all_answer(IN_E1, &alice, 401);
    cluster.one().succeed(&["account", "delete", "alice"]);
    cluster.all_answer(IN_E1, &alice, 401);
    let removed = cluster.two().json(&["key", "show", &alice.id]);
    assert_eq!(removed["state"], "removed");
}
