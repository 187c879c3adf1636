//! Copies the whole record in one consistent read: from PostgreSQL into a new SQLite file, and the other way.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use rusqlite::Connection;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::{ToSql, Type};

use super::connection::{RecordConnection, RecordError};
use super::delta::damaged;
use crate::store::database::Database;
use crate::store::delta::{LogEnds, put_fingerprint};
use crate::store::error::TransactionError;
use crate::store::tables::{
    ACCOUNTS, AUDIT, CHANGES, Cell, ENVIRONMENTS, FINGERPRINTS, KEY_USES, KEYS, MEMBERSHIPS, SECRET_USES,
    Table, TableRow,
};
use crate::store::{StoreError, change};

/// How long a copy of the whole record may take: hours, where there are a hundred million keys.
const COPY_TIMEOUT: Duration = Duration::from_hours(24);

/// How long a copy may stand still. After that the server counts as gone, which a connection that only reads does not notice.
const STANDSTILL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the server may take to count a table's rows.
const COUNT_TIMEOUT: Duration = Duration::from_mins(10);

/// How often a long copy says how far it has come.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// The tables in an order in which each refers only to those before it.
const TABLES: [&Table; 6] = [&ACCOUNTS, &ENVIRONMENTS, &MEMBERSHIPS, &KEYS, &CHANGES, &AUDIT];

/// Called with the progress of a long copy.
pub(in crate::store) type OnProgress<'a> = &'a mut dyn FnMut(&str);

/// Copies the record into an empty store, with its ids, logs and fingerprints.
pub(in crate::store) fn copy_from_record(
    link: &mut RecordConnection,
    database: &mut Database,
    on_progress: OnProgress<'_>,
) -> Result<(), StoreError> {
    let path = database.path().to_owned();
    let mut read = |connection: &Connection, link: &mut RecordConnection| -> Result<(), TransactionError> {
        let indexes = drop_indexes(connection)?;
        link.within(COPY_TIMEOUT, async |client| {
            client
                .batch_execute(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0",
                )
                .await?;
            let at = |fault: TransactionError| fault.at(&path);
            for table in TABLES {
                copy_out(client, table, on_progress, |row| table.upsert(connection, row).map_err(at)).await?;
            }
            copy_out(client, &FINGERPRINTS, on_progress, |row| put_fingerprint(connection, row).map_err(at))
                .await?;
            copy_out(client, &KEY_USES, on_progress, |row| put_use(connection, row).map_err(at)).await?;
            let put = |row: &[Cell]| SECRET_USES.upsert(connection, row).map_err(at);
            copy_out(client, &SECRET_USES, on_progress, put).await?;
            let place = super::delta::log_ends(client, false).await?;
            let set_head = |connection: &Connection| -> Result<(), TransactionError> {
                connection.execute(
                    "UPDATE change_head SET number = ?1, hash = ?2",
                    (place.head.number.0.cast_signed(), place.head.hash),
                )?;
                Ok(())
            };
            set_head(connection).map_err(at)?;
            if !ends_at(connection, place).map_err(at)? {
                return Err(damaged("its logs do not end where it says"));
            }
            client.batch_execute("COMMIT").await?;
            Ok(())
        })?;
        on_progress("building the indexes");
        indexes.iter().try_for_each(|index| connection.execute_batch(index))?;
        Ok(())
    };
    database.write(|connection| read(connection, link))
}

/// Whether both logs end there.
fn ends_at(connection: &Connection, place: LogEnds) -> Result<bool, TransactionError> {
    let newest: Option<i64> =
        connection.query_row("SELECT max(number) FROM changes", [], |row| row.get(0))?;
    Ok(LogEnds::of(connection)? == place
        && newest.unwrap_or(0) == place.head.number.0.cast_signed()
        && place.head.is_in(change::hash_of(connection, place.head.number)?))
}

