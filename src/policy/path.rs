//! Rules that every request target must meet, whatever the routes are. They look at the bytes as they came, before any
//! URI type has parsed or cut them.

use super::{lax_form, work_counter};

/// Why a path is refused with 400: a server laxer than the gateway could see another path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathRefusal {
    /// Not the origin form.
    #[error("the request target does not start with '/'")]
    NotAbsolute,
    /// Servers that parse a fragment cut here.
    #[error("the request target holds a raw '#'")]
    Fragment,
    /// Some servers read it as '/'.
    #[error("the path holds a raw '\\'")]
    Backslash,
    /// Some servers cut at it, others end the line.
    #[error("the request target holds a control character")]
    Control,
    /// Some servers end the target at it.
    #[error("the request target holds a raw space")]
    Space,
    /// Clients encode it, and what speaks HTTP/2 to upstreams does not send it.
    #[error("the request target holds a raw '<', '>', '`' or '\"', or a query that is not UTF-8: encode it")]
    NotUrl,
    /// Its encoding is anyone's guess.
    #[error("the path holds a raw byte outside ASCII: it must be percent-encoded")]
    NonAscii,
    /// Some servers merge slashes.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// Some servers resolve it.
    #[error("a segment of the path is read by some servers as '.' or '..'")]
    DotSegment,
    /// `%` without two hexadecimal digits.
    #[error("the path holds a '%' that two hexadecimal digits do not follow")]
    MalformedEscape,
    /// `%00`, `%0A`, …
    #[error("the path holds an escaped control character")]
    EscapedControl,
    /// `%2F` where it is not allowed.
    #[error("the path holds '%2F' where it is not allowed")]
    EncodedSlash,
    /// `%5C`
    #[error("the path holds '%5C'")]
    EncodedBackslash,
    /// `%2541`: decoded twice it is something else.
    #[error("the path holds an escape that decodes to another escape")]
    NestedEscape,
    /// Overlong forms included.
    #[error("the path holds escapes that are not UTF-8")]
    InvalidUtf8,
    /// Such as the full-width solidus.
    #[error("the path holds a character that Unicode folds to '/' or '\\'")]
    FoldedSeparator,
    /// A segment of `;x` or `%20`, say: readers that drop its end also drop the segment.
    #[error("a segment of the path is read by some servers as empty, where that matters")]
    VanishingSegment,
    /// `/V2-Beta` where a route is `/v2-beta`.
    #[error("a segment of the path is another spelling of a word that the routes know")]
    LiteralVariant,
    /// An environment's place holds more than plain characters.
    #[error("the segment that names the environment holds more than A-Z a-z 0-9 . _ ~ -")]
    EnvironmentVariant,
}

impl PathRefusal {
    /// Whether the bytes are no request target at all (RFC 9112 §3.2).
    pub fn is_malformed_target(self) -> bool {
        matches!(
            self,
            Self::NotAbsolute
                | Self::Fragment
                | Self::Backslash
                | Self::Control
                | Self::Space
                | Self::NotUrl
                | Self::NonAscii
                | Self::MalformedEscape
        )
    }
}

/// A request target that has passed [`admit_target`], which alone makes it.
#[derive(Debug, Clone, Copy)]
pub struct RequestTarget<'a> {
    /// The path, as it came, starting with `/`.
    pub path: &'a [u8],
    /// What follows the first `?`, as it came.
    pub query: Option<&'a [u8]>,
    pub(super) spelling: PathSpelling,
}

/// What [`admit_target`] saw in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathSpelling {
    /// No escape, no `;`, no segment that ends with a dot: every segment is its own lax form but for case.
    Clean,
    /// Some of that. A segment may be a plain `.`, which only [`classify`](super::RouteTable::classify) can allow.
    Unusual,
    /// Some of that, and `%2F`, which only the route can allow.
    EncodedSlash,
}

/// What a byte means in the one pass over a clean path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ordinary,
    Slash,
    /// `%` and `;`
    Unusual,
    Question,
    Refused(PathRefusal),
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Ordinary; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte {
            0..=0x1f | 0x7f => Kind::Refused(PathRefusal::Control),
            0x20 => Kind::Refused(PathRefusal::Space),
            0x80.. => Kind::Refused(PathRefusal::NonAscii),
            0x23 => Kind::Refused(PathRefusal::Fragment),
            0x3c | 0x3e | 0x60 => Kind::Refused(PathRefusal::NotUrl),
            0x5c => Kind::Refused(PathRefusal::Backslash),
            0x2f => Kind::Slash,
            0x25 | 0x3b => Kind::Unusual,
            0x3f => Kind::Question,
            _ => Kind::Ordinary,
        };
        byte += 1;
    }
    kinds
};

