//! TLS to upstreams: the system's roots or a given CA.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::setup_error::UpstreamSetupError;
use crate::config::{self, Protocol, trusted_roots};

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
    ) -> Result<Self, UpstreamSetupError> {
        let name = upstream.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
            UpstreamSetupError::ServerName { upstream: upstream.name.clone(), name: name.to_owned() }
        })?;
        Ok(Self { config, server_name })
    }
}

/// The client configuration of an upstream: whom it trusts, and the protocol it asks for.
pub(super) fn client_config(upstream: &config::Upstream) -> Result<Arc<ClientConfig>, UpstreamSetupError> {
    let roots = trusted_roots(upstream.ca_file.as_deref()).map_err(|detail| {
        let name = upstream.name.clone();
        match &upstream.ca_file {
            Some(path) => UpstreamSetupError::Roots { upstream: name, path: path.clone(), detail },
            None => UpstreamSetupError::SystemRoots { upstream: name, detail },
        }
    })?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = match upstream.protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(Arc::new(config))
}
