//! An orderly stop: no new connections, running requests finish, tunnels are closed last.

mod support;

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use support::api::request;
use support::http1::Client;
use support::http2::{DATA, END_STREAM, GOAWAY, HEADERS, RawHttp2, StreamOutcome};
use support::stage::Stage;
use support::upstream::{Answer, Conversation, Recorded};
use support::{PATIENCE, marker, wait_for};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// An upstream path whose answer is finished when the test says so.
fn held(stage: &Stage, path: &str) -> Sender<()> {
    let (tell, told) = mpsc::channel::<()>();
    let told: Mutex<Receiver<()>> = Mutex::new(told);
    stage.upstream.answer(
        path,
        Answer::after_head(move |_, conversation| {
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").ok();
            told.lock().expect("one at a time").recv_timeout(PATIENCE).ok();
            conversation.send("llo").is_ok()
        }),
    );
    tell
}

fn echo_tunnel(_: &Recorded, conversation: &mut Conversation) -> bool {
    conversation
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .ok();
    while let Ok(bytes) = conversation.receive() {
        if bytes.is_empty() || conversation.send(bytes).is_err() {
            break;
        }
    }
    false
}

#[track_caller]
fn wait_until_refused(stage: &Stage) {
    let address = stage.gateway.http();
    wait_for(PATIENCE, "new connections are refused", || {
        // a connection that was still taken into the queue is closed without an answer
        TcpStream::connect(address).is_err()
    });
}

#[test]
fn running_requests_finish_and_new_connections_are_refused() {
    for signal in ["TERM", "INT"] {
        let mut stage = Stage::with(|plan| plan.top("timeouts: { header: 1s }"));
        let finish = held(&stage, "/v1/projects/e1/held");
        let mark = marker();
        let mut running = stage.gateway.connect();
        running.send(stage.request("GET", "/v1/projects/e1/held").mark(&mark).end());
        running.take_until(b"\r\n\r\nhe", PATIENCE).expect("the answer has begun");
        let mut idle = stage.gateway.connect();
        idle.send(stage.request("GET", "/v1/projects/e1/x").end());
        assert_eq!(idle.read().status, 200);
        let mut half = stage.gateway.connect();
        half.send("GET /v1/projects/e1/x HTTP/1.1\r\nHo");

        let begun = Instant::now();
        stage.gateway.signal(signal);
        wait_until_refused(&stage);
        assert!(idle.ends_within(Duration::from_secs(5)), "an idle connection holds up the stop");
        finish.send(()).expect("the upstream waits");
        assert_eq!(running.take(3, PATIENCE).expect("the answer's end"), b"llo");
        assert!(running.ends_within(PATIENCE), "the connection is closed behind its answer");
        let code = stage.gateway.wait_for_exit(PATIENCE);
        assert_eq!(code, Some(0), "{signal}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{signal}: it took {:?}", begun.elapsed());
    }
}

