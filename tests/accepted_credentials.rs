//! `authentication.accept`: the places where a credential may stand, one a request, and none that reaches the upstream.

mod support;

use std::sync::OnceLock;

use support::cli::{Cli, Key, basic};
use support::gateway::ROUTES;
use support::http1::{CHALLENGE, Request, Response};
use support::stage::Stage;
use support::upstream::Recorded;
use support::{PATIENCE, find, http2, marker, wait_for};

const BEARER_CHALLENGE: &str = r#"Bearer realm="Enter API access key and secret key, joined by a colon""#;
const NONE: [String; 0] = [];

fn start(accept: &str) -> Stage {
    Stage::with(|plan| {
        let cors = "    cors: { origins: [\"https://ui.test\"] }\n  - path: /healthz";
        plan.routes(&ROUTES.replacen("  - path: /healthz", cors, 1))
            .top(&format!("authentication: {{ accept: {accept} }}"))
            .top("log: { access: { file: access.log } }")
    })
}

/// A gateway that accepts a key in four places.
fn everywhere() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| start("[basic, bearer, { header: X-API-Key }, { header: Api-Token }]"))
}

fn pair(key: &Key) -> String {
    format!("{}:{}", key.access_key, key.secret)
}

fn bearer(key: &Key) -> String {
    format!("Bearer {}", pair(key))
}

fn get() -> Request {
    Request::get("/v1/projects/e1/x")
}

/// The upstream saw nothing of the secret, in whatever field.
#[track_caller]
fn assert_no_secret(seen: &Recorded, key: &Key) {
    for (name, value) in seen.headers.iter().chain(&seen.trailers) {
        assert!(find(value, key.secret.as_bytes()).is_none(), "{name} came through: {seen:?}");
        assert!(!name.to_ascii_lowercase().replace(['_', '.'], "-").ends_with("api-key"), "{seen:?}");
    }
    assert_eq!(seen.all("X-API-Key-Id"), [key.access_key.as_str()], "{seen:?}");
}

/// Sends a request that must be refused, and of which the upstream sees nothing.
#[track_caller]
fn refused(stage: &Stage, request: Request, status: u16) -> Response {
    let mark = marker();
    let bytes = request.mark(&mark).end();
    let answer = stage.gateway.exchange(&bytes);
    assert_eq!(answer.status, status, "{}\n{answer:?}", String::from_utf8_lossy(&bytes));
    stage.upstream.assert_unseen(&mark, &String::from_utf8_lossy(&bytes));
    answer
}

