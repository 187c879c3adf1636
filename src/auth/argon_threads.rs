//! Threads that verify secrets by argon2, in the order of the queue.
//!
//! Every chosen secret goes through here. If its access key is unknown, or memory knows the outcome, it waits for its
//! turn like any other, and only the argon2 run is left out. So neither a wait nor a full queue tells which keys exist.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::argon::{ArgonError, Verifier};
use super::argon_timing::ArgonTiming;
use super::counters::AtomicCounters;
use super::failed_key_cache::Verifiers;
use super::fingerprint::Mac;
use super::guess_budget::AccessKeyHash;
use super::identity::KeySecret;
use super::pending_rehashes::PendingRehashes;
use super::verification_queue::{
    EnqueueResult, InFlightRun, Job, Outcome, Requester, Verification, VerificationQueue,
};
use crate::config;
use crate::model::ClientSource;
use crate::store::Rehash;

/// Why a secret was not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VerificationError {
    /// The queue is full, or the source's share of it, or the wait for a guess would be too long.
    Busy,
    /// The argon2 run failed, or was evicted from the queue.
    Failed(Option<ArgonError>),
}

/// Which secret of the key it is, if any. Until this is dropped, it takes up one slot of the source's share of the queue.
pub(super) struct VerifiedAnswer {
    pub(super) matched: Option<KeySecret>,
    _slot: Option<Arc<InFlightRun>>,
}

/// The threads and their queue. They end when this is dropped.
pub(super) struct ArgonThreads {
    queue: Arc<VerificationQueue>,
    rehashes: Arc<PendingRehashes>,
    counters: Arc<AtomicCounters>,
}

impl ArgonThreads {
    /// A request that would wait longer than `longest_wait` for a guess is refused at once.
    pub(super) fn start(
        settings: &config::Argon2,
        throttle: &config::Throttle,
        longest_wait: Duration,
        counters: Arc<AtomicCounters>,
    ) -> io::Result<Self> {
        let queue = VerificationQueue::new(settings.queue, throttle, longest_wait);
        let (queue, argon_timing) = (Arc::new(queue), Arc::<ArgonTiming>::default());
        let threads = Self { queue, rehashes: Arc::default(), counters };
        for number in 0..settings.threads.max(1) {
            let thread = ArgonThread {
                verifier: Verifier::new(settings),
                settings: settings.clone(),
                queue: Arc::clone(&threads.queue),
                argon_timing: Arc::clone(&argon_timing),
                rehashes: Arc::clone(&threads.rehashes),
                counters: Arc::clone(&threads.counters),
            };
            thread::Builder::new().name(format!("argon2-{number}")).spawn(move || thread.run())?;
        }
        Ok(threads)
    }

    /// The outcome of `verification`, when its turn has come. `run_id` is [`MacKey::run_id`] of the pair and of what it is
    /// verified against.
    ///
    /// Requests of one source with the same `run_id` share one run. A request that is cancelled leaves the run to the
    /// others. If there are none, the run is dropped from the queue.
    pub(super) async fn verify(
        &self,
        requester: Requester,
        run_id: Mac,
        verification: Verification,
    ) -> Result<VerifiedAnswer, VerificationError> {
        let (mut answer, slot) = match self.queue.enqueue(requester, run_id, verification) {
            EnqueueResult::New(answer, slot) => {
                self.counters.argon2_queued.add_one();
                (answer, Some(slot))
            }
            EnqueueResult::Shared(answer) => {
                self.counters.argon2_shared.add_one();
                (answer, None)
            }
            EnqueueResult::Full => {
                self.counters.argon2_queue_refusals.add_one();
                return Err(VerificationError::Busy);
            }
        };
        // a sender that is gone without an answer was evicted from the queue, or its run panicked
        let answer = match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone(),
            Err(_) => None,
        };
        match answer {
            Some(Ok(matched)) => Ok(VerifiedAnswer { matched, _slot: slot }),
            Some(Err(error)) => Err(VerificationError::Failed(Some(error))),
            None => Err(VerificationError::Failed(None)),
        }
    }

    /// Takes a guess from a known source, which has sent a wrong secret. Whether it has any left.
    pub(super) fn spend_guess(&self, source: ClientSource, key: AccessKeyHash) -> bool {
        self.queue.spend_guess(source, key)
    }

    /// Whether a known source has guesses left.
    pub(super) fn has_guesses_left(&self, source: ClientSource, key: AccessKeyHash) -> bool {
        self.queue.has_guesses_left(source, key)
    }

    /// Whether a source that has sent the right secret may count as known from now on.
    pub(super) fn may_become_known(&self, source: ClientSource, key: AccessKeyHash) -> bool {
        self.queue.may_become_known(source, key)
    }

    /// What is to replace hashes that were imported.
    pub(super) fn rehashes(&self) -> &PendingRehashes {
        &self.rehashes
    }

    /// How many verifications wait for a thread, or have one.
    pub(super) fn pending(&self) -> usize {
        self.queue.pending()
    }
}

