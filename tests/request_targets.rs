//! Request targets that are unusual but legal, or look so: cases 96, 97, 100, 101 and 121.

mod support;

use std::sync::OnceLock;

use support::http1::Request;
use support::stage::Stage;
use support::{PATIENCE, http2, marker};

/// Words before, in and behind environments that rules name.
const ROUTES: &str = r#"
  - path: /v1
    upstream: api
    environment: "/v1/projects/{environment}"
    account: allow
    shared: [/v1, /v1/schemas, /v1/schemas/**, /v1/docs/public]
    owner_only: ["/v1/projects/{environment}/members/**"]
    readonly_upgrades: ["/v1/projects/{environment}/logs/tail"]
    selectors: { query: [projectId] }
    method_override: { query: [_method] }
  - path: /v1/projects-of/all
    upstream: api
  - path: /healthz
    upstream: api
    access: public
"#;

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| Stage::with(|plan| plan.routes(ROUTES)))
}

fn get_as_e1(target: &str) -> Request {
    Request::get(target).key(&stage().e1)
}

#[test]
fn case_96_a_plain_dot_segment_passes_where_no_rule_is_matched() {
    for target in [
        // apt asks so for the files of a flat repository
        "/v1/projects/e1/deb/./Packages",
        "/v1/projects/e1/deb/././Release",
        "/v1/projects/e1/deb/.",
        "/v1/projects/e1/deb/./",
        "/v1/projects/e1/deb/./members/x",
        "/v1/projects/e1/deb/a%20b/./c;d/./x",
    ] {
        assert_eq!(stage().passes(get_as_e1(target)).path(), target);
        stage().refuses(Request::get(target).key(&stage().e2), &[403]);
        stage().refuses(Request::get(target), &[401]);
    }
    // outside environments too, and it stays what it is there
    let target = "/v1/schemas/x/./y";
    assert_eq!(stage().passes(get_as_e1(target)).path(), target);
    stage().refuses(get_as_e1("/v1/other/./x"), &[403]);
}

#[test]
fn case_96_a_dot_segment_hides_nothing_that_a_rule_names() {
    for target in [
        "/./v1/projects/e1/x",
        "/v1/./projects/e1/x",
        "/v1/projects/./e1/x",
        "/v1/projects/./e2/x",
        "/v1/projects/e1/.",
        "/v1/projects/e1/./",
        "/v1/projects/e1/./x",
        "/v1/projects/e1/./members",
        "/v1/projects/e1/members/.",
        "/v1/projects/e1/logs/./tail",
        "/v1/schemas/.",
        "/v1/docs/./public",
        "/v1/projects-of/./all",
        "/healthz/.",
        // no other spelling, and no other dot segment
        "/v1/projects/e1/deb/%2e/Packages",
        "/v1/projects/e1/deb/%2E/Packages",
        "/v1/projects/e1/deb/.;x/Packages",
        "/v1/projects/e1/deb/.%20/Packages",
        "/v1/projects/e1/deb/..",
        "/v1/projects/e1/deb/./../x",
        "/v1/projects/e1/deb/.../x",
        "/v1/projects/e1/deb/.//x",
        "/v1/projects/e1/deb/.%2Fx",
    ] {
        stage().refuses(get_as_e1(target), &[400]);
        stage().refuses(Request::get(target).key(&stage().gateway.admin), &[400]);
    }
}

#[test]
fn case_101_targets_that_normalization_would_blow_up_are_judged_as_they_are() {
    // bounded by `src/policy/work_counter`; here: they are legal, and pass as they came
    for piece in ["%EF%B7%BA", "%CC%81%CC%A3", "a%CD%85"] {
        let target = format!("/v1/projects/e1/{}", piece.repeat(7000 / piece.len()));
        assert_eq!(stage().passes(get_as_e1(&target)).path(), target);
        let target = format!("/v1/projects/e1/x?{}", format!("{piece}=1&").repeat(7000 / (piece.len() + 3)));
        assert_eq!(stage().passes(get_as_e1(&target)).path(), target);
    }
    for query in [
        "%EF%BD%90rojectId=e2",
        "projec%E1%B5%97Id=e2",
        "%EF%BC%BF%EF%BD%8Dethod=DELETE",
        "%25EF%25BC%25BFmethod=PUT",
    ] {
        stage().refuses(get_as_e1(&format!("/v1/projects/e1/x?{query}")), &[400]);
    }
}

#[test]
fn case_97_options_for_the_whole_server_has_one_answer() {
    let mark = marker();
    let answer = stage().gateway.exchange(Request::new("OPTIONS", "*").mark(&mark).end());
    answer.assert_refused(405);
    stage().refuses(Request::new("OPTIONS", "*").key(&stage().gateway.admin), &[405]);
    stage().refuses(Request::get("*"), &[400]);
    for (method, status) in [("OPTIONS", 405), ("GET", 400)] {
        assert_eq!(http2_status(method, "*").0, http2::StreamOutcome::Status(status), "{method}");
    }
    stage().upstream.assert_unseen(&mark, "OPTIONS *");
}

/// What an HTTP/2 client is answered, and the mark of its request.
fn http2_status(method: &str, path: &str) -> (http2::StreamOutcome, String) {
    let (mark, authorization) = (marker(), stage().e1.authorization());
    let fields: [(&[u8], &[u8]); 6] = [
        (b":method", method.as_bytes()),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
        (b"authorization", authorization.as_bytes()),
        (b"x-marker", mark.as_bytes()),
    ];
    let mut client = http2::RawHttp2::connect(stage().gateway.https());
    client.headers(1, &fields, true).expect("an open connection");
    (client.outcome_of(1), mark)
}

#[test]
fn case_97_the_authority_of_an_absolute_target_is_the_host() {
    let ask = |version: &str, target: &str, host: Option<&str>| {
        let mark = marker();
        let host = host.map(|host| format!("Host: {host}\r\n")).unwrap_or_default();
        let authorization = stage().e1.authorization();
        let request = format!(
            "GET {target} {version}\r\n{host}Authorization: {authorization}\r\nX-Marker: {mark}\r\nConnection: close\r\n\r\n"
        );
        (stage().gateway.exchange(request), mark)
    };
    let passes = |version: &str, target: &str, host: Option<&str>| {
        let (answer, mark) = ask(version, target, host);
        assert_eq!(answer.status, 200, "{version} {target} {host:?}: {answer:?}");
        stage().upstream.only(&mark)
    };
    let seen = passes("HTTP/1.0", "http://gw.test:81/v1/projects/e1/x", None);
    assert_eq!(
        (seen.path().as_str(), seen.header("Host").as_deref()),
        ("/v1/projects/e1/x", Some("gw.test:81"))
    );
    assert_eq!(seen.header("X-Forwarded-Host").as_deref(), Some("gw.test:81"));
    passes("HTTP/1.0", "http://gw.test/v1/projects/e1/x", Some("gw.test"));
    passes("HTTP/1.1", "http://gw.test/v1/projects/e1/x", Some("gw.test"));
    passes("HTTP/1.0", "/v1/projects/e1/x", None);
    for (version, target, host) in [
        ("HTTP/1.0", "http://gw.test/v1/projects/e1/x", Some("other")),
        ("HTTP/1.1", "http://gw.test/v1/projects/e1/x", None),
        ("HTTP/1.1", "http://gw.test/v1/projects/e1/x", Some("other")),
        ("HTTP/1.0", "http:///v1/projects/e1/x", None),
    ] {
        let (answer, mark) = ask(version, target, host);
        assert_eq!(answer.status, 400, "{version} {target} {host:?}");
        stage().upstream.assert_unseen(&mark, target);
    }
}

#[test]
fn case_97_higher_minor_versions_are_read_as_1_1_and_other_major_ones_are_505() {
    let ask = |version: &str| {
        let mark = marker();
        let request = Request::get("/v1/projects/e1/x").key(&stage().e1).mark(&mark).end();
        let request = String::from_utf8(request).expect("text").replacen("HTTP/1.1", version, 1);
        let mut client = stage().gateway.connect();
        client.send(&request);
        let answer = client.read_answer_to(request.as_bytes());
        (answer, client, mark)
    };
    for version in ["HTTP/1.2", "HTTP/1.9"] {
        let (answer, mut client, mark) = ask(version);
        assert_eq!(answer.status, 200, "{version}: {answer:?}");
        assert!(stage().upstream.saw(&mark));
        assert!(!client.ends_within(std::time::Duration::from_millis(200)), "kept, as 1.1 is");
    }
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/9.1"] {
        let (answer, mut client, mark) = ask(version);
        assert_eq!(answer.status, 505, "{version}: {answer:?}");
        assert!(client.ends_within(PATIENCE), "the connection stays open");
        stage().upstream.assert_unseen(&mark, version);
    }
    for version in
        ["HTTP/1", "HTTP/1.", "HTTP/1.10", "HTTP/11.1", "http/1.1", "HTTP/1.x", "HTTP/ 1.1", "HTTPS/1.1"]
    {
        let (answer, _, mark) = ask(version);
        assert_eq!(answer.status, 400, "{version}: {answer:?}");
        stage().upstream.assert_unseen(&mark, version);
    }
}

#[test]
fn case_100_a_public_path_may_end_in_a_slash() {
    let stage = Stage::with(|plan| {
        plan.routes(
            r#"
  - path: /v1
    upstream: api
    environment: "/v1/projects/{environment}"
  - path: /v1/exec/
    upstream: api
    access: public
  - path: /v1/logs
    upstream: api
    access: public
  - path: /v1/both
    upstream: api
    access: public
  - path: /v1/both/
    upstream: api
    access: public
"#,
        )
    });
    for target in ["/v1/exec/", "/v1/exec/?token=abc", "/v1/logs?token=abc", "/v1/both", "/v1/both/"] {
        assert_eq!(stage.passes(Request::get(target)).path(), target);
    }
    for target in ["/v1/exec", "/v1/exec?token=abc", "/v1/exec/x", "/v1/logs/", "/v1/logs/?token=abc"] {
        stage.refuses(Request::get(target), &[401]);
    }
    for target in
        ["/v1/exec/;x", "/v1/exec/.", "/v1/exec//", "/v1/exec;x/", "/v1/EXEC/", "/v1/exec/%20", "/v1/exec%2F"]
    {
        stage.refuses(Request::get(target), &[400]);
    }
    stage.refuses(Request::new("POST", "/v1/exec/"), &[401]);

    // a route with keys has all beneath it: a slash would mean nothing
    let upstream = support::upstream::Upstream::start();
    let plan = support::gateway::Plan::new(&upstream).routes("  - path: /v1/\n    upstream: api\n");
    let site = plan.write_alone();
    let outcome = site.run(&["check"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("only a public path may end with '/'"), "{outcome:?}");
}

#[test]
fn case_121_raw_bytes_that_urls_do_not_hold_have_one_rule_for_both_versions_of_upstreams() {
    let over_http2 = support::http2_upstream::Http2Upstream::start(None);
    let entry = format!("  new: {{ endpoints: [\"http://{}\"], protocol: http2 }}", over_http2.address());
    let routes =
        ROUTES.to_owned() + "  - path: /new\n    upstream: new\n    environment: \"/new/{environment}\"\n";
    let stage = Stage::with(|plan| plan.routes(&routes).upstream(&entry));
    let exchange = |by_http2: bool, target: &str| -> u16 {
        let authorization = stage.e1.authorization();
        if !by_http2 {
            return stage.gateway.exchange(Request::get(target).key(&stage.e1).end()).status;
        }
        let fields: [(&[u8], &[u8]); 5] = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", target.as_bytes()),
            (b"authorization", authorization.as_bytes()),
        ];
        let mut client = http2::RawHttp2::connect(stage.gateway.https());
        client.headers(1, &fields, true).expect("an open connection");
        match client.outcome_of(1) {
            http2::StreamOutcome::Status(status) => status,
            fate => panic!("{target}: {fate:?}"),
        }
    };
    for by_http2 in [false, true] {
        for byte in "!$&'()*+,-.:;=@[]^_{|}~\"<>`\\é".chars() {
            let in_path = format!("x{byte}y");
            let in_query = format!("x?q={byte}y");
            let path_passes = !"<>`\\é".contains(byte);
            let query_passes = !"\"<>".contains(byte);
            for (rest, passes) in [(in_path, path_passes), (in_query, query_passes)] {
                for prefix in ["/v1/projects/e1/", "/new/e1/"] {
                    let (mark, expected) = (marker(), if passes { 200 } else { 400 });
                    let target = format!("{prefix}{mark}/{rest}");
                    assert_eq!(exchange(by_http2, &target), expected, "{target}, HTTP/2: {by_http2}");
                    let seen = over_http2.requests(&mark);
                    let came =
                        seen.first().map(|seen| seen.head.uri.path_and_query().expect("a path").to_string());
                    let expected = (passes && prefix.starts_with("/new")).then_some(target);
                    assert_eq!(came, expected, "what was judged is what is forwarded");
                }
            }
        }
    }
}
