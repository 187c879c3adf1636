//! Attacks on the environment boundary with paths, cases 21 to 43. Every refusal is checked on both sides: the
//! client's answer, and that the upstream saw no byte.

mod support;

use std::sync::OnceLock;

use support::http1::{Client, Request, Response};
use support::random::Random;
use support::stage::Stage;
use support::upstream::Answer;
use support::{http2, marker, show};

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::start)
}

/// A GET with the key of environment e1.
fn get_as_e1(target: impl AsRef<[u8]>) -> Request {
    Request::get(target).key(&stage().e1)
}

/// Targets that are 400 for every key: the path itself is refused, not who asks.
#[track_caller]
fn assert_ambiguous<T: AsRef<[u8]>>(targets: impl IntoIterator<Item = T>) {
    for target in targets {
        let target = target.as_ref();
        stage().refuses(get_as_e1(target), &[400]);
        stage().refuses(Request::get(target).key(&stage().gateway.admin), &[400]);
        stage().refuses(Request::get(target), &[400]);
    }
}

#[test]
fn case_21_environment_keys_stay_in_their_environment() {
    let seen = stage().passes(get_as_e1("/v1/projects/e1/x"));
    assert_eq!(seen.path(), "/v1/projects/e1/x");
    stage().refuses(get_as_e1("/v1/projects/e2/x"), &[403]);
    for path in ["/v1/projects/e1/x", "/v1/projects/e2/x"] {
        assert_eq!(stage().passes(Request::get(path).key(&stage().gateway.admin)).path(), path);
    }
}

#[test]
fn case_22_dot_dot_crosses_environment() {
    assert_ambiguous([
        "/v1/projects/e1/../e2/x",
        "/v1/projects/e1/..",
        "/v1/projects/e1/../",
        "/v1/projects/e1/./x",
        "/v1/projects/./e1/x",
        "/../v1/projects/e1/x",
        "/v1/projects/e1/x/../../e2/x",
    ]);
}

#[test]
fn case_23_escaped_dot_segments() {
    assert_ambiguous([
        "/v1/projects/e1/%2e%2e/e2/x",
        "/v1/projects/e1/%2E./e2/x",
        "/v1/projects/e1/.%2e/e2/x",
        "/v1/projects/e1/%2E%2e/e2/x",
        "/v1/projects/e1/%2e/x",
        "/v1/projects/e1/..%20/e2/x",
    ]);
}

#[test]
fn case_24_dot_dot_with_an_escaped_slash() {
    assert_ambiguous([
        "/v1/projects/e1/..%2fe2/x",
        "/v1/projects/e1/..%2Fe2/x",
        "/v1/projects/e1/..%2f..%2fe2",
    ]);
}

#[test]
fn case_25_backslashes() {
    assert_ambiguous([
        r"/v1/projects/e1/..%5ce2/x",
        r"/v1/projects/e1/..%5Ce2/x",
        r"/v1/projects/e1/..\e2/x",
        r"/v1/projects/e1\x",
        r"/v1/projects\e1/x",
        r"\v1/projects/e1/x",
        r"/\v1/projects/e2/x",
    ]);
}

#[test]
fn case_26_double_escapes() {
    assert_ambiguous([
        "/v1/projects/e1/%252e%252e/e2/x",
        "/v1/projects/e1/..%252fe2/x",
        "/v1/projects/e1/%25252e%25252e/e2/x",
        "/v1/projects/e1/%%32%65%%32%65/e2/x",
    ]);
}

#[test]
fn case_27_escaped_slashes_as_separators() {
    assert_ambiguous([
        "/v1/projects/e1%2fx",
        "/v1/projects%2fe2/x",
        "/v1%2fprojects/e2/x",
        "/%2fv1/projects/e2/x",
    ]);
}

#[test]
fn case_28_empty_segments() {
    assert_ambiguous([
        "//v1/projects/e2/x",
        "/v1//projects/e2/x",
        "/v1/projects//e2/x",
        "/v1/projects/e1//../e2/x",
        "/v1/projects/e1//x",
        "/v1/projects/e1/x//",
        "///e1",
        "//",
    ]);
    // one empty segment at the end is a plain path
    assert_eq!(stage().passes(get_as_e1("/v1/projects/e1/x/")).path(), "/v1/projects/e1/x/");
}

