//! Uses and fingerprints of keys, exchanged with the record every few seconds.

use rusqlite::Connection;
use tokio_postgres::types::Type;

use super::connection::{ANSWER_TIMEOUT, RecordConnection};
use crate::model::KeyId;
use crate::store::database::Database;
use crate::store::delta::put_fingerprint;
use crate::store::error::TransactionError;
use crate::store::tables::{Cell, FINGERPRINTS, KEY_USES};
use crate::store::{Fingerprint, KeyUse, StoreError};

/// How many rows are read at once.
const ROWS_AT_ONCE: i64 = 20_000;

/// Writes this gateway's uses and fingerprints into the record, and those of all gateways into the replica.
pub(super) fn exchange(
    link: &mut RecordConnection,
    database: &mut Database,
    uses: &[KeyUse],
    fingerprints: &[(KeyId, Fingerprint)],
) -> Result<(), StoreError> {
    let seen: i64 = database
        .read(|connection| Ok(connection.query_row("SELECT notes FROM replica", [], |row| row.get(0))?))?;
    let (uses_there, fingerprints_there) = link.within(ANSWER_TIMEOUT, async |client| {
        if !uses.is_empty() {
            let keys: Vec<i64> = uses.iter().map(|used| used.key.row()).collect();
            let times: Vec<i64> = uses.iter().map(|used| used.at.as_millisecond()).collect();
            let addresses: Vec<String> = uses.iter().map(|used| used.address.to_string()).collect();
            let counts: Vec<i64> = uses.iter().map(|used| used.count.cast_signed()).collect();
            // in the order of their keys, so that no two gateways wait for one another
            let save = "INSERT INTO key_uses AS kept (key, last_used, address, uses)
                SELECT used.* FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) AS used (key, at, address, uses)
                JOIN keys ON keys.id = used.key ORDER BY used.key
                ON CONFLICT (key) DO UPDATE SET uses = kept.uses + excluded.uses, noted = nextval('notes'),
                last_used = greatest(kept.last_used, excluded.last_used),
                address = CASE WHEN kept.last_used >= excluded.last_used THEN kept.address ELSE excluded.address END";
            client
                .query_typed(
                    save,
                    &[
                        (&keys, Type::INT8_ARRAY),
                        (&times, Type::INT8_ARRAY),
                        (&addresses, Type::TEXT_ARRAY),
                        (&counts, Type::INT8_ARRAY),
                    ],
                )
                .await?;
        }
        for (key, fingerprint) in fingerprints {
            let save = "INSERT INTO fingerprints (key, pepper, mac)
                SELECT id, $2, $3 FROM keys WHERE id = $1 AND state <> 'removed'
                ON CONFLICT (key) DO UPDATE SET pepper = excluded.pepper, mac = excluded.mac, noted = nextval('notes')";
            let (key, pepper, mac) = (key.row(), fingerprint.pepper.0.as_slice(), fingerprint.mac.as_slice());
            client.query_typed(save, &[(&key, Type::INT8), (&pepper, Type::BYTEA), (&mac, Type::BYTEA)]).await?;
        }
        let mut found = Vec::new();
        for table in [&KEY_USES, &FINGERPRINTS] {
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
        Ok((found.pop().unwrap_or_default(), fingerprints))
    })?;
    // if one list was cut, the other is read again from there on: reading a row twice does no harm
    let cut = [&uses_there, &fingerprints_there]
        .into_iter()
        .filter(|rows| i64::try_from(rows.len()) == Ok(ROWS_AT_ONCE));
    let cut = cut.filter_map(|rows| rows.last()).map(|(_, noted)| *noted).min();
    let newest = uses_there.iter().chain(&fingerprints_there).map(|(_, noted)| *noted).max();
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
        fingerprints_there
            .iter()
            .try_for_each(|(row, _): &(Vec<Cell>, i64)| put_fingerprint(connection, row))?;
        connection.prepare_cached("UPDATE replica SET notes = ?1")?.execute([newest])?;
        Ok(())
    };
    database.write(keep)
}
