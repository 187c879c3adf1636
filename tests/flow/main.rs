//! Answers that break off, clients that leave, and slow readers and writers.

#[path = "../support/mod.rs"]
mod support;

mod clients_that_leave;
mod refused_bodies;
mod slow_sides;

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use support::http1::{NoAnswer, Request};
use support::http2::{
    DATA, HEADERS, PING, RST_STREAM, RawHttp2, SETTINGS, StreamOutcome, WINDOW_UPDATE, frame, number, status,
};
use support::raw_upstream::{self, RawUpstream};
use support::stage::Stage;
use support::upstream::Answer;
use support::{PATIENCE, contains, marker, show, stays, tls, wait_for};

/// How an upstream's answer breaks off after five bytes of its body.
const BREAKS: [&str; 6] =
    ["chunked-close", "chunked-reset", "chunked-bad", "length-close", "length-reset", "until-reset"];

/// Answers with status 500 and `hello`, and breaks off as the path's last segment says.
fn breaking_upstream() -> RawUpstream {
    RawUpstream::start(|_, mut reader| {
        let lines = raw_upstream::head(&mut reader)?;
        let path = lines[0].split(' ').nth(1).unwrap_or_default();
        let (framing, how) =
            path.rsplit('/').next().and_then(|last| last.split_once('-')).unwrap_or_default();
        let (field, body) = match framing {
            "chunked" => ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
            "length" => ("Content-Length: 50000\r\n", "hello"),
            "until" => ("", "hello"),
            // nothing of the body comes
            _ => ("Transfer-Encoding: chunked\r\n", ""),
        };
        let mut bytes = format!("HTTP/1.1 500 X\r\n{field}\r\n{body}");
        if how == "bad" {
            bytes.push_str("zz\r\n");
        }
        reader.get_mut().write_all(bytes.as_bytes())?;
        if how == "reset" {
            socket2::SockRef::from(reader.get_ref()).set_linger(Some(Duration::ZERO))?;
        }
        Ok(())
    })
}

fn broken() -> &'static Stage {
    static STAGE: OnceLock<(Stage, RawUpstream)> = OnceLock::new();
    let (stage, _) = STAGE.get_or_init(|| {
        let upstream = breaking_upstream();
        (Stage::with(|plan| plan.upstreams(&upstream.entry("api"))), upstream)
    });
    stage
}

/// Waits for the access log's line that holds `mark`.
#[track_caller]
fn log_line(stage: &Stage, mark: &str) -> String {
    let mut line = None;
    wait_for(PATIENCE, "the access log tells of it", || {
        line = stage.gateway.stdout().lines().find(|line| line.contains(mark)).map(str::to_owned);
        line.is_some()
    });
    line.unwrap_or_default()
}

#[test]
fn case_112_an_answer_that_breaks_off_is_delivered_as_far_as_it_came_and_looks_unfinished() {
    let stage = broken();
    let mut asked = Vec::new();
    for how in BREAKS {
        for client in ["plain", "TLS", "HTTP/1.0"] {
            // the head, the body and the end come together, or one after the other
            for round in 0..5 {
                let about = format!("{how} over {client}, round {round}");
                let path = format!("/v1/projects/e1/{}/{how}", marker());
                let request = stage.request("GET", &path).end();
                let mut socket = match client {
                    "TLS" => tls::connect(stage.gateway.https()),
                    _ => stage.gateway.connect(),
                };
                if client == "HTTP/1.0" {
                    let text = String::from_utf8(request).expect("plain text");
                    socket.send(text.replace("HTTP/1.1", "HTTP/1.0"));
                } else {
                    socket.send(request);
                }
                let head = socket.take_until(b"\r\n\r\n", PATIENCE).unwrap_or_else(|none| {
                    panic!("{about}: {none:?}");
                });
                assert!(head.starts_with(b"HTTP/1.1 500 X\r\n"), "{about}: {}", show(&head));
                socket.take_until(b"hello", PATIENCE).unwrap_or_else(|none| panic!("{about}: {none:?}"));
                let is_bounded = contains(&head, b"Content-Length: ") || contains(&head, b"chunked");
                // only a reset tells that an answer without a length has broken off
                let rest = match socket.take(usize::MAX, PATIENCE) {
                    Err(NoAnswer::Closed(rest)) => rest,
                    other => panic!("{about}: {other:?}"),
                };
                assert!(!contains(&rest, b"0\r\n\r\n"), "{about}: {}", show(&rest));
                if !is_bounded {
                    assert!(socket.was_reset(), "{about}: an orderly end makes a whole answer of it");
                }
                asked.push((about, path));
            }
        }
    }
    for (about, path) in asked {
        let line = log_line(stage, &path);
        assert!(line.contains(" 500 ") && line.contains("broke off"), "{about}: {line}");
    }
}

