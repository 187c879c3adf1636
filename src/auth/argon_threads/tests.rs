use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::super::argon::hash_secret;
use super::super::argon::tests::cheap;
use super::super::failed_key_cache::Verifiers;
use super::super::inner_hash::InnerHash;
use zeroize::Zeroizing;

use super::*;
use crate::store::KeyVerifier;

const LONGEST_WAIT: Duration = Duration::from_secs(10);

fn threads(settings: &config::Argon2) -> (ArgonThreads, Arc<AtomicCounters>) {
    threads_with(settings, &config::Throttle { failures: 60_000, ..config::Throttle::default() })
}

fn threads_with(
    settings: &config::Argon2,
    throttle: &config::Throttle,
) -> (ArgonThreads, Arc<AtomicCounters>) {
    let counters = Arc::<AtomicCounters>::default();
    (ArgonThreads::start(settings, throttle, LONGEST_WAIT, Arc::clone(&counters)).unwrap(), counters)
}

/// Somebody at `source` who guesses at one access key.
fn requester(source: ClientSource) -> Requester {
    Requester { source, key: 1, is_known: false }
}

fn check(phc: Option<&str>, secret: &[u8]) -> Verification {
    phc.map_or(Verification::KnownOutcome(None), |phc| Verification::Argon2 {
        verifiers: Arc::new(Verifiers {
            key: crate::model::KeyId::from_row(1),
            current: KeyVerifier { phc: phc.to_owned(), fingerprint: None, inner: None },
            since: jiff::Timestamp::UNIX_EPOCH,
            former: None,
        }),
        secret: Zeroizing::new(secret.to_vec()),
    })
}

fn source(last: u8) -> ClientSource {
    ClientSource::of([192, 0, 2, last].into())
}

fn run_id(number: u8) -> Mac {
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
    let (threads, counters) = threads(&cheap());
    let phc = hash_secret(&cheap(), b"secret").unwrap();
    let ask = |number, phc, secret| {
        let answer = block_on(threads.verify(requester(source(1)), run_id(number), check(phc, secret)));
        answer.ok().map(|answer| answer.matched.is_some())
    };
    assert_eq!(ask(1, Some(phc.as_str()), &b"secret"[..]), Some(true));
    assert_eq!(ask(2, Some(phc.as_str()), b"wrong"), Some(false));
    assert_eq!(counters.read().argon2_runs, 2);
    assert_eq!(ask(3, None, b"secret"), Some(false));
    assert_eq!(counters.read().argon2_runs, 2, "nothing to verify against costs no run");
}

#[test]
fn one_run_however_many_wait() {
    let (settings, phc) = slow();
    let (threads, counters) = threads(&settings);
    let ask = || threads.verify(requester(source(1)), run_id(1), check(Some(&phc), b"secret"));
    let answers = block_on(async {
        let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(ask())).collect();
        for future in &mut waiting {
            assert!(poll_once(future.as_mut()).is_pending());
        }
        let mut answers = Vec::new();
        for future in waiting {
            answers.push(future.await.map(|answer| answer.matched.is_some()));
        }
        answers
    });
    assert_eq!(answers, vec![Ok(true); 50]);
    assert_eq!((counters.read().argon2_runs, counters.read().argon2_shared), (1, 49));
}

#[test]
fn the_first_asker_may_leave_without_harm_to_the_others() {
    let (settings, phc) = slow();
    let (threads, counters) = threads(&settings);
    let ask = || threads.verify(requester(source(1)), run_id(1), check(Some(&phc), b"secret"));
    let mut second = Box::pin(ask());
    {
        let mut first = pin!(ask());
        assert!(poll_once(first.as_mut()).is_pending());
        assert!(poll_once(second.as_mut()).is_pending());
    }
    assert_eq!(block_on(second).map(|answer| answer.matched.is_some()), Ok(true));
    assert_eq!(counters.read().argon2_runs, 1);
}

#[test]
fn a_source_has_its_share_of_the_queue_and_others_have_theirs() {
    let (settings, phc) = slow();
    let (threads, _) = threads(&settings);
    let known = threads.verify(requester(source(1)), run_id(1), check(Some(&phc), b"secret"));
    let mut known = pin!(known);
    assert!(poll_once(known.as_mut()).is_pending());
    // a quarter of four is one: the next is turned away, whether its key is known or not
    for phc in [Some(phc.as_str()), None] {
        let mut more = pin!(threads.verify(requester(source(1)), run_id(2), check(phc, b"secret")));
        assert!(matches!(poll_once(more.as_mut()), Poll::Ready(Err(VerificationError::Busy))));
    }
    let mut other = pin!(threads.verify(requester(source(2)), run_id(3), check(None, b"secret")));
    assert!(poll_once(other.as_mut()).is_pending());
    // hanging up frees no slot while the run is in the queue
    {
        let mut left = pin!(threads.verify(requester(source(3)), run_id(4), check(None, b"secret")));
        assert!(poll_once(left.as_mut()).is_pending());
    }
    let mut again = pin!(threads.verify(requester(source(3)), run_id(5), check(None, b"secret")));
    assert!(matches!(poll_once(again.as_mut()), Poll::Ready(Err(VerificationError::Busy))));
}

