//! Attacks with headers, cases 44 to 53, 55 and 118: only the gateway says who is calling, and headers of one
//! connection stay on it.

mod support;

use std::sync::OnceLock;
use std::time::Duration;

use support::cli::{Key, basic};
use support::http1::{Client, Request, fresh_source};
use support::http2::{self, RawHttp2, StreamOutcome};
use support::stage::Stage;
use support::upstream::{Answer, Recorded};
use support::{PATIENCE, find, marker};

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::start)
}

/// A path of the test's own inside environment e1, so that its script disturbs no other test.
fn own_path() -> String {
    format!("/v1/projects/e1/{}", marker())
}

fn get_as_e1() -> Request {
    Request::get("/v1/projects/e1/x").key(&stage().e1)
}

const NONE: [String; 0] = [];

/// The headers by which an upstream may be told who is calling, as clients forge them.
const FORGED: [&str; 22] = [
    "X-API-Account-Id",
    "X-API-Account-Kind",
    "X-API-Account-Name",
    "X-API-Roles",
    "X-API-Key-Id",
    "X-API-Request-Url",
    "X-API-Client-Ip",
    "X-API-Anything-Else",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Client-Cert",
    "X-Real-IP",
    "X-Remote-User",
    "X-Remote-Group",
    "Remote-User",
    "Remote-Groups",
    "Impersonate-User",
    "Impersonate-Group",
    "Impersonate-Uid",
    "Impersonate-Extra-Scopes",
    "Forwarded",
];

/// What the gateway itself tells of a request that environment e1's key sent to a path of e1.
#[track_caller]
fn assert_identity_of_e1(seen: &Recorded) {
    let key = &stage().e1;
    for (name, value) in [
        ("X-API-Account-Id", "e1"),
        ("X-API-Account-Kind", "project"),
        ("X-API-Project-Id", "e1"),
        ("X-API-Roles", "project"),
        ("X-API-Key-Id", &key.access_key),
    ] {
        assert_eq!(seen.all(name), [value], "{name} in {seen:?}");
    }
    assert_eq!(seen.all("Authorization"), NONE, "{seen:?}");
    for name in [
        "X-Request-Id",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "Via",
    ] {
        assert_eq!(seen.all(name).len(), 1, "{name} in {seen:?}");
    }
}

/// Whether any header's name is one of the forged ones, as an upstream that folds `_` and `.` to `-` reads it.
#[track_caller]
fn assert_no_forgery(seen: &Recorded) {
    for (name, value) in &seen.headers {
        assert!(find(value, b"forged").is_none(), "{name} came through: {seen:?}");
    }
}

#[test]
fn case_44_forged_identity_is_replaced() {
    let mut request = get_as_e1();
    for name in FORGED {
        request = request.header(name, "forged").header(name.to_lowercase(), "forged");
    }
    let seen = stage().passes(request);
    assert_no_forgery(&seen);
    assert_identity_of_e1(&seen);
}

#[test]
fn case_44_forged_identity_is_removed_where_there_is_none_of_ours() {
    // a public path has no caller
    let mut request = Request::get("/healthz");
    for name in FORGED.into_iter().chain(["X-API-Project-Id"]) {
        request = request.header(name, "forged");
    }
    let seen = stage().passes(request);
    assert_no_forgery(&seen);
    for name in ["X-API-Account-Id", "X-API-Project-Id", "X-API-Roles", "X-API-Key-Id", "X-API-Account-Kind"]
    {
        assert_eq!(seen.all(name), NONE, "{seen:?}");
    }
    // an account's request outside environments is in no project
    let seen = stage()
        .passes(Request::get("/v1/hosts").key(&stage().gateway.admin).header("X-API-Project-Id", "forged"));
    assert_no_forgery(&seen);
    assert_eq!(seen.all("X-API-Project-Id"), NONE, "{seen:?}");
    assert_eq!(seen.all("X-API-Account-Kind"), ["admin"]);
    assert_eq!(seen.all("X-API-Roles"), ["admin"]);
    assert_eq!(seen.all("X-API-Key-Id"), [stage().gateway.admin.access_key.as_str()]);
    // an admin inside an environment has an owner's role there
    let seen = stage().passes(Request::get("/v1/projects/e2/x").key(&stage().gateway.admin));
    assert_eq!(seen.all("X-API-Project-Id"), ["e2"]);
    assert_eq!(seen.all("X-API-Roles"), ["owner"]);
}

