//! A new connection to an endpoint: TCP, then TLS.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::endpoint::Endpoint;
use crate::config::Protocol;
use crate::wire::Socket;

/// Why no connection to an upstream could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TCP or name resolution failed.
    #[error("cannot connect to {host}:{port}: {source}")]
    Connect {
        /// the endpoint's host
        host: String,
        /// the endpoint's port
        port: u16,
        /// what the system said
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("TLS with {host}:{port} failed: {source}")]
    Tls {
        /// the endpoint's host
        host: String,
        /// the endpoint's port
        port: u16,
        /// what went wrong
        source: io::Error,
    },
    /// The upstream does not speak HTTP/2.
    #[error("{host}:{port} does not speak HTTP/2: {detail}")]
    NotHttp2 {
        /// the endpoint's host
        host: String,
        /// the endpoint's port
        port: u16,
        /// what was seen instead
        detail: String,
    },
    /// As many are open as may be, and none of them takes another request.
    #[error("all connections to the upstream are in use")]
    AllInUse,
    /// It took longer than allowed.
    #[error("{host}:{port} was not connected within {limit:?}")]
    Timeout {
        /// the endpoint's host
        host: String,
        /// the endpoint's port
        port: u16,
        /// `timeouts.upstream_connect`
        limit: Duration,
    },
}

/// Connects to `endpoint` within `limit`.
pub(super) async fn connect(
    endpoint: &Endpoint,
    protocol: Protocol,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    match tokio::time::timeout(limit, open(endpoint, protocol)).await {
        Ok(opened) => opened,
        Err(_) => Err(ConnectError::Timeout { host: endpoint.host.clone(), port: endpoint.port, limit }),
    }
}

async fn open(endpoint: &Endpoint, protocol: Protocol) -> Result<Socket, ConnectError> {
    let Endpoint { host, port, tls, .. } = endpoint;
    let failed = |source| ConnectError::Connect { host: host.clone(), port: *port, source };
    let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
    // requests are written whole; waiting for more would only delay them
    tcp.set_nodelay(true).map_err(failed)?;
    let Some(tls) = tls else { return Ok(Socket::Plain(tcp)) };
    let stream = TlsConnector::from(tls.config.clone())
        .connect(tls.server_name.clone(), tcp)
        .await
        .map_err(|source| ConnectError::Tls { host: host.clone(), port: *port, source })?;
    if protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        let detail = "it did not choose 'h2' by ALPN".to_owned();
        return Err(ConnectError::NotHttp2 { host: host.clone(), port: *port, detail });
    }
    Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
}
