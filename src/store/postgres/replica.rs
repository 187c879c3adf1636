//! This gateway's replica of the record: created, kept up to date, and rebuilt if it cannot be trusted.

use std::time::Duration;

use futures_util::future::join;
use jiff::Timestamp;
use rusqlite::OptionalExtension as _;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::connection::{ANSWER_TIMEOUT, RecordConnection};
use super::delta::{self, ReplicaLag};
use super::migrations::IfEmpty;
use super::rebuild::rebuild;
use super::{gateways, migrations, uses_and_fingerprints};
use crate::config::Postgres;
use crate::store::boot_clock::{self, BootInstant};
use crate::store::change::{self, ChangeHead, ChangeNumber};
use crate::store::database::{Database, FileId, OpenMode, file_at};
use crate::store::delta::LogEnds;
use crate::store::file_watch::WalFiles;
use crate::store::{Fingerprint, KeyUse, LeaseState, RecordClock, SecretId, StoreError, StorePosition};

/// A gateway's replica, and its connection to the record. Its methods block.
#[derive(Debug)]
pub struct Replica {
    postgres: Postgres,
    link: Option<RecordConnection>,
    database: Database,
    /// The write-ahead log and its index, and the file that they belong to.
    wal_files: Option<(FileId, WalFiles)>,
    /// A damage that a reader has found, and the file that has it.
    damage: Option<(FileId, String)>,
    /// A change that was seen and that the record has lost, if this was reported to the record already.
    reported_rollback: Option<ChangeHead>,
    /// The record's id: the file may be damaged or gone when it is needed.
    record: String,
    /// This gateway's row in the record.
    id: String,
    name: String,
    lease: Duration,
    /// Learns the record's time when the lease is renewed.
    clock: RecordClock,
}

/// The newest change in the replica.
#[derive(Debug, Clone, Copy)]
pub struct ReplicaHead {
    /// Its number, and the replica's file.
    pub position: StorePosition,
    head: ChangeHead,
}

/// Why a wait has ended.
#[derive(Debug)]
pub enum Wakeup<T> {
    /// The record has announced a change, or the time is up: look at the record.
    CheckRecord,
    /// A message has come.
    Message(T),
    /// All senders of messages are gone.
    Disconnected,
}

impl Replica {
    /// Opens the replica and brings it up to date. If the record cannot be reached, an existing replica is used as it is: the
    /// gateway may act on it until [`Replica::saved_lease`].
    pub fn open(
        postgres: &Postgres,
        name: &str,
        lease: Duration,
        clock: RecordClock,
        on_progress: &mut dyn FnMut(&str),
    ) -> Result<Self, StoreError> {
        let id = Uuid::new_v4().simple().to_string();
        let (link, database, away) = open(postgres, on_progress)?;
        if let Some(error) = away {
            tracing::error!(%error, "starting from the replica alone");
        }
        let (postgres, name) = (postgres.clone(), name.to_owned());
        let record = record_id_of(&database, &postgres)?;
        // made anew as soon as the record answers
        let damage = is_outdated(&database)?.then(|| (database.file(), OUTDATED.to_owned()));
        Ok(Self {
            postgres,
            link,
            database,
            wal_files: None,
            damage,
            reported_rollback: None,
            record,
            id,
            name,
            lease,
            clock,
        })
    }