#[test]
fn case_44_x_api_headers_that_clients_may_send_pass() {
    let seen =
        stage().passes(get_as_e1().header("X-API-No-Challenge", "true").header("X-API-Action-Links", "a"));
    assert_eq!(seen.all("X-API-No-Challenge"), ["true"]);
    assert_eq!(seen.all("X-API-Action-Links"), ["a"]);
}

#[test]
fn case_45_other_spellings_of_identity_headers() {
    let mut request = get_as_e1();
    for name in [
        "X_API_Account_Id",
        "X.API.Account.Id",
        "x-api-account_id",
        "X-API-ACCOUNT-ID",
        "x!api!account!id",
        "X_Forwarded_User",
        "X_Forwarded_For",
        "Remote.User",
        "REMOTE_USER",
        "Impersonate_User",
        "X~Real~IP",
    ] {
        request = request.header(name, "forged");
    }
    let seen = stage().passes(request);
    assert_no_forgery(&seen);
    assert_identity_of_e1(&seen);
    for name in [
        "X-API-Account-Id ",
        "X-API-Account-Id\t",
        " X-API-Account-Id",
        "X API Account Id",
        "X-API-Account-Id\0",
    ] {
        stage().refuses(get_as_e1().header(name, "forged"), &[400]);
    }
    // an alias of a credential is none
    stage().refuses(
        Request::get("/v1/projects/e1/x").header("Authorization_", stage().e1.authorization()),
        &[401],
    );
    let seen = stage()
        .passes(get_as_e1().header("Proxy_Authorization", "forged").header("authorization.", "forged"));
    assert_eq!(seen.all("Proxy_Authorization"), NONE, "{seen:?}");
}

#[test]
fn case_46_connection_cannot_remove_headers_that_the_gateway_adds() {
    let nominated = "close, X-API-Account-Id, X-API-Key-Id, X-API-Project-Id, X-API-Roles, X-API-Account-Kind, \
                     X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-Id, Via, Authorization, Host, \
                     X-Mine";
    let seen = stage()
        .passes(get_as_e1().header("Connection", nominated).header("X-Mine", "1").header("X-Yours", "2"));
    assert_identity_of_e1(&seen);
    assert_eq!(seen.all("Host"), ["gw.test"]);
    assert_eq!(seen.all("X-Mine"), NONE, "nominated by Connection: {seen:?}");
    assert_eq!(seen.all("X-Yours"), ["2"]);
    // nor can it be said in several lines
    let seen = stage().passes(
        get_as_e1()
            .header("Connection", "x-mine")
            .header("connection", "X-Yours")
            .header("X-Mine", "1")
            .header("X-Yours", "2"),
    );
    assert_eq!((seen.all("X-Mine"), seen.all("X-Yours")), (NONE.to_vec(), NONE.to_vec()), "{seen:?}");
}

#[test]
fn case_47_a_connection_header_full_of_nonsense() {
    let many = "a,".repeat(10_000);
    for value in [&b"\xff\xfe"[..], b"close, \xc3\x28", many.as_bytes(), b",,,", b"\"close\"", b"x y"] {
        let mark = marker();
        let answer = stage().gateway.exchange(get_as_e1().header("Connection", value).mark(&mark).end());
        assert!([200, 400, 431].contains(&answer.status), "{answer:?}");
        if answer.status != 200 {
            stage().upstream.assert_unseen(&mark, "a refused Connection header");
        }
        stage().passes(get_as_e1());
    }
}

