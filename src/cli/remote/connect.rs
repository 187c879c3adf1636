//! A connection to a gateway: TCP, then TLS with whom the command trusts, then HTTP/1.1.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

use super::error::{RemoteError, Trusted, printable};
use super::origin::Origin;
use crate::config::trusted_roots;
use crate::wire::Socket;

/// The most that the head of an answer may take.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How TLS is spoken, and whose certificates are believed.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    trusted: Trusted,
}

impl Tls {
    /// `ca_file` stands in for the system's authorities.
    pub(super) fn new(origin: &Origin, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let roots = trusted_roots(ca_file).map_err(anyhow::Error::msg);
        let (roots, trusted) = if let Some(path) = ca_file {
            let unusable = || format!("cannot use the certificates in {}", path.display());
            (roots.with_context(unusable)?, Trusted::File(path.to_owned()))
        } else {
            let none = "this machine has no usable root certificates: name a file with --cacert";
            (roots.context(none)?, Trusted::System)
        };
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(origin.host.clone())
            .with_context(|| format!("'{}' is neither a host name nor an address", origin.host))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, trusted })
    }
}

/// Connects within `limit`.
pub(super) async fn connect(
    origin: &Origin,
    tls: Option<&Tls>,
    limit: Duration,
) -> Result<SendRequest<Full<Bytes>>, RemoteError> {
    match timeout(limit, open(origin, tls)).await {
        Ok(opened) => opened,
        Err(_) => Err(RemoteError::ConnectTimeout { origin: origin.to_string(), limit }),
    }
}

async fn open(origin: &Origin, tls: Option<&Tls>) -> Result<SendRequest<Full<Bytes>>, RemoteError> {
    let failed =
        |error: io::Error| RemoteError::Connect { origin: origin.to_string(), detail: error.to_string() };
    let tcp = TcpStream::connect((origin.host.as_str(), origin.port)).await.map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    let stream = match tls {
        None => Socket::Plain(tcp.into()),
        Some(tls) => {
            let connected = tls.connector.connect(tls.name.clone(), tcp.into()).await;
            let stream = connected.map_err(|error| tls_error(origin, tls, &error))?;
            Socket::Tls(Box::new(TlsStream::Client(stream)))
        }
    };
    let begun = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun
        .map_err(|error| RemoteError::NotHttp { origin: origin.to_string(), detail: error.to_string() })?;
    // how it ends is told by the request that it carries
    tokio::spawn(connection);
    Ok(sender)
}

fn tls_error(origin: &Origin, tls: &Tls, error: &io::Error) -> RemoteError {
    let origin = origin.to_string();
    let detail = error.to_string();
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => RemoteError::Untrusted { origin, trusted: tls.trusted.clone() },
        // names in the certificate are the other side's words
        Some(rustls::Error::InvalidCertificate(_)) => {
            RemoteError::Certificate { origin, detail: printable(&detail) }
        }
        // what came is no TLS record
        Some(rustls::Error::InvalidMessage(_)) => RemoteError::PlainHttp { origin },
        _ => RemoteError::Tls { origin, detail },
    }
}
