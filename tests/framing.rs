//! Where a message ends: gateway and upstream must never disagree. Attack cases 56 to 64.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};

use support::http1::{Client, NoAnswer, Request};
use support::http2::{self, DATA, END_STREAM, RawHttp2, StreamOutcome};
use support::stage::Stage;
use support::upstream::{Answer, Recorded};
use support::{PATIENCE, contains, marker, show, wait_for};

/// Every test here sends hostile bytes to one and the same gateway: none may hurt another.
fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::start)
}

/// Sends `bytes` and sees them refused with 400, the connection closed, and nothing of them at the upstream.
#[track_caller]
fn assert_refused_unseen(bytes: &[u8], mark: &str) {
    let about = show(&bytes[..bytes.len().min(600)]);
    let mut client = stage().gateway.connect();
    client.send(bytes);
    match client.try_read(false, PATIENCE) {
        Ok(answer) => {
            assert_eq!(answer.status, 400, "{about}\nwas answered with\n{answer:?}");
            answer.assert_refused(400);
        }
        Err(none) => panic!("{about}\nwas not answered: {none:?}"),
    }
    assert!(client.ends_within(PATIENCE), "{about}\nthe connection stayed open");
    assert!(client.unread().is_empty(), "{about}\nanswered twice: {}", show(client.unread()));
    stage().upstream.assert_unseen(mark, &about);
}

/// A well-formed request by another client gets its own answer.
#[track_caller]
fn assert_others_are_served(about: &str) {
    assert_others_are_served_by(stage(), about);
}

#[track_caller]
fn assert_others_are_served_by(stage: &Stage, about: &str) {
    let mark = marker();
    let request = stage.request("POST", "/v1/projects/e1/others").mark(&mark).body("other");
    let answer = stage.gateway.exchange(request);
    assert_eq!(answer.status, 200, "{about}: {answer:?}");
    assert!(contains(&answer.body, mark.as_bytes()), "{about}: another's answer: {answer:?}");
    assert_eq!(stage.upstream.only(&mark).body, b"other", "{about}");
}

/// What the upstream saw of a message that was never whole: an unfinished request on a connection that was closed.
#[track_caller]
fn assert_unfinished(mark: &str, about: &str) {
    let requests = stage().upstream.requests(mark);
    assert!(requests.len() <= 1, "{about}: several requests: {requests:?}");
    let Some(request) = requests.first() else {
        stage().upstream.assert_unseen(mark, about);
        return;
    };
    wait_for(PATIENCE, "the upstream connection of a broken message is closed", || {
        !stage().upstream.is_open(request.connection)
    });
    let bytes = stage().upstream.bytes_of(request.connection);
    let from = support::find(&bytes, mark.as_bytes()).expect("it was seen there");
    let tail = &bytes[from..];
    assert!(!contains(tail, b"\r\n0\r\n"), "{about}: the upstream saw a whole message: {}", show(tail));
    assert!(!contains(tail, b" HTTP/1.1\r\n"), "{about}: a request behind a broken one: {}", show(tail));
}

#[test]
fn case_56_length_and_chunked_together_are_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "transfer-encoding: chunked\r\nX-Between: a\r\ncontent-length: 30\r\n",
    ] {
        let mark = marker();
        let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark).raw(lines).raw("\r\n");
        let bytes = request.raw("0\r\n\r\nGET /v1/projects/e1/smuggled HTTP/1.1\r\nHost: gw.test\r\n\r\n");
        assert_refused_unseen(&bytes.end(), &mark);
    }
}

#[test]
fn case_57_transfer_codings_other_than_chunked_are_refused() {
    for value in [
        "chunked, identity",
        "identity, chunked",
        "chunked,",
        ",chunked",
        "chunked, chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "chunked x",
        "\"chunked\"",
        "gzip",
        "gzip, chunked",
        "identity",
        "\x0bchunked",
        "chunked\x0c",
        "chunk\u{e9}d",
        "",
    ] {
        let mark = marker();
        let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
        let bytes = request.header("Transfer-Encoding", value).raw("\r\n0\r\n").end();
        assert_refused_unseen(&bytes, &mark);
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
    ] {
        let mark = marker();
        let bytes =
            stage().request("POST", "/v1/projects/e1/x").mark(&mark).raw(lines).raw("\r\n0\r\n").end();
        assert_refused_unseen(&bytes, &mark);
    }
}

