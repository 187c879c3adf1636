//! From field lines to a request's head (RFC 9113 §8.2 and §8.3).

use super::super::body::{BodyError, Length, decimal};
use super::super::field::FieldBlock;
use super::super::field_name::FieldName;
use super::super::head::{FIELD_BYTES, HeadError, RequestHead, Version};
use super::Http2Limits;
use super::table::{Line, Name, Pseudo};

const COOKIE: &[u8] = b"cookie";

/// The lines of a head or of trailers on their way into a block.
pub(super) struct HeadReader<'a> {
    head: &'a mut RequestHead,
    limits: &'a Http2Limits,
    is_trailers: bool,
    seen: Seen,
    /// Of fields, and of pseudo-header fields.
    field_bytes: usize,
    line_bytes: usize,
    /// All pieces of the cookie, from the second on.
    cookie: Option<Vec<u8>>,
    has_fields: bool,
    is_malformed: bool,
    refused: Option<HeadError>,
}

/// The pseudo-header fields that have come, a bit each.
#[derive(Clone, Copy, Default)]
struct Seen(u8);

impl Seen {
    fn has(self, pseudo: Pseudo) -> bool {
        self.0 & 1 << pseudo as u8 != 0
    }
}

/// What a block turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    /// Well-formed, but not to be served; what is known of it is in the head.
    Refused(HeadError),
    Malformed,
}

impl<'a> HeadReader<'a> {
    pub(super) fn request(head: &'a mut RequestHead, limits: &'a Http2Limits) -> Self {
        head.fields.begin();
        head.version = Version::Http2;
        Self::new(head, limits, false)
    }

    /// Trailers stand in the fields of a head of their own.
    pub(super) fn trailers(head: &'a mut RequestHead, limits: &'a Http2Limits) -> Self {
        head.fields.begin();
        Self::new(head, limits, true)
    }

    fn new(head: &'a mut RequestHead, limits: &'a Http2Limits, is_trailers: bool) -> Self {
        Self {
            head,
            limits,
            is_trailers,
            seen: Seen::default(),
            field_bytes: 0,
            line_bytes: 0,
            cookie: None,
            has_fields: false,
            is_malformed: false,
            refused: None,
        }
    }

    /// Takes the next line. Beyond the limits nothing is kept: a line may cost its sender a single byte.
    pub(super) fn take(&mut self, line: Line<'_>) {
        let bytes = line.value.len();
        if matches!(line.kind, Name::Pseudo(_)) {
            self.line_bytes = self.line_bytes.saturating_add(bytes);
        } else {
            self.field_bytes = self.field_bytes.saturating_add(line.name.len() + bytes + FIELD_BYTES);
        }
        if self.line_bytes > self.limits.line_bytes {
            self.refused.get_or_insert(HeadError::LineTooLong);
        } else if self.field_bytes > self.limits.header_bytes {
            self.refused.get_or_insert(HeadError::TooLarge);
        } else if self.head.fields.len() >= self.limits.header_count && line.name != COOKIE {
            self.refused.get_or_insert(HeadError::TooMany);
        }
        if self.refused.is_some() || self.is_malformed {
            return;
        }
        self.is_malformed = !line.is_valid
            || match line.kind {
                Name::Pseudo(pseudo) => {
                    self.has_fields || self.is_trailers || !self.pseudo(pseudo, line.value)
                }
                Name::Field(kind) => !self.field(kind, &line),
                Name::Malformed => true,
            };
    }

    /// `false`: it may not be here, is here for the second time, or cannot be what it says.
    fn pseudo(&mut self, pseudo: Pseudo, value: &[u8]) -> bool {
        if self.seen.has(pseudo) {
            return false;
        }
        self.seen.0 |= 1 << pseudo as u8;
        let head = &mut *self.head;
        match pseudo {
            Pseudo::Method => head.method = head.fields.append(value),
            Pseudo::Authority => head.authority = Some(head.fields.append(value)),
            Pseudo::Path => head.target = head.fields.append(value),
            Pseudo::Protocol => head.protocol = Some(head.fields.append(value)),
            // how the client came is known better than it can say
            Pseudo::Scheme => return is_scheme(value),
            Pseudo::Status | Pseudo::Unknown => return false,
        }
        true
    }

