//! What the store says of access keys that somebody failed with: as much as is needed to refuse the next attempt.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::AuthFailure;
use super::cache::{CacheEntry, EntryState};
use crate::model::{ApiKey, Scope};
use crate::store::KeyVerifier;

/// What a secret is verified against, or why no secret is right.
pub(super) type ActiveVerifier = Result<Arc<KeyVerifier>, AuthFailure>;

/// What a failure has read.
pub(super) struct FailedKeyEntry {
    verifier: ActiveVerifier,
    /// The key's.
    scope: Option<Box<Scope>>,
    /// When the key ends, if it works until then.
    ends: Option<Timestamp>,
    state: EntryState,
}

impl FailedKeyEntry {
    /// `key`: the one that the store has, if it has one.
    pub(super) fn new(verifier: ActiveVerifier, key: Option<&ApiKey>) -> Self {
        let key = key.filter(|_| verifier.is_ok());
        Self {
            ends: key.and_then(|key| key.expires),
            scope: key.and_then(|key| key.scope.clone()),
            verifier,
            state: EntryState::default(),
        }
    }

    /// What a secret that comes from this address is verified against.
    pub(super) fn verifier(&self, client: IpAddr) -> ActiveVerifier {
        if self.scope.as_ref().is_some_and(|scope| !scope.has_address(client)) {
            return Err(AuthFailure::Network);
        }
        self.verifier.clone()
    }
}

impl CacheEntry for FailedKeyEntry {
    fn state(&self) -> &EntryState {
        &self.state
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.verifier.as_ref().map_or(0, |verifier| size_of::<KeyVerifier>() + verifier.phc.len())
            + self.scope.as_ref().map_or(0, |scope| scope.bytes())
    }

    fn ends(&self) -> Option<Timestamp> {
        self.ends
    }
}
