//! Browser sessions: who has signed in on the page.
//!
//! A session lives in this process only and is bound to the key that began it: when the key, or its account, does not
//! work any more, neither does the session.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::flash::Flash;
use super::settings::Settings;
use crate::auth::{Identity, random_bytes};
use crate::model::KeyOwner;

/// The cookie over TLS: browsers send it to this very host only, and only over TLS.
const SECURE_COOKIE: &str = "__Host-portcullis";
/// The cookie without TLS, where browsers refuse names with that prefix.
const PLAIN_COOKIE: &str = "portcullis";

/// The name of the cookie that holds a session's token.
pub(super) fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { SECURE_COOKIE } else { PLAIN_COOKIE }
}

/// `Set-Cookie` for a session that begins.
pub(super) fn set_cookie(token: &str, is_secure: bool) -> Zeroizing<String> {
    let secure = if is_secure { "; Secure" } else { "" };
    Zeroizing::new(format!("{}={token}; Path=/; HttpOnly; SameSite=Strict{secure}", cookie_name(is_secure)))
}

/// `Set-Cookie` for a session that ends.
pub(super) fn clear_cookie(is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}", cookie_name(is_secure))
}

/// The most sessions at once. One more ends the session that was idle the longest.
const MAX_SESSIONS: usize = 10_000;

/// The most sessions of one account: signing in again and again cannot end the sessions of others.
const MAX_PER_ACCOUNT: usize = 100;

/// All sessions, by the digest of their token, so that the memory holds nothing that opens one.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<TokenDigest, Session>>);

type TokenDigest = [u8; 32];

/// One session.
#[derive(Clone)]
pub(super) struct Session {
    /// The key that signed in, as it is known now.
    pub(super) identity: Arc<Identity>,
    /// Part of every form of the session, so that no other site can send one.
    pub(super) csrf_token: Arc<str>,
    /// What one page leaves for the next one.
    pub(super) flash: Arc<Flash>,
    began: Instant,
    used: Instant,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.lock().len())
    }
}

impl Sessions {
    /// Begins a session. The token that it returns is stored in the browser's cookie only.
    pub(super) fn begin(
        &self,
        identity: Arc<Identity>,
        settings: &Settings,
        now: Instant,
    ) -> Zeroizing<String> {
        let token = random_token();
        let session = Session {
            identity,
            csrf_token: Arc::from(random_token().as_str()),
            flash: Arc::default(),
            began: now,
            used: now,
        };
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS {
            sessions.retain(|_, session| session.is_alive(settings, now));
        }
        let is_anyones = |_: &Session| true;
        let is_same_owners = |other: &Session| other.owner() == session.owner();
        make_room(&mut sessions, MAX_PER_ACCOUNT, is_same_owners);
        make_room(&mut sessions, MAX_SESSIONS, is_anyones);
        sessions.insert(digest_of(&token), session);
        token
    }

