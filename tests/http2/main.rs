//! The rules of HTTP/2 (RFC 9113) towards clients: what ends a stream, what ends a connection, and what is tolerated.
//! Windows and counts stay right whatever happens to streams.

#[path = "../support/mod.rs"]
mod support;

mod connection_end;
mod flow_control;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PADDED, PING, PREFACE,
    PRIORITISED, PRIORITY, PUSH_PROMISE, RST_STREAM, RawHttp2, SETTINGS, StreamOutcome, WINDOW_UPDATE, block,
    frame, number, status,
};
use support::random::Random;
use support::stage::Stage;
use support::upstream::Answer;
use support::{PATIENCE, marker, stays, wait_for};

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

const INITIAL_WINDOW_SIZE: u16 = 4;
/// What windows are until somebody says otherwise.
const DEFAULT_WINDOW: u32 = 65_535;

const ECHO: &str = "/v1/projects/e1/x";
const HELD: &str = "/v1/projects/e1/held";
const THOUSAND: &str = "/v1/projects/e1/thousand";
const LARGE: &str = "/v1/projects/e1/large";
const LARGE_BYTES: usize = 300_000;

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::start();
        prepare(&stage);
        stage
    })
}

fn prepare(stage: &Stage) {
    stage.upstream.answer(HELD, held());
    stage.upstream.answer(THOUSAND, Answer::with("HTTP/1.1 200 OK", &[b't'; 1000]));
    stage.upstream.answer(LARGE, Answer::with("HTTP/1.1 200 OK", &vec![b'l'; LARGE_BYTES]));
}

/// No answer as long as anybody waits for it.
fn held() -> Answer {
    Answer::after_head(|_, conversation| {
        conversation.ends_within(PATIENCE);
        false
    })
}

fn connect() -> RawHttp2 {
    RawHttp2::connect(stage().gateway.https())
}

/// A request's header block; without a key it is answered 401.
fn head(method: &str, path: &str, key: Option<&str>, more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut fields: Vec<(&[u8], &[u8])> = vec![
        (b":method", method.as_bytes()),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
    ];
    if let Some(key) = key {
        fields.push((b"authorization", key.as_bytes()));
    }
    fields.extend(more);
    block(&fields)
}

fn key() -> String {
    stage().e1.authorization()
}

#[track_caller]
fn ask(client: &mut RawHttp2, stream: u32, method: &str, path: &str, ends: bool) {
    let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
    let head = head(method, path, Some(&key()), &[]);
    client.write(HEADERS, flags, stream, &head).expect("an open connection");
}

/// The connection goes on: a request on this stream is answered.
#[track_caller]
fn assert_serves(client: &mut RawHttp2, stream: u32, about: &str) {
    ask(client, stream, "GET", ECHO, true);
    assert_eq!(client.outcome_of(stream), StreamOutcome::Status(200), "{about}");
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

#[test]
fn a_connection_begins_with_the_preface_and_settings_on_both_sides() {
    for (about, bytes) in [
        ("another protocol", b"GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n".to_vec()),
        ("a preface that goes wrong", [&PREFACE[..20], b"XX\r\n"].concat()),
        ("no settings", [PREFACE, &frame(PING, 0, 0, &[0; 8])].concat()),
        ("an acknowledgement first", [PREFACE, &frame(SETTINGS, ACK, 0, &[])].concat()),
    ] {
        let mut client = RawHttp2::silent(stage().gateway.https());
        client.write_bytes(&bytes).expect("an open connection");
        assert_eq!(client.last_word(about), PROTOCOL_ERROR, "{about}");
    }

    let mut client = RawHttp2::silent(stage().gateway.https());
    for byte in PREFACE.iter().chain(&frame(SETTINGS, 0, 0, &setting(3, 7))) {
        client.write_bytes(&[*byte]).expect("an open connection");
    }
    let first = client.read(PATIENCE).expect("the gateway's settings");
    assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0));
    let settings: HashMap<u16, u32> = first
        .payload
        .chunks(6)
        .map(|setting| (u16::from_be_bytes([setting[0], setting[1]]), number(&setting[2..])))
        .collect();
    assert_eq!(settings.get(&3), Some(&128), "streams at once: {settings:?}");
    assert_eq!(settings.get(&8), Some(&1), "extended CONNECT: {settings:?}");
    loop {
        let frame = client.read(PATIENCE).expect("the settings are acknowledged");
        if frame.kind == SETTINGS {
            assert_eq!((frame.flags, frame.payload.len()), (ACK, 0));
            break;
        }
    }
    assert_serves(&mut client, 1, "byte by byte");
}

