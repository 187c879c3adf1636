//! Secrets that wait to be verified, and whose turn is next.
//!
//! The queue is fair between sources and between access keys: the next turn goes to the one whose source and whose access
//! key have waited longest for a turn. So neither many wrong secrets of one source nor many sources that guess at one key
//! delay anybody else for long. When the queue is full, the newest entry of whoever has most is evicted.
//!
//! A turn takes one guess from the budgets of its source and its access key, and a right secret gives it back. Nothing
//! here depends on whether an access key exists.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::argon::ArgonError;
use super::failed_key_cache::Verifiers;
use super::fingerprint::Mac;
use super::guess_budget::{AccessKeyHash, BudgetOwner, GuessBudgets};
use super::identity::KeySecret;
use super::inner_hash::InnerHash;
use crate::config;
use crate::model::ClientSource;

/// Which of the key's secrets it is; `None`: none.
pub(super) type Outcome = Result<Option<KeySecret>, ArgonError>;

/// Where the outcome arrives.
pub(super) type OutcomeReceiver = watch::Receiver<Option<Outcome>>;

/// Who sent the secret, and for which access key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requester {
    pub(super) source: ClientSource,
    pub(super) key: AccessKeyHash,
    /// The source has used the key lately: it goes first, and the budgets of others do not delay it.
    pub(super) is_known: bool,
}

/// What has to be done for the outcome.
pub(super) enum Verification {
    /// Nothing: memory or the store knows it already. It waits for its turn all the same.
    KnownOutcome(Option<KeySecret>),
    Argon2 {
        verifiers: Arc<Verifiers>,
        secret: Zeroizing<Vec<u8>>,
    },
}

/// A verification that waits for its turn, or has it.
pub(super) struct Job {
    pub(super) verification: Verification,
    pub(super) enqueued: Instant,
    requester: Requester,
    run_id: [u8; 32],
    /// The number of the last turn when it was added.
    enqueued_at_turn: u64,
    number: u64,
    answer: watch::Sender<Option<Outcome>>,
    // dropped after `answer`: what is found in the table is answered, or can still be
    _slot: Arc<InFlightRun>,
}

/// All that is waiting or running: one entry for each run and source, however many requests wait for its outcome.
#[derive(Default)]
struct RunTable {
    runs: HashMap<(ClientSource, [u8; 32]), OutcomeReceiver>,
    runs_by_source: HashMap<ClientSource, usize>,
}

/// An entry in the table. It ends when the turn is over and the first request has its answer out, so that hanging up
/// during the turn frees no slot.
pub(super) struct InFlightRun {
    table: Arc<Mutex<RunTable>>,
    run_id: (ClientSource, [u8; 32]),
}

