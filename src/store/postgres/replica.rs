//! This gateway's replica of the record: made, kept up to date, and made anew where it cannot be trusted.

use std::time::Duration;

use futures_util::future::join;
use rusqlite::OptionalExtension as _;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::delta::{self, Standing};
use super::link::{Link, PATIENCE};
use super::migrations::Empty;
use super::rebuild::rebuild;
use super::{gateways, migrations, notes};
use crate::config::Postgres;
use crate::model::KeyId;
use crate::store::boot::{self, BootTime};
use crate::store::change::{self, ChangeNumber, Head};
use crate::store::database::{Database, FileId, Purpose, file_at};
use crate::store::delta::Place;
use crate::store::file_watch::Beside;
use crate::store::{Fingerprint, KeyUse, LeaseState, Position, StoreError};

/// What a gateway keeps of the record, and its connection to it. Its methods block.
#[derive(Debug)]
pub struct Replica {
    postgres: Postgres,
    link: Option<Link>,
    database: Database,
    /// What lies beside the file that is open, and which file that is.
    beside: Option<(FileId, Beside)>,
    /// What others have found wrong with a file.
    damage: Option<(FileId, String)>,
    /// What was seen and is not in the record any more, where that was said there already.
    doubted: Option<Head>,
    /// Of which record: the file may be damaged or gone when that is to be known.
    record: String,
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
        let (postgres, name) = (postgres.clone(), name.to_owned());
        let record = record_of(&database, &postgres)?;
        Ok(Self {
            postgres,
            link,
            database,
            beside: None,
            damage: None,
            doubted: None,
            record,
            id,
            name,
            lease,
        })
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
        let unusable = self.why_unusable();
        let Self { database, postgres, doubted, .. } = self;
        let report = &mut |progress: &str| tracing::info!("{progress}");
        match unusable {
            Some(why) => make_anew(&why, &mut link, database, postgres, doubted, report)?,
            None => bring_up(&mut link, database, postgres, doubted, report)?,
        }
        self.link = Some(link);
        let head = self.database.read(change::head)?;
        // the one that was read: another may have taken its place since, and numbers of two cannot be compared
        let file = self.database.file();
        Ok(Reached { position: Position { file, number: head.number }, head })
    }

    /// A file of this replica cannot be read as it was written: the next look makes it anew, where it is still in use.
    pub fn report_damage(&mut self, file: FileId, why: String) {
        self.damage = Some((file, why));
    }

    /// Why the replica cannot be used any more though it may be read from here: others have found it damaged, or its log
    /// or the index of that is gone. A command that opens the replica then has others, and what it writes is not seen
    /// here.
    fn why_unusable(&mut self) -> Option<String> {
        let file = self.database.file();
        let path = self.database.path();
        if file_at(path).ok() != Some(file) {
            // made anew by somebody else: the next question goes to that
            return None;
        }
        if let Some((of, why)) = self.damage.take()
            && of == file
        {
            return Some(why);
        }
        if let Some((of, beside)) = &self.beside
            && *of == file
        {
            return beside.missing().map(|gone| format!("{} was removed while in use", gone.display()));
        }
        self.beside = Beside::of(path).ok().map(|beside| (file, beside));
        None
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

    /// Takes this gateway's row out of the record, after its last request, and gives its lease up. Where the record is
    /// away both stay: who comes back to the record waits for the row, and so a restart may act within the lease.
    pub fn leave(&mut self) -> Result<(), StoreError> {
        let mut link = self.connected()?;
        // asked first, and only then the lease is given up: a record that does not answer is away
        identify(&mut link, &self.record, &self.postgres)?;
        self.link = Some(link);
        // before the row goes: nobody waits any more for what a restart would do within the lease that it remembers, and
        // that the row has gone is not always heard
        self.remember_lease(BootTime::default())?;
        self.withdraw()
    }

    /// Takes the row out of the record again of a gateway that has acted on nothing. What the replica remembers is
    /// another one's lease, and stays.
    pub fn withdraw(&mut self) -> Result<(), StoreError> {
        let mut link = self.connected()?;
        gateways::leave(&mut link, &self.id)
    }

    /// The connection, for one question: whoever asks puts it back when all went well.
    fn connected(&mut self) -> Result<Link, StoreError> {
        if let Some(link) = self.link.take().filter(|link| !link.is_closed()) {
            return Ok(link);
        }
        let mut link = migrations::connect(&self.postgres, Empty::Refuse)?;
        identify(&mut link, &self.record, &self.postgres)?;
        listen(&mut link)?;
        Ok(link)
    }
}

