//! `management:`: the listener of the API and the web page, and what they may cost.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::listener::{Listener, ListenerTls, read_address, read_tls};
use super::reader::Reader;
use super::upstream::{SecretFileError, read_secret, read_secret_file};
use super::yaml::Node;

/// The management listener: never reachable through the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Management {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS, or plain HTTP where absent.
    pub tls: Option<ListenerTls>,
    /// Names that clients may call it by, in lower case; its addresses and `localhost` need not be listed.
    pub hosts: Vec<String>,
    /// A browser session ends when it was not used for this long.
    pub session_idle: Duration,
    /// A browser session ends this long after signing in.
    pub session_lifetime: Duration,
    /// What lists may cost.
    pub lists: Lists,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address (an IPv4 address, or the /64 of an IPv6 one).
    pub connections_per_source: usize,
    /// How many environments a user account may make, of those that are not removed.
    pub environments_per_user: u32,
    /// `metrics.token_file`: what lets a scraper read the metrics beside the keys of admins.
    pub metrics_token: Option<TokenFile>,
}

/// A file that holds a token, and at most a line end after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile(pub PathBuf);

impl TokenFile {
    /// Reads the token. Its file may hold another after a reload.
    pub fn read(&self) -> Result<Zeroizing<String>, SecretFileError> {
        read_token(&self.0)
    }
}

fn read_token(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    let token = read_secret(path)?;
    let is_sendable = token.bytes().all(|byte| byte.is_ascii_graphic());
    is_sendable.then_some(token).ok_or_else(|| SecretFileError::NoToken { path: path.to_owned() })
}

/// `management.session_idle`
const DEFAULT_SESSION_IDLE: Duration = Duration::from_hours(1);
/// `management.session_lifetime`
const DEFAULT_SESSION_LIFETIME: Duration = Duration::from_hours(12);
/// `management.connections`: health checks, a scraper or two, a few people.
const DEFAULT_CONNECTIONS: usize = 256;
/// `management.connections_per_source`
const DEFAULT_CONNECTIONS_PER_SOURCE: usize = 64;

/// `management.lists`: what lists of the API and the web page may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lists {
    /// How long one may wait for its turn, and then how long it may take.
    pub timeout: Duration,
    /// Steps of SQLite's machine that one may take.
    pub steps: u64,
    /// How many of one account or environment may be read or waiting.
    pub per_caller: usize,
    /// How many may be read or waiting in all.
    pub total: usize,
}

impl Default for Lists {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), steps: 500_000_000, per_caller: 32, total: 256 }
    }
}

/// Reads `management:`, which may share no address with a listener.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, listeners: &[Listener]) -> Option<Management> {
    let keys = &[
        "address",
        "tls",
        "hosts",
        "session_idle",
        "session_lifetime",
        "lists",
        "connections",
        "connections_per_source",
        "environments_per_user",
        "metrics",
    ];
    let section = reader.section(node, keys)?;
    let tls = section.get("tls").map(|node| read_tls(reader, node));
    let mut hosts = Vec::new();
    reader.set(&mut hosts, section.get("hosts"), |reader, node| {
        let items = reader.list(node, "a list of host names such as [gateway.example.com]")?;
        let name = "a host name without a port, such as gateway.example.com";
        Some(items.iter().filter_map(|item| reader.parsed(item, name, host_name)).collect())
    });
    let limits = Duration::from_secs(1)..=Duration::from_hours(24 * 365);
    let (mut session_idle, mut session_lifetime) = (DEFAULT_SESSION_IDLE, DEFAULT_SESSION_LIFETIME);
    for (value, key) in [(&mut session_idle, "session_idle"), (&mut session_lifetime, "session_lifetime")] {
        reader.set(value, section.get(key), |reader, node| reader.duration(node, limits.clone()));
    }
    let mut lists = Lists::default();
    reader.set(&mut lists, section.get("lists"), read_lists);
    let mut connections = DEFAULT_CONNECTIONS;
    reader.set(&mut connections, section.get("connections"), |reader, node| reader.number(node, 1..=10_000));
    let mut connections_per_source = DEFAULT_CONNECTIONS_PER_SOURCE.min(connections);
    reader.set(&mut connections_per_source, section.get("connections_per_source"), |reader, node| {
        reader.number(node, 1..=connections)
    });
    // only admins make any
    let mut environments_per_user = 0;
    reader.set(&mut environments_per_user, section.get("environments_per_user"), |reader, node| {
        reader.number(node, 0..=10_000)
    });
    let metrics_token = section.get("metrics").map(|node| {
        let section = reader.section(node, &["token_file"])?;
        let node = reader.required(&section, "token_file")?;
        read_secret_file(reader, node, read_token).map(TokenFile)
    });
    let address_node = reader.required(&section, "address")?;
    let address = read_address(reader, address_node)?;
    if address.port() != 0 && listeners.iter().any(|listener| listener.address.tcp() == Some(address)) {
        reader.error(
            address_node,
            format!("{address} is a listener's address: management needs one of its own"),
        );
    }
    let tls = match tls {
        None => None,
        Some(tls) => Some(tls?),
    };
    let metrics_token = match metrics_token {
        None => None,
        Some(token) => Some(token?),
    };
    Some(Management {
        address,
        tls,
        hosts,
        session_idle,
        session_lifetime,
        lists,
        connections,
        connections_per_source,
        environments_per_user,
        metrics_token,
    })
}

fn read_lists(reader: &mut Reader<'_>, node: &Node) -> Option<Lists> {
    let section = reader.section(node, &["timeout", "steps", "per_caller", "total"])?;
    let mut lists = Lists::default();
    reader.set(&mut lists.timeout, section.get("timeout"), |reader, node| {
        reader.duration(node, Duration::from_millis(10)..=Duration::from_mins(10))
    });
    reader.set(&mut lists.steps, section.get("steps"), |reader, node| {
        reader.number(node, 10_000..=1_000_000_000_000)
    });
    for (value, key) in [(&mut lists.per_caller, "per_caller"), (&mut lists.total, "total")] {
        reader.set(value, section.get(key), |reader, node| reader.number(node, 1..=100_000));
    }
    Some(lists)
}

fn host_name(text: &str) -> Option<String> {
    let fits = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    fits.then(|| text.to_ascii_lowercase())
}
