//! Who sees which page, and who may do what on it.

use serde_json::json;

use crate::shared;
use crate::support::api::Api;
use crate::support::cli::Key;
use crate::support::http1::Request;
use crate::support::stage::Stage;
use crate::support::{PATIENCE, marker, wait_for};
use crate::visitor::{Visitor, row_of};

/// A user with a role in `e2`, or with none anywhere.
fn user(role: Option<&str>) -> Key {
    let name = marker();
    shared().gateway().create_account(&name, "user");
    if let Some(role) = role {
        shared().gateway().add_member("e2", &name, role);
    }
    shared().gateway().create_account_key(&name)
}

#[test]
fn the_page_warns_when_another_account_or_environment_has_the_same_name() {
    let gateway = shared().gateway();
    let admin = Visitor::signed_in(gateway, &gateway.admin);
    let name = marker();
    // the page after the form, which says what became of it
    let account = || {
        let answer = admin.post("/accounts/new", &[("name", &name), ("kind", "user"), ("description", "")]);
        let location = answer.header("Location").expect("the page of the account");
        let id = location.trim_start_matches("/accounts/").to_owned();
        (id, admin.page(&location))
    };
    let (first, page) = account();
    assert!(page.contains("It has no keys yet.") && !page.contains(" has the name "), "{page}");
    let warning = "commands find none of them by it. Use the ids, or rename one.";
    let (_, page) = account();
    let expected = format!("Another account, {first}, has the name {name} too: {warning}");
    assert!(page.contains(&expected), "{expected} is not in {page}");
    let (_, page) = account();
    assert!(
        page.contains(&format!("2 other accounts, {first} among them, have the name {name} too: ")),
        "{page}"
    );

    // an account's name is no other environment's business
    let environment = |id: &str| {
        assert_eq!(admin.post("/environments/new", &[("id", id), ("name", &name)]).status, 303);
        admin.page(&format!("/environments/{id}"))
    };
    let (one, two) = (format!("n{}", marker()), format!("n{}", marker()));
    let page = environment(&one);
    assert!(!page.contains(" has the name "), "{page}");
    let page = environment(&two);
    let expected = format!("Another environment, {one}, has the name {name} too: {warning}");
    assert!(page.contains(&expected), "{expected} is not in {page}");
}

#[test]
fn what_one_may_not_see_is_not_found() {
    let shared = shared();
    let visitor = Visitor::signed_in(shared.gateway(), &user(None));
    let e1_key = &shared.stage.e1.id;
    let alice_key = &shared.alice.id;
    for target in [
        "/environments/e1",
        "/environments/e1/edit",
        "/environments/e1/members/add",
        "/environments/nothing",
        "/environments/%65%31",
        "/keys?environment=e1",
        "/keys?account=1a1",
        "/keys/new?environment=e1",
        "/keys/new?account=1a1",
        "/accounts/1a1",
        "/keys/1c1",
        "/keys/5",
        "/keys/1x1",
        "/keys/1c01",
        "/keys/..%2f1c1",
        &format!("/keys/{e1_key}"),
        &format!("/keys/{e1_key}/edit"),
        &format!("/keys/{e1_key}/created"),
        &format!("/keys/{alice_key}"),
        &format!("/keys/{alice_key}/delete"),
    ] {
        let answer = visitor.get(target);
        assert_eq!(answer.status, 404, "{target}: {answer:?}");
    }
    for target in [
        &format!("/keys/{e1_key}/deactivate"),
        &format!("/keys/{alice_key}/deactivate"),
        &format!("/keys/{alice_key}/edit"),
        "/keys/1c1/delete",
        "/keys/new?environment=e1",
        "/keys/new?account=1a1",
        "/environments/e1/deactivate",
        "/environments/e1/members/add",
        "/accounts/1a1/deactivate",
    ] {
        let answer = visitor.post(target, &[("confirm", "self"), ("revision", "1"), ("name", "x")]);
        assert_eq!(answer.status, 404, "{target}: {answer:?}");
    }
    shared.stage.passes(shared.stage.request("GET", "/v1/projects/e1/x"));
}

#[test]
fn pages_of_admins_are_not_for_users() {
    let shared = shared();
    let visitor = Visitor::signed_in(shared.gateway(), &shared.alice);
    assert_eq!(visitor.get("/").header("Location").as_deref(), Some("/keys"));
    for target in ["/accounts", "/accounts/new", "/audit", "/environments/new"] {
        assert_eq!(visitor.get(target).status, 403, "{target}");
    }
    for (target, fields) in [
        ("/accounts/new", [("name", "x"), ("kind", "admin")]),
        ("/environments/new", [("id", "x"), ("name", "x")]),
    ] {
        assert_eq!(visitor.post(target, &fields).status, 403, "{target}");
    }
    let own =
        visitor.post(&format!("/accounts/{}/edit", shared.alice_id), &[("name", "x"), ("revision", "1")]);
    assert_eq!(own.status, 403, "{own:?}");
    let page = visitor.page("/keys");
    for path in ["href=\"/accounts\"", "href=\"/audit\"", ">Overview<"] {
        assert!(!page.contains(path), "{path} in\n{page}");
    }
    assert!(visitor.page(&format!("/accounts/{}", shared.alice_id)).contains("alice"));
}

