//! Faults of the store: killed processes, full disks, damaged, newer and locked files.
//!
//! A confirmed change is still there afterwards. A store that cannot be used is refused with what to do.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use portcullis::model::{AccountKind, KeyOwner, Name, State};
use portcullis::store::{KeyProperties, KeyVerifier, NewAccount, NewKey, PageQuery, Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

/// Names the store that [`writing_process`] writes to.
const WRITE_TO: &str = "PORTCULLIS_TEST_WRITE_TO";

/// A test by itself; and, where [`WRITE_TO`] names a store, the process that the tests below start, and kill: it makes
/// keys without end, and says each one's access key on stderr once the store has acknowledged it.
#[test]
fn acknowledged_numbers_rise_one_by_one() {
    let given = std::env::var_os(WRITE_TO).map(PathBuf::from);
    let rounds = if given.is_some() { u64::MAX } else { 20 };
    let (_directory, path) = given.map_or_else(
        || {
            let (directory, path) = store();
            (Some(directory), path)
        },
        |path| (None, path),
    );
    let mut store = Store::open(&path).expect("the store opens");
    let owner = KeyOwner::Account(store.find_account("writer").expect("an account to write for").id);
    let process = std::process::id();
    let mut last = store.head().expect("a head");
    for round in 0..rounds {
        match store.create_key(&new_key(&owner, &format!("key-{process}-{round}"))) {
            Ok((key, number)) => {
                eprintln!("acknowledged {number} {}", key.access_key);
                assert!(
                    number > last && (rounds == u64::MAX || number.0 == last.0 + 1),
                    "{number} after {last}"
                );
                last = number;
            }
            Err(error) => {
                eprintln!("failed {error:?}");
                assert_eq!(rounds, u64::MAX, "only a store with trouble refuses");
                return;
            }
        }
    }
}

fn new_key(owner: &KeyOwner, access_key: &str) -> NewKey {
    NewKey {
        owner: owner.clone(),
        access_key: access_key.parse().expect("an access key"),
        properties: KeyProperties::default(),
        verifier: KeyVerifier {
            phc: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g".to_owned(),
            fingerprint: None,
            inner: None,
        },
    }
}

/// A store with the account that the writing process writes for.
fn store() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("portcullis.db");
    let name = Name::parse("writer").expect("a name").expect("not empty");
    let new = NewAccount { name, kind: AccountKind::Admin, description: None };
    Store::create_with(&path, |store| store.create_account(&new)).expect("a new store");
    (directory, path)
}

