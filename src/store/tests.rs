//! The rules of the record, of its change log, and of reading it.

mod delta;
mod gateways;
mod imported_keys;
mod lost_revocations;
mod server;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;

use super::*;
use crate::model::{
    Account, AccountKind, Environment, EnvironmentId, KeyOwner, Membership, Name, Owner, Role, State,
};
use imported_keys::an_imported_hash_is_replaced_once_and_what_came_between_wins;

const PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g";

/// A store of the test's own.
struct TestStore {
    directory: tempfile::TempDir,
    /// The file that is read.
    path: PathBuf,
    store: Store,
    /// Where the record is in PostgreSQL.
    url: Option<String>,
}

fn test_store() -> TestStore {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.db");
    let store = Store::create(&path).unwrap();
    TestStore { directory, path, store, url: None }
}

/// Every rule is tested in an embedded store and in PostgreSQL.
macro_rules! contract {
    ($($rule:ident),* $(,)?) => {
        mod embedded {
            $(#[test] fn $rule() {
                let mut test = super::test_store();
                super::$rule(&mut test);
                test.store.check_integrity().unwrap();
            })*
        }
        mod in_postgresql {
            $(#[test] fn $rule() {
                let mut test = super::TestStore::in_postgresql();
                let early = test.replica("early.db");
                super::$rule(&mut test);
                test.assert_copied(&early);
            })*
        }
    };
}

contract!(
    every_change_is_numbered_and_what_changes_nothing_is_not,
    uses_add_up_and_an_older_one_takes_nothing_of_the_newest,
    only_what_is_inactive_is_removed_and_nothing_brings_it_back,
    keys_and_memberships_go_with_their_owner_each_with_a_change_of_its_own,
    environment_ids_are_unique_without_regard_to_case_and_never_given_out_again,
    a_name_does_not_hide_another_objects_id,
    an_id_is_looked_up_before_a_name_and_a_shared_name_names_nobody,
    an_empty_verifier_is_refused_by_the_store_and_by_the_file,
    a_key_is_read_with_its_owner_and_sorted_memberships_as_of_one_change,
    access_keys_and_environments_are_read_byte_for_byte,
    a_follower_sees_what_others_wrote_in_order_and_once,
    a_role_is_given_to_members_only,
    reading_stays_consistent_while_another_connection_writes,
    refused_changes_of_a_key_are_rolled_back_and_audited,
    no_key_takes_the_last_owner_from_an_environment,
    an_edit_of_an_older_revision_is_refused,
    only_the_first_account_is_the_first,
    an_imported_hash_is_replaced_once_and_what_came_between_wins,
);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap().unwrap()
}

fn id(text: &str) -> EnvironmentId {
    text.parse().unwrap()
}

impl TestStore {
    fn in_postgresql() -> Self {
        let (directory, url) = (tempfile::tempdir().unwrap(), server::empty_database());
        let path = directory.path().join("replica.db");
        let store = open(&url, &path);
        Self { directory, path, store, url: Some(url) }
    }

    /// A replica of the record as it is now, in a file of this name; it is not brought up to date by itself.
    fn replica(&self, file: &str) -> PathBuf {
        let path = self.directory.path().join(file);
        drop(open(self.url.as_ref().unwrap(), &path));
        path
    }

    /// Fails where the rows of the replica that made the changes, of one that has followed them from `early` on, and
    /// of one that is copied now are not the same.
    fn assert_copied(&self, early: &Path) {
        let rows = |store: &Store| -> Vec<Vec<tables::TableRow>> {
            store.check_integrity().unwrap();
            let tables = [
                &tables::ACCOUNTS,
                &tables::ENVIRONMENTS,
                &tables::MEMBERSHIPS,
                &tables::KEYS,
                &tables::CHANGES,
                &tables::AUDIT,
            ];
            let read = |at: &Connection| {
                tables.map(|table| table.select(at, "ORDER BY 1, 2", [])).into_iter().collect()
            };
            store.database.read(read).unwrap()
        };
        let (ours, url) = (rows(&self.store), self.url.as_ref().unwrap());
        assert!(!ours[4].is_empty(), "no changes were made");
        assert!(rows(&open(url, early)) == ours, "what followed the changes is not what made them");
        assert!(rows(&open(url, &self.replica("late.db"))) == ours, "a copy is not what it was made from");
    }

