//! Who waits for a verification, and whose turn is next.
//!
//! The queue is fair between sources and between access keys: of those that wait, the turn goes to the one whose source
//! and whose access key have waited longest for one. So neither many wrong secrets of one source nor many sources that
//! guess at one key hold up anybody else for long. Where a place is missing, the newest of whoever has most gives way.
//!
//! A turn takes one guess from the budgets of its source and its access key, and a right secret gives it back. Nothing
//! here depends on whether an access key exists.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::argon::ArgonError;
use super::fingerprint::Mac;
use super::guess_budget::{GuessBudgets, Guesser, KeyHash};
use crate::config;
use crate::model::Source;

/// What came of a verification.
pub(super) type Answer = Result<bool, ArgonError>;

/// Where the answer appears.
pub(super) type Awaited = watch::Receiver<Option<Answer>>;

/// Who asks, and about which access key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) source: Source,
    pub(super) key: KeyHash,
    /// The source has used the key lately: it comes first, and no budget of others holds it up.
    pub(super) is_known: bool,
}

/// What is to be verified.
pub(super) enum Check {
    /// Memory or the store has settled it, and the answer waits for its turn like any other.
    Settled(bool),
    Hash {
        phc: String,
        secret: Zeroizing<Vec<u8>>,
    },
}

/// A question that waits for its turn, or has it.
pub(super) struct Job {
    pub(super) check: Check,
    pub(super) asked: Instant,
    asker: Asker,
    question: [u8; 32],
    /// The last turn when it came.
    came_after: u64,
    number: u64,
    answer: watch::Sender<Option<Answer>>,
    // after `answer`: who finds the question in the table finds it answered, or able to be answered
    _place: Arc<Place>,
}

/// What is being asked now: one entry a question and source, however many requests wait for its answer.
#[derive(Default)]
struct Table {
    questions: HashMap<(Source, [u8; 32]), Awaited>,
    by_source: HashMap<Source, usize>,
}

