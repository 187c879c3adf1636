//! A key works until its end and not after it, whoever made it, and works again with a later end.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::endings::{
    BUSY, IN_E1, PROMISED, edit_on_the_page, ending_key, in_seconds, last_success, set_end, status,
    wait_for_end,
};
use crate::support::api::Api;
use crate::support::cli::Key;
use crate::support::gateway::Gateway;
use crate::support::http1::Request;
use crate::support::stage::Stage;
use crate::support::{PATIENCE, marker, wait_for};
use crate::visitor::{Visitor, row_of, text_of};

const LOGGED: &str = "log: { format: json, access: stdout }";

#[track_caller]
fn end_in(document: &Value) -> Timestamp {
    document["expires"].as_str().unwrap_or_else(|| panic!("no end: {document}")).parse().unwrap()
}

/// A key that the command line has made, and its end.
#[track_caller]
fn by_command_line(gateway: &Gateway, expires: &str) -> (Key, Timestamp) {
    let made = gateway.json(&["key", "create", "--environment", "e1", "--expires", expires]);
    (crate::support::api::key_in(&made), end_in(&made))
}

/// A key that was made on the page, and its end.
#[track_caller]
fn on_the_page(gateway: &Gateway, expires: &str) -> (Key, Timestamp) {
    let visitor = Visitor::signed_in(gateway, &gateway.admin);
    let fields = [("name", "of the page"), ("description", ""), ("expires", expires)];
    let answer = visitor.post("/keys/new?environment=e1", &fields);
    assert_eq!(answer.status, 303, "{answer:?}");
    let location = answer.header("Location").unwrap();
    let page = visitor.page(&location);
    let id = location.split('/').nth(2).unwrap().to_owned();
    let end = end_in(&Api::admin(gateway).document(&format!("/v2-beta/apikeys/{id}")));
    (Key { id, access_key: text_of(&page, "access-key"), secret: text_of(&page, "secret-key") }, end)
}

#[test]
fn case_131_a_key_ends_on_time_wherever_it_was_made() {
    let stage = Stage::with(|plan| plan.top(LOGGED));
    let gateway = &stage.gateway;
    let asked = Timestamp::now();
    let by_api = (in_seconds(3), ());
    let keys = [
        by_command_line(gateway, "3s"),
        (ending_key(gateway, by_api.0), by_api.0),
        on_the_page(gateway, "4s"),
    ];
    let lives = keys.each_ref().map(|(_, end)| end.duration_since(asked).as_secs());
    assert!(lives.iter().all(|seconds| (2..=10).contains(seconds)), "{lives:?}");
    for (key, _) in &keys {
        stage.passes(Request::get(IN_E1).key(key));
    }
    let late: Vec<SignedDuration> = std::thread::scope(|scope| {
        let watched = keys.each_ref().map(|(key, end)| scope.spawn(|| last_success(gateway, key, *end)));
        watched.map(|watched| watched.join().unwrap()).into()
    });
    // this machine may stop a test for a moment; it does not stop all three
    assert!(late.iter().min().unwrap() < &PROMISED && late.iter().max().unwrap() < &BUSY, "{late:?}");

    // the client sees no difference from a key that there never was, and the upstream sees nothing
    let nobody = Key { access_key: format!("pce_{:0<20}", "nobody"), ..stage.e1.with_wrong_secret() };
    let unknown = stage.refuses(Request::get(IN_E1).key(&nobody), &[401]).without_id_and_date();
    for (key, _) in &keys {
        for sent in [key, &key.with_wrong_secret()] {
            let answer = stage.refuses(Request::get(IN_E1).key(sent), &[401]);
            assert_eq!(answer.without_id_and_date(), unknown);
        }
        let line = format!("\"authFailure\":\"expired\",\"claimedKey\":\"{}\"", key.access_key);
        wait_for(PATIENCE, "the access log to say why", || gateway.stdout().contains(&line));
    }
    let refused = gateway.metric("portcullis_authentication_failures_total{reason=\"expired\"}");
    assert_eq!(refused, 9, "three that ended a series, and six");
    stage.passes(Request::get(IN_E1).key(&stage.e1));
}