/// Each place with a credential in it.
fn places(key: &Key) -> [(&'static str, String); 4] {
    [
        ("Authorization", key.authorization()),
        ("Authorization", bearer(key)),
        ("X-API-Key", pair(key)),
        ("Api-Token", pair(key)),
    ]
}

#[test]
fn a_key_works_in_every_accepted_place_and_never_reaches_the_upstream() {
    let stage = everywhere();
    for (name, value) in places(&stage.e1) {
        assert_no_secret(&stage.passes(get().header(name, &value)), &stage.e1);
        assert_no_secret(&stage.passes(get().header(name.to_lowercase(), &value)), &stage.e1);
        // Connection names what is for this connection only, and saves nothing
        assert_no_secret(&stage.passes(get().header(name, &value).header("Connection", name)), &stage.e1);
    }
    for scheme in ["bearer", "BEARER", "Bearer  "] {
        let value = format!("{scheme} {}", pair(&stage.e1));
        assert_no_secret(&stage.passes(get().header("Authorization", value)), &stage.e1);
    }
    let path = stage.gateway.site.directory().join("access.log");
    let log = || std::fs::read_to_string(&path).unwrap_or_default();
    wait_for(PATIENCE, "the access log", || log().contains(&stage.e1.access_key));
    for text in [log(), stage.gateway.log()] {
        assert!(!text.contains(&stage.e1.secret), "{text}");
    }
}

#[test]
fn case_2_two_credentials_are_refused_wherever_they_stand() {
    let stage = everywhere();
    for (first, value) in places(&stage.e1) {
        for (second, other) in places(&stage.e1).into_iter().chain(places(&stage.e2)) {
            let request = get().header(first, &value).header(second, other);
            refused(stage, request, 400);
        }
        refused(stage, Request::get("/healthz").header(first, &value).header(first, &value), 400);
        if first != "Authorization" {
            // a scheme that is not accepted is one all the same
            refused(stage, get().header(first, &value).header("Authorization", "Digest x"), 400);
        }
    }
    for joined in [
        format!("{}, {}", bearer(&stage.e1), bearer(&stage.e2)),
        format!("{}, {}", stage.e1.authorization(), bearer(&stage.e2)),
        format!("{},{}", bearer(&stage.e1), stage.e2.authorization()),
    ] {
        refused(stage, get().header("Authorization", joined), 400);
    }
    refused(stage, get().header("X-API-Key", format!("{}, {}", pair(&stage.e1), pair(&stage.e1))), 401);
}

#[test]
fn what_is_no_credential_gets_the_challenges_of_the_accepted_schemes() {
    let stage = everywhere();
    let wrong = stage.e1.with_wrong_secret();
    let encoded = basic(&stage.e1.access_key, &stage.e1.secret).replacen("Basic ", "", 1);
    for request in [
        get(),
        get().header("X-API-Key", ""),
        get().header("X-API-Key", &stage.e1.access_key),
        get().header("X-API-Key", &stage.e1.secret),
        get().header("X-API-Key", format!(":{}", stage.e1.secret)),
        get().header("X-API-Key", stage.e1.authorization()),
        get().header("X-API-Key", bearer(&stage.e1)),
        get().header("X-API-Key", &encoded),
        get().header("X-API-Key", pair(&wrong)),
        get().header("Authorization", "Bearer"),
        get().header("Authorization", format!("Bearer {encoded}")),
        get().header("Authorization", format!("Basic {}", pair(&stage.e1))),
        get().header("Authorization", bearer(&wrong)),
        get().header("Authorization", format!("Digest {}", pair(&stage.e1))),
        get().header("Authorization", pair(&stage.e1)),
        // only the spelling of the configuration is one
        get().header("X_API_Key", pair(&stage.e1)),
        get().header("Api.Token", pair(&stage.e1)),
    ] {
        let answer = refused(stage, request, 401);
        assert_eq!(answer.all("WWW-Authenticate"), [CHALLENGE, BEARER_CHALLENGE], "{answer:?}");
        let told = answer.json()["detail"].to_string();
        assert!(
            told.contains("HTTP Basic") && told.contains("Bearer") && told.contains("X-API-Key"),
            "{told}"
        );
        assert!(!format!("{answer:?}").contains(&stage.e1.secret), "{answer:?}");
    }
    let quiet = refused(stage, get().header("X-API-No-Challenge", "true"), 401);
    assert_eq!(quiet.all("WWW-Authenticate"), NONE, "{quiet:?}");
}

#[test]
fn other_spellings_and_trailers_never_reach_the_upstream() {
    let stage = everywhere();
    let secret = pair(&stage.e1);
    let mut request = get().key(&stage.e1);
    for name in ["X_API_Key", "x.api.key", "X_api-Key", "Api_Token", "api.token", "API~Token"] {
        request = request.header(name, &secret);
    }
    assert_no_secret(&stage.passes(request), &stage.e1);
    // a public path needs no key, and gets none
    let seen =
        stage.passes(Request::get("/healthz").header("Api-Token", &secret).header("Api_Token", &secret));
    assert!(!format!("{seen:?}").contains(&stage.e1.secret), "{seen:?}");

    let mark = marker();
    let head = Request::new("POST", "/v1/projects/e1/x")
        .header("X-API-Key", &secret)
        .mark(&mark)
        .header("TE", "trailers")
        .header("Transfer-Encoding", "chunked");
    let trailers =
        format!("X-Sum: 1\r\nApi-Token: {secret}\r\nApi_Token: {secret}\r\nX-API-Key: {secret}\r\n");
    let answer = stage.gateway.exchange(head.raw(format!("\r\n1\r\nx\r\n0\r\n{trailers}")).end());
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = stage.upstream.only(&mark);
    assert_eq!(seen.all_trailers("X-Sum"), ["1"], "{seen:?}");
    assert_no_secret(&seen, &stage.e1);
}

#[test]
fn http_2_is_read_alike() {
    let stage = everywhere();
    let request = |fields: &[(&str, &str)]| {
        let mark = marker();
        let mut request =
            http::Request::get("https://gw.test/v1/projects/e1/x").header("X-Marker", mark.as_str());
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = http2::exchange(stage.gateway.https(), request.body(()).unwrap(), b"").unwrap();
        (answer, mark)
    };
    let (e1, e2) = (places(&stage.e1), places(&stage.e2));
    for (name, value) in &e1 {
        let (answer, mark) = request(&[(name, value), ("api_token", value)]);
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_no_secret(&stage.upstream.only(&mark), &stage.e1);
        for (second, other) in &e2 {
            let (answer, mark) = request(&[(name, value), (second, other)]);
            assert_eq!(answer.status, 400, "{name} and {second}: {answer:?}");
            stage.upstream.assert_unseen(&mark, name);
        }
    }
    let (answer, _) = request(&[("api_token", &e1[3].1)]);
    assert_eq!(answer.status, 401);
    let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, [CHALLENGE, BEARER_CHALLENGE]);
}

