//! Keys that are narrowed to networks, and keys that are narrowed while they are in use.

use super::*;
use crate::model::Scope;

const NETWORK: AuthRefusal = AuthRefusal::Unauthorized(AuthFailure::Network);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Fixture {
    /// Narrows a key, and applies the change.
    async fn narrow(&mut self, pair: &Pair, networks: &[&str]) {
        let networks = serde_json::json!({ "networks": networks }).to_string();
        let scope: Scope = networks.parse().unwrap();
        let edit = KeyEdit { scope: Some(Some(scope)), ..KeyEdit::default() };
        self.store.edit_key(pair.key.id, &edit).unwrap();
        self.apply_changes().await;
    }

    async fn ask_from(&self, client: &str, access_key: &str, secret: &str) -> Result<(), AuthRefusal> {
        let credential = credential(access_key, secret);
        self.auth.authenticate(&credential, address(client), Instant::now()).await.map(drop)
    }
}

#[test]
fn a_key_works_from_its_networks_only_however_it_is_known() {
    run(async {
        let mut fixture = Fixture::new();
        let (minted, chosen) = (fixture.account_key(), fixture.chosen_key("CHOSEN", "secret"));
        for pair in [&minted, &chosen] {
            fixture.narrow(pair, &["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.1"]).await;
        }
        let wrong = mint_secret(&fixture.config.key_prefix);
        for (pair, wrong) in [(&minted, wrong.as_str()), (&chosen, "wrong")] {
            let (access_key, secret) = (pair.access_key().as_str(), pair.secret.as_str());
            // not in memory at first, then in the memory of failed keys, then in that of verified ones
            for _ in 0..3 {
                for outside in ["11.0.0.1", "::ffff:11.0.0.1", "2001:db8:2::1"] {
                    // right or wrong, the secret is not looked at
                    assert_eq!(
                        fixture.ask_from(outside, access_key, secret).await,
                        Err(NETWORK),
                        "{outside}"
                    );
                    assert_eq!(fixture.ask_from(outside, access_key, wrong).await, Err(NETWORK), "{outside}");
                }
                for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1:7::1", "192.0.2.1"] {
                    assert_eq!(fixture.ask_from(inside, access_key, secret).await, Ok(()), "{inside}");
                }
                let failure = AuthRefusal::Unauthorized(AuthFailure::WrongSecret);
                assert_eq!(fixture.ask_from("10.1.2.3", access_key, wrong).await, Err(failure));
            }
        }
    });
}

#[test]
fn a_key_that_is_narrowed_stops_elsewhere_in_every_cache() {
    run(async {
        let mut fixture = Fixture::new();
        let (minted, chosen) = (fixture.account_key(), fixture.chosen_key("CHOSEN", "secret"));
        for pair in [&minted, &chosen] {
            let identity = fixture.ask_pair(pair).await.unwrap();
            // this thread's cache, and a source that is known to use the key
            fixture.ask_pair(pair).await.unwrap();
            fixture.narrow(pair, &["10.0.0.0/8"]).await;
            assert!(identity.is_stale());
            assert_eq!(fixture.auth.refresh(&identity, SOURCE).await.unwrap_err(), NETWORK);
            assert_eq!(fixture.ask_pair(pair).await.unwrap_err(), NETWORK);
            let inside = address("10.1.1.1");
            let renewed = fixture.auth.refresh(&identity, inside).await.unwrap();
            assert!(renewed.principal.key.scope.is_some());
            // in memory now, and still not for others
            assert_eq!(fixture.auth.refresh(&identity, SOURCE).await.unwrap_err(), NETWORK);
            assert_eq!(fixture.ask_pair(pair).await.unwrap_err(), NETWORK);
            let access_key = pair.access_key().as_str();
            assert_eq!(fixture.ask_from("10.1.1.1", access_key, &pair.secret).await, Ok(()));
            assert_eq!(fixture.ask_from("10.1.1.1", access_key, &pair.secret).await, Ok(()));
            assert_eq!(fixture.ask_pair(pair).await.unwrap_err(), NETWORK);
        }
    });
}

