//! The management listener: it accepts connections and serves HTTP/1.1 on them.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;
use http::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection_slots::{ConnectionSlots, Slot};
use super::request::{Connection, ServerName};
use super::service;
use super::settings::Timeouts;
use super::state::Management;
use super::write_timeout::WriteTimeout;
use crate::model::ClientSource;
use crate::telemetry::LogThrottle;
use crate::wire::{Socket, StreamSocket, accept_tls, refuse_tls};

/// Pause after a failed accept, which would most likely fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long running requests may take when the gateway stops: longer than a write waits for the record.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// How long connections without a request stay open after they were told to end: an answer may still be on its way.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What connections hear of the listener's end, one after the other.
#[derive(Debug, Clone, Default)]
struct Stop {
    /// Each answer is the last one of its connection.
    no_new_requests: CancellationToken,
    /// Connections without a request end.
    no_idle_connections: CancellationToken,
}

/// Serves until `stop` says how long connections without a request stay open: a request may be on its way. Running
/// requests finish: a client must learn of a change that was made, and the answer is the only place that has a new key's
/// secret.
pub async fn serve(
    listener: TcpListener,
    management: Arc<Management>,
    mut stop: oneshot::Receiver<Duration>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the management listener cannot be used");
            return;
        }
    };
    let log_throttle = LogThrottle::default();
    let (connections, tasks) = (ConnectionSlots::default(), TaskTracker::new());
    let end = Stop::default();
    let (watching, stopping) = (Arc::clone(&management), end.no_new_requests.clone());
    tasks.spawn(async move { stopping.run_until_cancelled(watching.operations.watch_confirmations()).await });
    let idle = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            idle = &mut stop => break idle.unwrap_or_default(),
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if log_throttle.should_log() {
                    tracing::warn!(%error, "cannot accept management connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // read for each connection: a reload may have changed certificate, limits and timeouts
        let settings = management.settings();
        // without a slot the connection is closed at once: the proxy needs the file descriptors
        let Some(slot) = connections.acquire(ClientSource::of(peer.ip()), settings.connections) else {
            continue;
        };
        let (management, end) = (Arc::clone(&management), end.clone());
        let tls = settings.tls.clone().map(TlsAcceptor::from);
        let slot = Arc::new(slot);
        let served = serve_connection(tcp, peer, tls, Arc::clone(&slot), management, settings.timeouts, end);
        tasks.spawn(async move {
            tokio::select! {
                () = served => (),
                () = slot.evicted() => tracing::debug!(%peer, "a silent management connection gives way"),
            }
        });
    };
    end.no_new_requests.cancel();
    drop(listener);
    tasks.close();
    if tokio::time::timeout(idle, tasks.wait()).await.is_ok() {
        return;
    }
    end.no_idle_connections.cancel();
    // a little longer than each connection waits
    if tokio::time::timeout(FINISH_WITHIN + CLOSE_WITHIN, tasks.wait()).await.is_err() {
        tracing::warn!("management requests that were running are cut off");
    }
}

async fn serve_connection(
    tcp: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    slot: Arc<Slot>,
    management: Arc<Management>,
    timeouts: Timeouts,
    end: Stop,
) {
    let socket = StreamSocket::from(tcp);
    match tls {
        None => {
            let begun = tokio::select! {
                begun = tokio::time::timeout(timeouts.header, refuse_tls(&socket)) => begun,
                () = end.no_idle_connections.cancelled() => return,
            };
            match begun {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => {
                    tracing::debug!(%peer, "a TLS client at the management listener, which has no 'tls'");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "a management connection ended");
                    return;
                }
                Err(_) => return,
            }
            let origin = Connection { peer, tls: None };
            serve_http(Socket::Plain(socket), origin, slot, management, timeouts, end).await;
        }
        Some(tls) => {
            let accepted = tokio::time::timeout(timeouts.header, accept_tls(socket, &tls)).await;
            match accepted {
                Ok(Ok(stream)) => {
                    let name = stream.get_ref().1.server_name().map(str::to_owned);
                    let origin = Connection { peer, tls: Some(ServerName(name)) };
                    let socket = Socket::Tls(Box::new(stream.into()));
                    serve_http(socket, origin, slot, management, timeouts, end).await;
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS with a management client failed"),
                Err(_) => tracing::debug!(%peer, "TLS with a management client took too long"),
            }
        }
    }
}

async fn serve_http(
    socket: Socket,
    origin: Connection,
    slot: Arc<Slot>,
    management: Arc<Management>,
    timeouts: Timeouts,
    end: Stop,
) {
    let peer = origin.peer;
    let origin = Arc::new(origin);
    let is_answering = Arc::new(AtomicBool::new(false));
    let answering = Arc::clone(&is_answering);
    let no_new_requests = end.no_new_requests.clone();
    let service = service_fn(move |request| {
        let (management, origin, slot, answering) =
            (Arc::clone(&management), Arc::clone(&origin), Arc::clone(&slot), Arc::clone(&answering));
        let no_new_requests = no_new_requests.clone();
        async move {
            answering.store(true, Ordering::Relaxed);
            let mut answer = service::answer(&management, request, &origin, &slot).await;
            if no_new_requests.is_cancelled() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            slot.end_request();
            answering.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.header)
        .serve_connection(TokioIo::new(WriteTimeout::new(socket, timeouts.write)), service);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = end.no_idle_connections.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let limit = if is_answering.load(Ordering::Relaxed) { FINISH_WITHIN } else { CLOSE_WITHIN };
            // an error means that the client did not send the rest of the request, or did not take the answer
            tokio::time::timeout(limit, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a management connection ended");
    }
}