    /// Whether there is a connection to the record.
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// The end of the lease that is saved in the replica. After a restart of the machine it is in the past.
    pub fn saved_lease(&self) -> Result<BootInstant, StoreError> {
        self.database.read(|connection| {
            let (boot, until): (String, i64) =
                connection.query_row("SELECT boot, lease_until FROM replica", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            Ok(LeaseState::saved(BootInstant(until.cast_unsigned()), &boot, boot_clock::boot_id()))
        })
    }

    /// Saves the end of the lease in the replica.
    pub fn save_lease(&mut self, until: BootInstant) -> Result<(), StoreError> {
        self.database.write(|connection| {
            connection
                .prepare_cached("UPDATE replica SET boot = ?1, lease_until = ?2")?
                .execute((boot_clock::boot_id(), until.0.cast_signed()))?;
            Ok(())
        })
    }

    /// Brings the replica up to the record's newest change.
    pub fn catch_up(&mut self) -> Result<ReplicaHead, StoreError> {
        let mut link = self.take_connection()?;
        let unusable = self.why_unusable();
        let Self { database, postgres, reported_rollback, .. } = self;
        let on_progress = &mut |progress: &str| tracing::info!("{progress}");
        match unusable {
            Some(why) => {
                rebuild_and_catch_up(&why, &mut link, database, postgres, reported_rollback, on_progress)?;
            }
            None => catch_up_or_rebuild(&mut link, database, postgres, reported_rollback, on_progress)?,
        }
        self.link = Some(link);
        let head = self.database.read(change::head)?;
        // the one that was read: another may have taken its place since, and numbers of two cannot be compared
        let file = self.database.file();
        Ok(ReplicaHead { position: StorePosition { file, number: head.number }, head })
    }

    /// Reports that a file of this replica is damaged. If it is still in use, the next [`Replica::catch_up`] rebuilds it.
    pub fn report_damage(&mut self, file: FileId, why: String) {
        self.damage = Some((file, why));
    }

    /// Why the replica cannot be used any more, though this connection can still read it: a reader has found damage, or its
    /// write-ahead log or the index of that is gone. A command that opens the replica then gets new ones, and what it writes
    /// is not seen here.
    fn why_unusable(&mut self) -> Option<String> {
        let file = self.database.file();
        let path = self.database.path();
        if file_at(path).ok() != Some(file) {
            // rebuilt by another process: the next query goes to that file
            return None;
        }
        if let Some((of, why)) = self.damage.take()
            && of == file
        {
            return Some(why);
        }
        if let Some((of, wal_files)) = &self.wal_files
            && *of == file
        {
            return wal_files.missing().map(|gone| format!("{} was removed while in use", gone.display()));
        }
        self.wal_files = WalFiles::of(path).ok().map(|wal_files| (file, wal_files));
        None
    }

    /// Extends this gateway's lease in the record; call [`Replica::catch_up`] after it. In this order a
    /// change is either seen here, or its author sees the lease.
    pub fn renew(&mut self) -> Result<(), StoreError> {
        let mut link = self.take_connection()?;
        // if the row is gone, the next acknowledgement says what was applied
        let lease = LeaseState::in_record(self.lease);
        let asked = BootInstant::now();
        let told = gateways::renew(&mut link, &self.id, &self.name, ChangeNumber(0), lease)?;
        self.clock.learn(asked, told);
        self.link = Some(link);
        Ok(())
    }

    /// Tells the record that this gateway has applied everything up to there.
    pub fn acknowledge(&mut self, reached: ReplicaHead) -> Result<(), StoreError> {
        let mut link = self.take_connection()?;
        gateways::acknowledge(&mut link, &self.id, reached.head)?;
        self.link = Some(link);
        Ok(())
    }

    /// Sends this gateway's uses and fingerprints to the record, and reads those of the others. `saved_until`: these are all
    /// uses until then of keys with two secrets.
    pub fn exchange_uses_and_fingerprints(
        &mut self,
        uses: &[KeyUse],
        fingerprints: &[(SecretId, Fingerprint)],
        saved_until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut link = self.take_connection()?;
        let saved = saved_until.map(|until| (self.id.as_str(), until));
        uses_and_fingerprints::exchange(&mut link, &mut self.database, uses, fingerprints, saved)?;
        self.link = Some(link);
        Ok(())
    }

    /// Waits until the record announces a change, a message comes, or the time is up.
    pub fn wait<T>(&mut self, told: &mut mpsc::UnboundedReceiver<T>, at_most: Duration) -> Wakeup<T> {
        let Some(link) = &mut self.link else {
            // without a connection nothing is announced
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let Ok(runtime) = runtime else {
                std::thread::sleep(at_most);
                return Wakeup::CheckRecord;
            };
            return runtime.block_on(async {
                tokio::select! {
                    told = told.recv() => told.map_or(Wakeup::Disconnected, Wakeup::Message),
                    () = tokio::time::sleep(at_most) => Wakeup::CheckRecord,
                }
            });
        };
        let RecordConnection { runtime, notices, .. } = link;
        runtime.block_on(async {
            tokio::select! {
                told = told.recv() => told.map_or(Wakeup::Disconnected, Wakeup::Message),
                notice = notices.recv() => {
                    // one look finds all the changes
                    while notice.is_some() && notices.try_recv().is_ok() {}
                    if notice.is_none() {
                        // the connection has ended: no need to hurry
                        tokio::time::sleep(at_most).await;
                    }
                    Wakeup::CheckRecord
                }
                () = tokio::time::sleep(at_most) => Wakeup::CheckRecord,
            }
        })
    }

    /// Removes this gateway's row from the record and gives its lease up. Call it after the gateway's last request. If the
    /// record cannot be reached, both stay: receipts wait for the row, so a restarted gateway may act within the lease.
    pub fn deregister(&mut self) -> Result<(), StoreError> {
        let mut link = self.take_connection()?;
        // the lease is given up only after the record has answered
        check_record_id(&mut link, &self.record, &self.postgres)?;
        self.link = Some(link);
        // before the row is removed: after that no receipt waits for a gateway that restarts within the saved lease, and
        // the answer to the removal may be lost
        self.save_lease(BootInstant::default())?;
        self.remove_row()
    }

    /// Removes the row of a gateway that has not acted on anything. The lease that is saved in the replica is another
    /// gateway's, and stays.
    pub fn remove_row(&mut self) -> Result<(), StoreError> {
        let mut link = self.take_connection()?;
        gateways::remove(&mut link, &self.id)
    }

    /// Takes the connection, or opens a new one. The caller puts it back if all went well.
    fn take_connection(&mut self) -> Result<RecordConnection, StoreError> {
        if let Some(link) = self.link.take().filter(|link| !link.is_closed()) {
            return Ok(link);
        }
        let mut link = migrations::connect(&self.postgres, IfEmpty::Refuse)?;
        check_record_id(&mut link, &self.record, &self.postgres)?;
        listen(&mut link)?;
        Ok(link)
    }
}

/// Why the replica cannot catch up.
enum CatchUpError {
    Store(StoreError),
    /// It must be rebuilt, for this reason.
    MustRebuild(String),
}

impl From<StoreError> for CatchUpError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing { .. } => CatchUpError::MustRebuild(error.to_string()),
            StoreError::FileDeleted { path } => CatchUpError::MustRebuild(format!(
                "the replica at {} was deleted while in use",
                path.display()
            )),
            error if error.is_damage() => CatchUpError::MustRebuild(error.to_string()),
            error => Self::Store(error),
        }
    }
}

