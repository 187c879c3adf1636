//! A connection with clients that do anything: nothing panics or waits for ever, and what is counted stays right.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::super::buffered_socket::BufferedSocket;
use super::super::peer_result::{PeerError, Received};
use super::super::socket::Socket;
use super::connection::{CONNECTION_WINDOW_BYTES, State, UNSENT_BYTES};
use super::frame::{
    self, ACK, CONTINUATION, DATA, DEFAULT_WINDOW, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING,
    PREFACE, PRIORITISED, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use super::streams::STREAM_WINDOW_BYTES;
use super::*;

const LIMITS: Http2Limits =
    Http2Limits { header_bytes: 8192, header_count: 50, line_bytes: 1024, streams: 16, early_resets: 1000 };
const PATIENCE: Duration = Duration::from_secs(20);

/// Small deterministic random numbers (xorshift64*), so that a failure can be repeated from its seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let wide = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        u32::try_from(wide).unwrap() % end
    }

    fn bytes(&mut self, count: u32) -> Vec<u8> {
        (0..count).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(PATIENCE, test).await.expect("nothing waits for ever") };
    LocalSet::new().block_on(&runtime, test);
}

/// A client's socket, and the connection that serves it.
async fn connected() -> (TcpStream, Rc<Http2Connection>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let socket = BufferedSocket::new(Socket::Plain(server.into()));
    (client, Rc::new(Http2Connection::new(socket, LIMITS, Instant::now())))
}

/// Serves until the connection is over.
async fn serve(connection: Rc<Http2Connection>) {
    while let Some(request) = poll_fn(|cx| connection.poll_request(cx, Instant::now())).await {
        spawn_local(async move {
            // a client may leave at any point
            let _ = exchange(request).await;
        });
    }
}

/// Does what the last octet of the path asks for.
async fn exchange(request: Http2Request) -> Result<(), PeerError> {
    let mut peer = request.peer;
    match request.head.target().last() {
        Some(b'0') => {}
        Some(b'1') => peer.reset(Http2ErrorCode::INTERNAL_ERROR),
        // answered before the body has come
        Some(b'2') => {
            peer.respond(401, false, |_| ())?;
            peer.send_whole_body(b"not you");
            poll_fn(|cx| peer.poll_flush(cx)).await?;
        }
        Some(b'3') => {
            while receive(&mut peer).await?.is_some() {}
            peer.respond(200, false, |_| ())?;
            peer.set_body_length(100_000);
            send(&mut peer, &vec![b'3'; 100_000]).await?;
        }
        Some(b'4') => {
            peer.respond(200, false, |block| block.field(b"x", &[b'4'; 3000]))?;
            send(&mut peer, &vec![b'4'; 50_000]).await?;
            // and leaves it unfinished
        }
        Some(b'6') => {
            peer.respond(200, false, |_| ())?;
            send(&mut peer, &vec![b'6'; 4_000_000]).await?;
        }
        // never looks at what comes
        Some(b'7') => poll_fn(|cx| peer.poll_disconnected(cx)).await,
        _ => {
            peer.respond(200, false, |_| ())?;
            while let Some(piece) = receive(&mut peer).await? {
                send(&mut peer, &piece).await?;
            }
            let trailers = std::mem::take(peer.trailers());
            peer.finish(&trailers)?;
        }
    }
    Ok(())
}

async fn receive(peer: &mut Http2Peer) -> Result<Option<Vec<u8>>, PeerError> {
    match poll_fn(|cx| peer.poll_receive(cx)).await? {
        Received::End => Ok(None),
        Received::Data => {
            // not all at once
            let piece = peer.received();
            let piece = piece[..piece.len().min(5000)].to_vec();
            peer.consume(piece.len());
            Ok(Some(piece))
        }
    }
}

