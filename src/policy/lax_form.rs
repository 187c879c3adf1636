//! The lax form of a path segment: what the loosest server would make of it.
//!
//! Decoded, folded by NFKC and case, cut where a server may cut it, without trailing dots and spaces. In whatever order
//! lenient servers apply these steps, two segments that any of them takes for one another have the same lax form.

use std::ops::ControlFlow;

use super::{PathRefusal, unicode_fold, work_counter};

/// Whether `segment` is its own lax form but for ASCII case: no escape, no `;`, no dot at its end.
pub(super) fn is_plain(segment: &[u8]) -> bool {
    !segment.ends_with(b".") && !segment.iter().any(|byte| matches!(byte, b'%' | b';'))
}

/// The pieces of a segment between its `%2F`.
pub(super) fn split_at_encoded_slashes(segment: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(segment);
    std::iter::from_fn(move || {
        let piece = rest?;
        let slash = encoded_slash(piece);
        rest = slash.map(|at| &piece[at + 3..]);
        Some(slash.map_or(piece, |at| &piece[..at]))
    })
}

fn encoded_slash(text: &[u8]) -> Option<usize> {
    let mut escapes = text.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    escapes.find_map(|(at, _)| matches!(text[at + 1..], [b'2', b'F' | b'f', ..]).then_some(at))
}

/// Whether a segment (or a piece between two `%2F`) hides something from the gateway. Takes no more than a few steps for
/// each of its bytes, and no allocation.
pub(super) fn check(segment: &[u8]) -> Result<(), PathRefusal> {
    if segment.contains(&b'%') {
        return read(segment, |_| ControlFlow::Continue(()));
    }
    work_counter::add(segment.len());
    // what stands in a path without an escape is ASCII, and of what is treated specially only ';' and '.'
    let kept = segment.split(|&byte| byte == b';').next().unwrap_or_default();
    if !kept.is_empty() && kept.iter().all(|&byte| byte == b'.') {
        return Err(PathRefusal::DotSegment);
    }
    Ok(())
}

