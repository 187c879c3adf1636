//! What the management plane knows of the configuration. A reload replaces it whole.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ServerConfig;

use super::connections::Limits;
use crate::config::{Access, Config, Lists};
use crate::model::KeyOwner;

/// Settings and facts of the configuration.
#[derive(Debug, Clone)]
pub struct Site {
    /// Names that the listener may be called by, in lower case.
    pub(super) hosts: Vec<String>,
    /// Peers whose `X-Forwarded-*` is believed.
    pub(super) trusted_proxies: Vec<IpNet>,
    /// The TLS that new connections are taken with.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// A session ends when it was not used for this long.
    pub(super) session_idle: Duration,
    /// A session ends this long after it began.
    pub(super) session_lifetime: Duration,
    /// What lists may cost.
    pub(super) lists: Lists,
    /// How many connections the listener takes.
    pub(super) connections: Limits,
    /// How many environments a user account may make.
    pub(super) environments_per_user: u32,
    public_url: Option<String>,
    /// The proxy's first listener, and whether it speaks TLS.
    listener: Option<(SocketAddr, bool)>,
    routes: Vec<ShownRoute>,
}

/// A route that keys can reach, as far as it is shown to their holders.
#[derive(Debug, Clone)]
struct ShownRoute {
    path: String,
    /// The first environment template, if it has one.
    template: Option<String>,
}

impl Site {
    /// What `config` says; `listeners` are the proxy's, with their real ports, `tls` is this listener's own.
    pub fn new(config: &Config, listeners: &[(SocketAddr, bool)], tls: Option<Arc<ServerConfig>>) -> Self {
        let routes = config.routes.iter().filter_map(|route| match &route.access {
            Access::Keys(keys) => Some(ShownRoute {
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
                // what is served here speaks HTTP/1.1
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

    /// The URLs under which the proxy is reached with a key of `owner`, the first route's first. `called` is the host
    /// that the client has called the management listener by: it knows the machine under that name.
    pub fn endpoints(&self, owner: &KeyOwner, called: &str) -> Vec<String> {
        let base = match (&self.public_url, self.listener) {
            (Some(url), _) => url.clone(),
            (None, Some((address, tls))) => {
                let scheme = if tls { "https" } else { "http" };
                let host = if address.ip().is_unspecified() {
                    host_without_port(called).to_owned()
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

/// The host of a `Host` value.
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
