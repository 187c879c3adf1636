//! What a key has open ends on every gateway before the answer says that the key is dead. Attack case 69.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::support::cli::Key;
use crate::support::gateway::Gateway;
use crate::support::http1::{Client, Request};
use crate::support::http2::{
    DATA, END_STREAM, Frame, HEADERS, RST_STREAM, RawHttp2, StreamOutcome, WINDOW_UPDATE,
};
use crate::support::upstream::{Answer, Conversation, Recorded};
use crate::support::{PATIENCE, marker, wait_for};

/// The Close frame of a server with the status 1008.
const CLOSED_1008: &[u8] = &[0x88, 2, 0x03, 0xf0];

/// When the upstream last heard from or could speak to the client of each path.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<(String, Instant)>>>);

impl Ends {
    fn note(&self, path: String) {
        self.0.lock().unwrap().push((path, Instant::now()));
    }

    /// When the stream of this path ended at the upstream.
    #[track_caller]
    fn of(&self, path: &str) -> Instant {
        let find = || self.0.lock().unwrap().iter().find(|(ended, _)| ended == path).map(|(_, at)| *at);
        wait_for(PATIENCE, "the upstream's side ends", || find().is_some());
        find().unwrap()
    }
}

fn path() -> String {
    format!("/v1/projects/e1/{}", marker())
}

/// Sends `head`, then `piece` every ten milliseconds, until the other side ends.
fn endless(ends: &Ends, head: &'static str, piece: &'static str) -> Answer {
    let ends = ends.clone();
    Answer::after_head(move |request: &Recorded, conversation: &mut Conversation| {
        conversation.send(head).ok();
        while conversation.send(piece).is_ok() && !conversation.ends_within(Duration::from_millis(10)) {}
        ends.note(request.path());
        false
    })
}

/// Reads what comes until the other side ends.
fn swallow(ends: &Ends, head: impl Fn(&Recorded) -> String + Send + Sync + 'static) -> Answer {
    let ends = ends.clone();
    Answer::after_head(move |request: &Recorded, conversation: &mut Conversation| {
        conversation.send(head(request)).ok();
        while conversation.receive().is_ok_and(|bytes| !bytes.is_empty()) {}
        ends.note(request.path());
        false
    })
}

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENT: &str = "8\r\ndata: x\n\r\n";
const FILE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";