#[test]
fn case_48_hop_by_hop_headers_stay_on_their_hop() {
    let request = get_as_e1()
        .header("Keep-Alive", "timeout=5")
        .header("TE", "gzip, trailers;q=0.5")
        .header("Proxy-Connection", "keep-alive")
        .header("Upgrade", "websocket")
        .header("Proxy-Authorization", "Basic Zm9yZ2VkOmZvcmdlZA==")
        .header("Proxy-Authenticate", "Basic")
        .header("HTTP2-Settings", "AAMAAABkAAQAAP__");
    let seen = stage().passes(request);
    for name in [
        "Keep-Alive",
        "Proxy-Connection",
        "Upgrade",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "HTTP2-Settings",
    ] {
        assert_eq!(seen.all(name), NONE, "{name} in {seen:?}");
    }
    for value in seen.all("TE") {
        assert_eq!(value, "trailers", "{seen:?}");
    }
}

/// A request on an HTTP/2 connection of its own, with e1's key and these fields besides.
fn http2_outcome(pseudo: &[(&str, &str)], fields: &[(&str, &str)], mark: &str) -> StreamOutcome {
    let authorization = stage().e1.authorization();
    let mut all: Vec<(&[u8], &[u8])> = pseudo.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    all.extend([(&b"authorization"[..], authorization.as_bytes()), (b"x-marker", mark.as_bytes())]);
    all.extend(fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
    let mut client = RawHttp2::connect(stage().gateway.https());
    client.headers(1, &all, true).expect("an open connection");
    client.outcome_of(1)
}

const PSEUDO: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "gw.test"), (":path", "/v1/projects/e1/x")];

#[test]
fn case_48_connection_headers_in_http_2() {
    let mark = marker();
    assert_eq!(http2_outcome(&PSEUDO, &[("te", "trailers")], &mark), StreamOutcome::Status(200));
    assert_identity_of_e1(&stage().upstream.only(&mark));
    for field in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        let mark = marker();
        let outcome = http2_outcome(&PSEUDO, &[field], &mark);
        assert!(
            matches!(
                outcome,
                StreamOutcome::Status(400) | StreamOutcome::Reset(_) | StreamOutcome::Gone(Some(_))
            ),
            "{field:?}: {outcome:?}"
        );
        stage().upstream.assert_unseen(&mark, field.0);
    }
}

#[test]
fn case_49_forwarded_addresses_of_strangers_are_not_believed() {
    let mut client = stage().gateway.connect();
    let peer = client.local_address().ip().to_string();
    let mark = marker();
    let request = get_as_e1()
        .mark(&mark)
        .header("X-Forwarded-For", "10.0.0.1")
        .header("x-forwarded-for", "10.0.0.2")
        .header("X-Forwarded-Host", "evil.test")
        .header("X-Forwarded-Proto", "gopher")
        .header("X-Forwarded-Port", "1")
        .header("Forwarded", "for=10.0.0.1")
        .header("X-Real-IP", "10.0.0.1")
        .header("X-Request-Id", "forged-by-the-client");
    client.send(request.end());
    let answer = client.read();
    assert_eq!(answer.status, 200);
    let seen = stage().upstream.only(&mark);
    assert_eq!(seen.all("X-Forwarded-For"), [peer]);
    assert_eq!(seen.all("X-Forwarded-Host"), ["gw.test"]);
    assert_eq!(seen.all("X-Forwarded-Proto"), ["http"]);
    assert_eq!(seen.all("X-Forwarded-Port"), ["80"]);
    assert_eq!((seen.all("Forwarded"), seen.all("X-Real-IP")), (NONE.to_vec(), NONE.to_vec()));
    let id = seen.header("X-Request-Id").expect("ours");
    assert_ne!(id, "forged-by-the-client");
}