    fn account(&mut self, called: &str) -> Account {
        let new = NewAccount { name: name(called), kind: AccountKind::User, description: None };
        self.store.create_account(&new).unwrap().0
    }

    fn environment(&mut self, called: &str) -> Environment {
        let new = NewEnvironment { id: id(called), name: None, description: None, members: Vec::new() };
        self.store.create_environment(&new).unwrap().0
    }

    fn key(&mut self, owner: &KeyOwner, access_key: &str) -> crate::model::ApiKey {
        self.store.create_key(&new_key(owner, access_key)).unwrap().0
    }

    fn number(&self) -> u64 {
        self.store.head().unwrap().0
    }
}

/// Opens an empty record in PostgreSQL by way of a new replica.
pub(super) fn open_empty(replica: &Path) -> Store {
    open(&server::empty_database(), replica)
}

/// Opens a record by way of a replica.
fn open(url: &str, replica: &Path) -> Store {
    let (connection, trust) = crate::config::parse_record_url(url, Path::new("")).unwrap();
    let postgres = crate::config::Postgres { connection, trust, replica: replica.to_owned() };
    Store::open_configured(&crate::config::Store::Postgres(Box::new(postgres)), &mut |_| {}).unwrap()
}

fn new_key(owner: &KeyOwner, access_key: &str) -> NewKey {
    let verifier = KeyVerifier { phc: PHC.to_owned(), fingerprint: None, inner: None };
    let access_key = access_key.parse().unwrap();
    NewKey { owner: owner.clone(), access_key, properties: KeyProperties::default(), verifier }
}

fn fingerprint(byte: u8) -> Fingerprint {
    Fingerprint { pepper: PepperId([byte; 8]), mac: [byte; 32] }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result.unwrap_err() {
        error @ (StoreError::Refused(_)
        | StoreError::AlreadyTaken { .. }
        | StoreError::StillActive { .. }) => error.to_string(),
        other => panic!("not a refusal: {other:?}"),
    }
}

fn now<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_store_is_made_once_for_its_owner_only_and_leaves_nothing_beside_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let test = test_store();
    assert!(matches!(Store::create(&test.path), Err(StoreError::Exists { .. })));
    let mode = |path: &str| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(test.path.to_str().unwrap()), 0o600);
    assert_eq!(mode(&format!("{}-wal", test.path.display())), 0o600);
    drop(test.store);
    let left: Vec<_> = std::fs::read_dir(test.path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_store_whose_filling_fails_never_gets_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.db");
    let failed = Store::create_with(&path, |_| Err::<(), _>(StoreError::Refused("no".to_owned())));
    assert!(failed.is_err());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

    let nowhere = directory.path().join("missing").join("portcullis.db");
    let said = Store::create(&nowhere).unwrap_err().to_string();
    assert!(said.contains(nowhere.to_str().unwrap()) && !said.contains("unfinished"), "{said}");
}

fn every_change_is_numbered_and_what_changes_nothing_is_not(test: &mut TestStore) {
    assert_eq!(test.number(), 0);
    let account = test.account("alice");
    let key = test.key(&KeyOwner::Account(account.id), "a1");
    assert_eq!(test.number(), 2);

    test.store.set_key_state(key.id, State::Active).unwrap();
    test.store.edit_key(key.id, &Edit { name: Some(None), ..Edit::default() }.into()).unwrap();
    let request_store = RequestStore::open(&test.path, 1).unwrap();
    now(request_store.save_fingerprint(SecretId { key: key.id, since: key.secret_since }, fingerprint(1)))
        .unwrap();
    let at = jiff::Timestamp::from_second(1).unwrap();
    let used = KeyUse { key: key.id, secret: None, at, address: [127, 0, 0, 1].into(), count: 1 };
    now(request_store.save_uses(vec![used], Timestamp::UNIX_EPOCH)).unwrap();
    let usage = test.store.key_entry(key.id).unwrap().usage;
    assert_eq!((usage.at, usage.address), (Some(used.at), Some(used.address)));
    assert_eq!(test.number(), 2);

    let (_, number) = test.store.set_key_state(key.id, State::Inactive).unwrap();
    assert_eq!(number, ChangeNumber(3));
    test.store.check_integrity().unwrap();
}

