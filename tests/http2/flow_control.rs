//! Flow control: windows stay right whatever happens to streams, and streams take turns.

use super::*;

/// A client that keeps to its windows, and knows what became of its streams.
pub struct FlowControlledClient {
    pub raw: RawHttp2,
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
    pub fn connect(stage: &Stage) -> Self {
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
    pub fn end_of(&mut self, stream: u32) -> Option<u16> {
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

    pub fn begin(&mut self, stream: u32, method: &str, path: &str, key: Option<&str>, ends: bool) {
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
