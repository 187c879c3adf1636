//! Names a process so that another one on the machine can tell whether it still runs.

/// This process: the namespace of process ids, the id, and when it started.
pub(super) fn current() -> String {
    let id = std::process::id();
    format!("{} {id} {}", namespace(), started(id).unwrap_or_default())
}

/// Whether that process has certainly ended. A process in another container cannot be seen from here.
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