async fn send(peer: &mut Http2Peer, mut bytes: &[u8]) -> Result<(), PeerError> {
    while !bytes.is_empty() {
        let sent = poll_fn(|cx| peer.poll_send(cx, bytes)).await?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// What a client knows of its connection.
struct Known {
    window: i64,
    /// By the order in which they were begun.
    streams: Vec<Begun>,
    pongs: usize,
    said_goodbye: Option<u32>,
}

/// What it knows of a stream.
#[derive(Default)]
struct Begun {
    window: i64,
    has_ended: bool,
    /// The client has: anything more would end the connection.
    is_said: bool,
    received: usize,
    is_whole: bool,
}

fn identifier(at: usize) -> u32 {
    u32::try_from(at).unwrap() * 2 + 1
}

/// Reads all that the gateway sends.
async fn listen(mut socket: OwnedReadHalf, known: Rc<RefCell<Known>>) {
    let mut ahead = Vec::new();
    while socket.read_buf(&mut ahead).await.is_ok_and(|read| read > 0) {
        let mut rest = &ahead[..];
        while let Some(header) = frame::FrameHeader::read(rest)
            && let Some((bytes, tail)) = rest.split_at_checked(9 + header.length)
        {
            let mut known = known.borrow_mut();
            let number = |at: usize| u32::from_be_bytes(bytes[9 + at..][..4].try_into().unwrap());
            let at = header.stream as usize / 2;
            match header.kind {
                WINDOW_UPDATE if header.stream == 0 => known.window += i64::from(number(0)),
                WINDOW_UPDATE => known.streams[at].window += i64::from(number(0)),
                PING if header.has(ACK) => known.pongs += 1,
                GOAWAY => known.said_goodbye = Some(number(4)),
                DATA | HEADERS => {
                    known.streams[at].is_whole |= header.has(END_STREAM);
                    if header.kind == DATA {
                        known.streams[at].received += header.length;
                    }
                }
                RST_STREAM => known.streams[at].has_ended = true,
                _ => {}
            }
            rest = tail;
        }
        let kept = rest.len();
        ahead.drain(..ahead.len() - kept);
    }
}

struct Client {
    socket: OwnedWriteHalf,
    known: Rc<RefCell<Known>>,
    pings: usize,
}

impl Client {
    /// Begins; windows are as small as they are by default.
    async fn over(socket: TcpStream) -> Self {
        let known =
            Known { window: DEFAULT_WINDOW.into(), streams: Vec::new(), pongs: 0, said_goodbye: None };
        let known = Rc::new(RefCell::new(known));
        let (reading, mut socket) = socket.into_split();
        spawn_local(listen(reading, Rc::clone(&known)));
        socket.write_all(PREFACE).await.unwrap();
        let mut client = Self { socket, known, pings: 0 };
        client.write(SETTINGS, 0, 0, &[]).await;
        client
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, kind, flags, stream, payload);
        // the other side may have ended it
        let _ = self.socket.write_all(&bytes).await;
    }

    /// Begins a stream; returns its place.
    async fn begin(&mut self, way: u32, ends: bool, random: &mut Random) -> usize {
        let at = self.known.borrow().streams.len();
        let window = STREAM_WINDOW_BYTES.into();
        let stream = Begun { window, has_ended: ends, is_said: ends, ..Begun::default() };
        self.known.borrow_mut().streams.push(stream);
        let mut block = vec![0x83, 0x87, 0x41, 1, b'h', 0x04, 2, b'/'];
        block.extend(way.to_string().bytes());
        let flags = if ends { END_STREAM } else { 0 };
        match random.below(3) {
            0 => self.write(HEADERS, flags | END_HEADERS, identifier(at), &block).await,
            1 => {
                let payload = [&[3, 0, 0, 0, 0, 7][..], &block, &[0; 3]].concat();
                let flags = flags | END_HEADERS | PADDED | PRIORITISED;
                self.write(HEADERS, flags, identifier(at), &payload).await;
            }
            _ => {
                self.write(HEADERS, flags, identifier(at), &block[..3]).await;
                self.write(CONTINUATION, END_HEADERS, identifier(at), &block[3..]).await;
            }
        }
        at
    }

    /// Sends so much, or what the windows allow, with so much padding.
    async fn send(&mut self, at: usize, count: u32, padding: u8, ends: bool) -> u32 {
        let room = {
            let known = self.known.borrow();
            known.window.min(known.streams[at].window) - 256
        };
        let count = count.min(u32::try_from(room).unwrap_or(0)).min(16_000);
        let (payload, flags) = match padding {
            0 => (vec![b'd'; count as usize], 0),
            _ => ([&[padding][..], &vec![b'd'; count as usize], &vec![0; padding.into()]].concat(), PADDED),
        };
        let length = i64::try_from(payload.len()).unwrap();
        {
            let mut known = self.known.borrow_mut();
            known.window -= length;
            known.streams[at].window -= length;
            known.streams[at].has_ended |= ends;
            known.streams[at].is_said |= ends;
        }
        self.write(DATA, flags | if ends { END_STREAM } else { 0 }, identifier(at), &payload).await;
        count
    }

    /// Returns when everything that was sent was understood.
    async fn ping(&mut self) {
        self.pings += 1;
        self.write(PING, 0, 0, &[1; 8]).await;
        while self.known.borrow().pongs < self.pings && self.known.borrow().said_goodbye.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Something that a client may do; it may well end streams, but not the connection.
    async fn act(&mut self, random: &mut Random) {
        let count = self.known.borrow().streams.len();
        let at = (count > 0).then(|| random.below(u32::try_from(count).unwrap()) as usize);
        // rather one of the latest
        let at = at.map(|at| if random.below(3) > 0 { at.max(count.saturating_sub(6)) } else { at });
        match (random.below(16), at) {
            (0..=3, _) => {
                let (way, ends) = (random.below(6), random.below(3) == 0);
                self.begin(way, ends, random).await;
            }
            (4..=8, Some(at)) if !self.known.borrow().streams[at].has_ended => {
                let count = if random.below(4) == 0 { 20 } else { random.below(16_000) };
                let padding = if random.below(2) == 0 { 0 } else { random.below(256).to_le_bytes()[0] };
                let ends = random.below(6) == 0;
                self.send(at, count, padding, ends).await;
            }
            (9, Some(at)) => {
                self.known.borrow_mut().streams[at].has_ended = true;
                self.write(RST_STREAM, 0, identifier(at), &8u32.to_be_bytes()).await;
            }
            (10, _) => self.write(WINDOW_UPDATE, 0, 0, &(1 + random.below(50_000)).to_be_bytes()).await,
            (11, Some(at)) => {
                // nothing at all is an error of the stream
                let more = random.below(50_000) * random.below(8).min(1);
                self.write(WINDOW_UPDATE, 0, identifier(at), &more.to_be_bytes()).await;
            }
            (12, _) => {
                let [a, b, c, d] = (random.below(3) * random.below(40_000)).to_be_bytes();
                self.write(SETTINGS, 0, 0, &[0, 4, a, b, c, d, 0, 1, 0, 0, 0, 0]).await;
            }
            (13, Some(at)) if !self.known.borrow().streams[at].is_said => {
                // trailers, which end the stream or break it
                let flags = END_HEADERS | if random.below(4) == 0 { 0 } else { END_STREAM };
                self.known.borrow_mut().streams[at].has_ended = true;
                self.known.borrow_mut().streams[at].is_said = true;
                self.write(HEADERS, flags, identifier(at), b"\x00\x01t\x01v").await;
            }
            (14, Some(at)) => self.write(PRIORITY, 0, identifier(at), &[0, 0, 0, 0, 9]).await,
            (15, _) => self.ping().await,
            _ => self.write(0xfa, 0xff, 0, b"unknown").await,
        }
    }
}

#[test]
fn whatever_streams_suffer_the_connection_keeps_its_windows() {
    for seed in 1..=60 {
        run(async move {
            let random = &mut Random(seed * 0x9e37_79b9);
            let (socket, connection) = connected().await;
            let serving = spawn_local(serve(Rc::clone(&connection)));
            let mut client = Client::over(socket).await;
            for _ in 0..150 {
                client.act(random).await;
                if random.below(4) == 0 {
                    yield_now().await;
                }
            }
            let begun = client.known.borrow().streams.len();
            for at in 0..begun {
                client.write(RST_STREAM, 0, identifier(at), &8u32.to_be_bytes()).await;
            }
            client.ping().await;
            while connection.connection.borrow().streams.len() > 0 {
                yield_now().await;
            }
            client.ping().await;
            {
                let connection = connection.connection.borrow();
                assert_eq!(connection.state, State::Open, "seed {seed}");
                assert_eq!(client.known.borrow().said_goodbye, None, "seed {seed}");
                let window = connection.receive_window + connection.taken;
                assert_eq!(window, CONNECTION_WINDOW_BYTES, "seed {seed}: some of the window is lost");
                assert_eq!(client.known.borrow().window, i64::from(connection.receive_window), "seed {seed}");
                let streams = &connection.streams;
                assert_eq!((streams.reset_by_client, streams.reset_early), (0, 0), "seed {seed}");
                assert!(streams.waiting.is_empty(), "seed {seed}: streams that are gone wait");
            }

            // and it serves as ever
            client.write(SETTINGS, 0, 0, &[0, 4, 0, 0x10, 0, 0]).await;
            client.write(WINDOW_UPDATE, 0, 0, &(1u32 << 20).to_be_bytes()).await;
            let at = client.begin(9, false, random).await;
            let mut left = 600_000;
            while left > 0 {
                left -= client.send(at, left, 0, false).await;
                yield_now().await;
            }
            client.send(at, 0, 0, true).await;
            while !client.known.borrow().streams[at].is_whole {
                assert_eq!(client.known.borrow().said_goodbye, None, "seed {seed}");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(client.known.borrow().streams[at].received, 600_000, "seed {seed}");
            drop(client);
            serving.await.unwrap();
        });
    }
}

#[test]
fn whatever_bytes_come_the_connection_ends_and_nothing_panics() {
    for seed in 1..=200 {
        run(async move {
            let random = &mut Random(seed * 0x9e37_79b9);
            let (socket, connection) = connected().await;
            let serving = spawn_local(serve(Rc::clone(&connection)));
            let mut client = Client::over(socket).await;
            for _ in 0..random.below(30) {
                client.act(random).await;
            }
            for _ in 0..random.below(20) {
                let (kind, flags) = (random.below(11).to_le_bytes()[0], random.below(256).to_le_bytes()[0]);
                let stream = random.below(9);
                let payload = match random.below(3) {
                    0 => Vec::new(),
                    1 => vec![0; [4, 5, 6, 8][random.below(4) as usize]],
                    _ => {
                        let count = random.below(40);
                        random.bytes(count)
                    }
                };
                client.write(kind, flags, stream, &payload).await;
            }
            let garbage = random.bytes(100);
            let _ = client.socket.write_all(&garbage).await;
            drop(client);
            serving.await.unwrap();
            while connection.connection.borrow().streams.len() > 0 {
                yield_now().await;
            }
        });
    }
}

/// Streams that always have something to send share what there is, however their turns fall.
#[test]
fn no_stream_is_served_to_the_end_before_another() {
    for count in 2..=5 {
        run(async move {
            let (socket, connection) = connected().await;
            spawn_local(serve(connection));
            let mut client = Client::over(socket).await;
            client.write(SETTINGS, 0, 0, &[0, 4, 0, 0x7f, 0, 0]).await;
            client.write(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes()).await;
            for _ in 0..count {
                client.begin(6, true, &mut Random(1)).await;
            }
            let received = |client: &Client| -> Vec<usize> {
                client.known.borrow().streams.iter().map(|stream| stream.received).collect()
            };
            while received(&client).iter().all(|received| *received < 1_000_000) {
                yield_now().await;
            }
            let received = received(&client);
            assert!(received.iter().all(|received| *received > 500_000), "{received:?}");
        });
    }
}

#[test]
fn what_exceeds_a_window_ends_the_stream_or_the_connection() {
    run(async {
        let (socket, connection) = connected().await;
        spawn_local(serve(connection));
        let mut client = Client::over(socket).await;
        for _ in 0..4 {
            client.begin(7, false, &mut Random(1)).await;
        }
        // a window's bytes, and one more
        let fill = async |client: &mut Client, at| {
            for _ in 0..16 {
                client.write(DATA, 0, identifier(at), &[b'd'; 1 << 14]).await;
            }
        };
        fill(&mut client, 0).await;
        client.ping().await;
        assert!(!client.known.borrow().streams[0].has_ended);
        client.write(DATA, 0, identifier(0), b"d").await;
        client.ping().await;
        assert!(client.known.borrow().streams[0].has_ended, "a stream's window");
        assert_eq!(client.known.borrow().said_goodbye, None);
        for at in 1..3 {
            fill(&mut client, at).await;
        }
        client.ping().await;
        assert_eq!(client.known.borrow().said_goodbye, None);
        // what was made up for is told of when it is more: there is one byte too little
        fill(&mut client, 3).await;
        client.ping().await;
        assert_eq!(client.known.borrow().said_goodbye, Some(Http2ErrorCode::FLOW_CONTROL_ERROR.0));
    });
}

/// What is not read because too much waits to be written, is read when that has left, though nothing more comes.
#[test]
fn what_was_left_unread_is_read_when_there_is_room_again() {
    run(async {
        let (mut socket, connection) = connected().await;
        let serving = spawn_local({
            let connection = Rc::clone(&connection);
            async move { poll_fn(|cx| connection.poll_request(cx, Instant::now())).await.is_some() }
        });
        let mut bytes = PREFACE.to_vec();
        frame::write(&mut bytes, SETTINGS, 0, 0, &[]);
        socket.write_all(&bytes).await.unwrap();
        while !connection.has_received_settings() {
            yield_now().await;
        }
        // so much that the socket does not take it, and as much behind it as may wait
        while connection.connection.borrow().socket.unsent() < UNSENT_BYTES {
            {
                let mut connection = connection.connection.borrow_mut();
                let more = UNSENT_BYTES - connection.socket.unsent();
                connection.socket.output().extend(std::iter::repeat_n(0, more));
                connection.wake();
            }
            yield_now().await;
        }
        // the answer to the ping is one too much: the request behind it waits
        bytes.clear();
        frame::write(&mut bytes, PING, 0, 0, &[1; 8]);
        frame::write(&mut bytes, HEADERS, END_HEADERS | END_STREAM, 1, &[0x82, 0x87, 0x84, 0x41, 1, b'h']);
        socket.write_all(&bytes).await.unwrap();
        while connection.connection.borrow().socket.unsent() == UNSENT_BYTES {
            yield_now().await;
        }
        assert!(!serving.is_finished());
        // the connection's task has no turn while the client reads all there is to read
        let mut sink = vec![0; 1 << 20];
        loop {
            std::thread::sleep(Duration::from_millis(5));
            match socket.try_read(&mut sink) {
                Ok(read) if read > 0 => {}
                _ => break,
            }
        }
        let reading =
            spawn_local(async move { while socket.read(&mut sink).await.is_ok_and(|read| read > 0) {} });
        assert!(serving.await.unwrap(), "the request is served");
        reading.abort();
    });
}