#[test]
fn case_57_transfer_encoding_in_http_1_0_is_refused() {
    let mark = marker();
    let bytes = format!(
        "POST /v1/projects/e1/x HTTP/1.0\r\nHost: gw.test\r\nX-Marker: {mark}\r\nAuthorization: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        stage().e1.authorization()
    );
    assert_refused_unseen(bytes.as_bytes(), &mark);
}

#[test]
fn case_57_chunked_in_any_case_is_chunked() {
    for value in ["chunked", "CHUNKED", "Chunked "] {
        let mark = marker();
        let request =
            stage().request("POST", "/v1/projects/e1/x").mark(&mark).header("Transfer-Encoding", value);
        let answer = stage().gateway.exchange(request.raw("\r\n3\r\nabc\r\n0\r\n").end());
        assert_eq!(answer.status, 200, "{value:?}: {answer:?}");
        let seen = stage().upstream.only(&mark);
        assert_eq!(seen.body, b"abc");
        assert_eq!(seen.header("Transfer-Encoding").as_deref(), Some("chunked"));
        assert_eq!(seen.header("Content-Length"), None);
    }
}

#[test]
fn case_58_content_lengths_that_are_not_one_plain_number_are_refused() {
    for value in [
        "5, 5",
        "5,5",
        "5,",
        ",5",
        "+5",
        "-5",
        "-0",
        "0x5",
        "5x",
        "5 5",
        "5;",
        "5.0",
        "5e0",
        "",
        "\x0b5",
        "\u{0665}",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999999999999999",
    ] {
        let mark = marker();
        let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
        let bytes = [request.header("Content-Length", value).end(), b"hello".to_vec()].concat();
        assert_refused_unseen(&bytes, &mark);
    }
    for lines in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "Content-Length: 0\r\nX: y\r\nCONTENT-LENGTH: 5\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        " Content-Length: 5\r\n",
        "Content-Length:\r\n 5\r\n",
        "Content-Length: 5\n",
        "X: y\nContent-Length: 5\r\n",
        "Content-Length: 5\r\r\n",
    ] {
        let mark = marker();
        let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
        let bytes = [request.raw(lines).end(), b"hello".to_vec()].concat();
        assert_refused_unseen(&bytes, &mark);
    }
}

#[test]
fn case_58_a_length_with_leading_zeros_is_refused() {
    for value in ["05", "0000000000000000000005", "00"] {
        let mark = marker();
        let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
        let bytes = [request.header("Content-Length", value).end(), b"hello".to_vec()].concat();
        assert_refused_unseen(&bytes, &mark);
    }
}

/// Optional whitespace around a value is no part of it (RFC 9112 section 5.1). It is read as the number, and the
/// upstream gets the number alone.
#[test]
fn case_58_whitespace_around_a_length_never_reaches_the_upstream() {
    for value in [" 5", "5 ", "\t5\t"] {
        let mark = marker();
        let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
        let bytes = [request.header("Content-Length", value).end(), b"hello".to_vec()].concat();
        let answer = stage().gateway.exchange(bytes);
        if answer.status == 400 {
            stage().upstream.assert_unseen(&mark, value);
            continue;
        }
        assert_eq!(answer.status, 200, "{value:?}: {answer:?}");
        let seen = stage().upstream.only(&mark);
        assert_eq!(seen.body, b"hello");
        assert!(contains(&seen.raw, b": 5\r\n"), "{seen:?}");
    }
}

