//! Case 120: what a route's `cors:` tells browsers, on answers of the upstream and of the gateway.

mod support;

use std::sync::OnceLock;

use support::gateway::ROUTES;
use support::http1::{Request, Response};
use support::stage::Stage;
use support::upstream::Answer;
use support::{http2, marker};

/// The routes with this `cors:` under `/v1`.
fn with_cors(keys: &str) -> Stage {
    let cors = format!("    cors: {{ {keys} }}\n  - path: /healthz");
    Stage::with(|plan| plan.routes(&ROUTES.replacen("  - path: /healthz", &cors, 1)))
}

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        with_cors(
            "origins: [\"https://ui.test\", \"https://[::1]:8443\"], expose_headers: [ETag, X-Total-Count]",
        )
    })
}

const NONE: [String; 0] = [];

/// A path whose answer speaks to browsers itself.
fn outspoken_path(stage: &Stage) -> String {
    let path = format!("/v1/projects/e1/{}", marker());
    stage.upstream.answer(
        &path,
        Answer::with(
            "HTTP/1.1 200 OK\nETag: \"1\"\nX-Total-Count: 7\nAccess-Control-Allow-Origin: *\n\
             Access-Control-Expose-Headers: X-Theirs\nAccess-Control-Allow-Credentials: true",
            b"x",
        ),
    );
    path
}

#[track_caller]
fn assert_granted(answer: &Response, origin: &str, credentials: &[&str], exposed: &[&str]) {
    assert_eq!(answer.all("Access-Control-Allow-Origin"), [origin], "{answer:?}");
    assert_eq!(answer.all("Access-Control-Allow-Credentials"), credentials, "{answer:?}");
    assert_eq!(answer.all("Access-Control-Expose-Headers"), exposed, "{answer:?}");
}

#[test]
fn case_120_scripts_are_told_what_they_may_read() {
    let stage = stage();
    let path = outspoken_path(stage);
    for origin in ["https://ui.test", "https://[::1]:8443"] {
        let answer = stage.gateway.exchange(stage.request("GET", &path).header("Origin", origin).end());
        assert_eq!((answer.status, answer.all("ETag")), (200, vec!["\"1\"".to_owned()]));
        assert_granted(&answer, origin, &["true"], &["etag, x-total-count"]);
        assert_eq!(answer.all("Vary"), ["Origin"]);
    }
    // refusals too: a script learns why, and by which request id
    for (request, status) in [
        (Request::get(&path), 401),
        (stage.request("GET", "/v1/projects/e2/x"), 403),
        (stage.request("GET", "/v1/hosts"), 403),
    ] {
        let answer = stage.gateway.exchange(request.header("Origin", "https://ui.test").end());
        answer.assert_refused(status);
        assert_granted(&answer, "https://ui.test", &["true"], &["etag, x-total-count"]);
    }
    // nobody else is told anything, by the upstream either
    for request in
        [stage.request("GET", &path), stage.request("GET", &path).header("Origin", "https://evil.test")]
    {
        let answer = stage.gateway.exchange(request.end());
        assert_eq!(answer.status, 200);
        for name in ["Allow-Origin", "Allow-Credentials", "Expose-Headers"] {
            assert_eq!(answer.all(&format!("Access-Control-{name}")), NONE, "{answer:?}");
        }
        assert!(!format!("{answer:?}").contains("X-Theirs"), "{answer:?}");
    }
}

#[test]
fn case_120_over_http_2_too() {
    let stage = stage();
    let path = outspoken_path(stage);
    let request = http::Request::get(format!("https://gw.test{path}"))
        .header("authorization", stage.e1.authorization())
        .header("origin", "https://ui.test")
        .body(())
        .expect("a request");
    let answer = http2::exchange(stage.gateway.https(), request, b"").expect("an answer");
    let all = |name: &str| answer.headers.get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(all("access-control-expose-headers"), ["etag, x-total-count"]);
    assert_eq!(all("access-control-allow-origin"), ["https://ui.test"]);
    assert_eq!(all("access-control-allow-credentials"), ["true"]);
    assert!(!format!("{:?}", answer.headers).contains("X-Theirs"), "{answer:?}");
}

#[test]
fn case_120_credentials_are_allowed_or_not_as_the_route_says() {
    for (keys, origin, credentials) in [
        ("origins: [\"https://ui.test\"], allow_credentials: false", "https://ui.test", &[][..]),
        ("origins: [\"https://ui.test\"], allow_credentials: true", "https://ui.test", &["true"][..]),
        ("origins: [\"*\"]", "*", &[]),
        ("origins: [\"https://ui.test\", \"*\"], allow_credentials: false", "*", &[]),
    ] {
        let stage = with_cors(keys);
        let answer = stage
            .gateway
            .exchange(stage.request("GET", "/v1/projects/e1/x").header("Origin", "https://ui.test").end());
        assert_eq!(answer.status, 200, "{keys}");
        assert_granted(&answer, origin, credentials, &[]);
        let preflight = Request::new("OPTIONS", "/v1/projects/e1/x")
            .header("Origin", "https://ui.test")
            .header("Access-Control-Request-Method", "GET");
        let answer = stage.gateway.exchange(preflight.end());
        assert_eq!(answer.status, 204, "{keys}");
        assert_granted(&answer, origin, credentials, &[]);
    }
}
