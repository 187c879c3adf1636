//! Uses and fingerprints of keys, which are saved without a change in the log. They may be lost.

use rusqlite::Connection;

use super::error::TransactionError;
use super::{Fingerprint, KeyUse};
use crate::model::KeyId;

/// Saves the fingerprint of a key, in place of an older one. Does nothing for a key that was removed meanwhile.
pub(super) fn save_fingerprint(
    transaction: &Connection,
    key: KeyId,
    fingerprint: &Fingerprint,
) -> Result<(), TransactionError> {
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

/// Saves when a key was last used, unless a later time is saved already, and adds to its uses.
pub(super) fn save_use(transaction: &Connection, used: &KeyUse) -> Result<(), TransactionError> {
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
