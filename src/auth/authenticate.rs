//! The four rungs, cheapest first.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::argon::ArgonError;
use super::argon_threads::{ArgonThreads, NoVerdict, Verdict};
use super::cache::{ChangeCache, Entry, Life, Progress, Stamp};
use super::chosen::Chosen;
use super::counters::{Counters, Tally};
use super::directory::Directory;
use super::fingerprint::{Mac, MacKey};
use super::identity::{Identity, Uses};
use super::known_sources::KnownSources;
use super::pair::{ChosenPair, ChosenPairError, MintedPair, mint_pair};
use super::secret::{Shape, random_bytes, shape};
use super::throttle::Throttle;
use super::verification_queue::{Asker, Check};
use super::{Credential, Peppers, recent};
use crate::config::{Argon2, Config, KeyPrefixes};
use crate::model::{AccessKey, KeyOwner, Source};
use crate::store::{BootTime, KeyRead, KeyRecord, KeyUse, KeyVerifier, Reader, StoreError};

/// Why a credential opens nothing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthRefusal {
    /// Unknown, wrong, inactive, removed, or its owner is: one and the same (401).
    Unauthorized,
    /// The same, from a source that has failed too often (429).
    Throttled {
        /// How long the source is told to wait.
        retry_after: Duration,
    },
    /// Not judged: too much is waiting for argon2 (503).
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Not judged: the store was not heard of for too long, or cannot be read (503).
    Unavailable {
        /// How long to wait.
        retry_after: Duration,
    },
}

/// Judges credentials. One for all workers.
pub struct Authenticator {
    prefixes: KeyPrefixes,
    /// How new secrets are hashed.
    hashing: Argon2,
    refusal_time: Duration,
    verification_timeout: Duration,
    peppers: Peppers,
    pub(super) reader: Reader,
    pub(super) argon: ArgonThreads,
    throttle: Throttle,
    pub(super) known_sources: KnownSources,
    /// Verified keys, and nothing else: no failure can push one out.
    pub(super) identities: ChangeCache<AccessKey, Identity>,
    /// Access keys that somebody failed with.
    pub(super) doubts: ChangeCache<AccessKey, Doubt>,
    pub(super) directory: Directory,
    pub(super) progress: Progress,
    uses: Uses,
    memory_key: MacKey,
    question_key: MacKey,
    /// What the MAC of a minted pair is compared with where there is nothing to compare with.
    decoy: Mac,
    /// A [`BootTime`]; what the caches say holds until then.
    fresh_until: AtomicU64,
    /// A [`BootTime`]; until then what the store does not know is known not to be.
    current_until: AtomicU64,
    pub(super) tally: Arc<Tally>,
}

/// What the store says of an access key, as far as it is needed to refuse.
pub(super) struct Doubt {
    evidence: Evidence,
    life: Life,
}

/// What a secret is to be verified against; `None` where no secret is right: unknown, removed or inactive.
pub(super) type Evidence = Option<Arc<KeyVerifier>>;

impl Entry for Doubt {
    fn life(&self) -> &Life {
        &self.life
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.evidence.as_ref().map_or(0, |verifier| size_of::<KeyVerifier>() + verifier.phc.len())
    }
}

/// A key as it was read, and what is needed to keep it.
pub(super) struct Read {
    access_key: AccessKey,
    key: KeyRead,
    stamp: Stamp,
}

impl Read {
    /// What verifies the secret, if the key works at all.
    pub(super) fn evidence(&self) -> Evidence {
        let record = self.key.record.as_ref()?;
        record.principal.is_active().then(|| Arc::new(record.verifier.clone()))
    }
}

/// What is known of a credential without reading or computing much.
pub(super) enum Remembered {
    Answer(Result<Arc<Identity>, AuthRefusal>),
    /// It is to be verified, or its answer has to wait for its turn.
    Unanswered(Unanswered),
}

/// A credential that memory does not answer.
pub(super) struct Unanswered {
    /// Of the pair as it was sent.
    pub(super) mac: Mac,
    /// `None` for a minted pair.
    pub(super) chosen: Option<Chosen>,
}

/// What rung 3 finds.
enum Recognition {
    Match,
    Mismatch,
    /// There is no fingerprint under a pepper that this gateway holds.
    Undecided,
}

