//! Writes header blocks (RFC 7541 §6): names by their index where appendix A has one, values as they are, nothing
//! that the other side has to remember. So there is no state, no search, and no secret in a table.

/// Writes one header block.
pub struct HeaderBlockWriter<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> HeaderBlockWriter<'a> {
    /// Begins a block. `announce_no_table`: tells the other side, which has set a size, that no table is used.
    pub(super) fn new(bytes: &'a mut Vec<u8>, announce_no_table: bool) -> Self {
        bytes.clear();
        if announce_no_table {
            bytes.push(0x20);
        }
        Self { bytes }
    }

    /// Begins an answer's fields.
    pub(super) fn status(&mut self, status: u16) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => 0,
        };
        if index == 0 {
            self.bytes.push(STATUS);
            self.string(itoa::Buffer::new().format(status).as_bytes());
        } else {
            self.bytes.push(0x80 | index);
        }
    }

    /// Appends a field. Name and value are valid; the name may hold upper case.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        // RFC 7541 §7.1.3: what must not be guessed is not to be indexed by intermediaries either
        let is_secret = name.eq_ignore_ascii_case(b"set-cookie");
        let form = if is_secret { NEVER_INDEXED } else { 0 };
        if let Some(index) = name_index(name) {
            self.integer(form, 4, index);
        } else {
            self.bytes.push(form);
            self.integer(0, 7, name.len());
            self.bytes.extend(name.iter().map(u8::to_ascii_lowercase));
        }
        self.string(value);
    }

    fn string(&mut self, text: &[u8]) {
        self.integer(0, 7, text.len());
        self.bytes.extend_from_slice(text);
    }

    fn integer(&mut self, form: u8, prefix: u32, number: usize) {
        let most = (1usize << prefix) - 1;
        if number < most {
            self.bytes.push(form | low(number));
            return;
        }
        self.bytes.push(form | low(most));
        let mut rest = number - most;
        while rest >= 0x80 {
            self.bytes.push(0x80 | low(rest));
            rest >>= 7;
        }
        self.bytes.push(low(rest));
    }
}

/// The lowest octet.
fn low(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

/// A literal that is not entered, named by index 8.
const STATUS: u8 = 8;
const NEVER_INDEXED: u8 = 0x10;

/// The index of a name of an answer's field in appendix A.
fn name_index(name: &[u8]) -> Option<usize> {
    const LONGEST: usize = 27;
    let mut lower = [0; LONGEST];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"date" => 33,
        b"server" => 54,
        b"content-type" => 31,
        b"content-length" => 28,
        b"cache-control" => 24,
        b"etag" => 34,
        b"expires" => 36,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"vary" => 59,
        b"via" => 60,
        b"age" => 21,
        b"allow" => 22,
        b"accept-ranges" => 18,
        b"access-control-allow-origin" => 20,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-location" => 29,
        b"content-range" => 30,
        b"refresh" => 52,
        b"retry-after" => 53,
        b"set-cookie" => 55,
        b"strict-transport-security" => 56,
        b"www-authenticate" => 61,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::hpack_decoder::HpackDecoder;
    use super::super::hpack_table::STATIC;
    use super::*;

    #[test]
    fn indexes_are_those_of_the_table() {
        for (at, (name, value)) in STATIC.iter().enumerate() {
            if let Some(index) = name_index(name.as_bytes()) {
                assert_eq!((index, *value), (at + 1, ""), "{name}");
            }
            assert_eq!(name_index(name.as_bytes()), name_index(name.to_ascii_uppercase().as_bytes()));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let fields = [
            ("Content-Type".to_owned(), "text/plain".to_owned()),
            ("X-Long".to_owned(), "v".repeat(70_000)),
            ("n".repeat(300), String::new()),
            ("Set-Cookie".to_owned(), "a=b".to_owned()),
            ("X-127".to_owned(), "v".repeat(127)),
        ];
        for status in [200, 204, 206, 304, 400, 401, 404, 500, 503] {
            let mut bytes = Vec::new();
            let mut block = HeaderBlockWriter::new(&mut bytes, status == 401);
            block.status(status);
            for (name, value) in &fields {
                block.field(name.as_bytes(), value.as_bytes());
            }
            let mut lines = Vec::new();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            HpackDecoder::new()
                .decode(&bytes, |line| {
                    assert!(line.is_valid);
                    lines.push((text(line.name), text(line.value)));
                })
                .unwrap();
            let mut expected = vec![(":status".to_owned(), status.to_string())];
            expected.extend(fields.iter().map(|(name, value)| (name.to_lowercase(), value.clone())));
            assert_eq!(lines, expected);
        }
    }
}