#[test]
fn a_request_that_never_ends_is_ended_after_the_drain_timeout() {
    let mut stage = Stage::with(|plan| plan.top("drain_timeout: 1s"));
    let _finish = held(&stage, "/v1/projects/e1/held");
    let mut running = stage.gateway.connect();
    running.send(stage.request("GET", "/v1/projects/e1/held").end());
    running.take_until(b"\r\n\r\nhe", PATIENCE).expect("the answer has begun");
    let begun = Instant::now();
    stage.gateway.signal("TERM");
    assert!(running.ends_within(PATIENCE));
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(800) && took < Duration::from_secs(8), "ended after {took:?}");
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn a_request_that_waits_for_the_upstream_is_answered_503_when_the_gateway_stops() {
    let mut stage = Stage::with(|plan| plan.top("drain_timeout: 1s"));
    stage.upstream.answer(
        "/v1/projects/e1/silent",
        Answer::after_head(|_, conversation| {
            conversation.ends_within(PATIENCE);
            false
        }),
    );
    let mark = marker();
    let mut client = stage.gateway.connect();
    client.send(stage.request("GET", "/v1/projects/e1/silent").mark(&mark).end());
    stage.upstream.wait_for(&mark);
    stage.gateway.signal("TERM");
    client.read().assert_refused(503);
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn tunnels_are_closed_last() {
    let mut stage = Stage::with(|plan| plan.top("drain_timeout: 4s"));
    let finish = held(&stage, "/v1/projects/e1/held");
    stage.upstream.answer("/v1/projects/e1/tunnel", Answer::after_head(echo_tunnel));
    let mut running = stage.gateway.connect();
    running.send(stage.request("GET", "/v1/projects/e1/held").end());
    running.take_until(b"\r\n\r\nhe", PATIENCE).expect("the answer has begun");
    let mut tunnel: Client = stage.gateway.connect();
    let upgrade = stage.request("GET", "/v1/projects/e1/tunnel");
    tunnel.send(upgrade.header("Connection", "Upgrade").header("Upgrade", "websocket").end());
    assert_eq!(tunnel.read().status, 101);

    stage.gateway.signal("TERM");
    wait_until_refused(&stage);
    tunnel.send("still here");
    assert_eq!(tunnel.take(10, PATIENCE).expect("the tunnel is open while a request runs"), b"still here");
    finish.send(()).expect("the upstream waits");
    assert_eq!(running.take(3, PATIENCE).expect("the answer's end"), b"llo");
    assert!(tunnel.ends_within(Duration::from_secs(10)), "the tunnel is closed when the requests are done");
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn a_websocket_on_an_http2_stream_does_not_hold_up_the_stop() {
    let mut stage = Stage::with(|plan| plan.top("drain_timeout: 1s"));
    stage.upstream.answer(
        "/v1/projects/e1/tunnel",
        Answer::after_head(|request, conversation| {
            conversation.send(switch(request)).ok();
            conversation.ends_within(PATIENCE);
            false
        }),
    );
    let mut client = http2_websocket(&stage);
    let begun = Instant::now();
    stage.gateway.signal("TERM");
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    drop(client.read(PATIENCE));
}

/// The 101 of a WebSocket server, with the proof that it has read the request.
fn switch(request: &Recorded) -> String {
    let key = derive_accept_key(request.header("Sec-WebSocket-Key").unwrap_or_default().as_bytes());
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    format!("{head}Sec-WebSocket-Accept: {key}\r\n\r\n")
}

/// An HTTP/2 connection whose stream 1 is an open WebSocket on the path `/v1/projects/e1/tunnel`.
#[track_caller]
fn http2_websocket(stage: &Stage) -> RawHttp2 {
    let key = stage.e1.authorization();
    let mut client = RawHttp2::connect(stage.gateway.https());
    let fields: [(&[u8], &[u8]); 6] = [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", b"/v1/projects/e1/tunnel"),
        (b"authorization", key.as_bytes()),
    ];
    client.headers(1, &fields, false).expect("an open connection");
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(200));
    client
}

/// A Close frame of a server with code 1001.
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// A WebSocket server that sends half a frame, and the rest once it is told to close; gives on what it was sent.
fn half_a_frame(stage: &Stage) -> Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    stage.upstream.answer(
        "/v1/projects/e1/tunnel",
        Answer::after_head(move |request, conversation| {
            conversation.send(switch(request)).ok();
            conversation.send([0x81, 5, b'h', b'e']).ok();
            let mut seen = Vec::new();
            while let Ok(bytes) = conversation.receive() {
                if bytes.is_empty() {
                    break;
                }
                seen.extend(bytes);
                if seen.contains(&0x88) {
                    // the rest, and the Close that answers the gateway's
                    conversation.send([&b"llo"[..], &GOING_AWAY].concat()).ok();
                }
            }
            tell.lock().expect("one at a time").send(seen).ok();
            false
        }),
    );
    told
}

