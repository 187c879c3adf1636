//! `keys:` of the configuration: how long keys live, and what is said where one may not.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::endings::{edit_on_the_page, in_seconds};
use crate::remote_machine::RemoteMachine;
use crate::support::api::Api;
use crate::support::http1::Response;
use crate::support::stage::Stage;
use crate::support::{PATIENCE, wait_for};
use crate::visitor::Visitor;

const KEYS: &str = "/v2-beta/projects/e1/apikeys";

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// How long a key lives that was just made, to the day.
#[track_caller]
fn lifetime(document: &Value) -> Option<i64> {
    let end: Timestamp = document["expires"].as_str()?.parse().unwrap();
    let left = end.duration_since(Timestamp::now()) + SignedDuration::from_mins(1);
    Some(left.as_hours() / 24)
}

#[track_caller]
fn assert_invalid(answer: &Response, code: &str, words: &str) {
    assert_eq!(answer.status, 422, "{answer:?}");
    let error = answer.json();
    assert_eq!((&error["code"], &error["fieldName"]), (&json!(code), &json!("expires")), "{error}");
    assert!(error["detail"].as_str().unwrap().contains(words), "{error}");
}

#[test]
fn ends_that_are_past_or_no_times_are_refused_with_what_to_write() {
    let stage = Stage::start();
    let (gateway, api) = (&stage.gateway, Api::admin(&stage.gateway));
    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let past = (Timestamp::now() - SignedDuration::from_secs(2)).to_string();
    for answer in [api.post(KEYS, &json!({ "expires": past })), api.put(&own, &json!({ "expires": past }))] {
        assert_invalid(&answer, "MinLimitExceeded", "is past: name a time to come, or deactivate");
    }
    for text in ["soon", "90d", "2099-01-31", "2099-01-31T12:00:00", "never", "0"] {
        let answer = api.put(&own, &json!({ "expires": text }));
        assert_invalid(&answer, "InvalidDateFormat", "2027-01-31T12:00:00Z");
    }
    for number in [json!(90), json!(true), json!([]), json!({})] {
        assert_eq!(api.put(&own, &json!({ "expires": number })).status, 400, "{number}");
    }
    assert_eq!(api.document(&own)["expires"], Value::Null);

    for (text, words) in [
        ("2020-01-31", "is past: name a time to come, or deactivate"),
        ("soon", "expected how long from now (90d, 12h), a day (2027-01-31"),
        ("2027-01-31T12:00:00", "a time (2027-01-31T12:00:00Z) or never"),
    ] {
        for arguments in [
            &["key", "create", "--environment", "e1", "--expires", text][..],
            &["key", "edit", &stage.e1.id, "--expires", text],
        ] {
            let outcome = gateway.run(arguments);
            assert!(outcome.code != 0 && outcome.stderr.contains(words), "{arguments:?} {outcome:?}");
            let outcome = RemoteMachine::admin(gateway).run(arguments);
            assert!(outcome.code != 0 && outcome.stderr.contains(words), "{arguments:?} {outcome:?}");
        }
    }
    let visitor = Visitor::signed_in(gateway, &gateway.admin);
    for (text, words) in [("2020-01-31", "is past"), ("soon", "Expected how long from now")] {
        let fields = [("name", "kept"), ("description", ""), ("expires", text)];
        let answer = visitor.post("/keys/new?environment=e1", &fields);
        let page = answer.text();
        assert_eq!(answer.status, 422, "{page}");
        assert!(page.contains("problem-expires") && page.contains(words), "{page}");
        assert!(page.contains(&format!("value=\"{text}\"")), "what was typed is kept\n{page}");
    }
    assert_eq!(gateway.json(&["key", "list", "--environment", "e1"])["data"].as_array().unwrap().len(), 1);
}