#[test]
fn case_59_broken_chunks_never_make_a_whole_message() {
    let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(1 << 20));
    let long_quoted = format!("5;a=\"{}\"\r\nhello\r\n0\r\n\r\n", "b".repeat(1 << 17));
    for chunks in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        &long_extension,
        &long_quoted,
    ] {
        let about = chunks.escape_default().to_string().chars().take(80).collect::<String>();
        let mark = marker();
        let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
        let request = request.header("Transfer-Encoding", "chunked").end();
        let behind = stage().request("GET", "/v1/projects/e1/behind").end();
        let mut client = stage().gateway.connect();
        client.send([request.as_slice(), b"3\r\nabc\r\n", chunks.as_bytes(), behind.as_slice()].concat());
        match client.try_read(false, PATIENCE) {
            Ok(answer) => {
                assert_eq!(answer.status, 400, "{about}: {answer:?}");
                assert!(client.ends_within(PATIENCE), "{about}: the connection stayed open");
                assert!(client.unread().is_empty(), "{about}: {}", show(client.unread()));
            }
            Err(NoAnswer::Closed(bytes)) if bytes.is_empty() => {}
            Err(other) => panic!("{about}: {other:?}"),
        }
        assert_unfinished(&mark, &about);
    }
    assert_others_are_served("after broken chunks");
}

#[test]
fn case_59_good_chunks_are_framed_anew() {
    for chunks in [
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "5 ; a = \"b;c\"\r\nhello\r\n0;last\r\n\r\n",
        "0005\r\nhello\r\n000\r\n\r\n",
    ] {
        let mark = marker();
        let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
        let request = request.header("Transfer-Encoding", "chunked").end();
        let mut client = stage().gateway.connect();
        client.send([&request, chunks.as_bytes()].concat());
        let answer = client.read();
        if answer.status == 400 {
            assert_unfinished(&mark, chunks); // refusing whitespace before an extension is in order too
            continue;
        }
        assert_eq!(answer.status, 200, "{chunks:?}: {answer:?}");
        let seen = stage().upstream.only(&mark);
        assert_eq!(seen.body, b"hello", "{chunks:?}");
        assert!(!contains(&seen.raw, b";"), "an extension reached the upstream: {seen:?}");
        client.send(stage().request("GET", "/v1/projects/e1/again").end());
        assert_eq!(client.read().status, 200, "the connection goes on after {chunks:?}");
    }
}

/// Sends HEADERS with this length, then these DATA frames, the last of which ends the stream.
fn mismatched(mark: &str, length: &str, pieces: &[&[u8]]) -> StreamOutcome {
    let key = stage().e1.authorization();
    let mut client = RawHttp2::connect(stage().gateway.https());
    let fields: [(&[u8], &[u8]); 7] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", b"/v1/projects/e1/x"),
        (b"authorization", key.as_bytes()),
        (b"x-marker", mark.as_bytes()),
        (b"content-length", length.as_bytes()),
    ];
    client.headers(1, &fields, pieces.is_empty()).expect("an open connection");
    for (at, piece) in pieces.iter().enumerate() {
        let flags = if at + 1 == pieces.len() { END_STREAM } else { 0 };
        if client.write(DATA, flags, 1, piece).is_err() {
            break;
        }
    }
    client.outcome_of(1)
}

#[test]
fn case_60_http2_bodies_of_another_length_than_announced_end_the_stream() {
    let cases: [(&str, &[&[u8]]); 8] = [
        ("10", &[b"12345"]),
        ("10", &[b"12345", b""]),
        ("10", &[b"123456789012345"]),
        ("10", &[]),
        ("0", &[b"1"]),
        ("5, 5", &[b"12345"]),
        ("+5", &[b"12345"]),
        ("18446744073709551617", &[b"1"]),
    ];
    for (length, pieces) in cases {
        let about = format!("content-length {length} with {} DATA frames", pieces.len());
        let mark = marker();
        match mismatched(&mark, length, pieces) {
            StreamOutcome::Reset(_) | StreamOutcome::Status(400) => {}
            StreamOutcome::Gone(Some(code)) if code != 0 => {}
            other => panic!("{about}: {other:?}"),
        }
        let requests = stage().upstream.requests(&mark);
        for request in &requests {
            wait_for(PATIENCE, "the connection with half a body is closed", || {
                !stage().upstream.is_open(request.connection)
            });
            let bytes = stage().upstream.bytes_of(request.connection);
            let at = support::find(&bytes, mark.as_bytes()).expect("seen there");
            assert!(
                !contains(&bytes[at..], b" HTTP/1.1\r\n"),
                "{about}: the connection was used again: {}",
                show(&bytes[at..])
            );
        }
        assert_others_are_served(&about);
    }
}

