//! What a change of the store invalidates.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::model::{Membership, Owner, Role, State};
use crate::policy::EnvironmentStatus;
use crate::store::Edit;

#[test]
fn a_deactivated_key_is_stale_and_refused_as_soon_as_the_change_is_applied() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        fixture.apply_changes().await;
        let identity = fixture.ask_pair(&pair).await.unwrap();
        assert!(!identity.is_stale());

        let (_, number) = fixture.store.set_key_state(pair.key.id, State::Inactive).unwrap();
        fixture.apply_changes().await;
        assert!(identity.is_stale());
        assert_eq!(fixture.auth.applied_up_to(), number);
        let inactive = AuthRefusal::Unauthorized(AuthFailure::InactiveKey);
        assert_eq!(fixture.auth.refresh(&identity, SOURCE).await.unwrap_err(), inactive);
        assert_eq!(fixture.ask_pair(&pair).await.unwrap_err(), inactive);
        // and once more, from what that refusal has left behind
        let (refusal, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
        assert_eq!(refusal.unwrap_err(), inactive);
        assert_eq!((cost.store_reads, cost.argon2_runs), (0, 0));

        fixture.store.set_key_state(pair.key.id, State::Active).unwrap();
        fixture.apply_changes().await;
        assert!(fixture.ask_pair(&pair).await.is_ok(), "the remembered refusal ends with the change");
        assert!(identity.is_stale(), "what was stale once stays so");
    });
}

#[test]
fn a_renamed_key_is_read_again_and_loses_nothing() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        fixture.apply_changes().await;
        let identity = fixture.ask_pair(&pair).await.unwrap();
        fixture
            .store
            .edit_key(pair.key.id, &Edit { name: Some(Some(name("laptop"))), ..Edit::default() }.into())
            .unwrap();
        fixture.apply_changes().await;
        assert!(identity.is_stale());

        let (again, cost) = fixture.counted(fixture.auth.refresh(&identity, SOURCE)).await;
        let again = again.unwrap();
        assert_eq!(again.principal.key.name, Some(name("laptop")));
        assert!(!again.is_stale() && again.as_of > identity.as_of);
        assert_eq!(cost, Counters { store_reads: 1, ..Counters::default() });
        // the right secret is still known, a wrong one still is not
        let (asked, cost) = fixture.counted(fixture.ask_pair(&pair)).await;
        assert!(Arc::ptr_eq(&asked.unwrap(), &again));
        assert_eq!(cost.memory_hits, 1);
        // a second stream of the same key reads nothing
        let (second, cost) = fixture.counted(fixture.auth.refresh(&identity, SOURCE)).await;
        assert!(Arc::ptr_eq(&second.unwrap(), &again));
        assert_eq!(cost.store_reads, 0);
    });
}

#[test]
fn a_key_made_after_its_access_key_was_refused_works() {
    run(async {
        let mut fixture = Fixture::new();
        let unknown = AuthRefusal::Unauthorized(AuthFailure::UnknownKey);
        assert_eq!(fixture.ask("ROOT", "secret").await.unwrap_err(), unknown);
        let pair = fixture.chosen_key("ROOT", "secret");
        fixture.apply_changes().await;
        assert!(fixture.ask_pair(&pair).await.is_ok());
    });
}

#[test]
fn a_change_of_an_account_invalidates_its_keys_and_no_others() {
    run(async {
        let mut fixture = Fixture::new();
        let (account, environment) = (fixture.account_key(), fixture.environment_key());
        fixture.apply_changes().await;
        let of_account = fixture.ask_pair(&account).await.unwrap();
        let of_environment = fixture.ask_pair(&environment).await.unwrap();
        fixture.store.set_account_state(fixture.account, State::Inactive).unwrap();
        fixture.apply_changes().await;
        assert!(of_account.is_stale() && !of_environment.is_stale());
        let inactive = AuthRefusal::Unauthorized(AuthFailure::InactiveOwner);
        assert_eq!(fixture.ask_pair(&account).await.unwrap_err(), inactive);
        assert!(fixture.ask_pair(&environment).await.is_ok());
    });
}

#[test]
fn the_next_request_after_a_new_membership_has_its_role() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        fixture.apply_changes().await;
        let roles = |identity: &Identity| match &identity.principal.owner {
            Owner::Account { memberships, .. } => memberships.clone(),
            Owner::Environment(_) => panic!("an account key"),
        };
        let before = fixture.ask_pair(&pair).await.unwrap();
        assert_eq!(roles(&before), []);
        let membership = Membership {
            account: fixture.account,
            environment: fixture.environment.clone(),
            role: Role::Readonly,
        };
        fixture.store.add_member(&membership).unwrap();
        fixture.apply_changes().await;
        assert!(before.is_stale());
        let after = fixture.ask_pair(&pair).await.unwrap();
        assert_eq!(roles(&after), [(fixture.environment.clone(), Role::Readonly)]);
    });
}

