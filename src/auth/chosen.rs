//! Pairs that people chose and that memory knows. They can be guessed, so that most answers wait for their turn.

use std::sync::Arc;
use std::time::Instant;

use super::authenticate::{AuthRefusal, Authenticator, Remembered, Unanswered};
use super::fingerprint::Mac;
use super::identity::Identity;
use super::known_sources::Place;
use super::{Credential, recent};
use crate::model::Source;
use crate::store::BootTime;

/// A pair that somebody chose, and somebody may guess.
pub(super) struct Chosen {
    /// The source, with this access key.
    pub(super) place: Place,
    /// The source has used the key lately.
    pub(super) is_known: bool,
    /// The key that is in memory, and whether the pair is its own.
    pub(super) in_memory: Option<(Arc<Identity>, bool)>,
}

impl Authenticator {
    /// Rung 2 for secrets that people chose, which can be guessed: memory answers at once only where the source is
    /// known to use the key, and only if the secret is right. Any other answer waits for its turn, as that to an
    /// unknown access key does.
    pub(super) fn remember_chosen(
        &self,
        credential: &Credential,
        source: Source,
        mac: Mac,
        now: BootTime,
    ) -> Remembered {
        let place = self.known_sources.place(source, credential.access_key());
        let is_known = self.known_sources.contains(place, now);
        let period = recent::period(now);
        if is_known && let Some(identity) = recent::find(&mac, period) {
            self.known_sources.add(place, now);
            self.tally.memory_hits.add_one();
            return Remembered::Answer(Ok(identity));
        }
        let Some(identity) = self.identities.get(credential.access_key()) else {
            let is_known = is_known && self.argon.may_stay_known(source, place.key);
            let chosen = Some(Chosen { place, is_known, in_memory: None });
            return Remembered::Unanswered(Unanswered { mac, chosen });
        };
        let matches = identity.mac.matches(&mac);
        if is_known && matches {
            recent::keep(&mac, &identity, period);
            self.known_sources.add(place, now);
            self.tally.memory_hits.add_one();
            return Remembered::Answer(Ok(identity));
        }
        if is_known && !self.argon.known_source_failed(source, place.key) {
            self.known_sources.remove(place);
        }
        let chosen = Chosen { place, is_known: false, in_memory: Some((identity, matches)) };
        Remembered::Unanswered(Unanswered { mac, chosen: Some(chosen) })
    }

    /// A right pair whose turn has come, if its key has not changed meanwhile.
    pub(super) async fn admit_from_memory(
        &self,
        identity: Arc<Identity>,
        place: Place,
        source: Source,
        arrived: Instant,
    ) -> Result<Arc<Identity>, AuthRefusal> {
        self.tally.memory_hits.add_one();
        let current = if identity.is_stale() { self.reread(&identity).await } else { Ok(identity) };
        match current {
            Ok(identity) => {
                self.remember_source(place, source);
                Ok(identity)
            }
            Err(AuthRefusal::Unauthorized) => Err(self.refuse_later(source, arrived).await),
            Err(refusal) => Err(refusal),
        }
    }

    /// The source has sent the right secret of a chosen pair.
    pub(super) fn remember_source(&self, place: Place, source: Source) {
        if self.argon.may_be_known(source, place.key) {
            self.known_sources.add(place, BootTime::now());
        }
    }
}
