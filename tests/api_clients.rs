//! Clients that were not written for Portcullis: Rancher's own Python client, the requests of Rancher's command line,
//! and a fuzzer that only knows the `OpenAPI` document.

mod support;

use serde_json::{Value, json};
use support::api::{Api, ids, target_of};
use support::python;
use support::stage::Stage;

/// What the script saw, by step.
fn life(stage: &Stage, url: &str) -> Vec<Value> {
    let admin = &stage.gateway.admin;
    let wrong = admin.with_wrong_secret();
    let output = python::script("gdapi_life.py")
        .args([url, &admin.access_key, &admin.secret, &wrong.secret])
        .output()
        .expect("python can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn ranchers_python_client_leads_a_key_through_its_whole_life() {
    let stage = Stage::start();
    for (path, owner) in [("/v2-beta", "1a1"), ("/v2-beta/projects/e1/schemas", "e1")] {
        let seen = life(&stage, &format!("http://{}{path}", stage.gateway.management()));
        let step = |name: &str| {
            let found = seen.iter().find(|step| step["step"] == name);
            found.unwrap_or_else(|| panic!("no step {name}: {seen:#?}"))
        };
        for failed in &seen {
            assert!(failed.get("failure").is_none() || failed["step"] == "deactivate again", "{failed}");
        }
        assert_eq!(step("connect")["creatable"], true);
        let created = &step("create")["key"];
        assert_eq!((&created["accountId"], &created["state"]), (&json!(owner), &json!("active")));
        assert!(created["secretValue"].as_str().is_some_and(|secret| secret.starts_with("pcs_")));
        assert_eq!(step("list")["keys"][0]["id"], created["id"]);
        assert_eq!(step("list none")["keys"], json!([]));
        assert_eq!(step("by id")["key"]["secretValue"], Value::Null);
        assert_eq!(step("update")["key"]["name"], "gdapi renamed");
        assert_eq!(step("update by id")["key"]["description"], "by id");
        assert_eq!(step("delete active")["error"]["status"], 405);
        assert_eq!(step("deactivate")["key"]["state"], "inactive");
        assert_eq!(step("activate")["key"]["state"], "active");
        assert_eq!(step("deactivate by name")["key"]["state"], "inactive");
        assert_eq!(step("account")["type"], if owner == "e1" { "project" } else { "account" });
        assert_eq!(step("delete")["key"]["state"], "removed");
        assert_eq!(step("by id afterwards")["key"]["state"], "removed");
        assert_eq!(step("by id unknown")["key"], Value::Null);
        assert_eq!(step("list afterwards")["keys"], json!([]));
        assert_eq!(step("wrong key")["error"]["status"], 401);
    }
}

/// The requests that Rancher's command line was seen to make, and what it needs of the answers.
#[test]
fn ranchers_command_line_finds_what_it_asks_for() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let base = format!("http://{}", stage.gateway.management());

    // it connects: the address must be answered 200, and lead to the schemas
    let connected = api.get("/v2-beta");
    assert_eq!(connected.status, 200);
    let schemas = target_of(&json!(connected.header("x-api-schemas").unwrap()));
    let document = api.document(&schemas);
    assert_eq!(document["type"], "collection");
    for name in ["apiKey", "account", "project", "projectMember", "schema"] {
        let schema = document["data"].as_array().unwrap().iter().find(|schema| schema["id"] == name);
        let schema = schema.unwrap_or_else(|| panic!("no schema {name}"));
        assert!(
            schema["links"]["collection"].is_string() && schema["collectionMethods"].is_array(),
            "{schema}"
        );
        assert!(schema["resourceMethods"].is_array() && schema["pluralName"].is_string(), "{schema}");
    }
    // and asks for the schema called "schemas" on nearly every command
    assert_eq!(api.document("/v2-beta/projects/e1/schemas/schemas")["id"], "schema");
    assert_eq!(
        api.document("/v2-beta/projects/e1/schemas/schemas")["links"]["collection"],
        json!(format!("{base}/v2-beta/projects/e1/schemas"))
    );

    // env ls, env ls -a
    let listed = "limit=-2&removed_null=1&state_ne=inactive&state_ne=stopped&state_ne=removing&system=false";
    assert_eq!(api.ids(&format!("/v2-beta/projects?{listed}")), ["e1", "e2"]);
    assert_eq!(api.ids("/v2-beta/projects?all=true&limit=-2&system=false"), ["e1", "e2"]);
    // env create
    assert_eq!(api.get("/v2-beta/projecttemplates/Cattle").status, 404);
    let template = ids(&api.document("/v2-beta/projecttemplates?name=Cattle&removed_null=1")).remove(0);
    let made = api.create(
        "/v2-beta/projects",
        &json!({ "name": "staging", "projectTemplateId": template, "links": null }),
    );
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("1e"), "it gets an id of its own: {made}");
    // env deactivate staging: by id, then by name
    assert_eq!(api.get("/v2-beta/projects/staging").status, 404);
    assert_eq!(api.ids("/v2-beta/projects?all=true&name=STAGING&removed_null=1"), [id]);
    let own = target_of(&made["links"]["self"]);
    let stopped = api.send(api.request("POST", &format!("{own}/?action=deactivate")).end());
    assert_eq!((stopped.status, &stopped.json()["state"]), (200, &json!("inactive")));
    // env rm
    assert_eq!(api.delete(&own).status, 200);

    // an environment's key, without the environment in the address
    let own = Api::new(&stage.gateway, &stage.e1);
    assert_eq!(own.ids("/v2-beta/projects"), ["e1"]);
    assert_eq!(own.get("/v2-beta/projects/e2/schemas/schemas").status, 404);
    let project = own.document("/v2-beta/schemas/project");
    assert_eq!(project["collectionMethods"], json!(["GET"]), "env create is refused by the client itself");
}

/// The fuzzer's own words, where the run fails.
#[test]
fn a_fuzzer_that_knows_only_the_description_finds_no_error() {
    let stage = Stage::with(|plan| {
        // about two failures an operation are the fuzzer's own test of authentication
        plan.top("throttle: { failures: 65534 }\nauthentication: { refusal_time: 1ms }")
    });
    let folder = tempfile::tempdir().expect("a folder");
    let output = python::schemathesis()
        .current_dir(folder.path())
        .env("API_USER", &stage.gateway.admin.access_key)
        .env("API_PASSWORD", &stage.gateway.admin.secret)
        .args(["run", &format!("http://{}/openapi.json", stage.gateway.management())])
        .output()
        .expect("schemathesis can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let end: String =
        text.lines().rev().take(400).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    assert!(output.status.success(), "{end}\n{}", String::from_utf8_lossy(&output.stderr));
    // it has really sent something
    let api = Api::admin(&stage.gateway);
    assert!(api.document("/v2-beta/auditlogs?limit=-1&via=api")["data"].as_array().unwrap().len() > 10);
}
