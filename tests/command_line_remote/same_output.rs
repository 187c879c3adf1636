//! The same commands on the store and over the API print the same.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use portcullis::model::{AccountKind, Name};
use portcullis::store::{NewAccount, Store};
use serde_json::{Value, json};

use crate::remote_machine::RemoteMachine;
use crate::support::cli::{Cli, Outcome};
use crate::support::gateway::Plan;
use crate::support::raw_upstream::{RawUpstream, head};
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;

/// What only one of the two sides has: where things are, and what can be done with them there.
fn without_links(mut document: Value) -> Value {
    let strip = |document: &mut Value| {
        let object = document.as_object_mut().expect("a document");
        // of what is so already the API tells no receipt
        object.retain(|name, _| !["links", "actions", "receipt"].contains(&name.as_str()));
    };
    strip(&mut document);
    if document["type"] == "collection" {
        let object = document.as_object_mut().expect("a document");
        object.retain(|name, _| ["type", "resourceType", "data"].contains(&name.as_str()));
    }
    if let Some(items) = document.get_mut("data").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(strip);
    }
    document
}

/// A text with `N` for the numbers of changes, and without where they are in force.
fn without_numbers(text: &str) -> String {
    let text: String = text.split_inclusive('\n').filter(|line| !line.starts_with("in force on")).collect();
    let mut parts = text.split("(change ");
    let mut found = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        found.push_str("(change N");
        found.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    found
}

#[test]
fn both_sides_print_the_same() {
    let stage = Stage::start();
    let gateway = &stage.gateway;
    let cli = RemoteMachine::admin(gateway);
    let alice = gateway.create_account("alice", "user");
    gateway.add_member("e1", "alice", "member");
    // an environment that is called as an account is: whose keys are these?
    gateway.succeed(&[
        "environment",
        "create",
        "--id",
        &alice,
        "--name",
        "prod",
        "--description",
        "a\tb\n\"c\"",
    ]);
    gateway.succeed(&["environment", "create", "--id", "own", "--owner", "alice"]);
    let theirs = gateway.create_account_key("alice");
    let key = gateway.create_environment_key("prod");
    gateway.succeed(&["key", "edit", &key.id, "--name", "ключ \\u009b", "--description", "two\nlines"]);

    let same = |arguments: &[&str]| {
        let (here, there) = (gateway.run(arguments), cli.run(arguments));
        assert_eq!(here.code, there.code, "{arguments:?}: {here:?} {there:?}");
        assert_eq!(without_numbers(&here.stdout), without_numbers(&there.stdout), "{arguments:?}");
        assert_eq!(here.stderr, there.stderr, "{arguments:?}");
        if here.code == 0 {
            assert_eq!(
                without_links(gateway.json(arguments)),
                without_links(cli.json(arguments)),
                "{arguments:?}"
            );
        }
    };
    // the key that asks is used by asking; all others stay as they are
    for arguments in [
        &["account", "list"][..],
        &["account", "show", "alice"],
        &["account", "show", "nobody"],
        &["environment", "list"],
        &["environment", "show", "prod"],
        &["environment", "show", "Prod"],
        &["environment", "member", "list", "--environment", "e1"],
        &["environment", "member", "list", "--environment", "own"],
        &["environment", "member", "list", "--environment", "prod"],
        &["key", "list", "--environment", "e1"],
        &["key", "list", "--environment", "prod"],
        &["key", "list", "--account", "alice"],
        &["key", "list", "--account", "1a99"],
        &["key", "show", &key.id],
        &["key", "show", &key.access_key],
        &["key", "show", &theirs.access_key],
        &["key", "show", "1c99"],
        &["key", "edit", &key.id, "--name", "other"],
        &["key", "edit", &key.id, "--name", &"x".repeat(256)],
        &["environment", "edit", "prod", "--description", ""],
        &["account", "edit", "alice", "--description", "left"],
        &["environment", "member", "add", "--environment", "e1", "--account", "alice", "--role", "owner"],
        &["key", "deactivate", &key.id],
        &["key", "activate", &key.id],
        &["environment", "deactivate", "prod"],
        &["environment", "activate", "prod"],
        &["account", "deactivate", "alice"],
        &["account", "activate", "alice"],
    ] {
        same(arguments);
    }
    let all = cli.succeed(&["key", "list"]).stdout;
    assert!(
        all.contains(&format!("account alice ({alice})"))
            && all.contains(&format!("environment prod ({alice})")),
        "{all}"
    );

    // what is made or ended cannot be made or ended twice
    let remove = ["environment", "member", "remove", "--environment", "e1", "--account", "alice"];
    let add =
        ["environment", "member", "add", "--environment", "e1", "--account", "alice", "--role", "member"];
    gateway.succeed(&add);
    let here = gateway.succeed(&remove).stdout;
    cli.succeed(&add);
    assert_eq!(without_numbers(&cli.succeed(&remove).stdout), without_numbers(&here));
    gateway.succeed(&add);
    let here = gateway.json(&remove);
    gateway.succeed(&add);
    assert_eq!(without_links(cli.json(&remove)), without_links(here));
    let fields = |document: Value| {
        without_links(document).as_object().expect("a document").keys().cloned().collect::<Vec<_>>()
    };
    let create = ["key", "create", "--environment", "prod", "--name", "n"];
    assert_eq!(fields(cli.json(&create)), fields(gateway.json(&create)));
    let headings = |outcome: Outcome| {
        let names = outcome.stdout.lines().map(|line| line[..8].to_owned()).collect::<Vec<_>>();
        (names, outcome.stderr)
    };
    assert_eq!(headings(cli.succeed(&create)), headings(gateway.succeed(&create)));
}

