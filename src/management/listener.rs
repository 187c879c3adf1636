//! The management listener: connections, and one answer for each request.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::Management;
use super::connections::{Connections, Place};
use super::request::{Connection, ServerName};
use super::write_timeout::WriteTimeout;
use crate::model::Source;
use crate::telemetry::LogThrottle;

/// After a failed accept: pressing on would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What running requests are given when the gateway stops: more than the record makes a write wait.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// What connections without a request are given then: an answer may still be on its way.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a handshake, for a request's head, and between two requests.
    pub header: Duration,
    /// Without the client taking a byte of the answer.
    pub write: Duration,
}

/// Binds the management listener. One process at a time.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers on the management listener until `stop`; then running requests finish: what one of them has changed is told,
/// and a new key's secret is told nowhere else.
pub async fn serve(
    listener: TcpListener,
    management: Arc<Management>,
    timeouts: Timeouts,
    stop: CancellationToken,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the management listener cannot be used");
            return;
        }
    };
    let log_throttle = LogThrottle::default();
    let (connections, tasks) = (Connections::default(), TaskTracker::new());
    let (watching, stopping) = (Arc::clone(&management), stop.clone());
    tasks.spawn(async move { stopping.run_until_cancelled(watching.desk.watch_settled()).await });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
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
        // the one of now: a reload may have brought a renewed certificate, and other limits
        let site = management.site();
        // beyond the limits a connection is closed at once: the file descriptors are the proxy's
        let Some(place) = connections.admit(Source::of(peer.ip()), site.connections) else { continue };
        let (management, stop) = (Arc::clone(&management), stop.clone());
        let tls = site.tls.clone().map(TlsAcceptor::from);
        let place = Arc::new(place);
        let served = serve_connection(tcp, peer, tls, Arc::clone(&place), management, timeouts, stop);
        tasks.spawn(async move {
            tokio::select! {
                () = served => (),
                () = place.closed() => tracing::debug!(%peer, "a silent management connection gives way"),
            }
        });
    }
    drop(listener);
    tasks.close();
    // a little longer than connections wait for their own end
    if tokio::time::timeout(FINISH_WITHIN + LEAVE_WITHIN, tasks.wait()).await.is_err() {
        tracing::warn!("management requests that were running are cut off");
    }
}

async fn serve_connection(
    tcp: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    place: Arc<Place>,
    management: Arc<Management>,
    timeouts: Timeouts,
    stop: CancellationToken,
) {
    match tls {
        None => connection(tcp, Connection { peer, tls: None }, place, management, timeouts, stop).await,
        Some(tls) => {
            let accepted = tokio::time::timeout(timeouts.header, tls.accept(tcp)).await;
            if let Ok(Ok(stream)) = accepted {
                let name = stream.get_ref().1.server_name().map(str::to_owned);
                let way = Connection { peer, tls: Some(ServerName(name)) };
                connection(stream, way, place, management, timeouts, stop).await;
            }
        }
    }
}

async fn connection<S>(
    stream: S,
    way: Connection,
    place: Arc<Place>,
    management: Arc<Management>,
    timeouts: Timeouts,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let peer = way.peer;
    let way = Arc::new(way);
    let is_answering = Arc::new(AtomicBool::new(false));
    let answering = Arc::clone(&is_answering);
    let service = service_fn(move |request| {
        let (management, way, place, answering) =
            (Arc::clone(&management), Arc::clone(&way), Arc::clone(&place), Arc::clone(&answering));
        async move {
            answering.store(true, Ordering::Relaxed);
            let answer = management.answer(request, &way, &place).await;
            place.end_request();
            answering.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.header)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream, timeouts.write)), service);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let patience = if is_answering.load(Ordering::Relaxed) { FINISH_WITHIN } else { LEAVE_WITHIN };
            // an error means that the client did not send the rest, or did not take it
            tokio::time::timeout(patience, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a management connection ended");
    }
}
