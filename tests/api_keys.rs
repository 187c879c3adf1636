//! The type `apiKey` of the management API: its states, its statuses, its secret.

mod support;

use serde_json::{Value, json};
use support::api::{Api, exchange, key_in, request, target_of};
use support::gateway::Gateway;
use support::http1::{Request, Response};
use support::stage::Stage;
use support::{marker, wait_for};

#[track_caller]
fn assert_error(answer: &Response, status: u16, code: &str, field: Option<&str>) {
    let document = answer.json();
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(document["type"], "error", "{document}");
    assert_eq!(document["status"], status, "{document}");
    assert_eq!(document["code"], code, "{document}");
    assert_eq!(document["fieldName"].as_str(), field, "{document}");
    assert_eq!(answer.header("x-request-id").as_deref(), document["id"].as_str(), "{answer:?}");
    assert!(answer.header("x-api-schemas").is_some(), "on every answer: {answer:?}");
}

fn status_with(gateway: &Gateway, key: &support::cli::Key, path: &str) -> u16 {
    gateway.exchange(Request::get(path).key(key).mark(&marker()).end()).status
}

/// As a client that knows nothing but where the API begins.
#[test]
fn a_key_is_created_changed_and_deleted_by_following_links_and_actions() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);

    let root = api.document("/v2-beta");
    let projects = api.document(&target_of(&root["links"]["projects"]));
    let project = projects["data"].as_array().unwrap().iter().find(|item| item["id"] == "e1").unwrap();
    let keys = target_of(&project["links"]["apiKeys"]);
    let created = api.create(&keys, &json!({ "name": "ci", "description": "deploy job" }));
    let key = key_in(&created);
    assert_eq!((&created["type"], &created["baseType"]), (&json!("apiKey"), &json!("credential")));
    assert_eq!((&created["accountId"], &created["state"]), (&json!("e1"), &json!("active")));
    assert_eq!(created["transitioning"], "no", "finished when the answer says so");

    // it works at once, at the endpoint that the answer names
    let endpoint = created["links"]["endpoint"].as_str().unwrap();
    assert_eq!(endpoint, format!("http://{}/v1/projects/e1", stage.gateway.http()));
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/hosts"), 200);
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e2/hosts"), 403);

    let own = target_of(&created["links"]["self"]);
    let shown = api.document(&own);
    assert_eq!(shown["secretValue"], Value::Null);
    assert!(shown["actions"].get("remove").is_none(), "an active key is not removed: {shown}");
    let edited = api.put(&own, &json!({ "name": "build", "publicValue": "changed", "state": "removed" }));
    assert_eq!((edited.status, &edited.json()["name"]), (200, &json!("build")));
    assert_eq!(edited.json()["publicValue"], created["publicValue"], "only name and description change");
    assert_eq!(edited.json()["description"], "deploy job", "what is absent stays");
    assert_error(&api.delete(&own), 405, "Method not allowed", None);

    let stopped = api.post(&target_of(&shown["actions"]["deactivate"]), &json!({}));
    assert_eq!((stopped.status, &stopped.json()["state"]), (200, &json!("inactive")));
    assert_eq!(stopped.json()["secretValue"], Value::Null, "an action's answer holds no secret");
    // no waiting: the answer says that it is in force
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/hosts"), 401);

    let started = api.post(&target_of(&stopped.json()["actions"]["activate"]), &json!({}));
    assert_eq!((started.status, &started.json()["state"]), (200, &json!("active")));
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/hosts"), 200);

    api.act(&own, "deactivate");
    let removed = api.delete(&own);
    assert_eq!((removed.status, &removed.json()["state"]), (200, &json!("removed")));
    assert!(removed.json()["removed"].is_string() && removed.json()["removedTS"].is_number());
    assert_eq!(removed.json()["actions"], json!({}));
    assert_eq!(api.document(&own)["state"], "removed", "readable by its id");
    assert!(!api.ids(&keys).contains(&key.id), "and in no list");
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/hosts"), 401);
}