impl Drop for InFlightRun {
    fn drop(&mut self) {
        let mut table = locked(&self.table);
        table.runs.remove(&self.run_id);
        let (source, _) = self.run_id;
        if let Some(slots) = table.runs_by_source.get_mut(&source) {
            *slots -= 1;
            if *slots == 0 {
                table.runs_by_source.remove(&source);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // nothing panics while it holds the lock, and the data would still be whole after a panic
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of a verification at the queue.
pub(super) enum EnqueueResult {
    /// It waits for its turn.
    New(OutcomeReceiver, Arc<InFlightRun>),
    /// The same run waits, or runs, already.
    Shared(OutcomeReceiver),
    /// There is no room.
    Full,
}

struct State {
    waiting: Vec<Job>,
    budgets: GuessBudgets,
    turns: u64,
    jobs: u64,
    is_closed: bool,
}

/// The queue. Waiting in it is asynchronous, taking from it blocks a thread.
pub(super) struct VerificationQueue {
    state: Mutex<State>,
    changed: Condvar,
    // locked alone, or after `state`
    table: Arc<Mutex<RunTable>>,
    capacity: usize,
    share: usize,
    longest_wait: Duration,
}

/// A source may take up one part in so many of the queue.
const SHARES: usize = 4;

impl VerificationQueue {
    /// A request that would wait longer than `longest_wait` for its guess is refused at once.
    pub(super) fn new(capacity: usize, throttle: &config::Throttle, longest_wait: Duration) -> Self {
        let state = State {
            waiting: Vec::new(),
            budgets: GuessBudgets::new(throttle),
            turns: 0,
            jobs: 0,
            is_closed: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            table: Arc::default(),
            capacity,
            share: (capacity / SHARES).max(1),
            longest_wait,
        }
    }

    /// Adds a verification, or joins the requests of the same source that wait for the same run.
    pub(super) fn enqueue(
        &self,
        requester: Requester,
        run_id: Mac,
        verification: Verification,
    ) -> EnqueueResult {
        let Mac(run_id) = run_id;
        let now = Instant::now();
        let mut state = locked(&self.state);
        let slot = (requester.source, run_id);
        let slots = {
            let table = locked(&self.table);
            if let Some(answer) = table.runs.get(&slot) {
                return EnqueueResult::Shared(answer.clone());
            }
            table.runs_by_source.get(&requester.source).copied().unwrap_or_default()
        };
        if !self.make_room(&mut state, requester, slots, now) {
            return EnqueueResult::Full;
        }
        let (answer, awaited) = watch::channel(None);
        let slot = {
            let mut table = locked(&self.table);
            *table.runs_by_source.entry(requester.source).or_default() += 1;
            table.runs.insert(slot, awaited.clone());
            Arc::new(InFlightRun { table: Arc::clone(&self.table), run_id: slot })
        };
        state.jobs += 1;
        let (enqueued_at_turn, number) = (state.turns, state.jobs);
        state.waiting.push(Job {
            verification,
            enqueued: now,
            requester,
            run_id,
            enqueued_at_turn,
            number,
            answer,
            _slot: Arc::clone(&slot),
        });
        drop(state);
        self.changed.notify_one();
        EnqueueResult::New(awaited, slot)
    }

    /// Whether there is room for the new request. Others may be evicted for it.
    fn make_room(&self, state: &mut State, requester: Requester, slots: usize, now: Instant) -> bool {
        let Requester { source, key, is_known } = requester;
        let waits_too_long =
            |state: &State, owner: BudgetOwner, is_ahead: fn(&Requester, &Requester) -> bool| {
                let ahead = state
                    .waiting
                    .iter()
                    .filter(|job| !job.requester.is_known && is_ahead(&job.requester, &requester));
                !is_known && state.budgets.wait(owner, ahead.count(), now) > self.longest_wait
            };
        let of_source = |one: &Requester, other: &Requester| one.source == other.source;
        let of_key = |one: &Requester, other: &Requester| one.key == other.key;
        let source_is_full =
            slots >= self.share || waits_too_long(state, BudgetOwner::Source(source), of_source);
        if source_is_full && !state.evict(requester, of_source, |requester| requester.key) {
            return false;
        }
        let key_is_full = waits_too_long(state, BudgetOwner::AccessKey(key), of_key);
        if key_is_full && !state.evict(requester, of_key, |requester| requester.source) {
            return false;
        }
        let is_full = state.waiting.len() >= self.capacity;
        !is_full || state.evict(requester, |_, _| true, |requester| requester.source)
    }

    /// Waits for the next turn. `None` when the queue is closed.
    pub(super) fn next(&self) -> Option<Job> {
        let mut state = locked(&self.state);
        loop {
            if state.is_closed {
                return None;
            }
            state = match state.take_next(Instant::now()) {
                NextJob::Run(job) => return Some(job),
                NextJob::Empty => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                NextJob::After(wait) => {
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Ends a turn. If the secret is right, everybody who waits for the same run has the answer, whatever the source.
    pub(super) fn finish(&self, job: Job, answer: &Outcome) {
        let same: Vec<Job> = {
            let mut state = locked(&self.state);
            if *answer != Ok(None) {
                for owner in job.requester.charged_budgets() {
                    state.budgets.give_back(owner);
                }
            } else if let Some(more) = job.verification.guesses_more() {
                // not those of the access key: few guesses would then keep its own users out
                let (owner, turn, now) = (job.requester.own_budget(), state.turns, Instant::now());
                state.budgets.spend_many(owner, more, turn, now);
            }
            if matches!(answer, Ok(Some(_))) {
                state.waiting.extract_if(.., |other| other.run_id == job.run_id).collect()
            } else {
                Vec::new()
            }
        };
        for job in std::iter::once(job).chain(same) {
            job.answer.send_replace(Some(answer.clone()));
        }
    }

    /// Takes a guess from a known source, which has sent a wrong secret. Whether it has any left.
    pub(super) fn spend_guess(&self, source: ClientSource, key: AccessKeyHash) -> bool {
        let (owner, now) = (BudgetOwner::KnownSource(source, key), Instant::now());
        let mut state = locked(&self.state);
        let turn = state.turns;
        state.budgets.spend(owner, turn, now);
        state.budgets.wait(owner, 0, now).is_zero()
    }

    /// Whether a known source has guesses left.
    pub(super) fn has_guesses_left(&self, source: ClientSource, key: AccessKeyHash) -> bool {
        locked(&self.state).budgets.wait(BudgetOwner::KnownSource(source, key), 0, Instant::now()).is_zero()
    }

    /// Whether a source that has sent the right secret may count as known: it has not guessed much.
    pub(super) fn may_become_known(&self, source: ClientSource, key: AccessKeyHash) -> bool {
        locked(&self.state).budgets.is_half_full(BudgetOwner::KnownSource(source, key), Instant::now())
    }

    /// How many verifications wait for a turn, or have one.
    pub(super) fn pending(&self) -> usize {
        locked(&self.table).runs.len()
    }

    /// Ends the threads that wait for turns. Requests that wait for an answer see that none will come.
    pub(super) fn close(&self) {
        let mut state = locked(&self.state);
        state.is_closed = true;
        state.waiting.clear();
        drop(state);
        self.changed.notify_all();
    }
}

enum NextJob {
    Run(Job),
    /// Everybody who waits has spent a budget: the first one may go then.
    After(Duration),
    Empty,
}

impl State {
    /// Takes out the newest job of the group with most jobs, among those `with` the newcomer, if it has at least two more
    /// than the newcomer's group. A known source is never evicted.
    fn evict<G: Eq + Hash>(
        &mut self,
        newcomer: Requester,
        with: fn(&Requester, &Requester) -> bool,
        group: fn(&Requester) -> G,
    ) -> bool {
        let candidates = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, job)| !job.requester.is_known && with(&job.requester, &newcomer));
        let mut counts: HashMap<G, usize> = HashMap::new();
        for (_, job) in candidates.clone() {
            *counts.entry(group(&job.requester)).or_default() += 1;
        }
        let own = if newcomer.is_known { 0 } else { counts.get(&group(&newcomer)).map_or(1, |own| own + 1) };
        let Some((largest, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return false };
        let newest = candidates
            .filter(|(_, job)| group(&job.requester) == largest)
            .max_by_key(|(_, job)| job.number)
            .filter(|_| count > own);
        let Some((at, _)) = newest else { return false };
        // its sender is dropped with it, which tells its request that it was evicted
        self.waiting.swap_remove(at);
        true
    }

    fn take_next(&mut self, now: Instant) -> NextJob {
        // only the table still waits for these
        self.waiting.retain(|job| job.answer.receiver_count() > 1);
        let mut first: Option<(usize, (bool, u64, u64, u64))> = None;
        let mut shortest: Option<Duration> = None;
        for (at, job) in self.waiting.iter().enumerate() {
            let [source, key] = job.requester.budgets();
            if !job.requester.is_known {
                let wait = self.budgets.wait(source, 0, now).max(self.budgets.wait(key, 0, now));
                if !wait.is_zero() {
                    shortest = Some(shortest.map_or(wait, |shortest| shortest.min(wait)));
                    continue;
                }
            }
            let [one, other] =
                [source, key].map(|owner| self.budgets.last_served_turn(owner).max(job.enqueued_at_turn));
            let rank = (!job.requester.is_known, one.max(other), one.min(other), job.number);
            if first.is_none_or(|(_, least)| rank < least) {
                first = Some((at, rank));
            }
        }
        let Some((at, _)) = first else { return shortest.map_or(NextJob::Empty, NextJob::After) };
        let job = self.waiting.swap_remove(at);
        self.turns += 1;
        for owner in job.requester.charged_budgets() {
            self.budgets.spend(owner, self.turns, now);
        }
        NextJob::Run(job)
    }
}

impl Verification {
    /// How many guesses more a wrong secret costs whoever has sent it, where verifying it takes longer than argon2id alone.
    fn guesses_more(&self) -> Option<NonZero<u32>> {
        let Self::Argon2 { verifiers, .. } = self else { return None };
        let inner =
            verifiers.each().filter_map(|(_, verifier)| verifier.inner.as_deref()?.parse::<InnerHash>().ok());
        NonZero::new(inner.map(|inner| inner.cost_in_runs()).sum())
    }
}

impl Requester {
    /// The budget that nobody else shares.
    fn own_budget(&self) -> BudgetOwner {
        if self.is_known {
            BudgetOwner::KnownSource(self.source, self.key)
        } else {
            BudgetOwner::Source(self.source)
        }
    }

    /// The budgets that say when it may have a turn.
    fn budgets(&self) -> [BudgetOwner; 2] {
        [BudgetOwner::Source(self.source), BudgetOwner::AccessKey(self.key)]
    }

    /// The budgets that its guess is taken from.
    fn charged_budgets(&self) -> impl Iterator<Item = BudgetOwner> + use<> {
        let own = self.is_known.then_some(self.own_budget());
        let shared = (!self.is_known).then_some(self.budgets());
        own.into_iter().chain(shared.into_iter().flatten())
    }
}
