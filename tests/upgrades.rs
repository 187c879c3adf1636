//! Upgrades become tunnels only after the upstream's own 101, and only for those who are allowed to open them.
//! Attack cases 65 to 68.

mod support;

use std::sync::OnceLock;
use std::time::Duration;

use support::http1::{Client, NoAnswer, Request};
use support::http2::{DATA, END_STREAM, HEADERS, RawHttp2, SETTINGS, StreamOutcome};
use support::stage::Stage;
use support::upstream::{Answer, Conversation, Recorded};
use support::{PATIENCE, contains, marker, show, wait_for};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::start();
        stage.upstream.answer("/v1/projects/e1/subscribe", Answer::after_head(switch_and_echo));
        stage.upstream.answer("/v1/projects/e2/subscribe", Answer::after_head(switch_and_echo));
        stage
    })
}

/// The 101 of a WebSocket server, with the proof that it has read the request (RFC 6455 section 1.3).
fn switch(request: &Recorded) -> String {
    let key = request.header("Sec-WebSocket-Key").unwrap_or_default();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
}

/// Answers 101 and sends back what comes, until the other side ends.
fn switch_and_echo(request: &Recorded, conversation: &mut Conversation) -> bool {
    if conversation.send(switch(request)).is_ok() {
        while let Ok(bytes) = conversation.receive() {
            if bytes.is_empty() || conversation.send(bytes).is_err() {
                break;
            }
        }
    }
    false
}

