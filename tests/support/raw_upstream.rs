//! An upstream whose connections the test serves itself, for bodies that are too large to be recorded.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::SockRef;

/// Runs the test's code for each connection, on a thread of its own. Threads end with the test's process.
#[derive(Debug)]
pub struct RawUpstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl RawUpstream {
    /// Starts on a free port. The code gets the connection's number, counted from 0; errors end the connection.
    pub fn start(
        code: impl Fn(usize, BufReader<TcpStream>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::over(TcpListener::bind("127.0.0.1:0").expect("a free port"), code)
    }

    /// The same with connections that hold little for code that does not read.
    pub fn narrow(
        code: impl Fn(usize, BufReader<TcpStream>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        SockRef::from(&listener).set_recv_buffer_size(16_384).expect("a socket option");
        Self::over(listener, code)
    }

    /// Starts on this socket.
    pub fn over(
        listener: TcpListener,
        code: impl Fn(usize, BufReader<TcpStream>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("a bound socket");
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, code) = (Arc::clone(&connections), Arc::new(code));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let code = Arc::clone(&code);
                std::thread::spawn(move || {
                    stream.set_nodelay(true).ok();
                    let end = stream.try_clone();
                    code(number, BufReader::new(stream)).ok();
                    // code that wants a reset says so by its linger time
                    let resets = |stream: &TcpStream| matches!(SockRef::from(stream).linger(), Ok(Some(_)));
                    if let Ok(stream) = end
                        && !resets(&stream)
                    {
                        stream.shutdown(Shutdown::Both).ok();
                    }
                });
            }
        });
        Self { address, connections }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections have come so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The upstream's entry in a configuration, under this name.
    pub fn entry(&self, name: &str) -> String {
        format!("  {name}: {{ endpoints: [\"http://{}\"] }}\n", self.address)
    }
}

/// Reads a request's head: its lines, without their ends. An error at the end of the connection.
pub fn head(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return Ok(lines);
        }
        lines.push(line.to_owned());
    }
}

/// Reads this many bytes and drops them.
pub fn skip(reader: &mut impl Read, count: u64) -> io::Result<()> {
    let skipped = io::copy(&mut reader.take(count), &mut io::sink())?;
    if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
