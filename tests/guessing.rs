//! Guesses at chosen secrets, cases 104 to 106: they are limited, reveal nothing, and hold up nobody else.

mod support;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::PATIENCE;
use support::cli::{Key, basic};
use support::http1::{Client, Request, fresh_source};
use support::http2;
use support::stage::Stage;

const PATH: &str = "/v1/projects/e1/x";

fn get(authorization: impl AsRef<[u8]>) -> Vec<u8> {
    Request::get(PATH).header("Authorization", authorization).end()
}

/// The status of one request from `source`, on a connection of its own.
fn status(stage: &Stage, source: Ipv4Addr, key: &Key) -> u16 {
    let mut client = Client::connect_from(source, stage.gateway.http());
    client.send(get(key.authorization()));
    client.read().status
}

// --- 104: how many guesses are answered ---

const FAILURES: u64 = 20;
const KEY_FAILURES: u64 = 60;
const WINDOW_SECONDS: u64 = 10;
const TIMEOUT_SECONDS: u64 = 2;

fn stage_of_guesses() -> (Stage, Key) {
    let stage = Stage::with(|plan| {
        plan.top(&format!(
            "argon2: {{ memory: 1MiB }}\n\
             throttle: {{ failures: {FAILURES}, key_failures: {KEY_FAILURES}, window: {WINDOW_SECONDS}s }}\n\
             authentication: {{ refusal_time: 20ms, verification_timeout: {TIMEOUT_SECONDS}s }}\n"
        ))
    });
    let key = stage.gateway.import_environment_key("e1", "chosen", "a chosen secret");
    (stage, key)
}

/// How guesses were answered.
#[derive(Default)]
struct Guesses {
    number: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    others: AtomicU64,
    is_over: AtomicBool,
}

impl Guesses {
    fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// One guess after the other on a stream of its own, until it is over.
    async fn guess(&self, client: h2::client::SendRequest<bytes::Bytes>) {
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let request = http::Request::get(format!("https://gw.test{PATH}"))
                .header("authorization", basic("chosen", format!("guess {number}")))
                .body(())
                .expect("a request");
            let Ok(mut client) = client.clone().ready().await else { return };
            let Ok((answer, _)) = client.send_request(request, true) else { return };
            let Ok(answer) = answer.await else { return };
            let count = match answer.status().as_u16() {
                401 | 429 => &self.refused,
                503 if answer.headers().contains_key("retry-after") => &self.busy,
                _ => &self.others,
            };
            count.fetch_add(1, Ordering::Relaxed);
            drop(answer);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Guesses by many streams on six connections of each source while `meanwhile` runs; how long that took.
    fn during(&self, stage: &Stage, sources: &[Ipv4Addr], meanwhile: impl FnOnce()) -> Duration {
        let began = Instant::now();
        let guess_all = async || {
            let mut clients = Vec::new();
            for source in sources.iter().flat_map(|source| [source; 6]) {
                let client = http2::connect_from(*source, stage.gateway.https()).await;
                clients.push(client.expect("a connection"));
            }
            let streams = clients.iter().flat_map(|client| (0..25).map(|_| self.guess(client.clone())));
            futures_util::future::join_all(streams).await;
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(guess_all());
            });
            meanwhile();
            self.is_over.store(true, Ordering::Relaxed);
        });
        began.elapsed()
    }
}

/// What a budget lets through in that time.
fn most(budget: u64, took: Duration) -> u64 {
    budget + budget * (took.as_secs() + 1) / WINDOW_SECONDS + 1
}

#[test]
fn case_104_guesses_of_one_source_are_bounded_whatever_the_number_of_streams() {
    let (stage, key) = stage_of_guesses();
    let (home, attacker) = (fresh_source(), fresh_source());
    assert_eq!(status(&stage, home, &key), 200);
    let guesses = Guesses::default();
    let took = guesses.during(&stage, &[attacker], || {
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            assert_eq!(status(&stage, home, &key), 200, "who uses the key notices nothing");
            // the right secret among the guesses is never told that it is wrong
            let answer = status(&stage, attacker, &key);
            assert!([200, 503].contains(&answer), "{answer}");
        }
    });
    let (refused, busy) = (guesses.refused(), guesses.busy.load(Ordering::Relaxed));
    assert_eq!(guesses.others.load(Ordering::Relaxed), 0);
    assert!(refused >= FAILURES, "{refused} guesses were answered");
    // a right secret makes the source known, and a known source has as much again
    let most = 2 * most(FAILURES, took);
    assert!(refused <= most, "{refused} guesses were answered in {took:?}, not {most}");
    assert!(busy > refused, "{busy} were turned away");
}

