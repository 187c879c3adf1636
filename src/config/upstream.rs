//! `upstreams:`: the APIs behind the gateway.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use http::uri::Authority;
use rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use super::endpoint_choice::{Balance, Ejection, read_balance, read_ejection};
use super::health_check::{self, HealthCheck};
use super::listener::read_certificates;
use super::reader::{Files, Reader};
use super::unix_socket;
use super::yaml::{Entry, Node, is_substituted};

/// An API behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// What routes call it.
    pub name: String,
    /// Where it is reached. Never empty; all are TLS or none.
    pub endpoints: Vec<Endpoint>,
    /// The protocol spoken to it.
    pub protocol: Protocol,
    /// `tls.ca`: the certificates that may sign the upstream's; the system's roots where absent.
    pub ca_file: Option<PathBuf>,
    /// `tls.server_name`: the name expected in the upstream's certificate; the endpoint's host where absent.
    pub server_name: Option<String>,
    /// Replaces the client's `Host`.
    pub host: Option<String>,
    /// The gateway's own `Authorization` at this upstream.
    pub credential: Option<UpstreamCredential>,
    /// What becomes of the client's `Authorization`.
    pub authorization: AuthorizationHeader,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// When an endpoint gets no requests for a while; `None`: never.
    pub ejection: Option<Ejection>,
    /// Requests by which the gateway finds out which endpoints are well.
    pub health: Option<HealthCheck>,
    /// Connections open at once, per worker. Where absent, [`DEFAULT_MAX_CONNECTIONS`]; fewer where the system allows
    /// too few open files.
    pub max_connections: Option<usize>,
    /// Requests that may wait for one of them, per worker.
    pub max_waiting: usize,
    /// Idle connections kept, per worker. Where absent, all that there may be.
    pub idle_connections: Option<usize>,
}

/// The keys of an upstream.
pub(super) const KEYS: [&str; 12] = [
    "endpoints",
    "protocol",
    "tls",
    "host",
    "credential",
    "authorization",
    "balance",
    "ejection",
    "health",
    "max_connections",
    "max_waiting",
    "idle_connections",
];

/// [`Upstream::max_connections`] where the configuration says nothing.
pub const DEFAULT_MAX_CONNECTIONS: usize = 4096;
/// [`Upstream::max_waiting`] where the configuration says nothing.
const DEFAULT_MAX_WAITING: usize = 1024;

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Reached by TCP.
    Url(EndpointUrl),
    /// At the Unix socket with this path.
    Unix(PathBuf),
}

/// An upstream's address: `http://host:port` or `https://host:port`, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    /// `https`
    pub tls: bool,
    /// A name, or an address (an IPv6 one without its brackets).
    pub host: String,
    /// 80 or 443 where the URL names none.
    pub port: u16,
}

impl Endpoint {
    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Url(url) if url.tls)
    }

    /// What it is called in `Host` if nothing else says so.
    pub fn authority(&self) -> String {
        match self {
            Self::Url(url) => url.authority(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Whether it is an address or a Unix socket: a name can have several addresses.
    pub fn has_one_address(&self) -> bool {
        match self {
            Self::Url(url) => url.host.parse::<IpAddr>().is_ok(),
            Self::Unix(_) => true,
        }
    }
}

impl EndpointUrl {
    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

/// The protocol spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1
    #[default]
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge without.
    Http2,
}

/// What becomes of the client's `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthorizationHeader {
    /// The upstream never sees a client's credentials.
    #[default]
    Strip,
    /// Passed on as it came.
    Pass,
}

/// The gateway's own Basic credential at an upstream. The password stays in its file until it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamCredential {
    /// The user name.
    pub username: String,
    /// The file that holds the password, and at most a line end after it.
    pub password_file: PathBuf,
}

impl UpstreamCredential {
    /// The value of the `Authorization` header, wiped when dropped. Reads the password's file.
    pub fn authorization(&self) -> Result<Zeroizing<String>, SecretFileError> {
        let password = read_secret(&self.password_file)?;
        let pair = Zeroizing::new(format!("{}:{}", self.username, password.as_str()));
        Ok(Zeroizing::new(format!("Basic {}", Zeroizing::new(STANDARD.encode(pair.as_bytes())).as_str())))
    }
}

