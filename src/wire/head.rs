//! HTTP/1.1 heads, read strictly: what two readers could understand differently is refused (RFC 9112).
//!
//! Refused where RFC 9112 lets a recipient be lenient: bare LF, bare CR, white space before the colon, folded lines,
//! extra spaces in the request line, controls in values. Request smuggling lives on those.

use zeroize::Zeroize as _;

use super::field::{Field, Span};
use super::field_block::FieldBlock;
use super::field_syntax::{is_field_text, is_token};
use super::header_rule::HeaderRule;

/// What a head may hold at most.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes of all field lines together, each with its CRLF.
    pub header_bytes: usize,
    /// Number of field lines.
    pub header_count: usize,
    /// Bytes of the request line or the status line, without its CRLF.
    pub line_bytes: usize,
}

/// What a field line holds beside name and value: a colon, a space and the CRLF.
pub(super) const FIELD_BYTES: usize = 4;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The request line is not `METHOD SP target SP HTTP/1.x`.
    #[error("the request line is malformed")]
    RequestLine,
    /// The status line is not `HTTP/1.x SP status SP reason`.
    #[error("the status line is malformed")]
    StatusLine,
    /// Not `HTTP/` and two digits with a dot between them.
    #[error("the protocol version is malformed")]
    Version,
    /// Neither 1.0 nor 1.1, nor a later minor version, which is read as 1.1.
    #[error("the protocol version is not HTTP/1")]
    MajorVersion,
    /// A line that does not end in CRLF.
    #[error("a line does not end in CRLF")]
    LineEnd,
    /// A field line without a valid name directly before its colon, or a folded one.
    #[error("a header name is malformed")]
    FieldName,
    /// A control character in a value.
    #[error("a header value holds a control character")]
    FieldValue,
    /// The request line is longer than the limit.
    #[error("the request target is too long")]
    LineTooLong,
    /// More bytes of fields than the limit.
    #[error("the header fields are too large")]
    TooLarge,
    /// More fields than the limit.
    #[error("there are too many header fields")]
    TooMany,
}

/// The two versions of HTTP/1, and HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// The version as logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2.0",
        }
    }
}

/// A request's head: method, target and fields, as they came.
#[derive(Clone)]
pub struct RequestHead {
    /// The header fields.
    pub fields: FieldBlock,
    /// The protocol version of the request.
    pub version: Version,
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) authority: Option<Span>,
    pub(super) protocol: Option<Span>,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            fields: FieldBlock::default(),
            version: Version::Http11,
            method: Span::default(),
            target: Span::default(),
            authority: None,
            protocol: None,
        }
    }
}

impl RequestHead {
    /// The method, a token.
    pub fn method(&self) -> &[u8] {
        self.method.of(&self.fields.bytes)
    }

    /// The request target, byte for byte; for HTTP/2 the `:path`.
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.fields.bytes)
    }

    /// HTTP/2's `:authority`, where it was sent.
    pub fn authority(&self) -> Option<&[u8]> {
        self.authority.map(|span| span.of(&self.fields.bytes))
    }

    /// HTTP/2's `:protocol` (RFC 8441), where it was sent.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.protocol.map(|span| span.of(&self.fields.bytes))
    }

    /// Overwrites the credentials in the bytes that this head was read from, all of them and nothing more.
    pub fn wipe_credentials_in(&self, input: &mut [u8]) {
        let skipped = input.len() - self.fields.bytes.len();
        let ranges = FieldBlock::credentials_of(&self.fields.fields);
        ranges.for_each(|range| input[skipped + range.start..skipped + range.end].zeroize());
    }

    /// Reads a head from the front of `input`. `Ok(None)`: more bytes are needed. `scanned` remembers between calls
    /// what was already looked at; it starts at zero. Returns how many bytes the head took.
    pub fn parse(
        &mut self,
        input: &[u8],
        scanned: &mut usize,
        limits: &HeadLimits,
    ) -> Result<Option<usize>, HeadError> {
        // RFC 9112 §2.2: an empty line before the request line is ignored; one is enough for old clients
        let skip = if input.starts_with(b"\r\n") { 2 } else { 0 };
        let Some(end) = find_end(input, skip, scanned, Some(limits.line_bytes), limits.header_bytes)? else {
            return Ok(None);
        };
        let line_end = skip + line_length(&input[skip..])?;
        self.fields.begin();
        self.fields.bytes.extend_from_slice(&input[skip..end]);
        let line = &input[skip..line_end];
        let (method_end, target_end) = request_line(line)?;
        self.version = version(&line[target_end + 1..])?;
        self.method = Span::new(0, method_end);
        self.target = Span::new(method_end + 1, target_end);
        self.authority = None;
        self.protocol = None;
        parse_fields(&mut self.fields, line_end - skip + 2, limits.header_count)?;
        *scanned = 0;
        Ok(Some(end))
    }
}

