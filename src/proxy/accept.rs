//! Takes connections and hands each to a task of its own, which speaks TLS first where the listener does.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;

use super::config_snapshot::ConfigSnapshot;
use super::connection_source::ConnectionSource;
use super::headers::ClientInfo;
use super::open_streams::{Interrupt, OpenStream};
use super::shared_state::CountedConnection;
use super::worker_context::WorkerContext;
use super::{http1_connection, http2_connection};
use crate::telemetry::LogThrottle;
use crate::wire::{
    BufferedSocket, Http1Peer, ProxyHeaderError, Socket, StreamSocket, accept_tls, read_proxy_header,
};

/// After a failed accept (out of file descriptors, say): pressing on would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Failures that may come many times a second, each kind with its own throttle.
#[derive(Default)]
struct LogThrottles {
    accept: LogThrottle,
    proxy_header: LogThrottle,
}

/// The tasks that take connections, one for each listener.
#[derive(Default)]
pub(super) struct Acceptor {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Acceptor {
    /// Begins to take connections. With each socket stands the number of its listener in the configuration.
    pub(super) fn start(
        worker: &Rc<WorkerContext>,
        sockets: Vec<(usize, socket2::Socket)>,
    ) -> io::Result<Self> {
        let mut acceptor = Self::default();
        let log_throttles = Rc::new(LogThrottles::default());
        for (number, socket) in sockets {
            let listener = ListeningSocket::new(socket)?;
            let (worker, log_throttles) = (Rc::clone(worker), Rc::clone(&log_throttles));
            let task = accept(worker, listener, number, acceptor.stop.clone(), log_throttles);
            acceptor.tasks.push(tokio::task::spawn_local(task));
        }
        Ok(acceptor)
    }

    /// Takes what already waits to be accepted, and nothing more.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            // a panic in it has been reported by the runtime
            let _ = task.await;
        }
    }
}

/// A socket that connections are taken from, of either kind.
enum ListeningSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl ListeningSocket {
    fn new(socket: socket2::Socket) -> io::Result<Self> {
        if socket.local_addr()?.is_unix() {
            tokio::net::UnixListener::from_std(socket.into()).map(Self::Unix)
        } else {
            tokio::net::TcpListener::from_std(socket.into()).map(Self::Tcp)
        }
    }

    async fn accept(&self) -> io::Result<(StreamSocket, ConnectionSource)> {
        match self {
            Self::Tcp(listener) => {
                let (tcp, peer) = listener.accept().await?;
                Ok((tcp.into(), ConnectionSource::Tcp(peer)))
            }
            Self::Unix(listener) => {
                let (unix, _) = listener.accept().await?;
                Ok((unix.into(), ConnectionSource::Unix))
            }
        }
    }
}

