//! Time that nobody can set: since the machine started, sleep included (`CLOCK_BOOTTIME`).
//!
//! Leases are counted by it. A wall clock can be put back; `CLOCK_MONOTONIC` stands still while a machine sleeps, and a
//! lease must not.

use std::ops::Add;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since this machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct BootTime(pub u64);

impl BootTime {
    /// The time now.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        Self(now.tv_sec.cast_unsigned() * 1_000 + now.tv_nsec.cast_unsigned() / 1_000_000)
    }

    /// How long it is until then; zero where that is past.
    pub fn remaining(self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(Self::now().0))
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// This process, so that another one on the machine can tell whether it still runs: the namespace of process ids, the
/// id, and when it started.
pub(super) fn process() -> String {
    let id = std::process::id();
    format!("{} {id} {}", namespace(), started(id).unwrap_or_default())
}

/// Whether that process has certainly ended. One in another container cannot be seen from here.
pub(super) fn has_ended(process: &str) -> bool {
    let mut words = process.split(' ');
    let (Some(space), Some(id), Some(start)) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let Ok(id) = id.parse::<u32>() else { return false };
    !space.is_empty() && !start.is_empty() && space == namespace() && started(id).as_deref() != Some(start)
}

fn namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid");
    link.map(|link| link.to_string_lossy().replace(' ', "")).unwrap_or_default()
}

/// When a process started, in ticks of the boot clock; `None` where there is none.
fn started(id: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // the name in parentheses may hold anything; what follows it is fields 3 and on, of which this is field 22
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19).map(str::to_owned)
}

/// A word that is another after every start of the machine; empty where the system does not say.
pub(super) fn id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
    })
}
