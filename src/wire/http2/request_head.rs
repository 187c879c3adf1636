//! From field lines to a request's head (RFC 9113 §8.2 and §8.3).

use super::super::body_framing::{BodyError, BodyLength, decimal};
use super::super::field_block::FieldBlock;
use super::super::head::{FIELD_BYTES, HeadError, RequestHead, Version};
use super::super::header_rule::HeaderRule;
use super::Http2Limits;
use super::hpack_table::{FieldLine, LineKind, PseudoHeader};

const COOKIE: &[u8] = b"cookie";

/// Reads the lines of a head or of trailers into a field block.
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
    fn has(self, pseudo: PseudoHeader) -> bool {
        self.0 & 1 << pseudo as u8 != 0
    }
}

/// Whether a head or trailers can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadValidation {
    Valid,
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
    pub(super) fn take(&mut self, line: FieldLine<'_>) {
        let bytes = line.value.len();
        if matches!(line.kind, LineKind::Pseudo(_)) {
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
                LineKind::Pseudo(pseudo) => {
                    self.has_fields || self.is_trailers || !self.pseudo(pseudo, line.value)
                }
                LineKind::Field(rule) => !self.field(rule, &line),
                LineKind::Malformed => true,
            };
    }

    /// `false`: it may not be here, is here for the second time, or cannot be what it says.
    fn pseudo(&mut self, pseudo: PseudoHeader, value: &[u8]) -> bool {
        if self.seen.has(pseudo) {
            return false;
        }
        self.seen.0 |= 1 << pseudo as u8;
        let head = &mut *self.head;
        match pseudo {
            PseudoHeader::Method => head.method = head.fields.append(value),
            PseudoHeader::Authority => head.authority = Some(head.fields.append(value)),
            PseudoHeader::Path => head.target = head.fields.append(value),
            PseudoHeader::Protocol => head.protocol = Some(head.fields.append(value)),
            // how the client came is known better than it can say
            PseudoHeader::Scheme => return is_scheme(value),
            PseudoHeader::Status | PseudoHeader::Unknown => return false,
        }
        true
    }

    /// `false`: HTTP/2 has no such field.
    fn field(&mut self, rule: HeaderRule, line: &FieldLine<'_>) -> bool {
        self.has_fields = true;
        match rule {
            HeaderRule::Connection | HeaderRule::TransferEncoding | HeaderRule::Upgrade => return false,
            HeaderRule::HopByHop if matches!(line.name, b"keep-alive" | b"proxy-connection") => return false,
            HeaderRule::Te if line.value != b"trailers" => return false,
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
        self.head.fields.push_as(rule, line.name, line.value);
        true
    }

    /// Checks the whole, after the last line.
    pub(super) fn finish(self) -> HeadValidation {
        let head = self.head;
        if self.is_malformed {
            return HeadValidation::Malformed;
        }
        if let Some(error) = self.refused {
            return HeadValidation::Refused(error);
        }
        if self.is_trailers {
            return HeadValidation::Valid;
        }
        let seen = self.seen;
        // CONNECT names no path, unless it asks for a protocol (RFC 9113 §8.5, RFC 8441 §4)
        let is_plain_connect = head.method() == b"CONNECT" && !seen.has(PseudoHeader::Protocol);
        let is_whole = if is_plain_connect {
            seen.has(PseudoHeader::Authority)
                && !seen.has(PseudoHeader::Scheme)
                && !seen.has(PseudoHeader::Path)
        } else {
            !head.method().is_empty() && seen.has(PseudoHeader::Scheme) && !head.target().is_empty()
        };
        if !is_whole || (seen.has(PseudoHeader::Protocol) && head.method() != b"CONNECT") {
            return HeadValidation::Malformed;
        }
        if let Some(cookie) = &self.cookie {
            head.fields.retain(|_, name| name != COOKIE);
            head.fields.push(COOKIE, cookie);
        }
        HeadValidation::Valid
    }
}