/// Drops the indexes, which would slow the copy down, and returns the statements that create them again.
fn drop_indexes(connection: &Connection) -> Result<Vec<String>, TransactionError> {
    let mut statement =
        connection.prepare("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")?;
    let found = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let found = found.collect::<Result<Vec<_>, _>>()?;
    for (name, _) in &found {
        connection.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    Ok(found.into_iter().map(|(_, sql)| sql).collect())
}

async fn copy_out(
    client: &Client,
    table: &Table,
    on_progress: &mut dyn FnMut(&str),
    mut put: impl FnMut(&[Cell]) -> Result<(), StoreError>,
) -> Result<(), RecordError> {
    let count = format!("SELECT count(*) FROM {}", table.name);
    let count: i64 = next_within(COUNT_TIMEOUT, client.query_one(&count, &[])).await??.try_get(0)?;
    let statement = format!("COPY {} ({}) TO STDOUT (FORMAT binary)", table.name, table.column_names());
    let mut rows = pin!(BinaryCopyOutStream::new(client.copy_out(&statement).await?, &table.types()));
    let (mut copied, mut told) = (0_i64, Instant::now());
    while let Some(row) = next_within(STANDSTILL_TIMEOUT, rows.try_next()).await?? {
        let cells: TableRow =
            (0..table.columns.len()).map(|at| row.try_get::<Cell>(at)).collect::<Result<_, _>>()?;
        put(&cells)?;
        copied += 1;
        if told.elapsed() > REPORT_INTERVAL {
            on_progress(&format!("{copied} of {count} rows of {}", table.name));
            told = Instant::now();
        }
    }
    Ok(())
}

/// What the server sends next, if it comes within `limit`.
async fn next_within<T>(limit: Duration, next: impl Future<Output = T>) -> Result<T, RecordError> {
    let stands_still = |_| {
        let (record, detail) = ("PostgreSQL".to_owned(), format!("the copy has stood still for {limit:?}"));
        RecordError::Store(StoreError::RecordUnreachable { record, detail })
    };
    timeout(limit, next).await.map_err(stands_still)
}

fn put_use(connection: &Connection, row: &[Cell]) -> Result<(), TransactionError> {
    let [key, last_used, address, uses] = row else {
        return Err(TransactionError::Damaged("a use of another form".to_owned()));
    };
    connection
        .prepare_cached("UPDATE keys SET last_used = ?2, last_used_address = ?3, uses = ?4 WHERE id = ?1")?
        .execute((key, last_used, address, uses))?;
    Ok(())
}

/// Copies a store into an empty record.
pub(in crate::store) fn copy_into_record(
    link: &mut RecordConnection,
    database: &Database,
    on_progress: OnProgress<'_>,
) -> Result<(), StoreError> {
    let path = database.path().to_owned();
    let record = link.record().to_owned();
    database.read(|connection| {
        let place = LogEnds::of(connection)?;
        link.within(COPY_TIMEOUT, async |client| {
            client.batch_execute("BEGIN; SET LOCAL statement_timeout = 0").await?;
            let there = super::delta::log_ends(client, true).await?;
            let accounts: i64 = client.query_one("SELECT count(*) FROM accounts", &[]).await?.try_get(0)?;
            if there.head != change::ChangeHead::BEGINNING || there.audit != 0 || accounts != 0 {
                let detail =
                    "it holds keys already, and nothing is overwritten: name an empty database".to_owned();
                return Err(StoreError::RecordUnusable { record, detail }.into());
            }
            let at = |fault: TransactionError| fault.at(&path);
            for table in TABLES {
                let rows = format!("SELECT {} FROM {}", table.column_names(), table.name);
                copy_in(client, table, connection, &rows, at, on_progress).await?;
            }
            let fingerprints =
                "SELECT fingerprints.key, fingerprints.secret, peppers.id, fingerprints.mac FROM fingerprints
                JOIN peppers ON peppers.number = fingerprints.pepper";
            copy_in(client, &FINGERPRINTS, connection, fingerprints, at, on_progress).await?;
            let uses = "SELECT id, last_used, last_used_address, uses FROM keys WHERE last_used > 0
                AND last_used_address IS NOT NULL";
            copy_in(client, &KEY_USES, connection, uses, at, on_progress).await?;
            let uses = format!("SELECT {} FROM secret_uses", SECRET_USES.column_names());
            copy_in(client, &SECRET_USES, connection, &uses, at, on_progress).await?;
            let (number, hash) = (place.head.number.0.cast_signed(), place.head.hash.as_slice());
            client
                .query_typed(
                    "UPDATE change_head SET number = $1, hash = $2, audit = $3",
                    &[(&number, Type::INT8), (&hash, Type::BYTEA), (&place.audit, Type::INT8)],
                )
                .await?;
            client.batch_execute("COMMIT").await?;
            Ok(())
        })
        .map_err(TransactionError::from)
    })
}

async fn copy_in(
    client: &Client,
    table: &Table,
    connection: &Connection,
    select: &str,
    at: impl Fn(TransactionError) -> StoreError + Copy,
    on_progress: &mut dyn FnMut(&str),
) -> Result<(), RecordError> {
    let statement = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.name, table.column_names());
    let sink = client.copy_in(&statement).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &table.types()));
    let fault = |error: rusqlite::Error| at(TransactionError::from(error));
    let mut statement = connection.prepare(select).map_err(fault)?;
    let mut rows = statement.query([]).map_err(fault)?;
    let (mut copied, mut told) = (0_u64, Instant::now());
    while let Some(row) = rows.next().map_err(fault)? {
        let cells = table.read_row(row).map_err(fault)?;
        let cells: Vec<&(dyn ToSql + Sync)> = cells.iter().map(|cell| cell as _).collect();
        writer.as_mut().write(&cells).await?;
        copied += 1;
        if told.elapsed() > REPORT_INTERVAL {
            on_progress(&format!("{copied} rows of {}", table.name));
            told = Instant::now();
        }
    }
    writer.finish().await?;
    Ok(())
}