/// The writing process, wrapped in a shell that runs `first`.
fn start_writing(path: &Path, first: &str) -> Child {
    let test = std::env::current_exe().expect("this test's program");
    Command::new("sh")
        .args(["-c", &format!("{first}exec \"$0\" --exact acknowledged_numbers_rise_one_by_one --nocapture")])
        .arg(test)
        .env(WRITE_TO, path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh starts")
}

/// What a writing process said before it ended.
#[derive(Default)]
struct Said {
    acknowledged: Vec<(u64, String)>,
    failed: Option<String>,
}

impl Said {
    /// Reads until `enough` holds, kills the process, and takes in what it had said until then.
    fn by(mut child: Child, enough: impl Fn(&Self) -> bool) -> Self {
        let mut said = Self::default();
        let mut killed = false;
        for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
            let line = line.expect("text");
            if let Some((number, key)) =
                line.strip_prefix("acknowledged ").and_then(|rest| rest.split_once(' '))
            {
                // a line that the kill cut short ends in a key that was not said in full: lines are written whole
                said.acknowledged.push((number.parse().expect("a number"), key.to_owned()));
            } else if let Some(error) = line.strip_prefix("failed ") {
                said.failed = Some(error.to_owned());
            }
            if !killed && enough(&said) {
                child.kill().expect("it is our child");
                killed = true;
            }
        }
        child.wait().expect("it ends");
        said
    }

    fn assert_kept_by(&self, store: &Store) {
        for (number, access_key) in &self.acknowledged {
            let key = store.find_key(access_key);
            assert!(key.is_ok(), "change {number} was acknowledged, but {access_key} is gone: {key:?}");
        }
        let last = self.acknowledged.last().map_or(0, |(number, _)| *number);
        assert!(store.head().expect("a head").0 >= last, "the log lost acknowledged changes");
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_was_acknowledged() {
    let (_directory, path) = store();
    for round in 1..=8 {
        // two at once: one may be killed while it holds the lock the other waits for
        let other = start_writing(&path, "");
        let one = start_writing(&path, "");
        let heard = Said::by(one, |said| said.acknowledged.len() >= 17 * round);
        let also_heard = Said::by(other, |said| !said.acknowledged.is_empty());
        assert_eq!(
            (&heard.failed, &also_heard.failed),
            (&None, &None),
            "neither waits in vain for the other"
        );
        assert!(heard.acknowledged.len() >= 17 * round && !also_heard.acknowledged.is_empty());

        let store = Store::open(&path).expect("it opens after a kill");
        store.check_integrity().expect("and is whole");
        heard.assert_kept_by(&store);
        also_heard.assert_kept_by(&store);
    }
}

/// How many keys there are.
fn keys(store: &Store) -> usize {
    store.key_page(None, &PageQuery { limit: 1_000_000, ..PageQuery::default() }).expect("keys").items.len()
}

#[test]
fn a_write_that_finds_no_space_changes_nothing_and_loses_nothing() {
    let (_directory, path) = store();
    // the largest file the process may write; what would be larger fails, instead of ending the process
    let said = Said::by(start_writing(&path, "trap '' XFSZ; ulimit -f 600; "), |_| false);
    let error = said.failed.as_deref().expect("the writer runs out of space");
    assert!(error.starts_with("Full"), "{error}");
    assert!(!said.acknowledged.is_empty());

    let mut store = Store::open(&path).expect("it opens");
    store.check_integrity().expect("and is whole");
    said.assert_kept_by(&store);
    assert_eq!(keys(&store), said.acknowledged.len(), "the write that failed left nothing behind");
    let owner = KeyOwner::Account(store.find_account("writer").expect("the account").id);
    store.create_key(&new_key(&owner, "after")).expect("with space again it goes on");
}

#[test]
fn a_write_ahead_log_cut_short_leaves_an_earlier_state_never_a_broken_one() {
    let (_directory, path) = store();
    let said = Said::by(start_writing(&path, ""), |said| said.acknowledged.len() >= 100);
    let log = path.with_extension("db-wal");
    let bytes = fs::metadata(&log).expect("a killed writer leaves its log").len();
    for left in [bytes - 1, bytes / 2, bytes / 3, 40, 0] {
        OpenOptions::new().write(true).open(&log).expect("the log").set_len(left).expect("cut");
        // a copy, since the last one to close the store takes the log away
        let copy = tempfile::tempdir().expect("a directory");
        let copied = copy.path().join("portcullis.db");
        fs::copy(&path, &copied).expect("copied");
        fs::copy(&log, copied.with_extension("db-wal")).expect("copied");

        let store = Store::open(&copied).expect("it opens");
        store.check_integrity().expect("and is whole");
        let there = keys(&store);
        assert_eq!(store.head().expect("a head").0, 1 + there as u64, "the keys and the log agree");
        assert!(there <= said.acknowledged.len() + 1);
    }
}

#[test]
fn a_damaged_file_is_refused_with_what_to_do() {
    let (_directory, path) = store();
    let mut writing = Store::open(&path).expect("it opens");
    let owner = KeyOwner::Account(writing.find_account("writer").expect("the account").id);
    for round in 0..50 {
        writing.create_key(&new_key(&owner, &format!("key-{round}"))).expect("a key");
    }
    drop(writing);
    let whole = fs::read(&path).expect("the file");
    let page = 4096;
    let mut refused = 0;
    let mut try_with = |what: &str, bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        match Store::open(&path) {
            Err(error @ StoreError::Damaged { .. }) => {
                let said = error.to_string();
                assert!(said.contains("restore a backup") && said.contains("portcullis.db"), "{said}");
                refused += 1;
            }
            other => panic!("{what}: {other:?}"),
        }
    };
    try_with("empty", b"");
    try_with("a text", b"listeners: []\n".repeat(1000).as_slice());
    try_with("cut short", &whole[..whole.len() / 2 / page * page]);
    for number in 0..whole.len() / page {
        let mut bytes = whole.clone();
        bytes[number * page..number * page + 200].fill(0xa5);
        try_with(&format!("page {number} overwritten"), &bytes);
    }
    assert!(refused > 10);
    fs::write(&path, &whole).expect("written");
    Store::open(&path).expect("the whole file opens");
}

#[test]
fn another_programs_database_is_not_taken_for_a_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("other.db");
    Connection::open(&path).expect("a database").execute_batch("CREATE TABLE t (x)").expect("a table");
    let error = Store::open(&path).expect_err("refused");
    assert!(
        matches!(&error, StoreError::Damaged { detail, .. } if detail.contains("not a store")),
        "{error}"
    );
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let (_directory, path) = store();
    Connection::open(&path).expect("a database").pragma_update(None, "user_version", 99).expect("a version");
    let error = Store::open(&path).expect_err("refused");
    assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error:?}");
    assert!(error.to_string().contains("use the newer portcullis"), "{error}");
}

#[test]
fn a_missing_store_is_not_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("portcullis.db");
    let error = Store::open(&path).expect_err("refused");
    assert!(
        matches!(error, StoreError::Missing { .. }) && error.to_string().contains("portcullis init"),
        "{error}"
    );
    assert!(!path.exists());
}

#[test]
fn a_locked_store_can_be_read_and_a_write_says_who_may_hold_it() {
    let (_directory, path) = store();
    let mut store = Store::open(&path).expect("it opens");
    let other = Connection::open(&path).expect("another process's connection");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");

    let account = store.find_account("writer").expect("reading waits for nobody");
    let asked = Instant::now();
    let error = store.set_account_state(account.id, State::Inactive).expect_err("locked");
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("locked by another process"), "{error}");
    assert!(asked.elapsed().as_secs() < 30, "it waits, but not for ever");

    other.execute_batch("COMMIT").expect("the lock is given back");
    store.set_account_state(account.id, State::Inactive).expect("and then it works");
}

#[test]
fn a_store_held_in_exclusive_mode_is_locked() {
    let (_directory, path) = store();
    let other = Connection::open(&path).expect("another process's connection");
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; UPDATE change_head SET number = number; COMMIT")
        .expect("the lock");
    let error = Store::open(&path).expect_err("locked");
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
}

#[test]
fn what_is_beside_the_store_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, path) = store();
    let mut store = Store::open(&path).expect("it opens");
    let account = store.find_account("writer").expect("the account");
    store.set_account_state(account.id, State::Inactive).expect("a write");
    let mut seen = 0;
    for entry in fs::read_dir(directory.path()).expect("the directory") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("its mode").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        seen += 1;
    }
    assert_eq!(seen, 3, "the store, its log and its index");
}
