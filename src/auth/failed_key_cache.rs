//! What the store says of access keys that somebody failed with: as much as is needed to refuse the next attempt.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::AuthFailure;
use super::cache::{CacheEntry, EntryState};
use super::identity::KeySecret;
use crate::model::{ApiKey, KeyId, Scope};
use crate::store::{KeyRecord, KeyVerifier};

/// What a secret is verified against, or why no secret is right.
pub(super) type ActiveVerifiers = Result<Arc<Verifiers>, AuthFailure>;

/// What verifies the secrets that a key has now.
pub(super) struct Verifiers {
    pub(super) key: KeyId,
    pub(super) current: KeyVerifier,
    /// Since when the key has had it.
    pub(super) since: Timestamp,
    pub(super) former: Option<(KeyVerifier, Timestamp)>,
}

impl Verifiers {
    pub(super) fn of(record: &KeyRecord, now: Timestamp) -> Self {
        let KeyRecord { principal, verifiers, .. } = record;
        let former = principal.key.former_at(now).map(|former| former.since);
        Self {
            key: principal.key.id,
            current: verifiers.current.clone(),
            since: principal.key.secret_since,
            former: verifiers.former.clone().zip(former),
        }
    }

    /// Each secret, and what verifies it.
    pub(super) fn each(&self) -> impl Iterator<Item = (KeySecret, &KeyVerifier)> {
        let former = self.former.as_ref().map(|(former, _)| (KeySecret::Former, former));
        std::iter::once((KeySecret::Current, &self.current)).chain(former)
    }

    /// What verifies this secret.
    pub(super) fn of_secret(&self, secret: KeySecret) -> &KeyVerifier {
        match (secret, &self.former) {
            (KeySecret::Former, Some((former, _))) => former,
            _ => &self.current,
        }
    }

    /// The hashes in one text.
    pub(super) fn hashes(&self) -> String {
        self.each().map(|(_, verifier)| verifier.phc.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// What a failure has read.
pub(super) struct FailedKeyEntry {
    verifiers: ActiveVerifiers,
    /// The key's.
    scope: Option<Box<Scope>>,
    /// When the key or its former secret ends, if it works until then.
    ends: Option<Timestamp>,
    state: EntryState,
}

impl FailedKeyEntry {
    /// `key`: the one that the store has, if it has one.
    pub(super) fn new(verifiers: ActiveVerifiers, key: Option<&ApiKey>) -> Self {
        let working = verifiers.as_ref().ok().zip(key);
        let ends = working.and_then(|(verifiers, key)| {
            let former_ends = key.former.filter(|_| verifiers.former.is_some()).map(|former| former.ends);
            key.expires.into_iter().chain(former_ends).min()
        });
        let scope = working.and_then(|(_, key)| key.scope.clone());
        Self { verifiers, scope, ends, state: EntryState::default() }
    }

    /// What a secret that comes from this address is verified against.
    pub(super) fn verifiers(&self, client: IpAddr) -> ActiveVerifiers {
        if self.scope.as_ref().is_some_and(|scope| !scope.has_address(client)) {
            return Err(AuthFailure::Network);
        }
        self.verifiers.clone()
    }
}

impl CacheEntry for FailedKeyEntry {
    fn state(&self) -> &EntryState {
        &self.state
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.verifiers.as_ref().map_or(0, |verifiers| {
                size_of::<Verifiers>()
                    + verifiers.each().map(|(_, verifier)| verifier.phc.len()).sum::<usize>()
            })
            + self.scope.as_ref().map_or(0, |scope| scope.bytes())
    }

    fn ends(&self) -> Option<Timestamp> {
        self.ends
    }
}
