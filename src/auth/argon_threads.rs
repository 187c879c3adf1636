//! Threads that run argon2, and who may wait for them.
//!
//! Every credential that no cheaper rung can judge comes through here, also one whose access key is unknown: it waits
//! for its turn like any other, and only the run itself is left out. So neither waiting nor being turned away tells
//! which keys exist.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::argon::{ArgonError, Verifier};
use super::counters::Tally;
use super::fingerprint::Mac;
use super::throttle::Source;
use crate::config;

/// Why there is no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoVerdict {
    /// The queue, or the source's share of it, is full.
    Busy,
    /// The run failed.
    Failed(Option<ArgonError>),
}

/// A verdict, and the place in the source's share, which is given up when this is dropped.
pub(super) struct Verdict {
    pub(super) matches: bool,
    _place: Option<Arc<Place>>,
}

/// What came of a run.
type Answer = Result<bool, ArgonError>;

/// Where the answer of a run appears.
type Awaited = watch::Receiver<Option<Answer>>;

/// One question for the threads.
struct Job {
    /// `None`: there is nothing to verify against, and the answer is no.
    phc: Option<String>,
    secret: Zeroizing<Vec<u8>>,
    answer: watch::Sender<Option<Answer>>,
    asked: Instant,
    // after `answer`: who finds the question in the table finds it answered, or able to be answered
    _place: Arc<Place>,
}

/// What is being asked now: one entry a question, however many requests wait for its answer.
#[derive(Default)]
struct Table {
    questions: HashMap<[u8; 32], Awaited>,
    by_source: HashMap<Source, usize>,
}

/// A question's entry in the table. It ends when the run is over and the request that asked first has its answer
/// out, so that hanging up early frees no place.
struct Place {
    table: Arc<Mutex<Table>>,
    question: [u8; 32],
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = locked(&self.table);
        table.questions.remove(&self.question);
        if let Some(places) = table.by_source.get_mut(&self.source) {
            *places -= 1;
            if *places == 0 {
                table.by_source.remove(&self.source);
            }
        }
    }
}

fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // nothing panics while it holds the lock, and a table after a panic would still be a table
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The threads and their queue. They end when this is dropped, after the jobs that are queued.
pub(super) struct ArgonThreads {
    jobs: SyncSender<Job>,
    table: Arc<Mutex<Table>>,
    share: usize,
    tally: Arc<Tally>,
}

/// A source may have this part of the queue.
const SHARES: usize = 4;

impl ArgonThreads {
    pub(super) fn start(settings: &config::Argon2, tally: Arc<Tally>) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(settings.queue);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..settings.threads.max(1) {
            let (queue, tally, settings) = (Arc::clone(&queue), Arc::clone(&tally), settings.clone());
            thread::Builder::new()
                .name(format!("argon2-{number}"))
                .spawn(move || work(&queue, &settings, &tally))?;
        }
        let share = (settings.queue / SHARES).max(1);
        Ok(Self { jobs, table: Arc::default(), share, tally })
    }

    /// Whether `secret` is what `phc` was made of. `question` stands for both.
    ///
    /// Requests with the same question wait for one run. A request that is given up leaves the run to the others.
    pub(super) async fn verify(
        &self,
        question: Mac,
        source: Source,
        phc: Option<&str>,
        secret: &[u8],
    ) -> Result<Verdict, NoVerdict> {
        let (mut answer, place) = self.ask(question, source, phc, secret)?;
        // a sender that is gone without an answer was turned away by the queue, or its run panicked
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

    /// Puts the question, or joins those who wait for its answer.
    fn ask(
        &self,
        question: Mac,
        source: Source,
        phc: Option<&str>,
        secret: &[u8],
    ) -> Result<(Awaited, Option<Arc<Place>>), NoVerdict> {
        let Mac(question) = question;
        let (sender, receiver) = watch::channel(None);
        let place = {
            let mut table = locked(&self.table);
            if let Some(answer) = table.questions.get(&question) {
                self.tally.argon2_shared.add_one();
                return Ok((answer.clone(), None));
            }
            let places = table.by_source.entry(source).or_default();
            if *places >= self.share {
                self.tally.argon2_queue_refusals.add_one();
                return Err(NoVerdict::Busy);
            }
            *places += 1;
            table.questions.insert(question, receiver.clone());
            Arc::new(Place { table: Arc::clone(&self.table), question, source })
        };
        let job = Job {
            phc: phc.map(str::to_owned),
            secret: Zeroizing::new(secret.to_vec()),
            answer: sender,
            asked: Instant::now(),
            _place: Arc::clone(&place),
        };
        self.jobs.try_send(job).map_err(|_| {
            self.tally.argon2_queue_refusals.add_one();
            NoVerdict::Busy
        })?;
        self.tally.argon2_queued.add_one();
        Ok((receiver, Some(place)))
    }

    /// How many questions wait for a thread, or have one.
    pub(super) fn open(&self) -> usize {
        locked(&self.table).questions.len()
    }
}

