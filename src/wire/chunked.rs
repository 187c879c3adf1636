//! Reads the chunked transfer coding (RFC 9112 §7.1): strictly from clients, less so from upstreams.

use super::field_block::FieldBlock;
use super::field_syntax::{is_field_text, is_token};
use super::head::{HeadError, HeadLimits, parse_trailers};

/// The longest chunk-size line with its extension. Extensions are dropped: no known client sends any, and a lax reader
/// of them was broken more than once (Kestrel CVE-2025-55315).
const MAX_SIZE_LINE_BYTES: usize = 256;

/// What a client's trailer section may hold at most.
const TRAILER_LIMITS: HeadLimits = HeadLimits { header_bytes: 8 * 1024, header_count: 32, line_bytes: 0 };

/// Who sends the chunks, and so how strictly they are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum ChunkSender {
    /// Nothing ill-formed is taken.
    Client,
    /// Old servers pad sizes with blanks. Extensions are dropped whatever they are. So are trailers beyond these limits:
    /// the answer before them is whole.
    Upstream(HeadLimits),
}

/// What the front of the input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// The next so many bytes are body; more than zero.
    Data(usize),
    /// The body is complete.
    End,
    /// More input is needed.
    NeedMore,
}

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

pub(super) struct ChunkedDecoder {
    sender: ChunkSender,
    state: State,
}

enum State {
    Size,
    Data(u64),
    /// The CRLF after a chunk's data.
    DataEnd,
    /// How much of them was looked at.
    Trailers {
        scanned: usize,
    },
    /// Trailers that are dropped; whether the input begins within a line.
    Dropped {
        in_line: bool,
    },
    Done,
}

impl ChunkedDecoder {
    pub(super) fn from(sender: ChunkSender) -> Self {
        Self { sender, state: State::Size }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// As [`BodyDecoder::decode`](super::body_framing::BodyDecoder).
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        trailers: &mut FieldBlock,
    ) -> Result<(usize, Decoded), ChunkError> {
        let mut skipped = 0;
        loop {
            let rest = &input[skipped..];
            match &mut self.state {
                State::Size => {
                    let Some((taken, size)) = size_line(rest, self.sender)? else {
                        return Ok((skipped, Decoded::NeedMore));
                    };
                    skipped += taken;
                    self.state = if size == 0 { State::Trailers { scanned: 0 } } else { State::Data(size) };
                }
                State::Data(left) => {
                    let ready = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    let decoded = if ready == 0 { Decoded::NeedMore } else { Decoded::Data(ready) };
                    return Ok((skipped, decoded));
                }
                State::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        skipped += 2;
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok((skipped, Decoded::NeedMore)),
                    _ => return Err(ChunkError::End),
                },
                State::Trailers { scanned } => {
                    let limits = match &self.sender {
                        ChunkSender::Client => &TRAILER_LIMITS,
                        ChunkSender::Upstream(limits) => limits,
                    };
                    match (parse_trailers(trailers, rest, scanned, limits), self.sender) {
                        (Ok(None), _) => return Ok((skipped, Decoded::NeedMore)),
                        (Ok(Some(taken)), _) => {
                            skipped += taken;
                            self.state = State::Done;
                        }
                        (Err(HeadError::TooLarge | HeadError::TooMany), ChunkSender::Upstream(_)) => {
                            trailers.clear();
                            self.state = State::Dropped { in_line: false };
                        }
                        (Err(error), _) => return Err(ChunkError::Trailers(error)),
                    }
                }
                State::Dropped { in_line } => match (rest, memchr::memchr(b'\n', rest)) {
                    ([b'\r', b'\n', ..], _) if !*in_line => {
                        skipped += 2;
                        self.state = State::Done;
                    }
                    (_, Some(end)) if rest[..end].ends_with(b"\r") => {
                        skipped += end + 1;
                        *in_line = false;
                    }
                    (_, Some(_)) => return Err(ChunkError::Trailers(HeadError::LineEnd)),
                    (_, None) => {
                        // it may be the first half of a line's end
                        let kept = usize::from(rest.ends_with(b"\r"));
                        *in_line |= rest.len() > kept;
                        return Ok((skipped + rest.len() - kept, Decoded::NeedMore));
                    }
                },
                State::Done => return Ok((skipped, Decoded::End)),
            }
        }
    }

    pub(super) fn consumed(&mut self, taken: usize) {
        if let State::Data(left) = &mut self.state {
            *left -= taken as u64;
            if *left == 0 {
                self.state = State::DataEnd;
            }
        }
    }
}