#[test]
fn a_key_is_created_from_an_empty_body_a_form_or_the_query() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let made = |request: Vec<u8>| {
        let answer = api.send(&request);
        assert_eq!(answer.status, 201, "{answer:?}");
        (answer.json()["name"].clone(), answer.json()["description"].clone())
    };
    let form = "application/x-www-form-urlencoded";
    let post = |target: &str| api.request("POST", target);
    assert_eq!(made(post("/v2-beta/apikeys").body("")), (Value::Null, Value::Null));
    assert_eq!(made(post("/v2-beta/apikeys").body("{}")), (Value::Null, Value::Null));
    assert_eq!(made(post("/v2-beta/apikeys?name=x%20y").body("")), (json!("x y"), Value::Null));
    let typed = post("/v2-beta/apikeys?name=query&description=query").header("Content-Type", form);
    assert_eq!(made(typed.body("name=a%26b+c")), (json!("a&b c"), json!("query")), "the body wins");
    // what `curl -d '{…}'` sends
    let lied = post("/v2-beta/apikeys").header("Content-Type", form);
    assert_eq!(made(lied.body(r#" {"name":"json"}"#)), (json!("json"), Value::Null));
    let unknown =
        json!({ "name": "n", "links": null, "actions": null, "uuid": null, "kind": null, "nonsense": [1] });
    assert_eq!(made(post("/v2-beta/apikeys").body(unknown.to_string())), (json!("n"), Value::Null));
    for name in ["apikey", "apiKey", "APIKEYS", "apikeys/"] {
        assert_eq!(made(post(&format!("/v2-beta/{name}")).body("{}")).0, Value::Null, "{name}");
    }
}

#[test]
fn bad_input_gets_its_status_and_changes_nothing() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let before = api.document("/v2-beta/auditlogs?limit=-1")["data"].as_array().unwrap().len();
    let post = |body: &str| api.send(api.request("POST", "/v2-beta/apikeys").body(body));
    for body in ["{", "[]", "5", "null", " ", "\"x\"", "{\"name\":}", "name=x", "\u{fe}"] {
        assert_error(&post(body), 400, "InvalidBodyContent", None);
    }
    assert_error(&post("{\"name\":5}"), 400, "InvalidFormat", Some("name"));
    assert_error(&post("{\"name\":{\"a\":1}}"), 400, "InvalidFormat", Some("name"));
    let long = json!({ "name": "x".repeat(256) });
    assert_error(&api.post("/v2-beta/apikeys", &long), 422, "MaxLengthExceeded", Some("name"));
    let long = json!({ "description": "x".repeat(1025) });
    assert_error(&api.post("/v2-beta/apikeys", &long), 422, "MaxLengthExceeded", Some("description"));
    for name in ["a\u{0}b", "a\u{1b}[31m", "a\nb", "a\u{202e}b"] {
        let answer = api.post("/v2-beta/apikeys", &json!({ "name": name }));
        assert_error(&answer, 422, "InvalidCharacters", Some("name"));
    }
    let large = json!({ "name": "x", "padding": "x".repeat(1 << 20) });
    assert_eq!(api.post("/v2-beta/apikeys", &large).status, 413);
    assert_error(&api.post("/v2-beta/nonsense", &json!({})), 404, "Not Found", None);
    for path in [
        "/v2-beta/apikeys/5",
        "/v2-beta/apikeys/1x1",
        "/v2-beta/apikeys/1c01",
        "/v2-beta/apikeys/1c999",
        "/v2-beta/apikeys/1c99999999999999999999",
        "/v2-beta//apikeys",
        "/v2-beta/projects/e9/apikeys",
        "/v2-beta/%ff",
    ] {
        assert_error(&api.get(path), 404, "Not Found", None);
        assert_error(&api.act(path, "deactivate"), 404, "Not Found", None);
    }
    for (method, target) in [
        ("PUT", "/v2-beta/apikeys"),
        ("DELETE", "/v2-beta/apikeys"),
        ("PATCH", "/v2-beta/apikeys"),
        ("OPTIONS", "/v2-beta/apikeys"),
        ("POST", "/v2-beta/apikeys/1c1"),
        ("PATCH", "/v2-beta/apikeys/1c1"),
        ("POST", "/v2-beta"),
        ("DELETE", "/v2-beta/schemas/apikey"),
        ("POST", "/v2-beta/auditlogs"),
    ] {
        let answer = api.send(api.request(method, target).end());
        assert_error(&answer, 405, "Method not allowed", None);
        assert!(answer.header("allow").is_some_and(|allow| allow.starts_with("GET")), "{answer:?}");
    }
    // another method by the side door is no method
    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    assert_error(
        &api.send(api.request("POST", &format!("{own}?_method=DELETE")).end()),
        405,
        "Method not allowed",
        None,
    );
    assert_eq!(
        api.send(api.request("GET", &format!("{own}?_method=DELETE")).end()).json()["state"],
        "active"
    );
    assert_error(&api.act(&own, "explode"), 422, "InvalidAction", Some("action"));
    assert_error(&api.act(&own, "activate"), 422, "ActionNotAvailable", Some("action"));
    assert_error(&api.act(&own, "remove"), 422, "ActionNotAvailable", Some("action"));
    assert_error(
        &api.get("/v2-beta/apikeys?created_gt=yesterday"),
        422,
        "InvalidDateFormat",
        Some("created"),
    );
    assert_error(&api.get("/v2-beta/apikeys?marker=m5"), 422, "InvalidOption", Some("marker"));

    let entries = api.document("/v2-beta/auditlogs?limit=-1&outcome=done")["data"].as_array().unwrap().len();
    assert_eq!(entries, before, "nothing was changed");
}

#[test]
fn only_admins_choose_pairs_and_only_unused_ones() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let pair = json!({ "publicValue": "0123456789ABCDEF0123", "secretValue": "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQ" });
    let made = api.create("/v2-beta/projects/e1/apikeys", &pair);
    assert_eq!(made["secretValue"], Value::Null, "who brought it knows it");
    let key = support::cli::Key {
        id: String::new(),
        access_key: "0123456789ABCDEF0123".to_owned(),
        secret: "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQ".to_owned(),
    };
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/x"), 200);
    let again = api.post("/v2-beta/apikeys", &pair);
    assert_error(&again, 422, "NotUnique", Some("publicValue"));
    for (public, secret, code, field) in [
        ("x", None, "MissingRequired", "secretValue"),
        ("x", Some("a\nb"), "InvalidCharacters", "secretValue"),
        ("x:y", Some("chosen"), "InvalidCharacters", "publicValue"),
        ("pca_chosen", Some("chosen"), "InvalidCharacters", "publicValue"),
    ] {
        let body = json!({ "publicValue": public, "secretValue": secret });
        assert_error(&api.post("/v2-beta/apikeys", &body), 422, code, Some(field));
    }
    let long = json!({ "publicValue": "x".repeat(200), "secretValue": "chosen" });
    assert_error(&api.post("/v2-beta/apikeys", &long), 422, "MaxLengthExceeded", Some("publicValue"));

    let ada = stage.gateway.create_account("ada", "user");
    let user = Api::new(&stage.gateway, &stage.gateway.create_account_key("ada"));
    let brought = json!({ "publicValue": "mine", "secretValue": "chosen-by-me", "accountId": "1a1" });
    let made = user.create("/v2-beta/apikeys", &brought);
    assert_ne!(made["publicValue"], "mine", "what a user says of the pair does not count");
    assert_eq!(made["accountId"], json!(ada), "nor of the owner");
    // an admin says for whom
    assert_eq!(api.create("/v2-beta/apikeys", &json!({ "accountId": ada }))["accountId"], json!(ada));
    assert_eq!(api.create("/v2-beta/apikeys", &json!({ "accountId": "e2" }))["accountId"], "e2");
    assert_error(
        &api.post("/v2-beta/apikeys", &json!({ "accountId": "1a99" })),
        422,
        "InvalidReference",
        Some("accountId"),
    );
}

