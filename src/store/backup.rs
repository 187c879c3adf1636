//! Backups of a store: made while it is in use, and restored.
//!
//! A copy is made by `VACUUM INTO`, not by SQLite's backup interface. It reads one state in one transaction, whatever
//! others write meanwhile; the interface begins anew after every write of another process, and gateways save the uses of
//! keys every few seconds. It also leaves out deleted rows, whose remains the interface copies, and no writer waits for it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::database::{self, Database, OpenMode};
use super::lost_revocations::LostRevocations;
use super::{ChangeNumber, Store, StoreError, change, gateways};

/// How often a long copy reports its progress.
const PROGRESS: Duration = Duration::from_secs(2);

/// How often a running copy is looked at.
const POLL: Duration = Duration::from_millis(20);

/// A copy that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// The newest change in it.
    pub change: ChangeNumber,
    /// Its size.
    pub bytes: u64,
}

/// What a restore has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The newest change in the store now.
    pub change: ChangeNumber,
    /// How many changes are lost.
    pub lost: u64,
    /// How many deactivations, removals and lesser roles among them were reapplied.
    pub reapplied: usize,
}

impl Store {
    /// Copies the store, or replica, at `from` into the file `to`, which gets its name when the copy is whole, checked,
    /// and on the disk. A copy of a replica is a store of its own.
    pub fn backup(
        from: &Path,
        to: &Path,
        overwrite: bool,
        report: &mut dyn FnMut(&str),
    ) -> Result<Backup, StoreError> {
        if to.exists() {
            if database::file_at(to)? == database::file_at(from)? {
                return Err(refused(format!("{} is the store itself", to.display())));
            }
            if !overwrite {
                return Err(StoreError::Exists { path: to.to_owned() });
            }
        }
        refuse_log(to)?;
        let unfinished = with_suffix(to, &format!(".{}.unfinished", Uuid::new_v4().simple()));
        let mut make = || {
            let copy = copy(from, &unfinished, to, report)?;
            let change = copy.read(change::head)?.number;
            copy.close()?;
            let bytes = fs::metadata(&unfinished).map_err(|source| io_at(to, source))?.len();
            if overwrite {
                put_in_place(&unfinished, to)?;
            } else {
                database::publish(&unfinished, to)?;
            }
            Ok(Backup { change, bytes })
        };
        make().inspect_err(|_| remove_all(&unfinished))
    }

    /// Puts a copy of `from` in the place of the embedded store at `path`, which nothing may have open.
    ///
    /// If that store has changes that the copy lacks, this is refused, unless `discard_newer` is set. Then the revocations
    /// among them are reapplied, so that no key works again.
    pub fn restore(
        path: &Path,
        from: &Path,
        discard_newer: bool,
        report: &mut dyn FnMut(&str),
    ) -> Result<Restored, StoreError> {
        // what has the name may be a link
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if path.exists() {
            if database::file_at(path)? == database::file_at(from)? {
                return Err(refused(format!("{} is the store itself", from.display())));
            }
            refuse_running(path)?;
        }
        let unfinished = with_suffix(path, &format!(".{}.unfinished", Uuid::new_v4().simple()));
        let mut make = || {
            // a copy would pass even if its source were damaged: VACUUM rebuilds the indexes
            Database::open(from, OpenMode::ReadOnly)?.check_integrity()?;
            let copy = copy(from, &unfinished, path, report)?;
            let restored = prepare_replacement(path, copy, discard_newer)?;
            if let Ok(old) = fs::metadata(path) {
                keep_owner(&unfinished, &old).map_err(|source| io_at(path, source))?;
            }
            // of what is not there any more, or is damaged: a log must never be read with another file
            for name in ["-wal", "-shm"] {
                match fs::remove_file(with_suffix(path, name)) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(io_at(path, source));
                    }
                    _ => {}
                }
            }
            put_in_place(&unfinished, path)?;
            Ok(restored)
        };
        make().inspect_err(|_| remove_all(&unfinished))
    }
}

/// Copies a store into a new file, readable by its owner only, and checks the copy whole. Errors of the copy speak of
/// `to`, the name that it is to have.
fn copy(
    from: &Path,
    unfinished: &Path,
    to: &Path,
    report: &mut dyn FnMut(&str),
) -> Result<Database, StoreError> {
    // it reads only, but to SQLite making another file is writing
    let source = Database::open(from, OpenMode::Relaxed)?;
    let whole = fs::metadata(from).map_err(|source| io_at(from, source))?.len();
    database::create_file(unfinished, to)?;
    let begun = Instant::now();
    thread::scope(|scope| {
        let copying = scope.spawn(move || {
            source.copy_into(unfinished)?;
            source.close()
        });
        let mut told = begun;
        while !copying.is_finished() {
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let done = fs::metadata(unfinished).map_or(0, |metadata| metadata.len());
                report(&format!("copied {} of {} MiB", done >> 20, whole >> 20));
            }
            thread::sleep(POLL);
        }
        // an error means that it panicked
        copying.join().unwrap_or(Err(StoreError::Closed))
    })?;
    if begun.elapsed() >= PROGRESS {
        report("checking the copy");
    }
    let mut copy = Database::open(unfinished, OpenMode::Durable)?;
    copy.enable_wal()?;
    copy.migrate()?;
    copy.write(|connection| {
        // leases are of the gateways that serve from the other file, and a replica's record is not this one's
        Ok(connection.execute_batch("DELETE FROM gateways; DELETE FROM replica")?)
    })?;
    copy.check_integrity()?;
    Ok(copy)
}

