//! Reads header blocks (RFC 7541 §6).

use zeroize::Zeroize;

use super::super::field_name_set::FieldNameSet;
use super::hpack_huffman::{self, Malformed};
use super::hpack_table::{Entry, FieldLine, HpackTable, LineKind};

/// The reading half of a connection's header compression. A block that it refuses leaves both sides with different
/// tables: the connection cannot go on (RFC 9113 §4.3).
pub(super) struct HpackDecoder {
    table: HpackTable,
    name: Vec<u8>,
    value: Vec<u8>,
    /// Fields whose values are wiped, beside `Authorization`.
    pub(super) credential_names: FieldNameSet,
}

impl HpackDecoder {
    pub(super) fn new() -> Self {
        Self {
            table: HpackTable::new(),
            name: Vec::new(),
            value: Vec::new(),
            credential_names: FieldNameSet::default(),
        }
    }

    /// Gives the lines of a whole block one by one. Tells whether the block's own bytes hold a credential.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        mut take: impl FnMut(FieldLine<'_>),
    ) -> Result<bool, Malformed> {
        let mut rest = block;
        let mut has_begun = false;
        let mut holds_credential = false;
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                take(self.table.get(index).ok_or(Malformed)?);
            } else if first & 0xe0 == 0x20 {
                // only before the first line (RFC 7541 §4.2)
                if has_begun || !self.table.resize(integer(&mut rest, 5)?) {
                    return Err(Malformed);
                }
                continue;
            } else {
                let is_entered = first & 0x40 != 0;
                let index = integer(&mut rest, if is_entered { 6 } else { 4 })?;
                holds_credential |= self.literal(&mut rest, index, is_entered, &mut take)?;
            }
            has_begun = true;
        }
        Ok(holds_credential)
    }

    fn literal(
        &mut self,
        rest: &mut &[u8],
        index: usize,
        is_entered: bool,
        take: &mut impl FnMut(FieldLine<'_>),
    ) -> Result<bool, Malformed> {
        let known = if index == 0 { None } else { Some(self.table.get(index).ok_or(Malformed)?) };
        let (kind, name) = if let Some(line) = known {
            (line.kind, line.name)
        } else {
            let name = string(rest, &mut self.name)?;
            (LineKind::of(name), name)
        };
        let value = string(rest, &mut self.value)?;
        let line = FieldLine::new(kind, name, value);
        take(line);
        let is_credential =
            line.is_credential() || !self.credential_names.is_empty() && self.credential_names.contains(name);
        if is_entered {
            // to make room for it may drop the entry that its name is taken from
            let entry = Entry::of(&line, is_credential);
            self.table.enter(entry);
        }
        if is_credential {
            self.value.zeroize();
        }
        Ok(is_credential)
    }
}

