//! What authentication keeps: caches, keys, the argon2 threads, this gateway's lease. And how it refuses.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::argon::ArgonError;
use super::argon_threads::{ArgonThreads, VerificationError};
use super::cache::{ChangeProgress, StoreCache};
use super::counters::{AtomicCounters, Counters};
use super::ended_secrets::EndedSecrets;
use super::environment_cache::EnvironmentCache;
use super::failed_key_cache::FailedKeyEntry;
use super::fingerprint::{Mac, MacKey};
use super::identity::{Identity, UnsavedUses};
use super::key_format::{Secret, is_minted_access_key, random_bytes};
use super::known_sources::KnownSources;
use super::new_pairs::{ChosenPair, ChosenPairError, MintedPair, mint_pair, new_secret};
use super::throttle::Throttle;
use super::{AuthFailure, Peppers};
use crate::config::{Argon2, Config, KeyPrefixes};
use crate::model::{AccessKey, ClientSource, KeyOwner};
use crate::store::{BootInstant, KeyUse, KeyVerifier, RecordClock, Rehash, RequestStore, StoreError};

/// Why a credential is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthRefusal {
    /// 401. The client does not learn why.
    Unauthorized(AuthFailure),
    /// 429: the same, from a source that has failed too often.
    Throttled {
        /// How long the source is told to wait.
        retry_after: Duration,
    },
    /// 503: not decided, because too many secrets wait for argon2.
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// 503: not decided, because the lease has ended or the store cannot be read.
    Unavailable {
        /// How long to wait.
        retry_after: Duration,
    },
}

/// Authenticates credentials. One for all workers.
pub struct Authenticator {
    pub(super) prefixes: KeyPrefixes,
    /// How new secrets are hashed.
    hashing: Argon2,
    refusal_time: Duration,
    pub(super) verification_timeout: Duration,
    pub(super) peppers: Peppers,
    pub(super) request_store: RequestStore,
    pub(super) argon: ArgonThreads,
    throttle: Throttle,
    pub(super) known_sources: KnownSources,
    /// Verified keys, and nothing else: no failure can evict one.
    pub(super) identities: StoreCache<AccessKey, Identity>,
    /// The same for secrets that keys had before they were rotated, and still have.
    pub(super) former_identities: StoreCache<AccessKey, Identity>,
    pub(super) ended_secrets: EndedSecrets,
    /// Access keys that somebody failed with.
    pub(super) failed_key_cache: StoreCache<AccessKey, FailedKeyEntry>,
    pub(super) environments: EnvironmentCache,
    pub(super) progress: ChangeProgress,
    pub(super) uses: UnsavedUses,
    /// Milliseconds since 1970.
    uses_saved_until: AtomicI64,
    /// For the MACs of the pairs in memory.
    pub(super) memory_key: MacKey,
    /// For the ids of argon2 runs.
    pub(super) run_id_key: MacKey,
    /// What the MAC of a minted pair is compared with where there is nothing to compare with.
    pub(super) decoy: Mac,
    /// A [`BootInstant`]: the caches hold true until then.
    lease_end: AtomicU64,
    /// A [`BootInstant`]: until then, a key that the store does not know does not exist.
    store_misses_trusted_until: AtomicU64,
    pub(super) counters: Arc<AtomicCounters>,
    /// By which keys end.
    clock: RecordClock,
}

impl Authenticator {
    const RETRY_AFTER: Duration = Duration::from_secs(1);

    /// How long after it was read the store is believed that a key does not exist. Later, somebody may have created it.
    pub const STORE_MISSES_TRUSTED_FOR: Duration = Duration::from_secs(2);

    /// Starts the argon2 threads. Every credential is refused until [`Authenticator::set_lease_end`] is called.
    pub fn new(
        config: &Config,
        peppers: Peppers,
        request_store: RequestStore,
        clock: RecordClock,
    ) -> io::Result<Self> {
        let counters = Arc::<AtomicCounters>::default();
        let mut decoy = [0; 32];
        random_bytes(&mut decoy);
        Ok(Self {
            prefixes: config.key_prefix.clone(),
            hashing: config.argon2.clone(),
            refusal_time: config.authentication.refusal_time,
            verification_timeout: config.authentication.verification_timeout,
            peppers,
            request_store,
            argon: ArgonThreads::start(
                &config.argon2,
                &config.throttle,
                config.authentication.verification_timeout,
                Arc::clone(&counters),
            )?,
            throttle: Throttle::new(&config.throttle),
            known_sources: KnownSources::new(config.throttle.sources),
            identities: StoreCache::with_max_bytes(config.cache.max_bytes),
            // few keys are rotated at a time
            former_identities: StoreCache::with_max_bytes(config.cache.max_bytes / 8),
            ended_secrets: EndedSecrets::default(),
            failed_key_cache: StoreCache::with_max_entries(config.cache.unknown_keys),
            environments: EnvironmentCache::new(config.cache.environments),
            progress: ChangeProgress::default(),
            uses: UnsavedUses::new(UnsavedUses::CAPACITY),
            uses_saved_until: AtomicI64::new(0),
            memory_key: MacKey::random(),
            run_id_key: MacKey::random(),
            decoy: Mac(decoy),
            lease_end: AtomicU64::new(0),
            store_misses_trusted_until: AtomicU64::new(0),
            counters,
            clock,
        })
    }