#[test]
fn a_websocket_and_a_preflight_take_the_accepted_headers() {
    let stage = everywhere();
    let upgrade = get()
        .header("X-API-Key", pair(&stage.e1))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket");
    // the upstream answers 200: what counts is who it was told is calling
    assert_no_secret(&stage.passes(upgrade), &stage.e1);
    let preflight = Request::new("OPTIONS", "/v1/projects/e1/x")
        .header("Origin", "https://ui.test")
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "x-api-key");
    let answer = stage.gateway.exchange(preflight.end());
    assert_eq!(answer.status, 204, "{answer:?}");
    let allowed = answer.header("Access-Control-Allow-Headers").unwrap_or_default();
    assert_eq!(allowed, "authorization, x-api-key, api-token, content-type");
}

/// Changes `authentication.accept` of a running gateway.
#[track_caller]
fn reload(stage: &Stage, from: &str, to: &str) {
    let path = stage.gateway.site.config();
    let text = std::fs::read_to_string(path).expect("the configuration");
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).expect("it can be written");
    let count = || stage.gateway.log().matches("is reloaded").count();
    let before = count();
    stage.gateway.signal("HUP");
    wait_for(PATIENCE, "the reload", || count() > before);
}

#[test]
fn only_what_is_accepted_works_and_a_reload_changes_it_on_open_connections() {
    let stage = start("[{ header: Api-Token }]");
    let mut kept = stage.gateway.connect();
    let mut ask = |name: &str, value: &str| {
        let mark = marker();
        kept.send(get().header(name, value).mark(&mark).end());
        let answer = kept.read();
        (answer, stage.upstream.requests(&mark))
    };
    let key = pair(&stage.e1);
    let (answer, seen) = ask("Api-Token", &key);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_no_secret(&seen[0], &stage.e1);
    for (name, value) in places(&stage.e1).into_iter().take(3).chain([("Api_Token", key.clone())]) {
        let (answer, seen) = ask(name, &value);
        assert_eq!((answer.status, seen.len()), (401, 0), "{name}: {answer:?}");
        assert_eq!(answer.all("WWW-Authenticate"), NONE, "no challenge that no client could meet");
        let told = answer.json()["detail"].to_string();
        assert!(told.contains("Api-Token: ") && !told.contains("Basic"), "{told}");
    }

    reload(&stage, "[{ header: Api-Token }]", "[bearer]");
    let (answer, seen) = ask("Authorization", &bearer(&stage.e1));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_no_secret(&seen[0], &stage.e1);
    for (name, value) in [("Api-Token", key.clone()), ("Authorization", stage.e1.authorization())] {
        let (answer, _) = ask(name, &value);
        assert_eq!(answer.all("WWW-Authenticate"), [BEARER_CHALLENGE], "{answer:?}");
    }

    reload(&stage, "[bearer]", "[basic, { header: Other-Token }]");
    let (answer, seen) = ask("Other-Token", &key);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_no_secret(&seen[0], &stage.e1);
    let (answer, _) = ask("Authorization", &stage.e1.authorization());
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn an_upstreams_own_credential_takes_the_place_of_the_clients() {
    let stage = Stage::with(|plan| {
        let yaml = plan.yaml();
        let endpoint = yaml.split('"').find(|text| text.starts_with("http://")).expect("an endpoint");
        plan.clone()
            .upstreams(&format!(
                "  api: {{ endpoints: [\"{endpoint}\"], credential: {{ username: gw, password_file: portcullis.pepper }} }}\n"
            ))
            .top("authentication: { accept: [bearer, { header: X-Token }] }")
    });
    for (name, value) in [("Authorization", bearer(&stage.e1)), ("X-Token", pair(&stage.e1))] {
        let seen = stage.passes(get().header(name, value));
        assert_no_secret(&seen, &stage.e1);
        let own = seen.header("Authorization").expect("the gateway's own");
        assert!(own.starts_with("Basic Z3c6"), "{own}");
        assert_eq!(seen.all("X-Token"), NONE);
    }
}

#[test]
fn the_configuration_refuses_headers_with_a_meaning_of_their_own() {
    let stage = everywhere();
    let config = stage.gateway.site.directory().join("other.yaml");
    let text = std::fs::read_to_string(stage.gateway.site.config()).expect("the configuration");
    let check = |accept: &str| {
        let accepted = "[basic, bearer, { header: X-API-Key }, { header: Api-Token }]";
        std::fs::write(&config, text.replace(accepted, accept)).expect("it can be written");
        Cli::new(&config).run(&["check"])
    };
    for name in [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Authorization",
        "Via",
        "Origin",
        "Proxy-Authorization",
        "X-Request-Id",
        "X-Forwarded-For",
        "X-API-Key-Id",
        "X-API-Account-Id",
        "X-API-Roles",
        "X-API-Project-Id",
        "X-API-Key-Expires",
        "X-API-No-Challenge",
        "Cookie",
        "Content-Type",
        "Access-Control-Request-Headers",
        "Sec-WebSocket-Protocol",
    ] {
        let outcome = check(&format!("[{{ header: {name} }}]"));
        assert_ne!(outcome.code, 0, "{name}: {outcome:?}");
        assert!(outcome.stderr.contains("cannot hold a credential"), "{name}: {outcome:?}");
        assert!(outcome.stderr.contains("other.yaml:"), "with the position: {outcome:?}");
    }
    for (accept, why) in [
        ("[]", "a list of basic, bearer"),
        ("basic", "a list of basic, bearer"),
        ("[cookie]", "expected"),
        ("[basic, basic]", "given twice"),
        ("[{ header: X-Key }, { header: x-key }]", "given twice"),
        ("[{ header: X_Key }]", "letters, digits and hyphens"),
        ("[{ header: 'a b' }]", "the name of a header"),
        ("[{ name: X-Key }]", "unknown setting"),
    ] {
        let outcome = check(accept);
        assert_ne!(outcome.code, 0, "{accept}: {outcome:?}");
        assert!(outcome.stderr.contains(why), "{accept}: {outcome:?}");
    }
    let outcome = check("[basic, { header: X-Token }]");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.contains("HTTP Basic, X-Token"), "{outcome:?}");

    let explained = stage.gateway.site.run(&["explain", "-H", "Api-Token: a:b", "GET", "/v1"]);
    assert_ne!(explained.code, 0);
    assert!(explained.stderr.contains("--key"), "{explained:?}");
}
