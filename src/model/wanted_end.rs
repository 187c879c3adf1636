//! When a key is to end, as people say it.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// When a key is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedEnd {
    /// It does not.
    Never,
    /// So long from now.
    After(Duration),
    /// Then.
    At(Timestamp),
}

/// A text that names no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected how long from now (90d, 12h), a day (2027-01-31, its first moment in UTC), a time \
     (2027-01-31T12:00:00Z) or never"
)]
pub struct InvalidEnd;

impl WantedEnd {
    /// The time, counted from now; `None`: never.
    pub fn from(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::After(duration) => Some(now.checked_add(duration).unwrap_or(Timestamp::MAX)),
            Self::At(time) => Some(time),
        }
    }
}

impl FromStr for WantedEnd {
    type Err = InvalidEnd;

    fn from_str(text: &str) -> Result<Self, InvalidEnd> {
        if text == "never" {
            return Ok(Self::Never);
        }
        if let Ok(duration) = humantime::parse_duration(text) {
            return Ok(Self::After(duration));
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        // jiff reads a day out of a time too, and would forget the hour
        let date = text.parse::<Date>().ok().filter(|date| date.to_string() == text).ok_or(InvalidEnd)?;
        date.to_zoned(TimeZone::UTC).map(|day| Self::At(day.timestamp())).map_err(|_| InvalidEnd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        let at = |text: &str| Ok(WantedEnd::At(text.parse().unwrap()));
        assert_eq!("never".parse(), Ok(WantedEnd::Never));
        assert_eq!("90d".parse(), Ok(WantedEnd::After(Duration::from_hours(90 * 24))));
        assert_eq!("2027-01-31".parse(), at("2027-01-31T00:00:00Z"));
        assert_eq!("2027-01-31T12:00:00Z".parse(), at("2027-01-31T12:00:00Z"));
        assert_eq!("2027-01-31T12:00:00+02:00".parse(), at("2027-01-31T10:00:00Z"));
        // without a zone it is another moment for everybody
        for text in ["", "soon", "90", "2027-13-01", "2027-01-31T12:00:00", "-1d", "31.01.2027"] {
            assert_eq!(text.parse::<WantedEnd>(), Err(InvalidEnd), "{text}");
        }
    }
}
