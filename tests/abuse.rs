//! Slow, greedy and hostile clients: each is ended in time, and the others notice nothing.
//! Attack cases 82 to 84.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::http1::{Client, NoAnswer, Request};
use support::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, RawHttp2, SETTINGS,
    StreamOutcome, WINDOW_UPDATE, block,
};
use support::memory::peak_kib;
use support::stage::Stage;
use support::tls::{believing, handshake};
use support::upstream::Answer;
use support::{PATIENCE, contains, marker, show, wait_for};

/// A gateway that is impatient, so that its deadlines can be watched.
fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::with(|plan| {
            plan.top("timeouts: { header: 1s, idle: 2s, body: 1s, write: 1s, tls_handshake: 1s }")
                .top("limits: { body_bytes: 1MiB }")
        });
        let large = vec![b'L'; 16 << 20];
        stage.upstream.answer("/v1/projects/e1/large", Answer::with("HTTP/1.1 200 OK", &large));
        stage
    })
}

/// The deadlines of this stage, with room for a busy machine.
const SOON: Duration = Duration::from_secs(8);

#[track_caller]
fn assert_others_are_served(about: &str) {
    let mark = marker();
    let begun = Instant::now();
    let answer =
        stage().gateway.exchange(stage().request("POST", "/v1/projects/e1/x").mark(&mark).body("other"));
    assert_eq!(answer.status, 200, "{about}: {answer:?}");
    assert!(contains(&answer.body, mark.as_bytes()), "{about}");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{about}: another client waited {took:?}");
}

/// Runs `attack` while other clients go on; fails where they are held up or the gateway's memory grows.
#[track_caller]
fn while_others_are_served(about: &str, attack: impl FnOnce() + Send) {
    let gateway = &stage().gateway;
    assert_others_are_served("before the attack");
    let before = peak_kib(gateway.pid());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let _done = SetOnDrop(&done);
            attack();
        });
        while !done.load(Ordering::Acquire) {
            assert_others_are_served(about);
            std::thread::sleep(Duration::from_millis(10));
        }
        attacker.join().expect("the attack goes as written");
    });
    assert_others_are_served(about);
    let grown = peak_kib(gateway.pid()).saturating_sub(before);
    assert!(grown < 96 * 1024, "{about}: the gateway's peak memory grew by {grown} KiB");
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn case_82_a_head_that_trickles_is_ended_at_the_deadline() {
    let mark = marker();
    let mut client = stage().gateway.connect();
    client.send(stage().request("GET", "/v1/projects/e1/x").mark(&mark).unfinished());
    let begun = Instant::now();
    // one line every 100 ms: progress does not move the deadline of a head
    while client.try_send("X-Slow: a\r\n").is_ok() && begun.elapsed() < SOON {
        if client.ends_within(Duration::from_millis(100)) {
            break;
        }
    }
    let took = begun.elapsed();
    assert!(took < SOON && took > Duration::from_millis(800), "ended after {took:?}");
    stage().upstream.assert_unseen(&mark, "an unfinished head");
}

#[test]
fn case_82_an_unfinished_head_is_answered_with_408() {
    let mut client = stage().gateway.connect();
    client.send("GET /v1/projects/e1/x HTTP/1.1\r\nHost: gw");
    let answer = client.read();
    answer.assert_refused(408);
    assert!(client.ends_within(PATIENCE));
}

#[test]
fn case_82_a_silent_connection_is_closed() {
    let begun = Instant::now();
    assert!(stage().gateway.connect().ends_within(SOON), "a silent connection stays open");
    assert!(begun.elapsed() > Duration::from_millis(800), "too early for a client that is only slow");
}

#[test]
fn case_82_a_kept_connection_is_closed_when_idle() {
    let mut client = stage().gateway.connect();
    client.send(stage().request("GET", "/v1/projects/e1/x").end());
    assert_eq!(client.read().status, 200);
    let begun = Instant::now();
    assert!(client.ends_within(SOON), "an idle connection stays open");
    assert!(begun.elapsed() > Duration::from_millis(1500), "closed after {:?}", begun.elapsed());
    assert!(
        client.unread().is_empty(),
        "an idle connection is closed without a word: {}",
        show(client.unread())
    );
}

