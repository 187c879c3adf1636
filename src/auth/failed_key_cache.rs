//! What the store says of access keys that somebody failed with: as much as is needed to refuse the next attempt.

use std::sync::Arc;

use jiff::Timestamp;

use super::AuthFailure;
use super::cache::{CacheEntry, EntryState};
use crate::store::KeyVerifier;

/// What a secret is verified against, or why no secret is right.
pub(super) type ActiveVerifier = Result<Arc<KeyVerifier>, AuthFailure>;

/// What a failure has read.
pub(super) struct FailedKeyEntry {
    pub(super) verifier: ActiveVerifier,
    /// When the key ends, if it works until then.
    ends: Option<Timestamp>,
    state: EntryState,
}

impl FailedKeyEntry {
    pub(super) fn new(verifier: ActiveVerifier, expires: Option<Timestamp>) -> Self {
        let ends = expires.filter(|_| verifier.is_ok());
        Self { verifier, ends, state: EntryState::default() }
    }
}

impl CacheEntry for FailedKeyEntry {
    fn state(&self) -> &EntryState {
        &self.state
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.verifier.as_ref().map_or(0, |verifier| size_of::<KeyVerifier>() + verifier.phc.len())
    }

    fn ends(&self) -> Option<Timestamp> {
        self.ends
    }
}
