//! An upstream that speaks HTTP/2, in the clear or in TLS.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How many streams the upstream takes at once on one connection.
pub const STREAMS: u32 = 40;

/// More than the sockets between upstream and client hold.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| vec![b'l'; 16 << 20].into());

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which of the upstream's connections, counted from 0.
    pub connection: usize,
    pub head: Arc<http::request::Parts>,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

/// Echoes bodies with the trailer `x-sum: LENGTH`; what the path ends with changes that:
/// `reset` resets the stream, `silent` never answers, `bare` sends no body, `large` sends 16 MiB, `goaway` ends the connection politely.
#[derive(Debug)]
pub struct Http2Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    open: Arc<AtomicUsize>,
}

impl Http2Upstream {
    /// Starts on a free port, on a thread of its own that ends with the test's process.
    pub fn start(tls: Option<ServerConfig>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        listener.set_nonblocking(true).expect("a socket option");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let open = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&open);
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                let mut number = 0;
                while let Ok((tcp, _)) = listener.accept().await {
                    tcp.set_nodelay(true).ok();
                    let (acceptor, log, connection) = (acceptor.clone(), Arc::clone(&log), number);
                    number += 1;
                    let open = Arc::clone(&counter);
                    tokio::spawn(async move {
                        open.fetch_add(1, Ordering::SeqCst);
                        match acceptor {
                            None => serve(tcp, connection, log).await,
                            Some(acceptor) => {
                                if let Ok(tls) = acceptor.accept(tcp).await {
                                    serve(tls, connection, log).await;
                                }
                            }
                        }
                        open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
        });
        Self { address, seen, open }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// The whole requests whose path holds `mark`.
    pub fn requests(&self, mark: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|seen| seen.head.uri.path().contains(mark)).cloned().collect()
    }

    /// The one request whose path holds `mark`.
    #[track_caller]
    pub fn only(&self, mark: &str) -> Seen {
        let mut found = self.requests(mark);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, connection: usize, log: Arc<Mutex<Vec<Seen>>>) {
    let handshake = h2::server::Builder::new().max_concurrent_streams(STREAMS).handshake(stream);
    let Ok(mut server) = handshake.await else { return };
    while let Some(Ok((request, answer))) = server.accept().await {
        if request.uri().path().ends_with("goaway") {
            server.graceful_shutdown();
        }
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            // a stream that the gateway resets is what some tests are about
            converse(request, answer, connection, &log).await.ok();
        });
    }
}

async fn converse(
    request: Request<h2::RecvStream>,
    mut answer: SendResponse<Bytes>,
    connection: usize,
    log: &Mutex<Vec<Seen>>,
) -> Result<(), h2::Error> {
    let (head, mut stream) = request.into_parts();
    let path = head.uri.path().to_owned();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let trailers = stream.trailers().await?;
    let seen = Seen { connection, head: Arc::new(head), body: body.clone(), trailers };
    log.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    if path.ends_with("reset") {
        answer.send_reset(h2::Reason::INTERNAL_ERROR);
        return Ok(());
    }
    if path.ends_with("silent") {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    let head = Response::builder().header("x-upstream", "http2").body(()).expect("a response");
    if path.ends_with("bare") {
        answer.send_response(head, true)?;
        return Ok(());
    }
    let mut sending = answer.send_response(head, false)?;
    let body = if path.ends_with("large") { LARGE.clone() } else { Bytes::from(body) };
    let length = body.len();
    sending.send_data(body, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", length.into());
    sending.send_trailers(trailers)
}
