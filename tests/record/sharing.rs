//! Keys, lists and logs are the same on every gateway.

use serde_json::{Value, json};

use crate::cluster::{Cluster, IN_E1, NAMES};
use crate::support::api::Api;
use crate::support::cli::Key;
use crate::support::gateway::Gateway;
use crate::visitor::{Visitor, text_of};

#[test]
fn a_key_made_on_one_gateway_works_on_all_when_the_answer_is_there() {
    let cluster = Cluster::start(3);
    let [one, two, three] = &cluster.gateways[..] else { panic!("three gateways") };
    let by_command = one.create_environment_key("e1");
    cluster.all_answer(IN_E1, &by_command, 200);
    let by_api = Api::admin(two).create_key("/v2-beta/projects/e1/apikeys", &json!({ "name": "by API" }));
    cluster.all_answer(IN_E1, &by_api, 200);
    let visitor = Visitor::signed_in(three, &three.admin);
    let by_page = visitor.create_key("environment=e1", "by page");
    cluster.all_answer(IN_E1, &by_page, 200);
    // an unknown one is unknown on all, and not 503: each knows that it is up to date
    cluster.all_answer(IN_E1, &by_page.with_wrong_secret(), 401);
    let unknown = Key { access_key: "pce_00000000000000000000".to_owned(), ..by_page };
    cluster.all_answer(IN_E1, &unknown, 401);
}

#[test]
fn a_key_stopped_on_one_gateway_is_refused_on_all_when_the_answer_is_there() {
    let cluster = Cluster::start(3);
    let [one, two, three] = &cluster.gateways[..] else { panic!("three gateways") };
    let visitor = Visitor::signed_in(three, &three.admin);
    let key = one.create_environment_key("e1");
    let url = format!("/v2-beta/apikeys/{}", key.id);
    let on_page = |action: &str| {
        let answer = visitor.post(&format!("/keys/{}/{action}", key.id), &[("to", "/keys?environment=e1")]);
        assert_eq!(answer.status, 303, "{answer:?}");
        text_of(&visitor.page("/keys?environment=e1"), "notice")
    };
    // in use everywhere, and so in every worker's memory
    cluster.all_answer(IN_E1, &key, 200);

    one.succeed(&["key", "deactivate", &key.id]);
    cluster.all_answer(IN_E1, &key, 401);
    let answer = Api::admin(two).act(&url, "activate");
    assert_eq!(answer.status, 200, "{answer:?}");
    cluster.all_answer(IN_E1, &key, 200);

    let notice = on_page("deactivate");
    cluster.all_answer(IN_E1, &key, 401);
    assert!(NAMES.iter().all(|name| notice.contains(name)), "{notice}");
    on_page("activate");
    cluster.all_answer(IN_E1, &key, 200);

    let answer = Api::admin(two).act(&url, "deactivate");
    assert_eq!(answer.status, 200, "{answer:?}");
    cluster.all_answer(IN_E1, &key, 401);
    assert_eq!(Api::admin(two).delete(&url).status, 200);
    cluster.all_answer(IN_E1, &key, 401);
    assert_eq!(Api::admin(one).document(&url)["state"], "removed");
}

#[test]
fn gateways_are_listed_while_they_are_there() {
    let mut cluster = Cluster::start(2);
    let listed = cluster.one().json(&["gateways"]);
    let rows = listed["data"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{listed}");
    for (row, name) in rows.iter().zip(["gw-one", "gw-two"]) {
        assert_eq!((&row["name"], &row["state"], &row["lag"]), (&json!(name), &json!("active"), &json!(0)));
        // the admin account with its key, and two environments
        assert_eq!(row["applied"], 4, "{row}");
        let time = |field: &str| row[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let left = time("leaseUntil").duration_since(jiff::Timestamp::now()).as_secs();
        assert!((30..=62).contains(&left), "{left}s of a lease of 60s and its margin: {row}");
        assert!(time("started") <= jiff::Timestamp::now(), "{row}");
    }
    // the table on the other machine says the same
    let table = cluster.two().succeed(&["gateways"]).stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "NAME", "APPLIED", "LAG", "LEASE", "UNTIL", "STARTED"]);
    for (line, row) in lines[1..].iter().zip(rows) {
        assert_eq!(line[..5], [row["id"].as_str().unwrap(), row["name"].as_str().unwrap(), "4", "0", "live"]);
    }
    // who stops in order is gone at once; who crashes, when the lease is over
    let (_site, code) = cluster.gateways.pop().unwrap().stop();
    assert_eq!(code, Some(0));
    let listed = cluster.one().json(&["gateways"]);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["data"][0]["name"], "gw-one");
}

/// A document as it is on any gateway: links and times of the look aside.
fn without_links(document: &Value, gateway: &Gateway) -> Value {
    let text = document.to_string().replace(&gateway.management().to_string(), "gateway");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn edits_lists_and_the_audit_log_are_the_same_on_every_gateway() {
    let cluster = Cluster::start(2);
    let [one, two] = [cluster.one(), cluster.two()].map(Api::admin);
    let key = one.create_key("/v2-beta/projects/e1/apikeys", &json!({ "name": "first" }));
    let url = format!("/v2-beta/apikeys/{}", key.id);
    let tag = two.get(&url).header("ETag").unwrap();
    assert_eq!(
        two.put(&url, &json!({ "name": "second", "description": "Grüße 'n \"Zeichen\"" })).status,
        200
    );
    // who saw it before the other's edit is told so, on whichever gateway
    let stale = one.request("PUT", &url).header("If-Match", &tag).body(json!({ "name": "late" }).to_string());
    assert_eq!(one.send(stale).status, 412);
    cluster.one().create_account("bob", "user");
    cluster.two().add_member("e1", "bob", "member");
    cluster.one().succeed(&["environment", "edit", "e2", "--name", "second"]);

    for list in ["apikeys", "accounts", "projects", "projects/e1/projectmembers", "auditlogs?order=desc"] {
        let list = format!("/v2-beta/{list}");
        let [on_one, on_two] =
            [&one, &two].map(|api| without_links(&api.document(&list), api.gateway)["data"].clone());
        assert_eq!(on_one, on_two, "{list}");
        assert!(on_one.as_array().unwrap().len() > 1 || list.ends_with("members"), "{on_one}");
    }
    assert_eq!(one.document(&url)["name"], "second");
    let log = one.document(&format!("/v2-beta/auditlogs?resourceId={}", key.id));
    let told: Vec<_> =
        log["data"].as_array().unwrap().iter().map(|row| (&row["action"], &row["outcome"])).collect();
    let [create, edit, done, refused] = ["create", "edit", "done", "refused"].map(|word| json!(word));
    assert_eq!(told, [(&create, &done), (&edit, &done), (&edit, &refused)], "{log}");
    let commands = |gateway: &Gateway| gateway.succeed(&["key", "list", "--environment", "e1"]).stdout;
    assert_eq!(commands(cluster.one()), commands(cluster.two()));
}