#[test]
fn case_60_what_exceeds_the_length_never_reaches_the_upstream() {
    let mark = marker();
    // The first frame makes the message whole, so it may be answered; what follows must vanish.
    mismatched(&mark, "10", &[b"1234567890", b"GET /smuggled HTTP/1.1\r\n\r\n"]);
    for request in stage().upstream.requests(&mark) {
        assert!(request.body.len() <= 10, "{request:?}");
        assert!(!contains(&stage().upstream.bytes_of(request.connection), b"smuggled"), "{request:?}");
    }
    assert_others_are_served("after a body that was too long");
}

/// How a client leaves.
const WAYS_TO_ABORT: usize = 8;

#[test]
fn case_61_a_thousand_aborted_requests_leave_no_trace_on_the_next() {
    const ABORTS: usize = 1000;
    const THREADS: usize = 8;
    let stage = stage();
    let large = vec![b'L'; 400_000];
    stage.upstream.answer("/v1/projects/e1/large", Answer::with("HTTP/1.1 200 OK", &large));
    stage.upstream.answer(
        "/v1/projects/e1/endless",
        Answer::after_head(|_, conversation| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let piece = [b"4000\r\n".as_slice(), &[b'E'; 0x4000], b"\r\n"].concat();
            conversation.send(head).is_ok() && while_ok(|| conversation.send(&piece).is_ok())
        }),
    );
    let aborted = marker();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= ABORTS {
                        return;
                    }
                    abort(number % WAYS_TO_ABORT, &aborted);
                    assert_others_are_served(&format!("after abort {number}"));
                }
            });
        }
    });
    assert_never_reused(&aborted);
}

/// Runs until it fails, and tells the upstream to end the connection.
fn while_ok(mut step: impl FnMut() -> bool) -> bool {
    while step() {}
    false
}

fn abort(way: usize, mark: &str) {
    let stage = stage();
    let upload = || stage.request("POST", "/v1/projects/e1/upload").mark(mark);
    let mut client = stage.gateway.connect();
    match way {
        // half a body, then FIN
        0 => client.send([upload().header("Content-Length", "1000").end(), vec![b'x'; 400]].concat()),
        // half a body, then RST
        1 => {
            client.send([upload().header("Content-Length", "90000").end(), vec![b'x'; 40_000]].concat());
            client.reset();
        }
        // between chunks
        2 => client
            .send(upload().header("Transfer-Encoding", "chunked").raw("\r\n5\r\nhello\r\n").unfinished()),
        // within a chunk
        3 => client.send(upload().header("Transfer-Encoding", "chunked").raw("\r\n50\r\nhel").unfinished()),
        // before any of the body
        4 => client.send(upload().header("Content-Length", "7").end()),
        // a whole request, gone before the answer has come
        5 => {
            client.send(stage.request("GET", "/v1/projects/e1/large").end());
            client.reset();
        }
        // in the middle of an answer
        6 => {
            client.send(stage.request("GET", "/v1/projects/e1/endless").end());
            client.take(1000, PATIENCE).expect("the answer's beginning");
        }
        // a stream that is reset in the middle of its body
        _ => {
            let key = stage.e1.authorization();
            let mut client = RawHttp2::connect(stage.gateway.https());
            let fields: [(&[u8], &[u8]); 7] = [
                (b":method", b"POST"),
                (b":scheme", b"https"),
                (b":authority", b"gw.test"),
                (b":path", b"/v1/projects/e1/upload"),
                (b"authorization", key.as_bytes()),
                (b"x-marker", mark.as_bytes()),
                (b"content-length", b"1000"),
            ];
            client.headers(1, &fields, false).expect("an open connection");
            client.data(1, &[b'x'; 400], false).expect("an open connection");
            client.write(http2::RST_STREAM, 0, 1, &8u32.to_be_bytes()).expect("an open connection");
        }
    }
}

