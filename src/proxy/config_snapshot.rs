//! A configuration made ready to serve requests: immutable, and replaced as a whole by a reload.

use std::sync::Arc;
use std::time::Duration;

use super::connection_source::ConnectionSource;
use super::credential_places::{CredentialPlaces, UNUSABLE, unusable_credential_headers};
use super::tls::{self, ServerTls, TlsError, WatchedCertificate};
use crate::config::{Access, AccessControl, Config, Limits, Route, SampleRate, Timeouts, TrustedPeers};
use crate::policy::{RouteProblem, RouteTable};
use crate::upstream::{Upstream, UpstreamSetupError};
use crate::wire::{FieldNameSet, HeaderRule};

/// Routes, upstreams, limits and certificates. Running requests keep the one they began with.
pub struct ConfigSnapshot {
    pub(super) routes: RouteTable,
    /// The routes' paths, as the access log names them.
    pub(super) route_names: Vec<String>,
    pub(super) upstreams: Vec<Arc<Upstream>>,
    pub(super) files: WorkerFileLimits,
    pub(super) listeners: Vec<ListenerSettings>,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    pub(super) trusted_proxies: TrustedPeers,
    /// How long before its end a key's clients are told of it; `None`: never.
    pub(super) expiry_notice: Option<Duration>,
    /// Which traces are recorded; `None`: none is.
    pub(super) sample: Option<SampleRate>,
    pub(super) credential_places: CredentialPlaces,
    /// What `strip_headers` lists.
    pub(super) stripped: FieldNameSet,
    /// What no trailer of a request may be named: what is stripped, and what a rule reads as a header. A credential too.
    pub(super) headers_only: FieldNameSet,
}

/// How many files each worker may have open beside its connections to clients.
#[derive(Debug, Clone, Copy)]
pub struct WorkerFileLimits {
    /// Connections to all upstreams together.
    pub upstream_connections: usize,
    /// Pipes, two open files each.
    pub pipes: usize,
}

/// What belongs to one listener, in the order of the configuration.
pub(super) struct ListenerSettings {
    pub(super) tls: Option<ServerTls>,
    pub(super) access_control: AccessControl,
    /// The peers whose connections begin with a PROXY protocol header.
    proxy_protocol_from: TrustedPeers,
}

impl ListenerSettings {
    /// Whether a connection from here must begin with a PROXY protocol header. Others have none.
    pub(super) fn wants_proxy_header(&self, source: ConnectionSource) -> bool {
        source.is_among(&self.proxy_protocol_from)
    }
}

/// Why a configuration cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ConfigSnapshotError {
    /// Routes that contradict each other.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Routes(Vec<RouteProblem>),
    /// A header that would be judged, and that the upstream does not get.
    #[error("route '{route}': '{name}' cannot select an environment: the gateway removes this header")]
    Selector {
        /// the route's path
        route: String,
        /// the header's name
        name: String,
    },
    /// A header that cannot hold a credential.
    #[error("authentication.accept: '{0}' {UNUSABLE}")]
    CredentialHeader(String),
    /// An upstream.
    #[error(transparent)]
    Upstream(#[from] UpstreamSetupError),
    /// A listener's certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl ConfigSnapshot {
    /// Builds and validates all that requests are served by: reads certificates and passwords.
    pub fn new(config: &Config, files: WorkerFileLimits) -> Result<Self, ConfigSnapshotError> {
        let listeners = config.listeners.iter().map(|listener| {
            Ok(ListenerSettings {
                tls: listener.tls.as_ref().map(tls::server_tls).transpose()?,
                access_control: listener.access_control.unwrap_or(config.access_control),
                proxy_protocol_from: listener.proxy_protocol_from.clone(),
            })
        });
        if let Some((route, name)) = selectors_not_forwarded(config).next() {
            return Err(ConfigSnapshotError::Selector {
                route: route.path.to_string(),
                name: name.to_owned(),
            });
        }
        if let Some(header) = unusable_credential_headers(config).next() {
            return Err(ConfigSnapshotError::CredentialHeader(header.name.clone()));
        }
        let stripped = FieldNameSet::new(&config.strip_headers);
        let credentials = config.authentication.accept.headers.iter().map(|header| header.name.as_str());
        let selectors = header_selectors(config).map(|(_, name)| name);
        Ok(Self {
            expiry_notice: config.keys.longest_notice(),
            sample: config.tracing.as_ref().map(|tracing| tracing.sample),
            routes: RouteTable::new(&config.routes).map_err(ConfigSnapshotError::Routes)?,
            route_names: config.routes.iter().map(|route| route.path.to_string()).collect(),
            upstreams: config.upstreams.iter().map(Upstream::new).collect::<Result<_, _>>()?,
            files,
            listeners: listeners.collect::<Result<_, TlsError>>()?,
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            headers_only: FieldNameSet::new(
                config.strip_headers.iter().map(String::as_str).chain(selectors).chain(credentials),
            ),
            credential_places: CredentialPlaces::new(&config.authentication.accept),
            stripped,
        })
    }

    /// The upstreams, in the order of the configuration.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// The certificates of each listener, in the order of the configuration.
    pub fn certificates(&self) -> impl Iterator<Item = &[Arc<WatchedCertificate>]> {
        self.listeners.iter().map(|listener| listener.tls.as_ref().map_or(&[][..], |tls| &tls.certificates))
    }

    /// Takes over what is known of upstreams that were in a former configuration already.
    pub fn take_over(&self, former: &Self) {
        for upstream in &self.upstreams {
            if let Some(before) = former.upstreams.iter().find(|before| before.name == upstream.name) {
                upstream.take_over(before);
            }
        }
    }

    /// How long a request line may be: the target, and beside it the method, the version and the authority of a URL.
    pub(super) fn request_line_bytes(&self) -> usize {
        self.limits.uri_bytes + 320
    }

    /// Whether a listener wants a key. A reload changes no listeners, so their numbers stand for the same ones.
    pub(super) fn access_control(&self, listener: usize) -> AccessControl {
        self.listeners.get(listener).map_or(AccessControl::Enabled, |listener| listener.access_control)
    }
}

/// The headers by which routes let a client choose an environment, and that the gateway removes all the same: it would
/// judge an environment that the upstream does not hear of. In the place of `X-API-Project-Id` the upstream gets the
/// gateway's own, with the environment that was judged.
pub fn selectors_not_forwarded(config: &Config) -> impl Iterator<Item = (&Route, &str)> {
    let credentials = config.authentication.accept.headers.iter().map(|header| header.name.as_str());
    let removed = FieldNameSet::new(config.strip_headers.iter().map(String::as_str).chain(credentials));
    header_selectors(config).filter(move |(_, name)| {
        let passes =
            HeaderRule::of(name.as_bytes()) == HeaderRule::Other && !removed.contains(name.as_bytes());
        !passes && *name != "x-api-project-id"
    })
}

fn header_selectors(config: &Config) -> impl Iterator<Item = (&Route, &str)> {
    config.routes.iter().flat_map(|route| {
        let headers = match &route.access {
            Access::Keys(access) => access.selectors.headers.as_slice(),
            Access::Public { .. } => &[],
        };
        headers.iter().map(move |name| (route, name.as_str()))
    })
}