async fn accept(
    worker: Rc<WorkerContext>,
    listener: ListeningSocket,
    number: usize,
    stop: CancellationToken,
    log_throttles: Rc<LogThrottles>,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, source)) => serve_connection(&worker, socket, source, number, &log_throttles),
                Err(error) => {
                    if log_throttles.accept.should_log() {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // connections that the system has completed already would be reset with the socket
    while let Some(Ok((socket, source))) = now_or_never(listener.accept()).await {
        serve_connection(&worker, socket, source, number, &log_throttles);
    }
}

/// Begins to serve a connection to the listener with this number, unless there are too many.
fn serve_connection(
    worker: &Rc<WorkerContext>,
    socket: StreamSocket,
    source: ConnectionSource,
    number: usize,
    log_throttles: &Rc<LogThrottles>,
) {
    let active_config = worker.active_config();
    let ConfigSnapshot { listeners, limits, .. } = &*active_config.snapshot;
    // a reload changes no listeners, so the number still stands for the same one
    let Some(settings) = listeners.get(number) else { return };
    let wants_proxy_header = settings.wants_proxy_header(source);
    let counted = worker.shared.count_connection(limits).and_then(|mut counted| {
        // a load balancer's connections count for its clients
        let within = wants_proxy_header || counted.count_for_source(source.ip(), limits);
        within.then_some(counted)
    });
    let Some(counted) = counted else {
        worker.metrics.connections_refused.increase();
        return;
    };
    // a response is written whole; waiting for more would only delay it
    if socket.send_at_once().is_err() {
        return;
    }
    let counts = worker.metrics.listener(number);
    counts.connections_accepted.increase();
    counts.connections_open.increase();
    let worker = Rc::clone(worker);
    let tls = settings.tls.as_ref().map(|tls| Arc::clone(&tls.config));
    // tasks of their own: one that waits for a next request is as small as it can be
    if wants_proxy_header {
        let log_throttles = Rc::clone(log_throttles);
        tokio::task::spawn_local(async move {
            let mut counted = counted;
            Box::pin(serve_proxied(&worker, socket, source, (number, tls), &mut counted, &log_throttles))
                .await;
            closed(&worker, number, counted);
        });
        return;
    }
    let client = Rc::new(ClientInfo::new(source, number, tls.is_some()));
    if let Some(tls) = tls {
        tokio::task::spawn_local(async move {
            let stream = open_new_connection(&worker, worker.active_config().snapshot.timeouts.tls_handshake);
            Box::pin(serve_tls(&worker, socket, tls, client, stream)).await;
            closed(&worker, number, counted);
        });
    } else {
        let peer = Box::new(Http1Peer::new(BufferedSocket::new(Socket::Plain(socket))));
        tokio::task::spawn_local(async move {
            http1_connection::serve(&worker, peer, client).await;
            closed(&worker, number, counted);
        });
    }
}

fn closed(worker: &WorkerContext, number: usize, counted: CountedConnection) {
    worker.metrics.listener(number).connections_open.decrease();
    drop(counted);
}

/// Something that must happen within this time before there is a request.
fn open_new_connection(worker: &WorkerContext, within: Duration) -> OpenStream {
    let stream = worker.streams.open_connection();
    stream.set_idle(true);
    stream.set_deadline(within);
    stream
}

/// A connection from a load balancer, from its PROXY protocol header to its end.
async fn serve_proxied(
    worker: &Rc<WorkerContext>,
    socket: StreamSocket,
    source: ConnectionSource,
    (number, tls): (usize, Option<Arc<ServerConfig>>),
    counted: &mut CountedConnection,
    log_throttles: &LogThrottles,
) {
    let stream = {
        let timeouts = &worker.active_config().snapshot.timeouts;
        open_new_connection(worker, if tls.is_some() { timeouts.tls_handshake } else { timeouts.header })
    };
    let read = Box::pin(stream.run(read_proxy_header(&socket))).await;
    let failure = match read {
        Ok(Ok(named)) => Ok(named),
        // so does a check whether the port is open
        Ok(Err(ProxyHeaderError::Unused)) | Err(Interrupt::Drain | Interrupt::Close | Interrupt::Changed) => {
            return;
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(Interrupt::Deadline) => Err("its PROXY protocol header took too long".to_owned()),
    };
    let client = match failure {
        Ok(named) => named.map_or(source, ConnectionSource::Tcp),
        Err(error) => {
            worker.metrics.listener(number).proxy_protocol_failures.increase();
            if log_throttles.proxy_header.should_log() {
                tracing::warn!(peer = %source.address(), error, "a connection from a peer in proxy_protocol.from was closed");
            }
            return;
        }
    };
    if !counted.count_for_source(client.ip(), &worker.active_config().snapshot.limits) {
        worker.metrics.connections_refused.increase();
        return;
    }
    let client = Rc::new(ClientInfo::new(client, number, tls.is_some()));
    if let Some(tls) = tls {
        Box::pin(serve_tls(worker, socket, tls, client, stream)).await;
    } else {
        drop(stream);
        let peer = Box::new(Http1Peer::new(BufferedSocket::new(Socket::Plain(socket))));
        http1_connection::serve(worker, peer, client).await;
    }
}

/// One client connection, from TLS to its end. TLS is here and not where connections are accepted: a silent client must
/// not keep others out. `stream` has the time for the handshake.
async fn serve_tls(
    worker: &Rc<WorkerContext>,
    socket: StreamSocket,
    tls: Arc<ServerConfig>,
    client: Rc<ClientInfo>,
    stream: OpenStream,
) {
    let tls = TlsAcceptor::from(tls);
    let accepted = Box::pin(stream.run(accept_tls(socket, &tls))).await;
    let failure = match accepted {
        Ok(Ok(tls)) => Ok(tls),
        Ok(Err(error)) => Err(error.to_string()),
        Err(Interrupt::Deadline) => Err("it took too long".to_owned()),
        Err(_) => Err("the gateway is stopping".to_owned()),
    };
    let tls = match failure {
        Ok(tls) => tls,
        Err(error) => {
            worker.metrics.listener(client.listener).tls_failures.increase();
            tracing::debug!(peer = %client.peer, %error, "TLS handshake failed");
            return;
        }
    };
    drop(stream);
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let socket = BufferedSocket::new(Socket::Tls(Box::new(TlsStream::Server(tls))));
    if is_http2 {
        Box::pin(http2_connection::serve(worker, socket, client)).await;
    } else {
        http1_connection::serve(worker, Box::new(Http1Peer::new(socket)), client).await;
    }
}

/// The output of `future` if it is there at once.
async fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
