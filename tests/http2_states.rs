//! What a client can send on a stream depends on the state of the stream (RFC 9113 §5.1). The cases are those of
//! h2spec, the public suite, that `tests/http2` and `tests/framing.rs` lack, and more of their kind.

mod support;

use std::sync::OnceLock;

use support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PRIORITISED, PRIORITY,
    RST_STREAM, RawHttp2, SETTINGS, StreamOutcome, WINDOW_UPDATE, block, number, status,
};
use support::stage::Stage;
use support::upstream::Answer;
use support::{PATIENCE, marker, wait_for};

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
/// A code that no RFC knows.
const UNKNOWN: u32 = 0xff;

const ECHO: &str = "/v1/projects/e1/x";
const HELD: &str = "/v1/projects/e1/held";
const SHORT: &str = "/v1/projects/e1/short";

const WHOLE: u8 = END_HEADERS | END_STREAM;
/// `t: v`, as trailers.
const TRAILERS: &[u8] = b"\0\x01t\x01v";

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::start();
        let held = Answer::after_head(|_, conversation| {
            conversation.ends_within(PATIENCE);
            false
        });
        stage.upstream.answer(HELD, held);
        stage.upstream.answer(SHORT, Answer::with("HTTP/1.1 200 OK", b"12345"));
        stage
    })
}

fn connect() -> RawHttp2 {
    RawHttp2::connect(stage().gateway.https())
}

fn head(method: &str, path: &str, key: Option<&str>, more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut fields: Vec<(&[u8], &[u8])> = vec![
        (b":method", method.as_bytes()),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
    ];
    fields.extend(key.map(|key| (&b"authorization"[..], key.as_bytes())));
    fields.extend(more);
    block(&fields)
}

/// A head with the key of `e1`.
fn with_key(method: &str, path: &str) -> Vec<u8> {
    head(method, path, Some(&stage().e1.authorization()), &[])
}

#[track_caller]
fn write(client: &mut RawHttp2, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    client.write(kind, flags, stream, payload).expect("an open connection");
}

/// The connection goes on: a request on this stream is answered.
#[track_caller]
fn assert_serves(client: &mut RawHttp2, stream: u32, about: &str) {
    write(client, HEADERS, WHOLE, stream, &with_key("GET", ECHO));
    assert_eq!(client.outcome_of(stream), StreamOutcome::Status(200), "{about}");
}

/// Reads until the gateway has said all that it says on a stream: its reset, or its end.
#[track_caller]
fn until_the_end_of(client: &mut RawHttp2, stream: u32) -> Frame {
    loop {
        let frame = client.read(PATIENCE).unwrap_or_else(|| panic!("stream {stream} does not end"));
        let ends = frame.kind == RST_STREAM || frame.flags & END_STREAM != 0;
        if frame.stream == stream && matches!(frame.kind, DATA | HEADERS | RST_STREAM) && ends {
            return frame;
        }
    }
}

