//! One request to the management listener, as `api` and `ui` read it.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;

/// The connection that requests come on.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// The client, or the proxy in front of it.
    pub(super) peer: SocketAddr,
    /// `None`: a connection without TLS.
    pub(super) tls: Option<ServerName>,
}

/// The server name that the client sent in the TLS handshake, if it sent one.
#[derive(Debug, Clone)]
pub(super) struct ServerName(pub(super) Option<String>);

/// One request. `admit` makes it.
#[derive(Debug)]
pub(super) struct Request {
    /// A random UUID.
    pub(super) id: String,
    /// The client's address.
    pub(super) source: IpAddr,
    /// The host that the client asked for, with its port: from `Host`, or from what a trusted proxy says.
    pub(super) host: String,
    /// Whether the client speaks TLS, with this listener or with a trusted proxy in front of it.
    pub(super) is_secure: bool,
    /// Method, target, fields.
    pub(super) head: Parts,
    /// Empty until `admit` has read it.
    pub(super) body: Bytes,
}

impl Request {
    /// Scheme and host for absolute URLs.
    pub(super) fn base_url(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.host)
    }

    /// The path, not decoded.
    pub(super) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// The query, not decoded; empty if there is none.
    pub(super) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// The value of a header; `None` if it is absent, not ASCII, or given twice.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// The value of a cookie; `None` if it is absent or given twice.
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

    /// Whether there is an `Authorization` header.
    pub(super) fn has_credential(&self) -> bool {
        self.head.headers.contains_key(AUTHORIZATION)
    }
}