    /// A new pair for `owner`, under the current prefix and pepper. Takes as long as an argon2 run: not for a thread
    /// that serves requests.
    pub fn mint_pair(&self, owner: &KeyOwner) -> Result<MintedPair, ArgonError> {
        mint_pair(&self.prefixes, &self.hashing, &self.peppers, owner)
    }

    /// A new secret for a key that is rotated. Takes as long as an argon2 run.
    pub fn new_secret(&self, access_key: &AccessKey) -> Result<(Secret, KeyVerifier), ArgonError> {
        new_secret(&self.prefixes, &self.hashing, &self.peppers, access_key)
    }

    /// What verifies a secret that somebody chose for `access_key`. Takes as long as an argon2 run.
    pub fn hash_chosen_secret(
        &self,
        access_key: AccessKey,
        secret: Zeroizing<Vec<u8>>,
    ) -> Result<KeyVerifier, ChosenPairError> {
        Ok(ChosenPair::new(access_key, secret, &self.prefixes)?.verifier(&self.hashing)?)
    }

    /// Counts a credential that could not be parsed, and says how it is refused.
    pub fn refuse_malformed(&self, source: IpAddr) -> AuthRefusal {
        self.refuse(ClientSource::of(source), AuthFailure::Malformed)
    }

    /// Whether the log may name an access key that failed: only where it has the minted form, or a key has it. All else
    /// may be a password in the wrong field. The form is looked at first, so that a known and an unknown minted key take
    /// the same time.
    pub fn may_be_logged(&self, access_key: &str, failure: AuthFailure) -> bool {
        is_minted_access_key(&self.prefixes, access_key) || failure.is_of_a_known_key()
    }

    /// Until then the gateway may act on its caches: the end of its lease, each time that it is extended. A time in the
    /// past if what they hold may be untrue.
    pub fn set_lease_end(&self, until: BootInstant) {
        self.lease_end.store(until.0, Ordering::Release);
    }

    /// Until then no key exists that the store does not know: when the store was read to its end, plus
    /// [`Self::STORE_MISSES_TRUSTED_FOR`].
    pub fn set_store_misses_trusted_until(&self, until: BootInstant) {
        self.store_misses_trusted_until.store(until.0, Ordering::Release);
    }

    /// Whether the gateway may act on its caches now. After the end of the lease every credential is
    /// [`AuthRefusal::Unavailable`]. Costs one atomic load and one look at the clock.
    pub fn has_lease(&self) -> bool {
        self.has_lease_at(BootInstant::now())
    }

    /// How long the gateway may still act on its caches.
    pub fn remaining_lease(&self) -> Duration {
        BootInstant(self.lease_end.load(Ordering::Acquire)).remaining()
    }

    /// The record's time, by which keys end. Never before what has ended already.
    pub fn now(&self) -> Timestamp {
        self.clock.now().max(self.progress.ended_until())
    }

    pub(super) fn has_lease_at(&self, now: BootInstant) -> bool {
        now.0 < self.lease_end.load(Ordering::Acquire)
    }

    /// How long ago the store was last known to be read to its end; `None` while that is at most [`Self::STORE_MISSES_TRUSTED_FOR`].
    pub fn staleness(&self) -> Option<Duration> {
        let (now, until) = (BootInstant::now().0, self.store_misses_trusted_until.load(Ordering::Acquire));
        (now >= until).then(|| Duration::from_millis(now - until) + Self::STORE_MISSES_TRUSTED_FOR)
    }

    pub(super) fn trusts_store_misses(&self) -> bool {
        BootInstant::now().0 < self.store_misses_trusted_until.load(Ordering::Acquire)
    }

