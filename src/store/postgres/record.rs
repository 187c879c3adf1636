//! Changing the record: under the lock of its head, by the rules as the replica has them in SQL.

use std::time::{Duration, Instant};

use futures_util::future::join;

use super::delta::{self, Standing};
use super::gateways;
use super::link::{Heard, Link, PATIENCE};
use crate::config::Postgres;
use crate::store::audit::{self, Attempt};
use crate::store::author::{Author, Writing};
use crate::store::database::Database;
use crate::store::delta::{Delta, Place};
use crate::store::error::Fault;
use crate::store::{Gateways, StoreError};

/// A connection that died since it was last used says so at once: then a new one is tried. What took longer to fail
/// would take as long again.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The record, for one who changes it.
pub(in crate::store) struct Record {
    postgres: Postgres,
    link: Option<Link>,
}

impl Record {
    /// With a connection, where there is one already.
    pub(in crate::store) fn new(postgres: Postgres, link: Option<Link>) -> Self {
        Self { postgres, link }
    }

    /// Whether the record was reached when it was last asked.
    pub(in crate::store) fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Makes a change. Refusals of a key's holder are written into the audit log.
    pub(in crate::store) fn change<T>(
        &mut self,
        database: &mut Database,
        author: &Author,
        attempt: &Attempt,
        work: impl FnOnce(&Writing<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let place = self.lock(database)?;
        let made = database.rehearse(|connection| {
            if Place::of(connection)? != place {
                // only a replica that was made anew in this moment is elsewhere: the record's head is locked
                return Err(StoreError::Closed.into());
            }
            let done = attempted(connection, author, attempt, work)?;
            Ok((done, Delta::collect(connection, place)?))
        });
        let (done, delta) = match made {
            Ok(made) => made,
            Err(error) => {
                self.give_up();
                return Err(error);
            }
        };
        if delta.to == delta.since {
            self.give_up();
            return done;
        }
        self.commit(&delta)?;
        // it is in the record now; a replica that cannot take it is behind, and whoever serves from it will say so
        if let Err(error) = database.write(|connection| delta.apply(connection)) {
            tracing::warn!(%error, "the change is in the record, but not in this gateway's replica");
        }
        done
    }

    /// Which gateways there are, by the record.
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
        let mut link = Link::open(&self.postgres)?;
        let found = gateways::list(&mut link)?;
        self.link = Some(link);
        Ok(found)
    }

    /// Begins a transaction that holds the record's head, with the replica brought up to it.
    fn lock(&mut self, database: &mut Database) -> Result<Place, StoreError> {
        if let Some(mut link) = self.link.take().filter(|link| !link.is_closed()) {
            let asked = Instant::now();
            match lock(&mut link) {
                Ok(place) => return self.follow(link, database, place),
                Err(error) if asked.elapsed() > AT_ONCE => return Err(error),
                // nothing was done yet
                Err(_) => {}
            }
        }
        let mut link = Link::open(&self.postgres)?;
        let place = lock(&mut link)?;
        self.follow(link, database, place)
    }

    fn follow(&mut self, mut link: Link, database: &mut Database, place: Place) -> Result<Place, StoreError> {
        loop {
            let since = database.read(Place::of)?;
            let standing = link.within(PATIENCE, async |client| {
                delta::compare_with(client, &Heard::new(), since, place).await
            });
            match standing? {
                Standing::Current => {
                    self.link = Some(link);
                    return Ok(place);
                }
                // another thread of this gateway may have applied it meanwhile: either way the next look tells
                Standing::Behind(delta) => {
                    database.write(|connection| delta.apply(connection))?;
                }
                Standing::FarBehind | Standing::Ahead => {
                    return Err(StoreError::RecordAway {
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
        let patience = PATIENCE + Duration::from_millis(delta.changes.len() as u64);
        link.within(patience, async |client| delta::push(client, delta).await)?;
        link.within(PATIENCE, async |client| Ok(client.batch_execute("COMMIT").await?)).map_err(|error| {
            match error {
                StoreError::RecordAway { record, detail } => StoreError::RecordUnsure { record, detail },
                error => error,
            }
        })?;
        self.link = Some(link);
        Ok(())
    }

    /// Ends a transaction that is to leave nothing.
    fn give_up(&mut self) {
        if let Some(mut link) = self.link.take()
            && link.within(PATIENCE, async |client| Ok(client.batch_execute("ROLLBACK").await?)).is_ok()
        {
            self.link = Some(link);
        }
    }
}

fn lock(link: &mut Link) -> Result<Place, StoreError> {
    link.within(PATIENCE, async |client| {
        // both leave at once
        let (begun, place) = join(client.batch_execute("BEGIN"), delta::place(client, true)).await;
        begun?;
        place
    })
}

/// Runs `work`; where a key's holder is refused, what it has written is taken back and the refusal is written down.
fn attempted<T>(
    connection: &rusqlite::Connection,
    author: &Author,
    attempt: &Attempt,
    work: impl FnOnce(&Writing<'_>) -> Result<T, Fault>,
) -> Result<Result<T, StoreError>, Fault> {
    connection.execute_batch("SAVEPOINT attempt")?;
    match work(&Writing { connection, author }) {
        Ok(done) => Ok(Ok(done)),
        Err(Fault::Store(error)) if matches!(author, Author::Key(_)) && error.is_refusal() => {
            connection.execute_batch("ROLLBACK TO attempt")?;
            audit::refused(connection, author, attempt, &error.to_string())?;
            Ok(Err(error))
        }
        Err(fault) => Err(fault),
    }
}