/// Reads `SIZE [; extension] CRLF`: how many bytes it took, and the size.
fn size_line(input: &[u8], sender: ChunkSender) -> Result<Option<(usize, u64)>, ChunkError> {
    let window = &input[..input.len().min(MAX_SIZE_LINE_BYTES)];
    let digits = window.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    // refused as early as it is seen, so that nothing waits for a line end that never comes
    if digits > 16 || (digits == 0 && !window.is_empty()) {
        return Err(ChunkError::Size);
    }
    let blanks = match sender {
        ChunkSender::Client => 0,
        ChunkSender::Upstream(_) => blanks(&window[digits..]),
    };
    let after = digits + blanks;
    if window.get(after).is_some_and(|byte| !matches!(byte, b'\r' | b';')) {
        return Err(ChunkError::Size);
    }
    let Some(end) = memchr::memchr(b'\n', window) else {
        let complete = window.len() == MAX_SIZE_LINE_BYTES;
        let stray = window[after..]
            .iter()
            .position(|&byte| byte == b'\r')
            .is_some_and(|at| after + at + 1 < window.len());
        return if complete || stray { Err(ChunkError::Size) } else { Ok(None) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(ChunkError::Size)?;
    let extensions = &line[after..];
    let is_valid = match sender {
        ChunkSender::Client => is_field_text(extensions) && are_extensions(extensions),
        ChunkSender::Upstream(_) => is_field_text(extensions),
    };
    if !is_valid {
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

/// Whether there is nothing, or extensions as RFC 9112 §7.1.1 has them. Controls are for others to find.
fn are_extensions(mut text: &[u8]) -> bool {
    while let Some(extension) = text[blanks(text)..].strip_prefix(b";") {
        let name = &extension[blanks(extension)..];
        let length = token(name);
        if length == 0 {
            return false;
        }
        text = &name[length..];
        if let Some(value) = text[blanks(text)..].strip_prefix(b"=") {
            let value = &value[blanks(value)..];
            let length = if value.starts_with(b"\"") { quoted(value) } else { token(value) };
            if length == 0 {
                return false;
            }
            text = &value[length..];
        }
    }
    text.is_empty()
}

/// How many spaces and tabs `text` begins with.
fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// The length of the token that `text` begins with.
fn token(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_token(**byte)).count()
}

/// The length of the quoted string that `text` begins with; 0 where it does not end.
fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match text.get(at) {
            None => return 0,
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPSTREAM: ChunkSender =
        ChunkSender::Upstream(HeadLimits { header_bytes: 100, header_count: 3, line_bytes: 0 });

    /// Feeds `input` in pieces of `step` bytes; the body and the trailers, or the error.
    fn read(input: &[u8], step: usize) -> Result<(Vec<u8>, usize), Option<ChunkError>> {
        read_from(ChunkSender::Client, input, step)
    }

    fn read_from(
        sender: ChunkSender,
        input: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, usize), Option<ChunkError>> {
        let (mut chunked, mut trailers) = (ChunkedDecoder::from(sender), FieldBlock::default());
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
    fn extensions_of_clients_are_what_the_grammar_says() {
        for good in ["", ";a", ";a=b", ";a=\"b;c\\\"\u{e4} \"", ";a;b=c;d", "; a = b ;\tc", ";a=\"\""] {
            let input = format!("5{good}\r\nhello\r\n0{good}\r\n\r\n");
            for step in [1, 4096] {
                assert_eq!(read(input.as_bytes(), step), Ok((b"hello".to_vec(), 0)), "{good:?} by {step}");
            }
        }
        let bad = [
            ";",
            ";;",
            ";a;",
            ";=b",
            ";a=",
            ";a=\"b",
            ";a=\"b\\\"",
            ";a=b c",
            ";a b",
            ";bad[=x",
            ";a=[",
            ";a ",
            ";a=b ",
            " ;a",
            ";a=\"b\"c",
            ";a==b",
            ";\"a\"",
        ];
        for bad in bad {
            for size in ["5", "0"] {
                let input = format!("{size}{bad}\r\nhello\r\n0\r\n\r\n");
                for step in [1, 4096] {
                    let read = read(input.as_bytes(), step);
                    assert_eq!(read, Err(Some(ChunkError::Size)), "{bad:?} by {step}");
                }
            }
            let input = format!("5{bad}\r\nhello\r\n0{bad}\r\n\r\n");
            assert_eq!(read_from(UPSTREAM, input.as_bytes(), 1), Ok((b"hello".to_vec(), 0)), "{bad:?}");
        }
    }

    #[test]
    fn sizes_of_upstreams_may_be_padded() {
        for padding in [" ", "      ", "\t", " ;a=b", "  ; x"] {
            let input = format!("5{padding}\r\nhello\r\n0{padding}\r\nA: b\r\n\r\n");
            for step in 1..input.len() {
                assert_eq!(
                    read_from(UPSTREAM, input.as_bytes(), step),
                    Ok((b"hello".to_vec(), 1)),
                    "{padding:?}"
                );
            }
        }
        let endless = format!("5{}", " ".repeat(300));
        for bad in [" 5\r\n", "5 5\r\n", "5 x\r\n", " \r\n", "5 \n", "5 \rx", &endless] {
            assert_eq!(read_from(UPSTREAM, bad.as_bytes(), 1), Err(Some(ChunkError::Size)), "{bad:?}");
        }
    }

    #[test]
    fn trailers_of_upstreams_that_are_too_many_are_dropped_and_the_body_is_whole() {
        let line = |count: usize| format!("A: {}\r\n", "x".repeat(count - 5));
        for (trailers, kept) in [
            (line(50) + &line(50), 2),
            (line(50) + &line(51), 0),
            (line(3000), 0),
            (line(2000) + "B: b\r\n" + &line(90), 0),
            ("A: b\r\n".repeat(3), 3),
            ("A: b\r\n".repeat(4), 0),
        ] {
            let input = format!("5\r\nhello\r\n0\r\n{trailers}\r\n");
            for step in [1, 7, 64, 4096] {
                let read = read_from(UPSTREAM, input.as_bytes(), step);
                assert_eq!(read, Ok((b"hello".to_vec(), kept)), "{trailers:?} by {step}");
            }
        }
        // what ends a line is as strict as ever
        for end in ["\n\r\n", "\n\n", "\r\n\n"] {
            let input = format!("0\r\n{}A: b{end}", line(3000));
            let read = read_from(UPSTREAM, input.as_bytes(), 1);
            assert_eq!(read, Err(Some(ChunkError::Trailers(HeadError::LineEnd))), "{end:?}");
        }
    }

    #[test]
    fn an_unfinished_body_waits() {
        for case in ["", "5", "5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "0\r\nA: b\r\n"] {
            assert_eq!(read(case.as_bytes(), 3), Err(None), "{case:?}");
        }
    }
}
