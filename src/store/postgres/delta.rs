//! Reads a [`Delta`] from the record, and writes one into it.

use std::path::Path;
use std::pin::pin;

use futures_util::TryStreamExt as _;
use futures_util::future::{BoxFuture, try_join_all};
use tokio::try_join;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::connection::{LastAnswer, RecordError};
use crate::store::StoreError;
use crate::store::change::{ChangeHash, ChangeHead, ChangeNumber};
use crate::store::delta::{ChangedObjects, ChangedRows, Delta, LogEnds};
use crate::store::tables::{
    ACCOUNTS, AUDIT, CHANGES, ENVIRONMENTS, FINGERPRINTS, KEYS, MEMBERSHIPS, Table, TableRow,
};

/// A replica that lacks more rows of a log is rebuilt, which takes less time and memory then.
const ROWS_AT_ONCE: u64 = 50_000;

/// How far a replica is behind the record.
#[derive(Debug)]
pub(super) enum ReplicaLag {
    /// It is up to date.
    Current,
    /// It lacks this.
    Behind(Box<Delta>),
    /// It lacks too much.
    FarBehind,
    /// It has a change that the record lacks: the record was put back to an earlier state.
    Ahead,
}

/// Where the record's logs end.
pub(super) async fn log_ends(client: &Client, lock: bool) -> Result<LogEnds, RecordError> {
    let statement = if lock {
        "SELECT number, hash, audit FROM change_head FOR UPDATE"
    } else {
        "SELECT number, hash, audit FROM change_head"
    };
    let row = client.query_typed_one(statement, &[]).await?;
    Ok(LogEnds {
        head: ChangeHead { number: number(row.try_get(0)?), hash: hash(row.try_get(1)?)? },
        audit: row.try_get(2)?,
    })
}

/// Compares a replica at `since` with the record at `to`, in a transaction that sees one state of the record.
pub(super) async fn compare(
    client: &Client,
    last_answer: &LastAnswer,
    since: LogEnds,
    to: LogEnds,
) -> Result<ReplicaLag, RecordError> {
    last_answer.set_to_now();
    if since == to {
        return Ok(ReplicaLag::Current);
    }
    let number = since.head.number.0.cast_signed();
    let there = "SELECT hash FROM changes WHERE number = $1";
    let there = client.query_typed_opt(there, &[(&number, Type::INT8)]).await?;
    let there = there.map(|row| hash(row.try_get(0)?)).transpose()?;
    if !since.head.is_in(there) || since.head.number > to.head.number || since.audit > to.audit {
        return Ok(ReplicaLag::Ahead);
    }
    // refusals are in the audit log alone
    let lacking = [to.head.number.0 - since.head.number.0, to.audit.abs_diff(since.audit)];
    if lacking.into_iter().any(|rows| rows > ROWS_AT_ONCE) {
        return Ok(ReplicaLag::FarBehind);
    }
    Ok(ReplicaLag::Behind(Box::new(fetch(client, last_answer, since, to).await?)))
}

async fn fetch(
    client: &Client,
    last_answer: &LastAnswer,
    since: LogEnds,
    to: LogEnds,
) -> Result<Delta, RecordError> {
    let (number, audit) = (since.head.number.0.cast_signed(), since.audit);
    let (after, after_id) = (&[(&number as _, Type::INT8)], &[(&audit as _, Type::INT8)]);
    // queries that are sent together take one round trip
    let (changes, audit) = try_join!(
        rows(client, last_answer, &CHANGES, "WHERE number > $1 ORDER BY number", after),
        rows(client, last_answer, &AUDIT, "WHERE id > $1 ORDER BY id", after_id),
    )?;
    let objects = ChangedObjects::of_changes(&changes)
        .map_err(|fault| damaged(&fault.at(Path::new("PostgreSQL")).to_string()))?;
    let (members_of, environments_of): (Vec<i64>, Vec<&str>) =
        objects.memberships.iter().map(|(account, environment)| (*account, environment.as_str())).unzip();
    let members = "WHERE (account, environment) IN (
            SELECT pair.account, environments.\"row\" FROM unnest($1::bigint[], $2::text[]) AS pair (account, id)
            JOIN environments ON environments.id = pair.id)";
    let by_id = "WHERE id = ANY ($1)";
    let (account_ids, environment_ids, key_ids) = (
        &[(&objects.accounts as _, Type::INT8_ARRAY)],
        &[(&objects.environments as _, Type::TEXT_ARRAY)],
        &[(&objects.keys as _, Type::INT8_ARRAY)],
    );
    let pairs = &[(&members_of as _, Type::INT8_ARRAY), (&environments_of as _, Type::TEXT_ARRAY)];
    let (accounts, environments, memberships, keys, fingerprints) = try_join!(
        rows(client, last_answer, &ACCOUNTS, by_id, account_ids),
        rows(client, last_answer, &ENVIRONMENTS, by_id, environment_ids),
        rows(client, last_answer, &MEMBERSHIPS, members, pairs),
        rows(client, last_answer, &KEYS, by_id, key_ids),
        rows(client, last_answer, &FINGERPRINTS, "WHERE key = ANY ($1)", key_ids),
    )?;
    let rows = ChangedRows { accounts, environments, memberships, keys, fingerprints };
    Ok(Delta { since, to, changes, audit, objects, rows })
}

