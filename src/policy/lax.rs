//! The lax form of a segment: what the most lenient reader would make of it.
//!
//! Decoded, folded by NFKC and case, cut where a reader may cut it, without trailing dots and spaces. Whatever order
//! lenient readers apply their steps in, two segments that any of them takes for one another have the same lax form.

use unicode_normalization::UnicodeNormalization;

use super::PathRefusal;

/// Whether `segment` is its own lax form but for ASCII case: no escape, no `;`, no dot at its end.
pub(super) fn is_own_form(segment: &[u8]) -> bool {
    !segment.ends_with(b".") && !segment.iter().any(|byte| matches!(byte, b'%' | b';'))
}

/// The pieces that `%2F` divides a segment into.
pub(super) fn pieces(segment: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(segment);
    std::iter::from_fn(move || {
        let piece = rest?;
        let slash = piece.windows(3).position(|window| window.eq_ignore_ascii_case(b"%2F"));
        rest = slash.map(|at| &piece[at + 3..]);
        Some(slash.map_or(piece, |at| &piece[..at]))
    })
}

/// The lax form of a segment (or of a piece between two `%2F`), folded to lower case; empty where readers may drop
/// the segment whole. A segment that hides something is refused.
pub(super) fn form(segment: &[u8]) -> Result<String, PathRefusal> {
    let text = String::from_utf8(decode(segment)?).map_err(|_| PathRefusal::InvalidUtf8)?;
    // C1 controls too, which only UTF-8 can write
    if text.chars().any(char::is_control) {
        return Err(PathRefusal::EscapedControl);
    }
    let folded = fold(text);
    if holds_escape(folded.as_bytes()) {
        return Err(PathRefusal::NestedEscape);
    }
    if folded.contains(['/', '\\']) {
        return Err(PathRefusal::FoldedSeparator);
    }
    let cut = folded.split([';', '?', '#']).next().unwrap_or_default();
    let trimmed = cut.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    // "..", but also "...", ". ." and ".. ": what a reader that trims only some of it would resolve
    if trimmed.is_empty() && cut.contains('.') {
        return Err(PathRefusal::DotSegment);
    }
    Ok(trimmed.to_owned())
}

/// Decodes once; a second decoding changes nothing, since an escape that decodes to another is refused.
fn decode(segment: &[u8]) -> Result<Vec<u8>, PathRefusal> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let Some((digits, after)) = after.split_first_chunk::<2>() else {
            return Err(PathRefusal::MalformedEscape);
        };
        rest = after;
        match digits.map(hex) {
            [Some(high), Some(low)] => match high << 4 | low {
                0..=0x1f | 0x7f => return Err(PathRefusal::EscapedControl),
                b'/' => return Err(PathRefusal::EncodedSlash),
                b'\\' => return Err(PathRefusal::EncodedBackslash),
                byte => decoded.push(byte),
            },
            _ => return Err(PathRefusal::MalformedEscape),
        }
    }
    Ok(decoded)
}

pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn holds_escape(text: &[u8]) -> bool {
    text.windows(3).any(|window| window[0] == b'%' && hex(window[1]).is_some() && hex(window[2]).is_some())
}

/// NFKC and case folding, without what they drop.
pub(super) fn fold(mut text: String) -> String {
    if text.is_ascii() {
        text.make_ascii_lowercase();
        return text;
    }
    // lower, upper, lower: so that 'ẞ', 'ß' and "ss", or 'ı' and 'i', meet, as they do for readers of either kind
    text.nfkc()
        .filter(|&c| !is_ignorable(c))
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfkc()
        .collect()
}

/// Characters that NFKC with case folding drops (Unicode's `Default_Ignorable_Code_Point`).
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_a_lenient_reader_confuses_have_one_form() {
        for segment in [
            "projects",
            "PROJECTS",
            "projects.",
            "projects;a=b",
            "projects%20",
            "projects.%20.",
            "%70rojects",
            "projects%3Fx",
            "projects%23x;y",
            "projects%2E",
            "projects%EF%BC%9Bx",
            "pro%C2%ADjects",
            "%EF%BD%90rojects",
            "project%C5%BF",
            "projects%C2%A0",
            "projects..;..",
            "projects%E3%80%80",
        ] {
            assert_eq!(form(segment.as_bytes()).as_deref(), Ok("projects"), "{segment}");
        }
        assert_eq!(form(b"cla%C3%9F").as_deref(), Ok("class"));
        assert_eq!(form(b"cla%E1%BA%9E").as_deref(), Ok("class"));
        assert_eq!(form(b"f%C4%B1le").as_deref(), Ok("file"));
    }

    #[test]
    fn segments_that_readers_drop_have_an_empty_form() {
        for segment in [";a=b", "%20", "%3F..", "%23", "%C2%AD", "%E3%80%80%20"] {
            assert_eq!(form(segment.as_bytes()).as_deref(), Ok(""), "{segment}");
        }
    }

    #[test]
    fn pieces_are_divided_by_encoded_slashes_only() {
        let divided = |segment: &'static str| pieces(segment.as_bytes()).collect::<Vec<_>>();
        assert_eq!(divided("a"), [b"a"]);
        assert_eq!(divided(""), [b""]);
        assert_eq!(divided("a%2Fb%2fc"), [b"a", b"b", b"c"]);
        assert_eq!(divided("%2F"), [b"", b""]);
        assert_eq!(divided("%252F"), [b"%252F"]);
    }
}
