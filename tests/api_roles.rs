//! Who can do what over the management API: 404 for what the caller cannot see, 403 or 405 for what it can only see.

mod support;

use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};
use support::api::{Api, key_in};
use support::cli::Key;
use support::http1::Request;
use support::stage::Stage;

/// An environment `e1` with an account in each role, an account without any, and what belongs to others.
struct RoleFixture {
    stage: Stage,
    owner: Key,
    member: Key,
    restricted: Key,
    readonly: Key,
    stranger: Key,
    stranger_id: String,
}

fn role_fixture() -> RoleFixture {
    let stage = Stage::start();
    let key = |name: &str, role: Option<&str>| {
        stage.gateway.create_account(name, "user");
        if let Some(role) = role {
            stage.gateway.add_member("e1", name, role);
        }
        stage.gateway.create_account_key(name)
    };
    let [owner, member, restricted, readonly] =
        ["owner", "member", "restricted", "readonly"].map(|role| key(role, Some(role)));
    let stranger_id = stage.gateway.create_account("stranger", "user");
    let stranger = stage.gateway.create_account_key("stranger");
    RoleFixture { stage, owner, member, restricted, readonly, stranger, stranger_id }
}

#[test]
fn each_role_sees_and_changes_only_what_it_may() {
    let fixture = role_fixture();
    let gateway = &fixture.stage.gateway;
    let own = format!("/v2-beta/projects/e1/apikeys/{}", fixture.stage.e1.id);
    let account = format!("/v2-beta/accounts/{}", fixture.stranger_id);
    let guest = gateway.create_account("guest", "user");
    let member = format!("/v2-beta/projectmembers/e1:{guest}");
    let membership = json!({ "externalId": guest, "role": "readonly" });
    // what is asked, and how: owner, member, restricted, readonly, stranger, key of e1, key of e2
    let table: &[(&str, &str, Value, [u16; 7])] = &[
        ("GET", "/v2-beta", json!({}), [200, 200, 200, 200, 200, 200, 200]),
        ("GET", "/v2-beta/projects/e1", json!({}), [200, 200, 200, 200, 404, 200, 404]),
        ("GET", "/v2-beta/projects/e1/apikeys", json!({}), [200, 200, 200, 404, 404, 200, 404]),
        ("GET", &own, json!({}), [200, 200, 200, 404, 404, 200, 404]),
        ("GET", "/v2-beta/projects/e1/projectmembers", json!({}), [200, 200, 200, 404, 404, 200, 404]),
        ("GET", "/v2-beta/projects/e1/schemas", json!({}), [200, 200, 200, 200, 404, 200, 404]),
        ("GET", "/v2-beta/schemas/auditlog", json!({}), [404, 404, 404, 404, 404, 404, 404]),
        ("GET", "/v2-beta/auditlogs", json!({}), [404, 404, 404, 404, 404, 404, 404]),
        ("GET", &account, json!({}), [404, 404, 404, 404, 200, 404, 404]),
        ("POST", "/v2-beta/accounts", json!({ "name": "x" }), [405, 405, 405, 405, 405, 405, 405]),
        ("PUT", &account, json!({ "name": "x" }), [405, 405, 405, 405, 405, 405, 405]),
        // an environment's id is a path of the upstream: only admins choose one
        ("POST", "/v2-beta/projects", json!({ "id": "new" }), [405, 405, 405, 405, 405, 405, 405]),
        ("PUT", "/v2-beta/projects/e1", json!({ "name": "new" }), [200, 403, 403, 403, 404, 405, 405]),
        ("POST", "/v2-beta/projects/e1/apikeys", json!({}), [201, 405, 405, 404, 404, 405, 404]),
        ("PUT", &own, json!({ "name": "new" }), [200, 405, 405, 404, 404, 405, 404]),
        ("POST", "/v2-beta/apikeys", json!({ "accountId": "1a1" }), [201, 201, 201, 201, 201, 405, 405]),
        (
            "POST",
            "/v2-beta/projects/e1/projectmembers",
            membership.clone(),
            [201, 405, 405, 404, 404, 405, 404],
        ),
        ("DELETE", &member, json!({}), [200, 403, 403, 404, 404, 405, 405]),
    ];
    let admin = Api::admin(gateway);
    let keys = [
        ("owner", &fixture.owner),
        ("member", &fixture.member),
        ("restricted", &fixture.restricted),
        ("readonly", &fixture.readonly),
        ("stranger", &fixture.stranger),
        ("key of e1", &fixture.stage.e1),
        ("key of e2", &fixture.stage.e2),
    ];
    let mut wrong = Vec::new();
    for (method, target, body, expected) in table {
        for ((who, key), expected) in keys.iter().zip(expected) {
            // as each request finds it: the guest is a member only where the membership is to be ended
            if *target == member {
                admin.post("/v2-beta/projects/e1/projectmembers", &membership);
            } else {
                admin.delete(&member);
            }
            let answer = Api::new(gateway, key).write(method, target, body);
            if answer.status != *expected {
                wrong.push(format!("{who}: {method} {target} is {} and not {expected}", answer.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn case_87_nobody_changes_the_keys_of_others_and_an_environment_key_manages_nothing() {
    let fixture = role_fixture();
    let gateway = &fixture.stage.gateway;
    let (stranger, member) = (Api::new(gateway, &fixture.stranger), Api::new(gateway, &fixture.member));
    let id = stranger.create_key("/v2-beta/apikeys", &json!({})).id;
    let own = format!("/v2-beta/apikeys/{id}");
    for status in [
        member.get(&own),
        member.put(&own, &json!({ "name": "mine" })),
        member.act(&own, "deactivate"),
        member.delete(&own),
        member.get(&format!("{own}/account")),
        member.get(&format!("/v2-beta/accounts/{}/apikeys", fixture.stranger_id)),
    ]
    .map(|answer| answer.status)
    {
        assert_eq!(status, 404);
    }
    assert!(!member.ids("/v2-beta/apikeys?limit=-1").contains(&id));
    assert!(!member.ids(&format!("/v2-beta/apikeys?accountId={}", fixture.stranger_id)).contains(&id));
    // through an environment only its own keys are seen, by anyone
    assert_eq!(Api::admin(gateway).get(&format!("/v2-beta/projects/e1/apikeys/{id}")).status, 404);

    let own = format!("/v2-beta/apikeys/{}", fixture.stage.e1.id);
    let environment_key = Api::new(gateway, &fixture.stage.e1);
    let shown = environment_key.document(&own);
    assert_eq!(shown["actions"], json!({}), "nothing is offered that would be refused");
    for status in [
        environment_key.act(&own, "deactivate"),
        environment_key.put(&own, &json!({ "name": "x" })),
        environment_key.delete(&own),
        environment_key.act("/v2-beta/projects/e1", "deactivate"),
        environment_key.post("/v2-beta/projects/e1/apikeys", &json!({})),
    ]
    .map(|answer| answer.status)
    {
        assert_eq!(status, 405);
    }
    assert_eq!(environment_key.document(&own)["state"], "active");
}

#[test]
fn an_environment_keeps_an_owner_and_its_members_are_replaced_at_once() {
    let fixture = role_fixture();
    let gateway = &fixture.stage.gateway;
    let owner = Api::new(gateway, &fixture.owner);
    let id = owner.ids("/v2-beta/accounts").remove(0);
    let own = format!("/v2-beta/projectmembers/e1:{id}");
    for answer in [
        owner.delete(&own),
        owner.put(&own, &json!({ "role": "member" })),
        owner.post("/v2-beta/projects/e1/?action=setmembers", &json!({ "members": [] })),
    ] {
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("InvalidFormat")), "{answer:?}");
    }
    assert_eq!(owner.document(&own)["role"], "owner", "and nothing was changed");
    let members = json!({ "members": [
        { "externalId": id, "externalIdType": "rancher_id", "role": "owner" },
        { "externalId": fixture.stranger_id, "externalIdType": "rancher_id", "role": "readonly" },
    ]});
    let answer = owner.post("/v2-beta/projects/e1/?action=setmembers", &members);
    assert_eq!((answer.status, &answer.json()["type"]), (200, &json!("project")), "{answer:?}");
    let found = owner.document("/v2-beta/projects/e1/projectmembers");
    let roles: Vec<_> = found["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (&member["externalId"], &member["role"]))
        .collect();
    assert_eq!(roles, [(&json!(id), &json!("owner")), (&json!(fixture.stranger_id), &json!("readonly"))]);
    // in force at once: the former member sees nothing, the new one sees the environment
    assert_eq!(Api::new(gateway, &fixture.member).get("/v2-beta/projects/e1").status, 404);
    assert_eq!(Api::new(gateway, &fixture.stranger).get("/v2-beta/projects/e1").status, 200);
    for (members, code) in [
        (json!([{ "externalId": "1a99", "role": "member" }]), "InvalidReference"),
        (json!([{ "externalId": id, "role": "king" }]), "InvalidOption"),
        (json!([{ "role": "member" }]), "MissingRequired"),
        (json!([{ "externalId": id, "role": "owner" }, { "externalId": id, "role": "member" }]), "NotUnique"),
    ] {
        let answer = owner.post("/v2-beta/projects/e1/?action=setmembers", &json!({ "members": members }));
        assert_eq!((answer.status, &answer.json()["code"]), (422, &json!(code)), "{answer:?}");
    }
}

#[test]
fn keys_and_memberships_go_with_their_account_or_environment() {
    let fixture = role_fixture();
    let gateway = &fixture.stage.gateway;
    let admin = Api::admin(gateway);
    let account =
        admin.create("/v2-beta/accounts", &json!({ "name": "bob", "kind": "admin", "description": "ops" }));
    assert_eq!((&account["kind"], &account["state"]), (&json!("admin"), &json!("active")));
    let id = account["id"].as_str().unwrap();
    let own = format!("/v2-beta/accounts/{id}");
    let key = key_in(&admin.create("/v2-beta/apikeys", &json!({ "accountId": id })));
    let bob = Api::new(gateway, &key);
    assert_eq!(bob.get("/v2-beta/auditlogs").status, 200);
    assert_eq!(admin.delete(&own).status, 405, "active");
    assert_eq!(admin.put(&own, &json!({ "name": null })).status, 422, "an account has a name");
    assert_eq!(admin.put(&own, &json!({ "name": "robert" })).json()["name"], "robert");
    assert_eq!(admin.act(&own, "deactivate").json()["state"], "inactive");
    assert_eq!(bob.get("/v2-beta").status, 401, "at once");
    assert_eq!(admin.act(&own, "activate").status, 200);
    assert_eq!(bob.get("/v2-beta").status, 200);
    admin.act(&own, "deactivate");
    assert_eq!(admin.delete(&own).json()["state"], "removed");
    assert_eq!(admin.document(&format!("/v2-beta/apikeys/{}", key.id))["state"], "removed");
    for answer in [admin.act(&own, "activate"), admin.put(&own, &json!({ "name": "x" }))] {
        assert_eq!(answer.status, 422, "{answer:?}");
    }
    assert_eq!(admin.delete(&own).status, 405);

    let e1 = "/v2-beta/projects/e1";
    assert_eq!(admin.act(e1, "deactivate").json()["state"], "inactive");
    assert_eq!(Api::new(gateway, &fixture.stage.e1).get("/v2-beta").status, 401, "its keys do not work");
    assert_eq!(Api::new(gateway, &fixture.owner).get(e1).status, 200, "owners still see it");
    assert_eq!(Api::new(gateway, &fixture.member).get(e1).status, 404, "members do not");
    assert_eq!(admin.delete(e1).json()["state"], "removed");
    assert_eq!(admin.get("/v2-beta/projects/e1/apikeys").status, 404);
    let again = admin.post("/v2-beta/projects", &json!({ "id": "E1" }));
    assert_eq!((again.status, &again.json()["code"]), (422, &json!("NotUnique")), "an id never comes back");
    let again = admin.post("/v2-beta/projects", &json!({ "id": "a/b" }));
    assert_eq!((again.status, &again.json()["code"]), (422, &json!("InvalidCharacters")));
}

/// Whoever could choose an id would own what lies at the upstream under it already.
#[test]
fn case_130_users_create_environments_if_the_configuration_allows() {
    let stage = Stage::with(|plan| plan.management("  environments_per_user: 2"));
    let gateway = &stage.gateway;
    let [ada, bob] = ["ada", "bob"].map(|name| gateway.create_account(name, "user"));
    let [ada_key, bob_key] = ["ada", "bob"].map(|name| gateway.create_account_key(name));
    let [api, other] = [&ada_key, &bob_key].map(|key| Api::new(gateway, key));
    let admin = Api::admin(gateway);
    let schema = api.document("/v2-beta/schemas/project");
    assert_eq!(schema["collectionMethods"], json!(["GET", "POST"]));
    assert_eq!(schema["resourceFields"]["id"]["create"], false);

    // one that nobody can guess, whose owner is who asked, and nobody else reaches it
    let made = api.create("/v2-beta/projects", &json!({ "name": "staging" }));
    let id = made["id"].as_str().expect("an id").to_owned();
    let random = id.strip_prefix("1e").expect("its form");
    assert!(random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(api.ids(&format!("/v2-beta/projects/{id}/projectmembers")), [format!("{id}:{ada}")]);
    let writing = |key| Request::new("POST", format!("/v1/projects/{id}/x")).key(key);
    stage.passes(writing(&ada_key));
    stage.refuses(writing(&bob_key), &[403]);
    let key = api.create_key(&format!("/v2-beta/projects/{id}/apikeys"), &json!({}));
    stage.passes(writing(&key));

    // an id of their own is refused, whether or not it is taken, and opens nothing at the upstream
    for chosen in ["mine", "e1", "E1", "1e5"] {
        let refused = api.post("/v2-beta/projects", &json!({ "id": chosen }));
        assert_eq!(refused.status, 403, "{chosen}: {refused:?}");
        assert!(refused.text().contains("leave it out"), "{refused:?}");
        stage.refuses(Request::get(format!("/v1/projects/{chosen}/x")).key(&ada_key), &[403]);
    }
    let log = admin.document(&format!("/v2-beta/auditlogs?accountId={ada}&outcome=refused&action=create"));
    assert_eq!(log["data"].as_array().map(Vec::len), Some(4), "{log}");
    for nothing in [json!(null), json!("")] {
        let made = other.create("/v2-beta/projects", &json!({ "id": nothing }));
        assert!(made["id"].as_str().is_some_and(|id| id.len() == 18), "{made}");
    }

    // the maker is an owner, whatever else is named
    let named = json!({ "members": [
        { "externalId": bob, "externalIdType": "rancher_id", "role": "owner" },
        { "externalId": ada, "externalIdType": "rancher_id", "role": "readonly" },
    ]});
    let second = api.create("/v2-beta/projects", &named)["id"].as_str().expect("an id").to_owned();
    let members = api.document(&format!("/v2-beta/projects/{second}/projectmembers"));
    let roles: Vec<_> =
        members["data"].as_array().expect("a list").iter().map(|member| &member["role"]).collect();
    assert_eq!(roles, ["owner", "owner"], "{members}");

    // two it is: handing one over leaves the place taken, being given one takes none, removing frees one
    let is_full = || {
        let refused = api.post("/v2-beta/projects", &json!({ "name": "third" })).json();
        assert_eq!(
            (&refused["status"], &refused["code"]),
            (&json!(422), &json!("MaxLimitExceeded")),
            "{refused}"
        );
    };
    is_full();
    let handed =
        json!({ "members": [{ "externalId": bob, "externalIdType": "rancher_id", "role": "owner" }] });
    assert_eq!(api.post(&format!("/v2-beta/projects/{second}/?action=setmembers"), &handed).status, 200);
    is_full();
    gateway.add_member("e2", "ada", "owner");
    assert_eq!(api.delete(&format!("/v2-beta/projects/{id}")).status, 200);
    stage.refuses(writing(&key), &[401]);
    let third = api.create("/v2-beta/projects", &json!({}))["id"].clone();
    assert_ne!(third, json!(id));
    is_full();

    // admins choose ids, and are not bounded; environments make none; nobody does where the setting is absent
    for body in [json!({ "id": "chosen" }), json!({}), json!({}), json!({})] {
        admin.create("/v2-beta/projects", &body);
    }
    let own = Api::new(gateway, &stage.e1);
    assert_eq!(own.post("/v2-beta/projects", &json!({})).status, 405);
    let usual = role_fixture();
    let api = Api::new(&usual.stage.gateway, &usual.owner);
    assert_eq!(api.post("/v2-beta/projects", &json!({})).status, 405);
    assert_eq!(api.document("/v2-beta/schemas/project")["collectionMethods"], json!(["GET"]));
}

#[test]
fn case_130_requests_at_once_create_no_more_environments_than_the_limit() {
    let stage = Stage::with(|plan| plan.management("  environments_per_user: 1"));
    stage.gateway.create_account("ada", "user");
    let key = stage.gateway.create_account_key("ada");
    let start = Barrier::new(8);
    let mut statuses: Vec<u16> = thread::scope(|scope| {
        let ask = || {
            let api = Api::new(&stage.gateway, &key);
            start.wait();
            api.post("/v2-beta/projects", &json!({})).status
        };
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().expect("it has asked")).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [[201].as_slice(), &[422; 7]].concat());
    assert_eq!(Api::new(&stage.gateway, &key).ids("/v2-beta/projects").len(), 1);
}
