//! Receipts: which gateways have applied a change, and which have not.

use serde_json::{Value, json};

use crate::cluster::{Cluster, IN_E1, NAMES};
use crate::support::api::Api;
use crate::support::{PATIENCE, wait_for};
use crate::visitor::{Visitor, row_of, text_of};

/// The names in one of a receipt's lists.
fn names<'a>(document: &'a Value, list: &str) -> Vec<&'a str> {
    let listed = document["receipt"][list].as_array().unwrap_or_else(|| panic!("no receipt: {document}"));
    listed.iter().map(|gateway| gateway["name"].as_str().unwrap()).collect()
}

#[test]
fn a_receipt_names_every_gateway_and_the_change() {
    let cluster = Cluster::start(3);
    let key = cluster.one().create_environment_key("e1");
    let done = cluster.one().succeed(&["key", "deactivate", &key.id]);
    let lines: Vec<_> = done.stdout.lines().collect();
    let number = |line: &str| -> u64 {
        line.split("(change ").nth(1).and_then(|rest| rest.trim_end_matches(')').parse().ok()).unwrap()
    };
    assert!(lines[0].contains("inactive"), "{lines:?}");
    let names_of_all = ["gw-one, gw-three, gw-two", "in force on "];
    assert_eq!(lines[1], format!("{}{}", names_of_all[1], names_of_all[0]));
    let document = cluster.two().json(&["key", "activate", &key.id]);
    assert_eq!(document["receipt"]["change"], json!(number(lines[0]) + 1));
    assert_eq!(names(&document, "applied"), ["gw-one", "gw-three", "gw-two"]);
    assert_eq!((names(&document, "waiting").len(), &document["receipt"]["notAfter"]), (0, &Value::Null));

    let answer = Api::admin(cluster.two()).act(&format!("/v2-beta/apikeys/{}", key.id), "deactivate");
    let document = answer.json();
    assert_eq!((answer.status, names(&document, "applied").len()), (200, 3), "{document}");
    assert_eq!(answer.header("X-API-Change").unwrap(), document["receipt"]["change"].to_string());
    // who makes something has a receipt too
    for (list, body) in [
        ("accounts", json!({ "name": "carol" })),
        ("projects", json!({ "id": "e9" })),
        ("projects/e1/apikeys", json!({})),
    ] {
        let made = Api::admin(cluster.one()).create(&format!("/v2-beta/{list}"), &body);
        assert_eq!(names(&made, "applied").len(), 3, "{made}");
    }
    // and so has every command that makes or edits something, beside the record and over the API
    let admin = &cluster.one().admin;
    let url = format!("http://{}", cluster.one().management());
    let pair = format!("{}:{}", admin.access_key, admin.secret);
    let remote = ["--url", &*url, "--key", &*pair];
    for (round, options) in [&[][..], &remote].into_iter().enumerate() {
        let commands = [
            format!("account create --name dave{round}"),
            format!("account edit dave{round} --description d"),
            format!("environment create --id e2{round}"),
            format!("environment edit e2{round} --name n"),
            format!("key create --environment e2{round}"),
            format!("key edit {} --name n", key.id),
        ];
        for command in &commands {
            let words: Vec<_> = command.split(' ').chain(options.iter().copied()).collect();
            let lines = cluster.one().run(&words);
            let (what, gateways) = lines.stdout.trim_end().rsplit_once('\n').expect("lines");
            assert!(lines.code == 0 && what.ends_with(')'), "{command}: {lines:?}");
            assert_eq!(gateways, "in force on gw-one, gw-three, gw-two", "{command}: {lines:?}");
            // the document of a new key is printed in two parts
            let again = command.replace("dave", "erin").replace("e2", "e3");
            let words: Vec<_> = again.split(' ').chain(options.iter().copied()).collect();
            let document = cluster.one().json(&words);
            assert_eq!(names(&document, "applied").len(), 3, "{again}: {document}");
            assert_eq!(document["secretValue"].is_string(), again.starts_with("key create"), "{document}");
        }
    }
    // without a change there is none: it would say what was true then
    let shown = Api::admin(cluster.one()).document(&format!("/v2-beta/apikeys/{}", key.id));
    assert_eq!(shown.get("receipt"), None);
}

