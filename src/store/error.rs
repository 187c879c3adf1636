//! What can go wrong with a store. Every message says what, where, and what to do.

use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use super::{ChangeNumber, InvalidMarker};
use crate::model::{AccessKey, EnvironmentId, State};

/// Why a store call failed, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no file.
    #[error("there is no store at {path}: `portcullis init` creates it", path = .path.display())]
    Missing {
        /// Where the store was looked for.
        path: PathBuf,
    },
    /// There is a file already, and creating never overwrites.
    #[error("{path} exists already, and nothing is overwritten: to begin anew, without its keys, move it away", path = .path.display())]
    Exists {
        /// What is in the way.
        path: PathBuf,
    },
    /// The file is not a store, or not a whole one.
    #[error(
        "the store at {path} is damaged ({detail}): stop every process that uses it, keep a copy, and restore a backup",
        path = .path.display()
    )]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A later version of Portcullis has written the file.
    #[error(
        "the store at {path} has schema version {found}, this program knows up to {known}: use the newer portcullis",
        path = .path.display()
    )]
    NewerSchema {
        /// The store.
        path: PathBuf,
        /// The schema version in the file.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },
    /// Another process held the file's lock for longer than a write ever takes.
    #[error(
        "the store at {path} is locked by another process (a backup, a database shell, or a write that hangs): \
         end it and try again; `fuser {path}` names it",
        path = .path.display()
    )]
    Locked {
        /// The store.
        path: PathBuf,
    },
    /// The disk is full, or what the process may use of it, or the disk fails. Nothing of the write was kept.
    #[error(
        "the store at {path} could not be written, and nothing was changed: the disk is full, a quota or file size \
         limit is reached, or the disk fails; make room and try again",
        path = .path.display()
    )]
    Full {
        /// The store.
        path: PathBuf,
    },
    /// The file or its directory cannot be written.
    #[error(
        "the store at {path} cannot be written: the file, and its directory, must be writable for this user",
        path = .path.display()
    )]
    ReadOnly {
        /// The store.
        path: PathBuf,
    },
    /// The operating system refused the file.
    #[error("cannot use the store at {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// The change log lacks a change that this process has seen, or has another in its place.
    #[error(
        "the store at {path} has been put back to an earlier state (change {seen} was seen, and is not in it any more): \
         keys that were deactivated since may work again; check them, then restart the gateway",
        path = .path.display()
    )]
    RolledBack {
        /// The store.
        path: PathBuf,
        /// The newest change that this process has seen.
        seen: ChangeNumber,
    },
    /// The file was deleted while it is in use.
    #[error(
        "the store at {path} is gone while in use, and what it holds is lost when the last process that has it open \
         ends: put the file back, or put a backup there and restart the gateway",
        path = .path.display()
    )]
    FileDeleted {
        /// The store.
        path: PathBuf,
    },
    /// While the file is in use, another one was put in its place, or another program has written into it.
    #[error(
        "the store at {path} was {how} while in use: stop the gateway, put the right file there again with no \
         {path}-wal and no {path}-shm beside it, or a copy by `portcullis store restore`, look at `portcullis key list` \
         for keys that must not work, and start the gateway",
        path = .path.display()
    )]
    FileReplaced {
        /// The store.
        path: PathBuf,
        /// `replaced by another file` or `written to by another program`
        how: &'static str,
    },
    /// The write-ahead log or its index was removed or cut short while the store is in use.
    #[error(
        "{file} was removed, replaced or cut short while the store at {path} is in use: stop the gateway, which writes \
         back what it still has of it, look at `portcullis key list` for changes that are missing, and start the gateway",
        file = .file.display(),
        path = .path.display()
    )]
    LogLost {
        /// The store.
        path: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// The record in PostgreSQL does not answer. Nothing was changed.
    #[error("the record at {record} cannot be reached, and nothing was changed: {detail}")]
    RecordUnreachable {
        /// The server and the database.
        record: String,
        /// What happened.
        detail: String,
    },
    /// The connection to the record was lost while a change was being committed.
    #[error(
        "the record at {record} was lost while it was being changed, and whether the change was made is not known: \
         look once it is back ({detail})"
    )]
    CommitUnknown {
        /// The server and the database.
        record: String,
        /// What happened.
        detail: String,
    },
    /// The database cannot be used as a record.
    #[error("the record at {record} cannot be used: {detail}")]
    RecordUnusable {
        /// The server and the database.
        record: String,
        /// What is wrong.
        detail: String,
    },
    /// The file at the replica's path is a replica of another record, or of none.
    #[error(
        "{path} is not a replica of the record at {record}: a replica is made anew where there is none, so name another \
         file, or move this one away",
        path = .path.display()
    )]
    ForeignReplica {
        /// The file.
        path: PathBuf,
        /// The server and the database.
        record: String,
    },
    /// A replica was opened as an embedded store.
    #[error(
        "{path} is a gateway's replica of a record in PostgreSQL, and is changed by way of that only: configure \
         'store.postgres', or copy the record with `portcullis store copy`",
        path = .path.display()
    )]
    IsReplica {
        /// The file.
        path: PathBuf,
    },
    /// Nothing has this id or name.
    #[error("there is no {what} '{wanted}'")]
    NotFound {
        /// `account`, `environment` or `key`
        what: &'static str,
        /// What was asked for.
        wanted: String,
    },
    /// Several objects have this name.
    #[error("{count} {what}s are named '{wanted}': use the id ({ids})")]
    Ambiguous {
        /// `account` or `environment`
        what: &'static str,
        /// What was asked for.
        wanted: String,
        /// How many have the name.
        count: usize,
        /// The first of them.
        ids: String,
    },
    /// Only what is inactive can be removed.
    #[error("{what} {id} is active: deactivate it first (`portcullis {what} deactivate {id}`)")]
    StillActive {
        /// `account`, `environment` or `key`
        what: &'static str,
        /// Its id, or a key's access key.
        id: String,
    },
    /// The object is in this state already, or cannot go from its state to the new one.
    #[error("{what} {id} is {state}")]
    WrongState {
        /// `account`, `environment` or `key`
        what: &'static str,
        /// Its id, or a key's access key.
        id: String,
        /// The state it is in.
        state: State,
    },
    /// The object has another revision than the caller expects: somebody else has changed it.
    #[error("{what} {id} was changed meanwhile: look at it again, and repeat what is still wanted")]
    RevisionConflict {
        /// `account`, `environment` or `key`
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The author's key does not work any more.
    #[error("key {access_key} does not work any more")]
    KeyNoLongerWorks {
        /// The key.
        access_key: AccessKey,
    },
    /// The author's key may not do this.
    #[error("the key that asked may not do this")]
    NotPermitted,
    /// An id, a name or an access key is, or was, another object's.
    #[error("{why}")]
    AlreadyTaken {
        /// `access key`, `id` or `name`
        what: &'static str,
        /// A sentence with what to do.
        why: String,
    },
    /// The environment would lose its last owner.
    #[error("environment {environment} would be left without an owner: make another member owner first")]
    LastOwner {
        /// Which.
        environment: EnvironmentId,
    },
    /// An account has made as many environments as a user account may.
    #[error("this account has made {most} environments, and no user account may make more: remove one first")]
    TooManyEnvironments {
        /// How many there may be.
        most: u32,
    },
    /// A list took more steps, or more time, than is allowed.
    #[error(
        "this list costs too much: narrow it with other filters, search for less, or ask for fewer rows at once"
    )]
    TooCostly,
    /// A caller asks for too many lists at once.
    #[error(
        "{most} lists of this account or environment are being read or waiting, and no more may: ask for fewer at once"
    )]
    TooManyLists {
        /// How many there may be.
        most: usize,
    },
    /// Too many lists wait, or this one has waited too long.
    #[error("too many lists are being read or waiting: try again")]
    ListsBusy,
    /// A list was asked for with an invalid marker.
    #[error(transparent)]
    Marker(#[from] InvalidMarker),
    /// A rule forbids it; the text says which, and what to do.
    #[error("{0}")]
    Refused(String),
    /// The store's threads have ended, because the process is stopping.
    #[error("the store is closed")]
    Closed,
    /// Anything else that SQLite reports.
    #[error("the store at {path} failed: {source}", path = .path.display())]
    Sqlite {
        /// The store.
        path: PathBuf,
        /// SQLite's own words.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Whether what a running gateway knows of its store may be untrue, so that only its operator can help.
    pub fn needs_operator(&self) -> bool {
        matches!(self, Self::RolledBack { .. } | Self::FileReplaced { .. } | Self::LogLost { .. })
    }

    /// Whether the file is damaged. A damaged replica is rebuilt.
    pub(super) fn is_damage(&self) -> bool {
        use rusqlite::Error::{QueryReturnedNoRows, SqlInputError, SqliteFailure};
        match self {
            Self::Damaged { .. } => true,
            Self::Sqlite { source: SqliteFailure(failure, _), .. } => matches!(
                failure.code,
                // a table or a column that is not there, and rows that do not go with those that are
                ErrorCode::Unknown | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch
            ),
            // a row that every store has
            Self::Sqlite { source, .. } => matches!(source, QueryReturnedNoRows | SqlInputError { .. }),
            _ => false,
        }
    }

    /// Whether a rule of the record forbids the change, and nothing is wrong with the store.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. }
                | Self::StillActive { .. }
                | Self::WrongState { .. }
                | Self::RevisionConflict { .. }
                | Self::KeyNoLongerWorks { .. }
                | Self::NotPermitted
                | Self::AlreadyTaken { .. }
                | Self::LastOwner { .. }
                | Self::TooManyEnvironments { .. }
                | Self::Refused(_)
        )
    }
}

