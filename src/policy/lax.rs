//! The lax form of a segment: what the most lenient reader would make of it.
//!
//! Decoded, folded by NFKC and case, cut where a reader may cut it, without trailing dots and spaces. Whatever order
//! lenient readers apply their steps in, two segments that any of them takes for one another have the same lax form.

use super::{PathRefusal, fold, steps};

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

/// Whether a segment (or a piece between two `%2F`) hides something from the gateway. Takes no more than a few steps for
/// each of its bytes, and no allocation.
pub(super) fn check(segment: &[u8]) -> Result<(), PathRefusal> {
    read(segment, |_| {})
}

/// The lax form of a segment (or of a piece between two `%2F`), in lower case and with [`OTHER`](fold::OTHER) for what is
/// not ASCII; empty where readers may drop the segment whole. A segment that hides something is refused.
pub(super) fn form(segment: &[u8]) -> Result<Vec<u8>, PathRefusal> {
    let mut form = Vec::with_capacity(segment.len());
    read(segment, |byte| form.push(byte))?;
    let kept = form.iter().rposition(|&byte| !is_dropped_at_the_end(byte)).map_or(0, |at| at + 1);
    form.truncate(kept);
    Ok(form)
}

fn is_dropped_at_the_end(byte: u8) -> bool {
    matches!(byte, b'.' | b' ')
}

/// Decodes and folds a segment in one pass, and hands `take` what stands before its first cut.
fn read(segment: &[u8], mut take: impl FnMut(u8)) -> Result<(), PathRefusal> {
    let mut characters = Characters { rest: segment };
    let (mut is_cut, mut is_dropped, mut has_dot) = (false, true, false);
    let mut previous = [0, 0];
    while let Some(character) = characters.next()? {
        let mut refusal = None;
        fold::fold(character, |byte| {
            match byte {
                b'/' | b'\\' => refusal = Some(PathRefusal::FoldedSeparator),
                b';' | b'?' | b'#' => is_cut = true,
                // a second decoding would change the path; where none can, it changes nothing
                _ if previous[0] == b'%' && hex(previous[1]).is_some() && hex(byte).is_some() => {
                    refusal = Some(PathRefusal::NestedEscape);
                }
                _ => {}
            }
            previous = [previous[1], byte];
            if !is_cut {
                is_dropped &= is_dropped_at_the_end(byte);
                has_dot |= byte == b'.';
                take(byte);
            }
        });
        refusal.map_or(Ok(()), Err)?;
    }
    // "..", but also "...", ". ." and ".. ": what a reader that trims only some of it would resolve
    if is_dropped && has_dot { Err(PathRefusal::DotSegment) } else { Ok(()) }
}

/// The characters of a segment, decoded once.
struct Characters<'s> {
    rest: &'s [u8],
}

impl Characters<'_> {
    fn next(&mut self) -> Result<Option<char>, PathRefusal> {
        let Some(first) = self.byte()? else { return Ok(None) };
        let length = match first {
            0..=0x7f => return Ok(Some(char::from(first))),
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return Err(PathRefusal::InvalidUtf8),
        };
        let mut bytes = [first, 0, 0, 0];
        for byte in &mut bytes[1..length] {
            *byte = self.byte()?.ok_or(PathRefusal::InvalidUtf8)?;
        }
        let text = std::str::from_utf8(&bytes[..length]).map_err(|_| PathRefusal::InvalidUtf8)?;
        match text.chars().next() {
            // C1 controls, which only UTF-8 can write
            Some(character) if character.is_control() => Err(PathRefusal::EscapedControl),
            character => Ok(character),
        }
    }

    fn byte(&mut self) -> Result<Option<u8>, PathRefusal> {
        let Some((&byte, after)) = self.rest.split_first() else { return Ok(None) };
        steps::add(1);
        self.rest = after;
        if byte != b'%' {
            return Ok(Some(byte));
        }
        let Some((digits, after)) = after.split_first_chunk::<2>() else {
            return Err(PathRefusal::MalformedEscape);
        };
        self.rest = after;
        match digits.map(hex) {
            [Some(high), Some(low)] => match high << 4 | low {
                0..=0x1f | 0x7f => Err(PathRefusal::EscapedControl),
                b'/' => Err(PathRefusal::EncodedSlash),
                b'\\' => Err(PathRefusal::EncodedBackslash),
                byte => Ok(Some(byte)),
            },
            _ => Err(PathRefusal::MalformedEscape),
        }
    }
}

pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
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
            assert_eq!(form(segment.as_bytes()).as_deref(), Ok(&b"projects"[..]), "{segment}");
        }
        assert_eq!(form(b"cla%C3%9F").as_deref(), Ok(&b"class"[..]));
        assert_eq!(form(b"cla%E1%BA%9E").as_deref(), Ok(&b"class"[..]));
        assert_eq!(form(b"f%C4%B1le").as_deref(), Ok(&b"file"[..]));
    }

    #[test]
    fn segments_that_readers_drop_have_an_empty_form() {
        for segment in [";a=b", "%20", "%3F..", "%23", "%C2%AD", "%E3%80%80%20"] {
            assert_eq!(form(segment.as_bytes()).as_deref(), Ok(&b""[..]), "{segment}");
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
