//! What messages look like on both sides, apart from their framing: cases 108, 115 and 119.

mod support;

use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use support::http1::{NoAnswer, Request, Response};
use support::http2::{self, DATA, END_HEADERS, END_STREAM, HEADERS, RawHttp2, StreamOutcome};
use support::http2_upstream::Http2Upstream;
use support::stage::Stage;
use support::upstream::Answer;
use support::{PATIENCE, contains, marker, show, wait_for};

const ECHO: &str = "/v1/projects/e1/x";

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        Stage::with(|plan| {
            plan.routes(
                "  - { path: /v1, upstream: api, environment: \"/v1/projects/{environment}\" }\n  \
                 - { path: /cors, upstream: api, account: allow, cors: { origins: [\"https://a.example\"] } }\n",
            )
        })
    })
}

/// A path of the test's own inside environment e1, answered with these bytes, as they are.
fn answered_with(bytes: impl AsRef<[u8]>) -> String {
    let path = format!("/v1/projects/e1/{}", marker());
    stage().upstream.answer(&path, Answer::Bytes(bytes.as_ref().to_vec()));
    path
}

fn get(path: &str) -> Vec<u8> {
    stage().request("GET", path).end()
}

/// Sends one request by a correct HTTP/2 client.
#[track_caller]
fn over_http2(stage: &Stage, method: &str, path: &str, body: &[u8]) -> http2::Answer {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("https://gw.test{path}"))
        .header("authorization", stage.e1.authorization())
        .body(())
        .expect("a request");
    http2::exchange(stage.gateway.https(), request, body).expect("an answer")
}

// --- 108

/// Sends a request, and another behind it; the first must be answered with this status.
#[track_caller]
fn with_another_behind(first: &[u8], status: u16) -> (Response, Result<Response, NoAnswer>) {
    let (mark, about) = (marker(), show(first));
    let behind = stage().request("GET", ECHO).mark(&mark).end();
    let mut client = stage().gateway.connect();
    client.send([first, &behind].concat());
    let answer = client.read();
    assert_eq!(answer.status, status, "{about}\n{answer:?}");
    let next = client.try_read(false, PATIENCE);
    assert_eq!(stage().upstream.saw(&mark), next.is_ok(), "{about}: the request behind");
    (answer, next)
}

#[test]
fn case_108_the_connection_is_closed_after_a_request_that_is_no_http() {
    let key = stage().e1.authorization();
    let with =
        |line: &str, rest: &str| format!("{line}\r\nHost: gw.test\r\nAuthorization: {key}\r\n{rest}\r\n");
    let target = |target: &str| with(&format!("GET {target} HTTP/1.1"), "");
    let field = |rest: &str| with("GET /v1/projects/e1/x HTTP/1.1", rest);
    for first in [
        // in the target
        target("/v1/projects/e1/a\rb"),
        target("/v1/projects/e1/a\0b"),
        target("/v1/projects/e1/a\x1bb"),
        target("/v1/projects/e1/a?\x7f"),
        target("/v1/projects/e1/\u{e4}"),
        target("/v1/projects/e1/a#b"),
        target("/v1/projects/e1/a\\b"),
        target("/v1/projects/e1/a<b"),
        target("/v1/projects/e1/%zz"),
        target("v1/projects/e1/x"),
        target("*"),
        target("http://other/v1/projects/e1/x"),
        // in the fields
        field("A: b\rc\r\n"),
        field("A: b\0c\r\n"),
        field("A : b\r\n"),
        field("Host: gw.test\r\n"),
        field("Host: other\r\n"),
        field("Authorization: Basic eDp5\r\n"),
        field("Expect: 100-continue\r\nExpect: 100-continue\r\n"),
        format!("GET {ECHO} HTTP/1.1\r\nAuthorization: {key}\r\n\r\n"),
        format!("GET {ECHO} HTTP/1.1\r\nHost: a@b\r\nAuthorization: {key}\r\n\r\n"),
        // in the lines and the framing
        with("GET /v1/projects/e1/x  HTTP/1.1", ""),
        with("G(T /v1/projects/e1/x HTTP/1.1", ""),
        with("GET /v1/projects/e1/x HTTP/1.x", ""),
        field("Content-Length: 1, 1\r\n"),
        field("Transfer-Encoding: gzip\r\n"),
    ] {
        let (answer, next) = with_another_behind(first.as_bytes(), 400);
        assert_eq!(answer.all("Connection"), ["close"], "{first:?}");
        assert!(matches!(&next, Err(NoAnswer::Closed(rest)) if rest.is_empty()), "{first:?}: {next:?}");
    }
    // what follows CONNECT may be meant for the tunnel
    for (line, status) in [("CONNECT gw.test:443 HTTP/1.1", 405), ("GET / HTTP/2.0", 505)] {
        let (answer, next) = with_another_behind(with(line, "").as_bytes(), status);
        assert_eq!(answer.all("Connection"), ["close"], "{line}");
        assert!(matches!(&next, Err(NoAnswer::Closed(rest)) if rest.is_empty()), "{line}: {next:?}");
    }
}

