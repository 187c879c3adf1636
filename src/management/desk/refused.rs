//! Changes that are refused for want of permission, before the record is asked: the audit log shows them too, so many
//! of a key in a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Caller, Desk};
use crate::management::refusal::Refusal;
use crate::model::AccessKey;
use crate::store::Attempt;

/// Rows of one key in a minute: more than anybody tries by hand. A program that tries all day fills no disk.
const MOST_A_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_mins(1);

/// How many rows the keys had that were refused something lately.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<HashMap<AccessKey, Count>>);

#[derive(Debug)]
struct Count {
    /// When its minute began.
    since: Instant,
    written: u32,
    left_out: u64,
}

/// What becomes of one more.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// It gets a row, after so many that got none.
    Row(u64),
    /// It gets none; the first of a minute is told.
    LeftOut { is_first: bool },
}

impl Tally {
    fn place(&self, key: &AccessKey, now: Instant) -> Place {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |count: &Count| now.saturating_duration_since(count.since) >= MINUTE;
        // who still has something to tell stays: there are no more of them than keys that were ever refused so much
        counts.retain(|_, count| !is_over(count) || count.left_out > 0);
        let new = || Count { since: now, written: 0, left_out: 0 };
        let count = counts.entry(key.clone()).or_insert_with(new);
        if is_over(count) {
            *count = Count { left_out: count.left_out, ..new() };
        }
        if count.written == MOST_A_MINUTE {
            count.left_out += 1;
            return Place::LeftOut { is_first: count.left_out == 1 };
        }
        count.written += 1;
        Place::Row(std::mem::take(&mut count.left_out))
    }
}

impl Desk {
    /// Writes down that the caller was refused a change, if that was for want of permission. What is not there counts
    /// as what is not to be seen: an answer that takes longer for one of them would tell which it is. Admins want for
    /// no permission.
    pub async fn note_refused(&self, caller: &Caller, attempt: Attempt, refusal: &Refusal) {
        let Some(reason) = refusal.for_want_of_permission().filter(|_| !caller.is_admin()) else { return };
        let key = &caller.principal().key.access_key;
        let left_out = match self.refused.place(key, Instant::now()) {
            Place::Row(left_out) => left_out,
            Place::LeftOut { is_first } => {
                if is_first {
                    tracing::warn!(
                        access_key = %key,
                        "changes that this key is refused are left out of the audit log until the minute is over"
                    );
                }
                return;
            }
        };
        let reason = match left_out {
            0 => reason.to_owned(),
            _ => format!("{reason}; {left_out} more of this key before it are left out"),
        };
        let noted =
            self.registry.write(caller.author(), move |store| store.note_refused(&attempt, &reason)).await;
        if let Err(error) = noted {
            tracing::error!(%error, access_key = %key, "what this key was refused is not in the audit log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_so_many_rows_a_minute_and_what_is_left_out_is_counted() {
        let tally = Tally::default();
        let (key, other): (AccessKey, AccessKey) = ("one".parse().unwrap(), "other".parse().unwrap());
        let start = Instant::now();
        for _ in 0..MOST_A_MINUTE {
            assert_eq!(tally.place(&key, start), Place::Row(0));
        }
        assert_eq!(tally.place(&key, start), Place::LeftOut { is_first: true });
        assert_eq!(tally.place(&key, start + MINUTE / 2), Place::LeftOut { is_first: false });
        assert_eq!(tally.place(&other, start), Place::Row(0));
        assert_eq!(tally.place(&key, start + MINUTE), Place::Row(2));
        for _ in 1..MOST_A_MINUTE {
            assert_eq!(tally.place(&key, start + MINUTE), Place::Row(0));
        }
        assert_eq!(tally.place(&key, start + MINUTE), Place::LeftOut { is_first: true });
        // long after, it is told all the same, and who has nothing to tell is forgotten
        assert_eq!(tally.place(&key, start + MINUTE * 100), Place::Row(1));
        assert_eq!(tally.0.lock().unwrap().len(), 1);
    }
}
