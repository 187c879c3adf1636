//! One connection to an SQLite file, opened the same way everywhere and checked before it is used.

use std::cell::{Cell, RefCell};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::change::{self, ChangeHead};
use super::error::TransactionError;
use super::file_owner::give_to_owner_of_folder;
use super::query_budget::QueryBudget;
use super::{ChangeNumber, StoreError, migrations, page};

/// How often a statement tries to get the lock while another process writes, a millisecond apart at first and then
/// [`RARELY`]: about 5 s in all. A write takes milliseconds; one that takes longer hangs.
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

/// What a connection may do, and when its writes are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenMode {
    /// For changes: each write is on the disk when it is committed.
    Durable,
    /// For what the record in PostgreSQL has already: writes do not wait for the disk.
    Replica,
    /// For what may be lost, such as fingerprints and uses of keys: writes do not wait for the disk.
    Relaxed,
    /// For reading.
    ReadOnly,
    /// For replacing a store: no other connection may have it open.
    Exclusive,
}

/// Device and inode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileId(pub u64, pub u64);

/// A connection, and the path that its errors name.
pub(super) struct Database {
    connection: RefCell<Connection>,
    path: PathBuf,
    mode: OpenMode,
    /// The file that is open.
    file: Cell<FileId>,
    /// Whether the file is a replica. It may be replaced by a newer one at any time, and the next query goes to that.
    is_replica: bool,
    /// What queries may cost. `None`: no limit.
    budget: Option<QueryBudget>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.path.display())
    }
}