/// Why a file that should hold a secret could not be used. Never says what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("cannot read '{}': {source}", path.display())]
    Unreadable {
        /// the file
        path: PathBuf,
        /// why
        source: std::io::Error,
    },
    /// It holds nothing, more than a line, a control character, or more than 4 KiB.
    #[error("'{}' should hold one line of text, at most 4 KiB", path.display())]
    NotOneLine {
        /// the file
        path: PathBuf,
    },
    /// It holds what cannot be sent as a token (RFC 6750 section 2.1).
    #[error("'{}' should hold a token of letters, digits and punctuation, without blanks", path.display())]
    NoToken {
        /// the file
        path: PathBuf,
    },
}

/// Reads a secret of one line; the line end is not part of it.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    use std::io::Read as _;

    const MAX_BYTES: usize = 4096;
    let unreadable = |source| SecretFileError::Unreadable { path: path.to_owned(), source };
    // room for all of it from the start: a buffer that grows leaves copies behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 3));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES as u64 + 3).read_to_end(&mut bytes).map_err(unreadable)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line)
        .ok()
        .filter(|text| !text.is_empty() && text.len() <= MAX_BYTES && !text.chars().any(char::is_control));
    match text {
        Some(text) => Ok(Zeroizing::new(text.to_owned())),
        None => Err(SecretFileError::NotOneLine { path: path.to_owned() }),
    }
}

impl EndpointUrl {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        // what stands around the host is a port and nothing else: no user, no `:` without a number
        let around = authority.as_str().strip_prefix(authority.host())?;
        if !around.is_empty() && authority.port_u16().is_none() {
            return None;
        }
        // a path would be lost silently
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
            return None;
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        ServerName::try_from(host).ok()?;
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        (port != 0).then(|| Self { tls, host: host.to_owned(), port })
    }
}