/// Type, flags, stream and payload of a frame.
type Written<'a> = (u8, u8, u32, &'a [u8]);
/// The same, where the stream is known.
type OnStream<'a> = (u8, u8, &'a [u8]);
/// What it is about, the code of the reset, the stream's first block and its flags, what follows.
type Case<'a> = (&'a str, u32, &'a [u8], u8, Vec<OnStream<'a>>);

#[test]
fn what_breaks_the_rules_of_the_connection_ends_it() {
    let get = head("GET", ECHO, Some(&key()), &[]);
    let whole = END_HEADERS | END_STREAM;
    let too_large = vec![0; 16_385];
    let cases: Vec<(&str, u32, Vec<Written<'_>>)> = vec![
        ("DATA on no stream", PROTOCOL_ERROR, vec![(DATA, 0, 0, b"x")]),
        ("HEADERS on no stream", PROTOCOL_ERROR, vec![(HEADERS, whole, 0, &get)]),
        ("PRIORITY on no stream", PROTOCOL_ERROR, vec![(PRIORITY, 0, 0, &[0; 5])]),
        ("RST_STREAM on no stream", PROTOCOL_ERROR, vec![(RST_STREAM, 0, 0, &[0; 4])]),
        ("CONTINUATION on no stream", PROTOCOL_ERROR, vec![(CONTINUATION, END_HEADERS, 0, &get)]),
        ("SETTINGS on a stream", PROTOCOL_ERROR, vec![(SETTINGS, 0, 1, &[])]),
        ("PING on a stream", PROTOCOL_ERROR, vec![(PING, 0, 1, &[0; 8])]),
        ("GOAWAY on a stream", PROTOCOL_ERROR, vec![(GOAWAY, 0, 1, &[0; 8])]),
        ("a stream with an even number", PROTOCOL_ERROR, vec![(HEADERS, whole, 2, &get)]),
        ("DATA on an idle stream", PROTOCOL_ERROR, vec![(DATA, 0, 1, b"x")]),
        ("RST_STREAM on an idle stream", PROTOCOL_ERROR, vec![(RST_STREAM, 0, 1, &[0; 4])]),
        ("WINDOW_UPDATE on an idle stream", PROTOCOL_ERROR, vec![(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])]),
        ("PUSH_PROMISE", PROTOCOL_ERROR, vec![(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])]),
        ("CONTINUATION without HEADERS", PROTOCOL_ERROR, vec![(CONTINUATION, END_HEADERS, 1, &get)]),
        (
            "CONTINUATION behind a whole block",
            PROTOCOL_ERROR,
            vec![(HEADERS, whole, 1, &get), (CONTINUATION, END_HEADERS, 1, &get)],
        ),
        ("PING within a block", PROTOCOL_ERROR, vec![(HEADERS, 0, 1, &get), (PING, 0, 0, &[0; 8])]),
        ("an unknown frame within a block", PROTOCOL_ERROR, vec![(HEADERS, 0, 1, &get), (0xfa, 0, 1, b"x")]),
        (
            "CONTINUATION on another stream",
            PROTOCOL_ERROR,
            vec![(HEADERS, 0, 1, &get), (CONTINUATION, END_HEADERS, 3, &get)],
        ),
        ("a frame that is too large", FRAME_SIZE_ERROR, vec![(HEADERS, whole, 1, &too_large)]),
        ("an unknown frame that is too large", FRAME_SIZE_ERROR, vec![(0xfa, 0, 0, &too_large)]),
        ("SETTINGS of 5 bytes", FRAME_SIZE_ERROR, vec![(SETTINGS, 0, 0, &[0; 5])]),
        ("an acknowledgement that says something", FRAME_SIZE_ERROR, vec![(SETTINGS, ACK, 0, &[0; 6])]),
        ("PING of 7 bytes", FRAME_SIZE_ERROR, vec![(PING, 0, 0, &[0; 7])]),
        ("PING of 9 bytes", FRAME_SIZE_ERROR, vec![(PING, 0, 0, &[0; 9])]),
        ("GOAWAY of 7 bytes", FRAME_SIZE_ERROR, vec![(GOAWAY, 0, 0, &[0; 7])]),
        (
            "RST_STREAM of 3 bytes",
            FRAME_SIZE_ERROR,
            vec![(HEADERS, whole, 1, &get), (RST_STREAM, 0, 1, &[0; 3])],
        ),
        ("PRIORITY of 4 bytes", FRAME_SIZE_ERROR, vec![(PRIORITY, 0, 1, &[0; 4])]),
        ("WINDOW_UPDATE of 3 bytes", FRAME_SIZE_ERROR, vec![(WINDOW_UPDATE, 0, 0, &[0; 3])]),
        ("WINDOW_UPDATE of 5 bytes", FRAME_SIZE_ERROR, vec![(WINDOW_UPDATE, 0, 0, &[0; 5])]),
        ("a window update of nothing", PROTOCOL_ERROR, vec![(WINDOW_UPDATE, 0, 0, &[0; 4])]),
        (
            "a window beyond the largest",
            FLOW_CONTROL_ERROR,
            vec![(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
        ),
        ("padding longer than HEADERS", PROTOCOL_ERROR, vec![(HEADERS, whole | PADDED, 1, &[1])]),
        (
            "padding longer than DATA",
            PROTOCOL_ERROR,
            vec![(HEADERS, END_HEADERS, 1, &get), (DATA, PADDED, 1, &[3, 0, 0])],
        ),
        (
            "HEADERS that lack their priority",
            PROTOCOL_ERROR,
            vec![(HEADERS, whole | PRIORITISED, 1, &[0; 4])],
        ),
        ("an index beyond the tables", COMPRESSION_ERROR, vec![(HEADERS, whole, 1, &[0xff, 0x7f])]),
        (
            "a table size within a block",
            COMPRESSION_ERROR,
            vec![(HEADERS, whole, 1, &[0x82, 0x20, 0x87, 0x84])],
        ),
        ("a broken block of trailers", COMPRESSION_ERROR, {
            vec![(HEADERS, END_HEADERS, 1, &get), (HEADERS, whole, 1, &[0x80])]
        }),
    ];
    for (about, code, frames) in cases {
        let mut client = connect();
        for (kind, flags, stream, payload) in frames {
            client.write(kind, flags, stream, payload).expect("an open connection");
        }
        assert_eq!(client.last_word(about), code, "{about}");
    }
    for (about, code, (name, value)) in [
        ("push that is neither on nor off", PROTOCOL_ERROR, (2, 2)),
        ("a window beyond the largest", FLOW_CONTROL_ERROR, (INITIAL_WINDOW_SIZE, 1 << 31)),
        ("frames smaller than the smallest", PROTOCOL_ERROR, (5, (1 << 14) - 1)),
        ("frames larger than the largest", PROTOCOL_ERROR, (5, 1 << 24)),
        ("extended CONNECT that is neither on nor off", PROTOCOL_ERROR, (8, 2)),
    ] {
        let mut client = connect();
        client.write(SETTINGS, 0, 0, &setting(name, value)).expect("an open connection");
        assert_eq!(client.last_word(about), code, "{about}");
    }
    // a stream's window is its own and what the setting adds
    let mut client = connect();
    client.write(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 0)).expect("an open connection");
    ask(&mut client, 1, "GET", HELD, true);
    client.write(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]).expect("an open connection");
    assert!(!client.until_pong().iter().any(|frame| frame.kind == RST_STREAM), "the largest window");
    client.write(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 1)).expect("an open connection");
    assert_eq!(client.last_word("one more"), FLOW_CONTROL_ERROR);
}

