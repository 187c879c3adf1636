//! Deltas, from one copy of the record to another.

use rusqlite::Connection;

use super::super::database::{Database, OpenMode};
use super::super::delta::{Delta, LogEnds};
use super::super::error::TransactionError;
use super::super::tables::{ACCOUNTS, Cell, FINGERPRINTS, KEYS, MEMBERSHIPS, TableRow};
use super::*;
use crate::model::ApiKey;

/// A store with something of everything, a copy of it as it is then, and what is changed afterwards.
fn changed_store() -> (super::TestStore, Database, ApiKey) {
    let mut test = test_store();
    let account = test.account("alice");
    let [e1, e2] = ["e1", "e2"].map(|id| test.environment(id).id);
    let role = |environment: &EnvironmentId, role| Membership {
        account: account.id,
        environment: environment.clone(),
        role,
    };
    test.store.add_member(&role(&e1, Role::Member)).unwrap();
    test.store.add_member(&role(&e2, Role::Member)).unwrap();
    let gone = test.key(&KeyOwner::Account(account.id), "gone");
    let kept = test.key(&KeyOwner::Environment(e1.clone()), "kept");
    let copy = test.directory.path().join("copy.db");
    let plain = Connection::open(&test.path).unwrap();
    plain.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    let copy = Database::open(&copy, OpenMode::Durable).unwrap();

    test.store.set_key_state(gone.id, State::Inactive).unwrap();
    test.store.remove_key(gone.id).unwrap();
    test.store.remove_member(account.id, &e1).unwrap();
    test.store.add_member(&role(&e2, Role::Readonly)).unwrap();
    let mut new = new_key(&KeyOwner::Environment(e1), "new");
    new.verifier.fingerprint = Some(fingerprint(3));
    test.store.create_key(&new).unwrap();
    test.account("bob");
    test.store.set_environment_state(&e2, State::Inactive).unwrap();
    (test, copy, kept)
}

fn rows(database: &Database) -> Vec<Vec<TableRow>> {
    let read = |at: &Connection| {
        let tables =
            [&ACCOUNTS, &KEYS, &MEMBERSHIPS, &tables::ENVIRONMENTS, &tables::CHANGES, &tables::AUDIT];
        let mut found = tables
            .map(|table| table.select(at, "ORDER BY 1, 2", []))
            .into_iter()
            .collect::<Result<Vec<_>, TransactionError>>()?;
        let mut statement = at.prepare(
            "SELECT fingerprints.key, fingerprints.secret, peppers.id, fingerprints.mac FROM fingerprints
             JOIN peppers ON peppers.number = fingerprints.pepper ORDER BY 1",
        )?;
        let fingerprints = statement.query_map([], |row| FINGERPRINTS.read_row(row))?;
        found.push(fingerprints.collect::<Result<_, _>>()?);
        Ok(found)
    };
    database.read(read).unwrap()
}

fn collect(test: &super::TestStore, since: LogEnds) -> Delta {
    test.store.database.read(|at| Delta::collect(at, since)).unwrap()
}

#[test]
fn a_delta_makes_an_older_copy_the_same_again() {
    let (test, mut copy, kept) = changed_store();
    let since = copy.read(LogEnds::of).unwrap();
    let delta = collect(&test, since);
    // one row an object, whatever has happened to it; and nothing of what was not changed
    assert_eq!((delta.changes.len(), delta.rows.keys.len(), delta.rows.memberships.len()), (7, 2, 1));
    assert!(!delta.objects.keys.contains(&kept.id.row()));
    assert!(rows(&copy) != rows(&test.store.database));
    assert!(copy.write(|at| delta.apply(at)).unwrap());
    assert!(rows(&copy) == rows(&test.store.database), "the copy is another");
    copy.check_integrity().unwrap();
}

#[test]
fn a_delta_is_not_applied_to_a_copy_that_is_elsewhere() {
    let (mut test, mut copy, kept) = changed_store();
    let since = copy.read(LogEnds::of).unwrap();
    let delta = collect(&test, since);
    assert!(copy.write(|at| delta.apply(at)).unwrap());
    let before = rows(&copy);
    assert!(!copy.write(|at| delta.apply(at)).unwrap(), "a second time");
    test.store.set_key_state(kept.id, State::Inactive).unwrap();
    let later = collect(&test, since);
    assert!(!copy.write(|at| later.apply(at)).unwrap(), "from an earlier place");
    assert!(rows(&copy) == before, "nothing was written");
    let next = collect(&test, copy.read(LogEnds::of).unwrap());
    assert!(copy.write(|at| next.apply(at)).unwrap());
    assert!(rows(&copy) == rows(&test.store.database));
}

type Spoil<'a> = &'a dyn Fn(&mut Delta);

#[test]
fn changes_that_do_not_follow_from_one_another_are_refused_whole() {
    let (test, mut copy, _) = changed_store();
    let since = copy.read(LogEnds::of).unwrap();
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
        let mut delta = collect(&test, since);
        assert_eq!(last(&delta), 6);
        spoil(&mut delta);
        let refused = copy.write(|at| delta.apply(at));
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{what}: {refused:?}");
        assert!(rows(&copy) == before, "{what}: something was written");
    }
    let mut delta = collect(&test, since);
    delta.audit.pop();
    assert!(
        matches!(copy.write(|at| delta.apply(at)), Err(StoreError::Damaged { .. })),
        "an audit row is missing"
    );
}

#[test]
fn a_change_about_nothing_known_is_damage() {
    let (test, copy, _) = changed_store();
    let mut delta = collect(&test, copy.read(LogEnds::of).unwrap());
    delta.changes[0][2] = Cell::Text("planet".to_owned());
    let known = super::super::delta::ChangedObjects::of_changes(&delta.changes);
    assert!(matches!(known, Err(TransactionError::Damaged(why)) if why.contains("nothing known")));
}

#[test]
fn rows_replace_older_ones_and_a_log_takes_no_row_twice() {
    let (test, ..) = changed_store();
    let at = Connection::open(&test.path).unwrap();
    let mut account = ACCOUNTS.select(&at, "WHERE id = ?", [Cell::Int(1)]).unwrap().remove(0);
    account[1] = Cell::Text("Ünamed '\"".to_owned());
    account[2] = Cell::Null;
    ACCOUNTS.upsert(&at, &account).unwrap();
    assert!(ACCOUNTS.select(&at, "WHERE id = ?", [Cell::Int(1)]).unwrap() == [account]);
    let change = tables::CHANGES.select(&at, "WHERE number = ?", [Cell::Int(1)]).unwrap().remove(0);
    assert!(tables::CHANGES.upsert(&at, &change).is_err());
    // what verifies secrets does not print
    let key = KEYS.select(&at, "LIMIT 1", []).unwrap();
    assert!(!format!("{key:?}").contains("argon2"), "{key:?}");
    // one list of names serves both databases
    for table in [&ACCOUNTS, &KEYS, &MEMBERSHIPS, &tables::ENVIRONMENTS, &tables::CHANGES, &tables::AUDIT] {
        let columns = table.columns.len();
        assert_eq!((table.types().len(), table.array_types().count()), (columns, columns));
        assert!(table.upsert_many().contains(&format!("${columns}::")), "{}", table.upsert_many());
        assert_eq!(
            table.column_arrays(&[vec![Cell::Null; columns], vec![Cell::Int(1); columns]]).len(),
            columns
        );
    }
}
