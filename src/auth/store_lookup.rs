//! Keys and environments: from the caches, or read from the store and then cached.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::AuthFailure;
use super::authenticator::{AuthRefusal, Authenticator};
use super::cache::{Epoch, StoreCache};
use super::failed_key_cache::{ActiveVerifiers, FailedKeyEntry, Verifiers};
use super::fingerprint::Mac;
use super::identity::{Identity, KeySecret};
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

    /// What verifies the secrets, if the key works at all.
    pub(super) fn active_verifiers(&self, now: Timestamp) -> ActiveVerifiers {
        let record = self.key.record.as_ref().ok_or(AuthFailure::UnknownKey)?;
        if let Some(failure) = AuthFailure::of(&record.principal, now) {
            return Err(failure);
        }
        Ok(Arc::new(Verifiers::of(record, now)))
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
    ) -> Result<(ActiveVerifiers, Option<StoreRead>), AuthRefusal> {
        if let Some(entry) = self.failed_key_cache.get(access_key) {
            return Ok((entry.verifiers(client), None));
        }
        // a text that cannot be an access key belongs to nobody
        let Ok(access_key) = access_key.parse() else { return Ok((Err(AuthFailure::UnknownKey), None)) };
        let read = self.read(access_key).await?;
        let verifiers = read.active_verifiers(self.now());
        if verifiers.is_ok() && !read.may_come_from(client) {
            // what is remembered does not depend on the address
            self.remember_failure(verifiers, Some(read));
            return Ok((Err(AuthFailure::Network), None));
        }
        Ok((verifiers, Some(read)))
    }

    pub(super) async fn read(&self, access_key: AccessKey) -> Result<StoreRead, AuthRefusal> {
        let epoch = self.progress.epoch();
        self.counters.store_reads.add_one();
        let key = self.request_store.key(&access_key).await.map_err(|error| self.unreadable(&error))?;
        Ok(StoreRead { access_key, key, epoch })
    }

    /// Caches what a failure has read, so that the next one need not read it.
    pub(super) fn remember_failure(&self, verifiers: ActiveVerifiers, read: Option<StoreRead>) {
        if let Some(read) = read {
            let key = read.key.record.as_ref().map(|record| &record.principal.key);
            let entry = FailedKeyEntry::new(verifiers, key);
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

    /// Caches a key of which a secret was just verified: the one that it has had since `secret_since`. Refused when the key
    /// or this secret does not work any more, or not from this address; that counts as nobody's failure.
    pub(super) async fn cache_identity(
        &self,
        access_key: &str,
        secret_since: Timestamp,
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
            let (record, secret, has_two_secrets) =
                working(key.record, secret_since, client, self.now()).map_err(AuthRefusal::Unauthorized)?;
            let identity = Identity::new(record, (secret, has_two_secrets), mac, &self.uses);
            let cache = self.identities_of(secret);
            if let Some(kept) = cache.fill(&access_key, identity, key.as_of, &self.progress, epoch) {
                self.failed_key_cache.invalidate(&access_key);
                return Ok(kept);
            }
            self.counters.raced_fills.add_one();
        }
        Err(self.unavailable())
    }

    /// The same key as the store has it now, for an open stream from this address whose identity is stale. Refused when the
    /// key no longer works, or not from there; that counts as nobody's failure. If the store may not be up to date, the
    /// answer is "not now".
    pub async fn refresh(&self, identity: &Identity, client: IpAddr) -> Result<Arc<Identity>, AuthRefusal> {
        self.refreshed(identity, client).await.map_err(|refusal| match refusal {
            AuthRefusal::Unauthorized(_) if !self.trusts_store_misses() => self.unavailable(),
            refusal => refusal,
        })
    }

    /// [`Authenticator::refresh`], as far as the store knows.
    pub(super) async fn refreshed(
        &self,
        identity: &Identity,
        client: IpAddr,
    ) -> Result<Arc<Identity>, AuthRefusal> {
        if !self.has_lease() {
            return Err(self.unavailable());
        }
        let access_key = &identity.principal.key.access_key;
        for cache in [&self.identities, &self.former_identities] {
            let kept = cache.get(access_key);
            if let Some(current) = kept.filter(|current| current.secret_since == identity.secret_since) {
                return if current.principal.key.may_come_from(client) {
                    Ok(current)
                } else {
                    Err(AuthRefusal::Unauthorized(AuthFailure::Network))
                };
            }
        }
        self.cache_identity(access_key.as_str(), identity.secret_since, identity.mac, client, None).await
    }

    fn identities_of(&self, secret: KeySecret) -> &StoreCache<AccessKey, Identity> {
        match secret {
            KeySecret::Current => &self.identities,
            KeySecret::Former => &self.former_identities,
        }
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

/// The record, if its key works now with the secret that it has had since `secret_since`, and from
/// this address; which secret that is, and whether
/// there are two.
fn working(
    record: Option<KeyRecord>,
    secret_since: Timestamp,
    client: IpAddr,
    now: Timestamp,
) -> Result<(KeyRecord, KeySecret, bool), AuthFailure> {
    let record = record.ok_or(AuthFailure::UnknownKey)?;
    if let Some(failure) = AuthFailure::of(&record.principal, now) {
        return Err(failure);
    }
    let key = &record.principal.key;
    let former = key.former_at(now);
    let secret = if key.secret_since == secret_since {
        KeySecret::Current
    } else if former.is_some_and(|former| former.since == secret_since) {
        KeySecret::Former
    } else {
        return Err(AuthFailure::EndedSecret);
    };
    if !key.may_come_from(client) {
        return Err(AuthFailure::Network);
    }
    let has_two_secrets = former.is_some();
    Ok((record, secret, has_two_secrets))
}