#[test]
fn a_change_of_an_environment_invalidates_its_keys_and_its_cached_status() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.environment_key();
        fixture.apply_changes().await;
        let identity = fixture.ask_pair(&pair).await.unwrap();
        let active = EnvironmentStatus { known: true, active: true };
        assert_eq!(fixture.auth.environment("e1").await, Ok(active));

        fixture.store.set_environment_state(&fixture.environment, State::Inactive).unwrap();
        fixture.apply_changes().await;
        assert!(identity.is_stale());
        let inactive = AuthRefusal::Unauthorized(AuthFailure::InactiveOwner);
        assert_eq!(fixture.ask_pair(&pair).await.unwrap_err(), inactive);
        assert_eq!(
            fixture.auth.environment("e1").await,
            Ok(EnvironmentStatus { known: true, active: false })
        );
    });
}

#[test]
fn each_environment_is_read_once_even_if_it_does_not_exist() {
    run(async {
        let mut fixture = Fixture::new();
        let unknown = EnvironmentStatus::default();
        for (id, facts) in
            [("e1", EnvironmentStatus { known: true, active: true }), ("e2", unknown), ("E1", unknown)]
        {
            let (found, first) = fixture.counted(fixture.auth.environment(id)).await;
            assert_eq!((found, first.environment_reads), (Ok(facts), 1), "{id}");
            let (found, second) = fixture.counted(fixture.auth.environment(id)).await;
            assert_eq!((found, second.environment_reads), (Ok(facts), 0), "{id}");
        }
        let (found, cost) = fixture.counted(fixture.auth.environment("no/id")).await;
        assert_eq!((found, cost.environment_reads), (Ok(unknown), 0));

        let new =
            NewEnvironment { id: "e2".parse().unwrap(), name: None, description: None, members: Vec::new() };
        fixture.store.create_environment(&new).unwrap();
        fixture.apply_changes().await;
        assert_eq!(fixture.auth.environment("e2").await, Ok(EnvironmentStatus { known: true, active: true }));
    });
}

#[test]
fn when_everything_is_dropped_everything_is_stale_and_read_again() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        fixture.apply_changes().await;
        let identity = fixture.ask_pair(&pair).await.unwrap();
        fixture.auth.environment("e1").await.unwrap();
        fixture.auth.invalidate_everything();
        assert!(identity.is_stale());
        let (again, cost) = fixture.counted(fixture.auth.refresh(&identity, SOURCE)).await;
        assert!(!again.unwrap().is_stale());
        assert_eq!(cost.store_reads, 1);
        let (_, cost) = fixture.counted(fixture.auth.environment("e1")).await;
        assert_eq!(cost.environment_reads, 1);
    });
}

#[test]
fn case_72_a_read_that_raced_with_a_change_is_done_again() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        fixture.apply_changes().await;
        let read = fixture.auth.read(pair.access_key().clone()).await.unwrap();
        let identity = fixture.ask_pair(&pair).await.unwrap();
        fixture.store.set_key_state(pair.key.id, State::Inactive).unwrap();
        fixture.apply_changes().await;
        // the reader was slow: what it has read is from before the change, and arrives after it
        let access_key = pair.access_key().as_str();
        let admit =
            fixture.auth.cache_identity(access_key, identity.secret_since, identity.mac, SOURCE, Some(read));
        let (admitted, cost) = fixture.counted(admit).await;
        assert!(matches!(admitted, Err(AuthRefusal::Unauthorized(_))), "{admitted:?}");
        assert_eq!(cost, Counters { raced_fills: 1, store_reads: 1, ..Counters::default() });
    });
}

