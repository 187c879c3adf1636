//! Answers that break off, clients that leave, and slow readers and writers.

mod support;

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

/// A gateway for refusals, in front of an upstream that must see none of what is refused.
fn refusing() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        Stage::with(|plan| {
            plan.routes(
                "\n  - { path: /v1, upstream: api, environment: \"/v1/projects/{environment}\" }\n  - path: /small\n    \
                 upstream: api\n    access: public\n    methods: [POST, PUT]\n    body_bytes: 1KiB\n",
            )
        })
    })
}

/// What each refusal asks for, with a key or without: path, the key's use, status.
const REFUSALS: [(&str, bool, u16); 4] = [
    ("/v1/projects/e1/x", false, 401),
    ("/v1/projects/e2/x", true, 403),
    ("/nothing", true, 404),
    ("/small", false, 413),
];

#[test]
fn case_114_curl_and_wget_show_the_refusal_of_an_upload() {
    let stage = refusing();
    let directory = tempfile::tempdir().expect("a directory");
    let file = |size: usize| {
        let path = directory.path().join(size.to_string());
        std::fs::write(&path, vec![b'u'; size]).expect("a file");
        path.to_str().expect("a plain path").to_owned()
    };
    let (half_a_megabyte, three_megabytes) = (file(500_000), file(3_000_000));
    let authorization = format!("Authorization: {}", stage.e1.authorization());
    for (path, with_key, status) in REFUSALS {
        let plain = format!("http://{}{path}", stage.gateway.http());
        let secure = format!("https://localhost:{}{path}", stage.gateway.https().port());
        for (version, url, upload) in [
            ("--http2", &secure, &half_a_megabyte),
            ("--http2", &secure, &three_megabytes),
            ("--http2-prior-knowledge", &plain, &half_a_megabyte),
            ("--http1.1", &secure, &three_megabytes),
            ("--http1.1", &plain, &three_megabytes),
        ] {
            let about = format!("curl {version} {url} with {upload}");
            let mut curl = Command::new("curl");
            // without `Expect` it sends at once, as small uploads do anyway
            curl.args(["-sS", "-k", version, "--max-time", "30", "-H", "Expect:", "-T", upload]);
            curl.args(["-o", "-", "-w", "\n%{http_code}"]);
            if with_key {
                curl.args(["-H", &authorization]);
            }
            let output = curl.arg(url).output().expect("curl can be started");
            let said = String::from_utf8_lossy(&output.stdout);
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{about}: {said}\n{complaint}");
            assert!(said.ends_with(&format!("\n{status}")), "{about}: {said}\n{complaint}");
            assert!(said.contains("\"baseType\":\"error\""), "{about}: {said}");
        }
        for url in [&plain, &secure] {
            let mut wget = Command::new("wget");
            wget.args(["-nv", "-S", "--tries=1", "--no-check-certificate", "--content-on-error", "-O", "-"]);
            wget.args(["--timeout=30", "--post-file", &three_megabytes]);
            if with_key {
                wget.args(["--header", &authorization]);
            }
            let output = wget.arg(url).output().expect("wget can be started");
            let (said, log) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(log.contains(&format!("HTTP/1.1 {status} ")), "wget {url}: {log}");
            // wget leaves the body of a 401 that it has an answer to
            assert!(status == 401 || said.contains("\"baseType\":\"error\""), "wget {url}: {said}\n{log}");
        }
    }
    stage.upstream.assert_unseen("uuuuuuuuuu", "a refused upload");
}

#[test]
fn case_114_a_slow_sender_reads_its_refusal_at_the_end() {
    let stage = refusing();
    // longer in all than a silence may be
    let pieces = |send: &mut dyn FnMut(&[u8])| {
        for _ in 0..24 {
            send(&[b'u'; 16_000]);
            std::thread::sleep(Duration::from_millis(250));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = stage.gateway.connect();
            let request = Request::new("POST", "/v1/projects/e1/x").header("Content-Length", "384000").end();
            client.send(request);
            pieces(&mut |piece| client.try_send(piece).expect("the connection is open"));
            client.read().assert_refused(401);
            assert!(client.ends_within(PATIENCE));
        });
        scope.spawn(|| {
            let mut client = RawHttp2::connect(stage.gateway.https());
            client
                .headers(1, &unauthenticated("POST", b"/v1/projects/e1/x"), false)
                .expect("an open connection");
            pieces(&mut |piece| client.data(1, piece, false).expect("the connection is open"));
            client.data(1, b"", true).expect("the connection is open");
            assert_eq!(client.outcome_of(1), StreamOutcome::Status(401));
            // all was taken: nothing is left to be reset
            client.write(PING, 0, 0, &[7; 8]).expect("the connection is open");
            loop {
                let frame = client.read(PATIENCE).expect("an answer to the ping");
                assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
                if frame.kind == PING {
                    break;
                }
            }
        });
    });
    stage.upstream.assert_unseen("uuuuuuuuuu", "a refused upload");
}

