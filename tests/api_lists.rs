//! Lists of the management API: filters, orders and pages, as Rancher's clients use them.

mod support;

use serde_json::{Value, json};
use support::api::{Api, target_of};
use support::http1::Client;
use support::lists::{
    account_with_many_keys, assert_says_what_to_do, costly_target, nothing_waits_for_lists,
};
use support::stage::Stage;
use support::{PATIENCE, wait_for};

#[test]
fn filters_orders_and_pages_are_those_of_rancher() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let all = "/v2-beta/projects/e1/apikeys";
    for name in ["beta", "Alpha", "gamma", "delta", "beta"] {
        api.create(all, &json!({ "name": name, "description": format!("the {name}") }));
    }
    let names = |target: &str| -> Vec<String> {
        let data = api.document(target)["data"].clone();
        data.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(names(&format!("{all}?name=beta")), ["beta", "beta"]);
    assert_eq!(names(&format!("{all}?name_prefix=g")), ["gamma"]);
    assert_eq!(names(&format!("{all}?name_like=%25lph%25")), ["Alpha"]);
    assert_eq!(names(&format!("{all}?name_ne=beta&name_notnull=x&sort=name")), ["Alpha", "delta", "gamma"]);
    assert_eq!(
        names(&format!("{all}?name=beta&description_like=%25alpha%25")),
        Vec::<String>::new(),
        "all must hold"
    );
    assert_eq!(
        names(&format!("{all}?removed_null=%3Cnil%3E&nonsense=1&name_nonsense=2")).len(),
        6,
        "the unknown is ignored"
    );
    assert_eq!(names(&format!("{all}?removed_notnull=1")).len(), 0);
    assert_eq!(
        names(&format!("{all}?sort=name&order=desc&name_notnull=1")),
        ["gamma", "delta", "beta", "beta", "Alpha"]
    );

    // pages: only the link to the next one is ever given
    let mut target = format!("{all}?sort=name&limit=2");
    let mut seen = Vec::new();
    for page in 0.. {
        let document = api.document(&target);
        let pagination = &document["pagination"];
        assert_eq!((&pagination["limit"], &pagination["total"]), (&json!(2), &Value::Null));
        assert_eq!((&pagination["first"], &pagination["previous"]), (&Value::Null, &Value::Null));
        seen.extend(document["data"].as_array().unwrap().iter().map(|item| item["id"].clone()));
        assert_eq!(pagination["partial"], json!(!pagination["next"].is_null()));
        if pagination["next"].is_null() {
            assert_eq!(page, 2);
            break;
        }
        target = target_of(&pagination["next"]);
    }
    let mut whole = api.ids(&format!("{all}?sort=name"));
    assert_eq!(seen, whole.iter().map(|id| json!(id)).collect::<Vec<_>>());
    whole.sort();
    whole.dedup();
    assert_eq!(whole.len(), 6, "each once");

    for (limit, expected) in
        [("-2", 3000), ("0", 3000), ("5", 5), ("1000000", 3000), ("nonsense", 100), ("", 100)]
    {
        assert_eq!(api.document(&format!("{all}?limit={limit}"))["pagination"]["limit"], expected, "{limit}");
    }
    let document = api.document(&format!("{all}?name_prefix=b&sort=name&order=desc&limit=1"));
    assert_eq!(document["filters"]["name"], json!([{ "value": "b", "modifier": "prefix" }]));
    assert_eq!(document["filters"]["state"], Value::Null);
    assert!(document["filters"].get("secretValue").is_none());
    assert_eq!((&document["sort"]["name"], &document["sort"]["order"]), (&json!("name"), &json!("desc")));
    let by_created = document["sortLinks"]["created"].as_str().unwrap();
    assert!(by_created.ends_with("?name_prefix=b&limit=1&sort=created"), "{by_created}");
}

