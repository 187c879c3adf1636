//! The rules of HTTP/2 (RFC 9113) towards clients: what ends a stream, what ends a connection, and what is tolerated.
//! Windows and counts stay right whatever happens to streams.

mod support;

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

/// A client that keeps to its windows, and knows what became of its streams.
struct FlowControlledClient {
    raw: RawHttp2,
    /// What may be sent on the connection, and on each stream beside what it began with.
    window: i64,
    widened: HashMap<u32, i64>,
    streams: HashMap<u32, ReceivedStream>,
    /// What has come on the connection and was not yet made up for.
    taken: u32,
    /// Nothing is made up for.
    is_holding: bool,
}

#[derive(Debug, Default)]
struct ReceivedStream {
    status: Option<u16>,
    bytes: usize,
    is_whole: bool,
    reset: Option<u32>,
}

impl FlowControlledClient {
    fn connect(stage: &Stage) -> Self {
        let raw = RawHttp2::connect(stage.gateway.https());
        let (widened, streams) = (HashMap::new(), HashMap::new());
        Self { raw, window: DEFAULT_WINDOW.into(), widened, streams, taken: 0, is_holding: false }
    }

    /// Reads one frame; opens the connection's window again whenever half of it is used.
    #[track_caller]
    fn read(&mut self, waits_for: &str) {
        let frame =
            self.raw.read(PATIENCE).unwrap_or_else(|| panic!("{waits_for}: in vain. {:?}", self.streams));
        match frame.kind {
            WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(number(&frame.payload)),
            WINDOW_UPDATE => {
                *self.widened.entry(frame.stream).or_default() += i64::from(number(&frame.payload));
            }
            GOAWAY => panic!("{waits_for}: {frame:?}"),
            HEADERS | DATA | RST_STREAM => {
                let came = self.streams.entry(frame.stream).or_default();
                came.is_whole |= frame.kind != RST_STREAM && frame.flags & END_STREAM != 0;
                match frame.kind {
                    HEADERS => came.status = Some(status(&frame.payload)),
                    RST_STREAM => came.reset = Some(number(&frame.payload)),
                    _ => came.bytes += frame.payload.len(),
                }
                if frame.kind == DATA {
                    self.taken += u32::try_from(frame.payload.len()).expect("a frame");
                }
            }
            _ => {}
        }
        if self.taken > DEFAULT_WINDOW / 2 && !self.is_holding {
            let more = std::mem::take(&mut self.taken).to_be_bytes();
            self.raw.write(WINDOW_UPDATE, 0, 0, &more).expect("an open connection");
        }
    }

    fn came(&mut self, stream: u32) -> &mut ReceivedStream {
        self.streams.entry(stream).or_default()
    }

    /// Waits until a stream has ended; gives its status where it is whole.
    #[track_caller]
    fn end_of(&mut self, stream: u32) -> Option<u16> {
        while !self.came(stream).is_whole && self.came(stream).reset.is_none() {
            self.read(&format!("the end of stream {stream}"));
        }
        let came = self.came(stream);
        came.status.filter(|_| came.is_whole)
    }

    /// Sends DATA as soon as the windows allow; `false`: the gateway has ended the stream.
    #[track_caller]
    fn send(&mut self, stream: u32, flags: u8, payload: &[u8]) -> bool {
        let length = i64::try_from(payload.len()).expect("a frame");
        loop {
            if self.came(stream).reset.is_some() {
                return false;
            }
            // RFC 9113: what the gateway's settings say, which are 256 KiB
            let window = self.widened.entry(stream).or_insert(256 << 10);
            if *window >= length && self.window >= length {
                *window -= length;
                self.window -= length;
                self.raw.write(DATA, flags, stream, payload).expect("an open connection");
                return true;
            }
            self.read(&format!("room to send on stream {stream}"));
        }
    }

    fn begin(&mut self, stream: u32, method: &str, path: &str, key: Option<&str>, ends: bool) {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.raw.write(HEADERS, flags, stream, &head(method, path, key, &[])).expect("an open connection");
    }

    fn cancel(&mut self, stream: u32) {
        self.raw.write(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()).expect("an open connection");
    }
}

