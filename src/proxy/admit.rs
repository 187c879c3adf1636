//! The first step: what is refused before anything is looked up.

use std::borrow::Cow;

use http::Method;

use super::credential_places::{CredentialPlaces, SentCredential};
use super::refusal::Refusal;
use crate::config::Limits;
use crate::policy::{self, RequestTarget};
use crate::wire::{BodyLength, HeaderRule, RequestHead, Version};

/// The most options a `Connection` header may name: each is compared with each header.
const MAX_CONNECTION_OPTIONS: usize = 100;

/// A request whose framing, host, method and target are clear. Everything after this step works on it.
pub(super) struct Admitted<'h> {
    pub(super) head: &'h RequestHead,
    pub(super) method: Method,
    pub(super) target: RequestTarget<'h>,
    /// The target in origin form, as it is forwarded.
    pub(super) origin_form: &'h [u8],
    /// `Host`, or HTTP/2's `:authority`; empty only for HTTP/1.0 without a `Host`.
    pub(super) host: &'h [u8],
    pub(super) body: BodyLength,
    pub(super) expects_continue: bool,
    /// The protocol that the client wants to change to.
    pub(super) upgrade: Option<&'h [u8]>,
    /// The single credential, whether or not it can be read.
    pub(super) credential: Option<SentCredential<'h>>,
    /// The client wants no `WWW-Authenticate` (its own dialogue asks for the key).
    pub(super) no_challenge: bool,
    pub(super) connection: ConnectionOptions,
}

impl Admitted<'_> {
    /// Whether the client asks for a WebSocket.
    pub(super) fn is_websocket(&self) -> bool {
        self.upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
    }

    /// Whether the client takes trailers (`TE: trailers`).
    pub(super) fn accepts_trailers(&self) -> bool {
        self.head
            .fields
            .values(HeaderRule::Te)
            .flat_map(list)
            .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
    }

    /// Whether this is what a browser asks before it sends the real request.
    pub(super) fn is_preflight(&self) -> bool {
        self.method == Method::OPTIONS
            && self.head.fields.values(HeaderRule::Origin).next().is_some()
            && self.head.fields.values(HeaderRule::AccessControlRequestMethod).next().is_some()
    }

    /// What the client's version and `Connection` say (RFC 9112 §9.3).
    pub(super) fn keeps_alive(&self) -> bool {
        match self.head.version {
            Version::Http10 => self.connection.keep_alive && !self.connection.close,
            Version::Http11 | Version::Http2 => !self.connection.close,
        }
    }
}

/// What the `Connection` header says.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

/// Looks at a head as it came; `origin_form` holds the target where it had to be taken out of a URL.
pub(super) fn admit<'h>(
    head: &'h RequestHead,
    body: BodyLength,
    limits: &Limits,
    places: &CredentialPlaces,
    origin_form: &'h mut Vec<u8>,
) -> Result<Admitted<'h>, Refusal> {
    let method = method(head)?;
    let raw = head.target();
    if raw.len() > limits.uri_bytes {
        return Err(Refusal::UriTooLong);
    }
    let connection = connection_options(head)?;
    let (host, form) = host_and_target(head, &method)?;
    let origin_form: &'h [u8] = match form {
        Cow::Borrowed(target) => target,
        Cow::Owned(target) => {
            *origin_form = target;
            origin_form
        }
    };
    let target = policy::admit_target(origin_form).map_err(Refusal::Path)?;
    let expects_continue = match single(head, HeaderRule::Expect)? {
        None => false,
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => {
            head.version != Version::Http10 && body != BodyLength::NONE
        }
        Some(_) => return Err(Refusal::Expectation),
    };
    let credential = credential(head, places)?;
    let upgrade = match head.protocol() {
        Some(protocol) => Some(protocol),
        None if connection.upgrade && head.version == Version::Http11 => upgrade_protocol(head),
        None => None,
    };
    let no_challenge =
        single(head, HeaderRule::NoChallenge)?.is_some_and(|v| v.eq_ignore_ascii_case(b"true"));
    let method = if head.protocol().is_some() { Method::GET } else { method };
    Ok(Admitted {
        head,
        method,
        target,
        origin_form,
        host,
        body,
        expects_continue,
        upgrade,
        credential,
        no_challenge,
        connection,
    })
}

