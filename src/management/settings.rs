//! The configuration, as far as the management plane uses it. A reload replaces it whole.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ServerConfig;

use super::connection_slots::Limits;
use super::metrics_token::MetricsToken;
use super::readable_paths::readable_paths;
use crate::config::{Config, KeyLifetimes, KeyPrefixes, ListenAddress, Lists};
use crate::model::Owner;
use crate::policy::RouteTable;

/// Timeouts of connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For the TLS handshake, for a request's head, and between two requests.
    pub(super) header: Duration,
    /// While the client takes no byte of an answer.
    pub(super) write: Duration,
}

/// The management plane's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host names of this listener, in lower case.
    pub(super) hosts: Vec<String>,
    /// Peers whose `X-Forwarded-*` counts.
    pub(super) trusted_proxies: Vec<IpNet>,
    /// TLS for new connections; `None`: the listener speaks plain HTTP.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// What lets a scraper read the metrics.
    pub(super) metrics_token: Option<Arc<MetricsToken>>,
    /// A session that nobody has used for this long ends.
    pub(super) session_idle: Duration,
    /// A session ends this long after it began.
    pub(super) session_lifetime: Duration,
    /// Limits of lists.
    pub(super) lists: Lists,
    /// Limits of connections.
    pub(super) connections: Limits,
    /// Timeouts of connections.
    pub(super) timeouts: Timeouts,
    /// How many environments a user account may create.
    pub(super) environments_per_user: u32,
    /// How long keys live.
    pub(super) lifetimes: KeyLifetimes,
    /// What minted access keys and secret keys begin with.
    pub(super) key_prefixes: KeyPrefixes,
    public_url: Option<String>,
    /// The proxy's first listener that has an IP address, and whether it speaks TLS.
    listener: Option<(SocketAddr, bool)>,
    /// `None`: they contradict one another, and the proxy does not serve them.
    routes: Option<Arc<RouteTable>>,
}

impl Settings {
    /// Reads `config`. `listeners` are the proxy's, with their real ports; `tls` is this listener's own, `metrics_token` as
    /// it stands in its file.
    pub fn new(
        config: &Config,
        listeners: &[(ListenAddress, bool)],
        tls: Option<Arc<ServerConfig>>,
        metrics_token: Option<MetricsToken>,
    ) -> Self {
        let management = config.management.as_ref();
        Self {
            hosts: management.map(|management| management.hosts.clone()).unwrap_or_default(),
            trusted_proxies: config.trusted_proxies.networks.clone(),
            tls: tls.map(|tls| {
                // this listener speaks HTTP/1.1 only
                let mut tls = (*tls).clone();
                tls.alpn_protocols = vec![b"http/1.1".to_vec()];
                Arc::new(tls)
            }),
            metrics_token: metrics_token.map(Arc::new),
            session_idle: management.map(|management| management.session_idle).unwrap_or_default(),
            session_lifetime: management.map(|management| management.session_lifetime).unwrap_or_default(),
            lists: management.map(|management| management.lists).unwrap_or_default(),
            connections: Limits {
                all: management.map(|management| management.connections).unwrap_or_default(),
                of_source: management.map(|management| management.connections_per_source).unwrap_or_default(),
            },
            timeouts: Timeouts { header: config.timeouts.header, write: config.timeouts.write },
            environments_per_user: management.map_or(0, |management| management.environments_per_user),
            lifetimes: config.keys.clone(),
            key_prefixes: config.key_prefix.clone(),
            public_url: config.public_url.clone(),
            listener: listeners.iter().find_map(|(address, tls)| Some((address.tcp()?, *tls))),
            routes: RouteTable::new(&config.routes).ok().map(Arc::new),
        }
    }

    /// The URL of the proxy, without a path. `called` is the host that the client has called the management listener
    /// by: it knows the machine under that name.
    pub(super) fn proxy_url(&self, called: &str) -> Option<String> {
        if let Some(url) = &self.public_url {
            return Some(url.clone());
        }
        let (address, tls) = self.listener?;
        let scheme = if tls { "https" } else { "http" };
        let host = match address.ip() {
            ip if ip.is_unspecified() => host_without_port(called).to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Some(format!("{scheme}://{host}:{}", address.port()))
    }

    /// URLs of the proxy that an active key of `owner` may read, at most one of each route, in the configuration's
    /// order.
    pub(super) fn endpoints(&self, owner: &Owner, called: &str) -> Vec<String> {
        let (Some(base), Some(routes)) = (self.proxy_url(called), &self.routes) else { return Vec::new() };
        let paths = readable_paths(routes, owner);
        paths.into_iter().map(|path| format!("{base}{path}")).collect()
    }
}

/// The host in a `Host` header.
pub(super) fn host_without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        // an IPv6 address keeps its brackets
        Some(rest) => rest.find(']').map_or(host, |end| &host[..end + 2]),
        None => host.split(':').next().unwrap_or(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_ends_before_its_port() {
        for (value, host) in [
            ("gw.test:8081", "gw.test"),
            ("gw.test", "gw.test"),
            ("[::1]:8081", "[::1]"),
            ("[::1]", "[::1]"),
            ("[::1", "[::1"),
            ("127.0.0.1:80", "127.0.0.1"),
        ] {
            assert_eq!(host_without_port(value), host);
        }
    }
}