#[test]
fn case_108_the_connection_stays_open_after_a_well_formed_request_is_refused() {
    let own = |method: &str, path: &str| stage().request(method, path);
    for (first, status) in [
        (own("GET", "/v1/projects/e1/../e2").end(), 400),
        (own("GET", "/v1/projects/e1%2fx").end(), 400),
        (own("TRACE", ECHO).end(), 405),
        (own("GET", "/nowhere").end(), 404),
        (own("GET", "/v1/projects/e2/x").end(), 403),
        (Request::get(ECHO).end(), 401),
        (own("GET", ECHO).header("Expect", "more").end(), 417),
        (own("GET", &format!("{ECHO}?{}", "q".repeat(8192))).end(), 414),
    ] {
        let (answer, next) = with_another_behind(&first, status);
        assert_eq!(answer.all("Connection"), [""; 0], "{}", show(&first));
        assert_eq!(next.expect("the request behind is answered").status, 200, "{}", show(&first));
    }
}

// --- 115

/// Reads the statuses of a stream's heads until one is no interim answer.
#[track_caller]
fn statuses(client: &mut RawHttp2, stream: u32) -> Vec<u16> {
    let mut statuses = Vec::new();
    loop {
        match client.outcome_of(stream) {
            StreamOutcome::Status(status) => statuses.push(status),
            other => panic!("{statuses:?}, then {other:?}"),
        }
        if statuses.last() >= Some(&200) {
            return statuses;
        }
    }
}

/// A POST of three bytes that waits for 100.
#[track_caller]
fn expect_continue(stage: &Stage, key: &str, path: &str, mark: &str) -> RawHttp2 {
    let mut client = RawHttp2::connect(stage.gateway.https());
    let fields: [(&[u8], &[u8]); 8] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
        (b"authorization", key.as_bytes()),
        (b"content-length", b"3"),
        (b"expect", b"100-Continue"),
        (b"x-marker", mark.as_bytes()),
    ];
    client.write(HEADERS, END_HEADERS, 1, &http2::block(&fields)).expect("an open connection");
    client
}

#[test]
fn case_115_a_client_with_http_2_is_told_to_continue_when_the_body_is_wanted() {
    let (stage, mark) = (stage(), marker());
    let key = stage.e1.authorization();
    let mut client = expect_continue(stage, &key, ECHO, &mark);
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(100));
    assert!(stage.upstream.requests(&mark).iter().all(|seen| seen.body.is_empty()), "nothing was sent yet");
    client.write(DATA, END_STREAM, 1, b"abc").expect("an open connection");
    assert_eq!(statuses(&mut client, 1), [200]);
    let seen = stage.upstream.only(&mark);
    assert_eq!((seen.body.as_slice(), seen.all("Expect")), (&b"abc"[..], vec!["100-continue".to_owned()]));

    // not before the key is accepted, and not where the upstream does not want the body
    let mark = marker();
    let mut client = expect_continue(stage, &stage.e1.with_wrong_secret().authorization(), ECHO, &mark);
    assert_eq!(statuses(&mut client, 1), [401]);
    stage.upstream.assert_unseen(&mark, "a wrong key");
    let mut client = expect_continue(stage, &key, "/v1/projects/e2/x", &mark);
    assert_eq!(statuses(&mut client, 1), [403]);
    stage.upstream.assert_unseen(&mark, "another environment");
    let path = format!("/v1/projects/e1/{}", marker());
    stage.upstream.answer(
        &path,
        Answer::after_head(|_, conversation| {
            conversation.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").ok();
            false
        }),
    );
    let mut client = expect_continue(stage, &key, &path, &mark);
    assert_eq!(statuses(&mut client, 1), [413]);
}