#[test]
fn case_29_matrix_parameters() {
    assert_ambiguous([
        "/v1/projects/e1;/../e2/x",
        "/v1/projects/e1;a=b/x",
        "/v1/projects/e2;e1/x",
        "/v1/projects/e1/..;/e2/x",
        "/v1/projects/e1/..;a=b/e2/x",
        "/v1/projects/e1/.;/x",
        "/v1;a/projects/e2/x",
        "/v1/projects;/e2/x",
    ]);
    // beyond the environment a segment may hold them, where its lax form changes nothing
    assert_eq!(stage().passes(get_as_e1("/v1/projects/e1/x;a=b/y")).path(), "/v1/projects/e1/x;a=b/y");
}

#[test]
fn case_30_environments_end_at_a_segment() {
    for path in ["/v1/projects/e10/x", "/v1/projects/e1-other/x", "/v1/projects/e", "/v1/projects/e1_/x"] {
        stage().refuses(get_as_e1(path), &[403]);
    }
    // a reading that drops trailing dots makes it e1: nobody's request with it may be forwarded
    stage().refuses(get_as_e1("/v1/projects/e1./x"), &[400, 403]);
    stage().refuses(Request::get("/v1/projects/e1./x").key(&stage().gateway.admin), &[400, 403]);
    stage().refuses(get_as_e1("/v10/projects/e1/x"), &[404]);
    stage().refuses(get_as_e1("/v1x"), &[404]);
}

#[test]
fn case_31_case_and_escaped_letters() {
    // another spelling of the environment is another, unknown environment
    for path in ["/v1/projects/E1/x", "/v1/projects/E2/x"] {
        stage().refuses(get_as_e1(path), &[403]);
    }
    // literals of the template and the environment are only taken byte for byte
    assert_ambiguous([
        "/V1/Projects/E1/x",
        "/V1/projects/e1/x",
        "/v1/Projects/e1/x",
        "/v1/projects/%65%31/x",
        "/v1/%70rojects/e1/x",
        "/v1/projects/e%31/x",
        "/%76%31/projects/e2/x",
    ]);
}

#[test]
fn case_32_the_query_decides_nothing_and_passes_untouched() {
    for query in
        ["../../e2", "%2e%2e", "/../", "a=%zz", "//x\\y", "/v1/projects/e2/", "?", "%00", "a=b;c=d&e=%25252e"]
    {
        let target = format!("/v1/projects/e1/x?{query}");
        assert_eq!(stage().passes(get_as_e1(&target)).path(), target);
    }
    // an empty query is not the same as none
    assert_eq!(stage().passes(get_as_e1("/v1/projects/e1/x?")).path(), "/v1/projects/e1/x?");
}

#[test]
fn case_33_a_path_in_the_query_opens_nothing() {
    stage().refuses(get_as_e1("/v1/projects/e2/x?/v1/projects/e1/"), &[403]);
    stage().refuses(get_as_e1("/v1/projects/e2/x%3f/v1/projects/e1/"), &[400, 403]);
    assert_ambiguous(["/v1/projects/e2%3f/v1/projects/e1/", "/v1/projects%3fx/e1/x"]);
}

#[test]
fn case_34_a_raw_fragment() {
    assert_ambiguous([
        "/v1/projects/e1/x#/../../e2",
        "/v1/projects/e1/x#",
        "/v1/projects/e1#/x",
        "/v1/projects/e1/x?a#b",
        "#",
    ]);
}

#[test]
fn case_35_nul_controls_and_line_ends() {
    assert_ambiguous([
        &b"/v1/projects/e1/%00../e2"[..],
        b"/v1/projects/e1/x%00",
        b"/v1/projects/e1/x%0d%0aHost:%20other",
        b"/v1/projects/e1/x%0a",
        b"/v1/projects/e1/x%7f",
        b"/v1/projects/e1/x%1b[31m",
        b"/v1/projects/e1/x%C2%85",
        b"/v1/projects/e1/\x00../e2",
        b"/v1/projects/e1/x\x7f",
        b"/v1/projects/e1/a b",
        b"/v1/projects/e1/a\tb",
        b"/v1/projects/e1/x ",
        b"/v1/projects/e1/a\rb",
        b"/v1/projects/e1/a\nb",
        b"/v1/projects/e1/x?a\x00b",
    ]);
    // a CR LF in the target ends the request line: what is left has no version
    stage().refuses(get_as_e1("/v1/projects/e1/x\r\nX-Injected: 1"), &[400]);
}