/// Whether the program that listens at `local` still has its end of a connection from `remote`.
fn is_held(local: u16, remote: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells of its connections");
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    table.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        // what only the kernel still has belongs to no file
        columns.len() > 9
            && columns[1].ends_with(&local)
            && columns[2].ends_with(&remote)
            && columns[9] != "0"
    })
}

/// The head of an HTTP/2 request without a key.
fn unauthenticated<'a>(method: &'a str, path: &'a [u8]) -> [(&'a [u8], &'a [u8]); 4] {
    [(b":method", method.as_bytes()), (b":scheme", b"https"), (b":authority", b"gw.test"), (b":path", path)]
}

#[test]
fn case_114_the_body_of_a_refused_request_is_read_and_dropped_within_bounds() {
    let stage = refusing();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // endless
            let mut client = stage.gateway.connect();
            let request = Request::new("POST", "/v1/projects/e1/x").header("Transfer-Encoding", "chunked");
            client.send(request.end());
            let piece = [b"100000\r\n".as_slice(), &vec![b'u'; 1 << 20], b"\r\n"].concat();
            let mut sent = 0;
            while client.try_send(&piece).is_ok() {
                sent += 1;
                assert!(sent < 200, "the gateway reads {sent} MiB of a request that it has refused");
            }
        });
        scope.spawn(|| {
            // silent
            let mut client = stage.gateway.connect();
            let request = Request::new("POST", "/v1/projects/e1/x").header("Content-Length", "3000000").end();
            client.send(request);
            client.read().assert_refused(401);
            wait_for(PATIENCE, "a client that sends nothing more is not waited for", || {
                !is_held(stage.gateway.http().port(), client.local_address().port())
            });
        });
        scope.spawn(|| {
            // silent on a stream: it is reset without an error, and the connection goes on
            let mut client = RawHttp2::connect(stage.gateway.https());
            client
                .headers(1, &unauthenticated("POST", b"/v1/projects/e1/x"), false)
                .expect("an open connection");
            client.data(1, b"u", false).expect("an open connection");
            assert_eq!(client.outcome_of(1), StreamOutcome::Status(401));
            assert_eq!(client.outcome_of(1), StreamOutcome::Reset(0));
            client.headers(3, &unauthenticated("GET", b"/nothing"), true).expect("an open connection");
            assert_eq!(client.outcome_of(3), StreamOutcome::Status(404));
        });
    });
}

/// An upstream's answer that does not come: tells through the channel that the request came, and whether the gateway
/// ended the connection.
fn never() -> (Answer, mpsc::Receiver<bool>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let answer = Answer::after_body(move |_, conversation| {
        let tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
        tell.send(false).ok();
        tell.send(conversation.ends_within(PATIENCE)).ok();
        false
    });
    (answer, told)
}

#[test]
fn case_113_a_client_that_leaves_before_the_answer_ends_the_upstreams_request() {
    let stage = Stage::start();
    for how in [
        "closes",
        "ends its direction",
        "resets",
        "closes TLS",
        "closes HTTP/2",
        "sends half a request and closes",
    ] {
        for method in ["GET", "POST"] {
            let about = format!("a client that {how} after {method}");
            let path = format!("/v1/projects/e1/{}", marker());
            let (answer, told) = never();
            stage.upstream.answer(&path, answer);
            let request = stage.request(method, &path);
            let mut request = if method == "POST" { request.body("hello") } else { request.end() };
            if how.starts_with("sends half") {
                request.extend(stage.request("POST", &path).header("Content-Length", "5").end());
                request.extend(b"hell");
            }
            let came = || told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{about}: it does not come"));
            let mut half_open = None;
            if how == "closes HTTP/2" {
                let mut client = RawHttp2::connect(stage.gateway.https());
                let key = stage.e1.authorization();
                let mut fields = unauthenticated(method, path.as_bytes()).to_vec();
                fields.push((b"authorization", key.as_bytes()));
                client.headers(1, &fields, method == "GET").expect("an open connection");
                if method == "POST" {
                    client.data(1, b"hello", true).expect("an open connection");
                }
                came();
                drop(client);
            } else {
                let mut client = match how {
                    "closes TLS" => tls::connect(stage.gateway.https()),
                    _ => stage.gateway.connect(),
                };
                client.send(request);
                came();
                match how {
                    "ends its direction" => {
                        client.finish_sending();
                        half_open = Some(client);
                    }
                    "resets" => client.reset(),
                    _ => drop(client),
                }
            }
            assert!(came(), "{about}: the upstream works on");
            drop(half_open);
            let line = log_line(&stage, &path);
            assert!(line.contains("the client is gone"), "{about}: {line}");
        }
    }
}

