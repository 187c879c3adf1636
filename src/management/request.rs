//! A request to the management listener, and what is judged of it before anybody looks what it asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
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
    if let Some(authority) = head.uri.authority()
        && !authority.as_str().eq_ignore_ascii_case(&host)
    {
        return Err(malformed("the request's target and its Host differ"));
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

/// Whether a trusted proxy says that the client has come to it over TLS.
pub(super) fn is_secure_before(head: &Parts, peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    let mut values = head.headers.get_all("x-forwarded-proto").iter();
    trusted.iter().any(|network| network.contains(&peer))
        && matches!((values.next(), values.next()), (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"https"))
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

    #[test]
    fn only_a_trusted_proxy_says_that_the_client_speaks_tls() {
        let trusted: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        let is_secure = |peer: &str, values: &[&str]| {
            let mut builder = http::Request::builder();
            for value in values {
                builder = builder.header("X-Forwarded-Proto", *value);
            }
            is_secure_before(&builder.body(()).unwrap().into_parts().0, peer.parse().unwrap(), &trusted)
        };
        assert!(is_secure("10.0.0.1", &["https"]) && is_secure("::ffff:10.0.0.1", &["HTTPS"]));
        assert!(!is_secure("192.0.2.1", &["https"]));
        for values in [&["http"] as &[_], &[], &["http", "https"], &["https, http"]] {
            assert!(!is_secure("10.0.0.1", values), "{values:?}");
        }
    }
}