#[test]
fn case_36_overlong_full_width_and_invalid_utf_8() {
    assert_ambiguous([
        &b"/v1/projects/e1/%c0%ae%c0%ae/e2/x"[..],
        b"/v1/projects/e1/..%c0%afe2/x",
        b"/v1/projects/e1/..%e0%80%afe2/x",
        "/v1/projects/e1/．．／e2/x".as_bytes(),
        b"/v1/projects/e1/%ef%bc%8e%ef%bc%8e/e2/x",
        b"/v1/projects/e1/..%ef%bc%8fe2/x",
        b"/v1/projects/%ef%bd%85%ef%bc%91/x",
        b"/v1/%EF%BD%90rojects/e1/x",
        b"/v1/projects/e1/%ff",
        b"/v1/projects/e1/\xff",
        b"/v1/projects/e1/%ed%a0%80",
        b"/v1/projects/e1/%2",
        b"/v1/projects/e1/%",
        b"/v1/projects/e1/%zz",
        b"/v1/projects/e1/%u002e%u002e/e2",
    ]);
    // well-formed UTF-8 that stays what it is under every reading passes as it came
    for path in
        ["/v1/projects/e1/gr%C3%BC%C3%9Fe", "/v1/projects/e1/%E6%97%A5%E6%9C%AC", "/v1/projects/e1/a%20b"]
    {
        assert_eq!(stage().passes(get_as_e1(path)).path(), path);
    }
}

#[test]
fn case_37_absolute_form() {
    let absolute =
        |target: &str, host: &str| Request::without_host("GET", target).header("Host", host).key(&stage().e1);
    stage().refuses(absolute("http://gw/v1/projects/e1/x", "other"), &[400]);
    stage().refuses(absolute("http://gw/v1/projects/e2/x", "gw"), &[403]);
    let seen = stage().passes(absolute("http://gw/v1/projects/e1/x?q", "gw"));
    assert_eq!(seen.path(), "/v1/projects/e1/x?q", "the upstream gets the origin form that was decided on");
    assert_eq!(seen.header("Host").as_deref(), Some("gw"));
    // an empty path is `/`: no route leads there
    stage().refuses(absolute("http://gw?x", "gw"), &[404]);
    stage().refuses(absolute("http://gw", "gw"), &[404]);
    for target in [
        "http://gw@other/v1/projects/e1/x",
        "http:///v1/projects/e1/x",
        "http:/v1/projects/e1/x",
        "http:v1/projects/e1/x",
        "ftp://gw/v1/projects/e1/x",
        "v1/projects/e1/x",
        "http://gw/v1/projects/e1/../e2/x",
        "http://gw//v1/projects/e1/x",
        "http://gw\\v1/projects/e1/x",
        "http://gw#/v1/projects/e1/x",
    ] {
        stage().refuses(absolute(target, "gw"), &[400]);
    }
}

#[test]
fn case_38_targets_and_methods_that_are_no_resource() {
    stage().refuses(Request::new("OPTIONS", "*"), &[405]);
    stage().refuses(Request::get("*").key(&stage().gateway.admin), &[400]);
    stage().refuses(Request::get("/v1*").key(&stage().gateway.admin), &[404]);
    for target in ["host:443", "gw.test:443", "/v1/projects/e1/x"] {
        stage().refuses(Request::new("CONNECT", target).key(&stage().gateway.admin), &[405]);
    }
    // reflecting a request would show the identity headers
    stage().refuses(Request::new("TRACE", "/v1/projects/e1/x").key(&stage().e1), &[405]);
    stage().refuses(Request::new("TRACE", "/v1/projects/e1/x"), &[405]);
}

#[test]
fn case_39_headers_that_rewrite_the_path_have_no_influence() {
    let names = [
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Uri",
        "X-Forwarded-Prefix",
        "X-Forwarded-Path",
        "X-Original-URI",
    ];
    for name in names {
        let seen = stage().passes(get_as_e1("/v1/projects/e1/x").header(name, "/v1/projects/e2/x"));
        assert_eq!(seen.path(), "/v1/projects/e1/x");
        assert_eq!(seen.all(name), <[String; 0]>::default(), "{name} reached the upstream");
        stage().refuses(get_as_e1("/v1/projects/e2/x").header(name, "/v1/projects/e1/x"), &[403]);
    }
}

#[test]
fn case_40_headers_that_override_the_method_are_removed() {
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_METHOD_OVERRIDE"] {
        let seen = stage().passes(get_as_e1("/v1/projects/e1/x").header(name, "DELETE"));
        assert_eq!(seen.method, "GET");
        assert_eq!(seen.all(name), <[String; 0]>::default(), "{name} reached the upstream");
    }
}

