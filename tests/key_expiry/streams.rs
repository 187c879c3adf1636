//! What a key has open ends with the key, of whatever kind it is, and nothing else does.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::endings::{BUSY, ending_key, in_seconds, set_end};
use crate::support::cli::Key;
use crate::support::http1::{Client, NoAnswer, Request};
use crate::support::http2::{DATA, END_STREAM, HEADERS, RST_STREAM, RawHttp2, StreamOutcome, status};
use crate::support::open_streams::{CLOSED_1008, EVENT, EVENTS, FILE, StreamEnds, websocket_handshake};
use crate::support::stage::Stage;
use crate::support::{PATIENCE, marker, stays};

/// Fails where the stream of this path does not end soon after this time, or ended before it.
#[track_caller]
fn assert_ended_at(ends: &StreamEnds, path: &str, end: Timestamp, kind: &str) {
    let late = ends.wait_for(path, kind).duration_since(end);
    // the upstream looks every ten milliseconds
    assert!((SignedDuration::ZERO..BUSY).contains(&late), "the {kind} ended {late:#} after the key");
}

const KINDS: [&str; 5] = ["WebSocket", "event stream", "download", "upload", "request that waits"];

/// What a key has open: one of each of [`KINDS`], each on a connection of its own.
struct Opened {
    clients: Vec<Client>,
    paths: Vec<String>,
}

impl Opened {
    #[track_caller]
    fn by(stage: &Stage, ends: &StreamEnds, key: &Key) -> Self {
        let paths: Vec<String> = KINDS.iter().map(|_| format!("/v1/projects/e1/{}", marker())).collect();
        let answers = [
            ends.websocket(),
            ends.endless(EVENTS, EVENT),
            ends.endless(FILE, "12345678"),
            ends.silent(),
            ends.silent(),
        ];
        for (path, answer) in paths.iter().zip(answers) {
            stage.upstream.answer(path, answer);
        }
        let open = |path: &String, change: &dyn Fn(Request) -> Request, method: &str| {
            let mut client = stage.gateway.connect();
            client.send(change(Request::new(method, path).key(key)).end());
            client
        };
        let mut websocket = open(&paths[0], &websocket_handshake, "GET");
        assert_eq!(websocket.read().status, 101);
        let mut clients = vec![websocket];
        for path in &paths[1..3] {
            let mut client = open(path, &|request| request, "GET");
            assert_eq!(client.take(12, PATIENCE).expect("the answer begins"), b"HTTP/1.1 200");
            clients.push(client);
        }
        let mut upload = open(&paths[3], &|request| request.header("Content-Length", "1000000000"), "POST");
        upload.send([b'x'; 10_000]);
        clients.push(upload);
        clients.push(open(&paths[4], &|request| request, "GET"));
        for path in &paths[3..] {
            stage.upstream.wait_for(path);
        }
        Self { clients, paths }
    }

    /// Fails where any of it goes on after the key's end, ended before it, or looks complete.
    #[track_caller]
    fn assert_ended(mut self, ends: &StreamEnds, end: Timestamp) {
        for (path, kind) in self.paths.iter().zip(KINDS) {
            assert_ended_at(ends, path, end, kind);
        }
        let [websocket, events, download, upload, waiting] = &mut self.clients[..] else { unreachable!() };
        assert!(websocket.ends_within(PATIENCE), "the WebSocket goes on");
        assert_eq!(websocket.unread(), CLOSED_1008);
        for client in [events, download] {
            assert!(client.ends_within(PATIENCE), "a stream goes on");
            assert!(!client.unread().ends_with(b"0\r\n\r\n"), "cut off, it must not look complete");
        }
        // no head has been sent to them yet
        for client in [upload, waiting] {
            match client.try_read(false, PATIENCE) {
                Ok(answer) => answer.assert_refused(401),
                Err(error) => assert!(matches!(error, NoAnswer::Closed(_)), "{error:?}"),
            }
        }
    }

    /// Fails where any of it has ended.
    #[track_caller]
    fn assert_goes_on(&mut self, ends: &StreamEnds) {
        for client in &mut self.clients[1..3] {
            let before = client.unread().len();
            assert!(client.take(before + 200, PATIENCE).is_ok(), "a stream has ended");
        }
        self.clients[3].send([b'x'; 1000]);
        for (path, kind) in self.paths.iter().zip(KINDS) {
            assert_eq!(ends.find(path), None, "the {kind} has ended");
        }
    }
}

