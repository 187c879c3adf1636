//! Connections to upstreams: several endpoints, dead, slow and broken ones, TLS, HTTP/2.

#[path = "../support/mod.rs"]
mod support;

mod http2;
mod tls;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::{Domain, Socket, Type};
use support::certificates::{Authority, server};
use support::http1::{NoAnswer, Response};
use support::http2::{RawHttp2, StreamOutcome};
use support::http2_upstream::{Http2Upstream, STREAMS};
use support::raw_upstream::{self, RawUpstream};
use support::stage::Stage;
use support::upstream::{Answer, Upstream};
use support::{PATIENCE, contains, marker, show, wait_for};
use tempfile::TempDir;

/// A gateway that waits for its upstreams only a moment.
fn impatient() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        Stage::with(|plan| {
            plan.top("timeouts: { upstream_response: 1s, upstream_body: 1s, upstream_connect: 1s, upstream_idle: 1s }")
        })
    })
}

/// A port of the loopback interface on which nobody listens.
fn dead_address() -> SocketAddr {
    // bound, so that nobody else gets the port while the test runs, and not listening
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let address = socket.local_addr().expect("a bound socket").as_socket().expect("an IP address");
    std::mem::forget(socket);
    address
}

fn endpoints(addresses: &[SocketAddr]) -> String {
    let urls: Vec<String> = addresses.iter().map(|address| format!("\"http://{address}\"")).collect();
    format!("  api: {{ endpoints: [{}] }}\n", urls.join(", "))
}

#[test]
fn endpoints_are_used_in_turn() {
    let others = [Upstream::start(), Upstream::start()];
    let stage = Stage::with(|plan| plan.upstreams(&endpoints(&[others[0].address(), others[1].address()])));
    let mark = marker();
    let request = stage.request("GET", "/v1/projects/e1/x").mark(&mark).end();
    for _ in 0..20 {
        assert_eq!(stage.gateway.exchange(&request).status, 200);
    }
    for upstream in &others {
        let count = upstream.requests(&mark).len();
        assert!((6..=14).contains(&count), "one of two endpoints got {count} of 20 requests");
    }
}

#[test]
fn a_dead_endpoint_is_passed_over() {
    let live = Upstream::start();
    let stage =
        Stage::with(|plan| plan.upstreams(&endpoints(&[dead_address(), live.address(), dead_address()])));
    for number in 0..20 {
        let mark = marker();
        let answer = stage.gateway.exchange(stage.request("POST", "/v1/projects/e1/x").mark(&mark).body("b"));
        assert_eq!(answer.status, 200, "request {number}: {answer:?}");
        assert_eq!(live.only(&mark).body, b"b");
    }
}

#[test]
fn an_upstream_without_a_living_endpoint_is_502() {
    let stage = Stage::with(|plan| plan.upstreams(&endpoints(&[dead_address(), dead_address()])));
    let answer = stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").end());
    answer.assert_refused(502);
    let text = answer.text();
    assert!(!text.contains("127.0.0.1"), "the client is told of endpoints: {text}");
}

/// An upstream that counts its requests, and closes each connection without a word after the first answer.
struct Counting {
    plain: RawUpstream,
    count: Arc<AtomicUsize>,
    closed: mpsc::Receiver<()>,
}

