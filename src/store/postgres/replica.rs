//! This gateway's replica of the record: made, kept up to date, and made anew where it cannot be trusted.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join;
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::delta::{self, Standing};
use super::link::{Link, PATIENCE};
use super::{Record, copy, gateways, migrations, notes};
use crate::config::Postgres;
use crate::model::KeyId;
use crate::store::boot::{self, BootTime};
use crate::store::change::{self, ChangeNumber, Head};
use crate::store::database::{Database, Purpose};
use crate::store::delta::Place;
use crate::store::error::Fault;
use crate::store::forgotten::Forgotten;
use crate::store::{Fingerprint, KeyUse, LeaseState, Position, Store, StoreError};

/// What a gateway keeps of the record, and its connection to it. Its methods block.
#[derive(Debug)]
pub struct Replica {
    postgres: Postgres,
    link: Option<Link>,
    database: Database,
    /// This gateway's row in the record.
    id: String,
    name: String,
    lease: Duration,
}

/// How far the replica has come.
#[derive(Debug, Clone, Copy)]
pub struct Reached {
    /// The newest change that it holds, and in which file.
    pub position: Position,
    head: Head,
}

/// What ends a wait for news.
#[derive(Debug)]
pub enum Woken<T> {
    /// The record announced a change, or somebody may have made one, or the time is up.
    Look,
    /// This was sent.
    Told(T),
    /// The sender is gone.
    Ended,
}

impl Replica {
    /// Opens the replica and brings it up to date. Where the record is away, a replica that is there is used as it
    /// is; what it holds may be acted on until [`Replica::remembered_lease`].
    pub fn open(
        postgres: &Postgres,
        name: &str,
        lease: Duration,
        report: &mut dyn FnMut(&str),
    ) -> Result<Self, StoreError> {
        let id = Uuid::new_v4().simple().to_string();
        let (link, database, away) = open(postgres, report)?;
        if let Some(error) = away {
            tracing::error!(%error, "starting from the replica alone");
        }
        Ok(Self { postgres: postgres.clone(), link, database, id, name: name.to_owned(), lease })
    }

    /// Whether the record was reached.
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Until when what the replica holds may be acted on, as it was last written down: in the past after a restart of
    /// the machine.
    pub fn remembered_lease(&self) -> Result<BootTime, StoreError> {
        self.database.read(|connection| {
            let (boot, until): (String, i64) =
                connection.query_row("SELECT boot, lease_until FROM replica", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            Ok(LeaseState::remembered(BootTime(until.cast_unsigned()), &boot, boot::id()))
        })
    }

    /// Writes down until when what the replica holds may be acted on.
    pub fn remember_lease(&mut self, until: BootTime) -> Result<(), StoreError> {
        self.database.write(|connection| {
            connection
                .prepare_cached("UPDATE replica SET boot = ?1, lease_until = ?2")?
                .execute((boot::id(), until.0.cast_signed()))?;
            Ok(())
        })
    }

    /// Asks the record for its newest change and brings the replica up to it.
    pub fn look(&mut self) -> Result<Reached, StoreError> {
        let mut link = self.connected()?;
        let Self { database, postgres, .. } = self;
        bring_up(&mut link, database, postgres, &mut |progress| tracing::info!("{progress}"))?;
        self.link = Some(link);
        let head = self.database.read(change::head)?;
        // the one that was read: another may have taken its place since, and numbers of two cannot be compared
        let file = self.database.file();
        Ok(Reached { position: Position { file, number: head.number }, head })
    }

    /// Extends this gateway's lease in the record; to be followed by [`Replica::look`]: in this order, so that a
    /// change is either seen here, or its author sees the lease.
    pub fn renew(&mut self) -> Result<(), StoreError> {
        let mut link = self.connected()?;
        // where it has no row any more it has applied what it says at the next acknowledgement
        let lease = LeaseState::in_record(self.lease);
        gateways::renew(&mut link, &self.id, &self.name, ChangeNumber(0), lease)?;
        self.link = Some(link);
        Ok(())
    }

    /// Tells the record that all that was reached is in force here.
    pub fn acknowledge(&mut self, reached: Reached) -> Result<(), StoreError> {
        let mut link = self.connected()?;
        gateways::acknowledge(&mut link, &self.id, reached.head)?;
        self.link = Some(link);
        Ok(())
    }

    /// Gives the record what this gateway noted, and takes what the others did.
    pub fn exchange_notes(
        &mut self,
        uses: &[KeyUse],
        fingerprints: &[(KeyId, Fingerprint)],
    ) -> Result<(), StoreError> {
        let mut link = self.connected()?;
        notes::exchange(&mut link, &mut self.database, uses, fingerprints)?;
        self.link = Some(link);
        Ok(())
    }

    /// Waits until the record announces a change, something is told, or the time is up.
    pub fn wait<T>(&mut self, told: &mut mpsc::UnboundedReceiver<T>, at_most: Duration) -> Woken<T> {
        let Some(link) = &mut self.link else {
            // without a connection nothing is announced
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let Ok(runtime) = runtime else {
                std::thread::sleep(at_most);
                return Woken::Look;
            };
            return runtime.block_on(async {
                tokio::select! {
                    told = told.recv() => told.map_or(Woken::Ended, Woken::Told),
                    () = tokio::time::sleep(at_most) => Woken::Look,
                }
            });
        };
        let Link { runtime, notices, .. } = link;
        runtime.block_on(async {
            tokio::select! {
                told = told.recv() => told.map_or(Woken::Ended, Woken::Told),
                notice = notices.recv() => {
                    // one look sees what all of them announce
                    while notice.is_some() && notices.try_recv().is_ok() {}
                    if notice.is_none() {
                        // the connection has ended: no need to hurry
                        tokio::time::sleep(at_most).await;
                    }
                    Woken::Look
                }
                () = tokio::time::sleep(at_most) => Woken::Look,
            }
        })
    }

    /// Takes this gateway's row out of the record: after its last request.
    pub fn leave(&mut self) -> Result<(), StoreError> {
        // first: nobody waits any more for what a restart would do within the lease that it remembers
        self.remember_lease(BootTime::default())?;
        let mut link = self.connected()?;
        gateways::leave(&mut link, &self.id)
    }

    /// The connection, for one question: whoever asks puts it back when all went well.
    fn connected(&mut self) -> Result<Link, StoreError> {
        if let Some(link) = self.link.take().filter(|link| !link.is_closed()) {
            return Ok(link);
        }
        let mut link = migrations::connect(&self.postgres)?;
        identify(&mut link, &self.database, &self.postgres)?;
        listen(&mut link)?;
        Ok(link)
    }
}

/// Why a replica cannot go on from where it is.
pub(super) enum Unfollowable {
    Store(StoreError),
    /// It must be made anew, for this reason.
    Gone(String),
}

impl From<StoreError> for Unfollowable {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } | StoreError::Missing { .. } => Self::Gone(error.to_string()),
            error => Self::Store(error),
        }
    }
}