#[test]
fn members_see_keys_and_only_owners_change_them() {
    let shared = shared();
    let key = &shared.stage.e2;
    for (role, sees) in [("member", true), ("restricted", true), ("readonly", false)] {
        let visitor = Visitor::signed_in(shared.gateway(), &user(Some(role)));
        let page = visitor.page("/keys?environment=e2");
        assert_eq!(page.contains(&key.access_key), sees, "{role}: {page}");
        assert!(!page.contains("environment-keys-add"), "{role} may not add");
        if sees {
            let row = row_of(&page, &key.id).unwrap();
            assert!(!row.contains("deactivate") && row.contains("data-action=\"api\""), "{role}: {row}");
        }
        let expected = if sees { 403 } else { 404 };
        for target in [
            &format!("/keys/{}/deactivate", key.id),
            &format!("/keys/{}/edit", key.id),
            "/keys/new?environment=e2",
            "/environments/e2/members/add",
        ] {
            let answer = visitor.post(target, &[("name", "x"), ("revision", "1")]);
            assert_eq!(answer.status, expected, "{role} {target}: {answer:?}");
        }
        assert_eq!(visitor.post("/environments/e2/deactivate", &[]).status, 403, "{role}");
        let page = visitor.page("/environments/e2");
        assert_eq!(page.contains("id=\"members\""), sees, "{role}: {page}");
    }
    shared.stage.passes(crate::support::http1::Request::get("/v1/projects/e2/x").key(key));
}

#[test]
fn an_owner_manages_members_and_the_last_owner_stays() {
    let shared = shared();
    let gateway = shared.gateway();
    let admin = Visitor::signed_in(gateway, &gateway.admin);
    let environment = format!("o{}", marker());
    assert_eq!(admin.post("/environments/new", &[("id", &environment)]).status, 303);
    let members = format!("/environments/{environment}/members");
    let owner = user(None);
    let add = |visitor: &Visitor<'_>, account: &str, role: &str| {
        visitor.post(&format!("{members}/add"), &[("externalId", account), ("role", role)])
    };
    let visitor = Visitor::signed_in(gateway, &owner);
    let own_page = visitor.page("/keys");
    let own = own_page.split("data-who=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(add(&admin, own, "owner").status, 303);
    // admins find accounts by name, owners by id
    for (visitor, account, status) in [
        (&admin, "alice", 303),
        (&visitor, "alice", 422),
        (&visitor, shared.alice_id.as_str(), 303),
        (&visitor, "1a999999", 422),
        (&admin, "nobody-of-that-name", 422),
        (&admin, "", 422),
    ] {
        let answer = add(visitor, account, "readonly");
        assert_eq!(answer.status, status, "{account}: {answer:?}");
    }
    assert_eq!(add(&visitor, &shared.alice_id, "emperor").status, 422);
    let role = |account: &str, role: &str| {
        visitor.post(&format!("{members}/{account}/role"), &[("role", role), ("to", "/environments")])
    };
    assert_eq!(role(&shared.alice_id, "restricted").status, 303);
    let page = visitor.page(&format!("/environments/{environment}"));
    assert!(row_of(&page, &shared.alice_id).unwrap().contains("restricted"), "{page}");
    // the admin who made it is an owner too
    assert_eq!(admin.post(&format!("{members}/1a1/remove"), &[]).status, 303);
    let answer = role(own, "member");
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text().contains("without an owner"), "{answer:?}");
    visitor.post(&format!("{members}/{own}/remove"), &[]);
    assert!(visitor.page(&format!("/environments/{environment}")).contains("data-tone=\"problem\""));
}