#[test]
fn case_82_a_body_that_stands_still_is_answered_with_408() {
    let mark = marker();
    let mut client = stage().gateway.connect();
    client
        .send(stage().request("POST", "/v1/projects/e1/x").mark(&mark).header("Content-Length", "10").end());
    client.send("half");
    match client.try_read(false, SOON) {
        Ok(answer) => assert_eq!(answer.status, 408, "{answer:?}"),
        other => panic!("{other:?}"),
    }
    assert!(client.ends_within(PATIENCE));
    for request in stage().upstream.requests(&mark) {
        wait_for(PATIENCE, "half a body ends its upstream connection", || {
            !stage().upstream.is_open(request.connection)
        });
    }
}

#[test]
fn case_82_an_http2_body_that_stands_still_is_ended() {
    let mark = marker();
    let mut client = RawHttp2::connect(stage().gateway.https());
    request(&mut client, 1, "POST", "/v1/projects/e1/x", &mark, false);
    client.data(1, b"half", false).expect("an open connection");
    let begun = Instant::now();
    match client.outcome_of(1) {
        StreamOutcome::Status(408) | StreamOutcome::Reset(_) => {}
        other => panic!("{other:?}"),
    }
    assert!(begun.elapsed() < SOON, "after {:?}", begun.elapsed());
    for seen in stage().upstream.requests(&mark) {
        wait_for(PATIENCE, "half a body ends its upstream connection", || {
            !stage().upstream.is_open(seen.connection)
        });
    }
    request(&mut client, 3, "GET", "/v1/projects/e1/x", &mark, true);
    assert_eq!(client.outcome_of(3), StreamOutcome::Status(200), "other streams of the connection go on");
}

#[test]
fn case_82_requests_without_a_key_whose_answers_nobody_reads_are_bounded() {
    while_others_are_served("unread answers", || {
        let mut client = stage().gateway.connect();
        let many = Request::get("/v1/projects/e1/x").end().repeat(1000);
        let begun = Instant::now();
        while client.try_send(&many).is_ok() {
            assert!(begun.elapsed() < 2 * SOON, "a client that reads nothing may go on asking");
        }
    });
}

#[test]
fn case_82_a_slow_body_that_keeps_moving_is_not_ended() {
    let mark = marker();
    let mut client = stage().gateway.connect();
    client
        .send(stage().request("POST", "/v1/projects/e1/x").mark(&mark).header("Content-Length", "10").end());
    for _ in 0..10 {
        client.send("x");
        std::thread::sleep(Duration::from_millis(250)); // longer than the deadline in sum, not in any step
    }
    assert_eq!(client.read().status, 200);
    assert_eq!(stage().upstream.only(&mark).body, b"xxxxxxxxxx");
}

#[test]
fn case_82_a_client_that_does_not_read_is_ended() {
    let mark = marker();
    let mut client = stage().gateway.connect();
    client.send(stage().request("GET", "/v1/projects/e1/large").mark(&mark).end());
    let seen = stage().upstream.wait_for(&mark);
    wait_for(SOON, "an answer that nobody reads is ended", || !stage().upstream.is_open(seen.connection));
    let answer = client.try_read(false, PATIENCE);
    assert!(
        matches!(answer, Err(NoAnswer::Closed(_))),
        "the answer was whole: {:?}",
        answer.map(|a| a.status)
    );
}

#[test]
fn case_82_a_client_that_reads_no_small_answers_is_ended() {
    let stage = Stage::with(|plan| plan.top("timeouts: { write: 1s }"));
    // each is copied behind the one before it: what waits is never a piece of one answer
    let small = vec![b's'; 12_000];
    stage.upstream.answer("/v1/projects/e1/small", Answer::with("HTTP/1.1 200 OK", &small));
    let mut client = stage.gateway.connect();
    let request = stage.request("GET", "/v1/projects/e1/small").end();
    client.send(request.repeat(3000));
    wait_for(PATIENCE, "the upstream is asked", || stage.upstream.connections() > 0);
    wait_for(SOON, "a client that reads nothing is ended", || !stage.upstream.is_open(0));
}

#[test]
fn case_82_an_http2_stream_whose_window_stays_closed_is_ended() {
    let mark = marker();
    let mut client = RawHttp2::connect(stage().gateway.https());
    // SETTINGS_INITIAL_WINDOW_SIZE (4) = 0
    client.write(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).expect("an open connection");
    request(&mut client, 1, "GET", "/v1/projects/e1/large", &mark, true);
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(200));
    let seen = stage().upstream.wait_for(&mark);
    wait_for(SOON, "a stream without a window is ended", || !stage().upstream.is_open(seen.connection));
}

