//! Floods over HTTP/2, case 83: resets, continuations, pings, header bombs, streams.

use super::*;

#[test]
fn case_83_rapid_resets_end_the_connection() {
    let mark = marker();
    while_others_are_served("rapid resets", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        for number in 0..20_000 {
            let stream = number * 2 + 1;
            let sent = try_request(&mut client, stream, "GET", "/v1/projects/e1/x", &mark, true);
            if !sent || client.write(RST_STREAM, 0, stream, &8u32.to_be_bytes()).is_err() {
                break;
            }
        }
        assert!(ends(&mut client), "20,000 resets were put up with");
    });
    let reached = stage().upstream.requests(&mark).len();
    assert!(reached < 5_000, "{reached} requests that were reset at once reached the upstream");
}

#[test]
fn case_83_resets_of_requests_under_way_end_the_connection() {
    let path = "/v1/projects/e1/never-answers";
    stage().upstream.answer(
        path,
        Answer::after_head(|_, conversation| {
            conversation.ends_within(SOON);
            false
        }),
    );
    while_others_are_served("paced resets", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        let mut asked = 0;
        for number in 0..1_000 {
            // each request is with the upstream before it is cancelled: none is reset before it was accepted
            let (stream, mark) = (number * 2 + 1, marker());
            if !try_request(&mut client, stream, "GET", path, &mark, true) {
                break;
            }
            let mut ended = false;
            wait_for(SOON, "a request that is served, or the end", || {
                ended = client.read(Duration::from_millis(5)).is_some_and(|frame| frame.kind == GOAWAY);
                ended || stage().upstream.saw(&mark)
            });
            if ended || client.write(RST_STREAM, 0, stream, &8u32.to_be_bytes()).is_err() {
                break;
            }
            asked = number;
        }
        assert!(asked < 500, "{asked} requests were cancelled one by one");
    });
}

#[test]
fn case_83_resets_that_the_gateway_is_made_to_send_end_the_connection() {
    let mark = marker();
    while_others_are_served("made resets", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        for number in 0..20_000 {
            let stream = number * 2 + 1;
            // a window update of nothing is a stream error, which the gateway answers with a reset
            let sent = try_request(&mut client, stream, "GET", "/v1/projects/e1/x", &mark, true);
            if !sent || client.write(WINDOW_UPDATE, 0, stream, &[0; 4]).is_err() {
                break;
            }
        }
        assert!(ends(&mut client), "20,000 provoked resets were put up with");
    });
    let reached = stage().upstream.requests(&mark).len();
    assert!(reached < 5_000, "{reached} requests that were reset at once reached the upstream");
}

#[test]
fn case_83_endless_continuations_end_the_connection() {
    while_others_are_served("CONTINUATION", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        client.write(HEADERS, END_STREAM, 1, &block(&[(b":method", b"GET")])).expect("an open connection");
        let piece = block(&[(b"x-filler", &[b'f'; 8000])]);
        let mut sent = 0;
        while sent < 64 << 20 && client.write(CONTINUATION, 0, 1, &piece).is_ok() {
            sent += piece.len();
        }
        assert!(sent < 64 << 20, "64 MiB of one header block were taken");
        let mut client = RawHttp2::connect(stage().gateway.https());
        client.write(HEADERS, END_STREAM, 1, &[]).expect("an open connection");
        let mut empty = 0;
        while empty < 100_000 && client.write(CONTINUATION, 0, 1, &[]).is_ok() {
            empty += 1;
        }
        assert!(ends(&mut client), "100,000 empty CONTINUATION frames were put up with");
    });
}

#[test]
fn case_83_empty_data_frames_are_no_progress() {
    let mark = marker();
    while_others_are_served("empty DATA", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        request(&mut client, 1, "POST", "/v1/projects/e1/x", &mark, false);
        let begun = Instant::now();
        while client.write(DATA, 0, 1, &[]).is_ok() {
            assert!(begun.elapsed() < SOON, "empty DATA frames keep a request alive");
            // the stream's end is seen between the frames
            match client.read(Duration::from_millis(1)) {
                Some(frame) if frame.kind == RST_STREAM || frame.kind == GOAWAY => break,
                Some(frame) if frame.kind == HEADERS => break,
                _ => {}
            }
        }
    });
}

