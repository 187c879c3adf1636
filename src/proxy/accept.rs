//! Takes connections and hands each to a task of its own, which speaks TLS first where the listener does.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;

use super::headers::ClientInfo;
use super::open_streams::Interrupt;
use super::shared_state::CountedConnection;
use super::worker_context::WorkerContext;
use super::{http1_connection, http2_connection};
use crate::telemetry::LogThrottle;
use crate::wire::{BufferedSocket, Http1Peer, Socket, accept_tls};

/// After a failed accept (out of file descriptors, say): pressing on would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The tasks that take connections, one for each listener.
#[derive(Default)]
pub(super) struct Acceptor {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Acceptor {
    /// Begins to take connections. With each socket stands the number of its listener in the configuration.
    pub(super) fn start(worker: &Rc<WorkerContext>, sockets: Vec<(usize, TcpListener)>) -> Self {
        let mut acceptor = Self::default();
        let log_throttle = Rc::new(LogThrottle::default());
        for (number, socket) in sockets {
            match tokio::net::TcpListener::from_std(socket) {
                Ok(listener) => {
                    let (worker, log_throttle) = (Rc::clone(worker), Rc::clone(&log_throttle));
                    let task = accept(worker, listener, number, acceptor.stop.clone(), log_throttle);
                    acceptor.tasks.push(tokio::task::spawn_local(task));
                }
                Err(error) => tracing::error!(%error, "a listener cannot be used"),
            }
        }
        acceptor
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

async fn accept(
    worker: Rc<WorkerContext>,
    listener: tokio::net::TcpListener,
    number: usize,
    stop: CancellationToken,
    log_throttle: Rc<LogThrottle>,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => serve_connection(&worker, tcp, peer, number),
                Err(error) => {
                    if log_throttle.should_log() {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // connections that the system has completed already would be reset with the socket
    while let Some(Ok((tcp, peer))) = now_or_never(listener.accept()).await {
        serve_connection(&worker, tcp, peer, number);
    }
}

/// Begins to serve a connection to the listener with this number, unless there are too many.
fn serve_connection(worker: &Rc<WorkerContext>, tcp: TcpStream, peer: SocketAddr, number: usize) {
    let active_config = worker.active_config();
    let source = peer.ip().to_canonical();
    let Some(counted) = worker.shared.count_connection(source, &active_config.snapshot) else {
        worker.metrics.connections_refused.increase();
        return;
    };
    // a reload changes no listeners, so the number still stands for the same one
    let Some(settings) = active_config.snapshot.listeners.get(number) else { return };
    // a response is written whole; waiting for more would only delay it
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let counts = worker.metrics.listener(number);
    counts.connections_accepted.increase();
    counts.connections_open.increase();
    let worker = Rc::clone(worker);
    let client = Rc::new(ClientInfo::new(peer, number, settings.tls.is_some()));
    // two tasks of their own: one that waits for a next request is as small as it can be
    if let Some(tls) = &settings.tls {
        let tls = Arc::clone(tls);
        tokio::task::spawn_local(async move {
            Box::pin(serve_tls(&worker, tcp, tls, client)).await;
            closed(&worker, number, counted);
        });
    } else {
        let peer = Box::new(Http1Peer::new(BufferedSocket::new(Socket::Plain(tcp))));
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

/// One client connection, from TLS to its end. TLS is here and not where connections are accepted: a silent client must
/// not keep others out.
async fn serve_tls(
    worker: &Rc<WorkerContext>,
    tcp: TcpStream,
    tls: Arc<ServerConfig>,
    client: Rc<ClientInfo>,
) {
    let stream = worker.streams.open_connection();
    stream.set_idle(true);
    stream.set_deadline(worker.active_config().snapshot.timeouts.tls_handshake);
    let tls = TlsAcceptor::from(tls);
    let accepted = Box::pin(stream.run(accept_tls(tcp, &tls))).await;
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