/// Listens to the record's notifications.
fn listen(link: &mut RecordConnection) -> Result<(), StoreError> {
    link.within(ANSWER_TIMEOUT, async |client| Ok(client.batch_execute("LISTEN portcullis_changes").await?))
}

/// Opens or builds the replica, and brings it up to the record.
fn open_and_catch_up(
    link: &mut RecordConnection,
    postgres: &Postgres,
    on_progress: &mut dyn FnMut(&str),
) -> Result<Database, StoreError> {
    let mut database = match open_file(postgres) {
        Ok(database) => database,
        Err(StoreError::Missing { .. }) => {
            on_progress("copying the record into a new replica");
            rebuild(link, postgres, on_progress)?
        }
        Err(error) if error.is_damage() => {
            tracing::error!(%error, "the replica is made anew from the record");
            rebuild(link, postgres, on_progress)?
        }
        Err(error) => return Err(error),
    };
    check_record_id(link, &record_id_of(&database, postgres)?, postgres)?;
    if is_outdated(&database)? {
        on_progress(OUTDATED);
        database = rebuild(link, postgres, on_progress)?;
    }
    catch_up_or_rebuild(link, &mut database, postgres, &mut None, on_progress)?;
    listen(link)?;
    Ok(database)
}

/// Brings the replica up to the record, or rebuilds it once. If that does not help, fails.
fn catch_up_or_rebuild(
    link: &mut RecordConnection,
    database: &mut Database,
    postgres: &Postgres,
    reported_rollback: &mut Option<ChangeHead>,
    on_progress: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    let why = match catch_up(link, database, postgres, reported_rollback) {
        Ok(_) => return Ok(()),
        Err(CatchUpError::Store(error)) => return Err(error),
        Err(CatchUpError::MustRebuild(why)) => why,
    };
    rebuild_and_catch_up(&why, link, database, postgres, reported_rollback, on_progress)
}

fn rebuild_and_catch_up(
    why: &str,
    link: &mut RecordConnection,
    database: &mut Database,
    postgres: &Postgres,
    reported_rollback: &mut Option<ChangeHead>,
    on_progress: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    tracing::error!("{why}: the replica is made anew from the record");
    *database = rebuild(link, postgres, on_progress)?;
    // if another process has rebuilt it meanwhile, that replica may lack the newest changes
    match catch_up(link, database, postgres, reported_rollback) {
        Ok(_) => Ok(()),
        Err(CatchUpError::Store(error)) => Err(error),
        Err(CatchUpError::MustRebuild(detail)) => {
            Err(StoreError::RecordUnreachable { record: link.record().to_owned(), detail })
        }
    }
}