/// Why a replica cannot go on from where it is.
enum Unfollowable {
    Store(StoreError),
    /// It must be made anew, for this reason.
    Gone(String),
}

impl From<StoreError> for Unfollowable {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing { .. } => Self::Gone(error.to_string()),
            StoreError::Vanished { path } => {
                Self::Gone(format!("the replica at {} was deleted while in use", path.display()))
            }
            error if error.is_damage() => Self::Gone(error.to_string()),
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
        Err(error) if error.is_damage() => {
            tracing::error!(%error, "the replica is made anew from the record");
            rebuild(link, postgres, report)?
        }
        Err(error) => return Err(error),
    };
    identify(link, &record_of(&database, postgres)?, postgres)?;
    bring_up(link, &mut database, postgres, &mut None, report)?;
    listen(link)?;
    Ok(database)
}

/// Brings the replica up to the record, or makes it anew, once: what cannot be followed even then is an error.
fn bring_up(
    link: &mut Link,
    database: &mut Database,
    postgres: &Postgres,
    doubted: &mut Option<Head>,
    report: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    let why = match catch_up(link, database, postgres, doubted) {
        Ok(_) => return Ok(()),
        Err(Unfollowable::Store(error)) => return Err(error),
        Err(Unfollowable::Gone(why)) => why,
    };
    make_anew(&why, link, database, postgres, doubted, report)
}

fn make_anew(
    why: &str,
    link: &mut Link,
    database: &mut Database,
    postgres: &Postgres,
    doubted: &mut Option<Head>,
    report: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    tracing::error!("{why}: the replica is made anew from the record");
    *database = rebuild(link, postgres, report)?;
    // where another process has made it anew meanwhile, that one may lack the newest
    match catch_up(link, database, postgres, doubted) {
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
    let empty = if postgres.replica.exists() { Empty::Refuse } else { Empty::Begin };
    let opened = migrations::connect(postgres, empty).and_then(|mut link| {
        let database = prepare(&mut link, postgres, report)?;
        Ok((Some(link), database, None))
    });
    match opened {
        Err(error @ StoreError::RecordAway { .. }) => match open_file(postgres) {
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
    let mut database = Database::open(path, Purpose::Replica)?;
    database.migrate()?;
    database.check()?;
    record_of(&database, postgres)?;
    Ok(database)
}

/// Which record the file is a replica of.
fn record_of(database: &Database, postgres: &Postgres) -> Result<String, StoreError> {
    let record = database.read(|connection| {
        Ok(connection.query_row("SELECT record FROM replica", [], |row| row.get(0)).optional()?)
    })?;
    record.ok_or_else(|| foreign(postgres))
}

fn foreign(postgres: &Postgres) -> StoreError {
    StoreError::ForeignReplica { path: postgres.replica.clone(), record: postgres.server_and_database() }
}

pub(super) fn record_id(link: &mut Link) -> Result<String, StoreError> {
    link.within(PATIENCE, async |client| {
        Ok(client.query_typed_one("SELECT id FROM record", &[]).await?.try_get(0)?)
    })
}

/// Refuses another record than the replica's.
fn identify(link: &mut Link, record: &str, postgres: &Postgres) -> Result<(), StoreError> {
    if record_id(link)? == record { Ok(()) } else { Err(foreign(postgres)) }
}

/// Applies what the record has more than the replica; the newest change then.
fn catch_up(
    link: &mut Link,
    database: &mut Database,
    postgres: &Postgres,
    doubted: &mut Option<Head>,
) -> Result<ChangeNumber, Unfollowable> {
    loop {
        let since = database.read(Place::of)?;
        // nearly always there is nothing new: then this one question is all, and a record that is away is noticed soon
        if link.within(PATIENCE, async |client| delta::place(client, false).await)? == since {
            return Ok(since.head.number);
        }
        let standing = link.within_unless_silent(6 * PATIENCE, async |client, heard| {
            let beginning = client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
            // both leave at once, in this order
            let (begun, to) = join(beginning, delta::place(client, false)).await;
            begun?;
            let standing = delta::compare_with(client, heard, since, to?).await?;
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
                // leases may have been lost with it; once, or receipts would be doubted for as long as this replica
                // cannot be made anew
                if *doubted != Some(since.head) {
                    gateways::doubt(link)?;
                    *doubted = Some(since.head);
                }
                return Err(Unfollowable::Gone(format!(
                    "the record at {} has been put back to an earlier state: change {} was seen here, and is not in \
                     it any more",
                    postgres.server_and_database(),
                    since.head.number
                )));
            }
        }
    }
}