/// Has the record's announcements come in on this connection.
fn listen(link: &mut Link) -> Result<(), StoreError> {
    link.within(PATIENCE, async |client| Ok(client.batch_execute("LISTEN portcullis_changes").await?))
}

/// Opens or makes the replica, and brings it up to the record.
fn prepare(
    link: &mut Link,
    postgres: &Postgres,
    report: &mut dyn FnMut(&str),
) -> Result<Database, StoreError> {
    let mut database = match open_file(postgres) {
        Ok(database) => database,
        Err(StoreError::Missing { .. }) => {
            report("copying the record into a new replica");
            rebuild(link, postgres, report)?
        }
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(%error, "the replica is made anew from the record");
            rebuild(link, postgres, report)?
        }
        Err(error) => return Err(error),
    };
    identify(link, &database, postgres)?;
    bring_up(link, &mut database, postgres, report)?;
    listen(link)?;
    Ok(database)
}

/// Brings the replica up to the record, or makes it anew, once: what cannot be followed even then is an error.
fn bring_up(
    link: &mut Link,
    database: &mut Database,
    postgres: &Postgres,
    report: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    let why = match catch_up(link, database, postgres) {
        Ok(_) => return Ok(()),
        Err(Unfollowable::Store(error)) => return Err(error),
        Err(Unfollowable::Gone(why)) => why,
    };
    tracing::error!("{why}: the replica is made anew from the record");
    *database = rebuild(link, postgres, report)?;
    // where another process has made it anew meanwhile, that one may lack the newest
    match catch_up(link, database, postgres) {
        Ok(_) => Ok(()),
        Err(Unfollowable::Store(error)) => Err(error),
        Err(Unfollowable::Gone(detail)) => {
            Err(StoreError::RecordAway { record: link.record().to_owned(), detail })
        }
    }
}

/// Connects to the record and brings the replica up to it. Where the record is away, the replica is opened as it is,
/// and why comes last.
pub(super) fn open(
    postgres: &Postgres,
    report: &mut dyn FnMut(&str),
) -> Result<(Option<Link>, Database, Option<StoreError>), StoreError> {
    match migrations::connect(postgres) {
        Ok(mut link) => {
            let database = prepare(&mut link, postgres, report)?;
            Ok((Some(link), database, None))
        }
        Err(error @ StoreError::RecordAway { .. }) => match open_file(postgres) {
            Ok(database) => Ok((None, database, Some(error))),
            // without a replica there is nothing to go by
            Err(StoreError::Missing { .. }) => Err(error),
            Err(other) => Err(other),
        },
        Err(error) => Err(error),
    }
}

