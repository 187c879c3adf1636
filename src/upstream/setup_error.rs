//! Why an upstream of the configuration cannot be made ready for requests.

use std::path::PathBuf;

use crate::config;

/// Why an upstream of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSetupError {
    /// The certificates that may sign the upstream's.
    #[error("upstream '{upstream}': cannot use the certificates in {path}: {detail}")]
    Roots {
        /// the upstream's name
        upstream: String,
        /// the `tls.ca` file
        path: PathBuf,
        /// what is wrong with it
        detail: String,
    },
    /// No certificate of the system could be loaded.
    #[error(
        "upstream '{upstream}': the system has no usable root certificates ({detail}); give 'tls: {{ ca: FILE }}'"
    )]
    SystemRoots {
        /// the upstream's name
        upstream: String,
        /// what the system said
        detail: String,
    },
    /// The name expected in its certificate is not one.
    #[error("upstream '{upstream}': '{name}' is neither a host name nor an address")]
    ServerName {
        /// the upstream's name
        upstream: String,
        /// the host or `tls.server_name`
        name: String,
    },
    /// Its password file.
    #[error("upstream '{upstream}': {source}")]
    Credential {
        /// the upstream's name
        upstream: String,
        /// what is wrong with the file
        source: config::SecretFileError,
    },
    /// `host:` cannot stand in a header.
    #[error("upstream '{upstream}': '{host}' cannot be sent as Host")]
    Host {
        /// the upstream's name
        upstream: String,
        /// the configured value
        host: String,
    },
}
