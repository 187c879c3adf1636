//! Requests that are too large, case 84: heads, targets, bodies.

use super::*;

#[test]
fn case_84_too_many_headers_are_refused_with_431() {
    for key in [None, Some(&stage().e1)] {
        let mark = marker();
        let mut request = Request::get("/v1/projects/e1/x").mark(&mark);
        if let Some(key) = key {
            request = request.key(key);
        }
        for number in 0..10_000 {
            request = request.raw(format!("a{number}: b\r\n"));
        }
        assert_refused(&request.end(), 431, &mark);
    }
    // 100 fields are allowed; the request has four of its own
    for (more, status) in [(90, 200), (100, 431)] {
        let mut request = stage().request("GET", "/v1/projects/e1/x");
        for number in 0..more {
            request = request.raw(format!("a{number}: b\r\n"));
        }
        assert_eq!(stage().gateway.exchange(request.end()).status, status, "{more} more fields");
    }
}

#[test]
fn case_84_a_header_of_a_megabyte_is_refused_with_431() {
    let mark = marker();
    let request =
        stage().request("GET", "/v1/projects/e1/x").mark(&mark).header("X-Big", vec![b'b'; 1 << 20]);
    assert_refused(&request.end(), 431, &mark);
    let mark = marker();
    let request = stage().request("GET", "/v1/projects/e1/x").mark(&mark).header(vec![b'b'; 1 << 20], "x");
    assert_refused(&request.end(), 431, &mark);
}

#[test]
fn case_84_a_target_of_a_megabyte_is_refused_with_414() {
    let mark = marker();
    for separator in ["/", "?"] {
        let target = format!("/v1/projects/e1/x{separator}{}", "u".repeat(1 << 20));
        assert_refused(&stage().request("GET", &target).mark(&mark).end(), 414, &mark);
    }
    let target = format!("/v1/projects/e1/x?{}", "u".repeat(9_000));
    assert_refused(&stage().request("GET", &target).mark(&mark).end(), 414, &mark);
    let target = format!("/v1/projects/e1/x?{}", "u".repeat(7_000));
    assert_eq!(stage().gateway.exchange(stage().request("GET", &target).end()).status, 200);
}

/// Sends a head that is refused before it is whole: the gateway may close while it is still being sent.
#[track_caller]
fn assert_refused(bytes: &[u8], status: u16, mark: &str) {
    let mut client = stage().gateway.connect();
    client.send(bytes);
    client.read().assert_refused(status);
    assert!(client.ends_within(PATIENCE), "the connection stays open");
    stage().upstream.assert_unseen(mark, "an oversized head");
}

#[test]
fn case_84_http2_heads_have_the_same_limits() {
    let key = stage().e1.authorization();
    let long = [b"/v1/projects/e1/x?".as_slice(), &[b'u'; 9_000]].concat();
    let huge = vec![b'h'; 1 << 20];
    let names: Vec<String> = (0..150).map(|number| format!("a{number}")).collect();
    let many: Vec<Field<'_>> = names.iter().map(|name| (name.as_bytes(), &b"b"[..])).collect();
    let cases: [(&[u8], Vec<Field<'_>>, u16); 3] = [
        (&long, Vec::new(), 414),
        (b"/v1/projects/e1/x", many, 431),
        (b"/v1/projects/e1/x", vec![(b"x-big", &huge)], 431),
    ];
    for (path, more, status) in cases {
        let mark = marker();
        let mut fields: Vec<Field<'_>> = vec![
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", path),
            (b"authorization", key.as_bytes()),
            (b"x-marker", mark.as_bytes()),
        ];
        fields.extend(more);
        let mut client = RawHttp2::connect(stage().gateway.https());
        in_pieces(&mut client, 1, &block(&fields));
        match client.outcome_of(1) {
            StreamOutcome::Status(seen) => assert_eq!(seen, status),
            StreamOutcome::Reset(_) | StreamOutcome::Gone(_) if status == 431 => {}
            other => panic!("{status}: {other:?}"),
        }
        stage().upstream.assert_unseen(&mark, "an oversized head");
    }
}

#[test]
fn case_84_compressed_request_bodies_pass_as_they_are() {
    let mark = marker();
    let bomb: Vec<u8> =
        [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3].into_iter().chain((0..5000).map(|_| 0)).collect();
    let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark).header("Content-Encoding", "gzip");
    assert_eq!(stage().gateway.exchange(request.body(&bomb)).status, 200);
    let seen = stage().upstream.only(&mark);
    assert_eq!(seen.body, bomb);
    assert_eq!(seen.header("Content-Encoding").as_deref(), Some("gzip"));
}

#[test]
fn a_body_over_the_limit_is_refused_with_413() {
    let mark = marker();
    let mut client = stage().gateway.connect();
    let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
    client.send(request.header("Content-Length", "1048577").end());
    client.read().assert_refused(413);
    assert!(client.ends_within(PATIENCE));
    stage().upstream.assert_unseen(&mark, "an announced body over the limit");

    // a chunked one is seen to be too long only when it is
    let mark = marker();
    let mut client = stage().gateway.connect();
    let request = stage().request("POST", "/v1/projects/e1/x").mark(&mark);
    let mut bytes = request.header("Transfer-Encoding", "chunked").end();
    for _ in 0..17 {
        bytes.extend_from_slice(b"10000\r\n");
        bytes.extend_from_slice(&vec![b'c'; 0x10000]);
        bytes.extend_from_slice(b"\r\n");
    }
    client.send(bytes);
    match client.try_read(false, PATIENCE) {
        Ok(answer) => assert_eq!(answer.status, 413, "{answer:?}"),
        Err(NoAnswer::Closed(rest)) => assert!(rest.is_empty(), "{}", show(&rest)),
        Err(other) => panic!("{other:?}"),
    }
    for request in stage().upstream.requests(&mark) {
        wait_for(PATIENCE, "its upstream connection is closed", || {
            !stage().upstream.is_open(request.connection)
        });
    }
    let exact = vec![b'e'; 1 << 20];
    let request = stage().request("POST", "/v1/projects/e1/x").body(&exact);
    assert_eq!(stage().gateway.exchange(request).status, 200, "a body of just the limit");
}