/// An upstream connection that saw an aborted upload is closed, and carried nothing behind it.
fn assert_never_reused(mark: &str) {
    let upstream = &stage().upstream;
    let requests = upstream.requests(mark);
    assert!(requests.len() > 100, "only {} aborted uploads reached the upstream", requests.len());
    for request in &requests {
        wait_for(PATIENCE, "the connection of an aborted upload is closed", || {
            !upstream.is_open(request.connection)
        });
        let bytes = upstream.bytes_of(request.connection);
        let at = bytes.windows(mark.len()).rposition(|window| window == mark.as_bytes()).expect("seen there");
        let behind = &bytes[at..];
        assert!(!contains(behind, b" HTTP/1.1\r\n"), "used again: {}", show(behind));
        assert!(
            !contains(behind, b"\r\n0\r\n\r\n"),
            "an aborted body was ended as if whole: {}",
            show(behind)
        );
    }
}

#[test]
fn case_62_bodies_of_requests_that_usually_have_none_stay_in_step() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        for chunked in [false, true] {
            let (mark, second) = (marker(), marker());
            let first = stage().request(method, "/v1/projects/e1/x").mark(&mark);
            let first = if chunked {
                first.header("Transfer-Encoding", "chunked").raw("\r\n5\r\nhello\r\n0\r\n").end()
            } else {
                first.body("hello")
            };
            let mut client = stage().gateway.connect();
            client.send(
                [first.clone(), stage().request("GET", "/v1/projects/e1/y").mark(&second).end()].concat(),
            );
            assert_eq!(client.read_answer_to(&first).status, 200, "{method}");
            let answer = client.read();
            assert!(contains(&answer.body, second.as_bytes()), "{method}: {answer:?}");
            assert_eq!(stage().upstream.only(&mark).body, b"hello", "{method}");
            assert_eq!(stage().upstream.only(&second).body, b"", "{method}");
        }
    }
}