/// An answer's head: status, reason and fields, as they came.
#[derive(Clone)]
pub struct ResponseHead {
    /// The header fields.
    pub fields: FieldBlock,
    /// The protocol version of the answer.
    pub version: Version,
    /// The status code, 100 to 999.
    pub status: u16,
    pub(super) reason: Span,
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self { fields: FieldBlock::default(), version: Version::Http11, status: 0, reason: Span::default() }
    }
}

impl ResponseHead {
    /// The reason phrase, possibly empty.
    pub fn reason(&self) -> &[u8] {
        self.reason.of(&self.fields.bytes)
    }

    /// Reads a head from the front of `input`, as [`RequestHead::parse`].
    pub fn parse(
        &mut self,
        input: &[u8],
        scanned: &mut usize,
        limits: &HeadLimits,
    ) -> Result<Option<usize>, HeadError> {
        let Some(end) = find_end(input, 0, scanned, Some(limits.line_bytes), limits.header_bytes)? else {
            return Ok(None);
        };
        let line_end = line_length(input)?;
        self.fields.begin();
        self.fields.bytes.extend_from_slice(&input[..end]);
        let line = &input[..line_end];
        let (version_text, rest) = line.split_at_checked(8).ok_or(HeadError::StatusLine)?;
        self.version = version(version_text)?;
        // the space before an empty reason is often left out (RFC 9112 §4)
        let [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..] = rest else {
            return Err(HeadError::StatusLine);
        };
        if !matches!(reason, [] | [b' ', ..]) || !is_field_text(reason) {
            return Err(HeadError::StatusLine);
        }
        self.status = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
        self.reason = Span::new(if reason.is_empty() { line_end } else { 13 }, line_end);
        parse_fields(&mut self.fields, line_end + 2, limits.header_count)?;
        *scanned = 0;
        Ok(Some(end))
    }
}

