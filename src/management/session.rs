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
        if sessions.len() >= MOST_SESSIONS
            && let Some(oldest) = sessions.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| *key)
        {
            sessions.remove(&oldest);
        }
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

impl Session {
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
