//! The configuration: one YAML file, read into types that can only hold what makes sense.
//!
//! [`load`] and [`load_to_serve`] report every mistake at once, each with its line and column. What each key means, its unit and its
//! default is in `config.example.yaml`, which a test holds against this code.

mod accepted_credentials;
mod authentication;
mod cors;
mod endpoint_choice;
mod environment_variables;
mod error;
mod file_position;
mod health_check;
mod key_lifetimes;
mod limits;
mod listen_address;
mod listener;
mod load;
mod log;
mod management;
mod path_pattern;
mod pem_files;
mod postgres;
mod reader;
mod route;
mod routes;
mod store;
#[cfg(test)]
mod tests;
mod tracing;
mod trusted_peers;
mod trusted_roots;
mod unix_socket;
mod upstream;
mod watched_files;
mod yaml;
mod yaml_error;

use std::path::PathBuf;
use std::time::Duration;

pub use accepted_credentials::{AcceptedCredentials, CredentialHeader};
pub use authentication::{Argon2, Authentication, Cache, DEFAULT_MAX_STALENESS, KeyPrefixes, Throttle};
pub use cors::Cors;
pub use endpoint_choice::{Balance, Ejection};
pub use error::{ConfigError, ConfigErrors};
pub use file_position::FilePosition;
pub use health_check::HealthCheck;
pub use key_lifetimes::{KeyLifetimes, LifetimeError, lifetime_text};
pub use limits::{Limits, Timeouts};
pub use listen_address::ListenAddress;
pub use listener::{CertificateFiles, Listener, ListenerTls};
pub use load::{load, load_store_path, load_to_serve, parse};
pub use log::{AccessLog, Log, LogFormat};
pub use management::{Lists, Management, TokenFile};
pub use path_pattern::{
    OwnerPattern, PathPattern, QueryName, ReadonlyUpgradePattern, RoutePath, RouteTextError, Template,
    TemplateSegment,
};
pub use pem_files::{PairError, certificates, certified_key, private_key, read_pem_file};
pub use postgres::{Postgres, ServerTrust, TrustedRoots, parse as parse_record_url};
pub use route::{
    Access, AccessControl, AccountAccess, EncodedSlash, EnvironmentKeyAccess, KeyAccess,
    RefusedMethodOverrides, Route, Selectors,
};
pub use store::Store;
pub use tracing::{OtlpUrl, SampleRate, Tracing};
pub use trusted_peers::TrustedPeers;
pub use trusted_roots::{roots_in, trusted_roots};
pub use upstream::{
    AuthorizationHeader, DEFAULT_MAX_CONNECTIONS, Endpoint, EndpointUrl, Protocol, SecretFileError, Upstream,
    UpstreamCredential,
};
pub use watched_files::{Watched, WatchedFiles};

/// All that an operator decides. Paths in it are absolute or relative to the working directory, no longer to the
/// configuration's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it was read from.
    pub file: PathBuf,
    /// Never empty.
    pub listeners: Vec<Listener>,
    /// Without it there is no management API and no health endpoint.
    pub management: Option<Management>,
    /// Where clients reach the proxy, without a slash at its end; where absent, the first listener is shown.
    pub public_url: Option<String>,
    /// Threads that serve requests.
    pub workers: usize,
    /// For listeners that do not say otherwise.
    pub access_control: AccessControl,
    /// The record.
    pub store: Store,
    /// How long what the gateway knows is good for without the record.
    pub max_staleness: Duration,
    /// What this gateway is called in receipts and lists; where absent, by its machine's name.
    pub gateway: Option<String>,
    /// The first is current, the others are still read. Never empty.
    pub pepper_files: Vec<PathBuf>,
    /// Start although the store holds fingerprints under a pepper that is lost: those keys are verified by argon2id
    /// once each, and get new ones.
    pub allow_missing_pepper: bool,
    /// What minted keys start with.
    pub key_prefix: KeyPrefixes,
    /// How long keys live.
    pub keys: KeyLifetimes,
    /// Verification of what no cache and no fingerprint knows.
    pub argon2: Argon2,
    /// What authentication keeps in memory.
    pub cache: Cache,
    /// When a source of wrong credentials is told to wait.
    pub throttle: Throttle,
    /// Where credentials stand, and when those that are not recognised at once are answered.
    pub authentication: Authentication,
    /// Never empty.
    pub upstreams: Vec<Upstream>,
    /// Never empty; their paths differ.
    pub routes: Vec<Route>,
    /// What a client or an upstream may cost.
    pub limits: Limits,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// Peers whose forwarded headers and request ids are believed.
    pub trusted_proxies: TrustedPeers,
    /// Request headers that never reach an upstream, normalised: lower case, every byte outside `[a-z0-9]` as `-`.
    pub strip_headers: Vec<String>,
    /// What is logged, and where.
    pub log: Log,
    /// Without it no spans are recorded.
    pub tracing: Option<Tracing>,
}

/// How many threads can run at once here.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