#[test]
fn case_115_the_gateway_sends_100_continue_for_an_upstream_with_http_2() {
    let upstream = Http2Upstream::start(None);
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", upstream.address());
    let stage = Stage::with(|plan| plan.upstreams(&entry));
    let mark = marker();
    let path = format!("/v1/projects/e1/{mark}");
    let mut client = expect_continue(&stage, &stage.e1.authorization(), &path, &mark);
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(100));
    client.write(DATA, END_STREAM, 1, b"abc").expect("an open connection");
    assert_eq!(statuses(&mut client, 1), [200]);
    assert_eq!(upstream.only(&mark).body, b"abc");
}

// --- 119

/// The one `Date` among these values, which must be of now.
#[track_caller]
fn assert_is_now(dates: &[String], about: &str) {
    let [date] = dates else { panic!("{about}: {dates:?}") };
    assert!(date.ends_with(" GMT") && date.len() == 29, "{about}: {date}");
    let then = rfc2822::parse(date).unwrap_or_else(|error| panic!("{about}: {date}: {error}")).timestamp();
    let seconds = Timestamp::now().duration_since(then).as_secs();
    assert!((-1..=20).contains(&seconds), "{about}: {date} is {seconds} s ago");
}

#[test]
fn case_119_the_gateways_own_answers_have_a_date() {
    let stage = stage();
    let preflight = Request::new("OPTIONS", "/cors/x").header("Origin", "https://a.example");
    for (request, status) in [
        (get("/v1/projects/e2/x"), 403),
        (Request::get(ECHO).end(), 401),
        (Request::new("HEAD", ECHO).end(), 401),
        (Request::get("/nowhere").end(), 404),
        (Request::get("/\0").end(), 400),
        (b"no request\r\n\r\n".to_vec(), 400),
        (preflight.header("Access-Control-Request-Method", "GET").end(), 204),
        (get(&answered_with("no answer\r\n\r\n")), 502),
    ] {
        let answer = stage.gateway.exchange(&request);
        assert_eq!(answer.status, status, "{answer:?}");
        assert_is_now(&answer.all("Date"), &show(&request));
    }
    let answer = over_http2(stage, "GET", "/v1/projects/e2/x", b"");
    let date = answer.headers.get_all("date").iter().map(|date| date.to_str().expect("text").to_owned());
    assert_is_now(&date.collect::<Vec<_>>(), "over HTTP/2");
    // it goes on: the text is not that of the start
    let date = |path: &str| stage.gateway.exchange(get(path)).header("Date");
    let first = date("/nowhere");
    wait_for(PATIENCE, "the next second", || date("/nowhere") != first);
}

#[test]
fn case_119_an_answer_without_a_date_gets_one_and_another_keeps_its_own() {
    let own = "Sun, 06 Nov 1994 08:49:37 GMT";
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    for (fields, expected) in [
        (String::new(), None),
        ("Connection: Date\r\n".to_owned() + &format!("Date: {own}\r\n"), None),
        (format!("Date: {own}\r\n"), Some(own)),
        (format!("dATE: {own}\r\n"), Some(own)),
        ("Date: not one\r\n".to_owned(), Some("not one")),
        ("X-Date: x\r\n".to_owned(), None),
    ] {
        let path = answered_with(format!("{interim}HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"));
        let mut client = stage().gateway.connect();
        client.send(get(&path));
        let first = client.try_read(false, PATIENCE).expect("the interim answer");
        assert_eq!((first.status, first.all("Date")), (103, Vec::new()), "an interim answer needs none");
        let answer = client.read();
        assert_eq!(answer.body, b"ok");
        match expected {
            Some(expected) => assert_eq!(answer.all("Date"), [expected]),
            None => assert_is_now(&answer.all("Date"), &fields),
        }
        let answer = over_http2(stage(), "GET", &path, b"");
        let dates: Vec<_> = answer
            .headers
            .get_all("date")
            .iter()
            .map(|date| date.to_str().expect("text").to_owned())
            .collect();
        match expected {
            Some(expected) => assert_eq!(dates, [expected], "over HTTP/2"),
            None => assert_is_now(&dates, &fields),
        }
    }
}