impl Counting {
    fn start(close: CloseWhen) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let (tell, closed) = mpsc::channel();
        let tell = Mutex::new(tell);
        let plain = RawUpstream::start(move |_, mut reader| {
            for _ in 0..if close == CloseWhen::NextRequestComes { 2 } else { 1 } {
                let lines = raw_upstream::head(&mut reader)?;
                // the second one is read, and never answered
                if counter.fetch_add(1, Ordering::SeqCst) == 1 && close == CloseWhen::NextRequestComes {
                    break;
                }
                let has_body = lines.iter().any(|line| line.eq_ignore_ascii_case("content-length: 4"));
                raw_upstream::skip(&mut reader, if has_body { 4 } else { 0 })?;
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            }
            reader.get_mut().shutdown(Shutdown::Both)?;
            tell.lock().expect("not poisoned").send(()).ok();
            Ok(())
        });
        Self { plain, count, closed }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CloseWhen {
    AtOnce,
    NextRequestComes,
}

#[test]
fn a_kept_connection_that_died_costs_no_request() {
    let upstream = Counting::start(CloseWhen::AtOnce);
    let stage = Stage::with(|plan| plan.upstreams(&upstream.plain.entry("api")));
    let mut client = stage.gateway.connect();
    for number in 0..60 {
        let request = if number % 2 == 0 {
            stage.request("GET", "/v1/projects/e1/x").end()
        } else {
            stage.request("POST", "/v1/projects/e1/x").body("body")
        };
        client.send(request);
        let answer = client.read();
        assert_eq!(answer.status, 200, "request {number}: {answer:?}");
        upstream.closed.recv_timeout(PATIENCE).expect("the connection is closed behind its answer");
    }
    assert_eq!(upstream.count(), 60, "every request reached the upstream exactly once");
}

/// The upstream's end and the next request cross on their way: what may be repeated is.
#[test]
fn a_kept_connection_that_dies_costs_no_request_that_may_be_repeated() {
    let upstream = Counting::start(CloseWhen::AtOnce);
    let stage = Stage::with(|plan| plan.upstreams(&upstream.plain.entry("api")));
    let mut client = stage.gateway.connect();
    for number in 0..200 {
        client.send(stage.request("GET", "/v1/projects/e1/x").end());
        let answer = client.read();
        assert_eq!(answer.status, 200, "request {number}: {answer:?}");
    }
    assert_eq!(upstream.count(), 200);
}

#[test]
fn a_request_that_may_have_been_read_is_not_sent_twice() {
    let upstream = Counting::start(CloseWhen::NextRequestComes);
    let stage = Stage::with(|plan| plan.upstreams(&upstream.plain.entry("api")));
    let mut client = stage.gateway.connect();
    let request = stage.request("POST", "/v1/projects/e1/x").body("body");
    client.send(&request);
    assert_eq!(client.read().status, 200);
    client.send(&request);
    client.read().assert_refused(502);
    assert_eq!(upstream.count(), 2, "the second request was sent once");
}

#[test]
fn connections_are_kept_and_used_again() {
    let upstream = Upstream::start();
    let stage = Stage::with(|plan| plan.upstreams(&endpoints(&[upstream.address()])));
    let mut client = stage.gateway.connect();
    for number in 0..20 {
        let request = match number % 3 {
            0 => stage.request("GET", "/v1/projects/e1/x").end(),
            1 => stage.request("POST", "/v1/projects/e1/x").body("body"),
            _ => stage.request("HEAD", "/v1/projects/e1/x").end(),
        };
        client.send(&request);
        assert_eq!(client.read_answer_to(&request).status, 200);
    }
    assert_eq!(upstream.connections(), 1);
    upstream.answer("/v1/projects/e1/last", Answer::with("HTTP/1.1 200 OK\nConnection: close", b"ok"));
    client.send(stage.request("GET", "/v1/projects/e1/last").end());
    assert_eq!(client.read().text(), "ok");
    wait_for(PATIENCE, "what says close is closed", || !upstream.is_open(0));
    client.send(stage.request("GET", "/v1/projects/e1/x").end());
    assert_eq!(client.read().status, 200, "the client's connection is not the upstream's");
}

#[test]
fn idle_upstream_connections_are_closed() {
    let stage = impatient();
    let mark = marker();
    assert_eq!(
        stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").mark(&mark).end()).status,
        200
    );
    let connection = stage.upstream.only(&mark).connection;
    wait_for(PATIENCE, "an idle connection is closed", || !stage.upstream.is_open(connection));
}

#[test]
fn an_upstream_that_does_not_answer_is_504() {
    let stage = impatient();
    stage.upstream.answer(
        "/v1/projects/e1/silent",
        Answer::after_head(|_, conversation| {
            conversation.ends_within(PATIENCE);
            false
        }),
    );
    let mark = marker();
    let begun = Instant::now();
    let answer = stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/silent").mark(&mark).end());
    answer.assert_refused(504);
    assert!(begun.elapsed() > Duration::from_millis(800), "after {:?}", begun.elapsed());
    let connection = stage.upstream.only(&mark).connection;
    wait_for(PATIENCE, "the connection is given up", || !stage.upstream.is_open(connection));
}

#[test]
fn an_upstream_that_takes_no_connection_is_504() {
    // a listener whose queue is full: further connections get no answer
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(0).expect("listen");
    let address = socket.local_addr().expect("bound").as_socket().expect("IPv4");
    let mut fillers = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        fillers.push(stream);
        assert!(fillers.len() < 100, "the queue does not fill");
    }
    let stage =
        Stage::with(|plan| plan.top("timeouts: { upstream_connect: 1s }").upstreams(&endpoints(&[address])));
    stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").end()).assert_refused(504);
}

