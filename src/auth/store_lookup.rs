//! Keys and environments: from the caches, or read from the store and then cached.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::AuthFailure;
use super::authenticator::{AuthRefusal, Authenticator};
use super::cache::Epoch;
use super::failed_key_cache::{ActiveVerifier, FailedKeyEntry};
use super::fingerprint::Mac;
use super::identity::Identity;
use crate::model::{AccessKey, EnvironmentId, State};
use crate::policy::EnvironmentStatus;
use crate::store::{KeyRead, KeyRecord};

/// A key as it was read, and what is needed to cache it.
pub(super) struct StoreRead {
    access_key: AccessKey,
    key: KeyRead,
    epoch: Epoch,
}

impl StoreRead {
    fn may_come_from(&self, client: IpAddr) -> bool {
        self.key.record.as_ref().is_none_or(|record| record.principal.key.may_come_from(client))
    }

    /// What verifies the secret, if the key works at all.
    pub(super) fn active_verifier(&self, now: Timestamp) -> ActiveVerifier {
        let record = self.key.record.as_ref().ok_or(AuthFailure::UnknownKey)?;
        AuthFailure::of(&record.principal, now).map_or_else(|| Ok(Arc::new(record.verifier.clone())), Err)
    }
}

impl Authenticator {
    /// How often a read that raced with changes is repeated before the answer is "not now".
    const READS: usize = 8;

    /// What a secret for this access key is verified against if it comes from this address: remembered from a failure, or
    /// read.
    pub(super) async fn look_up(
        &self,
        access_key: &str,
        client: IpAddr,
    ) -> Result<(ActiveVerifier, Option<StoreRead>), AuthRefusal> {
        if let Some(entry) = self.failed_key_cache.get(access_key) {
            return Ok((entry.verifier(client), None));
        }
        // a text that cannot be an access key belongs to nobody
        let Ok(access_key) = access_key.parse() else { return Ok((Err(AuthFailure::UnknownKey), None)) };
        let read = self.read(access_key).await?;
        let verifier = read.active_verifier(self.now());
        if verifier.is_ok() && !read.may_come_from(client) {
            // what is remembered does not depend on the address
            self.remember_failure(verifier, Some(read));
            return Ok((Err(AuthFailure::Network), None));
        }
        Ok((verifier, Some(read)))
    }

    pub(super) async fn read(&self, access_key: AccessKey) -> Result<StoreRead, AuthRefusal> {
        let epoch = self.progress.epoch();
        self.counters.store_reads.add_one();
        let key = self.request_store.key(&access_key).await.map_err(|error| self.unreadable(&error))?;
        Ok(StoreRead { access_key, key, epoch })
    }

    /// Caches what a failure has read, so that the next one need not read it.
    pub(super) fn remember_failure(&self, verifier: ActiveVerifier, read: Option<StoreRead>) {
        if let Some(read) = read {
            let key = read.key.record.as_ref().map(|record| &record.principal.key);
            let entry = FailedKeyEntry::new(verifier, key);
            // raced with a change: then it is read again next time
            let _ = self.failed_key_cache.fill(
                &read.access_key,
                entry,
                read.key.as_of,
                &self.progress,
                read.epoch,
            );
        }
    }

    /// Caches a key whose secret was just verified against `phc`. Refused when the key does not work any more, or not from
    /// this address; that counts as nobody's failure.
    pub(super) async fn cache_identity(
        &self,
        access_key: &str,
        phc: &str,
        mac: Mac,
        client: IpAddr,
        mut read: Option<StoreRead>,
    ) -> Result<Arc<Identity>, AuthRefusal> {
        for _ in 0..Self::READS {
            let StoreRead { access_key, key, epoch } = if let Some(read) = read.take() {
                read
            } else {
                let access_key =
                    access_key.parse().map_err(|_| AuthRefusal::Unauthorized(AuthFailure::UnknownKey))?;
                self.read(access_key).await?
            };
            let record = working(key.record, phc, client, self.now()).map_err(AuthRefusal::Unauthorized)?;
            let identity = Identity::new(record, mac, &self.uses);
            if let Some(kept) = self.identities.fill(&access_key, identity, key.as_of, &self.progress, epoch)
            {
                self.failed_key_cache.invalidate(&access_key);
                return Ok(kept);
            }
            self.counters.raced_fills.add_one();
        }
        Err(self.unavailable())
    }

    /// The same key as the store has it now, for an open stream from this address whose identity is stale. Refused when the
    /// key no longer works, or not from there; that counts as nobody's failure.
    pub async fn refresh(&self, identity: &Identity, client: IpAddr) -> Result<Arc<Identity>, AuthRefusal> {
        if !self.has_lease() {
            return Err(self.unavailable());
        }
        let access_key = &identity.principal.key.access_key;
        if let Some(current) = self.identities.get(access_key).filter(|current| current.phc == identity.phc) {
            return if current.principal.key.may_come_from(client) {
                Ok(current)
            } else {
                Err(AuthRefusal::Unauthorized(AuthFailure::Network))
            };
        }
        self.cache_identity(access_key.as_str(), &identity.phc, identity.mac, client, None).await
    }

    /// What is known of the environment with exactly this id. Answered at once when it is in memory.
    ///
    /// Compare [`Authenticator::applied_up_to`] before this call and right before the request is forwarded. If both are
    /// the same, no change has made the answer untrue.
    pub async fn environment(&self, id: &str) -> Result<EnvironmentStatus, AuthRefusal> {
        if let Some(status) = self.environments.get(id) {
            return Ok(status);
        }
        let Ok(id) = id.parse::<EnvironmentId>() else { return Ok(EnvironmentStatus::default()) };
        for _ in 0..Self::READS {
            let epoch = self.progress.epoch();
            self.counters.environment_reads.add_one();
            let read =
                self.request_store.environment(id.as_str()).await.map_err(|error| self.unreadable(&error))?;
            let status = read.environment.map_or_else(EnvironmentStatus::default, |environment| {
                EnvironmentStatus { known: true, active: environment.state == State::Active }
            });
            if let Some(kept) = self.environments.fill(&id, status, read.as_of, &self.progress, epoch) {
                return Ok(kept);
            }
            self.counters.raced_fills.add_one();
        }
        Err(self.unavailable())
    }
}

/// The record, if its key works with the secret that was verified against `phc`, and from this address.
fn working(
    record: Option<KeyRecord>,
    phc: &str,
    client: IpAddr,
    now: Timestamp,
) -> Result<KeyRecord, AuthFailure> {
    let record = record.ok_or(AuthFailure::UnknownKey)?;
    match AuthFailure::of(&record.principal, now) {
        Some(failure) => Err(failure),
        None if record.verifier.phc != phc => Err(AuthFailure::WrongSecret),
        None if !record.principal.key.may_come_from(client) => Err(AuthFailure::Network),
        None => Ok(record),
    }
}