#[test]
fn case_89_a_secret_is_in_the_answer_to_the_creation_and_nowhere_else() {
    let stage = Stage::with(|plan| plan.top("log: { access: { file: access.log }, filter: debug }"));
    let api = Api::admin(&stage.gateway);
    let answer = api.post("/v2-beta/projects/e1/apikeys", &json!({ "name": "ci" }));
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    let key = key_in(&answer.json());
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/x"), 200);
    let own = format!("/v2-beta/apikeys/{}", key.id);
    let mut seen = Vec::new();
    for target in [
        &own,
        "/v2-beta/apikeys",
        "/v2-beta/projects/e1/apikeys?limit=-1",
        "/v2-beta/auditlogs?limit=-1",
        "/v2-beta/schemas",
        "/metrics",
        "/v2-beta/apikeys?secretValue_prefix=pcs",
        "/v2-beta/apikeys?sort=secretValue",
    ] {
        seen.extend(api.get(target).text().into_bytes());
    }
    for action in ["deactivate", "activate", "deactivate"] {
        seen.extend(api.act(&own, action).text().into_bytes());
    }
    seen.extend(api.put(&own, &json!({ "name": "x", "secretValue": "new" })).text().into_bytes());
    seen.extend(api.delete(&own).text().into_bytes());
    seen.extend(stage.gateway.log().into_bytes());
    seen.extend(stage.gateway.stdout().into_bytes());
    for entry in std::fs::read_dir(stage.gateway.directory()).unwrap() {
        seen.extend(std::fs::read(entry.unwrap().path()).unwrap_or_default());
    }
    assert!(support::contains(&seen, key.access_key.as_bytes()), "the search finds what is there");
    assert!(!support::contains(&seen, key.secret.as_bytes()));
    assert!(
        !support::contains(&seen, b"argon2id$")
            || !support::contains(api.get(&own).text().as_bytes(), b"argon2")
    );
}

