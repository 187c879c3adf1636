//! Uses and fingerprints of keys, which are saved without a change in the log. They may be lost.

use rusqlite::Connection;

use super::error::TransactionError;
use super::{Fingerprint, KeyUse, SecretId};

/// Saves the fingerprint of a secret, in place of an older one. Does nothing for a secret that the key has no more.
pub(super) fn save_fingerprint(
    transaction: &Connection,
    secret: SecretId,
    fingerprint: &Fingerprint,
) -> Result<(), TransactionError> {
    let pepper = fingerprint.pepper.0;
    transaction.prepare_cached("INSERT OR IGNORE INTO peppers (id) VALUES (?1)")?.execute([pepper])?;
    transaction
        .prepare_cached(
            "INSERT INTO fingerprints (key, secret, pepper, mac)
             SELECT keys.id, ?4, peppers.number, ?3 FROM keys, peppers
             WHERE keys.id = ?1 AND keys.state <> 'removed' AND ?4 IN (keys.secret_since, keys.former_since)
             AND peppers.id = ?2
             ON CONFLICT (key, secret) DO UPDATE SET pepper = excluded.pepper, mac = excluded.mac",
        )?
        .execute((secret.key.row(), pepper, fingerprint.mac, secret.since.as_millisecond()))?;
    Ok(())
}

/// Saves when a key was last used, unless a later time is saved already, and adds to its uses.
pub(super) fn save_use(transaction: &Connection, used: &KeyUse) -> Result<(), TransactionError> {
    let (key, at) = (used.key.row(), used.at.as_millisecond());
    let (address, count) = (used.address.to_string(), used.count.cast_signed());
    transaction
        .prepare_cached(
            "UPDATE keys SET uses = uses + ?4, last_used = max(last_used, ?2),
             last_used_address = CASE WHEN last_used >= ?2 THEN last_used_address ELSE ?3 END
             WHERE id = ?1",
        )?
        .execute((key, at, &address, count))?;
    let Some(secret) = used.secret else { return Ok(()) };
    transaction
        .prepare_cached(
            "INSERT INTO secret_uses AS kept (key, secret, last_used, address, uses) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (key, secret) DO UPDATE SET uses = kept.uses + excluded.uses,
             address = CASE WHEN kept.last_used >= excluded.last_used THEN kept.address ELSE excluded.address END,
             last_used = max(kept.last_used, excluded.last_used)",
        )?
        .execute((key, secret.as_millisecond(), at, &address, count))?;
    Ok(())
}
