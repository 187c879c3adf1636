//! What is kept beside the record and is no change: fingerprints and uses of keys. It may be lost, and does not
//! move the change number.

use rusqlite::Connection;

use super::error::Fault;
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
            "UPDATE keys SET uses = uses + ?4, last_used = max(last_used, ?2),
             last_used_address = CASE WHEN last_used >= ?2 THEN last_used_address ELSE ?3 END
             WHERE id = ?1",
        )?
        .execute((
            used.key.row(),
            used.at.as_millisecond(),
            used.address.to_string(),
            used.count.cast_signed(),
        ))?;
    Ok(())
}