#[test]
fn lifetimes_are_limited_and_given_and_a_reload_changes_them() {
    let stage = Stage::with(|plan| plan.top("keys: { default_lifetime: 30d, max_lifetime: 90d }"));
    let (gateway, api) = (&stage.gateway, Api::admin(&stage.gateway));
    let create = ["key", "create", "--environment", "e1"];
    let visitor = Visitor::signed_in(gateway, &gateway.admin);

    // nothing is said
    assert_eq!(lifetime(&gateway.json(&create)), Some(30));
    assert_eq!(lifetime(&api.create(KEYS, &json!({}))), Some(30));
    let remote = RemoteMachine::admin(gateway);
    assert_eq!(lifetime(&remote.json(&create)), Some(30));
    assert!(visitor.page("/keys/new?environment=e1").contains("value=\"30d\""));
    // the longest, and more
    assert_eq!(lifetime(&gateway.json(&[&create[..], &["--expires", "90d"]].concat())), Some(90));
    assert_eq!(lifetime(&remote.json(&[&create[..], &["--expires", "90d"]].concat())), Some(90));
    let far = Timestamp::now() + days(91);
    for end in [json!(far.to_string()), json!(null)] {
        let answer = api.post(KEYS, &json!({ "expires": end }));
        assert_invalid(&answer, "MaxLimitExceeded", "may live for 90d at most ('keys.max_lifetime'");
    }
    for text in ["91d", "never"] {
        for outcome in [
            gateway.run(&[&create[..], &["--expires", text]].concat()),
            remote.run(&[&create[..], &["--expires", text]].concat()),
        ] {
            assert_eq!(outcome.code, 1, "{outcome:?}");
            assert!(outcome.stderr.contains("may live for 90d at most"), "{outcome:?}");
        }
        let fields = [("name", "kept"), ("description", ""), ("expires", text)];
        let answer = visitor.post("/keys/new?environment=e1", &fields);
        assert!(answer.status == 422 && answer.text().contains("may live for 90d at most"), "{answer:?}");
    }

    // a key from before the limit: what is sent back as it was read is not refused, in all three ways
    let (key, path) = (&gateway.site.admin, "/v2-beta/apikeys/1c1");
    let document = api.document(path);
    assert_eq!(document["expires"], Value::Null, "{} was made by init", key.access_key);
    let mut renamed = document.clone();
    renamed["name"] = json!("first");
    assert_eq!(api.put(path, &renamed).status, 200);
    gateway.succeed(&["key", "edit", "1c1", "--expires", "never", "--name", "first of all"]);
    edit_on_the_page(&visitor, "1c1", ["first", "", "never"]);
    // but once it has an end, that end can only be within the limit
    let limited = gateway.create_environment_key("e1");
    let answer = api.put(&format!("/v2-beta/apikeys/{}", limited.id), &json!({ "expires": null }));
    assert_invalid(&answer, "MaxLimitExceeded", "it must end by ");

    // a reload, for the page and the API; the command line reads the file itself
    let file = gateway.config();
    let text = fs::read_to_string(file).unwrap();
    let lifted = text.replace("default_lifetime: 30d, max_lifetime: 90d", "default_lifetime: 7d");
    assert_ne!(text, lifted);
    fs::write(file, lifted).unwrap();
    gateway.signal("HUP");
    wait_for(PATIENCE, "the reload", || lifetime(&api.create(KEYS, &json!({}))) == Some(7));
    assert_eq!(lifetime(&gateway.json(&create)), Some(7));
    let unlimited = api.create(KEYS, &json!({ "expires": null }));
    assert_eq!(unlimited["expires"], Value::Null);
    assert!(visitor.page("/keys/new?environment=e1").contains("value=\"7d\""));
}

#[test]
fn the_latest_end_is_never_later_than_the_limit_from_now() {
    let stage = Stage::with(|plan| plan.top("keys: { max_lifetime: 1m }"));
    let api = Api::admin(&stage.gateway);
    let made = api.create(KEYS, &json!({}));
    let end: Timestamp = made["expires"].as_str().unwrap().parse().unwrap();
    assert!(end.duration_since(Timestamp::now()) <= SignedDuration::from_mins(1), "{made}");
    let answer = api.post(KEYS, &json!({ "expires": in_seconds(120).to_string() }));
    assert_invalid(&answer, "MaxLimitExceeded", "may live for 1m at most");
}