#[test]
fn every_upload_gives_the_connection_window_back_however_it_ends() {
    let mut client = FlowControlledClient::connect(stage());
    let key = key();
    let pad = |content: usize, padding: u8| {
        [&[padding][..], &vec![b'u'; content], &vec![0; padding.into()]].concat()
    };
    let pieces = [pad(14_000, 255), pad(100, 255), pad(0, 255), pad(16_000, 0)];
    // each way several times over what the connection's window holds
    for round in 0..50 {
        let stream = round * 6 + 1;
        // one that is answered whole, one that is answered early and sent on all the same, one that is cancelled
        client.begin(stream, "POST", ECHO, Some(&key), false);
        client.begin(stream + 2, "POST", ECHO, None, false);
        client.begin(stream + 4, "POST", ECHO, Some(&key), false);
        for number in [stream, stream + 2, stream + 4] {
            for piece in &pieces {
                client.send(number, PADDED, piece);
            }
        }
        client.cancel(stream + 4);
        client.send(stream + 2, END_STREAM, b"late");
        assert!(client.send(stream, END_STREAM, b""));
        assert_eq!(client.end_of(stream), Some(200), "round {round}");
        assert!(client.came(stream).bytes > 30_100);
        // the answer is a whole one before the rest of the upload is declined
        assert_eq!(client.end_of(stream + 2), Some(401), "round {round}");
    }
    // a single one that needs its stream's window many times over, in pieces that are mostly padding
    client.begin(1001, "POST", ECHO, Some(&key), false);
    for _ in 0..100 {
        assert!(client.send(1001, PADDED, &pad(14_000, 255)));
        assert!(client.send(1001, PADDED, &pad(100, 255)));
    }
    assert!(client.send(1001, PADDED | END_STREAM, &pad(0, 0)));
    client.raw.write(WINDOW_UPDATE, 0, 1001, &(8u32 << 20).to_be_bytes()).expect("an open connection");
    assert_eq!(client.end_of(1001), Some(200));
    assert!(client.came(1001).bytes > 100 * 14_100);
}

#[test]
fn downloads_share_a_small_window_and_cancelled_ones_do_not_hold_up_others() {
    for cancelled in [false, true] {
        let mut client = FlowControlledClient::connect(stage());
        let key = key();
        client.raw.write(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 1 << 20)).expect("an open connection");
        let streams: Vec<u32> = (0..24).map(|at| at * 2 + 1).collect();
        for stream in &streams {
            client.begin(*stream, "GET", LARGE, Some(&key), true);
        }
        let is_cancelled = |stream: u32| cancelled && stream % 6 == 3;
        // once the connection's window is used up, all wait; some give up, one of them the next in turn
        client.is_holding = true;
        while client.taken < DEFAULT_WINDOW
            || streams.iter().any(|stream| client.came(*stream).status.is_none())
        {
            client.read("all heads, and the first bytes");
        }
        client.is_holding = false;
        for stream in streams.iter().copied().filter(|stream| is_cancelled(*stream)) {
            client.cancel(stream);
        }
        client
            .raw
            .write(WINDOW_UPDATE, 0, 0, &std::mem::take(&mut client.taken).to_be_bytes())
            .expect("an open connection");
        let goes_on: Vec<u32> = streams.into_iter().filter(|stream| !is_cancelled(*stream)).collect();
        let mut is_fair = false;
        while goes_on.iter().any(|stream| !client.came(*stream).is_whole) {
            client.read("the answers");
            let came = |client: &mut FlowControlledClient| {
                goes_on.iter().map(|stream| client.came(*stream).bytes).collect()
            };
            let came: Vec<usize> = came(&mut client);
            let (least, most) = (came.iter().min().copied(), came.iter().max().copied());
            is_fair |= most < Some(LARGE_BYTES) && least > Some(LARGE_BYTES / 4);
        }
        for stream in &goes_on {
            assert_eq!(client.end_of(*stream), Some(200));
            assert_eq!(client.came(*stream).bytes, LARGE_BYTES);
        }
        assert!(is_fair, "some were served to the end before others");
    }
}

#[test]
fn many_small_messages_are_not_taken_for_a_flood() {
    let mut client = FlowControlledClient::connect(stage());
    let key = key();
    client.begin(1, "POST", ECHO, Some(&key), false);
    let message = frame(DATA, 0, 1, b"a line, or a key pressed");
    client.raw.write_bytes(&message.repeat(2500)).expect("an open connection");
    client.raw.write(DATA, END_STREAM, 1, b"").expect("an open connection");
    assert_eq!(client.end_of(1), Some(200));
    assert!(client.came(1).bytes > 2500 * 24);
}

#[test]
fn a_thousand_requests_with_cancelled_ones_among_them_leave_nothing_behind() {
    let seed = std::env::var("PORTCULLIS_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(0x5eed_0002_u64);
    let mut random = Random(seed);
    let mut client = FlowControlledClient::connect(stage());
    let key = key();
    let mut asked = Vec::new();
    for number in 0..1200 {
        let stream = number * 2 + 1;
        let (path, method) =
            [(ECHO, "GET"), (LARGE, "GET"), (ECHO, "POST"), (THOUSAND, "POST")][random.below(4)];
        client.begin(stream, method, path, Some(&key), method == "GET");
        if method == "POST" {
            client.send(stream, 0, &[b'p'; 3000]);
        }
        // cancelled at once, or after something has come; most of them not
        if random.below(5) == 0 {
            for _ in 0..random.below(if method == "GET" { 3 } else { 1 }) {
                client.read("head or body");
            }
            client.cancel(stream);
            continue;
        }
        if method == "POST" {
            client.send(stream, END_STREAM, b"end");
        }
        asked.push((stream, if path == LARGE { DEFAULT_WINDOW as usize } else { 0 }));
        // some at once
        while asked.len() > random.below(20) {
            let (stream, enough) = asked.remove(0);
            if enough > 0 {
                // it stops at its window, and is opened up for the rest
                client
                    .raw
                    .write(WINDOW_UPDATE, 0, stream, &(1u32 << 20).to_be_bytes())
                    .expect("an open connection");
            }
            assert_eq!(client.end_of(stream), Some(200), "seed {seed}, stream {stream}");
            assert!(client.came(stream).bytes >= enough, "seed {seed}, stream {stream}");
        }
    }
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

/// A gateway whose deadlines can be watched.
fn impatient() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::with(|plan| plan.top("timeouts: { header: 1s, idle: 1s, write: 1s }"));
        prepare(&stage);
        stage
    })
}