fn websocket(request: Request) -> Request {
    request
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[test]
fn a_websocket_upgrade_becomes_a_tunnel_both_ways() {
    let mark = marker();
    let mut client = stage().gateway.connect();
    client.send(websocket(stage().request("GET", "/v1/projects/e1/subscribe").mark(&mark)).end());
    let answer = client.read();
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.header("Upgrade").as_deref(), Some("websocket"));
    assert!(answer.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    assert!(answer.header("Sec-WebSocket-Accept").is_some());
    for bytes in [&b"\x81\x85....hello"[..], b"GET / HTTP/1.1\r\n\r\n", &vec![0; 70_000]] {
        client.send(bytes);
        assert_eq!(client.take(bytes.len(), PATIENCE).expect("the echo"), bytes);
    }
    let seen = stage().upstream.only(&mark);
    assert_eq!(seen.header("Upgrade").as_deref(), Some("websocket"));
    assert!(seen.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{seen:?}");
    assert_eq!(seen.header("Authorization"), None);
    drop(client);
    wait_for(PATIENCE, "the tunnel's other side is closed", || !stage().upstream.is_open(seen.connection));
}

#[test]
fn the_upstream_may_end_a_tunnel() {
    stage().upstream.answer(
        "/v1/projects/e1/short",
        Answer::after_head(|request, conversation| {
            conversation.send(switch(request) + "bye").ok();
            false
        }),
    );
    let mut client = stage().gateway.connect();
    client.send(websocket(stage().request("GET", "/v1/projects/e1/short")).end());
    assert_eq!(client.read().status, 101);
    assert_eq!(client.take(3, PATIENCE).expect("the bytes behind the 101"), b"bye");
    assert!(client.ends_within(PATIENCE), "the client's side stays open");
}

#[test]
fn case_65_an_upgrade_into_another_environment_is_refused() {
    let mark = marker();
    let mut client = stage().gateway.connect();
    client.send(websocket(stage().request("GET", "/v1/projects/e2/subscribe").mark(&mark)).end());
    client.read().assert_refused(403);
    let next = marker();
    client.send(stage().request("GET", "/v1/projects/e1/x").mark(&next).end());
    match client.try_read(false, PATIENCE) {
        Ok(answer) => assert!(contains(&answer.body, next.as_bytes()), "{answer:?}"),
        Err(NoAnswer::Closed(rest)) => assert!(rest.is_empty(), "{}", show(&rest)),
        Err(other) => panic!("{other:?}"),
    }
    stage().upstream.assert_unseen(&mark, "an upgrade into another environment");
}

#[test]
fn case_65_an_upgrade_without_a_key_gets_no_challenge() {
    let mark = marker();
    let request = websocket(Request::get("/v1/projects/e1/subscribe").mark(&mark)).end();
    let answer = stage().gateway.exchange(request);
    assert_eq!(answer.status, 401, "{answer:?}");
    // a browser would ask for a password in the middle of a page
    assert!(answer.all("WWW-Authenticate").is_empty(), "{answer:?}");
    stage().upstream.assert_unseen(&mark, "an upgrade without a key");
}

/// Sends an upgrade with `behind` directly after it, and returns the answer to the upgrade.
fn upgrade_and(client: &mut Client, path: &str, mark: &str, behind: &[u8]) -> u16 {
    let upgrade = websocket(stage().request("GET", path).mark(mark)).end();
    client.send([upgrade, behind.to_vec()].concat());
    client.read().status
}

#[test]
fn case_66_a_request_behind_a_failed_upgrade_is_never_relayed() {
    for (name, answer) in [
        ("r400", "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"),
        ("r426", "HTTP/1.1 426 Upgrade Required\r\nUpgrade: foo\r\nContent-Length: 2\r\n\r\nno"),
        ("r200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"),
        ("r403", "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
        ("r302", "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let path = format!("/v1/projects/e1/{name}");
        stage().upstream.answer(&path, Answer::Bytes(answer.into()));
        let (mark, behind) = (marker(), marker());
        let stranger = Request::get("/v1/projects/e1/behind").mark(&behind).end();
        let mut client = stage().gateway.connect();
        let status = upgrade_and(&mut client, &path, &mark, &stranger);
        assert_eq!(status.to_string(), name[1..], "{name}");
        match client.try_read(false, PATIENCE) {
            Ok(answer) => answer.assert_refused(401),
            Err(NoAnswer::Closed(rest)) => assert!(rest.is_empty(), "{}", show(&rest)),
            Err(other) => panic!("{name}: {other:?}"),
        }
        stage().upstream.assert_unseen(&behind, name);
    }
}

#[test]
fn case_66_an_upstream_that_switches_without_saying_to_what_is_broken() {
    for (name, answer) in [
        ("bare", "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        ("other", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    ] {
        let path = format!("/v1/projects/e1/{name}");
        stage().upstream.answer(&path, Answer::Bytes(answer.into()));
        let (mark, behind) = (marker(), marker());
        let stranger = Request::get("/v1/projects/e1/behind").mark(&behind).end();
        let mut client = stage().gateway.connect();
        let status = upgrade_and(&mut client, &path, &mark, &stranger);
        assert_eq!(status, 502, "{name}");
        stage().upstream.assert_unseen(&behind, name);
    }
}

#[test]
fn case_66_a_switch_that_nobody_asked_for_is_an_error() {
    stage().upstream.answer(
        "/v1/projects/e1/unasked",
        Answer::after_head(|request, conversation| conversation.send(switch(request)).is_ok()),
    );
    let (mark, behind) = (marker(), marker());
    let mut client = stage().gateway.connect();
    client.send(
        [
            stage().request("GET", "/v1/projects/e1/unasked").mark(&mark).end(),
            Request::get("/v1/projects/e1/behind").mark(&behind).end(),
        ]
        .concat(),
    );
    client.read().assert_refused(502);
    stage().upstream.assert_unseen(&behind, "after an unasked 101");
    let connection = stage().upstream.only(&mark).connection;
    wait_for(PATIENCE, "the switched connection is closed", || !stage().upstream.is_open(connection));
}

#[test]
fn case_66_nothing_behind_an_upgrade_is_sent_before_the_101() {
    stage().upstream.answer(
        "/v1/projects/e1/slow",
        Answer::after_head(|_, conversation| {
            conversation.ends_within(Duration::from_millis(300)); // writes down what comes meanwhile
            false
        }),
    );
    stage().upstream.answer(
        "/v1/projects/e1/late",
        Answer::after_head(|request, conversation| {
            assert!(!conversation.ends_within(Duration::from_millis(300)), "the gateway waits for the 101");
            switch_and_echo(request, conversation)
        }),
    );
    let mark = marker();
    let mut client = stage().gateway.connect();
    let early = format!("early {mark}");
    let upgrade = websocket(stage().request("GET", "/v1/projects/e1/slow").mark("slow")).end();
    client.send([upgrade, early.clone().into_bytes()].concat());
    client.read().assert_refused(502);
    stage().upstream.assert_unseen(&mark, "bytes behind an upgrade that was never answered");

    let upgrade = websocket(stage().request("GET", "/v1/projects/e1/late")).end();
    let mut client = stage().gateway.connect();
    client.send([upgrade, early.clone().into_bytes()].concat());
    assert_eq!(client.read().status, 101);
    client.send(" and later");
    let expected = format!("{early} and later");
    assert_eq!(client.take(expected.len(), PATIENCE).expect("the echo"), expected.as_bytes());
}

#[test]
fn case_67_upgrades_to_other_versions_of_http_or_to_tls_are_plain_requests() {
    for (upgrade, connection) in [
        ("h2c", "Upgrade, HTTP2-Settings"),
        ("websocket, h2c", "Upgrade, HTTP2-Settings"),
        ("h2c, websocket", "Upgrade"),
        ("H2C", "upgrade"),
        ("h2", "Upgrade"),
        ("TLS/1.0", "Upgrade"),
        ("HTTP/2.0", "Upgrade"),
        ("websocket", "keep-alive"), // not named by Connection: no upgrade at all
    ] {
        let mark = marker();
        let request = stage()
            .request("GET", "/v1/projects/e1/x")
            .mark(&mark)
            .header("Connection", connection)
            .header("Upgrade", upgrade)
            .header("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA");
        let mut client = stage().gateway.connect();
        client.send(request.end());
        let answer = client.read();
        assert_eq!(answer.status, 200, "{upgrade}: {answer:?}");
        let seen = stage().upstream.only(&mark);
        assert_eq!(seen.all("Upgrade"), [""; 0], "{upgrade}: {seen:?}");
        assert_eq!(seen.all("HTTP2-Settings"), [""; 0], "{upgrade}: {seen:?}");
        assert!(
            !seen.all("Connection").iter().any(|v| v.to_ascii_lowercase().contains("upgrade")),
            "{seen:?}"
        );
        client.send(stage().request("GET", "/v1/projects/e1/again").end());
        assert_eq!(client.read().status, 200, "the connection still speaks HTTP/1.1 after {upgrade}");
    }
}

/// Opens an extended CONNECT (RFC 8441) and tells how it was answered.
fn extended_connect(
    client: &mut RawHttp2,
    path: &str,
    protocol: &str,
    key: Option<&str>,
    mark: &str,
) -> StreamOutcome {
    let mut fields: Vec<(&[u8], &[u8])> = vec![
        (b":method", b"CONNECT"),
        (b":protocol", protocol.as_bytes()),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
        (b"sec-websocket-version", b"13"),
        (b"x-marker", mark.as_bytes()),
    ];
    if let Some(key) = key {
        fields.push((b"authorization", key.as_bytes()));
    }
    client.headers(1, &fields, false).expect("an open connection");
    client.outcome_of(1)
}

#[test]
fn case_68_extended_connect_is_judged_like_any_upgrade() {
    let (e1, wrong) = (stage().e1.authorization(), stage().e1.with_wrong_secret().authorization());
    let own = "/v1/projects/e1/subscribe";
    for (path, protocol, key, status) in [
        (own, "websocket", None, 401),
        (own, "websocket", Some(wrong.as_str()), 401),
        ("/v1/projects/e2/subscribe", "websocket", Some(e1.as_str()), 403),
        (own, "connect-udp", Some(e1.as_str()), 501),
        (own, "WebSocket2", Some(e1.as_str()), 501),
        ("/v1/projects/e1/../e2/subscribe", "websocket", Some(e1.as_str()), 400),
    ] {
        let mark = marker();
        let mut client = RawHttp2::connect(stage().gateway.https());
        let fate = extended_connect(&mut client, path, protocol, key, &mark);
        assert_eq!(fate, StreamOutcome::Status(status), "{path} {protocol}");
        stage().upstream.assert_unseen(&mark, path);
    }
}

#[test]
fn case_68_a_websocket_server_that_cannot_prove_itself_is_no_tunnel() {
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stage().upstream.answer("/v1/projects/e1/liar", Answer::Bytes(wrong.into()));
    let key = stage().e1.authorization();
    let mut client = RawHttp2::connect(stage().gateway.https());
    let fate = extended_connect(&mut client, "/v1/projects/e1/liar", "websocket", Some(&key), &marker());
    assert_eq!(fate, StreamOutcome::Status(502));
}

#[test]
fn case_68_an_upstream_that_does_not_switch_is_no_tunnel() {
    // 200 would tell an HTTP/2 client that the tunnel is open
    stage().upstream.answer("/v1/projects/e1/page", Answer::with("HTTP/1.1 200 OK", b"a page"));
    let key = stage().e1.authorization();
    let mut client = RawHttp2::connect(stage().gateway.https());
    let fate = extended_connect(&mut client, "/v1/projects/e1/page", "websocket", Some(&key), &marker());
    assert_eq!(fate, StreamOutcome::Status(502));
}

#[test]
fn case_68_plain_connect_on_http2_is_refused() {
    let key = stage().e1.authorization();
    let mut client = RawHttp2::connect(stage().gateway.https());
    let fields: [(&[u8], &[u8]); 3] =
        [(b":method", b"CONNECT"), (b":authority", b"127.0.0.1:22"), (b"authorization", key.as_bytes())];
    client.headers(1, &fields, false).expect("an open connection");
    match client.outcome_of(1) {
        StreamOutcome::Status(400 | 405) | StreamOutcome::Reset(_) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_websocket_on_an_http2_stream_is_an_upgrade_at_the_upstream() {
    let mut client = RawHttp2::connect(stage().gateway.https());
    let offered = loop {
        let frame = client.read(PATIENCE).expect("SETTINGS come first");
        if frame.kind == SETTINGS {
            break frame.payload;
        }
    };
    // SETTINGS_ENABLE_CONNECT_PROTOCOL (8) is 1
    assert!(offered.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "{}", show(&offered));
    let mark = marker();
    let key = stage().e1.authorization();
    let fate = extended_connect(&mut client, "/v1/projects/e1/subscribe", "websocket", Some(&key), &mark);
    assert_eq!(fate, StreamOutcome::Status(200));
    let seen = stage().upstream.only(&mark);
    assert_eq!((seen.method.as_str(), seen.path().as_str()), ("GET", "/v1/projects/e1/subscribe"));
    assert_eq!(seen.header("Upgrade").as_deref(), Some("websocket"));
    assert!(seen.header("Sec-WebSocket-Key").is_some(), "HTTP/1.1 needs a key: {seen:?}");
    assert_eq!(seen.header("Authorization"), None);
    assert_eq!(seen.body, b"");

    for sent in [&b"\x81\x85....hello"[..], b"0\r\n\r\n", &[7; 9000]] {
        client.data(1, sent, false).expect("an open stream");
        let mut came = Vec::new();
        while came.len() < sent.len() {
            let frame = client.read(PATIENCE).expect("the echo");
            assert!(frame.kind != HEADERS || frame.stream != 1, "{frame:?}");
            if frame.kind == DATA && frame.stream == 1 {
                came.extend_from_slice(&frame.payload);
            }
        }
        assert_eq!(came, sent);
    }
    client.write(DATA, END_STREAM, 1, b"").expect("an open stream");
    wait_for(PATIENCE, "the upstream's side of the tunnel ends", || {
        !stage().upstream.is_open(seen.connection)
    });
}

/// The Close frame of a server with the status 1008 (RFC 6455 section 7.4.1: policy violation).
const CLOSED_1008: &[u8] = &[0x88, 2, 0x03, 0xf0];

/// What still comes of a WebSocket whose key is deactivated when the upstream has sent `last`.
#[track_caller]
fn after_deactivation(last: &'static [u8]) -> Vec<u8> {
    let path = format!("/v1/projects/e1/{}", marker());
    let speak = move |request: &Recorded, conversation: &mut Conversation| {
        conversation.send([switch(request).as_bytes(), last].concat()).ok();
        conversation.ends_within(PATIENCE)
    };
    stage().upstream.answer(&path, Answer::after_head(speak));
    let key = stage().gateway.create_environment_key("e1");
    let mut client = stage().gateway.connect();
    client.send(websocket(Request::get(&path).key(&key)).end());
    assert_eq!(client.read().status, 101);
    assert_eq!(client.take(last.len(), PATIENCE).expect("what the upstream has sent"), last);
    stage().gateway.succeed(&["key", "deactivate", &key.access_key]);
    assert!(client.ends_within(PATIENCE), "the WebSocket goes on");
    client.unread().to_vec()
}

#[test]
fn a_websocket_whose_key_is_deactivated_gets_a_close_frame_between_two_frames() {
    assert_eq!(after_deactivation(b"\x81\x05hello\x02\x7e\x00\x80"), b"", "in the middle of a frame");
    assert_eq!(after_deactivation(b"\x81\x05hello"), CLOSED_1008, "between two frames");
    assert_eq!(after_deactivation(b""), CLOSED_1008, "before the first");
    assert_eq!(after_deactivation(b"\x81\x05hello\x88\x02\x03\xe8"), b"", "behind the upstream's own Close");
}

#[test]
fn a_websocket_on_an_http2_stream_gets_that_close_frame_too() {
    let key = stage().gateway.create_environment_key("e1");
    let mut client = RawHttp2::connect(stage().gateway.https());
    let authorization = key.authorization();
    let path = "/v1/projects/e1/subscribe";
    let fate = extended_connect(&mut client, path, "websocket", Some(&authorization), &marker());
    assert_eq!(fate, StreamOutcome::Status(200));
    stage().gateway.succeed(&["key", "deactivate", &key.access_key]);
    let mut came = Vec::new();
    loop {
        let frame = client.read(PATIENCE).expect("the stream ends");
        if frame.stream == 1 {
            assert_eq!(frame.kind, DATA, "{frame:?}");
            came.extend_from_slice(&frame.payload);
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    assert_eq!(came, CLOSED_1008);
}
