//! Bodies of any size pass as they come, in both directions: nothing is held back or collected.

mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use support::cli::Key;
use support::http1::{NoAnswer, Request, Response};
use support::http2::{DATA, END_STREAM, HEADERS, RawHttp2, StreamOutcome, WINDOW_UPDATE};
use support::memory::peak_kib;
use support::raw_upstream::{self, RawUpstream};
use support::stage::Stage;
use support::upstream::Answer;
use support::{PATIENCE, contains, find, marker, wait_for};

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::start)
}

/// How much the gateway may grow while a large body passes: buffers, not bodies.
const FLAT_KIB: u64 = 24 * 1024;
const LARGE: u64 = 200 * 1024 * 1024;

#[test]
fn two_hundred_megabytes_pass_both_ways_with_flat_memory() {
    // PUT: counts what comes; GET: sends as much
    let upstream = RawUpstream::start(|_, mut reader| {
        loop {
            let lines = raw_upstream::head(&mut reader)?;
            if lines[0].starts_with("PUT ") {
                raw_upstream::skip(&mut reader, LARGE)?;
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")?;
            } else {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
                reader.get_mut().write_all(head.as_bytes())?;
                let piece = vec![b'd'; 1 << 20];
                for _ in 0..LARGE >> 20 {
                    reader.get_mut().write_all(&piece)?;
                }
            }
        }
    });
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let warm = stage.request("GET", "/v1/projects/e2/x").end();
    assert_eq!(stage.gateway.exchange(warm).status, 403);
    let before = peak_kib(stage.gateway.pid());

    let mut tcp = TcpStream::connect(stage.gateway.http()).expect("connect");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let upload = stage.request("PUT", "/v1/projects/e1/x").header("Content-Length", LARGE.to_string()).end();
    tcp.write_all(&upload).expect("send the head");
    let piece = vec![b'u'; 1 << 20];
    for _ in 0..LARGE >> 20 {
        tcp.write_all(&piece).expect("the upload goes on");
    }
    let mut answer = [0; 4096];
    let count = tcp.read(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", support::show(&answer[..count]));
    let after_upload = peak_kib(stage.gateway.pid());

    let mut tcp = TcpStream::connect(stage.gateway.http()).expect("connect");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    tcp.write_all(&stage.request("GET", "/v1/projects/e1/x").end()).expect("send the request");
    let (mut came, mut body_from) = (Vec::new(), None);
    while body_from.is_none() {
        let count = tcp.read(&mut answer).expect("the answer's head");
        came.extend_from_slice(&answer[..count]);
        body_from = find(&came, b"\r\n\r\n").map(|at| at + 4);
    }
    let ahead = (came.len() - body_from.expect("found")) as u64;
    raw_upstream::skip(&mut tcp, LARGE - ahead).expect("the whole download");
    let after_download = peak_kib(stage.gateway.pid());

    assert!(after_upload - before < FLAT_KIB, "the upload took {} KiB", after_upload - before);
    assert!(after_download - before < FLAT_KIB, "the download took {} KiB", after_download - before);
}

#[test]
fn a_slow_client_slows_the_upstream_and_fills_no_memory() {
    let (told, sent) = mpsc::channel();
    let upstream = RawUpstream::start(move |_, mut reader| {
        raw_upstream::head(&mut reader)?;
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n")?;
        reader.get_mut().set_write_timeout(Some(Duration::from_secs(1)))?;
        let piece = vec![b'd'; 1 << 16];
        let mut count = 0;
        while reader.get_mut().write_all(&piece).is_ok() {
            count += piece.len();
        }
        told.send(count).ok();
        Ok(())
    });
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let mut client = stage.gateway.connect();
    client.send(stage.request("GET", "/v1/projects/e1/x").end());
    let count = sent.recv_timeout(PATIENCE).expect("the upstream is held up in the end");
    assert!(count < 64 << 20, "{count} bytes were taken from the upstream for a client that reads nothing");
    assert!(peak_kib(stage.gateway.pid()) < 200 * 1024);
}

#[test]
fn server_sent_events_arrive_one_by_one() {
    let (tell, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    stage().upstream.answer(
        "/v1/projects/e1/events",
        Answer::after_head(move |_, conversation| {
            let told = told.lock().expect("one at a time");
            conversation
                .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                .ok();
            for number in 0..5 {
                // the next event is sent only when the client has seen the one before
                if told.recv_timeout(PATIENCE).is_err() {
                    return false;
                }
                let event = format!("data: event {number}\n\n");
                conversation.send(format!("{:x}\r\n{event}\r\n", event.len())).ok();
            }
            conversation.send("0\r\n\r\n").is_ok()
        }),
    );
    let mut client = stage().gateway.connect();
    client.send(stage().request("GET", "/v1/projects/e1/events").header("Accept", "text/event-stream").end());
    let head = client.take_until(b"\r\n\r\n", PATIENCE).expect("the head comes before the first event");
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", support::show(&head));
    for number in 0..5 {
        tell.send(()).expect("the upstream waits");
        let chunk = client.take_until(b"\n\n\r\n", PATIENCE).expect("an event");
        assert!(contains(&chunk, format!("data: event {number}").as_bytes()), "{}", support::show(&chunk));
    }
    client.take_until(b"0\r\n\r\n", PATIENCE).expect("the end");
}

#[test]
fn an_upload_reaches_the_upstream_while_it_is_still_being_sent() {
    let (tell, told) = mpsc::channel::<Vec<u8>>();
    let tell = std::sync::Mutex::new(tell);
    stage().upstream.answer(
        "/v1/projects/e1/upload",
        Answer::after_head(move |_, conversation| {
            let mut came = Vec::new();
            while !came.ends_with(b"0\r\n\r\n") {
                let Ok(bytes) = conversation.receive() else { return false };
                came.extend_from_slice(&bytes);
                tell.lock().expect("one at a time").send(bytes).ok();
            }
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
        }),
    );
    let mut client = stage().gateway.connect();
    let request = stage().request("POST", "/v1/projects/e1/upload").header("Transfer-Encoding", "chunked");
    client.send(request.end());
    for number in 0..5 {
        client.send(format!("6\r\npart {number}\r\n"));
        let mut came = Vec::new();
        while !contains(&came, format!("part {number}").as_bytes()) {
            came.extend(told.recv_timeout(PATIENCE).expect("the part reaches the upstream at once"));
        }
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read().status, 200);
}

#[test]
fn both_directions_flow_at_once() {
    stage().upstream.answer(
        "/v1/projects/e1/both",
        Answer::after_head(|_, conversation| {
            conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok();
            let mut came = Vec::new();
            while !came.ends_with(b"0\r\n\r\n") {
                let Ok(bytes) = conversation.receive() else { return false };
                came.extend_from_slice(&bytes);
                if conversation.send("3\r\nack\r\n").is_err() {
                    return false;
                }
            }
            conversation.send("0\r\n\r\n").is_ok()
        }),
    );
    let mut client = stage().gateway.connect();
    let request = stage().request("POST", "/v1/projects/e1/both").header("Transfer-Encoding", "chunked");
    client.send(request.end());
    client.take_until(b"\r\n\r\n", PATIENCE).expect("the answer's head comes before the request's end");
    for _ in 0..3 {
        client.send("2\r\nhi\r\n");
        client.take_until(b"ack\r\n", PATIENCE).expect("an answer to each part");
    }
    client.send("0\r\n\r\n");
    client.take_until(b"0\r\n\r\n", PATIENCE).expect("the end");
}

#[test]
fn an_early_answer_to_an_unfinished_upload_is_passed_on() {
    stage().upstream.answer(
        "/v1/projects/e1/early",
        Answer::after_head(|_, conversation| {
            conversation.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").ok();
            false
        }),
    );
    let mark = marker();
    let mut client = stage().gateway.connect();
    let request = stage().request("POST", "/v1/projects/e1/early").mark(&mark);
    client.send([request.header("Content-Length", "100000").end(), vec![b'x'; 10]].concat());
    let answer = client.read();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    // the rest of the body may never be taken for a request
    client.send(Request::get("/v1/projects/e1/x").mark("smuggled").end());
    assert!(client.ends_within(PATIENCE), "the connection goes on in the middle of a body");
    stage().upstream.assert_unseen("smuggled", "the rest of a body");
}

#[test]
fn an_early_answer_on_an_http2_stream_leaves_the_connection_whole() {
    stage().upstream.answer(
        "/v1/projects/e1/early2",
        Answer::after_head(|_, conversation| {
            conversation.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").ok();
            false
        }),
    );
    let key = stage().e1.authorization();
    let mut client = RawHttp2::connect(stage().gateway.https());
    let fields = |path: &'static [u8]| -> [(&'static [u8], Vec<u8>); 5] {
        [
            (b":method", b"POST".to_vec()),
            (b":scheme", b"https".to_vec()),
            (b":authority", b"gw.test".to_vec()),
            (b":path", path.to_vec()),
            (b"authorization", key.clone().into_bytes()),
        ]
    };
    let early = fields(b"/v1/projects/e1/early2");
    let early: Vec<(&[u8], &[u8])> = early.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    client.headers(1, &early, false).expect("an open connection");
    client.data(1, &[b'x'; 1000], false).expect("an open connection");
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(403));
    // the rest of the body may be under way still
    client.data(1, &[b'x'; 1000], false).expect("an open connection");
    client.data(1, &[b'x'; 1000], true).expect("an open connection");
    let next = fields(b"/v1/projects/e1/x");
    let next: Vec<(&[u8], &[u8])> = next.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    client.headers(3, &next, false).expect("an open connection");
    client.data(3, b"next", true).expect("an open connection");
    assert_eq!(client.outcome_of(3), StreamOutcome::Status(200));
}