#[test]
fn case_49_a_stranger_cannot_choose_which_source_is_throttled() {
    let source = fresh_source();
    let wrong = stage().e1.with_wrong_secret();
    let attempt = |claimed: &str| {
        let mut client = Client::connect_from(source, stage().gateway.http());
        client.send(Request::get("/v1/projects/e1/x").key(&wrong).header("X-Forwarded-For", claimed).end());
        client.read().status
    };
    let throttled = (0..200).any(|number| attempt(&format!("10.0.0.{number}")) == 429);
    assert!(
        throttled,
        "200 wrong secrets from one peer, each with another X-Forwarded-For, were never throttled"
    );
}

#[test]
fn case_49_trusted_proxies_are_believed_up_to_the_first_stranger() {
    let stage = Stage::with(|plan| plan.top("trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]"));
    let forwarded = "203.0.113.66, 198.51.100.7, 10.0.0.9";
    let seen = stage.passes(
        Request::get("/v1/projects/e1/x")
            .key(&stage.e1)
            .header("X-Forwarded-For", forwarded)
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "api.test")
            .header("X-Request-Id", "from-the-proxy-1"),
    );
    let told = seen.header("X-Forwarded-For").expect("ours");
    assert!(told.contains("198.51.100.7"), "{told}");
    assert_eq!(seen.all("X-Forwarded-Proto"), ["https"]);
    assert_eq!(seen.all("X-Forwarded-Host"), ["api.test"]);
    assert_eq!(seen.all("X-Request-Id"), ["from-the-proxy-1"]);
    // the throttle counts the right-most stranger, whoever stands left of it
    let wrong = stage.e1.with_wrong_secret();
    let attempt = |forwarded: &str, key: &Key| {
        let request = Request::get("/v1/projects/e1/x").key(key).header("X-Forwarded-For", forwarded).end();
        stage.gateway.exchange(request).status
    };
    let throttled =
        (0..200).any(|number| attempt(&format!("203.0.113.{number}, 198.51.100.8, 10.0.0.9"), &wrong) == 429);
    assert!(throttled, "198.51.100.8 was never throttled");
    assert_eq!(attempt("198.51.100.9, 10.0.0.9", &wrong), 401, "another source is another count");
}

#[test]
fn case_49_a_proxy_protocol_header_is_no_request() {
    for head in ["PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"] {
        let mark = marker();
        let mut client = stage().gateway.connect();
        client.send([head.as_bytes(), &get_as_e1().mark(&mark).end()].concat());
        if let Ok(answer) = client.try_read(false, PATIENCE) {
            assert_eq!(answer.status, 400, "{answer:?}");
        }
        assert!(client.ends_within(PATIENCE), "the connection goes on after {head:?}");
        stage().upstream.assert_unseen(&mark, head);
    }
}

#[test]
fn case_50_trailers_cannot_carry_what_headers_may_not() {
    let mark = marker();
    let path = own_path();
    let head = Request::new("POST", &path)
        .key(&stage().e1)
        .mark(&mark)
        .header("Transfer-Encoding", "chunked")
        .header("TE", "trailers")
        .header("Trailer", "X-Checksum, Authorization, X-API-Account-Id");
    let trailers = "X-Checksum: abc\r\nAuthorization: forged\r\nX-API-Account-Id: forged\r\nX_API_Account_Id: forged\r\n\
                    Content-Length: 7\r\nHost: forged\r\nTransfer-Encoding: chunked\r\nX-Forwarded-For: forged\r\n\
                    Remote-User: forged\r\nConnection: close\r\nCookie: forged\r\nX-API-Project-Id: e2\r\n";
    let request = [head.end(), b"3\r\nabc\r\n0\r\n".to_vec(), trailers.into(), b"\r\n".to_vec()].concat();
    let answer = stage().gateway.exchange(request);
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = stage().upstream.only(&mark);
    assert_eq!(seen.body, b"abc");
    assert_eq!(seen.all_trailers("X-Checksum"), ["abc"], "harmless trailers pass: {seen:?}");
    for name in [
        "Authorization",
        "X-API-Account-Id",
        "X_API_Account_Id",
        "X-API-Project-Id",
        "Content-Length",
        "Host",
        "Transfer-Encoding",
        "X-Forwarded-For",
        "Remote-User",
        "Connection",
    ] {
        assert_eq!(seen.all_trailers(name), NONE, "{name} in {seen:?}");
    }
    assert_identity_of_e1(&seen);
}

