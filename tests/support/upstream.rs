//! An upstream that records every byte it gets and answers as the test says.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{PATIENCE, contains, find, show};

/// What the upstream does for one path.
#[derive(Clone)]
pub enum Answer {
    /// 200, with the bytes of the request (head and body as they came) as the body.
    Echo,
    /// These bytes, and the connection stays.
    Bytes(Vec<u8>),
    /// These bytes, and the connection ends.
    BytesThenClose(Vec<u8>),
    /// The test's own code, once the whole request has come. The connection goes on where it returns true.
    AfterBody(Handler),
    /// The test's own code, once the head has come. The connection goes on where it returns true.
    AfterHead(Handler),
}

/// A test's own code for an answer.
pub type Handler = Arc<dyn Fn(&Recorded, &mut Conversation) -> bool + Send + Sync>;

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "Echo",
            Self::Bytes(_) => "Bytes",
            Self::BytesThenClose(_) => "BytesThenClose",
            Self::AfterBody(_) => "AfterBody",
            Self::AfterHead(_) => "AfterHead",
        })
    }
}

impl Answer {
    /// Whole bytes of an answer from its status line and headers (one a line) and its body; the length is added.
    pub fn with(head: &str, body: &[u8]) -> Self {
        let mut bytes = Vec::new();
        for line in head.lines().map(str::trim).filter(|line| !line.is_empty()) {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        Self::Bytes(bytes)
    }

    /// The test's own code, once the whole request has come.
    pub fn after_body(code: impl Fn(&Recorded, &mut Conversation) -> bool + Send + Sync + 'static) -> Self {
        Self::AfterBody(Arc::new(code))
    }

    /// The test's own code, once the head has come.
    pub fn after_head(code: impl Fn(&Recorded, &mut Conversation) -> bool + Send + Sync + 'static) -> Self {
        Self::AfterHead(Arc::new(code))
    }
}

/// One request as it came.
#[derive(Clone)]
pub struct Recorded {
    /// Which of the upstream's connections, counted from 0.
    pub connection: usize,
    pub method: String,
    pub target: Vec<u8>,
    /// In order, names as they came.
    pub headers: Vec<(String, Vec<u8>)>,
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// Head and body as they came.
    pub raw: Vec<u8>,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}:\n{}", self.connection, String::from_utf8_lossy(&self.raw))
    }
}

impl Recorded {
    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    /// Every value of a trailer.
    pub fn all_trailers(&self, name: &str) -> Vec<String> {
        values(&self.trailers, name)
    }

    /// The value of a header that stands there once, or not at all.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "{name} stands there {} times:\n{self:?}", all.len());
        all.pop()
    }

    /// The target as text.
    pub fn path(&self) -> String {
        String::from_utf8_lossy(&self.target).into_owned()
    }
}

fn values(fields: &[(String, Vec<u8>)], name: &str) -> Vec<String> {
    let same = |(n, v): &(String, Vec<u8>)| {
        n.eq_ignore_ascii_case(name).then(|| String::from_utf8_lossy(v).into_owned())
    };
    fields.iter().filter_map(same).collect()
}

/// An upstream on a free port of the loopback interface. It ends when it is dropped.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
}

#[derive(Default)]
struct State {
    connections: Vec<Connection>,
    requests: Vec<Recorded>,
    answers: HashMap<String, Answer>,
}