#[test]
fn a_key_shows_time_address_and_number_of_its_uses() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    assert_eq!(api.document(&own)["lastUsed"], Value::Null);
    assert_eq!(status_with(&stage.gateway, &stage.e1, "/v1/projects/e1/x"), 200);
    wait_for(support::PATIENCE, "the use is told", || api.document(&own)["lastUsed"].is_string());
    let shown = api.document(&own);
    assert!(shown["lastUsedAddress"].as_str().is_some_and(|address| address.starts_with("127.")), "{shown}");
    assert!(shown["lastUsedTS"].as_i64().is_some_and(|time| time > 1_700_000_000_000), "{shown}");
}

#[test]
fn a_key_stops_itself_only_with_confirm_self() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let id = api.ids(&format!("/v2-beta/apikeys?publicValue={}", api.key.access_key)).remove(0);
    let own = format!("/v2-beta/apikeys/{id}");
    assert_error(&api.act(&own, "deactivate"), 422, "MissingRequired", Some("confirm"));
    assert_error(&api.act("/v2-beta/accounts/1a1", "deactivate"), 422, "MissingRequired", Some("confirm"));
    assert_eq!(api.document(&own)["state"], "active");
    let stopped = api.post(&format!("{own}/?action=deactivate&confirm=self"), &json!({}));
    assert_eq!(stopped.status, 200, "{stopped:?}");
    assert_eq!(api.get(&own).status, 401);
}

