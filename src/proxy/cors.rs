//! CORS: the gateway answers preflights itself, since a browser sends them without the key, and tells browsers who may
//! read an answer.

use http::{HeaderName, Method};

use super::admit::Admitted;
use crate::config::Cors;
use crate::wire::{HeaderRule, RequestHead};

/// The answer to a preflight: the same whether or not the path exists.
pub(super) struct PreflightResponse {
    methods: String,
    headers: String,
    max_age: String,
}

/// The response to a preflight, where this is one on a route with `cors:`.
pub(super) fn preflight_response(cors: Option<&Cors>, admitted: &Admitted<'_>) -> Option<PreflightResponse> {
    let cors = cors.filter(|_| admitted.is_preflight())?;
    Some(PreflightResponse {
        methods: cors.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", "),
        headers: names(&cors.headers),
        max_age: cors.max_age.as_secs().to_string(),
    })
}

impl PreflightResponse {
    /// The fields of the answer, but for the origin's own.
    pub(super) fn fields<'a>(&'a self, request_id: &'a str) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        [
            ("Access-Control-Allow-Methods", self.methods.as_str()),
            ("Access-Control-Allow-Headers", &self.headers),
            ("Access-Control-Max-Age", &self.max_age),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Request-Id", request_id),
        ]
        .into_iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }
}

/// What a script of the request's origin may do with the answer, where the route allows it anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct CorsGrant<'a> {
    /// The origin, or `*`.
    origin: &'a [u8],
    policy: &'a Cors,
}

/// What the route's CORS policy allows the request's origin; `None`: nothing.
pub(super) fn grant<'a>(cors: Option<&'a Cors>, head: &'a RequestHead) -> Option<CorsGrant<'a>> {
    let policy = cors?;
    let mut origins = head.fields.values(HeaderRule::Origin);
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    if policy.allows_every_origin() {
        return Some(CorsGrant { origin: b"*", policy });
    }
    let is_listed = policy.origins.iter().any(|listed| listed.as_bytes() == origin);
    is_listed.then_some(CorsGrant { origin, policy })
}

impl CorsGrant<'_> {
    /// Hands the fields that tell the browser to `emit`.
    pub(super) fn each(self, mut emit: impl FnMut(&[u8], &[u8])) {
        emit(b"Access-Control-Allow-Origin", self.origin);
        if self.policy.allow_credentials {
            emit(b"Access-Control-Allow-Credentials", b"true");
        }
        if !self.policy.expose_headers.is_empty() {
            emit(b"Access-Control-Expose-Headers", names(&self.policy.expose_headers).as_bytes());
        }
        if self.origin != b"*" {
            emit(b"Vary", b"Origin");
        }
    }
}

fn names(headers: &[HeaderName]) -> String {
    headers.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ")
}