#[test]
fn what_breaks_the_rules_of_a_stream_ends_only_the_stream() {
    let mut client = connect();
    let mut stream = 1;
    let whole = END_HEADERS | END_STREAM;
    let five = head("POST", ECHO, Some(&key()), &[(b"content-length", b"5")]);
    let post = head("POST", ECHO, Some(&key()), &[]);
    let get = head("GET", HELD, Some(&key()), &[]);
    let cases: Vec<Case<'_>> = vec![
        ("a window update of nothing", PROTOCOL_ERROR, &get, whole, vec![(WINDOW_UPDATE, 0, &[0; 4])]),
        (
            "a window beyond the largest",
            FLOW_CONTROL_ERROR,
            &get,
            whole,
            vec![(WINDOW_UPDATE, 0, &[0x7f, 0xff, 0xff, 0xff])],
        ),
        ("DATA behind the end", STREAM_CLOSED, &get, whole, vec![(DATA, 0, b"x")]),
        ("HEADERS behind the end", STREAM_CLOSED, &get, whole, vec![(HEADERS, whole, &get)]),
        (
            "trailers that end nothing",
            PROTOCOL_ERROR,
            &post,
            END_HEADERS,
            vec![(HEADERS, END_HEADERS, b"\0\x01t\x01v")],
        ),
        ("pseudo-headers in trailers", PROTOCOL_ERROR, &post, END_HEADERS, vec![(HEADERS, whole, &[0x82])]),
        (
            "upper case in trailers",
            PROTOCOL_ERROR,
            &post,
            END_HEADERS,
            vec![(HEADERS, whole, b"\0\x01T\x01v")],
        ),
        (
            "a line break in trailers",
            PROTOCOL_ERROR,
            &post,
            END_HEADERS,
            vec![(HEADERS, whole, b"\0\x01t\x06v\r\nx:y")],
        ),
        (
            "trailers before the announced end",
            PROTOCOL_ERROR,
            &five,
            END_HEADERS,
            vec![(DATA, 0, b"1234"), (HEADERS, whole, b"\0\x01t\x01v")],
        ),
        ("a length without a body", PROTOCOL_ERROR, &five, whole, vec![]),
        (
            "a body that is too long, padded",
            PROTOCOL_ERROR,
            &five,
            END_HEADERS,
            vec![(DATA, PADDED, b"\x01123456\0")],
        ),
    ];
    for (about, code, head, flags, frames) in cases {
        client.write(HEADERS, flags, stream, head).expect("an open connection");
        for (kind, flags, payload) in frames {
            client.write(kind, flags, stream, payload).expect("an open connection");
        }
        assert_eq!(client.outcome_of(stream), StreamOutcome::Reset(code), "{about}");
        stream += 2;
        assert_serves(&mut client, stream, about);
        stream += 2;
    }
}