#[test]
fn a_list_holds_what_the_caller_may_see_there() {
    let stage = Stage::start();
    let ada = stage.gateway.create_account("ada", "user");
    stage.gateway.add_member("e1", "ada", "owner");
    let user = Api::new(&stage.gateway, &stage.gateway.create_account_key("ada"));
    let admin = Api::admin(&stage.gateway);
    let own = Api::new(&stage.gateway, &stage.e1);
    let owners = |api: &Api<'_>, target: &str| -> Vec<String> {
        let data = api.document(target)["data"].clone();
        data.as_array().unwrap().iter().map(|item| item["accountId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(owners(&admin, "/v2-beta/apikeys"), ["1a1", "e1", "e2", &ada], "an admin: all");
    assert_eq!(owners(&admin, "/v2-beta/apikeys?accountId=e2"), ["e2"]);
    assert_eq!(owners(&admin, &format!("/v2-beta/accounts/{ada}/apikeys")), [ada.as_str()]);
    assert_eq!(owners(&user, "/v2-beta/apikeys"), [ada.as_str()], "a user: the own ones");
    assert_eq!(owners(&own, "/v2-beta/apikeys"), ["e1"], "an environment's key: the environment's");
    for api in [&admin, &user, &own] {
        assert_eq!(owners(api, "/v2-beta/projects/e1/apikeys"), ["e1"], "through an environment: its own");
    }
    assert_eq!(user.ids("/v2-beta/projects"), ["e1"]);
    assert_eq!(own.ids("/v2-beta/projects?all=true"), ["e1"]);
    assert_eq!(user.ids("/v2-beta/accounts"), [ada.as_str()]);
    assert_eq!(own.ids("/v2-beta/accounts"), Vec::<String>::new());
    assert_eq!(own.ids("/v2-beta/projectmembers"), [format!("e1:{ada}")]);
}

/// What the record cannot compare is the request's fault, and no failure of the record.
#[test]
fn too_many_and_too_long_filters_are_refused() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let refused = |query: &str| {
        let answer = api.get(&format!("/v2-beta/apikeys?{query}"));
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    let many = |count: usize| vec!["name_ne=a"; count].join("&");
    assert_eq!(api.get(&format!("/v2-beta/apikeys?{}", many(32))).status, 200);
    assert_eq!(refused(&many(33)), (422, "MaxLimitExceeded".to_owned()));
    assert_eq!(refused(&many(1_500)), (422, "MaxLimitExceeded".to_owned()));
    let long = |bytes: usize| format!("name_like={}", "a".repeat(bytes));
    assert_eq!(api.get(&format!("/v2-beta/apikeys?{}", long(8 << 10))).status, 200);
    assert_eq!(refused(&long((8 << 10) + 1)), (422, "MaxLengthExceeded".to_owned()));
    assert_eq!(refused(&long(60_000)), (422, "MaxLengthExceeded".to_owned()));
    // what is beside them counts for nothing
    assert_eq!(api.get(&format!("/v2-beta/apikeys?nonsense={}", "a".repeat(50_000))).status, 200);
}

#[test]
fn case_102_a_list_delays_no_change_receipt_or_single_read() {
    let stage = Stage::start();
    nothing_waits_for_lists(&stage.gateway);
}

#[test]
fn case_102_a_list_that_costs_too_much_is_refused_with_what_to_do() {
    let stage = Stage::with(|plan| plan.management("  lists: { steps: 10000, per_caller: 3, total: 100 }"));
    let mallory = account_with_many_keys(&stage.gateway);
    let api = Api::new(&stage.gateway, &mallory);
    let target = costly_target("%25b");
    let answer = api.get(&target);
    assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("MaxLimitExceeded")), "{answer:?}");
    assert_says_what_to_do(&answer);
    // the page says it too, and what costs little is answered as ever
    assert_eq!(api.get("/v2-beta/apikeys?limit=1").status, 200);
    assert_eq!(api.get(&format!("/v2-beta/apikeys/{}", mallory.id)).status, 200);

    // as many at once as it takes until some find no place
    let request = api.request("GET", &target).end();
    let mut refused = 0;
    wait_for(PATIENCE, "more lists at once than one caller may have", || {
        let mut clients: Vec<_> = (0..60).map(|_| Client::connect(stage.gateway.management())).collect();
        for client in &mut clients {
            client.send(&request);
        }
        for client in &mut clients {
            let answer = client.read();
            assert!(matches!(answer.status, 422 | 429), "{answer:?}");
            assert_says_what_to_do(&answer);
            refused += usize::from(answer.status == 429);
        }
        refused > 0
    });
}