    /// `false`: HTTP/2 has no such field.
    fn field(&mut self, kind: FieldName, line: &Line<'_>) -> bool {
        self.has_fields = true;
        match kind {
            FieldName::Connection | FieldName::TransferEncoding | FieldName::Upgrade => return false,
            FieldName::HopByHop if matches!(line.name, b"keep-alive" | b"proxy-connection") => return false,
            FieldName::Te if line.value != b"trailers" => return false,
            _ => {}
        }
        // HTTP/2 may send a cookie in pieces; HTTP/1.1 knows one line (RFC 9113 §8.2.3)
        if line.name == COOKIE && !self.is_trailers {
            if self.cookie.is_none() {
                let mut cookies = self.head.fields.iter().filter(|(_, name, _)| *name == COOKIE);
                self.cookie = cookies.next().map(|(.., first)| first.to_vec());
            }
            if let Some(cookie) = &mut self.cookie {
                cookie.extend_from_slice(b"; ");
                cookie.extend_from_slice(line.value);
                return true;
            }
        }
        self.head.fields.push_as(kind, line.name, line.value);
        true
    }

    /// What the lines amount to, now that all have come.
    pub(super) fn finish(self) -> Verdict {
        let head = self.head;
        if self.is_malformed {
            return Verdict::Malformed;
        }
        if let Some(error) = self.refused {
            return Verdict::Refused(error);
        }
        if self.is_trailers {
            return Verdict::Whole;
        }
        let seen = self.seen;
        // CONNECT names no path, unless it asks for a protocol (RFC 9113 §8.5, RFC 8441 §4)
        let is_plain_connect = head.method() == b"CONNECT" && !seen.has(Pseudo::Protocol);
        let is_whole = if is_plain_connect {
            seen.has(Pseudo::Authority) && !seen.has(Pseudo::Scheme) && !seen.has(Pseudo::Path)
        } else {
            !head.method().is_empty() && seen.has(Pseudo::Scheme) && !head.target().is_empty()
        };
        if !is_whole || (seen.has(Pseudo::Protocol) && head.method() != b"CONNECT") {
            return Verdict::Malformed;
        }
        if let Some(cookie) = &self.cookie {
            head.fields.retain(|_, name| name != COOKIE);
            head.fields.push(COOKIE, cookie);
        }
        Verdict::Whole
    }
}

