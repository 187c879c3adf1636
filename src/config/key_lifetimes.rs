//! `keys:`, how long keys live.

use std::time::Duration;

use jiff::Timestamp;

use super::reader::Reader;
use super::yaml::Node;

/// `keys:`, how long keys live, and when their end is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLifetimes {
    /// `default_lifetime`: of a new key of which nothing else is said; `None`: it does not end.
    pub default: Option<Duration>,
    /// `max_lifetime`: no key may be given a later end than this from now, nor none; `None`: any.
    pub max: Option<Duration>,
    /// `notice`: how long before its end a key counts as ending soon, the longest time first.
    pub notice: Vec<Duration>,
}

impl Default for KeyLifetimes {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self { default: None, max: None, notice: vec![days(14), days(3), days(1)] }
    }
}

/// Why a key may not end then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifetimeError {
    /// A key cannot end before it begins.
    #[error("{0} is past: name a time to come, or deactivate the key to stop it now")]
    Past(Timestamp),
    /// The configuration limits how long keys live.
    #[error(
        "a key may live for {} at most ('keys.max_lifetime' of the configuration): it must end by {latest}",
        lifetime_text(*.max)
    )]
    TooLong {
        /// The limit.
        max: Duration,
        /// The latest end, from now.
        latest: Timestamp,
    },
}

impl KeyLifetimes {
    /// When a new key ends for which an end was chosen, or none, or nothing was said.
    pub fn end_of_new_key(
        &self,
        chosen: Option<Option<Timestamp>>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, LifetimeError> {
        match chosen {
            Some(chosen) => self.check(chosen, now),
            None => Ok(self.default.map(|default| whole_seconds(later(now, default)))),
        }
    }

    /// Whether a key may end then; `None`: never. An end is a whole second, as the API writes it.
    pub fn check(&self, end: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>, LifetimeError> {
        let end = end.map(whole_seconds);
        if let Some(past) = end.filter(|end| *end <= now) {
            return Err(LifetimeError::Past(past));
        }
        match self.max {
            Some(max) if end.is_none_or(|end| end > later(now, max)) => {
                Err(LifetimeError::TooLong { max, latest: whole_seconds(later(now, max)) })
            }
            _ => Ok(end),
        }
    }

    /// How long before its end a key counts as ending soon; `None`: never.
    pub fn longest_notice(&self) -> Option<Duration> {
        self.notice.first().copied()
    }
}

/// A lifetime as people write it: `90d`.
pub fn lifetime_text(lifetime: Duration) -> String {
    const DAY: u64 = 24 * 3_600;
    match lifetime.as_secs() {
        seconds if seconds > 0 && seconds % DAY == 0 => format!("{}d", seconds / DAY),
        _ => humantime::format_duration(lifetime).to_string(),
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

const MINUTE: Duration = Duration::from_mins(1);
const CENTURY: Duration = Duration::from_hours(24 * 36_525);

/// Reads `keys:`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<KeyLifetimes> {
    let section = reader.section(node, &["default_lifetime", "max_lifetime", "notice"])?;
    let mut lifetimes = KeyLifetimes::default();
    lifetimes.max = section.get("max_lifetime").and_then(|node| lifetime(reader, node));
    // what nobody has asked for must be allowed
    lifetimes.default = match section.get("default_lifetime") {
        Some(node) => lifetime(reader, node),
        None => lifetimes.max,
    };
    if let (Some(max), Some(node)) = (lifetimes.max, section.get("default_lifetime"))
        && lifetimes.default.is_none_or(|default| default > max)
    {
        reader.error(node, format!("expected at most 'max_lifetime', which is {}", lifetime_text(max)));
    }
    reader.set(&mut lifetimes.notice, section.get("notice"), |reader, node| {
        let items = reader.list(node, "a list of durations such as [14d, 3d, 1d]")?;
        let mut notice: Vec<_> =
            items.iter().filter_map(|item| reader.duration(item, MINUTE..=CENTURY)).collect();
        notice.sort_unstable();
        notice.dedup();
        notice.reverse();
        Some(notice)
    });
    Some(lifetimes)
}

/// A duration; `None` for `never`.
fn lifetime(reader: &mut Reader<'_>, node: &Node) -> Option<Duration> {
    if matches!(&node.value, super::yaml::Value::Text(text) if text.text == "never") {
        return None;
    }
    reader.duration(node, MINUTE..=CENTURY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn lifetimes(default: Option<u64>, max: Option<u64>) -> KeyLifetimes {
        KeyLifetimes {
            default: default.map(Duration::from_secs),
            max: max.map(Duration::from_secs),
            ..KeyLifetimes::default()
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW.as_second() + seconds).unwrap()
    }

    #[test]
    fn a_key_ends_when_it_is_told_to_or_by_default() {
        assert_eq!(lifetimes(None, None).end_of_new_key(None, NOW), Ok(None));
        assert_eq!(lifetimes(Some(60), None).end_of_new_key(None, NOW), Ok(Some(at(60))));
        assert_eq!(lifetimes(Some(60), None).end_of_new_key(Some(None), NOW), Ok(None));
        assert_eq!(lifetimes(Some(60), None).end_of_new_key(Some(Some(at(90))), NOW), Ok(Some(at(90))));
    }

    #[test]
    fn ends_that_are_past_or_too_far_away_are_refused() {
        let any = lifetimes(None, None);
        assert_eq!(any.check(Some(at(1)), NOW), Ok(Some(at(1))));
        assert_eq!(any.check(Some(NOW), NOW), Err(LifetimeError::Past(NOW)));
        let limited = lifetimes(None, Some(60));
        assert_eq!(limited.check(Some(at(60)), NOW), Ok(Some(at(60))));
        for end in [Some(at(61)), None] {
            let error = limited.check(end, NOW).unwrap_err();
            assert!(matches!(error, LifetimeError::TooLong { latest, .. } if latest == at(60)), "{error}");
        }
    }
}