#[test]
fn a_100_continue_comes_from_the_upstream_and_only_after_the_key_is_accepted() {
    stage().upstream.answer(
        "/v1/projects/e1/expecting",
        Answer::after_head(|request, conversation| {
            assert_eq!(request.header("Expect").as_deref(), Some("100-continue"));
            conversation.send("HTTP/1.1 100 Continue\r\n\r\n").ok();
            let body = conversation.receive().unwrap_or_default();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            conversation.send([head.as_bytes(), &body].concat()).is_ok()
        }),
    );
    let mark = marker();
    let expecting = |key: &Key| {
        let request = Request::new("POST", "/v1/projects/e1/expecting").mark(&mark).key(key);
        request.header("Expect", "100-continue").header("Content-Length", "5").end()
    };
    let mut client = stage().gateway.connect();
    client.send(expecting(&stage().e1.with_wrong_secret()));
    let answer = client.try_read(false, PATIENCE).expect("an answer");
    answer.assert_refused(401);
    stage().upstream.assert_unseen(&mark, "a wrong secret");

    let mut client = stage().gateway.connect();
    client.send(expecting(&stage().e1));
    let interim = client.try_read(false, PATIENCE).expect("an interim answer");
    assert_eq!(interim.status, 100, "{interim:?}");
    client.send("hello");
    let answer = client.read();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
}