/// An error inside a transaction. SQLite's errors do not name the file yet.
#[derive(Debug)]
pub(super) enum TransactionError {
    Sqlite(rusqlite::Error),
    /// A row that no version of Portcullis writes.
    Damaged(String),
    Store(StoreError),
}

impl From<rusqlite::Error> for TransactionError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for TransactionError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl TransactionError {
    /// A rule that forbids it.
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Store(StoreError::Refused(why.into()))
    }

    /// An id, a name or an access key that is another object's.
    pub(super) fn taken(what: &'static str, why: String) -> Self {
        Self::Store(StoreError::AlreadyTaken { what, why })
    }

    /// The error as callers see it.
    pub(super) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Damaged(detail) => StoreError::Damaged { path: path.to_owned(), detail },
            Self::Sqlite(source) => by_code(source, path),
        }
    }
}

/// SQLite's extended codes for files that cannot be read as they were written.
const DAMAGED_FILES: [i32; 4] = [
    ffi::SQLITE_IOERR_READ,
    ffi::SQLITE_IOERR_SHORT_READ,
    ffi::SQLITE_IOERR_DATA,
    ffi::SQLITE_IOERR_CORRUPTFS,
];

fn by_code(source: rusqlite::Error, path: &Path) -> StoreError {
    let path = path.to_owned();
    match &source {
        rusqlite::Error::SqliteFailure(failure, text) => match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Locked { path },
            // only a budget interrupts anything
            ErrorCode::OperationInterrupted => StoreError::TooCostly,
            ErrorCode::DiskFull => StoreError::Full { path },
            // a write past the process's file size limit, or a quota, comes as a failed write, not as a full disk
            ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_WRITE => {
                StoreError::Full { path }
            }
            // the file or its log is shorter than its index says, or the file system finds it damaged
            ErrorCode::SystemIoFailure if DAMAGED_FILES.contains(&failure.extended_code) => {
                StoreError::Damaged { path, detail: failure.to_string() }
            }
            ErrorCode::CannotOpen if !path.exists() => StoreError::Missing { path },
            // the files that SQLite keeps beside the store cannot be made
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
                StoreError::ReadOnly { path }
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                let detail = text.clone().unwrap_or_else(|| failure.to_string());
                StoreError::Damaged { path, detail }
            }
            _ => StoreError::Sqlite { path, source },
        },
        // a column without the type that the schema gives it
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
            StoreError::Damaged { path, detail: source.to_string() }
        }
        _ => StoreError::Sqlite { path, source },
    }
}
