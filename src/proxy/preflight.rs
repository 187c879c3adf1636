//! CORS: the gateway answers preflights itself, since a browser sends them without the key.

use super::admit::Admitted;
use crate::config::Cors;
use crate::wire::{FieldName, RequestHead};

/// The answer to a preflight: the same whether or not the path exists.
pub(super) struct Preflight {
    methods: String,
    headers: String,
    max_age: String,
}

/// The answer, where this is a preflight on a route with `cors:`.
pub(super) fn answer(cors: Option<&Cors>, admitted: &Admitted<'_>) -> Option<Preflight> {
    let cors = cors.filter(|_| admitted.is_preflight())?;
    let join = |names: Vec<&str>| names.join(", ");
    Some(Preflight {
        methods: join(cors.methods.iter().map(http::Method::as_str).collect()),
        headers: join(cors.headers.iter().map(http::HeaderName::as_str).collect()),
        max_age: cors.max_age.as_secs().to_string(),
    })
}

impl Preflight {
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

/// What `Access-Control-Allow-Origin` says to this request: its origin where the route allows it.
pub(super) fn allowed_origin<'a>(cors: Option<&'a Cors>, head: &'a RequestHead) -> Option<&'a [u8]> {
    let cors = cors?;
    let mut origins = head.fields.values(FieldName::Origin);
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    cors.origins.iter().find_map(|allowed| match allowed.as_bytes() {
        b"*" => Some(&b"*"[..]),
        allowed => (allowed == origin).then_some(origin),
    })
}