#[test]
fn a_gateway_that_stands_still_is_named_with_the_time_after_which_it_cannot_act() {
    let cluster = Cluster::start(2);
    let (one, two) = (cluster.one(), cluster.two());
    let admin = Api::admin(one);
    let visitor = Visitor::signed_in(one, &one.admin);
    let keys: Vec<_> = (0..4).map(|_| one.create_environment_key("e1")).collect();
    for key in &keys {
        cluster.all_answer(IN_E1, key, 200);
    }
    two.signal("STOP");
    let [by_line, by_json, by_api, by_page] = &keys[..] else { panic!("four keys") };
    let list = "/keys?environment=e1";
    // each waits for the receipt, and none for another's
    let (lines, json, answer) = std::thread::scope(|scope| {
        let lines = scope.spawn(|| one.run(&["key", "deactivate", &by_line.id]));
        let json = scope.spawn(|| one.run(&["key", "deactivate", &by_json.id, "--output", "json"]));
        let page = scope
            .spawn(|| Visitor::signed_in(one, &one.admin).post(&format!("/keys/{}/edit", by_page.id), &[]));
        let answer = admin.act(&format!("/v2-beta/apikeys/{}", by_api.id), "deactivate");
        page.join().unwrap();
        (lines.join().unwrap(), json.join().unwrap(), answer)
    });
    // on this gateway all are dead already
    for key in [by_line, by_json, by_api] {
        assert_eq!(one.exchange(crate::support::http1::Request::get(IN_E1).key(key).end()).status, 401);
    }
    let document = answer.json();
    assert_eq!((answer.status, &document["state"]), (202, &json!("deactivating")), "{document}");
    assert_eq!((names(&document, "applied"), names(&document, "waiting")), (vec![NAMES[0]], vec![NAMES[1]]));
    let not_after: jiff::Timestamp = document["receipt"]["notAfter"].as_str().unwrap().parse().unwrap();
    let left = not_after.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((20..=62).contains(&left), "{left}s of a lease of 60s and its margin");

    assert_eq!(lines.code, 3, "{lines:?}");
    assert!(lines.stdout.ends_with("in force on gw-one\n"), "{lines:?}");
    let said = format!("not yet confirmed by gw-two; after {not_after} none can act on what was before");
    let until = not_after.to_string();
    let to_the_second =
        |text: &str| text.contains("confirmed by gw-two; after ") && text.contains(&until[..16]);
    assert!(lines.stderr.contains(&said) || to_the_second(&lines.stderr), "{lines:?}");
    assert_eq!(json.code, 3, "{json:?}");
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(names(&document, "waiting"), [NAMES[1]]);
    assert!(document["receipt"]["notAfter"].is_string(), "{document}");

    // what is not confirmed is computed when it is read, and nowhere stored
    let state = |id: &str| admin.document(&format!("/v2-beta/apikeys/{id}"))["state"].clone();
    assert_eq!([state(&by_api.id), state(&by_line.id)], ["deactivating", "deactivating"]);
    let row = row_of(&visitor.page(list), &by_api.id).unwrap().to_owned();
    assert!(row.contains("Deactivating"), "{row}");
    visitor.post(&format!("/keys/{}/deactivate", by_page.id), &[("to", list)]);
    let notice = text_of(&visitor.page(list), "notice");
    assert!(notice.contains("not yet confirmed by gw-two.") && notice.contains("After 2"), "{notice}");

    two.signal("CONT");
    wait_for(PATIENCE, "the other gateway has confirmed", || state(&by_api.id) == "inactive");
    cluster.all_answer(IN_E1, by_api, 401);
    cluster.all_answer(IN_E1, by_page, 401);
    let again = one.json(&["key", "activate", &by_api.id]);
    assert_eq!(names(&again, "waiting"), Vec::<&str>::new());
}

#[test]
fn a_command_from_elsewhere_prints_the_same_receipt() {
    let cluster = Cluster::start(2);
    let key = cluster.one().create_environment_key("e1");
    let url = format!("http://{}", cluster.two().management());
    let asking = format!("{}:{}", cluster.one().admin.access_key, cluster.one().admin.secret);
    let remote = ["--url", &url, "--key", &asking];
    let done = cluster.one().succeed(&[&["key", "deactivate", &key.id][..], &remote].concat());
    assert!(done.stdout.ends_with("in force on gw-one, gw-two\n"), "{done:?}");
    cluster.two().signal("STOP");
    let slow = cluster.one().run(&["key", "activate", &key.id]);
    cluster.two().signal("CONT");
    assert_eq!(slow.code, 3, "{slow:?}");
    cluster.one().signal("STOP");
    let slow = cluster.two().run(&[&["key", "deactivate", &key.id][..], &remote].concat());
    cluster.one().signal("CONT");
    assert_eq!(slow.code, 3, "{slow:?}");
    assert!(slow.stderr.contains("not yet confirmed by gw-one; after "), "{slow:?}");
}
