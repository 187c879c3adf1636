//! TLS towards clients: several certificates, chosen by the name the client asks for.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate_time::{certificate_end, time_warning};
use crate::config::{self, CertificateFiles, ListenerTls, PairError, WatchedFiles};

/// Why a listener's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file, which the message names.
    #[error("{0}")]
    Files(String),
    /// The TLS library.
    #[error("TLS cannot be set up: {0}")]
    System(#[source] rustls::Error),
}

/// The TLS of a listener.
#[derive(Clone)]
pub struct ServerTls {
    /// For its connections.
    pub config: Arc<ServerConfig>,
    /// What it shows, in the order of the configuration.
    pub certificates: Vec<Arc<WatchedCertificate>>,
}

/// A certificate with its key, read anew when their files change.
pub type WatchedCertificate = WatchedFiles<Certificate>;

/// A certificate with its key.
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// When it ends.
    pub end: Option<UnixTime>,
}

/// The TLS of a listener: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.
pub fn server_tls(tls: &ListenerTls) -> Result<ServerTls, TlsError> {
    let certificates: Vec<_> = tls.certificates.iter().map(load).collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::System)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(BySni { certificates: certificates.clone() }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    // sealed into the tickets: any worker resumes any session, and none waits for another's table
    config.ticketer = Ticketer::new().map_err(TlsError::System)?;
    // a client that opens connections at once gets one with each
    config.send_tls13_tickets = 1;
    Ok(ServerTls { config: Arc::new(config), certificates })
}

/// The library's suites, those with AES-128 first: all are stronger than anyone can break, but with AES-256 comes
/// SHA-384, which takes a fifth of a handshake's CPU, and clients on OpenSSL ask for it first.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| !suite.suite().as_str().is_some_and(|name| name.contains("AES_128")));
    provider
}

fn load(files: &CertificateFiles) -> Result<Arc<WatchedCertificate>, TlsError> {
    let files = files.clone();
    let loaded = WatchedFiles::load(vec![files.certificate.clone(), files.key.clone()], move |contents| {
        let [certificate, key] = contents else {
            return Err("expected a certificate and its key".to_owned());
        };
        let chain = config::certificates(&files.certificate, certificate)?;
        let end = chain.first().and_then(certificate_end);
        if let Some(warning) = chain.first().and_then(time_warning) {
            tracing::warn!("'{}' {warning}", files.certificate.display());
        }
        let key = config::private_key(&files.key, key)?;
        match config::certified_key(&files.certificate, chain, key) {
            Ok(key) => Ok(Certificate { key: Arc::new(key), end }),
            Err(PairError::OtherKey(why)) => Err(format!("{why} in '{}'", files.key.display())),
            Err(PairError::Unusable(why)) => Err(format!("{why}, in '{}'", files.certificate.display())),
        }
    });
    loaded.map(Arc::new).map_err(TlsError::Files)
}

/// The first certificate that is valid for the name; the first of all for unknown names and none.
struct BySni {
    certificates: Vec<Arc<WatchedCertificate>>,
}

impl std::fmt::Debug for BySni {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BySni")
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut keys = self.certificates.iter().map(|certificate| Arc::clone(&certificate.current().key));
        let first = keys.next()?;
        let name = hello.server_name().filter(|_| self.certificates.len() > 1);
        let Some(name) = name.and_then(|name| ServerName::try_from(name).ok()) else { return Some(first) };
        if is_valid_for(&first, &name) {
            return Some(first);
        }
        Some(keys.find(|key| is_valid_for(key, &name)).unwrap_or(first))
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
}
