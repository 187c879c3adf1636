//! Which gateways use the record, and what each has applied: from this a receipt tells whether a key is dead.
//!
//! Here for the embedded store: its gateways are on one machine, and their leases are counted by its boot clock.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::Connection;
use uuid::Uuid;

use super::boot::{self, BootTime};
use super::database::{Database, Purpose};
use super::error::Fault;
use super::{ChangeNumber, Store, StoreError, change};
use crate::model::State;

/// A row outlives its lease by this, in milliseconds, so that a list shows who has gone without saying so.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;

/// The gateways of a record at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gateways {
    /// The moment, by the record's clock.
    pub at: Timestamp,
    /// The newest change then.
    pub head: ChangeNumber,
    /// Until then there may be gateways with a lease that the record does not know of: it is a standby that has taken
    /// over, or was put back.
    pub unsure_until: Option<Timestamp>,
    /// By name.
    pub entries: Vec<GatewayEntry>,
}

/// A gateway, as the record knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayEntry {
    /// Made anew at every start.
    pub id: String,
    /// What its operator calls it.
    pub name: String,
    /// When it started.
    pub started: Timestamp,
    /// Every change up to this one is in force there.
    pub applied: ChangeNumber,
    /// Until when it may act on what it has applied, by the record's clock.
    pub lease_until: Timestamp,
    /// Whether that is not past.
    pub is_live: bool,
}

/// The answer to a change: where it is in force, and where it is not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The change.
    pub number: ChangeNumber,
    /// The gateways where it is in force.
    pub applied: Vec<GatewayEntry>,
    /// Those that may still act on what was before.
    pub waiting: Vec<GatewayEntry>,
    /// Until then gateways that the record does not know of may act on what was before.
    pub unsure_until: Option<Timestamp>,
    /// Whether the record could be asked.
    pub is_known: bool,
}

impl Receipt {
    /// Nobody could be asked.
    pub fn unknown(number: ChangeNumber) -> Self {
        Self { number, applied: Vec::new(), waiting: Vec::new(), unsure_until: None, is_known: false }
    }

    /// Whether it is in force everywhere.
    pub fn is_complete(&self) -> bool {
        self.is_known && self.waiting.is_empty() && self.unsure_until.is_none()
    }

    /// After this time, by the record's clock, no gateway acts on what was before; `None` where none does already.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|gateway| gateway.lease_until).chain(self.unsure_until).max()
    }
}

impl Gateways {
    /// The newest change that is in force on every gateway; `None` while there may be some that the record does not know
    /// of.
    pub fn confirmed_up_to(&self) -> Option<ChangeNumber> {
        if self.unsure_until.is_some() {
            return None;
        }
        let live = self.entries.iter().filter(|gateway| gateway.is_live);
        Some(live.map(|gateway| gateway.applied).min().unwrap_or(self.head))
    }

    /// Where change `number` is in force. To be asked after it was committed: a gateway that starts later begins with
    /// it. Of a change that a record which was put back has lost, nobody can say anything.
    pub fn receipt(self, number: ChangeNumber) -> Receipt {
        if number > self.head {
            return Receipt::unknown(number);
        }
        let live = self.entries.into_iter().filter(|gateway| gateway.is_live);
        let (applied, waiting) = live.partition(|gateway| gateway.applied >= number);
        Receipt { number, applied, waiting, unsure_until: self.unsure_until, is_known: true }
    }
}

/// Up to which change all is known to be in force on every gateway. What was once in force everywhere stays so: a gateway
/// that starts later begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfirmedUpTo {
    number: ChangeNumber,
    /// Whether the gateways could be asked, and none is missing among them.
    is_known: bool,
}

impl ConfirmedUpTo {
    /// Nobody can be asked, and nothing is known from before.
    pub const UNKNOWN: Self = Self { number: ChangeNumber(0), is_known: false };

    /// What [`Gateways::confirmed_up_to`] says now, and the newest change of which it was known before.
    pub fn new(now: Option<ChangeNumber>, before: ChangeNumber) -> Self {
        Self { number: now.unwrap_or_default().max(before), is_known: now.is_some() }
    }

    /// The newest of these changes.
    pub fn number(self) -> ChangeNumber {
        self.number
    }

    /// Whether an object that change `revision` has brought into its state may be in another one for some gateway. While
    /// nobody can be asked this is assumed of what was taken away; of what is active there is nothing to fear.
    pub fn is_pending(self, revision: ChangeNumber, state: State) -> bool {
        revision > self.number && (self.is_known || state != State::Active)
    }
}

/// How long an answer waits for the gateways. A change is in force within milliseconds; what lasts longer is told.
pub const RECEIPT_PATIENCE: Duration = Duration::from_secs(5);

