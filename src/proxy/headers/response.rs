//! The header fields of the answer to the client.

use super::is_named_by_connection;
use crate::wire::{HeaderRule, ResponseHead};

/// Tells a client that its key ends before long, and when.
pub(in crate::proxy) const KEY_EXPIRES: &[u8] = b"X-API-Key-Expires";

/// Hands to `emit` what passes to the client: all but what belongs to the upstream's connection and the framing,
/// which the gateway decides anew. `cors`: the gateway speaks for the upstream to browsers. Tells whether `Date` was
/// among them.
pub(in crate::proxy) fn pass_response_fields(
    head: &ResponseHead,
    cors: bool,
    mut emit: impl FnMut(&[u8], &[u8]),
) -> bool {
    let mut has_date = false;
    let has_options = head.fields.values(HeaderRule::Connection).next().is_some();
    for (rule, name, value) in head.fields.iter() {
        let passes = match rule {
            HeaderRule::ContentLength => false,
            // the client may or may not take the upstream's spelling for a name that frames the message
            HeaderRule::Alias => !is_refused_alias(name),
            // only the gateway tells when a key ends
            HeaderRule::GatewayOnly => !name.eq_ignore_ascii_case(KEY_EXPIRES),
            HeaderRule::AccessControl => !cors,
            rule => !rule.is_hop_by_hop(),
        };
        if passes && !(has_options && is_named_by_connection(&head.fields, name)) {
            has_date |= name.eq_ignore_ascii_case(b"date");
            emit(name, value);
        }
    }
    has_date
}

fn is_refused_alias(name: &[u8]) -> bool {
    let plain: Vec<u8> = name.iter().map(|&b| if b.is_ascii_alphanumeric() { b } else { b'-' }).collect();
    let rule = HeaderRule::of(&plain);
    rule.is_hop_by_hop() || rule == HeaderRule::ContentLength || plain.eq_ignore_ascii_case(KEY_EXPIRES)
}
