//! TLS towards clients: several certificates, chosen by the name the client asks for.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::{CertificateFiles, ListenerTls};

/// Why a listener's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The chain's file.
    #[error("cannot use the certificate in {path}: {detail}")]
    Certificate {
        /// the file
        path: PathBuf,
        /// what is wrong
        detail: String,
    },
    /// The key's file.
    #[error("cannot use the private key in {path}: {detail}")]
    Key {
        /// the file
        path: PathBuf,
        /// what is wrong
        detail: String,
    },
    /// The TLS library.
    #[error("TLS cannot be set up: {0}")]
    System(#[source] rustls::Error),
}

/// The TLS of a listener: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.
pub fn tls_server_config(tls: &ListenerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = tls.certificates.iter().map(load).collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::System)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(BySni { certificates }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    // sealed into the tickets: any worker resumes any session, and none waits for another's table
    config.ticketer = Ticketer::new().map_err(TlsError::System)?;
    // a client that opens connections at once gets one with each
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
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

fn load(files: &CertificateFiles) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificate = |detail: String| TlsError::Certificate { path: files.certificate.clone(), detail };
    let key = |detail: String| TlsError::Key { path: files.key.clone(), detail };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(certificate("it holds no certificate".to_owned()));
    }
    let der = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| key(error.to_string()))?;
    let certified = CertifiedKey::from_der(chain, der, &aws_lc_rs::default_provider())
        .map_err(|error| key(error.to_string()))?;
    Ok(Arc::new(certified))
}

/// The first certificate that is valid for the name; the first of all for unknown names and none.
#[derive(Debug)]
struct BySni {
    certificates: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let first = self.certificates.first();
        let name = hello.server_name().filter(|_| self.certificates.len() > 1);
        let Some(name) = name.and_then(|name| ServerName::try_from(name).ok()) else { return first.cloned() };
        self.certificates.iter().find(|certificate| is_valid_for(certificate, &name)).or(first).cloned()
    }
}

fn is_valid_for(certificate: &CertifiedKey, name: &ServerName<'_>) -> bool {
    certificate
        .end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
}
