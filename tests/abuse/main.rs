//! Slow, greedy and hostile clients: each is ended in time, and the others notice nothing.
//! Attack cases 82 to 84.

#[path = "../support/mod.rs"]
mod support;

mod http2_floods;
mod large_requests;
mod slow_clients;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::http1::{Client, NoAnswer, Request};
use support::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, RawHttp2, SETTINGS,
    StreamOutcome, WINDOW_UPDATE, block,
};
use support::memory::peak_kib;
use support::stage::Stage;
use support::tls::{believing, handshake};
use support::upstream::Answer;
use support::{PATIENCE, contains, marker, show, wait_for};

/// A gateway that is impatient, so that its deadlines can be watched.
fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::with(|plan| {
            plan.top("timeouts: { header: 1s, idle: 2s, body: 1s, write: 1s, tls_handshake: 1s }")
                .top("limits: { body_bytes: 1MiB }")
        });
        let large = vec![b'L'; 16 << 20];
        stage.upstream.answer("/v1/projects/e1/large", Answer::with("HTTP/1.1 200 OK", &large));
        stage
    })
}

/// The deadlines of this stage, with room for a busy machine.
const SOON: Duration = Duration::from_secs(8);

#[track_caller]
fn assert_others_are_served(about: &str) {
    let mark = marker();
    let begun = Instant::now();
    let answer =
        stage().gateway.exchange(stage().request("POST", "/v1/projects/e1/x").mark(&mark).body("other"));
    assert_eq!(answer.status, 200, "{about}: {answer:?}");
    assert!(contains(&answer.body, mark.as_bytes()), "{about}");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{about}: another client waited {took:?}");
}

/// Runs `attack` while other clients go on; fails where they are held up or the gateway's memory grows.
#[track_caller]
fn while_others_are_served(about: &str, attack: impl FnOnce() + Send) {
    let gateway = &stage().gateway;
    assert_others_are_served("before the attack");
    let before = peak_kib(gateway.pid());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let _done = SetOnDrop(&done);
            attack();
        });
        while !done.load(Ordering::Acquire) {
            assert_others_are_served(about);
            std::thread::sleep(Duration::from_millis(10));
        }
        attacker.join().expect("the attack goes as written");
    });
    assert_others_are_served(about);
    let grown = peak_kib(gateway.pid()).saturating_sub(before);
    assert!(grown < 96 * 1024, "{about}: the gateway's peak memory grew by {grown} KiB");
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Name and value of an HTTP/2 header field.
type Field<'a> = (&'a [u8], &'a [u8]);

/// Whether the gateway ends the connection in time.
fn ends(client: &mut RawHttp2) -> bool {
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        match client.read(deadline.saturating_duration_since(Instant::now())) {
            Some(frame) if frame.kind == GOAWAY => return true,
            Some(_) => {}
            None => return Instant::now() < deadline,
        }
    }
    false
}

/// Sends a request into `e1` on a stream; the connection may have ended already.
fn try_request(client: &mut RawHttp2, stream: u32, method: &str, path: &str, mark: &str, end: bool) -> bool {
    let key = stage().e1.authorization();
    let fields: [(&[u8], &[u8]); 6] = [
        (b":method", method.as_bytes()),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
        (b"authorization", key.as_bytes()),
        (b"x-marker", mark.as_bytes()),
    ];
    client.headers(stream, &fields, end).is_ok()
}

#[track_caller]
fn request(client: &mut RawHttp2, stream: u32, method: &str, path: &str, mark: &str, end: bool) {
    assert!(try_request(client, stream, method, path, mark, end), "the connection has ended");
}

/// Sends a header block that ends its stream in frames of 16 KiB; false where the connection has ended.
fn in_pieces(client: &mut RawHttp2, stream: u32, bytes: &[u8]) -> bool {
    let mut pieces = bytes.chunks(16_000).peekable();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        let end_stream = if kind == HEADERS { END_STREAM } else { 0 };
        if client.write(kind, end | end_stream, stream, piece).is_err() {
            return false;
        }
        kind = CONTINUATION;
    }
    true
}

#[test]
fn connections_beyond_a_limit_are_refused_until_one_ends() {
    for limits in ["connections: 8", "connections_per_source: 8"] {
        let stage = Stage::with(|plan| plan.top(&format!("limits: {{ {limits} }}")));
        let request = stage.request("GET", "/v1/projects/e1/x").end();
        let connect = || Client::connect_from(Ipv4Addr::new(127, 0, 0, 9), stage.gateway.http());
        let mut held: Vec<Client> = Vec::new();
        for _ in 0..8 {
            let mut client = connect();
            client.send(&request);
            assert_eq!(client.read().status, 200, "{limits}");
            held.push(client);
        }
        let mut beyond = connect();
        beyond.send(&request);
        match beyond.try_read(false, PATIENCE) {
            Ok(answer) => assert!([429, 503].contains(&answer.status), "{limits}: {answer:?}"),
            Err(NoAnswer::Closed(rest)) => assert!(rest.is_empty(), "{}", show(&rest)),
            Err(NoAnswer::Late(_)) => {} // left in the queue of the listener
            Err(other) => panic!("{other:?}"),
        }
        drop(beyond);
        drop(held.pop());
        wait_for(PATIENCE, "there is room again", || {
            let mut client = connect();
            client.send(&request);
            client.try_read(false, Duration::from_millis(500)).is_ok_and(|answer| answer.status == 200)
        });
        held[0].send(&request);
        assert_eq!(held[0].read().status, 200, "{limits}: those who were there go on");
    }
}

#[test]
fn too_few_open_files_are_logged_now_and_then_and_accepting_goes_on() {
    let stage = Stage::start();
    let pid = stage.gateway.pid();
    let allow = |count: usize| {
        let limit = format!("--nofile={count}:");
        let set = Command::new("prlimit").args([&format!("--pid={pid}"), &limit]).status();
        assert!(set.is_ok_and(|status| status.success()), "the limit cannot be set");
    };
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its open files").count();
    allow(open + 8);
    let waiting: Vec<_> = (0..40).map(|_| TcpStream::connect(stage.gateway.http())).collect();
    let told = || stage.gateway.log().matches("cannot accept").count();
    wait_for(PATIENCE, "it is told", || told() > 0);
    // it is tried twenty times a second, by each worker
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert!(told() <= 2, "{}", stage.gateway.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(waiting);
    let request = stage.request("GET", "/v1/projects/e1/x").end();
    wait_for(PATIENCE, "clients are served again", || stage.gateway.exchange(&request).status == 200);
}
