//! Whatever takes rights away does so on every gateway before the answer is there.

use serde_json::json;

use crate::house::{House, IN_E1, IN_E2};
use crate::support::api::Api;
use crate::support::http1::Request;

#[test]
fn a_lesser_role_and_an_ended_membership_hold_on_all() {
    let house = House::start(2);
    house.one().create_account("alice", "user");
    house.one().add_member("e1", "alice", "member");
    house.one().add_member("e2", "alice", "member");
    let alice = house.two().create_account_key("alice");
    let writing = || Request::new("POST", IN_E1);
    house.everywhere(writing, &alice, 200);
    house.two().add_member("e1", "alice", "readonly");
    house.everywhere(writing, &alice, 403);
    house.all_answer(IN_E1, &alice, 200);
    let id = house.one().json(&["account", "show", "alice"])["id"].as_str().unwrap().to_owned();
    let answer = Api::admin(house.one()).delete(&format!("/v2-beta/projectmembers/e1:{id}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["receipt"]["applied"].as_array().unwrap().len(), 2, "{answer:?}");
    house.all_answer(IN_E1, &alice, 403);
    house.all_answer(IN_E2, &alice, 200);
    // all members at once
    let admin = house.one().json(&["account", "show", "admin"])["id"].clone();
    let members = json!({ "members": [{ "externalId": admin, "role": "owner" }] });
    let answer = Api::admin(house.two()).post("/v2-beta/projects/e2/?action=setmembers", &members);
    assert_eq!(answer.status, 200, "{answer:?}");
    house.all_answer(IN_E2, &alice, 403);
}

#[test]
fn a_stopped_account_and_a_closed_environment_are_so_on_all() {
    let house = House::start(2);
    house.one().create_account("alice", "user");
    house.one().add_member("e1", "alice", "member");
    let alice = house.one().create_account_key("alice");
    let of_e1 = house.two().create_environment_key("e1");
    let admin = house.one().admin.clone();
    house.all_answer(IN_E1, &alice, 200);
    house.all_answer(IN_E1, &of_e1, 200);
    house.all_answer(IN_E1, &admin, 200);

    house.one().succeed(&["environment", "deactivate", "e1"]);
    house.all_answer(IN_E1, &of_e1, 401);
    house.all_answer(IN_E1, &alice, 403);
    house.all_answer(IN_E1, &admin, 403);
    let answer = Api::admin(house.two()).act("/v2-beta/projects/e1", "activate");
    assert_eq!(answer.status, 200, "{answer:?}");
    house.all_answer(IN_E1, &of_e1, 200);
    house.all_answer(IN_E1, &alice, 200);

    let id = house.two().json(&["account", "show", "alice"])["id"].as_str().unwrap().to_owned();
    let answer = Api::admin(house.two()).act(&format!("/v2-beta/accounts/{id}"), "deactivate");
    assert_eq!(answer.status, 200, "{answer:?}");
    house.all_answer(IN_E1, &alice, 401);
    house.one().succeed(&["account", "delete", "alice"]);
    house.all_answer(IN_E1, &alice, 401);
    let removed = house.two().json(&["key", "show", &alice.id]);
    assert_eq!(removed["state"], "removed");
}
