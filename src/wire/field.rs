//! Header and trailer fields as spans over the bytes they came in, and the names the gateway has rules for.

use std::ops::Range;

use zeroize::Zeroize;

use super::spare;

/// A range of a block's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The range `start..end`; a block is bounded by the head limits, far below 4 GiB.
    pub fn new(start: usize, end: usize) -> Self {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    /// The bytes of `bytes` that the span covers.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// One field line.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name as it was sent.
    pub name: Span,
    /// The value without surrounding white space.
    pub value: Span,
    /// Which rule the name falls under.
    pub kind: FieldName,
}

/// Field lines and the bytes they stand in.
#[derive(Clone, Default)]
pub struct FieldBlock {
    pub(super) bytes: Vec<u8>,
    pub(super) fields: Vec<Field>,
}

impl FieldBlock {
    /// Empties the block and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
    }

    /// Empties the block, and sees to it that it has memory to be filled.
    pub(super) fn begin(&mut self) {
        self.clear();
        if self.bytes.capacity() == 0 {
            (self.bytes, self.fields) = spare::take_block();
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Appends a field; name and value must already be valid.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_as(FieldName::of(name), name, value);
    }

    /// As [`push`](Self::push), for a name whose rule is known.
    pub(super) fn push_as(&mut self, kind: FieldName, name: &[u8], value: &[u8]) {
        let name = self.append(name);
        let value = self.append(value);
        self.fields.push(Field { name, value, kind });
    }

    /// Keeps only the fields for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(FieldName, &[u8]) -> bool) {
        let Self { bytes, fields } = self;
        fields.retain(|field| keep(field.kind, field.name.of(bytes)));
    }

    /// The fields in order: rule, name, value.
    pub fn iter(&self) -> impl Iterator<Item = (FieldName, &[u8], &[u8])> {
        self.fields.iter().map(|field| (field.kind, field.name.of(&self.bytes), field.value.of(&self.bytes)))
    }

    /// The values of the fields that fall under `kind`.
    pub fn values(&self, kind: FieldName) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |field| field.kind == kind).map(|field| field.value.of(&self.bytes))
    }

    /// Where the values of credentials stand in the block's bytes.
    pub(super) fn credentials_of(fields: &[Field]) -> impl Iterator<Item = Range<usize>> + '_ {
        fields
            .iter()
            .filter(|field| matches!(field.kind, FieldName::Authorization | FieldName::ProxyAuthorization))
            .map(|field| field.value.start as usize..field.value.end as usize)
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span::new(start, self.bytes.len())
    }
}

/// Overwrites the credentials, so that neither this memory nor what it becomes next tells a secret.
impl Drop for FieldBlock {
    fn drop(&mut self) {
        let (mut bytes, fields) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.fields));
        Self::credentials_of(&fields).for_each(|range| bytes[range].zeroize());
        spare::give_block(bytes, fields);
    }
}

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
    /// Tells an upstream who is calling or what was called: `X-API-*`, `Remote-*`, `X-Forwarded-*`, URL and method
    /// overrides. Only the gateway may say that.
    Identity,
    /// `X-API-No-Challenge`
    NoChallenge,
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

/// The longest listed name that is compared whole; longer ones can only fall under a prefix.
const LONGEST: usize = 40;

/// What each byte of a name is compared as, and whether it is another spelling of that.
static FOLDED: [u8; 256] = {
    let mut folded = [b'-' | OTHER_SPELLING; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            folded[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    folded
};
const OTHER_SPELLING: u8 = 0x80;

impl FieldName {
    /// The rule that `name` falls under.
    pub fn of(name: &[u8]) -> Self {
        let mut folded = [0u8; LONGEST];
        let length = name.len().min(LONGEST);
        let mut seen = 0;
        for (to, &byte) in folded.iter_mut().zip(name) {
            let fold = FOLDED[usize::from(byte)];
            seen |= fold;
            *to = fold & !OTHER_SPELLING;
        }
        let alias = seen & OTHER_SPELLING != 0;
        let kind = Self::of_folded(&folded[..length], name.len() <= LONGEST);
        if alias && kind != Self::Other { Self::Alias } else { kind }
    }

    fn of_folded(name: &[u8], whole: bool) -> Self {
        if !whole {
            return Self::by_prefix(name);
        }
        match name {
            b"host" => Self::Host,
            b"content-length" => Self::ContentLength,
            b"content-type" => Self::ContentType,
            b"transfer-encoding" => Self::TransferEncoding,
            b"connection" => Self::Connection,
            b"te" => Self::Te,
            b"upgrade" => Self::Upgrade,
            b"expect" => Self::Expect,
            b"trailer" => Self::Trailer,
            b"keep-alive"
            | b"proxy-connection"
            | b"http2-settings"
            | b"proxy-authenticate"
            | b"proxy-authentication-info" => Self::HopByHop,
            b"authorization" => Self::Authorization,
            b"proxy-authorization" => Self::ProxyAuthorization,
            b"via" => Self::Via,
            b"origin" => Self::Origin,
            b"access-control-request-method" => Self::AccessControlRequestMethod,
            b"x-request-id" => Self::RequestId,
            b"x-forwarded-for" => Self::ForwardedFor,
            b"x-forwarded-proto" => Self::ForwardedProto,
            b"x-forwarded-host" => Self::ForwardedHost,
            b"x-forwarded-port" => Self::ForwardedPort,
            b"x-api-no-challenge" => Self::NoChallenge,
            b"x-api-action-links" | b"x-api-csrf" => Self::Other,
            // who is calling, by other conventions; what was called; and with which method
            b"forwarded"
            | b"x-real-ip"
            | b"x-client-ip"
            | b"true-client-ip"
            | b"x-cluster-client-ip"
            | b"x-original-url"
            | b"x-original-uri"
            | b"x-original-method"
            | b"x-original-host"
            | b"x-rewrite-url"
            | b"x-http-method-override"
            | b"x-http-method"
            | b"x-method-override"
            | b"x-url-scheme"
            | b"x-host" => Self::Identity,
            _ => Self::by_prefix(name),
        }
    }

    fn by_prefix(name: &[u8]) -> Self {
        const IDENTITY: [&[u8]; 5] = [b"x-api-", b"x-forwarded-", b"x-remote-", b"remote-", b"impersonate-"];
        if IDENTITY.iter().any(|prefix| name.starts_with(prefix)) {
            Self::Identity
        } else if name.starts_with(b"sec-websocket-") {
            Self::WebSocket
        } else if name.starts_with(b"access-control-") && !name.starts_with(b"access-control-request-") {
            Self::AccessControl
        } else {
            Self::Other
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

    /// Whether a trailer field of this name would frame, route or authenticate the message if it were believed
    /// (RFC 9110 §6.5.1); such a trailer is dropped.
    pub fn is_forbidden_in_trailers(self) -> bool {
        !matches!(self, Self::Other | Self::WebSocket | Self::Via)
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
    fn long_names_still_fall_under_prefixes() {
        let name = format!("X-API-{}", "a".repeat(100));
        assert_eq!(FieldName::of(name.as_bytes()), FieldName::Identity);
        assert_eq!(FieldName::of(name.replace('-', "_").as_bytes()), FieldName::Alias);
    }
}