/// Applies the rules that hold for every route. A clean path takes one pass and no allocation.
///
/// Of the query only what ends or cuts a request target is refused (controls, spaces, `#`): it decides nothing and
/// passes as it is.
pub fn admit_target(target: &[u8]) -> Result<RequestTarget<'_>, PathRefusal> {
    let Some((b'/', after)) = target.split_first() else { return Err(PathRefusal::NotAbsolute) };
    let mut unusual = false;
    let mut previous = b'/';
    let mut end = target.len();
    for (at, &byte) in after.iter().enumerate() {
        match KINDS[usize::from(byte)] {
            Kind::Ordinary => {}
            Kind::Slash if previous == b'/' => return Err(PathRefusal::EmptySegment),
            Kind::Slash => unusual |= previous == b'.',
            Kind::Unusual => unusual = true,
            Kind::Question => {
                end = at + 1;
                break;
            }
            Kind::Refused(refusal) => return Err(refusal),
        }
        previous = byte;
    }
    unusual |= previous == b'.';

    let path = &target[..end];
    work_counter::add(target.len());
    let query = target.get(end + 1..);
    query.map_or(Ok(()), admit_query)?;
    let spelling = if unusual { examine(path)? } else { PathSpelling::Clean };
    Ok(RequestTarget { path, query, spelling })
}

fn admit_query(query: &[u8]) -> Result<(), PathRefusal> {
    let mut is_ascii = true;
    for &byte in query {
        match KINDS[usize::from(byte)] {
            Kind::Refused(PathRefusal::Backslash) => {}
            Kind::Refused(PathRefusal::NonAscii) => is_ascii = false,
            Kind::Refused(PathRefusal::NotUrl) if byte == b'`' => {}
            Kind::Refused(refusal) => return Err(refusal),
            _ if byte == b'"' => return Err(PathRefusal::NotUrl),
            _ => {}
        }
    }
    if is_ascii || std::str::from_utf8(query).is_ok() { Ok(()) } else { Err(PathRefusal::NotUrl) }
}