/// Connects to the record and brings the replica up to it. If the record cannot be reached, opens the replica as it is, and
/// returns the error too.
pub(super) fn open(
    postgres: &Postgres,
    on_progress: &mut dyn FnMut(&str),
) -> Result<(Option<RecordConnection>, Database, Option<StoreError>), StoreError> {
    let empty = if postgres.replica.exists() { IfEmpty::Refuse } else { IfEmpty::CreateSchema };
    let opened = migrations::connect(postgres, empty).and_then(|mut link| {
        let database = open_and_catch_up(&mut link, postgres, on_progress)?;
        Ok((Some(link), database, None))
    });
    match opened {
        Err(error @ StoreError::RecordUnreachable { .. }) => match open_file(postgres) {
            Ok(database) => Ok((None, database, Some(error))),
            // without a replica there is nothing to go by
            Err(StoreError::Missing { .. }) => Err(error),
            Err(other) => Err(other),
        },
        opened => opened,
    }
}

/// The replica as it is.
fn open_file(postgres: &Postgres) -> Result<Database, StoreError> {
    let path = &postgres.replica;
    let mut database = Database::open(path, OpenMode::Replica)?;
    database.migrate()?;
    database.check()?;
    record_id_of(&database, postgres)?;
    Ok(database)
}

/// Why a replica is made anew after an upgrade.
const OUTDATED: &str =
    "an older portcullis wrote the replica, and did not copy all that this one needs of the record";

/// Whether an older program wrote the replica: it lacks what it did not know of the record.
fn is_outdated(database: &Database) -> Result<bool, StoreError> {
    database.read(|connection| {
        Ok(connection
            .query_row("SELECT is_outdated FROM replica", [], |row| row.get(0))
            .optional()?
            .unwrap_or(false))
    })
}

/// The id of the record that the file is a replica of.
fn record_id_of(database: &Database, postgres: &Postgres) -> Result<String, StoreError> {
    let record = database.read(|connection| {
        Ok(connection.query_row("SELECT record FROM replica", [], |row| row.get(0)).optional()?)
    })?;
    record.ok_or_else(|| foreign(postgres))
}

fn foreign(postgres: &Postgres) -> StoreError {
    StoreError::ForeignReplica { path: postgres.replica.clone(), record: postgres.server_and_database() }
}

pub(super) fn record_id(link: &mut RecordConnection) -> Result<String, StoreError> {
    link.within(ANSWER_TIMEOUT, async |client| {
        Ok(client.query_typed_one("SELECT id FROM record", &[]).await?.try_get(0)?)
    })
}

/// Refuses a record that is not the replica's.
fn check_record_id(link: &mut RecordConnection, record: &str, postgres: &Postgres) -> Result<(), StoreError> {
    if record_id(link)? == record { Ok(()) } else { Err(foreign(postgres)) }
}

/// Applies what the record has and the replica lacks. The newest change after that.
fn catch_up(
    link: &mut RecordConnection,
    database: &mut Database,
    postgres: &Postgres,
    reported_rollback: &mut Option<ChangeHead>,
) -> Result<ChangeNumber, CatchUpError> {
    loop {
        let since = database.read(LogEnds::of)?;
        // nearly always there is nothing new: then this one query is all, and an unreachable record is noticed soon
        if link.within(ANSWER_TIMEOUT, async |client| delta::log_ends(client, false).await)? == since {
            return Ok(since.head.number);
        }
        let lag = link.within_with_idle_timeout(6 * ANSWER_TIMEOUT, async |client, last_answer| {
            let beginning = client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
            // both are sent at once, in this order
            let (begun, to) = join(beginning, delta::log_ends(client, false)).await;
            begun?;
            let lag = delta::compare(client, last_answer, since, to?).await?;
            client.batch_execute("COMMIT").await?;
            Ok(lag)
        })?;
        match lag {
            ReplicaLag::Current => return Ok(since.head.number),
            // another thread may have applied it meanwhile: the next round tells
            ReplicaLag::Behind(delta) => {
                database.write(|connection| delta.apply(connection))?;
            }
            ReplicaLag::FarBehind => {
                return Err(CatchUpError::MustRebuild(format!(
                    "the replica at {} is too far behind the record",
                    postgres.replica.display()
                )));
            }
            ReplicaLag::Ahead => {
                // leases may have been lost too. Reported once: else receipts would be incomplete for as long as this
                // replica cannot be rebuilt
                if *reported_rollback != Some(since.head) {
                    gateways::mark_leases_unsure(link)?;
                    *reported_rollback = Some(since.head);
                }
                return Err(CatchUpError::MustRebuild(format!(
                    "the record at {} has been put back to an earlier state: change {} was seen here, and is not in \
                     it any more",
                    postgres.server_and_database(),
                    since.head.number
                )));
            }
        }
    }
}
