//! The store, opened for reading and for changes: an embedded store, or PostgreSQL with a replica.

use std::path::Path;

use uuid::Uuid;

use super::audit::{self, Attempt};
use super::author::Author;
use super::database::{self, Database, OpenMode};
use super::error::TransactionError;
use super::write_transaction::WriteTransaction;
use super::{ChangeNumber, PepperId, RecordClock, StoreError, StorePosition, change, lookup, postgres};
use crate::config;
use crate::model::{Description, Name};

/// The store, opened for changes. Every method blocks: call it on a thread that may wait.
pub struct Store {
    /// The embedded store, or this gateway's replica of the record.
    pub(super) database: Database,
    /// The record in PostgreSQL, if that is configured.
    pub(super) record: Option<postgres::Record>,
    /// Who makes the changes.
    author: Author,
    /// By which keys end.
    clock: RecordClock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.database.path().display())
    }
}

/// What can be edited: `None` leaves a field as it is, `Some(None)` empties it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// The new name.
    pub name: Option<Option<Name>>,
    /// The new description.
    pub description: Option<Option<Description>>,
    /// As which revision the author knows the object.
    pub expected: super::ExpectedRevision,
}

impl Store {
    /// Creates a new store. Never overwrites anything.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        Self::create_with(path, |_| Ok::<_, StoreError>(()))?;
        Self::open(path)
    }

    /// Creates a new store, and calls `fill` on it. The file gets its name when that is done and on the disk, so that a
    /// killed process leaves no half-made store.
    pub fn create_with<T, E: From<StoreError>>(
        path: &Path,
        fill: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if path.exists() {
            return Err(StoreError::Exists { path: path.to_owned() }.into());
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".{}.unfinished", Uuid::new_v4().simple()));
        let unfinished = Path::new(&unfinished);
        let make = || -> Result<T, E> {
            let mut store = Self::with_database(Database::create(unfinished, path)?);
            let filled = fill(&mut store)?;
            store.database.close()?;
            database::publish(unfinished, path)?;
            Ok(filled)
        };
        make().inspect_err(|_| {
            // nothing of value: it never had a name that anyone looks for
            for beside in ["", "-wal", "-shm"] {
                let mut name = unfinished.as_os_str().to_owned();
                name.push(beside);
                let _ = std::fs::remove_file(name);
            }
        })
    }

    /// Opens an embedded store, checks it, and brings an older schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::open_checked(path, OpenMode::Durable)?;
        if database.is_replica() {
            return Err(StoreError::IsReplica { path: path.to_owned() });
        }
        Ok(Self::with_database(database))
    }

    /// Opens the store that is configured. For PostgreSQL, the replica is created if there is none, and brought up to date.
    /// `report` is called with the progress of long steps.
    pub fn open_configured(store: &config::Store, report: &mut dyn FnMut(&str)) -> Result<Self, StoreError> {
        match store {
            config::Store::Sqlite { path } => Self::open(path),
            config::Store::Postgres(postgres) => postgres::open(postgres, report),
        }
    }

    /// The same, for a store that a running gateway has opened before: nothing is checked or brought up to date.
    pub fn open_unchecked(store: &config::Store) -> Result<Self, StoreError> {
        match store {
            config::Store::Sqlite { path } => Self::open(path),
            config::Store::Postgres(postgres) => {
                let database = Database::open(&postgres.replica, OpenMode::Replica)?;
                Ok(Self::with_replica(database, postgres::Record::new((**postgres).clone(), None)))
            }
        }
    }

    pub(super) fn with_database(database: Database) -> Self {
        Self { database, record: None, author: Author::command_line(), clock: RecordClock::default() }
    }

    /// Copies all of an embedded store into an empty database of PostgreSQL.
    pub fn copy_to(
        &self,
        postgres: &config::Postgres,
        report: &mut dyn FnMut(&str),
    ) -> Result<(), StoreError> {
        postgres::copy_into_record(postgres, &self.database, report)
    }

    /// Makes an embedded store at `path` with all that the record has.
    pub fn copy_from(
        postgres: &config::Postgres,
        path: &Path,
        report: &mut dyn FnMut(&str),
    ) -> Result<(), StoreError> {
        Self::create_with(path, |store| postgres::copy_from_record(postgres, &mut store.database, report))
    }

    /// A record in PostgreSQL with a replica of it.
    pub(super) fn with_replica(database: Database, record: postgres::Record) -> Self {
        Self { record: Some(record), ..Self::with_database(database) }
    }

    /// With a clock that tells the record's time.
    #[must_use]
    pub fn with_clock(self, clock: RecordClock) -> Self {
        Self { clock, ..self }
    }

    /// The file that is read, and the newest change in it.
    pub fn position(&self) -> Result<StorePosition, StoreError> {
        let number = self.head()?;
        // the one that was read: numbers of two cannot be compared
        Ok(StorePosition { file: self.database.file(), number })
    }

    /// Refuses an embedded store whose file was replaced: what is written into the old one is lost.
    pub(super) fn refuse_if_replaced(&self) -> Result<(), StoreError> {
        let path = self.database.path();
        if self.record.is_none() && database::file_at(path)? != self.database.file() {
            return Err(StoreError::FileReplaced { path: path.to_owned(), how: "replaced by another file" });
        }
        Ok(())
    }

    /// Opens a checked store for reading only.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::with_database(Database::open(path, OpenMode::ReadOnly)?))
    }

    /// Sets who makes the changes from now on. Until then it is the user who runs this process.
    pub fn set_author(&mut self, author: Author) {
        self.author = author;
    }

    /// Runs `work` as the only writer, for the author. If a key's holder is refused, that goes into the audit log.
    pub(super) fn change<T>(
        &mut self,
        attempt: &Attempt,
        work: impl FnOnce(&WriteTransaction<'_>) -> Result<T, TransactionError>,
    ) -> Result<T, StoreError> {
        let Self { database, record, author, clock } = self;
        if let Some(record) = record {
            return record.change(database, (author, clock), attempt, work);
        }
        let done = database.write(|connection| work(&WriteTransaction { connection, author, clock }));
        if let (Err(error), Author::Key(_)) = (&done, &author)
            && error.is_refusal()
        {
            let reason = error.to_string();
            database.write(|connection| audit::refused(connection, author, attempt, &reason))?;
        }
        done
    }

    /// Adds a refusal to the audit log, of a change that was refused before it came here.
    pub fn audit_refusal(&mut self, attempt: &Attempt, reason: &str) -> Result<(), StoreError> {
        let Self { database, record, author, clock } = self;
        match record {
            None => database.write(|connection| audit::refused(connection, author, attempt, reason)),
            Some(record) => record.change(database, (author, clock), attempt, |at| {
                audit::refused(at.connection, author, attempt, reason)
            }),
        }
    }

    /// The error for a store that somebody has locked for too long.
    pub(super) fn locked(&self) -> StoreError {
        StoreError::Locked { path: self.database.path().to_owned() }
    }

    /// Reads the whole file and the whole log for damage; takes seconds for a large store.
    pub fn check_integrity(&self) -> Result<(), StoreError> {
        self.database.check_integrity()
    }

    /// The newest change.
    pub fn head(&self) -> Result<ChangeNumber, StoreError> {
        self.database.read(|at| Ok(change::head(at)?.number))
    }

    /// The peppers under which the store keeps fingerprints.
    pub fn peppers(&self) -> Result<Vec<PepperId>, StoreError> {
        self.database.read(lookup::peppers)
    }
}