fn uses_add_up_and_an_older_one_takes_nothing_of_the_newest(test: &mut TestStore) {
    let account = test.account("alice");
    let key = test.key(&KeyOwner::Account(account.id), "a1").id;
    assert_eq!(test.store.key_entry(key).unwrap().usage, KeyUsage::default());
    let request_store = RequestStore::open(&test.path, 1).unwrap();
    let used = |second, host, count| {
        let at = jiff::Timestamp::from_second(second).unwrap();
        KeyUse { key, secret: None, at, address: [192, 0, 2, host].into(), count }
    };
    let usage = |second, host, uses| KeyUsage {
        at: Some(jiff::Timestamp::from_second(second).unwrap()),
        address: Some([192, 0, 2, host].into()),
        uses,
    };
    now(request_store.save_uses(vec![used(200, 2, 5)], Timestamp::UNIX_EPOCH)).unwrap();
    now(request_store.save_uses(vec![used(100, 1, 7), used(200, 3, 1)], Timestamp::UNIX_EPOCH)).unwrap();
    assert_eq!(test.store.key_entry(key).unwrap().usage, usage(200, 2, 13));
    now(request_store.save_uses(vec![used(300, 4, 2)], Timestamp::UNIX_EPOCH)).unwrap();
    assert_eq!(test.store.key_entry(key).unwrap().usage, usage(300, 4, 15));
}

#[test]
fn a_store_of_the_first_version_is_brought_up_to_date_and_keeps_when_keys_were_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.db");
    let first = rusqlite::Connection::open(&path).unwrap();
    first.pragma_update(None, "application_id", i32::from_be_bytes(*b"PCLS")).unwrap();
    first.execute_batch(include_str!("migrations/0001.sql")).unwrap();
    first
        .execute_batch(
            "INSERT INTO accounts (id, name, kind, state, uuid, created)
             VALUES (1, 'alice', 'user', 'active', 'u1', 0);
             INSERT INTO keys (id, access_key, account, state, uuid, phc, created)
             VALUES (1, 'a1', 1, 'active', 'u2', 'phc', 0);
             INSERT INTO key_use VALUES (1, 5000, '192.0.2.1');
             PRAGMA user_version = 1;",
        )
        .unwrap();
    let store = Store::open(&path).unwrap();
    let key = store.find_key("a1").unwrap().id;
    let usage = store.key_entry(key).unwrap().usage;
    let at = jiff::Timestamp::from_second(5).unwrap();
    assert_eq!(usage, KeyUsage { at: Some(at), address: Some([192, 0, 2, 1].into()), uses: 0 });
}

#[test]
fn a_log_that_was_tampered_with_is_damaged() {
    let mut test = test_store();
    for at in 0..3 {
        test.account(&format!("account {at}"));
    }
    test.store.check_integrity().unwrap();
    let connection = rusqlite::Connection::open(&test.path).unwrap();
    connection.execute("UPDATE changes SET action = 'edit' WHERE number = 2", []).unwrap();
    assert!(matches!(test.store.check_integrity(), Err(StoreError::Damaged { .. })));
    assert!(matches!(Store::open(&test.path), Err(StoreError::Damaged { .. })));
}

