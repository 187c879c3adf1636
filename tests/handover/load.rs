//! Clients that never pause: each counts what was answered, and keeps what was not.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::cli::Key;
use crate::support::http1::{Client, Request, fresh_source, open_from};
use crate::support::http2::{
    DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM, RawHttp2, WINDOW_UPDATE, number, status,
};

pub const TARGET: &str = "/v1/projects/e1/x";

/// What clients have seen.
#[derive(Debug, Default)]
pub struct Load {
    over: AtomicBool,
    pub answered: AtomicU64,
    /// How often a kept connection was ended by the gateway, as it may.
    pub ended: AtomicU64,
    lost: Mutex<Vec<String>>,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn count(&self, seen: u16, how: &str) {
        if seen == 200 {
            self.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            self.lose(format!("{how}: {seen}"));
        }
    }

    fn lose(&self, what: String) {
        self.lost.lock().unwrap().push(what);
    }

    /// Fails if anything was lost.
    #[track_caller]
    pub fn assert_whole(&self) {
        let lost = self.lost.lock().unwrap();
        let answered = self.answered.load(Ordering::Relaxed);
        assert!(lost.is_empty(), "lost {} of {answered}: {:?}", lost.len(), &lost[..lost.len().min(5)]);
        assert!(answered > 0);
    }

    /// A connection for each request.
    pub fn new_connections(&self, address: SocketAddr, key: &Key) {
        let request = Request::get(TARGET).key(key).header("Connection", "close").end();
        while self.goes_on() {
            match open_from(fresh_source(), address) {
                Err(error) => self.lose(format!("refused: {error}")),
                Ok(socket) => {
                    let mut client = Client::over(socket);
                    client.send(&request);
                    match client.try_read(false, PATIENCE) {
                        Ok(answer) => self.count(answer.status, "new connection"),
                        Err(error) => self.lose(format!("new connection: {error:?}")),
                    }
                }
            }
        }
    }

    /// A connection for each request, to a Unix socket.
    pub fn new_unix_connections(&self, socket: &Path, key: &Key) {
        let request = Request::get(TARGET).key(key).header("Connection", "close").end();
        while self.goes_on() {
            let mut answer = Vec::new();
            let asked = UnixStream::connect(socket).and_then(|mut stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(&request)?;
                stream.read_to_end(&mut answer)
            });
            match asked {
                Err(error) => self.lose(format!("Unix socket: {error}")),
                Ok(_) => {
                    self.count(if answer.starts_with(b"HTTP/1.1 200 ") { 200 } else { 0 }, "Unix socket");
                }
            }
        }
    }

    /// A connection that is kept until an answer says that it ends, with a pause between two requests.
    pub fn kept_connection(&self, address: SocketAddr, key: &Key, pause: Duration) {
        let request = Request::get(TARGET).key(key).end();
        let mut client = Client::connect(address);
        while self.goes_on() {
            client.send(&request);
            match client.try_read(false, PATIENCE) {
                Ok(answer) => {
                    self.count(answer.status, "kept connection");
                    if answer.header("Connection").is_some_and(|text| text == "close") {
                        self.ended.fetch_add(1, Ordering::Relaxed);
                        client = Client::connect(address);
                    }
                }
                Err(error) => {
                    self.lose(format!("kept connection: {error:?}"));
                    client = Client::connect(address);
                }
            }
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
    }

    /// A stream for each request, on a connection that is kept until GOAWAY.
    pub fn http2(&self, address: SocketAddr, key: &Key) {
        let authorization = key.authorization();
        let fields: [(&[u8], &[u8]); 5] = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", TARGET.as_bytes()),
            (b"authorization", authorization.as_bytes()),
        ];
        while self.goes_on() {
            let mut connection = RawHttp2::connect(address);
            let (mut last, mut stream) = (u32::MAX, 1);
            while self.goes_on() && last == u32::MAX {
                if connection.headers(stream, &fields, true).is_err() {
                    self.lose("HTTP/2: the connection was cut".to_owned());
                    break;
                }
                loop {
                    match connection.read(PATIENCE) {
                        Some(frame) if frame.kind == HEADERS => self.count(status(&frame.payload), "HTTP/2"),
                        Some(frame) if frame.kind == DATA => {
                            if !frame.payload.is_empty() {
                                let length = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
                                connection.write(WINDOW_UPDATE, 0, 0, &length).ok();
                            }
                            if frame.flags & END_STREAM != 0 {
                                break;
                            }
                        }
                        // what is above it was not looked at: the client asks again elsewhere (RFC 9113 section 6.8)
                        Some(frame) if frame.kind == GOAWAY => {
                            last = number(&frame.payload);
                            self.ended.fetch_add(1, Ordering::Relaxed);
                            if stream > last {
                                break;
                            }
                        }
                        Some(frame) if frame.kind == RST_STREAM => {
                            self.lose(format!("HTTP/2: reset {:?}", frame.payload));
                            break;
                        }
                        Some(_) => {}
                        None => {
                            self.lose("HTTP/2: ended without an answer".to_owned());
                            last = 0;
                            break;
                        }
                    }
                }
                stream += 2;
            }
        }
    }
}
