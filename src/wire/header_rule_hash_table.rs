//! A hash table from field names to their rules, made when the program is compiled.

use super::header_rule::HeaderRule;

/// A power of two, several times the number of names, so that most names that are not listed meet an empty slot.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 10;
const MOST_NAMES: usize = 320;
const MOST_BEGINNINGS: usize = 64;
/// Each listed beginning has at least as many bytes; by these it is found.
const HEAD: usize = 4;

#[derive(Clone, Copy)]
struct Entry {
    text: &'static [u8],
    ends: NameEnds,
    rule: HeaderRule,
    /// The next one to look at, counted from 1; 0: none.
    next: u16,
}

const NONE: Entry = Entry { text: &[], ends: NameEnds::of(&[]), rule: HeaderRule::Other, next: 0 };

/// Names, and beginnings of names, with their rules. Both are chains by a hash.
pub(super) struct HeaderRuleTable {
    names: [Entry; MOST_NAMES],
    name_count: u16,
    name_slots: [u16; SLOTS],
    beginnings: [Entry; MOST_BEGINNINGS],
    beginning_count: u16,
    beginning_slots: [u16; SLOTS],
}

impl HeaderRuleTable {
    /// The rules in `own`, and [`HeaderRule::GatewayOnly`] for the groups of names in `identity`.
    pub(super) const fn new(
        own: &[(&'static str, HeaderRule)],
        identity: &[(&'static str, &[&'static str])],
    ) -> Self {
        let mut table = Self {
            names: [NONE; MOST_NAMES],
            name_count: 0,
            name_slots: [0; SLOTS],
            beginnings: [NONE; MOST_BEGINNINGS],
            beginning_count: 0,
            beginning_slots: [0; SLOTS],
        };
        let mut at = 0;
        while at < own.len() {
            table.add(own[at].0.as_bytes(), own[at].1);
            at += 1;
        }
        let mut group = 0;
        while group < identity.len() {
            let names = identity[group].1;
            let mut at = 0;
            while at < names.len() {
                table.add(names[at].as_bytes(), HeaderRule::GatewayOnly);
                at += 1;
            }
            group += 1;
        }
        table
    }

    /// Runs in the compiler, and ends the build where a name cannot be listed.
    const fn add(&mut self, text: &'static [u8], rule: HeaderRule) {
        let ends = NameEnds::of(text);
        if let [beginning @ .., b'*'] = text {
            assert!(beginning.len() >= HEAD, "a listed beginning is too short");
            let slot = &mut self.beginning_slots[ends.slot_of_beginning()];
            self.beginnings[self.beginning_count as usize] =
                Entry { text: beginning, ends: NameEnds::of(beginning), rule, next: *slot };
            self.beginning_count += 1;
            *slot = self.beginning_count;
        } else {
            let slot = &mut self.name_slots[ends.slot_of_name()];
            self.names[self.name_count as usize] = Entry { text, ends, rule, next: *slot };
            self.name_count += 1;
            *slot = self.name_count;
        }
    }

    /// The rule of a name that consists of `[A-Za-z0-9-]`.
    pub(super) fn find(&self, name: &[u8], ends: NameEnds) -> HeaderRule {
        let ends = ends.lower();
        let mut next = self.name_slots[ends.slot_of_name()];
        while next != 0 {
            let entry = &self.names[usize::from(next) - 1];
            // shorter names have nothing between their ends
            if entry.ends == ends && (name.len() <= 16 || name.eq_ignore_ascii_case(entry.text)) {
                return entry.rule;
            }
            next = entry.next;
        }
        let mut next = self.beginning_slots[ends.slot_of_beginning()];
        while next != 0 {
            let entry = &self.beginnings[usize::from(next) - 1];
            let may_be = entry.ends.length < 8 || entry.ends.first == ends.first;
            let start = name.get(..entry.text.len()).filter(|_| may_be);
            if start.is_some_and(|start| start.eq_ignore_ascii_case(entry.text)) {
                return entry.rule;
            }
            next = entry.next;
        }
        HeaderRule::Other
    }
}

/// The first and the last eight bytes of a name and its length: enough to find it by, and all that most names have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct NameEnds {
    first: u64,
    last: u64,
    length: usize,
}

impl NameEnds {
    pub(super) const fn of(name: &[u8]) -> Self {
        let length = name.len();
        if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            return Self { first: u64::from_le_bytes(*first), last: u64::from_le_bytes(*last), length };
        }
        let both = match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => {
                u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32
            }
            _ => match *name {
                [a] => u64::from_le_bytes([a, b'-', b'-', b'-', b'-', b'-', b'-', b'-']),
                [a, b] => u64::from_le_bytes([a, b, b'-', b'-', b'-', b'-', b'-', b'-']),
                [a, b, c] => u64::from_le_bytes([a, b, c, b'-', b'-', b'-', b'-', b'-']),
                _ => each(b'-'),
            },
        };
        Self { first: both, last: both, length }
    }

    /// Whether the name consists of `[A-Za-z0-9-]`.
    pub(super) fn is_plain(self, name: &[u8]) -> bool {
        // more than both ends have
        let between = if name.len() > 16 { name.as_chunks().0 } else { &[] };
        let plain = between.iter().fold(plain_bytes(self.first) & plain_bytes(self.last), |plain, eight| {
            plain & plain_bytes(u64::from_le_bytes(*eight))
        });
        plain & each(0x80) == each(0x80)
    }

    /// With letters in lower case, by a bit that digits and `-` have.
    const fn lower(self) -> Self {
        Self { first: self.first | each(0x20), last: self.last | each(0x20), length: self.length }
    }

    const fn slot_of_name(self) -> usize {
        slot(self.first ^ self.last.rotate_left(29) ^ self.length as u64)
    }

    const fn slot_of_beginning(self) -> usize {
        slot(self.first & 0xffff_ffff)
    }
}

/// Which of the eight bytes are one of `[A-Za-z0-9-]`, by their upper bits. The upper bit of each byte of a sum says
/// whether the byte reaches a bound.
const fn plain_bytes(word: u64) -> u64 {
    let lower = word | each(0x20);
    let letters = reaching(lower, b'a') & !reaching(lower, b'z' + 1);
    let digits = reaching(word, b'0') & !reaching(word, b'9' + 1);
    let hyphens = !reaching(word ^ each(b'-'), 1);
    (letters | digits | hyphens) & !word
}

const fn reaching(word: u64, bound: u8) -> u64 {
    word.wrapping_add(each(0x80 - bound))
}

const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Fibonacci hashing: the upper bits of a product with the golden ratio.
const fn slot(value: u64) -> usize {
    (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_bytes_are_letters_digits_and_hyphens() {
        for byte in 0..=u8::MAX {
            let is_plain = byte.is_ascii_alphanumeric() || byte == b'-';
            for (before, after) in (0..24).flat_map(|before| (0..24).map(move |after| (before, after))) {
                let name = [vec![b'A'; before], vec![byte], vec![b'z'; after]].concat();
                assert_eq!(NameEnds::of(&name).is_plain(&name), is_plain, "{}", name.escape_ascii());
            }
        }
    }
}