#[test]
fn case_112_an_http2_client_gets_a_reset_after_an_answer_that_breaks_off() {
    let stage = broken();
    let key = stage.e1.authorization();
    for how in BREAKS {
        let path = format!("/v1/projects/e1/{}/{how}", marker());
        let mut client = RawHttp2::connect(stage.gateway.https());
        let fields: [(&[u8], &[u8]); 5] = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", path.as_bytes()),
            (b"authorization", key.as_bytes()),
        ];
        client.headers(1, &fields, true).expect("an open connection");
        let (mut came, mut body) = (None, Vec::new());
        loop {
            let frame = client.read(PATIENCE).unwrap_or_else(|| panic!("{how}: the stream has no end"));
            match frame.kind {
                HEADERS if frame.stream == 1 => came = Some(status(&frame.payload)),
                DATA if frame.stream == 1 => body.extend_from_slice(&frame.payload),
                RST_STREAM if frame.stream == 1 => {
                    assert_eq!(number(&frame.payload), 2, "{how}: INTERNAL_ERROR");
                    break;
                }
                _ => {}
            }
            assert_eq!(frame.flags & support::http2::END_STREAM & u8::from(frame.stream == 1), 0, "{how}");
        }
        assert_eq!((came, body.as_slice()), (Some(500), &b"hello"[..]), "{how}");
        let line = log_line(stage, &path);
        assert!(line.contains(" 500 ") && line.contains("broke off"), "{how}: {line}");
    }
}

#[test]
fn case_112_an_answer_that_is_broken_before_anything_of_it_was_sent_is_502() {
    let stage = broken();
    // in one piece with its head
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let path = format!("/v1/projects/e1/{}/none-bad", marker());
        let request = String::from_utf8(stage.request("GET", &path).end()).expect("plain text");
        let answer = stage.gateway.exchange(request.replace("HTTP/1.1", version));
        answer.assert_refused(502);
        let line = log_line(stage, &path);
        assert!(line.contains(" 502 ") && line.contains("broke off"), "{line}");
    }
    // the end may be later than the head: then the client has the head, and an unfinished answer
    for how in ["none-close", "none-reset"] {
        let path = format!("/v1/projects/e1/{}/{how}", marker());
        let mut client = stage.gateway.connect();
        client.send(stage.request("GET", &path).end());
        let status = match client.try_read(false, PATIENCE) {
            Ok(answer) => answer.status,
            Err(NoAnswer::Closed(_)) => 500,
            Err(other) => panic!("{how}: {other:?}"),
        };
        assert!(matches!(status, 500 | 502), "{how}: {status}");
        let line = log_line(stage, &path);
        assert!(line.contains(&format!(" {status} ")) && line.contains("broke off"), "{how}: {line}");
    }
}

/// An HTTP/2 upstream that answers with status 500 and `hello`, and then resets the first stream, and ends with the second.
fn breaking_http2_upstream() -> RawUpstream {
    fn next(reader: &mut BufReader<TcpStream>) -> io::Result<u8> {
        let mut head = [0; 9];
        reader.read_exact(&mut head)?;
        let length = u64::from(head[0]) << 16 | u64::from(head[1]) << 8 | u64::from(head[2]);
        raw_upstream::skip(reader, length)?;
        Ok(head[3])
    }
    RawUpstream::start(|_, mut reader| {
        raw_upstream::skip(&mut reader, support::http2::PREFACE.len() as u64)?;
        reader.get_mut().write_all(&frame(SETTINGS, 0, 0, &[]))?;
        for (stream, reset) in [(1, &2u32.to_be_bytes()[..]), (3, &[])] {
            while next(&mut reader)? != HEADERS {}
            // 500 by its place in the static table
            let mut answer = frame(HEADERS, support::http2::END_HEADERS, stream, &[0x8e]);
            answer.extend(frame(DATA, 0, stream, b"hello"));
            if !reset.is_empty() {
                answer.extend(frame(RST_STREAM, 0, stream, reset));
            }
            reader.get_mut().write_all(&answer)?;
        }
        // and the end of the connection
        Ok(())
    })
}

#[test]
fn case_112_an_answer_of_an_http2_upstream_that_breaks_off_is_delivered_as_far_as_it_came() {
    let upstream = breaking_http2_upstream();
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", upstream.address());
    let stage = Stage::with(|plan| plan.upstreams(&entry).listeners("  - address: 127.0.0.1:0\n"));
    for how in ["a reset of the stream", "the end of the connection"] {
        let path = format!("/v1/projects/e1/{}", marker());
        let mut client = stage.gateway.connect();
        client.send(stage.request("GET", &path).end());
        let head = client.take_until(b"\r\n\r\n", PATIENCE).expect("the head");
        assert!(head.starts_with(b"HTTP/1.1 500 "), "{how}: {}", show(&head));
        client.take_until(b"hello", PATIENCE).expect("what came of the body");
        let Err(NoAnswer::Closed(rest)) = client.take(usize::MAX, PATIENCE) else { panic!("{how}: no end") };
        assert!(!contains(&rest, b"0\r\n\r\n"), "{how}: {}", show(&rest));
        let line = log_line(&stage, &path);
        assert!(line.contains(" 500 ") && line.contains("broke off"), "{how}: {line}");
    }
}

/// The head of an HTTP/2 request without a key.
fn unauthenticated<'a>(method: &'a str, path: &'a [u8]) -> [(&'a [u8], &'a [u8]); 4] {
    [(b":method", method.as_bytes()), (b":scheme", b"https"), (b":authority", b"gw.test"), (b":path", path)]
}
