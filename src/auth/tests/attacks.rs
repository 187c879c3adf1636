//! The attacks on credentials that need no socket.

use super::*;
use crate::model::State;

#[test]
fn case_12_a_wrong_checksum_costs_no_store_and_no_hash() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let mut wrong = pair.secret.clone();
        let last = if wrong.pop() == Some('0') { '1' } else { '0' };
        wrong.push(last);
        for access_key in [pair.access_key().as_str(), "pca_00000000000000000000"] {
            let (refusal, cost) = fixture.counted(fixture.ask(access_key, &wrong)).await;
            assert_eq!(refusal.unwrap_err(), AuthRefusal::Unauthorized(AuthFailure::Checksum));
            assert_eq!(cost, Counters { checksum_refusals: 1, unauthorized: 1, ..Counters::default() });
        }
        // a truncated secret is no pair that could exist
        let (refusal, cost) = fixture.counted(fixture.ask(pair.access_key().as_str(), &wrong[..49])).await;
        assert_eq!(refusal.unwrap_err(), AuthRefusal::Unauthorized(AuthFailure::Checksum));
        assert_eq!(cost, Counters { mixed_refusals: 1, unauthorized: 1, ..Counters::default() });
    });
}

#[test]
fn case_13_unknown_and_wrong_cost_the_same_when_minted() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let wrong = mint_secret(&fixture.config.key_prefix);
        let unknown = mint_access_key(&fixture.config.key_prefix, &pair.key.owner);
        let known = pair.access_key().clone();
        let mut costs = Vec::new();
        let failures = [AuthFailure::UnknownKey, AuthFailure::WrongSecret].repeat(2);
        for (access_key, failure) in [&unknown, &known, &unknown, &known].into_iter().zip(failures) {
            let (refusal, cost) = fixture.counted(fixture.ask(access_key.as_str(), wrong.as_str())).await;
            assert_eq!(refusal.unwrap_err(), AuthRefusal::Unauthorized(failure));
            costs.push(cost);
        }
        let cold =
            Counters { store_reads: 1, fingerprint_mismatches: 1, unauthorized: 1, ..Counters::default() };
        let warm = Counters { store_reads: 0, ..cold };
        assert_eq!(costs, [cold, cold, warm, warm], "unknown and known, cold and warm");
    });
}

#[test]
fn case_13_a_refusal_of_what_was_not_minted_leaves_at_the_fixed_time() {
    run(async {
        let refusal_time = Duration::from_millis(150);
        let mut fixture = Fixture::with(|config| config.authentication.refusal_time = refusal_time);
        let cold = fixture.chosen_key("COLD", "secret");
        let warm = fixture.chosen_key("WARM", "secret");
        let inactive = fixture.chosen_key("GONE", "secret");
        fixture.store.set_key_state(inactive.key.id, State::Inactive).unwrap();
        fixture.ask_pair(&warm).await.unwrap();
        for (access_key, secret, failure) in [
            ("COLD", "wrong", AuthFailure::WrongSecret),
            ("WARM", "wrong", AuthFailure::WrongSecret),
            ("NOBODY", "wrong", AuthFailure::UnknownKey),
            ("GONE", "secret", AuthFailure::InactiveKey),
        ] {
            let arrived = Instant::now();
            let refusal = fixture.auth.authenticate(&credential(access_key, secret), SOURCE, arrived).await;
            let (refusal, took) = (refusal.unwrap_err(), arrived.elapsed());
            assert_eq!(refusal, AuthRefusal::Unauthorized(failure), "{access_key}");
            assert!(took >= refusal_time, "{access_key} was refused after {took:?}");
        }
        // and a right secret does not wait
        let arrived = Instant::now();
        assert!(fixture.auth.authenticate(&credential("COLD", &cold.secret), SOURCE, arrived).await.is_ok());
        assert!(arrived.elapsed() < refusal_time, "a right secret waited {:?}", arrived.elapsed());
    });
}

#[test]
fn case_14_every_reason_is_one_and_the_same_refusal() {
    run(async {
        let mut fixture = Fixture::new();
        let inactive = fixture.account_key();
        fixture.store.set_key_state(inactive.key.id, State::Inactive).unwrap();
        let removed = fixture.account_key();
        fixture.store.set_key_state(removed.key.id, State::Inactive).unwrap();
        fixture.store.remove_key(removed.key.id).unwrap();
        let chosen = fixture.chosen_key("ROOT", "secret");
        fixture.store.set_key_state(chosen.key.id, State::Inactive).unwrap();
        let of_environment = fixture.environment_key();
        fixture.store.set_environment_state(&fixture.environment, State::Inactive).unwrap();
        let of_account = fixture.account_key();
        fixture.store.set_account_state(fixture.account, State::Inactive).unwrap();
        for (pair, failure) in [
            (&inactive, AuthFailure::InactiveKey),
            (&removed, AuthFailure::UnknownKey),
            (&chosen, AuthFailure::InactiveKey),
            (&of_environment, AuthFailure::InactiveOwner),
            (&of_account, AuthFailure::InactiveOwner),
        ] {
            for again in ["cold", "warm"] {
                let refusal = fixture.ask_pair(pair).await;
                assert_eq!(
                    refusal.unwrap_err(),
                    AuthRefusal::Unauthorized(failure),
                    "{} {again}",
                    pair.access_key()
                );
            }
        }
        assert_eq!(fixture.auth.counters().argon2_runs, 0, "what cannot be let in is not hashed");
    });
}

