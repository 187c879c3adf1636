//! The framing of HTTP/1.1 bodies (RFC 9112 §6): where a body ends that is read, and how one that is written says so.

use super::chunked::{ChunkError, ChunkSender, ChunkedDecoder, Decoded};
use super::field_block::FieldBlock;
use super::head::{HeadLimits, RequestHead, ResponseHead, Version};
use super::header_rule::HeaderRule;

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// This many bytes; zero where there is no body.
    Exact(u64),
    /// In chunks, with trailers perhaps; for HTTP/2, until the stream ends.
    Chunked,
    /// Until the connection closes; answers and tunnels only.
    UntilClose,
}

impl BodyLength {
    /// No body.
    pub const NONE: Self = Self::Exact(0);
}

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// `Content-Length` is not one plain decimal number.
    #[error("Content-Length is malformed or repeated")]
    ContentLength,
    /// `Transfer-Encoding` is anything but one `chunked`, or stands in HTTP/1.0.
    #[error("Transfer-Encoding is anything but a single 'chunked'")]
    TransferEncoding,
    /// Both are there (RFC 9112 §6.3 lets a server refuse it; smuggling needs it).
    #[error("Content-Length and Transfer-Encoding are both present")]
    Both,
    /// The chunks are malformed.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The body ended before its announced length.
    #[error("the body ended early")]
    Truncated,
    /// The body is longer than announced.
    #[error("the body is longer than announced")]
    Overlong,
}

impl BodyLength {
    /// The length of a request's body.
    pub fn of_request(head: &RequestHead) -> Result<Self, BodyError> {
        match Self::announced(&head.fields, head.version)? {
            Some(length) => Ok(length),
            None => Ok(Self::NONE),
        }
    }

    /// The length of an answer's body; `to_head`: the request was HEAD.
    pub fn of_response(head: &ResponseHead, to_head: bool) -> Result<Self, BodyError> {
        let announced = Self::announced(&head.fields, head.version)?;
        if to_head || head.status < 200 || matches!(head.status, 204 | 304) {
            return Ok(Self::NONE);
        }
        Ok(announced.unwrap_or(Self::UntilClose))
    }

    fn announced(fields: &FieldBlock, version: Version) -> Result<Option<Self>, BodyError> {
        let mut lengths = fields.values(HeaderRule::ContentLength);
        let mut encodings = fields.values(HeaderRule::TransferEncoding);
        match (lengths.next(), encodings.next()) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(BodyError::Both),
            (Some(length), None) => match (lengths.next(), decimal(length)) {
                (None, Some(length)) => Ok(Some(Self::Exact(length))),
                _ => Err(BodyError::ContentLength),
            },
            (None, Some(encoding)) => {
                let single = encodings.next().is_none();
                if single && version != Version::Http10 && encoding.eq_ignore_ascii_case(b"chunked") {
                    Ok(Some(Self::Chunked))
                } else {
                    Err(BodyError::TransferEncoding)
                }
            }
        }
    }
}

/// One plain decimal number: no sign, no list, no leading zero, no overflow.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || (text.len() > 1 && text[0] == b'0') {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Reads an HTTP/1.1 body's framing.
pub struct BodyDecoder(Decoder);

enum Decoder {
    Exact(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl BodyDecoder {
    /// A decoder for a client's body of this length.
    pub fn new(length: BodyLength) -> Self {
        Self::from(length, ChunkSender::Client)
    }

    /// A decoder for an answer's body of this length, whose trailers are dropped where they exceed these limits.
    pub fn of_response(length: BodyLength, limits: HeadLimits) -> Self {
        Self::from(length, ChunkSender::Upstream(limits))
    }

    fn from(length: BodyLength, sender: ChunkSender) -> Self {
        Self(match length {
            BodyLength::Exact(length) => Decoder::Exact(length),
            BodyLength::Chunked => Decoder::Chunked(ChunkedDecoder::from(sender)),
            BodyLength::UntilClose => Decoder::UntilClose,
        })
    }

    /// Whether the whole body has been read.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            Decoder::Exact(left) => *left == 0,
            Decoder::Chunked(chunked) => chunked.is_done(),
            Decoder::UntilClose => false,
        }
    }

    /// How many bytes are still to come, where the length was announced.
    pub(super) fn exact(&self) -> Option<u64> {
        match self.0 {
            Decoder::Exact(left) => Some(left),
            Decoder::Chunked(_) | Decoder::UntilClose => None,
        }
    }

    /// Looks at the front of `input`, and takes framing bytes off it: the returned count of bytes is to be dropped
    /// from the input before what [`Decoded`] says holds. `closed`: no input follows.
    pub fn decode(
        &mut self,
        input: &[u8],
        closed: bool,
        trailers: &mut FieldBlock,
    ) -> Result<(usize, Decoded), BodyError> {
        let available = input.len();
        match &mut self.0 {
            Decoder::Exact(0) => Ok((0, Decoded::End)),
            Decoder::Exact(_) if available == 0 && closed => Err(BodyError::Truncated),
            Decoder::Exact(left) => {
                let ready = usize::try_from(*left).map_or(available, |left| left.min(available));
                Ok((0, if ready == 0 { Decoded::NeedMore } else { Decoded::Data(ready) }))
            }
            Decoder::Chunked(chunked) => {
                let (skipped, decoded) = chunked.decode(input, trailers)?;
                if decoded == Decoded::NeedMore && closed {
                    return Err(BodyError::Truncated);
                }
                Ok((skipped, decoded))
            }
            Decoder::UntilClose if available > 0 => Ok((0, Decoded::Data(available))),
            Decoder::UntilClose => Ok((0, if closed { Decoded::End } else { Decoded::NeedMore })),
        }
    }

