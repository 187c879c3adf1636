//! Streams that an upstream keeps open until the other side ends, and when that was.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::http1::Request;
use super::upstream::{Answer, Conversation, Recorded};
use super::{PATIENCE, wait_for};

/// The Close frame of a server with the status 1008.
pub const CLOSED_1008: &[u8] = &[0x88, 2, 0x03, 0xf0];

/// The head of an event stream.
pub const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/// One event, as a chunk.
pub const EVENT: &str = "8\r\ndata: x\n\r\n";
/// The head of a download that takes long.
pub const FILE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";

const LATE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate";

/// When the stream of each path ended at the upstream.
#[derive(Clone, Default)]
pub struct StreamEnds(Arc<Mutex<Vec<(String, Timestamp)>>>);

impl StreamEnds {
    fn note(&self, request: &Recorded) {
        self.0.lock().expect("no test has panicked here").push((request.path(), Timestamp::now()));
    }

    /// When the stream of this path ended, if it has.
    pub fn find(&self, path: &str) -> Option<Timestamp> {
        self.0
            .lock()
            .expect("no test has panicked here")
            .iter()
            .find(|(ended, _)| ended == path)
            .map(|(_, at)| *at)
    }

    /// Waits for the end of this path's stream.
    #[track_caller]
    pub fn wait_for(&self, path: &str, kind: &str) -> Timestamp {
        wait_for(PATIENCE, &format!("the end of the {kind}"), || self.find(path).is_some());
        self.find(path).expect("it has ended")
    }

    /// Sends `head`, then `piece` every ten milliseconds, until the other side ends.
    pub fn endless(&self, head: &'static str, piece: &'static str) -> Answer {
        let ends = self.clone();
        Answer::after_head(move |request: &Recorded, conversation: &mut Conversation| {
            conversation.send(head).ok();
            while conversation.send(piece).is_ok() && !conversation.ends_within(Duration::from_millis(10)) {}
            ends.note(request);
            false
        })
    }

    /// Answers `head`, and reads what comes until the other side ends; then says one thing more, too late.
    pub fn swallow(&self, head: impl Fn(&Recorded) -> String + Send + Sync + 'static) -> Answer {
        let ends = self.clone();
        Answer::after_head(move |request: &Recorded, conversation: &mut Conversation| {
            conversation.send(head(request)).ok();
            while conversation.receive().is_ok_and(|bytes| !bytes.is_empty()) {}
            ends.note(request);
            conversation.send(LATE).ok();
            false
        })
    }

    /// Reads what comes until the other side ends, and answers when it is too late.
    pub fn silent(&self) -> Answer {
        self.swallow(|_| String::new())
    }

    /// Accepts a WebSocket, and reads what comes until the other side ends.
    pub fn websocket(&self) -> Answer {
        self.swallow(|request| {
            let key = request.header("Sec-WebSocket-Key").unwrap_or_default();
            let accept = derive_accept_key(key.as_bytes());
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            )
        })
    }
}

/// The request with which a client asks for a WebSocket.
pub fn websocket_handshake(request: Request) -> Request {
    let request = request.header("Connection", "Upgrade").header("Upgrade", "websocket");
    let request = request.header("Sec-WebSocket-Version", "13");
    request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}
