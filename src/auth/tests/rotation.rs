//! Keys with two secrets.

use super::super::fingerprint::Mac;
use super::super::identity::KeySecret;
use super::*;
use crate::model::State;
use crate::store::{ExpectedRevision, Overlap};

const WRONG: AuthRefusal = AuthRefusal::Unauthorized(AuthFailure::WrongSecret);
const ENDED: AuthRefusal = AuthRefusal::Unauthorized(AuthFailure::EndedSecret);

impl Fixture {
    /// Gives the key another secret; the one before is valid for so many hours.
    fn rotate(&mut self, pair: &Pair, hours: Option<i64>) -> Pair {
        let peppers = Peppers::load(&[self.path("pepper")]).unwrap();
        let made = new_secret(&self.config.key_prefix, &self.config.argon2, &peppers, pair.access_key());
        let (secret, verifier) = made.unwrap();
        let ends = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
        let overlap = hours.map(|hours| Overlap { ends: ends(hours), until_unused: None });
        let rotated = self.store.rotate_key(pair.key.id, &verifier, overlap, &ExpectedRevision::Any);
        Pair { key: rotated.unwrap().0, secret: Zeroizing::new(secret.as_str().to_owned()) }
    }

    fn other_secret(&self) -> String {
        mint_secret(&self.config.key_prefix).as_str().to_owned()
    }
}

#[test]
fn both_secrets_work_until_the_former_ends_and_wrong_ones_never() {
    run(async {
        let mut fixture = Fixture::new();
        let former = fixture.account_key();
        fixture.apply_changes().await;
        let before = fixture.ask_pair(&former).await.unwrap();
        let current = fixture.rotate(&former, Some(5));
        fixture.apply_changes().await;
        assert!(before.is_stale());
        // in any order, from the store and from memory
        for round in 0..3 {
            let (now, then) =
                (fixture.ask_pair(&current).await.unwrap(), fixture.ask_pair(&former).await.unwrap());
            assert_eq!((now.secret, then.secret), (KeySecret::Current, KeySecret::Former), "{round}");
            assert_eq!(then.secret_since, former.key.secret_since);
            let wrong = fixture.other_secret();
            let (refused, cost) = fixture.counted(fixture.ask(former.access_key().as_str(), &wrong)).await;
            assert_eq!((refused.unwrap_err(), cost.argon2_runs), (WRONG, 0));
        }
        // an open stream goes on with its own secret
        let again = fixture.auth.refresh(&before, SOURCE).await.unwrap();
        assert_eq!(again.secret, KeySecret::Former);

        let ended = fixture.store.end_rotation(former.key.id, &ExpectedRevision::Any).unwrap();
        assert_eq!(ended.0.former, None);
        fixture.apply_changes().await;
        assert_eq!(fixture.auth.refresh(&again, SOURCE).await.unwrap_err(), ENDED);
        // another change of the key makes no difference
        for state in [State::Inactive, State::Active] {
            fixture.store.set_key_state(former.key.id, state).unwrap();
        }
        fixture.apply_changes().await;
        assert_eq!(fixture.ask_pair(&former).await.unwrap_err(), ENDED);
        let now = fixture.ask_pair(&current).await.unwrap();
        assert!(!now.has_two_secrets);
        assert_eq!(fixture.ask_pair(&former).await.unwrap_err(), ENDED, "from memory too");
        let wrong = fixture.other_secret();
        assert_eq!(fixture.ask(former.access_key().as_str(), &wrong).await.unwrap_err(), WRONG);
    });
}

#[test]
fn the_former_secret_ends_at_its_time_and_nothing_else_does() {
    run(async {
        let mut fixture = Fixture::new();
        let former = fixture.environment_key();
        let current = fixture.rotate(&former, Some(1));
        fixture.apply_changes().await;
        let (now, then) =
            (fixture.ask_pair(&current).await.unwrap(), fixture.ask_pair(&former).await.unwrap());
        let end = current.key.former.unwrap().ends;
        assert_eq!(fixture.apply_ends(end - SignedDuration::from_millis(1)).await, 0);
        assert!(!then.is_stale());
        assert_eq!(fixture.apply_ends(end).await, 1);
        assert_eq!(fixture.auth.refresh(&then, SOURCE).await.unwrap_err(), ENDED);
        assert_eq!(fixture.ask_pair(&former).await.unwrap_err(), ENDED);
        assert!(!fixture.auth.refresh(&now, SOURCE).await.unwrap().has_two_secrets);
        fixture.ask_pair(&current).await.unwrap();
        // a fill that races with the end is not used
        let read = fixture.auth.read(former.access_key().clone()).await.unwrap();
        let filled = fixture
            .auth
            .cache_identity(
                former.access_key().as_str(),
                former.key.secret_since,
                Mac([0; 32]),
                SOURCE,
                Some(read),
            )
            .await;
        assert_eq!(filled.unwrap_err(), ENDED);
    });
}