#[test]
fn what_was_read_before_a_key_was_narrowed_is_not_cached() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let identity = fixture.ask_pair(&pair).await.unwrap();
        let read = fixture.auth.read(pair.access_key().clone()).await.unwrap();
        fixture.narrow(&pair, &["10.0.0.0/8"]).await;
        let access_key = pair.access_key().as_str();
        let filled = fixture
            .auth
            .cache_identity(access_key, identity.secret_since, identity.mac, SOURCE, Some(read))
            .await;
        assert_eq!(filled.unwrap_err(), NETWORK);
        assert_eq!(fixture.ask_pair(&pair).await.unwrap_err(), NETWORK);
        // a refusal that was read before, too
        let read = fixture.auth.read(pair.access_key().clone()).await.unwrap();
        let verifier = read.active_verifiers(Timestamp::now());
        fixture.narrow(&pair, &["192.0.2.0/24"]).await;
        fixture.auth.remember_failure(verifier, Some(read));
        assert!(fixture.ask_pair(&pair).await.is_ok());
    });
}

#[test]
fn the_wrong_network_counts_as_nobodys_failure_and_looks_like_one() {
    run(async {
        let mut fixture = Fixture::with(|config| config.throttle.failures = 8);
        let (minted, chosen) = (fixture.account_key(), fixture.chosen_key("CHOSEN", "secret"));
        // a chosen pair takes one of a few turns, as a wrong one would
        for (pair, times) in [(&minted, 20), (&chosen, 2)] {
            fixture.narrow(pair, &["10.0.0.0/8"]).await;
            for _ in 0..times {
                assert_eq!(fixture.ask_pair(pair).await.unwrap_err(), NETWORK, "it is not counted");
            }
        }
        let wrong = mint_secret(&fixture.config.key_prefix);
        let unknown = mint_access_key(&fixture.config.key_prefix, &minted.key.owner);
        for _ in 0..8 {
            let refusal = AuthRefusal::Unauthorized(AuthFailure::UnknownKey);
            assert_eq!(fixture.ask(unknown.as_str(), wrong.as_str()).await.unwrap_err(), refusal);
        }
        let throttled = |refusal| matches!(refusal, Err(AuthRefusal::Throttled { .. }));
        assert!(throttled(fixture.ask(unknown.as_str(), wrong.as_str()).await.map(drop)));
        for pair in [&minted, &chosen] {
            assert!(throttled(fixture.ask_pair(pair).await.map(drop)), "as for a wrong secret");
        }
        // from where the key may come, a right secret always passes
        fixture.narrow(&minted, &["192.0.2.1"]).await;
        assert!(fixture.ask_pair(&minted).await.is_ok());
    });
}

#[test]
fn a_chosen_pair_from_the_wrong_network_is_answered_when_a_wrong_one_is() {
    run(async {
        let refusal_time = Duration::from_millis(150);
        let mut fixture = Fixture::with(|config| config.authentication.refusal_time = refusal_time);
        let chosen = fixture.chosen_key("CHOSEN", "secret");
        // known to use the key from here
        fixture.ask_pair(&chosen).await.unwrap();
        fixture.narrow(&chosen, &["10.0.0.0/8"]).await;
        for inside_first in [false, true] {
            if inside_first {
                fixture.ask_from("10.1.1.1", "CHOSEN", "secret").await.unwrap();
            }
            for secret in ["secret", "wrong"] {
                let (refused, begun) = (fixture.counted(fixture.ask("CHOSEN", secret)), Instant::now());
                let (refusal, cost) = refused.await;
                assert_eq!(refusal.unwrap_err(), NETWORK);
                assert!(begun.elapsed() >= refusal_time, "{secret}");
                assert_eq!(cost.argon2_runs, 0, "the secret is not verified");
            }
        }
    });
}
