//! How far a key is narrowed: to reading, to methods, to paths, to networks.

mod path;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Method;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

pub use path::{ScopePath, ScopePathError};

/// What a key may still do of what its owner may. It only takes away: an empty list takes nothing away.
///
/// It narrows something, always: a key without a scope has none, not an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    read_only: bool,
    methods: Vec<Method>,
    paths: Vec<ScopePath>,
    networks: Vec<IpNet>,
}

/// A scope as it is written: in JSON with exactly these names, each optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScopeFields {
    /// Whether it may only read.
    pub read_only: bool,
    /// The only methods that it may use.
    pub methods: Vec<String>,
    /// The only paths that it may reach.
    pub paths: Vec<String>,
    /// The only networks that it may be used from.
    pub networks: Vec<String>,
}

/// Why something is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not the fields of a scope.
    #[error("a scope has the fields read_only, methods, paths and networks: {0}")]
    Json(String),
    /// Nothing is narrowed.
    #[error("this scope narrows nothing")]
    Empty,
    /// Too many entries.
    #[error("a scope has at most {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it can have.
        most: usize,
    },
    /// Not the name of a method.
    #[error("'{0}' is not the name of a method: write it as in GET")]
    Method(String),
    /// Not a path pattern.
    #[error(transparent)]
    Path(#[from] ScopePathError),
    /// Not a network.
    #[error("'{0}' is not a network: write it as in 10.0.0.0/8 or 2001:db8::/32, or give one address")]
    Network(String),
    /// A network with bits behind its prefix.
    #[error("'{text}' has bits behind its prefix: write '{network}' if that is meant")]
    NotTruncated {
        /// As it was written.
        text: String,
        /// As it would be right.
        network: IpNet,
    },
}

/// Two scopes, and no scope that allows exactly what both allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incomparable;

// === impl Scope ===

impl Scope {
    /// How many paths a scope can have.
    pub const MAX_PATHS: usize = 16;

    /// How many networks a scope can have.
    pub const MAX_NETWORKS: usize = 16;

    /// How many methods a scope can have.
    pub const MAX_METHODS: usize = 16;

    /// The longest name of a method.
    const MAX_METHOD_BYTES: usize = 32;

    /// Reads a scope; `None` if the fields narrow nothing.
    pub fn new(fields: &ScopeFields) -> Result<Option<Self>, ScopeError> {
        let scope = Self {
            read_only: fields.read_only,
            methods: read_all(&fields.methods, "methods", Self::MAX_METHODS, |text| {
                let method = text.parse().ok().filter(|_| text.len() <= Self::MAX_METHOD_BYTES);
                method.ok_or_else(|| ScopeError::Method(text.to_owned()))
            })?,
            paths: read_all(&fields.paths, "paths", Self::MAX_PATHS, |text| Ok(text.parse()?))?,
            networks: read_all(&fields.networks, "networks", Self::MAX_NETWORKS, read_network)?,
        };
        Ok(scope.narrows().then_some(scope))
    }

    fn narrows(&self) -> bool {
        self.narrows_requests() || !self.networks.is_empty()
    }

    /// Whether it narrows what a request may do, and not only where it may come from.
    pub fn narrows_requests(&self) -> bool {
        self.read_only || !self.methods.is_empty() || !self.paths.is_empty()
    }

    /// Whether the key may only read.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The only methods of the key; empty: all.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The only paths of the key; empty: all.
    pub fn paths(&self) -> &[ScopePath] {
        &self.paths
    }