fn method(head: &RequestHead) -> Result<Method, Refusal> {
    let method =
        Method::from_bytes(head.method()).map_err(|_| Refusal::Malformed("the method is malformed"))?;
    match method {
        // RFC 8441: CONNECT with a protocol opens a WebSocket on HTTP/2
        Method::CONNECT => match head.protocol() {
            Some(b"websocket") => Ok(method),
            Some(_) => Err(Refusal::UnknownProtocol),
            None => Err(Refusal::Method),
        },
        // would hand back the identity headers that the gateway added
        Method::TRACE => Err(Refusal::Method),
        _ => Ok(method),
    }
}

/// The host, and the target in origin form (RFC 9112 §3.2).
fn host_and_target<'h>(head: &'h RequestHead, method: &Method) -> Result<(&'h [u8], Cow<'h, [u8]>), Refusal> {
    let header = single(head, HeaderRule::Host)?;
    let target = head.target();
    if head.version == Version::Http2 {
        let host = match (head.authority(), header) {
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
                return Err(Refusal::Malformed("Host and :authority differ"));
            }
            (Some(host), _) | (None, Some(host)) => host,
            (None, None) => return Err(Refusal::Malformed("there is no :authority")),
        };
        if !target.starts_with(b"/") {
            return Err(no_path(method, target));
        }
        return valid_host(host).map(|host| (host, Cow::Borrowed(target)));
    }
    let host = match header {
        Some(host) => Some(valid_host(host)?),
        None if head.version == Version::Http10 => None,
        None => return Err(Refusal::Malformed("there is no Host")),
    };
    if target.starts_with(b"/") {
        return Ok((host.unwrap_or_default(), Cow::Borrowed(target)));
    }
    if target == b"*" {
        return Err(no_path(method, target));
    }
    let malformed = Refusal::Malformed("the request target is neither a path nor an http URL");
    let (_, authority, rest) = absolute_form(target, malformed)?;
    // the target's authority is the host (RFC 9112 §3.2.2); another one beside it is refused
    let host = host.unwrap_or(authority);
    if !authority.eq_ignore_ascii_case(host) {
        return Err(Refusal::Malformed("Host and the request target differ"));
    }
    if rest.starts_with(b"/") {
        Ok((host, Cow::Borrowed(rest)))
    } else {
        Ok((host, Cow::Owned([b"/", rest].concat())))
    }
}

/// `OPTIONS *` speaks of the server as a whole, which is no route; nothing else may name no path.
fn no_path(method: &Method, target: &[u8]) -> Refusal {
    if *method == Method::OPTIONS && target == b"*" {
        Refusal::Method
    } else {
        Refusal::Malformed("the request target is not a path")
    }
}

/// The scheme of a URL, its authority, and what follows.
type AbsoluteForm<'t> = (&'t [u8], &'t [u8], &'t [u8]);

/// Splits `http://authority/path?query`.
pub(super) fn absolute_form(target: &[u8], malformed: Refusal) -> Result<AbsoluteForm<'_>, Refusal> {
    let scheme_end = target.iter().position(|&byte| byte == b':').ok_or(malformed.clone())?;
    let (scheme, rest) = target.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(malformed);
    }
    let rest = rest.strip_prefix(b"://").ok_or(malformed)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    valid_host(authority).map(|authority| (scheme, authority, rest))
}

/// `host [":" port]` without user information, lists or anything that a path could begin with (RFC 9110 §7.2).
pub(super) fn valid_host(host: &[u8]) -> Result<&[u8], Refusal> {
    let malformed = Refusal::Malformed("Host is malformed");
    let (name, port) = if host.starts_with(b"[") {
        let end = host.iter().position(|&byte| byte == b']').ok_or(malformed.clone())? + 1;
        (&host[1..end - 1], &host[end..])
    } else {
        host.split_at(host.iter().position(|&byte| byte == b':').unwrap_or(host.len()))
    };
    let name_is_valid = if host.starts_with(b"[") {
        name.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
    } else {
        name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
    };
    let port_is_valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if name.is_empty() || !name_is_valid || !port_is_valid { Err(malformed) } else { Ok(host) }
}

