//! The request id: what a request is called towards the upstream, towards the client and in the access log.

use uuid::fmt::Hyphenated;

use super::headers::ClientInfo;
use crate::wire::{HeaderRule, RequestHead};

/// The longest id that is taken over.
const MAX_BYTES: usize = 128;

/// Space for a new id.
pub(super) type Buffer = [u8; Hyphenated::LENGTH];

/// What a trusted proxy has called the request, if that is plain; else a random UUID, made in `buffer`.
pub(super) fn choose<'b>(
    client: &ClientInfo,
    head: &'b RequestHead,
    random: impl FnOnce() -> [u8; 16],
    buffer: &'b mut Buffer,
) -> &'b str {
    match believed(client, head) {
        Some(id) => id,
        None => uuid::Builder::from_random_bytes(random()).into_uuid().hyphenated().encode_lower(buffer),
    }
}

fn believed<'h>(client: &ClientInfo, head: &'h RequestHead) -> Option<&'h str> {
    if !client.is_trusted() {
        return None;
    }
    let mut ids = head.fields.values(HeaderRule::RequestId);
    let (Some(id), None) = (ids.next(), ids.next()) else { return None };
    let is_plain = (1..=MAX_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(id).ok().filter(|_| is_plain)
}