#[test]
fn a_verdict_keeps_its_place_until_it_is_dropped() {
    let (threads, _) = threads(&config::Argon2 { queue: 4, ..cheap() });
    let ask = |number| block_on(threads.verify(requester(source(1)), run_id(number), check(None, b"secret")));
    let Ok(refused) = ask(1) else { panic!("the first has a place") };
    assert!(matches!(ask(2), Err(VerificationError::Busy)));
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
    let (threads, counters) = threads(&settings);
    let mut waiting: Vec<_> = (0..ASKED)
        .map(|number| {
            Box::pin(threads.verify(requester(source(number)), run_id(number), check(Some(&phc), b"secret")))
        })
        .collect();
    let polled: Vec<_> = waiting.iter_mut().map(|future| poll_once(future.as_mut())).collect();
    assert!(polled[..4].iter().all(Poll::is_pending));
    // one may run, four wait; on a busy machine some may be through before the last has asked
    let refused =
        polled.iter().filter(|poll| matches!(poll, Poll::Ready(Err(VerificationError::Busy)))).count();
    assert!(refused >= usize::from(ASKED) / 2, "{refused} were turned away");
    let counted = counters.read();
    assert_eq!(counted.argon2_queue_refusals, refused as u64);
    assert_eq!(counted.argon2_queued, u64::from(ASKED) - refused as u64);
    assert!((1..=5).contains(&threads.pending()), "{} are open", threads.pending());
    let deadline = Instant::now() + Duration::from_secs(10);
    while counters.read().argon2_wait_milliseconds == 0 {
        assert!(Instant::now() < deadline, "those behind the first have not waited");
        thread::yield_now();
    }
    // who gives up loses the turn
    drop(waiting);
    while threads.pending() > 0 {
        assert!(Instant::now() < deadline, "the queue never empties");
        thread::yield_now();
    }
}

#[test]
fn a_record_that_cannot_be_verified_is_no_verdict_and_harms_nobody_after_it() {
    let (threads, counters) = threads(&cheap());
    let broken =
        block_on(threads.verify(requester(source(1)), run_id(1), check(Some("$argon2id$"), b"secret")));
    assert!(matches!(broken, Err(VerificationError::Failed(Some(ArgonError::InvalidHash)))));
    assert_eq!(counters.read().argon2_failures, 1);
    let phc = hash_secret(&cheap(), b"secret").unwrap();
    let answer = block_on(threads.verify(requester(source(1)), run_id(2), check(Some(&phc), b"secret")));
    assert_eq!(answer.map(|answer| answer.matched.is_some()), Ok(true));
}

