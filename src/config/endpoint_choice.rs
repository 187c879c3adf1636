//! `balance:` and `ejection:` of an upstream: which of its endpoints a request goes to.

use std::time::Duration;

use super::reader::Reader;
use super::yaml::{Node, Value};

/// How an endpoint is chosen among those that are well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// Of two, the one with fewer requests in flight.
    #[default]
    Least,
    /// One after the other.
    Turn,
}

impl Balance {
    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Least => "least",
            Self::Turn => "turn",
        }
    }
}

/// When an endpoint gets no requests for a while because requests failed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// So many failures without a success between them.
    pub consecutive: u32,
    /// `for`: how long it gets none.
    pub pause: Duration,
    /// How many of the endpoints may be ejected at once, in percent. Of several it may always be one, and never all.
    pub at_most_percent: u8,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { consecutive: 5, pause: Duration::from_secs(30), at_most_percent: 50 }
    }
}

/// Reads `balance:`.
pub(super) fn read_balance(reader: &mut Reader<'_>, node: &Node) -> Option<Balance> {
    reader.word(node, &[Balance::Least, Balance::Turn].map(|balance| (balance.name(), balance)))
}

/// Reads `ejection:`: a mapping, or `off`.
#[allow(clippy::option_option)] // no value, a mistake, or off
pub(super) fn read_ejection(reader: &mut Reader<'_>, node: &Node) -> Option<Option<Ejection>> {
    if !matches!(node.value, Value::Map(_)) {
        let expected = "'off' or a mapping with 'consecutive', 'for' and 'at_most'";
        return reader.parsed(node, expected, |text| (text == "off").then_some(None));
    }
    let section = reader.section(node, &["consecutive", "for", "at_most"])?;
    let mut ejection = Ejection::default();
    reader.set(&mut ejection.consecutive, section.get("consecutive"), |r, n| r.number(n, 1..=10_000));
    reader.set(&mut ejection.pause, section.get("for"), |reader, node| {
        reader.duration(node, Duration::from_millis(100)..=Duration::from_hours(24))
    });
    reader.set(&mut ejection.at_most_percent, section.get("at_most"), read_percent);
    Some(Some(ejection))
}

fn read_percent(reader: &mut Reader<'_>, node: &Node) -> Option<u8> {
    let percent = match &node.value {
        Value::Text(text) => text.text.strip_suffix('%').and_then(|number| number.parse().ok()),
        _ => None,
    };
    percent
        .filter(|percent| (1..=100).contains(percent))
        .or_else(|| reader.unexpected(node, "a share from 1% to 100%, such as 50%"))
}
