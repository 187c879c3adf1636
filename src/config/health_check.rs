//! `health:` of an upstream: requests by which the gateway finds out which endpoints are well.

use std::time::Duration;

use http::uri::PathAndQuery;

use super::reader::Reader;
use super::yaml::Node;

/// Requests by which the gateway finds out whether an endpoint is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for, by GET: a path, perhaps with a query. Well is an answer from 200 to 399.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long the answer may take, with the connection. Never longer than the interval.
    pub timeout: Duration,
    /// So many failures in a row, and the endpoint counts as down.
    pub down: u32,
    /// So many successes in a row, and it counts as up again.
    pub up: u32,
}

/// Reads `health:`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<HealthCheck> {
    let section = reader.section(node, &["path", "interval", "timeout", "down", "up"])?;
    let path = reader.required(&section, "path")?;
    let path = reader.parsed(path, "a path such as /healthz", |text| {
        let path = text.parse::<PathAndQuery>().ok()?;
        (text.starts_with('/') && path.as_str() == text).then(|| text.to_owned())
    });
    let mut check = HealthCheck {
        path: path?,
        interval: Duration::from_secs(3),
        timeout: Duration::from_secs(1),
        down: 3,
        up: 1,
    };
    reader.set(&mut check.interval, section.get("interval"), |reader, node| {
        reader.duration(node, Duration::from_millis(100)..=Duration::from_hours(1))
    });
    check.timeout = check.timeout.min(check.interval);
    let interval = check.interval;
    reader.set(&mut check.timeout, section.get("timeout"), |reader, node| {
        let timeout = reader.duration(node, Duration::from_millis(10)..=Duration::from_hours(1))?;
        if timeout > interval {
            reader.error(node, "expected at most 'interval': a check ends before the next begins");
        }
        Some(timeout)
    });
    reader.set(&mut check.down, section.get("down"), |reader, node| reader.number(node, 1..=1_000));
    reader.set(&mut check.up, section.get("up"), |reader, node| reader.number(node, 1..=1_000));
    Some(check)
}