struct Connection {
    bytes: Vec<u8>,
    open: bool,
    stream: TcpStream,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream {
    /// Starts one that echoes.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ours.stopping.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&ours);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to answer from now on for a path (the target up to its `?`).
    pub fn answer(&self, path: &str, answer: Answer) {
        self.shared.lock().answers.insert(path.to_owned(), answer);
    }

    /// The requests that hold `marker`, in the order in which their heads came.
    pub fn requests(&self, marker: &str) -> Vec<Recorded> {
        let all = self.shared.lock();
        all.requests.iter().filter(|request| contains(&request.raw, marker.as_bytes())).cloned().collect()
    }

    /// Whether any byte of a request with this marker came, be it only a part of one.
    pub fn saw(&self, marker: &str) -> bool {
        self.shared.lock().connections.iter().any(|c| contains(&c.bytes, marker.as_bytes()))
    }

    /// Fails where any byte of a request with this marker came.
    #[track_caller]
    pub fn assert_unseen(&self, marker: &str, about: &str) {
        let all = self.shared.lock();
        let seen = all.connections.iter().find(|c| contains(&c.bytes, marker.as_bytes()));
        assert!(
            seen.is_none(),
            "{about}: the upstream saw {}",
            seen.map_or(String::new(), |c| show(&c.bytes))
        );
    }

    /// Fails where any byte at all came.
    #[track_caller]
    pub fn assert_untouched(&self, about: &str) {
        let all = self.shared.lock();
        let seen = all.connections.iter().find(|c| !c.bytes.is_empty());
        assert!(
            seen.is_none(),
            "{about}: the upstream saw {}",
            seen.map_or(String::new(), |c| show(&c.bytes))
        );
    }

    /// The one request that holds `marker`; fails where it is not exactly one.
    #[track_caller]
    pub fn only(&self, marker: &str) -> Recorded {
        let mut found = self.requests(marker);
        assert_eq!(found.len(), 1, "the upstream saw not one request with {marker}, but {found:?}");
        found.remove(0)
    }

    /// Waits for the first request that holds `marker`.
    #[track_caller]
    pub fn wait_for(&self, marker: &str) -> Recorded {
        let here = |state: &State| {
            state.requests.iter().find(|request| contains(&request.raw, marker.as_bytes())).cloned()
        };
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), PATIENCE, |state| here(state).is_none())
            .unwrap_or_else(PoisonError::into_inner);
        here(&state)
            .unwrap_or_else(|| panic!("no request with {marker} reached the upstream in {PATIENCE:?}"))
    }

    /// All bytes that a connection carried to us.
    pub fn bytes_of(&self, connection: usize) -> Vec<u8> {
        self.shared.lock().connections[connection].bytes.clone()
    }

    /// Whether a connection is still open.
    pub fn is_open(&self, connection: usize) -> bool {
        self.shared.lock().connections[connection].open
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).ok();
        for connection in &self.shared.lock().connections {
            connection.stream.shutdown(Shutdown::Both).ok();
        }
    }
}

/// One connection from the gateway, in the hands of the code that answers.
pub struct Conversation {
    stream: TcpStream,
    shared: Arc<Shared>,
    index: usize,
    /// Come, but not yet part of a request.
    ahead: Vec<u8>,
}

