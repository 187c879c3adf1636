//! Which step decides, and what it costs.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use super::super::fingerprint::Mac;
use super::super::identity::KeySecret;
use super::super::identity::UnsavedUses;
use super::*;
use crate::store::{BootInstant, PepperId};

#[test]
fn a_minted_key_is_verified_by_its_fingerprint_once_and_then_by_memory() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let (identity, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
        assert_eq!(identity.unwrap().principal.key, pair.key);
        assert_eq!(cost, Counters { store_reads: 1, fingerprint_matches: 1, ..Counters::default() });
        let (identity, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
        assert!(identity.is_ok());
        assert_eq!(cost, Counters { memory_hits: 1, ..Counters::default() });
    });
}

#[test]
fn a_chosen_secret_costs_argon2_once_and_never_gets_a_fingerprint() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.chosen_key("ROOT", "correct horse: battery");
        let (identity, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
        assert!(identity.is_ok());
        assert_eq!(
            cost,
            Counters { store_reads: 1, argon2_runs: 1, argon2_queued: 1, ..Counters::default() }
        );
        let (identity, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
        assert!(identity.is_ok());
        assert_eq!(cost, Counters { memory_hits: 1, ..Counters::default() });
        assert_eq!(fixture.store.peppers().unwrap(), []);
    });
}

#[test]
fn a_wrong_secret_is_refused_by_memory_without_argon2() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.chosen_key("ROOT", "secret");
        fixture.ask_pair(&pair).await.unwrap();
        let (refusal, cost) = fixture.counted(fixture.ask("ROOT", "wrong")).await;
        assert_eq!(refusal.unwrap_err(), AuthRefusal::Unauthorized(AuthFailure::WrongSecret));
        // it waits for its turn, as an unknown one does, and the first turn is measured
        let waited = Counters { argon2_queued: 1, argon2_measurements: 1, ..Counters::default() };
        assert_eq!(cost, Counters { memory_mismatches: 1, unauthorized: 1, ..waited });
        assert!(fixture.ask_pair(&pair).await.is_ok(), "the failure has pushed nothing out");
    });
}

#[test]
fn a_right_secret_passes_after_a_wrong_one_was_remembered() {
    run(async {
        let mut fixture = Fixture::new();
        for pair in [fixture.account_key(), fixture.chosen_key("ROOT", "secret")] {
            let wrong = mint_secret(&fixture.config.key_prefix);
            let wrong = if pair.access_key().as_str() == "ROOT" { "wrong" } else { wrong.as_str() };
            let refusal = fixture.ask(pair.access_key().as_str(), wrong).await;
            assert_eq!(refusal.unwrap_err(), AuthRefusal::Unauthorized(AuthFailure::WrongSecret));
            assert!(fixture.ask_pair(&pair).await.is_ok());
            let (_, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
            assert_eq!(cost, Counters { memory_hits: 1, ..Counters::default() });
        }
    });
}

#[test]
fn a_lost_pepper_costs_argon2_once_and_a_new_fingerprint_is_kept() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let old = fixture.store.peppers().unwrap();
        fixture.restart(&["new"]);
        let new = Peppers::load(&[fixture.path("new")]).unwrap();
        assert_eq!(new.missing(&old), old);

        let (identity, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
        assert!(identity.is_ok());
        assert_eq!(
            cost,
            Counters { store_reads: 1, argon2_runs: 1, argon2_queued: 1, ..Counters::default() }
        );
        until_kept_under(&fixture, new.current()).await;

        fixture.restart(&["new"]);
        let (identity, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
        assert!(identity.is_ok());
        assert_eq!(cost, Counters { store_reads: 1, fingerprint_matches: 1, ..Counters::default() });
    });
}

#[test]
fn a_rotated_pepper_costs_no_argon2_and_the_fingerprint_moves_to_the_new_one() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        fixture.restart(&["new", "pepper"]);
        let (identity, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
        assert!(identity.is_ok());
        assert_eq!(cost, Counters { store_reads: 1, fingerprint_matches: 1, ..Counters::default() });
        let new = Peppers::load(&[fixture.path("new")]).unwrap();
        until_kept_under(&fixture, new.current()).await;
    });
}