#[test]
fn a_key_is_named_by_its_id_or_its_access_key() {
    let stage = Stage::start();
    let admin = Api::admin(&stage.gateway);
    let (id, access_key) = (&stage.e1.id, &stage.e1.access_key);
    for root in ["/v2-beta", "/v2-beta/projects/e1"] {
        let by_id = admin.document(&format!("{root}/apikeys/{id}"));
        assert_eq!(admin.document(&format!("{root}/apikeys/{access_key}")), by_id);
    }
    assert_eq!(admin.get(&format!("/v2-beta/projects/e2/apikeys/{access_key}")).status, 404);
    let owner = admin.document(&format!("/v2-beta/apikeys/{access_key}/account"));
    assert_eq!((&owner["type"], &owner["id"]), (&json!("project"), &json!("e1")));
    // who may not see it learns nothing
    stage.gateway.create_account("eve", "user");
    let eve = stage.gateway.create_account_key("eve");
    let eve = Api::new(&stage.gateway, &eve);
    for unseen in [access_key.as_str(), "pce_00000000000000000000", "a%20b"] {
        let target = format!("/v2-beta/apikeys/{unseen}");
        assert_error(&eve.get(&target), 404, "Not Found", None);
        assert_eq!(eve.put(&target, &json!({ "name": "mine" })).status, 404, "{unseen}");
    }
    // a key that has leaked is stopped as it was found
    assert_eq!(admin.act(&format!("/v2-beta/apikeys/{access_key}"), "deactivate").status, 200);
    assert_eq!(status_with(&stage.gateway, &stage.e1, "/v1/projects/e1/hosts"), 401);
}

