//! The Huffman code of HPACK (RFC 7541 §5.2 and appendix B), for reading. What the gateway writes is not coded: a few
//! bytes more cost less than the coding.

/// A string is not the code of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// How many bits the code of each octet has, and that of the end of a string, which is never sent. The code is
/// canonical: codes of one length stand in the order of the octets, longer ones after shorter ones. So the lengths define it.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS as usize] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const SYMBOLS: u16 = 257;
const END: u16 = 256;
/// Codes up to this length are found by one look.
const SHORT: u32 = 8;
const LONGEST: u32 = 30;

struct Code {
    /// By the next [`SHORT`] bits: the octet, and how many of the bits are its code; 0: more than all of them.
    short: [(u8, u8); 1 << SHORT],
    /// All symbols in the order of their codes.
    symbols: [u16; SYMBOLS as usize],
    /// For each length: its first code, how many there are, and where their symbols begin.
    first: [u32; LONGEST as usize + 1],
    count: [u32; LONGEST as usize + 1],
    start: [usize; LONGEST as usize + 1],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Self {
            short: [(0, 0); 1 << SHORT],
            symbols: [0; SYMBOLS as usize],
            first: [0; LONGEST as usize + 1],
            count: [0; LONGEST as usize + 1],
            start: [0; LONGEST as usize + 1],
        };
        let (mut next, mut placed, mut length) = (0u32, 0, 1);
        while length <= LONGEST as usize {
            next <<= 1;
            code.first[length] = next;
            code.start[length] = placed;
            let mut symbol: u16 = 0;
            while symbol < SYMBOLS {
                if LENGTHS[symbol as usize] as usize == length {
                    code.symbols[placed] = symbol;
                    if length <= SHORT as usize {
                        let spare = SHORT as usize - length;
                        let mut tail = 0;
                        while tail < 1 << spare {
                            code.short[((next as usize) << spare) | tail] =
                                (octet(symbol), LENGTHS[symbol as usize]);
                            tail += 1;
                        }
                    }
                    placed += 1;
                    next += 1;
                    code.count[length] += 1;
                }
                symbol += 1;
            }
            length += 1;
        }
        code
    }

    /// The symbol whose code stands at the front of `bits`, longer than [`SHORT`], and the code's length.
    fn long(&self, bits: u64) -> Option<(u16, u32)> {
        (SHORT + 1..=LONGEST).find_map(|length| {
            let at = length as usize;
            let place = ((bits >> 32) as u32 >> (32 - length)).wrapping_sub(self.first[at]);
            (place < self.count[at]).then(|| (self.symbols[self.start[at] + place as usize], length))
        })
    }
}

const fn octet(symbol: u16) -> u8 {
    symbol.to_le_bytes()[0]
}

/// Appends what `coded` stands for.
pub(super) fn decode(coded: &[u8], into: &mut Vec<u8>) -> Result<(), Malformed> {
    // at least five bits an octet: never moved while it grows, so that no copy of a credential stays behind
    into.reserve(coded.len() * 8 / 5);
    // the next bits from the top down, and how many of them there are
    let (mut bits, mut known) = (0u64, 0u32);
    let mut rest = coded.iter();
    loop {
        while known <= 56
            && let Some(byte) = rest.next()
        {
            bits |= u64::from(*byte) << (56 - known);
            known += 8;
        }
        let (symbol, length) = CODE.short[(bits >> (64 - SHORT)) as usize];
        let length = u32::from(length);
        if length != 0 && length <= known {
            into.push(symbol);
            bits <<= length;
            known -= length;
            continue;
        }
        // what fills up the last octet is the beginning of the code of the end: less than eight ones
        if known < 8 && bits.leading_ones() >= known {
            return Ok(());
        }
        match CODE.long(bits) {
            Some((symbol, length)) if length <= known && symbol != END => {
                into.push(octet(symbol));
                bits <<= length;
                known -= length;
            }
            _ => return Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut text = Vec::new();
        decode(coded, &mut text).map(|()| text)
    }

    /// By the code's definition, a bit at a time.
    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for octet in text {
            let length = LENGTHS[usize::from(*octet)] as usize;
            let place = CODE.symbols[CODE.start[length]..]
                .iter()
                .position(|symbol| *symbol == u16::from(*octet))
                .unwrap();
            let code = CODE.first[length] + u32::try_from(place).unwrap();
            bits.extend((0..length).rev().map(|at| code >> at & 1 == 1));
        }
        while bits.len() % 8 != 0 {
            bits.push(true);
        }
        bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
    }

    /// RFC 7541, appendix C.4 and C.6.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (coded, text) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], "custom-key"),
            (&[0x64, 0x02], "302"),
            (
                &[
                    0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82, 0xae,
                    0x43, 0xd3,
                ],
                "https://www.example.com",
            ),
        ] {
            assert_eq!(decoded(coded), Ok(text.as_bytes().to_vec()), "{text}");
        }
    }

    #[test]
    fn every_octet_is_read_wherever_it_stands() {
        for octet in 0..=255u8 {
            for before in 0..9 {
                let text = [&vec![b'0'; before][..], &[octet], b"~z"].concat();
                assert_eq!(decoded(&encoded(&text)), Ok(text));
            }
        }
        assert_eq!(decoded(b""), Ok(Vec::new()));
    }

    #[test]
    fn malformed_huffman_codes_are_refused() {
        // the end itself, too much filling, filling with zeros
        for coded in [&[0xff, 0xff, 0xff, 0xff][..], &[0x07, 0xff], &[0xff], &[0x00, 0x00, 0x40], &[0x06]] {
            assert_eq!(decoded(coded), Err(Malformed), "{coded:x?}");
        }
    }
}
