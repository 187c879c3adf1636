//! The names of fields that the gateway has rules for.

use super::name_table::{Ends, NameTable};
use super::server_names::READ_BY_SERVERS;

/// The names that the gateway has rules for (`docs/headers.md`).
///
/// Names are compared after lower-casing and turning every byte outside `[a-z0-9]` into `-`, because many upstreams
/// fold `_` and `.` the same way (oauth2-proxy CVE-2025-64484, Traefik CVE-2026-39858). A name that is one of these
/// only after that is an [`Alias`](Self::Alias): never honoured, never forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldName {
    /// No rule of ours; passes, unless the configuration strips it or `Connection` names it.
    Other,
    /// A listed name in another spelling.
    Alias,
    /// `Host`
    Host,
    /// `Content-Length`
    ContentLength,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Connection`
    Connection,
    /// `TE`
    Te,
    /// `Upgrade`
    Upgrade,
    /// `Expect`
    Expect,
    /// `Trailer`: tells which trailers follow; passes to HTTP/1.1 only with them
    Trailer,
    /// `Keep-Alive`, `Proxy-Connection`, `HTTP2-Settings`, `Proxy-Authenticate` and the like: for one connection only
    HopByHop,
    /// `Authorization`
    Authorization,
    /// `Proxy-Authorization`
    ProxyAuthorization,
    /// `Via`
    Via,
    /// `X-Request-Id`
    RequestId,
    /// `X-Forwarded-For`
    ForwardedFor,
    /// `X-Forwarded-Proto`
    ForwardedProto,
    /// `X-Forwarded-Host`
    ForwardedHost,
    /// `X-Forwarded-Port`
    ForwardedPort,
    /// `Forwarded`, `X-Forwarded-Prefix`, `X-Real-IP`: pass from trusted proxies as they are, and from nobody else
    FromProxies,
    /// Tells an upstream who is calling or what was called: `X-API-*` and [`READ_BY_SERVERS`]. Only the gateway may say
    /// that.
    Identity,
    /// `X-API-No-Challenge`
    NoChallenge,
    /// `Destination`: the second path of COPY and MOVE
    Destination,
    /// `Origin`
    Origin,
    /// `Access-Control-Request-Method`
    AccessControlRequestMethod,
    /// `Access-Control-*` of an answer, which the gateway replaces where it answers preflights itself
    AccessControl,
    /// `Sec-WebSocket-*`
    WebSocket,
    /// `Content-Type`
    ContentType,
}

/// The names that have a rule of their own. A name that ends with `*` stands for all that begin like it; of two such
/// the later one counts, and a whole name comes before both.
const OWN_RULES: &[(&str, FieldName)] = &[
    ("host", FieldName::Host),
    ("content-length", FieldName::ContentLength),
    ("content-type", FieldName::ContentType),
    ("transfer-encoding", FieldName::TransferEncoding),
    ("connection", FieldName::Connection),
    ("te", FieldName::Te),
    ("upgrade", FieldName::Upgrade),
    ("expect", FieldName::Expect),
    ("trailer", FieldName::Trailer),
    ("keep-alive", FieldName::HopByHop),
    ("proxy-connection", FieldName::HopByHop),
    ("http2-settings", FieldName::HopByHop),
    ("proxy-authenticate", FieldName::HopByHop),
    ("proxy-authentication-info", FieldName::HopByHop),
    ("authorization", FieldName::Authorization),
    ("proxy-authorization", FieldName::ProxyAuthorization),
    ("via", FieldName::Via),
    ("origin", FieldName::Origin),
    ("destination", FieldName::Destination),
    ("access-control-*", FieldName::AccessControl),
    ("access-control-request-*", FieldName::Other),
    ("access-control-request-method", FieldName::AccessControlRequestMethod),
    ("sec-websocket-*", FieldName::WebSocket),
    ("x-request-id", FieldName::RequestId),
    ("x-forwarded-for", FieldName::ForwardedFor),
    ("x-forwarded-proto", FieldName::ForwardedProto),
    ("x-forwarded-host", FieldName::ForwardedHost),
    ("x-forwarded-port", FieldName::ForwardedPort),
    ("forwarded", FieldName::FromProxies),
    ("x-forwarded-prefix", FieldName::FromProxies),
    ("x-real-ip", FieldName::FromProxies),
    ("x-api-*", FieldName::Identity),
    ("x-api-no-challenge", FieldName::NoChallenge),
    ("x-api-action-links", FieldName::Other),
    ("x-api-csrf", FieldName::Other),
];

/// The longest listed name; longer ones can only begin like a listed one.
const LONGEST: usize = 40;

static LISTED: NameTable = NameTable::new(OWN_RULES, READ_BY_SERVERS);

impl FieldName {
    /// The rule that `name` falls under.
    pub fn of(name: &[u8]) -> Self {
        let ends = Ends::of(name);
        if ends.is_plain(name) {
            return LISTED.find(name, ends);
        }
        let mut folded = [b'-'; LONGEST];
        folded.iter_mut().zip(fold(name)).for_each(|(to, byte)| *to = byte);
        let start = &folded[..name.len().min(LONGEST)];
        match LISTED.find(start, Ends::of(start)) {
            Self::Other => Self::Other,
            _ => Self::Alias,
        }
    }

    /// Whether the field belongs to one connection and is never passed on (RFC 9110 §7.6.1).
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Te
                | Self::Upgrade
                | Self::Trailer
                | Self::HopByHop
                | Self::TransferEncoding
        )
    }
}

/// Field names that the configuration strips, as the gateway compares them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameList(Vec<Box<[u8]>>);

impl NameList {
    /// A list of these names.
    pub fn new<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(names.into_iter().map(|name| fold(name.as_ref()).collect()).collect())
    }

    /// Whether `name` is one of them, in any spelling that folds to it.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|listed| same_name(listed, name))
    }
}

/// Whether two names are one to a server that does not tell `_` and `.` from `-`.
pub fn same_name(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && fold(one).eq(fold(other))
}

/// `name` as the gateway compares it: lower case, every byte outside `[a-z0-9]` as `-`.
fn fold(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(|byte| {
        let lower = byte.to_ascii_lowercase();
        if lower.is_ascii_lowercase() || lower.is_ascii_digit() { lower } else { b'-' }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_in_any_case() {
        assert_eq!(FieldName::of(b"Content-LENGTH"), FieldName::ContentLength);
        assert_eq!(FieldName::of(b"x-api-account-id"), FieldName::Identity);
        assert_eq!(FieldName::of(b"X-API-No-Challenge"), FieldName::NoChallenge);
        assert_eq!(FieldName::of(b"X-API-CSRF"), FieldName::Other);
        assert_eq!(FieldName::of(b"Accept"), FieldName::Other);
    }

    #[test]
    fn other_spellings_of_listed_names_are_aliases() {
        for name in
            ["X_API_Account_Id", "X.API.Account.Id", "content_length", "Transfer.Encoding", "remote_user"]
        {
            assert_eq!(FieldName::of(name.as_bytes()), FieldName::Alias, "{name}");
        }
        assert_eq!(FieldName::of(b"my_header"), FieldName::Other);
    }

    #[test]
    fn every_listed_name_is_found_in_every_spelling() {
        for name in READ_BY_SERVERS.iter().flat_map(|(_, names)| *names) {
            let name = name.replace('*', "anything");
            let own =
                OWN_RULES.iter().find(|(own, _)| *own == name).map_or(FieldName::Identity, |(_, kind)| *kind);
            let plain = if name.starts_with('-') { FieldName::Alias } else { own };
            assert_eq!(
                FieldName::of(name.replacen('-', "$", usize::from(plain != own)).as_bytes()),
                plain,
                "{name}"
            );
            assert_eq!(FieldName::of(name.to_ascii_uppercase().as_bytes()), own, "{name}");
            for other in
                ["_", ".", "~"].map(|byte| name.replace('-', byte)).iter().filter(|other| **other != name)
            {
                assert_eq!(FieldName::of(other.as_bytes()), FieldName::Alias, "{other}");
            }
        }
        for (name, kind) in OWN_RULES.iter().filter(|(name, _)| !name.ends_with('*')) {
            assert_eq!(FieldName::of(name.as_bytes()), *kind, "{name}");
        }
    }

    #[test]
    fn what_clients_rightly_send_has_no_rule() {
        for name in [
            "Accept",
            "Accept-Encoding",
            "Access-Control-Request-Headers",
            "Cookie",
            "Depth",
            "DNT",
            "HTTP-Referer",
            "If",
            "If-Match",
            "Lock-Token",
            "Overwrite",
            "Prefer",
            "Range",
            "Referer",
            "Sec-Fetch-Mode",
            "SOAPAction",
            "Timeout",
            "traceparent",
            "X-Auth-Token",
            "X-Auth-User",
            "X-CSRF-Token",
            "X-Consul-Token",
            "X-GitHub-Api-Version",
            "X-Requested-With",
            "X-User-Id",
            "X-Vault-Token",
            "x-amz-date",
            "x-amzn-trace-id",
            "x-goog-api-key",
            "x-ms-client-request-id",
            "x-ms-version",
        ] {
            assert_eq!(FieldName::of(name.as_bytes()), FieldName::Other, "{name}");
        }
    }

    #[test]
    fn long_names_still_fall_under_prefixes() {
        let name = format!("X-API-{}", "a".repeat(100));
        assert_eq!(FieldName::of(name.as_bytes()), FieldName::Identity);
        assert_eq!(FieldName::of(name.replace('-', "_").as_bytes()), FieldName::Alias);
    }
}
