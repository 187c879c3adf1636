//! What is carried from one copy of the record to another.

use rusqlite::Connection;

use super::super::database::{Database, Purpose};
use super::super::delta::{Delta, Place};
use super::super::error::Fault;
use super::super::rowset::{ACCOUNTS, Cell, Cells, FINGERPRINTS, KEYS, MEMBERSHIPS};
use super::*;
use crate::model::ApiKey;

/// A store with something of everything, a copy of it as it is then, and what is changed afterwards.
fn changed() -> (super::Place, Database, ApiKey) {
    let mut place = place();
    let account = place.account("alice");
    let [e1, e2] = ["e1", "e2"].map(|id| place.environment(id).id);
    let role = |environment: &EnvironmentId, role| Membership {
        account: account.id,
        environment: environment.clone(),
        role,
    };
    place.store.add_member(&role(&e1, Role::Member)).unwrap();
    place.store.add_member(&role(&e2, Role::Member)).unwrap();
    let gone = place.key(&KeyOwner::Account(account.id), "gone");
    let kept = place.key(&KeyOwner::Environment(e1.clone()), "kept");
    let copy = place.directory.path().join("copy.db");
    let plain = Connection::open(&place.path).unwrap();
    plain.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    let copy = Database::open(&copy, Purpose::Record).unwrap();

    place.store.set_key_state(gone.id, State::Inactive).unwrap();
    place.store.remove_key(gone.id).unwrap();
    place.store.remove_member(account.id, &e1).unwrap();
    place.store.add_member(&role(&e2, Role::Readonly)).unwrap();
    let mut new = new_key(&KeyOwner::Environment(e1), "new");
    new.verifier.fingerprint = Some(fingerprint(3));
    place.store.create_key(&new).unwrap();
    place.account("bob");
    place.store.set_environment_state(&e2, State::Inactive).unwrap();
    (place, copy, kept)
}

fn rows(database: &Database) -> Vec<Vec<Cells>> {
    let read = |at: &Connection| {
        let tables =
            [&ACCOUNTS, &KEYS, &MEMBERSHIPS, &rowset::ENVIRONMENTS, &rowset::CHANGES, &rowset::AUDIT];
        let mut found = tables
            .map(|table| table.get(at, "ORDER BY 1, 2", []))
            .into_iter()
            .collect::<Result<Vec<_>, Fault>>()?;
        let mut statement = at.prepare(
            "SELECT fingerprints.key, peppers.id, fingerprints.mac FROM fingerprints
             JOIN peppers ON peppers.number = fingerprints.pepper ORDER BY 1",
        )?;
        let fingerprints = statement.query_map([], |row| FINGERPRINTS.cells(row))?;
        found.push(fingerprints.collect::<Result<_, _>>()?);
        Ok(found)
    };
    database.read(read).unwrap()
}

fn collect(place: &super::Place, since: Place) -> Delta {
    place.store.database.read(|at| Delta::collect(at, since)).unwrap()
}

#[test]
fn what_was_collected_makes_a_copy_the_same_again() {
    let (place, mut copy, kept) = changed();
    let since = copy.read(Place::of).unwrap();
    let delta = collect(&place, since);
    // one row an object, whatever has happened to it; and nothing of what was not touched
    assert_eq!((delta.changes.len(), delta.rows.keys.len(), delta.rows.memberships.len()), (7, 2, 1));
    assert!(!delta.touched.keys.contains(&kept.id.row()));
    assert!(rows(&copy) != rows(&place.store.database));
    assert!(copy.write(|at| delta.apply(at)).unwrap());
    assert!(rows(&copy) == rows(&place.store.database), "the copy is another");
    copy.check_whole().unwrap();
}

