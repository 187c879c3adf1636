//! `listeners:` and `management:`: where the gateway is reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::AccessControl;

/// One address on which the proxy accepts connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS, or plain HTTP where absent.
    pub tls: Option<ListenerTls>,
    /// What this listener says itself, over [`super::Config::access_control`]. A listener beyond loopback is only
    /// open without keys where it says so here.
    pub access_control: Option<AccessControl>,
}

/// The certificates of a TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// Chosen by SNI; the first answers unknown names. Never empty.
    pub certificates: Vec<CertificateFiles>,
}

/// A certificate chain and its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
}

/// The management listener: never reachable through the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Management {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS, or plain HTTP where absent.
    pub tls: Option<ListenerTls>,
}
