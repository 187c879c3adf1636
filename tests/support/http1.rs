//! An HTTP/1.1 client that sends any bytes and reads answers strictly.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::cli::Key;
use super::{PATIENCE, find, show};

/// The challenge of every 401.
pub const CHALLENGE: &str =
    r#"Basic realm="Enter API access key and secret key as username and password", charset="UTF-8""#;

/// Builds the bytes of a request. Nothing is checked or added but what is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// `METHOD target HTTP/1.1` and a `Host`.
    pub fn new(method: &str, target: impl AsRef<[u8]>) -> Self {
        Self::without_host(method, target).header("Host", "gw.test")
    }

    /// `METHOD target HTTP/1.1` alone.
    pub fn without_host(method: &str, target: impl AsRef<[u8]>) -> Self {
        Self { bytes: [method.as_bytes(), b" ", target.as_ref(), b" HTTP/1.1\r\n"].concat() }
    }

    pub fn get(target: impl AsRef<[u8]>) -> Self {
        Self::new("GET", target)
    }

    /// Adds a header line; name and value go out as they are.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(name.as_ref());
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value.as_ref());
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// Adds bytes as they are, line ends included.
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(bytes.as_ref());
        self
    }

    /// Adds the key's `Authorization`.
    pub fn key(self, key: &Key) -> Self {
        self.header("Authorization", key.authorization())
    }

    /// Adds a header with a marker, by which the upstream's record is searched.
    pub fn mark(self, marker: &str) -> Self {
        self.header("X-Marker", marker)
    }

    /// Ends the head; without a body.
    pub fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }

    /// The bytes so far, for a request that is never finished.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    /// Ends the head with a `Content-Length` and appends the body.
    pub fn body(self, body: impl AsRef<[u8]>) -> Vec<u8> {
        let body = body.as_ref();
        let mut bytes = self.header("Content-Length", body.len().to_string()).end();
        bytes.extend_from_slice(body);
        bytes
    }
}

/// One answer, read strictly.
#[derive(Clone)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    /// In order, names as they came.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.status, self.reason)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", show(value))?;
        }
        write!(f, "\n{}", show(&self.body))
    }
}

impl Response {
    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<String> {
        let same = |(n, v): &(String, Vec<u8>)| {
            n.eq_ignore_ascii_case(name).then(|| String::from_utf8_lossy(v).into_owned())
        };
        self.headers.iter().filter_map(same).collect()
    }

    /// The value of a header that stands there once, or not at all.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "{name} stands there {} times:\n{self:?}", all.len());
        all.pop()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}):\n{self:?}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// All of it but request id and time: what a caller could tell the causes of two 401 apart by.
    #[track_caller]
    pub fn without_id_and_date(&self) -> String {
        let id = self.header("X-Request-Id").expect("every answer of ours has one");
        let fields = self.headers.iter().filter(|(name, _)| {
            !name.eq_ignore_ascii_case("Date") && !name.eq_ignore_ascii_case("X-Request-Id")
        });
        let fields: Vec<_> =
            fields.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect();
        let body = self.text().replace(&id, "ID");
        format!("{} {}\n{}\n\n{body}", self.status, self.reason, fields.join("\n"))
    }

    /// Checks an answer of the gateway itself: its status, its error document, its headers.
    #[track_caller]
    pub fn assert_refused(&self, status: u16) {
        assert_eq!(self.status, status, "expected {status}, saw\n{self:?}");
        let document = self.json();
        assert_eq!(document["type"], "error", "{self:?}");
        assert_eq!(document["baseType"], "error", "{self:?}");
        assert_eq!(document["status"], status, "{self:?}");
        assert!(document["code"].is_string() && document["message"].is_string(), "{self:?}");
        let id = self.header("X-Request-Id").unwrap_or_else(|| panic!("no X-Request-Id:\n{self:?}"));
        assert_eq!(document["id"], id.as_str(), "{self:?}");
        assert_eq!(self.header("Cache-Control").as_deref(), Some("no-store"), "{self:?}");
        assert_eq!(self.header("X-Content-Type-Options").as_deref(), Some("nosniff"), "{self:?}");
        let challenges = self.all("WWW-Authenticate");
        if status == 401 {
            assert_eq!(challenges, [CHALLENGE], "{self:?}");
        } else {
            assert!(challenges.is_empty(), "{self:?}");
        }
    }
}

/// What the client reads and writes: a plain connection, or one in TLS.
pub trait ClientSocket: Read + Write + Send {
    /// The connection beneath, for its timeouts.
    fn tcp(&self) -> &TcpStream;
}

impl ClientSocket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

