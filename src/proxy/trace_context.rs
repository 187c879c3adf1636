//! The trace that a request belongs to (W3C Trace Context): continued from a trusted proxy, else begun here.

use super::headers::ClientInfo;
use crate::config::SampleRate;
use crate::wire::{HeaderRule, RequestHead};

/// A version, a trace, a parent and flags, with hyphens between them.
const BYTES: usize = 55;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const PARENT_ID: std::ops::Range<usize> = 36..52;
const FLAGS: std::ops::Range<usize> = 53..55;
/// The one flag that has a meaning: whoever has called has recorded the trace.
const SAMPLED: u8 = 1;

/// The trace of a request, as the `traceparent` that goes to the upstream.
pub(super) struct TraceContext {
    traceparent: [u8; BYTES],
    /// The span of the trusted proxy that continues in this request.
    parent_id: Option<[u8; 16]>,
    /// Whether the gateway records spans of it.
    is_recorded: bool,
}

impl TraceContext {
    /// Continues what a trusted proxy says, if it is valid; else begins a trace, which is sampled if `sample` includes it.
    /// Without `sample` the gateway records no spans, and begins no trace that is sampled: no stranger may have the
    /// upstream record what it sends.
    pub(super) fn new(
        client: &ClientInfo,
        head: &RequestHead,
        sample: Option<SampleRate>,
        mut random: impl FnMut() -> [u8; 16],
    ) -> Self {
        let mut traceparent = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let mut parent_id = None;
        let is_sampled = if let Some(parent) = parent(client, head) {
            traceparent[TRACE_ID].copy_from_slice(&parent[TRACE_ID]);
            parent_id = parent[PARENT_ID].try_into().ok();
            // the second digit is valid, so that its lowest bit is the number's
            char::from(parent[FLAGS.end - 1]).to_digit(16).is_some_and(|digit| digit & 1 == 1)
        } else {
            let id = u128::from_be_bytes(random());
            traceparent[TRACE_ID][..16].copy_from_slice(&hex(id >> 64));
            traceparent[TRACE_ID][16..].copy_from_slice(&hex(id));
            sample.is_some_and(|sample| sample.includes(id))
        };
        traceparent[FLAGS.end - 1] = b'0' + if is_sampled { SAMPLED } else { 0 };
        traceparent[PARENT_ID].copy_from_slice(&hex(u128::from_be_bytes(random())));
        Self { traceparent, parent_id, is_recorded: is_sampled && sample.is_some() }
    }

    /// The value of `traceparent` towards the upstream. Its parent is this request at the gateway.
    pub(super) fn traceparent(&self) -> &[u8] {
        &self.traceparent
    }

    /// The trace's id, 32 hexadecimal digits.
    pub(super) fn trace_id(&self) -> &[u8] {
        &self.traceparent[TRACE_ID]
    }

    /// Whether the trace was begun before the gateway, so that a `tracestate` belongs to it.
    pub(super) fn is_continued(&self) -> bool {
        self.parent_id.is_some()
    }

    /// Whether the gateway records spans of it.
    pub(super) fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    /// The value of `traceparent` in an attempt to have the request answered: the parent is the span of the attempt.
    pub(super) fn traceparent_of_attempt(&self, number: usize) -> [u8; BYTES] {
        let mut traceparent = self.traceparent;
        traceparent[PARENT_ID].copy_from_slice(&hex(u128::from(self.span_id(number))));
        traceparent
    }

    /// The id of the request's own span, 0, or of the attempts, counted from 1. They follow one another, which saves
    /// random numbers: in one trace no other span is likely to be that close.
    pub(super) fn span_id(&self, number: usize) -> u64 {
        // no id is zero
        half_in(&self.traceparent[PARENT_ID]).wrapping_add(number as u64).max(1)
    }

    /// The trace's id.
    pub(super) fn trace_number(&self) -> u128 {
        number_in(self.trace_id())
    }

