//! Rebuilds a replica from the record, in place of one that cannot be trusted.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use uuid::Uuid;

use super::connection::RecordConnection;
use super::replica::record_id;
use super::{Record, full_copy};
use crate::config::Postgres;
use crate::store::change::{self, ChangeHead};
use crate::store::database::{Database, OpenMode};
use crate::store::error::TransactionError;
use crate::store::file_owner::give_to_owner_of_folder;
use crate::store::lost_revocations::LostRevocations;
use crate::store::{Store, StoreError};

/// Copies the record into a new file, reapplies revocations that the record has lost, and puts the file in the replica's
/// place. In this order the old replica, which knows the revocations, stays until the record has them again. Connections to
/// the old one go on with it until their next query.
///
/// A command on this machine may do the same meanwhile. An earlier copy must not replace a later one, of which the record
/// may know already that it is applied here: then the later one stays.
pub(super) fn rebuild(
    link: &mut RecordConnection,
    postgres: &Postgres,
    on_progress: &mut dyn FnMut(&str),
) -> Result<Database, StoreError> {
    let path = &postgres.replica;
    if !may_be_replaced(path) {
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
    let there = current_file(path);
    let made =
        copy_record(link, &file, path, on_progress).and_then(|()| reapply_lost_revocations(&file, postgres));
    if let Err(error) = made {
        remove(&file);
        return Err(error);
    }
    let swap = || -> io::Result<()> {
        // held for a moment, and let go with the file
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside(".lock"))?;
        give_to_owner_of_folder(&lock, path)?;
        lock.lock()?;
        if current_file(path) != there {
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
    Database::open(path, OpenMode::Replica)
}

/// Whether a replica may be put at this path: it is free, or has an empty file, or a replica that we made, even a damaged
/// one. Any other file was put there by somebody who has mistaken the path, and is not ours to replace.
fn may_be_replaced(path: &Path) -> bool {
    let is_empty = match fs::metadata(path) {
        Ok(metadata) => metadata.is_file() && metadata.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    is_empty
        || fs::read_link(path).is_ok_and(|file| is_copy(path, &file))
        // a copy of one, such as a restored backup
        || Database::open(path, OpenMode::ReadOnly).is_ok_and(|database| database.is_replica())
}

/// The file that has the replica's name, and the newest change in it, if that can be read.
fn current_file(path: &Path) -> (Option<PathBuf>, Option<ChangeHead>) {
    let head = Database::open(path, OpenMode::ReadOnly).and_then(|database| database.read(change::head));
    (fs::read_link(path).ok(), head.ok())
}

/// Reapplies, in the record and the new file, the revocations that the old replica has and the record has lost. Before the
/// new file takes the old one's place: if this fails, the old one still has them.
fn reapply_lost_revocations(file: &Path, postgres: &Postgres) -> Result<(), StoreError> {
    let old = match Database::open(&postgres.replica, OpenMode::ReadOnly) {
        Ok(old) => old,
        // there is no old replica
        Err(StoreError::Missing { .. }) => return Ok(()),
        Err(error) => {
            tracing::warn!(%error, "what the old replica knew cannot be read");
            return Ok(());
        }
    };
    let lost = match LostRevocations::between(&old, &Database::open(file, OpenMode::ReadOnly)?) {
        Ok(lost) if lost.is_empty() => return Ok(()),
        Ok(lost) => lost,
        Err(error) => {
            tracing::warn!(%error, "what the old replica knew cannot be read");
            return Ok(());
        }
    };
    tracing::error!(
        count = lost.len(),
        "the record has forgotten deactivations and removals: they are made again"
    );
    let record = Record::new(postgres.clone(), None);
    lost.reapply(&mut Store::with_replica(Database::open(file, OpenMode::Replica)?, record))
}

fn copy_record(
    link: &mut RecordConnection,
    file: &Path,
    path: &Path,
    on_progress: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    let record = record_id(link)?;
    let mut database = Database::create(file, path)?;
    full_copy::copy_from_record(link, &mut database, on_progress)?;
    database.write(|connection: &Connection| -> Result<(), TransactionError> {
        connection.execute("INSERT INTO replica (only_row, record) VALUES (1, ?1)", [record])?;
        Ok(())
    })?;
    database.close()
}

/// Gives the replica's name to a file, atomically. The name is a symbolic link, so that a new file is never opened with an
/// old write-ahead log.
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

/// After so long without a write, a file beside the replica is no longer part of a rebuild, and nobody reads it.
const ABANDONED: Duration = Duration::from_hours(1);

/// Removes what unfinished copies have left behind, of a gateway that was killed for example: files and links beside the
/// replica that have its name and an id, and that nobody has written to for long.
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
