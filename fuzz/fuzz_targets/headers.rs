//! Heads and what of their fields reaches the upstream: whatever is sent, nothing passes that frames the message,
//! tells who is calling or carries credentials, and nothing can break out of its line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::proxy::pass_request_fields;
use portcullis::wire::{FieldNameSet, HeadLimits, RequestHead};

const LIMITS: HeadLimits = HeadLimits { header_bytes: 16 * 1024, header_count: 100, line_bytes: 8 * 1024 };

/// What no upstream may take from a client, in any spelling that some server folds to it.
const NEVER: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "keep-alive",
    "host",
    "expect",
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "via",
    "x-http-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-secret",
];
const NEVER_BEGINS: &[&str] = &["x-forwarded-", "x-remote-", "remote-", "impersonate-"];

fuzz_target!(|data: &[u8]| {
    // most inputs are fields: give them a request line
    let input = [b"GET /v1/projects/e1 HTTP/1.1\r\n", data, b"\r\n\r\n"].concat();
    let mut head = RequestHead::default();
    let Ok(Some(length)) = head.parse(&input, &mut 0, &LIMITS) else { return };
    assert!(length <= input.len());
    let stripped = FieldNameSet::new(["x-secret"]);
    let nominated: Vec<Vec<u8>> = head
        .fields
        .iter()
        .filter(|(_, name, _)| name.eq_ignore_ascii_case(b"connection"))
        .flat_map(|(_, _, value)| value.split(|&byte| byte == b','))
        .map(|option| option.trim_ascii().to_ascii_lowercase())
        .collect();
    pass_request_fields(&head, false, &stripped, |name, value| {
        let folded: String = name
            .iter()
            .map(
                |byte| if byte.is_ascii_alphanumeric() { char::from(byte.to_ascii_lowercase()) } else { '-' },
            )
            .collect();
        assert!(!NEVER.contains(&folded.as_str()), "{folded} passed");
        assert!(!NEVER_BEGINS.iter().any(|prefix| folded.starts_with(prefix)), "{folded} passed");
        let allowed = ["x-api-no-challenge", "x-api-action-links", "x-api-csrf"];
        assert!(!folded.starts_with("x-api-") || allowed.contains(&folded.as_str()), "{folded} passed");
        assert!(
            !nominated.contains(&name.to_ascii_lowercase()),
            "{folded} passed although Connection names it"
        );
        assert!(!name.is_empty() && !name.iter().chain(value).any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert!(!name.contains(&b':'));
    });
});
