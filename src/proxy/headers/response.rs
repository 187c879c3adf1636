//! The header fields of the answer to the client.

use super::nominated;
use crate::wire::{FieldName, ResponseHead};

/// Hands to `emit` what passes to the client: all but what belongs to the upstream's connection and the framing,
/// which the gateway decides anew. `cors`: the gateway speaks for the upstream to browsers. Tells whether `Date` was
/// among them.
pub(in crate::proxy) fn pass_response_fields(
    head: &ResponseHead,
    cors: bool,
    mut emit: impl FnMut(&[u8], &[u8]),
) -> bool {
    let mut has_date = false;
    let has_options = head.fields.values(FieldName::Connection).next().is_some();
    for (kind, name, value) in head.fields.iter() {
        let passes = match kind {
            FieldName::ContentLength => false,
            // what the upstream's own spelling of a framing name means to the client is nobody's guess
            FieldName::Alias => !is_framing_alias(name),
            FieldName::AccessControl => !cors,
            kind => !kind.is_hop_by_hop(),
        };
        if passes && !(has_options && nominated(&head.fields, name)) {
            has_date |= name.eq_ignore_ascii_case(b"date");
            emit(name, value);
        }
    }
    has_date
}

fn is_framing_alias(name: &[u8]) -> bool {
    let plain: Vec<u8> = name.iter().map(|&b| if b.is_ascii_alphanumeric() { b } else { b'-' }).collect();
    let kind = FieldName::of(&plain);
    kind.is_hop_by_hop() || kind == FieldName::ContentLength
}
