//! HTTP/2 clients over TLS: a correct one (the `h2` crate), and one that writes any frames.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::{ClientConnection, StreamOwned};

use super::tls::{believing, handshake, handshake_over};
use super::{PATIENCE, show};

/// The answer to one request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

/// Sends one request by a correct client, on a connection of its own, and reads the answer.
///
/// `Err` holds the library's word where the stream or the connection was ended instead.
pub fn exchange(
    address: SocketAddr,
    request: http::Request<()>,
    body: &[u8],
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, exchange_async(address, request, Bytes::copy_from_slice(body))).await?
    })
}

async fn exchange_async(
    address: SocketAddr,
    request: http::Request<()>,
    body: Bytes,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let client = connect_from(Ipv4Addr::LOCALHOST, address).await?;
    let mut client = client.ready().await?;
    let (response, mut sending) = client.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        sending.send_data(body, true)?;
    }
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// A connection of a correct client from a source address, for many requests at once.
pub async fn connect_from(
    source: Ipv4Addr,
    address: SocketAddr,
) -> Result<h2::client::SendRequest<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let tcp = socket.connect(address).await?;
    let name = rustls::pki_types::ServerName::try_from("localhost")?;
    let tls = tokio_rustls::TlsConnector::from(believing(&["h2"])).connect(name, tcp).await?;
    let (client, connection) = h2::client::handshake(tls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITISED: u8 = 0x20;
pub const ACK: u8 = 1;

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "frame kind {} flags {:#x} stream {} {}",
            self.kind,
            self.flags,
            self.stream,
            show(&self.payload)
        )
    }
}

/// How the gateway answered a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamOutcome {
    /// HEADERS with this status.
    Status(u16),
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// GOAWAY with this code, or the end of the connection without a word.
    Gone(Option<u32>),
}

/// A connection that writes any frames. It answers SETTINGS, so that the peer goes on.
pub struct RawHttp2 {
    tls: StreamOwned<ClientConnection, TcpStream>,
    ahead: Vec<u8>,
}

impl fmt::Debug for RawHttp2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawHttp2").finish_non_exhaustive()
    }
}