async fn rows(
    client: &Client,
    last_answer: &LastAnswer,
    table: &Table,
    rest: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<TableRow>, RecordError> {
    let statement = format!("SELECT {} FROM {} {rest}", table.column_names(), table.name);
    let mut found = pin!(client.query_typed_raw(&statement, parameters.iter().cloned()).await?);
    let mut rows = Vec::new();
    while let Some(row) = found.try_next().await? {
        last_answer.set_to_now();
        rows.push(table.read_postgres_row(&row)?);
    }
    Ok(rows)
}

/// Writes a delta into the record, whose head is locked and at [`Delta::since`]. All statements are sent at once, in this
/// order, so that they take one round trip.
pub(super) async fn push(client: &Client, delta: &Delta) -> Result<(), RecordError> {
    let ChangedRows { accounts, environments, memberships, keys, fingerprints } = &delta.rows;
    let ChangedObjects { memberships: changed_members, keys: changed_keys, .. } = &delta.objects;
    let (members, of): (Vec<i64>, Vec<&str>) =
        changed_members.iter().map(|(account, environment)| (*account, environment.as_str())).unzip();
    let former_members =
        "DELETE FROM memberships USING unnest($1::bigint[], $2::text[]) AS pair (account, id), environments
        WHERE environments.id = pair.id AND memberships.environment = environments.\"row\"
        AND memberships.account = pair.account";
    let former_fingerprints = "DELETE FROM fingerprints WHERE key = ANY ($1)";
    let (number, hash) = (delta.to.head.number.0.cast_signed(), delta.to.head.hash.as_slice());
    let statements: Vec<BoxFuture<'_, Result<(), RecordError>>> = vec![
        Box::pin(put(client, &ACCOUNTS, accounts)),
        Box::pin(put(client, &ENVIRONMENTS, environments)),
        Box::pin(put(client, &KEYS, keys)),
        Box::pin(run_if(
            !changed_members.is_empty(),
            client,
            former_members,
            vec![(&members, Type::INT8_ARRAY), (&of, Type::TEXT_ARRAY)],
        )),
        Box::pin(put(client, &MEMBERSHIPS, memberships)),
        Box::pin(run_if(
            !changed_keys.is_empty(),
            client,
            former_fingerprints,
            vec![(changed_keys, Type::INT8_ARRAY)],
        )),
        Box::pin(put(client, &FINGERPRINTS, fingerprints)),
        Box::pin(put(client, &CHANGES, &delta.changes)),
        Box::pin(put(client, &AUDIT, &delta.audit)),
        Box::pin(run_if(
            true,
            client,
            "UPDATE change_head SET number = $1, hash = $2, audit = $3",
            vec![(&number, Type::INT8), (&hash, Type::BYTEA), (&delta.to.audit, Type::INT8)],
        )),
        Box::pin(run_if(true, client, "SELECT pg_notify('portcullis_changes', '')", Vec::new())),
    ];
    try_join_all(statements).await?;
    Ok(())
}

async fn run_if(
    is_needed: bool,
    client: &Client,
    statement: &str,
    parameters: Vec<(&(dyn ToSql + Sync), Type)>,
) -> Result<(), RecordError> {
    if is_needed {
        client.query_typed(statement, &parameters).await?;
    }
    Ok(())
}

async fn put(client: &Client, table: &Table, rows: &[TableRow]) -> Result<(), RecordError> {
    if rows.is_empty() {
        return Ok(());
    }
    let arrays = table.column_arrays(rows);
    let parameters: Vec<_> = arrays
        .iter()
        .zip(table.array_types())
        .map(|(array, of)| (array as &(dyn ToSql + Sync), of))
        .collect();
    client.query_typed(&table.upsert_many(), &parameters).await?;
    Ok(())
}

fn number(number: i64) -> ChangeNumber {
    ChangeNumber(number.cast_unsigned())
}

fn hash(bytes: &[u8]) -> Result<ChangeHash, RecordError> {
    bytes.try_into().map_err(|_| damaged("a hash of another length"))
}

/// The record holds what no version of this program writes.
pub(super) fn damaged(what: &str) -> RecordError {
    let record = "PostgreSQL".to_owned();
    RecordError::Store(StoreError::RecordUnusable { record, detail: format!("it is damaged: {what}") })
}