#[test]
fn case_51_malformed_header_lines() {
    let line = |line: &str| get_as_e1().raw(line).raw("\r\n");
    for bad in [
        ": empty-name",
        "no colon",
        "X Y: z",
        "X-A : z",
        "X\u{e9}: z",
        "X-(A): z",
        "X-A: b\r\n folded",
        "X-A: b\r\n\tfolded",
        " X-A: starts-with-a-space",
        "X-A: nul\0",
        "X-A: bell\x07",
        "X-A: escape\x1b[31m",
        "X-A: cr\rX-B: c",
        "X-A: bare-lf\nX-B: c",
    ] {
        stage().refuses(line(bad), &[400]);
    }
    // what RFC 9110 allows in values passes: tabs, quotes, bytes beyond ASCII
    let seen = stage().passes(line("X-A:b\t\"c\"").raw("X-B: \u{e9}\r\n").raw("X-Empty:\r\n"));
    assert_eq!(seen.all("X-A"), ["b\t\"c\""]);
    assert_eq!(seen.all("X-Empty"), [""]);
}

#[test]
fn case_52_a_bad_key_is_refused_before_the_body() {
    let mark = marker();
    let mut client = stage().gateway.connect();
    let head = Request::new("POST", "/v1/projects/e1/x").key(&stage().e1.with_wrong_secret()).mark(&mark);
    client.send(head.header("Expect", "100-continue").header("Content-Length", "1000000").end());
    let answer = client.try_read(false, PATIENCE).expect("an answer without the body");
    assert_eq!(answer.status, 401, "no 100 comes first");
    answer.assert_refused(401);
    // the body that was never asked for is not taken for a request: closed, or drained
    client.send(get_as_e1().mark(&mark).end());
    assert!(client.ends_within(PATIENCE), "the connection waits for a body that nobody asked for");
    assert!(client.unread().is_empty(), "{client:?}");
    stage().upstream.assert_unseen(&mark, "a body after a refusal");
}

#[test]
fn case_52_a_good_key_is_told_to_continue() {
    let mark = marker();
    let mut client = stage().gateway.connect();
    let head = Request::new("POST", own_path()).key(&stage().e1).mark(&mark);
    client.send(head.header("Expect", "100-Continue").header("Content-Length", "3").end());
    let first = client.try_read(false, PATIENCE).expect("100 Continue");
    assert_eq!(first.status, 100, "{first:?}");
    client.send("abc");
    assert_eq!(client.read().status, 200);
    assert_eq!(stage().upstream.only(&mark).body, b"abc");
}

#[test]
fn case_52_other_expectations_fail() {
    for expectation in ["nonsense", "100-continue, nonsense", ""] {
        let answer = stage().refuses(get_as_e1().header("Expect", expectation), &[400, 417]);
        assert!(answer.status == 417 || expectation.is_empty(), "{expectation:?}: {answer:?}");
    }
}

#[test]
fn case_53_host() {
    let get = || Request::without_host("GET", "/v1/projects/e1/x").key(&stage().e1);
    stage().refuses(get(), &[400]);
    stage().refuses(get().header("Host", "gw.test").header("Host", "gw.test"), &[400]);
    stage().refuses(get().header("Host", "gw.test").header("host", "other"), &[400]);
    for host in [
        "gw.test, other",
        "gw.test,other",
        "user@gw.test",
        "gw.test/v1",
        "gw.test?x",
        "gw.test#x",
        "gw.test\\x",
        "gw test",
        "gw.test:port",
        "gw.test:80:80",
        "",
        "[::1",
        "gw%2etest",
        "http://gw.test",
    ] {
        stage().refuses(get().header("Host", host), &[400]);
    }
    for host in ["gw.test:8080", "127.0.0.1", "[::1]:80", "GW.test", "gw-1.test"] {
        assert_eq!(stage().passes(get().header("Host", host)).all("Host"), [host]);
    }
    // an alias is not the Host, and does not reach the upstream
    stage().refuses(get().header("Host_", "gw.test"), &[400]);
}

