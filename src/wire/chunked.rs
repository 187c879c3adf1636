//! The chunked transfer coding, read strictly (RFC 9112 §7.1).

use super::body::Decoded;
use super::field::FieldBlock;
use super::head::{HeadError, HeadLimits, is_field_text, parse_trailers};

/// The longest chunk-size line with its extension. Extensions are dropped; nobody known sends any, and a lax reader
/// of them was broken more than once (Kestrel CVE-2025-55315).
const MAX_SIZE_LINE_BYTES: usize = 256;

/// What a trailer section may hold at most.
const TRAILER_LIMITS: HeadLimits = HeadLimits { header_bytes: 8 * 1024, header_count: 32, line_bytes: 0 };

/// Why chunks are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not 1 to 16 hex digits, or an extension that is malformed or too long.
    #[error("a chunk's size is malformed")]
    Size,
    /// A chunk whose bytes are not followed by CRLF.
    #[error("a chunk does not end where its size says")]
    End,
    /// The trailer section is malformed or too large.
    #[error("the trailers are refused: {0}")]
    Trailers(HeadError),
}

#[derive(Default)]
pub(super) struct Chunked(State);

#[derive(Default)]
enum State {
    #[default]
    Size,
    Data(u64),
    /// The CRLF after a chunk's data.
    DataEnd,
    Trailers,
    Done,
}

impl Chunked {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// As [`BodyDecoder::decode`](super::body::BodyDecoder).
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        trailers: &mut FieldBlock,
    ) -> Result<(usize, Decoded), ChunkError> {
        let mut skipped = 0;
        loop {
            let rest = &input[skipped..];
            match &self.0 {
                State::Size => {
                    let Some((taken, size)) = size_line(rest)? else {
                        return Ok((skipped, Decoded::NeedMore));
                    };
                    skipped += taken;
                    self.0 = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(left) => {
                    let ready = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    let decoded = if ready == 0 { Decoded::NeedMore } else { Decoded::Data(ready) };
                    return Ok((skipped, decoded));
                }
                State::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        skipped += 2;
                        self.0 = State::Size;
                    }
                    [] | [b'\r'] => return Ok((skipped, Decoded::NeedMore)),
                    _ => return Err(ChunkError::End),
                },
                State::Trailers => {
                    let taken =
                        parse_trailers(trailers, rest, &TRAILER_LIMITS).map_err(ChunkError::Trailers)?;
                    let Some(taken) = taken else { return Ok((skipped, Decoded::NeedMore)) };
                    skipped += taken;
                    self.0 = State::Done;
                }
                State::Done => return Ok((skipped, Decoded::End)),
            }
        }
    }

    pub(super) fn consumed(&mut self, taken: usize) {
        if let State::Data(left) = &mut self.0 {
            *left -= taken as u64;
            if *left == 0 {
                self.0 = State::DataEnd;
            }
        }
    }
}

/// Reads `SIZE [; extension] CRLF`: how many bytes it took, and the size.
fn size_line(input: &[u8]) -> Result<Option<(usize, u64)>, ChunkError> {
    let window = &input[..input.len().min(MAX_SIZE_LINE_BYTES)];
    let digits = window.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    // refused as early as it is seen, so that nothing waits for a line end that never comes
    if digits > 16 || (digits == 0 && !window.is_empty()) {
        return Err(ChunkError::Size);
    }
    if window.get(digits).is_some_and(|byte| !matches!(byte, b'\r' | b';')) {
        return Err(ChunkError::Size);
    }
    let Some(end) = memchr::memchr(b'\n', window) else {
        let complete = window.len() == MAX_SIZE_LINE_BYTES;
        let stray = window[digits..]
            .iter()
            .position(|&byte| byte == b'\r')
            .is_some_and(|at| digits + at + 1 < window.len());
        return if complete || stray { Err(ChunkError::Size) } else { Ok(None) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(ChunkError::Size)?;
    if !is_field_text(&line[digits..]) {
        return Err(ChunkError::Size);
    }
    let size = line[..digits].iter().fold(0u64, |size, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        size << 4 | u64::from(digit)
    });
    Ok(Some((end + 1, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `step` bytes; the body and the trailers, or the error.
    fn read(input: &[u8], step: usize) -> Result<(Vec<u8>, usize), Option<ChunkError>> {
        let (mut chunked, mut trailers) = (Chunked::default(), FieldBlock::default());
        let (mut body, mut at, mut end) = (Vec::new(), 0, 0);
        loop {
            let (skipped, decoded) = chunked.decode(&input[at..end], &mut trailers)?;
            at += skipped;
            match decoded {
                Decoded::Data(ready) => {
                    body.extend_from_slice(&input[at..at + ready]);
                    chunked.consumed(ready);
                    at += ready;
                }
                Decoded::End => return Ok((body, trailers.len())),
                Decoded::NeedMore if end == input.len() => return Err(None),
                Decoded::NeedMore => end = (end + step).min(input.len()),
            }
        }
    }

    #[test]
    fn chunks_are_read_however_they_arrive() {
        let input = b"5\r\nhello\r\n00a;x=\"y\"\r\n0123456789\r\n0\r\nA: b\r\nC: d\r\n\r\n";
        for step in 1..input.len() {
            assert_eq!(read(input, step), Ok((b"hello0123456789".to_vec(), 2)), "{step}");
        }
        assert_eq!(read(b"0\r\n\r\n", 1), Ok((Vec::new(), 0)));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(1000));
        let cases = [
            "0x5\r\n",
            "5_0\r\n",
            "+5\r\n",
            " 5\r\n",
            "5 \r\n",
            "\r\n",
            "g\r\n",
            "12345678901234567\r\n",
            "5\nhello",
            "5;a\nb\r\n",
            "5;a\rb\r\n",
            "5\rx",
            &long,
        ];
        for case in cases {
            for step in [1, 7, 4096] {
                assert_eq!(read(case.as_bytes(), step), Err(Some(ChunkError::Size)), "{case:?} by {step}");
            }
        }
        for case in ["5\r\nhelloX", "5\r\nhello\n0\r\n", "5\r\nhello\rX"] {
            assert_eq!(read(case.as_bytes(), 1), Err(Some(ChunkError::End)), "{case:?}");
        }
        assert!(matches!(read(b"0\r\nA : b\r\n\r\n", 1), Err(Some(ChunkError::Trailers(_)))));
        assert!(matches!(read(b"0\r\nA: b\n\n", 1), Err(Some(ChunkError::Trailers(_)))));
    }

    #[test]
    fn an_unfinished_body_waits() {
        for case in ["", "5", "5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "0\r\nA: b\r\n"] {
            assert_eq!(read(case.as_bytes(), 3), Err(None), "{case:?}");
        }
    }
}