/// An integer whose first octet shares its place with what is above `prefix` bits (RFC 7541 §5.1).
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let most = (1usize << prefix) - 1;
    let (first, tail) = rest.split_first().ok_or(Malformed)?;
    *rest = tail;
    let mut number = usize::from(*first) & most;
    if number < most {
        return Ok(number);
    }
    // four octets are more than any length or index can need here
    for shift in [0, 7, 14, 21] {
        let (octet, tail) = rest.split_first().ok_or(Malformed)?;
        *rest = tail;
        number += usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

/// A string as it stands in the block, or decoded into `scratch` (RFC 7541 §5.2).
fn string<'a, 'b: 'a>(rest: &mut &'b [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let is_coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (text, tail) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = tail;
    if !is_coded {
        return Ok(text);
    }
    scratch.clear();
    hpack_huffman::decode(text, scratch)?;
    Ok(scratch)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Random;
    use super::*;

    fn lines(decoder: &mut HpackDecoder, block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut lines = Vec::new();
        decoder.decode(block, |line| lines.push((text(line.name), text(line.value))))?;
        Ok(lines)
    }

    fn pairs(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// RFC 7541, appendix C.4: three requests on one connection.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let mut decoder = HpackDecoder::new();
        let first = [
            0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4,
            0xff,
        ];
        let mut expected =
            vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        assert_eq!(lines(&mut decoder, &first), Ok(pairs(&expected)));
        let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        expected.push(("cache-control", "no-cache"));
        assert_eq!(lines(&mut decoder, &second), Ok(pairs(&expected)));
        let third = [
            0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89, 0x25,
            0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
        ];
        let expected = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(lines(&mut decoder, &third), Ok(pairs(&expected)));
    }

    /// RFC 7541, appendix C.5: a table of 256 bytes, from which entries fall. (With the size announced first.)
    #[test]
    fn entries_that_do_not_fit_are_evicted_from_the_table() {
        let mut decoder = HpackDecoder::new();
        let value = |letter: &str| letter.repeat(60);
        let mut block = vec![0x3f, 0xe1, 0x01];
        for letter in ["a", "b", "c"] {
            block.extend([0x40, 1, letter.as_bytes()[0], 60]);
            block.extend(value(letter).bytes());
        }
        assert_eq!(lines(&mut decoder, &block).unwrap().len(), 3);
        // 93 bytes each: the first has fallen out
        assert_eq!(lines(&mut decoder, &[0xbe, 0xbf]), Ok(pairs(&[("c", &value("c")), ("b", &value("b"))])));
        assert_eq!(lines(&mut decoder, &[0xc0]), Err(Malformed));
    }

    #[test]
    fn an_entry_may_take_its_name_from_one_that_it_evicts() {
        let mut decoder = HpackDecoder::new();
        let (name, value) = ("n".repeat(2000), "v".repeat(2000));
        let mut block = vec![0x40, 0x7f, 0xd1, 0x0e];
        block.extend(name.bytes());
        block.extend([1, b'x']);
        assert_eq!(lines(&mut decoder, &block), Ok(pairs(&[(&name, "x")])));
        let mut block = vec![0x7e, 0x7f, 0xd1, 0x0e];
        block.extend(value.bytes());
        assert_eq!(lines(&mut decoder, &block), Ok(pairs(&[(&name, &value)])));
        assert_eq!(lines(&mut decoder, &[0xbe]), Ok(pairs(&[(&name, &value)])));
        assert_eq!(lines(&mut decoder, &[0xbf]), Err(Malformed));
    }

    #[test]
    fn malformed_header_blocks_are_refused() {
        for block in [
            // index 0, an index beyond the tables, a string and a number that end early
            &[0x80][..],
            &[0xbe],
            &[0x7f, 0x00, 1, b'v'],
            &[0x00, 5, b'a'],
            &[0x00],
            &[0x00, 1, b'a'],
            &[0xff],
            &[0xff, 0x80, 0x80, 0x80, 0x80, 0x01],
            // the size of the table: more than was offered, and after a line
            &[0x3f, 0xe2, 0x1f],
            &[0x82, 0x20],
            // no code
            &[0x00, 0x81, 0xff, 1, b'v'],
        ] {
            assert_eq!(lines(&mut HpackDecoder::new(), block), Err(Malformed), "{block:x?}");
        }
        assert_eq!(
            lines(&mut HpackDecoder::new(), &[0x3f, 0xe1, 0x1f, 0x20, 0x82]),
            Ok(pairs(&[(":method", "GET")]))
        );
    }

    #[test]
    fn credentials_in_a_block_are_reported() {
        let mut decoder = HpackDecoder::new();
        let seen = |decoder: &mut HpackDecoder, block: &[u8]| decoder.decode(block, |_| ()).unwrap();
        assert!(seen(&mut decoder, &[0x57, 1, b'k']));
        assert!(!seen(&mut decoder, &[0xbe]));
        assert!(!seen(&mut decoder, &[0x58, 1, b'k']));
        assert!(seen(&mut decoder, &[0x57, 0x81, 0x1f]));
        assert!(decoder.value.is_empty(), "what was decoded is wiped");
    }

    #[test]
    fn whatever_comes_is_read_or_refused_and_the_table_keeps_its_limit() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut octet = || random.below(256).to_le_bytes()[0];
        let mut read = 0;
        for _ in 0..3000 {
            let mut decoder = HpackDecoder::new();
            for _ in 0..20 {
                let mut block = Vec::new();
                for _ in 0..octet() % 8 {
                    // lines with short strings, so that some are whole, among octets that are anything
                    match octet() % 8 {
                        0 => block.push(octet()),
                        1 => block.push(0x80 | (octet() % 75)),
                        2 => block.push(0x20 | (octet() % 31)),
                        3 => block.extend([0x3f, octet(), octet() % 32]),
                        form => {
                            let length = octet() % 40;
                            block.extend([
                                [0x40, 0x50, 0x7e, 0x10][usize::from(form % 4)],
                                1,
                                octet(),
                                length,
                            ]);
                            block.extend((0..length).map(|_| octet()));
                        }
                    }
                }
                let result = decoder.decode(&block, |_| read += 1);
                assert!(decoder.table.is_within_limit(), "{block:x?}");
                if result.is_err() {
                    break;
                }
            }
        }
        assert!(read > 3000, "{read} lines were read: too few to tell");
    }
}