/// The value of a field that may be there once at most.
fn single(head: &RequestHead, name: HeaderRule) -> Result<Option<&[u8]>, Refusal> {
    let mut values = head.fields.values(name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Refusal::Repeated(match name {
            HeaderRule::Authorization => "Authorization",
            HeaderRule::Host => "Host",
            HeaderRule::Expect => "Expect",
            _ => "a header that may stand once",
        })),
    }
}

/// The credential, wherever it was sent. `Authorization` counts as one whatever its scheme.
fn credential<'h>(
    head: &'h RequestHead,
    places: &CredentialPlaces,
) -> Result<Option<SentCredential<'h>>, Refusal> {
    let authorization = single(head, HeaderRule::Authorization)?;
    if authorization.is_some_and(|value| is_joined(value, places)) {
        return Err(Refusal::Repeated("Authorization"));
    }
    let authorization = authorization.map(SentCredential::Authorization);
    if places.headers.is_empty() {
        return Ok(authorization);
    }
    let headers = head.fields.values(HeaderRule::Credential).map(SentCredential::Header);
    let mut sent = authorization.into_iter().chain(headers);
    match (sent.next(), sent.next()) {
        (credential, None) => Ok(credential),
        _ => Err(Refusal::Malformed("it holds more than one credential")),
    }
}

/// Whether it is two credentials joined by a comma. A pair as it is may hold one, base64 may not.
fn is_joined(authorization: &[u8], places: &CredentialPlaces) -> bool {
    let Some(comma) = memchr::memchr(b',', authorization) else { return false };
    if has_scheme(authorization, b"basic ") {
        return true;
    }
    let mut others = authorization[comma + 1..].split(|&byte| byte == b',').map(<[u8]>::trim_ascii_start);
    places.bearer && others.any(|part| has_scheme(part, b"basic ") || has_scheme(part, b"bearer "))
}

fn has_scheme(value: &[u8], scheme: &[u8]) -> bool {
    value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

fn connection_options(head: &RequestHead) -> Result<ConnectionOptions, Refusal> {
    let mut options = ConnectionOptions::default();
    let mut count = 0;
    for option in head.fields.values(HeaderRule::Connection).flat_map(list) {
        count += 1;
        if count > MAX_CONNECTION_OPTIONS {
            return Err(Refusal::Malformed("Connection names too many options"));
        }
        if option.eq_ignore_ascii_case(b"close") {
            options.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            options.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            options.upgrade = true;
        }
    }
    Ok(options)
}

/// The one protocol that `Upgrade` asks for, if it is one that may be tunnelled. `h2c` and `TLS` change how the same
/// connection's next requests are read, past every rule here: they are never offered (RFC 9110 §7.8).
fn upgrade_protocol(head: &RequestHead) -> Option<&[u8]> {
    let mut values = head.fields.values(HeaderRule::Upgrade);
    let (Some(protocol), None) = (values.next(), values.next()) else { return None };
    let is_one = !protocol.is_empty()
        && protocol
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'/' | b'_'));
    let refused = [&b"h2"[..], b"http", b"tls", b"connect"]
        .iter()
        .any(|name| protocol.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
    (is_one && !refused).then_some(protocol)
}

/// The elements of a comma-separated field value.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        for host in ["a", "a.b:80", "127.0.0.1:8080", "[::1]:443", "a_b-c"] {
            assert!(valid_host(host.as_bytes()).is_ok(), "{host}");
        }
        for host in ["", "a@b", "a/b", "a,b", "a b", ":80", "a:b", "[::1", "a:123456", "[::1]x", "a:80:80"] {
            assert!(valid_host(host.as_bytes()).is_err(), "{host}");
        }
    }

    #[test]
    fn absolute_targets_are_split_at_the_authority() {
        let absolute_form = |target| absolute_form(target, Refusal::Malformed("no URL"));
        assert_eq!(absolute_form(b"http://h:1/a?b").unwrap(), (&b"http"[..], &b"h:1"[..], &b"/a?b"[..]));
        assert_eq!(absolute_form(b"HTTP://h?x").unwrap(), (&b"HTTP"[..], &b"h"[..], &b"?x"[..]));
        for target in ["http:/h/", "ftp://h/", "h:443", "http://u:p@h/", "http:///a"] {
            assert!(absolute_form(target.as_bytes()).is_err(), "{target}");
        }
    }
}
