//! Clients and upstreams that take bytes slowly, or not at all: cases 109 and 110.

use super::*;

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
