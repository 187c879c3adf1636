//! TLS to upstreams: the system's roots or a given CA.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::setup_error::UpstreamSetupError;
use crate::config::{self, Protocol, WatchedFiles, roots_in, trusted_roots};

/// How to open TLS to one endpoint.
pub(super) struct TlsClient {
    pub(super) config: Arc<WatchedClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

/// The client configuration of an upstream, made anew when its `tls.ca` file changes.
pub(super) type WatchedClientConfig = WatchedFiles<Arc<ClientConfig>>;

impl TlsClient {
    pub(super) fn new(
        upstream: &config::Upstream,
        config: Arc<WatchedClientConfig>,
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
pub(super) fn client_config(
    upstream: &config::Upstream,
) -> Result<Arc<WatchedClientConfig>, UpstreamSetupError> {
    let protocol: &[u8] = match upstream.protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
    };
    let paths: Vec<PathBuf> = upstream.ca_file.iter().cloned().collect();
    let loaded = WatchedFiles::load(paths, move |contents| {
        let roots = match contents {
            [pem, ..] => roots_in(pem)?,
            [] => trusted_roots(None)?,
        };
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    });
    loaded.map(Arc::new).map_err(|detail| {
        let name = upstream.name.clone();
        match &upstream.ca_file {
            Some(path) => UpstreamSetupError::Roots { upstream: name, path: path.clone(), detail },
            None => UpstreamSetupError::SystemRoots { upstream: name, detail },
        }
    })
}
