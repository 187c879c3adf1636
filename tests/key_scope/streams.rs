//! What a key has open when it is narrowed: what lies outside ends before the receipt, everything else goes on.

use serde_json::json;

use crate::set_scope;
use crate::support::http1::Client;
use crate::support::http2::{DATA, RST_STREAM, RawHttp2, StreamOutcome};
use crate::support::open_streams::{EVENT, EVENTS, StreamEnds, websocket_handshake};
use crate::support::stage::Stage;
use crate::support::{PATIENCE, marker};

/// An event stream, an upload and a WebSocket of the key of `e1`, each on a connection of its own.
struct Opened {
    ends: StreamEnds,
    paths: [String; 3],
    clients: Vec<Client>,
}

impl Opened {
    #[track_caller]
    fn by(stage: &Stage) -> Self {
        let ends = StreamEnds::default();
        let paths = ["events", "upload", "socket"].map(|kind| format!("/v1/projects/e1/{kind}/{}", marker()));
        let answers = [ends.endless(EVENTS, EVENT), ends.silent(), ends.websocket()];
        for (path, answer) in paths.iter().zip(answers) {
            stage.upstream.answer(path, answer);
        }
        let open = |request: Vec<u8>| {
            let mut client = stage.gateway.connect();
            client.send(request);
            client
        };
        let mut events = open(stage.request("GET", &paths[0]).end());
        assert_eq!(events.take(12, PATIENCE).expect("the answer begins"), b"HTTP/1.1 200");
        let mut upload = open(stage.request("POST", &paths[1]).header("Content-Length", "1000000000").end());
        upload.send([b'x'; 10_000]);
        stage.upstream.wait_for(&paths[1]);
        let mut socket = open(websocket_handshake(stage.request("GET", &paths[2])).end());
        assert_eq!(socket.read().status, 101);
        Self { ends, paths, clients: vec![events, upload, socket] }
    }

    /// Fails unless these have ended, and the others go on.
    #[track_caller]
    fn assert_ended(&mut self, which: &[usize]) {
        for at in which {
            self.ends.wait_for(&self.paths[*at], "stream");
            if *at != 1 {
                assert!(self.clients[*at].ends_within(PATIENCE), "{}", self.paths[*at]);
            }
        }
        if !which.contains(&0) {
            let before = self.clients[0].unread().len();
            assert!(self.clients[0].take(before + 200, PATIENCE).is_ok(), "the event stream has ended");
        }
        for (at, path) in self.paths.iter().enumerate().filter(|(at, _)| !which.contains(at)) {
            assert_eq!(self.ends.find(path), None, "stream {at} has ended");
        }
    }
}

#[test]
fn a_key_that_may_only_read_keeps_what_reads() {
    let stage = Stage::start();
    let mut opened = Opened::by(&stage);
    set_scope(&stage.gateway, &stage.e1, &json!({ "read_only": true }));
    opened.assert_ended(&[1, 2]);
}

#[test]
fn a_key_that_is_narrowed_to_methods_and_paths_keeps_what_lies_within() {
    let stage = Stage::start();
    let mut opened = Opened::by(&stage);
    set_scope(&stage.gateway, &stage.e1, &json!({ "methods": ["GET"] }));
    opened.assert_ended(&[1]);
    set_scope(&stage.gateway, &stage.e1, &json!({ "paths": ["/v1/projects/*/events/**"] }));
    opened.assert_ended(&[1, 2]);
}

#[test]
fn a_key_that_is_narrowed_to_other_networks_keeps_nothing() {
    let stage = Stage::start();
    let mut opened = Opened::by(&stage);
    set_scope(&stage.gateway, &stage.e1, &json!({ "networks": ["127.0.0.0/8", "2001:db8::/32"] }));
    opened.assert_ended(&[]);
    set_scope(&stage.gateway, &stage.e1, &json!({ "networks": ["2001:db8::/32"] }));
    opened.assert_ended(&[0, 1, 2]);
}

#[test]
fn on_one_http2_connection_only_the_streams_outside_end() {
    const INSIDE: u32 = 1;
    const OUTSIDE: u32 = 3;
    let stage = Stage::start();
    let ends = StreamEnds::default();
    let paths = ["inside", "outside"].map(|kind| format!("/v1/projects/e1/{kind}/{}", marker()));
    let mut client = RawHttp2::connect(stage.gateway.https());
    let authorization = stage.e1.authorization();
    for (stream, path) in [(INSIDE, &paths[0]), (OUTSIDE, &paths[1])] {
        stage.upstream.answer(path, ends.endless(EVENTS, EVENT));
        let fields: [(&[u8], &[u8]); 5] = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", path.as_bytes()),
            (b"authorization", authorization.as_bytes()),
        ];
        client.headers(stream, &fields, true).expect("an open connection");
        assert_eq!(client.outcome_of(stream), StreamOutcome::Status(200));
    }
    set_scope(&stage.gateway, &stage.e1, &json!({ "paths": ["/v1/projects/e1/inside/*"] }));
    let (mut has_ended, mut after) = (false, 0);
    while after < 20 {
        let frame = client.read(PATIENCE).expect("the connection goes on");
        match (frame.stream, frame.kind) {
            (OUTSIDE, RST_STREAM) => has_ended = true,
            (INSIDE, DATA) if has_ended => after += 1,
            (INSIDE, RST_STREAM) => panic!("a stream within the scope was ended"),
            _ => {}
        }
    }
    ends.wait_for(&paths[1], "stream outside");
    assert_eq!(ends.find(&paths[0]), None);
}