#[test]
fn case_41_public_paths_are_exact() {
    for method in ["GET", "HEAD"] {
        let mark = marker();
        let answer = stage().gateway.exchange(Request::new(method, "/healthz").mark(&mark).end());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(stage().upstream.only(&mark).path(), "/healthz");
    }
    for target in [
        "/healthz/../v1/projects/e2/x",
        "/healthz%2f../v1/projects/e2/x",
        "/healthz;",
        "/%68ealthz",
        "/Healthz",
    ] {
        stage().refuses(Request::get(target), &[400]);
    }
    for target in ["/healthzx", "/healthz/x", "/healthz/", "/health"] {
        stage().refuses(Request::get(target), &[401, 404]);
    }
    for method in ["POST", "DELETE", "OPTIONS"] {
        stage().refuses(Request::new(method, "/healthz"), &[401, 404, 405]);
    }
    for agent in ["kube-probe/1.30", "ELB-HealthChecker/2.0", "GoogleHC/1.0"] {
        stage().refuses(Request::get("/v1/projects/e1/x").header("User-Agent", agent), &[401]);
    }
}

/// Pieces that readers of paths disagree about, and plain ones between them.
const PIECES: [&str; 40] = [
    "/",
    "/",
    "/",
    "..",
    ".",
    "e1",
    "e2",
    "v1",
    "projects",
    "x",
    "y",
    "a",
    ";",
    "%2e",
    "%2F",
    "%5c",
    "%00",
    "%20",
    "%25",
    "%3f",
    "%23",
    "%3b",
    "..;",
    ";a=b",
    "%252e",
    "\\",
    "//",
    "E1",
    "%65",
    "%ef%bc%8e",
    "%c0%ae",
    "~",
    ":",
    "@",
    ",",
    "=",
    "+",
    "%C3%A9",
    "...",
    "-",
];

fn random_path(random: &mut Random) -> String {
    let mut path = "/v1/projects/e1/".to_owned();
    if random.below(8) == 0 {
        path.truncate([1, 4, 13, 15][random.below(4)]);
    }
    for _ in 0..random.below(7) {
        path.push_str(PIECES[random.below(PIECES.len())]);
    }
    path
}

mod lax {
    //! The laxer readings (`docs/paths.md`), each as some server out there does it.

    use unicode_normalization::UnicodeNormalization as _;

    pub(super) type Reading = fn(&str) -> String;

    pub(super) const READINGS: [Reading; 9] = [
        |path| {
            String::from_utf8_lossy(&percent_encoding::percent_decode_str(path).collect::<Vec<_>>())
                .into_owned()
        },
        |path| path.replace('\\', "/"),
        merge_slashes,
        |path| by_segment(path, |segment| segment.split(';').next().unwrap_or_default().to_owned()),
        |path| {
            by_segment(path, |segment| segment.split(['\0', '?', '#']).next().unwrap_or_default().to_owned())
        },
        resolve_dots,
        |path| by_segment(path, |segment| segment.trim_end_matches(['.', ' ']).to_owned()),
        |path| path.nfkc().collect(),
        |path| path.to_lowercase(),
    ];

    fn by_segment(path: &str, change: impl Fn(&str) -> String) -> String {
        path.split('/')
            .map(|segment| if matches!(segment, "." | "..") { segment.to_owned() } else { change(segment) })
            .collect::<Vec<_>>()
            .join("/")
    }

    fn merge_slashes(path: &str) -> String {
        let mut merged = String::new();
        for c in path.chars() {
            if c != '/' || !merged.ends_with('/') {
                merged.push(c);
            }
        }
        merged
    }

    fn resolve_dots(path: &str) -> String {
        let mut kept: Vec<&str> = Vec::new();
        for segment in path.split('/').skip(1) {
            match segment {
                "." => {}
                ".." => drop(kept.pop()),
                other => kept.push(other),
            }
        }
        format!("/{}", kept.join("/"))
    }
}

fn is_in_e1(path: &str) -> bool {
    path == "/v1/projects/e1" || path.starts_with("/v1/projects/e1/")
}