#[test]
fn case_131_every_kind_of_stream_ends_with_its_key_and_no_other_does() {
    let stage = Stage::start();
    let ends = StreamEnds::default();
    let end = in_seconds(3);
    let [ending, extended] = [(); 2].map(|()| ending_key(&stage.gateway, end));
    let opened = Opened::by(&stage, &ends, &ending);
    let mut kept = [&extended, &stage.e1].map(|key| Opened::by(&stage, &ends, key));
    // in time, by a second
    set_end(&stage.gateway, &extended, Some(in_seconds(3_600)));
    assert!(Timestamp::now() < end, "the machine is too busy for this test");

    opened.assert_ended(&ends, end);
    for kept in &mut kept {
        kept.assert_goes_on(&ends);
    }
    stays(Duration::from_millis(200), "the others' streams", || {
        kept.iter().flat_map(|kept| &kept.paths).all(|path| ends.find(path).is_none())
    });
    // and these end with their own key, which comes to an end earlier than was planned
    let end = in_seconds(1);
    set_end(&stage.gateway, &extended, Some(end));
    let [extended, other] = kept;
    extended.assert_ended(&ends, end);
    assert!(other.paths.iter().all(|path| ends.find(path).is_none()));
}

/// Begins a request on a stream of an HTTP/2 connection, and leaves it open.
fn begin(client: &mut RawHttp2, stream: u32, path: &str, key: &Key) {
    let authorization = key.authorization();
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
        (b"authorization", authorization.as_bytes()),
    ];
    client.headers(stream, &fields, false).expect("an open connection");
    client.data(stream, b"hello", false).expect("an open stream");
}

#[test]
fn case_131_on_one_http2_connection_only_the_streams_of_the_ended_key_end() {
    const RUNNING: u32 = 1;
    const OTHER: u32 = 3;
    const WAITING: u32 = 5;
    let stage = Stage::start();
    let ends = StreamEnds::default();
    let end = in_seconds(2);
    let ending = ending_key(&stage.gateway, end);
    let mut client = RawHttp2::connect(stage.gateway.https());
    let paths = [(); 3].map(|()| format!("/v1/projects/e1/{}", marker()));
    stage.upstream.answer(&paths[0], ends.endless(EVENTS, EVENT));
    stage.upstream.answer(&paths[1], ends.silent());
    stage.upstream.answer(&paths[2], ends.endless(EVENTS, EVENT));
    for (stream, path, key) in [(RUNNING, &paths[0], &ending), (OTHER, &paths[2], &stage.e1)] {
        begin(&mut client, stream, path, key);
        assert_eq!(client.outcome_of(stream), StreamOutcome::Status(200));
    }
    begin(&mut client, WAITING, &paths[1], &ending);

    let (mut running_ended, mut waiting_ended, mut other_after) = (false, false, 0);
    while other_after < 20 {
        let frame = client.read(PATIENCE).expect("the connection goes on");
        match (frame.stream, frame.kind) {
            (RUNNING, RST_STREAM) => running_ended = true,
            (RUNNING, DATA) => {
                assert!(!running_ended && frame.flags & END_STREAM == 0, "{frame:?}");
                let late = Timestamp::now().duration_since(end);
                assert!(late < BUSY, "data came {late:#} after the end");
            }
            (RUNNING, HEADERS) => panic!("trailers make it look complete: {frame:?}"),
            (WAITING, HEADERS) => {
                assert_eq!(status(&frame.payload), 401);
                waiting_ended = true;
            }
            (WAITING, RST_STREAM) => waiting_ended = true,
            (OTHER, DATA) if running_ended && waiting_ended => other_after += 1,
            (OTHER, RST_STREAM) => panic!("another key's stream was ended"),
            _ => {}
        }
    }
    for (path, kind) in paths[..2].iter().zip(["stream", "request that waits"]) {
        assert_ended_at(&ends, path, end, kind);
    }
    client.data(OTHER, b"more", false).expect("the other stream takes more");
    assert_eq!(ends.find(&paths[2]), None);
}
