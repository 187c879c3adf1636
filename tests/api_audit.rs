//! The audit log: who changed or tried what. And races that only one caller can win.

mod support;

use std::sync::Barrier;

use serde_json::{Value, json};
use support::api::Api;
use support::stage::Stage;

fn entries(api: &Api<'_>, query: &str) -> Vec<Value> {
    api.document(&format!("/v2-beta/auditlogs?limit=-1&{query}"))["data"].as_array().expect("a list").clone()
}

#[test]
fn an_audit_row_names_caller_key_address_and_change() {
    let stage = Stage::start();
    let admin = Api::admin(&stage.gateway);
    let ada = stage.gateway.create_account("ada", "user");
    stage.gateway.add_member("e1", "ada", "owner");
    let user = Api::new(&stage.gateway, &stage.gateway.create_account_key("ada"));
    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let answer = user.put(&own, &json!({ "name": "after", "description": "said" }));
    let request = answer.header("x-request-id").unwrap();
    user.act(&own, "deactivate");

    let found = entries(&admin, &format!("resourceType=apiKey&resourceId={}", stage.e1.id));
    assert_eq!(
        found.iter().map(|entry| &entry["action"]).collect::<Vec<_>>(),
        ["create", "edit", "deactivate"]
    );
    let [created, edited, stopped] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (&created["via"], &created["accessKey"], &created["before"]),
        (&json!("command"), &Value::Null, &Value::Null)
    );
    assert!(created["accountId"].as_str().is_some_and(|user| !user.is_empty()), "the user of the machine");
    assert_eq!((&edited["via"], &edited["accountId"]), (&json!("api"), &json!(ada)));
    assert_eq!((&edited["accessKey"], &edited["requestId"]), (&json!(user.key.access_key), &json!(request)));
    assert!(edited["clientIp"].as_str().is_some_and(|address| address.starts_with("127.")), "{edited}");
    assert_eq!((&edited["before"]["name"], &edited["after"]["name"]), (&Value::Null, &json!("after")));
    assert_eq!(
        (&stopped["before"]["state"], &stopped["after"]["state"]),
        (&json!("active"), &json!("inactive"))
    );
    assert_eq!((&stopped["outcome"], &stopped["reason"]), (&json!("done"), &Value::Null));
    assert!(stopped["changeNumber"].as_u64() > edited["changeNumber"].as_u64());

    let one = admin.document(&format!("/v2-beta/auditlogs/{}", edited["id"].as_str().unwrap()));
    assert_eq!(one["after"], edited["after"]);
    let names = |query: &str| entries(&admin, query).len();
    assert_eq!(names(&format!("accountId={ada}")), 2);
    assert_eq!(names(&format!("accessKey={}", user.key.access_key)), 2);
    assert_eq!(names("action=deactivate"), 1);
    assert_eq!(names("outcome=refused"), 0);
    assert_eq!(names("created_gt=2001-01-01T00:00:00Z"), names(""));
    assert!(
        names("via=command&resourceType=projectMember") == 1 && names("created_lt=2001-01-01T00:00:00Z") == 0
    );
}

