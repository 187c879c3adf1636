//! Notices what other programs do to the files of an embedded store that is in use: another file in its place, its
//! write-ahead log or that log's index removed or cut short, bytes written into it (`cp` over it).
//!
//! SQLite notices none of this. It goes on with the file that it has opened, and trusts what it has in memory of it; a
//! command that opens the same name gets other files, and other locks. What one of the two writes the other never sees.
//!
//! The store's own file is written by checkpoints alone, and each says so in the index before it begins and after it
//! has ended (`nBackfillAttempted`, `nBackfill`; <https://sqlite.org/walformat.html>). So a file that is another one
//! than at the last look, with an index that speaks of no checkpoint since, was written by somebody else.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::StoreError;
use super::database::{FileId, file_at};

/// Watches the files of an embedded store: are they still those that were opened?
#[derive(Debug)]
pub(super) struct FileWatch {
    path: PathBuf,
    file: FileId,
    beside: WalFiles,
    /// Never closed: that would take away the locks that SQLite holds on this file for the whole process.
    index: ManuallyDrop<File>,
    /// The store's own file at the last look: its length and when it was written.
    written: (u64, Option<SystemTime>),
    /// From before that look.
    progress: CheckpointProgress,
}

/// The write-ahead log and its index, which SQLite keeps beside a store in use. They stay the same files until the last
/// connection is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WalFiles {
    log: (PathBuf, FileId),
    index: (PathBuf, FileId),
}

impl WalFiles {
    /// The files of a store that has been read: then both exist.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        // SQLite puts them beside the file that a link leads to
        let path =
            fs::canonicalize(path).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        let beside = |end: &str| {
            let mut name = path.clone().into_os_string();
            name.push(end);
            let name = PathBuf::from(name);
            let id = file_at(&name)?;
            Ok::<_, StoreError>((name, id))
        };
        Ok(Self { log: beside("-wal")?, index: beside("-shm")? })
    }

    /// The first of them that is not there any more.
    pub(super) fn missing(&self) -> Option<&Path> {
        let gone = [&self.log, &self.index].into_iter().find(|(path, id)| file_at(path).ok() != Some(*id));
        gone.map(|(path, _)| path.as_path())
    }
}

/// The store's write-ahead log, if it is there and may hold what the file does not.
pub fn uncheckpointed_wal(path: &Path) -> Option<PathBuf> {
    let mut log = fs::canonicalize(path).ok()?.into_os_string();
    log.push("-wal");
    let log = PathBuf::from(log);
    fs::metadata(&log).is_ok_and(|log| log.len() > 0).then_some(log)
}

/// How far checkpoints have come, as the index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CheckpointProgress {
    /// Changes each time that the log begins anew.
    salt: [u8; 8],
    page_bytes: u64,
    /// In the log.
    frames: u32,
    /// Of these in the store's own file.
    done: u32,
    /// Of these to be in it when the last checkpoint that was begun has ended.
    begun: u32,
}

impl CheckpointProgress {
    /// Bytes of a log's and of a frame's head.
    const LOG_HEAD: u64 = 32;
    const FRAME_HEAD: u64 = 24;

    fn read(index: &File) -> io::Result<Self> {
        let mut bytes = [0; 136];
        index.read_exact_at(&mut bytes, 0)?;
        let number = |at: usize| {
            let mut number = [0; 4];
            number.copy_from_slice(&bytes[at..at + 4]);
            u32::from_ne_bytes(number)
        };
        let mut salt = [0; 8];
        salt.copy_from_slice(&bytes[32..40]);
        let page_bytes = match u16::from_ne_bytes([bytes[14], bytes[15]]) {
            1 => 65_536,
            bytes => u64::from(bytes),
        };
        Ok(Self { salt, page_bytes, frames: number(16), done: number(96), begun: number(128) })
    }

    /// Whether a checkpoint may have written to the store's own file since `before`, or still does.
    fn explains_writes_since(&self, before: &Self) -> bool {
        (self.salt, self.done, self.begun) != (before.salt, before.done, before.begun)
            || self.done < self.begun
    }

    /// How long the log is at least.
    fn log_bytes(&self) -> u64 {
        match u64::from(self.frames) {
            0 => 0,
            frames => Self::LOG_HEAD + frames * (Self::FRAME_HEAD + self.page_bytes),
        }
    }
}

impl FileWatch {
    /// For a store that has been read from this `file`.
    pub(super) fn new(path: &Path, file: FileId) -> Result<Self, StoreError> {
        let unusable = |source| StoreError::Io { path: path.to_owned(), source };
        let beside = WalFiles::of(path)?;
        let index = ManuallyDrop::new(File::open(&beside.index.0).map_err(unusable)?);
        let progress = CheckpointProgress::read(&index).map_err(unusable)?;
        let written = written(path)?;
        Ok(Self { path: path.to_owned(), file, beside, index, written, progress })
    }

    /// Fails if the files are not as SQLite has left them.
    pub(super) fn check(&mut self) -> Result<(), StoreError> {
        let path = || self.path.clone();
        if file_at(&self.path)? != self.file {
            return Err(StoreError::FileReplaced { path: path(), how: "replaced by another file" });
        }
        if let Some(gone) = self.beside.missing() {
            return Err(StoreError::LogLost { path: path(), file: gone.to_owned() });
        }
        let unusable = |source| StoreError::Io { path: path(), source };
        // the index before and after the files: what a checkpoint does in between is in one of the two
        let before = CheckpointProgress::read(&self.index).map_err(unusable)?;
        let written = written(&self.path)?;
        let log = fs::metadata(&self.beside.log.0).map_err(unusable)?;
        let after = CheckpointProgress::read(&self.index).map_err(unusable)?;
        if written != self.written && !after.explains_writes_since(&self.progress) {
            return Err(StoreError::FileReplaced { path: path(), how: "written to by another program" });
        }
        if before == after && log.len() < after.log_bytes() {
            return Err(StoreError::LogLost { path: path(), file: self.beside.log.0.clone() });
        }
        (self.written, self.progress) = (written, before);
        Ok(())
    }

    /// Whether somebody has put another log in place of this store's. SQLite would remove it at the end.
    pub(super) fn has_foreign_log(&self) -> bool {
        let (path, id) = &self.beside.log;
        fs::metadata(path).is_ok_and(|log| FileId(log.dev(), log.ino()) != *id && log.len() > 0)
    }
}

fn written(path: &Path) -> Result<(u64, Option<SystemTime>), StoreError> {
    match fs::metadata(path) {
        Ok(file) => Ok((file.len(), file.modified().ok())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(StoreError::FileDeleted { path: path.to_owned() })
        }
        Err(source) => Err(StoreError::Io { path: path.to_owned(), source }),
    }
}
