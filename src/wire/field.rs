//! One header or trailer field, as spans over the bytes that it came in.

use super::header_rule::HeaderRule;

/// A range of a block's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// The range `start..end`; a block is bounded by the head limits, far below 4 GiB.
    pub fn new(start: usize, end: usize) -> Self {
        let saturating_u32 = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: saturating_u32(start), end: saturating_u32(end) }
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
    pub rule: HeaderRule,
}
