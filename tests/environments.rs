//! The decision table of `docs/permissions.md`, end to end: every principal, every class of path, every method, and
//! the settings that change a row.

mod support;

use std::sync::OnceLock;

use support::cli::{Key, basic};
use support::gateway::{Gateway, Plan, ROUTES};
use support::http1::{Client, Request, Response};
use support::stage::Stage;
use support::upstream::{Answer, Recorded, Upstream};
use support::{PATIENCE, marker, wait_for};

/// `/v1` uses all that a route may say, `/v2` as little as it can.
const TABLE_ROUTES: &str = r#"
  - path: /v1
    upstream: api
    environment: ["/v1/projects/{environment}", "/v1/project/{environment}"]
    account: allow
    shared: [/v1, /v1/schemas, /v1/schemas/**]
    owner_only: ["/v1/projects/{environment}/projectmembers", "/v1/projects/{environment}/projectmembers/**"]
    selectors: { query: [projectId], headers: [X-API-Project-Id] }
    method_override: { query: [_method] }
    readonly_upgrades: ["/v1/projects/{environment}/logs"]
    cors:
      origins: ["https://ui.test"]
      methods: [GET, POST, DELETE]
      headers: [authorization, content-type, x-api-project-id]
      max_age: 10m
  - path: /v2
    upstream: api
    environment: "/v2/projects/{environment}"
  - path: /healthz
    upstream: api
    access: public
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Admin,
    Owner,
    Member,
    Restricted,
    Readonly,
    Stranger,
    KeyOfE1,
    KeyOfE2,
}

const EVERYBODY: [Who; 9] = [
    Who::Nobody,
    Who::Admin,
    Who::Owner,
    Who::Member,
    Who::Restricted,
    Who::Readonly,
    Who::Stranger,
    Who::KeyOfE1,
    Who::KeyOfE2,
];

struct Table {
    // first, so that the gateway ends before its upstream
    gateway: Gateway,
    upstream: Upstream,
    keys: Vec<(Who, Key)>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let upstream = Upstream::start();
        let site = Plan::new(&upstream).routes(TABLE_ROUTES).prepare();
        site.create_environment("e1");
        site.create_environment("e2");
        let mut keys = vec![(Who::Admin, site.admin.clone())];
        for (who, role) in [
            (Who::Owner, Some("owner")),
            (Who::Member, Some("member")),
            (Who::Restricted, Some("restricted")),
            (Who::Readonly, Some("readonly")),
            (Who::Stranger, None),
        ] {
            let account = site.create_account(&format!("{who:?}"), "user");
            if let Some(role) = role {
                site.add_member("e1", &account, role);
            }
            keys.push((who, site.create_account_key(&account)));
        }
        keys.push((Who::KeyOfE1, site.create_environment_key("e1")));
        keys.push((Who::KeyOfE2, site.create_environment_key("e2")));
        Table { gateway: site.start(), upstream, keys }
    })
}

impl Table {
    fn key(&self, who: Who) -> Option<&Key> {
        self.keys.iter().find(|(name, _)| *name == who).map(|(_, key)| key)
    }

    /// Sends a request as `who`; the answer, and what the upstream saw.
    #[track_caller]
    fn send(&self, who: Who, request: Request) -> (Response, Option<Recorded>) {
        let mark = marker();
        let request = match self.key(who) {
            Some(key) => request.key(key),
            None => request,
        };
        let answer = self.gateway.exchange(request.mark(&mark).end());
        let mut seen = self.upstream.requests(&mark);
        assert!(seen.len() < 2, "{who:?}: forwarded more than once: {seen:?}");
        (answer, seen.pop())
    }

    /// Sends a request that must be answered so, and must have reached the upstream exactly when that is 200.
    #[track_caller]
    fn expect(&self, who: Who, request: Request, status: u16) {
        let about = format!("{who:?}: {request:?}");
        let (answer, seen) = self.send(who, request);
        assert_eq!(answer.status, status, "{about}\n{answer:?}");
        assert_eq!(seen.is_some(), status == 200, "{about}: the upstream saw {seen:?}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Public,
    Shared,
    /// Inside e1.
    Environment,
    /// The template's own path, and what `owner_only` lists.
    OwnerOnly,
    /// A template's literals with an id that is malformed or not in the store.
    UnknownEnvironment,
    /// Outside environments, `account: allow`.
    AccountAllowed,
    /// Outside environments, `account: deny`.
    AccountDenied,
}

const PATHS: [(&str, Class); 20] = [
    ("/healthz", Class::Public),
    ("/v1", Class::Shared),
    ("/v1/schemas", Class::Shared),
    ("/v1/schemas/host", Class::Shared),
    ("/v1/projects/e1/hosts", Class::Environment),
    ("/v1/projects/e1/hosts/1h1?action=x", Class::Environment),
    ("/v1/project/e1/hosts", Class::Environment),
    ("/v2/projects/e1/hosts", Class::Environment),
    ("/v1/projects/e1", Class::OwnerOnly),
    ("/v1/projects/e1/", Class::OwnerOnly),
    ("/v1/project/e1", Class::OwnerOnly),
    ("/v1/projects/e1/projectmembers", Class::OwnerOnly),
    ("/v1/projects/e1/projectmembers/1pm1", Class::OwnerOnly),
    ("/v1/projects/e9/hosts", Class::UnknownEnvironment),
    ("/v1/projects/E1/hosts", Class::UnknownEnvironment),
    ("/v1/projects/e.1/hosts", Class::UnknownEnvironment),
    ("/v1/projects/", Class::UnknownEnvironment),
    ("/v1/hosts", Class::AccountAllowed),
    ("/v1/projects", Class::AccountAllowed),
    ("/v2/hosts", Class::AccountDenied),
];

const METHODS: [(&str, bool); 10] = [
    ("GET", true),
    ("HEAD", true),
    ("OPTIONS", true),
    ("POST", false),
    ("PUT", false),
    ("PATCH", false),
    ("DELETE", false),
    ("PROPFIND", true),
    ("PROPPATCH", false),
    ("get", false),
];

/// The table, written down once more and independently of the code.
#[expect(clippy::match_same_arms, reason = "one arm for each cell of the table, in its order")]
fn expected(who: Who, class: Class, reads: bool) -> u16 {
    use Class as C;
    use Who as W;
    match (class, who) {
        (C::Public, _) => 200,
        (_, W::Nobody) => 401,
        (_, W::Admin) => 200,
        (C::Shared, W::KeyOfE1 | W::KeyOfE2) => {
            if reads {
                200
            } else {
                403
            }
        }
        // writing is decided as outside environments: `/v1` says allow
        (C::Shared, _) => 200,
        (C::Environment, W::Owner | W::Member | W::Restricted | W::KeyOfE1) => 200,
        (C::Environment, W::Readonly) => {
            if reads {
                200
            } else {
                403
            }
        }
        (C::Environment, W::Stranger | W::KeyOfE2) => 403,
        (C::OwnerOnly, W::Owner) => 200,
        (C::OwnerOnly, W::Member | W::Restricted | W::Readonly | W::KeyOfE1) => {
            if reads {
                200
            } else {
                403
            }
        }
        (C::OwnerOnly, W::Stranger | W::KeyOfE2) => 403,
        (C::UnknownEnvironment | C::AccountDenied, _) => 403,
        (C::AccountAllowed, W::KeyOfE1 | W::KeyOfE2) => 403,
        (C::AccountAllowed, _) => 200,
    }
}

#[test]
fn the_decision_table_holds_for_everyone_everywhere() {
    let table = table();
    for (path, class) in PATHS {
        for (method, reads) in METHODS {
            if class == Class::Public && !matches!(method, "GET" | "HEAD") {
                continue;
            }
            for who in EVERYBODY {
                table.expect(who, Request::new(method, path), expected(who, class, reads));
            }
        }
    }
}

#[test]
fn refusals_of_the_table_have_the_shape_of_our_own_answers() {
    let table = table();
    let (answer, _) = table.send(Who::KeyOfE2, Request::get("/v1/projects/e1/hosts"));
    answer.assert_refused(403);
    assert_eq!(answer.json()["code"], "Forbidden");
    let (answer, _) = table.send(Who::Nobody, Request::get("/v1/projects/e1/hosts"));
    answer.assert_refused(401);
    assert_eq!(answer.json()["code"], "Unauthorized");
    let (answer, _) = table.send(Who::Admin, Request::get("/elsewhere"));
    answer.assert_refused(404);
    assert_eq!(answer.json()["code"], "Not Found");
}

#[test]
fn the_upstream_is_told_who_acts_and_as_what() {
    let table = table();
    for (who, path, role, project) in [
        (Who::Admin, "/v1/projects/e1/x", "owner", Some("e1")),
        (Who::Owner, "/v1/projects/e1/x", "owner", Some("e1")),
        (Who::Member, "/v1/projects/e1/x", "member", Some("e1")),
        (Who::Restricted, "/v1/project/e1/x", "restricted", Some("e1")),
        (Who::Readonly, "/v1/projects/e1/x", "readonly", Some("e1")),
        (Who::KeyOfE1, "/v1/projects/e1/x", "project", Some("e1")),
        (Who::KeyOfE1, "/v1/schemas", "project", Some("e1")),
        (Who::KeyOfE2, "/v1", "project", Some("e2")),
        (Who::Member, "/v1/hosts", "user", None),
        (Who::Member, "/v1/schemas", "user", None),
        (Who::Admin, "/v1/hosts", "admin", None),
    ] {
        let (answer, seen) = table.send(who, Request::get(path));
        assert_eq!(answer.status, 200, "{who:?} {path} {answer:?}");
        let seen = seen.expect("it was let through");
        assert_eq!(seen.header("X-API-Roles").as_deref(), Some(role), "{who:?} {path}");
        assert_eq!(seen.header("X-API-Project-Id").as_deref(), project, "{who:?} {path}");
        assert_eq!(seen.header("X-API-Key-Id"), table.key(who).map(|key| key.access_key.clone()));
    }
    let (_, seen) = table.send(Who::Member, Request::get("/v1/hosts"));
    assert_eq!(seen.expect("let through").header("X-API-Account-Name").as_deref(), Some("Member"));
    let (_, seen) = table.send(Who::Admin, Request::get("/v1/projects/e9/x"));
    assert_eq!(seen.expect("let through").all("X-API-Project-Id").len(), 0, "there is no e9 in the store");
}

#[test]
fn account_names_are_told_percent_encoded() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare();
    let account = site.create_account("Zoë, \"QA\" 50%", "user");
    let key = site.create_account_key(&account);
    let gateway = site.start();
    let mark = marker();
    assert_eq!(gateway.exchange(Request::get("/v1/hosts").key(&key).mark(&mark).end()).status, 200);
    let told = upstream.only(&mark).header("X-API-Account-Name").expect("the account has a name");
    assert!(told.is_ascii() && told.contains("%C3%AB") && told.contains("%25"), "{told}");
    let name = percent_encoding::percent_decode_str(&told).decode_utf8().expect("UTF-8");
    assert_eq!(name, "Zoë, \"QA\" 50%");
}

// --- selectors ---

#[test]
fn a_selector_makes_the_request_one_of_that_environment() {
    let table = table();
    for who in EVERYBODY {
        for path in ["/v1", "/v1/schemas", "/v1/hosts"] {
            for (method, reads) in [("GET", true), ("POST", false)] {
                let wanted = expected(who, Class::Environment, reads);
                table.expect(who, Request::new(method, format!("{path}?a=b&projectId=e1")), wanted);
                table.expect(who, Request::new(method, path).header("X-API-Project-Id", "e1"), wanted);
            }
            let wanted = expected(who, Class::UnknownEnvironment, true);
            table.expect(who, Request::get(format!("{path}?projectId=e9")), wanted);
            table.expect(who, Request::get(path).header("x-api-project-id", "E1"), wanted);
        }
    }
    // the header is read before such headers are stripped; what the upstream sees is ours
    let (_, seen) = table.send(Who::Member, Request::get("/v1/hosts").header("X-API-Project-Id", "e1"));
    let seen = seen.expect("let through");
    assert_eq!(seen.all("X-API-Project-Id"), ["e1"]);
    assert_eq!(seen.all("X-API-Roles"), ["member"]);
}

#[test]
fn selectors_count_in_http_2_too() {
    let table = table();
    let status = |who: Who, path: &str, selector: Option<&str>| {
        let key = table.key(who).expect("somebody with a key");
        let mut request =
            http::Request::get(format!("https://gw.test{path}")).header("authorization", key.authorization());
        if let Some(id) = selector {
            request = request.header("x-api-project-id", id);
        }
        let request = request.body(()).expect("a request");
        support::http2::exchange(table.gateway.https(), request, b"").expect("an answer").status
    };
    assert_eq!(status(Who::KeyOfE1, "/v1/hosts", None), 403);
    assert_eq!(status(Who::KeyOfE1, "/v1/hosts", Some("e1")), 200);
    assert_eq!(status(Who::KeyOfE1, "/v1/hosts", Some("e2")), 403);
    assert_eq!(status(Who::KeyOfE1, "/v1/hosts?projectId=e1", None), 200);
    assert_eq!(status(Who::KeyOfE1, "/v1/hosts?projectId=e1", Some("e2")), 403);
    assert_eq!(status(Who::KeyOfE1, "/v1/projects/e1/hosts", Some("e2")), 403);
}

#[test]
fn a_selector_beside_an_environment_must_name_the_same() {
    let table = table();
    let path = "/v1/projects/e1/hosts";
    for who in [Who::Admin, Who::Member, Who::KeyOfE1] {
        table.expect(who, Request::get(format!("{path}?projectId=e1")), 200);
        table.expect(who, Request::get(path).header("X-API-Project-Id", "e1"), 200);
        table.expect(who, Request::get(format!("{path}?projectId=e2")), 403);
        table.expect(who, Request::get(path).header("X-API-Project-Id", "e2"), 403);
        table.expect(who, Request::get("/v1/hosts?projectId=e1").header("X-API-Project-Id", "e2"), 403);
    }
    table.expect(Who::KeyOfE2, Request::get("/v1/projects/e1/hosts?projectId=e2"), 403);
    table.expect(Who::KeyOfE2, Request::get("/v1/projects/e2/hosts?projectId=e1"), 403);
}

#[test]
fn repeated_malformed_and_misspelt_selectors_are_refused() {
    let table = table();
    for query in [
        "projectId=e1&projectId=e1",
        "projectId=e1&projectId=e2",
        "projectId=",
        "projectId",
        "projectId=e1%2f",
        "projectId=../e2",
        "projectId=e%31",
        "project%49d=e1",
        "projectid=e1",
        "projectId[]=e1",
        "a=b;projectId=e2",
    ] {
        for who in [Who::Admin, Who::KeyOfE1, Who::Member] {
            table.expect(who, Request::get(format!("/v1/hosts?{query}")), 400);
            table.expect(who, Request::get(format!("/v1/projects/e1/hosts?{query}")), 400);
        }
    }
    for value in ["e1, e2", "", "e1/../e2", "e 1", "../e2"] {
        table.expect(Who::Admin, Request::get("/v1/hosts").header("X-API-Project-Id", value), 400);
    }
    let twice = Request::get("/v1/hosts").header("X-API-Project-Id", "e1").header("x-api-project-id", "e1");
    table.expect(Who::Admin, twice, 400);
    // some upstreams read `_` as `-`: an alias beside the header would be a second one
    let alias = Request::get("/v1/hosts").header("X-API-Project-Id", "e1").header("X_API_Project_Id", "e2");
    let (answer, seen) = table.send(Who::KeyOfE1, alias);
    if let Some(seen) = seen {
        assert_eq!(seen.all("X_API_Project_Id").len(), 0, "{seen:?}");
    } else {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    // a route without selectors reads none, and nobody learns of them
    table.expect(Who::KeyOfE1, Request::get("/v2/projects/e1/hosts?projectId=e2"), 200);
}

#[test]
fn case_40_parameters_that_override_the_method_are_refused() {
    let table = table();
    for query in [
        "_method=DELETE",
        "a=b&_method=delete",
        "_method=",
        "_method=GET",
        "%5fmethod=DELETE",
        "_METHOD=DELETE",
    ] {
        for who in [Who::Admin, Who::Readonly, Who::KeyOfE1] {
            table.expect(who, Request::get(format!("/v1/projects/e1/hosts?{query}")), 400);
        }
    }
    table.expect(Who::Readonly, Request::get("/v1/projects/e1/hosts?method=DELETE"), 200);
    table.expect(Who::KeyOfE1, Request::get("/v2/projects/e1/hosts?_method=DELETE"), 200);
}

// --- upgrades ---

fn upgrade(path: &str) -> Request {
    Request::get(path)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[test]
fn a_tunnel_is_writing_unless_the_route_says_that_it_reads() {
    let table = table();
    for who in EVERYBODY {
        // the upstream answers with 200 instead of 101: the request passed
        table.expect(who, upgrade("/v1/projects/e1/exec"), expected(who, Class::Environment, false));
        table.expect(who, upgrade("/v1/projects/e1/logs"), expected(who, Class::Environment, true));
        table.expect(who, upgrade("/v1/schemas"), expected(who, Class::Shared, false));
        table.expect(who, upgrade("/v1/projects/e1"), expected(who, Class::OwnerOnly, false));
    }
}

// --- CORS ---

fn preflight(path: &str, origin: &str, method: &str) -> Request {
    Request::new("OPTIONS", path)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", method)
        .header("Access-Control-Request-Headers", "authorization")
}

#[test]
fn preflights_are_answered_by_the_gateway_alike_for_every_path() {
    let table = table();
    let mut answers = Vec::new();
    for path in ["/v1/projects/e1/hosts", "/v1/projects/e9/hosts", "/v1/nothing-here", "/v1/hosts"] {
        let (answer, seen) = table.send(Who::Nobody, preflight(path, "https://ui.test", "POST"));
        assert!(seen.is_none(), "{path}: a preflight was forwarded: {seen:?}");
        assert!(matches!(answer.status, 200 | 204), "{answer:?}");
        assert_eq!(
            answer.header("Access-Control-Allow-Origin").as_deref(),
            Some("https://ui.test"),
            "{answer:?}"
        );
        let methods = answer.header("Access-Control-Allow-Methods").expect("what is allowed");
        assert!(methods.contains("POST") && methods.contains("DELETE"), "{methods}");
        let headers = answer.header("Access-Control-Allow-Headers").expect("what is allowed").to_lowercase();
        assert!(headers.contains("authorization"), "{headers}");
        assert_eq!(answer.header("Access-Control-Max-Age").as_deref(), Some("600"));
        let own = |(name, value): &(String, Vec<u8>)| {
            let differs = name.eq_ignore_ascii_case("Date") || name.eq_ignore_ascii_case("X-Request-Id");
            (!differs).then(|| (name.clone(), value.clone()))
        };
        answers.push((answer.status, answer.headers.iter().filter_map(own).collect::<Vec<_>>(), answer.body));
    }
    assert!(
        answers.windows(2).all(|two| two[0] == two[1]),
        "a preflight tells which paths exist: {answers:?}"
    );
}

#[test]
fn other_origins_are_allowed_nothing() {
    let table = table();
    for origin in
        ["https://evil.test", "https://ui.test.evil.test", "http://ui.test", "null", "https://UI.test"]
    {
        let (answer, seen) = table.send(Who::Nobody, preflight("/v1/hosts", origin, "POST"));
        assert!(seen.is_none(), "{origin}: {seen:?}");
        assert_eq!(answer.all("Access-Control-Allow-Origin").len(), 0, "{origin}: {answer:?}");
    }
}

#[test]
fn the_upstream_cannot_let_other_origins_read() {
    let table = table();
    let path = "/v1/projects/e1/open";
    table.upstream.answer(
        path,
        Answer::with(
            "HTTP/1.1 200 OK
             Access-Control-Allow-Origin: https://evil.test
             Access-Control-Allow-Credentials: true",
            b"x",
        ),
    );
    let (answer, _) = table.send(Who::KeyOfE1, Request::get(path).header("Origin", "https://evil.test"));
    assert_eq!(answer.status, 200);
    for name in ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"] {
        assert_eq!(answer.all(name).len(), 0, "{answer:?}");
    }
}

#[test]
fn without_cors_a_preflight_is_a_request_without_a_key() {
    table().expect(Who::Nobody, preflight("/v2/projects/e1/hosts", "https://ui.test", "POST"), 401);
    // and with `cors:` what is no preflight stays one
    table().expect(
        Who::Nobody,
        Request::new("OPTIONS", "/v1/hosts").header("Origin", "https://ui.test"),
        401,
    );
    table().expect(
        Who::Nobody,
        Request::get("/v1/hosts")
            .header("Origin", "https://ui.test")
            .header("Access-Control-Request-Method", "GET"),
        401,
    );
}

// --- states ---

#[test]
fn an_inactive_environment_is_closed_to_everyone() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare();
    site.create_environment("e1");
    let own = site.create_environment_key("e1");
    let owner = site.create_account("owner", "user");
    site.add_member("e1", &owner, "owner");
    let owner = site.create_account_key(&owner);
    let gateway = site.start();
    let status = |key: &Key, path: &str| gateway.exchange(Request::get(path).key(key).end()).status;
    let path = "/v1/projects/e1/x";
    assert_eq!([&own, &owner, &gateway.admin].map(|key| status(key, path)), [200; 3]);
    gateway.succeed(&["environment", "deactivate", "e1"]);
    wait_for(PATIENCE, "the gateway closes the environment", || status(&gateway.admin, path) == 403);
    // while the change is applied, a key may be known as active a moment longer than its environment
    wait_for(PATIENCE, "its keys stop working", || status(&own, path) == 401);
    assert_eq!(status(&owner, path), 403);
    assert_eq!(status(&own, "/v1/schemas"), 401, "its keys do not work anywhere");
    assert_eq!(status(&owner, "/v1/schemas"), 200);
    let mark = marker();
    gateway.exchange(Request::get(path).key(&gateway.admin).mark(&mark).end()).assert_refused(403);
    upstream.assert_unseen(&mark, "an inactive environment");
    gateway.succeed(&["environment", "activate", "e1"]);
    wait_for(PATIENCE, "the gateway opens the environment", || status(&own, path) == 200);
    assert_eq!([&owner, &gateway.admin].map(|key| status(key, path)), [200; 2]);
}

#[test]
fn a_refusal_names_the_gateway_and_the_rule_but_not_which_environments_exist() {
    let told =
        |who, request| table().send(who, request).0.json()["detail"].as_str().unwrap_or_default().to_owned();
    let get = Request::get;
    for (who, request, rule) in [
        (Who::Readonly, Request::new("POST", "/v1/projects/e1/x"), "readonly members may not write"),
        (Who::Member, Request::new("DELETE", "/v1/projects/e1"), "only owners and admins may write here"),
        (Who::KeyOfE1, get("/v1/hosts"), "nothing outside its environment but shared paths"),
        (Who::Stranger, get("/v2/hosts"), "'account: deny'"),
        (Who::Admin, get("/elsewhere"), "no route for this path"),
        (Who::Nobody, get("/v1/projects/e1/x"), "needs a valid access key and its secret key"),
        (Who::Admin, get("/v1/../x"), "'.' or '..'"),
    ] {
        let (about, told) = (format!("{who:?} {request:?}"), told(who, request));
        assert!(told.starts_with("Portcullis ") && told.contains(rule), "{about}: {told}");
    }

    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare();
    for environment in ["e1", "e2", "closed"] {
        site.create_environment(environment);
    }
    let account = site.create_account("stranger", "user");
    let keys = [site.create_account_key(&account), site.create_environment_key("e1")];
    site.succeed(&["environment", "deactivate", "closed"]);
    let gateway = site.start();
    for key in &keys {
        for environment in ["e2", "closed", "unknown"] {
            let answer =
                gateway.exchange(Request::get(format!("/v1/projects/{environment}/x")).key(key).end());
            answer.assert_refused(403);
            let told = answer.json()["detail"].clone();
            assert_eq!(
                told, "Portcullis refuses this: the key does not reach this environment",
                "{environment}"
            );
        }
    }
}

// --- own environments outside ---

/// Rancher Compose with an environment's key and `http://gateway` as its address asks for stacks there.
#[test]
fn case_129_an_environment_key_has_its_environment_outside_where_the_route_says_so() {
    let own =
        TABLE_ROUTES.replacen("account: allow", "account: deny\n    environment_key: own_environment", 1);
    let third = "  - path: /v3\n    upstream: api\n    environment_key: own_environment\n";
    let stage = Stage::with(|plan| plan.routes(&format!("{}\n{third}", own.trim_end())));
    let told = |recorded: &Recorded| ["X-API-Project-Id", "X-API-Roles"].map(|name| recorded.header(name));
    for (key, id) in [(&stage.e1, "e1"), (&stage.e2, "e2")] {
        for (method, path) in [
            ("GET", "/v1/settings/rancher.compose.version"),
            ("GET", "/v1/stacks?name=web&removed_null=%3Cnil%3E"),
            ("POST", "/v1/stacks"),
            ("DELETE", "/v1/stacks/1st5"),
        ] {
            let seen = stage.passes(Request::new(method, path).key(key));
            assert_eq!(told(&seen), [Some(id.to_owned()), Some("project".to_owned())], "{method} {path}");
        }
    }
    // what a client says of it never passes: it chooses among environments where the route says so, and is removed elsewhere
    for name in ["X-API-Project-Id", "X_API_Project_Id", "X.Api.Project.Id", "x-api_project-id"] {
        stage.refuses(Request::new("POST", "/v1/stacks").key(&stage.e1).header(name, "e2"), &[403]);
        let request =
            Request::new("POST", "/v3/stacks").key(&stage.e1).header(name, "environment-of-another");
        let seen = stage.passes(request);
        assert_eq!(told(&seen)[0].as_deref(), Some("e1"), "{name}");
        assert!(!String::from_utf8_lossy(&seen.raw).contains("environment-of-another"), "{seen:?}");
    }
    for request in [
        Request::get("/v1/stacks?projectId=e2"),
        Request::get("/v1/projects/e2/stacks"),
        Request::new("POST", "/v1/schemas"),
        // by its other name outside, too, only owners write it
        Request::new("POST", "/v1/projectmembers"),
        Request::new("DELETE", "/v1/projectmembers/1pm1"),
        Request::new("DELETE", "/v1/projects/e1"),
        // a route that does not say so
        Request::get("/v2/stacks"),
    ] {
        stage.refuses(request.key(&stage.e1), &[403]);
    }
    stage.refuses(Request::new("DELETE", "/v1/ProjectMembers/1pm1").key(&stage.e1), &[400]);
    stage.passes(Request::get("/v1/projectmembers").key(&stage.e1));
    // it opens nothing to accounts, and nothing at all where it is not said
    stage.gateway.create_account("ada", "user");
    let ada = stage.gateway.create_account_key("ada");
    stage.refuses(Request::get("/v1/stacks").key(&ada), &[403]);
    table().send(Who::KeyOfE1, Request::get("/v1/stacks")).0.assert_refused(403);

    let rule = "counts what lies outside environments as an environment key's own environment";
    let explained = stage.gateway.succeed(&["explain", "--key", &stage.e1.access_key, "POST", "/v1/stacks"]);
    assert!(explained.stdout.contains(rule), "{explained:?}");
    let checked = stage.gateway.succeed(&["check"]);
    let warned = "environment_key: own_environment: keys of every environment read and write";
    let printed = format!("{}{}", checked.stdout, checked.stderr);
    assert!(printed.contains("and keys of every environment, to whom it is their own"), "{checked:?}");
    assert!(printed.contains(warned), "{checked:?}");

    // a key that is stopped has nothing there either
    stage.gateway.succeed(&["key", "deactivate", &stage.e1.id]);
    stage.refuses(Request::get("/v1/stacks").key(&stage.e1), &[401]);
}

// --- access control disabled ---

/// Two plain listeners: the first says nothing of access control, the second disables it for itself.
fn half_open(upstream: &Upstream) -> Plan {
    Plan::new(upstream)
        .listeners("  - address: 127.0.0.1:0\n  - address: 127.0.0.1:0\n    access_control: disabled\n")
        .routes(&ROUTES.replace("account: allow", "account: deny"))
}

#[test]
fn without_access_control_requests_without_credentials_pass_without_identity() {
    let upstream = Upstream::start();
    let site = half_open(&upstream).prepare();
    site.create_environment("e1");
    let key = site.create_environment_key("e1");
    let gateway = site.start();
    let [guarded, open] = gateway.http_all() else { panic!("two listeners: {:?}", gateway.http_all()) };
    let send = |address, request: Request| {
        let mark = marker();
        let mut client = Client::connect(address);
        client.send(request.mark(&mark).end());
        (client.read(), upstream.requests(&mark))
    };
    for path in ["/v1/projects/e1/x", "/v1/projects/e9/x", "/v1/hosts", "/v1/schemas"] {
        for method in ["GET", "POST"] {
            let forged =
                Request::new(method, path).header("X-API-Account-Id", "admin").header("X-API-Roles", "admin");
            let (answer, seen) = send(*open, forged);
            assert_eq!(answer.status, 200, "{answer:?}");
            let told = seen[0].headers.iter().filter(|(name, _)| name.to_lowercase().starts_with("x-api-"));
            assert_eq!(told.count(), 0, "{:?}", seen[0]);
            assert_eq!(send(*guarded, Request::new(method, path)).0.status, 401);
        }
    }
    // credentials that are given are judged as ever, and so is every path
    let wrong = Request::get("/v1/schemas").key(&key.with_wrong_secret());
    for (request, status) in [
        (Request::get("/v1/projects/e1/x").key(&key), 200),
        (Request::get("/v1/projects/e2/x").key(&key), 403),
        (Request::get("/v1/hosts").key(&key), 403),
        (wrong, 401),
        (Request::get("/v1/schemas").header("Authorization", "Bearer x"), 401),
        (Request::get("/v1/schemas").header("Authorization", basic("nobody", "nothing")), 401),
        (Request::get("/v1/projects/e1/../e2/x"), 400),
        (Request::get("/v1/projects/e1/..%2fe2/x"), 400),
        (Request::get("/nowhere"), 404),
    ] {
        let (answer, seen) = send(*open, request.clone());
        assert_eq!(answer.status, status, "{request:?}\n{answer:?}");
        assert_eq!(seen.len(), usize::from(status == 200), "{request:?}: {seen:?}");
    }
}

#[test]
fn without_access_control_management_still_needs_a_key() {
    let upstream = Upstream::start();
    let gateway = Plan::new(&upstream).top("access_control: disabled").start();
    assert_eq!(gateway.exchange(Request::get("/v1/hosts").end()).status, 200);
    for path in ["/v2-beta", "/v2-beta/apikeys", "/metrics"] {
        let mut client = Client::connect(gateway.management());
        client.send(support::api::request(&gateway, "GET", path).end());
        let answer = client.read();
        assert!(matches!(answer.status, 401 | 404), "{path}: {answer:?}");
        assert!(path != "/metrics" || answer.status == 401, "{answer:?}");
    }
}

#[test]
fn a_listener_beyond_loopback_must_say_itself_that_it_is_open() {
    let upstream = Upstream::start();
    let check = |listeners: &str| {
        let site = Plan::new(&upstream).top("access_control: disabled").prepare();
        let open = Plan::new(&upstream).top("access_control: disabled").listeners(listeners);
        std::fs::write(site.config(), open.yaml()).expect("the configuration can be written");
        site.run(&["check"])
    };
    let silent = check("  - address: 0.0.0.0:0\n");
    assert_eq!(silent.code, 1, "{silent:?}");
    assert!(silent.stderr.contains("access_control"), "{silent:?}");
    let explicit = check("  - address: 0.0.0.0:0\n    access_control: disabled\n");
    assert_eq!(explicit.code, 0, "{explicit:?}");
}

#[test]
fn answers_of_the_upstream_pass_whatever_their_status() {
    let table = table();
    for (status, reason) in
        [(201, "Created"), (301, "Moved"), (404, "Nope"), (418, "Teapot"), (500, "Broken")]
    {
        let path = format!("/v1/projects/e1/{}", marker());
        table
            .upstream
            .answer(&path, Answer::with(&format!("HTTP/1.1 {status} {reason}\nX-Theirs: 1"), b"theirs"));
        let (answer, _) = table.send(Who::KeyOfE1, Request::get(&path));
        assert_eq!((answer.status, answer.text().as_str()), (status, "theirs"));
        assert_eq!(answer.all("X-Theirs"), ["1"]);
    }
}
