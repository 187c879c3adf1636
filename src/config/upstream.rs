//! `upstreams:`: the APIs behind the gateway.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// An API behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// What routes call it.
    pub name: String,
    /// Where it is reached, in turn. Never empty; all are TLS or none.
    pub endpoints: Vec<EndpointUrl>,
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
    /// Idle connections kept, per worker.
    pub idle_connections: usize,
}

/// [`Upstream::idle_connections`] where the configuration says nothing.
pub const DEFAULT_IDLE_CONNECTIONS: usize = 64;

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

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
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