/// The slow path: checks the lax form of every segment, with `%2F` counted as `/`.
fn examine(path: &[u8]) -> Result<PathSpelling, PathRefusal> {
    let mut spelling = PathSpelling::Unusual;
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        work_counter::add(1);
        // a plain `.`: whether it may pass depends on the routes
        if segment == b"." {
            continue;
        }
        let mut pieces = lax_form::split_at_encoded_slashes(segment).peekable();
        while let Some(piece) = pieces.next() {
            let is_last_piece = pieces.peek().is_none();
            if !is_last_piece {
                spelling = PathSpelling::EncodedSlash;
            }
            let is_last = is_last_piece && segments.peek().is_none();
            if piece.is_empty() && !is_last {
                return Err(PathRefusal::EmptySegment);
            }
            lax_form::check(piece)?;
        }
    }
    Ok(spelling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PathRefusal as R;

    fn refusal(target: impl AsRef<[u8]>) -> Option<PathRefusal> {
        admit_target(target.as_ref()).err()
    }

    fn assert_all_refused(refused: R, targets: &[&[u8]]) {
        for target in targets {
            assert_eq!(refusal(target), Some(refused), "{}", target.escape_ascii());
        }
    }

    #[test]
    fn clean_paths_are_found_by_the_first_pass() {
        for path in ["/", "/a", "/a/", "/v2-beta/projects/1a5/x.y", "/a/.b/c..d/~e/f:@!$&'()*+,=", "/A"] {
            assert_eq!(admit_target(path.as_bytes()).unwrap().spelling, PathSpelling::Clean, "{path}");
        }
        for path in ["/a%20b", "/a;b", "/a.", "/a./b"] {
            assert_eq!(admit_target(path.as_bytes()).unwrap().spelling, PathSpelling::Unusual, "{path}");
        }
        for path in ["/a%2Fb", "/a%2f", "/x/%20%2fb/c"] {
            assert_eq!(admit_target(path.as_bytes()).unwrap().spelling, PathSpelling::EncodedSlash, "{path}");
        }
    }

    #[test]
    fn the_query_is_cut_off_and_passes_as_it_is() {
        let target = admit_target("/v1/projects/e1/x?../../e2?%2e%zz;\\é/../".as_bytes()).unwrap();
        assert_eq!(target.path, b"/v1/projects/e1/x");
        assert_eq!(target.query, Some("../../e2?%2e%zz;\\é/../".as_bytes()));
        assert_eq!(admit_target(b"/x").unwrap().query, None);
        assert_eq!(admit_target(b"/x?").unwrap().query, Some(&b""[..]));
    }

    #[test]
    fn what_cuts_or_ends_a_request_target_is_refused_in_the_query_too() {
        assert_all_refused(R::Fragment, &[b"/x?a#b"]);
        assert_all_refused(R::Space, &[b"/x?a b"]);
        assert_all_refused(R::Control, &[b"/x?a\rb", b"/x?a\nb", b"/x?a\0b", b"/x?a\x7fb"]);
    }

    #[test]
    fn other_forms_of_request_targets_are_refused() {
        assert_all_refused(R::NotAbsolute, &[b"", b"*", b"x", b"?x", b"http://gateway/x"]);
    }

    #[test]
    fn raw_bytes_that_readers_disagree_about_are_refused() {
        assert_all_refused(R::Fragment, &[b"/x#/../../e2", b"/#"]);
        assert_all_refused(R::Backslash, &[b"/x/..\\e2", b"/\\"]);
        assert_all_refused(R::Control, &[b"/\0", b"/a\tb", b"/a\r", b"/a\n", b"/\x7f"]);
        assert_all_refused(R::Space, &[b"/a b", b"/ "]);
        assert_all_refused(R::NonAscii, &["/é".as_bytes(), b"/\xff", "/．．/x".as_bytes()]);
    }

    #[test]
    fn empty_segments_but_a_last_one_are_refused() {
        assert_all_refused(
            R::EmptySegment,
            &[b"//", b"//v1", b"/v1//x", b"/v1/x//", b"/v1%2f/x", b"/%2fv1", b"/a%2F%2Fb"],
        );
        assert_eq!(refusal("/v1/"), None);
        assert_eq!(refusal("/v1/x%2F"), None);
    }

    #[test]
    fn dot_segments_are_refused_in_every_disguise() {
        assert_all_refused(
            R::DotSegment,
            &[
                b"/..",
                b"/a/../b",
                b"/a/%2e%2e/b",
                b"/a/%2E./b",
                b"/a/.%2e/b",
                b"/a/..;/b",
                b"/a/.;x/b",
                b"/a/%2e/b",
                b"/a/x%2F./b",
                b"/a/./.%20/b",
                b"/a/..%3Bx/b",
                b"/a/..%3f/b",
                b"/a/..%23x",
                b"/a/..%20",
                b"/a/.%20.",
                b"/a/...",
                b"/a/..%2fb",
                b"/a/x%2F..%2F..%2Fb",
                b"/a/%EF%BC%8E%EF%BC%8E/b",
                b"/a/%E2%80%A5",
                b"/a/.%C2%AD.",
                b"/a/.%E2%80%8B./b",
                b"/a/..%C2%A0",
                b"/a/..%EF%BC%9B",
            ],
        );
        // a plain `.` may pass, depending on the routes
        for path in ["/.well-known", "/a..b", "/..a", "/a...", "/a/.x.;y", "/a/./b", "/a/."] {
            assert_eq!(refusal(path), None, "{path}");
        }
    }

    #[test]
    fn escapes_are_well_formed_and_decode_to_text() {
        assert_all_refused(
            R::MalformedEscape,
            &[b"/%", b"/%4", b"/%4g", b"/%%34", b"/%u002e", b"/a%/b", b"/a%2/F"],
        );
        assert_all_refused(
            R::EscapedControl,
            &[b"/%00", b"/%0d%0aHost:x", b"/%0A", b"/%7f", b"/%1F", b"/%C2%85", b"/%09", b"/x/%00../e2"],
        );
        assert_all_refused(R::EncodedBackslash, &[b"/%5c", b"/a/..%5Ce2"]);
        assert_all_refused(
            R::InvalidUtf8,
            &[
                b"/%ff",
                b"/%c0%ae%c0%ae/x",
                b"/%e0%80%af",
                b"/%C3",
                b"/%C3/%A9",
                b"/%ED%A0%80",
                b"/%F4%90%80%80",
            ],
        );
    }

    #[test]
    fn escapes_that_appear_only_after_decoding_are_refused() {
        assert_all_refused(
            R::NestedEscape,
            &[
                b"/%2541",
                b"/%252e%252e/x",
                b"/%25%34%31",
                b"/%2534%2531",
                b"/%25%EF%BC%94%EF%BC%91",
                b"/%EF%BC%8541",
                b"/%25%C2%B2%C2%B9",
            ],
        );
        assert_eq!(refusal("/100%25"), None);
        assert_eq!(refusal("/100%25%20x"), None);
        assert_eq!(refusal("/%254"), None);
    }

    #[test]
    fn characters_that_fold_to_separators_are_refused() {
        assert_all_refused(
            R::FoldedSeparator,
            &["/a%EF%BC%8Fb", "/a%EF%BC%BCb", "/a%EF%B9%A8b", "/%E2%84%80"].map(str::as_bytes),
        );
    }

    #[test]
    fn legal_text_in_escapes_passes() {
        for path in [
            "/a%20b",
            "/%3A",
            "/Stra%C3%9Fe",
            "/%E6%97%A5%E6%9C%AC",
            "/%F0%9F%91%A9%E2%80%8D%F0%9F%92%BB",
            "/a;b=c",
            "/a%3Bb%3Fc%23d",
        ] {
            assert_eq!(refusal(path), None, "{path}");
        }
    }
}