fn only_what_is_inactive_is_removed_and_nothing_brings_it_back(test: &mut TestStore) {
    let account = test.account("alice");
    let key = test.key(&KeyOwner::Account(account.id), "a1");
    let environment = test.environment("e1");

    assert!(refusal(test.store.remove_key(key.id)).contains("`portcullis key deactivate a1`"));
    assert!(refusal(test.store.remove_account(account.id)).contains("deactivate"));
    let removed = test.store.set_environment_state(&environment.id, State::Removed);
    assert!(refusal(removed).contains("deactivate"));

    test.store.set_key_state(key.id, State::Inactive).unwrap();
    let (removed, _) = test.store.remove_key(key.id).unwrap();
    assert_eq!(removed.state, State::Removed);
    assert!(removed.removed.is_some());
    assert_eq!(test.store.find_key("a1").unwrap(), removed);
    assert!(refusal(test.store.set_key_state(key.id, State::Active)).contains("nothing brings it back"));
    assert!(refusal(test.store.edit_key(key.id, &KeyEdit::default())).contains("removed"));
    assert!(refusal(test.store.create_key(&new_key(&KeyOwner::Account(account.id), "a1"))).contains("never"));
}

fn keys_and_memberships_go_with_their_owner_each_with_a_change_of_its_own(test: &mut TestStore) {
    let account = test.account("alice");
    let environment = test.environment("e1");
    let of_environment = KeyOwner::Environment(environment.id.clone());
    let membership =
        Membership { account: account.id, environment: environment.id.clone(), role: Role::Member };
    test.store.add_member(&membership).unwrap();
    let key = test.key(&of_environment, "e-key");
    test.key(&KeyOwner::Account(account.id), "a-key");
    let mut follower = Follower::open(&test.path, Timestamp::now()).unwrap();

    test.store.remove_environment(&environment.id, &ExpectedRevision::Any).unwrap();
    assert_eq!(test.store.find_key("e-key").unwrap().state, State::Removed);
    assert_eq!(test.store.find_key("a-key").unwrap().state, State::Active);
    assert_eq!(test.store.memberships_of(account.id).unwrap(), []);
    let seen: Vec<_> =
        follower.poll().unwrap().into_iter().map(|change| (change.subject, change.action)).collect();
    let environment_changed = Subject::Environment(environment.id.clone());
    assert_eq!(
        seen,
        [
            (environment_changed.clone(), "deactivate".to_owned()),
            (Subject::Key { id: key.id, access_key: key.access_key }, "remove".to_owned()),
            (Subject::Membership { account: account.id, environment: environment.id }, "remove".to_owned()),
            (environment_changed, "remove".to_owned()),
        ]
    );

    test.store.set_account_state(account.id, State::Inactive).unwrap();
    test.store.remove_account(account.id).unwrap();
    assert_eq!(test.store.find_key("a-key").unwrap().state, State::Removed);
    let verifiers: u32 = rusqlite::Connection::open(&test.path)
        .unwrap()
        .query_row("SELECT count(*) FROM keys WHERE phc <> ''", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verifiers, 0, "a removed key keeps nothing that verifies its secret");
}

fn environment_ids_are_unique_without_regard_to_case_and_never_given_out_again(test: &mut TestStore) {
    let environment = test.environment("Prod");
    let again =
        |called: &str| NewEnvironment { id: id(called), name: None, description: None, members: Vec::new() };
    assert!(refusal(test.store.create_environment(&again("prod"))).contains("taken by 'Prod'"));
    test.store.remove_environment(&environment.id, &ExpectedRevision::Any).unwrap();
    assert!(refusal(test.store.create_environment(&again("PROD"))).contains("not given out again"));
    assert!(matches!(test.store.find_environment("prod"), Err(StoreError::NotFound { .. })));
}