#[test]
fn a_final_answer_instead_of_continue_is_passed_on() {
    stage().upstream.answer(
        "/v1/projects/e1/unwanted",
        Answer::after_head(|_, conversation| {
            conversation.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno").ok();
            false
        }),
    );
    let mut client = stage().gateway.connect();
    let request = stage().request("POST", "/v1/projects/e1/unwanted");
    client.send(request.header("Expect", "100-continue").header("Content-Length", "5").end());
    let answer = client.read();
    assert_eq!((answer.status, answer.text().as_str()), (413, "no"));
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let upstream = &stage().upstream;
    upstream.answer("/v1/projects/e1/204", Answer::Bytes("HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n".into()));
    upstream.answer(
        "/v1/projects/e1/304",
        Answer::Bytes("HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\nContent-Length: 77\r\n\r\n".into()),
    );
    upstream.answer(
        "/v1/projects/e1/head",
        Answer::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n".into()),
    );
    let mut client = stage().gateway.connect();
    for (method, name, status) in [("GET", "204", 204), ("GET", "304", 304), ("HEAD", "head", 200)] {
        let request = stage().request(method, &format!("/v1/projects/e1/{name}")).end();
        client.send(&request);
        let answer = client.read_answer_to(&request);
        assert_eq!(answer.status, status, "{answer:?}");
        let length = answer.header("Content-Length");
        match name {
            "204" => assert_eq!(length, None, "{answer:?}"),
            "head" => assert_eq!(length.as_deref(), Some("77"), "HEAD tells what GET would: {answer:?}"),
            _ => assert_eq!(answer.header("ETag").as_deref(), Some("\"e\""), "{answer:?}"),
        }
        let mark = marker();
        client.send(stage().request("GET", "/v1/projects/e1/next").mark(&mark).end());
        assert!(contains(&client.read().body, mark.as_bytes()), "after {name}");
    }
}