impl RawHttp2 {
    /// Connects with `h2` agreed on, and sends preface and empty SETTINGS.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let mut connection = Self::silent(address);
        connection.write_bytes(PREFACE).expect("an open connection");
        connection.write(SETTINGS, 0, 0, &[]).expect("an open connection");
        connection
    }

    /// The same over a connection that is open already.
    #[track_caller]
    pub fn over(tcp: TcpStream) -> Self {
        let tls = handshake_over(tcp, "localhost", believing(&["h2"])).expect("the handshake succeeds");
        tls.sock.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        let mut connection = Self { tls, ahead: Vec::new() };
        connection.write_bytes(PREFACE).expect("an open connection");
        connection.write(SETTINGS, 0, 0, &[]).expect("an open connection");
        connection
    }

    /// Reads so many bytes at most, and keeps them for [`read`](Self::read).
    pub fn take_in(&mut self, most: usize) -> io::Result<usize> {
        let mut buffer = vec![0; most];
        let count = self.tls.read(&mut buffer)?;
        self.ahead.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// Connects with `h2` agreed on, and sends nothing.
    #[track_caller]
    pub fn silent(address: SocketAddr) -> Self {
        let tls = handshake(address, "localhost", believing(&["h2"])).expect("the handshake succeeds");
        assert_eq!(tls.conn.alpn_protocol(), Some(&b"h2"[..]), "the gateway speaks HTTP/2 on TLS");
        tls.sock.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        Self { tls, ahead: Vec::new() }
    }

    /// Writes bytes, whatever they are.
    pub fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.write_all(bytes)?;
        self.tls.flush()
    }

    /// Writes one frame.
    pub fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.write_bytes(&frame(kind, flags, stream, payload))
    }

    /// Writes HEADERS with these fields, in this order, as literals that no table remembers.
    pub fn headers(&mut self, stream: u32, fields: &[(&[u8], &[u8])], end: bool) -> io::Result<()> {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.write(HEADERS, flags, stream, &block(fields))
    }

    /// Writes DATA.
    pub fn data(&mut self, stream: u32, bytes: &[u8], end: bool) -> io::Result<()> {
        self.write(DATA, if end { END_STREAM } else { 0 }, stream, bytes)
    }

    /// Reads one frame; `None` at the end of the connection or after `patience`.
    pub fn read(&mut self, patience: Duration) -> Option<Frame> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = self.parse() {
                if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                    self.write(SETTINGS, ACK, 0, &[]).ok();
                }
                return Some(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.tls.sock.set_read_timeout(Some(left)).expect("a socket option");
            let mut buffer = [0; 16 * 1024];
            match self.tls.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.ahead.extend_from_slice(&buffer[..read]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(_) => return None,
            }
        }
    }

    fn parse(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.ahead.get(..9)?.try_into().ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if self.ahead.len() < 9 + length {
            return None;
        }
        let bytes: Vec<u8> = self.ahead.drain(..9 + length).collect();
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload: bytes[9..].to_vec() })
    }

    /// Reads up to the word that the connection ends with.
    #[track_caller]
    pub fn last_word(&mut self, about: &str) -> u32 {
        loop {
            let Some(frame) = self.read(PATIENCE) else {
                panic!("{about}: the connection ends without a word")
            };
            if frame.kind == GOAWAY {
                return number(&frame.payload[4..]);
            }
        }
    }

    /// Reads up to the answer to a ping: everything before it was understood. Gives what came meanwhile.
    #[track_caller]
    pub fn until_pong(&mut self) -> Vec<Frame> {
        self.write(PING, 0, 0, b"measured").expect("an open connection");
        let mut seen = Vec::new();
        loop {
            let frame = self.read(PATIENCE).expect("the ping is answered");
            if frame.kind == PING && frame.flags & ACK != 0 {
                assert_eq!(frame.payload, b"measured");
                return seen;
            }
            seen.push(frame);
        }
    }

    /// Reads until the fate of a stream is known; fails after [`PATIENCE`].
    #[track_caller]
    pub fn outcome_of(&mut self, stream: u32) -> StreamOutcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(frame) = self.read(left) else {
                assert!(Instant::now() < deadline, "nothing was answered on stream {stream} in {PATIENCE:?}");
                return StreamOutcome::Gone(None);
            };
            match frame.kind {
                HEADERS if frame.stream == stream => return StreamOutcome::Status(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return StreamOutcome::Reset(number(&frame.payload)),
                GOAWAY => {
                    return StreamOutcome::Gone(Some(number(frame.payload.get(4..).unwrap_or_default())));
                }
                _ => {}
            }
        }
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is at most 16 MiB").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The number at the front of a payload.
pub fn number(bytes: &[u8]) -> u32 {
    bytes.get(..4).and_then(|four| four.try_into().ok()).map_or(u32::MAX, u32::from_be_bytes)
}

/// A header block of literals, never indexed, without Huffman coding.
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// A length with a 7-bit prefix (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    let low = |number: usize| u8::try_from(number & 0x7f).expect("seven bits");
    if length < 127 {
        block.push(low(length));
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(low(rest) | 0x80);
        rest >>= 7;
    }
    block.push(low(rest));
}

/// The status in a header block that the gateway sent: it is the first field, indexed, or a literal of three digits.
#[track_caller]
pub fn status(block: &[u8]) -> u16 {
    // size updates of the table may come first
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap_or(block.len());
    let block = &block[start..];
    match block {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        // a literal with the name of one of the static entries 8 to 14, with or without indexing
        [0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e, 3, text @ ..] => {
            text.iter().take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        }
        [0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e, size, text @ ..] if size & 0x80 != 0 => {
            huffman_digits(&text[..usize::from(size & 0x7f)])
        }
        _ => panic!("no status in the header block {}", show(block)),
    }
}

/// Three digits in the code of RFC 7541 appendix B: five bits for 0 to 2, six for 3 to 9.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u16> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1))).collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let five = bits[at..at + 5].iter().fold(0, |sum, bit| sum << 1 | bit);
        let digit = if five <= 2 {
            at += 5;
            five
        } else {
            let six = five << 1 | bits[at + 5];
            at += 6;
            six - 0b01_1001 + 3
        };
        number = number * 10 + digit;
    }
    number
}