/// Reads a trailer section from the front of `input`: field lines up to an empty line. `Ok(None)`: more is needed.
pub(super) fn parse_trailers(
    block: &mut FieldBlock,
    input: &[u8],
    scanned: &mut usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, HeadError> {
    if input.starts_with(b"\r\n") {
        return Ok(Some(2));
    }
    let Some(end) = find_end(input, 0, scanned, None, limits.header_bytes)? else { return Ok(None) };
    block.clear();
    block.bytes.extend_from_slice(&input[..end]);
    parse_fields(block, 0, limits.header_count)?;
    Ok(Some(end))
}

/// Where the empty line that ends a head ends. Looks at each byte once over all calls. `line_limit`: of the first line,
/// where there is one that is no field.
fn find_end(
    input: &[u8],
    skip: usize,
    scanned: &mut usize,
    line_limit: Option<usize>,
    header_limit: usize,
) -> Result<Option<usize>, HeadError> {
    let mut line_start = (*scanned).max(skip);
    // where the fields begin, once it is known
    let mut fields = match line_limit {
        None => Some(skip),
        Some(_) if line_start > skip => memchr::memchr(b'\n', &input[skip..]).map(|end| skip + end + 1),
        Some(_) => None,
    };
    loop {
        let found = memchr::memchr(b'\n', &input[line_start..]).map(|offset| line_start + offset);
        // without the CRLF, of which the CR may be there already
        let line_end = found.unwrap_or(input.len()).saturating_sub(1);
        if fields.is_none() && line_limit.is_some_and(|limit| line_end.saturating_sub(skip) > limit) {
            return Err(HeadError::LineTooLong);
        }
        let is_last = line_end <= line_start && line_start > skip;
        if let Some(fields) = fields
            && !is_last
            && found.map_or(line_end, |end| end + 1).saturating_sub(fields) > header_limit
        {
            return Err(HeadError::TooLarge);
        }
        let Some(end) = found else {
            *scanned = line_start;
            return Ok(None);
        };
        if end == line_start || input[end - 1] != b'\r' {
            return Err(HeadError::LineEnd);
        }
        if is_last {
            return Ok(Some(end + 1));
        }
        line_start = end + 1;
        fields.get_or_insert(line_start);
    }
}

/// The length of the first line, without its CRLF, whose presence [`find_end`] has shown.
fn line_length(input: &[u8]) -> Result<usize, HeadError> {
    memchr::memchr(b'\n', input).and_then(|end| end.checked_sub(1)).ok_or(HeadError::LineEnd)
}

/// Where method and target of a request line end.
fn request_line(line: &[u8]) -> Result<(usize, usize), HeadError> {
    let method_end = memchr::memchr(b' ', line).ok_or(HeadError::RequestLine)?;
    let target_start = method_end + 1;
    let target_end =
        target_start + memchr::memchr(b' ', &line[target_start..]).ok_or(HeadError::RequestLine)?;
    let method = &line[..method_end];
    let named = (1..=32).contains(&method_end) && method.iter().all(|&b| is_token(b));
    // what the target may hold is for the admission to judge; here it only must not be empty
    if !named || target_end == target_start {
        return Err(HeadError::RequestLine);
    }
    Ok((method_end, target_end))
}

fn version(text: &[u8]) -> Result<Version, HeadError> {
    match text {
        b"HTTP/1.0" => Ok(Version::Http10),
        // a higher minor version promises to be read as the highest that is known (RFC 9110 §2.5)
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok(Version::Http11),
        [b'H', b'T', b'T', b'P', b'/', b'0' | b'2'..=b'9', b'.', b'0'..=b'9'] => Err(HeadError::MajorVersion),
        _ if text.starts_with(b"HTTP/") && !text.contains(&b' ') => Err(HeadError::Version),
        _ => Err(HeadError::RequestLine),
    }
}

/// Reads the field lines of `block.bytes` from `start` on; the block ends with an empty line.
fn parse_fields(block: &mut FieldBlock, start: usize, limit: usize) -> Result<(), HeadError> {
    let FieldBlock { bytes, fields } = block;
    let mut at = start;
    loop {
        let line_end = at + line_length(&bytes[at..])?;
        if line_end == at {
            return Ok(());
        }
        if fields.len() == limit {
            return Err(HeadError::TooMany);
        }
        let line = &bytes[at..line_end];
        let colon = line.iter().position(|&b| !is_token(b)).unwrap_or(line.len());
        if colon == 0 || line.get(colon) != Some(&b':') {
            return Err(HeadError::FieldName);
        }
        let mut value_start = colon + 1;
        let mut value_end = line.len();
        while value_start < value_end && matches!(line[value_start], b' ' | b'\t') {
            value_start += 1;
        }
        while value_end > value_start && matches!(line[value_end - 1], b' ' | b'\t') {
            value_end -= 1;
        }
        if !is_field_text(&line[value_start..value_end]) {
            return Err(HeadError::FieldValue);
        }
        let name = Span::new(at, at + colon);
        let value = Span::new(at + value_start, at + value_end);
        fields.push(Field { name, value, rule: HeaderRule::of(&line[..colon]) });
        at = line_end + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { header_bytes: 1024, header_count: 4, line_bytes: 64 };

    fn parse(input: &[u8]) -> Result<Option<RequestHead>, HeadError> {
        let mut head = RequestHead::default();
        Ok(head.parse(input, &mut 0, &LIMITS)?.map(|_| head))
    }

    #[test]
    fn a_request_is_read_as_it_came() {
        let head = parse(b"GET /a?b#c HTTP/1.1\r\nHost: x\r\nA:\t b c \r\n\r\nrest").unwrap().unwrap();
        assert_eq!(head.method(), b"GET");
        assert_eq!(head.target(), b"/a?b#c");
        let fields: Vec<_> = head.fields.iter().map(|(_, n, v)| (n, v)).collect();
        assert_eq!(fields, [(&b"Host"[..], &b"x"[..]), (b"A", b"b c")]);
    }

    #[test]
    fn a_head_may_arrive_byte_by_byte() {
        let input = b"\r\nPOST / HTTP/1.0\r\nA: b\r\n\r\n";
        let mut head = RequestHead::default();
        let mut scanned = 0;
        for end in 0..input.len() {
            assert_eq!(head.parse(&input[..end], &mut scanned, &LIMITS), Ok(None), "{end}");
        }
        assert_eq!(head.parse(input, &mut scanned, &LIMITS), Ok(Some(input.len())));
        assert_eq!((head.method(), head.version), (&b"POST"[..], Version::Http10));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let cases: [(&[u8], HeadError); 18] = [
            (b"GET / HTTP/1.1\nHost: x\r\n\r\n", HeadError::LineEnd),
            (b"GET / HTTP/1.1\r\nHost: x\n\r\n", HeadError::LineEnd),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\n", HeadError::LineEnd),
            (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", HeadError::FieldName),
            (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", HeadError::FieldName),
            (b"GET / HTTP/1.1\r\nA: x\r\n b\r\n\r\n", HeadError::FieldName),
            (b"GET / HTTP/1.1\r\n: x\r\n\r\n", HeadError::FieldName),
            (b"GET / HTTP/1.1\r\nA\r\n\r\n", HeadError::FieldName),
            (b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", HeadError::FieldValue),
            (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", HeadError::FieldValue),
            (b"GET  / HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            (b"GET /a b HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            (b"GET / \r\n\r\n", HeadError::RequestLine),
            (b"GET /\r\n\r\n", HeadError::RequestLine),
            (b"G(T / HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            (b"GET / HTTP/2.0\r\n\r\n", HeadError::MajorVersion),
            (b"GET / HTTP/1.1 \r\n\r\n", HeadError::RequestLine),
            (b"GET / http/1.1\r\n\r\n", HeadError::RequestLine),
        ];
        for (input, error) in cases {
            assert_eq!(parse(input).map(|_| ()), Err(error), "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn limits_hold_before_the_head_is_complete() {
        assert_eq!(
            parse(format!("GET /{}", "a".repeat(64)).as_bytes()).map(|_| ()),
            Err(HeadError::LineTooLong)
        );
        let line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64));
        assert_eq!(parse(line.as_bytes()).map(|_| ()), Err(HeadError::LineTooLong));
        let long = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(1200));
        assert_eq!(parse(long.as_bytes()).map(|_| ()), Err(HeadError::TooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5));
        assert_eq!(parse(many.as_bytes()).map(|_| ()), Err(HeadError::TooMany));
    }

    #[test]
    fn what_just_meets_the_limits_passes_and_one_byte_more_does_not_however_it_arrives() {
        let head = |line: usize, fields: usize| {
            let target = "a".repeat(line - "GET / HTTP/1.1".len());
            format!("GET /{target} HTTP/1.1\r\nA: {}\r\nB: b\r\n\r\n", "a".repeat(fields - 11))
        };
        for (line, fields, error) in [
            (64, 1024, None),
            (64, 1025, Some(HeadError::TooLarge)),
            (20, 1024, None),
            (20, 1025, Some(HeadError::TooLarge)),
            (65, 20, Some(HeadError::LineTooLong)),
        ] {
            let input = head(line, fields);
            for step in [1, 7, 100, input.len()] {
                let (mut head, mut scanned, mut end) = (RequestHead::default(), 0, 0);
                let result = loop {
                    end = (end + step).min(input.len());
                    match head.parse(&input.as_bytes()[..end], &mut scanned, &LIMITS) {
                        Ok(None) => assert!(end < input.len(), "{line} and {fields} by {step}: it is whole"),
                        other => break other,
                    }
                };
                assert_eq!(result, error.map_or(Ok(Some(input.len())), Err), "{line} and {fields} by {step}");
            }
        }
    }

    #[test]
    fn a_status_line_is_read_strictly() {
        let parse = |input: &[u8]| {
            let mut head = ResponseHead::default();
            head.parse(input, &mut 0, &LIMITS).map(|done| done.map(|_| (head.status, head.reason().to_vec())))
        };
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(Some((204, b"No Content".to_vec()))));
        assert_eq!(parse(b"HTTP/1.1 200\r\n\r\n"), Ok(Some((200, Vec::new()))));
        for bad in
            ["HTTP/1.1 20 x\r\n\r\n", "HTTP/1.1 2000 x\r\n\r\n", "HTTP/1.1  200 x\r\n\r\n", "200 OK\r\n\r\n"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
