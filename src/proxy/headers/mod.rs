//! Header fields on their way through: what goes, what passes, what the gateway adds (`docs/headers.md`).

mod client_info;
mod identity;
mod request;
mod response;

pub(super) use client_info::{ClientInfo, source_address};
pub use request::pass_request_fields;
pub(super) use request::{Fields, RequestFields};
pub(super) use response::{KEY_EXPIRES, pass_response_fields};

use super::admit::list;
use crate::wire::{FieldBlock, HeaderRule};

/// Whether `Connection` names this option or field, which then is for this connection only. Only fields that came are
/// looked at, so that a client cannot make the gateway drop what it adds itself (CVE-2022-31813).
pub(super) fn is_named_by_connection(fields: &FieldBlock, name: &[u8]) -> bool {
    fields.values(HeaderRule::Connection).flat_map(list).any(|option| option.eq_ignore_ascii_case(name))
}

/// Whether a trailer may pass. One whose name has a rule as a header may not: the receiver may take it for that header,
/// which was not checked (RFC 9110 §6.5.1). Nor may one that `Connection` names.
pub(super) fn passes_as_trailer(head: &FieldBlock, rule: HeaderRule, name: &[u8]) -> bool {
    rule == HeaderRule::Other && !is_named_by_connection(head, name)
}