#[test]
fn case_113_a_client_that_ends_its_direction_after_a_pipelined_request_has_not_left() {
    let stage = Stage::start();
    for next in ["GET", "POST", "chunked"] {
        let path = format!("/v1/projects/e1/{}", marker());
        let (tell, told) = mpsc::channel::<()>();
        let told = Mutex::new(told);
        stage.upstream.answer(
            &path,
            Answer::after_body(move |_, conversation| {
                told.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PATIENCE).ok();
                conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst").is_ok()
            }),
        );
        let mark = marker();
        let request =
            stage.request(if next == "GET" { "GET" } else { "POST" }, "/v1/projects/e1/next").mark(&mark);
        let request = match next {
            "GET" => request.end(),
            "POST" => request.body("hello"),
            _ => request.header("Transfer-Encoding", "chunked").raw("\r\n5\r\nhello\r\n0\r\n").end(),
        };
        let mut client = stage.gateway.connect();
        client.send([stage.request("GET", &path).end(), request].concat());
        client.finish_sending();
        let seen = stage.upstream.wait_for(&path);
        stays(Duration::from_millis(300), "the upstream works on", || {
            stage.upstream.is_open(seen.connection)
        });
        tell.send(()).expect("the upstream waits");
        assert_eq!(client.read().text(), "first", "{next}");
        assert_eq!(client.read().status, 200, "{next}");
        stage.upstream.only(&mark);
        assert!(client.ends_within(PATIENCE), "{next}");
    }
}

/// What slow sides take, how often, for how long: three times what a side may take nothing, and far less than what the
/// kernel holds for it.
const SLOW_BYTES: usize = 2000;
const SLOW_PAUSE: Duration = Duration::from_millis(200);
const SLOW_TIME: Duration = Duration::from_secs(7);
const SLOW_ANSWER: usize = 12 << 20;
const SLOW_TIMEOUTS: &str = "timeouts: { write: 2s, body: 2s, upstream_response: 2s }";

/// Reads a little at a time for [`SLOW_TIME`].
fn read_slowly(mut read: impl FnMut(usize) -> io::Result<usize>) -> io::Result<usize> {
    let since = Instant::now();
    let mut count = 0;
    while since.elapsed() < SLOW_TIME {
        match read(SLOW_BYTES)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => count += read,
        }
        std::thread::sleep(SLOW_PAUSE);
    }
    Ok(count)
}

/// A connection that holds little for a side that does not read.
fn narrow_socket(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16_384).expect("a socket option");
    socket.connect(&address.into()).expect("the gateway accepts connections");
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    tcp
}

/// Answers with [`SLOW_ANSWER`] bytes.
fn large_upstream() -> RawUpstream {
    RawUpstream::start(|_, mut reader| {
        raw_upstream::head(&mut reader)?;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SLOW_ANSWER}\r\n\r\n");
        reader.get_mut().write_all(head.as_bytes())?;
        reader.get_mut().write_all(&vec![b'd'; SLOW_ANSWER])
    })
}

#[test]
fn case_109_a_steady_slow_client_gets_all_of_its_answer() {
    let upstream = large_upstream();
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")).top(SLOW_TIMEOUTS));
    let request = stage.request("GET", "/v1/projects/e1/x").header("Connection", "close").end();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut tcp = narrow_socket(stage.gateway.http());
            tcp.write_all(&request).expect("an open connection");
            let mut buffer = vec![0; SLOW_BYTES];
            let slow = read_slowly(|most| tcp.read(&mut buffer[..most])).expect("a slow client is not cut");
            let rest = io::copy(&mut tcp, &mut io::sink()).expect("the rest of the answer");
            assert!(slow as u64 + rest > SLOW_ANSWER as u64, "over plain: {slow} and {rest} bytes");
        });
        scope.spawn(|| {
            let tcp = narrow_socket(stage.gateway.https());
            let handshake = tls::handshake_over(tcp, "localhost", tls::believing(&["http/1.1"]));
            let mut stream = handshake.expect("the handshake succeeds");
            stream.write_all(&request).expect("an open connection");
            let mut buffer = vec![0; SLOW_BYTES];
            let slow =
                read_slowly(|most| stream.read(&mut buffer[..most])).expect("a slow client is not cut");
            let rest = io::copy(&mut stream, &mut io::sink()).expect("the rest of the answer");
            assert!(slow as u64 + rest > SLOW_ANSWER as u64, "over TLS: {slow} and {rest} bytes");
        });
        scope.spawn(|| {
            let mut client = RawHttp2::over(narrow_socket(stage.gateway.https()));
            // room for all of it: what holds the answer up is the socket
            client.write(SETTINGS, 0, 0, &[0, 4, 1, 0, 0, 0]).expect("an open connection");
            client.write(WINDOW_UPDATE, 0, 0, &(1u32 << 24).to_be_bytes()).expect("an open connection");
            let key = stage.e1.authorization();
            let mut fields = unauthenticated("GET", b"/v1/projects/e1/x").to_vec();
            fields.push((b"authorization", key.as_bytes()));
            client.headers(1, &fields, true).expect("an open connection");
            read_slowly(|most| client.take_in(most)).expect("a slow client is not cut");
            let mut body = 0;
            loop {
                let frame = client.read(PATIENCE).expect("the rest of the answer");
                assert!(frame.stream == 0 || frame.kind != RST_STREAM, "{frame:?}");
                if frame.stream == 1 && frame.kind == DATA {
                    body += frame.payload.len();
                    if frame.flags & support::http2::END_STREAM != 0 {
                        break;
                    }
                }
            }
            assert_eq!(body, SLOW_ANSWER, "over HTTP/2");
        });
    });
}

