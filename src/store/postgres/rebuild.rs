//! Making a replica anew from the record, in the place of one that cannot be trusted.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use uuid::Uuid;

use super::link::Link;
use super::replica::record_id;
use super::{Record, copy};
use crate::config::Postgres;
use crate::store::change::{self, Head};
use crate::store::database::{Database, Purpose};
use crate::store::error::Fault;
use crate::store::forgotten::Forgotten;
use crate::store::{Store, StoreError};

/// Copies the record into a new file, writes back what it forgot of deactivations, and puts the file in the replica's
/// place: in this order, so that what the old one knows is there until the record knows it again. Who has the old one
/// open goes on with that until the next question.
///
/// A command on this machine may do the same meanwhile. What was copied earlier must not take the place of what was
/// copied later, of which the record may know already that it is in force here: then the other one stays.
pub(super) fn rebuild(
    link: &mut Link,
    postgres: &Postgres,
    report: &mut dyn FnMut(&str),
) -> Result<Database, StoreError> {
    let path = &postgres.replica;
    if !is_free(path) {
        return Err(StoreError::ForeignReplica {
            path: path.clone(),
            record: postgres.server_and_database(),
        });
    }
    remove_abandoned(path);
    let beside = |name: &str| {
        let mut file = path.as_os_str().to_owned();
        file.push(name);
        PathBuf::from(file)
    };
    let file = beside(&format!(".{}", Uuid::new_v4().simple()));
    let there = in_place(path);
    let made = make(link, &file, path, report).and_then(|()| remember(&file, postgres));
    if let Err(error) = made {
        remove(&file);
        return Err(error);
    }
    let swap = || -> io::Result<()> {
        // held for a moment, and let go with the file
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside(".lock"))?;
        lock.lock()?;
        if in_place(path) != there {
            remove(&file);
            return Ok(());
        }
        put_in_place(&file, path)?;
        if let (Some(old), _) = &there
            && is_copy(path, old)
        {
            remove(&path.parent().unwrap_or(Path::new("")).join(old));
        }
        Ok(())
    };
    swap().map_err(|source| {
        // it is tried again soon: each try would leave a whole copy on the disk
        remove(&file);
        StoreError::Io { path: path.clone(), source }
    })?;
    Database::open(path, Purpose::Replica)
}

/// Whether a replica may have this name: nothing has it, or a file without content, or a replica that we made, however
/// damaged. Whatever else has it was put there by somebody who has mistaken the path, and is not ours to replace.
fn is_free(path: &Path) -> bool {
    let is_empty = match fs::metadata(path) {
        Ok(metadata) => metadata.is_file() && metadata.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    is_empty
        || fs::read_link(path).is_ok_and(|file| is_copy(path, &file))
        // a copy of one, such as a backup that was put back
        || Database::open(path, Purpose::Reading).is_ok_and(|database| database.is_replica())
}

/// Which file has the replica's name, and how far it goes, where that can be read.
fn in_place(path: &Path) -> (Option<PathBuf>, Option<Head>) {
    let head = Database::open(path, Purpose::Reading).and_then(|database| database.read(change::head));
    (fs::read_link(path).ok(), head.ok())
}

/// Makes again in the record, by way of the new file, what the old replica knew of deactivations and the record has
/// forgotten. Before the new one takes its place: where this fails, the old one still knows.
fn remember(file: &Path, postgres: &Postgres) -> Result<(), StoreError> {
    let old = match Database::open(&postgres.replica, Purpose::Reading) {
        Ok(old) => old,
        // a file that is not there tells nothing
        Err(StoreError::Missing { .. }) => return Ok(()),
        Err(error) => {
            tracing::warn!(%error, "what the old replica knew cannot be read");
            return Ok(());
        }
    };
    let forgotten = match Forgotten::between(&old, &Database::open(file, Purpose::Reading)?) {
        Ok(forgotten) if forgotten.is_empty() => return Ok(()),
        Ok(forgotten) => forgotten,
        Err(error) => {
            tracing::warn!(%error, "what the old replica knew cannot be read");
            return Ok(());
        }
    };
    tracing::error!(
        count = forgotten.len(),
        "the record has forgotten deactivations and removals: they are made again"
    );
    let record = Record::new(postgres.clone(), None);
    forgotten.write_back(&mut Store::with_replica(Database::open(file, Purpose::Replica)?, record))
}

fn make(link: &mut Link, file: &Path, path: &Path, report: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
    let record = record_id(link)?;
    let mut database = Database::create(file, path)?;
    copy::read_into(link, &mut database, report)?;
    database.write(|connection: &Connection| -> Result<(), Fault> {
        connection.execute("INSERT INTO replica (only_row, record) VALUES (1, ?1)", [record])?;
        Ok(())
    })?;
    database.close()
}

/// Gives the replica's name to a file, at once: the name is a link, so that nobody ever meets a new file beside an old
/// write-ahead log.
fn put_in_place(file: &Path, path: &Path) -> io::Result<()> {
    let mut link = path.as_os_str().to_owned();
    link.push(format!(".{}.link", Uuid::new_v4().simple()));
    let target = file.file_name().map_or_else(|| file.to_owned(), PathBuf::from);
    symlink(target, &link)?;
    fs::rename(&link, path)
}

/// What follows the replica's name and an id in the name of a file that a copy has made; `None` for any other file.
fn rest_of_copy<'a>(path: &Path, file: &'a Path) -> Option<&'a str> {
    let name = path.file_name()?.to_str()?;
    let (id, rest) =
        file.file_name()?.to_str()?.strip_prefix(name)?.strip_prefix('.')?.split_at_checked(32)?;
    Uuid::try_parse(id).is_ok().then_some(rest)
}

/// Whether a file is a copy that was made for the replica's name.
fn is_copy(path: &Path, file: &Path) -> bool {
    rest_of_copy(path, file) == Some("")
}

/// How long a file beside the replica is left alone that no rebuild can still be writing, or that somebody may read.
const ABANDONED: Duration = Duration::from_hours(1);

/// Removes what was left behind by copies that were cut off, as when the gateway was killed: files and links beside the
/// replica that carry its name and an id, and that nobody has touched for long.
fn remove_abandoned(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let current = fs::read_link(path).ok().and_then(|link| link.file_name()?.to_str().map(str::to_owned));
    // without the rights to look there is nothing to tidy up
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        let is_copy = rest_of_copy(path, Path::new(file))
            .is_some_and(|rest| ["", "-wal", "-shm", "-journal", ".link"].contains(&rest));
        let is_old = || {
            let touched = entry.metadata().and_then(|metadata| metadata.modified());
            touched.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED))
        };
        let is_in_use = current.as_ref().is_some_and(|current| file.starts_with(current));
        if is_copy && !is_in_use && is_old() {
            tracing::info!(file, "removing what an unfinished copy of the record has left behind");
            // of no harm where it stays
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn remove(file: &Path) {
    for beside in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(beside);
        // of no use any more, and of no harm where it stays
        let _ = fs::remove_file(name);
    }
}