/// A question's entry in the table. It ends when the turn is over and the request that asked first has its answer
/// out, so that hanging up during the turn frees no place.
pub(super) struct Place {
    table: Arc<Mutex<Table>>,
    question: (Source, [u8; 32]),
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = locked(&self.table);
        table.questions.remove(&self.question);
        let (source, _) = self.question;
        if let Some(places) = table.by_source.get_mut(&source) {
            *places -= 1;
            if *places == 0 {
                table.by_source.remove(&source);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // nothing panics while it holds the lock, and what a panic left would still be whole
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a question meets at the queue.
pub(super) enum Asked {
    /// It waits for its turn.
    Queued(Awaited, Arc<Place>),
    /// The same is being asked already.
    Shared(Awaited),
    /// There is no place.
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
    // locked on its own, or while `state` is
    table: Arc<Mutex<Table>>,
    capacity: usize,
    share: usize,
    longest_wait: Duration,
}

/// A source may have this part of the queue.
const SHARES: usize = 4;

impl VerificationQueue {
    /// `longest_wait`: whoever would have to wait longer for its guess is turned away at once.
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

    /// Puts the question, or joins those of the same source who wait for its answer.
    pub(super) fn ask(&self, asker: Asker, question: Mac, check: Check) -> Asked {
        let Mac(question) = question;
        let now = Instant::now();
        let mut state = locked(&self.state);
        let place = (asker.source, question);
        let places = {
            let table = locked(&self.table);
            if let Some(answer) = table.questions.get(&place) {
                return Asked::Shared(answer.clone());
            }
            table.by_source.get(&asker.source).copied().unwrap_or_default()
        };
        if !self.make_room(&mut state, asker, places, now) {
            return Asked::Full;
        }
        let (answer, awaited) = watch::channel(None);
        let place = {
            let mut table = locked(&self.table);
            *table.by_source.entry(asker.source).or_default() += 1;
            table.questions.insert(place, awaited.clone());
            Arc::new(Place { table: Arc::clone(&self.table), question: place })
        };
        state.jobs += 1;
        let (came_after, number) = (state.turns, state.jobs);
        state.waiting.push(Job {
            check,
            asked: now,
            asker,
            question,
            came_after,
            number,
            answer,
            _place: Arc::clone(&place),
        });
        drop(state);
        self.changed.notify_one();
        Asked::Queued(awaited, place)
    }

    /// Whether the newcomer has a place. Others may give way to it.
    fn make_room(&self, state: &mut State, asker: Asker, places: usize, now: Instant) -> bool {
        let Asker { source, key, is_known } = asker;
        let waits_too_long = |state: &State, guesser: Guesser, is_ahead: fn(&Asker, &Asker) -> bool| {
            let ahead =
                state.waiting.iter().filter(|job| !job.asker.is_known && is_ahead(&job.asker, &asker));
            !is_known && state.budgets.wait(guesser, ahead.count(), now) > self.longest_wait
        };
        let of_source = |one: &Asker, other: &Asker| one.source == other.source;
        let of_key = |one: &Asker, other: &Asker| one.key == other.key;
        let source_is_full =
            places >= self.share || waits_too_long(state, Guesser::Source(source), of_source);
        if source_is_full && !state.displace(asker, of_source, |asker| asker.key) {
            return false;
        }
        let key_is_full = waits_too_long(state, Guesser::AccessKey(key), of_key);
        if key_is_full && !state.displace(asker, of_key, |asker| asker.source) {
            return false;
        }
        let is_full = state.waiting.len() >= self.capacity;
        !is_full || state.displace(asker, |_, _| true, |asker| asker.source)
    }

    /// Waits for the next turn. `None` when the queue is closed.
    pub(super) fn next(&self) -> Option<Job> {
        let mut state = locked(&self.state);
        loop {
            if state.is_closed {
                return None;
            }
            state = match state.take_next(Instant::now()) {
                Next::Turn(job) => return Some(job),
                Next::Nobody => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Next::After(wait) => {
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Ends a turn. A right answer goes to all who ask the same, from wherever.
    pub(super) fn finish(&self, job: Job, answer: &Answer) {
        let same: Vec<Job> = {
            let mut state = locked(&self.state);
            if *answer != Ok(false) {
                for guesser in job.asker.pays() {
                    state.budgets.give_back(guesser);
                }
            }
            if *answer == Ok(true) {
                state.waiting.extract_if(.., |other| other.question == job.question).collect()
            } else {
                Vec::new()
            }
        };
        for job in std::iter::once(job).chain(same) {
            job.answer.send_replace(Some(answer.clone()));
        }
    }

    /// A source that was known has sent a wrong secret. Whether it may stay known.
    pub(super) fn known_source_failed(&self, source: Source, key: KeyHash) -> bool {
        let (guesser, now) = (Guesser::KnownSource(source, key), Instant::now());
        let mut state = locked(&self.state);
        let turn = state.turns;
        state.budgets.spend(guesser, turn, now);
        state.budgets.wait(guesser, 0, now).is_zero()
    }

    /// Whether a source that is known has guesses left.
    pub(super) fn may_stay_known(&self, source: Source, key: KeyHash) -> bool {
        locked(&self.state).budgets.wait(Guesser::KnownSource(source, key), 0, Instant::now()).is_zero()
    }

    /// Whether a source that has sent the right secret may count as known: it has not guessed much.
    pub(super) fn may_be_known(&self, source: Source, key: KeyHash) -> bool {
        locked(&self.state).budgets.is_half_full(Guesser::KnownSource(source, key), Instant::now())
    }

    /// How many questions wait for a turn, or have one.
    pub(super) fn open(&self) -> usize {
        locked(&self.table).questions.len()
    }

    /// Ends the threads that wait for turns. Who waits for an answer sees that none will come.
    pub(super) fn close(&self) {
        let mut state = locked(&self.state);
        state.is_closed = true;
        state.waiting.clear();
        drop(state);
        self.changed.notify_all();
    }
}

enum Next {
    Turn(Job),
    /// All who wait have spent their budgets: the first may go then.
    After(Duration),
    Nobody,
}

impl State {
    /// Takes out the newest job of whoever has most among those `with` the newcomer, if it has at least two more than
    /// the newcomer has. Before a source that is known anybody else gives way.
    fn displace<G: Eq + Hash>(
        &mut self,
        newcomer: Asker,
        with: fn(&Asker, &Asker) -> bool,
        group: fn(&Asker) -> G,
    ) -> bool {
        let candidates = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, job)| !job.asker.is_known && with(&job.asker, &newcomer));
        let mut counts: HashMap<G, usize> = HashMap::new();
        for (_, job) in candidates.clone() {
            *counts.entry(group(&job.asker)).or_default() += 1;
        }
        let own = if newcomer.is_known { 0 } else { counts.get(&group(&newcomer)).map_or(1, |own| own + 1) };
        let Some((largest, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return false };
        let newest = candidates
            .filter(|(_, job)| group(&job.asker) == largest)
            .max_by_key(|(_, job)| job.number)
            .filter(|_| count > own);
        let Some((at, _)) = newest else { return false };
        // its sender goes with it, by which its request sees that it was turned away
        self.waiting.swap_remove(at);
        true
    }

    fn take_next(&mut self, now: Instant) -> Next {
        // nobody waits for these any more, but for the table
        self.waiting.retain(|job| job.answer.receiver_count() > 1);
        let mut first: Option<(usize, (bool, u64, u64, u64))> = None;
        let mut shortest: Option<Duration> = None;
        for (at, job) in self.waiting.iter().enumerate() {
            let [source, key] = job.asker.shares();
            if !job.asker.is_known {
                let wait = self.budgets.wait(source, 0, now).max(self.budgets.wait(key, 0, now));
                if !wait.is_zero() {
                    shortest = Some(shortest.map_or(wait, |shortest| shortest.min(wait)));
                    continue;
                }
            }
            let [one, other] =
                [source, key].map(|guesser| self.budgets.last_turn(guesser).max(job.came_after));
            let rank = (!job.asker.is_known, one.max(other), one.min(other), job.number);
            if first.is_none_or(|(_, least)| rank < least) {
                first = Some((at, rank));
            }
        }
        let Some((at, _)) = first else { return shortest.map_or(Next::Nobody, Next::After) };
        let job = self.waiting.swap_remove(at);
        self.turns += 1;
        for guesser in job.asker.pays() {
            self.budgets.spend(guesser, self.turns, now);
        }
        Next::Turn(job)
    }
}

impl Asker {
    /// With whom it shares its turns.
    fn shares(&self) -> [Guesser; 2] {
        [Guesser::Source(self.source), Guesser::AccessKey(self.key)]
    }

    /// Whose budgets its guess is taken from.
    fn pays(&self) -> impl Iterator<Item = Guesser> + use<> {
        let own = self.is_known.then_some(Guesser::KnownSource(self.source, self.key));
        let shared = (!self.is_known).then_some(self.shares());
        own.into_iter().chain(shared.into_iter().flatten())
    }
}
