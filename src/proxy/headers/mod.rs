//! Header fields on their way through: what goes, what passes, what the gateway adds (`docs/headers.md`).

mod forwarded;
mod identity;
mod request;
mod response;

pub(super) use forwarded::{Client, source_address};
pub use request::pass_request_fields;
pub(super) use request::{Fields, RequestFields};
pub(super) use response::pass_response_fields;

use super::admit::list;
use crate::wire::{FieldBlock, FieldName};

/// Whether `Connection` names this option or field, which then is for this connection only. Looked at on the fields
/// that came, before any of ours is there: a client cannot make the gateway drop what it adds (CVE-2022-31813).
pub(super) fn nominated(fields: &FieldBlock, name: &[u8]) -> bool {
    fields.values(FieldName::Connection).flat_map(list).any(|option| option.eq_ignore_ascii_case(name))
}

/// Whether a trailer may pass, after a head with these fields. None does that has a rule as a header: the receiver may
/// take it for that header, and nobody has judged it (RFC 9110 §6.5.1). Nor does one that `Connection` names.
pub(super) fn passes_as_trailer(head: &FieldBlock, kind: FieldName, name: &[u8]) -> bool {
    kind == FieldName::Other && !nominated(head, name)
}