#[test]
fn case_104_guesses_of_a_source_that_uses_the_key_are_bounded_too() {
    let (stage, key) = stage_of_guesses();
    let home = fresh_source();
    assert_eq!(status(&stage, home, &key), 200);
    let guesses = Guesses::default();
    let took = guesses.during(&stage, &[home], || std::thread::sleep(Duration::from_secs(5)));
    let (refused, most) = (guesses.refused(), 2 * most(FAILURES, took));
    assert!((FAILURES..=most).contains(&refused), "{refused} guesses were answered in {took:?}, not {most}");
    let elsewhere = fresh_source();
    let works = || status(&stage, elsewhere, &key) == 200;
    support::wait_for(PATIENCE, "the key works from a new address", works);
}

#[test]
fn case_104_guesses_at_one_key_are_bounded_whatever_the_number_of_sources() {
    let (stage, key) = stage_of_guesses();
    let home = fresh_source();
    assert_eq!(status(&stage, home, &key), 200);
    let sources: Vec<_> = (0..10).map(|_| fresh_source()).collect();
    let guesses = Guesses::default();
    let took = guesses.during(&stage, &sources, || {
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            assert_eq!(status(&stage, home, &key), 200, "who uses the key notices nothing");
        }
    });
    let (refused, most) = (guesses.refused(), most(KEY_FAILURES, took));
    assert!((1..=most).contains(&refused), "{refused} guesses were answered in {took:?}, not {most}");
}

// --- 105: what a burst of guesses tells ---

/// From when the burst is sent until its last answer is there.
fn time_of_burst(stage: &Stage, access_key: &str, sources: usize, each: usize) -> Duration {
    let mut clients = Vec::new();
    for _ in 0..sources {
        let source = fresh_source();
        clients.extend((0..each).map(|_| Client::connect_from(source, stage.gateway.http())));
    }
    let began = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(get(basic(access_key, format!("wrong {number}"))));
    }
    for client in &mut clients {
        assert_eq!(client.read().status, 401, "{access_key}");
    }
    began.elapsed()
}

#[test]
fn case_105_a_burst_of_guesses_takes_as_long_whether_or_not_the_key_exists() {
    const ROUNDS: usize = 5;
    // quick runs, and a grid that is finer than they are
    let stage = Stage::with(|plan| {
        plan.top(
            "argon2: { memory: 4MiB, threads: 1, queue: 64 }\n\
             authentication: { refusal_time: 10ms, verification_timeout: 60s }\n\
             throttle: { failures: 60000, key_failures: 1000000 }\n",
        )
    });
    stage.gateway.import_environment_key("e1", "cold", "a chosen secret");
    let hot = stage.gateway.import_environment_key("e1", "hot", "a chosen secret");
    assert_eq!(status(&stage, fresh_source(), &hot), 200);
    for (sources, each) in [(1, 1), (1, 8), (1, 16), (4, 16)] {
        let mut times = [(); 3].map(|()| Vec::new());
        for _ in 0..ROUNDS {
            for (access_key, times) in ["cold", "nobody", "hot"].iter().zip(&mut times) {
                times.push(time_of_burst(&stage, access_key, sources, each));
            }
        }
        let medians = times.each_mut().map(|times| {
            times.sort_unstable();
            times[ROUNDS / 2]
        });
        let least = medians.iter().min().expect("three");
        let most = medians.iter().max().expect("three");
        println!("{sources} x {each}: {medians:?}");
        assert!(
            *most < *least * 5 / 2 + Duration::from_millis(100),
            "{sources} x {each} for a cold, an unknown and a hot key: {medians:?}\n{times:?}"
        );
    }
}

// --- 106: who waits for whom ---

#[test]
fn case_106_guesses_of_five_sources_hold_up_nobody_elses_key() {
    let stage = Stage::with(|plan| {
        plan.top("argon2: { memory: 8MiB, threads: 1 }\nthrottle: { failures: 1000, key_failures: 10000 }\n")
    });
    let import = |name: &str| stage.gateway.import_environment_key("e1", name, "a chosen secret");
    let [attacked, other, neighbours] = ["attacked", "other", "neighbours"].map(import);
    let sources: Vec<_> = (0..5).map(|_| fresh_source()).collect();
    let mut attack = Vec::new();
    for source in &sources {
        attack.extend((0..64).map(|_| Client::connect_from(*source, stage.gateway.http())));
    }
    let began = Instant::now();
    for (number, client) in attack.iter_mut().enumerate() {
        client.send(get(basic("attacked", format!("wrong {number}"))));
    }
    let waited: Vec<_> = [
        ("another key", fresh_source(), &other),
        ("another key of an attacking source", sources[4], &neighbours),
        ("the same key of another source", fresh_source(), &attacked),
    ]
    .into_iter()
    .map(|(who, source, key)| {
        let asked = Instant::now();
        assert_eq!(status(&stage, source, key), 200, "{who}");
        (who, asked.elapsed())
    })
    .collect();
    for client in &mut attack {
        let status = client.read().status;
        assert!([401, 503].contains(&status), "{status}");
    }
    let all = began.elapsed();
    println!("{waited:?} of {all:?}");
    for (who, waited) in waited {
        assert!(waited < all / 4, "{who} waited {waited:?}, and all took {all:?}");
    }
}