impl Conversation {
    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Takes what has come, or waits for more; empty at the connection's end.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    /// Whether the gateway has ended the connection within `patience`; what comes meanwhile is written down.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = std::time::Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return false;
            }
            self.stream.set_read_timeout(Some(left)).ok();
            match self.fill() {
                Ok(true) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Ok(false) | Err(_) => return true,
            }
        }
    }

    /// False at the connection's end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer)?;
        self.shared.lock().connections[self.index].bytes.extend_from_slice(&buffer[..read]);
        self.ahead.extend_from_slice(&buffer[..read]);
        self.shared.changed.notify_all();
        Ok(read > 0)
    }

    fn need(&mut self, enough: impl Fn(&[u8]) -> Option<usize>) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = enough(&self.ahead) {
                return Ok(self.ahead.drain(..end).collect());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        self.need(|bytes| find(bytes, b"\r\n").map(|at| at + 2))
    }

    fn head(&mut self) -> io::Result<Recorded> {
        let raw = self.need(|bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4))?;
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut words = text.lines().next().unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default().as_bytes().to_vec();
        let line = find(&raw, b"\r\n").unwrap_or(0) + 2;
        let headers = fields(&raw[line..]);
        Ok(Recorded {
            connection: self.index,
            method,
            target,
            headers,
            trailers: Vec::new(),
            body: Vec::new(),
            raw,
        })
    }

    /// Reads the body of a request whose head has come; the request's record grows with it.
    pub fn body(&mut self, request: &mut Recorded) -> io::Result<()> {
        if request.all("Expect").iter().any(|value| value.eq_ignore_ascii_case("100-continue")) {
            // RFC 9110 section 10.1.1: a server must not wait for the body before it sends this
            self.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if request.all("Transfer-Encoding").iter().any(|coding| coding.eq_ignore_ascii_case("chunked")) {
            loop {
                let line = self.line()?;
                request.raw.extend_from_slice(&line);
                let digits: String =
                    line.iter().map(|&b| char::from(b)).take_while(char::is_ascii_hexdigit).collect();
                let size = usize::from_str_radix(&digits, 16)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a chunk without a size"))?;
                if size == 0 {
                    break;
                }
                let chunk = self.need(|bytes| (bytes.len() >= size + 2).then_some(size + 2))?;
                request.raw.extend_from_slice(&chunk);
                request.body.extend_from_slice(&chunk[..size]);
            }
            loop {
                let line = self.line()?;
                request.raw.extend_from_slice(&line);
                if line == b"\r\n" {
                    return Ok(());
                }
                request.trailers.extend(fields(&line));
            }
        }
        let length = request.header("Content-Length").map_or(Ok(0), |text| text.parse::<usize>());
        let length = length.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no length"))?;
        request.body = self.need(|bytes| (bytes.len() >= length).then_some(length))?;
        let body = request.body.clone();
        request.raw.extend_from_slice(&body);
        Ok(())
    }
}

fn fields(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    for line in bytes.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(colon) = find(line, b":") {
            let name = String::from_utf8_lossy(&line[..colon]).into_owned();
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }
    fields
}

fn serve(stream: TcpStream, shared: &Arc<Shared>) {
    let Ok(clone) = stream.try_clone() else { return };
    stream.set_nodelay(true).ok();
    let index = {
        let mut state = shared.lock();
        state.connections.push(Connection { bytes: Vec::new(), open: true, stream: clone });
        state.connections.len() - 1
    };
    let mut conversation = Conversation { stream, shared: Arc::clone(shared), index, ahead: Vec::new() };
    while converse(&mut conversation).unwrap_or(false) {
        conversation.stream.set_read_timeout(None).ok();
    }
    conversation.stream.shutdown(Shutdown::Both).ok();
    shared.lock().connections[index].open = false;
    shared.changed.notify_all();
}

/// One request and its answer; true where the connection goes on.
fn converse(conversation: &mut Conversation) -> io::Result<bool> {
    let mut request = conversation.head()?;
    let path = request.path();
    let path = path.split('?').next().unwrap_or_default().to_owned();
    let (slot, answer) = {
        let mut state = conversation.shared.lock();
        state.requests.push(request.clone());
        (state.requests.len() - 1, state.answers.get(&path).cloned().unwrap_or(Answer::Echo))
    };
    conversation.shared.changed.notify_all();
    if let Answer::AfterHead(code) = &answer {
        return Ok(code(&request, conversation));
    }
    conversation.body(&mut request)?;
    conversation.shared.lock().requests[slot] = request.clone();
    conversation.shared.changed.notify_all();
    match answer {
        Answer::AfterBody(code) => return Ok(code(&request, conversation)),
        Answer::Bytes(bytes) => conversation.send(bytes)?,
        Answer::BytesThenClose(bytes) => {
            conversation.send(bytes)?;
            return Ok(false);
        }
        Answer::Echo | Answer::AfterHead(_) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nX-Upstream: echo\r\nContent-Length: \
                 {}\r\n\r\n",
                request.raw.len()
            );
            let body = if request.method == "HEAD" { &[][..] } else { &request.raw };
            conversation.send([head.as_bytes(), body].concat())?;
        }
    }
    let close = request.all("Connection").iter().any(|value| value.eq_ignore_ascii_case("close"));
    Ok(!close)
}