/// What a masked frame holds.
fn unmasked(frame: &[u8]) -> Vec<u8> {
    frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

#[test]
fn case_116_an_answer_after_sigterm_says_that_the_connection_closes() {
    let mut stage = Stage::start();
    let mut finishers = Vec::new();
    for (path, answer) in [
        ("whole", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("chunks", "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("empty", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("old", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("broken", ""),
    ] {
        let (finish, told) = mpsc::channel::<()>();
        let told = Mutex::new(told);
        stage.upstream.answer(
            &format!("/v1/projects/e1/{path}"),
            Answer::after_body(move |_, conversation| {
                told.lock().expect("one at a time").recv_timeout(PATIENCE).ok();
                conversation.send(answer).is_ok() && !answer.is_empty()
            }),
        );
        finishers.push((path, finish));
    }
    let running: Vec<_> = finishers
        .iter()
        .map(|(path, _)| {
            let mark = marker();
            let mut client = stage.gateway.connect();
            let request = stage.request("POST", &format!("/v1/projects/e1/{path}")).mark(&mark);
            let bytes = match *path {
                "old" => {
                    let request = String::from_utf8(request.header("Connection", "keep-alive").body("b"));
                    request.expect("text").replacen("HTTP/1.1", "HTTP/1.0", 1).into_bytes()
                }
                _ => request.body("b"),
            };
            client.send(bytes);
            stage.upstream.wait_for(&mark);
            client
        })
        .collect();
    stage.gateway.signal("TERM");
    wait_until_refused(&stage);
    for ((path, finish), mut client) in finishers.into_iter().zip(running) {
        finish.send(()).expect("the upstream waits");
        let answer = client.read();
        let expected = match path {
            "chunks" => 404,
            "empty" => 204,
            "broken" => 502,
            _ => 200,
        };
        assert_eq!(answer.status, expected, "{path}: {answer:?}");
        assert_eq!(answer.header("Connection").as_deref(), Some("close"), "{path}: {answer:?}");
        assert!(client.ends_within(PATIENCE), "{path}");
    }
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn case_116_websockets_have_the_drain_timeout_and_then_close_with_1001() {
    let mut stage = Stage::with(|plan| plan.top("drain_timeout: 3s"));
    stage.upstream.answer("/v1/projects/e1/echo", Answer::after_head(echo_tunnel));
    let seen = half_a_frame(&stage);
    let open = |path: &str| {
        let mut client = stage.gateway.connect();
        let upgrade =
            stage.request("GET", path).header("Connection", "Upgrade").header("Upgrade", "websocket");
        client.send(upgrade.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").end());
        assert_eq!(client.read().status, 101);
        client
    };
    let mut echo = open("/v1/projects/e1/echo");
    let mut half = open("/v1/projects/e1/tunnel");
    assert_eq!(half.take(4, PATIENCE).expect("half a frame"), [0x81, 5, b'h', b'e']);

    let begun = Instant::now();
    stage.gateway.signal("TERM");
    wait_until_refused(&stage);
    echo.send([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    let back = echo.take(8, PATIENCE).expect("a WebSocket goes on for the drain timeout");
    assert_eq!(back, [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    assert_eq!(half.take(3, PATIENCE).expect("the frame under way ends"), b"llo");
    assert!(begun.elapsed() > Duration::from_millis(2800), "after {:?}", begun.elapsed());
    for (name, client) in [("echo", &mut echo), ("half", &mut half)] {
        assert_eq!(client.take(4, PATIENCE).expect("a Close"), GOING_AWAY, "{name}");
        // as a client answers it; the gateway may have stopped waiting
        client.try_send([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]).ok();
        assert!(client.ends_within(PATIENCE), "{name}");
    }
    let seen = seen.recv_timeout(PATIENCE).expect("the upstream sees the end");
    assert_eq!((seen.len(), &seen[..2]), (8, &[0x88, 0x82][..]), "one masked Close: {seen:x?}");
    assert_eq!(unmasked(&seen), [0x03, 0xe9]);
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn case_116_a_websocket_on_an_http2_stream_closes_with_1001_too() {
    let mut stage = Stage::with(|plan| plan.top("drain_timeout: 1s"));
    let seen = half_a_frame(&stage);
    let mut client = http2_websocket(&stage);
    stage.gateway.signal("TERM");
    let (mut bytes, mut ended, mut told) = (Vec::new(), false, false);
    while let Some(frame) = client.read(PATIENCE) {
        match frame.kind {
            GOAWAY => told = true,
            DATA => {
                bytes.extend_from_slice(&frame.payload);
                ended |= frame.flags & END_STREAM != 0;
                if bytes.ends_with(&GOING_AWAY) {
                    client.data(1, &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9], true).ok();
                }
            }
            _ => {}
        }
    }
    assert_eq!(bytes, [&[0x81, 5][..], b"hello", &GOING_AWAY].concat());
    assert!(told, "GOAWAY comes before the end");
    assert!(ended, "the stream ends in order");
    let seen = seen.recv_timeout(PATIENCE).expect("the upstream sees the end");
    assert_eq!(unmasked(&seen), [0x03, 0xe9]);
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn a_request_that_is_on_its_way_when_the_gateway_is_told_to_stop_is_answered() {
    let mut stage = Stage::start();
    let management = stage.gateway.management();
    let health = || request(&stage.gateway, "GET", "/healthz").end();
    let api = || stage.request("GET", "/v1/projects/e1/x").end();
    let (new, mut kept) = (stage.gateway.connect(), stage.gateway.connect());
    let (new_management, mut kept_management) = (Client::connect(management), Client::connect(management));
    kept.send(api());
    assert_eq!(kept.read().status, 200);
    kept_management.send(health());
    assert_eq!(kept_management.read().status, 200);
    let mut clients = [(new, api()), (kept, api()), (new_management, health()), (kept_management, health())];
    stage.gateway.signal("TERM");
    wait_until_refused(&stage);
    wait_for(PATIENCE, "management connections are refused", || TcpStream::connect(management).is_err());
    for (client, request) in &mut clients {
        client.send(&*request);
    }
    for (at, (mut client, _)) in clients.into_iter().enumerate() {
        let answer = client.read();
        assert_eq!(answer.status, 200, "{at}");
        assert_eq!(answer.header("Connection").as_deref(), Some("close"), "{at}: {answer:?}");
        assert!(client.ends_within(PATIENCE), "{at}");
    }
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn http2_clients_get_goaway_and_their_streams_finish() {
    let mut stage = Stage::start();
    let finish = held(&stage, "/v1/projects/e1/held");
    let key = stage.e1.authorization();
    let mut client = RawHttp2::connect(stage.gateway.https());
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", b"/v1/projects/e1/held"),
        (b"authorization", key.as_bytes()),
    ];
    client.headers(1, &fields, true).expect("an open connection");
    while client.read(PATIENCE).expect("the answer's beginning").kind != HEADERS {}
    stage.gateway.signal("TERM");
    let (mut told, mut finished, mut body) = (false, false, Vec::new());
    let mut finish = Some(finish);
    while !(told && finished) {
        let frame = client.read(PATIENCE).expect("the connection goes on until the stream has ended");
        match frame.kind {
            GOAWAY => {
                assert_eq!(frame.payload[4..8], [0; 4], "NO_ERROR");
                told = true;
                if let Some(finish) = finish.take() {
                    finish.send(()).expect("the upstream waits");
                }
            }
            DATA => {
                body.extend_from_slice(&frame.payload);
                finished = frame.flags & END_STREAM != 0;
            }
            _ => {}
        }
    }
    assert_eq!(body, b"hello");
    while client.read(PATIENCE).is_some() {}
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn a_gateway_without_work_stops_at_once() {
    let mut stage = Stage::start();
    let _silent = stage.gateway.connect();
    let _http2 = RawHttp2::connect(stage.gateway.https());
    let begun = Instant::now();
    stage.gateway.signal("TERM");
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
}

/// What it makes is told: the secret of a new key is told nowhere else.
#[test]
fn a_running_management_request_finishes_and_its_connection_then_ends() {
    let mut stage = Stage::start();
    let address = stage.gateway.management();
    let body = br#"{"name":"last"}"#;
    let head = request(&stage.gateway, "POST", "/v2-beta/apikeys").key(&stage.gateway.admin);
    let head = head.header("Expect", "100-continue").header("Content-Length", body.len().to_string());
    let mut client = Client::connect(address);
    client.send(head.end());
    // it is asked for, so the request runs
    client.take_until(b"100 Continue\r\n\r\n", PATIENCE).expect("to be asked for the body");
    let mut idle = Client::connect(address);
    idle.send(request(&stage.gateway, "GET", "/healthz").end());
    assert_eq!(idle.read().status, 200);
    let _silent = Client::connect(address);
    let mut half = Client::connect(address);
    half.send("GET /healthz HT");

    stage.gateway.signal("TERM");
    let begun = Instant::now();
    wait_for(PATIENCE, "new management connections are refused", || TcpStream::connect(address).is_err());
    assert!(idle.ends_within(PATIENCE));
    client.send(body);
    let answer = client.read();
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["transitioning"], "no", "in force, too: {answer:?}");
    assert!(answer.json()["secretValue"].is_string());
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(6), "who asks nothing holds it up: {:?}", begun.elapsed());
}
