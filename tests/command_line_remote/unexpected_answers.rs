//! What the commands print if the server is not a gateway, or has a problem.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::remote_machine::RemoteMachine;
use crate::support::cli::Outcome;
use crate::support::raw_upstream::{RawUpstream, head};

const SECRET: &str = "hush-hush-hush-hush";

/// What a command meets at a server that gives this answer to every request; an empty one: closes the connection.
fn met(answer: impl Into<Vec<u8>>, arguments: &[&str]) -> Outcome {
    let answer = answer.into();
    let server = RawUpstream::start(move |_, mut reader| {
        loop {
            head(&mut reader)?;
            if answer.is_empty() {
                return Ok(());
            }
            reader.get_mut().write_all(&answer)?;
        }
    });
    let cli = RemoteMachine::new(format!("http://{}", server.address()))
        .variable("PORTCULLIS_KEY", format!("pca_x:{SECRET}"));
    let outcome = cli.run(arguments);
    assert!(!outcome.stderr.contains(SECRET), "{outcome:?}");
    outcome
}

fn answer(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len())
}

/// A key as a gateway sends it.
fn key_document() -> Value {
    json!({
        "id": "1c5", "type": "apiKey", "baseType": "credential", "links": {}, "actions": {}, "name": "ci",
        "description": null, "state": "active", "kind": "apiKey", "uuid": "6f2c7e5e-7a2b-4a47-9a0a-0f2f8a4a2f11",
        "created": "2026-01-05T10:20:30Z", "createdTS": 1_767_608_430_000_i64, "removed": null,
        "transitioning": "no", "accountId": "e1", "ownerType": "project", "publicValue": "pce_x",
        "secretValue": null, "lastUsed": null, "lastUsedAddress": null, "useCount": 0,
    })
}

#[test]
fn a_server_that_is_no_portcullis_is_called_so() {
    let show = ["key", "show", "1c5"];
    for (status, body) in [
        ("200 OK", "<html>welcome</html>"),
        ("200 OK", ""),
        ("200 OK", "[]"),
        ("200 OK", "{}"),
        ("200 OK", "{\"type\":5}"),
        ("200 OK", "{\"type\":\"error\"}"),
        ("404 Not Found", "<html>nothing</html>"),
        ("404 Not Found", "{\"message\":\"no\"}"),
        ("401 Unauthorized", "who are you?"),
        ("500 Oops", "{\"type\":\"apiKey\"}"),
        ("503 Busy", "try later"),
    ] {
        let outcome = met(answer(status, "", body), &show);
        assert_eq!((outcome.code, &*outcome.stdout), (1, ""), "{status} {body}: {outcome:?}");
        assert!(outcome.stderr.contains("not a Portcullis management API"), "{status} {body}: {outcome:?}");
    }
    // a gateway's port for clients refuses with the same document, and says nothing of schemas
    for status in ["401 Unauthorized", "403 Forbidden", "404 Not Found"] {
        let outcome = met(answer(status, "", "{\"type\":\"error\",\"detail\":\"no\"}"), &show);
        assert!(outcome.stderr.contains("not a Portcullis management API"), "{status}: {outcome:?}");
    }
    let garbage = met("SSH-2.0-OpenSSH_9.9\r\n", &show);
    assert!(garbage.code == 1 && garbage.stderr.contains("does not speak HTTP"), "{garbage:?}");
    let closed = met("", &["key", "list"]);
    assert!(closed.code == 1 && closed.stderr.contains("broke before the answer was there"), "{closed:?}");
    let redirect = met(answer("301 Moved", "Location: https://gw.test/v2-beta\r\n", ""), &show);
    assert!(redirect.stderr.contains("redirect (301) to https://gw.test/v2-beta"), "{redirect:?}");
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let cli = RemoteMachine::new(format!("http://{nobody}")).variable("PORTCULLIS_KEY", "pca_x:y");
    assert!(cli.refused(&show).contains("is the gateway running"));
}