/// The replica as it is.
fn open_file(postgres: &Postgres) -> Result<Database, StoreError> {
    let path = &postgres.replica;
    let mut database = Database::open(path, Purpose::Replica)?;
    database.migrate()?;
    database.check()?;
    if record_of(&database)?.is_none() {
        return Err(StoreError::ForeignReplica { path: path.clone(), record: postgres.shown() });
    }
    Ok(database)
}

fn record_of(database: &Database) -> Result<Option<String>, StoreError> {
    database.read(|connection| {
        Ok(connection.query_row("SELECT record FROM replica", [], |row| row.get(0)).optional()?)
    })
}

fn record_id(link: &mut Link) -> Result<String, StoreError> {
    link.within(PATIENCE, async |client| {
        Ok(client.query_typed_one("SELECT id FROM record", &[]).await?.try_get(0)?)
    })
}

/// Refuses a replica of another record.
fn identify(link: &mut Link, database: &Database, postgres: &Postgres) -> Result<(), StoreError> {
    if record_of(database)? == Some(record_id(link)?) {
        return Ok(());
    }
    Err(StoreError::ForeignReplica { path: postgres.replica.clone(), record: postgres.shown() })
}

/// Applies what the record has more than the replica; the newest change then.
pub(super) fn catch_up(
    link: &mut Link,
    database: &mut Database,
    postgres: &Postgres,
) -> Result<ChangeNumber, Unfollowable> {
    loop {
        let since = database.read(Place::of)?;
        // nearly always there is nothing new: then this one question is all, and a record that is away is noticed soon
        if link.within(PATIENCE, async |client| delta::place(client, false).await)? == since {
            return Ok(since.head.number);
        }
        let standing = link.within(6 * PATIENCE, async |client| {
            let beginning = client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
            // both leave at once, in this order
            let (begun, to) = join(beginning, delta::place(client, false)).await;
            begun?;
            let standing = delta::compare_with(client, since, to?).await?;
            client.batch_execute("COMMIT").await?;
            Ok(standing)
        })?;
        match standing {
            Standing::Current => return Ok(since.head.number),
            // somebody else may have applied it meanwhile: either way the next look tells
            Standing::Behind(delta) => {
                database.write(|connection| delta.apply(connection))?;
            }
            Standing::FarBehind => {
                return Err(Unfollowable::Gone(format!(
                    "the replica at {} is too far behind the record",
                    postgres.replica.display()
                )));
            }
            Standing::Ahead => {
                // leases may have been lost with it
                gateways::doubt(link)?;
                return Err(Unfollowable::Gone(format!(
                    "the record at {} has been put back to an earlier state: change {} was seen here, and is not in \
                     it any more",
                    postgres.shown(),
                    since.head.number
                )));
            }
        }
    }
}

/// Copies the record into a new file, writes back what it forgot of deactivations, and puts the file in the replica's
/// place: in this order, so that what the old one knows is there until the record knows it again. Who has the old one
/// open goes on with that until the next question.
///
/// A command on this machine may do the same meanwhile. What was copied earlier must not take the place of what was
/// copied later, of which the record may know already that it is in force here: then the other one stays.
fn rebuild(
    link: &mut Link,
    postgres: &Postgres,
    report: &mut dyn FnMut(&str),
) -> Result<Database, StoreError> {
    let path = &postgres.replica;
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
        let lock = fs::File::create(beside(".lock"))?;
        lock.lock()?;
        if in_place(path) != there {
            remove(&file);
            return Ok(());
        }
        put_in_place(&file, path)?;
        if let (Some(old), _) = &there {
            remove(&path.parent().unwrap_or(Path::new("")).join(old));
        }
        Ok(())
    };
    swap().map_err(|source| StoreError::Io { path: path.clone(), source })?;
    Database::open(path, Purpose::Replica)
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

/// How long a file beside the replica is left alone that no rebuild can still be writing, or that somebody may read.
const ABANDONED: Duration = Duration::from_hours(1);

/// Removes what was left behind by copies that were cut off, as when the gateway was killed: files and links beside the
/// replica that carry its name and an id, and that nobody has touched for long.
fn remove_abandoned(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let current = fs::read_link(path).ok().and_then(|link| link.file_name()?.to_str().map(str::to_owned));
    // without the rights to look there is nothing to tidy up
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        let is_copy = file
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('.')?.split_at_checked(32))
            .is_some_and(|(id, rest)| {
                Uuid::try_parse(id).is_ok() && ["", "-wal", "-shm", "-journal", ".link"].contains(&rest)
            });
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
