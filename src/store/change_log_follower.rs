//! Reads the change log of a store in use, for what other processes have written to it.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::StoreError;
use super::change::{self, Change, ChangeHead, ChangeNumber, Subject};
use super::database::{self, Database, FileId, OpenMode};
use super::error::TransactionError;
use super::file_watch::FileWatch;
use super::key_ends;

/// How many changes one poll hands over at most; the next one continues.
const CHANGES_PER_POLL: u32 = 10_000;

/// If more keys end at once, everything is dropped instead.
const ENDS_PER_POLL: u32 = 10_000;

/// A clock that goes back by less was corrected, not set: what has ended stays so.
const CLOCK_CORRECTION: SignedDuration = SignedDuration::from_secs(1);

/// Follows the change log on a connection of its own: `PRAGMA data_version`, by which it notices writes, counts only those of
/// other connections. Belongs on a thread of its own.
pub struct Follower {
    database: Database,
    /// The file that is open.
    file: FileId,
    /// For an embedded store. A replica may be replaced at any time.
    watch: Option<FileWatch>,
    /// The store's state when the log was last read to its end.
    read_at: Option<i64>,
    last: ChangeHead,
    ends: EndsSeen,
}

/// How far it was looked for keys that end by themselves.
struct EndsSeen {
    /// Keys that end until then have been reported.
    until: Timestamp,
    /// When the next one ends; `None`: nobody has looked since the store has changed.
    next: Option<Timestamp>,
}

/// What has ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysEnded {
    /// Keys that end until then do not work any more.
    pub until: Timestamp,
    /// Those that ended since the last look, as changes without a row in the log; all, where the clock was set back.
    pub changes: Vec<Change>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Follower(at change {})", self.last.number)
    }
}

impl Follower {
    /// Starts at the newest change, and at `now` by the record's clock.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let checked = Database::open_checked(path, OpenMode::Durable)?;
        let database = Database::open(path, OpenMode::ReadOnly)?;
        let last = database.read(change::head)?;
        // the one that was read
        let file = database.file();
        let watch = if database.is_replica() {
            None
        } else {
            // what a crash has left in the log looks like a checkpoint that was cut off: then nothing is noticed
            checked.checkpoint();
            Some(FileWatch::new(path, file)?)
        };
        Ok(Self { database, file, watch, read_at: None, last, ends: EndsSeen { until: now, next: None } })
    }

    /// The newest change that this follower knows.
    pub fn head(&self) -> ChangeNumber {
        self.last.number
    }

    /// The file that is followed, and the newest change in it that this follower knows.
    pub fn position(&self) -> StorePosition {
        StorePosition { file: self.file, number: self.last.number }
    }

    /// Whether the last poll reached the end of the log.
    pub fn is_caught_up(&self) -> bool {
        self.read_at.is_some()
    }

    /// Whether somebody has put another log in place of the store's own. It would be lost if the store were closed.
    pub fn has_foreign_log(&self) -> bool {
        self.watch.as_ref().is_some_and(FileWatch::has_foreign_log)
    }

    /// The changes since the last call, oldest first. Costs a few microseconds where there are none.
    ///
    /// After some errors ([`StoreError::needs_operator`]) what this process knows of an embedded store may be untrue.
    pub fn poll(&mut self) -> Result<Vec<Change>, StoreError> {
        let path = self.database.path();
        if let Some(watch) = &mut self.watch {
            watch.check()?;
        } else if database::file_at(path)? != self.file {
            // a rebuilt replica: what has changed is not known
            self.last = self.database.read(change::head)?;
            // the one that was read: another may have taken its place since
            self.file = self.database.file();
            self.read_at = None;
            self.ends.next = None;
            let action = "rebuild".to_owned();
            return Ok(vec![Change { number: self.last.number, subject: Subject::Everything, action }]);
        }
        // read before the log: what is written between the two is found again by the next poll
        let version = self.database.data_version()?;
        if self.read_at == Some(version) {
            return Ok(Vec::new());
        }
        let last = self.last;
        let (found, newest) = self.database.read(|connection| {
            if change::hash_of(connection, last.number)? != Some(last.hash) {
                return Err(TransactionError::from(StoreError::RolledBack {
                    path: path.to_owned(),
                    seen: last.number,
                }));
            }
            change::since(connection, last, CHANGES_PER_POLL)
        })?;
        self.last = newest;
        self.ends.next = None;
        self.read_at = (found.len() < CHANGES_PER_POLL as usize).then_some(version);
        Ok(found)
    }

    /// The keys that have ended by themselves since the last call; `None` where none has, which costs a comparison. `now` is
    /// the record's clock. If it was set back, all keys are looked at again.
    ///
    /// If this fails, nothing is known of what has ended: drop everything that was read before.
    pub fn poll_ends(&mut self, now: Timestamp) -> Result<Option<KeysEnded>, StoreError> {
        let was_set_back = now.duration_until(self.ends.until) > CLOCK_CORRECTION;
        if was_set_back {
            self.ends = EndsSeen { until: now, next: None };
        }
        let next = match self.ends.next {
            Some(next) => next,
            None => *self.ends.next.insert(
                self.database.read(|at| key_ends::next_end(at, self.ends.until))?.unwrap_or(Timestamp::MAX),
            ),
        };
        if next > now && !was_set_back {
            return Ok(None);
        }
        let subjects = if was_set_back {
            vec![Subject::Everything]
        } else {
            let found =
                self.database.read(|at| key_ends::ended_between(at, self.ends.until, now, ENDS_PER_POLL))?;
            if found.len() < ENDS_PER_POLL as usize { found } else { vec![Subject::Everything] }
        };
        self.ends = EndsSeen { until: now, next: None };
        let change = |subject| Change { number: self.last.number, subject, action: "expire".to_owned() };
        Ok(Some(KeysEnded { until: now, changes: subjects.into_iter().map(change).collect() }))
    }
}

/// A change in a file of the store. Numbers of two files cannot be compared: the second file may hold an earlier state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StorePosition {
    /// Which file.
    pub file: FileId,
    /// The newest change in it.
    pub number: ChangeNumber,
}

impl StorePosition {
    /// Whether this is the same change as `other`, or a later one in the same file.
    pub fn includes(self, other: Self) -> bool {
        self.file == other.file && self.number >= other.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_two_files_are_not_compared() {
        let at = |file, number| StorePosition { file: FileId(0, file), number: ChangeNumber(number) };
        assert!(at(1, 7).includes(at(1, 7)) && at(1, 8).includes(at(1, 7)));
        assert!(!at(1, 6).includes(at(1, 7)));
        assert!(!at(1, 8).includes(at(2, 7)), "the second file may hold an earlier state");
    }
}