#[test]
fn case_82_a_tls_handshake_that_stands_still_is_ended() {
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half a hello"] {
        let start = Instant::now();
        let mut tcp = TcpStream::connect(stage().gateway.https()).expect("connect");
        tcp.set_read_timeout(Some(SOON)).expect("a socket option");
        tcp.write_all(begun).expect("write");
        let mut rest = Vec::new();
        let ended = tcp.read_to_end(&mut rest);
        assert!(
            !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "still open"
        );
        assert!(start.elapsed() > Duration::from_millis(800), "ended after {:?}", start.elapsed());
    }
}

#[test]
fn case_82_an_http2_head_that_is_never_finished_is_ended() {
    let mut client = RawHttp2::connect(stage().gateway.https());
    client.write(HEADERS, 0, 1, &block(&[(b":method", b"GET")])).expect("an open connection");
    assert!(ends(&mut client), "half a header block stays");
}

#[test]
fn case_82_an_idle_http2_connection_is_closed() {
    let mut client = RawHttp2::connect(stage().gateway.https());
    request(&mut client, 1, "GET", "/v1/projects/e1/x", "idle", true);
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(200));
    assert!(ends(&mut client), "an idle HTTP/2 connection stays");
}

#[test]
fn case_82_http2_without_a_preface_is_ended() {
    let tls = handshake(stage().gateway.https(), "localhost", believing(&["h2"])).expect("a handshake");
    let mut client = Client::over(tls);
    assert!(client.ends_within(SOON), "a silent HTTP/2 connection stays");
    let mut client = stage().gateway.connect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM");
    assert!(client.ends_within(SOON), "half a preface stays");
}

#[test]
fn a_connection_closes_in_order_after_requests_per_connection() {
    let stage = Stage::with(|plan| plan.top("limits: { requests_per_connection: 3 }"));
    let mut client = stage.gateway.connect();
    for number in 1..=3 {
        client.send(stage.request("GET", "/v1/projects/e1/x").end());
        let answer = client.read();
        assert_eq!(answer.status, 200);
        let closes = answer.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        assert_eq!(closes, number == 3, "request {number}: {answer:?}");
    }
    assert!(client.ends_within(PATIENCE));

    let key = stage.e1.authorization();
    let mut client = RawHttp2::connect(stage.gateway.https());
    for number in 0..3 {
        let fields: [Field<'_>; 5] = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", b"/v1/projects/e1/x"),
            (b"authorization", key.as_bytes()),
        ];
        client.headers(number * 2 + 1, &fields, true).expect("an open connection");
        if number < 2 {
            assert_eq!(client.outcome_of(number * 2 + 1), StreamOutcome::Status(200));
        }
    }
    let (mut told, mut answered) = (false, false);
    while !(told && answered) {
        let frame = client.read(PATIENCE).expect("the last stream is answered");
        told |= frame.kind == GOAWAY && frame.payload[4..8] == [0; 4];
        answered |= frame.kind == HEADERS && frame.stream == 5;
    }
}

/// Name and value of an HTTP/2 header field.
type Field<'a> = (&'a [u8], &'a [u8]);

/// Whether the gateway ends the connection in time.
fn ends(client: &mut RawHttp2) -> bool {
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        match client.read(deadline.saturating_duration_since(Instant::now())) {
            Some(frame) if frame.kind == GOAWAY => return true,
            Some(_) => {}
            None => return Instant::now() < deadline,
        }
    }
    false
}

/// Sends a request into `e1` on a stream; the connection may have ended already.
fn try_request(client: &mut RawHttp2, stream: u32, method: &str, path: &str, mark: &str, end: bool) -> bool {
    let key = stage().e1.authorization();
    let fields: [(&[u8], &[u8]); 6] = [
        (b":method", method.as_bytes()),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
        (b"authorization", key.as_bytes()),
        (b"x-marker", mark.as_bytes()),
    ];
    client.headers(stream, &fields, end).is_ok()
}

#[track_caller]
fn request(client: &mut RawHttp2, stream: u32, method: &str, path: &str, mark: &str, end: bool) {
    assert!(try_request(client, stream, method, path, mark, end), "the connection has ended");
}

