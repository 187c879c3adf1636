//! A relay between a gateway and its PostgreSQL, which makes the network fail as the test says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// What the relay does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// Every connection is reset, and so is every new one.
    Cut,
    /// Connections are taken and stay; what is sent is swallowed.
    BlackHole,
    /// Nothing moves; it does so later, whole.
    Held,
}

/// A port of the loopback interface that leads to a server's socket. It ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    swallows_notices: AtomicBool,
    swallowed: AtomicUsize,
    /// The next connection on which the server sends so many bytes at once falls silent; 0: none does.
    silent_from: AtomicUsize,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Before anything goes to the server.
    delay: Duration,
    target: PathBuf,
    connections: Vec<Weak<Connection>>,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: UnixStream,
    /// Bytes were lost, so that it is of no use any more.
    holed: AtomicBool,
    /// All that comes from now on is lost.
    silent: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mode, once it is another than [`Mode::Held`], and how long to wait before something is sent.
    fn mode(&self) -> (Mode, Duration) {
        let held = |state: &mut State| state.mode == Mode::Held && !self.stopping.load(Ordering::Acquire);
        let state = self.changed.wait_while(self.lock(), held).unwrap_or_else(PoisonError::into_inner);
        (state.mode, state.delay)
    }
}

impl Relay {
    /// A way to the server that listens at the Unix socket `target`.
    pub fn to(target: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let state = State {
            mode: Mode::Open,
            delay: Duration::ZERO,
            target: target.to_owned(),
            connections: Vec::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            swallows_notices: AtomicBool::new(false),
            swallowed: AtomicUsize::new(0),
            silent_from: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if ours.stopping.load(Ordering::Acquire) {
                    return;
                }
                let Ok(client) = client else { continue };
                let shared = Arc::clone(&ours);
                // a thread of its own: a held connection holds up no other
                std::thread::spawn(move || take(client, &shared));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a database behind the relay. Without TLS, so that the relay can read what passes.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}?sslmode=disable", self.address)
    }

    /// Leads new connections to another server.
    pub fn point_to(&self, target: &Path) {
        target.clone_into(&mut self.shared.lock().target);
    }

    /// Resets every connection, and every new one, until [`Relay::mend`].
    pub fn cut(&self) {
        self.set(Mode::Cut);
        self.reset(|_| true);
    }

    /// Resets every connection; new ones are served.
    pub fn reset_all(&self) {
        self.reset(|_| true);
    }

    /// Takes connections and bytes, and passes nothing on, until [`Relay::mend`].
    pub fn black_hole(&self) {
        self.set(Mode::BlackHole);
    }

    /// Keeps back what is sent until [`Relay::mend`], which passes it on.
    pub fn hold(&self) {
        self.set(Mode::Held);
    }