#[test]
fn case_119_content_length_is_sent_only_where_it_is_allowed() {
    let head = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
    let early = "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n";
    for (method, bytes, status, expected) in [
        ("HEAD", head("204 No Content"), 204, None),
        ("GET", head("204 No Content"), 204, None),
        ("HEAD", head("200 OK"), 200, Some("5")),
        ("HEAD", head("304 Not Modified"), 304, Some("5")),
        ("GET", head("304 Not Modified"), 304, Some("5")),
        ("HEAD", format!("{early}{}", head("404 Not Found")), 404, Some("5")),
        ("GET", format!("{early}HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"), 205, Some("0")),
    ] {
        let path = answered_with(&bytes);
        let request = stage().request(method, &path).end();
        let mut client = stage().gateway.connect();
        client.send(&request);
        if bytes.starts_with(early) {
            let first = client.try_read(false, PATIENCE).expect("the interim answer");
            assert_eq!((first.status, first.all("Content-Length")), (103, Vec::new()), "an interim answer");
        }
        let answer = client.read_answer_to(&request);
        assert_eq!(answer.status, status, "{method} {bytes}");
        let lengths: Vec<_> = expected.into_iter().collect();
        assert_eq!(answer.all("Content-Length"), lengths, "{method} {bytes}");
        assert_eq!(answer.body, b"");
        let answer = over_http2(stage(), method, &path, b"");
        assert_eq!(answer.status, status);
        let seen: Vec<_> = answer.headers.get_all("content-length").iter().collect();
        assert_eq!(seen, lengths, "{method} {bytes} over HTTP/2");
    }
}

/// A gateway with small limits.
fn small() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let limits = "header_bytes: 1KiB, header_count: 10, uri_bytes: 256B, response_header_bytes: 1KiB";
        Stage::with(|plan| plan.top(&format!("limits: {{ {limits} }}")))
    })
}

#[test]
fn case_119_limits_on_request_heads_hold_to_the_byte() {
    let stage = small();
    let target = |bytes: usize| format!("{ECHO}?{}", "q".repeat(bytes - ECHO.len() - 1));
    // bytes of the target, bytes and number of the fields, and the answer's status
    let at_the_limits = [
        (256, 1024, 10, 200),
        (30, 1024, 3, 200),
        (257, 500, 3, 414),
        (256, 1025, 3, 431),
        (30, 1025, 3, 431),
        (30, 1024, 11, 431),
    ];
    let request = |uri: usize, fields: usize, lines: usize| {
        let mut request = stage.request("GET", &target(uri));
        // Host and Authorization are there, one that fills the rest will be
        for _ in 0..lines - 3 {
            request = request.header("A", "b");
        }
        let line = format!("GET {} HTTP/1.1\r\n", target(uri)).len();
        let taken = request.clone().unfinished().len() - line + "P: \r\n".len();
        request.header("P", "p".repeat(fields - taken)).end()
    };
    for (uri, fields, lines, status) in at_the_limits {
        let bytes = request(uri, fields, lines);
        assert_eq!(stage.gateway.exchange(&bytes).status, status, "{uri}, {fields}, {lines}");
        // and when the head comes in pieces
        let mut client = stage.gateway.connect();
        for piece in bytes.chunks(300) {
            client.send(piece);
        }
        assert_eq!(client.read().status, status, "{uri}, {fields}, {lines} in pieces");
    }

    let request = |uri: usize, fields: usize, lines: usize| {
        let (key, target) = (stage.e1.authorization(), target(uri));
        let mut head: Vec<(&[u8], &[u8])> = vec![
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", target.as_bytes()),
            (b"authorization", key.as_bytes()),
        ];
        for _ in 0..lines - 2 {
            head.push((b"a", b"b"));
        }
        let taken = head[4..].iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>() + 5;
        let padding = "p".repeat(fields - taken);
        head.push((b"p", padding.as_bytes()));
        let mut client = RawHttp2::connect(stage.gateway.https());
        client.headers(1, &head, true).expect("an open connection");
        client.outcome_of(1)
    };
    for (uri, fields, lines, status) in at_the_limits {
        assert_eq!(
            request(uri, fields, lines),
            StreamOutcome::Status(status),
            "{uri}, {fields}, {lines} over HTTP/2"
        );
    }
}

#[test]
fn case_119_limits_on_the_heads_of_answers_hold_to_the_byte() {
    let stage = small();
    for (fields, lines, status) in [(1024, 3, 200), (1024, 20, 200), (1025, 3, 502), (1024, 21, 502)] {
        let start = "Content-Length: 2\r\n".to_owned() + &"A: b\r\n".repeat(lines - 2) + "P: ";
        let padding = "p".repeat(fields - start.len() - 2);
        let path = format!("/v1/projects/e1/{}", marker());
        let answer = format!("HTTP/1.1 200 OK\r\n{start}{padding}\r\n\r\nok");
        stage.upstream.answer(&path, Answer::Bytes(answer.into_bytes()));
        let answer = stage.gateway.exchange(stage.request("GET", &path).end());
        assert_eq!(answer.status, status, "{fields}, {lines}");
    }
}

