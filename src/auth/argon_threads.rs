//! Threads that verify secrets by argon2, in the order of the queue.
//!
//! Every chosen secret comes through here, also one whose access key is unknown or whose answer memory knows: it waits
//! for its turn like any other, and only the run itself is left out. So neither waiting nor being turned away tells
//! which keys exist.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::argon::{ArgonError, Verifier};
use super::counters::Tally;
use super::fingerprint::Mac;
use super::guess_budget::KeyHash;
use super::turn_length::TurnLength;
use super::verification_queue::{Answer, Asked, Asker, Check, Job, Place, VerificationQueue};
use crate::config;
use crate::model::Source;

/// Why there is no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoVerdict {
    /// The queue is full, or the source's share of it, or too many wait for a guess already.
    Busy,
    /// The run failed.
    Failed(Option<ArgonError>),
}

/// A verdict, and the place in the source's share, which is given up when this is dropped.
pub(super) struct Verdict {
    pub(super) matches: bool,
    _place: Option<Arc<Place>>,
}

/// The threads and their queue. They end when this is dropped.
pub(super) struct ArgonThreads {
    queue: Arc<VerificationQueue>,
    tally: Arc<Tally>,
}

impl ArgonThreads {
    /// `longest_wait`: whoever would wait longer for a guess is turned away.
    pub(super) fn start(
        settings: &config::Argon2,
        throttle: &config::Throttle,
        longest_wait: Duration,
        tally: Arc<Tally>,
    ) -> io::Result<Self> {
        let queue = VerificationQueue::new(settings.queue, throttle, longest_wait);
        let (queue, turn_length) = (Arc::new(queue), Arc::<TurnLength>::default());
        let threads = Self { queue, tally };
        for number in 0..settings.threads.max(1) {
            let worker = Worker {
                verifier: Verifier::new(settings),
                settings: settings.clone(),
                queue: Arc::clone(&threads.queue),
                turn_length: Arc::clone(&turn_length),
                tally: Arc::clone(&threads.tally),
            };
            thread::Builder::new().name(format!("argon2-{number}")).spawn(move || worker.work())?;
        }
        Ok(threads)
    }

    /// The answer to `check`, when its turn has come. `question` stands for the pair and what it is verified against.
    ///
    /// Requests of one source with the same question wait for one run. A request that is given up leaves the run to
    /// the others; where there are none, it loses its turn.
    pub(super) async fn verify(
        &self,
        asker: Asker,
        question: Mac,
        check: Check,
    ) -> Result<Verdict, NoVerdict> {
        let (mut answer, place) = match self.queue.ask(asker, question, check) {
            Asked::Queued(answer, place) => {
                self.tally.argon2_queued.add_one();
                (answer, Some(place))
            }
            Asked::Shared(answer) => {
                self.tally.argon2_shared.add_one();
                (answer, None)
            }
            Asked::Full => {
                self.tally.argon2_queue_refusals.add_one();
                return Err(NoVerdict::Busy);
            }
        };
        // a sender that is gone without an answer had to give way in the queue, or its run panicked
        let answer = match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone(),
            Err(_) => None,
        };
        match answer {
            Some(Ok(matches)) => Ok(Verdict { matches, _place: place }),
            Some(Err(error)) => Err(NoVerdict::Failed(Some(error))),
            None => Err(NoVerdict::Failed(None)),
        }
    }

    /// A source that was known has sent a wrong secret. Whether it may stay known.
    pub(super) fn known_source_failed(&self, source: Source, key: KeyHash) -> bool {
        self.queue.known_source_failed(source, key)
    }

    /// Whether a source that is known has guesses left.
    pub(super) fn may_stay_known(&self, source: Source, key: KeyHash) -> bool {
        self.queue.may_stay_known(source, key)
    }

    /// Whether a source that has sent the right secret may count as known from now on.
    pub(super) fn may_be_known(&self, source: Source, key: KeyHash) -> bool {
        self.queue.may_be_known(source, key)
    }

    /// How many questions wait for a thread, or have one.
    pub(super) fn open(&self) -> usize {
        self.queue.open()
    }
}

