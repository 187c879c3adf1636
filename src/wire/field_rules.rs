//! Which names of header fields the gateway has which rule for.

use super::field_kind::FieldKind;
use super::field_kind_table::{FieldKindTable, NameEnds};
use super::field_name_set::fold;
use super::spoofable_headers::SPOOFABLE_HEADERS;

/// The names that have a rule of their own. A name that ends with `*` stands for all that begin like it; of two such
/// the later one counts, and a whole name comes before both.
const OWN_RULES: &[(&str, FieldKind)] = &[
    ("host", FieldKind::Host),
    ("content-length", FieldKind::ContentLength),
    ("content-type", FieldKind::ContentType),
    ("transfer-encoding", FieldKind::TransferEncoding),
    ("connection", FieldKind::Connection),
    ("te", FieldKind::Te),
    ("upgrade", FieldKind::Upgrade),
    ("expect", FieldKind::Expect),
    ("trailer", FieldKind::Trailer),
    ("keep-alive", FieldKind::HopByHop),
    ("proxy-connection", FieldKind::HopByHop),
    ("http2-settings", FieldKind::HopByHop),
    ("proxy-authenticate", FieldKind::HopByHop),
    ("proxy-authentication-info", FieldKind::HopByHop),
    ("authorization", FieldKind::Authorization),
    ("proxy-authorization", FieldKind::ProxyAuthorization),
    ("via", FieldKind::Via),
    ("origin", FieldKind::Origin),
    ("destination", FieldKind::Destination),
    ("access-control-*", FieldKind::AccessControl),
    ("access-control-request-*", FieldKind::Other),
    ("access-control-request-method", FieldKind::AccessControlRequestMethod),
    ("sec-websocket-*", FieldKind::WebSocket),
    ("x-request-id", FieldKind::RequestId),
    ("x-forwarded-for", FieldKind::ForwardedFor),
    ("x-forwarded-proto", FieldKind::ForwardedProto),
    ("x-forwarded-host", FieldKind::ForwardedHost),
    ("x-forwarded-port", FieldKind::ForwardedPort),
    ("forwarded", FieldKind::TrustedProxyOnly),
    ("x-forwarded-prefix", FieldKind::TrustedProxyOnly),
    ("x-real-ip", FieldKind::TrustedProxyOnly),
    ("x-api-*", FieldKind::GatewayOnly),
    ("x-api-no-challenge", FieldKind::NoChallenge),
    ("x-api-action-links", FieldKind::Other),
    ("x-api-csrf", FieldKind::Other),
];

/// The longest listed name; longer ones can only begin like a listed one.
const LONGEST: usize = 40;

static LISTED: FieldKindTable = FieldKindTable::new(OWN_RULES, SPOOFABLE_HEADERS);

impl FieldKind {
    /// The rule that `name` falls under.
    pub fn of(name: &[u8]) -> Self {
        let ends = NameEnds::of(name);
        if ends.is_plain(name) {
            return LISTED.find(name, ends);
        }
        let mut folded = [b'-'; LONGEST];
        folded.iter_mut().zip(fold(name)).for_each(|(to, byte)| *to = byte);
        let start = &folded[..name.len().min(LONGEST)];
        match LISTED.find(start, NameEnds::of(start)) {
            Self::Other => Self::Other,
            _ => Self::Alias,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_in_any_case() {
        assert_eq!(FieldKind::of(b"Content-LENGTH"), FieldKind::ContentLength);
        assert_eq!(FieldKind::of(b"x-api-account-id"), FieldKind::GatewayOnly);
        assert_eq!(FieldKind::of(b"X-API-No-Challenge"), FieldKind::NoChallenge);
        assert_eq!(FieldKind::of(b"X-API-CSRF"), FieldKind::Other);
        assert_eq!(FieldKind::of(b"Accept"), FieldKind::Other);
    }

    #[test]
    fn other_spellings_of_listed_names_are_aliases() {
        for name in
            ["X_API_Account_Id", "X.API.Account.Id", "content_length", "Transfer.Encoding", "remote_user"]
        {
            assert_eq!(FieldKind::of(name.as_bytes()), FieldKind::Alias, "{name}");
        }
        assert_eq!(FieldKind::of(b"my_header"), FieldKind::Other);
    }

    #[test]
    fn every_listed_name_is_found_in_every_spelling() {
        for name in SPOOFABLE_HEADERS.iter().flat_map(|(_, names)| *names) {
            let name = name.replace('*', "anything");
            let own = OWN_RULES
                .iter()
                .find(|(own, _)| *own == name)
                .map_or(FieldKind::GatewayOnly, |(_, kind)| *kind);
            let plain = if name.starts_with('-') { FieldKind::Alias } else { own };
            assert_eq!(
                FieldKind::of(name.replacen('-', "$", usize::from(plain != own)).as_bytes()),
                plain,
                "{name}"
            );
            assert_eq!(FieldKind::of(name.to_ascii_uppercase().as_bytes()), own, "{name}");
            for other in
                ["_", ".", "~"].map(|byte| name.replace('-', byte)).iter().filter(|other| **other != name)
            {
                assert_eq!(FieldKind::of(other.as_bytes()), FieldKind::Alias, "{other}");
            }
        }
        for (name, kind) in OWN_RULES.iter().filter(|(name, _)| !name.ends_with('*')) {
            assert_eq!(FieldKind::of(name.as_bytes()), *kind, "{name}");
        }
    }

    #[test]
    fn headers_that_clients_legitimately_send_have_no_rule() {
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
            assert_eq!(FieldKind::of(name.as_bytes()), FieldKind::Other, "{name}");
        }
    }

    #[test]
    fn long_names_still_fall_under_prefixes() {
        let name = format!("X-API-{}", "a".repeat(100));
        assert_eq!(FieldKind::of(name.as_bytes()), FieldKind::GatewayOnly);
        assert_eq!(FieldKind::of(name.replace('-', "_").as_bytes()), FieldKind::Alias);
    }
}
