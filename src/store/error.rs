//! What can go wrong with a store. Every message says what, where, and what to do.

use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use super::{ChangeNumber, InvalidMarker};
use crate::model::{AccessKey, EnvironmentId, State};

/// Why the store did not do what it was asked to.
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
    Newer {
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
    /// The log is behind what this process has already seen of it, or tells it differently.
    #[error(
        "the store at {path} has been put back to an earlier state (change {seen} was seen, and is not in it any more): \
         keys that were deactivated since may work again; check them, then restart the gateway",
        path = .path.display()
    )]
    Rewound {
        /// The store.
        path: PathBuf,
        /// The newest change that this process has seen.
        seen: ChangeNumber,
    },
    /// The name at the path leads nowhere, while the file is in use.
    #[error(
        "the store at {path} is gone while in use, and what it holds is lost when the last process that has it open \
         ends: put the file back, or put a backup there and restart the gateway",
        path = .path.display()
    )]
    Vanished {
        /// The store.
        path: PathBuf,
    },
    /// The name at the path now leads to another file than the one in use, or somebody has written into that one.
    #[error(
        "the store at {path} was {how} while in use: stop the gateway, put the right file there again with no \
         {path}-wal and no {path}-shm beside it, or a copy by `portcullis store restore`, look at `portcullis key list` \
         for keys that must not work, and start the gateway",
        path = .path.display()
    )]
    Replaced {
        /// The store.
        path: PathBuf,
        /// `replaced by another file` or `written to by another program`
        how: &'static str,
    },
    /// A file that SQLite keeps beside the store was taken away or cut short while the store is in use.
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
    /// The record in PostgreSQL does not answer now. Nothing was changed.
    #[error("the record at {record} cannot be reached, and nothing was changed: {detail}")]
    RecordAway {
        /// The server and the database.
        record: String,
        /// What happened.
        detail: String,
    },
    /// The record went away while a change was being committed.
    #[error(
        "the record at {record} was lost while it was being changed, and whether the change was made is not known: \
         look once it is back ({detail})"
    )]
    RecordUnsure {
        /// The server and the database.
        record: String,
        /// What happened.
        detail: String,
    },
    /// What answers cannot be used as a record.
    #[error("the record at {record} cannot be used: {detail}")]
    RecordUnusable {
        /// The server and the database.
        record: String,
        /// What is wrong.
        detail: String,
    },
    /// The file at the replica's place belongs to another record, or to none.
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
    /// A replica was to be used as a record.
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
    /// What was asked for is so already, or cannot come after the state that the object is in.
    #[error("{what} {id} is {state}")]
    WrongState {
        /// `account`, `environment` or `key`
        what: &'static str,
        /// Its id, or a key's access key.
        id: String,
        /// The state it is in.
        state: State,
    },
    /// Somebody else has changed the object since it was looked at.
    #[error("{what} {id} was changed meanwhile: look at it again, and repeat what is still wanted")]
    Changed {
        /// `account`, `environment` or `key`
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The key that asked does not work any more.
    #[error("key {access_key} does not work any more")]
    AuthorGone {
        /// The key.
        access_key: AccessKey,
    },
    /// The key that asked may not, or no longer, do this.
    #[error("the key that asked may not do this")]
    NotPermitted,
    /// A word that must be one object's only is another's, or was.
    #[error("{why}")]
    Taken {
        /// `access key`, `id` or `name`
        what: &'static str,
        /// A sentence with what to do.
        why: String,
    },
    /// An environment is to lose its last owner.
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
    /// A list took more steps, or more time, than a list may.
    #[error(
        "this list costs too much: narrow it with other filters, search for less, or ask for fewer rows at once"
    )]
    TooCostly,
    /// One account or environment asks for too many lists at once.
    #[error(
        "{most} lists of this account or environment are being read or waiting, and no more may: ask for fewer at once"
    )]
    TooManyLists {
        /// How many there may be.
        most: usize,
    },
    /// Lists are being read or waiting, and this one had to wait for too long or found no place.
    #[error("too many lists are being read or waiting: try again")]
    ListsBusy,
    /// A page was asked for that is none.
    #[error(transparent)]
    Marker(#[from] InvalidMarker),
    /// A rule forbids it; the text says which, and what to do.
    #[error("{0}")]
    Refused(String),
    /// The threads that read the store have ended: the process is stopping.
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
    /// Whether what a running gateway knows of its store may not be true any more, and only its operator can help.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Rewound { .. } | Self::Replaced { .. } | Self::LogLost { .. })
    }

    /// Whether the file does not hold what this program has written. A replica is made anew then.
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

    /// Whether the record said no, and nothing was wrong with the store.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. }
                | Self::StillActive { .. }
                | Self::WrongState { .. }
                | Self::Changed { .. }
                | Self::AuthorGone { .. }
                | Self::NotPermitted
                | Self::Taken { .. }
                | Self::LastOwner { .. }
                | Self::TooManyEnvironments { .. }
                | Self::Refused(_)
        )
    }
}

/// What goes wrong inside a transaction: SQLite's errors do not know yet which file they are about.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    /// A row that no version of Portcullis writes.
    Damaged(String),
    Store(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    /// A rule that forbids it.
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Store(StoreError::Refused(why.into()))
    }

    /// A word that is another's.
    pub(super) fn taken(what: &'static str, why: String) -> Self {
        Self::Store(StoreError::Taken { what, why })
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
