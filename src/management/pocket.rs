//! What one page of a session leaves for the next: a notice, and the secrets of new keys, to be shown once.
//!
//! A page that has done something sends the browser on, so that reloading does it no second time. What the next page
//! is to show waits here, in this process's memory, bound to the session, and is gone when it was shown.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::Secret;
use crate::model::KeyId;

/// A browser that was sent on comes at once; a secret that nobody has fetched by then is forgotten.
pub(super) const FETCHED_WITHIN: Duration = Duration::from_mins(2);
/// New keys of one session that wait at once; another one pushes the oldest out.
const MOST_WAITING: usize = 8;

/// What waits for a session's next page.
#[derive(Default)]
pub(super) struct Pocket(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    notice: Option<Notice>,
    issued: Vec<Issued>,
}

/// A sentence about what was done, or was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    /// How it went.
    pub(super) tone: Tone,
    /// The sentence.
    pub(super) text: String,
}

/// How something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// It is done.
    Done,
    /// It is done, and not confirmed yet.
    Pending,
    /// It was not done.
    Problem,
}

/// A new key's secret.
struct Issued {
    key: KeyId,
    secret: Secret,
    at: Instant,
}

impl fmt::Debug for Pocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pocket(..)")
    }
}

impl Pocket {
    /// Leaves a notice in place of the one before.
    pub(super) fn leave_notice(&self, notice: Notice) {
        self.lock().notice = Some(notice);
    }

    /// Takes the notice out.
    pub(super) fn take_notice(&self) -> Option<Notice> {
        self.lock().notice.take()
    }

    /// Leaves the secret of a new key.
    pub(super) fn leave_secret(&self, key: KeyId, secret: Secret, now: Instant) {
        let mut contents = self.lock();
        if contents.issued.len() >= MOST_WAITING {
            contents.issued.remove(0);
        }
        contents.issued.push(Issued { key, secret, at: now });
    }

    /// Takes the secret of a new key out; there is none a second time.
    pub(super) fn take_secret(&self, key: KeyId, now: Instant) -> Option<Secret> {
        self.forget_old(now);
        let mut contents = self.lock();
        let at = contents.issued.iter().position(|issued| issued.key == key)?;
        Some(contents.issued.remove(at).secret)
    }

    /// Wipes the secrets that were not fetched in time.
    pub(super) fn forget_old(&self, now: Instant) {
        let fresh = |issued: &Issued| now.saturating_duration_since(issued.at) < FETCHED_WITHIN;
        self.lock().issued.retain(fresh);
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::mint_secret;
    use crate::config::KeyPrefixes;

    fn secret() -> Secret {
        mint_secret(&KeyPrefixes { current: "pc".to_owned(), former: Vec::new() })
    }

    #[test]
    fn a_secret_is_taken_once_and_only_in_time() {
        let pocket = Pocket::default();
        let now = Instant::now();
        let (first, second) = (KeyId::from_row(1), KeyId::from_row(2));
        pocket.leave_secret(first, secret(), now);
        pocket.leave_secret(second, secret(), now);
        assert!(pocket.take_secret(first, now).is_some());
        assert!(pocket.take_secret(first, now).is_none());
        assert!(pocket.take_secret(second, now + FETCHED_WITHIN).is_none());
    }

    #[test]
    fn few_secrets_wait_at_once() {
        let pocket = Pocket::default();
        let now = Instant::now();
        for row in 1..=20 {
            pocket.leave_secret(KeyId::from_row(row), secret(), now);
        }
        assert!(pocket.take_secret(KeyId::from_row(12), now).is_none());
        assert!(pocket.take_secret(KeyId::from_row(13), now).is_some());
    }

    #[test]
    fn a_notice_is_shown_once() {
        let pocket = Pocket::default();
        let notice = Notice { tone: Tone::Done, text: "done".to_owned() };
        pocket.leave_notice(notice.clone());
        assert_eq!(pocket.take_notice(), Some(notice));
        assert_eq!(pocket.take_notice(), None);
    }
}
