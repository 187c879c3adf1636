//! Case 94: what a rule reads as a header is a header only.

use std::sync::OnceLock;

use crate::support::gateway::{Plan, ROUTES};
use crate::support::http1::{Request, Response};
use crate::support::http2::{RawHttp2, StreamOutcome};
use crate::support::http2_upstream::Http2Upstream;
use crate::support::marker;
use crate::support::stage::Stage;
use crate::support::upstream::{Answer, Upstream};

/// What rules of the stage read, in several spellings: as trailers none of it passes.
const READ_AS_HEADERS: [&str; 22] = [
    "X-Project",
    "x-project",
    "X_Project",
    "X.Project",
    "X-API-Project-Id",
    "X-Secret-Detail",
    "x_secret_detail",
    "X-API-No-Challenge",
    "X-HTTP-Method-Override",
    "Origin",
    "Access-Control-Request-Method",
    "Authorization",
    "Proxy-Authorization",
    "Host",
    "Content-Length",
    "Content-Type",
    "X-Request-Id",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "Expect",
    "Upgrade",
    "Sec-WebSocket-Key",
];

fn with_selectors(plan: Plan) -> Plan {
    let keys = "    selectors: { headers: [X-Project, X-API-Project-Id] }\n  - path: /healthz";
    plan.routes(&ROUTES.replacen("  - path: /healthz", keys, 1)).top("strip_headers: [X-Secret-Detail]")
}

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| Stage::with(with_selectors))
}

fn with_trailers(head: Request, trailers: &str) -> Vec<u8> {
    let head = head.header("Transfer-Encoding", "chunked").header("TE", "trailers");
    [head.end(), b"3\r\nabc\r\n0\r\n".to_vec(), trailers.into(), b"\r\n".to_vec()].concat()
}

fn answer_with_trailers(head: &str, trailers: &str) -> Answer {
    Answer::Bytes(
        format!("HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{trailers}\r\n")
            .into(),
    )
}

#[test]
fn case_94_a_selector_counts_as_a_header_and_never_passes_as_a_trailer() {
    let stage = stage();
    stage.refuses(
        stage.request("POST", "/v1/projects/e1/x").header("X-Project", "e2").header("Content-Length", "0"),
        &[403],
    );
    for name in READ_AS_HEADERS {
        let mark = marker();
        let request = with_trailers(
            stage.request("POST", "/v1/projects/e1/x").mark(&mark),
            &format!("X-Checksum: kept\r\n{name}: e2\r\n"),
        );
        assert_eq!(stage.gateway.exchange(request).status, 200, "{name}");
        let seen = stage.upstream.only(&mark);
        assert_eq!(seen.trailers, [("X-Checksum".to_owned(), b"kept".to_vec())], "{name}: {seen:?}");
    }
}

#[test]
fn case_94_nor_over_http_2_and_to_an_upstream_with_http_2() {
    let http2 = Http2Upstream::start(None);
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", http2.address());
    let other = Stage::with(|plan| with_selectors(plan).upstreams(&entry));
    for (stage, reads_http2) in [(stage(), false), (&other, true)] {
        let authorization = stage.e1.authorization();
        let mut client = RawHttp2::connect(stage.gateway.https());
        for (name, stream) in READ_AS_HEADERS.iter().zip((1..).step_by(2)) {
            let (mark, name) = (marker(), name.to_lowercase());
            let path = format!("/v1/projects/e1/{mark}");
            let head: [(&[u8], &[u8]); 5] = [
                (b":method", b"POST"),
                (b":scheme", b"https"),
                (b":authority", b"gw.test"),
                (b":path", path.as_bytes()),
                (b"authorization", authorization.as_bytes()),
            ];
            client.headers(stream, &head, false).expect("an open connection");
            client.data(stream, b"abc", false).expect("an open connection");
            client
                .headers(stream, &[(b"x-checksum", b"kept"), (name.as_bytes(), b"e2")], true)
                .expect("an open connection");
            let fate = client.outcome_of(stream);
            if matches!(fate, StreamOutcome::Reset(_)) && name == "upgrade" {
                // a field of the connection is malformed in HTTP/2 (RFC 9113 section 8.2.2)
                continue;
            }
            assert_eq!(fate, StreamOutcome::Status(200), "{name}");
            if reads_http2 {
                let seen = http2.only(&mark);
                let trailers = seen.trailers.expect("the harmless one");
                let names: Vec<&str> = trailers.keys().map(http::HeaderName::as_str).collect();
                assert_eq!(names, ["x-checksum"], "{name}");
            } else {
                let seen = stage.upstream.only(&mark);
                assert_eq!(seen.trailers, [("x-checksum".to_owned(), b"kept".to_vec())], "{name}: {seen:?}");
            }
        }
    }
}