#[test]
fn an_answer_until_close_is_ended_for_the_client_too() {
    stage().upstream.answer(
        "/v1/projects/e1/old",
        Answer::BytesThenClose("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end".into()),
    );
    let mut client = stage().gateway.connect();
    client.send(stage().request("GET", "/v1/projects/e1/old").end());
    assert_eq!(client.read().text(), "until the end");
}

#[test]
fn early_hints_pass_before_the_answer() {
    stage().upstream.answer(
        "/v1/projects/e1/hints",
        Answer::Bytes(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                .into(),
        ),
    );
    let mut client = stage().gateway.connect();
    client.send(stage().request("GET", "/v1/projects/e1/hints").end());
    let read = |client: &mut support::http1::Client| -> Response {
        client.try_read(false, PATIENCE).unwrap_or_else(|none| panic!("{none:?}"))
    };
    let hints = read(&mut client);
    assert_eq!((hints.status, hints.header("Link").as_deref()), (103, Some("</a.css>")), "{hints:?}");
    let mut answer = read(&mut client);
    while answer.status < 200 {
        answer = read(&mut client);
    }
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}

#[test]
fn trailers_pass_both_ways() {
    stage().upstream.answer(
        "/v1/projects/e1/trailers",
        Answer::Bytes(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\
             X-Other: o\r\n\r\n"
                .into(),
        ),
    );
    let mark = marker();
    let request = stage().request("POST", "/v1/projects/e1/trailers").mark(&mark).header("TE", "trailers");
    let request = request.header("Transfer-Encoding", "chunked").header("Trailer", "X-Up");
    let answer = stage().gateway.exchange(request.raw("\r\n2\r\nup\r\n0\r\nX-Up: 7\r\n").end());
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let sum: Vec<_> = answer.trailers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-sum")).collect();
    assert_eq!(sum.len(), 1, "{answer:?} {:?}", answer.trailers);
    assert_eq!(sum[0].1, b"42");
    let seen = stage().upstream.only(&mark);
    assert_eq!((seen.body.as_slice(), seen.all_trailers("X-Up")), (&b"up"[..], vec!["7".to_owned()]));
}