/// The lax form of a segment (or of a piece between two `%2F`) that [`check`] accepts, in lower case and with
/// [`NON_ASCII`](unicode_fold::NON_ASCII) for what is not ASCII; empty where readers may drop the segment whole. Of one that is longer
/// than `longest` bytes only a part is returned, which is longer too: then it equals none of the words to compare.
pub(super) fn of_segment(segment: &[u8], longest: usize) -> Result<Vec<u8>, PathRefusal> {
    let mut form = Vec::new();
    read(segment, |part| match part {
        Part::Byte(byte) => {
            form.push(byte);
            if form.len() > longest && !is_dropped_at_the_end(byte) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
        Part::Cut => ControlFlow::Break(()),
    })?;
    let kept = form.iter().rposition(|&byte| !is_dropped_at_the_end(byte)).map_or(0, |at| at + 1);
    form.truncate(kept);
    Ok(form)
}

/// A part of a segment, decoded and folded.
enum Part {
    Byte(u8),
    /// Some readers drop what follows.
    Cut,
}

fn is_dropped_at_the_end(byte: u8) -> bool {
    matches!(byte, b'.' | b' ')
}

/// Decodes and folds a segment in one pass, and hands `take` what stands before its first cut, and the cut; as long as
/// it wants more.
fn read(segment: &[u8], mut take: impl FnMut(Part) -> ControlFlow<()>) -> Result<(), PathRefusal> {
    let mut characters = Characters { rest: segment };
    let (mut is_cut, mut is_dropped, mut has_dot) = (false, true, false);
    let mut previous = [0, 0];
    while let Some(character) = characters.next()? {
        let mut refusal = None;
        let mut flow = ControlFlow::Continue(());
        unicode_fold::fold_to_ascii(character, |byte| {
            match byte {
                b'/' | b'\\' => refusal = Some(PathRefusal::FoldedSeparator),
                b';' | b'?' | b'#' if !is_cut => {
                    is_cut = true;
                    flow = take(Part::Cut);
                }
                // a second decoding would change the path; where none can, it changes nothing
                _ if previous[0] == b'%' && hex(previous[1]).is_some() && hex(byte).is_some() => {
                    refusal = Some(PathRefusal::NestedEscape);
                }
                _ => {}
            }
            previous = [previous[1], byte];
            if !is_cut && flow.is_continue() {
                is_dropped &= is_dropped_at_the_end(byte);
                has_dot |= byte == b'.';
                flow = take(Part::Byte(byte));
            }
        });
        refusal.map_or(Ok(()), Err)?;
        if flow.is_break() {
            break;
        }
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
        // the bits of the first byte, how many bytes follow, and the least code point that needs so many
        let (bits, following, least) = match first {
            0..=0x7f => return Ok(Some(char::from(first))),
            0xc2..=0xdf => (first & 0x1f, 1, 0x80),
            0xe0..=0xef => (first & 0x0f, 2, 0x800),
            0xf0..=0xf4 => (first & 0x07, 3, 0x1_0000),
            _ => return Err(PathRefusal::InvalidUtf8),
        };
        let mut code = u32::from(bits);
        for _ in 0..following {
            match self.byte()? {
                Some(byte @ 0x80..=0xbf) => code = code << 6 | u32::from(byte & 0x3f),
                _ => return Err(PathRefusal::InvalidUtf8),
            }
        }
        match char::from_u32(code) {
            // C1 controls, which only UTF-8 can write
            Some('\u{80}'..='\u{9f}') => Err(PathRefusal::EscapedControl),
            Some(character) if code >= least => Ok(Some(character)),
            _ => Err(PathRefusal::InvalidUtf8),
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<Option<u8>, PathRefusal> {
        let Some((&byte, after)) = self.rest.split_first() else { return Ok(None) };
        work_counter::add(1);
        self.rest = after;
        if byte != b'%' {
            return Ok(Some(byte));
        }
        let Some((digits, after)) = after.split_first_chunk::<2>() else {
            return Err(PathRefusal::MalformedEscape);
        };
        self.rest = after;
        let [high, low] = digits.map(|digit| HEX[usize::from(digit)]);
        // NO_DIGIT has bits that no digit has
        if (high | low) > 0x0f {
            return Err(PathRefusal::MalformedEscape);
        }
        match high << 4 | low {
            0..=0x1f | 0x7f => Err(PathRefusal::EscapedControl),
            b'/' => Err(PathRefusal::EncodedSlash),
            b'\\' => Err(PathRefusal::EncodedBackslash),
            byte => Ok(Some(byte)),
        }
    }
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    let value = HEX[usize::from(digit)];
    (value != NO_DIGIT).then_some(value)
}

const NO_DIGIT: u8 = 0xff;

/// A table, because a long run of escapes is what this is asked for most.
static HEX: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value: u8 = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        values[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

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
            assert_eq!(of_segment(segment.as_bytes(), 100).as_deref(), Ok(&b"projects"[..]), "{segment}");
        }
        assert_eq!(of_segment(b"cla%C3%9F", 100).as_deref(), Ok(&b"class"[..]));
        assert_eq!(of_segment(b"cla%E1%BA%9E", 100).as_deref(), Ok(&b"class"[..]));
        assert_eq!(of_segment(b"f%C4%B1le", 100).as_deref(), Ok(&b"file"[..]));
    }

    #[test]
    fn segments_that_readers_drop_have_an_empty_form() {
        for segment in [";a=b", "%20", "%3F..", "%23", "%C2%AD", "%E3%80%80%20"] {
            assert_eq!(of_segment(segment.as_bytes(), 100).as_deref(), Ok(&b""[..]), "{segment}");
        }
    }

    #[test]
    fn a_form_is_read_no_further_than_it_can_matter() {
        let long = |end: &str| format!("project%73{end}").into_bytes();
        assert_eq!(of_segment(&long("%20..%20."), 8).as_deref(), Ok(&b"projects"[..]));
        assert_eq!(of_segment(&long(";%zz"), 8).as_deref(), Ok(&b"projects"[..]));
        assert_eq!(of_segment(&long("%20..%20xyz"), 8).as_deref(), Ok(&b"projects .. x"[..]));
        assert_eq!(of_segment(&long("xyz%zz"), 8).as_deref(), Ok(&b"projectsx"[..]));
        assert_eq!(of_segment(b".", 8), Err(PathRefusal::DotSegment));
    }

    #[test]
    fn segments_are_split_at_encoded_slashes_only() {
        let divided =
            |segment: &'static str| split_at_encoded_slashes(segment.as_bytes()).collect::<Vec<_>>();
        assert_eq!(divided("a"), [b"a"]);
        assert_eq!(divided(""), [b""]);
        assert_eq!(divided("a%2Fb%2fc"), [b"a", b"b", b"c"]);
        assert_eq!(divided("%2F"), [b"", b""]);
        assert_eq!(divided("%252F"), [b"%252F"]);
    }
}