/// A replica may be replaced by another file whose changes count otherwise: after a record was put back to an earlier
/// state, its newest change may have a smaller number than what was read of the old one.
#[test]
fn case_72_a_read_that_raced_with_a_new_replica_is_done_again() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        let (old, newer) = (fixture.path("old"), fixture.path("newer"));
        let copy = |from: &Path, to: &Path| {
            let connection = rusqlite::Connection::open(from).unwrap();
            connection.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
            let copied = rusqlite::Connection::open(to).unwrap();
            copied.pragma_update(None, "journal_mode", "wal").unwrap();
        };
        copy(&fixture.path("store"), &newer);
        // the old one counts further; in the newer one the key is dead
        for word in ["a", "b", "c"] {
            let edit = Edit { name: Some(Some(name(word))), ..Edit::default() };
            fixture.store.edit_key(pair.key.id, &edit.clone().into()).unwrap();
        }
        copy(&fixture.path("store"), &old);
        Store::open(&newer).unwrap().set_key_state(pair.key.id, State::Inactive).unwrap();
        for replica in [&old, &newer] {
            let connection = rusqlite::Connection::open(replica).unwrap();
            connection.execute("INSERT INTO replica (only_row, record) VALUES (1, 'r')", []).unwrap();
        }
        let replica = fixture.path("replica");
        std::os::unix::fs::symlink(&old, &replica).unwrap();
        let mut follower = Follower::open(&replica, Timestamp::now()).unwrap();
        let auth = authenticator(&fixture.config, &replica, &[fixture.path("pepper")]);
        let credential = credential(pair.access_key().as_str(), &pair.secret);
        let identity = auth.authenticate(&credential, SOURCE, Instant::now()).await.unwrap();

        // read of the old one, then it is replaced, and that is applied, and only then the reader's answer arrives
        let read = auth.read(pair.access_key().clone()).await.unwrap();
        let link = fixture.path("link");
        std::os::unix::fs::symlink(&newer, &link).unwrap();
        std::fs::rename(&link, &replica).unwrap();
        let changes = follower.poll().unwrap();
        assert!(changes.last().unwrap().number < identity.as_of, "{changes:?}");
        auth.apply_changes(&changes).await;
        assert!(identity.is_stale());
        let admitted = auth
            .cache_identity(
                pair.access_key().as_str(),
                identity.secret_since,
                identity.mac,
                SOURCE,
                Some(read),
            )
            .await;
        assert!(matches!(admitted, Err(AuthRefusal::Unauthorized(_))), "{admitted:?}");
        assert_eq!(auth.counters().raced_fills, 1);
        let refusal = auth.authenticate(&credential, SOURCE, Instant::now()).await;
        assert!(matches!(refusal, Err(AuthRefusal::Unauthorized(_))), "{refusal:?}");
    });
}

#[test]
fn a_refusal_that_raced_with_a_change_is_not_cached() {
    run(async {
        let mut fixture = Fixture::new();
        let pair = fixture.account_key();
        fixture.store.set_key_state(pair.key.id, State::Inactive).unwrap();
        fixture.apply_changes().await;
        let read = fixture.auth.read(pair.access_key().clone()).await.unwrap();
        fixture.store.set_key_state(pair.key.id, State::Active).unwrap();
        fixture.apply_changes().await;
        fixture.auth.remember_failure(read.active_verifiers(Timestamp::now()), Some(read));
        assert_eq!(fixture.auth.failed_key_cache.len(), 0);
        assert!(fixture.ask_pair(&pair).await.is_ok());
    });
}

/// Sets a flag when the test ends, however it ends: the other threads would run for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Threads use a key as workers do while it is switched on and off. After a change is applied, nobody may be let in
/// against it, whatever was being read in between.
#[test]
fn no_request_that_begins_after_a_change_was_applied_is_decided_by_what_was_before() {
    const SWITCHES: u64 = 150;
    let mut fixture = Fixture::new();
    let pair = fixture.account_key();
    run(fixture.apply_changes());
    let auth = Arc::clone(&fixture.auth);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                run(async {
                    while !is_over.load(Ordering::SeqCst) {
                        let before = auth.applied_up_to();
                        let credential = credential(pair.access_key().as_str(), &pair.secret);
                        match auth.authenticate(&credential, SOURCE, Instant::now()).await {
                            // stale ones are compared again before they are used, as the proxy does
                            Ok(identity) if !identity.is_stale() => {
                                assert!(identity.principal.is_active());
                                assert!(auth.applied_up_to() == before || identity.as_of >= before);
                            }
                            // throttled: on a slow disk a switched-off key fails oftener than its source may
                            Ok(_)
                            | Err(
                                AuthRefusal::Unauthorized(_)
                                | AuthRefusal::Throttled { .. }
                                | AuthRefusal::Unavailable { .. },
                            ) => (),
                            Err(other) => panic!("{other:?}"),
                        }
                    }
                });
            });
        }
        let _over = Over(&is_over);
        run(async {
            for switch in 0..SWITCHES {
                let state = if switch % 2 == 0 { State::Inactive } else { State::Active };
                fixture.store.set_key_state(pair.key.id, state).unwrap();
                fixture.apply_changes().await;
                let judged = fixture.ask_pair(&pair).await;
                assert_eq!(judged.is_ok(), state == State::Active, "switch {switch}: {judged:?}");
            }
        });
    });
}
