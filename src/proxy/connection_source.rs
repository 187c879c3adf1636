//! Where a connection comes from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::TrustedPeers;
use crate::policy;

/// Where a connection comes from, as the socket has it or as its PROXY protocol header says.
#[derive(Debug, Clone, Copy)]
pub(super) enum ConnectionSource {
    /// This address.
    Tcp(SocketAddr),
    /// A process of this machine, by a Unix socket.
    Unix,
}

impl ConnectionSource {
    /// The address that it counts under, an IPv4 one as such. By a Unix socket that of this machine.
    pub(super) fn address(self) -> SocketAddr {
        match self {
            Self::Tcp(address) => SocketAddr::new(address.ip().to_canonical(), address.port()),
            Self::Unix => (Ipv4Addr::LOCALHOST, 0).into(),
        }
    }

    pub(super) fn ip(self) -> IpAddr {
        self.address().ip()
    }

    /// Whether it is one of these peers. By a Unix socket it is only where they say so, whatever networks they list.
    pub(super) fn is_among(self, peers: &TrustedPeers) -> bool {
        match self {
            Self::Tcp(_) => policy::is_trusted_proxy(&self.ip(), &peers.networks),
            Self::Unix => peers.unix,
        }
    }
}
