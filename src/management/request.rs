//! A request to the management listener, and what is judged of it before anybody looks what it asks.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::request::Parts;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use ipnet::IpNet;

use super::refusal::Refusal;
use super::site::{Site, host_without_port};

/// The largest body that any request needs.
const MAX_BODY_BYTES: usize = 64 << 10;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection came.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// The other end.
    pub(super) peer: SocketAddr,
    /// The name asked for in the TLS handshake; `None` where the connection is plain.
    pub(super) tls: Option<ServerName>,
}

/// The name that a TLS client has asked for, if it has.
#[derive(Debug, Clone)]
pub(super) struct ServerName(pub(super) Option<String>);

/// One request, with its body.
#[derive(Debug)]
pub(super) struct Request {
    /// A random UUID.
    pub(super) id: String,
    /// The client's address.
    pub(super) source: IpAddr,
    /// What it has called the listener, as in `Host`.
    pub(super) host: String,
    /// Whether it came over TLS.
    pub(super) is_secure: bool,
    /// Method, target, fields.
    pub(super) head: Parts,
    /// At most [`MAX_BODY_BYTES`].
    pub(super) body: Bytes,
}

impl Request {
    /// Scheme and host as the client knows them, for absolute URLs.
    pub(super) fn base(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.host)
    }

    /// The path as it came.
    pub(super) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// The query as it came; empty where there is none.
    pub(super) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// The one value of a field; `None` where it is absent, not ASCII, or given twice.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// The value of a cookie.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let mut found = self
            .head
            .headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value);
        match (found.next(), found.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// Whether any credential was sent in the way of RFC 7617.
    pub(super) fn has_credential(&self) -> bool {
        self.head.headers.contains_key(AUTHORIZATION)
    }
}

/// Whether the host that a request is for is one that this listener is known by: an address, `localhost`, a configured
/// name, or over TLS the name that the client has verified. Any other name could be a page's elsewhere that was
/// pointed to this machine (DNS rebinding).
pub(super) fn admit_host(head: &Parts, connection: &Connection, site: &Site) -> Result<String, Refusal> {
    let malformed =
        |detail: &str| Refusal::BadRequest { code: "Bad Request", field: None, detail: detail.to_owned() };
    let mut values = head.headers.get_all(HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(malformed("a request needs exactly one Host"));
    };
    let host = value.to_str().map_err(|_| malformed("the Host is not plain text"))?.to_ascii_lowercase();
    let name = host_without_port(&host);
    let port = &host[name.len()..];
    let is_port = |port: &str| {
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
    };
    if name.is_empty() || !is_port(port) {
        return Err(malformed("the Host is not a host with or without a port"));
    }
    if let Some(authority) = head.uri.authority()
        && !authority.as_str().eq_ignore_ascii_case(&host)
    {
        return Err(malformed("the request's target and its Host differ"));
    }
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_verified =
        matches!(&connection.tls, Some(ServerName(Some(verified))) if verified.eq_ignore_ascii_case(name));
    if name == "localhost"
        || name.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok()
        || site.hosts.iter().any(|known| known == name)
        || is_verified
    {
        return Ok(host);
    }
    Err(Refusal::Misdirected {
        detail: "this listener is not known by that name: call it by its address, or add the name to \
                 'management.hosts' of the configuration"
            .to_owned(),
    })
}

/// The address that failures are counted under and the audit log shows: the peer, or, behind trusted proxies, the
/// right-most address of `X-Forwarded-For` that is not one of them.
pub(super) fn source_address(head: &Parts, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut source = peer.to_canonical();
    if !is_trusted(&source) {
        return source;
    }
    let values: Vec<_> = head.headers.get_all("x-forwarded-for").iter().collect();
    for value in values.iter().rev() {
        let Ok(value) = value.to_str() else { return source };
        for hop in value.rsplit(',') {
            let Ok(address) = hop.trim().parse::<IpAddr>() else { return source };
            source = address.to_canonical();
            if !is_trusted(&source) {
                return source;
            }
        }
    }
    source
}

/// Reads the body whole.
pub(super) async fn read_body(body: Incoming) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Refusal::BadRequest {
            code: "Bad Request",
            field: None,
            detail: "the body did not arrive whole".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(forwarded: &[&str]) -> Parts {
        let mut builder = http::Request::builder();
        for value in forwarded {
            builder = builder.header("X-Forwarded-For", *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_trusted_proxies_say_where_a_request_comes_from() {
        let trusted: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        let source = |peer: &str, forwarded: &[&str]| {
            source_address(&head(forwarded), peer.parse().unwrap(), &trusted).to_string()
        };
        assert_eq!(source("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(source("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(source("10.0.0.1", &["6.6.6.6, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(source("10.0.0.1", &["6.6.6.6", "198.51.100.7,10.0.0.2"]), "198.51.100.7");
        assert_eq!(source("10.0.0.1", &["nonsense, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(source("10.0.0.1", &[]), "10.0.0.1");
    }
}
