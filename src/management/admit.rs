//! Admission: requests that are refused before anybody looks at what they ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use ipnet::IpNet;

use super::refusal::Refusal;
use super::request::{Connection, Request, ServerName};
use super::settings::{Settings, host_without_port};
use crate::policy;

/// The largest body that any request needs.
const MAX_BODY_BYTES: usize = 64 << 10;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Admits a request whose `Host` this listener is known by. Its body is still to be read.
pub(super) fn head(
    id: String,
    source: IpAddr,
    head: Parts,
    connection: &Connection,
    settings: &Settings,
) -> Result<Request, Refusal> {
    let host = admit_host(&head, connection, settings)?;
    let is_secure = is_secure(&head, connection, settings);
    Ok(Request { id, source, host, is_secure, head, body: Bytes::new() })
}

/// Refuses what another site's page sent, then reads the body.
pub(super) async fn origin_and_body(request: &mut Request, body: Incoming) -> Result<(), Refusal> {
    admit_origin(request)?;
    if !matches!(request.head.method, Method::GET | Method::HEAD) {
        request.body = read_body(body).await?;
    }
    Ok(())
}

/// The host that the client asked for. It must be known here, and so must the `X-Forwarded-Host` of a trusted proxy,
/// which then counts instead: a proxy may pass on both as the client sent them.
fn admit_host(head: &Parts, connection: &Connection, settings: &Settings) -> Result<String, Refusal> {
    let mut values = head.headers.get_all(HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(malformed("a request needs exactly one Host"));
    };
    let host = admit_name(value.as_bytes(), connection, settings)?;
    if let Some(authority) = head.uri.authority()
        && !authority.as_str().eq_ignore_ascii_case(&host)
    {
        return Err(malformed("the request's target and its Host differ"));
    }
    match from_trusted_proxy(head, "x-forwarded-host", connection, settings) {
        Some(forwarded) => admit_name(forwarded, connection, settings),
        None => Ok(host),
    }
}

/// Known hosts are addresses, `localhost`, configured names, and over TLS the name that the client verified. Any other
/// name may be DNS rebinding: another site's name that was pointed at this machine.
fn admit_name(value: &[u8], connection: &Connection, settings: &Settings) -> Result<String, Refusal> {
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
    // the host becomes part of every link
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
        || settings.hosts.iter().any(|known| known == name)
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

/// The client's address, for the throttle and the audit log ([`policy::source_address`]).
pub(super) fn source_address(head: &Parts, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let values = head.headers.get_all("x-forwarded-for").iter();
    let hops = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let hops: Vec<_> = hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()).collect();
    let peer = peer.to_canonical();
    policy::source_address(peer, policy::is_trusted_proxy(&peer, trusted), &hops, trusted)
}

/// Whether the client speaks TLS, with this listener or, as `X-Forwarded-Proto` says, with a trusted proxy.
fn is_secure(head: &Parts, connection: &Connection, settings: &Settings) -> bool {
    match from_trusted_proxy(head, "x-forwarded-proto", connection, settings) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => true,
        Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => false,
        _ => connection.tls.is_some(),
    }
}

/// The first value of a header, if the peer is a trusted proxy: the data plane has the same rule.
fn from_trusted_proxy<'h>(
    head: &'h Parts,
    name: &str,
    connection: &Connection,
    settings: &Settings,
) -> Option<&'h [u8]> {
    let peer = connection.peer.ip().to_canonical();
    let is_trusted = policy::is_trusted_proxy(&peer, &settings.trusted_proxies);
    head.headers.get(name).filter(|_| is_trusted).map(HeaderValue::as_bytes)
}

/// Reads the whole body.
async fn read_body(body: Incoming) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) | Err(_) => Err(malformed("the body did not arrive whole")),
    }
}

/// Refuses requests that another site's page sent, by `Origin` and by `Sec-Fetch-Site` of
/// [Fetch Metadata](https://www.w3.org/TR/fetch-metadata/). The session cookie is `SameSite=Strict`, but a browser
/// sends a key that was typed into its own password prompt with every request. Links from other sites are allowed;
/// fetching and embedding are not.
fn admit_origin(request: &Request) -> Result<(), Refusal> {
    let headers = &request.head.headers;
    let is_reading = matches!(request.head.method, Method::GET | Method::HEAD);
    let site = headers.contains_key("sec-fetch-site").then(|| request.header("sec-fetch-site"));
    let is_own = match site {
        None | Some(Some("same-origin")) => true,
        // typed, or from a bookmark
        Some(Some("none")) => is_reading,
        Some(_) => is_reading && request.header("sec-fetch-mode") == Some("navigate"),
    };
    let origin = headers.contains_key(ORIGIN).then(|| request.header("origin"));
    let is_ours = origin.is_none_or(|origin| origin == Some(request.base_url().as_str()));
    if is_own && is_ours {
        return Ok(());
    }
    let detail = "The request comes from another site's page, as your browser says. Nothing was done.";
    Err(Refusal::Forbidden { detail: Some(detail.to_owned()) })
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
        let admitted = |headers: &[(&str, &str)]| admit_origin(&request("POST", headers)).is_ok();
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
        let admitted = |headers: &[(&str, &str)]| admit_origin(&request("GET", headers)).is_ok();
        assert!(admitted(&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")]));
        assert!(admitted(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]));
        assert!(admitted(&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]));
        assert!(!admitted(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
        assert!(!admitted(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")]));
    }
}