impl Authenticator {
    /// How often a read that raced with changes is done again before the answer is "not now".
    pub(super) const READS: usize = 8;

    const RETRY_AFTER: Duration = Duration::from_secs(1);

    /// A gateway that has heard nothing of the record for longer cannot say that a key does not exist: it may have
    /// been made meanwhile.
    pub const CURRENT: Duration = Duration::from_secs(2);

    /// Starts the argon2 threads. Nothing is judged before [`Authenticator::set_fresh_until`] was called.
    pub fn new(config: &Config, peppers: Peppers, reader: Reader) -> io::Result<Self> {
        let tally = Arc::<Tally>::default();
        let mut decoy = [0; 32];
        random_bytes(&mut decoy);
        Ok(Self {
            prefixes: config.key_prefix.clone(),
            hashing: config.argon2.clone(),
            refusal_time: config.authentication.refusal_time,
            verification_timeout: config.authentication.verification_timeout,
            peppers,
            reader,
            argon: ArgonThreads::start(
                &config.argon2,
                &config.throttle,
                config.authentication.verification_timeout,
                Arc::clone(&tally),
            )?,
            throttle: Throttle::new(&config.throttle),
            known_sources: KnownSources::new(config.throttle.sources),
            identities: ChangeCache::of_bytes(config.cache.max_bytes),
            doubts: ChangeCache::of_entries(config.cache.unknown_keys),
            directory: Directory::new(config.cache.environments),
            progress: Progress::default(),
            uses: Uses::new(Uses::CAPACITY),
            memory_key: MacKey::random(),
            question_key: MacKey::random(),
            decoy: Mac(decoy),
            fresh_until: AtomicU64::new(0),
            current_until: AtomicU64::new(0),
            tally,
        })
    }

    /// Who this credential belongs to. `source` is the client's address, `arrived` when its request was there.
    ///
    /// The first poll answers on a hit in memory, without allocating, locking or reading anything. A right secret is
    /// never answered with 401 or 429; what a refusal costs, and when it leaves, depends on what was sent and not on
    /// what exists.
    pub async fn authenticate(
        &self,
        credential: &Credential,
        source: IpAddr,
        arrived: Instant,
    ) -> Result<Arc<Identity>, AuthRefusal> {
        let source = Source::of(source);
        // what follows is on the heap: most requests are answered by now, and need not carry the room for it
        match self.remember(credential, source) {
            Remembered::Answer(answer) => answer,
            Remembered::Unanswered(unanswered) => {
                Box::pin(self.verify(credential, source, arrived, unanswered)).await
            }
        }
    }

    /// The rungs that wait for nothing.
    fn remember(&self, credential: &Credential, source: Source) -> Remembered {
        let now = BootTime::now();
        if !self.is_fresh_at(now) {
            return Remembered::Answer(Err(self.unavailable()));
        }

        // Rung 1, shape: typing errors and guesses at minted pairs end here.
        let is_minted = match shape(&self.prefixes, credential.access_key(), credential.secret()) {
            Shape::Minted => true,
            Shape::Other => false,
            Shape::BadChecksum => {
                self.tally.checksum_refusals.add_one();
                return Remembered::Answer(Err(self.refuse(source)));
            }
            Shape::Mixed => {
                self.tally.mixed_refusals.add_one();
                return Remembered::Answer(Err(self.refuse(source)));
            }
        };

        // Rung 2, memory: what was proved once since the key last changed. A mismatch is final, a key has one secret.
        let mac = self.memory_key.of_credential(credential);
        if !is_minted {
            return self.remember_chosen(credential, source, mac, now);
        }
        let period = recent::period(now);
        if let Some(identity) = recent::find(&mac, period) {
            self.tally.memory_hits.add_one();
            return Remembered::Answer(Ok(identity));
        }
        let Some(identity) = self.identities.get(credential.access_key()) else {
            return Remembered::Unanswered(Unanswered { mac, chosen: None });
        };
        if identity.mac.matches(&mac) {
            recent::keep(&mac, &identity, period);
            self.tally.memory_hits.add_one();
            return Remembered::Answer(Ok(identity));
        }
        self.tally.memory_mismatches.add_one();
        // the look-up that an unknown access key costs too
        drop(self.doubts.get(credential.access_key()));
        Remembered::Answer(Err(self.refuse_unconfirmed(source)))
    }

