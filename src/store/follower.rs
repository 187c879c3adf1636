//! Following the change log: what another process (the command line, say) has written.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::change::{self, Change, ChangeNumber, Head};
use super::database::{Database, Purpose};
use super::error::Fault;
use super::{Store, StoreError};

/// How many changes one poll hands over at most; the next one continues.
const CHANGES_PER_POLL: u32 = 10_000;

/// Follows the change log on a connection used for nothing else, since what tells it of a write
/// (`PRAGMA data_version`) counts the writes of other connections only. Belongs on a thread of its own.
pub struct Follower {
    database: Database,
    /// Device and inode of the file that is open.
    file: (u64, u64),
    /// The store's state when the log was last read to its end.
    read_at: Option<i64>,
    last: Head,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Follower(at change {})", self.last.number)
    }
}

impl Follower {
    /// Starts at the newest change.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        drop(Store::open(path)?);
        let file = identity(path)?;
        let database = Database::open(path, Purpose::Reading)?;
        let last = database.read(change::head)?;
        Ok(Self { database, file, read_at: None, last })
    }

    /// The newest change that this follower knows.
    pub fn head(&self) -> ChangeNumber {
        self.last.number
    }

    /// Whether the last poll reached the end of the log.
    pub fn is_caught_up(&self) -> bool {
        self.read_at.is_some()
    }

    /// The changes since the last call, oldest first. Costs a few microseconds where there are none.
    ///
    /// [`StoreError::Rewound`] and [`StoreError::Replaced`] are final: what this process knows of the store is no
    /// longer true.
    pub fn poll(&mut self) -> Result<Vec<Change>, StoreError> {
        let path = self.database.path();
        if identity(path)? != self.file {
            return Err(StoreError::Replaced { path: path.to_owned() });
        }
        // read before the log: what is written between the two is found again by the next poll
        let version = self.database.data_version()?;
        if self.read_at == Some(version) {
            return Ok(Vec::new());
        }
        let last = self.last;
        let (found, newest) = self.database.read(|connection| {
            if change::hash_of(connection, last.number)? != Some(last.hash) {
                return Err(Fault::from(StoreError::Rewound { path: path.to_owned(), seen: last.number }));
            }
            change::since(connection, last, CHANGES_PER_POLL)
        })?;
        self.last = newest;
        self.read_at = (found.len() < CHANGES_PER_POLL as usize).then_some(version);
        Ok(found)
    }
}

/// Which file the path leads to.
fn identity(path: &Path) -> Result<(u64, u64), StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok((metadata.dev(), metadata.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StoreError::Vanished { path: path.to_owned() })
        }
        Err(source) => Err(StoreError::Io { path: path.to_owned(), source }),
    }
}