/// Questions that have been put, and the order in which they are answered.
fn order(threads: &ArgonThreads, requesters: &[Requester], phc: &str) -> Vec<usize> {
    let mut waiting: Vec<_> = (0..)
        .zip(requesters)
        .map(|(number, requester)| {
            Box::pin(threads.verify(*requester, run_id(number), check(Some(phc), b"wrong")))
        })
        .map(Some)
        .collect();
    let mut order = Vec::new();
    let deadline = Instant::now() + Duration::from_mins(1);
    while order.len() < requesters.len() {
        assert!(Instant::now() < deadline, "{order:?}");
        for (number, slot) in waiting.iter_mut().enumerate() {
            let Some(future) = slot else { continue };
            if poll_once(future.as_mut()).is_ready() {
                *slot = None;
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
    let of = |last: u8, key: AccessKeyHash| Requester { source: source(last), key, is_known: false };
    for (attack, requesters, innocent) in [
        ("one source, one key", vec![of(1, 1); 30], of(2, 2)),
        ("one source, one key, the same source", vec![of(1, 1); 30], of(1, 2)),
        ("one source, one key, the same key", vec![of(1, 1); 30], of(2, 1)),
        ("one source, many keys", (0..30).map(|key| of(1, key + 10)).collect(), of(2, 2)),
        ("many sources, one key", (0..30).map(|last| of(last + 10, 1)).collect(), of(2, 2)),
    ] {
        let (threads, _) = threads(&settings);
        let requesters: Vec<_> = requesters.into_iter().chain([innocent]).collect();
        let order = order(&threads, &requesters, &phc);
        let place = order.iter().position(|number| *number == 30).unwrap();
        // one may have had its turn when the innocent came, and one begins while it comes
        assert!(place <= 4, "{attack}: {order:?}");
    }
    // known requesters come first
    let (threads, _) = threads(&settings);
    let known = Requester { is_known: true, ..of(9, 1) };
    let requesters: Vec<_> = (0..30).map(|last| of(last + 10, 1)).chain([known]).collect();
    let order = order(&threads, &requesters, &phc);
    assert!(order.iter().position(|number| *number == 30).unwrap() <= 2, "{order:?}");
}

#[test]
fn case_106_whoever_has_most_gives_way_where_a_place_is_missing() {
    let (settings, phc) = slow();
    let settings = config::Argon2 { queue: 16, ..settings };
    let (threads, _) = threads(&settings);
    let ask = |number: u8, last: u8, key: AccessKeyHash| {
        let requester = Requester { source: source(last), key, is_known: false };
        Box::pin(threads.verify(requester, run_id(number), check(Some(&phc), b"wrong")))
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
    let away =
        attack.iter_mut().map(|future| poll_once(future.as_mut()).is_ready()).filter(|gone| *gone).count();
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
    let ask = |number: u8, last: u8, key: AccessKeyHash, secret: &[u8]| {
        let requester = Requester { source: source(last), key, is_known: false };
        block_on(threads.verify(requester, run_id(number), check(Some(&phc), secret)))
            .map(|answer| answer.matched.is_some())
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

/// A secret that was imported with bcrypt, at a cost of four runs of argon2id.
fn imported() -> KeyVerifier {
    let inner: InnerHash = "$2b$10$MPUAWTDo3iU22iaUClcVue".parse().unwrap();
    let phc = Verifier::new(&cheap()).hash(&cheap(), &inner.output(b"secret").unwrap()).unwrap();
    KeyVerifier { phc, fingerprint: None, inner: Some(inner.to_string()) }
}

fn check_imported(verifier: &KeyVerifier, secret: &[u8]) -> Verification {
    Verification::Argon2 {
        verifiers: Arc::new(Verifiers {
            key: crate::model::KeyId::from_row(1),
            current: verifier.clone(),
            since: jiff::Timestamp::UNIX_EPOCH,
            former: None,
        }),
        secret: Zeroizing::new(secret.to_vec()),
    }
}

#[test]
fn a_wrong_guess_at_slow_bcrypt_costs_its_source_more_guesses() {
    let throttle = config::Throttle {
        failures: 10,
        key_failures: 60_000,
        window: Duration::from_hours(1),
        ..config::Throttle::default()
    };
    let (threads, _) = threads_with(&cheap(), &throttle);
    let verifier = imported();
    let ask = |from, number, secret: &[u8]| {
        let check = check_imported(&verifier, secret);
        block_on(threads.verify(requester(source(from)), run_id(number), check))
            .map(|answer| answer.matched.is_some())
    };
    for number in 0..3 {
        assert_eq!(ask(1, number, b"secret"), Ok(true), "a right secret costs nothing");
    }
    assert_eq!((ask(1, 10, b"one"), ask(1, 11, b"two")), (Ok(false), Ok(false)));
    assert_eq!(ask(1, 12, b"three"), Err(VerificationError::Busy), "two cost ten guesses");
    assert_eq!(ask(2, 13, b"three"), Ok(false), "another source has its own");
    assert_eq!(ask(3, 14, b"secret"), Ok(true), "the key's own users are not kept out");
}

#[test]
fn a_right_imported_secret_leaves_one_hash_that_replaces_the_old_one() {
    let (threads, _) = threads(&config::Argon2 { threads: 1, ..cheap() });
    let verifier = imported();
    for (number, secret) in [(1, &b"wrong"[..]), (2, b"secret"), (3, b"secret"), (4, b"wrong")] {
        let check = check_imported(&verifier, secret);
        let answer = block_on(threads.verify(requester(source(number)), run_id(number), check)).unwrap();
        assert_eq!(answer.matched.is_some(), secret == b"secret");
    }
    // the thread has taken the last one: it is done with those before
    let pending = threads.rehashes().some(10);
    assert_eq!(pending.len(), 1, "{pending:?}");
    assert_eq!(pending[0].old_phc, verifier.phc);
    assert_eq!(Verifier::new(&cheap()).verify(&pending[0].new_phc, b"secret"), Ok(true));
    threads.rehashes().remove(&pending);
    assert!(threads.rehashes().some(10).is_empty());
}