/// Prepares the copy to take the place of the store at `path`: what is lost is counted, and revocations are reapplied.
fn prepare_replacement(path: &Path, copy: Database, discard_newer: bool) -> Result<Restored, StoreError> {
    let mut lost = 0;
    let mut lost_revocations = LostRevocations::default();
    match take_alone(path) {
        Ok(Some(current)) => {
            let head = current.read(change::head)?;
            lost = head.number.0 - last_common(&current, &copy)?;
            if lost > 0 && !discard_newer {
                return Err(refused(format!(
                    "the store at {} has {lost} changes that the copy lacks, up to change {}: with --discard-newer they \
                     are lost, but for what they took away",
                    path.display(),
                    head.number
                )));
            }
            lost_revocations = LostRevocations::between(&current, &copy)?;
            current.close()?;
        }
        Err(error @ StoreError::Damaged { .. }) if !discard_newer => {
            return Err(refused(format!(
                "{error}; whether it has changes that the copy lacks cannot be told: with --discard-newer it is replaced"
            )));
        }
        // nothing is there, or nothing of use
        Ok(None) | Err(StoreError::Damaged { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut store = Store::with_database(copy);
    if !lost_revocations.is_empty() {
        lost_revocations.reapply(&mut store)?;
    }
    let change = store.head()?;
    store.database.close()?;
    Ok(Restored { change, lost, reapplied: lost_revocations.len() })
}

/// The newest change that is the same in both.
fn last_common(one: &Database, other: &Database) -> Result<u64, StoreError> {
    let newest = one.read(change::head)?.number.min(other.read(change::head)?.number);
    let hash = |database: &Database, number| database.read(|at| change::hash_of(at, ChangeNumber(number)));
    change::last_common_change(newest, |number| {
        let here = hash(one, number)?;
        Ok(here.is_some() && here == hash(other, number)?)
    })
}

/// Opens the store at `path` for this process alone; `None` where there is none.
fn take_alone(path: &Path) -> Result<Option<Database>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    refuse_running(path)?;
    let opened = Database::open(path, OpenMode::Exclusive).and_then(|mut current| {
        current.migrate()?;
        current.check_integrity()?;
        Ok(current)
    });
    match opened {
        Err(StoreError::Locked { .. }) => Err(refused(format!(
            "another process has the store at {path} open: end it first (`fuser {path}` names it)",
            path = path.display()
        ))),
        Ok(current) if current.is_replica() => Err(StoreError::IsReplica { path: path.to_owned() }),
        opened => opened.map(Some),
    }
}

/// Refuses if a gateway serves from the store. If the store cannot be read, this is not known.
fn refuse_running(path: &Path) -> Result<(), StoreError> {
    let listed = Database::open(path, OpenMode::ReadOnly).and_then(|current| current.read(gateways::list));
    let names: Vec<_> = match listed {
        Ok(listed) => {
            listed.entries.into_iter().filter(|gateway| gateway.is_live).map(|it| it.name).collect()
        }
        Err(error @ (StoreError::ReadOnly { .. } | StoreError::Io { .. })) => return Err(error),
        // reported when the store is to be replaced
        Err(_) => return Ok(()),
    };
    if names.is_empty() {
        return Ok(());
    }
    let (path, names) = (path.display(), names.join(", "));
    Err(refused(format!("the store at {path} is in use by {names}: stop the gateway first")))
}

/// Refuses a name that has a write-ahead log: SQLite would take it for the new file's.
fn refuse_log(path: &Path) -> Result<(), StoreError> {
    let log = with_suffix(path, "-wal");
    if log.exists() {
        return Err(refused(format!(
            "{} belongs to a file that is, or was, at {}: choose another name, or close what has it open",
            log.display(),
            path.display()
        )));
    }
    Ok(())
}

/// Gives the finished file `from` the name `to`, in place of what has it, and waits until the directory says so.
fn put_in_place(from: &Path, to: &Path) -> Result<(), StoreError> {
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::rename(from, to).and_then(|()| File::open(directory)?.sync_all()).map_err(|source| io_at(to, source))
}

/// A gateway that runs as another user must be able to open what takes the place of its store.
fn keep_owner(file: &Path, old: &fs::Metadata) -> io::Result<()> {
    let new = fs::metadata(file)?;
    if (new.uid(), new.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    chown(file, Some(old.uid()), Some(old.gid()))
}

fn with_suffix(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn remove_all(unfinished: &Path) {
    for ending in ["", "-wal", "-shm", "-journal"] {
        // of no value: it never had a name that anyone looks for
        let _ = fs::remove_file(with_suffix(unfinished, ending));
    }
}

fn refused(why: String) -> StoreError {
    StoreError::Refused(why)
}

fn io_at(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source }
}
