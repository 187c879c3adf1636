//! The schema's versions in PostgreSQL, numbered from 1. A migration that was released is never edited.

use tokio_postgres::Client;

use super::connection::{ANSWER_TIMEOUT, RecordConnection, RecordError};
use crate::config::Postgres;
use crate::store::StoreError;

const MIGRATIONS: [(i32, &str); 5] = [
    (1, include_str!("migrations/0001.sql")),
    (2, include_str!("migrations/0002.sql")),
    (3, include_str!("migrations/0003.sql")),
    (4, include_str!("migrations/0004.sql")),
    (5, include_str!("migrations/0005.sql")),
];

/// The schema version that this program writes.
const NEWEST: i32 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// As `server_version_num` says it.
const OLDEST_SERVER: i32 = 140_000;

/// Held while the schema is changed: `pcls`.
const LOCK: i64 = 0x7063_6c73;

/// What to do with a database that has no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfEmpty {
    /// Create one.
    CreateSchema,
    /// Refuse. A gateway that has a replica, or that only reads, has reached another database, or one that somebody is about
    /// to restore a backup into: our tables would be in the way.
    Refuse,
}

/// Connects to the record, and brings its schema up to date.
pub(super) fn connect(postgres: &Postgres, empty: IfEmpty) -> Result<RecordConnection, StoreError> {
    let mut link = RecordConnection::open(postgres)?;
    run(&mut link, empty)?;
    Ok(link)
}

/// Brings the schema to [`NEWEST`]: once, even if many gateways start at the same time.
fn run(link: &mut RecordConnection, empty: IfEmpty) -> Result<(), StoreError> {
    let record = link.record().to_owned();
    let found = link.within(ANSWER_TIMEOUT, async |client| {
        let server = client.query_one("SELECT current_setting('server_version_num')::int4", &[]).await?;
        let found: i32 = server.try_get(0)?;
        if found < OLDEST_SERVER {
            let detail = format!("it is PostgreSQL {}: version 14 or newer is needed", found / 10_000);
            return Err(StoreError::RecordUnusable { record, detail }.into());
        }
        let found = version(client).await?;
        if found.is_none() && empty == IfEmpty::Refuse {
            let detail =
                "its database holds no record: is it another one, or is it yet to be restored?".to_owned();
            return Err(StoreError::RecordUnreachable { record, detail }.into());
        }
        Ok(found)
    })?;
    if found == Some(NEWEST) { Ok(()) } else { migrate(link) }
}

fn migrate(link: &mut RecordConnection) -> Result<(), StoreError> {
    let record = link.record().to_owned();
    link.within(6 * ANSWER_TIMEOUT, async |client| {
        client.batch_execute("BEGIN; SET LOCAL lock_timeout = '25s'").await?;
        client.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        // read again under the lock: another gateway may have done it meanwhile
        let found = version(client).await?.unwrap_or(0);
        if found > NEWEST {
            let detail = format!(
                "its schema has version {found}, this program knows up to {NEWEST}: use the newer portcullis"
            );
            return Err(StoreError::RecordUnusable { record, detail }.into());
        }
        if found == 0 {
            client
                .batch_execute(
                    "CREATE SCHEMA IF NOT EXISTS portcullis;
                     CREATE TABLE portcullis.schema_version (version integer NOT NULL);
                     INSERT INTO portcullis.schema_version VALUES (0)",
                )
                .await?;
        }
        for (_, migration) in MIGRATIONS.iter().filter(|(number, _)| *number > found) {
            client.batch_execute(migration).await?;
        }
        client.execute("UPDATE portcullis.schema_version SET version = $1", &[&NEWEST]).await?;
        client.batch_execute("COMMIT").await?;
        Ok(())
    })
}

async fn version(client: &Client) -> Result<Option<i32>, RecordError> {
    // read as a row: `to_regclass` is cached, and would not see a table that another transaction has created meanwhile
    let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables
        WHERE schemaname = 'portcullis' AND tablename = 'schema_version')";
    let there = client.query_typed_one(there, &[]).await?;
    if !there.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    Ok(Some(client.query_typed_one("SELECT version FROM portcullis.schema_version", &[]).await?.try_get(0)?))
}
