//! Uses and fingerprints of keys, exchanged with the record every few seconds.

use jiff::Timestamp;
use rusqlite::Connection;
use tokio_postgres::types::{ToSql, Type};

use super::connection::{ANSWER_TIMEOUT, RecordConnection};
use crate::store::database::Database;
use crate::store::delta::put_fingerprint;
use crate::store::error::TransactionError;
use crate::store::tables::{Cell, FINGERPRINTS, KEY_USES, SECRET_USES};
use crate::store::{Fingerprint, KeyUse, SecretId, StoreError};

/// How many rows are read at once.
const ROWS_AT_ONCE: i64 = 20_000;

/// Writes this gateway's uses and fingerprints into the record, and those of all gateways into the replica. `saved`: this
/// gateway, and until when these are all uses that it has seen of keys with two secrets.
pub(super) fn exchange(
    link: &mut RecordConnection,
    database: &mut Database,
    uses: &[KeyUse],
    fingerprints: &[(SecretId, Fingerprint)],
    saved: Option<(&str, Timestamp)>,
) -> Result<(), StoreError> {
    let seen: i64 = database
        .read(|connection| Ok(connection.query_row("SELECT notes FROM replica", [], |row| row.get(0))?))?;
    let (uses_there, of_secrets_there, fingerprints_there) = link.within(ANSWER_TIMEOUT, async |client| {
        if !uses.is_empty() {
            // in the order of their keys, so that no two gateways wait for one another
            let save = "INSERT INTO key_uses AS kept (key, last_used, address, uses)
                SELECT used.key, max(at), (array_agg(address ORDER BY at DESC))[1], sum(count)::bigint
                FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) AS used (key, at, address, count)
                JOIN keys ON keys.id = used.key GROUP BY used.key ORDER BY used.key
                ON CONFLICT (key) DO UPDATE SET uses = kept.uses + excluded.uses, noted = nextval('notes'),
                last_used = greatest(kept.last_used, excluded.last_used),
                address = CASE WHEN kept.last_used >= excluded.last_used THEN kept.address ELSE excluded.address END";
            let columns = UseColumns::of(uses.iter());
            client.query_typed(save, &columns.parameters()[..4]).await?;
            let of_secrets = UseColumns::of(uses.iter().filter(|used| used.secret.is_some()));
            if !of_secrets.keys.is_empty() {
                let save = "INSERT INTO secret_uses AS kept (key, secret, last_used, address, uses)
                    SELECT used.key, secret, at, address, count
                    FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[])
                        AS used (key, at, address, count, secret)
                    JOIN keys ON keys.id = used.key AND secret IN (keys.secret_since, keys.former_since)
                    ORDER BY used.key, secret
                    ON CONFLICT (key, secret) DO UPDATE SET uses = kept.uses + excluded.uses, noted = nextval('notes'),
                    last_used = greatest(kept.last_used, excluded.last_used),
                    address = CASE WHEN kept.last_used >= excluded.last_used THEN kept.address ELSE excluded.address END";
                client.query_typed(save, &of_secrets.parameters()).await?;
            }
        }
        if let Some((gateway, until)) = saved {
            let until = until.as_millisecond();
            let note = "UPDATE gateways SET uses_saved = greatest(uses_saved, $2) WHERE id = $1";
            client.query_typed(note, &[(&gateway, Type::TEXT), (&until, Type::INT8)]).await?;
        }
        for (secret, fingerprint) in fingerprints {
            let save = "INSERT INTO fingerprints (key, secret, pepper, mac)
                SELECT id, $4, $2, $3 FROM keys
                WHERE id = $1 AND state <> 'removed' AND $4 IN (secret_since, former_since)
                ON CONFLICT (key, secret) DO UPDATE
                SET pepper = excluded.pepper, mac = excluded.mac, noted = nextval('notes')";
            let (key, since) = (secret.key.row(), secret.since.as_millisecond());
            let (pepper, mac) = (fingerprint.pepper.0.as_slice(), fingerprint.mac.as_slice());
            let parameters = [
                (&key as _, Type::INT8),
                (&pepper as _, Type::BYTEA),
                (&mac as _, Type::BYTEA),
                (&since as _, Type::INT8),
            ];
            client.query_typed(save, &parameters).await?;
        }
        let mut found = Vec::new();
        for table in [&KEY_USES, &SECRET_USES, &FINGERPRINTS] {
            let newer = format!(
                "SELECT {}, noted FROM {} WHERE noted > $1 ORDER BY noted LIMIT $2",
                table.column_names(),
                table.name
            );
            let rows = client.query_typed(&newer, &[(&seen, Type::INT8), (&ROWS_AT_ONCE, Type::INT8)]).await?;
            let rows = rows
                .iter()
                .map(|row| Ok((table.read_postgres_row(row)?, row.try_get::<_, i64>(table.columns.len())?)))
                .collect::<Result<Vec<_>, tokio_postgres::Error>>()?;
            found.push(rows);
        }
        let fingerprints = found.pop().unwrap_or_default();
        let of_secrets = found.pop().unwrap_or_default();
        Ok((found.pop().unwrap_or_default(), of_secrets, fingerprints))
    })?;
    // if one list was cut, the others are read again from there on: reading a row twice does no harm
    let lists = [&uses_there, &of_secrets_there, &fingerprints_there];
    let cut = lists.into_iter().filter(|rows| i64::try_from(rows.len()) == Ok(ROWS_AT_ONCE));
    let cut = cut.filter_map(|rows| rows.last()).map(|(_, noted)| *noted).min();
    let newest = lists.into_iter().flatten().map(|(_, noted)| *noted).max();
    let Some(newest) = cut.or(newest) else { return Ok(()) };
    let keep = |connection: &Connection| -> Result<(), TransactionError> {
        for (row, _) in &uses_there {
            let [key, last_used, address, uses] = &row[..] else { continue };
            connection
                .prepare_cached(
                    "UPDATE keys SET last_used = ?2, last_used_address = ?3, uses = ?4 WHERE id = ?1",
                )?
                .execute([key, last_used, address, uses])?;
        }
        of_secrets_there.iter().try_for_each(|(row, _)| SECRET_USES.upsert(connection, row))?;
        fingerprints_there
            .iter()
            .try_for_each(|(row, _): &(Vec<Cell>, i64)| put_fingerprint(connection, row))?;
        connection.prepare_cached("UPDATE replica SET notes = ?1")?.execute([newest])?;
        Ok(())
    };
    database.write(keep)
}

/// Uses, column by column.
#[derive(Default)]
struct UseColumns {
    keys: Vec<i64>,
    times: Vec<i64>,
    addresses: Vec<String>,
    counts: Vec<i64>,
    secrets: Vec<i64>,
}

impl UseColumns {
    fn of<'a>(uses: impl Iterator<Item = &'a KeyUse>) -> Self {
        let mut columns = Self::default();
        for used in uses {
            columns.keys.push(used.key.row());
            columns.times.push(used.at.as_millisecond());
            columns.addresses.push(used.address.to_string());
            columns.counts.push(used.count.cast_signed());
            columns.secrets.push(used.secret.map_or(0, Timestamp::as_millisecond));
        }
        columns
    }

    fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 5] {
        [
            (&self.keys, Type::INT8_ARRAY),
            (&self.times, Type::INT8_ARRAY),
            (&self.addresses, Type::TEXT_ARRAY),
            (&self.counts, Type::INT8_ARRAY),
            (&self.secrets, Type::INT8_ARRAY),
        ]
    }
}