/// Whether a URI may begin with it (RFC 3986 §3.1).
fn is_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// The length of a message's body that came by HTTP/2, `ended`: with its head.
pub(in super::super) fn body_length(fields: &FieldBlock, ended: bool) -> Result<Length, BodyError> {
    let mut lengths = fields.values(FieldName::ContentLength);
    match (lengths.next(), lengths.next()) {
        (None, _) if ended => Ok(Length::NONE),
        (None, _) => Ok(Length::Chunked),
        (Some(length), None) => decimal(length).map(Length::Exact).ok_or(BodyError::ContentLength),
        _ => Err(BodyError::ContentLength),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Http2Limits =
        Http2Limits { header_bytes: 4096, header_count: 20, line_bytes: 100, streams: 100, early_resets: 20 };
    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "h"), (":path", "/a#b?c")];

    fn read(lines: &[(&str, &str)]) -> (Verdict, RequestHead) {
        let mut head = RequestHead::default();
        let mut reader = HeadReader::request(&mut head, &LIMITS);
        for (name, value) in lines {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            reader.take(Line::new(Name::of(name), name, value));
        }
        (reader.finish(), head)
    }

    fn with(more: &[(&str, &str)]) -> (Verdict, RequestHead) {
        read(&[&GET[..], more].concat())
    }

    #[test]
    fn a_head_is_what_was_sent_byte_for_byte() {
        let (verdict, head) = with(&[("accept", "*/*"), ("x", "")]);
        assert_eq!(verdict, Verdict::Whole);
        assert_eq!(
            (head.method(), head.target(), head.authority()),
            (&b"GET"[..], &b"/a#b?c"[..], Some(&b"h"[..]))
        );
        let fields: Vec<_> = head.fields.iter().map(|(_, name, value)| (name, value)).collect();
        assert_eq!(fields, [(&b"accept"[..], &b"*/*"[..]), (b"x", b"")]);
    }

    #[test]
    fn cookies_are_joined() {
        let (verdict, head) = with(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]);
        assert_eq!(verdict, Verdict::Whole);
        let fields: Vec<_> = head.fields.iter().map(|(_, name, value)| (name, value)).collect();
        assert_eq!(fields, [(&b"x"[..], &b"y"[..]), (b"cookie", b"a=1; b=2")]);
    }

    #[test]
    fn malformed_heads_are_told() {
        for more in [
            &[("connection", "close")][..],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "websocket")],
            &[("keep-alive", "1")],
            &[("proxy-connection", "x")],
            &[("te", "gzip")],
            &[("Accept", "x")],
            &[("", "x")],
            &[("a b", "x")],
            &[("a:", "x")],
            &[("a", "x\r\ny: z")],
            &[("a", "x\0")],
            &[("a", " x")],
            &[("a", "x\t")],
            &[(":path", "/")],
            &[(":status", "200")],
            &[(":other", "x")],
            &[("a", "b"), (":authority", "h")],
            &[(":protocol", "websocket")],
        ] {
            assert_eq!(with(more).0, Verdict::Malformed, "{more:?}");
        }
        for missing in [":method", ":scheme", ":path"] {
            let lines: Vec<_> = GET.into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(read(&lines).0, Verdict::Malformed, "without {missing}");
        }
        for scheme in ["", "1a", "+", "https:", "ht tp", "h\u{e4}"] {
            let lines = GET.map(|(name, value)| (name, if name == ":scheme" { scheme } else { value }));
            assert_eq!(read(&lines).0, Verdict::Malformed, "{scheme:?}");
        }
        assert_eq!(read(&[(":method", "CONNECT"), (":authority", "h:1")]).0, Verdict::Whole);
        assert_eq!(with(&[("te", "trailers"), ("a", "\u{e4}\tb")]).0, Verdict::Whole);
    }

    #[test]
    fn beyond_the_limits_nothing_is_kept() {
        let lines: Vec<(&str, &str)> = std::iter::repeat_n(("a", "b"), 10_000).collect();
        let (verdict, head) = with(&lines);
        assert_eq!(verdict, Verdict::Refused(HeadError::TooMany));
        assert!(head.fields.bytes.len() < 200, "{}", head.fields.bytes.len());
        let long = "v".repeat(5000);
        let (verdict, head) = with(&[("a", "b"), ("c", &long)]);
        assert_eq!(verdict, Verdict::Refused(HeadError::TooLarge));
        assert!(head.fields.bytes.len() < 200);
    }

    #[test]
    fn what_just_meets_the_limits_passes_and_one_byte_more_does_not() {
        // `a: v…` and its CRLF; GET, https, h and the path
        for (value, path, verdict) in [
            (4091, 100 - 9, Verdict::Whole),
            (4092, 1, Verdict::Refused(HeadError::TooLarge)),
            (1, 100 - 8, Verdict::Refused(HeadError::LineTooLong)),
        ] {
            let (value, path) = ("v".repeat(value), format!("/{}", "p".repeat(path - 1)));
            let lines = [&GET[..3], &[(":path", &path), ("a", &value)]].concat();
            assert_eq!(read(&lines).0, verdict);
        }
    }

    #[test]
    fn lengths_are_one_plain_number() {
        let length = |lines: &[(&str, &str)], ended| body_length(&with(lines).1.fields, ended);
        assert_eq!(length(&[], true), Ok(Length::NONE));
        assert_eq!(length(&[], false), Ok(Length::Chunked));
        assert_eq!(length(&[("content-length", "5")], false), Ok(Length::Exact(5)));
        for bad in ["+5", "05", "5, 5", "", "x"] {
            assert_eq!(length(&[("content-length", bad)], false), Err(BodyError::ContentLength), "{bad}");
        }
        assert!(length(&[("content-length", "5"), ("content-length", "5")], false).is_err());
    }
}
