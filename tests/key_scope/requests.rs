//! The requests that a scope leaves.

use serde_json::{Value, json};

use crate::remote_machine::RemoteMachine;
use crate::support::api::Api;
use crate::support::http1::Request;
use crate::support::stage::Stage;
use crate::{narrow_key, set_scope};

#[test]
fn a_key_makes_the_requests_of_its_scope_and_no_others() {
    let stage = Stage::start();
    let key = narrow_key(
        &stage.gateway,
        &json!({ "methods": ["GET", "POST"], "paths": ["/v1/projects/*/builds/**"] }),
    );
    for (method, path) in [
        ("GET", "/v1/projects/e1/builds"),
        ("POST", "/v1/projects/e1/builds/"),
        ("GET", "/v1/projects/e1/builds/a%20b/;x=1"),
    ] {
        stage.passes(Request::new(method, path).key(&key));
    }
    for (path, rule) in [
        ("/v1/projects/e1/secrets", "the path is outside the key's scope"),
        ("/v1/projects/e1/Builds/7", "the path is outside the key's scope"),
        ("/v1/projects/e1/%62uilds/7", "the path is outside the key's scope"),
        ("/v1/projects/e1/builds;x/7", "the path is outside the key's scope"),
        ("/v1/projects/e1/builds./7", "the path is outside the key's scope"),
        // what the table refuses is refused by the table
        ("/v1/projects/e2/builds/7", "the key does not reach this environment"),
    ] {
        let answer = stage.refuses(Request::get(path).key(&key), &[403]);
        assert!(answer.text().contains(rule), "{path}: {answer:?}");
    }
    stage.refuses(Request::get("/v1/projects/e1/builds/../secrets").key(&key), &[400]);
    let answer = stage.refuses(Request::new("DELETE", "/v1/projects/e1/builds/7").key(&key), &[403]);
    assert!(answer.text().contains("the method is outside the key's scope"), "{answer:?}");
    // a key without a scope does as before
    stage.passes(Request::new("DELETE", "/v1/projects/e1/builds/7").key(&stage.e1));
}

#[test]
fn a_key_is_narrowed_and_widened_while_it_is_used() {
    let stage = Stage::start();
    let post = || Request::new("POST", "/v1/projects/e1/x").key(&stage.e1);
    stage.passes(post());
    set_scope(&stage.gateway, &stage.e1, &json!({ "read_only": true }));
    let answer = stage.refuses(post(), &[403]);
    assert!(answer.text().contains("the key's scope lets it only read"), "{answer:?}");
    stage.passes(Request::get("/v1/projects/e1/x").key(&stage.e1));
    set_scope(&stage.gateway, &stage.e1, &Value::Null);
    stage.passes(post());
}

#[test]
fn the_command_line_narrows_shows_and_explains() {
    let stage = Stage::start();
    let (gateway, id) = (&stage.gateway, stage.e1.id.as_str());
    let edit =
        ["key", "edit", id, "--read-only", "--method", "GET", "--path", "/v1/**", "--from", "10.0.0.0/8"];
    gateway.succeed(&edit);
    let words = "only reading; only GET; only /v1/**; only from 10.0.0.0/8";
    let shown = gateway.succeed(&["key", "show", id]).stdout;
    assert!(shown.contains(words), "{shown}");
    let scope =
        json!({ "read_only": true, "methods": ["GET"], "paths": ["/v1/**"], "networks": ["10.0.0.0/8"] });
    assert_eq!(gateway.json(&["key", "show", id])["scope"], scope);
    assert!(gateway.succeed(&["key", "list"]).stdout.contains("narrowed, read-only"));
    let explain = |more: &[&str]| {
        let arguments = [&["explain", "--key", id][..], more].concat();
        let answer = gateway.json(&arguments);
        (answer["decision"].clone(), answer["status"].clone(), answer["rule"].as_str().unwrap().to_owned())
    };
    let inside = explain(&["--from", "::ffff:10.1.2.3", "GET", "/v1/projects/e1/x"]);
    assert_eq!(inside.0, "allow", "{inside:?}");
    let outside = explain(&["--from", "192.0.2.7", "GET", "/v1/projects/e1/x"]);
    assert_eq!((outside.1, outside.2.as_str()), (json!(401), "the address is outside the key's networks"));
    let anywhere = gateway.json(&["explain", "--key", id, "GET", "/v1/projects/e1/x"]);
    assert_eq!(anywhere["note"], "the networks of the key were not checked: add --from ADDRESS");
    let writing = explain(&["--from", "10.1.2.3", "POST", "/v1/projects/e1/x"]);
    assert_eq!((writing.1, writing.2.as_str()), (json!(403), "the key's scope lets it only read"));
    // an edit that names one option replaces the whole scope, and one that names none leaves it
    gateway.succeed(&["key", "edit", id, "--method", "PUT"]);
    gateway.succeed(&["key", "edit", id, "--name", "narrow"]);
    assert_eq!(gateway.json(&["key", "show", id])["scope"]["paths"], json!([]));
    assert_eq!(gateway.json(&["key", "show", id])["scope"]["methods"], json!(["PUT"]));
    // from another machine, alike
    let remote = RemoteMachine::admin(gateway);
    let edited = remote.json(&["key", "edit", id, "--read-only", "--from", "192.0.2.7"]);
    assert_eq!(edited["scope"], gateway.json(&["key", "show", id])["scope"]);
    assert_eq!(edited["scope"]["networks"], json!(["192.0.2.7/32"]));
    let made = remote.json(&["key", "create", "--environment", "e1", "--path", "/v1/projects/e1/**"]);
    assert_eq!(made["scope"]["paths"], json!(["/v1/projects/e1/**"]));
    gateway.succeed(&["key", "edit", id, "--no-scope"]);
    assert_eq!(gateway.json(&["key", "show", id])["scope"], Value::Null);
    for wrong in [&["--path", "/v1/%2e/**"][..], &["--from", "10.0.0.1/8"], &["--no-scope", "--read-only"]] {
        let outcome = gateway.run(&[&["key", "edit", id][..], wrong].concat());
        assert_ne!(outcome.code, 0, "{outcome:?}");
    }
}

#[test]
fn what_is_no_scope_is_refused_and_what_changes_nothing_is_no_change() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let path = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let put = |scope: Value| api.put(&path, &json!({ "scope": scope }));
    for scope in [
        json!({ "readOnly": true }),
        json!({ "read_only": "yes" }),
        json!({ "networks": ["10.0.0.1/8"] }),
        json!({ "paths": ["v1"] }),
        json!({ "methods": ["GET,POST"] }),
        json!({ "paths": (0..17).map(|number| format!("/{number}")).collect::<Vec<_>>() }),
    ] {
        let answer = put(scope.clone());
        assert_eq!((answer.status, answer.json()["fieldName"].clone()), (422, json!("scope")), "{scope}");
    }
    assert_eq!(put(json!("read_only")).status, 400);
    // nothing is narrowed: no scope
    assert_eq!(put(json!({})).json()["scope"], Value::Null);
    let narrowed = put(json!({ "read_only": true }));
    let change = narrowed.json()["receipt"]["change"].clone();
    assert_eq!(put(narrowed.json()["scope"].clone()).json()["receipt"]["change"], change);
    let document = api.document(&format!("/v2-beta/auditlogs?action=edit&resourceId={}", stage.e1.id));
    let entries = document["data"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["after"]["scope"]["read_only"] == true), "{document}");
}