impl Database {
    /// Opens the file, which must be a store of this program's schema version or an older one.
    pub(super) fn open(path: &Path, mode: OpenMode) -> Result<Self, StoreError> {
        let metadata = fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StoreError::Missing { path: path.to_owned() },
            _ => StoreError::Io { path: path.to_owned(), source: error },
        })?;
        if !metadata.is_file() || metadata.len() == 0 {
            let detail = if metadata.is_file() { "the file is empty" } else { "not a file" };
            return Err(StoreError::Damaged { path: path.to_owned(), detail: detail.to_owned() });
        }
        let mut database = Self::connect(path, mode)?;
        database.is_replica = database.check_format().map_err(|fault| fault.at(path))?;
        if matches!(mode, OpenMode::Durable | OpenMode::Relaxed) {
            // copies (`VACUUM INTO`) are written without one
            database.enable_wal()?;
        }
        Ok(database)
    }

    /// Opens a file, brings an older schema up to date, and checks it.
    pub(super) fn open_checked(path: &Path, mode: OpenMode) -> Result<Self, StoreError> {
        let mut database = Self::open(path, mode)?;
        database.migrate()?;
        database.check()?;
        Ok(database)
    }

    /// Whether the file is a replica of a record in PostgreSQL.
    pub(super) fn is_replica(&self) -> bool {
        self.is_replica
    }

    /// The file that the last query went to.
    pub(super) fn file(&self) -> FileId {
        self.file.get()
    }

    /// Opens the file that has replaced a replica. Whether there was one.
    pub(super) fn reopen_if_replaced(&self) -> Result<bool, StoreError> {
        if !self.is_replica {
            return Ok(false);
        }
        let file = file_at(&self.path)?;
        if file == self.file.get() {
            return Ok(false);
        }
        let newer = Self::open(&self.path, self.mode)?;
        self.connection.replace(newer.connection.into_inner());
        self.file.set(newer.file.get());
        Ok(true)
    }

    /// Makes the file `unfinished`, readable by its owner only, with an empty store in it. Errors speak of `path`,
    /// the name that the file is to have.
    pub(super) fn create(unfinished: &Path, path: &Path) -> Result<Self, StoreError> {
        create_file(unfinished, path)?;
        let mut database = Self::connect(unfinished, OpenMode::Durable)?;
        path.clone_into(&mut database.path);
        let begin = |connection: &Connection| -> Result<(), TransactionError> {
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            Ok(())
        };
        begin(database.connection.get_mut()).map_err(|fault| fault.at(path))?;
        database.enable_wal()?;
        database.migrate()?;
        Ok(database)
    }

    fn connect(path: &Path, mode: OpenMode) -> Result<Self, StoreError> {
        // never SQLITE_OPEN_CREATE: a mistyped path must not become an empty store
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connect = || -> Result<Connection, TransactionError> {
            let mut connection = Connection::open_with_flags(path, flags)?;
            if mode == OpenMode::Exclusive {
                // before anything is read: the first reading takes the lock then, and keeps it
                connection.pragma_update(None, "locking_mode", "exclusive")?;
            }
            connection.busy_handler(Some(wait_for_the_lock))?;
            page::replace_like(&connection)?;
            connection.set_prepared_statement_cache_capacity(64);
            // or a statement whose plan might depend on what is bound to it is compiled anew each time it is: that is
            // most of what it costs to read a key
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_update(None, "trusted_schema", false)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            let is_record = matches!(mode, OpenMode::Durable | OpenMode::Exclusive);
            let synchronous = if is_record { "full" } else { "normal" };
            connection.pragma_update(None, "synchronous", synchronous)?;
            connection.pragma_update(None, "query_only", mode == OpenMode::ReadOnly)?;
            Ok(connection)
        };
        // before it is opened: where another takes its place in between, the next question notices
        let file = file_at(path)?;
        let connection = RefCell::new(connect().map_err(|fault| fault.at(path))?);
        Ok(Self {
            connection,
            path: path.to_owned(),
            mode,
            file: Cell::new(file),
            is_replica: false,
            budget: None,
        })
    }

    /// Refuses a file that is no store, or that a later version has written. Whether it is a replica.
    fn check_format(&self) -> Result<bool, TransactionError> {
        let connection = self.connection.borrow();
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        if pragma("application_id")? != i64::from(APPLICATION_ID) {
            return Err(TransactionError::Damaged(
                "an SQLite file, but not a store of Portcullis".to_owned(),
            ));
        }
        let found = pragma("user_version")?;
        if found > migrations::NEWEST {
            let path = self.path.clone();
            return Err(StoreError::NewerSchema { path, found, known: migrations::NEWEST }.into());
        }
        if found < migrations::WITH_REPLICAS {
            return Ok(false);
        }
        Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM replica)", [], |row| row.get(0))?)
    }

    /// Turns on SQLite's write-ahead log (WAL), so that readers and the writer do not wait for each other.
    pub(super) fn enable_wal(&self) -> Result<(), StoreError> {
        let connection = self.connection.borrow();
        let keep = || {
            let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            if mode != "wal" {
                connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
            }
            Ok(())
        };
        keep().map_err(|fault: TransactionError| fault.at(&self.path))
    }

    /// Writes all that the store holds now into `file`, which must be empty.
    pub(super) fn copy_into(&self, file: &Path) -> Result<(), StoreError> {
        let Some(name) = file.to_str() else {
            return Err(StoreError::Refused(format!("the name {} is not UTF-8", file.display())));
        };
        let copied = self.connection.borrow().execute("VACUUM INTO ?1", [name]);
        copied.map(drop).map_err(|error| TransactionError::from(error).at(&self.path))
    }

    /// Brings an older schema up to this program's.
    pub(super) fn migrate(&mut self) -> Result<(), StoreError> {
        migrations::run(self.connection.get_mut()).map_err(|fault| fault.at(&self.path))
    }

    /// Looks for damage, in time that does not grow with the store.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let bytes = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        self.read(|connection| {
            if bytes <= CHECKED_WHOLE_BYTES {
                find_damage(connection, "PRAGMA quick_check(1)")?;
            }
            let head = change::head(connection)?;
            check_log(connection, ChangeNumber(head.number.0.saturating_sub(CHECKED_CHANGES)))
        })
    }

    /// Reads every page, every index and the whole log.
    pub(super) fn check_integrity(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            find_damage(connection, "PRAGMA integrity_check(1)")?;
            check_log(connection, ChangeNumber(0))
        })
    }

    /// Runs `work` on one state of the store, which no writer changes meanwhile.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, TransactionError>,
    ) -> Result<T, StoreError> {
        self.reopen_if_replaced()?;
        if let Some(budget) = self.budget.clone() {
            // each time: the connection may be a new one
            let charged = self
                .connection
                .borrow_mut()
                .progress_handler(QueryBudget::STEPS_AT_ONCE, Some(move || budget.is_spent()));
            charged.map_err(|error| TransactionError::from(error).at(&self.path))?;
        }
        let connection = self.connection.borrow();
        let run = || {
            let transaction = connection.unchecked_transaction()?;
            let found = work(&transaction)?;
            transaction.finish()?;
            Ok(found)
        };
        run().map_err(|fault: TransactionError| fault.at(&self.path))
    }

    /// From now on, queries fail with [`StoreError::TooCostly`] once they have used up `budget` together.
    pub(super) fn set_budget(&mut self, budget: QueryBudget) {
        self.budget = Some(budget);
    }

    /// Runs `work` as the only writer, in a transaction.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, TransactionError>,
    ) -> Result<T, StoreError> {
        self.reopen_if_replaced()?;
        let connection = self.connection.get_mut();
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(|fault: TransactionError| fault.at(&self.path))
    }

    /// Runs `work` as the only writer, in a transaction that is rolled back.
    pub(super) fn dry_run<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, TransactionError>,
    ) -> Result<T, StoreError> {
        self.reopen_if_replaced()?;
        let connection = self.connection.get_mut();
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.rollback()?;
            Ok(done)
        };
        run().map_err(|fault: TransactionError| fault.at(&self.path))
    }

    /// Which file it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A number that changes when another connection commits.
    pub(super) fn data_version(&self) -> Result<i64, StoreError> {
        self.connection
            .borrow()
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(|error| TransactionError::from(error).at(&self.path))
    }

    /// Writes the write-ahead log back into the file, as far as no reader still needs it. If that fails, the next write tries
    /// again.
    pub(super) fn checkpoint(&self) {
        let done = self.connection.borrow().pragma(None, "wal_checkpoint", "passive", |_| Ok(()));
        if let Err(error) = done {
            tracing::debug!(%error, "the write-ahead log is not written back yet");
        }
    }

    /// Closes the file. The last connection writes the write-ahead log back into it and removes the log.
    pub(super) fn close(self) -> Result<(), StoreError> {
        self.connection
            .into_inner()
            .close()
            .map_err(|(_, error)| TransactionError::from(error).at(&self.path))
    }
}