#[test]
fn what_follows_something_else_is_not_applied() {
    let (mut place, mut copy, kept) = changed();
    let since = copy.read(Place::of).unwrap();
    let delta = collect(&place, since);
    assert!(copy.write(|at| delta.apply(at)).unwrap());
    let before = rows(&copy);
    assert!(!copy.write(|at| delta.apply(at)).unwrap(), "a second time");
    place.store.set_key_state(kept.id, State::Inactive).unwrap();
    let later = collect(&place, since);
    assert!(!copy.write(|at| later.apply(at)).unwrap(), "from an earlier place");
    assert!(rows(&copy) == before, "nothing was written");
    let next = collect(&place, copy.read(Place::of).unwrap());
    assert!(copy.write(|at| next.apply(at)).unwrap());
    assert!(rows(&copy) == rows(&place.store.database));
}

type Spoil<'a> = &'a dyn Fn(&mut Delta);

#[test]
fn changes_that_do_not_follow_from_one_another_are_refused_whole() {
    let (place, mut copy, _) = changed();
    let since = copy.read(Place::of).unwrap();
    let before = rows(&copy);
    let last = |delta: &Delta| delta.changes.len() - 1;
    let spoils: [(&str, Spoil<'_>); 5] = [
        ("another action", &|delta| delta.changes[1][4] = Cell::Text("activate".to_owned())),
        ("another hash", &|delta| delta.changes[0][6] = Cell::Bytes(vec![7; 32])),
        ("a change is missing", &|delta| drop(delta.changes.remove(1))),
        ("the end is missing", &|delta| drop(delta.changes.pop())),
        ("it ends elsewhere", &|delta| delta.to.head.hash = [9; 32]),
    ];
    for (what, spoil) in spoils {
        let mut delta = collect(&place, since);
        assert_eq!(last(&delta), 6);
        spoil(&mut delta);
        let refused = copy.write(|at| delta.apply(at));
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{what}: {refused:?}");
        assert!(rows(&copy) == before, "{what}: something was written");
    }
    let mut delta = collect(&place, since);
    delta.audit.pop();
    assert!(
        matches!(copy.write(|at| delta.apply(at)), Err(StoreError::Damaged { .. })),
        "an audit row is missing"
    );
}

#[test]
fn a_change_about_nothing_known_is_damage() {
    let (place, copy, _) = changed();
    let mut delta = collect(&place, copy.read(Place::of).unwrap());
    delta.changes[0][2] = Cell::Text("planet".to_owned());
    let known = super::super::delta::Touched::by(&delta.changes);
    assert!(matches!(known, Err(Fault::Damaged(text)) if text.contains("nothing known")));
}

#[test]
fn rows_are_written_over_their_own_and_a_log_takes_no_row_twice() {
    let (place, ..) = changed();
    let at = Connection::open(&place.path).unwrap();
    let mut account = ACCOUNTS.get(&at, "WHERE id = ?", [Cell::Int(1)]).unwrap().remove(0);
    account[1] = Cell::Text("Ünamed '\"".to_owned());
    account[2] = Cell::Null;
    ACCOUNTS.put(&at, &account).unwrap();
    assert!(ACCOUNTS.get(&at, "WHERE id = ?", [Cell::Int(1)]).unwrap() == [account]);
    let change = rowset::CHANGES.get(&at, "WHERE number = ?", [Cell::Int(1)]).unwrap().remove(0);
    assert!(rowset::CHANGES.put(&at, &change).is_err());
    // what verifies secrets does not print
    let key = KEYS.get(&at, "LIMIT 1", []).unwrap();
    assert!(!format!("{key:?}").contains("argon2"), "{key:?}");
    // one list of names serves both databases
    for table in [&ACCOUNTS, &KEYS, &MEMBERSHIPS, &rowset::ENVIRONMENTS, &rowset::CHANGES, &rowset::AUDIT] {
        let columns = table.columns.len();
        assert_eq!((table.types().len(), table.array_types().count()), (columns, columns));
        assert!(table.put_many().contains(&format!("${columns}::")), "{}", table.put_many());
        assert_eq!(table.arrays(&[vec![Cell::Null; columns], vec![Cell::Int(1); columns]]).len(), columns);
    }
}