    /// The session with this token, unless it has expired.
    pub(super) fn find(&self, token: &str, settings: &Settings, now: Instant) -> Option<Session> {
        let key = digest_of(token);
        let mut sessions = self.lock();
        let session = sessions.get_mut(&key)?;
        if !session.is_alive(settings, now) {
            sessions.remove(&key);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Replaces what is known of the session's key.
    pub(super) fn renew(&self, token: &str, identity: Arc<Identity>) {
        if let Some(session) = self.lock().get_mut(&digest_of(token)) {
            session.identity = identity;
        }
    }

    /// Ends a session.
    pub(super) fn end(&self, token: &str) {
        self.lock().remove(&digest_of(token));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenDigest, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// If there are `most` sessions that count, ends the one of them that was idle the longest.
fn make_room(sessions: &mut HashMap<TokenDigest, Session>, most: usize, counts: impl Fn(&Session) -> bool) {
    let counted = || sessions.iter().filter(|(_, session)| counts(session));
    if counted().count() < most {
        return;
    }
    let oldest = counted().min_by_key(|(_, session)| session.used).map(|(key, _)| *key);
    if let Some(oldest) = oldest {
        sessions.remove(&oldest);
    }
}

impl Session {
    fn owner(&self) -> &KeyOwner {
        &self.identity.principal.key.owner
    }

    fn is_alive(&self, settings: &Settings, now: Instant) -> bool {
        now.saturating_duration_since(self.used) < settings.session_idle
            && now.saturating_duration_since(self.began) < settings.session_lifetime
    }
}

fn digest_of(token: &str) -> TokenDigest {
    let mut found = [0; 32];
    found.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    found
}

/// 256 random bits.
fn random_token() -> Zeroizing<String> {
    let mut random = Zeroizing::new([0; 32]);
    random_bytes(&mut *random);
    Zeroizing::new(URL_SAFE_NO_PAD.encode(*random))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config;

    const MINUTE: Duration = Duration::from_mins(1);

    /// Sessions are idle for ten minutes and live for an hour.
    fn settings() -> Settings {
        let yaml = "listeners: [{ address: 127.0.0.1:0 }]\n\
            management: { address: 127.0.0.1:0, session_idle: 10m, session_lifetime: 1h }\n\
            store: { sqlite: portcullis.db }\npepper_file: pepper\nupstreams: { api: { endpoints: [\"http://127.0.0.1:1\"] } }\n\
            routes: [{ path: /v1, upstream: api, account: allow }]\n";
        Settings::new(&config::parse(yaml, Path::new("portcullis.yaml"), &|_| None).unwrap(), &[], None, None)
    }

    fn identity(account: i64) -> Arc<Identity> {
        Identity::of_account(account)
    }

    #[test]
    fn an_idle_session_ends() {
        let (sessions, settings, now) = (Sessions::default(), settings(), Instant::now());
        let token = sessions.begin(identity(1), &settings, now);
        assert!(sessions.find(&token, &settings, now + 9 * MINUTE).is_some());
        // the use counts, not the beginning
        assert!(sessions.find(&token, &settings, now + 18 * MINUTE).is_some());
        assert!(sessions.find(&token, &settings, now + 28 * MINUTE).is_none());
        assert!(sessions.find(&token, &settings, now).is_none(), "it is gone for good");
    }

    #[test]
    fn a_used_session_ends_at_its_lifetime() {
        let (sessions, settings, now) = (Sessions::default(), settings(), Instant::now());
        let token = sessions.begin(identity(1), &settings, now);
        for minute in 1..60 {
            assert!(sessions.find(&token, &settings, now + minute * MINUTE).is_some(), "{minute}");
        }
        assert!(sessions.find(&token, &settings, now + 60 * MINUTE).is_none());
    }

    #[test]
    fn a_token_opens_its_own_session_until_the_session_ends() {
        let (sessions, settings, now) = (Sessions::default(), settings(), Instant::now());
        let (first, second) =
            (sessions.begin(identity(1), &settings, now), sessions.begin(identity(2), &settings, now));
        let found = |token: &str| sessions.find(token, &settings, now);
        assert_eq!(found(&first).unwrap().identity.principal.key.owner, identity(1).principal.key.owner);
        assert_ne!(found(&first).unwrap().csrf_token, found(&second).unwrap().csrf_token);
        assert!(
            found("").is_none() && found(&first[1..]).is_none() && found(&format!("{}A", *first)).is_none()
        );
        sessions.end(&first);
        assert!(found(&first).is_none() && found(&second).is_some());
    }

    #[test]
    fn a_renewed_session_knows_its_key_as_it_is_now() {
        let (sessions, settings, now) = (Sessions::default(), settings(), Instant::now());
        let token = sessions.begin(identity(1), &settings, now);
        let newer = identity(1);
        sessions.renew(&token, Arc::clone(&newer));
        assert!(Arc::ptr_eq(&sessions.find(&token, &settings, now).unwrap().identity, &newer));
    }

    #[test]
    fn signing_in_again_and_again_ends_only_sessions_of_the_same_account() {
        let (sessions, settings, now) = (Sessions::default(), settings(), Instant::now());
        let others = sessions.begin(identity(1), &settings, now);
        let later = |count: usize| now + Duration::from_millis(u64::try_from(count).unwrap());
        let own: Vec<_> =
            (0..MAX_SESSIONS + 5).map(|count| sessions.begin(identity(2), &settings, later(count))).collect();
        let at = later(own.len());
        assert!(sessions.find(&others, &settings, at).is_some());
        let alive = own.iter().filter(|token| sessions.find(token, &settings, at).is_some()).count();
        assert_eq!(alive, MAX_PER_ACCOUNT);
        assert!(sessions.find(own.last().unwrap(), &settings, at).is_some(), "the newest stays");
    }

    #[test]
    fn one_session_too_many_ends_the_one_that_was_idle_the_longest() {
        let (sessions, settings, now) = (Sessions::default(), settings(), Instant::now());
        let begin = |count: usize| {
            let account = i64::try_from(count / MAX_PER_ACCOUNT).unwrap() + 1;
            sessions.begin(
                identity(account),
                &settings,
                now + Duration::from_millis(u64::try_from(count).unwrap()),
            )
        };
        let tokens: Vec<_> = (0..MAX_SESSIONS).map(begin).collect();
        let at = now + MINUTE;
        assert!(sessions.find(&tokens[0], &settings, at).is_some(), "used, so not the next to go");
        begin(MAX_SESSIONS);
        assert_eq!(format!("{sessions:?}"), format!("Sessions({MAX_SESSIONS})"));
        assert!(sessions.find(&tokens[0], &settings, at).is_some());
        assert!(sessions.find(&tokens[1], &settings, at).is_none());
    }
}