    /// Tells that `taken` body bytes left the input.
    pub fn consumed(&mut self, taken: usize) {
        match &mut self.0 {
            Decoder::Exact(left) => *left -= taken as u64,
            Decoder::Chunked(chunked) => chunked.consumed(taken),
            Decoder::UntilClose => {}
        }
    }
}

/// Writes an HTTP/1.1 body's framing.
pub struct BodyEncoder(Encoder);

enum Encoder {
    Exact(u64),
    /// How much of the announced chunk is still to come.
    Chunked(usize),
    UntilClose,
}

impl BodyEncoder {
    /// An encoder for a body of this length.
    pub fn new(length: BodyLength) -> Self {
        Self(match length {
            BodyLength::Exact(length) => Encoder::Exact(length),
            BodyLength::Chunked => Encoder::Chunked(0),
            BodyLength::UntilClose => Encoder::UntilClose,
        })
    }

    /// How many bytes are still to be written, where the length was announced.
    pub(super) fn exact(&self) -> Option<u64> {
        match self.0 {
            Encoder::Exact(left) => Some(left),
            Encoder::Chunked(_) | Encoder::UntilClose => None,
        }
    }

    /// Whether only the end of the connection ends the body.
    pub(super) fn is_until_close(&self) -> bool {
        matches!(self.0, Encoder::UntilClose)
    }

    /// How many of `available` body bytes may be written now; writes a chunk's size into `output` where one begins.
    pub(super) fn begin(&mut self, available: usize, output: &mut Vec<u8>) -> Result<usize, BodyError> {
        match &mut self.0 {
            Encoder::Exact(left) if available as u64 > *left => Err(BodyError::Overlong),
            Encoder::Exact(_) | Encoder::UntilClose => Ok(available),
            Encoder::Chunked(left) => {
                if *left == 0 {
                    *left = available;
                    push_hex(output, available);
                    output.extend_from_slice(b"\r\n");
                }
                Ok((*left).min(available))
            }
        }
    }

    /// Tells that `written` body bytes were written; ends the chunk in `output` where it is complete.
    pub(super) fn written(&mut self, written: usize, output: &mut Vec<u8>) {
        match &mut self.0 {
            Encoder::Exact(left) => *left -= written as u64,
            Encoder::UntilClose => {}
            Encoder::Chunked(left) => {
                *left -= written;
                if *left == 0 {
                    output.extend_from_slice(b"\r\n");
                }
            }
        }
    }

    /// Ends the body.
    pub(super) fn finish(&mut self, trailers: &FieldBlock, output: &mut Vec<u8>) -> Result<(), BodyError> {
        match &self.0 {
            Encoder::Exact(0) | Encoder::UntilClose => Ok(()),
            Encoder::Exact(_) => Err(BodyError::Truncated),
            Encoder::Chunked(_) => {
                output.extend_from_slice(b"0\r\n");
                for (_, name, value) in trailers.iter() {
                    output.extend_from_slice(name);
                    output.extend_from_slice(b": ");
                    output.extend_from_slice(value);
                    output.extend_from_slice(b"\r\n");
                }
                output.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

fn push_hex(output: &mut Vec<u8>, number: usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        output.push(b"0123456789abcdef"[(number >> (digit * 4)) & 0xf]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HeadLimits;

    fn request(fields: &str) -> Result<BodyLength, BodyError> {
        let limits = HeadLimits { header_bytes: 4096, header_count: 10, line_bytes: 100 };
        let mut head = RequestHead::default();
        head.parse(format!("POST / HTTP/1.1\r\n{fields}\r\n").as_bytes(), &mut 0, &limits).unwrap().unwrap();
        BodyLength::of_request(&head)
    }

    #[test]
    fn one_plain_length_or_one_chunked_and_nothing_else() {
        assert_eq!(request(""), Ok(BodyLength::NONE));
        assert_eq!(request("Content-Length: 18446744073709551615\r\n"), Ok(BodyLength::Exact(u64::MAX)));
        assert_eq!(request("Transfer-Encoding: Chunked\r\n"), Ok(BodyLength::Chunked));
        for length in ["5, 5", "+5", "05", "0x5", "", "-1", "18446744073709551616", "5 5"] {
            assert_eq!(
                request(&format!("Content-Length: {length}\r\n")),
                Err(BodyError::ContentLength),
                "{length}"
            );
        }
        assert_eq!(request("Content-Length: 5\r\nContent-Length: 5\r\n"), Err(BodyError::ContentLength));
        for encoding in ["chunked, identity", "chunked,", "xchunked", "gzip", "gzip, chunked", ""] {
            assert_eq!(
                request(&format!("Transfer-Encoding: {encoding}\r\n")),
                Err(BodyError::TransferEncoding),
                "{encoding}"
            );
        }
        assert_eq!(request("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), Err(BodyError::Both));
    }

    #[test]
    fn chunk_sizes_are_written_in_hex() {
        for number in [1usize, 15, 16, 255, 4096, usize::MAX] {
            let mut output = Vec::new();
            push_hex(&mut output, number);
            assert_eq!(output, format!("{number:x}").as_bytes());
        }
    }
}
