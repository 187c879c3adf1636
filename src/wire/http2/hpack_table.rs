//! The tables of HPACK (RFC 7541 §2.3): what an index stands for.

use std::collections::VecDeque;
use std::sync::LazyLock;

use zeroize::Zeroize;

use super::super::field_syntax::{is_field_text, is_token};
use super::super::header_rule::HeaderRule;

/// The kind of a field line, kept with its table entry so that its name need not be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    Pseudo(PseudoHeader),
    Field(HeaderRule),
    /// Not a name in HTTP/2: upper case, or no token at all.
    Malformed,
}

/// Pseudo-header fields (RFC 9113 §8.3, RFC 8441 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PseudoHeader {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
    Unknown,
}

impl LineKind {
    pub(super) fn of(name: &[u8]) -> Self {
        if name.first() == Some(&b':') {
            return Self::Pseudo(match name {
                b":method" => PseudoHeader::Method,
                b":scheme" => PseudoHeader::Scheme,
                b":authority" => PseudoHeader::Authority,
                b":path" => PseudoHeader::Path,
                b":protocol" => PseudoHeader::Protocol,
                b":status" => PseudoHeader::Status,
                _ => PseudoHeader::Unknown,
            });
        }
        let is_token = name.iter().all(|&byte| is_token(byte) && !byte.is_ascii_uppercase());
        if name.is_empty() || !is_token { Self::Malformed } else { Self::Field(HeaderRule::of(name)) }
    }

    fn is_credential(self) -> bool {
        matches!(self, Self::Field(HeaderRule::Authorization | HeaderRule::ProxyAuthorization))
    }
}

/// One field line, as it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldLine<'a> {
    pub(super) kind: LineKind,
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    /// The value is one (RFC 9113 §8.2.1, and as strict as HTTP/1.1 is read).
    pub(super) is_valid: bool,
}

impl<'a> FieldLine<'a> {
    pub(super) fn new(kind: LineKind, name: &'a [u8], value: &'a [u8]) -> Self {
        Self { kind, name, value, is_valid: is_value(value) }
    }

    pub(super) fn is_credential(&self) -> bool {
        self.kind.is_credential()
    }
}

/// No control characters but tabs, no white space around.
fn is_value(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_field_text(value) && !is_space(value.first()) && !is_space(value.last())
}

/// RFC 7541, appendix A; index 1 is the first.
#[rustfmt::skip]
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

static STATIC_NAMES: LazyLock<[LineKind; STATIC.len()]> =
    LazyLock::new(|| STATIC.map(|(name, _)| LineKind::of(name.as_bytes())));

/// The size of a table that neither side has said anything about (RFC 9113 §6.5.2), in the bytes of RFC 7541 §4.1.
pub(super) const DEFAULT_BYTES: usize = 4096;
/// What an entry takes beside its name and value (RFC 7541 §4.1).
const ENTRY_BYTES: usize = 32;

/// The static table, and the entries that the other side has made, the newest first.
pub(super) struct HpackTable {
    entries: VecDeque<Entry>,
    bytes: usize,
    limit: usize,
}

pub(super) struct Entry {
    /// The name, then the value.
    text: Box<[u8]>,
    name_length: usize,
    kind: LineKind,
    is_valid: bool,
    is_credential: bool,
}

impl Entry {
    pub(super) fn of(line: &FieldLine<'_>, is_credential: bool) -> Self {
        Self {
            text: [line.name, line.value].concat().into_boxed_slice(),
            name_length: line.name.len(),
            kind: line.kind,
            is_valid: line.is_valid,
            is_credential,
        }
    }

    fn bytes(&self) -> usize {
        self.text.len() + ENTRY_BYTES
    }

    fn line(&self) -> FieldLine<'_> {
        let (name, value) = self.text.split_at(self.name_length);
        FieldLine { kind: self.kind, name, value, is_valid: self.is_valid }
    }
}

/// A client enters its key once and names it by index from then on: it is not to outlive the entry.
impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_credential {
            self.text.zeroize();
        }
    }
}

impl HpackTable {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, limit: DEFAULT_BYTES }
    }

    /// What an index stands for; nothing for 0 and for what is not in the table.
    pub(super) fn get(&self, index: usize) -> Option<FieldLine<'_>> {
        let at = index.checked_sub(1)?;
        match STATIC.get(at) {
            Some((name, value)) => Some(FieldLine {
                kind: STATIC_NAMES[at],
                name: name.as_bytes(),
                value: value.as_bytes(),
                is_valid: true,
            }),
            None => self.entries.get(at - STATIC.len()).map(Entry::line),
        }
    }

    /// Enters a line. One that is larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn enter(&mut self, entry: Entry) {
        self.shrink_to(self.limit.saturating_sub(entry.bytes()));
        if entry.bytes() <= self.limit {
            self.bytes += entry.bytes();
            self.entries.push_front(entry);
        }
    }

    /// The other side will use no more than `limit` bytes; `false`: that is more than it may.
    pub(super) fn resize(&mut self, limit: usize) -> bool {
        self.limit = limit.min(DEFAULT_BYTES);
        self.shrink_to(self.limit);
        limit <= DEFAULT_BYTES
    }

    #[cfg(test)]
    pub(super) fn is_within_limit(&self) -> bool {
        let bytes: usize = self.entries.iter().map(Entry::bytes).sum();
        bytes == self.bytes && bytes <= self.limit && self.limit <= DEFAULT_BYTES
    }

    fn shrink_to(&mut self, bytes: usize) {
        while self.bytes > bytes
            && let Some(oldest) = self.entries.pop_back()
        {
            self.bytes -= oldest.bytes();
        }
    }
}
