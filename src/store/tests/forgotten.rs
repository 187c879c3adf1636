//! A record that was put back to an earlier state is told what it has forgotten of deactivations, and of nothing else.

use super::super::database::{Database, Purpose};
use super::super::forgotten::Forgotten;
use super::*;
use crate::model::ApiKey;

/// A store, as it is now and as it was.
struct Rewound {
    now: Place,
    was: Place,
}

/// What exists in both.
struct Common {
    account: Account,
    environments: Vec<EnvironmentId>,
    keys: Vec<ApiKey>,
}

impl Rewound {
    /// `before` is known to both; `after` was forgotten.
    fn new(
        before: impl FnOnce(&mut Place, &Common),
        after: impl FnOnce(&mut Place, &Common),
    ) -> (Self, Common) {
        let mut now = place();
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
        (Self { now, was: Place { directory, path, store, url: None } }, common)
    }

    /// Writes back what was forgotten, and says how much it was.
    fn write_back(&mut self) -> usize {
        let open = |place: &Place| Database::open(&place.path, Purpose::Reading).unwrap();
        let forgotten = Forgotten::between(&open(&self.now), &open(&self.was)).unwrap();
        forgotten.write_back(&mut self.was.store).unwrap();
        let left = Forgotten::between(&open(&self.now), &open(&self.was)).unwrap();
        assert!(left.is_empty(), "something is still forgotten: {left:?}");
        self.was.store.check_whole().unwrap();
        forgotten.len()
    }
}

fn role(common: &Common, environment: usize, role: Role) -> Membership {
    Membership { account: common.account.id, environment: common.environments[environment].clone(), role }
}

#[test]
fn stopped_and_removed_keys_are_stopped_and_removed_again() {
    let inactive = |place: &mut Place, key: &ApiKey| {
        place.store.set_key_state(key.id, State::Inactive).unwrap();
    };
    let (mut rewound, common) = Rewound::new(
        |place, common| inactive(place, &common.keys[2]),
        |place, common| {
            inactive(place, &common.keys[0]);
            inactive(place, &common.keys[1]);
            place.store.remove_key(common.keys[1].id).unwrap();
            // wider in what is forgotten: a right that nobody is given back by itself
            place.store.set_key_state(common.keys[2].id, State::Active).unwrap();
        },
    );
    assert_eq!(rewound.write_back(), 2);
    let state = |key: &ApiKey| rewound.was.store.find_key(key.access_key.as_str()).unwrap().state;
    let states: Vec<_> = common.keys.iter().map(state).collect();
    assert_eq!(states, [State::Inactive, State::Removed, State::Inactive, State::Active]);
    // the log says whose changes these are
    let log =
        rewound.was.store.audit_page(&Query { limit: 100, descending: true, ..Query::default() }).unwrap();
    assert_eq!(log.items[0].via, "gateway", "{:?}", log.items[0]);
}

#[test]
fn stopped_accounts_and_environments_too() {
    let (mut rewound, common) = Rewound::new(
        |_, _| {},
        |place, common| {
            place.store.set_account_state(common.account.id, State::Inactive).unwrap();
            place.store.set_environment_state(&common.environments[0], State::Inactive).unwrap();
            place.store.remove_environment(&common.environments[1], &Expected::Any).unwrap();
            // made and gone: nobody knows it there
            let new = place.account("bob");
            place.store.set_account_state(new.id, State::Inactive).unwrap();
        },
    );
    assert_eq!(rewound.write_back(), 3);
    let store = &rewound.was.store;
    assert_eq!(store.find_account("alice").unwrap().state, State::Inactive);
    let state = |at: usize| {
        let id = common.environments[at].as_str();
        store.find_environment(id).map_or(State::Removed, |environment| environment.state)
    };
    assert_eq!([state(0), state(1), state(2)], [State::Inactive, State::Removed, State::Active]);
    assert_eq!(store.account_page(None, &Query { limit: 9, ..Query::default() }).unwrap().items.len(), 1);
}

#[test]
fn ended_memberships_and_lesser_roles_are_so_again_and_greater_ones_are_not() {
    let (mut rewound, common) = Rewound::new(
        |place, common| {
            place.store.add_member(&role(common, 0, Role::Owner)).unwrap();
            place.store.add_member(&role(common, 1, Role::Member)).unwrap();
            place.store.add_member(&role(common, 2, Role::Readonly)).unwrap();
        },
        |place, common| {
            place.store.add_member(&role(common, 0, Role::Restricted)).unwrap();
            place.store.remove_member(common.account.id, &common.environments[1]).unwrap();
            place.store.add_member(&role(common, 2, Role::Owner)).unwrap();
        },
    );
    assert_eq!(rewound.write_back(), 2);
    let memberships = rewound.was.store.memberships_of(common.account.id).unwrap();
    let roles: Vec<_> = memberships.iter().map(|it| (it.environment.as_str(), it.role)).collect();
    assert_eq!(roles, [("e1", Role::Restricted), ("e3", Role::Readonly)]);
}

#[test]
fn what_the_record_did_otherwise_meanwhile_counts_from_where_they_part() {
    let (mut rewound, common) = Rewound::new(
        |_, _| {},
        |place, common| {
            place.store.set_key_state(common.keys[0].id, State::Inactive).unwrap();
        },
    );
    // the same number, another change; and one that takes away more than what was forgotten
    let store = &mut rewound.was.store;
    store.set_key_state(common.keys[1].id, State::Inactive).unwrap();
    assert_eq!(store.head().unwrap(), rewound.now.store.head().unwrap());
    store.set_key_state(common.keys[0].id, State::Inactive).unwrap();
    store.remove_key(common.keys[0].id).unwrap();
    assert_eq!(rewound.write_back(), 0, "what is removed is not put back to inactive");
    let key = rewound.was.store.find_key(common.keys[0].access_key.as_str()).unwrap();
    assert_eq!(key.state, State::Removed);
}

#[test]
fn nothing_is_forgotten_where_nothing_was() {
    let (mut rewound, _) = Rewound::new(|_, _| {}, |_, _| {});
    let head = rewound.was.store.head().unwrap();
    assert_eq!(rewound.write_back(), 0);
    assert_eq!(rewound.was.store.head().unwrap(), head);
}