#[test]
fn http2_carries_trailers_and_hints_too() {
    stage().upstream.answer(
        "/v1/projects/e1/trailers2",
        Answer::Bytes(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n".into(),
        ),
    );
    let key = stage().e1.authorization();
    let mark = marker();
    let mut client = RawHttp2::connect(stage().gateway.https());
    let fields: [(&[u8], &[u8]); 7] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", b"/v1/projects/e1/trailers2"),
        (b"authorization", key.as_bytes()),
        (b"te", b"trailers"),
        (b"x-marker", mark.as_bytes()),
    ];
    client.headers(1, &fields, false).expect("an open connection");
    client.data(1, b"up", false).expect("an open connection");
    client.headers(1, &[(b"x-up", b"7")], true).expect("an open connection");
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(200));
    let (mut body, mut trailers) = (Vec::new(), None);
    while trailers.is_none() {
        let frame = client.read(PATIENCE).expect("the answer goes on");
        match frame.kind {
            DATA if frame.stream == 1 => body.extend_from_slice(&frame.payload),
            HEADERS if frame.stream == 1 && frame.flags & END_STREAM != 0 => trailers = Some(frame.payload),
            _ => {}
        }
    }
    assert_eq!(body, b"ok");
    assert!(!trailers.expect("they came").is_empty());
    let seen = stage().upstream.only(&mark);
    assert_eq!((seen.body.as_slice(), seen.all_trailers("X-Up")), (&b"up"[..], vec!["7".to_owned()]));
}

#[test]
fn early_hints_lose_hop_by_hop_headers_on_http2() {
    stage().upstream.answer(
        "/v1/projects/e1/hop",
        Answer::Bytes(
            "HTTP/1.1 103 Early Hints\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nLink: </a.css>\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                .into(),
        ),
    );
    let key = stage().e1.authorization();
    let mut client = RawHttp2::connect(stage().gateway.https());
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", b"/v1/projects/e1/hop"),
        (b"authorization", key.as_bytes()),
    ];
    client.headers(1, &fields, true).expect("an open connection");
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(103));
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(200));
}

#[test]
fn a_large_http2_body_flows_as_windows_open() {
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    stage().upstream.answer("/v1/projects/e1/large", Answer::with("HTTP/1.1 200 OK", &large));
    let key = stage().e1.authorization();
    let mut client = RawHttp2::connect(stage().gateway.https());
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", b"/v1/projects/e1/large"),
        (b"authorization", key.as_bytes()),
    ];
    client.headers(1, &fields, true).expect("an open connection");
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(200));
    let mut body = Vec::new();
    loop {
        let frame = client.read(PATIENCE).expect("the answer goes on");
        if frame.kind != DATA || frame.stream != 1 {
            continue;
        }
        body.extend_from_slice(&frame.payload);
        if frame.flags & END_STREAM != 0 {
            break;
        }
        if !frame.payload.is_empty() {
            let more = u32::try_from(frame.payload.len()).expect("a frame").to_be_bytes();
            client.write(WINDOW_UPDATE, 0, 0, &more).expect("an open connection");
            client.write(WINDOW_UPDATE, 0, 1, &more).expect("an open connection");
        }
    }
    assert!(body == large, "{} bytes came, or others", body.len());
}

#[test]
fn a_client_that_leaves_ends_the_upstream_request() {
    let mark = marker();
    stage().upstream.answer(
        "/v1/projects/e1/left",
        Answer::after_head(|_, conversation| {
            conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").ok();
            conversation.ends_within(PATIENCE);
            false
        }),
    );
    let mut client = stage().gateway.connect();
    client.send(stage().request("GET", "/v1/projects/e1/left").mark(&mark).end());
    client.take_until(b"1\r\na\r\n", PATIENCE).expect("the beginning");
    let connection = stage().upstream.only(&mark).connection;
    assert!(stage().upstream.is_open(connection));
    drop(client);
    // a client may close its own direction and still read, so it is given a few seconds
    wait_for(PATIENCE, "the upstream connection ends with the client's", || {
        !stage().upstream.is_open(connection)
    });
}