#[test]
fn what_has_no_meaning_is_ignored() {
    let mut client = connect();
    let write = |client: &mut RawHttp2, kind, flags, stream, payload: &[u8]| {
        client.write(kind, flags, stream, payload).expect("an open connection");
    };
    write(&mut client, 0xfa, 0xff, 0, b"unknown");
    write(&mut client, 0xfa, 0xff, 77, b"unknown");
    write(&mut client, PRIORITY, 0, 99, &[0, 0, 0, 97, 1]);
    write(&mut client, PING, ACK, 0, b"farewell");
    write(&mut client, SETTINGS, ACK, 0, &[]);
    write(&mut client, SETTINGS, 0xfe, 0, &[setting(0x0a0a, 7), setting(6, 0), setting(3, 0)].concat());
    write(&mut client, WINDOW_UPDATE, 0, 0, &[0x80, 0, 0x10, 0]);
    assert_serves(&mut client, 1, "after frames that mean nothing");

    // the bit before a stream's number means nothing, nor do flags that a frame does not have
    let mark = marker();
    let post = head("POST", ECHO, Some(&key()), &[(b"x-marker", mark.as_bytes())]);
    let padded = [&[2, 0, 0, 0, 0, 16][..], &post, &[0; 2]].concat();
    write(&mut client, HEADERS, 0xd2 | PADDED | PRIORITISED, 0x8000_0003, &padded[..60]);
    // (that one was not whole: padding stands in the first frame, the block goes on)
    write(&mut client, CONTINUATION, 0xfb & !END_HEADERS, 3, &[]);
    write(&mut client, CONTINUATION, END_HEADERS, 3, &post[54 - 2..]);
    write(&mut client, DATA, 0xf6 | PADDED, 3, b"\x05body\0\0\0\0\0");
    write(&mut client, DATA, PADDED | END_STREAM, 3, &[&[255][..], &[0; 255]].concat());
    assert_eq!(client.outcome_of(3), StreamOutcome::Status(200));
    assert_eq!(stage().upstream.only(&mark).body, b"body");

    // what the other side said before it knew that a stream has ended
    for (kind, payload) in [(WINDOW_UPDATE, &[0, 0, 4, 0][..]), (RST_STREAM, &[0; 4]), (PRIORITY, &[0; 5])] {
        write(&mut client, kind, 0, 3, payload);
    }
    assert!(client.until_pong().iter().all(|frame| frame.kind != GOAWAY && frame.kind != RST_STREAM));
}