#[test]
fn an_answer_that_stands_still_is_broken_off() {
    let stage = impatient();
    stage.upstream.answer(
        "/v1/projects/e1/stuck",
        Answer::after_head(|_, conversation| {
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").ok();
            conversation.ends_within(PATIENCE);
            false
        }),
    );
    let mark = marker();
    let mut client = stage.gateway.connect();
    client.send(stage.request("GET", "/v1/projects/e1/stuck").mark(&mark).end());
    let answer = client.try_read(false, PATIENCE);
    assert!(matches!(answer, Err(NoAnswer::Closed(_))), "{answer:?}");
    let connection = stage.upstream.only(&mark).connection;
    wait_for(PATIENCE, "the connection is given up", || !stage.upstream.is_open(connection));
}

#[test]
fn answers_that_are_no_http_are_502() {
    let stage = impatient();
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(20_000));
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    for (name, bytes) in [
        ("garbage", "garbage\r\n\r\n"),
        ("empty", ""),
        ("half", "HTTP/1.1 200 OK\r\nContent-"),
        ("version", "HTTP/3.7 200 OK\r\n\r\n"),
        ("status", "HTTP/1.1 20 OK\r\n\r\n"),
        ("lf", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        ("space", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
        ("fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        ("nul", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
        ("two", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("both", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"),
        ("many", &many),
        ("huge", &huge),
    ] {
        let path = format!("/v1/projects/e1/{name}");
        stage.upstream.answer(&path, Answer::BytesThenClose(bytes.into()));
        let answer = stage.gateway.exchange(stage.request("GET", &path).end());
        assert_eq!(answer.status, 502, "{name}: {answer:?}");
        answer.assert_refused(502);
    }
    assert_eq!(stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").end()).status, 200);
}

#[test]
fn an_upstream_that_speaks_http_1_0_is_understood() {
    let stage = impatient();
    for (name, bytes) in [
        ("old", "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold"),
        ("oldlength", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold"),
    ] {
        let path = format!("/v1/projects/e1/{name}");
        stage.upstream.answer(&path, Answer::BytesThenClose(bytes.into()));
        let answer = stage.gateway.exchange(stage.request("GET", &path).end());
        assert_eq!((answer.status, answer.text().as_str()), (200, "old"), "{name}");
    }
}

#[test]
fn an_upstream_that_reads_slowly_holds_the_client_back() {
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    let is_over = std::sync::Mutex::new(is_over);
    let upstream = RawUpstream::start(move |_, mut reader| {
        let lines = raw_upstream::head(&mut reader)?;
        assert!(lines[0].starts_with("PUT "));
        // it reads nothing more until the test is over, which drops the other end
        let _ = is_over.lock().expect("one connection").recv_timeout(PATIENCE);
        Ok(())
    });
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")).top("drain_timeout: 100ms"));
    let mut tcp = TcpStream::connect(stage.gateway.http()).expect("connect");
    tcp.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket option");
    tcp.write_all(&stage.request("PUT", "/v1/projects/e1/x").header("Content-Length", "209715200").end())
        .expect("the head");
    let piece = vec![b'u'; 1 << 16];
    let mut sent = 0;
    while tcp.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken for an upstream that reads nothing");
    drop(over);
}

#[test]
fn an_upstream_may_have_a_credential_and_a_host_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let password = directory.path().join("password");
    std::fs::write(&password, "open sesame\n").expect("write the password");
    let upstream = Upstream::start();
    let entry = format!(
        "  api: {{ endpoints: [\"http://{}\"], host: api.internal, credential: {{ username: Aladdin, \
         password_file: \"{}\" }} }}\n",
        upstream.address(),
        password.display()
    );
    let stage = Stage::with(|plan| plan.upstreams(&entry));
    let mark = marker();
    let answer = stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").mark(&mark).end());
    assert_eq!(answer.status, 200);
    let seen = upstream.only(&mark);
    assert_eq!(seen.header("Authorization").as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    assert_eq!(seen.header("Host").as_deref(), Some("api.internal"));
    assert_eq!(seen.header("X-Forwarded-Host").as_deref(), Some("gw.test"));
    assert!(!contains(stage.gateway.log().as_bytes(), b"sesame"), "{}", show(stage.gateway.log().as_bytes()));
}

#[test]
fn every_request_of_a_burst_is_answered() {
    let seen = Arc::new(Mutex::new(0usize));
    let count = Arc::clone(&seen);
    let upstream = RawUpstream::start(move |_, mut reader| {
        loop {
            raw_upstream::head(&mut reader)?;
            *count.lock().expect("not poisoned") += 1;
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
    });
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let request = stage.request("GET", "/v1/projects/e1/x").end();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = stage.gateway.connect();
                for _ in 0..100 {
                    client.send(&request);
                    assert_eq!(client.read().text(), "ok");
                }
            });
        }
    });
    assert_eq!(*seen.lock().expect("not poisoned"), 1600);
    assert!(upstream.connections() <= 40, "{} connections for 16 clients", upstream.connections());
}