#[test]
fn case_109_a_client_that_takes_nothing_is_disconnected_after_the_write_timeout() {
    let upstream = large_upstream();
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")).top("timeouts: { write: 1s }"));
    let path = format!("/v1/projects/e1/{}", marker());
    let mut tcp = narrow_socket(stage.gateway.http());
    let since = Instant::now();
    tcp.write_all(&stage.request("GET", &path).end()).expect("an open connection");
    let line = log_line(&stage, &path);
    assert!(since.elapsed() >= Duration::from_secs(1), "after {:?}", since.elapsed());
    assert!(line.contains("the client took nothing"), "{line}");
}

#[test]
fn case_110_a_steady_slow_upstream_gets_all_of_a_request() {
    // more than the kernel holds, and less
    std::thread::scope(|scope| {
        for size in [8 << 20, 900_000] {
            scope.spawn(move || upload_slowly(size));
        }
    });
}

/// Uploads so much to an upstream that takes it slowly, with HTTP/1.1 and with HTTP/2.
fn upload_slowly(size: u64) {
    let slow = move |reader: &mut BufReader<TcpStream>| {
        let mut buffer = vec![0; SLOW_BYTES];
        read_slowly(|most| reader.read(&mut buffer[..most]))
    };
    let upstream = RawUpstream::narrow(move |_, mut reader| {
        raw_upstream::head(&mut reader)?;
        let count = slow(&mut reader)?;
        raw_upstream::skip(&mut reader, size - count as u64)?;
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let http2 = RawUpstream::narrow(move |_, mut reader| {
        let settings = frame(SETTINGS, 0, 0, &[0, 4, 1, 0, 0, 0]);
        let window = frame(WINDOW_UPDATE, 0, 0, &(1u32 << 24).to_be_bytes());
        reader.get_mut().write_all(&[settings, window].concat())?;
        slow(&mut reader)?;
        // all is here when nothing more comes
        reader.get_mut().set_read_timeout(Some(Duration::from_millis(500)))?;
        io::copy(&mut reader, &mut io::sink()).ok();
        reader.get_mut().write_all(&frame(HEADERS, support::http2::END_HEADERS | 1, 1, &[0x88]))?;
        reader.get_mut().set_read_timeout(None)?;
        io::copy(&mut reader, &mut io::sink()).map(|_| ())
    });
    let stage = Stage::with(|plan| {
        let entry = format!("  second: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", http2.address());
        plan.upstreams(&(upstream.entry("api") + &entry)).top(SLOW_TIMEOUTS).routes(
                "\n  - { path: /v1, upstream: api, environment: \"/v1/projects/{environment}\" }\n  - { path: /v2, \
                 upstream: second, environment: \"/v2/projects/{environment}\" }\n",
            )
    });
    std::thread::scope(|scope| {
        for path in ["/v1/projects/e1/x", "/v2/projects/e1/x"] {
            let stage = &stage;
            scope.spawn(move || {
                let mut client = stage.gateway.connect();
                let body = vec![b'u'; usize::try_from(size).expect("a size")];
                client.send(stage.request("PUT", path).body(body));
                assert_eq!(client.read().status, 200, "{size} bytes to {path}");
            });
        }
    });
}

#[test]
fn case_110_an_upstream_that_takes_nothing_is_504_after_the_body_timeout() {
    let upstream = RawUpstream::start(|_, reader| {
        std::thread::sleep(PATIENCE);
        drop(reader);
        Ok(())
    });
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")).top("timeouts: { body: 1s }"));
    let mut client = stage.gateway.connect();
    let since = Instant::now();
    let mut request = stage.request("PUT", "/v1/projects/e1/x").header("Content-Length", "100000000").end();
    request.resize(request.len() + (12 << 20), b'u');
    client.send(request);
    client.read().assert_refused(504);
    assert!(since.elapsed() >= Duration::from_secs(1), "after {:?}", since.elapsed());
}