#[test]
fn a_raw_hash_in_the_path_is_refused_and_never_forwarded() {
    let mut client = connect();
    for (at, path) in [
        "/v1/projects/e1/x#",
        "/v1/projects/e1/x#/../../e2",
        "/healthz#/v1/projects/e1",
        "/v1/projects/e1/x?a#b",
    ]
    .into_iter()
    .enumerate()
    {
        let (mark, stream) = (marker(), u32::try_from(at).expect("few") * 2 + 1);
        let head = head("GET", path, Some(&key()), &[(b"x-marker", mark.as_bytes())]);
        client.write(HEADERS, END_HEADERS | END_STREAM, stream, &head).expect("an open connection");
        assert_eq!(client.outcome_of(stream), StreamOutcome::Status(400), "{path}");
        stage().upstream.assert_unseen(&mark, path);
    }
}

/// The bytes of bodies among these frames.
fn body_bytes(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len()).sum()
}

#[test]
fn a_smaller_initial_window_makes_the_windows_of_open_streams_smaller_and_even_negative() {
    let mut client = connect();
    let initial = |client: &mut RawHttp2, value| {
        client.write(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, value)).expect("an open connection");
    };
    let widen = |client: &mut RawHttp2, value: u32| {
        client.write(WINDOW_UPDATE, 0, 1, &value.to_be_bytes()).expect("an open connection");
    };
    initial(&mut client, 100);
    ask(&mut client, 1, "GET", THOUSAND, true);
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(200));
    // what a step lets through comes; what it does not let through would come before the answer to the ping
    let come = |client: &mut RawHttp2, expected: usize, about: &str| {
        let mut came = 0;
        while came < expected {
            let frame =
                client.read(PATIENCE).unwrap_or_else(|| panic!("{about}: {came} of {expected} bytes"));
            came += body_bytes(&[frame]);
        }
        came += body_bytes(&client.until_pong());
        assert_eq!(came, expected, "{about}");
    };
    come(&mut client, 100, "the whole window");
    initial(&mut client, 50);
    come(&mut client, 0, "50 less than nothing");
    widen(&mut client, 50);
    come(&mut client, 0, "just nothing");
    widen(&mut client, 7);
    come(&mut client, 7, "seven");
    initial(&mut client, 0);
    come(&mut client, 0, "50 less than nothing again");
    initial(&mut client, 150);
    come(&mut client, 100, "from 50 less than nothing to 100");
    widen(&mut client, 10_000);
    come(&mut client, 793, "the rest");
}

