//! An upstream of the configuration, made ready for requests: its endpoints, its TLS, its credential.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderValue;
use zeroize::Zeroizing;

use super::destination_state::EndpointAddress;
use super::observed_addresses::ObservedAddresses;
use super::setup_error::UpstreamSetupError;
use super::tls::{self, TlsClient};
use crate::config::{self, Watched};

/// An API behind the gateway, ready for use. Shared by all workers and immutable.
pub struct Upstream {
    /// What the configuration calls it.
    pub name: String,
    /// The protocol spoken to it.
    pub protocol: config::Protocol,
    /// Replaces the client's `Host`.
    pub host: Option<String>,
    /// What becomes of the client's `Authorization`.
    pub authorization: config::AuthorizationHeader,
    /// The gateway's own `Authorization` there; never printed.
    pub credential: Option<Zeroizing<String>>,
    authority: String,
    /// Connections that a worker may have open at once.
    pub(super) max_connections: usize,
    /// Requests that may wait for one, per worker.
    pub(super) max_waiting: usize,
    /// Idle connections kept per worker.
    pub(super) idle_connections: usize,
    /// How an endpoint is chosen.
    pub(super) balance: config::Balance,
    /// When an endpoint gets no requests for a while.
    pub(super) ejection: Option<config::Ejection>,
    /// Whether and how the endpoints are checked.
    pub(super) health: Option<config::HealthCheck>,
    pub(super) endpoints: Vec<Endpoint>,
    /// What the process has found out about them.
    pub(super) observed: ObservedAddresses,
}

/// One address of an upstream.
pub(super) struct Endpoint {
    pub(super) location: config::Endpoint,
    /// `host:port`, or `unix:/path`
    label: String,
    /// What it is called in `Host` if nothing else says so.
    pub(super) authority: String,
    pub(super) tls: Option<TlsClient>,
}

impl Endpoint {
    /// Its address, unless it has a name.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let config::Endpoint::Url(url) = &self.location else { return None };
        url.host.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, url.port))
    }

    /// Its name and port, if it has a name that must be looked up.
    pub(super) fn host_name(&self) -> Option<(&str, u16)> {
        match &self.location {
            config::Endpoint::Url(url) if self.address().is_none() => Some((&url.host, url.port)),
            _ => None,
        }
    }

    /// `host:port`, and the address where the host is a name; `unix:/path`.
    pub(super) fn name(&self, address: Option<SocketAddr>) -> String {
        match address.filter(|_| self.host_name().is_some()) {
            Some(address) => format!("{} ({})", self.label, address.ip()),
            None => self.label.clone(),
        }
    }
}

impl Upstream {
    /// Prepares an upstream of the configuration: reads its certificates and its password.
    pub fn new(config: &config::Upstream) -> Result<Arc<Self>, UpstreamSetupError> {
        if let Some(host) = config.host.as_ref().filter(|host| HeaderValue::from_str(host).is_err()) {
            return Err(UpstreamSetupError::Host { upstream: config.name.clone(), host: host.clone() });
        }
        let credential =
            config.credential.as_ref().map(config::UpstreamCredential::authorization).transpose();
        let credential = credential
            .map_err(|source| UpstreamSetupError::Credential { upstream: config.name.clone(), source })?;
        let mut client = None;
        let mut endpoints = Vec::new();
        for location in &config.endpoints {
            let tls = if let config::Endpoint::Url(url) = location
                && url.tls
            {
                let client = match &client {
                    Some(client) => Arc::clone(client),
                    None => Arc::clone(client.insert(tls::client_config(config)?)),
                };
                Some(TlsClient::new(config, client, &url.host)?)
            } else {
                None
            };
            endpoints.push(Endpoint {
                label: match location {
                    config::Endpoint::Url(url) => url.authority(),
                    config::Endpoint::Unix(_) => location.to_string(),
                },
                location: location.clone(),
                authority: location.authority(),
                tls,
            });
        }
        Ok(Arc::new(Self {
            name: config.name.clone(),
            protocol: config.protocol,
            host: config.host.clone(),
            authority: config.endpoints.first().map(config::Endpoint::authority).unwrap_or_default(),
            authorization: config.authorization,
            credential,
            max_connections: config.max_connections.unwrap_or(config::DEFAULT_MAX_CONNECTIONS),
            max_waiting: config.max_waiting,
            idle_connections: config.idle_connections.unwrap_or(usize::MAX),
            balance: config.balance,
            ejection: config.ejection,
            health: config.health.clone(),
            observed: ObservedAddresses::new(endpoints.iter().map(Endpoint::address)),
            endpoints,
        }))
    }
}

impl Upstream {
    /// Its own name and port, for requests that name no host.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Takes over what is known of endpoints that were in a former configuration already: addresses, health.
    pub fn take_over(&self, former: &Self) {
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            let is_same = |other: &Endpoint| other.location == endpoint.location;
            if let Some(before) = former.endpoints.iter().position(is_same) {
                self.observed.take_over(number, &former.observed, before);
            }
        }
        if self.health.is_none() {
            self.observed.forget_health();
        }
    }

    /// Names an address in the metrics.
    pub(super) fn endpoint_address(&self, endpoint: usize, address: Option<SocketAddr>) -> EndpointAddress {
        let endpoint = &self.endpoints[endpoint];
        EndpointAddress {
            upstream: self.name.clone(),
            endpoint: endpoint.label.clone(),
            address: address.filter(|_| endpoint.host_name().is_some()),
        }
    }

    /// Names an address in the log.
    pub(super) fn address_name(&self, endpoint: usize, address: Option<SocketAddr>) -> String {
        self.endpoints[endpoint].name(address)
    }

    /// The file of whom it trusts, if it is one that may change.
    pub fn watched_files(&self) -> Option<Arc<dyn Watched>> {
        let tls = self.endpoints.iter().find_map(|endpoint| endpoint.tls.as_ref())?;
        let config: Arc<dyn Watched> = Arc::clone(&tls.config) as _;
        (!config.paths().is_empty()).then_some(config)
    }

    /// Whether it is known where an endpoint's address is: its name was looked up, or it has none.
    pub(super) fn is_located(&self, endpoint: usize, address: Option<SocketAddr>) -> bool {
        address.is_some() || self.endpoints[endpoint].host_name().is_none()
    }

    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.tls.is_some())
    }
}