    /// The only networks of the key; empty: all.
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// Whether the key may use this method.
    pub fn has_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// Whether the key may reach this path, whatever laxer reading of it an upstream has.
    pub fn has_path(&self, path: &[u8]) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether the key may be used from this address. An IPv4 address that is written as an IPv6 one counts as IPv4.
    pub fn has_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(&address))
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.methods.len() * size_of::<Method>()
            + self.networks.len() * size_of::<IpNet>()
            + self.paths.iter().map(ScopePath::bytes).sum::<usize>()
    }

    /// As it is written.
    pub fn fields(&self) -> ScopeFields {
        ScopeFields {
            read_only: self.read_only,
            methods: self.methods.iter().map(ToString::to_string).collect(),
            paths: self.paths.iter().map(ToString::to_string).collect(),
            networks: self.networks.iter().map(ToString::to_string).collect(),
        }
    }

    /// As it is written, in JSON.
    pub fn json(&self) -> serde_json::Value {
        let ScopeFields { read_only, methods, paths, networks } = self.fields();
        serde_json::json!({ "read_only": read_only, "methods": methods, "paths": paths, "networks": networks })
    }

    /// What it leaves, in words, one for each way in which it narrows.
    pub fn restrictions(&self) -> Vec<String> {
        let ScopeFields { read_only, methods, paths, networks } = self.fields();
        let mut words = Vec::new();
        if read_only {
            words.push("only reading".to_owned());
        }
        if !methods.is_empty() {
            words.push(format!("only {}", methods.join(", ")));
        }
        if !paths.is_empty() {
            words.push(format!("only {}", paths.join(", ")));
        }
        if !networks.is_empty() {
            words.push(format!("only from {}", networks.join(", ")));
        }
        words
    }

    /// The scope that allows exactly what both allow. It is written as this one where that allows no more.
    pub fn intersection(&self, other: &Self) -> Result<Self, Incomparable> {
        let both = Self {
            read_only: self.read_only || other.read_only,
            methods: intersection(&self.methods, &other.methods, |one, other| {
                (one == other).then(|| one.clone())
            })?,
            paths: if are_within(&self.paths, &other.paths) {
                self.paths.clone()
            } else if are_within(&other.paths, &self.paths) {
                other.paths.clone()
            } else {
                return Err(Incomparable);
            },
            networks: intersection(&self.networks, &other.networks, |one, other| {
                let narrower = if one.contains(other) { other } else { one };
                (one.contains(narrower) && other.contains(narrower)).then_some(*narrower)
            })?,
        };
        // more networks than a scope can have
        if both.networks.len() > Self::MAX_NETWORKS { Err(Incomparable) } else { Ok(both) }
    }
}

/// Whether each of `paths` lies within one of `others`; no paths are all paths.
fn are_within(paths: &[ScopePath], others: &[ScopePath]) -> bool {
    others.is_empty()
        || (!paths.is_empty() && paths.iter().all(|path| others.iter().any(|other| path.is_within(other))))
}

/// What two lists have in common, where an empty one has everything.
fn intersection<T: Clone + PartialEq>(
    these: &[T],
    others: &[T],
    common: impl Fn(&T, &T) -> Option<T>,
) -> Result<Vec<T>, Incomparable> {
    if these.is_empty() || others.is_empty() {
        return Ok([these, others].concat());
    }
    let mut both = Vec::new();
    for this in these {
        for found in others.iter().filter_map(|other| common(this, other)) {
            if !both.contains(&found) {
                both.push(found);
            }
        }
    }
    // an empty list would allow everything
    if both.is_empty() { Err(Incomparable) } else { Ok(both) }
}

/// Reads a list. What is written twice counts once.
fn read_all<T: PartialEq>(
    texts: &[String],
    what: &'static str,
    most: usize,
    read: impl Fn(&str) -> Result<T, ScopeError>,
) -> Result<Vec<T>, ScopeError> {
    let mut items = Vec::new();
    for text in texts {
        let item = read(text)?;
        if !items.contains(&item) {
            items.push(item);
        }
    }
    if items.len() > most { Err(ScopeError::TooMany { what, most }) } else { Ok(items) }
}

fn read_network(text: &str) -> Result<IpNet, ScopeError> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| ScopeError::Network(text.to_owned()))?;
    if network != network.trunc() {
        return Err(ScopeError::NotTruncated { text: text.to_owned(), network: network.trunc() });
    }
    Ok(folded(network))
}

/// A network of IPv4 addresses that are written as IPv6 ones, as the IPv4 network that it is: addresses are compared so.
fn folded(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

impl FromStr for Scope {
    type Err = ScopeError;

    /// Reads the JSON that [`Display`](fmt::Display) writes. One that narrows nothing is an error: it is never written.
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let fields = serde_json::from_str(text).map_err(|error| ScopeError::Json(error.to_string()))?;
        Self::new(&fields)?.ok_or(ScopeError::Empty)
    }
}

impl fmt::Display for Scope {
    /// The JSON of the store.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.json().fmt(f)
    }
}

#[cfg(test)]
mod tests;
