//! Times as people read them. All in UTC.

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Date};

/// A time: how long ago, and in full where one asks.
#[derive(Template)]
#[template(
    source = r#"<time datetime="{{ self.exact() }}" title="{{ self.full() }}">{{ self.ago() }}</time>"#,
    ext = "html"
)]
pub(super) struct RelativeTime {
    /// When.
    pub(super) at: Timestamp,
    /// As seen from when.
    pub(super) now: Timestamp,
}

impl HtmlSafe for RelativeTime {}

impl RelativeTime {
    fn exact(&self) -> String {
        exact(self.at)
    }

    pub(super) fn full(&self) -> String {
        full(self.at)
    }

    fn ago(&self) -> String {
        ago(self.at, self.now)
    }
}

/// As machines read it: RFC 3339, to the second.
fn exact(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// As people read it: `2026-01-05 10:20:30 UTC`.
pub(super) fn full(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The hour and minute.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M").to_string()
}

fn date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// How long ago: exact while that matters, by the calendar for some days, then the date.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(at.as_second());
    let count =
        |number: i64, word: &str| format!("{number} {word}{} ago", if number == 1 { "" } else { "s" });
    let days = (date(now) - date(at)).get_days();
    match (seconds, days) {
        (..=-60, _) => in_time(at, now),
        (..10, _) => "just now".to_owned(),
        (..60, _) => count(seconds, "second"),
        (..3_600, _) => count(seconds / 60, "minute"),
        (_, ..=0) => format!("today at {}", clock(at)),
        (_, 1) => format!("yesterday at {}", clock(at)),
        (_, 2..=30) => count(i64::from(days), "day"),
        _ => date(at).to_string(),
    }
}

/// How long from now, for a time that is to come, to the nearest unit: a key that was given three days says three days.
fn in_time(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second().saturating_sub(now.as_second());
    let count = |number: i64, word: &str| format!("in {number} {word}{}", if number == 1 { "" } else { "s" });
    let to_nearest = |unit: i64| seconds.saturating_add(unit / 2) / unit;
    match (to_nearest(60), to_nearest(3_600), to_nearest(86_400)) {
        (minutes @ ..60, ..) => count(minutes, "minute"),
        (_, hours @ ..48, _) => count(hours, "hour"),
        (_, _, days @ ..=60) => count(days, "day"),
        _ => date(at).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_worded_as_people_do() {
        let now: Timestamp = "2026-03-05T10:20:30Z".parse().unwrap();
        for (at, words) in [
            ("2026-03-05T10:20:30Z", "just now"),
            ("2026-03-05T10:20:33Z", "just now"),
            ("2026-03-05T10:20:10Z", "20 seconds ago"),
            ("2026-03-05T10:19:30Z", "1 minute ago"),
            ("2026-03-05T09:21:30Z", "59 minutes ago"),
            ("2026-03-05T00:00:00Z", "today at 00:00"),
            ("2026-03-04T23:59:59Z", "yesterday at 23:59"),
            ("2026-03-03T10:20:30Z", "2 days ago"),
            ("2026-02-03T10:20:30Z", "30 days ago"),
            ("2026-01-05T10:20:30Z", "2026-01-05"),
            ("2026-03-05T10:22:30Z", "in 2 minutes"),
            ("2026-03-06T10:20:29Z", "in 24 hours"),
            ("2026-03-08T10:20:29Z", "in 3 days"),
            ("2026-03-19T10:20:30Z", "in 14 days"),
            ("2027-01-05T10:20:30Z", "2027-01-05"),
        ] {
            assert_eq!(ago(at.parse().unwrap(), now), words, "{at}");
        }
    }

    #[test]
    fn the_full_time_stands_in_the_title() {
        let at = "2026-01-05T10:20:30.250Z".parse().unwrap();
        let html = RelativeTime { at, now: at }.render().unwrap();
        assert_eq!(
            html,
            r#"<time datetime="2026-01-05T10:20:30Z" title="2026-01-05 10:20:30 UTC">just now</time>"#
        );
    }
}