fn a_name_does_not_hide_another_objects_id(test: &mut TestStore) {
    test.environment("e1");
    let named = |called: &str, name: Option<Name>| NewEnvironment {
        id: id(called),
        name,
        description: None,
        members: Vec::new(),
    };
    assert!(
        refusal(test.store.create_environment(&named("e2", Some(name("E1")))))
            .contains("id of environment e1")
    );
    test.store.create_environment(&named("e3", Some(name("live")))).unwrap();
    assert!(refusal(test.store.create_environment(&named("Live", None))).contains("name of environment e3"));
    test.store.create_environment(&named("own", Some(name("own")))).unwrap();
    let edit = Edit { name: Some(Some(name("e3"))), ..Edit::default() };
    assert!(refusal(test.store.edit_environment(&id("e1"), &edit)).contains("id of environment e3"));

    let account = NewAccount { name: name("1a9"), kind: AccountKind::User, description: None };
    assert!(refusal(test.store.create_account(&account)).contains("form of an account id"));
    let owner = KeyOwner::Account(test.account("alice").id);
    assert!(refusal(test.store.create_key(&new_key(&owner, "1c9"))).contains("form of a key id"));
}

fn an_id_is_looked_up_before_a_name_and_a_shared_name_names_nobody(test: &mut TestStore) {
    let (first, second) = (test.account("alice"), test.account("alice"));
    let error = test.store.find_account("alice").unwrap_err();
    assert_eq!(error.to_string(), "2 accounts are named 'alice': use the id (1a1, 1a2)");
    assert_eq!(test.store.find_account("1a2").unwrap(), second);
    test.store.set_account_state(second.id, State::Inactive).unwrap();
    let (second, _) = test.store.remove_account(second.id).unwrap();
    assert_eq!(test.store.find_account("alice").unwrap(), first, "a removed object is not found by name");
    assert_eq!(test.store.find_account("1a2").unwrap(), second);
    let listed =
        test.store.account_page(None, &PageQuery { limit: 9, ..PageQuery::default() }).unwrap().items;
    assert_eq!(listed.into_iter().map(|entry| entry.object).collect::<Vec<_>>(), [first]);
}

fn an_empty_verifier_is_refused_by_the_store_and_by_the_file(test: &mut TestStore) {
    let owner = KeyOwner::Account(test.account("alice").id);
    let mut new = new_key(&owner, "a1");
    for phc in ["", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$"] {
        new.verifier.phc = phc.to_owned();
        assert!(refusal(test.store.create_key(&new)).contains("verifier"), "{phc:?}");
    }
    test.key(&owner, "a1");
    let connection = rusqlite::Connection::open(&test.path).unwrap();
    assert!(connection.execute("UPDATE keys SET phc = ''", []).is_err());
}

fn a_key_is_read_with_its_owner_and_sorted_memberships_as_of_one_change(test: &mut TestStore) {
    let account = test.account("alice");
    for called in ["b", "a", "C"] {
        let environment = test.environment(called).id;
        test.store
            .add_member(&Membership { account: account.id, environment, role: Role::Readonly })
            .unwrap();
    }
    let mut new = new_key(&KeyOwner::Account(account.id), "a1");
    new.verifier.fingerprint = Some(fingerprint(7));
    let (key, number) = test.store.create_key(&new).unwrap();
    let request_store = RequestStore::open(&test.path, 2).unwrap();

    let read = now(request_store.key(&key.access_key)).unwrap();
    let record = read.record.unwrap();
    assert_eq!((read.as_of, record.as_of), (number, number));
    assert_eq!(record.verifiers.current, new.verifier);
    let Owner::Account { memberships, .. } = &record.principal.owner else { panic!("an account key") };
    let order: Vec<_> = memberships.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(order, ["C", "a", "b"]);
    assert_eq!(record.principal.role_in("a"), Some(Role::Readonly));
    assert_eq!(now(request_store.peppers()).unwrap(), [PepperId([7; 8])]);
    assert_eq!(now(request_store.access_keys_of(&key.owner)).unwrap(), std::slice::from_ref(&key.access_key));

    now(request_store.save_fingerprint(SecretId { key: key.id, since: key.secret_since }, fingerprint(8)))
        .unwrap();
    let record = now(request_store.key(&key.access_key)).unwrap().record.unwrap();
    assert_eq!(record.verifiers.current.fingerprint, Some(fingerprint(8)));
    assert_eq!(
        test.store.peppers().unwrap(),
        [PepperId([8; 8])],
        "a pepper no fingerprint is under is not needed"
    );

    test.store.set_key_state(key.id, State::Inactive).unwrap();
    assert!(!now(request_store.key(&key.access_key)).unwrap().record.unwrap().principal.is_active());
    let (_, number) = test.store.remove_key(key.id).unwrap();
    assert_eq!(now(request_store.key(&key.access_key)).unwrap(), KeyRead { record: None, as_of: number });
    now(request_store.save_fingerprint(SecretId { key: key.id, since: key.secret_since }, fingerprint(9)))
        .unwrap();
    assert_eq!(test.store.peppers().unwrap(), [], "a removed key gets no fingerprint");
}