#[test]
fn case_94_connection_takes_trailers_away_and_no_selector() {
    let stage = stage();
    // what is for one hop is so as a trailer too (RFC 9110 section 7.6.1)
    let mark = marker();
    let head = stage.request("POST", "/v1/projects/e1/x").mark(&mark).header("Connection", "X-Mine");
    let request = with_trailers(head, "X-Mine: 1\r\nX-Checksum: kept\r\n");
    assert_eq!(stage.gateway.exchange(request).status, 200);
    let seen = stage.upstream.only(&mark);
    assert_eq!(seen.trailers, [("X-Checksum".to_owned(), b"kept".to_vec())], "{seen:?}");
    // judged as a request of e1, the upstream would get one of no environment
    for (name, option) in
        [("X-Project", "X-Project"), ("x-project", "close, X-PROJECT"), ("X_Project", "x_project")]
    {
        let request = stage.request("GET", "/v1/hosts").header(name, "e1").header("Connection", option);
        stage.refuses(request, &[400]);
    }
    let seen = stage.passes(stage.request("GET", "/v1/hosts").header("X-Project", "e1"));
    assert_eq!(
        (seen.all("X-Project"), seen.all("X-API-Project-Id")),
        (vec!["e1".to_owned()], vec!["e1".to_owned()])
    );
}

#[test]
fn case_94_a_selector_that_never_reaches_the_upstream_is_an_error_of_the_configuration() {
    for (selector, top) in [
        ("X-Forwarded-Project", ""),
        ("Remote-User", ""),
        ("Script-Name", ""),
        ("X_API_Project_Id", ""),
        ("Authorization", ""),
        ("X-Project", "strip_headers: [x_project]"),
    ] {
        let keys = format!("    selectors: {{ headers: [{selector}] }}\n  - path: /healthz");
        let upstream = Upstream::start();
        let plan = Plan::new(&upstream).routes(&ROUTES.replacen("  - path: /healthz", &keys, 1)).top(top);
        let outcome = plan.prepare().run(&["check"]);
        assert_ne!(outcome.code, 0, "{selector}: {outcome:?}");
        assert!(outcome.stderr.contains("cannot select an environment"), "{selector}: {outcome:?}");
    }
}

#[test]
fn case_94_the_upstreams_trailers_say_nothing_that_is_the_gateways_to_say() {
    let stage = stage();
    let path = format!("/v1/projects/e1/{}", marker());
    let trailers = "X-Sum: kept\r\nX-Hop: 1\r\nAccess-Control-Allow-Origin: *\r\nWWW-Authenticate-: x\r\nX-Request-Id: theirs\r\n\
                    Content-Length: 7\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nX-API-Account-Id: 1\r\n";
    stage.upstream.answer(&path, answer_with_trailers("Connection: X-Hop\r\n", trailers));
    let answer: Response = stage.gateway.exchange(stage.request("GET", &path).header("TE", "trailers").end());
    assert_eq!(answer.status, 200);
    let names: Vec<&str> = answer.trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["X-Sum", "WWW-Authenticate-"], "{:?}", answer.trailers);
}