#[test]
fn a_third_secret_is_refused_and_without_overlap_the_former_ends_at_once() {
    run(async {
        let mut fixture = Fixture::new();
        let first = fixture.account_key();
        let second = fixture.rotate(&first, None);
        fixture.apply_changes().await;
        assert_eq!(fixture.ask_pair(&first).await.unwrap_err(), WRONG, "nobody has used it");
        fixture.ask_pair(&second).await.unwrap();
        let third = fixture.rotate(&second, Some(1));
        let verifier = KeyVerifier {
            phc: hash_secret(&fixture.config.argon2, b"x").unwrap(),
            fingerprint: None,
            inner: None,
        };
        let refused = fixture.store.rotate_key(first.key.id, &verifier, None, &ExpectedRevision::Any);
        assert!(refused.unwrap_err().to_string().contains("two secrets already"));
        fixture.apply_changes().await;
        fixture.ask_pair(&second).await.unwrap();
        fixture.ask_pair(&third).await.unwrap();
        // a deactivation stops both
        fixture.store.set_key_state(first.key.id, State::Inactive).unwrap();
        fixture.apply_changes().await;
        for pair in [&second, &third] {
            let inactive = AuthRefusal::Unauthorized(AuthFailure::InactiveKey);
            assert_eq!(fixture.ask_pair(pair).await.unwrap_err(), inactive);
        }
    });
}

#[test]
fn chosen_secrets_are_both_verified_whichever_is_right() {
    run(async {
        let mut fixture = Fixture::new();
        let former = fixture.chosen_key("somebody", "0123456789-0123456789");
        let current = fixture.rotate(&former, Some(1));
        assert!(!current.secret.starts_with("pcs_"), "the pair would be taken for half of a minted one");
        fixture.apply_changes().await;
        for (pair, secret) in [(&former, KeySecret::Former), (&current, KeySecret::Current)] {
            let (asked, cost) = fixture.counted(fixture.ask_pair(pair)).await;
            assert_eq!((asked.unwrap().secret, cost.argon2_runs), (secret, 2));
        }
        let (refused, _) = fixture.counted(fixture.ask("somebody", "another")).await;
        assert_eq!(refused.unwrap_err(), WRONG);
        fixture.ask_pair(&former).await.unwrap();
        fixture.ask_pair(&current).await.unwrap();
    });
}

#[test]
fn uses_are_told_apart_and_a_running_request_is_one() {
    run(async {
        let mut fixture = Fixture::new();
        let former = fixture.account_key();
        let current = fixture.rotate(&former, Some(1));
        fixture.apply_changes().await;
        let (now, then) =
            (fixture.ask_pair(&current).await.unwrap(), fixture.ask_pair(&former).await.unwrap());
        let second = Timestamp::now().as_second().unsigned_abs();
        for identity in [&now, &now, &then] {
            identity.record_use(second, SOURCE);
        }
        let uses = |uses: Vec<crate::store::KeyUse>| {
            let mut uses: Vec<_> = uses.into_iter().map(|used| (used.secret.unwrap(), used.count)).collect();
            uses.sort_unstable();
            uses
        };
        let since = (former.key.secret_since, current.key.secret_since);
        assert_eq!(uses(fixture.auth.take_unsaved_uses(9)), [(since.0, 1), (since.1, 2)]);
        // the request with the former secret goes on
        assert_eq!(uses(fixture.auth.take_unsaved_uses(9)), [(since.0, 0)]);
        drop(then);
        assert_eq!(uses(fixture.auth.take_unsaved_uses(9)), []);
    });
}