#[test]
fn case_119_large_trailers_of_an_upstream_pass_and_only_too_large_ones_are_dropped() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    for (line, count, kept) in [(100, 90, 90), (60_000, 1, 1), (300, 199, 199), (10, 201, 0), (70_000, 2, 0)]
    {
        let trailers = format!("X-T: {}\r\n", "t".repeat(line - 7)).repeat(count);
        let path = answered_with(format!("{chunked}{trailers}\r\n"));
        let mut client = stage().gateway.connect();
        for turn in 0..2 {
            client.send(get(&path));
            let answer = client.read();
            assert_eq!(answer.body, b"hello", "{count} lines of {line} bytes, turn {turn}");
            assert_eq!(answer.trailers.len(), kept, "{count} lines of {line} bytes, turn {turn}");
        }
        let answer = over_http2(stage(), "GET", &path, b"");
        assert_eq!(answer.body, b"hello", "{count} lines of {line} bytes over HTTP/2");
    }
    // a client's are refused, and the upstream does not see a whole request
    let mark = marker();
    let request = stage().request("POST", ECHO).mark(&mark).header("Transfer-Encoding", "chunked");
    let trailers = format!("X-T: {}\r\n", "t".repeat(8 * 1024));
    let mut client = stage().gateway.connect();
    client.send(request.raw(format!("\r\n5\r\nhello\r\n0\r\n{trailers}\r\n")).unfinished());
    assert_eq!(client.read().status, 400);
    assert!(client.ends_within(PATIENCE));
    assert!(stage().upstream.requests(&mark).is_empty(), "a request whose trailers are refused");
}

/// As Tomcat 5 and other old servers write them.
#[test]
fn case_119_padded_chunk_sizes_of_an_upstream_are_read() {
    for (size, end) in [("5   ", "0    "), ("5\t", "0"), ("000005 ", "000000 "), ("5 ;x=y", "0 ")] {
        let path = answered_with(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nhello\r\n{end}\r\nX-Sum: 5\r\n\r\n"
        ));
        let mut client = stage().gateway.connect();
        for _ in 0..2 {
            client.send(get(&path));
            let answer = client.read();
            assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]), "{size:?}");
            assert_eq!(answer.trailers.len(), 1, "{size:?}");
        }
    }
    // what is no padding still breaks the answer
    for size in [" 5", "5 5", "5 x", "0x5", "5_"] {
        let path = answered_with(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nhello\r\n0\r\n\r\n"
        ));
        let mut client = stage().gateway.connect();
        client.send(get(&path));
        match client.try_read(false, PATIENCE) {
            Ok(answer) => assert_eq!(answer.status, 502, "{size:?}: {answer:?}"),
            Err(NoAnswer::Closed(_)) => {}
            Err(other) => panic!("{size:?}: {other:?}"),
        }
    }
}

#[test]
fn case_119_malformed_chunk_extensions_of_clients_are_refused() {
    let request = |line: &str, mark: &str| {
        let request = stage().request("POST", ECHO).mark(mark).header("Transfer-Encoding", "chunked");
        request.raw(format!("\r\n{line}\r\nhello\r\n0\r\n\r\n")).unfinished()
    };
    for line in ["5;a", "5;a=b", "5;a=\"b ; \\\" c\"", "5;a;b=c", "5; a = b", "5"] {
        let mark = marker();
        assert_eq!(stage().gateway.exchange(request(line, &mark)).status, 200, "{line}");
        let seen = stage().upstream.only(&mark);
        assert_eq!(seen.body, b"hello", "{line}");
        assert!(!contains(&seen.raw, b";a"), "{line}: extensions end here");
    }
    for line in [
        "5;",
        "5;bad[=x",
        "5;;",
        "5;=x",
        "5;a=",
        "5;a=\"x",
        "5;a=b c",
        "5;a ",
        "5 ;a",
        "5 ",
        "5\t",
        "5;a=\"b\"c",
    ] {
        let mark = marker();
        let mut client = stage().gateway.connect();
        client.send(request(line, &mark));
        let answer = client.read();
        assert_eq!((answer.status, answer.all("Connection")), (400, vec!["close".to_owned()]), "{line}");
        assert!(client.ends_within(PATIENCE), "{line}");
        assert!(stage().upstream.requests(&mark).is_empty(), "{line}: the upstream saw a whole request");
    }
}
