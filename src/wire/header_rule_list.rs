//! Which names of header fields the gateway has which rule for.

use super::field_name_set::fold;
use super::header_rule::HeaderRule;
use super::header_rule_hash_table::{HeaderRuleTable, NameEnds};
use super::spoofable_headers::SPOOFABLE_HEADERS;

/// The names that have a rule of their own. A name that ends with `*` stands for all that begin like it; of two such
/// the later one counts, and a whole name comes before both.
const OWN_RULES: &[(&str, HeaderRule)] = &[
    ("host", HeaderRule::Host),
    ("content-length", HeaderRule::ContentLength),
    ("content-type", HeaderRule::ContentType),
    ("transfer-encoding", HeaderRule::TransferEncoding),
    ("connection", HeaderRule::Connection),
    ("te", HeaderRule::Te),
    ("upgrade", HeaderRule::Upgrade),
    ("expect", HeaderRule::Expect),
    ("trailer", HeaderRule::Trailer),
    ("keep-alive", HeaderRule::HopByHop),
    ("proxy-connection", HeaderRule::HopByHop),
    ("http2-settings", HeaderRule::HopByHop),
    ("proxy-authenticate", HeaderRule::HopByHop),
    ("proxy-authentication-info", HeaderRule::HopByHop),
    ("authorization", HeaderRule::Authorization),
    ("proxy-authorization", HeaderRule::ProxyAuthorization),
    ("via", HeaderRule::Via),
    ("origin", HeaderRule::Origin),
    ("destination", HeaderRule::Destination),
    ("access-control-*", HeaderRule::AccessControl),
    ("access-control-request-*", HeaderRule::Other),
    ("access-control-request-method", HeaderRule::AccessControlRequestMethod),
    ("sec-websocket-*", HeaderRule::WebSocket),
    ("x-request-id", HeaderRule::RequestId),
    ("traceparent", HeaderRule::TraceParent),
    ("tracestate", HeaderRule::TraceState),
    ("x-forwarded-for", HeaderRule::ForwardedFor),
    ("x-forwarded-proto", HeaderRule::ForwardedProto),
    ("x-forwarded-host", HeaderRule::ForwardedHost),
    ("x-forwarded-port", HeaderRule::ForwardedPort),
    ("forwarded", HeaderRule::TrustedProxyOnly),
    ("x-forwarded-prefix", HeaderRule::TrustedProxyOnly),
    ("x-real-ip", HeaderRule::TrustedProxyOnly),
    ("x-api-*", HeaderRule::GatewayOnly),
    ("x-api-no-challenge", HeaderRule::NoChallenge),
    ("x-api-action-links", HeaderRule::Other),
    ("x-api-csrf", HeaderRule::Other),
];

/// The longest listed name; longer ones can only begin like a listed one.
const LONGEST: usize = 40;

static LISTED: HeaderRuleTable = HeaderRuleTable::new(OWN_RULES, SPOOFABLE_HEADERS);

impl HeaderRule {
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
        assert_eq!(HeaderRule::of(b"Content-LENGTH"), HeaderRule::ContentLength);
        assert_eq!(HeaderRule::of(b"x-api-account-id"), HeaderRule::GatewayOnly);
        assert_eq!(HeaderRule::of(b"X-API-No-Challenge"), HeaderRule::NoChallenge);
        assert_eq!(HeaderRule::of(b"X-API-CSRF"), HeaderRule::Other);
        assert_eq!(HeaderRule::of(b"Accept"), HeaderRule::Other);
    }

    #[test]
    fn other_spellings_of_listed_names_are_aliases() {
        for name in
            ["X_API_Account_Id", "X.API.Account.Id", "content_length", "Transfer.Encoding", "remote_user"]
        {
            assert_eq!(HeaderRule::of(name.as_bytes()), HeaderRule::Alias, "{name}");
        }
        assert_eq!(HeaderRule::of(b"my_header"), HeaderRule::Other);
    }

    #[test]
    fn every_listed_name_is_found_in_every_spelling() {
        for name in SPOOFABLE_HEADERS.iter().flat_map(|(_, names)| *names) {
            let name = name.replace('*', "anything");
            let own = OWN_RULES
                .iter()
                .find(|(own, _)| *own == name)
                .map_or(HeaderRule::GatewayOnly, |(_, rule)| *rule);
            let plain = if name.starts_with('-') { HeaderRule::Alias } else { own };
            assert_eq!(
                HeaderRule::of(name.replacen('-', "$", usize::from(plain != own)).as_bytes()),
                plain,
                "{name}"
            );
            assert_eq!(HeaderRule::of(name.to_ascii_uppercase().as_bytes()), own, "{name}");
            for other in
                ["_", ".", "~"].map(|byte| name.replace('-', byte)).iter().filter(|other| **other != name)
            {
                assert_eq!(HeaderRule::of(other.as_bytes()), HeaderRule::Alias, "{other}");
            }
        }
        for (name, rule) in OWN_RULES.iter().filter(|(name, _)| !name.ends_with('*')) {
            assert_eq!(HeaderRule::of(name.as_bytes()), *rule, "{name}");
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
            assert_eq!(HeaderRule::of(name.as_bytes()), HeaderRule::Other, "{name}");
        }
    }

    #[test]
    fn long_names_still_fall_under_prefixes() {
        let name = format!("X-API-{}", "a".repeat(100));
        assert_eq!(HeaderRule::of(name.as_bytes()), HeaderRule::GatewayOnly);
        assert_eq!(HeaderRule::of(name.replace('-', "_").as_bytes()), HeaderRule::Alias);
    }
}