#[test]
fn case_83_rapid_resets_end_the_connection() {
    let mark = marker();
    while_others_are_served("rapid resets", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        for number in 0..20_000 {
            let stream = number * 2 + 1;
            let sent = try_request(&mut client, stream, "GET", "/v1/projects/e1/x", &mark, true);
            if !sent || client.write(RST_STREAM, 0, stream, &8u32.to_be_bytes()).is_err() {
                break;
            }
        }
        assert!(ends(&mut client), "20,000 resets were put up with");
    });
    let reached = stage().upstream.requests(&mark).len();
    assert!(reached < 5_000, "{reached} requests that were reset at once reached the upstream");
}

#[test]
fn case_83_resets_of_requests_under_way_end_the_connection() {
    let path = "/v1/projects/e1/never-answers";
    stage().upstream.answer(
        path,
        Answer::after_head(|_, conversation| {
            conversation.ends_within(SOON);
            false
        }),
    );
    while_others_are_served("paced resets", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        let mut asked = 0;
        for number in 0..1_000 {
            // each request is with the upstream before it is cancelled: none is reset before it was accepted
            let (stream, mark) = (number * 2 + 1, marker());
            if !try_request(&mut client, stream, "GET", path, &mark, true) {
                break;
            }
            let mut ended = false;
            wait_for(SOON, "a request that is served, or the end", || {
                ended = client.read(Duration::from_millis(5)).is_some_and(|frame| frame.kind == GOAWAY);
                ended || stage().upstream.saw(&mark)
            });
            if ended || client.write(RST_STREAM, 0, stream, &8u32.to_be_bytes()).is_err() {
                break;
            }
            asked = number;
        }
        assert!(asked < 500, "{asked} requests were cancelled one by one");
    });
}

#[test]
fn case_83_resets_that_the_gateway_is_made_to_send_end_the_connection() {
    let mark = marker();
    while_others_are_served("made resets", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        for number in 0..20_000 {
            let stream = number * 2 + 1;
            // a window update of nothing is a stream error, which the gateway answers with a reset
            let sent = try_request(&mut client, stream, "GET", "/v1/projects/e1/x", &mark, true);
            if !sent || client.write(WINDOW_UPDATE, 0, stream, &[0; 4]).is_err() {
                break;
            }
        }
        assert!(ends(&mut client), "20,000 provoked resets were put up with");
    });
    let reached = stage().upstream.requests(&mark).len();
    assert!(reached < 5_000, "{reached} requests that were reset at once reached the upstream");
}

#[test]
fn case_83_endless_continuations_end_the_connection() {
    while_others_are_served("CONTINUATION", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        client.write(HEADERS, END_STREAM, 1, &block(&[(b":method", b"GET")])).expect("an open connection");
        let piece = block(&[(b"x-filler", &[b'f'; 8000])]);
        let mut sent = 0;
        while sent < 64 << 20 && client.write(CONTINUATION, 0, 1, &piece).is_ok() {
            sent += piece.len();
        }
        assert!(sent < 64 << 20, "64 MiB of one header block were taken");
        let mut client = RawHttp2::connect(stage().gateway.https());
        client.write(HEADERS, END_STREAM, 1, &[]).expect("an open connection");
        let mut empty = 0;
        while empty < 100_000 && client.write(CONTINUATION, 0, 1, &[]).is_ok() {
            empty += 1;
        }
        assert!(ends(&mut client), "100,000 empty CONTINUATION frames were put up with");
    });
}

#[test]
fn case_83_empty_data_frames_are_no_progress() {
    let mark = marker();
    while_others_are_served("empty DATA", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        request(&mut client, 1, "POST", "/v1/projects/e1/x", &mark, false);
        let begun = Instant::now();
        while client.write(DATA, 0, 1, &[]).is_ok() {
            assert!(begun.elapsed() < SOON, "empty DATA frames keep a request alive");
            // the stream's end is seen between the frames
            match client.read(Duration::from_millis(1)) {
                Some(frame) if frame.kind == RST_STREAM || frame.kind == GOAWAY => break,
                Some(frame) if frame.kind == HEADERS => break,
                _ => {}
            }
        }
    });
}

#[test]
fn case_83_floods_of_pings_and_settings_are_bounded() {
    for (kind, payload) in [(PING, &[0; 8][..]), (SETTINGS, &[0, 3, 0, 0, 0, 100]), (SETTINGS, &[])] {
        while_others_are_served("PING and SETTINGS", || {
            let mut client = RawHttp2::connect(stage().gateway.https());
            for _ in 0..200_000 {
                // nothing is read: the answers pile up on the gateway's side, which must stop taking more
                if client.write(kind, 0, 0, payload).is_err() {
                    break;
                }
            }
        });
    }
}