/// Makes the empty file `unfinished`, readable by its owner only. Errors speak of `path`, the name that it is to have.
pub(super) fn create_file(unfinished: &Path, path: &Path) -> Result<(), StoreError> {
    // SQLite gives the files it puts beside this one the same mode
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished);
    made.and_then(|file| give_to_owner_of_folder(&file, unfinished)).map_err(|source| {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::AlreadyExists => StoreError::Exists { path },
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => StoreError::ReadOnly { path },
            ErrorKind::StorageFull => StoreError::Full { path },
            _ => StoreError::Io { path, source },
        }
    })
}

/// Which file the path leads to.
pub(super) fn file_at(path: &Path) -> Result<FileId, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(FileId(metadata.dev(), metadata.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(StoreError::FileDeleted { path: path.to_owned() })
        }
        Err(source) => Err(StoreError::Io { path: path.to_owned(), source }),
    }
}

/// Waits for another process's write. Whether to try again. SQLite's own handler pauses up to 100 ms between tries, and was
/// seen to miss every gap for 5 s beside a process that writes all the time.
fn wait_for_the_lock(tries: i32) -> bool {
    thread::sleep(if tries < TRIES_AT_ONCE { Duration::from_millis(1) } else { RARELY });
    tries < TRIES
}

fn find_damage(connection: &Connection, pragma: &str) -> Result<(), TransactionError> {
    let found: String = connection.query_row(pragma, [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(TransactionError::Damaged(found.replace('\n', " "))) }
}

/// Whether the changes after `after` follow from one another up to the head.
fn check_log(connection: &Connection, after: ChangeNumber) -> Result<(), TransactionError> {
    let missing = || TransactionError::Damaged(format!("change {after} is missing from the log"));
    let hash = change::hash_of(connection, after)?.ok_or_else(missing)?;
    change::check_after(connection, ChangeHead { number: after, hash })
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
