//! The paths of a scope.

use std::fmt;
use std::str::FromStr;

/// A pattern of paths: `/v1/projects/*/builds/**`.
///
/// `*` stands for one segment. `**` stands only at the end, for everything beneath, and for the path without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopePath {
    segments: Vec<Segment>,
    /// Whether `**` follows.
    has_rest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// Exactly this text, which is [plain](is_plain).
    Literal(Box<str>),
    Any,
}

/// Why a text is no path of a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopePathError {
    /// Does not start with `/`.
    #[error("the path '{0}' must start with '/'")]
    NotAbsolute(String),
    /// Too long.
    #[error("a path of a scope has at most {most} bytes", most = ScopePath::MAX_BYTES)]
    TooLong,
    /// An empty segment at the end.
    #[error(
        "the path '{0}' must not end with '/': write it without, or with '/**' for all that lies beneath"
    )]
    TrailingSlash(String),
    /// `**` anywhere but at the end.
    #[error("the path '{0}' has '**' in the middle: it may only be the last segment")]
    Rest(String),
    /// Anything else.
    #[error(
        "'{segment}' in the path '{path}': a segment is '*', or made of A-Z a-z 0-9 . _ ~ - only, with no dot at its end"
    )]
    Segment {
        /// The whole path.
        path: String,
        /// The segment.
        segment: String,
    },
}

/// Whether every reader takes a segment for the same one: it has no escape, no `;`, nothing that a reader cuts or drops.
fn is_plain(segment: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
    !segment.is_empty() && !segment.ends_with(b".") && segment.iter().all(is_plain)
}

impl ScopePath {
    /// The longest pattern.
    pub const MAX_BYTES: usize = 1024;

    /// Whether the path of a request matches.
    ///
    /// Each segment that is compared must be plain, so that the path matches in any laxer reading, too. What `**` stands
    /// for is not looked at: the path rules have refused what leads out of it (`..`, in every disguise).
    pub fn matches(&self, path: &[u8]) -> bool {
        let Some(path) = path.strip_prefix(b"/") else { return false };
        // the root has no segments
        let mut segments = path.split(|&byte| byte == b'/').filter(|_| !path.is_empty());
        let is_equal = |pattern: &Segment, segment: &[u8]| match pattern {
            Segment::Literal(literal) => literal.as_bytes() == segment,
            Segment::Any => is_plain(segment),
        };
        self.segments.iter().all(|pattern| segments.next().is_some_and(|segment| is_equal(pattern, segment)))
            && (self.has_rest || segments.next().is_none())
    }

    /// Whether every path that matches this one matches `other`, too.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        let is_long_enough = self.segments.len() >= other.segments.len();
        let ends_within = other.has_rest || (!self.has_rest && self.segments.len() == other.segments.len());
        let is_equal = |(own, other): (&Segment, &Segment)| *other == Segment::Any || own == other;
        is_long_enough && ends_within && self.segments.iter().zip(&other.segments).all(is_equal)
    }

    pub(super) fn bytes(&self) -> usize {
        let text = |segment: &Segment| match segment {
            Segment::Literal(text) => text.len(),
            Segment::Any => 0,
        };
        size_of::<Self>()
            + self.segments.iter().map(|segment| size_of::<Segment>() + text(segment)).sum::<usize>()
    }
}

impl FromStr for ScopePath {
    type Err = ScopePathError;

    fn from_str(text: &str) -> Result<Self, ScopePathError> {
        if text.len() > Self::MAX_BYTES {
            return Err(ScopePathError::TooLong);
        }
        let rest = text.strip_prefix('/').ok_or_else(|| ScopePathError::NotAbsolute(text.to_owned()))?;
        let mut pieces: Vec<&str> = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
        let has_rest = pieces.pop_if(|last| *last == "**").is_some();
        let segments = pieces.iter().enumerate().map(|(at, piece)| match *piece {
            "*" => Ok(Segment::Any),
            "**" => Err(ScopePathError::Rest(text.to_owned())),
            "" if at + 1 == pieces.len() && !has_rest => Err(ScopePathError::TrailingSlash(text.to_owned())),
            literal if is_plain(literal.as_bytes()) => Ok(Segment::Literal(literal.into())),
            other => Err(ScopePathError::Segment { path: text.to_owned(), segment: other.to_owned() }),
        });
        Ok(Self { segments: segments.collect::<Result<_, _>>()?, has_rest })
    }
}

impl fmt::Display for ScopePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() && !self.has_rest {
            return f.write_str("/");
        }
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Any => f.write_str("/*")?,
            }
        }
        if self.has_rest { f.write_str("/**") } else { Ok(()) }
    }
}
