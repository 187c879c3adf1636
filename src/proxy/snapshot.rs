//! What requests are served by: one immutable whole, replaced by a reload.

use std::sync::Arc;

use ipnet::IpNet;
use rustls::ServerConfig;

use super::tls::{self, TlsError};
use crate::config::{AccessControl, Config, Limits, Timeouts};
use crate::policy::{RouteProblem, RouteTable};
use crate::upstream::{BuildError, Upstream};
use crate::wire::NameList;

/// Routes, upstreams, limits and certificates. Running requests keep the one they began with.
pub struct Snapshot {
    pub(super) routes: RouteTable,
    /// The routes' paths, as the access log names them.
    pub(super) route_names: Vec<String>,
    pub(super) upstreams: Vec<Arc<Upstream>>,
    pub(super) listeners: Vec<ListenerSettings>,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) stripped: NameList,
}

/// What belongs to one listener, in the order of the configuration.
pub(super) struct ListenerSettings {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) access_control: AccessControl,
}

/// Why a configuration cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Routes that contradict each other.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Routes(Vec<RouteProblem>),
    /// An upstream.
    #[error(transparent)]
    Upstream(#[from] BuildError),
    /// A listener's certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Snapshot {
    /// Builds and validates all that requests are served by: reads certificates and passwords.
    pub fn new(config: &Config) -> Result<Self, SnapshotError> {
        let listeners = config.listeners.iter().map(|listener| {
            Ok(ListenerSettings {
                tls: listener.tls.as_ref().map(tls::server_config).transpose()?,
                access_control: listener.access_control.unwrap_or(config.access_control),
            })
        });
        Ok(Self {
            routes: RouteTable::new(&config.routes).map_err(SnapshotError::Routes)?,
            route_names: config.routes.iter().map(|route| route.path.to_string()).collect(),
            upstreams: config.upstreams.iter().map(Upstream::new).collect::<Result<_, _>>()?,
            listeners: listeners.collect::<Result<_, TlsError>>()?,
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            stripped: NameList::new(&config.strip_headers),
        })
    }

    /// Whether a listener wants a key. A reload changes no listeners, so their numbers stand for the same ones.
    pub(super) fn access_control(&self, listener: usize) -> AccessControl {
        self.listeners.get(listener).map_or(AccessControl::Enabled, |listener| listener.access_control)
    }
}
