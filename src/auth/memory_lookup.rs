//! Steps 1 and 2: the shape of the credential, and the keys that were verified before. They wait for nothing.

use std::net::IpAddr;
use std::sync::Arc;

use super::authenticator::{AuthRefusal, Authenticator};
use super::fingerprint::Mac;
use super::identity::Identity;
use super::key_format::{CredentialShape, credential_shape};
use super::known_sources::Slot;
use super::{AuthFailure, Credential, thread_cache};
use crate::model::ClientSource;
use crate::store::BootInstant;

/// What memory says of a credential.
pub(super) enum MemoryLookup {
    Answered(Result<Arc<Identity>, AuthRefusal>),
    /// The secret must be verified, or the answer must wait for its turn.
    Missed(MemoryMiss),
}

/// What is in memory of the secrets of a key.
enum KnownSecrets {
    /// The pair is one of them.
    Match(Arc<Identity>),
    /// All are known, and the pair is none of them.
    Mismatch(Arc<Identity>),
    /// Not all are known, and the pair is none of those that are.
    None,
}

/// A credential that memory does not answer.
pub(super) struct MemoryMiss {
    /// Of the pair as it was sent.
    pub(super) mac: Mac,
    /// `None` for a minted pair.
    pub(super) chosen: Option<ChosenCredential>,
}

/// A pair that a person chose, and that others can guess.
pub(super) struct ChosenCredential {
    /// The source, with this access key.
    pub(super) slot: Slot,
    /// The source has used the key lately.
    pub(super) is_known: bool,
    /// The key that is in memory, and whether the pair is its own.
    pub(super) in_memory: Option<(Arc<Identity>, bool)>,
}

impl Authenticator {
    /// Steps 1 and 2.
    pub(super) fn look_up_in_memory(&self, credential: &Credential, client: IpAddr) -> MemoryLookup {
        let (now, source) = (BootInstant::now(), ClientSource::of(client));
        if !self.has_lease_at(now) {
            return MemoryLookup::Answered(Err(self.unavailable()));
        }

        // Step 1, shape: typing errors and guesses at minted pairs end here.
        let is_minted = match credential_shape(&self.prefixes, credential.access_key(), credential.secret()) {
            CredentialShape::Minted => true,
            CredentialShape::Other => false,
            CredentialShape::BadChecksum => {
                self.counters.checksum_refusals.add_one();
                return MemoryLookup::Answered(Err(self.refuse(source, AuthFailure::Checksum)));
            }
            CredentialShape::Mixed => {
                self.counters.mixed_refusals.add_one();
                return MemoryLookup::Answered(Err(self.refuse(source, AuthFailure::Checksum)));
            }
        };

        // Step 2, memory: what was verified once since the key last changed. A mismatch with all secrets
        // of the key is final.
        let mac = self.memory_key.of_credential(credential);
        if !is_minted {
            return self.look_up_chosen_in_memory(credential, client, mac, now);
        }
        let period = thread_cache::period(now);
        if let Some(identity) = thread_cache::get(&mac, period)
            && identity.principal.key.may_come_from(client)
        {
            self.counters.memory_hits.add_one();
            return MemoryLookup::Answered(Ok(identity));
        }
        let failure = match self.known_secrets(credential, &mac) {
            KnownSecrets::Match(identity) if identity.principal.key.may_come_from(client) => {
                thread_cache::insert(&mac, &identity, period);
                self.counters.memory_hits.add_one();
                return MemoryLookup::Answered(Ok(identity));
            }
            KnownSecrets::None => return MemoryLookup::Missed(MemoryMiss { mac, chosen: None }),
            KnownSecrets::Mismatch(identity) if identity.principal.key.may_come_from(client) => {
                self.ended_secrets.failure_of(credential.access_key(), &mac)
            }
            KnownSecrets::Match(_) | KnownSecrets::Mismatch(_) => AuthFailure::Network,
        };
        self.counters.memory_mismatches.add_one();
        // the look-up that an unknown access key costs too
        drop(self.failed_key_cache.get(credential.access_key()));
        MemoryLookup::Answered(Err(self.refuse_or_unavailable(source, failure)))
    }

    /// Compares a pair with the secrets of its key that are in memory.
    fn known_secrets(&self, credential: &Credential, mac: &Mac) -> KnownSecrets {
        let current = self.identities.get(credential.access_key());
        if let Some(identity) = current.as_ref().filter(|identity| identity.mac.matches(mac)) {
            return KnownSecrets::Match(Arc::clone(identity));
        }
        // looked up whether or not the key was rotated, or exists: it takes the same time
        let former = self.former_identities.get(credential.access_key());
        if let Some(identity) = former.as_ref().filter(|identity| identity.mac.matches(mac)) {
            return KnownSecrets::Match(Arc::clone(identity));
        }
        match current {
            Some(current) if !current.has_two_secrets || former.is_some() => KnownSecrets::Mismatch(current),
            _ => KnownSecrets::None,
        }
    }

    /// Step 2 for secrets that people chose, which can be guessed: memory answers at once only if the source is known to
    /// use the key and the secret is right. Any other answer waits for its turn, as that to an unknown access key does. From
    /// outside the key's networks, memory does not know the key.
    fn look_up_chosen_in_memory(
        &self,
        credential: &Credential,
        client: IpAddr,
        mac: Mac,
        now: BootInstant,
    ) -> MemoryLookup {
        let source = ClientSource::of(client);
        let slot = self.known_sources.slot(source, credential.access_key());
        let is_known = self.known_sources.contains(slot, now);
        let period = thread_cache::period(now);
        let may_come_from_here = |identity: &Arc<Identity>| identity.principal.key.may_come_from(client);
        if is_known && let Some(identity) = thread_cache::get(&mac, period).filter(may_come_from_here) {
            self.known_sources.add(slot, now);
            self.counters.memory_hits.add_one();
            return MemoryLookup::Answered(Ok(identity));
        }
        let (identity, matches) = match self.known_secrets(credential, &mac) {
            KnownSecrets::Match(identity) if may_come_from_here(&identity) => (identity, true),
            KnownSecrets::Mismatch(identity) if may_come_from_here(&identity) => (identity, false),
            _ => {
                let is_known = is_known && self.argon.has_guesses_left(source, slot.key);
                let chosen = Some(ChosenCredential { slot, is_known, in_memory: None });
                return MemoryLookup::Missed(MemoryMiss { mac, chosen });
            }
        };
        if is_known && matches {
            thread_cache::insert(&mac, &identity, period);
            self.known_sources.add(slot, now);
            self.counters.memory_hits.add_one();
            return MemoryLookup::Answered(Ok(identity));
        }
        if is_known && !self.argon.spend_guess(source, slot.key) {
            self.known_sources.remove(slot);
        }
        let chosen = ChosenCredential { slot, is_known: false, in_memory: Some((identity, matches)) };
        MemoryLookup::Missed(MemoryMiss { mac, chosen: Some(chosen) })
    }
}