/// The end-to-end half of case 42: what the policy's own property test proves of the decision is looked at on the
/// wire, on what the upstream got.
#[test]
fn case_42_no_laxer_reading_leaves_the_environment() {
    let seed = std::env::var("PORTCULLIS_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(0x5eed_0042_u64);
    let mut random = Random(seed);
    let (mut passed, mut refused) = (0, 0);
    let mut client: Option<Client> = None;
    for _ in 0..3_000 {
        let path = random_path(&mut random);
        let request = get_as_e1(&path).end();
        let wire = client.get_or_insert_with(|| stage().gateway.connect());
        wire.send(&request);
        let answer: Response = wire.read();
        if answer.all("Connection").iter().any(|value| value.eq_ignore_ascii_case("close")) {
            client = None;
        }
        if answer.status != 200 {
            assert!([400, 403, 404].contains(&answer.status), "seed {seed}: {path}: {answer:?}");
            refused += 1;
            continue;
        }
        passed += 1;
        let target = answer.body.split(|&b| b == b' ').nth(1).expect("an echoed request line");
        assert_eq!(show(target), show(path.as_bytes()), "seed {seed}: forwarded are the bytes decided on");
        let target = String::from_utf8(target.to_vec()).expect("it was text");
        for first in lax::READINGS {
            for second in lax::READINGS {
                for third in lax::READINGS {
                    let read = third(&second(&first(&target)));
                    let shared = target == "/v1" || target.starts_with("/v1/schemas");
                    assert!(
                        shared || is_in_e1(&read),
                        "seed {seed}: {target} passed, and can be read as {read}"
                    );
                }
            }
        }
    }
    assert!(
        passed > 100 && refused > 100,
        "seed {seed}: {passed} passed, {refused} were refused: too few to tell"
    );
}

#[test]
fn case_43_redirects_pass_and_are_not_followed() {
    let upstream = &stage().upstream;
    let there = format!("/v1/projects/e2/{}", marker());
    upstream.answer(
        "/v1/projects/e1/redirect",
        Answer::with(&format!("HTTP/1.1 302 Found\nLocation: {there}\nX-Accel-Redirect: {there}"), b""),
    );
    let answer = stage().gateway.exchange(get_as_e1("/v1/projects/e1/redirect").end());
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("Location").as_deref(), Some(there.as_str()));
    upstream.assert_unseen(&there, "the gateway followed a redirect");
}

/// Cases 21 to 36 once more, as an HTTP/2 client sends them.
#[test]
fn cases_21_to_36_hold_on_http_2() {
    let get = |path: &str| {
        let (mark, authorization) = (marker(), stage().e1.authorization());
        let fields: [(&[u8], &[u8]); 6] = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", path.as_bytes()),
            (b"authorization", authorization.as_bytes()),
            (b"x-marker", mark.as_bytes()),
        ];
        let mut client = http2::RawHttp2::connect(stage().gateway.https());
        client.headers(1, &fields, true).expect("an open connection");
        (client.outcome_of(1), mark)
    };
    let (fate, mark) = get("/v1/projects/e1/x");
    assert_eq!(fate, http2::StreamOutcome::Status(200));
    assert_eq!(stage().upstream.only(&mark).path(), "/v1/projects/e1/x");
    for (path, status) in [
        ("/v1/projects/e2/x", 403),
        ("/v1/projects/e1/../e2/x", 400),
        ("/v1/projects/e1/%2e%2e/e2/x", 400),
        ("/v1/projects/e1/..%2fe2/x", 400),
        ("/v1/projects/e1/..%5ce2/x", 400),
        ("/v1/projects/e1/%252e%252e/e2/x", 400),
        ("//v1/projects/e2/x", 400),
        ("/v1/projects/e1/..;/e2/x", 400),
        ("/v1/projects/e10/x", 403),
        ("/v1/projects/%65%31/x", 400),
        ("/v1/projects/e1/%00../e2", 400),
        ("/v1/projects/e1/%c0%ae%c0%ae/e2", 400),
        ("/v1/projects/e1/%ef%bc%8e%ef%bc%8e/e2/x", 400),
    ] {
        let (fate, mark) = get(path);
        assert_eq!(fate, http2::StreamOutcome::Status(status), "{path}");
        stage().upstream.assert_unseen(&mark, path);
    }
    // the HTTP/2 library cuts a fragment off before the gateway sees the path: then what is left is decided and sent
    let (fate, mark) = get("/v1/projects/e1/x#/../../e2");
    if fate == http2::StreamOutcome::Status(200) {
        assert_eq!(stage().upstream.only(&mark).path(), "/v1/projects/e1/x");
    }
    let (fate, mark) = get("/v1/projects/e2/x#/v1/projects/e1/");
    assert!(fate != http2::StreamOutcome::Status(200), "{fate:?}");
    stage().upstream.assert_unseen(&mark, "a fragment with the own environment in it");
    // what the library may refuse before we see it: a stream error is as good, forwarding is not
    for path in
        ["/v1/projects/e1/..\\e2/x", "/v1/projects/e1/．．/e2/x", "/v1/projects/e1/a b", "/v1/projects/e1/\0"]
    {
        let (fate, mark) = get(path);
        assert!(fate != http2::StreamOutcome::Status(200), "{path}: {fate:?}");
        stage().upstream.assert_unseen(&mark, path);
    }
}