#[test]
fn what_a_gateway_would_not_send_is_printed_nowhere() {
    let show = |document: &Value| met(answer("200 OK", "", &document.to_string()), &["key", "show", "1c5"]);
    assert_eq!(show(&key_document()).code, 0);
    for (field, value) in [
        ("id", json!("1c6")),
        ("name", json!("\u{1b}[2Jgone")),
        ("description", json!("\u{202e}txt")),
        ("state", json!("fine")),
        ("publicValue", json!("a b")),
        ("uuid", json!("\u{9b}31m")),
        ("type", json!("account")),
        ("createdTS", json!(9_223_372_036_854_775_807_i64)),
        ("accountId", json!("../1a1")),
    ] {
        let mut document = key_document();
        document[field] = value;
        let outcome = show(&document);
        assert_eq!((outcome.code, &*outcome.stdout), (1, ""), "{field}: {outcome:?}");
        assert!(outcome.stderr.contains("cannot be right"), "{field}: {outcome:?}");
        assert!(outcome.stderr.trim_end().chars().all(|c| !c.is_control()), "{outcome:?}");
    }
    // fields that nobody reads are printed as JSON: without what drives a terminal
    let mut document = key_document();
    document["more"] = json!("\u{9b}31m");
    let outcome =
        met(answer("200 OK", "", &document.to_string()), &["key", "show", "1c5", "--output", "json"]);
    assert!(outcome.code == 0 && outcome.stdout.contains("\\u009b31m"), "{outcome:?}");

    // a list with another's key in it, or without an end
    let list = |data: Value, next: Value| {
        let body = json!({ "type": "collection", "data": data, "pagination": { "next": next } }).to_string();
        met(answer("200 OK", "", &body), &["key", "list", "--output", "json"])
    };
    assert_eq!(list(json!([key_document()]), Value::Null).code, 0);
    for (data, next) in [
        (json!([key_document(), { "type": "apiKey" }]), Value::Null),
        (json!({}), Value::Null),
        (json!([]), json!("http://127.0.0.2:1/v2-beta/apikeys?marker=m")),
        (json!([]), json!(["x"])),
    ] {
        let outcome = list(data, next);
        assert!(outcome.code == 1 && outcome.stderr.contains("cannot be right"), "{outcome:?}");
    }
    // a key that is found by its access key is the one with that access key
    let outcome = met(answer("200 OK", "", &key_document().to_string()), &["key", "show", "pce_other"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("another object"), "{outcome:?}");
}

#[test]
fn an_answer_that_is_too_large_is_cut_off() {
    let outcome = met(answer("200 OK", "", &"x".repeat((16 << 20) + 1)), &["key", "show", "1c5"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("more than 16777216 bytes"), "{outcome:?}");
}

#[test]
fn what_is_not_confirmed_is_status_3() {
    let mut document = key_document();
    document["state"] = json!("deactivating");
    document["transitioning"] = json!("yes");
    let fields = "ETag: \"41\"\r\nX-API-Change: 41\r\n";
    let outcome = met(answer("202 Accepted", fields, &document.to_string()), &["key", "deactivate", "1c5"]);
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (3, "key pce_x (1c5) is inactive (change 41)\n"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("not confirmed yet"), "{outcome:?}");
}

#[test]
fn a_refusal_says_what_the_gateway_says_without_the_secret() {
    for (status, body, said) in [
        ("400 x", json!({ "code": "InvalidFormat" }), "refused (400, InvalidFormat): because"),
        ("403 x", json!({}), "may not do this (403): because"),
        ("404 x", json!({}), "(404): because"),
        ("405 x", json!({}), "because"),
        ("412 x", json!({}), "because"),
        ("421 x", json!({ "code": "Misdirected" }), "refused (421, Misdirected): because"),
        ("422 x", json!({ "code": "NotUnique" }), "refused (422, NotUnique): because"),
        ("429 x", json!({}), "(429): because"),
        ("503 x", json!({}), "(503): because"),
        ("500 x", json!({ "code": "Oops" }), "refused (500, Oops): because"),
    ] {
        let mut document = body;
        document["type"] = json!("error");
        document["detail"] =
            json!(format!("because {SECRET}\u{1b}[2J\u{202e}\nis long {}", "!".repeat(9_999)));
        let refused = answer(
            status,
            "Retry-After: 86400\r\nX-API-Schemas: /v2-beta/schemas\r\n",
            &document.to_string(),
        );
        let outcome = met(refused, &["key", "list"]);
        assert_eq!((outcome.code, &*outcome.stdout), (1, ""), "{status}: {outcome:?}");
        assert!(outcome.stderr.contains(said) && outcome.stderr.len() < 700, "{status}: {outcome:?}");
        let line = outcome.stderr.trim_end();
        assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{status}: {outcome:?}");
    }
}

#[test]
fn a_gateway_that_is_busy_is_asked_again_and_that_is_told() {
    let error = json!({ "type": "error", "code": "Service Unavailable" }).to_string();
    let busy = answer("503 x", "Retry-After: 1\r\n", &error);
    let found = answer("200 OK", "", &key_document().to_string());
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server = RawUpstream::start(move |_, mut reader| {
        loop {
            head(&mut reader)?;
            let is_first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            reader.get_mut().write_all(if is_first { busy.as_bytes() } else { found.as_bytes() })?;
        }
    });
    let cli =
        RemoteMachine::new(format!("http://{}", server.address())).variable("PORTCULLIS_KEY", "pca_x:y");
    let outcome = cli.succeed(&["key", "show", "1c5"]);
    assert!(outcome.stderr.contains("cannot do it now (503): trying again in 1s"), "{outcome:?}");
    assert!(outcome.stdout.contains("pce_x"), "{outcome:?}");
}