#[test]
fn case_83_floods_of_pings_and_settings_are_bounded() {
    for (kind, payload) in [(PING, &[0; 8][..]), (SETTINGS, &[0, 3, 0, 0, 0, 100]), (SETTINGS, &[])] {
        while_others_are_served("PING and SETTINGS", || {
            let mut client = RawHttp2::connect(stage().gateway.https());
            for _ in 0..200_000 {
                // nothing is read: the answers pile up on the gateway's side, which must stop taking more
                if client.write(kind, 0, 0, payload).is_err() {
                    break;
                }
            }
        });
    }
}

#[test]
fn case_83_a_header_bomb_is_refused_and_costs_little() {
    let mark = marker();
    while_others_are_served("header bombs", || {
        for (size, references) in [(3_000, 16_000), (1, 32_000)] {
            let mut client = RawHttp2::connect(stage().gateway.https());
            client.write(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).expect("an open connection");
            for number in 0..50 {
                let stream = number * 2 + 1;
                let key = stage().e1.authorization();
                let mut bytes = block(&[
                    (b":method", b"GET"),
                    (b":scheme", b"https"),
                    (b":authority", b"gw.test"),
                    (b":path", b"/v1/projects/e1/x"),
                    (b"authorization", key.as_bytes()),
                    (b"x-marker", mark.as_bytes()),
                ]);
                // one entry for the table, then a byte for each use of it: indexed, number 62
                bytes.extend_from_slice(b"\x40\x01a\x7f");
                length_behind_prefix(&mut bytes, size);
                bytes.extend(std::iter::repeat_n(b'v', size));
                bytes.extend(std::iter::repeat_n(0xbe, references));
                if !in_pieces(&mut client, stream, &bytes) {
                    break;
                }
            }
        }
    });
    stage().upstream.assert_unseen(&mark, "header bombs");
}

/// The rest of a length of at least 127, whose prefix byte stands there already; shorter ones replace it.
fn length_behind_prefix(bytes: &mut Vec<u8>, length: usize) {
    let low = |number: usize| u8::try_from(number & 0x7f).expect("seven bits");
    if length < 127 {
        bytes.pop();
        bytes.push(low(length));
        return;
    }
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(low(rest) | 0x80);
        rest >>= 7;
    }
    bytes.push(low(rest));
}

#[test]
fn case_83_cookie_crumbs_are_one_field_and_bounded() {
    let key = stage().e1.authorization();
    for (crumbs, passes) in [(200, true), (2_000, true), (3_000, false), (100_000, false)] {
        let mark = marker();
        let mut fields: Vec<Field<'_>> = vec![
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", b"/v1/projects/e1/x"),
            (b"authorization", key.as_bytes()),
            (b"x-marker", mark.as_bytes()),
        ];
        fields.extend(std::iter::repeat_n((&b"cookie"[..], &b"a=b"[..]), crumbs));
        let mut client = RawHttp2::connect(stage().gateway.https());
        in_pieces(&mut client, 1, &block(&fields));
        let fate = client.outcome_of(1);
        if passes {
            // browsers send every cookie as a field of its own (RFC 9113 section 8.2.3)
            assert_eq!(fate, StreamOutcome::Status(200), "{crumbs}");
            let cookie = stage().upstream.only(&mark).header("Cookie").expect("one field");
            assert_eq!(cookie, vec!["a=b"; crumbs].join("; "));
        } else {
            assert!(!matches!(fate, StreamOutcome::Status(status) if status != 431), "{crumbs}: {fate:?}");
            stage().upstream.assert_unseen(&mark, "cookie crumbs");
        }
    }
}

#[test]
fn case_83_streams_beyond_the_limit_are_refused() {
    let held = marker();
    stage().upstream.answer(
        "/v1/projects/e1/held",
        Answer::after_head(|_, conversation| {
            conversation.ends_within(PATIENCE);
            false
        }),
    );
    while_others_are_served("many streams", || {
        let mut client = RawHttp2::connect(stage().gateway.https());
        let mut refused = false;
        for number in 0..300 {
            let sent = try_request(&mut client, number * 2 + 1, "POST", "/v1/projects/e1/held", &held, false);
            if !sent {
                refused = true;
                break;
            }
        }
        while let Some(frame) = client.read(Duration::from_millis(500)) {
            refused |= frame.kind == RST_STREAM || frame.kind == GOAWAY;
        }
        assert!(refused, "300 streams at once were taken");
    });
    let reached = stage().upstream.requests(&held).len();
    assert!(reached <= 128, "{reached} streams of one connection reached the upstream at once");
}