#[test]
fn case_62_bytes_behind_an_answer_never_become_the_next_answer() {
    // an upstream that lies could hit others who share its connections: it has a gateway of its own
    let stage = Stage::start();
    let upstream = &stage.upstream;
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let cases = [
        ("HEAD", "head", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".to_owned()),
        (
            "HEAD",
            "headchunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n".to_owned(),
        ),
        ("GET", "nocontent", "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil".to_owned()),
        (
            "GET",
            "nochunks",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n".to_owned(),
        ),
        ("GET", "notmodified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil".to_owned()),
        ("GET", "two", format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{evil}")),
        ("GET", "long", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokevil".to_owned()),
        ("HEAD", "headtwo", format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{evil}")),
    ];
    for (method, name, bytes) in cases {
        let path = format!("/v1/projects/e1/{name}");
        upstream.answer(&path, Answer::Bytes(bytes.into_bytes()));
        for _ in 0..4 {
            let mut client = stage.gateway.connect();
            let request = stage.request(method, &path).end();
            client.send(&request);
            let answer = client.read_answer_to(&request);
            assert!([200, 204, 304, 502].contains(&answer.status), "{name}: {answer:?}");
            assert!(!contains(&answer.body, b"evil"), "{name}: {answer:?}");
            let mark = marker();
            let next = stage.request("GET", "/v1/projects/e1/next").mark(&mark).end();
            if client.try_send(&next).is_ok() {
                match client.try_read(false, PATIENCE) {
                    Ok(answer) => assert!(contains(&answer.body, mark.as_bytes()), "{name}: {answer:?}"),
                    Err(NoAnswer::Closed(rest)) => assert!(rest.is_empty(), "{name}: {}", show(&rest)),
                    Err(other) => panic!("{name}: {other:?}"),
                }
            }
            assert_others_are_served_by(&stage, name);
        }
    }
}

#[test]
fn case_62_bytes_on_an_idle_upstream_connection_are_no_answer() {
    let stage = Stage::start();
    // The second answer follows a moment after the first, when the connection lies in the pool.
    let (tell, told) = mpsc::channel();
    let (answered, is_answered) = mpsc::channel();
    let (tell, is_answered) = (Mutex::new(tell), Mutex::new(is_answered));
    stage.upstream.answer(
        "/v1/projects/e1/late",
        Answer::after_body(move |_, conversation| {
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok();
            is_answered.lock().expect("one at a time").recv().expect("the test goes on");
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").ok();
            tell.lock().expect("one at a time").send(()).is_ok()
        }),
    );
    let mut client = stage.gateway.connect();
    for _ in 0..8 {
        let (first, second) = (marker(), marker());
        client.send(stage.request("GET", "/v1/projects/e1/late").mark(&first).end());
        assert_eq!(client.read().status, 200);
        answered.send(()).expect("the upstream waits");
        told.recv_timeout(PATIENCE).expect("the second answer was sent");
        // the same client is served by the same worker, and so from the same pool
        client.send(stage.request("POST", "/v1/projects/e1/next").mark(&second).body("own"));
        let answer = client.read();
        assert!(contains(&answer.body, second.as_bytes()), "another's answer: {answer:?}");
        let late = stage.upstream.only(&first).connection;
        assert_ne!(stage.upstream.only(&second).connection, late, "the connection was used again");
        wait_for(PATIENCE, "the connection with unasked bytes is closed", || !stage.upstream.is_open(late));
    }
}

#[test]
fn case_62_a_flood_of_informational_answers_ends() {
    let upstream = &stage().upstream;
    upstream.answer(
        "/v1/projects/e1/flood",
        Answer::after_body(|_, conversation| {
            while_ok(|| conversation.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").is_ok())
        }),
    );
    let mark = marker();
    let mut client = stage().gateway.connect();
    client.send(stage().request("GET", "/v1/projects/e1/flood").mark(&mark).end());
    let mut informational = 0;
    let answer = loop {
        let answer = client.try_read(false, PATIENCE).expect("an answer");
        if answer.status >= 200 {
            break answer;
        }
        informational += 1;
        assert!(informational < 1000, "the flood is passed on");
    };
    assert_eq!(answer.status, 502, "{answer:?}");
    let connection = upstream.only(&mark).connection;
    wait_for(PATIENCE, "the flooding connection is closed", || !upstream.is_open(connection));
    assert_others_are_served("after a flood");
}

#[test]
fn case_63_what_follows_a_refused_body_is_authenticated_by_itself() {
    let stage = stage();
    let (inner, behind) = (marker(), marker());
    let smuggled = stage.request("GET", "/v1/projects/e1/inner").mark(&inner).end();
    let wrong = stage.e1.with_wrong_secret();
    for credential in [Some(&wrong), None] {
        for chunked in [false, true] {
            let request = Request::new("POST", "/v1/projects/e1/x");
            let request = credential.map_or(request.clone(), |key| request.key(key));
            let request = if chunked {
                let size = format!("\r\n{:x}\r\n", smuggled.len());
                request.header("Transfer-Encoding", "chunked").raw(size).raw(&smuggled).raw("\r\n0\r\n").end()
            } else {
                request.body(&smuggled)
            };
            let mut client = stage.gateway.connect();
            client.send([request, Request::get("/v1/projects/e1/behind").mark(&behind).end()].concat());
            client.read().assert_refused(401);
            match client.try_read(false, PATIENCE) {
                Ok(answer) => answer.assert_refused(401),
                Err(NoAnswer::Closed(rest)) => assert!(rest.is_empty(), "{}", show(&rest)),
                Err(other) => panic!("{other:?}"),
            }
            stage.upstream.assert_unseen(&inner, "the body of a refused request");
            stage.upstream.assert_unseen(&behind, "a request without a key");
        }
    }
}

#[test]
fn case_63_pipelined_requests_each_need_their_own_key() {
    let stage = stage();
    let marks = [marker(), marker(), marker()];
    let mut client = stage.gateway.connect();
    client.send(
        [
            stage.request("GET", "/v1/projects/e1/a").mark(&marks[0]).end(),
            Request::get("/v1/projects/e1/b").mark(&marks[1]).end(),
            Request::get("/v1/projects/e1/c").key(&stage.e2).mark(&marks[2]).end(),
        ]
        .concat(),
    );
    assert_eq!(client.read().status, 200);
    client.read().assert_refused(401);
    client.read().assert_refused(403);
    let seen: Vec<Recorded> = marks.iter().flat_map(|mark| stage.upstream.requests(mark)).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

/// Name and value of an HTTP/2 header field.
type Field<'a> = (&'a [u8], &'a [u8]);

#[test]
fn case_64_malformed_http2_headers_never_become_http1() {
    let key = stage().e1.authorization();
    let key = key.as_bytes();
    let pseudo = |path: &'static [u8]| -> Vec<(&'static [u8], &'static [u8])> {
        vec![(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"gw.test"), (b":path", path)]
    };
    let good = pseudo(b"/v1/projects/e1/x");
    let with = |name: &'static [u8], value: &'static [u8]| {
        let mut fields = good.clone();
        fields.push((name, value));
        fields
    };
    let cases: Vec<(&str, Vec<Field<'_>>)> = vec![
        ("CR LF in a value", with(b"x-a", b"b\r\nX-API-Account-Id: admin")),
        ("LF in a value", with(b"x-a", b"b\nc: d")),
        ("CR in a value", with(b"x-a", b"b\rc")),
        ("NUL in a value", with(b"x-a", b"b\0c")),
        ("an upper-case name", with(b"X-Upper", b"a")),
        ("a space in a name", with(b"x a", b"b")),
        ("a colon in a name", with(b"x:a", b"b")),
        ("CR LF in a name", with(b"x-a: b\r\nx-c", b"d")),
        ("an empty name", with(b"", b"b")),
        ("an unknown pseudo-header", with(b":evil", b"b")),
        ("a pseudo-header of answers", with(b":status", b"200")),
        ("two paths", with(b":path", b"/v1/projects/e2/x")),
        ("two methods", with(b":method", b"DELETE")),
        ("two schemes", with(b":scheme", b"http")),
        ("two authorities", with(b":authority", b"other")),
        ("transfer-encoding", with(b"transfer-encoding", b"chunked")),
        ("connection", with(b"connection", b"close")),
        ("keep-alive", with(b"keep-alive", b"timeout=5")),
        ("proxy-connection", with(b"proxy-connection", b"keep-alive")),
        ("upgrade", with(b"upgrade", b"websocket")),
        ("te other than trailers", with(b"te", b"gzip")),
        ("a path without a slash", pseudo(b"v1/projects/e1/x")),
        ("an empty path", pseudo(b"")),
        ("a path with a space", pseudo(b"/v1/projects/e1/x HTTP/1.1\r\nX-A: b")),
        ("a path with LF", pseudo(b"/v1/projects/e1/x\nX-A:b")),
        ("a path with NUL", pseudo(b"/v1/projects/e1/x\0")),
        ("an asterisk", pseudo(b"*")),
        ("an absolute path", pseudo(b"https://gw.test/v1/projects/e1/x")),
        ("no path", good[..3].to_vec()),
        ("no method", good[1..].to_vec()),
        ("no scheme", [&good[..1], &good[2..]].concat()),
        (
            "a method with a space",
            [&[(&b":method"[..], &b"GET /v1/projects/e1/z HTTP/1.1\r\nX: y"[..])][..], &good[1..]].concat(),
        ),
        ("an empty method", [&[(&b":method"[..], &b""[..])][..], &good[1..]].concat()),
        ("a pseudo-header behind others", {
            let mut fields = good[..3].to_vec();
            fields.push((b"x-a", b"b"));
            fields.push((b":path", b"/v1/projects/e1/x"));
            fields
        }),
    ];
    for (about, fields) in cases {
        let mark = marker();
        let mut fields = fields;
        fields.push((b"authorization", key));
        fields.push((b"x-marker", mark.as_bytes()));
        let mut client = RawHttp2::connect(stage().gateway.https());
        client.headers(1, &fields, true).expect("an open connection");
        match client.outcome_of(1) {
            StreamOutcome::Reset(_) | StreamOutcome::Status(400) => {}
            StreamOutcome::Gone(Some(code)) if code != 0 => {}
            other => panic!("{about}: {other:?}"),
        }
        stage().upstream.assert_unseen(&mark, about);
    }
    assert_others_are_served("after malformed HTTP/2");
}

#[test]
fn case_64_broken_frames_end_the_connection_and_reach_no_upstream() {
    let key = stage().e1.authorization();
    let block = |mark: &str| {
        http2::block(&[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", b"/v1/projects/e1/x"),
            (b"authorization", key.as_bytes()),
            (b"x-marker", mark.as_bytes()),
        ])
    };
    for case in 0..5 {
        let mark = marker();
        let mut client = RawHttp2::connect(stage().gateway.https());
        let headers = block(&mark);
        let sent = match case {
            0 => client.write(http2::HEADERS, http2::END_HEADERS | END_STREAM, 2, &headers), // an even stream
            1 => client.write(http2::HEADERS, http2::END_HEADERS | END_STREAM, 0, &headers),
            2 => client.write(http2::CONTINUATION, http2::END_HEADERS, 1, &headers),
            3 => client.write(DATA, END_STREAM, 1, b"GET / HTTP/1.1\r\n\r\n"),
            // a header block that another frame interrupts
            _ => client
                .write(http2::HEADERS, END_STREAM, 1, &headers)
                .and_then(|()| client.write(http2::PING, 0, 0, &[0; 8])),
        };
        sent.expect("an open connection");
        match client.outcome_of(1) {
            StreamOutcome::Gone(_) | StreamOutcome::Reset(_) => {}
            StreamOutcome::Status(status) => panic!("case {case} was answered with {status}"),
        }
        stage().upstream.assert_unseen(&mark, "a broken frame");
    }
    assert_others_are_served("after broken frames");
}

/// A request line must be one: what is not, is refused before anything is looked up.
#[test]
fn request_lines_and_header_lines_are_read_strictly() {
    let key = stage().e1.authorization();
    for line in [
        "GET  /v1/projects/e1/x HTTP/1.1",
        "GET /v1/projects/e1/x  HTTP/1.1",
        "GET\t/v1/projects/e1/x HTTP/1.1",
        " GET /v1/projects/e1/x HTTP/1.1",
        "GET /v1/projects/e1/x HTTP/1.1 ",
        "GET /v1/projects/e1/x HTTP/2.0",
        "GET /v1/projects/e1/x HTTP/1.10",
        "GET /v1/projects/e1/x http/1.1",
        "GET /v1/projects/e1/x",
        "G(T /v1/projects/e1/x HTTP/1.1",
        "GET /v1/projects/e1/x y HTTP/1.1",
    ] {
        let mark = marker();
        let bytes = format!("{line}\r\nHost: gw.test\r\nAuthorization: {key}\r\nX-Marker: {mark}\r\n\r\n");
        let mut client: Client = stage().gateway.connect();
        client.send(&bytes);
        match client.try_read(false, PATIENCE) {
            Ok(answer) => assert!([400, 505].contains(&answer.status), "{line:?}: {answer:?}"),
            Err(NoAnswer::Closed(rest)) => assert!(rest.is_empty(), "{line:?}: {}", show(&rest)),
            Err(other) => panic!("{line:?}: {other:?}"),
        }
        stage().upstream.assert_unseen(&mark, line);
    }
}
