//! The record: the one connection that makes changes, be it to an embedded store or to PostgreSQL.

use std::path::Path;

use uuid::Uuid;

use super::audit::{self, Attempt};
use super::author::{Author, Writing};
use super::database::{self, Database, Purpose};
use super::error::Fault;
use super::{ChangeNumber, PepperId, Position, StoreError, change, lookup, postgres};
use crate::config;
use crate::model::{Description, Name};

/// The store, opened for changes. Every method blocks on the disk: call it on a thread that may wait.
pub struct Store {
    /// The record itself, or this gateway's replica of it.
    pub(super) database: Database,
    /// The record in PostgreSQL, where that is the one.
    pub(super) record: Option<postgres::Record>,
    /// Who makes the changes.
    author: Author,
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
    /// As what the author knows the object.
    pub expected: super::Expected,
}

impl Store {
    /// Makes a new store, which only `init` does. Nothing is ever overwritten.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        Self::create_with(path, |_| Ok::<_, StoreError>(()))?;
        Self::open(path)
    }

    /// Makes a new store with what `fill` puts into it. The file gets its name when that is done and on the disk: a
    /// process that is killed on the way leaves no half-made store.
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
            let mut store = Self::over(Database::create(unfinished, path)?);
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
        let database = Database::open_checked(path, Purpose::Record)?;
        if database.is_replica() {
            return Err(StoreError::IsReplica { path: path.to_owned() });
        }
        Ok(Self::over(database))
    }

    /// Opens the record that the configuration names; one in PostgreSQL by way of the replica, which is made where
    /// there is none and brought up to date. What takes long is told.
    pub fn of(store: &config::Store, report: &mut dyn FnMut(&str)) -> Result<Self, StoreError> {
        match store {
            config::Store::Sqlite { path } => Self::open(path),
            config::Store::Postgres(postgres) => postgres::open(postgres, report),
        }
    }

    /// The same for one who is sure that it is there and up to date: nothing is checked and nobody is asked.
    pub fn of_running(store: &config::Store) -> Result<Self, StoreError> {
        match store {
            config::Store::Sqlite { path } => Self::open(path),
            config::Store::Postgres(postgres) => {
                let database = Database::open(&postgres.replica, Purpose::Replica)?;
                Ok(Self::with_replica(database, postgres::Record::new((**postgres).clone(), None)))
            }
        }
    }

    pub(super) fn over(database: Database) -> Self {
        Self { database, record: None, author: Author::command_line() }
    }

    /// Copies all of an embedded store into an empty database of PostgreSQL.
    pub fn copy_to(
        &self,
        postgres: &config::Postgres,
        report: &mut dyn FnMut(&str),
    ) -> Result<(), StoreError> {
        postgres::fill(postgres, &self.database, report)
    }

    /// Makes an embedded store at `path` with all that the record has.
    pub fn copy_from(
        postgres: &config::Postgres,
        path: &Path,
        report: &mut dyn FnMut(&str),
    ) -> Result<(), StoreError> {
        Self::create_with(path, |store| postgres::read_into(postgres, &mut store.database, report))
    }

    /// A record in PostgreSQL, and a replica of it.
    pub(super) fn with_replica(database: Database, record: postgres::Record) -> Self {
        Self { database, record: Some(record), author: Author::command_line() }
    }

    /// The file that answers questions, and the newest change in it.
    pub fn position(&self) -> Result<Position, StoreError> {
        let number = self.head()?;
        // the one that was read: numbers of two cannot be compared
        Ok(Position { file: self.database.file(), number })
    }

    /// Whether an embedded store is still the one at its path: what is written into a file that was replaced is lost.
    pub(super) fn check_in_place(&self) -> Result<(), StoreError> {
        let path = self.database.path();
        if self.record.is_none() && database::file_at(path)? != self.database.file() {
            return Err(StoreError::Replaced { path: path.to_owned(), how: "replaced by another file" });
        }
        Ok(())
    }

    /// Opens a checked store for reading only.
    pub(super) fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::over(Database::open(path, Purpose::Reading)?))
    }

    /// Says who makes the changes from now on; before that it is whoever runs this process.
    pub fn set_author(&mut self, author: Author) {
        self.author = author;
    }

    /// Runs `work` as the only writer, for the author. What a key's holder is refused is written down too.
    pub(super) fn change<T>(
        &mut self,
        attempt: &Attempt,
        work: impl FnOnce(&Writing<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let Self { database, record, author } = self;
        if let Some(record) = record {
            return record.change(database, author, attempt, work);
        }
        let done = database.write(|connection| work(&Writing { connection, author }));
        if let (Err(error), Author::Key(_)) = (&done, &author)
            && error.is_refusal()
        {
            let reason = error.to_string();
            database.write(|connection| audit::refused(connection, author, attempt, &reason))?;
        }
        done
    }

    /// Writes down what the author was refused before the record was asked.
    pub fn audit_refusal(&mut self, attempt: &Attempt, reason: &str) -> Result<(), StoreError> {
        let Self { database, record, author } = self;
        match record {
            None => database.write(|connection| audit::refused(connection, author, attempt, reason)),
            Some(record) => record.change(database, author, attempt, |at| {
                audit::refused(at.connection, author, attempt, reason)
            }),
        }
    }

    /// What is said of a store that somebody holds for too long.
    pub(super) fn locked(&self) -> StoreError {
        StoreError::Locked { path: self.database.path().to_owned() }
    }

    /// Reads the whole file and the whole log for damage; takes seconds for a large store.
    pub fn check_whole(&self) -> Result<(), StoreError> {
        self.database.check_whole()
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