    /// Uses that are not saved yet, those that have waited longest first, of at most `most` keys.
    pub fn take_unsaved_uses(&self, most: usize) -> Vec<KeyUse> {
        let mut uses = self.uses.take(most);
        let now = self.now();
        for identity in self.former_identities.live() {
            if let Some(running) = identity.running_use(now) {
                let is_same =
                    |other: &&mut KeyUse| (other.key, other.secret) == (running.key, running.secret);
                match uses.iter_mut().find(is_same) {
                    Some(known) => known.at = known.at.max(running.at),
                    None => uses.push(running),
                }
            }
        }
        uses
    }

    /// All uses until then of keys with two secrets have been saved.
    pub fn set_uses_saved_until(&self, until: Timestamp) {
        self.uses_saved_until.store(until.as_millisecond(), Ordering::Release);
    }

    /// Until when all uses of keys with two secrets have been saved, by the record's clock.
    pub fn uses_saved_until(&self) -> Timestamp {
        Timestamp::from_millisecond(self.uses_saved_until.load(Ordering::Acquire)).unwrap_or(Timestamp::MIN)
    }

    /// Hashes that are to replace imported ones in the record, at most `most`. They stay until they are
    /// [removed](Self::remove_rehashes).
    pub fn pending_rehashes(&self, most: usize) -> Vec<Rehash> {
        self.argon.rehashes().some(most)
    }

    /// The record has these, or needs them no more.
    pub fn remove_rehashes(&self, done: &[Rehash]) {
        self.argon.rehashes().remove(done);
    }

    /// How many secrets argon2 is verifying, or is to verify.
    pub fn pending_verifications(&self) -> usize {
        self.argon.pending()
    }

    /// What authentication has done so far.
    pub fn counters(&self) -> Counters {
        self.counters.read()
    }

    pub(super) fn not_verified(&self, error: VerificationError, access_key: &str) -> AuthRefusal {
        match error {
            VerificationError::Failed(Some(error)) => {
                tracing::error!(%error, access_key, "a secret cannot be verified");
                self.unavailable()
            }
            VerificationError::Busy | VerificationError::Failed(None) => {
                AuthRefusal::Busy { retry_after: Self::RETRY_AFTER }
            }
        }
    }

    pub(super) fn unreadable(&self, error: &StoreError) -> AuthRefusal {
        tracing::error!(%error, "the store cannot be read");
        self.unavailable()
    }

    pub(super) fn unavailable(&self) -> AuthRefusal {
        self.counters.unavailable.add_one();
        AuthRefusal::Unavailable { retry_after: Self::RETRY_AFTER }
    }

    /// Refuses what the store does not know. If the store may not be up to date, the answer is "not now".
    pub(super) fn refuse_or_unavailable(&self, source: ClientSource, failure: AuthFailure) -> AuthRefusal {
        if self.trusts_store_misses() { self.refuse(source, failure) } else { self.unavailable() }
    }

    /// Counts a failure of `source`, unless it is one that does not count. The answer is the same.
    pub(super) fn refuse(&self, source: ClientSource, failure: AuthFailure) -> AuthRefusal {
        let now = Instant::now();
        let wait = if failure.is_counted() {
            self.throttle.failed(source, now)
        } else {
            self.throttle.wait(source, now)
        };
        match wait {
            None => {
                self.counters.unauthorized.add_one();
                AuthRefusal::Unauthorized(failure)
            }
            Some(retry_after) => {
                self.counters.throttled.add_one();
                AuthRefusal::Throttled { retry_after }
            }
        }
    }

    /// Counts a failure, and lets the refusal leave at the fixed time after arrival; where that is past, at its next
    /// multiple, so that the time reveals as little as possible of how long the verification took.
    pub(super) async fn refuse_later(
        &self,
        source: ClientSource,
        arrived: Instant,
        failure: AuthFailure,
    ) -> AuthRefusal {
        let refusal = self.refuse_or_unavailable(source, failure);
        if let Some(leaves) = leaving_time(arrived, Instant::now(), self.refusal_time) {
            tokio::time::sleep_until(leaves.into()).await;
        }
        refusal
    }
}

/// The first multiple of `step` after `arrived` that is not past.
fn leaving_time(arrived: Instant, now: Instant, step: Duration) -> Option<Instant> {
    let past = now.saturating_duration_since(arrived).as_nanos();
    let steps = past.checked_div(step.as_nanos())? + 1;
    arrived.checked_add(step.checked_mul(u32::try_from(steps).ok()?)?)
}