#[test]
fn case_83_a_header_bomb_is_refused_and_costs_little() {
    let mark = marker();
    while_others_are_served("header bombs", || {
        for (size, references) in [(3_000, 16_000), (1, 32_000)] {
            let mut client = RawHttp2::connect(stage().gateway.https());
            client.write(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).expect("an open connection");
            for number in 0..50 {
                let stream = number * 2 + 1;
                let key = stage().e1.authorization();
                let mut bytes = block(&[
                    (b":method", b"GET"),
                    (b":scheme", b"https"),
                    (b":authority", b"gw.test"),
                    (b":path", b"/v1/projects/e1/x"),
                    (b"authorization", key.as_bytes()),
                    (b"x-marker", mark.as_bytes()),
                ]);
                // one entry for the table, then a byte for each use of it: indexed, number 62
                bytes.extend_from_slice(b"\x40\x01a\x7f");
                length_behind_prefix(&mut bytes, size);
                bytes.extend(std::iter::repeat_n(b'v', size));
                bytes.extend(std::iter::repeat_n(0xbe, references));
                if !in_pieces(&mut client, stream, &bytes) {
                    break;
                }
            }
        }
    });
    stage().upstream.assert_unseen(&mark, "header bombs");
}

/// The rest of a length of at least 127, whose prefix byte stands there already; shorter ones replace it.
fn length_behind_prefix(bytes: &mut Vec<u8>, length: usize) {
    let low = |number: usize| u8::try_from(number & 0x7f).expect("seven bits");
    if length < 127 {
        bytes.pop();
        bytes.push(low(length));
        return;
    }
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(low(rest) | 0x80);
        rest >>= 7;
    }
    bytes.push(low(rest));
}

/// Sends a header block that ends its stream in frames of 16 KiB; false where the connection has ended.
fn in_pieces(client: &mut RawHttp2, stream: u32, bytes: &[u8]) -> bool {
    let mut pieces = bytes.chunks(16_000).peekable();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        let end_stream = if kind == HEADERS { END_STREAM } else { 0 };
        if client.write(kind, end | end_stream, stream, piece).is_err() {
            return false;
        }
        kind = CONTINUATION;
    }
    true
}

#[test]
fn case_83_cookie_crumbs_are_one_field_and_bounded() {
    let key = stage().e1.authorization();
    for (crumbs, passes) in [(200, true), (2_000, true), (3_000, false), (100_000, false)] {
        let mark = marker();
        let mut fields: Vec<Field<'_>> = vec![
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", b"/v1/projects/e1/x"),
            (b"authorization", key.as_bytes()),
            (b"x-marker", mark.as_bytes()),
        ];
        fields.extend(std::iter::repeat_n((&b"cookie"[..], &b"a=b"[..]), crumbs));
        let mut client = RawHttp2::connect(stage().gateway.https());
        in_pieces(&mut client, 1, &block(&fields));
        let fate = client.outcome_of(1);
        if passes {
            // browsers send every cookie as a field of its own (RFC 9113 section 8.2.3)
            assert_eq!(fate, StreamOutcome::Status(200), "{crumbs}");
            let cookie = stage().upstream.only(&mark).header("Cookie").expect("one field");
            assert_eq!(cookie, vec!["a=b"; crumbs].join("; "));
        } else {
            assert!(!matches!(fate, StreamOutcome::Status(status) if status != 431), "{crumbs}: {fate:?}");
            stage().upstream.assert_unseen(&mark, "cookie crumbs");
        }
    }
}

#[test]
fn case_83_streams_beyond_the_limit_are_refused() {
    let held = marker();
    stage().upstream.answer(
        "/v1/projects/e1/held",
        Answer::after_head(|_, conversation| {
            conversation.ends_within(PATIENCE);
            false
        }),
    );
    while_others_are_served("many streams", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        let mut refused = false;
        for number in 0..300 {
            let sent = try_request(&mut client, number * 2 + 1, "POST", "/v1/projects/e1/held", &held, false);
            if !sent {
                refused = true;
                break;
            }
        }
        while let Some(frame) = client.read(Duration::from_millis(500)) {
            refused |= frame.kind == RST_STREAM || frame.kind == GOAWAY;
        }
        assert!(refused, "300 streams at once were taken");
    });
    let reached = stage().upstream.requests(&held).len();
    assert!(reached <= 128, "{reached} streams of one connection reached the upstream at once");
}

