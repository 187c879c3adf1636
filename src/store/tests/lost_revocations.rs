//! Revocations that a restored record has lost are reapplied, and nothing else.

use super::super::database::{Database, OpenMode};
use super::super::lost_revocations::LostRevocations;
use super::*;
use crate::model::ApiKey;

/// A store as it is now, and the same store restored to an earlier state.
struct RolledBack {
    now: TestStore,
    was: TestStore,
}

/// What exists in both.
struct Common {
    account: Account,
    environments: Vec<EnvironmentId>,
    keys: Vec<ApiKey>,
}

impl RolledBack {
    /// Both have what `before` does; the restored one has lost what `after` does.
    fn new(
        before: impl FnOnce(&mut TestStore, &Common),
        after: impl FnOnce(&mut TestStore, &Common),
    ) -> (Self, Common) {
        let mut now = test_store();
        let account = now.account("alice");
        let environments: Vec<_> = ["e1", "e2", "e3"].map(|id| now.environment(id).id).into();
        let owner = KeyOwner::Environment(environments[0].clone());
        let keys = (0..4).map(|number| now.key(&owner, &format!("key-{number}"))).collect();
        let common = Common { account, environments, keys };
        before(&mut now, &common);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("was.db");
        let plain = Connection::open(&now.path).unwrap();
        plain.execute("VACUUM INTO ?1", [path.to_str().unwrap()]).unwrap();
        let store = Store::open(&path).unwrap();
        after(&mut now, &common);
        (Self { now, was: TestStore { directory, path, store, url: None } }, common)
    }

    /// Reapplies the lost revocations, and returns how many they were.
    fn reapply(&mut self) -> usize {
        let open = |test: &TestStore| Database::open(&test.path, OpenMode::ReadOnly).unwrap();
        let lost = LostRevocations::between(&open(&self.now), &open(&self.was)).unwrap();
        lost.reapply(&mut self.was.store).unwrap();
        let left = LostRevocations::between(&open(&self.now), &open(&self.was)).unwrap();
        assert!(left.is_empty(), "something is still lost: {left:?}");
        self.was.store.check_integrity().unwrap();
        lost.len()
    }
}

fn role(common: &Common, environment: usize, role: Role) -> Membership {
    Membership { account: common.account.id, environment: common.environments[environment].clone(), role }
}

#[test]
fn deactivated_and_removed_keys_are_so_again() {
    let inactive = |test: &mut TestStore, key: &ApiKey| {
        test.store.set_key_state(key.id, State::Inactive).unwrap();
    };
    let (mut rolled_back, common) = RolledBack::new(
        |test, common| inactive(test, &common.keys[2]),
        |test, common| {
            inactive(test, &common.keys[0]);
            inactive(test, &common.keys[1]);
            test.store.remove_key(common.keys[1].id).unwrap();
            // wider in what is forgotten: a right that nobody is given back by itself
            test.store.set_key_state(common.keys[2].id, State::Active).unwrap();
        },
    );
    assert_eq!(rolled_back.reapply(), 2);
    let state = |key: &ApiKey| rolled_back.was.store.find_key(key.access_key.as_str()).unwrap().state;
    let states: Vec<_> = common.keys.iter().map(state).collect();
    assert_eq!(states, [State::Inactive, State::Removed, State::Inactive, State::Active]);
    // the log says whose changes these are
    let log = rolled_back
        .was
        .store
        .audit_page(&PageQuery { limit: 100, descending: true, ..PageQuery::default() })
        .unwrap();
    assert_eq!(log.items[0].via, "gateway", "{:?}", log.items[0]);
}

#[test]
fn keys_that_were_to_end_earlier_do_so_again() {
    let end = |test: &mut TestStore, key: &ApiKey, end: Option<i64>| {
        let expires = Some(end.map(|second| Timestamp::from_second(2_000_000_000 + second).unwrap()));
        test.store.edit_key(key.id, &KeyEdit { expires, ..KeyEdit::default() }).unwrap();
    };
    let (mut rolled_back, common) = RolledBack::new(
        |test, common| {
            end(test, &common.keys[1], Some(100));
            end(test, &common.keys[2], Some(100));
        },
        |test, common| {
            end(test, &common.keys[0], Some(50));
            end(test, &common.keys[1], Some(50));
            // later, or never: a right that nobody is given back by itself
            end(test, &common.keys[2], None);
            end(test, &common.keys[3], Some(50));
            test.store.set_key_state(common.keys[3].id, State::Inactive).unwrap();
        },
    );
    assert_eq!(rolled_back.reapply(), 3);
    let expires = |key: &ApiKey| {
        let key = rolled_back.was.store.find_key(key.access_key.as_str()).unwrap();
        (key.expires.map(|time| time.as_second() - 2_000_000_000), key.state)
    };
    let ends: Vec<_> = common.keys.iter().map(expires).collect();
    let (active, inactive) = (State::Active, State::Inactive);
    assert_eq!(ends, [(Some(50), active), (Some(50), active), (Some(100), active), (Some(50), inactive)]);
}