    /// The rungs that read and compute.
    async fn verify(
        &self,
        credential: &Credential,
        source: Source,
        arrived: Instant,
        Unanswered { mac, chosen }: Unanswered,
    ) -> Result<Arc<Identity>, AuthRefusal> {
        let is_minted = chosen.is_none();
        let (place, is_known, in_memory) = match chosen {
            None => (self.known_sources.place(source, credential.access_key()), false, None),
            Some(Chosen { place, is_known, in_memory }) => (place, is_known, in_memory),
        };
        let asker = Asker { source, key: place.key, is_known };
        if let Some((identity, matches)) = in_memory {
            let answer = Check::Settled(matches);
            let question = self.question_key.of_question(credential, &identity.phc);
            let verdict = self.verdict(credential, asker, question, answer).await?;
            if !verdict.matches {
                self.tally.memory_mismatches.add_one();
                return Err(self.refuse_later(source, arrived).await);
            }
            return self.admit_from_memory(identity, place, source, arrived).await;
        }
        let (evidence, read) = self.look_up(credential.access_key()).await?;

        // Rung 3, the stored fingerprint: only of secrets that the gateway minted.
        let recognition =
            if is_minted { self.recognise(credential, &evidence) } else { Recognition::Undecided };
        if let Recognition::Mismatch = recognition {
            self.tally.fingerprint_mismatches.add_one();
            self.remember_doubt(evidence, read);
            return Err(self.refuse_unconfirmed(source));
        }

        // Rung 4, argon2id: the record of truth.
        if let Recognition::Undecided = recognition {
            let phc = evidence.as_ref().map(|verifier| verifier.phc.as_str());
            let question = self.question_key.of_question(credential, phc.unwrap_or_default());
            let check = phc.map_or(Check::Settled(false), |phc| Check::Hash {
                phc: phc.to_owned(),
                secret: Zeroizing::new(credential.secret().to_vec()),
            });
            let verdict = self.verdict(credential, asker, question, check).await?;
            if !verdict.matches {
                self.remember_doubt(evidence, read);
                // the verdict goes last: until the refusal has left, its place in the source's share is taken
                return Err(self.refuse_later(source, arrived).await);
            }
        } else {
            self.tally.fingerprint_matches.add_one();
        }

        let Some(verifier) = evidence else { return Err(self.refuse_unconfirmed(source)) };
        let admitted = self.admit(credential.access_key(), &verifier.phc, mac, read).await?;
        let Some(identity) = admitted else {
            // deactivated or removed in this very moment
            return Err(if is_minted {
                self.refuse_unconfirmed(source)
            } else {
                self.refuse_later(source, arrived).await
            });
        };
        if is_minted {
            self.renew_fingerprint(&identity, &verifier, credential);
        } else {
            self.remember_source(place, source);
        }
        Ok(identity)
    }

    /// What the threads say, if they say it in time.
    async fn verdict(
        &self,
        credential: &Credential,
        asker: Asker,
        question: Mac,
        check: Check,
    ) -> Result<Verdict, AuthRefusal> {
        let verdict = self.argon.verify(asker, question, check);
        let verdict = tokio::time::timeout(self.verification_timeout, verdict).await;
        let verdict = verdict.unwrap_or(Err(NoVerdict::Busy));
        verdict.map_err(|none| self.no_verdict(none, credential.access_key()))
    }

    /// The same key as the store has it now, for an open stream whose identity is stale. Refused when the key no
    /// longer works; that counts as nobody's failure.
    pub async fn reread(&self, identity: &Identity) -> Result<Arc<Identity>, AuthRefusal> {
        if !self.is_fresh() {
            return Err(self.unavailable());
        }
        let access_key = &identity.principal.key.access_key;
        if let Some(current) = self.identities.get(access_key).filter(|current| current.phc == identity.phc) {
            return Ok(current);
        }
        let admitted = self.admit(access_key.as_str(), &identity.phc, identity.mac, None).await?;
        admitted.ok_or(AuthRefusal::Unauthorized)
    }

