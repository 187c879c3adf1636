//! The four steps of a credential, cheapest first.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::Credential;
use super::argon_threads::{VerificationError, VerifiedAnswer};
use super::authenticator::{AuthRefusal, Authenticator};
use super::failed_key_cache::ActiveVerifiers;
use super::fingerprint::Mac;
use super::identity::{Identity, KeySecret};
use super::known_sources::Slot;
use super::memory_lookup::{ChosenCredential, MemoryLookup, MemoryMiss};
use super::verification_queue::{Requester, Verification};
use crate::model::ClientSource;
use crate::store::{BootInstant, KeyVerifier, PepperId, SecretId};

/// What step 3 finds.
enum Recognition {
    Match(KeySecret),
    Mismatch,
    /// Of some secret of the key there is no fingerprint under a pepper that this gateway holds.
    Undecided,
}

impl Authenticator {
    /// Who this credential belongs to. `client` is the client's address, `arrived` when its request was there.
    ///
    /// The first poll answers on a hit in memory, without allocating, locking or reading anything. A right secret is
    /// never answered with 401 or 429. What a refusal costs, and when it leaves, depends on what was sent and not on
    /// what exists.
    pub async fn authenticate(
        &self,
        credential: &Credential,
        client: IpAddr,
        arrived: Instant,
    ) -> Result<Arc<Identity>, AuthRefusal> {
        // what follows is on the heap: most requests are answered by now, and need not carry the room for it
        match self.look_up_in_memory(credential, client) {
            MemoryLookup::Answered(answer) => answer,
            MemoryLookup::Missed(miss) => Box::pin(self.verify(credential, client, arrived, miss)).await,
        }
    }

    /// The steps that read and compute.
    async fn verify(
        &self,
        credential: &Credential,
        client: IpAddr,
        arrived: Instant,
        MemoryMiss { mac, chosen }: MemoryMiss,
    ) -> Result<Arc<Identity>, AuthRefusal> {
        let (is_minted, source) = (chosen.is_none(), ClientSource::of(client));
        let (slot, is_known, in_memory) = match chosen {
            None => (self.known_sources.slot(source, credential.access_key()), false, None),
            Some(ChosenCredential { slot, is_known, in_memory }) => (slot, is_known, in_memory),
        };
        let requester = Requester { source, key: slot.key, is_known };
        let wrong = self.ended_secrets.failure_of(credential.access_key(), &mac);
        if let Some((identity, matches)) = in_memory {
            let outcome = Verification::KnownOutcome(matches.then_some(identity.secret));
            let run_id = self.run_id_key.run_id(credential, &identity.secret_since.to_string());
            let answer = self.verified_answer(credential, requester, run_id, outcome).await?;
            if answer.matched.is_none() {
                self.counters.memory_mismatches.add_one();
                return Err(self.refuse_later(source, arrived, wrong).await);
            }
            return self.admit_from_memory(identity, slot, client, arrived).await;
        }
        let (verifiers, read) = self.look_up(credential.access_key(), client).await?;
        let mismatch = verifiers.as_ref().err().copied().unwrap_or(wrong);

        // Step 3, the stored fingerprints: only of secrets that the gateway minted.
        let recognition =
            if is_minted { self.recognise(credential, &verifiers) } else { Recognition::Undecided };
        let secret = match recognition {
            Recognition::Match(secret) => {
                self.counters.fingerprint_matches.add_one();
                secret
            }
            Recognition::Mismatch => {
                self.counters.fingerprint_mismatches.add_one();
                self.remember_failure(verifiers, read);
                return Err(self.refuse_or_unavailable(source, mismatch));
            }
            // Step 4, argon2id: the slow hash that has the last word.
            Recognition::Undecided => {
                let verification = match &verifiers {
                    Err(_) => Verification::KnownOutcome(None),
                    Ok(verifiers) => Verification::Argon2 {
                        verifiers: Arc::clone(verifiers),
                        secret: Zeroizing::new(credential.secret().to_vec()),
                    },
                };
                let hashes = verifiers.as_ref().map(|verifiers| verifiers.hashes()).unwrap_or_default();
                let run_id = self.run_id_key.run_id(credential, &hashes);
                let answer = self.verified_answer(credential, requester, run_id, verification).await?;
                let Some(secret) = answer.matched else {
                    self.remember_failure(verifiers, read);
                    // the answer is dropped last: until the refusal has left, it takes up the source's share of the queue
                    return Err(self.refuse_later(source, arrived, mismatch).await);
                };
                secret
            }
        };

        let verifiers = match verifiers {
            Ok(verifiers) => verifiers,
            Err(failure) => return Err(self.refuse_or_unavailable(source, failure)),
        };
        let since = match (secret, &verifiers.former) {
            (KeySecret::Former, Some((_, since))) => *since,
            _ => verifiers.since,
        };
        let cached = self.cache_identity(credential.access_key(), since, mac, client, read).await;
        let identity = match cached {
            Ok(identity) => identity,
            // deactivated or removed in this very moment
            Err(AuthRefusal::Unauthorized(failure)) if is_minted => {
                return Err(self.refuse_or_unavailable(source, failure));
            }
            Err(AuthRefusal::Unauthorized(failure)) => {
                return Err(self.refuse_later(source, arrived, failure).await);
            }
            Err(refusal) => return Err(refusal),
        };
        if is_minted {
            self.renew_fingerprint(&identity, verifiers.of_secret(secret), credential);
        } else {
            self.remember_source(slot, source);
        }
        Ok(identity)
    }