#[test]
fn an_expired_key_is_shown_as_such_edited_and_works_again_with_a_later_end() {
    let stage = Stage::start();
    let gateway = &stage.gateway;
    let api = Api::admin(gateway);
    let (name, end) = (marker(), in_seconds(1));
    let body = json!({ "expires": end.to_string(), "name": name });
    let key = api.create_key("/v2-beta/projects/e1/apikeys", &body);
    let path = format!("/v2-beta/apikeys/{}", key.id);
    let before = api.document(&path);
    assert_eq!((&before["expired"], &before["state"]), (&json!(false), &json!("active")), "{before}");
    assert_eq!(before["expires"], end.to_string());
    assert_eq!(before["expiresTS"], end.as_millisecond());
    wait_for_end(gateway, &key, end);

    let document = api.document(&path);
    assert_eq!((&document["expired"], &document["state"]), (&json!(true), &json!("active")), "{document}");
    for arguments in [&["key", "show", &key.id][..], &["key", "list"]] {
        let shown = gateway.succeed(arguments).stdout;
        let line = shown.lines().find(|line| line.contains("(expired)"));
        assert!(line.is_some(), "{shown}");
    }
    let shown = gateway.json(&["key", "show", &key.access_key]);
    assert_eq!(
        (&shown["expired"], &shown["expiresTS"]),
        (&json!(true), &json!(end.as_millisecond())),
        "{shown}"
    );
    assert_eq!(api.ids(&format!("/v2-beta/apikeys?expires_lte={end}")), std::slice::from_ref(&key.id));
    let visitor = Visitor::signed_in(gateway, &gateway.admin);
    let page = visitor.page("/keys?environment=e1");
    let row = row_of(&page, &key.id).unwrap();
    assert!(row.contains("Expired") && row.contains("data-state=\"expired\""), "{row}");
    let other = row_of(&page, &stage.e1.id).unwrap();
    assert!(other.contains("data-state=\"active\"") && other.contains(">Never<"), "{other}");

    // what is sent back as it was read is no new end; nor is what the page's form has
    let again = api.put(&path, &document);
    assert_eq!(again.status, 200, "{again:?}");
    let renamed = format!("{name}-renamed");
    gateway.succeed(&["key", "edit", &key.id, "--name", &renamed]);
    let form = visitor.page(&format!("/keys/{}/edit", key.id));
    assert!(form.contains(&format!("value=\"{end}\"")), "{form}");
    edit_on_the_page(&visitor, &key.id, [&renamed, "of the page", &end.to_string()]);
    let edited = api.document(&path);
    assert_eq!((&edited["name"], &edited["description"]), (&json!(renamed), &json!("of the page")));
    assert_eq!(edited["expires"], end.to_string());
    assert_eq!(status(gateway, &key), 401, "none of this lets it work again");

    // each way to a later end holds when its answer comes
    let receipt = gateway.succeed(&["key", "edit", &key.id, "--expires", "1h"]);
    assert!(receipt.stdout.contains("in force on"), "{receipt:?}");
    assert_eq!(status(gateway, &key), 200);
    let end = in_seconds(1);
    set_end(gateway, &key, Some(end));
    wait_for_end(gateway, &key, end);
    set_end(gateway, &key, None);
    assert_eq!(status(gateway, &key), 200);
    assert_eq!(api.document(&path)["expiresTS"], Value::Null);
    let end = in_seconds(1);
    set_end(gateway, &key, Some(end));
    wait_for_end(gateway, &key, end);
    edit_on_the_page(&visitor, &key.id, [&renamed, "", "90d"]);
    assert_eq!(status(gateway, &key), 200);
}

#[test]
fn case_131_a_key_that_ended_while_no_gateway_ran_is_refused_by_the_next_one() {
    let stage = Stage::start();
    let end = in_seconds(1);
    let key = ending_key(&stage.gateway, end);
    let Stage { gateway, upstream, e1, e2 } = stage;
    let (site, _) = gateway.stop();
    wait_for(PATIENCE, "the end", || Timestamp::now() >= end);
    let stage = Stage { gateway: site.start(), upstream, e1, e2 };
    stage.refuses(Request::get(IN_E1).key(&key), &[401]);
    stage.passes(Request::get(IN_E1).key(&stage.e1));
}

#[test]
fn explain_says_that_a_key_has_expired() {
    let stage = Stage::start();
    let end = in_seconds(1);
    let key = ending_key(&stage.gateway, end);
    let ask = |path: &str| stage.gateway.succeed(&["explain", "--key", &key.access_key, "GET", path]).stdout;
    let allowed = ask(IN_E1);
    assert!(allowed.contains("allow\n") && !allowed.contains("expired"), "{allowed}");
    wait_for_end(&stage.gateway, &key, end);
    let denied = ask(IN_E1);
    assert!(denied.contains("deny, with 401\n"), "{denied}");
    assert!(denied.contains(&format!("(active, expired {end}) of environment e1")), "{denied}");
    let rule =
        format!("the key has expired: `portcullis key edit {} --expires 90d` lets it live longer", key.id);
    assert!(denied.contains(&rule), "{denied}");
    // where no key is needed, none is looked at
    assert!(ask("/healthz").contains("allow\n"));
    // it would not work whatever its end: that is said first, as the gateway does
    stage.gateway.succeed(&["key", "deactivate", &key.id]);
    let denied = ask(IN_E1);
    assert!(denied.contains("(inactive)") && !denied.contains("expired"), "{denied}");
}