#[test]
fn an_answer_that_breaks_off_is_never_ended_as_if_whole() {
    for (name, bytes) in [
        ("short", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        ("chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe"),
        ("nolast", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    ] {
        let path = format!("/v1/projects/e1/{name}");
        stage().upstream.answer(&path, Answer::BytesThenClose(bytes.into()));
        let mut client = stage().gateway.connect();
        client.send(stage().request("GET", &path).end());
        let answer = client.try_read(false, PATIENCE);
        match answer {
            Err(NoAnswer::Closed(_)) => {}
            Ok(answer) if answer.status == 502 => {} // nothing had been sent yet
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// A client of HTTP/1.0 knows neither chunks nor interim answers.
#[test]
fn http_1_0_clients_get_plain_answers() {
    stage().upstream.answer(
        "/v1/projects/e1/modern",
        Answer::Bytes(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nbody\r\n0\r\nX-Trailer: t\r\n\r\n"
                .into(),
        ),
    );
    for connection in ["", "Connection: keep-alive\r\n"] {
        let mut client = stage().gateway.connect();
        let key = stage().e1.authorization();
        client.send(format!(
            "GET /v1/projects/e1/modern HTTP/1.0\r\nHost: gw.test\r\nAuthorization: {key}\r\n{connection}\r\n"
        ));
        let answer = client.try_read(false, PATIENCE).expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "body"), "{answer:?}");
        assert!(answer.all("Transfer-Encoding").is_empty(), "{answer:?}");
        assert!(client.ends_within(PATIENCE), "only the end of the connection ends this body");
    }
}

#[test]
fn http2_answers_without_a_body_end_with_their_head() {
    let upstream = &stage().upstream;
    upstream.answer("/v1/projects/e1/2/204", Answer::Bytes("HTTP/1.1 204 No Content\r\n\r\n".into()));
    upstream.answer(
        "/v1/projects/e1/2/304",
        Answer::Bytes("HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n".into()),
    );
    upstream.answer(
        "/v1/projects/e1/2/head",
        Answer::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n".into()),
    );
    for (method, name, status, length) in
        [("GET", "204", 204, None), ("GET", "304", 304, None), ("HEAD", "head", 200, Some("77"))]
    {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("https://gw.test/v1/projects/e1/2/{name}"))
            .header("authorization", stage().e1.authorization())
            .body(())
            .expect("a request");
        let answer = support::http2::exchange(stage().gateway.https(), request, b"").expect("an answer");
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{name}");
        let seen = answer.headers.get("content-length").map(|value| value.to_str().expect("text"));
        assert_eq!(seen, length, "{name}");
    }
}

#[test]
fn a_large_body_passes_over_http2_with_flat_memory() {
    const SIZE: u64 = 64 << 20;
    let upstream = RawUpstream::start(|_, mut reader| {
        loop {
            let lines = raw_upstream::head(&mut reader)?;
            if lines[0].starts_with("PUT ") {
                raw_upstream::skip(&mut reader, SIZE)?;
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")?;
            } else {
                reader
                    .get_mut()
                    .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())?;
                io::copy(&mut io::repeat(b'd').take(SIZE), reader.get_mut())?;
            }
        }
    });
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::File::create(&file).and_then(|file| file.set_len(SIZE)).expect("a file of this size");
    let url = format!("https://localhost:{}/v1/projects/e1/x", stage.gateway.https().port());
    let user = format!("{}:{}", stage.e1.access_key, stage.e1.secret);
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sSf", "-k", "--http2", "--max-time", "60", "-u", &user, "-o", "/dev/null"])
            .args(["-w", "%{http_version} %{size_upload} %{size_download}"])
            .args(arguments)
            .arg(&url)
            .output()
            .expect("curl can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let before = peak_kib(stage.gateway.pid());
    assert_eq!(curl(&["-T", file.to_str().expect("a plain path")]), format!("2 {SIZE} 4"));
    assert_eq!(curl(&[]), format!("2 0 {SIZE}"));
    let grown = peak_kib(stage.gateway.pid()) - before;
    assert!(grown < FLAT_KIB, "the gateway grew by {grown} KiB");
}