impl Drop for ArgonThreads {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// One argon2 thread.
struct ArgonThread {
    verifier: Verifier,
    settings: config::Argon2,
    queue: Arc<VerificationQueue>,
    argon_timing: Arc<ArgonTiming>,
    rehashes: Arc<PendingRehashes>,
    counters: Arc<AtomicCounters>,
}

impl ArgonThread {
    fn run(mut self) {
        while let Some(job) = self.queue.next() {
            let run = catch_unwind(AssertUnwindSafe(|| self.run_job(&job)));
            if let Ok(answer) = run {
                let imported = imported_secret(&job, &answer);
                self.queue.finish(job, &answer);
                let Some((verifiers, which, secret)) = imported else { continue };
                if catch_unwind(AssertUnwindSafe(|| self.rehash(&verifiers, which, &secret))).is_ok() {
                    continue;
                }
            }
            // the job is dropped with its sender, so that whoever waits sees that no answer will come
            self.counters.argon2_failures.add_one();
            self.verifier = Verifier::new(&self.settings);
        }
    }

    /// A right secret is answered at once, a wrong one at the end of its turn.
    fn run_job(&mut self, job: &Job) -> Outcome {
        let began = Instant::now();
        let waited = began.saturating_duration_since(job.enqueued);
        self.counters.argon2_wait_milliseconds.add(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
        let (answer, run) = match &job.verification {
            Verification::KnownOutcome(matched) => (Ok(*matched), None),
            Verification::Argon2 { verifiers, secret } => {
                // all of them, whichever matches: else the time would tell
                let mut answer = Ok(None);
                let mut runs = 0;
                for (which, verifier) in verifiers.each() {
                    self.counters.argon2_runs.add_one();
                    runs += 1;
                    match (self.verifier.verify_key(verifier, secret), &answer) {
                        (Ok(true), _) => answer = Ok(Some(which)),
                        (Err(error), Ok(None)) => answer = Err(error),
                        _ => {}
                    }
                }
                (answer, Some(began.elapsed() / runs))
            }
        };
        // what an imported hash takes says nothing of argon2's time
        let has_inner = match &job.verification {
            Verification::KnownOutcome(_) => false,
            Verification::Argon2 { verifiers, .. } => {
                verifiers.each().any(|(_, verifier)| verifier.inner.is_some())
            }
        };
        match answer {
            Ok(Some(_)) => {}
            Ok(None) => {
                if !has_inner && self.argon_timing.should_measure(began) {
                    let run = run.unwrap_or_else(|| self.decoy_run_time());
                    self.argon_timing.record(run, began);
                } else if run.is_none() {
                    thread::sleep(self.argon_timing.random_run_time());
                }
                thread::sleep(self.argon_timing.minimum_turn().saturating_sub(began.elapsed()));
            }
            Err(_) => self.counters.argon2_failures.add_one(),
        }
        answer
    }

    /// Makes the hash that replaces an imported one, of a secret that was right. Whoever waited for that has the answer
    /// already.
    fn rehash(&mut self, verifiers: &Verifiers, which: KeySecret, secret: &[u8]) {
        let old_phc = &verifiers.of_secret(which).phc;
        if !self.rehashes.wants(old_phc) {
            return;
        }
        match self.verifier.hash(&self.settings, secret) {
            Ok(new_phc) => {
                self.rehashes.add(Rehash { key: verifiers.key, old_phc: old_phc.clone(), new_phc });
            }
            Err(error) => tracing::debug!(%error, "an imported hash cannot be replaced"),
        }
    }

    /// How long an argon2 run takes now.
    fn decoy_run_time(&mut self) -> Duration {
        self.counters.argon2_measurements.add_one();
        let config::Argon2 { memory_kib, iterations, parallelism, .. } = self.settings;
        let decoy = format!(
            "$argon2id$v=19$m={memory_kib},t={iterations},p={parallelism}$ZGVjb3kgZGVjb3kgZGVjb3k$\
             ZGVjb3kgZGVjb3kgZGVjb3kgZGVjb3kgZGVjb3kgZGU"
        );
        let began = Instant::now();
        if let Err(error) = self.verifier.verify(&decoy, b"decoy") {
            tracing::debug!(%error, "the time of a run cannot be measured");
        }
        began.elapsed()
    }
}

/// The secret of a job that was right, if what the store has of it is the hash of another system.
fn imported_secret(job: &Job, answer: &Outcome) -> Option<(Arc<Verifiers>, KeySecret, Zeroizing<Vec<u8>>)> {
    let (Ok(Some(which)), Verification::Argon2 { verifiers, secret }) = (answer, &job.verification) else {
        return None;
    };
    verifiers.of_secret(*which).inner.as_ref()?;
    Some((Arc::clone(verifiers), *which, secret.clone()))
}

#[cfg(test)]
mod tests;