/// Whether a URI may begin with it (RFC 3986 §3.1).
fn is_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// The length of a message's body that came by HTTP/2, `ended`: with its head.
pub(in super::super) fn body_length(fields: &FieldBlock, ended: bool) -> Result<BodyLength, BodyError> {
    let mut lengths = fields.values(HeaderRule::ContentLength);
    match (lengths.next(), lengths.next()) {
        (None, _) if ended => Ok(BodyLength::NONE),
        (None, _) => Ok(BodyLength::Chunked),
        (Some(length), None) => decimal(length).map(BodyLength::Exact).ok_or(BodyError::ContentLength),
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

    fn read(lines: &[(&str, &str)]) -> (HeadValidation, RequestHead) {
        let mut head = RequestHead::default();
        let mut reader = HeadReader::request(&mut head, &LIMITS);
        for (name, value) in lines {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            reader.take(FieldLine::new(LineKind::of(name), name, value));
        }
        (reader.finish(), head)
    }

    fn with(more: &[(&str, &str)]) -> (HeadValidation, RequestHead) {
        read(&[&GET[..], more].concat())
    }

    #[test]
    fn a_head_is_what_was_sent_byte_for_byte() {
        let (validation, head) = with(&[("accept", "*/*"), ("x", "")]);
        assert_eq!(validation, HeadValidation::Valid);
        assert_eq!(
            (head.method(), head.target(), head.authority()),
            (&b"GET"[..], &b"/a#b?c"[..], Some(&b"h"[..]))
        );
        let fields: Vec<_> = head.fields.iter().map(|(_, name, value)| (name, value)).collect();
        assert_eq!(fields, [(&b"accept"[..], &b"*/*"[..]), (b"x", b"")]);
    }

    #[test]
    fn cookies_are_joined() {
        let (validation, head) = with(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]);
        assert_eq!(validation, HeadValidation::Valid);
        let fields: Vec<_> = head.fields.iter().map(|(_, name, value)| (name, value)).collect();
        assert_eq!(fields, [(&b"x"[..], &b"y"[..]), (b"cookie", b"a=1; b=2")]);
    }

    #[test]
    fn malformed_heads_are_refused() {
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
            assert_eq!(with(more).0, HeadValidation::Malformed, "{more:?}");
        }
        for missing in [":method", ":scheme", ":path"] {
            let lines: Vec<_> = GET.into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(read(&lines).0, HeadValidation::Malformed, "without {missing}");
        }
        for scheme in ["", "1a", "+", "https:", "ht tp", "h\u{e4}"] {
            let lines = GET.map(|(name, value)| (name, if name == ":scheme" { scheme } else { value }));
            assert_eq!(read(&lines).0, HeadValidation::Malformed, "{scheme:?}");
        }
        assert_eq!(read(&[(":method", "CONNECT"), (":authority", "h:1")]).0, HeadValidation::Valid);
        assert_eq!(with(&[("te", "trailers"), ("a", "\u{e4}\tb")]).0, HeadValidation::Valid);
    }

    #[test]
    fn nothing_is_kept_of_a_head_beyond_the_limits() {
        let lines: Vec<(&str, &str)> = std::iter::repeat_n(("a", "b"), 10_000).collect();
        let (validation, head) = with(&lines);
        assert_eq!(validation, HeadValidation::Refused(HeadError::TooMany));
        assert!(head.fields.bytes.len() < 200, "{}", head.fields.bytes.len());
        let long = "v".repeat(5000);
        let (validation, head) = with(&[("a", "b"), ("c", &long)]);
        assert_eq!(validation, HeadValidation::Refused(HeadError::TooLarge));
        assert!(head.fields.bytes.len() < 200);
    }

    #[test]
    fn a_head_at_the_limit_passes_and_one_byte_more_does_not() {
        // `a: v…` and its CRLF; GET, https, h and the path
        for (value, path, validation) in [
            (4091, 100 - 9, HeadValidation::Valid),
            (4092, 1, HeadValidation::Refused(HeadError::TooLarge)),
            (1, 100 - 8, HeadValidation::Refused(HeadError::LineTooLong)),
        ] {
            let (value, path) = ("v".repeat(value), format!("/{}", "p".repeat(path - 1)));
            let lines = [&GET[..3], &[(":path", &path), ("a", &value)]].concat();
            assert_eq!(read(&lines).0, validation);
        }
    }

    #[test]
    fn content_length_is_one_plain_number() {
        let length = |lines: &[(&str, &str)], ended| body_length(&with(lines).1.fields, ended);
        assert_eq!(length(&[], true), Ok(BodyLength::NONE));
        assert_eq!(length(&[], false), Ok(BodyLength::Chunked));
        assert_eq!(length(&[("content-length", "5")], false), Ok(BodyLength::Exact(5)));
        for bad in ["+5", "05", "5, 5", "", "x"] {
            assert_eq!(length(&[("content-length", bad)], false), Err(BodyError::ContentLength), "{bad}");
        }
        assert!(length(&[("content-length", "5"), ("content-length", "5")], false).is_err());
    }
}