    /// The id of the span that the trusted proxy has named.
    pub(super) fn parent_id(&self) -> Option<u64> {
        self.parent_id.as_ref().map(|digits| half_in(digits))
    }
}

/// A number in hexadecimal digits that are known to be right.
fn number_in(digits: &[u8]) -> u128 {
    digits
        .iter()
        .filter_map(|digit| char::from(*digit).to_digit(16))
        .fold(0, |sum, digit| sum << 4 | u128::from(digit))
}

/// The same for sixteen digits.
fn half_in(digits: &[u8]) -> u64 {
    u64::try_from(number_in(digits)).unwrap_or_default()
}

/// The valid `traceparent` of a trusted proxy. Two are none.
fn parent<'h>(client: &ClientInfo, head: &'h RequestHead) -> Option<&'h [u8; BYTES]> {
    if !client.is_trusted() {
        return None;
    }
    let mut values = head.fields.values(HeaderRule::TraceParent);
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    valid(value)
}

/// The part of `value` that every version has, if `value` is valid. Later versions than 00 may have more after it.
fn valid(value: &[u8]) -> Option<&[u8; BYTES]> {
    let (known, more) = value.split_first_chunk::<BYTES>()?;
    let has_form = known.iter().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let version_fits = match &known[..2] {
        b"00" => more.is_empty(),
        b"ff" => false,
        _ => matches!(more, [] | [b'-', ..]),
    };
    let is_zero = |digits: &[u8]| digits.iter().all(|digit| *digit == b'0');
    (has_form && version_fits && !is_zero(&known[TRACE_ID]) && !is_zero(&known[PARENT_ID])).then_some(known)
}

/// The lower half of a number, all sixteen digits at once: half a byte is spread into each byte, and what is above 9
/// becomes a letter.
fn hex(number: u128) -> [u8; 16] {
    const EACH: u128 = u128::from_be_bytes([1; 16]);
    let mut digits = number & u128::MAX >> 64;
    digits = (digits << 32 | digits) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    digits = (digits << 4 | digits) & (EACH * 0x0f);
    let letters = (digits + EACH * 6) >> 4 & EACH;
    (digits + EACH * u128::from(b'0') + letters * u128::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_lower_case_hexadecimal() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, 0x9a9a_a9a9_9a9a_a9a9, u64::MAX] {
            assert_eq!(hex(u128::MAX << 64 | u128::from(number)), format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn only_valid_parents_are_continued() {
        const TRACE: &str = "12345678901234567890123456789012";
        const PARENT: &str = "1234567890123456";
        let usual = format!("00-{TRACE}-{PARENT}-01");
        for later in ["", "-", "-what-the-future-will-be-like"] {
            assert!(valid(format!("cc-{TRACE}-{PARENT}-01{later}").as_bytes()).is_some(), "{later}");
        }
        for flags in ["00", "01", "02", "03", "ff"] {
            assert!(valid(format!("00-{TRACE}-{PARENT}-{flags}").as_bytes()).is_some(), "{flags}");
        }
        for wrong in [
            String::new(),
            usual[..54].to_owned(),
            format!("{usual}-"),
            format!("{usual}0"),
            format!("{usual}-what-the-future-will-not-be-like"),
            format!("cc-{TRACE}-{PARENT}-01.what-the-future-will-not-be-like"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("0-{TRACE}-{PARENT}-01"),
            format!("000-{TRACE}-{PARENT}-01"),
            format!(".0-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-.0"),
            format!("00-{TRACE}-{PARENT}-0"),
            format!("00-{TRACE}-{PARENT}-001"),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-.{}-{PARENT}-01", &TRACE[1..]),
            format!("00-A{}-{PARENT}-01", &TRACE[1..]),
            format!("00-{TRACE}-{}A-01", &PARENT[1..]),
            format!("00-{}-{PARENT}-01", &TRACE[1..]),
            format!("00-{TRACE}-{}-01", &PARENT[1..]),
            usual.replace('-', "_"),
        ] {
            assert_eq!(valid(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
