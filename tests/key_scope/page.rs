//! Scopes on the page: signing in with a narrowed key, and the form that narrows one.

use serde_json::{Value, json};

use crate::set_scope;
use crate::support::api::Api;
use crate::support::stage::Stage;
use crate::visitor::{Visitor, row_of, value_of};

#[test]
fn a_narrowed_key_reads_on_the_page_or_does_not_get_in() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let key = api.create_key("/v2-beta/apikeys", &json!({ "scope": { "read_only": true } }));
    let visitor = Visitor::signed_in(&stage.gateway, &key);
    let page = visitor.page("/keys");
    assert!(!page.contains("/keys/new"), "nothing is offered that it cannot do: {page}");
    assert_eq!(visitor.get("/keys/new").status, 403);
    let refused = visitor.post("/accounts/new", &[("name", "late"), ("kind", "user")]);
    assert_eq!(refused.status, 403, "{refused:?}");
    // narrowed further, its session ends
    set_scope(&stage.gateway, &key, &json!({ "paths": ["/**"] }));
    let answer = visitor.get("/keys");
    assert!(answer.header("Location").is_some_and(|to| to.contains("why=narrowed")), "{answer:?}");
    let answer = Visitor::new(&stage.gateway).sign_in(&key);
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("narrows it to paths or methods without this page"), "{answer:?}");
}

#[test]
fn the_form_narrows_a_key_and_says_in_words_what_is_left() {
    let stage = Stage::start();
    let visitor = Visitor::signed_in(&stage.gateway, &stage.gateway.admin);
    let (id, path) = (&stage.e1.id, format!("/keys/{}/edit", stage.e1.id));
    let send = |fields: &[(&str, &str)]| {
        let revision = value_of(&visitor.page(&path), "revision").unwrap();
        let usual = [
            ("name", ""),
            ("description", ""),
            ("expires", "never"),
            ("revision", &revision),
            ("to", "/keys"),
        ];
        visitor.post(&path, &[&usual[..], fields].concat())
    };
    let scope = || Api::admin(&stage.gateway).document(&format!("/v2-beta/apikeys/{id}"))["scope"].clone();
    assert!(visitor.page(&format!("/keys/{id}")).contains("All that its owner can do"));
    let fields = [
        ("read_only", "yes"),
        ("methods", "GET, HEAD"),
        ("paths", "/v1/projects/*/builds/**\r\n/v1/x\r\n"),
        ("networks", "10.0.0.0/8"),
    ];
    assert_eq!(send(&fields).status, 303);
    let expected = json!({
        "read_only": true,
        "methods": ["GET", "HEAD"],
        "paths": ["/v1/projects/*/builds/**", "/v1/x"],
        "networks": ["10.0.0.0/8"],
    });
    assert_eq!(scope(), expected);
    let words = "only reading; only GET, HEAD; only /v1/projects/*/builds/**, /v1/x; only from 10.0.0.0/8";
    assert!(visitor.page(&format!("/keys/{id}")).contains(words));
    assert!(visitor.page(&path).contains("/v1/projects/*/builds/**\n/v1/x</textarea>"));
    let list = visitor.page("/keys?environment=e1");
    assert!(row_of(&list, id).unwrap().contains("Narrowed"), "{list}");
    // what is wrong is said at its field, with what was typed
    let answer = send(&[("read_only", ""), ("methods", ""), ("paths", "/a//b"), ("networks", "")]);
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(answer.text().contains("id=\"problem-paths\"") && answer.text().contains("/a//b</textarea>"));
    // a form of before says nothing of it, and an empty one takes it away
    assert_eq!(send(&[]).status, 303);
    assert_eq!(scope(), expected);
    assert_eq!(send(&[("read_only", ""), ("methods", ""), ("paths", ""), ("networks", "")]).status, 303);
    assert_eq!(scope(), Value::Null);
}