#[test]
fn case_84_too_many_headers_are_refused_with_431() {
    for key in [None, Some(&stage().e1)] {
        let mark = marker();
        let mut request = Request::get("/v1/projects/e1/x").mark(&mark);
        if let Some(key) = key {
            request = request.key(key);
        }
        for number in 0..10_000 {
            request = request.raw(format!("a{number}: b\r\n"));
        }
        assert_refused(&request.end(), 431, &mark);
    }
    // 100 fields are allowed; the request has four of its own
    for (more, status) in [(90, 200), (100, 431)] {
        let mut request = stage().request("GET", "/v1/projects/e1/x");
        for number in 0..more {
            request = request.raw(format!("a{number}: b\r\n"));
        }
        assert_eq!(stage().gateway.exchange(request.end()).status, status, "{more} more fields");
    }
}

#[test]
fn case_84_a_header_of_a_megabyte_is_refused_with_431() {
    let mark = marker();
    let request =
        stage().request("GET", "/v1/projects/e1/x").mark(&mark).header("X-Big", vec![b'b'; 1 << 20]);
    assert_refused(&request.end(), 431, &mark);
    let mark = marker();
    let request = stage().request("GET", "/v1/projects/e1/x").mark(&mark).header(vec![b'b'; 1 << 20], "x");
    assert_refused(&request.end(), 431, &mark);
}

#[test]
fn case_84_a_target_of_a_megabyte_is_refused_with_414() {
    let mark = marker();
    for separator in ["/", "?"] {
        let target = format!("/v1/projects/e1/x{separator}{}", "u".repeat(1 << 20));
        assert_refused(&stage().request("GET", &target).mark(&mark).end(), 414, &mark);
    }
    let target = format!("/v1/projects/e1/x?{}", "u".repeat(9_000));
    assert_refused(&stage().request("GET", &target).mark(&mark).end(), 414, &mark);
    let target = format!("/v1/projects/e1/x?{}", "u".repeat(7_000));
    assert_eq!(stage().gateway.exchange(stage().request("GET", &target).end()).status, 200);
}

/// Sends a head that is refused before it is whole: the gateway may close while it is still being sent.
#[track_caller]
fn assert_refused(bytes: &[u8], status: u16, mark: &str) {
    let mut client = stage().gateway.connect();
    client.send(bytes);
    client.read().assert_refused(status);
    assert!(client.ends_within(PATIENCE), "the connection stays open");
    stage().upstream.assert_unseen(mark, "an oversized head");
}

#[test]
fn case_84_http2_heads_have_the_same_limits() {
    let key = stage().e1.authorization();
    let long = [b"/v1/projects/e1/x?".as_slice(), &[b'u'; 9_000]].concat();
    let huge = vec![b'h'; 1 << 20];
    let names: Vec<String> = (0..150).map(|number| format!("a{number}")).collect();
    let many: Vec<Field<'_>> = names.iter().map(|name| (name.as_bytes(), &b"b"[..])).collect();
    let cases: [(&[u8], Vec<Field<'_>>, u16); 3] = [
        (&long, Vec::new(), 414),
        (b"/v1/projects/e1/x", many, 431),
        (b"/v1/projects/e1/x", vec![(b"x-big", &huge)], 431),
    ];
    for (path, more, status) in cases {
        let mark = marker();
        let mut fields: Vec<Field<'_>> = vec![
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", path),
            (b"authorization", key.as_bytes()),
            (b"x-marker", mark.as_bytes()),
        ];
        fields.extend(more);
        let mut client = RawHttp2::connect(stage().gateway.https());
        in_pieces(&mut client, 1, &block(&fields));
        match client.outcome_of(1) {
            StreamOutcome::Status(seen) => assert_eq!(seen, status),
            StreamOutcome::Reset(_) | StreamOutcome::Gone(_) if status == 431 => {}
            other => panic!("{status}: {other:?}"),
        }
        stage().upstream.assert_unseen(&mark, "an oversized head");
    }
}