fn access_keys_and_environments_are_read_byte_for_byte(test: &mut TestStore) {
    let owner = KeyOwner::Environment(test.environment("E1").id);
    test.key(&owner, "Abc");
    let request_store = RequestStore::open(&test.path, 1).unwrap();
    let known = |text: &str| now(request_store.key(&text.parse().unwrap())).unwrap().record.is_some();
    assert!(known("Abc") && !known("abc") && !known("ABC"));
    let known = |text: &str| now(request_store.environment(text)).unwrap().environment.is_some();
    assert!(known("E1") && !known("e1") && !known("E2"));
}

fn a_follower_sees_what_others_wrote_in_order_and_once(test: &mut TestStore) {
    let account = test.account("alice");
    let mut follower = Follower::open(&test.path, Timestamp::now()).unwrap();
    assert_eq!((follower.head(), follower.poll().unwrap()), (ChangeNumber(1), vec![]));
    test.store.set_account_state(account.id, State::Inactive).unwrap();
    test.store.set_account_state(account.id, State::Active).unwrap();
    let seen: Vec<_> =
        follower.poll().unwrap().into_iter().map(|change| (change.number.0, change.action)).collect();
    assert_eq!(seen, [(2, "deactivate".to_owned()), (3, "activate".to_owned())]);
    assert_eq!((follower.head(), follower.poll().unwrap()), (ChangeNumber(3), vec![]));
}

#[test]
fn a_follower_notices_a_rolled_back_or_replaced_store() {
    let mut test = test_store();
    let account = test.account("alice");
    test.store.set_account_state(account.id, State::Inactive).unwrap();
    let mut follower = Follower::open(&test.path, Timestamp::now()).unwrap();
    // another history of the same length, written into the same file
    let connection = rusqlite::Connection::open(&test.path).unwrap();
    connection
        .execute_batch("UPDATE changes SET hash = zeroblob(32) WHERE number = 2; UPDATE change_head SET hash = zeroblob(32)")
        .unwrap();
    assert!(matches!(follower.poll(), Err(StoreError::RolledBack { seen: ChangeNumber(2), .. })));

    let mut test = self::test_store();
    test.account("alice");
    let mut follower = Follower::open(&test.path, Timestamp::now()).unwrap();
    let away = test.path.with_extension("away");
    std::fs::rename(&test.path, &away).unwrap();
    let gone = follower.poll().unwrap_err();
    assert!(matches!(gone, StoreError::FileDeleted { .. }) && !gone.to_string().contains("init"), "{gone}");
    std::fs::rename(&away, &test.path).unwrap();
    follower.poll().unwrap();
    let other = self::test_store();
    std::fs::rename(&other.path, &test.path).unwrap();
    assert!(matches!(follower.poll(), Err(StoreError::FileReplaced { .. })));
}

#[test]
fn case_127_a_reader_reports_damage() {
    let mut test = test_store();
    let account = test.account("alice");
    let key = test.key(&KeyOwner::Account(account.id), "a1");
    let (tell, told) = std::sync::mpsc::channel();
    let request_store = RequestStore::open(&test.path, 1).unwrap().with_note_sink(move |note| {
        let _ = tell.send(note);
    });
    let other = rusqlite::Connection::open(&test.path).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut bytes = std::fs::read(&test.path).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(&test.path, bytes).unwrap();
    let read = now(request_store.key(&key.access_key));
    assert!(matches!(read, Err(StoreError::Damaged { .. })), "{read:?}");
    let file = database::file_at(&test.path).unwrap();
    let noted = told.try_recv().unwrap();
    assert!(
        matches!(&noted, StoreNote::Damage(of, why) if *of == file && why.contains("damaged")),
        "{noted:?}"
    );
}