/// How long to pause before the gateways are looked at again, by how long they were waited for: what is slow may be told
/// a tenth later, and the record is not asked a hundred times a second for it.
pub fn receipt_pause(waited: Duration) -> Duration {
    let longest = (waited / 10).clamp(Duration::from_millis(10), Duration::from_millis(100));
    waited.clamp(Duration::from_millis(2), longest)
}

impl Store {
    /// Which gateways there are, and what each has applied.
    pub fn gateways(&mut self) -> Result<Gateways, StoreError> {
        match &mut self.record {
            Some(record) => record.gateways(),
            None => self.database.read(list),
        }
    }

    /// Up to which change all is known to be in force everywhere. A record that was away a moment ago is not waited for
    /// again.
    pub fn confirmed_up_to(&mut self) -> ConfirmedUpTo {
        if self.record.as_ref().is_some_and(|record| !record.is_connected()) {
            return ConfirmedUpTo::UNKNOWN;
        }
        self.gateways().map_or(ConfirmedUpTo::UNKNOWN, |found| {
            ConfirmedUpTo::new(found.confirmed_up_to(), ChangeNumber(0))
        })
    }

    /// Waits until change `number` is in force on every gateway, or [`RECEIPT_PATIENCE`] is over.
    pub fn receipt(&mut self, number: ChangeNumber) -> Result<Receipt, StoreError> {
        let begun = Instant::now();
        loop {
            let receipt = self.gateways()?.receipt(number);
            if receipt.is_complete() || begun.elapsed() >= RECEIPT_PATIENCE {
                return Ok(receipt);
            }
            std::thread::sleep(receipt_pause(begun.elapsed()));
        }
    }
}

pub(super) fn list(connection: &Connection) -> Result<Gateways, Fault> {
    let (now, boot, wall) = (BootTime::now(), boot::id(), Timestamp::now());
    let mut statement = connection.prepare_cached(
        "SELECT id, name, started, applied, lease_until, boot = ?1, process FROM gateways ORDER BY name, started",
    )?;
    let entries = statement.query_map([boot], |row| {
        let (lease, is_of_this_boot): (i64, bool) = (row.get(4)?, row.get(5)?);
        let left = lease.saturating_sub(now.0.cast_signed());
        let wall_at = |milliseconds: i64| Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MIN);
        Ok(GatewayEntry {
            id: row.get(0)?,
            name: row.get(1)?,
            started: wall_at(row.get(2)?),
            applied: ChangeNumber(row.get::<_, i64>(3)?.cast_unsigned()),
            lease_until: wall_at(wall.as_millisecond().saturating_add(left)),
            is_live: is_of_this_boot && left >= 0 && !boot::has_ended(&row.get::<_, String>(6)?),
        })
    })?;
    let entries = entries.collect::<Result<_, _>>()?;
    Ok(Gateways { at: wall, head: change::head(connection)?.number, unsure_until: None, entries })
}

/// A gateway's own row in an embedded store. Its methods block.
#[derive(Debug)]
pub struct Presence {
    database: Database,
    id: String,
    name: String,
    process: String,
    lease: Duration,
}

impl Presence {
    /// Writes the row, before the gateway reads anything.
    pub fn begin(path: &Path, name: &str, lease: Duration) -> Result<Self, StoreError> {
        let database = Database::open(path, Purpose::Notes)?;
        let id = Uuid::new_v4().simple().to_string();
        let mut presence = Self { database, id, name: name.to_owned(), process: boot::process(), lease };
        presence.renew(ChangeNumber(0))?;
        Ok(presence)
    }

    /// Says that every change up to `applied` is in force here, and that the gateway is there for another lease.
    pub fn renew(&mut self, applied: ChangeNumber) -> Result<(), StoreError> {
        let (now, boot) = (BootTime::now(), boot::id());
        let Self { database, id, name, process, lease } = self;
        database.write(|connection| {
            connection
                .prepare_cached("DELETE FROM gateways WHERE boot <> ?1 OR lease_until < ?2")?
                .execute((boot, now.0.cast_signed().saturating_sub(REMEMBERED_MS)))?;
            connection
                .prepare_cached(
                    "INSERT INTO gateways (id, name, started, applied, boot, process, lease_until)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (id) DO UPDATE SET applied = excluded.applied, lease_until = excluded.lease_until",
                )?
                .execute((
                    &*id,
                    &*name,
                    Timestamp::now().as_millisecond(),
                    applied.0.cast_signed(),
                    boot,
                    &*process,
                    (now + *lease).0.cast_signed(),
                ))?;
            Ok(())
        })
    }

    /// Takes the row away: after the gateway's last request.
    pub fn end(&mut self) -> Result<(), StoreError> {
        let Self { database, id, .. } = self;
        database.write(|connection| {
            connection.prepare_cached("DELETE FROM gateways WHERE id = ?1")?.execute([&*id])?;
            Ok(())
        })
    }
}