async fn until_kept_under(fixture: &Fixture, pepper: PepperId) {
    until("the new fingerprint is kept", async || fixture.store.peppers().unwrap() == [pepper]).await;
}

#[test]
fn many_requests_with_one_chosen_secret_share_one_run() {
    run(async {
        let mut fixture = Fixture::with(|config| {
            // long enough that all have asked before the first has its answer
            config.argon2.memory_kib = 64 << 10;
            config.argon2.iterations = 4;
            config.argon2.threads = 1;
            config.argon2.memory_limit = 64 << 20;
        });
        let pair = fixture.chosen_key("ROOT", "secret");
        // what a failure leaves behind, so that none of them has to wait for the store before it asks
        assert!(fixture.ask("ROOT", "wrong").await.is_err());
        let ((), cost) = fixture
            .counted(async {
                let mut all = tokio::task::JoinSet::new();
                for _ in 0..100 {
                    let (auth, credential) = (Arc::clone(&fixture.auth), credential("ROOT", &pair.secret));
                    all.spawn(async move { auth.authenticate(&credential, SOURCE, Instant::now()).await });
                }
                while let Some(identity) = all.join_next().await {
                    assert!(identity.unwrap().is_ok());
                }
            })
            .await;
        assert_eq!((cost.argon2_runs, cost.argon2_shared), (1, 99));
    });
}

#[test]
fn a_source_with_a_full_share_is_told_to_wait_whether_the_key_exists_or_not() {
    run(async {
        let mut fixture = Fixture::with(|config| {
            config.argon2.queue = 4;
            config.authentication.refusal_time = Duration::from_secs(5);
        });
        let pair = fixture.chosen_key("ROOT", "secret");
        // one wrong pair holds the source's only place until its refusal leaves
        let wrong = fixture.ask("ROOT", "wrong");
        let mut wrong = Box::pin(wrong);
        until("the wrong secret has been verified", async || {
            assert!(poll_once(wrong.as_mut()).await.is_none());
            fixture.auth.counters().argon2_runs == 1
        })
        .await;
        for (access_key, secret) in [("ROOT", "wrong too"), ("NOBODY", "secret"), ("ROOT", "secret")] {
            let refusal = fixture.ask(access_key, secret).await.unwrap_err();
            assert!(matches!(refusal, AuthRefusal::Busy { .. }), "{access_key}: {refusal:?}");
        }
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
        let other =
            fixture.auth.authenticate(&credential("ROOT", &pair.secret), elsewhere, Instant::now()).await;
        assert!(other.is_ok());
    });
}

/// Polls once.
async fn poll_once<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn every_credential_is_refused_after_the_end_of_the_lease() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let identity = fixture.ask_pair(&pair).await.unwrap();
        let now = BootInstant::now();
        fixture.auth.set_lease_end(now);
        assert!(!fixture.auth.has_lease());
        assert!(unavailable(&fixture.ask_pair(&pair).await));
        assert!(unavailable(&fixture.ask("NOBODY", "secret").await));
        assert!(unavailable(&fixture.auth.refresh(&identity, SOURCE).await));
        fixture.auth.set_lease_end(now + Duration::from_mins(1));
        assert!(fixture.ask_pair(&pair).await.is_ok());
    });
}

#[test]
fn a_source_that_fails_too_often_is_told_to_wait_and_its_right_secret_passes_all_the_same() {
    run(async {
        let mut fixture = Fixture::with(|config| config.throttle.failures = 3);
        let pair = fixture.account_key();
        let wrong = mint_secret(&fixture.config.key_prefix);
        let ask_wrong = || fixture.ask(pair.access_key().as_str(), wrong.as_str());
        for _ in 0..3 {
            assert_eq!(ask_wrong().await.unwrap_err(), AuthRefusal::Unauthorized(AuthFailure::WrongSecret));
        }
        assert!(matches!(ask_wrong().await, Err(AuthRefusal::Throttled { .. })));
        assert!(matches!(fixture.ask("NOBODY", "secret").await, Err(AuthRefusal::Throttled { .. })));
        assert!(matches!(fixture.auth.refuse_malformed(SOURCE), AuthRefusal::Throttled { .. }));
        assert!(fixture.ask_pair(&pair).await.is_ok());
    });
}