#[test]
fn rows_of_the_audit_log_cannot_be_changed_or_deleted() {
    let stage = Stage::start();
    let store = stage.gateway.directory().join("portcullis.db");
    let connection = rusqlite::Connection::open(store).expect("the store can be opened");
    let count =
        || connection.query_row("SELECT count(*) FROM audit", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = count();
    assert!(before > 3);
    for statement in [
        "DELETE FROM audit",
        "UPDATE audit SET actor = 'nobody'",
        "REPLACE INTO audit (id, at, via, actor, action, subject, object, outcome)
         VALUES (1, 0, 'api', 'nobody', 'edit', 'key', '1c1', 'done')",
    ] {
        let refused = connection.execute(statement, []).unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
    assert_eq!(count(), before);
}

/// Runs `acts` at the same moment.
fn race<T: Send>(acts: Vec<Box<dyn FnOnce() -> T + Send + '_>>) -> Vec<T> {
    let barrier = Barrier::new(acts.len());
    std::thread::scope(|scope| {
        let running: Vec<_> = acts
            .into_iter()
            .map(|act| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    act()
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[test]
fn case_88_of_delete_and_activate_at_once_one_wins_and_both_are_audited() {
    let stage = Stage::start();
    let admin = Api::admin(&stage.gateway);
    for round in 0..10 {
        let id = admin.create_key("/v2-beta/projects/e1/apikeys", &json!({})).id;
        let own = format!("/v2-beta/apikeys/{id}");
        assert_eq!(admin.act(&own, "deactivate").status, 200);
        let statuses = race(vec![
            Box::new(|| admin.delete(&own).status) as Box<dyn FnOnce() -> u16 + Send>,
            Box::new(|| admin.act(&own, "activate").status),
        ]);
        let won = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(won, 1, "round {round}: {statuses:?}");
        assert!(statuses.iter().all(|status| [200, 405, 422].contains(status)), "{statuses:?}");
        let now = admin.document(&own)["state"].clone();
        assert_eq!(now, if statuses[0] == 200 { "removed" } else { "active" });
        let told = entries(&admin, &format!("resourceId={id}"));
        let outcomes: Vec<_> = told[2..].iter().map(|entry| entry["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == "done").count(), 1, "{told:?}");
        // who was judged by what was so already before the other came is told too, or was never in the race
        assert_eq!(outcomes.len(), 2, "{told:?}");
        assert!(
            told.iter()
                .filter(|entry| entry["outcome"] == "refused")
                .all(|entry| entry["reason"].is_string())
        );
    }
    // twice the same: the second is refused, and changes nothing
    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    assert_eq!(admin.act(&own, "deactivate").status, 200);
    let change = entries(&admin, "outcome=done").len();
    assert_eq!(admin.act(&own, "deactivate").status, 422);
    assert_eq!(entries(&admin, "outcome=done").len(), change);
    assert_eq!(admin.document(&own)["state"], "inactive");
}

#[test]
fn case_88_of_edits_of_one_revision_one_wins_and_all_are_audited() {
    let stage = Stage::start();
    let admin = Api::admin(&stage.gateway);
    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let tag = admin.get(&own).header("etag").expect("a revision");
    let statuses = race(
        (0..8)
            .map(|n| {
                let (admin, own, tag) = (&admin, &own, &tag);
                let body = json!({ "name": format!("name {n}"), "description": format!("description {n}") });
                Box::new(move || {
                    admin
                        .send(admin.request("PUT", own).header("If-Match", tag).body(body.to_string()))
                        .status
                }) as Box<dyn FnOnce() -> u16 + Send>
            })
            .collect(),
    );
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
    let shown = admin.document(&own);
    let number = |field: &str| shown[field].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(number("name"), number("description"), "never half of one and half of another");
    let told = entries(&admin, &format!("resourceId={}&action=edit", stage.e1.id));
    assert_eq!(told.iter().filter(|entry| entry["outcome"] == "done").count(), 1);
    assert_eq!(told.iter().filter(|entry| entry["outcome"] == "refused").count(), 7);
}

#[test]
fn case_88_of_actions_and_deletes_of_one_revision_one_wins_and_all_are_audited() {
    let stage = Stage::start();
    let admin = Api::admin(&stage.gateway);
    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let (deactivate, activate) = (format!("{own}/?action=deactivate"), format!("{own}/?action=activate"));
    let stop = ("POST", deactivate.as_str());
    let (start, delete) = (("POST", activate.as_str()), ("DELETE", own.as_str()));
    let rounds = [[stop; 8], [start, delete, start, delete, start, delete, start, delete]];
    for (round, acts) in rounds.iter().enumerate() {
        let tag = admin.get(&own).header("etag").expect("a revision");
        let statuses = race(
            acts.iter()
                .map(|(method, target)| {
                    let (admin, tag) = (&admin, &tag);
                    Box::new(move || {
                        admin.send(admin.request(method, target).header("If-Match", tag).body("{}")).status
                    }) as Box<dyn FnOnce() -> u16 + Send>
                })
                .collect(),
        );
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
        let told = entries(&admin, &format!("resourceId={}&outcome=refused", stage.e1.id));
        assert_eq!(told.len(), 7 * (round + 1), "{told:?}");
        let is_said = |entry: &Value| entry["reason"].as_str().is_some_and(|why| why.contains("meanwhile"));
        assert!(told.iter().all(is_said), "{told:?}");
    }
}

#[test]
fn a_caller_who_loses_the_role_meanwhile_is_refused_by_the_record() {
    let stage = Stage::start();
    let admin = Api::admin(&stage.gateway);
    let ada = stage.gateway.create_account("ada", "user");
    stage.gateway.add_member("e1", "ada", "owner");
    let user = Api::new(&stage.gateway, &stage.gateway.create_account_key("ada"));
    // many edits, while the membership ends: after the answer that says so, none succeeds
    let member = format!("/v2-beta/projectmembers/e1:{ada}");
    let own = format!("/v2-beta/apikeys/{}", stage.e1.id);
    std::thread::scope(|scope| {
        let edits = scope.spawn(|| {
            (0..1000)
                .map(|n| user.put(&own, &json!({ "name": format!("n{n}") })).status)
                .find(|status| *status != 200)
        });
        let second = stage.gateway.create_account("grace", "user");
        admin
            .create("/v2-beta/projects/e1/projectmembers", &json!({ "externalId": second, "role": "owner" }));
        assert_eq!(admin.delete(&member).status, 200);
        let name = admin.document(&own)["name"].clone();
        assert!(edits.join().unwrap().is_some_and(|status| [403, 404].contains(&status)));
        assert_eq!(admin.document(&own)["name"], name, "nothing after the answer");
    });
}

#[test]
fn case_87_writes_that_a_role_does_not_permit_are_audited() {
    let stage = Stage::start();
    let gateway = &stage.gateway;
    let admin = Api::admin(gateway);
    let mut users = ["owner", "member", "readonly"].map(|role| {
        let id = gateway.create_account(role, "user");
        gateway.add_member("e1", role, role);
        (id, gateway.create_account_key(role))
    });
    let [(owner_id, owner), (member_id, member), (_, readonly)] = &mut users;
    let (owner, member, readonly) =
        (Api::new(gateway, owner), Api::new(gateway, member), Api::new(gateway, readonly));
    let machine = Api::new(gateway, &stage.e1);
    let (e1, e2) = (&stage.e1.id, &stage.e2.id);
    let membership = json!({ "externalId": member_id, "role": "owner" });
    let long = "x".repeat(1000);
    // who, what they send, the answer, and the row: action, type, id
    let attempts = [
        (
            &member,
            "PUT",
            format!("/v2-beta/apikeys/{e1}"),
            json!({ "name": "x" }),
            403,
            ["edit", "apiKey", e1],
        ),
        (
            &member,
            "POST",
            format!("/v2-beta/apikeys/{e1}/?action=deactivate"),
            json!({}),
            403,
            ["deactivate", "apiKey", e1],
        ),
        (&member, "DELETE", format!("/v2-beta/apikeys/{e1}"), json!({}), 403, ["remove", "apiKey", e1]),
        (&member, "PUT", format!("/v2-beta/apikeys/{e2}"), json!({}), 404, ["edit", "apiKey", e2]),
        (
            &readonly,
            "POST",
            format!("/v2-beta/apikeys/{e1}/?action=remove"),
            json!({}),
            404,
            ["remove", "apiKey", e1],
        ),
        (
            &member,
            "POST",
            "/v2-beta/projects/e1/apikeys".to_owned(),
            json!({}),
            405,
            ["create", "apiKey", "e1"],
        ),
        (
            &owner,
            "POST",
            "/v2-beta/projects/e2/apikeys".to_owned(),
            json!({}),
            404,
            ["create", "apiKey", "e2"],
        ),
        (&machine, "POST", "/v2-beta/apikeys".to_owned(), json!({}), 405, ["create", "apiKey", "e1"]),
        (
            &owner,
            "POST",
            "/v2-beta/accounts".to_owned(),
            json!({ "name": "eve" }),
            405,
            ["create", "account", "eve"],
        ),
        (&owner, "PUT", "/v2-beta/accounts/1a1".to_owned(), json!({}), 405, ["edit", "account", "1a1"]),
        (
            &owner,
            "POST",
            "/v2-beta/accounts/1a1/?action=deactivate".to_owned(),
            json!({}),
            405,
            ["deactivate", "account", "1a1"],
        ),
        (
            &owner,
            "POST",
            "/v2-beta/projects".to_owned(),
            json!({ "id": "e3" }),
            405,
            ["create", "project", "e3"],
        ),
        (&owner, "DELETE", "/v2-beta/projects/e2".to_owned(), json!({}), 404, ["remove", "project", "e2"]),
        (&member, "PUT", "/v2-beta/projects/e1".to_owned(), json!({}), 403, ["edit", "project", "e1"]),
        (
            &member,
            "POST",
            "/v2-beta/projects/e1/?action=setmembers".to_owned(),
            json!({ "members": [] }),
            403,
            ["edit", "projectMember", "e1"],
        ),
        (
            &member,
            "POST",
            "/v2-beta/projects/e1/projectmembers".to_owned(),
            membership.clone(),
            405,
            ["add", "projectMember", "e1"],
        ),
        (
            &member,
            "PUT",
            format!("/v2-beta/projectmembers/e1:{member_id}"),
            membership.clone(),
            403,
            ["role", "projectMember", "e1:1a3"],
        ),
        (
            &member,
            "DELETE",
            format!("/v2-beta/projectmembers/e1:{owner_id}"),
            json!({}),
            403,
            ["remove", "projectMember", "e1:1a2"],
        ),
        // what is not there looks like what is not to be seen, in the log's time too
        (
            &owner,
            "DELETE",
            "/v2-beta/apikeys/1c999".to_owned(),
            json!({}),
            404,
            ["remove", "apiKey", "1c999"],
        ),
        (
            &owner,
            "DELETE",
            format!("/v2-beta/apikeys/{long}"),
            json!({}),
            404,
            ["remove", "apiKey", &long[..64]],
        ),
    ];
    let mut expected = Vec::new();
    for (api, method, target, body, status, row) in &attempts {
        let answer = api.write(method, target, body);
        assert_eq!(answer.status, *status, "{method} {target}: {answer:?}");
        let request = answer.header("x-request-id").unwrap();
        expected.push(json!([row[0], row[1], row[2], api.key.access_key, request, "api"]));
    }
    // none of these is an attempt that somebody's role has refused
    for (method, target) in
        [("GET", "/v2-beta/apikeys/1c999"), ("PATCH", "/v2-beta/apikeys"), ("PUT", "/v2-beta/schemas/x")]
    {
        assert!([404, 405].contains(&owner.write(method, target, &json!({})).status), "{method} {target}");
    }
    assert_eq!(owner.write("POST", "/v2-beta/projectmembers", &json!({})).status, 422);
    assert_eq!(admin.delete("/v2-beta/apikeys/1c999").status, 404);
    let found = entries(&admin, "outcome=refused");
    let shown: Vec<_> = found
        .iter()
        .map(|row| {
            json!([
                row["action"],
                row["resourceType"],
                row["resourceId"],
                row["accessKey"],
                row["requestId"],
                row["via"]
            ])
        })
        .collect();
    assert_eq!(shown, expected);
    for row in &found {
        assert!(
            row["reason"].is_string() && row["clientIp"].is_string() && row["changeNumber"].is_null(),
            "{row}"
        );
        assert!(row["before"].is_null() && row["after"].is_null(), "{row}");
    }
}

#[test]
fn case_87_a_flood_of_refused_writes_leaves_a_bounded_number_of_rows() {
    let stage = Stage::start();
    let admin = Api::admin(&stage.gateway);
    let machine = Api::new(&stage.gateway, &stage.e1);
    for _ in 0..100 {
        assert_eq!(machine.post("/v2-beta/apikeys", &json!({})).status, 405);
    }
    // under load the minute may have turned once
    let rows = entries(&admin, &format!("accessKey={}", stage.e1.access_key)).len();
    assert!((60..100).contains(&rows), "{rows} rows");
    assert!(stage.gateway.log().contains("are left out of the audit log"), "{}", stage.gateway.log());
    // another key's are told as ever
    let other = Api::new(&stage.gateway, &stage.e2);
    assert_eq!(other.post("/v2-beta/apikeys", &json!({})).status, 405);
    assert_eq!(entries(&admin, &format!("accessKey={}", stage.e2.access_key)).len(), 1);
}