/// What it is, the frame's type, its flags and payload.
type Late = (&'static str, u8, u8, Vec<u8>);

/// What may come late for a stream, beside PRIORITY.
fn late() -> [Late; 5] {
    [
        ("DATA", DATA, 0, b"late".to_vec()),
        ("DATA that ends the stream", DATA, END_STREAM, b"late".to_vec()),
        ("empty DATA", DATA, 0, Vec::new()),
        ("HEADERS", HEADERS, WHOLE, with_key("GET", ECHO)),
        ("trailers", HEADERS, WHOLE, TRAILERS.to_vec()),
    ]
}

#[test]
fn data_or_headers_for_a_stream_that_the_client_has_reset_are_an_error_of_the_stream() {
    for (about, kind, flags, payload) in late() {
        let mut client = connect();
        // one that is with the upstream, one that is refused at once, one that has had its answer
        for (stream, method, path, key) in [(1, "POST", HELD, true), (3, "POST", ECHO, false)] {
            let key = key.then(|| stage().e1.authorization());
            write(&mut client, HEADERS, END_HEADERS, stream, &head(method, path, key.as_deref(), &[]));
            write(&mut client, RST_STREAM, 0, stream, &UNKNOWN.to_be_bytes());
            write(&mut client, kind, flags, stream, &payload);
            let reset = loop {
                let frame = until_the_end_of(&mut client, stream);
                // the refusal may have left before the reset had come
                if frame.kind == RST_STREAM && number(&frame.payload) != NO_ERROR {
                    break number(&frame.payload);
                }
            };
            assert_eq!(reset, STREAM_CLOSED, "{about} on stream {stream}");
        }
        write(&mut client, WINDOW_UPDATE, 0, 1, &[0, 0, 4, 0]);
        write(&mut client, RST_STREAM, 0, 1, &[0; 4]);
        write(&mut client, PRIORITY, 0, 1, &[0; 5]);
        assert_serves(&mut client, 5, about);
    }
}

#[test]
fn data_or_headers_for_a_stream_that_both_sides_have_ended_end_the_connection() {
    for (about, kind, flags, payload) in late() {
        for (path, key) in [(SHORT, true), (ECHO, false)] {
            let mut client = connect();
            let key = key.then(|| stage().e1.authorization());
            write(&mut client, HEADERS, WHOLE, 1, &head("GET", path, key.as_deref(), &[]));
            assert_ne!(until_the_end_of(&mut client, 1).kind, RST_STREAM, "{path}");
            // what may come at any time
            write(&mut client, WINDOW_UPDATE, 0, 1, &[0, 0, 4, 0]);
            write(&mut client, RST_STREAM, 0, 1, &[0; 4]);
            write(&mut client, PRIORITY, 0, 1, &[0; 5]);
            assert_serves(&mut client, 3, about);
            write(&mut client, kind, flags, 1, &payload);
            assert_eq!(client.last_word(about), STREAM_CLOSED, "{about} after {path}");
            assert!(client.read(PATIENCE).is_none(), "{about}: the connection stays open");
        }
    }
}

#[test]
fn data_or_headers_after_end_stream_are_an_error_of_the_stream() {
    for (about, kind, flags, payload) in late() {
        let mut client = connect();
        write(&mut client, HEADERS, WHOLE, 1, &with_key("GET", HELD));
        write(&mut client, kind, flags, 1, &payload);
        assert_eq!(client.outcome_of(1), StreamOutcome::Reset(STREAM_CLOSED), "{about}");
        assert_serves(&mut client, 3, about);
    }
}

/// RFC 9113 §5.4.2: whoever has reset a stream takes what the other side sent before it knew.
#[test]
fn late_frames_for_a_stream_that_the_gateway_has_ended_early_are_ignored() {
    let mark = marker();
    let malformed = head("POST", ECHO, None, &[(b"te", b"gzip")]);
    for (about, head) in [
        ("refused", head("POST", ECHO, None, &[])),
        ("malformed", malformed),
        ("too many fields", head("POST", ECHO, None, &[(&b"x"[..], &b"y"[..]); 150])),
    ] {
        let mut client = connect();
        write(&mut client, HEADERS, END_HEADERS, 1, &head);
        while until_the_end_of(&mut client, 1).kind != RST_STREAM {}
        for (kind, flags, payload) in [
            (WINDOW_UPDATE, 0, &[0, 0, 4, 0][..]),
            (DATA, 0, b"late"),
            (PRIORITY, 0, &[0; 5]),
            (DATA, END_STREAM, b"later"),
            (HEADERS, WHOLE, TRAILERS),
        ] {
            write(&mut client, kind, flags, 1, payload);
        }
        // the header table stays in step: an entry that a late block makes is there for the next
        let key = stage().e1.authorization();
        let entered =
            [&[0x40, 8][..], b"x-marker", &[u8::try_from(mark.len()).expect("short")], mark.as_bytes()];
        write(&mut client, HEADERS, WHOLE, 1, &entered.concat());
        let seen = client.until_pong();
        assert!(seen.iter().all(|frame| frame.stream != 1 && frame.kind != GOAWAY), "{about}: {seen:?}");
        let named = [head_with(&key), vec![0xbe]].concat();
        write(&mut client, HEADERS, WHOLE, 3, &named);
        assert_eq!(client.outcome_of(3), StreamOutcome::Status(200), "{about}");
    }
    assert_eq!(stage().upstream.requests(&mark).len(), 3, "the marker came out of the table");
}

fn head_with(key: &str) -> Vec<u8> {
    head("GET", ECHO, Some(key), &[])
}

#[test]
fn anything_but_priority_for_a_stream_that_never_began_ends_the_connection() {
    let key = stage().e1.authorization();
    let frames = |stream: u32| -> Vec<Late> {
        let mut frames = vec![
            ("WINDOW_UPDATE", WINDOW_UPDATE, 0, vec![0, 0, 4, 0]),
            ("RST_STREAM", RST_STREAM, 0, vec![0; 4]),
            ("CONTINUATION", CONTINUATION, END_HEADERS, head_with(&key)),
        ];
        // HEADERS begin an odd stream above the last
        frames.extend(late().into_iter().filter(|(_, kind, ..)| *kind == DATA || stream != 11));
        frames
    };
    for (about, stream) in [("passed over", 3), ("even", 2), ("even, above all", 40), ("above all", 11)] {
        for (frame, kind, flags, payload) in frames(stream) {
            let mut client = connect();
            assert_serves(&mut client, 1, about);
            assert_serves(&mut client, 9, about);
            write(&mut client, PRIORITY, 0, stream, &[0, 0, 0, 0, 9]);
            write(&mut client, kind, flags, stream, &payload);
            assert_eq!(client.last_word(about), PROTOCOL_ERROR, "{frame} on a stream that is {about}");
        }
    }
}

/// What is remembered of streams has a bound: what is older is taken for something that the gateway has ended.
#[test]
fn late_frames_for_streams_that_ended_long_ago_are_ignored() {
    let mut client = connect();
    assert_serves(&mut client, 1, "the first");
    // as far as identifiers go, a thousand streams later
    assert_serves(&mut client, 2001, "far above");
    for stream in [1, 3] {
        for (_, kind, flags, payload) in late() {
            write(&mut client, kind, flags, stream, &payload);
        }
        write(&mut client, WINDOW_UPDATE, 0, stream, &[0, 0, 4, 0]);
        write(&mut client, RST_STREAM, 0, stream, &[0; 4]);
    }
    let seen = client.until_pong();
    assert!(seen.iter().all(|frame| frame.kind != GOAWAY && frame.kind != RST_STREAM), "{seen:?}");
    // one that is remembered
    write(&mut client, HEADERS, WHOLE, 1999, &with_key("GET", ECHO));
    assert_eq!(client.last_word("passed over just now"), PROTOCOL_ERROR);
}

/// RFC 7540 §5.3.1, deprecated with the rest of priorities; h2spec asks for it.
#[test]
fn a_stream_that_depends_on_itself_is_reset_and_the_header_table_stays_in_step() {
    let mut client = connect();
    write(&mut client, PRIORITY, 0, 1, &[0, 0, 0, 1, 255]);
    assert_eq!(client.outcome_of(1), StreamOutcome::Reset(PROTOCOL_ERROR), "PRIORITY on an idle stream");

    write(&mut client, HEADERS, WHOLE, 3, &with_key("GET", HELD));
    write(&mut client, PRIORITY, 0, 3, &[0x80, 0, 0, 3, 0]);
    assert_eq!(client.outcome_of(3), StreamOutcome::Reset(PROTOCOL_ERROR), "PRIORITY, exclusive");

    // the block is read all the same, whole or in pieces
    let mark = marker();
    let entered = [&[0x40, 8][..], b"x-marker", &[u8::try_from(mark.len()).expect("short")], mark.as_bytes()];
    let key = stage().e1.authorization();
    let head = [head_with(&key), entered.concat()].concat();
    write(&mut client, HEADERS, WHOLE | PRIORITISED, 5, &[&[0, 0, 0, 5, 255][..], &head].concat());
    assert_eq!(client.outcome_of(5), StreamOutcome::Reset(PROTOCOL_ERROR), "HEADERS");
    let plain = head_with(&key);
    write(
        &mut client,
        HEADERS,
        END_STREAM | PRIORITISED,
        7,
        &[&[0x80, 0, 0, 7, 255][..], &plain[..30]].concat(),
    );
    write(&mut client, CONTINUATION, END_HEADERS, 7, &plain[30..]);
    assert_eq!(client.outcome_of(7), StreamOutcome::Reset(PROTOCOL_ERROR), "HEADERS and CONTINUATION");
    stage().upstream.assert_unseen(&mark, "a stream that depends on itself");

    write(&mut client, HEADERS, WHOLE, 9, &[plain, vec![0xbe]].concat());
    assert_eq!(client.outcome_of(9), StreamOutcome::Status(200));
    assert_eq!(stage().upstream.requests(&mark).len(), 1);
}

#[test]
fn an_invalid_scheme_is_refused() {
    let mut client = connect();
    let key = stage().e1.authorization();
    let mut stream = 1;
    for (scheme, fate) in [
        ("https", StreamOutcome::Status(200)),
        ("HTTP", StreamOutcome::Status(200)),
        ("a+b-c.1", StreamOutcome::Status(200)),
        ("", StreamOutcome::Reset(PROTOCOL_ERROR)),
        ("1http", StreamOutcome::Reset(PROTOCOL_ERROR)),
        ("https:", StreamOutcome::Reset(PROTOCOL_ERROR)),
        ("https://gw.test/v1/projects/e2", StreamOutcome::Reset(PROTOCOL_ERROR)),
        ("ht tp", StreamOutcome::Reset(PROTOCOL_ERROR)),
    ] {
        let fields: [(&[u8], &[u8]); 5] = [
            (b":method", b"GET"),
            (b":scheme", scheme.as_bytes()),
            (b":authority", b"gw.test"),
            (b":path", ECHO.as_bytes()),
            (b"authorization", key.as_bytes()),
        ];
        write(&mut client, HEADERS, WHOLE, stream, &block(&fields));
        assert_eq!(client.outcome_of(stream), fate, "{scheme:?}");
        stream += 2;
    }
}

#[test]
fn a_client_that_sends_goaway_gets_its_answers_and_then_the_connection_ends() {
    for code in [NO_ERROR, UNKNOWN] {
        let mut client = connect();
        let mark = marker();
        let key = stage().e1.authorization();
        write(
            &mut client,
            HEADERS,
            END_HEADERS,
            1,
            &head("POST", ECHO, Some(&key), &[(b"x-marker", mark.as_bytes())]),
        );
        wait_for(PATIENCE, "the request is with the upstream", || {
            stage().upstream.requests(&mark).len() == 1
        });
        let goodbye = [&[0; 4][..], &code.to_be_bytes(), b"bye"].concat();
        write(&mut client, GOAWAY, 0, 0, &goodbye);
        write(&mut client, DATA, END_STREAM, 1, b"the rest");
        let mut came = Vec::new();
        while let Some(frame) = client.read(PATIENCE) {
            came.push(frame);
        }
        let on_stream: Vec<_> = came.iter().filter(|frame| frame.stream == 1).collect();
        assert_eq!(on_stream.first().map(|frame| status(&frame.payload)), Some(200), "{came:?}");
        assert!(on_stream.last().is_some_and(|frame| frame.flags & END_STREAM != 0), "{came:?}");
        assert_eq!(stage().upstream.requests(&mark)[0].body, b"the rest");
        let goodbyes: Vec<_> = came
            .iter()
            .filter(|frame| frame.kind == GOAWAY)
            .map(|frame| number(&frame.payload[4..]))
            .collect();
        assert_eq!(goodbyes, [NO_ERROR]);

        // with nothing under way, at once
        let mut client = connect();
        write(&mut client, GOAWAY, 0, 0, &goodbye);
        assert_eq!(client.last_word("nothing under way"), NO_ERROR);
        assert!(client.read(PATIENCE).is_none(), "the connection stays open");
    }
}

#[test]
fn window_updates_priorities_and_resets_count_after_the_client_has_ended_its_stream() {
    let mut client = connect();
    // the settings of one frame count in their order
    let initial_window = |size: u32| [&[0, 4][..], &size.to_be_bytes()].concat();
    write(&mut client, SETTINGS, 0, 0, &[initial_window(100), initial_window(1)].concat());
    write(&mut client, HEADERS, WHOLE, 1, &with_key("GET", SHORT));
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(200));
    let data = |client: &mut RawHttp2| loop {
        let frame = client.read(PATIENCE).expect("a piece of the body");
        if frame.kind == DATA {
            return frame.payload;
        }
    };
    assert_eq!(data(&mut client), b"1");
    for priority in [[0, 0, 0, 0, 0], [0, 0, 0, 0, 255], [0x80, 0, 0, 0, 7], [0, 0, 0, 5, 7]] {
        write(&mut client, PRIORITY, 0, 1, &priority);
        write(&mut client, PRIORITY, 0, 3, &priority);
    }
    write(&mut client, WINDOW_UPDATE, 0, 1, &[0, 0, 0, 2]);
    assert_eq!(data(&mut client), b"23");
    // a window that grows beyond the largest by and by
    write(&mut client, WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xfd]);
    assert_eq!(data(&mut client), b"45");
    write(&mut client, HEADERS, WHOLE, 3, &with_key("GET", HELD));
    write(&mut client, WINDOW_UPDATE, 0, 3, &[0x7f, 0xff, 0xff, 0xfd]);
    write(&mut client, WINDOW_UPDATE, 0, 3, &[0, 0, 0, 2]);
    assert_eq!(client.outcome_of(3), StreamOutcome::Reset(FLOW_CONTROL_ERROR));
    write(&mut client, HEADERS, WHOLE, 5, &with_key("GET", HELD));
    write(&mut client, RST_STREAM, 0, 5, &UNKNOWN.to_be_bytes());
    write(&mut client, PING, ACK, 0, &[0; 8]);
    let seen = client.until_pong();
    assert!(seen.iter().all(|frame| frame.stream != 5 && frame.kind != PING), "{seen:?}");
    write(&mut client, WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]);
    write(&mut client, WINDOW_UPDATE, 0, 0, &[1, 0, 0, 0]);
    assert_eq!(client.last_word("the connection's window"), FLOW_CONTROL_ERROR);
}