    /// What the argon2 threads say, if they say it in time.
    async fn verified_answer(
        &self,
        credential: &Credential,
        requester: Requester,
        run_id: Mac,
        verification: Verification,
    ) -> Result<VerifiedAnswer, AuthRefusal> {
        let answer = self.argon.verify(requester, run_id, verification);
        let answer = tokio::time::timeout(self.verification_timeout, answer).await;
        let answer = answer.unwrap_or(Err(VerificationError::Busy));
        answer.map_err(|error| self.not_verified(error, credential.access_key()))
    }

    /// A right pair whose turn has come, as far as its key still works: it may have changed meanwhile.
    async fn admit_from_memory(
        &self,
        identity: Arc<Identity>,
        slot: Slot,
        client: IpAddr,
        arrived: Instant,
    ) -> Result<Arc<Identity>, AuthRefusal> {
        self.counters.memory_hits.add_one();
        let source = ClientSource::of(client);
        let current =
            if identity.is_stale() { self.refreshed(&identity, client).await } else { Ok(identity) };
        match current {
            Ok(identity) => {
                self.remember_source(slot, source);
                Ok(identity)
            }
            Err(AuthRefusal::Unauthorized(failure)) => Err(self.refuse_later(source, arrived, failure).await),
            Err(refusal) => Err(refusal),
        }
    }

    /// The source has sent the right secret of a chosen pair.
    fn remember_source(&self, slot: Slot, source: ClientSource) {
        if self.argon.may_become_known(source, slot.key) {
            self.known_sources.add(slot, BootInstant::now());
        }
    }

    /// One MAC, whether there is something to compare it with or not, and however many secrets the key has; more only where
    /// their fingerprints were made under different peppers.
    fn recognise(&self, credential: &Credential, verifiers: &ActiveVerifiers) -> Recognition {
        let Ok(verifiers) = verifiers else {
            let found = self.peppers.current_key().of_credential(credential);
            // never a match: nobody knows the decoy, and if it were met there would still be no key
            let _ = std::hint::black_box(found.matches(&self.decoy));
            return Recognition::Mismatch;
        };
        let mut is_decided = true;
        let mut found: Option<(PepperId, Mac)> = None;
        for (secret, verifier) in verifiers.each() {
            let known = verifier.fingerprint.and_then(|known| Some((known, self.peppers.get(known.pepper)?)));
            let Some((known, key)) = known else {
                is_decided = false;
                continue;
            };
            let mac = match &found {
                Some((pepper, mac)) if *pepper == known.pepper => mac,
                _ => &found.insert((known.pepper, key.of_credential(credential))).1,
            };
            if mac.matches(&Mac(known.mac)) {
                return Recognition::Match(secret);
            }
        }
        if is_decided { Recognition::Mismatch } else { Recognition::Undecided }
    }

    /// Gives a minted secret its fingerprint under the current pepper, if it has none: from then on step 3 knows it.
    fn renew_fingerprint(&self, identity: &Identity, verifier: &KeyVerifier, credential: &Credential) {
        if verifier.fingerprint.is_some_and(|fingerprint| fingerprint.pepper == self.peppers.current()) {
            return;
        }
        let key = &identity.principal.key;
        let fingerprint = self.peppers.fingerprint(&key.access_key, credential.secret());
        let (request_store, access_key) = (self.request_store.clone(), key.access_key.clone());
        let id = SecretId { key: key.id, since: identity.secret_since };
        // the request does not wait for it, and loses nothing if it fails
        tokio::spawn(async move {
            if let Err(error) = request_store.save_fingerprint(id, fingerprint).await {
                tracing::debug!(%error, %access_key, "the fingerprint was not saved");
            }
        });
    }
}
