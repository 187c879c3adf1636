//! Who the client is: the peer, or what a trusted proxy in front says.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use crate::config::TrustedPeers;
use crate::policy;
use crate::proxy::admit::list;
use crate::proxy::connection_source::ConnectionSource;
use crate::wire::{HeaderRule, RequestHead};

/// What is known of the client of one connection: its address, its listener, whether it is trusted.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct ClientInfo {
    /// The address at the other end of the socket, or that its PROXY protocol header names.
    pub(in crate::proxy) peer: SocketAddr,
    source: ConnectionSource,
    /// Which listener it came by, in the order of the configuration.
    pub(in crate::proxy) listener: usize,
    pub(super) tls: bool,
    /// The `X-Forwarded-*` lines that are the same for every request of the connection.
    pub(super) lines: Box<[u8]>,
    /// The peer is a trusted proxy: its forwarded headers and request ids are believed.
    trusted: Cell<bool>,
}

impl ClientInfo {
    pub(in crate::proxy) fn new(source: ConnectionSource, listener: usize, tls: bool) -> Self {
        let peer = source.address();
        let address = peer.ip();
        let scheme = scheme(tls);
        let lines = format!("X-Forwarded-For: {address}\r\nX-Forwarded-Proto: {scheme}\r\n");
        Self { peer, source, listener, tls, lines: lines.into_bytes().into(), trusted: Cell::new(false) }
    }

    /// Checks whether the peer is one of these trusted proxies. For each request anew, since a reload may change them.
    pub(in crate::proxy) fn check_trusted(&self, trusted: &TrustedPeers) {
        self.trusted.set(self.source.is_among(trusted));
    }

    /// How it has reached this listener.
    pub(in crate::proxy) fn scheme(&self) -> &'static str {
        scheme(self.tls)
    }

    pub(in crate::proxy) fn is_trusted(&self) -> bool {
        self.trusted.get()
    }

    /// The scheme and the host that the client called: this listener's, or what a trusted proxy in front says.
    pub(in crate::proxy) fn requested_origin<'h>(
        &self,
        head: &'h RequestHead,
        host: &'h [u8],
    ) -> (&'h [u8], &'h [u8]) {
        let said = |rule| {
            let first = head.fields.values(rule).flat_map(list).next();
            first.filter(|_| self.is_trusted())
        };
        let scheme = said(HeaderRule::ForwardedProto).unwrap_or(scheme(self.tls).as_bytes());
        (scheme, said(HeaderRule::ForwardedHost).unwrap_or(host))
    }
}

/// The port that the client called: the one in `host`, else the scheme's default. The listener's may be another, behind a
/// mapping of ports.
pub(super) fn port<'h>(host: &'h [u8], scheme: &[u8]) -> &'h [u8] {
    let digits = host.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    match host.split_at(host.len() - digits) {
        ([.., b':'], port @ [_, ..]) => port,
        _ if scheme.eq_ignore_ascii_case(b"https") => b"443",
        _ => b"80",
    }
}

/// How the client reached the gateway.
pub(super) fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// The address that requests are counted under ([`policy::source_address`]).
pub(in crate::proxy) fn source_address(
    client: &ClientInfo,
    head: &RequestHead,
    trusted: &TrustedPeers,
) -> IpAddr {
    if !client.is_trusted() {
        return client.peer.ip();
    }
    let hops: Vec<&[u8]> = head.fields.values(HeaderRule::ForwardedFor).flat_map(list).collect();
    policy::source_address(client.peer.ip(), true, &hops, &trusted.networks)
}
