//! Upstreams with HTTP/2.

use super::*;

/// A gateway in front of an HTTP/2 upstream in the clear.
fn http2() -> &'static (Stage, Http2Upstream) {
    static STAGE: OnceLock<(Stage, Http2Upstream)> = OnceLock::new();
    STAGE.get_or_init(|| {
        let upstream = Http2Upstream::start(None);
        let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", upstream.address());
        let stage = Stage::with(|plan| plan.upstreams(&entry).top("timeouts: { upstream_response: 1s }"));
        (stage, upstream)
    })
}

#[test]
fn http1_clients_reach_an_http2_upstream() {
    let (stage, upstream) = http2();
    let mark = marker();
    let path = format!("/v1/projects/e1/{mark}?a=%20b");
    let mut client = stage.gateway.connect();
    client.send(stage.request("POST", &path).header("TE", "trailers").body("hello"));
    let answer = client.read();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(answer.header("X-Upstream").as_deref(), Some("http2"));
    assert_eq!(answer.trailers, [("x-sum".to_owned(), b"5".to_vec())], "trailers need chunks");
    let seen = upstream.only(&mark);
    assert_eq!(seen.head.method, "POST");
    assert_eq!(seen.head.uri.path_and_query().expect("a path").as_str(), path);
    assert_eq!(seen.head.uri.authority().expect("an authority").as_str(), "gw.test");
    assert_eq!(seen.head.uri.scheme_str(), Some("http"));
    assert_eq!(seen.body, b"hello");
    for name in ["authorization", "connection", "transfer-encoding", "host", "keep-alive"] {
        assert!(!seen.head.headers.contains_key(name), "{name}: {seen:?}");
    }
    assert_eq!(seen.head.headers["x-api-project-id"], "e1");

    let mark = marker();
    let request = stage.request("POST", &format!("/v1/projects/e1/{mark}"));
    let request =
        request.header("Transfer-Encoding", "chunked").raw("\r\n3\r\nabc\r\n0\r\nX-Up: 7\r\n").end();
    client.send(request);
    assert_eq!(client.read().text(), "abc");
    let seen = upstream.only(&mark);
    assert_eq!(seen.trailers.expect("trailers")["x-up"], "7");
}

#[test]
fn head_and_empty_answers_of_an_http2_upstream_end_with_their_head() {
    let (stage, _) = http2();
    let mut client = stage.gateway.connect();
    for (method, name) in [("HEAD", "bare"), ("GET", "bare"), ("DELETE", "bare"), ("GET", "full")] {
        let request = stage.request(method, &format!("/v1/projects/e1/{name}")).end();
        client.send(&request);
        let answer = client.read_answer_to(&request);
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{method} {name}");
    }
}

#[test]
fn http2_clients_reach_an_http2_upstream() {
    let (stage, upstream) = http2();
    let mark = marker();
    let request = http::Request::post(format!("https://gw.test/v1/projects/e1/{mark}"))
        .header("authorization", stage.e1.authorization())
        .body(())
        .expect("a request");
    let body = vec![b'b'; 300_000];
    let answer = support::http2::exchange(stage.gateway.https(), request, &body).expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "{} bytes came back", answer.body.len());
    assert_eq!(upstream.only(&mark).body.len(), body.len());
}

#[test]
fn requests_share_a_connection_to_an_http2_upstream() {
    let upstream = Http2Upstream::start(None);
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", upstream.address());
    let stage = Stage::with(|plan| plan.upstreams(&entry));
    let mark = marker();
    let path = format!("/v1/projects/e1/{mark}");
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let answer = stage.gateway.exchange(stage.request("POST", &path).body("shared"));
                assert_eq!((answer.status, answer.text().as_str()), (200, "shared"));
            });
        }
    });
    let requests = upstream.requests(&mark);
    assert_eq!(requests.len(), 40);
    let mut connections: Vec<usize> = requests.iter().map(|seen| seen.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    // one for each worker
    assert!(connections.len() <= 2, "40 requests went over {} connections", connections.len());
}

#[test]
fn a_reset_or_silent_stream_affects_only_its_own_request() {
    let (stage, upstream) = http2();
    let path = format!("/v1/projects/e1/{}/reset", marker());
    stage.gateway.exchange(stage.request("GET", &path).end()).assert_refused(502);
    assert_eq!(upstream.requests(&path).len(), 1, "a stream that was reset is not repeated");
    let others = std::thread::spawn(move || {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            let answer = stage.gateway.exchange(stage.request("POST", "/v1/projects/e1/x").body("on"));
            assert_eq!((answer.status, answer.text().as_str()), (200, "on"));
        }
    });
    stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/silent").end()).assert_refused(504);
    others.join().expect("the others are served");
}

