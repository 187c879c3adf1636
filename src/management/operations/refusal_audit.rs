//! Audit rows of changes that a role does not permit: they are refused before the record is asked, which writes the rows
//! of all others. The number of rows is limited for each key and minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Caller, Operations};
use crate::management::refusal::Refusal;
use crate::model::AccessKey;
use crate::store::Attempt;

/// Rows of one key in a minute: more than anybody tries by hand, and too few for a program to fill the disk.
const ROWS_PER_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_mins(1);

/// How many rows each key got in its last minute.
#[derive(Debug, Default)]
pub(super) struct RowLimiter(Mutex<HashMap<AccessKey, Count>>);

#[derive(Debug)]
struct Count {
    minute_began: Instant,
    written: u32,
    omitted: u64,
}

/// Whether one more refusal gets a row.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    /// It gets one, and so many before it got none.
    Write(u64),
    /// It gets none. The log tells of the first.
    Omit { is_first: bool },
}

impl RowLimiter {
    fn next(&self, key: &AccessKey, now: Instant) -> Row {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |count: &Count| now.saturating_duration_since(count.minute_began) >= MINUTE;
        // a count with omitted rows stays until a row has told of them; few keys ever have any
        counts.retain(|_, count| !is_over(count) || count.omitted > 0);
        let new = || Count { minute_began: now, written: 0, omitted: 0 };
        let count = counts.entry(key.clone()).or_insert_with(new);
        if is_over(count) {
            *count = Count { omitted: count.omitted, ..new() };
        }
        if count.written == ROWS_PER_MINUTE {
            count.omitted += 1;
            return Row::Omit { is_first: count.omitted == 1 };
        }
        count.written += 1;
        Row::Write(std::mem::take(&mut count.omitted))
    }
}

impl Operations {
    /// Writes an audit row if the caller's role does not permit a change. An object that does not exist counts as one
    /// that the caller may not see: if only one of them got a row, the time of the answer would tell which it is. Admins
    /// are permitted everything, except with a narrowed key.
    pub async fn audit_refusal(&self, caller: &Caller, attempt: Attempt, refusal: &Refusal) {
        let is_admin = caller.is_admin() && *refusal != Refusal::NarrowedKey;
        let Some(reason) = refusal.not_permitted().filter(|_| !is_admin) else { return };
        let key = &caller.principal().key.access_key;
        let omitted = match self.refusal_rows.next(key, Instant::now()) {
            Row::Write(omitted) => omitted,
            Row::Omit { is_first } => {
                if is_first {
                    tracing::warn!(
                        access_key = %key,
                        "changes that this key is refused are left out of the audit log until the minute is over"
                    );
                }
                return;
            }
        };
        let reason = match omitted {
            0 => reason.to_owned(),
            _ => format!("{reason}; {omitted} more of this key before it are left out"),
        };
        let written =
            self.store.write(caller.author(), move |store| store.audit_refusal(&attempt, &reason)).await;
        if let Err(error) = written {
            tracing::error!(%error, access_key = %key, "what this key was refused is not in the audit log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_so_many_rows_a_minute_and_omitted_ones_are_counted() {
        let limiter = RowLimiter::default();
        let (key, other): (AccessKey, AccessKey) = ("one".parse().unwrap(), "other".parse().unwrap());
        let start = Instant::now();
        for _ in 0..ROWS_PER_MINUTE {
            assert_eq!(limiter.next(&key, start), Row::Write(0));
        }
        assert_eq!(limiter.next(&key, start), Row::Omit { is_first: true });
        assert_eq!(limiter.next(&key, start + MINUTE / 2), Row::Omit { is_first: false });
        assert_eq!(limiter.next(&other, start), Row::Write(0));
        assert_eq!(limiter.next(&key, start + MINUTE), Row::Write(2));
        for _ in 1..ROWS_PER_MINUTE {
            assert_eq!(limiter.next(&key, start + MINUTE), Row::Write(0));
        }
        assert_eq!(limiter.next(&key, start + MINUTE), Row::Omit { is_first: true });
        // omitted rows are told however long after; counts without any are dropped
        assert_eq!(limiter.next(&key, start + MINUTE * 100), Row::Write(1));
        assert_eq!(limiter.0.lock().unwrap().len(), 1);
    }
}