    /// A new pair for `owner`, under the current prefix and pepper. Takes as long as an argon2 run: not for a thread
    /// that serves requests.
    pub fn mint_pair(&self, owner: &KeyOwner) -> Result<MintedPair, ArgonError> {
        mint_pair(&self.prefixes, &self.hashing, &self.peppers, owner)
    }

    /// What verifies a secret that somebody chose for `access_key`. Takes as long as an argon2 run.
    pub fn verifier_of_chosen(
        &self,
        access_key: AccessKey,
        secret: Zeroizing<Vec<u8>>,
    ) -> Result<KeyVerifier, ChosenPairError> {
        Ok(ChosenPair::new(access_key, secret, &self.prefixes)?.verifier(&self.hashing)?)
    }

    /// Counts a credential that could not even be read, and says how it is refused.
    pub fn refuse_unreadable(&self, source: IpAddr) -> AuthRefusal {
        self.refuse(Source::of(source))
    }

    /// What the caches say holds until then: the end of this gateway's lease, each time that it is extended. In the
    /// past where they hold nothing true any more.
    pub fn set_fresh_until(&self, until: BootTime) {
        self.fresh_until.store(until.0, Ordering::Release);
    }

    /// Until then no key exists that the store does not know: the same moment plus [`Self::CURRENT`].
    pub fn set_current_until(&self, until: BootTime) {
        self.current_until.store(until.0, Ordering::Release);
    }

