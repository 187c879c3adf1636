//! Changes of the record: under the lock of its head, by the rules that the replica has in SQL.

use std::time::{Duration, Instant};

use futures_util::future::join;

use super::connection::{ANSWER_TIMEOUT, LastAnswer, RecordConnection};
use super::delta::{self, ReplicaLag};
use super::gateways;
use crate::config::Postgres;
use crate::store::audit::{self, Attempt};
use crate::store::author::Author;
use crate::store::database::Database;
use crate::store::delta::{Delta, LogEnds};
use crate::store::error::TransactionError;
use crate::store::rotations::{ROTATIONS, Rotation};
use crate::store::write_transaction::WriteTransaction;
use crate::store::{Gateways, RecordClock, StoreError};

/// A connection that has died since its last use fails at once, and then a new one is tried. A slower failure would take
/// as long again.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The record in PostgreSQL, opened for changes.
pub(in crate::store) struct Record {
    postgres: Postgres,
    link: Option<RecordConnection>,
}

impl Record {
    /// With a connection, if there is one already.
    pub(in crate::store) fn new(postgres: Postgres, link: Option<RecordConnection>) -> Self {
        Self { postgres, link }
    }

    /// Whether the record has answered the last query.
    pub(in crate::store) fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Makes a change. If a key's holder is refused, that goes into the audit log.
    pub(in crate::store) fn change<T>(
        &mut self,
        database: &mut Database,
        by: (&Author, &RecordClock),
        attempt: &Attempt,
        work: impl FnOnce(&WriteTransaction<'_>) -> Result<T, TransactionError>,
    ) -> Result<T, StoreError> {
        let log_ends = self.lock(database)?;
        let made = database.dry_run(|connection| {
            if LogEnds::of(connection)? != log_ends {
                // the record's head is locked: only a replica that was rebuilt in this moment can be elsewhere
                return Err(StoreError::Closed.into());
            }
            let done = run_attempt(connection, by, attempt, work)?;
            Ok((done, Delta::collect(connection, log_ends)?))
        });
        let (done, delta) = match made {
            Ok(made) => made,
            Err(error) => {
                self.roll_back();
                return Err(error);
            }
        };
        if delta.to == delta.since {
            self.roll_back();
            return done;
        }
        self.commit(&delta)?;
        // the change is made; a replica that cannot take it is behind, and its lease thread reports that
        if let Err(error) = database.write(|connection| delta.apply(connection)) {
            tracing::warn!(%error, "the change is in the record, but not in this gateway's replica");
        }
        done
    }

    /// The gateways that share the record.
    pub(in crate::store) fn gateways(&mut self) -> Result<Gateways, StoreError> {
        if let Some(mut link) = self.link.take() {
            let asked = Instant::now();
            match gateways::list(&mut link) {
                Ok(found) => {
                    self.link = Some(link);
                    return Ok(found);
                }
                Err(error) if asked.elapsed() > AT_ONCE => return Err(error),
                Err(_) => {}
            }
        }
        let mut link = RecordConnection::open(&self.postgres)?;
        let found = gateways::list(&mut link)?;
        self.link = Some(link);
        Ok(found)
    }

    /// The rotations that end once the former secret is unused, as the record knows them.
    pub(in crate::store) fn rotations(&mut self) -> Result<Vec<Rotation>, StoreError> {
        let mut link = match self.link.take().filter(|link| !link.is_closed()) {
            Some(link) => link,
            None => RecordConnection::open(&self.postgres)?,
        };
        let found = link.within(ANSWER_TIMEOUT, async |client| {
            let rows = client.query_typed(ROTATIONS, &[]).await?;
            let rotation = |row: &tokio_postgres::Row| {
                Ok(Rotation {
                    key: row.try_get(0)?,
                    revision: row.try_get(1)?,
                    began: row.try_get(2)?,
                    idle: row.try_get(3)?,
                    former_last_used: row.try_get(4)?,
                    uses: row.try_get(5)?,
                })
            };
            Ok(rows.iter().map(rotation).collect::<Result<Vec<_>, tokio_postgres::Error>>()?)
        })?;
        self.link = Some(link);
        Ok(found)
    }

    /// Begins a transaction that locks the record's head, and brings the replica up to it.
    fn lock(&mut self, database: &mut Database) -> Result<LogEnds, StoreError> {
        if let Some(mut link) = self.link.take().filter(|link| !link.is_closed()) {
            let asked = Instant::now();
            match lock(&mut link) {
                Ok(log_ends) => return self.catch_up(link, database, log_ends),
                Err(error) if asked.elapsed() > AT_ONCE => return Err(error),
                // nothing was done yet: a new connection is tried
                Err(_) => {}
            }
        }
        let mut link = RecordConnection::open(&self.postgres)?;
        let log_ends = lock(&mut link)?;
        self.catch_up(link, database, log_ends)
    }

    fn catch_up(
        &mut self,
        mut link: RecordConnection,
        database: &mut Database,
        log_ends: LogEnds,
    ) -> Result<LogEnds, StoreError> {
        loop {
            let since = database.read(LogEnds::of)?;
            let lag = link.within(ANSWER_TIMEOUT, async |client| {
                delta::compare(client, &LastAnswer::new(), since, log_ends).await
            });
            match lag? {
                ReplicaLag::Current => {
                    self.link = Some(link);
                    return Ok(log_ends);
                }
                // another thread may have applied it meanwhile: the next round tells
                ReplicaLag::Behind(delta) => {
                    database.write(|connection| delta.apply(connection))?;
                }
                ReplicaLag::FarBehind | ReplicaLag::Ahead => {
                    return Err(StoreError::RecordUnreachable {
                        record: link.record().to_owned(),
                        detail: "this gateway's replica is being made anew".to_owned(),
                    });
                }
            }
        }
    }

    fn commit(&mut self, delta: &Delta) -> Result<(), StoreError> {
        let mut link = self.link.take().ok_or(StoreError::Closed)?;
        // a removal may take thousands of keys with it
        let patience = ANSWER_TIMEOUT + Duration::from_millis(delta.changes.len() as u64);
        link.within(patience, async |client| delta::push(client, delta).await)?;
        link.within(ANSWER_TIMEOUT, async |client| Ok(client.batch_execute("COMMIT").await?)).map_err(
            |error| match error {
                StoreError::RecordUnreachable { record, detail } => {
                    StoreError::CommitUnknown { record, detail }
                }
                error => error,
            },
        )?;
        self.link = Some(link);
        Ok(())
    }

    /// Rolls back the transaction.
    fn roll_back(&mut self) {
        if let Some(mut link) = self.link.take()
            && link.within(ANSWER_TIMEOUT, async |client| Ok(client.batch_execute("ROLLBACK").await?)).is_ok()
        {
            self.link = Some(link);
        }
    }
}

fn lock(link: &mut RecordConnection) -> Result<LogEnds, StoreError> {
    link.within(ANSWER_TIMEOUT, async |client| {
        // both are sent at once
        let (begun, log_ends) = join(client.batch_execute("BEGIN"), delta::log_ends(client, true)).await;
        begun?;
        log_ends
    })
}

/// Runs `work`. If a key's holder is refused, what `work` has written is rolled back, and the refusal is logged.
fn run_attempt<T>(
    connection: &rusqlite::Connection,
    (author, clock): (&Author, &RecordClock),
    attempt: &Attempt,
    work: impl FnOnce(&WriteTransaction<'_>) -> Result<T, TransactionError>,
) -> Result<Result<T, StoreError>, TransactionError> {
    connection.execute_batch("SAVEPOINT attempt")?;
    match work(&WriteTransaction { connection, author, clock }) {
        Ok(done) => Ok(Ok(done)),
        Err(TransactionError::Store(error)) if matches!(author, Author::Key(_)) && error.is_refusal() => {
            connection.execute_batch("ROLLBACK TO attempt")?;
            audit::refused(connection, author, attempt, &error.to_string())?;
            Ok(Err(error))
        }
        Err(fault) => Err(fault),
    }
}
