//! The rules that the gateway has for names of header fields.

/// The rule for a name of a header field, or for a group of such names (`docs/headers.md`).
///
/// Names are compared after lower-casing and turning every byte outside `[a-z0-9]` into `-`, because many upstreams
/// fold `_` and `.` the same way (oauth2-proxy CVE-2025-64484, Traefik CVE-2026-39858). A name that is one of these
/// only after that is an [`Alias`](Self::Alias): never honoured, never forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderRule {
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
    /// A header that the configuration accepts credentials in ([`FieldBlock::mark_credentials`](super::FieldBlock))
    Credential,
    /// `Via`
    Via,
    /// `X-Request-Id`
    RequestId,
    /// `traceparent`
    TraceParent,
    /// `tracestate`
    TraceState,
    /// `X-Forwarded-For`
    ForwardedFor,
    /// `X-Forwarded-Proto`
    ForwardedProto,
    /// `X-Forwarded-Host`
    ForwardedHost,
    /// `X-Forwarded-Port`
    ForwardedPort,
    /// `Forwarded`, `X-Forwarded-Prefix`, `X-Real-IP`: pass unchanged from trusted proxies, and only from them
    TrustedProxyOnly,
    /// Tells an upstream who is calling or what was called: `X-API-*` and
    /// [`SPOOFABLE_HEADERS`](super::SPOOFABLE_HEADERS). Only the gateway may send it.
    GatewayOnly,
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

impl HeaderRule {
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