#[test]
fn case_15_a_forged_pair_cannot_join_the_run_of_a_right_one() {
    run(async {
        let mut fixture = Fixture::with(|config| {
            config.argon2.memory_kib = 16 << 10;
            config.argon2.memory_limit = 32 << 20;
        });
        let pair = fixture.chosen_key("ROOT", "secret");
        let request_store = RequestStore::open(&fixture.path("store"), 1).unwrap();
        let phc = request_store.key(pair.access_key()).await.unwrap().record.unwrap().verifiers.current.phc;
        let right = fixture.ask_pair(&pair);
        let forged = format!("secret{phc}");
        let forged = async {
            let unknown = fixture.ask("NOBODY", &forged).await;
            let known = fixture.ask("ROOT", &forged).await;
            (unknown, known)
        };
        let (right, (unknown, known)) = tokio::join!(right, forged);
        assert!(right.is_ok());
        assert_eq!(unknown.unwrap_err(), AuthRefusal::Unauthorized(AuthFailure::UnknownKey));
        assert_eq!(known.unwrap_err(), AuthRefusal::Unauthorized(AuthFailure::WrongSecret));
        assert_eq!(fixture.auth.counters().argon2_shared, 0);
    });
}

#[test]
fn case_17_a_flood_pushes_out_no_good_key_and_fills_no_memory() {
    run(async {
        let mut fixture = Fixture::with(|config| config.cache.unknown_keys = 200);
        let pair = fixture.account_key();
        let identity = fixture.ask_pair(&pair).await.unwrap();
        // guesses end at the checksum
        let ((), cost) = fixture
            .counted(async {
                for number in 0..20_000 {
                    let guess = format!("pcs_{number:046}");
                    assert!(fixture.ask("pca_00000000000000000000", &guess).await.is_err());
                }
            })
            .await;
        assert_eq!((cost.checksum_refusals, cost.store_reads, cost.argon2_runs), (20_000, 0, 0));
        // whoever computes checksums too gets one look-up each
        let ((), cost) = fixture
            .counted(async {
                for _ in 0..2_000 {
                    let access_key = mint_access_key(&fixture.config.key_prefix, &pair.key.owner);
                    let secret = mint_secret(&fixture.config.key_prefix);
                    assert!(fixture.ask(access_key.as_str(), secret.as_str()).await.is_err());
                }
            })
            .await;
        assert_eq!((cost.store_reads, cost.argon2_runs), (2_000, 0));
        assert!(fixture.auth.failed_key_cache.len() <= 200, "{}", fixture.auth.failed_key_cache.len());
        assert_eq!(fixture.auth.identities.len(), 1);
        let (again, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
        assert!(Arc::ptr_eq(&again.unwrap(), &identity));
        assert_eq!(cost, Counters { memory_hits: 1, ..Counters::default() });
    });
}

#[test]
fn case_18_one_keys_secret_does_not_open_another() {
    run(async {
        let mut fixture = Fixture::new();
        let (account, environment) = (fixture.account_key(), fixture.environment_key());
        for state in ["cold", "warm"] {
            for (one, other) in [(&account, &environment), (&environment, &account)] {
                let refusal = fixture.ask(one.access_key().as_str(), &other.secret).await;
                assert_eq!(
                    refusal.unwrap_err(),
                    AuthRefusal::Unauthorized(AuthFailure::WrongSecret),
                    "{state}"
                );
            }
            fixture.ask_pair(&account).await.unwrap();
            fixture.ask_pair(&environment).await.unwrap();
        }
    });
}

#[test]
fn case_8_a_key_without_a_hash_cannot_be_stored_and_an_empty_secret_opens_nothing() {
    run(async {
        let mut fixture = Fixture::new();
        let new = NewKey {
            owner: KeyOwner::Account(fixture.account),
            access_key: "EMPTY".parse().unwrap(),
            properties: KeyProperties::default(),
            verifier: KeyVerifier { phc: String::new(), fingerprint: None, inner: None },
        };
        assert!(fixture.store.create_key(&new).is_err());
        let value = format!("Basic {}", STANDARD.encode("EMPTY:"));
        assert_eq!(Credential::parse(value.as_bytes()).unwrap_err(), CredentialError::Empty);
    });
}

#[test]
fn only_a_minted_access_key_or_that_of_a_key_may_be_logged() {
    let fixture = Fixture::new();
    let unknown = "pce_00000000000000000000";
    for (access_key, failure, is_logged) in [
        (unknown, AuthFailure::UnknownKey, true),
        (unknown, AuthFailure::Checksum, true),
        ("ROOT", AuthFailure::WrongSecret, true),
        ("ROOT", AuthFailure::InactiveKey, true),
        ("ROOT", AuthFailure::InactiveOwner, true),
        ("my-password", AuthFailure::UnknownKey, false),
        ("my-password", AuthFailure::Checksum, false),
        ("my-password", AuthFailure::Malformed, false),
        // a secret in the wrong field, an access key with more behind it, another gateway's
        (mint_secret(&fixture.config.key_prefix).as_str(), AuthFailure::Checksum, false),
        (&format!("{unknown}0"), AuthFailure::UnknownKey, false),
        (&unknown.replace("pce_", "xxe_"), AuthFailure::UnknownKey, false),
    ] {
        assert_eq!(fixture.auth.may_be_logged(access_key, failure), is_logged, "{access_key} {failure:?}");
    }
}