#[test]
fn an_http2_connection_that_went_silent_is_not_used_again() {
    let (stage, upstream) = http2();
    let (one, two) = (marker(), marker());
    // one connection, and so one worker
    let mut client = stage.gateway.connect();
    client.send(stage.request("GET", &format!("/v1/projects/e1/{one}/silent")).end());
    client.read().assert_refused(504);
    client.send(stage.request("POST", &format!("/v1/projects/e1/{two}")).body("x"));
    assert_eq!(client.read().status, 200);
    assert_ne!(upstream.only(&two).connection, upstream.only(&one).connection);
}

#[test]
fn after_goaway_an_http2_upstream_is_connected_to_anew() {
    let (stage, _) = http2();
    for _ in 0..5 {
        let answer = stage.gateway.exchange(stage.request("POST", "/v1/projects/e1/goaway").body("bye"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "bye"));
        let answer = stage.gateway.exchange(stage.request("POST", "/v1/projects/e1/x").body("next"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "next"));
    }
}

#[test]
fn goaway_of_a_busy_http2_upstream_costs_no_request_without_a_body() {
    let (stage, _) = http2();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let mut client = stage.gateway.connect();
                for number in 0..60 {
                    let name = if (thread + number) % 10 == 0 { "goaway" } else { "x" };
                    client.send(stage.request("DELETE", &format!("/v1/projects/e1/{name}")).end());
                    let answer = client.read();
                    assert_eq!(answer.status, 200, "{thread} {number}: {answer:?}");
                }
            });
        }
    });
}

/// All clients of a worker share a connection to the upstream: what some do not read must not stop the others.
#[test]
fn slow_readers_do_not_hold_up_others_on_a_shared_connection() {
    let upstream = Http2Upstream::start(None);
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", upstream.address());
    let stage = Stage::with(|plan| plan.upstreams(&entry).top("drain_timeout: 100ms"));
    let request = stage.request("GET", "/v1/projects/e1/large").end();
    let mut slow = Vec::new();
    for _ in 0..32 {
        let mut client = stage.gateway.connect();
        client.send(&request);
        client.take(1, PATIENCE).expect("the answer begins");
        slow.push(client);
    }
    let before = support::memory::peak_kib(stage.gateway.pid());
    for number in 0..8 {
        let answer = stage.gateway.exchange(&request);
        assert_eq!((answer.status, answer.body.len()), (200, 16 << 20), "client {number}");
    }
    let grown = support::memory::peak_kib(stage.gateway.pid()) - before;
    assert!(grown < 32 * 1024, "the gateway grew by {grown} KiB");
}

#[test]
fn more_requests_than_a_connection_takes_go_over_another() {
    let upstream = Http2Upstream::start(None);
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", upstream.address());
    let stage = Stage::with(|plan| plan.upstreams(&entry).top("drain_timeout: 100ms"));
    let silent = stage.request("GET", "/v1/projects/e1/silent").end();
    let mut waiting = Vec::new();
    for number in 0..4 * STREAMS as usize {
        let mut client = stage.gateway.connect();
        client.send(&silent);
        waiting.push(client);
        wait_for(PATIENCE, "a request that waits reaches the upstream", || {
            upstream.requests("silent").len() > number
        });
    }
    let answer = stage.gateway.exchange(stage.request("POST", "/v1/projects/e1/x").body("through"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "through"));
}

#[test]
fn an_idle_connection_to_an_http2_upstream_is_closed() {
    let upstream = Http2Upstream::start(None);
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", upstream.address());
    let stage = Stage::with(|plan| plan.upstreams(&entry).top("timeouts: { upstream_idle: 1s }"));
    assert_eq!(stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").end()).status, 200);
    assert_eq!(upstream.open(), 1);
    wait_for(PATIENCE, "the idle connection is closed", || upstream.open() == 0);
    assert_eq!(stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").end()).status, 200);
}

#[test]
fn case_60_http2_bodies_of_another_length_never_end_well_at_an_http2_upstream() {
    let (stage, upstream) = http2();
    let key = stage.e1.authorization();
    for (length, body) in [("10", &b"12345"[..]), ("10", b"123456789012345")] {
        let path = format!("/v1/projects/e1/{}", marker());
        let mut client = RawHttp2::connect(stage.gateway.https());
        let fields: [(&[u8], &[u8]); 6] = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", path.as_bytes()),
            (b"authorization", key.as_bytes()),
            (b"content-length", length.as_bytes()),
        ];
        client.headers(1, &fields, false).expect("an open connection");
        client.data(1, body, true).expect("an open connection");
        match client.outcome_of(1) {
            StreamOutcome::Reset(_) | StreamOutcome::Status(400) => {}
            StreamOutcome::Gone(Some(code)) if code != 0 => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(upstream.requests(&path).len(), 0, "a whole request was made of it");
    }
}