#[test]
fn uses_are_counted_with_the_time_and_address_of_the_last_one() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let identity = fixture.ask_pair(&pair).await.unwrap();
        for second in [1_700_000_000, 1_700_000_000, 1_700_000_005] {
            identity.record_use(second, SOURCE);
        }
        let uses = fixture.auth.take_unsaved_uses(usize::MAX);
        assert_eq!(uses.len(), 1);
        assert_eq!(
            (uses[0].key, uses[0].at.as_second(), uses[0].address, uses[0].count),
            (pair.key.id, 1_700_000_005, SOURCE, 3)
        );
        assert_eq!(fixture.auth.take_unsaved_uses(usize::MAX), []);
        // in the second that was noted before: nothing but the count is new
        identity.record_use(1_700_000_005, SOURCE);
        assert_eq!(
            fixture.auth.take_unsaved_uses(usize::MAX).iter().map(|used| used.count).collect::<Vec<_>>(),
            [1]
        );
    });
}

#[test]
fn no_use_is_lost_or_counted_twice_while_uses_are_taken() {
    const TAKES: usize = 5_000;
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let identity = fixture.ask_pair(&pair).await.unwrap();
        let take = || fixture.auth.take_unsaved_uses(usize::MAX).iter().map(|used| used.count).sum::<u64>();
        let is_over = AtomicBool::new(false);
        let use_it = || {
            let mut uses = 0;
            while !is_over.load(Ordering::Relaxed) {
                uses += 1;
                identity.record_use(1 + uses / 100, SOURCE);
            }
            uses
        };
        let (used, taken) = std::thread::scope(|scope| {
            let users = [scope.spawn(use_it), scope.spawn(use_it)];
            let taken: u64 = (0..TAKES).map(|_| take()).sum();
            is_over.store(true, Ordering::Relaxed);
            (users.map(|user| user.join().unwrap()).iter().sum::<u64>(), taken)
        });
        assert_eq!(taken + take(), used);
    });
}

#[test]
fn uses_that_find_the_queue_full_are_taken_with_the_next_use() {
    run(async {
        let mut fixture = Fixture::new();
        let request_store = RequestStore::open(&fixture.path("store"), 1).unwrap();
        let uses = UnsavedUses::new(1);
        let mut identities = Vec::new();
        for pair in [fixture.account_key(), fixture.environment_key()] {
            let record = request_store.key(pair.access_key()).await.unwrap().record.unwrap();
            identities.push(Arc::new(Identity::new(
                record,
                (KeySecret::Current, false),
                Mac([0; 32]),
                &uses,
            )));
        }
        let take = || {
            uses.take(usize::MAX)
                .into_iter()
                .map(|used| (used.key, used.at.as_second(), used.count))
                .collect::<Vec<_>>()
        };
        let [first, second] = [0, 1].map(|at| identities[at].principal.key.id);
        for at in [5, 6] {
            identities[0].record_use(at, SOURCE);
            identities[1].record_use(at, SOURCE);
        }
        assert_eq!(take(), [(first, 6, 2)]);
        identities[1].record_use(6, SOURCE);
        assert_eq!(take(), [(second, 6, 3)]);
    });
}

#[test]
fn the_header_lines_of_an_identity_are_built_once() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let identity = fixture.ask_pair(&pair).await.unwrap();
        let first = identity.header_block(|principal| principal.key.access_key.as_str().as_bytes().into());
        assert_eq!(first, pair.access_key().as_str().as_bytes());
        let again = fixture.ask_pair(&pair).await.unwrap();
        assert_eq!(again.header_block(|_| panic!("rendered twice")), first);
        assert!(!format!("{identity:?}").contains("argon2"));
    });
}