#[test]
fn case_53_authority_and_host_in_http_2() {
    let mark = marker();
    assert_eq!(http2_outcome(&PSEUDO, &[("host", "gw.test")], &mark), StreamOutcome::Status(200));
    assert_eq!(stage().upstream.only(&mark).all("Host"), ["gw.test"]);
    for host in ["other", "gw.test, other", ""] {
        let mark = marker();
        let outcome = http2_outcome(&PSEUDO, &[("host", host)], &mark);
        assert!(
            matches!(outcome, StreamOutcome::Status(400) | StreamOutcome::Reset(_)),
            "{host:?}: {outcome:?}"
        );
        stage().upstream.assert_unseen(&mark, host);
    }
    let mark = marker();
    let outcome = http2_outcome(&PSEUDO, &[("host", "gw.test"), ("host", "gw.test")], &mark);
    assert!(
        matches!(outcome, StreamOutcome::Status(400) | StreamOutcome::Reset(_)),
        "two Host fields: {outcome:?}"
    );
    stage().upstream.assert_unseen(&mark, "two Host fields");
    for authority in ["user@gw.test", "gw.test/x", "gw test", ""] {
        let mark = marker();
        let pseudo = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", authority),
            (":path", "/v1/projects/e1/x"),
        ];
        let outcome = http2_outcome(&pseudo, &[], &mark);
        assert!(!matches!(outcome, StreamOutcome::Status(200)), "{authority:?}: {outcome:?}");
        stage().upstream.assert_unseen(&mark, authority);
    }
}

#[test]
fn case_55_answers_lose_what_is_for_one_hop() {
    let path = own_path();
    stage().upstream.answer(
        &path,
        Answer::with(
            "HTTP/1.1 200 OK\nConnection: X-Hop, keep-alive\nX-Hop: 1\nKeep-Alive: timeout=5\nProxy-Authenticate: \
             Basic realm=x\nProxy-Connection: close\nX-API-Schemas: http://gw.test/v1/schemas\nX-Request-Id: \
             theirs\nSet-Cookie: a=b\nSet-Cookie: c=d\nX-Stays: 1",
            b"body",
        ),
    );
    let answer = stage().gateway.exchange(Request::get(&path).key(&stage().e1).end());
    assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
    for name in ["X-Hop", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection"] {
        assert_eq!(answer.all(name), NONE, "{name} in {answer:?}");
    }
    // the rest is the upstream's word
    assert_eq!(answer.all("X-API-Schemas"), ["http://gw.test/v1/schemas"]);
    assert_eq!(answer.all("Set-Cookie"), ["a=b", "c=d"]);
    assert_eq!(answer.all("X-Stays"), ["1"]);
}

#[test]
fn case_55_an_upgrade_that_nobody_asked_for_is_a_broken_upstream() {
    let path = own_path();
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nraw bytes";
    stage().upstream.answer(&path, Answer::Bytes(switch.into()));
    let mut client = stage().gateway.connect();
    client.send(Request::get(&path).key(&stage().e1).end());
    let answer = client.read();
    answer.assert_refused(502);
    client.send(get_as_e1().end());
    // the next request is answered by us or the connection is closed; those bytes are nobody's answer
    if let Ok(next) = client.try_read(false, Duration::from_secs(5)) {
        assert_eq!(next.status, 200, "{next:?}");
    }
    assert!(find(client.unread(), b"raw bytes").is_none(), "{client:?}");
}

#[test]
fn case_55_broken_answers_are_502() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: b\0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "hello\r\n\r\n",
        "",
    ] {
        let path = own_path();
        stage().upstream.answer(&path, Answer::BytesThenClose(bytes.into()));
        let answer = stage().gateway.exchange(Request::get(&path).key(&stage().e1).end());
        assert_eq!(answer.status, 502, "{bytes:?} became {answer:?}");
        answer.assert_refused(502);
    }
}

