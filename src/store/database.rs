//! One connection to the file, opened the same way everywhere, and checked before it is used.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::change::{self, Head};
use super::error::Fault;
use super::{ChangeNumber, StoreError, migrations};

/// How often a statement looks again whether another process's write is done, a millisecond apart at first and then
/// [`RARELY`]: about 5 s in all. A write takes milliseconds; what lasts longer hangs.
const TRIES: i32 = 2_000;

/// The tries that are a millisecond apart.
const TRIES_AT_ONCE: i32 = 1_000;

/// The pause between later tries.
const RARELY: Duration = Duration::from_millis(4);

/// Files up to this size are read whole when they are opened, which takes some 30 ms at most. In a larger one the
/// head and the newest changes are checked, and SQLite checks each page as it is read.
const CHECKED_WHOLE_BYTES: u64 = 16 * 1024 * 1024;

/// How many of the newest changes are checked when a store is opened.
const CHECKED_CHANGES: u64 = 100;

/// `PRAGMA application_id`: says that a file is Portcullis's.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"PCLS");

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Changes: on the disk before they are acknowledged.
    Record,
    /// What may be lost: fingerprints and uses of keys. Not waiting for the disk each time.
    Notes,
    /// Reading only.
    Reading,
}

/// A connection, and the path that its errors name.
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Opens the file, which must be a store of this program's schema version or an older one.
    pub(super) fn open(path: &Path, purpose: Purpose) -> Result<Self, StoreError> {
        let metadata = fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StoreError::Missing { path: path.to_owned() },
            _ => StoreError::Io { path: path.to_owned(), source: error },
        })?;
        if !metadata.is_file() || metadata.len() == 0 {
            let detail = if metadata.is_file() { "the file is empty" } else { "not a file" };
            return Err(StoreError::Damaged { path: path.to_owned(), detail: detail.to_owned() });
        }
        let database = Self::connect(path, purpose)?;
        database.recognise().map_err(|fault| fault.at(path))?;
        Ok(database)
    }

    /// Makes the file `unfinished`, readable by its owner only, with an empty store in it. Errors speak of `path`,
    /// the name that the file is to have.
    pub(super) fn create(unfinished: &Path, path: &Path) -> Result<Self, StoreError> {
        // SQLite gives the files it puts beside this one the same mode
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished).map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                ErrorKind::AlreadyExists => StoreError::Exists { path },
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => StoreError::ReadOnly { path },
                ErrorKind::StorageFull => StoreError::Full { path },
                _ => StoreError::Io { path, source },
            }
        })?;
        let connection = Self::connect(unfinished, Purpose::Record)?.connection;
        let mut database = Self { connection, path: path.to_owned() };
        let begin = |connection: &Connection| -> Result<(), Fault> {
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
            Ok(())
        };
        begin(&database.connection).map_err(|fault| fault.at(path))?;
        database.migrate()?;
        Ok(database)
    }

    fn connect(path: &Path, purpose: Purpose) -> Result<Self, StoreError> {
        // never SQLITE_OPEN_CREATE: a mistyped path must not become an empty store
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connect = || -> Result<Connection, Fault> {
            let mut connection = Connection::open_with_flags(path, flags)?;
            connection.busy_handler(Some(wait_for_the_lock))?;
            connection.set_prepared_statement_cache_capacity(64);
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_update(None, "trusted_schema", false)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            let synchronous = if purpose == Purpose::Notes { "normal" } else { "full" };
            connection.pragma_update(None, "synchronous", synchronous)?;
            connection.pragma_update(None, "query_only", purpose == Purpose::Reading)?;
            Ok(connection)
        };
        let connection = connect().map_err(|fault| fault.at(path))?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Whether this is a store, and not one that a later version has written.
    fn recognise(&self) -> Result<(), Fault> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        if pragma("application_id")? != i64::from(APPLICATION_ID) {
            return Err(Fault::Damaged("an SQLite file, but not a store of Portcullis".to_owned()));
        }
        let found = pragma("user_version")?;
        if found > migrations::NEWEST {
            let path = self.path.clone();
            return Err(StoreError::Newer { path, found, known: migrations::NEWEST }.into());
        }
        Ok(())
    }

    /// Brings an older schema up to this program's.
    pub(super) fn migrate(&mut self) -> Result<(), StoreError> {
        migrations::run(&mut self.connection).map_err(|fault| fault.at(&self.path))
    }

    /// Looks for damage, in time that does not grow with the store.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let bytes = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        self.read(|connection| {
            if bytes <= CHECKED_WHOLE_BYTES {
                find_damage(connection, "PRAGMA quick_check(1)")?;
            }
            let head = change::head(connection)?;
            check_log(connection, ChangeNumber(head.number.0.saturating_sub(CHECKED_CHANGES)), head)
        })
    }

    /// Reads every page, every index and the whole log.
    pub(super) fn check_whole(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            find_damage(connection, "PRAGMA integrity_check(1)")?;
            check_log(connection, ChangeNumber(0), change::head(connection)?)
        })
    }

    /// Runs `work` on one state of the store, which no writer changes meanwhile.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let run = || {
            let transaction = self.connection.unchecked_transaction()?;
            let found = work(&transaction)?;
            transaction.finish()?;
            Ok(found)
        };
        run().map_err(|fault: Fault| fault.at(&self.path))
    }

    /// Runs `work` as the only writer; what it did is kept whole, or not at all.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let connection = &mut self.connection;
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(|fault: Fault| fault.at(&self.path))
    }

    /// Which file it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A number that is different after another connection has committed.
    pub(super) fn data_version(&self) -> Result<i64, StoreError> {
        self.connection
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(|error| Fault::from(error).at(&self.path))
    }

    /// Closes the file. The last one to do so writes the log back into it and takes away what lies beside it.
    pub(super) fn close(self) -> Result<(), StoreError> {
        self.connection.close().map_err(|(_, error)| Fault::from(error).at(&self.path))
    }
}

/// Waits for another process's write; whether to try again. SQLite's own way pauses up to 100 ms between tries, and
/// beside a process that writes all the time it was seen to miss every gap for 5 s.
fn wait_for_the_lock(tries: i32) -> bool {
    thread::sleep(if tries < TRIES_AT_ONCE { Duration::from_millis(1) } else { RARELY });
    tries < TRIES
}

fn find_damage(connection: &Connection, pragma: &str) -> Result<(), Fault> {
    let found: String = connection.query_row(pragma, [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Fault::Damaged(found.replace('\n', " "))) }
}

/// Whether the changes after `after` follow from one another up to `head`.
fn check_log(connection: &Connection, after: ChangeNumber, head: Head) -> Result<(), Fault> {
    let missing = || Fault::Damaged(format!("change {after} is missing from the log"));
    let mut last = Head { number: after, hash: change::hash_of(connection, after)?.ok_or_else(missing)? };
    while last.number < head.number {
        let (found, newest) = change::since(connection, last, 10_000)?;
        if found.is_empty() {
            break;
        }
        last = newest;
    }
    if last == head {
        Ok(())
    } else {
        Err(Fault::Damaged("the change log does not end where it says".to_owned()))
    }
}

/// Gives the finished file `from` the name `to`, which must be free, and waits until the directory says so.
pub(super) fn publish(from: &Path, to: &Path) -> Result<(), StoreError> {
    // a link, because it fails where the name is taken; a rename would replace what is there
    fs::hard_link(from, to).map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => StoreError::Exists { path: to.to_owned() },
        _ => StoreError::Io { path: to.to_owned(), source },
    })?;
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::remove_file(from)
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|source| StoreError::Io { path: to.to_owned(), source })
}
