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

use super::pocket::Pocket;
use super::site::Site;
use crate::auth::{Identity, random_bytes};
use crate::model::KeyOwner;

/// The cookie over TLS: browsers give it back to this very host only, and only over TLS.
const SECURE_COOKIE: &str = "__Host-portcullis";
/// The cookie without TLS, where browsers take no name with that prefix.
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

/// Sessions at once; a new one beyond that ends the one that was unused the longest.
const MOST_SESSIONS: usize = 10_000;

/// Sessions of one account at once: whoever holds a key cannot end everybody else's by signing in again and again.
const MOST_OF_ONE: usize = 100;

/// All sessions, by the digest of their token: who reads this memory cannot use them.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<TokenDigest, Session>>);

type TokenDigest = [u8; 32];

/// One session.
#[derive(Clone)]
pub(super) struct Session {
    /// The key that was proved when it began, as it is known now.
    pub(super) identity: Arc<Identity>,
    /// What every form of the session carries, so that no other site can send one.
    pub(super) form_token: Arc<str>,
    /// What one page leaves for the next.
    pub(super) pocket: Arc<Pocket>,
    began: Instant,
    used: Instant,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.lock().len())
    }
}

impl Sessions {
    /// Begins a session and gives its token, which only the browser's cookie holds.
    pub(super) fn begin(&self, identity: Arc<Identity>, site: &Site, now: Instant) -> Zeroizing<String> {
        let token = random_token();
        let session = Session {
            identity,
            form_token: Arc::from(random_token().as_str()),
            pocket: Arc::default(),
            began: now,
            used: now,
        };
        let mut sessions = self.lock();
        if sessions.len() >= MOST_SESSIONS {
            sessions.retain(|_, session| session.is_alive(site, now));
        }
        let is_anyones = |_: &Session| true;
        let is_same_owners = |other: &Session| other.owner() == session.owner();
        make_room(&mut sessions, MOST_OF_ONE, is_same_owners);
        make_room(&mut sessions, MOST_SESSIONS, is_anyones);
        sessions.insert(digest_of(&token), session);
        token
    }

    /// The session with this token, if it has not ended by time.
    pub(super) fn find(&self, token: &str, site: &Site, now: Instant) -> Option<Session> {
        let key = digest_of(token);
        let mut sessions = self.lock();
        let session = sessions.get_mut(&key)?;
        if !session.is_alive(site, now) {
            sessions.remove(&key);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Takes over what is known of the session's key now.
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

/// Ends the session that was unused the longest, of those that count, where there are `most` already.
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

    fn is_alive(&self, site: &Site, now: Instant) -> bool {
        now.saturating_duration_since(self.used) < site.session_idle
            && now.saturating_duration_since(self.began) < site.session_lifetime
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
    fn site() -> Site {
        let yaml = "listeners: [{ address: 127.0.0.1:0 }]\n\
            management: { address: 127.0.0.1:0, session_idle: 10m, session_lifetime: 1h }\n\
            store: { sqlite: portcullis.db }\npepper_file: pepper\nupstreams: { api: { endpoints: [\"http://127.0.0.1:1\"] } }\n\
            routes: [{ path: /v1, upstream: api, account: allow }]\n";
        Site::new(&config::parse(yaml, Path::new("portcullis.yaml"), &|_| None).unwrap(), &[], None)
    }

    fn identity(account: i64) -> Arc<Identity> {
        Identity::of_account(account)
    }

    #[test]
    fn a_session_ends_when_it_was_not_used_for_long_enough() {
        let (sessions, site, now) = (Sessions::default(), site(), Instant::now());
        let token = sessions.begin(identity(1), &site, now);
        assert!(sessions.find(&token, &site, now + 9 * MINUTE).is_some());
        // the use counts, not the beginning
        assert!(sessions.find(&token, &site, now + 18 * MINUTE).is_some());
        assert!(sessions.find(&token, &site, now + 28 * MINUTE).is_none());
        assert!(sessions.find(&token, &site, now).is_none(), "it is gone for good");
    }

    #[test]
    fn a_session_ends_at_its_age_however_much_it_is_used() {
        let (sessions, site, now) = (Sessions::default(), site(), Instant::now());
        let token = sessions.begin(identity(1), &site, now);
        for minute in 1..60 {
            assert!(sessions.find(&token, &site, now + minute * MINUTE).is_some(), "{minute}");
        }
        assert!(sessions.find(&token, &site, now + 60 * MINUTE).is_none());
    }

    #[test]
    fn a_token_opens_its_own_session_only_and_only_until_it_is_ended() {
        let (sessions, site, now) = (Sessions::default(), site(), Instant::now());
        let (first, second) =
            (sessions.begin(identity(1), &site, now), sessions.begin(identity(2), &site, now));
        let found = |token: &str| sessions.find(token, &site, now);
        assert_eq!(found(&first).unwrap().identity.principal.key.owner, identity(1).principal.key.owner);
        assert_ne!(found(&first).unwrap().form_token, found(&second).unwrap().form_token);
        assert!(
            found("").is_none() && found(&first[1..]).is_none() && found(&format!("{}A", *first)).is_none()
        );
        sessions.end(&first);
        assert!(found(&first).is_none() && found(&second).is_some());
    }

    #[test]
    fn a_session_goes_on_with_what_is_known_of_its_key_now() {
        let (sessions, site, now) = (Sessions::default(), site(), Instant::now());
        let token = sessions.begin(identity(1), &site, now);
        let newer = identity(1);
        sessions.renew(&token, Arc::clone(&newer));
        assert!(Arc::ptr_eq(&sessions.find(&token, &site, now).unwrap().identity, &newer));
    }

    #[test]
    fn who_signs_in_again_and_again_ends_only_sessions_of_the_same_account() {
        let (sessions, site, now) = (Sessions::default(), site(), Instant::now());
        let others = sessions.begin(identity(1), &site, now);
        let later = |count: usize| now + Duration::from_millis(u64::try_from(count).unwrap());
        let own: Vec<_> =
            (0..MOST_SESSIONS + 5).map(|count| sessions.begin(identity(2), &site, later(count))).collect();
        let at = later(own.len());
        assert!(sessions.find(&others, &site, at).is_some());
        let alive = own.iter().filter(|token| sessions.find(token, &site, at).is_some()).count();
        assert_eq!(alive, MOST_OF_ONE);
        assert!(sessions.find(own.last().unwrap(), &site, at).is_some(), "the newest stays");
    }

    #[test]
    fn there_is_a_most_of_all_sessions_and_the_one_unused_for_the_longest_goes() {
        let (sessions, site, now) = (Sessions::default(), site(), Instant::now());
        let begin = |count: usize| {
            let account = i64::try_from(count / MOST_OF_ONE).unwrap() + 1;
            sessions.begin(
                identity(account),
                &site,
                now + Duration::from_millis(u64::try_from(count).unwrap()),
            )
        };
        let tokens: Vec<_> = (0..MOST_SESSIONS).map(begin).collect();
        let at = now + MINUTE;
        assert!(sessions.find(&tokens[0], &site, at).is_some(), "used, so not the next to go");
        begin(MOST_SESSIONS);
        assert_eq!(format!("{sessions:?}"), format!("Sessions({MOST_SESSIONS})"));
        assert!(sessions.find(&tokens[0], &site, at).is_some());
        assert!(sessions.find(&tokens[1], &site, at).is_none());
    }
}
