//! TLS to upstreams: the system's roots or a given CA. The command line trusts gateways in the same way.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::endpoint::BuildError;
use crate::config::{self, Protocol};

/// How to open TLS to one endpoint.
pub(super) struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

impl TlsClient {
    pub(super) fn new(
        upstream: &config::Upstream,
        config: Arc<ClientConfig>,
        host: &str,
    ) -> Result<Self, BuildError> {
        let name = upstream.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| BuildError::ServerName { upstream: upstream.name.clone(), name: name.to_owned() })?;
        Ok(Self { config, server_name })
    }
}

/// The client configuration of an upstream: whom it trusts, and the protocol it asks for.
pub(super) fn client_config(upstream: &config::Upstream) -> Result<Arc<ClientConfig>, BuildError> {
    let roots = trusted_roots(upstream.ca_file.as_deref()).map_err(|detail| {
        let name = upstream.name.clone();
        match &upstream.ca_file {
            Some(path) => BuildError::Roots { upstream: name, path: path.clone(), detail },
            None => BuildError::SystemRoots { upstream: name, detail },
        }
    })?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = match upstream.protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(Arc::new(config))
}

/// Whom a TLS client trusts: the certificates in a PEM file, or the system's authorities. Never nobody; the error is
/// what was found instead.
pub fn trusted_roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("it holds no certificate".to_owned());
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string));
        }
    }
    Ok(roots)
}