    /// Each message to the server waits for so long.
    pub fn delay(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// Passes everything on again. Connections that lost bytes are reset.
    pub fn mend(&self) {
        self.set(Mode::Open);
        self.reset(|connection| connection.holed.load(Ordering::Acquire));
    }

    /// Takes the announcements out of what the server sends: LISTEN then is lost without an error.
    pub fn swallow_notices(&self, swallow: bool) {
        self.shared.swallows_notices.store(swallow, Ordering::Release);
    }

    /// The next connection on which the server sends so many bytes at once passes half of them on, and nothing more
    /// either way. Others are served.
    pub fn fall_silent_in_an_answer_of(&self, bytes: usize) {
        self.shared.silent_from.store(bytes, Ordering::Release);
    }

    /// How many announcements were taken out.
    pub fn swallowed(&self) -> usize {
        self.shared.swallowed.load(Ordering::Acquire)
    }

    /// Whether a connection that is open has lost what was sent.
    pub fn has_swallowed(&self) -> bool {
        let connections = self.shared.lock();
        connections.connections.iter().filter_map(Weak::upgrade).any(|it| it.holed.load(Ordering::Acquire))
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.iter().filter(|connection| connection.strong_count() > 0).count()
    }

    fn set(&self, mode: Mode) {
        self.shared.lock().mode = mode;
        self.shared.changed.notify_all();
    }

    fn reset(&self, which: impl Fn(&Connection) -> bool) {
        for connection in self.shared.lock().connections.iter().filter_map(Weak::upgrade) {
            if which(&connection) {
                connection.reset();
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.changed.notify_all();
        self.reset(|_| true);
        TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).ok();
    }
}

impl Connection {
    /// Ends it with a reset: its two threads let go of it, and the client's side lingers for nothing.
    fn reset(&self) {
        socket2::SockRef::from(&self.client).set_linger(Some(Duration::ZERO)).ok();
        // not its writing side, which would say goodbye first
        self.client.shutdown(Shutdown::Read).ok();
        self.server.shutdown(Shutdown::Both).ok();
    }
}

fn take(client: TcpStream, shared: &Arc<Shared>) {
    client.set_nodelay(true).ok();
    let refuse = |client: &TcpStream| {
        socket2::SockRef::from(client).set_linger(Some(Duration::ZERO)).ok();
    };
    let (mode, _) = shared.mode();
    if mode == Mode::Cut {
        return refuse(&client);
    }
    let target = shared.lock().target.clone();
    // where no server listens it is as if the port were closed
    let Ok(server) = UnixStream::connect(target) else { return refuse(&client) };
    let connection = Arc::new(Connection {
        client,
        server,
        holed: AtomicBool::new(false),
        silent: AtomicBool::new(false),
    });
    {
        let mut state = shared.lock();
        state.connections.retain(|connection| connection.strong_count() > 0);
        state.connections.push(Arc::downgrade(&connection));
    }
    let (back, shared_back) = (Arc::clone(&connection), Arc::clone(shared));
    std::thread::spawn(move || {
        let mut messages = Messages::default();
        pump(&back, &shared_back, &back.server, &back.client, |chunk| {
            let silent_from = shared_back.silent_from.load(Ordering::Acquire);
            if silent_from > 0 && chunk.len() >= silent_from {
                shared_back.silent_from.store(0, Ordering::Release);
                back.silent.store(true, Ordering::Release);
                chunk.truncate(chunk.len() / 2);
            }
            let swallow = shared_back.swallows_notices.load(Ordering::Acquire);
            let taken = messages.filter(chunk, swallow);
            shared_back.swallowed.fetch_add(taken, Ordering::AcqRel);
            Duration::ZERO
        });
    });
    let delay = |_: &mut Vec<u8>| shared.lock().delay;
    pump(&connection, shared, &connection.client, &connection.server, delay);
}

/// Carries bytes one way until either side ends. `change` may alter them, and says how long they are on their way.
fn pump<R, W>(
    connection: &Connection,
    shared: &Shared,
    mut from: R,
    mut to: W,
    mut change: impl FnMut(&mut Vec<u8>) -> Duration,
) where
    R: Read,
    W: Write,
{
    let mut buffer = vec![0; 64 * 1024];
    let mut carry = || -> io::Result<bool> {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(false);
        }
        let mut chunk = buffer[..read].to_vec();
        if connection.silent.load(Ordering::Acquire) {
            connection.holed.store(true, Ordering::Release);
            return Ok(true);
        }
        let wait = change(&mut chunk);
        std::thread::sleep(wait);
        match shared.mode().0 {
            Mode::Open => to.write_all(&chunk)?,
            Mode::BlackHole => connection.holed.store(true, Ordering::Release),
            Mode::Cut | Mode::Held => return Ok(false),
        }
        Ok(true)
    };
    while carry().unwrap_or(false) {}
    // a black hole says nothing of an end either
    while shared.mode().0 == Mode::BlackHole && !shared.stopping.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(5));
    }
    connection.server.shutdown(Shutdown::Both).ok();
    if socket2::SockRef::from(&connection.client).linger().is_ok_and(|linger| linger.is_none()) {
        connection.client.shutdown(Shutdown::Both).ok();
    } else {
        connection.client.shutdown(Shutdown::Read).ok();
    }
}

/// The borders of the messages that a server sends: a letter, a length, and so many bytes.
#[derive(Debug, Default)]
struct Messages {
    head: Vec<u8>,
    left: usize,
    is_notice: bool,
}

impl Messages {
    /// Takes the announcements out of a chunk, where asked to; how many.
    fn filter(&mut self, chunk: &mut Vec<u8>, swallow: bool) -> usize {
        let mut kept = Vec::with_capacity(chunk.len() + 5);
        let (mut rest, mut taken) = (chunk.as_slice(), 0);
        while !rest.is_empty() {
            if self.left == 0 {
                let (more, after) = rest.split_at(rest.len().min(5 - self.head.len()));
                self.head.extend_from_slice(more);
                rest = after;
                if let [letter, a, b, c, d] = self.head[..] {
                    self.left = u32::from_be_bytes([a, b, c, d]) as usize - 4;
                    self.is_notice = swallow && letter == b'A';
                    if self.is_notice {
                        taken += 1;
                    } else {
                        kept.extend_from_slice(&self.head);
                    }
                    self.head.clear();
                }
                continue;
            }
            let (message, after) = rest.split_at(rest.len().min(self.left));
            if !self.is_notice {
                kept.extend_from_slice(message);
            }
            self.left -= message.len();
            rest = after;
        }
        *chunk = kept;
        taken
    }
}