#[test]
fn case_84_compressed_request_bodies_pass_as_they_are() {
    let mark = marker();
    let bomb: Vec<u8> =
        [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3].into_iter().chain((0..5000).map(|_| 0)).collect();
    let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark).header("Content-Encoding", "gzip");
    assert_eq!(stage().gateway.exchange(request.body(&bomb)).status, 200);
    let seen = stage().upstream.only(&mark);
    assert_eq!(seen.body, bomb);
    assert_eq!(seen.header("Content-Encoding").as_deref(), Some("gzip"));
}

#[test]
fn a_body_over_the_limit_is_refused_with_413() {
    let mark = marker();
    let mut client = stage().gateway.connect();
    let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
    client.send(request.header("Content-Length", "1048577").end());
    client.read().assert_refused(413);
    assert!(client.ends_within(PATIENCE));
    stage().upstream.assert_unseen(&mark, "an announced body over the limit");

    // a chunked one is seen to be too long only when it is
    let mark = marker();
    let mut client = stage().gateway.connect();
    let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
    let mut bytes = request.header("Transfer-Encoding", "chunked").end();
    for _ in 0..17 {
        bytes.extend_from_slice(b"10000\r\n");
        bytes.extend_from_slice(&vec![b'c'; 0x10000]);
        bytes.extend_from_slice(b"\r\n");
    }
    client.send(bytes);
    match client.try_read(false, PATIENCE) {
        Ok(answer) => assert_eq!(answer.status, 413, "{answer:?}"),
        Err(NoAnswer::Closed(rest)) => assert!(rest.is_empty(), "{}", show(&rest)),
        Err(other) => panic!("{other:?}"),
    }
    for request in stage().upstream.requests(&mark) {
        wait_for(PATIENCE, "its upstream connection is closed", || {
            !stage().upstream.is_open(request.connection)
        });
    }
    let exact = vec![b'e'; 1 << 20];
    let request = stage().request("POST", "/v1/projects/e1/x").body(&exact);
    assert_eq!(stage().gateway.exchange(request).status, 200, "a body of just the limit");
}

#[test]
fn connections_beyond_a_limit_are_refused_until_one_ends() {
    for limits in ["connections: 8", "connections_per_source: 8"] {
        let stage = Stage::with(|plan| plan.top(&format!("limits: {{ {limits} }}")));
        let request = stage.request("GET", "/v1/projects/e1/x").end();
        let connect = || Client::connect_from(Ipv4Addr::new(127, 0, 0, 9), stage.gateway.http());
        let mut held: Vec<Client> = Vec::new();
        for _ in 0..8 {
            let mut client = connect();
            client.send(&request);
            assert_eq!(client.read().status, 200, "{limits}");
            held.push(client);
        }
        let mut beyond = connect();
        beyond.send(&request);
        match beyond.try_read(false, PATIENCE) {
            Ok(answer) => assert!([429, 503].contains(&answer.status), "{limits}: {answer:?}"),
            Err(NoAnswer::Closed(rest)) => assert!(rest.is_empty(), "{}", show(&rest)),
            Err(NoAnswer::Late(_)) => {} // left in the queue of the listener
            Err(other) => panic!("{other:?}"),
        }
        drop(beyond);
        drop(held.pop());
        wait_for(PATIENCE, "there is room again", || {
            let mut client = connect();
            client.send(&request);
            client.try_read(false, Duration::from_millis(500)).is_ok_and(|answer| answer.status == 200)
        });
        held[0].send(&request);
        assert_eq!(held[0].read().status, 200, "{limits}: those who were there go on");
    }
}

#[test]
fn too_few_open_files_are_logged_now_and_then_and_accepting_goes_on() {
    let stage = Stage::start();
    let pid = stage.gateway.pid();
    let allow = |count: usize| {
        let limit = format!("--nofile={count}:");
        let set = Command::new("prlimit").args([&format!("--pid={pid}"), &limit]).status();
        assert!(set.is_ok_and(|status| status.success()), "the limit cannot be set");
    };
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its open files").count();
    allow(open + 8);
    let waiting: Vec<_> = (0..40).map(|_| TcpStream::connect(stage.gateway.http())).collect();
    let told = || stage.gateway.log().matches("cannot accept").count();
    wait_for(PATIENCE, "it is told", || told() > 0);
    // it is tried twenty times a second, by each worker
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert!(told() <= 2, "{}", stage.gateway.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(waiting);
    let request = stage.request("GET", "/v1/projects/e1/x").end();
    wait_for(PATIENCE, "clients are served again", || stage.gateway.exchange(&request).status == 200);
}
