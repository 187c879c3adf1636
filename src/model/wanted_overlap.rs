//! How long the former secret of a key that is rotated stays valid, as people say it.

use std::time::Duration;

/// How long the former secret of a key stays valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedOverlap {
    /// It stops at once.
    None,
    /// So long from now.
    For(Duration),
    /// Until nobody has used it for `idle` and the new one was used, and no longer than `at_most` from now.
    UntilUnused {
        /// How long nobody must have used it.
        idle: Duration,
        /// How long it is valid at most.
        at_most: Duration,
    },
}

/// Texts that name no overlap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOverlap {
    /// No duration, or too long a one.
    #[error("'{field}' is a duration with its unit of at most 366d, such as 24h")]
    Duration {
        /// Which of the three, as the API calls it.
        field: &'static str,
    },
    /// Two ways at once.
    #[error("either 'overlap' or 'untilUnused' says how long the former secret stays valid, not both")]
    Both,
    /// A limit of what is not there, or one that comes too early.
    #[error("'atMost' goes with 'untilUnused', and is longer than that")]
    AtMost,
}

const DAY: Duration = Duration::from_hours(24);

impl WantedOverlap {
    /// Where nothing is said.
    pub const DEFAULT: Self = Self::For(DAY);
    /// `atMost`, where that is not said.
    pub const DEFAULT_AT_MOST: Duration = Duration::from_hours(30 * 24);

    /// Reads what was said.
    pub fn read(
        overlap: Option<&str>,
        until_unused: Option<&str>,
        at_most: Option<&str>,
    ) -> Result<Self, InvalidOverlap> {
        let overlap = duration("overlap", overlap)?;
        let until_unused = duration("untilUnused", until_unused)?;
        match (overlap, until_unused, duration("atMost", at_most)?) {
            (Some(_), Some(_), _) => Err(InvalidOverlap::Both),
            (_, None, Some(_)) => Err(InvalidOverlap::AtMost),
            (None, None, None) => Ok(Self::DEFAULT),
            (Some(Duration::ZERO), None, None) => Ok(Self::None),
            (Some(overlap), None, None) => Ok(Self::For(overlap)),
            (None, Some(Duration::ZERO), _) => Err(InvalidOverlap::Duration { field: "untilUnused" }),
            (None, Some(idle), at_most) => {
                let at_most = at_most.unwrap_or(Self::DEFAULT_AT_MOST.max(2 * idle));
                if at_most > idle {
                    Ok(Self::UntilUnused { idle, at_most })
                } else {
                    Err(InvalidOverlap::AtMost)
                }
            }
        }
    }
}

fn duration(field: &'static str, text: Option<&str>) -> Result<Option<Duration>, InvalidOverlap> {
    let Some(text) = text else { return Ok(None) };
    let duration = if text == "0" { Some(Duration::ZERO) } else { humantime::parse_duration(text).ok() };
    duration.filter(|duration| *duration <= 366 * DAY).map(Some).ok_or(InvalidOverlap::Duration { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        let hours = Duration::from_hours;
        let read = WantedOverlap::read;
        assert_eq!(read(None, None, None), Ok(WantedOverlap::For(hours(24))));
        assert_eq!(read(Some("0"), None, None), Ok(WantedOverlap::None));
        assert_eq!(read(Some("90m"), None, None), Ok(WantedOverlap::For(Duration::from_mins(90))));
        let until =
            |idle, at_most| Ok(WantedOverlap::UntilUnused { idle: hours(idle), at_most: hours(at_most) });
        assert_eq!(read(None, Some("2h"), None), until(2, 720));
        assert_eq!(read(None, Some("2h"), Some("4h")), until(2, 4));
        assert_eq!(read(Some("1h"), Some("2h"), None), Err(InvalidOverlap::Both));
        assert_eq!(read(None, None, Some("2h")), Err(InvalidOverlap::AtMost));
        assert_eq!(read(None, Some("2h"), Some("2h")), Err(InvalidOverlap::AtMost));
        for text in ["", "soon", "24", "400d", "-1h"] {
            assert_eq!(
                read(Some(text), None, None),
                Err(InvalidOverlap::Duration { field: "overlap" }),
                "{text}"
            );
        }
    }
}
