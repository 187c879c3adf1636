//! The gateways that share the record: which changes they have applied, and until when they may act on them.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::Type;

use super::connection::{ANSWER_TIMEOUT, RecordConnection};
use crate::store::change::ChangeHead;
use crate::store::{ChangeNumber, GatewayEntry, Gateways, StoreError};

/// A gateway's row is kept this much longer than its lease, so that lists show gateways that were killed.
const REMEMBERED: &str = "1 day";
/// The same where it may have uses of keys that it has not saved.
const REMEMBERED_WITH_USES: &str = "31 days";

/// Writes a gateway's row: its lease runs until so long from now, by the record's clock. Answers that clock's time.
pub(super) fn renew(
    link: &mut RecordConnection,
    id: &str,
    name: &str,
    applied: ChangeNumber,
    lease: Duration,
) -> Result<Timestamp, StoreError> {
    let (applied, lease) = (applied.0.cast_signed(), i64::try_from(lease.as_millis()).unwrap_or(i64::MAX));
    link.within(ANSWER_TIMEOUT, async |client| {
        let renew = "INSERT INTO gateways (id, name, applied, lease_until)
            VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond')
            ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until, name = excluded.name
            RETURNING (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        // one that was cut off may still bring uses of a secret that is to end when it is unused
        let old = format!(
            "DELETE FROM gateways WHERE lease_until < clock_timestamp() - interval '{REMEMBERED}'
             AND (uses_saved >= extract(epoch FROM lease_until) * 1000
                  OR lease_until < clock_timestamp() - interval '{REMEMBERED_WITH_USES}')"
        );
        let longest = "UPDATE record SET longest_lease = $1 WHERE longest_lease < $1";
        let parameters = [
            (&id as _, Type::TEXT),
            (&name as _, Type::TEXT),
            (&applied as _, Type::INT8),
            (&lease as _, Type::INT8),
        ];
        let of_length = [(&lease as _, Type::INT8)];
        let (now, ..) = tokio::try_join!(
            client.query_typed_one(renew, &parameters),
            client.query_typed(longest, &of_length),
            client.query_typed(&old, &[])
        )?;
        Ok(time(now.try_get(0)?))
    })
}

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}

/// Writes down which change a gateway has applied. A restored record that lacks this change does not accept it: the number
/// would be another change's.
pub(super) fn acknowledge(
    link: &mut RecordConnection,
    id: &str,
    applied: ChangeHead,
) -> Result<(), StoreError> {
    let (number, hash) = (applied.number.0.cast_signed(), applied.hash.as_slice());
    link.within(ANSWER_TIMEOUT, async |client| {
        let note = "UPDATE gateways SET applied = $2 WHERE id = $1
            AND ($2 = 0 OR EXISTS (SELECT 1 FROM changes WHERE number = $2 AND hash = $3))";
        client.query_typed(note, &[(&id, Type::TEXT), (&number, Type::INT8), (&hash, Type::BYTEA)]).await?;
        Ok(())
    })
}

/// Removes a gateway's row. Call it after the gateway's last request.
pub(super) fn remove(link: &mut RecordConnection, id: &str) -> Result<(), StoreError> {
    link.within(ANSWER_TIMEOUT, async |client| {
        client.query_typed("DELETE FROM gateways WHERE id = $1", &[(&id, Type::TEXT)]).await?;
        Ok(())
    })
}

/// Says that leases may have been lost when the record was restored. Until the longest of them has ended, no receipt is
/// complete.
pub(super) fn mark_leases_unsure(link: &mut RecordConnection) -> Result<(), StoreError> {
    link.within(ANSWER_TIMEOUT, async |client| {
        client.batch_execute(&format!("UPDATE record SET unsure_until = {LONGEST_FROM_NOW}")).await?;
        Ok(())
    })
}

/// When the longest lease ends that may have been given until now.
const LONGEST_FROM_NOW: &str =
    "greatest(unsure_until, clock_timestamp() + longest_lease * interval '1 millisecond')";

/// A standby that has taken over has a timeline of its own, and a restored dump has a database or a server of its own. Both
/// may lack leases. The same expression is in migration 1.
const TIMELINE: &str =
    "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ' ' || system_identifier
        || ' ' || pg_database.oid AS timeline
    FROM pg_control_system(), pg_database WHERE datname = current_database()";

/// All gateways, with the record's newest change and its clock.
pub(super) fn list(link: &mut RecordConnection) -> Result<Gateways, StoreError> {
    link.within(ANSWER_TIMEOUT, async |client| {
        let notice = format!(
            "UPDATE record SET timeline = server.timeline,
                unsure_until = {LONGEST_FROM_NOW}
            FROM ({TIMELINE}) AS server WHERE record.timeline <> server.timeline"
        );
        client.query_typed(&notice, &[]).await?;
        let list = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
                change_head.number, gateways.id, gateways.name,
                (extract(epoch FROM gateways.started) * 1000)::bigint, gateways.applied,
                (extract(epoch FROM gateways.lease_until) * 1000)::bigint,
                gateways.lease_until >= clock_timestamp(),
                (SELECT (extract(epoch FROM unsure_until) * 1000)::bigint FROM record
                    WHERE unsure_until > clock_timestamp()),
                gateways.uses_saved
            FROM change_head LEFT JOIN gateways ON true ORDER BY gateways.name, gateways.started";
        let rows = client.query_typed(list, &[]).await?;
        let mut found = Gateways::default();
        for row in rows {
            found.at = time(row.try_get(0)?);
            found.head = ChangeNumber(row.try_get::<_, i64>(1)?.cast_unsigned());
            found.unsure_until = row.try_get::<_, Option<i64>>(8)?.map(time);
            let Some(id) = row.try_get::<_, Option<String>>(2)? else { continue };
            found.entries.push(GatewayEntry {
                id,
                name: row.try_get(3)?,
                started: time(row.try_get(4)?),
                applied: ChangeNumber(row.try_get::<_, i64>(5)?.cast_unsigned()),
                lease_until: time(row.try_get(6)?),
                is_live: row.try_get(7)?,
                uses_saved: time(row.try_get(9)?),
            });
        }
        Ok(found)
    })
}