impl Drop for ArgonThreads {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// One thread.
struct Worker {
    verifier: Verifier,
    settings: config::Argon2,
    queue: Arc<VerificationQueue>,
    turn_length: Arc<TurnLength>,
    tally: Arc<Tally>,
}

impl Worker {
    fn work(mut self) {
        while let Some(job) = self.queue.next() {
            let run = catch_unwind(AssertUnwindSafe(|| self.turn(&job)));
            if let Ok(answer) = run {
                self.queue.finish(job, &answer);
            } else {
                // the job goes and with it its sender: whoever waits sees that no answer will come
                self.tally.argon2_failures.add_one();
                self.verifier = Verifier::new(&self.settings);
            }
        }
    }

    /// A right answer is out at once, a wrong one at the end of its turn.
    fn turn(&mut self, job: &Job) -> Answer {
        let began = Instant::now();
        let waited = began.saturating_duration_since(job.asked);
        self.tally.argon2_wait_milliseconds.add(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
        let (answer, run) = match &job.check {
            Check::Settled(matches) => (Ok(*matches), None),
            Check::Hash { phc, secret } => {
                self.tally.argon2_runs.add_one();
                let answer = self.verifier.verify(phc, secret);
                (answer, Some(began.elapsed()))
            }
        };
        match answer {
            Ok(true) => {}
            Ok(false) => {
                if self.turn_length.is_measured(began) {
                    let run = run.unwrap_or_else(|| self.run_of_a_decoy());
                    self.turn_length.count(run, began);
                } else if run.is_none() {
                    thread::sleep(self.turn_length.any_run());
                }
                thread::sleep(self.turn_length.least().saturating_sub(began.elapsed()));
            }
            Err(_) => self.tally.argon2_failures.add_one(),
        }
        answer
    }

    /// How long a run takes now.
    fn run_of_a_decoy(&mut self) -> Duration {
        self.tally.argon2_measurements.add_one();
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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::super::argon::hash_secret;
    use super::super::argon::tests::cheap;
    use zeroize::Zeroizing;

    use super::*;

    const LONGEST_WAIT: Duration = Duration::from_secs(10);

    fn threads(settings: &config::Argon2) -> (ArgonThreads, Arc<Tally>) {
        threads_with(settings, &config::Throttle { failures: 60_000, ..config::Throttle::default() })
    }

    fn threads_with(settings: &config::Argon2, throttle: &config::Throttle) -> (ArgonThreads, Arc<Tally>) {
        let tally = Arc::<Tally>::default();
        (ArgonThreads::start(settings, throttle, LONGEST_WAIT, Arc::clone(&tally)).unwrap(), tally)
    }

    /// Somebody at `source` who guesses at one access key.
    fn asker(source: Source) -> Asker {
        Asker { source, key: 1, is_known: false }
    }

    fn check(phc: Option<&str>, secret: &[u8]) -> Check {
        phc.map_or(Check::Settled(false), |phc| Check::Hash {
            phc: phc.to_owned(),
            secret: Zeroizing::new(secret.to_vec()),
        })
    }

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    fn question(number: u8) -> Mac {
        Mac([number; 32])
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// One poll, as a request that then waits.
    fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Takes a few hundred milliseconds: longer than a test needs to ask more.
    fn slow() -> (config::Argon2, String) {
        let settings = config::Argon2 {
            memory_kib: 64 << 10,
            iterations: 4,
            threads: 1,
            queue: 4,
            memory_limit: 64 << 20,
            ..cheap()
        };
        let phc = hash_secret(&settings, b"secret").unwrap();
        (settings, phc)
    }

    #[test]
    fn right_and_wrong_and_unknown() {
        let (threads, tally) = threads(&cheap());
        let phc = hash_secret(&cheap(), b"secret").unwrap();
        let ask = |number, phc, secret| {
            let verdict = block_on(threads.verify(asker(source(1)), question(number), check(phc, secret)));
            verdict.ok().map(|verdict| verdict.matches)
        };
        assert_eq!(ask(1, Some(phc.as_str()), &b"secret"[..]), Some(true));
        assert_eq!(ask(2, Some(phc.as_str()), b"wrong"), Some(false));
        assert_eq!(tally.read().argon2_runs, 2);
        assert_eq!(ask(3, None, b"secret"), Some(false));
        assert_eq!(tally.read().argon2_runs, 2, "nothing to verify against costs no run");
    }

    #[test]
    fn one_run_however_many_wait() {
        let (settings, phc) = slow();
        let (threads, tally) = threads(&settings);
        let ask = || threads.verify(asker(source(1)), question(1), check(Some(&phc), b"secret"));
        let verdicts = block_on(async {
            let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(ask())).collect();
            for future in &mut waiting {
                assert!(poll_once(future.as_mut()).is_pending());
            }
            let mut verdicts = Vec::new();
            for future in waiting {
                verdicts.push(future.await.map(|verdict| verdict.matches));
            }
            verdicts
        });
        assert_eq!(verdicts, vec![Ok(true); 50]);
        assert_eq!((tally.read().argon2_runs, tally.read().argon2_shared), (1, 49));
    }

    #[test]
    fn the_first_asker_may_leave_without_harm_to_the_others() {
        let (settings, phc) = slow();
        let (threads, tally) = threads(&settings);
        let ask = || threads.verify(asker(source(1)), question(1), check(Some(&phc), b"secret"));
        let mut second = Box::pin(ask());
        {
            let mut first = pin!(ask());
            assert!(poll_once(first.as_mut()).is_pending());
            assert!(poll_once(second.as_mut()).is_pending());
        }
        assert_eq!(block_on(second).map(|verdict| verdict.matches), Ok(true));
        assert_eq!(tally.read().argon2_runs, 1);
    }

    #[test]
    fn a_source_has_its_share_of_the_queue_and_others_have_theirs() {
        let (settings, phc) = slow();
        let (threads, _) = threads(&settings);
        let known = threads.verify(asker(source(1)), question(1), check(Some(&phc), b"secret"));
        let mut known = pin!(known);
        assert!(poll_once(known.as_mut()).is_pending());
        // a quarter of four is one: the next is turned away, whether its key is known or not
        for phc in [Some(phc.as_str()), None] {
            let mut more = pin!(threads.verify(asker(source(1)), question(2), check(phc, b"secret")));
            assert!(matches!(poll_once(more.as_mut()), Poll::Ready(Err(NoVerdict::Busy))));
        }
        let mut other = pin!(threads.verify(asker(source(2)), question(3), check(None, b"secret")));
        assert!(poll_once(other.as_mut()).is_pending());
        // hanging up frees no place while the question is in the queue
        {
            let mut left = pin!(threads.verify(asker(source(3)), question(4), check(None, b"secret")));
            assert!(poll_once(left.as_mut()).is_pending());
        }
        let mut again = pin!(threads.verify(asker(source(3)), question(5), check(None, b"secret")));
        assert!(matches!(poll_once(again.as_mut()), Poll::Ready(Err(NoVerdict::Busy))));
    }

    #[test]
    fn a_verdict_keeps_its_place_until_it_is_dropped() {
        let (threads, _) = threads(&config::Argon2 { queue: 4, ..cheap() });
        let ask =
            |number| block_on(threads.verify(asker(source(1)), question(number), check(None, b"secret")));
        let Ok(refused) = ask(1) else { panic!("the first has a place") };
        assert!(matches!(ask(2), Err(NoVerdict::Busy)));
        drop(refused);
        // the thread lets go of its own hold a moment after it has answered
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while ask(2).is_err() {
            assert!(std::time::Instant::now() < deadline, "the place is never given up");
            thread::yield_now();
        }
    }

    #[test]
    fn a_full_queue_turns_away() {
        const ASKED: u8 = 64;
        let (settings, phc) = slow();
        let (threads, tally) = threads(&settings);
        let mut waiting: Vec<_> = (0..ASKED)
            .map(|number| {
                Box::pin(threads.verify(
                    asker(source(number)),
                    question(number),
                    check(Some(&phc), b"secret"),
                ))
            })
            .collect();
        let polled: Vec<_> = waiting.iter_mut().map(|future| poll_once(future.as_mut())).collect();
        assert!(polled[..4].iter().all(Poll::is_pending));
        // one may run, four wait; on a busy machine some may be through before the last has asked
        let refused = polled.iter().filter(|poll| matches!(poll, Poll::Ready(Err(NoVerdict::Busy)))).count();
        assert!(refused >= usize::from(ASKED) / 2, "{refused} were turned away");
        let counted = tally.read();
        assert_eq!(counted.argon2_queue_refusals, refused as u64);
        assert_eq!(counted.argon2_queued, u64::from(ASKED) - refused as u64);
        assert!((1..=5).contains(&threads.open()), "{} are open", threads.open());
        let deadline = Instant::now() + Duration::from_secs(10);
        while tally.read().argon2_wait_milliseconds == 0 {
            assert!(Instant::now() < deadline, "those behind the first have not waited");
            thread::yield_now();
        }
        // who gives up loses the turn
        drop(waiting);
        while threads.open() > 0 {
            assert!(Instant::now() < deadline, "the queue never empties");
            thread::yield_now();
        }
    }

    #[test]
    fn a_record_that_cannot_be_verified_is_no_verdict_and_harms_nobody_after_it() {
        let (threads, tally) = threads(&cheap());
        let broken =
            block_on(threads.verify(asker(source(1)), question(1), check(Some("$argon2id$"), b"secret")));
        assert!(matches!(broken, Err(NoVerdict::Failed(Some(ArgonError::Form)))));
        assert_eq!(tally.read().argon2_failures, 1);
        let phc = hash_secret(&cheap(), b"secret").unwrap();
        let verdict = block_on(threads.verify(asker(source(1)), question(2), check(Some(&phc), b"secret")));
        assert_eq!(verdict.map(|verdict| verdict.matches), Ok(true));
    }

    /// Questions that have been put, and the order in which they are answered.
    fn order(threads: &ArgonThreads, askers: &[Asker], phc: &str) -> Vec<usize> {
        let mut waiting: Vec<_> = (0..)
            .zip(askers)
            .map(|(number, asker)| {
                Box::pin(threads.verify(*asker, question(number), check(Some(phc), b"wrong")))
            })
            .map(Some)
            .collect();
        let mut order = Vec::new();
        let deadline = Instant::now() + Duration::from_mins(1);
        while order.len() < askers.len() {
            assert!(Instant::now() < deadline, "{order:?}");
            for (number, place) in waiting.iter_mut().enumerate() {
                let Some(future) = place else { continue };
                if poll_once(future.as_mut()).is_ready() {
                    *place = None;
                    order.push(number);
                }
            }
            thread::sleep(Duration::from_micros(100));
        }
        order
    }

    #[test]
    fn case_106_turns_are_shared_between_sources_and_between_keys() {
        let settings =
            config::Argon2 { memory_kib: 8 << 10, threads: 1, queue: 256, memory_limit: 16 << 20, ..cheap() };
        let phc = hash_secret(&settings, b"secret").unwrap();
        let of = |last: u8, key: KeyHash| Asker { source: source(last), key, is_known: false };
        for (attack, askers, innocent) in [
            ("one source, one key", vec![of(1, 1); 30], of(2, 2)),
            ("one source, one key, the same source", vec![of(1, 1); 30], of(1, 2)),
            ("one source, one key, the same key", vec![of(1, 1); 30], of(2, 1)),
            ("one source, many keys", (0..30).map(|key| of(1, key + 10)).collect(), of(2, 2)),
            ("many sources, one key", (0..30).map(|last| of(last + 10, 1)).collect(), of(2, 2)),
        ] {
            let (threads, _) = threads(&settings);
            let askers: Vec<_> = askers.into_iter().chain([innocent]).collect();
            let order = order(&threads, &askers, &phc);
            let place = order.iter().position(|number| *number == 30).unwrap();
            // one may have had its turn when the innocent came, and one begins while it comes
            assert!(place <= 4, "{attack}: {order:?}");
        }
        // known askers come first
        let (threads, _) = threads(&settings);
        let known = Asker { is_known: true, ..of(9, 1) };
        let askers: Vec<_> = (0..30).map(|last| of(last + 10, 1)).chain([known]).collect();
        let order = order(&threads, &askers, &phc);
        assert!(order.iter().position(|number| *number == 30).unwrap() <= 2, "{order:?}");
    }

    #[test]
    fn case_106_whoever_has_most_gives_way_where_a_place_is_missing() {
        let (settings, phc) = slow();
        let settings = config::Argon2 { queue: 16, ..settings };
        let (threads, _) = threads(&settings);
        let ask = |number: u8, last: u8, key: KeyHash| {
            let asker = Asker { source: source(last), key, is_known: false };
            Box::pin(threads.verify(asker, question(number), check(Some(&phc), b"wrong")))
        };
        // four sources with all that one may have
        let mut attack: Vec<_> = (0..16).map(|number| ask(number, number / 4, 1)).collect();
        for future in &mut attack {
            assert!(poll_once(future.as_mut()).is_pending());
        }
        // one has its turn by now, perhaps
        let mut more = ask(16, 0, 1);
        let _ = poll_once(more.as_mut());
        let mut innocent = ask(20, 9, 2);
        assert!(poll_once(innocent.as_mut()).is_pending(), "the newcomer has a place");
        let mut neighbour = ask(21, 1, 2);
        assert!(poll_once(neighbour.as_mut()).is_pending(), "another key of the same source has one, too");
        let away = attack
            .iter_mut()
            .map(|future| poll_once(future.as_mut()).is_ready())
            .filter(|gone| *gone)
            .count();
        assert!((1..=3).contains(&away), "{away} gave way");
    }

    #[test]
    fn case_104_guesses_beyond_the_budget_wait_and_right_ones_cost_nothing() {
        let throttle = config::Throttle {
            failures: 4,
            key_failures: 6,
            window: Duration::from_secs(2),
            ..config::Throttle::default()
        };
        let settings = config::Argon2 { queue: 64, ..cheap() };
        let (threads, _) = threads_with(&settings, &throttle);
        let phc = hash_secret(&settings, b"secret").unwrap();
        let ask = |number: u8, last: u8, key: KeyHash, secret: &[u8]| {
            let asker = Asker { source: source(last), key, is_known: false };
            block_on(threads.verify(asker, question(number), check(Some(&phc), secret)))
                .map(|verdict| verdict.matches)
        };
        let began = Instant::now();
        for number in 0..20 {
            assert_eq!(ask(number, 1, 1, b"secret"), Ok(true));
        }
        for number in 0..6 {
            assert_eq!(ask(100 + number, 1, 1, b"wrong"), Ok(false));
        }
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
        // the key's own budget: other sources have what is left of it
        let began = Instant::now();
        for number in 0..6 {
            assert_eq!(ask(120 + number, 10 + number, 1, b"wrong"), Ok(false));
        }
        assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
        let began = Instant::now();
        assert_eq!(ask(140, 99, 2, b"wrong"), Ok(false));
        assert!(began.elapsed() < Duration::from_millis(500), "another key has its own budget");
    }
}