#[test]
fn an_edit_of_an_old_revision_is_refused() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let tag = api.get(&own).header("etag").expect("a revision");
    let edit = |name: &str| {
        api.send(api.request("PUT", &own).header("If-Match", &tag).body(json!({ "name": name }).to_string()))
    };
    let first = edit("first");
    assert_eq!(first.status, 200, "{first:?}");
    assert_ne!(first.header("etag"), Some(tag.clone()));
    assert_error(&edit("second"), 412, "Precondition Failed", None);
    assert_eq!(api.document(&own)["name"], "first");
    let any = api.send(api.request("PUT", &own).header("If-Match", "*").body(r#"{"name":"third"}"#));
    assert_eq!(any.status, 200, "{any:?}");
    assert_eq!(api.send(api.request("PUT", &own).header("If-Match", "nonsense").body("{}")).status, 412);

    // a list matches by any of its tags, on one line or on several; a weak tag never does (RFC 9110 section 13.1.1)
    let put = |lines: &[&str]| {
        let request =
            lines.iter().fold(api.request("PUT", &own), |request, line| request.header("If-Match", line));
        api.send(request.body(r#"{"description":"listed"}"#)).status
    };
    let now = api.get(&own).header("etag").expect("a revision");
    assert_eq!(put(&[&tag, "\"0\""]), 412, "two stale ones");
    assert_eq!(put(&[&format!("W/{now}")]), 412);
    assert_eq!(put(&[&format!("{tag}, {now}")]), 200);
    let now = api.get(&own).header("etag").expect("a revision");
    assert_eq!(put(&[&tag, &now]), 200);
}

#[test]
fn every_change_obeys_if_match() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let old = api.get(&own).header("etag").expect("a revision");
    api.put(&own, &json!({ "name": "another" }));
    let send = |method: &str, target: &str, tag: &str| {
        api.send(api.request(method, target).header("If-Match", tag).body(r#"{"role":"member"}"#))
    };
    let deactivate = format!("{own}/?action=deactivate");
    assert_error(&send("POST", &deactivate, &old), 412, "Precondition Failed", None);
    assert_eq!(api.document(&own)["state"], "active");
    let fresh = api.get(&own).header("etag").expect("a revision");
    assert_eq!(send("POST", &deactivate, &fresh).status, 200);
    assert_error(&send("DELETE", &own, &fresh), 412, "Precondition Failed", None);
    assert_eq!(api.document(&own)["state"], "inactive");
    assert_eq!(send("DELETE", &own, "*").status, 200);
    assert_error(&send("DELETE", "/v2-beta/apikeys/1c999", &fresh), 404, "Not Found", None);

    // for the members that an environment is to have, it is the environment's revision that counts
    let environment = "/v2-beta/projects/e1";
    let old = api.get(environment).header("etag").expect("a revision");
    api.put(environment, &json!({ "name": "another" }));
    let members = json!({ "members": [{ "externalId": "1a1", "role": "owner" }] }).to_string();
    let set = |tag: &str| {
        let request = api.request("POST", "/v2-beta/projects/e1/?action=setmembers");
        api.send(request.header("If-Match", tag).body(members.clone()))
    };
    assert_error(&set(&old), 412, "Precondition Failed", None);
    assert_eq!(api.document(&format!("{environment}/projectmembers"))["data"], json!([]));
    assert_eq!(set(&api.get(environment).header("etag").expect("a revision")).status, 200);

    // memberships name no revision
    let account = api.create("/v2-beta/accounts", &json!({ "name": "bob" }));
    let member = json!({ "externalId": account["id"], "role": "readonly" });
    let id = api.create("/v2-beta/projects/e1/projectmembers", &member)["id"].as_str().unwrap().to_owned();
    let member = format!("/v2-beta/projectmembers/{id}");
    assert_eq!(send("PUT", &member, "\"1\"").status, 412);
    assert_eq!(send("DELETE", &member, "\"1\"").status, 412);
    assert_eq!(api.document(&member)["role"], "readonly");
    assert_eq!(send("PUT", &member, "*").status, 200);
}

#[test]
fn answers_name_the_caller_and_the_schemas() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let host = format!("http://{}", stage.gateway.management());
    let answer = api.get("/v2-beta/projects/e1/apikeys");
    assert_eq!(answer.header("x-api-schemas"), Some(format!("{host}/v2-beta/projects/e1/schemas")));
    assert_eq!(answer.header("x-api-account-id").as_deref(), Some("e1"), "the effective one");
    assert_eq!(answer.header("x-api-user-id").as_deref(), Some("1a1"));
    assert_eq!(answer.header("x-api-account-kind").as_deref(), Some("admin"));
    let answer = api.get("/v2-beta/projects/e1");
    assert_eq!(answer.header("x-api-schemas"), Some(format!("{host}/v2-beta/schemas")), "no context");
    let stranger =
        exchange(&stage.gateway, request(&stage.gateway, "GET", "/v2-beta/projects/e1/apikeys").end());
    assert_error(&stranger, 401, "Unauthorized", None);
    assert_eq!(stranger.all("www-authenticate").len(), 1);
    assert!(stranger.header("x-api-account-id").is_none());
    let quiet = request(&stage.gateway, "GET", "/v2-beta").header("X-API-No-Challenge", "true").end();
    assert!(exchange(&stage.gateway, quiet).header("www-authenticate").is_none());

    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let asked = api.send(api.request("GET", &own).header("X-API-Action-Links", "actionLinks").end()).json();
    assert!(asked["actionLinks"]["deactivate"].is_string() && asked.get("actions").is_none(), "{asked}");
    let listed = api
        .send(api.request("GET", "/v2-beta/apikeys").header("X-API-Action-Links", "actionLinks").end())
        .json();
    assert!(listed["data"][0]["actionLinks"].is_object(), "{listed}");
}

/// Else a stolen key that only looks around here would seem unused.
#[test]
fn requests_to_the_management_api_are_uses_of_a_key() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let key = api.create_key("/v2-beta/apikeys", &json!({ "name": "automation" }));
    let own = format!("/v2-beta/apikeys/{}", key.id);
    assert_eq!((&api.document(&own)["lastUsed"], &api.document(&own)["useCount"]), (&Value::Null, &json!(0)));
    let user = Api::new(&stage.gateway, &key);
    for _ in 0..3 {
        assert_eq!(user.get("/v2-beta").status, 200);
    }
    wait_for(support::PATIENCE, "the uses are saved", || api.document(&own)["useCount"] == 3);
    let shown = api.document(&own);
    assert!(shown["lastUsed"].is_string(), "{shown}");
    assert!(shown["lastUsedAddress"].as_str().is_some_and(|it| it.starts_with("127.")), "{shown}");
}
