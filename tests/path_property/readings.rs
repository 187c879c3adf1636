//! The laxer readings of a path that some servers apply, each written down plainly and on its own: nothing here
//! shares code with the gateway.

use unicode_normalization::UnicodeNormalization;

/// One way in which a server may read a path more loosely than the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Decodes percent escapes once; leaves malformed ones.
    Decode,
    /// Takes overlong UTF-8 for the ASCII character it stands for.
    DecodeOverlong,
    /// Takes `\` for `/`.
    TurnBackslashes,
    /// Takes several slashes for one.
    MergeSlashes,
    /// Drops `;…` of each segment.
    DropParameters,
    /// Cuts each segment at NUL, `?` or `#`.
    CutSegments,
    /// Resolves `.` and `..`.
    ResolveDots,
    /// Drops dots and spaces at the end of each segment.
    TrimDotsAndSpaces,
    /// Drops spaces only.
    TrimSpaces,
    /// Folds by NFKC, and drops what cannot be seen.
    Normalise,
    /// Folds to lower case.
    FoldCase,
    /// Folds by NFKC and case.
    Fold,
}

impl Reading {
    pub const ALL: [Self; 12] = [
        Self::Decode,
        Self::DecodeOverlong,
        Self::TurnBackslashes,
        Self::MergeSlashes,
        Self::DropParameters,
        Self::CutSegments,
        Self::ResolveDots,
        Self::TrimDotsAndSpaces,
        Self::TrimSpaces,
        Self::Normalise,
        Self::FoldCase,
        Self::Fold,
    ];

    /// Whether the reader compares words without regard to case from here on.
    pub fn folds_case(self) -> bool {
        matches!(self, Self::FoldCase | Self::Fold)
    }

    /// The path as this reader sees it.
    pub fn apply(self, path: &[u8]) -> Vec<u8> {
        match self {
            Self::Decode => decode(path),
            Self::DecodeOverlong => decode_overlong(path),
            Self::TurnBackslashes => {
                path.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect()
            }
            Self::MergeSlashes => merge_slashes(path),
            Self::DropParameters => each_segment(path, |segment| cut(segment, b";")),
            Self::CutSegments => each_segment(path, |segment| cut(segment, b"\0?#")),
            Self::ResolveDots => resolve_dots(path),
            Self::TrimDotsAndSpaces => each_segment(path, |segment| trim(segment, b". ")),
            Self::TrimSpaces => each_segment(path, |segment| trim(segment, b" ")),
            Self::Normalise => each_text(path, normalise),
            Self::FoldCase => each_text(path, str::to_lowercase),
            Self::Fold => each_text(path, |text| normalise(text).to_lowercase()),
        }
    }
}

fn decode(path: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let escape = match after {
            [high, low, ..] if first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        decoded.push(escape.map_or(first, |(high, low)| high * 16 + low));
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    decoded
}

fn decode_overlong(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(&first) = rest.first() {
        let (byte, length) = match rest {
            [0xc0..=0xc1, second @ 0x80..=0xbf, ..] => ((first & 1) << 6 | (second & 0x3f), 2),
            [0xe0, second @ 0x80..=0x81, third @ 0x80..=0xbf, ..] => ((second & 1) << 6 | (third & 0x3f), 3),
            _ => (first, 1),
        };
        decoded.push(byte);
        rest = &rest[length..];
    }
    decoded
}

fn merge_slashes(path: &[u8]) -> Vec<u8> {
    let mut merged = path.to_vec();
    merged.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    merged
}

fn resolve_dots(path: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = path[1..].split(|&byte| byte == b'/').collect();
    let mut resolved: Vec<&[u8]> = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        match *segment {
            b"." => {}
            b".." => drop(resolved.pop()),
            _ => {
                resolved.push(segment);
                continue;
            }
        }
        if at + 1 == segments.len() {
            resolved.push(b""); // RFC 3986 section 5.2.4: what a last dot segment leaves ends with a slash
        }
    }
    [b"/", resolved.join(&b'/').as_slice()].concat()
}

fn each_segment(path: &[u8], read: impl Fn(&[u8]) -> &[u8]) -> Vec<u8> {
    path.split(|&byte| byte == b'/').map(read).collect::<Vec<_>>().join(&b'/')
}

fn cut<'a>(segment: &'a [u8], at: &[u8]) -> &'a [u8] {
    segment.split(|byte| at.contains(byte)).next().unwrap_or_default()
}

fn trim<'a>(segment: &'a [u8], what: &[u8]) -> &'a [u8] {
    let kept = segment.iter().rposition(|byte| !what.contains(byte)).map_or(0, |at| at + 1);
    &segment[..kept]
}

/// Applies to text; a reader that meets other bytes leaves them.
fn each_text(path: &[u8], read: impl Fn(&str) -> String) -> Vec<u8> {
    std::str::from_utf8(path).map_or_else(|_| path.to_vec(), |text| read(text).into_bytes())
}

fn normalise(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let is_unseen =
        |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    text.nfkc().filter(|&c| !is_unseen(c)).collect()
}
