//! What is kept beside the record and is no change: fingerprints and uses of keys. It may be lost, and does not
//! move the change number.

use rusqlite::{Connection, OptionalExtension};

use super::error::Fault;
use super::rows::{self, Parsed};
use super::{Fingerprint, KeyUse};
use crate::model::KeyId;

/// Keeps a fingerprint beside its key, in the place of an older one. For a key that was removed meanwhile it does
/// nothing.
pub(super) fn save_fingerprint(
    transaction: &Connection,
    key: KeyId,
    fingerprint: &Fingerprint,
) -> Result<(), Fault> {
    let pepper = fingerprint.pepper.0;
    transaction.prepare_cached("INSERT OR IGNORE INTO peppers (id) VALUES (?1)")?.execute([pepper])?;
    transaction
        .prepare_cached(
            "INSERT INTO fingerprints (key, pepper, mac)
             SELECT keys.id, peppers.number, ?3 FROM keys, peppers
             WHERE keys.id = ?1 AND keys.state <> 'removed' AND peppers.id = ?2
             ON CONFLICT (key) DO UPDATE SET pepper = excluded.pepper, mac = excluded.mac",
        )?
        .execute((key.row(), pepper, fingerprint.mac))?;
    Ok(())
}

/// Keeps when a key was last used, where an older time than the one kept changes nothing, and adds to how often.
pub(super) fn save_use(transaction: &Connection, used: &KeyUse) -> Result<(), Fault> {
    transaction
        .prepare_cached(
            "INSERT INTO key_use (key, used, address, uses) SELECT id, ?2, ?3, ?4 FROM keys WHERE id = ?1
             ON CONFLICT (key) DO UPDATE SET
                 uses = uses + excluded.uses,
                 used = max(used, excluded.used),
                 address = CASE WHEN excluded.used > used THEN excluded.address ELSE address END",
        )?
        .execute((
            used.key.row(),
            used.at.as_millisecond(),
            used.address.to_string(),
            used.count.cast_signed(),
        ))?;
    Ok(())
}

/// When a key was last used; its count is that of all uses.
pub(super) fn last_use(connection: &Connection, key: KeyId) -> Result<Option<KeyUse>, Fault> {
    let found = connection
        .prepare_cached("SELECT used, address, uses FROM key_use WHERE key = ?1")?
        .query_row([key.row()], |row| {
            let address = row.get::<_, Parsed<std::net::IpAddr>>("address")?.0;
            let count = row.get::<_, i64>("uses")?.cast_unsigned();
            Ok(KeyUse { key, at: rows::time(row, "used")?, address, count })
        })
        .optional()?;
    Ok(found)
}