fn a_role_is_given_to_members_only(test: &mut TestStore) {
    let account = test.account("alice").id;
    let environment = test.environment("e1").id;
    let membership = |role| Membership { account, environment: environment.clone(), role };
    let before = test.number();
    let refused = test.store.set_role(&membership(Role::Member));
    assert!(matches!(refused, Err(StoreError::NotFound { what: "member", .. })), "{refused:?}");
    assert_eq!(test.number(), before);
    test.store.add_member(&membership(Role::Readonly)).unwrap();
    test.store.set_role(&membership(Role::Member)).unwrap();
    assert_eq!(test.store.member_entry(account, &environment).unwrap().membership.role, Role::Member);
}

fn reading_stays_consistent_while_another_connection_writes(test: &mut TestStore) {
    let account = test.account("alice");
    let environment = test.environment("e1").id;
    let key = test.key(&KeyOwner::Account(account.id), "a1");
    let request_store = RequestStore::open(&test.path, 2).unwrap();
    let before = test.number();
    // each round makes two changes: an odd distance has the membership, an even one has not
    let store = &mut test.store;
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for _ in 0..100 {
                let membership =
                    Membership { account: account.id, environment: environment.clone(), role: Role::Owner };
                store.add_member(&membership).unwrap();
                store.remove_member(account.id, &environment).unwrap();
            }
        });
        while !writer.is_finished() {
            let record = now(request_store.key(&key.access_key)).unwrap().record.unwrap();
            let member = record.principal.role_in("e1").is_some();
            assert_eq!(member, (record.as_of.0 - before) % 2 == 1, "as of {}", record.as_of);
        }
    });
}

/// An author by the key of an account.
fn author_with_key(test: &mut TestStore, account: &Account, access_key: &str) -> Author {
    let key = test.key(&KeyOwner::Account(account.id), access_key);
    Author::Key(ActingKey {
        access_key: key.access_key,
        owner: key.owner,
        via: Via::Api,
        address: [192, 0, 2, 1].into(),
        request: "r-1".to_owned(),
    })
}

/// The newest rows of the audit log: action, object and refusal.
fn audit_rows(test: &TestStore, count: usize) -> Vec<(String, String, Option<String>)> {
    let newest = PageQuery { limit: count, descending: true, ..PageQuery::default() };
    let rows = test.store.audit_page(&newest).unwrap().items;
    rows.into_iter().map(|row| (row.action, row.object, row.refusal)).collect()
}

fn refused_changes_of_a_key_are_rolled_back_and_audited(test: &mut TestStore) {
    let alice = test.account("alice");
    let environment = test.environment("e1").id;
    let author = author_with_key(test, &alice, "a1");
    let before = test.number();
    test.store.set_author(author.clone());
    let refused = test.store.set_environment_state(&environment, State::Inactive);
    assert!(matches!(refused, Err(StoreError::NotPermitted)), "{refused:?}");
    assert_eq!(test.number(), before);
    let [(action, object, reason)] = &audit_rows(test, 1)[..] else { panic!("one row") };
    assert_eq!((action.as_str(), object.as_str()), ("deactivate", "e1"));
    assert!(reason.as_ref().is_some_and(|reason| reason.contains("may not")), "{reason:?}");
    test.store.audit_refusal(&Attempt::from_client("edit", "account", "1a9"), "not yours").unwrap();
    assert_eq!(audit_rows(test, 1), [("edit".to_owned(), "1a9".to_owned(), Some("not yours".to_owned()))]);

    // a key that was stopped meanwhile changes nothing any more, its own account's keys neither
    test.store.set_author(Author::command_line());
    let own = test.store.find_key("a1").unwrap();
    test.store.set_key_state(own.id, State::Inactive).unwrap();
    test.store.set_author(author);
    let refused = test.store.create_key(&new_key(&KeyOwner::Account(alice.id), "a2"));
    assert!(matches!(refused, Err(StoreError::KeyNoLongerWorks { .. })), "{refused:?}");
    assert!(matches!(test.store.find_key("a2"), Err(StoreError::NotFound { .. })));
    assert!(audit_rows(test, 1)[0].2.is_some());
}