    /// Whether what the caches say holds now. Past that every credential is [`AuthRefusal::Unavailable`]. One atomic
    /// load and one look at the clock.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh_at(BootTime::now())
    }

    /// For how long what the caches say holds.
    pub fn fresh_for(&self) -> Duration {
        BootTime(self.fresh_until.load(Ordering::Acquire)).remaining()
    }

    fn is_fresh_at(&self, now: BootTime) -> bool {
        now.0 < self.fresh_until.load(Ordering::Acquire)
    }

    /// How long ago the store was last known to be read to its end; `None` while that is at most [`Self::CURRENT`].
    pub fn staleness(&self) -> Option<Duration> {
        let (now, until) = (BootTime::now().0, self.current_until.load(Ordering::Acquire));
        (now >= until).then(|| Duration::from_millis(now - until) + Self::CURRENT)
    }

    fn is_current(&self) -> bool {
        BootTime::now().0 < self.current_until.load(Ordering::Acquire)
    }

    /// Which keys were used since this was last asked, and how often, for the control plane to save: those that have
    /// waited longest, of `most` keys.
    pub fn take_uses(&self, most: usize) -> Vec<KeyUse> {
        self.uses.take(most)
    }

    /// How many secrets argon2 is verifying, or is to verify.
    pub fn verifications_open(&self) -> usize {
        self.argon.open()
    }

    /// What the rungs have done so far.
    pub fn counters(&self) -> Counters {
        self.tally.read()
    }

    /// What a secret for this access key is to be verified against: remembered from a failure, or read.
    async fn look_up(&self, access_key: &str) -> Result<(Evidence, Option<Read>), AuthRefusal> {
        if let Some(doubt) = self.doubts.get(access_key) {
            return Ok((doubt.evidence.clone(), None));
        }
        // what is no access key is nobody's
        let Ok(access_key) = access_key.parse() else { return Ok((None, None)) };
        let read = self.read(access_key).await?;
        Ok((read.evidence(), Some(read)))
    }

    pub(super) async fn read(&self, access_key: AccessKey) -> Result<Read, AuthRefusal> {
        let stamp = self.progress.stamp();
        self.tally.store_reads.add_one();
        let key = self.reader.key(&access_key).await.map_err(|error| self.unreadable(&error))?;
        Ok(Read { access_key, key, stamp })
    }

    /// One MAC, whether there is something to compare it with or not.
    fn recognise(&self, credential: &Credential, evidence: &Evidence) -> Recognition {
        let Some(verifier) = evidence else {
            let found = self.peppers.current_key().of_credential(credential);
            // never a match: nobody knows the decoy, and if it were met there would still be no key
            let _ = std::hint::black_box(found.matches(&self.decoy));
            return Recognition::Mismatch;
        };
        let Some(fingerprint) = verifier.fingerprint else { return Recognition::Undecided };
        let Some(key) = self.peppers.get(fingerprint.pepper) else { return Recognition::Undecided };
        if key.of_credential(credential).matches(&Mac(fingerprint.mac)) {
            Recognition::Match
        } else {
            Recognition::Mismatch
        }
    }

    /// Keeps what a failure has read, so that the next one need not read it.
    pub(super) fn remember_doubt(&self, evidence: Evidence, read: Option<Read>) {
        if let Some(read) = read {
            let doubt = Doubt { evidence, life: Life::default() };
            // raced with a change: then it is read again next time
            let _ = self.doubts.fill(&read.access_key, doubt, read.key.as_of, &self.progress, read.stamp);
        }
    }

    /// Keeps a key whose secret was just proved against `phc`; `None` when it does not work any more.
    pub(super) async fn admit(
        &self,
        access_key: &str,
        phc: &str,
        mac: Mac,
        mut read: Option<Read>,
    ) -> Result<Option<Arc<Identity>>, AuthRefusal> {
        for _ in 0..Self::READS {
            let Read { access_key, key, stamp } = if let Some(read) = read.take() {
                read
            } else {
                let Ok(access_key) = access_key.parse() else { return Ok(None) };
                self.read(access_key).await?
            };
            let still_proved = |record: &KeyRecord| record.verifier.phc == phc;
            let Some(record) =
                key.record.filter(|record| still_proved(record) && record.principal.is_active())
            else {
                return Ok(None);
            };
            let identity = Identity::new(record, mac, &self.uses);
            if let Some(kept) = self.identities.fill(&access_key, identity, key.as_of, &self.progress, stamp)
            {
                self.doubts.end(&access_key);
                return Ok(Some(kept));
            }
            self.tally.raced_fills.add_one();
        }
        Err(self.unavailable())
    }

    /// Gives a minted secret its fingerprint under the current pepper, if it has none: from then on rung 3 knows it.
    fn renew_fingerprint(&self, identity: &Identity, verifier: &KeyVerifier, credential: &Credential) {
        if verifier.fingerprint.is_some_and(|fingerprint| fingerprint.pepper == self.peppers.current()) {
            return;
        }
        let key = &identity.principal.key;
        let fingerprint = self.peppers.fingerprint(&key.access_key, credential.secret());
        let (reader, id, access_key) = (self.reader.clone(), key.id, key.access_key.clone());
        // the request does not wait for it, and loses nothing if it fails
        tokio::spawn(async move {
            if let Err(error) = reader.save_fingerprint(id, fingerprint).await {
                tracing::debug!(%error, %access_key, "the fingerprint was not saved");
            }
        });
    }

    fn no_verdict(&self, none: NoVerdict, access_key: &str) -> AuthRefusal {
        match none {
            NoVerdict::Failed(Some(error)) => {
                tracing::error!(%error, access_key, "a secret cannot be verified");
                self.unavailable()
            }
            NoVerdict::Busy | NoVerdict::Failed(None) => AuthRefusal::Busy { retry_after: Self::RETRY_AFTER },
        }
    }

    pub(super) fn unreadable(&self, error: &StoreError) -> AuthRefusal {
        tracing::error!(%error, "the store cannot be read");
        self.unavailable()
    }

    pub(super) fn unavailable(&self) -> AuthRefusal {
        self.tally.unavailable.add_one();
        AuthRefusal::Unavailable { retry_after: Self::RETRY_AFTER }
    }

    /// Refuses what the store does not confirm; not now, where the store may not be up to date.
    fn refuse_unconfirmed(&self, source: Source) -> AuthRefusal {
        if self.is_current() { self.refuse(source) } else { self.unavailable() }
    }

    /// Counts a failure of `source`.
    fn refuse(&self, source: Source) -> AuthRefusal {
        match self.throttle.failed(source, Instant::now()) {
            None => {
                self.tally.unauthorized.add_one();
                AuthRefusal::Unauthorized
            }
            Some(retry_after) => {
                self.tally.throttled.add_one();
                AuthRefusal::Throttled { retry_after }
            }
        }
    }

    /// Counts a failure, and lets the refusal leave at the fixed time after arrival; where that is past, at its next
    /// multiple, so that the time tells as little as it can of how long the verification took.
    pub(super) async fn refuse_later(&self, source: Source, arrived: Instant) -> AuthRefusal {
        let refusal = self.refuse_unconfirmed(source);
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
