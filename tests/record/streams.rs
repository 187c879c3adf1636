//! What a key has open ends on every gateway before the answer says that the key is dead. Attack case 69.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::cluster::Cluster;
use crate::support::cli::Key;
use crate::support::gateway::Gateway;
use crate::support::http1::{Client, Request};
use crate::support::http2::{
    DATA, END_STREAM, Frame, HEADERS, RST_STREAM, RawHttp2, StreamOutcome, WINDOW_UPDATE,
};
use crate::support::open_streams::{CLOSED_1008, EVENT, EVENTS, FILE, StreamEnds, websocket_handshake};
use crate::support::{PATIENCE, marker};

fn path() -> String {
    format!("/v1/projects/e1/{}", marker())
}

/// Fails where the stream of this path ends later than the receipt.
#[track_caller]
fn assert_ended(ends: &StreamEnds, path: &str, receipt: Timestamp) {
    let late = ends.wait_for(path, "stream").duration_since(receipt);
    // the upstream looks every ten milliseconds, on a machine that may be busy
    assert!(late < SignedDuration::from_millis(500), "{path} ended {late:#} after the receipt");
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
    fn at(cluster: &Cluster, gateway: &Gateway, ends: &StreamEnds, key: &Key) -> Self {
        let paths: Vec<String> = (0..4).map(|_| path()).collect();
        cluster.upstream.answer(&paths[0], ends.websocket());
        cluster.upstream.answer(&paths[1], ends.endless(EVENTS, EVENT));
        cluster.upstream.answer(&paths[2], ends.endless(FILE, "12345678"));
        cluster.upstream.answer(&paths[3], ends.silent());
        let mut websocket = gateway.connect();
        websocket.send(websocket_handshake(Request::get(&paths[0]).key(key)).end());
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
    let ends = StreamEnds::default();
    let [key, other] = [(); 2].map(|()| cluster.one().create_environment_key("e1"));
    let mut opened: Vec<_> =
        cluster.gateways.iter().map(|gateway| Opened::at(&cluster, gateway, &ends, &key)).collect();
    let mut kept: Vec<_> =
        cluster.gateways.iter().map(|gateway| Opened::at(&cluster, gateway, &ends, &other)).collect();

    let done = cluster.one().succeed(&["key", "deactivate", &key.id]);
    let receipt = Timestamp::now();
    assert!(done.stdout.ends_with("in force on gw-one, gw-two\n"), "{done:?}");
    for opened in &mut opened {
        assert!(opened.websocket.ends_within(PATIENCE), "the WebSocket goes on");
        assert_eq!(opened.websocket.unread(), CLOSED_1008);
        for client in &mut opened.others {
            assert!(client.ends_within(PATIENCE), "a stream goes on");
            assert!(!client.unread().ends_with(b"0\r\n\r\n"), "cut off, it must not look complete");
        }
        for path in &opened.paths {
            assert_ended(&ends, path, receipt);
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
    let ends = StreamEnds::default();
    let [key, other] = [(); 2].map(|()| cluster.one().create_environment_key("e1"));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut clients: Vec<_> = cluster
        .gateways
        .iter()
        .map(|gateway| {
            let mut client = RawHttp2::connect(gateway.https());
            let paths = [path(), path()];
            for (stream, key, path) in [(1, &key, &paths[0]), (3, &other, &paths[1])] {
                cluster.upstream.answer(path, ends.endless(head, EVENT));
                open_stream(&mut client, stream, path, key);
            }
            (client, paths)
        })
        .collect();
    cluster.two().succeed(&["key", "deactivate", &key.id]);
    let receipt = Timestamp::now();
    for (client, paths) in &mut clients {
        assert_ended(&ends, &paths[0], receipt);
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