#[test]
fn a_list_of_keys_asks_for_the_names_of_all_owners_at_once() {
    let key = |number: usize| {
        json!({
            "id": format!("1c{number}"), "type": "apiKey", "publicValue": format!("pca_{number}"),
            "accountId": format!("1a{number}"), "ownerType": "account", "state": "active", "useCount": 0,
            "uuid": "6f2c7e5e-7a2b-4a47-9a0a-0f2f8a4a2f11", "createdTS": 1_767_608_430_000_i64,
        })
    };
    let account = |number: usize| {
        json!({
            "id": format!("1a{number}"), "type": "account", "name": format!("user{number}"), "kind": "user",
            "state": "active", "uuid": "6f2c7e5e-7a2b-4a47-9a0a-0f2f8a4a2f11",
            "createdTS": 1_767_608_430_000_i64,
        })
    };
    let keys: Vec<_> = (1..=50).map(key).collect();
    let accounts: Vec<_> = (1..=50).map(account).collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&asked);
    let server = RawUpstream::start(move |_, mut reader| {
        loop {
            let line = head(&mut reader)?.swap_remove(0);
            let data = match line.split('?').next() {
                Some("GET /v2-beta/accounts") => accounts.clone(),
                Some("GET /v2-beta/apikeys") => keys.clone(),
                _ => Vec::new(),
            };
            heads.lock().expect("no panic").push(line);
            let body = json!({ "type": "collection", "data": data }).to_string();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            reader.get_mut().write_all(answer.as_bytes())?;
        }
    });
    let url = format!("http://{}", server.address());
    let cli = RemoteMachine::new(url).variable("PORTCULLIS_KEY", "pca_x:y");
    let listed = cli.succeed(&["key", "list"]).stdout;
    assert!(listed.contains("account user1 (1a1)") && listed.contains("account user50 (1a50)"), "{listed}");
    assert_eq!(asked.lock().expect("no panic").len(), 3, "{asked:?}");
    asked.lock().expect("no panic").clear();
    cli.json(&["key", "list"]);
    assert_eq!(asked.lock().expect("no panic").len(), 1, "programs get what the API has: {asked:?}");
}

#[test]
fn a_change_has_the_number_of_its_row_in_the_log() {
    let stage = Stage::start();
    let cli = RemoteMachine::admin(&stage.gateway);
    let number = |outcome: Outcome| {
        let rest = outcome.stdout.split("(change ").nth(1).map(str::to_owned);
        rest.and_then(|rest| rest.split_once(')')?.0.parse::<i64>().ok()).expect("a number")
    };
    let store = rusqlite::Connection::open(stage.gateway.directory().join("portcullis.db")).expect("open");
    let newest =
        || store.query_row("SELECT max(number) FROM changes", [], |row| row.get::<_, i64>(0)).expect("one");
    let alice = stage.gateway.create_account("alice", "user");
    for arguments in [
        &["key", "deactivate", &stage.e1.id][..],
        &["account", "deactivate", &alice],
        &["account", "activate", &alice],
        &["environment", "deactivate", "e2"],
        &["environment", "member", "add", "--environment", "e1", "--account", &alice, "--role", "member"],
        &["environment", "member", "remove", "--environment", "e1", "--account", &alice],
        &["environment", "delete", "e2"],
    ] {
        assert_eq!(number(cli.succeed(arguments)), newest(), "{arguments:?}");
    }
}

#[test]
fn lists_longer_than_a_page_are_the_same_from_both_sides() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare();
    let mut store = Store::open(&site.directory().join("portcullis.db")).expect("the store");
    for number in 0..1_040 {
        let name = Name::parse(&format!("account {number}{}", "!".repeat(number / 500))).expect("a name");
        let new = NewAccount { name: name.expect("not empty"), kind: AccountKind::User, description: None };
        store.create_account(&new).expect("made");
    }
    drop(store);
    let gateway = site.start();
    let cli = RemoteMachine::admin(&gateway);
    let (here, there) = (gateway.succeed(&["account", "list"]), cli.succeed(&["account", "list"]));
    assert_eq!(here.stdout, there.stdout);
    assert_eq!(here.stdout.lines().count(), 1_042, "a line each, and one heading");
    assert!(here.stdout.contains("account 1039!!"));
    let (here, there) = (gateway.json(&["account", "list"]), cli.json(&["account", "list"]));
    assert_eq!(there["data"].as_array().map(Vec::len), Some(1_041));
    assert_eq!(
        (&there["pagination"]["next"], &there["pagination"]["partial"]),
        (&Value::Null, &json!(false))
    );
    assert!(there["data"][1_040]["links"]["self"].is_string(), "as the API sends them");
    assert_eq!(without_links(here), without_links(there));

    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Cli::program();
    command.args(["account", "list", "--url", &cli.url]).env("PORTCULLIS_KEY", &cli.variables[0].1);
    let status = command.stdout(writer).status().expect("it runs");
    assert_eq!(status.code(), Some(0), "a reader that has seen enough is no failure");
}