/// Type, flags, stream and payload of a frame.
type Written = (u8, u8, u32, Vec<u8>);

#[test]
fn frames_that_are_not_allowed_where_they_come_end_the_connection() {
    let get = with_key("GET", ECHO);
    let post = with_key("POST", ECHO);
    let literal = |rest: &[u8]| [&get[..], rest].concat();
    let cases: Vec<(&str, u32, Vec<Written>)> = vec![
        ("DATA larger than a frame may be", FRAME_SIZE_ERROR, {
            vec![(HEADERS, END_HEADERS, 1, post.clone()), (DATA, END_STREAM, 1, vec![0; 16_385])]
        }),
        ("PRIORITY within a block", PROTOCOL_ERROR, {
            vec![(HEADERS, END_STREAM, 1, get.clone()), (PRIORITY, 0, 1, vec![0; 5])]
        }),
        ("DATA within a block", PROTOCOL_ERROR, {
            vec![
                (HEADERS, 0, 1, post.clone()),
                (CONTINUATION, 0, 1, TRAILERS.to_vec()),
                (DATA, END_STREAM, 1, b"test".to_vec()),
            ]
        }),
        ("another stream's HEADERS within a block", PROTOCOL_ERROR, {
            vec![(HEADERS, END_STREAM, 1, get.clone()), (HEADERS, WHOLE, 3, get.clone())]
        }),
        ("CONTINUATION after the end of a block", PROTOCOL_ERROR, {
            vec![
                (HEADERS, END_STREAM, 1, get.clone()),
                (CONTINUATION, END_HEADERS, 1, TRAILERS.to_vec()),
                (CONTINUATION, END_HEADERS, 1, TRAILERS.to_vec()),
            ]
        }),
        ("CONTINUATION after a whole block of a stream that was reset", PROTOCOL_ERROR, {
            vec![
                (HEADERS, END_HEADERS, 1, post.clone()),
                (RST_STREAM, 0, 1, vec![0; 4]),
                (CONTINUATION, END_HEADERS, 1, TRAILERS.to_vec()),
            ]
        }),
        ("CONTINUATION after DATA", PROTOCOL_ERROR, {
            vec![
                (HEADERS, END_HEADERS, 1, post.clone()),
                (DATA, 0, 1, b"test".to_vec()),
                (CONTINUATION, END_HEADERS, 1, TRAILERS.to_vec()),
            ]
        }),
        ("index 0", COMPRESSION_ERROR, vec![(HEADERS, WHOLE, 1, literal(&[0x80]))]),
        ("a name by an index beyond the tables", COMPRESSION_ERROR, {
            vec![(HEADERS, WHOLE, 1, literal(&[0x7f, 0x7f, 1, b'v']))]
        }),
        ("a table size at the end of a block", COMPRESSION_ERROR, {
            vec![(HEADERS, WHOLE, 1, literal(&[0x20]))]
        }),
        ("a table larger than allowed", COMPRESSION_ERROR, {
            vec![(HEADERS, WHOLE, 1, [&[0x3f, 0xe2, 0x1f][..], &get].concat())]
        }),
        // x-test: test, Huffman-coded
        ("padding of a whole octet", COMPRESSION_ERROR, {
            vec![(HEADERS, WHOLE, 1, literal(b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"))]
        }),
        ("padding of zeros", COMPRESSION_ERROR, {
            vec![(HEADERS, WHOLE, 1, literal(b"\0\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"))]
        }),
        ("the code for the end", COMPRESSION_ERROR, {
            vec![(HEADERS, WHOLE, 1, literal(b"\0\x85\xf2\xb2\x4a\x87\xff\xff\xff\xfd\x25\x42\x7f"))]
        }),
    ];
    for (about, code, frames) in cases {
        let mut client = connect();
        for (kind, flags, stream, payload) in frames {
            write(&mut client, kind, flags, stream, &payload);
        }
        assert_eq!(client.last_word(about), code, "{about}");
        assert!(client.read(PATIENCE).is_none(), "{about}: the connection stays open");
    }
}

#[test]
fn header_blocks_of_every_form_are_read() {
    // `x-test: h2spec`, or its like
    let plain_name = b"\x06x-test";
    let (plain, coded) = (&b"\x06h2spec"[..], &b"\x84\x9c\x48\xac\xa4"[..]);
    let coded_name = b"\x85\xf2\xb2\x4a\x84\xff";
    let mut forms: Vec<(String, Vec<u8>)> = vec![
        ("an indexed field".to_owned(), vec![0xba]),
        ("a table of nothing".to_owned(), Vec::new()),
        ("a table of nothing, and one of 4096 bytes".to_owned(), Vec::new()),
    ];
    for (form, first, by_index) in [
        ("entered", 0x40, &[0x7a][..]),
        ("not entered", 0, &[0x0f, 43]),
        ("never entered", 0x10, &[0x1f, 43]),
    ] {
        for value in [plain, coded] {
            forms.push((format!("{form}, by index"), [by_index, value].concat()));
            for name in [&plain_name[..], coded_name] {
                forms.push((format!("{form}, by name"), [&[first][..], name, value].concat()));
            }
        }
    }
    for (at, (about, form)) in forms.into_iter().enumerate() {
        let mut client = connect();
        let mark = marker();
        let key = stage().e1.authorization();
        let head = head("GET", ECHO, Some(&key), &[(b"x-marker", mark.as_bytes())]);
        let sizes: &[u8] = [&[], &[0x20][..], &[0x20, 0x3f, 0xe1, 0x1f]].get(at).copied().unwrap_or_default();
        let block = [sizes, &head, &form].concat();
        write(&mut client, HEADERS, WHOLE, 1, &block);
        assert_eq!(client.outcome_of(1), StreamOutcome::Status(200), "{about}");
        let seen = stage().upstream.only(&mark);
        if about.contains("entered") {
            let name = if about.ends_with("index") { "user-agent" } else { "x-test" };
            assert_eq!(seen.all(name), ["h2spec"], "{about}");
        }
    }
}