fn switch(request: &Recorded) -> String {
    let key = request.header("Sec-WebSocket-Key").unwrap_or_default();
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// What a key has open at one gateway, each on a connection of its own.
struct Opened {
    websocket: Client,
    /// An event stream, a download, an upload.
    others: Vec<Client>,
    paths: Vec<String>,
}

impl Opened {
    #[track_caller]
    fn at(cluster: &Cluster, gateway: &Gateway, ends: &Ends, key: &Key) -> Self {
        let paths: Vec<String> = (0..4).map(|_| path()).collect();
        cluster.upstream.answer(&paths[0], swallow(ends, switch));
        cluster.upstream.answer(&paths[1], endless(ends, EVENTS, EVENT));
        cluster.upstream.answer(&paths[2], endless(ends, FILE, "12345678"));
        cluster.upstream.answer(&paths[3], swallow(ends, |_| String::new()));
        let mut websocket = gateway.connect();
        let request = Request::get(&paths[0]).key(key).header("Connection", "Upgrade");
        let request = request.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
        websocket.send(request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").end());
        assert_eq!(websocket.read().status, 101);
        let mut others = Vec::new();
        for path in &paths[1..3] {
            let mut client = gateway.connect();
            client.send(Request::get(path).key(key).end());
            assert_eq!(client.take(12, PATIENCE).expect("the answer begins"), b"HTTP/1.1 200");
            others.push(client);
        }
        let mut upload = gateway.connect();
        upload.send(Request::new("POST", &paths[3]).key(key).header("Content-Length", "1000000000").end());
        upload.send([b'x'; 10_000]);
        cluster.upstream.wait_for(&paths[3]);
        others.push(upload);
        Self { websocket, others, paths }
    }
}

#[test]
fn case_69_what_a_key_has_open_ends_on_every_gateway_before_the_receipt() {
    let cluster = Cluster::start(2);
    let ends = Ends::default();
    let [key, other] = [(); 2].map(|()| cluster.one().create_environment_key("e1"));
    let mut opened: Vec<_> =
        cluster.gateways.iter().map(|gateway| Opened::at(&cluster, gateway, &ends, &key)).collect();
    let mut kept: Vec<_> =
        cluster.gateways.iter().map(|gateway| Opened::at(&cluster, gateway, &ends, &other)).collect();

    let done = cluster.one().succeed(&["key", "deactivate", &key.id]);
    let receipt = Instant::now();
    assert!(done.stdout.ends_with("in force on gw-one, gw-two\n"), "{done:?}");
    for opened in &mut opened {
        assert!(opened.websocket.ends_within(PATIENCE), "the WebSocket goes on");
        assert_eq!(opened.websocket.unread(), CLOSED_1008);
        for client in &mut opened.others {
            assert!(client.ends_within(PATIENCE), "a stream goes on");
            assert!(!client.unread().ends_with(b"0\r\n\r\n"), "cut off, it must not look complete");
        }
        for path in &opened.paths {
            // the upstream looks every ten milliseconds, on a machine that may be busy
            let late = ends.of(path).saturating_duration_since(receipt);
            assert!(late < Duration::from_millis(500), "{path} ended {late:?} after the receipt");
        }
    }
    for kept in &mut kept {
        for client in &mut kept.others[..2] {
            let before = client.unread().len();
            assert!(client.take(before + 200, PATIENCE).is_ok(), "another key's stream has ended");
        }
        assert!(!kept.websocket.ends_within(Duration::from_millis(50)), "another key's WebSocket has ended");
        kept.others[2].send([b'x'; 1000]);
    }
}

/// Opens a stream of an HTTP/2 connection that goes both ways without an end, as gRPC does, and waits for the answer.
fn open_stream(client: &mut RawHttp2, stream: u32, path: &str, key: &Key) {
    let authorization = key.authorization();
    let fields: [(&[u8], &[u8]); 7] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"authorization", authorization.as_bytes()),
    ];
    client.headers(stream, &fields, false).expect("an open connection");
    client.data(stream, b"\0\0\0\0\x05hello", false).expect("an open stream");
    assert_eq!(client.outcome_of(stream), StreamOutcome::Status(200));
}

#[test]
fn case_69_other_keys_streams_on_the_same_http2_connection_go_on() {
    let cluster = Cluster::start(2);
    let ends = Ends::default();
    let [key, other] = [(); 2].map(|()| cluster.one().create_environment_key("e1"));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut clients: Vec<_> = cluster
        .gateways
        .iter()
        .map(|gateway| {
            let mut client = RawHttp2::connect(gateway.https());
            let paths = [path(), path()];
            for (stream, key, path) in [(1, &key, &paths[0]), (3, &other, &paths[1])] {
                cluster.upstream.answer(path, endless(&ends, head, EVENT));
                open_stream(&mut client, stream, path, key);
            }
            (client, paths)
        })
        .collect();
    cluster.two().succeed(&["key", "deactivate", &key.id]);
    let receipt = Instant::now();
    for (client, paths) in &mut clients {
        let late = ends.of(&paths[0]).saturating_duration_since(receipt);
        assert!(late < Duration::from_millis(500), "the stream ended {late:?} after the receipt");
        // its end comes as a reset, and then there is nothing but the other
        let (mut is_reset, mut after) = (false, 0);
        while after < 20 {
            let frame: Frame = client.read(PATIENCE).expect("the connection goes on");
            match (frame.stream, frame.kind) {
                (1, RST_STREAM) => is_reset = true,
                (1, DATA) => {
                    assert!(!is_reset && frame.flags & END_STREAM == 0, "{frame:?}");
                }
                (1, HEADERS) => panic!("trailers make it look complete: {frame:?}"),
                (3, DATA) if is_reset => after += 1,
                (3, RST_STREAM) => panic!("another key's stream was ended"),
                (1, WINDOW_UPDATE) | (3 | 0, _) => {}
                _ => panic!("{frame:?}"),
            }
        }
        client.data(3, b"\0\0\0\0\x05again", false).expect("the other stream takes more");
    }
}
