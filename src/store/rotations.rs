//! Rotations that end once the former secret is unused.

use rusqlite::Connection;

use super::error::TransactionError;
use super::{ChangeNumber, Gateways, Store, StoreError};
use crate::model::KeyId;

/// The keys whose former secret ends once it is unused: the same statement for both kinds of record.
pub(super) const ROTATIONS: &str = "SELECT keys.id, keys.revision, keys.secret_since, keys.former_idle,
    coalesce(former.last_used, 0), coalesce(now.uses, 0)
    FROM keys
    LEFT JOIN secret_uses AS former ON former.key = keys.id AND former.secret = keys.former_since
    LEFT JOIN secret_uses AS now ON now.key = keys.id AND now.secret = keys.secret_since
    WHERE keys.former_ends > 0 AND keys.former_idle > 0";

/// What the record knows of such a rotation. Times are milliseconds since 1970, by the record's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    pub(super) key: i64,
    pub(super) revision: i64,
    pub(super) began: i64,
    /// How long nobody must use the former secret.
    pub(super) idle: i64,
    /// 0: not since the rotation.
    pub(super) former_last_used: i64,
    /// Of the new secret.
    pub(super) uses: i64,
}

impl Rotation {
    /// Whether no gateway can have used the former secret for as long as is wanted, and somebody has used the new one.
    fn is_over(&self, known: KnownUses) -> bool {
        let last = self.began.max(self.former_last_used).max(known.unknown_until);
        self.uses > 0 && known.saved_until >= last.saturating_add(self.idle)
    }
}

/// What is known of the uses of all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KnownUses {
    /// Every gateway that may act has saved its uses until then.
    saved_until: i64,
    /// Until then a gateway that is gone may have seen uses that it has not saved.
    unknown_until: i64,
}

impl KnownUses {
    /// `None` while there may be gateways that the record does not know.
    fn of(gateways: &Gateways) -> Option<Self> {
        if gateways.unsure_until.is_some() {
            return None;
        }
        let (live, gone): (Vec<_>, Vec<_>) = gateways.entries.iter().partition(|gateway| gateway.is_live);
        let saved_until = live.iter().map(|gateway| gateway.uses_saved.as_millisecond()).min()?;
        let unsaved = gone.iter().filter(|gateway| gateway.uses_saved < gateway.lease_until);
        let unknown_until = unsaved.map(|gateway| gateway.lease_until.as_millisecond()).max().unwrap_or(0);
        Some(Self { saved_until, unknown_until })
    }
}

impl Store {
    /// Whether any former secret is to end once it is unused, as far as the local copy of the record knows.
    pub fn has_rotations_until_unused(&self) -> Result<bool, StoreError> {
        self.database.read(|at| {
            let any = "SELECT EXISTS (SELECT 1 FROM keys WHERE former_ends > 0 AND former_idle > 0)";
            Ok(at.prepare_cached(any)?.query_row([], |row| row.get(0))?)
        })
    }

    /// The keys whose former secret has been unused for as long as is wanted, and the revision that says so.
    pub fn unused_former_secrets(&mut self) -> Result<Vec<(KeyId, ChangeNumber)>, StoreError> {
        // the gateways first: what they say they have saved is there when the uses are read
        let Some(known) = KnownUses::of(&self.gateways()?) else { return Ok(Vec::new()) };
        let rotations = match &mut self.record {
            Some(record) => record.rotations()?,
            None => self.database.read(rotations)?,
        };
        let over = rotations.into_iter().filter(|rotation| rotation.is_over(known));
        Ok(over
            .map(|rotation| (KeyId::from_row(rotation.key), ChangeNumber(rotation.revision.cast_unsigned())))
            .collect())
    }
}

fn rotations(connection: &Connection) -> Result<Vec<Rotation>, TransactionError> {
    let mut statement = connection.prepare_cached(ROTATIONS)?;
    let found = statement.query_map([], |row| {
        Ok(Rotation {
            key: row.get(0)?,
            revision: row.get(1)?,
            began: row.get(2)?,
            idle: row.get(3)?,
            former_last_used: row.get(4)?,
            uses: row.get(5)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::store::GatewayEntry;

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    fn gateway(is_live: bool, uses_saved: i64, lease_until: i64) -> GatewayEntry {
        GatewayEntry {
            id: String::new(),
            name: String::new(),
            started: at(0),
            applied: ChangeNumber(0),
            lease_until: at(lease_until),
            is_live,
            uses_saved: at(uses_saved),
        }
    }

    fn is_over(entries: Vec<GatewayEntry>, former_last_used: i64, uses: i64) -> bool {
        let gateways = Gateways { entries, ..Gateways::default() };
        let (began, idle) = (100_000, 50_000);
        let former_last_used = former_last_used * 1000;
        let rotation = Rotation { key: 1, revision: 1, began, idle, former_last_used, uses };
        KnownUses::of(&gateways).is_some_and(|known| rotation.is_over(known))
    }

    #[test]
    fn a_rotation_is_over_when_every_gateway_knows_that_the_former_secret_is_unused() {
        let live = |saved| gateway(true, saved, 1_000);
        assert!(is_over(vec![live(150), live(170)], 0, 1));
        assert!(
            !is_over(vec![live(149), live(170)], 0, 1),
            "one gateway may have seen a use that it has not saved"
        );
        assert!(!is_over(vec![live(150)], 0, 0), "nobody has used the new secret");
        assert!(!is_over(vec![live(179)], 130, 1) && is_over(vec![live(180)], 130, 1));
        // one that was cut off may have acted until its lease ended; one that has saved all has not
        assert!(!is_over(vec![live(199), gateway(false, 120, 150)], 0, 1));
        assert!(is_over(vec![live(200), gateway(false, 120, 150)], 0, 1));
        assert!(is_over(vec![live(150), gateway(false, 150, 150)], 0, 1));
        assert!(!is_over(vec![], 0, 1), "nobody can have saved anything");
    }
}
