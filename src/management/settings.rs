//! The configuration, as far as the management plane uses it. A reload replaces it whole.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ServerConfig;

use super::connection_slots::Limits;
use crate::config::{Access, Config, Lists};
use crate::model::KeyOwner;

/// The management plane's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host names of this listener, in lower case.
    pub(super) hosts: Vec<String>,
    /// Peers whose `X-Forwarded-*` counts.
    pub(super) trusted_proxies: Vec<IpNet>,
    /// TLS for new connections; `None`: the listener speaks plain HTTP.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// A session that nobody has used for this long ends.
    pub(super) session_idle: Duration,
    /// A session ends this long after it began.
    pub(super) session_lifetime: Duration,
    /// Limits of lists.
    pub(super) lists: Lists,
    /// Limits of connections.
    pub(super) connections: Limits,
    /// How many environments a user account may create.
    pub(super) environments_per_user: u32,
    public_url: Option<String>,
    /// The proxy's first listener, and whether it speaks TLS.
    listener: Option<(SocketAddr, bool)>,
    routes: Vec<KeyRoute>,
}

/// A route for keys, as far as their holders see it.
#[derive(Debug, Clone)]
struct KeyRoute {
    path: String,
    /// Its first environment template, if it has one.
    template: Option<String>,
}

impl Settings {
    /// Reads `config`. `listeners` are the proxy's, with their real ports; `tls` is this listener's own.
    pub fn new(config: &Config, listeners: &[(SocketAddr, bool)], tls: Option<Arc<ServerConfig>>) -> Self {
        let routes = config.routes.iter().filter_map(|route| match &route.access {
            Access::Keys(keys) => Some(KeyRoute {
                path: route.path.to_string(),
                template: keys.environment.first().map(ToString::to_string),
            }),
            Access::Public { .. } => None,
        });
        let management = config.management.as_ref();
        Self {
            hosts: management.map(|management| management.hosts.clone()).unwrap_or_default(),
            trusted_proxies: config.trusted_proxies.clone(),
            tls: tls.map(|tls| {
                // this listener speaks HTTP/1.1 only
                let mut tls = (*tls).clone();
                tls.alpn_protocols = vec![b"http/1.1".to_vec()];
                Arc::new(tls)
            }),
            session_idle: management.map(|management| management.session_idle).unwrap_or_default(),
            session_lifetime: management.map(|management| management.session_lifetime).unwrap_or_default(),
            lists: management.map(|management| management.lists).unwrap_or_default(),
            connections: Limits {
                all: management.map(|management| management.connections).unwrap_or_default(),
                of_source: management.map(|management| management.connections_per_source).unwrap_or_default(),
            },
            environments_per_user: management.map_or(0, |management| management.environments_per_user),
            public_url: config.public_url.clone(),
            listener: listeners.first().copied(),
            routes: routes.collect(),
        }
    }

    /// The proxy's URLs that a key of `owner` can reach, in the order of the routes. `host` is the `Host` of the request
    /// to this listener: the client knows the machine by that name.
    pub fn endpoints(&self, owner: &KeyOwner, host: &str) -> Vec<String> {
        let base = match (&self.public_url, self.listener) {
            (Some(url), _) => url.clone(),
            (None, Some((address, tls))) => {
                let scheme = if tls { "https" } else { "http" };
                let host = if address.ip().is_unspecified() {
                    host_without_port(host).to_owned()
                } else {
                    match address.ip() {
                        IpAddr::V4(address) => address.to_string(),
                        IpAddr::V6(address) => format!("[{address}]"),
                    }
                };
                format!("{scheme}://{host}:{}", address.port())
            }
            (None, None) => return Vec::new(),
        };
        self.routes
            .iter()
            .filter_map(|route| match owner {
                KeyOwner::Account(_) => Some(format!("{base}{}", route.path)),
                KeyOwner::Environment(id) => {
                    let template = route.template.as_ref()?;
                    Some(format!("{base}{}", template.replace("{environment}", id.as_str())))
                }
            })
            .collect()
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