#[test]
fn the_challenge_is_left_out_where_the_client_asks() {
    for request in [
        Request::get("/v1/projects/e1/x").header("X-API-No-Challenge", "true"),
        Request::get("/v1/projects/e1/x")
            .header("X-API-No-Challenge", "true")
            .header("Authorization", basic("nobody", "nothing")),
        Request::get("/v1/projects/e1/x").header("Connection", "Upgrade").header("Upgrade", "websocket"),
    ] {
        let answer = stage().gateway.exchange(request.end());
        assert_eq!(answer.status, 401);
        assert_eq!(answer.all("WWW-Authenticate"), NONE, "{answer:?}");
        assert_eq!(answer.json()["code"], "Unauthorized");
    }
    let answer = stage()
        .gateway
        .exchange(Request::get("/v1/projects/e1/x").header("X-API-No-Challenge", "false").end());
    answer.assert_refused(401);
}

#[test]
fn case_118_only_a_websocket_handshake_goes_without_the_challenge() {
    let get = || Request::get("/v1/projects/e1/x");
    for request in [
        // as Java's HttpClient sends it
        get().raw(
            "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\
             Upgrade: h2c\r\nUser-Agent: Java-http-client/17.0.15\r\n",
        ),
        // as `curl --http2` sends it
        get().raw(
            "User-Agent: curl/7.88.1\r\nAccept: */*\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        ),
        get().header("Connection", "Upgrade"),
        get().header("Connection", "Upgrade").header("Upgrade", ""),
        get().header("Connection", "keep-alive, upgrade").header("Upgrade", "spdy/3.1"),
        get().header("Connection", "Upgrade").header("Upgrade", "TLS/1.0"),
        get().header("Connection", "Upgrade").header("Upgrade", "websocket, h2c"),
        get().header("Connection", "Upgrade").header("Upgrade", "websocket").header("Upgrade", "h2c"),
        get().header("Connection", "Upgrade").header("Upgrade", "websockets"),
        // without `Connection: Upgrade` it is no handshake
        get().header("Upgrade", "websocket"),
    ] {
        stage().refuses(request, &[401]);
    }
    for (connection, protocol) in
        [("Upgrade", "websocket"), ("keep-alive, Upgrade", "WebSocket"), ("upgrade", "WEBSOCKET")]
    {
        let request = get().header("Connection", connection).header("Upgrade", protocol);
        let mark = marker();
        let answer = stage().gateway.exchange(request.mark(&mark).end());
        assert_eq!((answer.status, answer.all("WWW-Authenticate")), (401, NONE.to_vec()), "{answer:?}");
        stage().upstream.assert_unseen(&mark, protocol);
    }
}

#[test]
fn case_118_an_extended_connect_goes_without_the_challenge_and_a_get_over_http_2_with_it() {
    let connect: [(&[u8], &[u8]); 5] = [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", b"/v1/projects/e1/x"),
    ];
    let get: Vec<(&[u8], &[u8])> = PSEUDO.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    for (head, end, is_challenged) in [(&connect[..], false, false), (&get, true, true)] {
        let mut client = RawHttp2::connect(stage().gateway.https());
        client.headers(1, head, end).expect("an open connection");
        let answer = loop {
            let frame = client.read(PATIENCE).expect("an answer");
            if (frame.kind, frame.stream) == (http2::HEADERS, 1) {
                break frame.payload;
            }
        };
        assert_eq!(http2::status(&answer), 401);
        // the static table has this name as its entry 61: with incremental indexing, without it, never
        let has_challenge =
            [&b"\x7d"[..], b"\x0f\x2e", b"\x1f\x2e"].iter().any(|name| find(&answer, name).is_some());
        assert_eq!(has_challenge, is_challenged, "{}", support::show(&answer));
    }
}