#[test]
fn an_admin_makes_accounts_and_looks_at_their_keys() {
    let gateway = shared().gateway();
    let admin = Visitor::signed_in(gateway, &gateway.admin);
    let name = marker();
    let answer = admin.post("/accounts/new", &[("name", &name), ("kind", "user"), ("description", "d")]);
    let path = answer.header("Location").unwrap();
    let id = path.strip_prefix("/accounts/").unwrap().to_owned();
    let key = admin.create_key(&format!("account={id}"), "first");
    assert!(admin.page(&format!("/keys?account={id}")).contains(&key.access_key));
    let visitor = Visitor::signed_in(gateway, &key);
    assert!(visitor.page("/keys").contains("You are not a member of any environment"));
    for (fields, field) in [
        ([("name", ""), ("kind", "user")], "problem-name"),
        ([("name", "x"), ("kind", "root")], "problem-kind"),
    ] {
        let answer = admin.post("/accounts/new", &fields);
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.text().contains(&format!("id=\"{field}\"")), "{answer:?}");
    }
    assert_eq!(admin.post(&format!("{path}/deactivate"), &[]).status, 303);
    wait_for(PATIENCE, "the session ends", || visitor.get("/keys").status == 303);
    assert_eq!(admin.post(&format!("{path}/delete"), &[]).header("Location").as_deref(), Some("/accounts"));
    // one's own account is stopped only when that is said
    let answer = admin.post("/accounts/1a1/deactivate", &[]);
    assert_eq!(answer.status, 422, "{answer:?}");
    assert_eq!(admin.get("/accounts").status, 200);
}

#[test]
fn forms_that_a_role_does_not_give_are_in_the_audit_log() {
    let gateway = shared().gateway();
    let key = user(Some("member"));
    let visitor = Visitor::signed_in(gateway, &key);
    let (e1, e2) = (&shared().stage.e1.id, &shared().stage.e2.id);
    let attempts = [
        (format!("/keys/{e2}/deactivate"), 403, ["deactivate", "apiKey", e2]),
        (format!("/keys/{e2}/edit"), 403, ["edit", "apiKey", e2]),
        (format!("/keys/{e1}/delete"), 404, ["remove", "apiKey", e1]),
        ("/keys/new?environment=e2".to_owned(), 403, ["create", "apiKey", "e2"]),
        ("/keys/new?account=1a1".to_owned(), 404, ["create", "apiKey", "1a1"]),
        ("/environments/new".to_owned(), 403, ["create", "project", "e9"]),
        ("/environments/e2/deactivate".to_owned(), 403, ["deactivate", "project", "e2"]),
        ("/environments/e2/members/add".to_owned(), 403, ["add", "projectMember", "e2"]),
        ("/environments/e2/members/1a1/remove".to_owned(), 403, ["remove", "projectMember", "e2:1a1"]),
        ("/accounts/new".to_owned(), 403, ["create", "account", "eve"]),
        ("/accounts/1a1/deactivate".to_owned(), 404, ["deactivate", "account", "1a1"]),
    ];
    let fields = [("id", "e9"), ("name", "eve"), ("kind", "user"), ("revision", "1"), ("externalId", "1a1")];
    let mut expected = Vec::new();
    for (target, status, [action, kind, id]) in &attempts {
        let fields = [&fields[..], &[("role", "owner"), ("confirm", "self")]].concat();
        let answer = visitor.post(target, &fields);
        assert_eq!(answer.status, *status, "{target}: {answer:?}");
        expected.push(json!([action, kind, id, "page"]));
    }
    assert_eq!(visitor.post("/keys", &[]).status, 405, "nobody does this");
    let admin = Api::admin(gateway);
    let log = admin.document(&format!("/v2-beta/auditlogs?outcome=refused&accessKey={}", key.access_key));
    let rows = log["data"].as_array().unwrap().iter();
    let shown: Vec<_> =
        rows.map(|row| json!([row["action"], row["resourceType"], row["resourceId"], row["via"]])).collect();
    assert_eq!(shown, expected);
}

#[test]
fn case_130_the_page_lets_users_make_environments_without_choosing_ids() {
    let stage = Stage::with(|plan| plan.management("  environments_per_user: 1"));
    stage.gateway.create_account("ada", "user");
    let key = stage.gateway.create_account_key("ada");
    let visitor = Visitor::signed_in(&stage.gateway, &key);
    assert!(visitor.page("/environments").contains("Add environment"));
    let form = visitor.page("/environments/new");
    assert!(form.contains("name=\"name\"") && !form.contains("name=\"id\""), "{form}");
    let refused = visitor.post("/environments/new", &[("id", "mine"), ("name", "mine")]);
    assert!(refused.status == 403 && refused.text().contains("leave it out"), "{refused:?}");
    let made = visitor.post("/environments/new", &[("name", "staging")]);
    let place = made.header("Location").unwrap_or_else(|| panic!("{made:?}"));
    let id = place.strip_prefix("/environments/1e").unwrap_or_else(|| panic!("{made:?}"));
    assert_eq!(id.len(), 16, "{place}");
    let reading = Request::get(format!("/v1/projects/1e{id}/x")).key(&key);
    stage.passes(reading);
    let full = visitor.post("/environments/new", &[("name", "another")]);
    assert!(full.status == 422 && full.text().contains("remove one first"), "{full:?}");
    // an admin's form has the id
    let admin = Visitor::signed_in(&stage.gateway, &stage.gateway.admin);
    assert!(admin.page("/environments/new").contains("name=\"id\""));
}