#[test]
fn a_client_that_sets_its_hpack_table_size_is_told_that_the_table_is_not_used() {
    let mut client = connect();
    let first_octet = |client: &mut RawHttp2, stream| {
        ask(client, stream, "GET", ECHO, true);
        loop {
            let frame = client.read(PATIENCE).expect("an answer");
            if frame.kind == HEADERS && frame.stream == stream {
                return frame.payload[0];
            }
        }
    };
    assert_eq!(first_octet(&mut client, 1), 0x88);
    for (at, size) in [(0, 0), (1, 100), (2, 65_536)] {
        client.write(SETTINGS, 0, 0, &setting(1, size)).expect("an open connection");
        // RFC 7541 section 4.2: at the beginning of the next block, and only there
        assert_eq!(first_octet(&mut client, 3 + 4 * at), 0x20, "{size}");
        assert_eq!(first_octet(&mut client, 5 + 4 * at), 0x88, "{size}");
    }
}

#[test]
fn streams_beyond_the_limit_are_refused_until_one_ends() {
    let stage = Stage::with(|plan| plan.top("limits: { http2_streams: 3 }"));
    prepare(&stage);
    let mut client = RawHttp2::connect(stage.gateway.https());
    let key = stage.e1.authorization();
    let begin = |client: &mut RawHttp2, stream, path: &str| {
        let head = head("GET", path, Some(&key), &[]);
        client.write(HEADERS, END_HEADERS | END_STREAM, stream, &head).expect("an open connection");
    };
    for stream in [1, 3, 5, 7] {
        begin(&mut client, stream, HELD);
    }
    assert_eq!(client.outcome_of(7), StreamOutcome::Reset(REFUSED_STREAM));
    client.write(RST_STREAM, 0, 3, &CANCEL.to_be_bytes()).expect("an open connection");
    // places are taken and left in turn
    for stream in (9..109).step_by(2) {
        begin(&mut client, stream, ECHO);
        assert_eq!(client.outcome_of(stream), StreamOutcome::Status(200), "stream {stream}");
        while !client
            .read(PATIENCE)
            .is_some_and(|frame| frame.stream == stream && frame.flags & END_STREAM != 0)
        {}
    }
    begin(&mut client, 109, HELD);
    begin(&mut client, 111, ECHO);
    assert_eq!(client.outcome_of(111), StreamOutcome::Reset(REFUSED_STREAM));
}

#[test]
fn floods_end_their_connection_and_no_other() {
    let windows: Vec<u8> = (0..2000).flat_map(|value| setting(INITIAL_WINDOW_SIZE, value)).collect();
    let refused = frame(HEADERS, END_HEADERS, 3, &head("POST", ECHO, None, &[]));
    let mut other = connect();
    let mut stream = 1;
    for (about, bytes) in [
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(3000)),
        ("settings", frame(SETTINGS, 0, 0, &[]).repeat(3000)),
        ("priorities", frame(PRIORITY, 0, 1, &[0; 5]).repeat(3000)),
        ("unknown frames", frame(0xfa, 0, 0, &[]).repeat(3000)),
        ("small window updates", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(3000)),
        ("window updates of a stream that is gone", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 8, 0]).repeat(3000)),
        ("resets of a stream that is gone", frame(RST_STREAM, 0, 1, &[0; 4]).repeat(3000)),
        ("empty DATA for a refused stream", [refused, frame(DATA, 0, 3, &[]).repeat(3000)].concat()),
        // each is worked on for every stream there is
        (
            "windows in few frames",
            windows.chunks(6 * 1000).flat_map(|part| frame(SETTINGS, 0, 0, part)).collect(),
        ),
    ] {
        let mut client = connect();
        assert_serves(&mut client, 1, about);
        client.write_bytes(&bytes).ok();
        assert_eq!(client.last_word(about), ENHANCE_YOUR_CALM, "{about}");
        assert_serves(&mut other, stream, about);
        stream += 2;
    }
}