/// Reads `upstreams:`.
pub(super) fn read_all(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Upstream>> {
    let expected = "a mapping of upstreams, each under its name, such as 'api: { endpoints: [\"http://127.0.0.1:3000\"] }'";
    let entries = reader.free_mapping(node, expected)?;
    if entries.is_empty() {
        return reader.unexpected(node, expected);
    }
    Some(entries.iter().map(|entry| read(reader, entry)).collect())
}

/// Reads one upstream. One with mistakes still has its name, so that routes find it.
fn read(reader: &mut Reader<'_>, entry: &Entry) -> Upstream {
    let mut upstream = Upstream {
        name: entry.key.clone(),
        endpoints: Vec::new(),
        protocol: Protocol::default(),
        ca_file: None,
        server_name: None,
        host: None,
        credential: None,
        authorization: AuthorizationHeader::default(),
        balance: Balance::default(),
        ejection: Some(Ejection::default()),
        health: None,
        max_connections: None,
        max_waiting: DEFAULT_MAX_WAITING,
        idle_connections: None,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !(1..=64).contains(&entry.key.len()) || !entry.key.bytes().all(plain) {
        let message = "expected an upstream's name of 1 to 64 of the characters A-Z a-z 0-9 . _ -";
        reader.error_at(entry.position, &entry.node.path, message);
    }
    let Some(section) = reader.section(&entry.node, &KEYS) else { return upstream };
    if let Some(node) = reader.required(&section, "endpoints") {
        reader.set(&mut upstream.endpoints, Some(node), read_endpoints);
    }
    reader.set(&mut upstream.protocol, section.get("protocol"), |reader, node| {
        reader.word(node, &[("http1", Protocol::Http1), ("http2", Protocol::Http2)])
    });
    if let Some(node) = section.get("tls") {
        if upstream.endpoints.first().is_some_and(|endpoint| !endpoint.is_tls()) {
            reader.error(node, "'tls' has no meaning here: the endpoints are not https://");
        }
        if let Some(tls) = reader.section(node, &["ca", "server_name"]) {
            upstream.ca_file = tls.get("ca").and_then(|node| read_ca(reader, node));
            upstream.server_name = tls.get("server_name").and_then(|node| {
                reader.parsed(node, "a host name or an IP address", |text| {
                    ServerName::try_from(text).ok().map(|_| text.to_owned())
                })
            });
        }
    }
    upstream.host = section.get("host").and_then(|node| {
        reader.parsed(node, "a host, and a port where it is not the usual one", |text| {
            text.parse::<Authority>().ok().filter(|host| !host.as_str().contains('@'))?;
            Some(text.to_owned())
        })
    });
    reader.set(&mut upstream.authorization, section.get("authorization"), |reader, node| {
        reader.word(node, &[("strip", AuthorizationHeader::Strip), ("pass", AuthorizationHeader::Pass)])
    });
    upstream.credential = section.get("credential").and_then(|node| {
        if upstream.authorization == AuthorizationHeader::Pass {
            reader.error(
                node,
                "the upstream has a credential of its own, so 'authorization: pass' cannot hold: expected one of them",
            );
        }
        read_credential(reader, node)
    });
    reader.set(&mut upstream.balance, section.get("balance"), read_balance);
    reader.set(&mut upstream.ejection, section.get("ejection"), read_ejection);
    upstream.health = section.get("health").and_then(|node| health_check::read(reader, node));
    reader.set(&mut upstream.max_connections, section.get("max_connections"), |reader, node| {
        reader.number_or_auto(node, 1..=1_000_000, None)
    });
    reader.set(&mut upstream.max_waiting, section.get("max_waiting"), |reader, node| {
        reader.number(node, 0..=1_000_000)
    });
    reader.set(&mut upstream.idle_connections, section.get("idle_connections"), |reader, node| {
        reader.number_or_auto(node, 0..=1_000_000, None)
    });
    upstream
}

fn read_endpoints(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Endpoint>> {
    let mut tls = None;
    reader.items(node, "a list of URLs such as http://127.0.0.1:3000", |reader, node| {
        let text = reader.text(node, "a URL such as http://127.0.0.1:3000")?;
        let endpoint = match unix_socket::path_in(text) {
            Some(path) => Some(Endpoint::Unix(unix_socket::read(reader, node, path)?)),
            None => EndpointUrl::parse(text).map(Endpoint::Url),
        };
        let Some(endpoint) = endpoint else {
            // what was found is not shown, for people put passwords into URLs, unless it is a host and a port
            let completed = format!("http://{text}");
            let advice = if EndpointUrl::parse(&completed).is_some() && !is_substituted(node) {
                format!("the scheme is missing: write {completed}, or https:// if it speaks TLS")
            } else {
                "expected http:// or https:// with a host and perhaps a port, without user, path or query, such as \
                 http://127.0.0.1:3000, or the path of a Unix socket, such as unix:/run/api.sock"
                    .to_owned()
            };
            reader.error(node, advice);
            return None;
        };
        if *tls.get_or_insert(endpoint.is_tls()) != endpoint.is_tls() {
            reader.error(node, "expected all https:// endpoints in an upstream, or none");
        }
        Some(endpoint)
    })
}

fn read_ca(reader: &mut Reader<'_>, node: &Node) -> Option<PathBuf> {
    let path = reader.path(node)?;
    if reader.files == Files::Check
        && let Err(message) = read_certificates(&path)
    {
        reader.error(node, message);
    }
    Some(path)
}

fn read_credential(reader: &mut Reader<'_>, node: &Node) -> Option<UpstreamCredential> {
    let section = reader.section(node, &["username", "password_file"])?;
    let username = reader.required(&section, "username").and_then(|node| {
        reader.parsed(node, "a user name without a colon and without controls", |text| {
            let fits = !text.chars().any(|c| c == ':' || c.is_control());
            fits.then(|| text.to_owned())
        })
    });
    let password_file = reader
        .required(&section, "password_file")
        .and_then(|node| read_secret_file(reader, node, read_secret));
    Some(UpstreamCredential { username: username?, password_file: password_file? })
}

/// The path of a file that must hold a secret which `read` accepts.
pub(super) fn read_secret_file(
    reader: &mut Reader<'_>,
    node: &Node,
    read: impl FnOnce(&Path) -> Result<Zeroizing<String>, SecretFileError>,
) -> Option<PathBuf> {
    let path = reader.path(node)?;
    if reader.files == Files::Check
        && let Err(error) = read(&path)
    {
        reader.error(node, error.to_string());
    }
    Some(path)
}
