//! Keys that end by themselves.

use super::super::fingerprint::Mac;
use super::*;

const EXPIRED: AuthRefusal = AuthRefusal::Unauthorized(AuthFailure::Expired);

#[test]
fn a_key_stops_at_its_end_and_works_again_when_it_is_given_a_later_one() {
    run(async {
        let mut fixture = Fixture::new();
        let (ending, other) = (fixture.account_key(), fixture.environment_key());
        let chosen = fixture.chosen_key("somebody", "0123456789-0123456789");
        let end = fixture.end_in_hours(&ending, 1);
        assert_eq!(fixture.end_in_hours(&chosen, 2).duration_since(end).as_hours(), 1);
        fixture.apply_changes().await;
        let identity = fixture.ask_pair(&ending).await.unwrap();
        fixture.ask_pair(&other).await.unwrap();
        fixture.ask_pair(&chosen).await.unwrap();
        assert_eq!(fixture.apply_ends(end - SignedDuration::from_millis(1)).await, 0);
        assert!(!identity.is_stale());

        assert_eq!(fixture.apply_ends(end).await, 1);
        assert!(identity.is_stale());
        assert_eq!(fixture.auth.refresh(&identity, SOURCE).await.unwrap_err(), EXPIRED);
        assert_eq!(fixture.ask_pair(&ending).await.unwrap_err(), EXPIRED);
        // while the record is away it may have been given a later end, also in the middle of a request
        fixture.auth.set_store_misses_trusted_until(BootInstant::default());
        assert!(unavailable(&fixture.auth.refresh(&identity, SOURCE).await));
        assert!(unavailable(&fixture.ask_pair(&ending).await));
        fixture.auth.set_store_misses_trusted_until(BootInstant::now() + Duration::from_hours(1));
        // and once more, from what that refusal has left behind
        let (refusal, cost) = fixture.counted(fixture.ask_pair(&ending)).await;
        assert_eq!((refusal.unwrap_err(), cost.store_reads), (EXPIRED, 0));
        // whatever the secret is
        let other_secret = mint_secret(&fixture.config.key_prefix);
        let wrong = fixture.ask(ending.access_key().as_str(), other_secret.as_str());
        assert_eq!(wrong.await.unwrap_err(), EXPIRED);
        fixture.ask_pair(&other).await.unwrap();

        assert_eq!(
            fixture.apply_ends(end + SignedDuration::from_hours(3)).await,
            1,
            "the next one is found too"
        );
        assert_eq!(fixture.ask_pair(&chosen).await.unwrap_err(), EXPIRED);

        fixture.end_in_hours(&ending, 9);
        fixture.apply_changes().await;
        let again = fixture.ask_pair(&ending).await.unwrap();
        assert_eq!(fixture.apply_ends(end + SignedDuration::from_hours(4)).await, 0);
        assert!(!again.is_stale());
    });
}

#[test]
fn case_131_what_was_read_before_the_end_is_not_cached_after_it() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let end = fixture.end_in_hours(&pair, 1);
        fixture.apply_changes().await;
        let read = fixture.auth.read(pair.access_key().clone()).await.unwrap();
        let (verifier, mac) = (read.active_verifiers(end - SignedDuration::from_secs(1)), Mac([0; 32]));
        assert!(verifier.is_ok(), "it still worked then");
        let since = pair.key.secret_since;
        // the end comes between: nothing is in a cache yet that could be dropped
        assert_eq!(fixture.apply_ends(end).await, 1);
        let filled =
            fixture.auth.cache_identity(pair.access_key().as_str(), since, mac, SOURCE, Some(read)).await;
        assert_eq!(filled.unwrap_err(), EXPIRED);
        assert_eq!(fixture.auth.identities.len(), 0);

        // and what was read to refuse a wrong secret
        let other = fixture.environment_key();
        let end = fixture.end_in_hours(&other, 2);
        fixture.apply_changes().await;
        let read = fixture.auth.read(other.access_key().clone()).await.unwrap();
        let verifier = read.active_verifiers(end - SignedDuration::from_secs(1));
        assert_eq!(fixture.apply_ends(end).await, 1);
        fixture.auth.remember_failure(verifier, Some(read));
        assert_eq!(fixture.auth.failed_key_cache.len(), 0);
    });
}

#[test]
fn a_clock_that_was_set_back_makes_keys_work_again_and_end_again() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let end = fixture.end_in_hours(&pair, 5);
        fixture.apply_changes().await;
        fixture.ask_pair(&pair).await.unwrap();
        // by mistake it is next year for a moment
        assert_eq!(fixture.apply_ends(end + SignedDuration::from_hours(9_000)).await, 1);
        assert_eq!(fixture.ask_pair(&pair).await.unwrap_err(), EXPIRED);
        let now = Timestamp::now();
        assert_eq!(fixture.apply_ends(now).await, 1, "everything is looked at again");
        fixture.ask_pair(&pair).await.unwrap();
        // a correction by less than a second brings nothing back
        assert_eq!(fixture.apply_ends(end).await, 1);
        assert_eq!(fixture.apply_ends(end - SignedDuration::from_millis(900)).await, 0);
        assert_eq!(fixture.ask_pair(&pair).await.unwrap_err(), EXPIRED);
    });
}
