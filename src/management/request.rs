//! A request to the management listener, and what is judged of it before anybody looks what it asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use ipnet::IpNet;

use super::refusal::Refusal;
use super::site::{Site, host_without_port};
use crate::policy;

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
    /// What it has called the listener, or the trusted proxy in front of it, as in `Host`.
    pub(super) host: String,
    /// Whether it came over TLS, to the listener or to the trusted proxy in front of it.
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

    /// Refuses what another site's page has sent, as far as the browser tells: `Origin`, and `Sec-Fetch-Site` of
    /// [Fetch Metadata](https://www.w3.org/TR/fetch-metadata/). Browsers send a session's cookie to nobody else's
    /// form, but a key that was typed into their own window goes with every request. Following a link is no harm;
    /// what is fetched or embedded is.
    pub(super) fn admit_origin(&self) -> Result<(), Refusal> {
        let headers = &self.head.headers;
        let is_reading = matches!(self.head.method, Method::GET | Method::HEAD);
        let site = headers.contains_key("sec-fetch-site").then(|| self.field("sec-fetch-site"));
        let is_own = match site {
            None | Some(Some("same-origin")) => true,
            // typed, or from a bookmark
            Some(Some("none")) => is_reading,
            Some(_) => is_reading && self.field("sec-fetch-mode") == Some("navigate"),
        };
        let origin = headers.contains_key(ORIGIN).then(|| self.field("origin"));
        let is_ours = origin.is_none_or(|origin| origin == Some(self.base().as_str()));
        if is_own && is_ours {
            return Ok(());
        }
        let detail = "The request comes from another site's page, as your browser says. Nothing was done.";
        Err(Refusal::Forbidden { detail: Some(detail.to_owned()) })
    }

    /// Whether any credential was sent in the way of RFC 7617.
    pub(super) fn has_credential(&self) -> bool {
        self.head.headers.contains_key(AUTHORIZATION)
    }
}

/// The host that the client has called, if it is one that this listener is known by. Behind a trusted proxy that says so
/// it is the one that the proxy was called by; what the proxy calls here must be known too, since a proxy may pass on
/// both as the client has sent them.
pub(super) fn admit_host(head: &Parts, connection: &Connection, site: &Site) -> Result<String, Refusal> {
    let mut values = head.headers.get_all(HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(malformed("a request needs exactly one Host"));
    };
    let host = admit_name(value.as_bytes(), connection, site)?;
    if let Some(authority) = head.uri.authority()
        && !authority.as_str().eq_ignore_ascii_case(&host)
    {
        return Err(malformed("the request's target and its Host differ"));
    }
    match believed(head, "x-forwarded-host", connection, site) {
        Some(forwarded) => admit_name(forwarded, connection, site),
        None => Ok(host),
    }
}

/// Whether a host is one that this listener is known by: an address, `localhost`, a configured name, or over TLS the name
/// that the client has verified. Any other name could be a page's elsewhere that was pointed to this machine (DNS
/// rebinding).
fn admit_name(value: &[u8], connection: &Connection, site: &Site) -> Result<String, Refusal> {
    let host = std::str::from_utf8(value).map_err(|_| malformed("the Host is not plain text"))?;
    let host = host.to_ascii_lowercase();
    let name = host_without_port(&host);
    let port = &host[name.len()..];
    let is_port = |port: &str| {
        port.is_empty()
            || port.strip_prefix(':').is_some_and(|port| {
                port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
            })
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    // it becomes part of every link
    let is_name = match bare {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')),
    };
    if name.is_empty() || !is_name || !is_port(port) {
        return Err(malformed("the Host is not a host with or without a port"));
    }
    let is_verified =
        matches!(&connection.tls, Some(ServerName(Some(verified))) if verified.eq_ignore_ascii_case(name));
    if name == "localhost"
        || name.ends_with(".localhost")
        || bare.is_some()
        || name.parse::<Ipv4Addr>().is_ok()
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

fn malformed(detail: &str) -> Refusal {
    Refusal::BadRequest { code: "Bad Request", field: None, detail: detail.to_owned() }
}

/// The address that failures are counted under and the audit log shows ([`policy::source_address`]).
pub(super) fn source_address(head: &Parts, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let values = head.headers.get_all("x-forwarded-for").iter();
    let hops = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let hops: Vec<_> = hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()).collect();
    policy::source_address(peer.to_canonical(), &hops, trusted)
}

/// Whether the client speaks TLS: with this listener, or with a trusted proxy in front, as that one says.
pub(super) fn is_secure(head: &Parts, connection: &Connection, site: &Site) -> bool {
    match believed(head, "x-forwarded-proto", connection, site) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => true,
        Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => false,
        _ => connection.tls.is_some(),
    }
}

/// What a trusted proxy says of how the request came, by the data plane's rule: the field's first value.
fn believed<'h>(head: &'h Parts, name: &str, connection: &Connection, site: &Site) -> Option<&'h [u8]> {
    let peer = connection.peer.ip().to_canonical();
    let is_trusted = policy::is_trusted(&peer, &site.trusted_proxies);
    head.headers.get(name).filter(|_| is_trusted).map(HeaderValue::as_bytes)
}

/// Reads the body whole.
pub(super) async fn read_body(body: Incoming) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) | Err(_) => Err(malformed("the body did not arrive whole")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        let mut builder = http::Request::builder().method(method).uri("/keys");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        Request {
            id: String::new(),
            source: [127, 0, 0, 1].into(),
            host: "gw.test:8081".to_owned(),
            is_secure: true,
            head: builder.body(()).unwrap().into_parts().0,
            body: Bytes::new(),
        }
    }

    #[test]
    fn only_our_own_pages_send_forms() {
        let admitted = |headers: &[(&str, &str)]| request("POST", headers).admit_origin().is_ok();
        assert!(admitted(&[]));
        assert!(admitted(&[("origin", "https://gw.test:8081"), ("sec-fetch-site", "same-origin")]));
        for origin in ["http://gw.test:8081", "https://gw.test", "https://gw.test:8081.evil.test", "null", ""]
        {
            assert!(!admitted(&[("origin", origin)]), "{origin}");
        }
        assert!(!admitted(&[("origin", "https://gw.test:8081"), ("origin", "https://evil.test")]));
        for site in ["cross-site", "same-site", "none", "", "Same-Origin"] {
            assert!(!admitted(&[("sec-fetch-site", site), ("sec-fetch-mode", "navigate")]), "{site}");
        }
    }

    #[test]
    fn a_link_may_be_followed_from_anywhere_and_nothing_else() {
        let admitted = |headers: &[(&str, &str)]| request("GET", headers).admit_origin().is_ok();
        assert!(admitted(&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")]));
        assert!(admitted(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]));
        assert!(admitted(&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]));
        assert!(!admitted(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
        assert!(!admitted(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")]));
    }
}
