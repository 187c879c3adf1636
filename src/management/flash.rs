//! Flash messages: what one page of a session leaves for the next, to be shown once. A notice, and secrets of new keys.
//!
//! A form that was sent is answered with a redirect, so that reloading does not send it again. What the next page shows
//! waits here, in this process's memory, as part of the session.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::Secret;
use crate::model::KeyId;

/// A redirected browser comes at once. A secret that nobody has fetched by then is wiped.
pub(super) const SECRET_LIFETIME: Duration = Duration::from_mins(2);
/// Secrets of one session that wait at once; one more pushes the oldest out.
const MAX_SECRETS: usize = 8;

/// The flash messages of one session.
#[derive(Default)]
pub(super) struct Flash(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    notice: Option<Notice>,
    secrets: Vec<NewSecret>,
    /// What was typed into a form before the session began, and the form's address.
    typed: Option<(String, Vec<(String, String)>)>,
}

/// A sentence about a change that was made or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) kind: NoticeKind,
    pub(super) text: String,
}

/// How a change went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoticeKind {
    /// It is made, and confirmed by every gateway.
    Done,
    /// It is made, and not confirmed by every gateway yet.
    Pending,
    /// It was refused.
    Problem,
}

/// A new key's secret.
struct NewSecret {
    key: KeyId,
    secret: Secret,
    at: Instant,
}

impl fmt::Debug for Flash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flash(..)")
    }
}

impl Flash {
    /// Replaces the notice.
    pub(super) fn set_notice(&self, notice: Notice) {
        self.lock().notice = Some(notice);
    }

    /// Takes the notice.
    pub(super) fn take_notice(&self) -> Option<Notice> {
        self.lock().notice.take()
    }

    /// Keeps what was typed into the form at an address. Never a secret.
    pub(super) fn set_typed(&self, url: String, fields: Vec<(String, String)>) {
        self.lock().typed = Some((url, fields));
    }

    /// Takes what was typed into the form at this address.
    pub(super) fn take_typed(&self, url: &str) -> Option<Vec<(String, String)>> {
        let mut contents = self.lock();
        contents.typed.take_if(|(of, _)| of == url).map(|(_, fields)| fields)
    }

    /// Adds the secret of a new key.
    pub(super) fn put_secret(&self, key: KeyId, secret: Secret, now: Instant) {
        let mut contents = self.lock();
        if contents.secrets.len() >= MAX_SECRETS {
            contents.secrets.remove(0);
        }
        contents.secrets.push(NewSecret { key, secret, at: now });
    }

    /// Takes the secret of a new key. There is none the second time.
    pub(super) fn take_secret(&self, key: KeyId, now: Instant) -> Option<Secret> {
        self.drop_expired(now);
        let mut contents = self.lock();
        let at = contents.secrets.iter().position(|new| new.key == key)?;
        Some(contents.secrets.remove(at).secret)
    }

    /// Wipes the secrets that nobody has fetched in time.
    pub(super) fn drop_expired(&self, now: Instant) {
        let fresh = |new: &NewSecret| now.saturating_duration_since(new.at) < SECRET_LIFETIME;
        self.lock().secrets.retain(fresh);
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
        let flash = Flash::default();
        let now = Instant::now();
        let (first, second) = (KeyId::from_row(1), KeyId::from_row(2));
        flash.put_secret(first, secret(), now);
        flash.put_secret(second, secret(), now);
        assert!(flash.take_secret(first, now).is_some());
        assert!(flash.take_secret(first, now).is_none());
        assert!(flash.take_secret(second, now + SECRET_LIFETIME).is_none());
    }

    #[test]
    fn the_oldest_of_too_many_secrets_is_dropped() {
        let flash = Flash::default();
        let now = Instant::now();
        for row in 1..=20 {
            flash.put_secret(KeyId::from_row(row), secret(), now);
        }
        assert!(flash.take_secret(KeyId::from_row(12), now).is_none());
        assert!(flash.take_secret(KeyId::from_row(13), now).is_some());
    }

    #[test]
    fn a_notice_is_shown_once() {
        let flash = Flash::default();
        let notice = Notice { kind: NoticeKind::Done, text: "done".to_owned() };
        flash.set_notice(notice.clone());
        assert_eq!(flash.take_notice(), Some(notice));
        assert_eq!(flash.take_notice(), None);
    }
}