#[test]
fn a_client_that_keeps_sending_requests_keeps_its_connection() {
    let stage = impatient();
    let key = stage.e1.authorization();
    let mut client = FlowControlledClient::connect(stage);
    let begun = Instant::now();
    let mut stream = 1;
    while begun.elapsed() < Duration::from_secs(4) {
        // `read` fails where there is a goodbye
        client.begin(stream, "GET", ECHO, Some(&key), true);
        assert_eq!(client.end_of(stream), Some(200));
        stream += 2;
        std::thread::sleep(Duration::from_millis(100));
    }
    // it is when it asks no more
    let begun = Instant::now();
    assert_eq!(client.raw.last_word("idle"), NO_ERROR);
    assert!(begun.elapsed() > Duration::from_millis(800), "after {:?}", begun.elapsed());
}

#[test]
fn a_refusal_that_nobody_fetches_does_not_keep_its_stream() {
    let stage = impatient();
    let mut client = RawHttp2::connect(stage.gateway.https());
    client.write(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 0)).expect("an open connection");
    client
        .write(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", ECHO, None, &[]))
        .expect("an open connection");
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(401));
    assert!(
        matches!(client.outcome_of(1), StreamOutcome::Reset(_)),
        "the answer's body is waited for for ever"
    );
}

#[test]
fn a_client_that_ignores_goaway_is_not_served_for_ever() {
    let limits = "timeouts: { header: 1s, idle: 1s }\nlimits: { requests_per_connection: 3 }";
    let stage = Stage::with(|plan| plan.top(limits));
    prepare(&stage);
    let key = stage.e1.authorization();
    // the ping behind the goodbye is never answered, and there is always something open
    let mut client = RawHttp2::connect(stage.gateway.https());
    let begun = Instant::now();
    for stream in (1..).step_by(4) {
        for (stream, path) in [(stream, HELD), (stream + 2, ECHO)] {
            let head = head("GET", path, Some(&key), &[]);
            if client.write(HEADERS, END_HEADERS | END_STREAM, stream, &head).is_err() {
                return;
            }
        }
        match outcome_ignoring_goaway(&mut client, stream + 2) {
            Some(StreamOutcome::Status(200)) => {}
            Some(StreamOutcome::Reset(REFUSED_STREAM)) | None => return,
            other => panic!("{other:?}"),
        }
        client.write(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()).ok();
        assert!(begun.elapsed() < Duration::from_secs(8), "{stream} streams were served");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What became of a stream, whatever goodbyes are said; nothing at the connection's end.
fn outcome_ignoring_goaway(client: &mut RawHttp2, stream: u32) -> Option<StreamOutcome> {
    loop {
        let frame = client.read(PATIENCE)?;
        match frame.kind {
            HEADERS if frame.stream == stream => return Some(StreamOutcome::Status(status(&frame.payload))),
            RST_STREAM if frame.stream == stream => {
                return Some(StreamOutcome::Reset(number(&frame.payload)));
            }
            _ => {}
        }
    }
}

/// Whether the process runs, or stands still.
fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[test]
fn finished_answers_reach_a_slow_client_while_the_gateway_stops() {
    const STREAMS: u32 = 120;
    let mut stage = Stage::start();
    let path = "/v1/projects/e1/long-heads";
    let long = format!("HTTP/1.1 200 OK\nX-Long: {}", "h".repeat(60_000));
    stage.upstream.answer(path, Answer::with(&long, b""));
    let (key, mark) = (stage.e1.authorization(), marker());
    let mut client = RawHttp2::connect(stage.gateway.https());
    for at in 0..STREAMS {
        let head = head("GET", path, Some(&key), &[(b"x-marker", mark.as_bytes())]);
        client.write(HEADERS, END_HEADERS | END_STREAM, at * 2 + 1, &head).expect("an open connection");
    }
    wait_for(PATIENCE, "all are with the upstream", || {
        stage.upstream.requests(&mark).len() == usize::try_from(STREAMS).expect("few")
    });
    stage.gateway.signal("TERM");
    // longer than a client has to answer the goodbye that is somewhere behind all this
    let pid = stage.gateway.pid();
    stays(Duration::from_millis(2500), "the gateway waits until its answers are read", || runs(pid));
    let mut whole = 0;
    while whole < STREAMS {
        let frame = client.read(PATIENCE);
        let Some(frame) = frame else { panic!("{whole} of {STREAMS} answers have come") };
        let is_head = frame.kind == HEADERS || frame.kind == CONTINUATION;
        whole += u32::from(is_head && frame.flags & END_HEADERS != 0);
    }
    assert_eq!(stage.gateway.wait_for_exit(PATIENCE), Some(0));
}
