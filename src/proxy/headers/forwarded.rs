//! Who the client is: the peer, or what a trusted proxy in front says.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::policy;
use crate::proxy::admit::list;
use crate::wire::{FieldName, RequestHead};

/// The client's side of one connection.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct Client {
    /// The address at the other end of the socket.
    pub(in crate::proxy) peer: SocketAddr,
    /// The same as text, without the port.
    pub(super) address: String,
    /// Which listener it came by, in the order of the configuration.
    pub(in crate::proxy) listener: usize,
    /// The listener's port as text.
    pub(super) port: String,
    pub(in crate::proxy) tls: bool,
    /// The peer is a trusted proxy: its forwarded headers and request ids are believed.
    trusted: Cell<bool>,
}

impl Client {
    pub(in crate::proxy) fn new(peer: SocketAddr, listener: usize, port: u16, tls: bool) -> Self {
        let address = peer.ip().to_canonical();
        Self {
            peer: SocketAddr::new(address, peer.port()),
            address: address.to_string(),
            listener,
            port: port.to_string(),
            tls,
            trusted: Cell::new(false),
        }
    }

    /// Looks whether it is one of these trusted proxies; for each request anew, since a reload may have changed them.
    pub(in crate::proxy) fn judge(&self, trusted: &[IpNet]) {
        self.trusted.set(policy::is_trusted(&self.peer.ip(), trusted));
    }

    pub(in crate::proxy) fn is_trusted(&self) -> bool {
        self.trusted.get()
    }
}

/// The address that requests are counted under ([`policy::source_address`]).
pub(in crate::proxy) fn source_address(client: &Client, head: &RequestHead, trusted: &[IpNet]) -> IpAddr {
    if !client.is_trusted() {
        return client.peer.ip();
    }
    let hops: Vec<&[u8]> = head.fields.values(FieldName::ForwardedFor).flat_map(list).collect();
    policy::source_address(client.peer.ip(), &hops, trusted)
}