fn no_key_takes_the_last_owner_from_an_environment(test: &mut TestStore) {
    let [alice, bob] = ["alice", "bob"].map(|name| test.account(name));
    let environment = test.environment("e1").id;
    let role =
        |account: &Account, role| Membership { account: account.id, environment: environment.clone(), role };
    test.store.add_member(&role(&alice, Role::Owner)).unwrap();
    let author = author_with_key(test, &alice, "a1");
    test.store.set_author(author);
    for refused in
        [test.store.remove_member(alice.id, &environment), test.store.add_member(&role(&alice, Role::Member))]
    {
        assert!(matches!(refused, Err(StoreError::LastOwner { .. })), "{refused:?}");
    }
    assert_eq!(test.store.memberships_of(alice.id).unwrap(), [role(&alice, Role::Owner)]);
    test.store.add_member(&role(&bob, Role::Owner)).unwrap();
    test.store.add_member(&role(&alice, Role::Readonly)).unwrap();
    // who has just given up the right has not got it
    let refused = test.store.remove_member(bob.id, &environment);
    assert!(matches!(refused, Err(StoreError::NotPermitted)), "{refused:?}");
    test.store.set_author(Author::command_line());
    test.store.remove_member(bob.id, &environment).unwrap();
    assert_eq!(test.store.memberships_of(bob.id).unwrap(), []);
}

fn an_edit_of_an_older_revision_is_refused(test: &mut TestStore) {
    let account = test.account("alice");
    let seen = test.store.account_entry(account.id).unwrap().revision;
    let expected = ExpectedRevision::OneOf(vec![seen]);
    let named = |text| Edit { name: Some(Some(name(text))), expected: expected.clone(), ..Edit::default() };
    test.store.edit_account(account.id, &named("first")).unwrap();
    let late = test.store.edit_account(account.id, &named("second"));
    assert!(matches!(late, Err(StoreError::RevisionConflict { .. })), "{late:?}");
    assert_eq!(test.store.find_account("first").unwrap().id, account.id);
}

fn only_the_first_account_is_the_first(test: &mut TestStore) {
    let new = |called| NewAccount { name: name(called), kind: AccountKind::Admin, description: None };
    assert!(test.store.is_empty().unwrap());
    test.store.create_first_account(&new("admin")).unwrap();
    assert!(refusal(test.store.create_first_account(&new("other"))).contains("nothing is overwritten"));
    assert!(!test.store.is_empty().unwrap());
    assert_eq!(test.number(), 1);
}

#[test]
fn a_full_disk_changes_nothing_and_loses_nothing() {
    let mut test = test_store();
    let owner = KeyOwner::Account(test.account("alice").id);
    let limit = |test: &mut TestStore, pages: u32| {
        test.store
            .database
            .write(|at| Ok(at.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?))
            .unwrap();
    };
    limit(&mut test, 40);
    let mut kept = 0;
    let error = loop {
        match test.store.create_key(&new_key(&owner, &format!("key-{kept}"))) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert!(kept > 0);
    let listed = test.store.key_page(None, &PageQuery { limit: kept + 1, ..PageQuery::default() }).unwrap();
    assert_eq!(listed.items.len(), kept);
    assert_eq!(test.number(), 1 + kept as u64);
    test.store.check_integrity().unwrap();
    limit(&mut test, 80);
    test.key(&owner, "after");
}

#[test]
fn a_store_that_cannot_be_written_says_so() {
    let mut test = test_store();
    let account = test.account("alice");
    test.store.database = database::Database::open(&test.path, database::OpenMode::ReadOnly).unwrap();
    let error = test.store.set_account_state(account.id, State::Inactive).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().contains("writable"), "{error}");
}