/// The life of one thread.
fn work(queue: &Mutex<Receiver<Job>>, settings: &config::Argon2, tally: &Tally) {
    let mut verifier = Verifier::new(settings);
    loop {
        // the lock is held while waiting: one thread waits for a job, the others for the lock
        let Ok(job) = queue.lock().unwrap_or_else(PoisonError::into_inner).recv() else { return };
        let run = catch_unwind(AssertUnwindSafe(|| job.answer(&mut verifier, tally)));
        if run.is_err() {
            // the job is gone and with it its sender: whoever waits sees that no answer will come
            tally.argon2_failures.add_one();
            verifier = Verifier::new(settings);
        }
    }
}

impl Job {
    fn answer(self, verifier: &mut Verifier, tally: &Tally) {
        let waited = u64::try_from(self.asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        tally.argon2_wait_milliseconds.add(waited);
        let answer = match &self.phc {
            Some(phc) => {
                tally.argon2_runs.add_one();
                verifier.verify(phc, &self.secret)
            }
            None => Ok(false),
        };
        if answer.is_err() {
            tally.argon2_failures.add_one();
        }
        self.answer.send_replace(Some(answer));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::super::argon::hash_secret;
    use super::super::argon::tests::cheap;
    use super::*;

    fn threads(settings: &config::Argon2) -> (ArgonThreads, Arc<Tally>) {
        let tally = Arc::<Tally>::default();
        (ArgonThreads::start(settings, Arc::clone(&tally)).unwrap(), tally)
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
            let verdict = block_on(threads.verify(question(number), source(1), phc, secret));
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
        let ask = || threads.verify(question(1), source(1), Some(&phc), b"secret");
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
        let ask = || threads.verify(question(1), source(1), Some(&phc), b"secret");
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
        let known = threads.verify(question(1), source(1), Some(&phc), b"secret");
        let mut known = pin!(known);
        assert!(poll_once(known.as_mut()).is_pending());
        // a quarter of four is one: the next is turned away, whether its key is known or not
        for phc in [Some(phc.as_str()), None] {
            let mut more = pin!(threads.verify(question(2), source(1), phc, b"secret"));
            assert!(matches!(poll_once(more.as_mut()), Poll::Ready(Err(NoVerdict::Busy))));
        }
        let mut other = pin!(threads.verify(question(3), source(2), None, b"secret"));
        assert!(poll_once(other.as_mut()).is_pending());
        // hanging up frees no place while the question is in the queue
        {
            let mut left = pin!(threads.verify(question(4), source(3), None, b"secret"));
            assert!(poll_once(left.as_mut()).is_pending());
        }
        let mut again = pin!(threads.verify(question(5), source(3), None, b"secret"));
        assert!(matches!(poll_once(again.as_mut()), Poll::Ready(Err(NoVerdict::Busy))));
    }

    #[test]
    fn a_verdict_keeps_its_place_until_it_is_dropped() {
        let (threads, _) = threads(&config::Argon2 { queue: 4, ..cheap() });
        let ask = |number| block_on(threads.verify(question(number), source(1), None, b"secret"));
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
            .map(|number| Box::pin(threads.verify(question(number), source(number), Some(&phc), b"secret")))
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
        drop(waiting);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while threads.open() > 0 {
            assert!(std::time::Instant::now() < deadline, "the queue never empties");
            thread::yield_now();
        }
        assert!(tally.read().argon2_wait_milliseconds > 0, "those behind the first have waited");
    }

    #[test]
    fn a_record_that_cannot_be_verified_is_no_verdict_and_harms_nobody_after_it() {
        let (threads, tally) = threads(&cheap());
        let broken = block_on(threads.verify(question(1), source(1), Some("$argon2id$"), b"secret"));
        assert!(matches!(broken, Err(NoVerdict::Failed(Some(ArgonError::Form)))));
        assert_eq!(tally.read().argon2_failures, 1);
        let phc = hash_secret(&cheap(), b"secret").unwrap();
        let verdict = block_on(threads.verify(question(2), source(1), Some(&phc), b"secret"));
        assert_eq!(verdict.map(|verdict| verdict.matches), Ok(true));
    }
}