/// An address of the loopback network that nothing else in this process has used. The gateway counts failures by
/// source: tests that are refused often must not be in each other's way.
pub fn fresh_source() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // the process id spreads test programs that run at once; .0 and .255 are avoided
    let number = std::process::id().wrapping_mul(7919).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let [_, b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(127, 1 + b % 250, c, 1 + d % 250)
}

/// A plain connection from a source address.
pub fn open_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// One connection to the gateway.
pub struct Client {
    socket: Box<dyn ClientSocket>,
    /// Read, but not yet part of an answer.
    ahead: Vec<u8>,
    was_reset: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("ahead", &show(&self.ahead)).finish_non_exhaustive()
    }
}

/// Why no answer could be read.
#[derive(Debug)]
pub enum NoAnswer {
    /// The peer ended the connection after these bytes.
    Closed(Vec<u8>),
    /// Nothing more came in time, after these bytes.
    Late(Vec<u8>),
    /// The bytes are not an answer by RFC 9112.
    Malformed(&'static str, Vec<u8>),
}

impl Client {
    /// Opens a plain connection from a source address of its own (see [`fresh_source`]).
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_from(fresh_source(), address)
    }

    /// Opens a plain connection from this source address.
    #[track_caller]
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        Self::over(open_from(source, address).expect("the gateway accepts connections"))
    }

    /// A client over a connection that is open already.
    pub fn over(socket: impl ClientSocket + 'static) -> Self {
        socket.tcp().set_write_timeout(Some(PATIENCE)).expect("a socket option");
        Self { socket: Box::new(socket), ahead: Vec::new(), was_reset: false }
    }

    /// Sends bytes; the peer may have closed already, which reading will tell.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).ok();
    }

    /// Sends bytes.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.write_all(bytes.as_ref())?;
        self.socket.flush()
    }

    /// Tells the peer that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        self.socket.tcp().shutdown(Shutdown::Write).ok();
    }

    /// Ends the connection with a reset, as a client does that dies.
    pub fn reset(self) {
        socket2::SockRef::from(self.socket.tcp()).set_linger(Some(Duration::ZERO)).expect("a socket option");
    }

    /// Our side's address, as the gateway sees it.
    pub fn local_address(&self) -> SocketAddr {
        self.socket.tcp().local_addr().expect("an open socket")
    }

    /// Reads one answer, be it informational.
    pub fn try_read(&mut self, to_head: bool, patience: Duration) -> Result<Response, NoAnswer> {
        let deadline = Instant::now() + patience;
        let (status, reason, headers) = self.read_head(deadline)?;
        let mut answer = Response { status, reason, headers, body: Vec::new(), trailers: Vec::new() };
        if to_head || status < 200 || status == 204 || status == 304 {
            return Ok(answer);
        }
        let lengths = answer.all("Content-Length");
        let codings = answer.all("Transfer-Encoding");
        match (lengths.as_slice(), codings.as_slice()) {
            ([length], []) => {
                let length: usize = length.parse().map_err(|_| self.malformed("its length is no number"))?;
                while self.ahead.len() < length {
                    self.fill(deadline)?;
                }
                answer.body = self.ahead.drain(..length).collect();
            }
            ([], [coding]) if coding == "chunked" => self.read_chunks(&mut answer, deadline)?,
            ([], []) => {
                while self.fill_or_end(deadline)? {}
                answer.body = std::mem::take(&mut self.ahead);
            }
            _ => return Err(self.malformed("its length is told in more than one way")),
        }
        Ok(answer)
    }

    /// Reads one final answer to a request that was not HEAD.
    #[track_caller]
    pub fn read(&mut self) -> Response {
        self.read_final(false)
    }

    /// Reads one final answer to these request bytes: an answer to HEAD has no body.
    #[track_caller]
    pub fn read_answer_to(&mut self, request: &[u8]) -> Response {
        self.read_final(request.starts_with(b"HEAD "))
    }

    #[track_caller]
    fn read_final(&mut self, to_head: bool) -> Response {
        loop {
            match self.try_read(to_head, PATIENCE) {
                Ok(answer) if answer.status < 200 && answer.status != 101 => {}
                Ok(answer) => return answer,
                Err(NoAnswer::Closed(bytes)) => {
                    panic!("closed after {} bytes: {}", bytes.len(), show(&bytes))
                }
                Err(NoAnswer::Late(bytes)) => panic!("no whole answer in {PATIENCE:?}: {}", show(&bytes)),
                Err(NoAnswer::Malformed(why, bytes)) => panic!("no strict answer, {why}: {}", show(&bytes)),
            }
        }
    }

    /// Reads until the peer ends the connection; false where it does not within `patience`.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            match self.fill_or_end(deadline) {
                Ok(true) => {}
                Ok(false) | Err(NoAnswer::Closed(_)) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Waits until at least `count` bytes have come, and takes them.
    pub fn take(&mut self, count: usize, patience: Duration) -> Result<Vec<u8>, NoAnswer> {
        let deadline = Instant::now() + patience;
        while self.ahead.len() < count {
            self.fill(deadline)?;
        }
        Ok(self.ahead.drain(..count).collect())
    }

    /// Waits until `mark` has come, and takes everything up to its end.
    pub fn take_until(&mut self, mark: &[u8], patience: Duration) -> Result<Vec<u8>, NoAnswer> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(at) = find(&self.ahead, mark) {
                return Ok(self.ahead.drain(..at + mark.len()).collect());
            }
            self.fill(deadline)?;
        }
    }

    /// All that came and was not read as part of an answer.
    pub fn unread(&self) -> &[u8] {
        &self.ahead
    }

    /// Whether the connection was seen to end, and not in order.
    pub fn was_reset(&self) -> bool {
        self.was_reset
    }

    fn malformed(&mut self, why: &'static str) -> NoAnswer {
        NoAnswer::Malformed(why, std::mem::take(&mut self.ahead))
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), NoAnswer> {
        if self.fill_or_end(deadline)? {
            return Ok(());
        }
        Err(NoAnswer::Closed(std::mem::take(&mut self.ahead)))
    }

    /// Reads more; false at the end of the connection.
    fn fill_or_end(&mut self, deadline: Instant) -> Result<bool, NoAnswer> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoAnswer::Late(std::mem::take(&mut self.ahead)));
            }
            self.socket.tcp().set_read_timeout(Some(left)).expect("a socket option");
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.ahead.extend_from_slice(&buffer[..read]);
                    return Ok(true);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // a reset: the end, and not a gentle one
                Err(_) => {
                    self.was_reset = true;
                    return Err(NoAnswer::Closed(std::mem::take(&mut self.ahead)));
                }
            }
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, NoAnswer> {
        loop {
            if let Some(end) = find(&self.ahead, b"\n") {
                let mut line: Vec<u8> = self.ahead.drain(..=end).collect();
                line.pop();
                if line.pop() != Some(b'\r') || line.contains(&b'\r') {
                    return Err(NoAnswer::Malformed("a line does not end with CR LF", line));
                }
                return Ok(line);
            }
            self.fill(deadline)?;
        }
    }

    #[allow(
        clippy::type_complexity,
        reason = "status, reason and headers, taken apart at once by the one caller"
    )]
    fn read_head(&mut self, deadline: Instant) -> Result<(u16, String, Vec<(String, Vec<u8>)>), NoAnswer> {
        let line = self.line(deadline)?;
        let wrong = |why| NoAnswer::Malformed(why, line.clone());
        let rest = line.strip_prefix(b"HTTP/1.1 ").ok_or_else(|| wrong("its version is not HTTP/1.1"))?;
        let (digits, reason) = rest.split_at_checked(3).ok_or_else(|| wrong("its status is short"))?;
        if !digits.iter().all(u8::is_ascii_digit) || reason.first() != Some(&b' ') {
            return Err(wrong("its status line is not 'HTTP/1.1 NNN reason'"));
        }
        let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        let reason = String::from_utf8_lossy(&reason[1..]).into_owned();
        Ok((status, reason, self.fields(deadline)?))
    }

    fn fields(&mut self, deadline: Instant) -> Result<Vec<(String, Vec<u8>)>, NoAnswer> {
        let mut fields = Vec::new();
        loop {
            let line = self.line(deadline)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
            let colon = find(&line, b":").filter(|&at| at > 0 && line[..at].iter().all(token));
            let Some(colon) = colon else {
                return Err(NoAnswer::Malformed("a header line has no name", line));
            };
            let name = String::from_utf8_lossy(&line[..colon]).into_owned();
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    fn read_chunks(&mut self, answer: &mut Response, deadline: Instant) -> Result<(), NoAnswer> {
        loop {
            let line = self.line(deadline)?;
            let text = String::from_utf8_lossy(&line).into_owned();
            let size = usize::from_str_radix(&text, 16)
                .map_err(|_| NoAnswer::Malformed("a chunk's size is no hexadecimal number", line))?;
            if size == 0 {
                answer.trailers = self.fields(deadline)?;
                return Ok(());
            }
            while self.ahead.len() < size + 2 {
                self.fill(deadline)?;
            }
            answer.body.extend(self.ahead.drain(..size));
            if self.ahead.drain(..2).collect::<Vec<_>>() != b"\r\n" {
                return Err(self.malformed("a chunk does not end with CR LF"));
            }
        }
    }
}
