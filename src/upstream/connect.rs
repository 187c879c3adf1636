//! A new connection to an endpoint: TCP or a Unix socket, then TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsConnector, TlsStream};

use super::prepared_upstream::Endpoint;
use crate::config::{self, Protocol};
use crate::wire::{Socket, StreamSocket};

/// Why no connection to an upstream could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TCP or name resolution failed.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// the endpoint, with its address if it has a name
        endpoint: String,
        /// what the system said
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("TLS with {endpoint} failed: {source}")]
    Tls {
        /// the endpoint, with its address if it has a name
        endpoint: String,
        /// what went wrong
        source: io::Error,
    },
    /// The upstream does not speak HTTP/2.
    #[error("{endpoint} does not speak HTTP/2: {detail}")]
    NotHttp2 {
        /// the endpoint, with its address if it has a name
        endpoint: String,
        /// what was seen instead
        detail: String,
    },
    /// As many are open as may be, and none of them takes another request.
    #[error("all connections to the upstream are in use")]
    AllInUse,
    /// It took longer than allowed.
    #[error("{endpoint} was not connected within {limit:?}")]
    Timeout {
        /// the endpoint, with its address if it has a name
        endpoint: String,
        /// `timeouts.upstream_connect`
        limit: Duration,
    },
}

/// Connects to `endpoint` within `limit`, at `address` or where its name leads.
pub(super) async fn connect(
    endpoint: &Endpoint,
    address: Option<SocketAddr>,
    protocol: Protocol,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    match tokio::time::timeout(limit, open(endpoint, address, protocol)).await {
        Ok(opened) => opened,
        Err(_) => Err(ConnectError::Timeout { endpoint: endpoint.name(address), limit }),
    }
}

async fn open(
    endpoint: &Endpoint,
    address: Option<SocketAddr>,
    protocol: Protocol,
) -> Result<Socket, ConnectError> {
    let name = || endpoint.name(address);
    let failed = |source| ConnectError::Connect { endpoint: name(), source };
    let socket = open_socket(endpoint, address).await.map_err(failed)?;
    // requests are written whole; waiting for more would only delay them
    socket.send_at_once().map_err(failed)?;
    let Some(tls) = &endpoint.tls else { return Ok(Socket::Plain(socket)) };
    let config = Arc::clone(&**tls.config.current());
    let stream = TlsConnector::from(config)
        .connect(tls.server_name.clone(), socket)
        .await
        .map_err(|source| ConnectError::Tls { endpoint: name(), source })?;
    if protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        let detail = "it did not choose 'h2' by ALPN".to_owned();
        return Err(ConnectError::NotHttp2 { endpoint: name(), detail });
    }
    Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
}

async fn open_socket(endpoint: &Endpoint, address: Option<SocketAddr>) -> io::Result<StreamSocket> {
    Ok(match (&endpoint.location, address) {
        (config::Endpoint::Unix(path), _) => UnixStream::connect(path).await?.into(),
        (config::Endpoint::Url(_), Some(address)) => TcpStream::connect(address).await?.into(),
        (config::Endpoint::Url(url), None) => TcpStream::connect((url.host.as_str(), url.port)).await?.into(),
    })
}
