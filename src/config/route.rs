//! Routes: which part of the upstream's API lies where, and who may reach it.
//!
//! `policy::RouteTable` refuses routes that overlap or contradict each other.

use http::{HeaderName, Method};

use super::cors::Cors;
use super::file_position::FilePosition;
use super::path_pattern::{
    OwnerPattern, PathPattern, QueryName, ReadonlyUpgradePattern, RoutePath, Template,
};

/// A path prefix of the upstream's API, with its upstream and who may reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The prefix; ends at a segment boundary. For a public route: the exact path.
    pub path: RoutePath,
    /// Index into `Config::upstreams`.
    pub upstream: usize,
    /// Who may reach it.
    pub access: Access,
    /// What happens to `%2F` after the environment.
    pub encoded_slash: EncodedSlash,
    /// Where the route stands in the file.
    pub position: FilePosition,
    /// Whether and how the gateway answers CORS preflights.
    pub cors: Option<Cors>,
    /// The longest request body in bytes, where it differs from `limits`.
    pub body_bytes: Option<u64>,
}

/// Who may reach a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everyone, without a key, on the exact path.
    Public {
        /// With these methods: GET and HEAD unless the configuration says more.
        methods: Vec<Method>,
    },
    /// Whoever has a key that permits it.
    Keys(KeyAccess),
}

/// What keys may reach under a route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyAccess {
    /// Where environments lie.
    pub environment: Vec<Template>,
    /// Whether user accounts reach what lies outside environments.
    pub account: AccountAccess,
    /// What lies outside environments is for an environment's key.
    pub environment_key: EnvironmentKeyAccess,
    /// What every key may read.
    pub shared: Vec<PathPattern>,
    /// What only owners and admins may write.
    pub owner_only: Vec<OwnerPattern>,
    /// The upstream's other ways to choose an environment.
    pub selectors: Selectors,
    /// Ways to override the method that the upstream would follow.
    pub method_override: RefusedMethodOverrides,
    /// Where a tunnel only reads.
    pub readonly_upgrades: Vec<ReadonlyUpgradePattern>,
}

/// `account: allow | deny`: whether user accounts reach what lies outside environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountAccess {
    /// They do.
    Allow,
    /// Only admins do.
    #[default]
    Deny,
}

/// `environment_key: deny | own_environment`: what lies outside environments is for an environment's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentKeyAccess {
    /// Out of its reach, but for what is shared.
    #[default]
    Deny,
    /// Its own environment: the upstream confines it to the one that `X-API-Project-Id` names.
    OwnEnvironment,
}

/// `access_control: enabled | disabled`: whether requests without a key are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessControl {
    /// They are.
    #[default]
    Enabled,
    /// They pass, without an identity.
    Disabled,
}

/// `encoded_slash: refuse | allow`: what happens to `%2F` after the environment. Elsewhere it is always refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncodedSlash {
    /// 400.
    #[default]
    Refuse,
    /// It passes as it came, and counts as `/` where dot segments and empty segments are looked for.
    Allow,
}

/// Parameters and headers by which the upstream lets a client choose an environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selectors {
    /// Query parameters.
    pub query: Vec<QueryName>,
    /// Headers.
    pub headers: Vec<HeaderName>,
}

/// Parameters by which the upstream would let a client override the method. A request that has one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefusedMethodOverrides {
    /// Query parameters.
    pub query: Vec<QueryName>,
}
