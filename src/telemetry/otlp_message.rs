//! The messages of the OpenTelemetry Protocol, as far as spans need them, in the encoding of Protocol Buffers.
//!
//! Their definitions are `opentelemetry/proto/trace/v1/trace.proto` and those that it names, version 1. A tool that
//! generates code from them brings nine packages for a page of code. `tests/spans` decodes what this writes with the
//! official definitions.

/// Writes the fields of a message.
pub(super) struct Message<'b>(pub(super) &'b mut Vec<u8>);

/// What a field's value is written as.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

/// The value of an attribute.
#[derive(Debug, Clone, Copy)]
pub enum AttributeValue<'a> {
    /// A string.
    Text(&'a str),
    /// An integer.
    Number(u64),
}

impl Message<'_> {
    pub(super) fn varint_field(&mut self, field: u8, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    pub(super) fn fixed64_field(&mut self, field: u8, value: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32_field(&mut self, field: u8, value: u32) {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes_field(&mut self, field: u8, value: &[u8]) {
        self.key(field, LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message within this one.
    pub(super) fn message_field(&mut self, field: u8, write: impl FnOnce(&mut Message<'_>)) {
        self.key(field, LENGTH_DELIMITED);
        let start = self.0.len();
        write(&mut Message(self.0));
        // its length stands before it, and is known only now
        let mut length = Vec::with_capacity(5);
        Message(&mut length).varint((self.0.len() - start) as u64);
        self.0.splice(start..start, length);
    }

    /// `KeyValue`
    pub(super) fn attribute_field(&mut self, field: u8, name: &str, value: AttributeValue<'_>) {
        self.message_field(field, |pair| {
            pair.bytes_field(1, name.as_bytes());
            // `AnyValue`
            pair.message_field(2, |any| match value {
                AttributeValue::Text(text) => any.bytes_field(1, text.as_bytes()),
                AttributeValue::Number(number) => any.varint_field(3, number),
            });
        });
    }

    fn key(&mut self, field: u8, kind: u8) {
        self.varint(u64::from(field) << 3 | u64::from(kind));
    }

    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Fields of a message that is read: their numbers, and the values of those that are numbers or length-delimited. Ends at
/// the first that is broken.
pub(super) fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, FieldValue<'_>)> {
    std::iter::from_fn(move || {
        let key = read_varint(&mut message)?;
        let value = match (key & 7) as u8 {
            VARINT => FieldValue::Number(read_varint(&mut message)?),
            FIXED64 => FieldValue::Other(message.split_off(..8)?),
            FIXED32 => FieldValue::Other(message.split_off(..4)?),
            LENGTH_DELIMITED => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                FieldValue::Bytes(message.split_off(..length)?)
            }
            _ => return None,
        };
        Some((key >> 3, value))
    })
}

/// The value of a field that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldValue<'m> {
    Number(u64),
    Bytes(&'m [u8]),
    /// Of a type that no message has that is read here.
    Other(&'m [u8]),
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_is_broken_ends_it() {
        let mut bytes = Vec::new();
        let long = [b'x'; 300];
        let mut message = Message(&mut bytes);
        message.varint_field(1, u64::MAX);
        message.fixed64_field(2, 7);
        message.message_field(16, |inner| inner.bytes_field(3, &long));
        message.fixed32_field(5, 9);
        let read: Vec<_> = fields(&bytes).collect();
        let inner = match read[2] {
            (16, FieldValue::Bytes(inner)) => fields(inner).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(inner, [(3, FieldValue::Bytes(&long[..]))]);
        assert_eq!(read[0], (1, FieldValue::Number(u64::MAX)));
        assert_eq!(read[1], (2, FieldValue::Other(&7_u64.to_le_bytes()[..])));
        assert_eq!(read[3], (5, FieldValue::Other(&9_u32.to_le_bytes()[..])));
        for end in 0..bytes.len() {
            assert!(fields(&bytes[..end]).count() < 4);
        }
        for broken in
            [&b"<html>"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f"]
        {
            assert!(fields(broken).count() <= 1, "{broken:?}");
        }
    }
}