#[test]
fn keys_that_were_narrower_are_so_again() {
    let narrow = |test: &mut TestStore, key: &ApiKey, scope: &str| {
        let scope = Some((!scope.is_empty()).then(|| scope.parse().unwrap()));
        test.store.edit_key(key.id, &KeyEdit { scope, ..KeyEdit::default() }).unwrap();
    };
    let (mut rolled_back, common) = RolledBack::new(
        |test, common| {
            narrow(test, &common.keys[1], r#"{"methods":["GET","PUT"],"paths":["/a/**"]}"#);
            narrow(test, &common.keys[2], r#"{"paths":["/a/**"]}"#);
            narrow(test, &common.keys[3], r#"{"networks":["10.0.0.0/8"]}"#);
        },
        |test, common| {
            narrow(test, &common.keys[0], r#"{"read_only":true}"#);
            narrow(test, &common.keys[1], r#"{"methods":["GET","POST"],"paths":["/a/b","/a/c/*"]}"#);
            // neither lies within the other: no scope allows what both allow
            narrow(test, &common.keys[2], r#"{"paths":["/b/**"]}"#);
            // wider: a right that nobody is given back by itself
            narrow(test, &common.keys[3], "");
        },
    );
    assert_eq!(rolled_back.reapply(), 3);
    let now: Vec<_> = common
        .keys
        .iter()
        .map(|key| {
            let key = rolled_back.was.store.find_key(key.access_key.as_str()).unwrap();
            (key.scope.map(|scope| scope.restrictions().join("; ")).unwrap_or_default(), key.state)
        })
        .collect();
    let is = |scope: &str, state| (scope.to_owned(), state);
    assert_eq!(
        now,
        [
            is("only reading", State::Active),
            is("only GET; only /a/b, /a/c/*", State::Active),
            is("only /a/**", State::Inactive),
            is("only from 10.0.0.0/8", State::Active),
        ]
    );
}

#[test]
fn deactivated_accounts_and_environments_are_so_again() {
    let (mut rolled_back, common) = RolledBack::new(
        |_, _| {},
        |test, common| {
            test.store.set_account_state(common.account.id, State::Inactive).unwrap();
            test.store.set_environment_state(&common.environments[0], State::Inactive).unwrap();
            test.store.remove_environment(&common.environments[1], &ExpectedRevision::Any).unwrap();
            // made and gone: nobody knows it there
            let new = test.account("bob");
            test.store.set_account_state(new.id, State::Inactive).unwrap();
        },
    );
    assert_eq!(rolled_back.reapply(), 3);
    let store = &rolled_back.was.store;
    assert_eq!(store.find_account("alice").unwrap().state, State::Inactive);
    let state = |at: usize| {
        let id = common.environments[at].as_str();
        store.find_environment(id).map_or(State::Removed, |environment| environment.state)
    };
    assert_eq!([state(0), state(1), state(2)], [State::Inactive, State::Removed, State::Active]);
    assert_eq!(
        store.account_page(None, &PageQuery { limit: 9, ..PageQuery::default() }).unwrap().items.len(),
        1
    );
}

#[test]
fn ended_memberships_and_lesser_roles_are_so_again_and_greater_roles_are_not() {
    let (mut rolled_back, common) = RolledBack::new(
        |test, common| {
            test.store.add_member(&role(common, 0, Role::Owner)).unwrap();
            test.store.add_member(&role(common, 1, Role::Member)).unwrap();
            test.store.add_member(&role(common, 2, Role::Readonly)).unwrap();
        },
        |test, common| {
            test.store.add_member(&role(common, 0, Role::Restricted)).unwrap();
            test.store.remove_member(common.account.id, &common.environments[1]).unwrap();
            test.store.add_member(&role(common, 2, Role::Owner)).unwrap();
        },
    );
    assert_eq!(rolled_back.reapply(), 2);
    let memberships = rolled_back.was.store.memberships_of(common.account.id).unwrap();
    let roles: Vec<_> = memberships.iter().map(|it| (it.environment.as_str(), it.role)).collect();
    assert_eq!(roles, [("e1", Role::Restricted), ("e3", Role::Readonly)]);
}

#[test]
fn changes_of_the_restored_record_are_compared_from_the_last_common_change() {
    let (mut rolled_back, common) = RolledBack::new(
        |_, _| {},
        |test, common| {
            test.store.set_key_state(common.keys[0].id, State::Inactive).unwrap();
        },
    );
    // the same number, another change; and one that takes away more than what was forgotten
    let store = &mut rolled_back.was.store;
    store.set_key_state(common.keys[1].id, State::Inactive).unwrap();
    assert_eq!(store.head().unwrap(), rolled_back.now.store.head().unwrap());
    store.set_key_state(common.keys[0].id, State::Inactive).unwrap();
    store.remove_key(common.keys[0].id).unwrap();
    assert_eq!(rolled_back.reapply(), 0, "what is removed is not put back to inactive");
    let key = rolled_back.was.store.find_key(common.keys[0].access_key.as_str()).unwrap();
    assert_eq!(key.state, State::Removed);
}

#[test]
fn without_lost_changes_nothing_is_reapplied() {
    let (mut rolled_back, _) = RolledBack::new(|_, _| {}, |_, _| {});
    let head = rolled_back.was.store.head().unwrap();
    assert_eq!(rolled_back.reapply(), 0);
    assert_eq!(rolled_back.was.store.head().unwrap(), head);
}
