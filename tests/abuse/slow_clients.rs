//! Slow and silent clients, case 82: each is ended at a deadline, and one that keeps moving is not.

use super::*;

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
