//! The gateways that use the record, and which change each has applied. From this a receipt tells whether a change is in
//! force everywhere.
//!
//! This file has the queries for the embedded store: its gateways run on one machine, and its boot clock counts their
//! leases. `postgres/gateways.rs` has those for PostgreSQL.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::Connection;
use uuid::Uuid;

use super::boot_clock::{self, BootInstant};
use super::database::{Database, OpenMode};
use super::error::TransactionError;
use super::{ChangeNumber, Store, StoreError, change, process_identity};
use crate::model::State;

/// A row is kept this much longer than its lease, in milliseconds, so that lists show gateways that were killed.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;

/// No lease is longer, in milliseconds: `store.max_staleness` is a day at most. A row that has more left is of an earlier
/// start of the machine.
const LONGEST_LEASE_MS: i64 = 25 * 60 * 60 * 1000;

/// The gateways of a record at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gateways {
    /// The moment, by the record's clock.
    pub at: Timestamp,
    /// The newest change then.
    pub head: ChangeNumber,
    /// Until then there may be gateways with a lease that the record does not know, because a standby has taken over or the
    /// record was restored.
    pub unsure_until: Option<Timestamp>,
    /// By name.
    pub entries: Vec<GatewayEntry>,
}

/// A gateway, as the record knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayEntry {
    /// New at every start.
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
    /// Until when it has saved all uses of keys with two secrets, by the record's clock.
    pub uses_saved: Timestamp,
}

/// The answer to a change: which gateways have applied it, and which have not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The change.
    pub number: ChangeNumber,
    /// The gateways that have applied it.
    pub applied: Vec<GatewayEntry>,
    /// The gateways that may still act on the state before it.
    pub waiting: Vec<GatewayEntry>,
    /// Until then gateways that the record does not know may act on the state before it.
    pub unsure_until: Option<Timestamp>,
    /// Whether the record has answered.
    pub is_known: bool,
}

impl Receipt {
    /// A receipt without an answer from the record.
    pub fn unknown(number: ChangeNumber) -> Self {
        Self { number, applied: Vec::new(), waiting: Vec::new(), unsure_until: None, is_known: false }
    }

    /// Whether every gateway has applied it.
    pub fn is_complete(&self) -> bool {
        self.is_known && self.waiting.is_empty() && self.unsure_until.is_none()
    }

    /// After this time, by the record's clock, no gateway acts on the state before it. `None` if none does now.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|gateway| gateway.lease_until).chain(self.unsure_until).max()
    }
}

impl Gateways {
    /// The newest change that every gateway has applied. `None` while there may be gateways that the record does not know.
    pub fn confirmed_up_to(&self) -> Option<ChangeNumber> {
        if self.unsure_until.is_some() {
            return None;
        }
        let live = self.entries.iter().filter(|gateway| gateway.is_live);
        Some(live.map(|gateway| gateway.applied).min().unwrap_or(self.head))
    }

    /// The receipt for change `number`. Call it after the change was committed: a gateway that starts later begins with it.
    /// The receipt of a change that a restored record has lost is unknown.
    pub fn receipt(self, number: ChangeNumber) -> Receipt {
        if number > self.head {
            return Receipt::unknown(number);
        }
        let live = self.entries.into_iter().filter(|gateway| gateway.is_live);
        let (applied, waiting) = live.partition(|gateway| gateway.applied >= number);
        Receipt { number, applied, waiting, unsure_until: self.unsure_until, is_known: true }
    }
}

/// The newest change that every gateway is known to have applied. This stays true: a gateway that starts later begins with
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfirmedUpTo {
    number: ChangeNumber,
    /// Whether the record has answered, and knows all gateways.
    is_known: bool,
}

impl ConfirmedUpTo {
    /// The record has not answered, and nothing is known from before.
    pub const UNKNOWN: Self = Self { number: ChangeNumber(0), is_known: false };

    /// What [`Gateways::confirmed_up_to`] says now, and the newest change of which it was known before.
    pub fn new(now: Option<ChangeNumber>, before: ChangeNumber) -> Self {
        Self { number: now.unwrap_or_default().max(before), is_known: now.is_some() }
    }

    /// The number of that change.
    pub fn number(self) -> ChangeNumber {
        self.number
    }

    /// Whether some gateway may not have applied change `revision`, which brought an object into `state`. While the record
    /// does not answer, this is assumed of deactivated and removed objects, and not of active ones.
    pub fn is_pending(self, revision: ChangeNumber, state: State) -> bool {
        revision > self.number && (self.is_known || state != State::Active)
    }
}

/// How long an answer waits for the gateways. They apply a change within milliseconds; a longer wait is reported.
pub const RECEIPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to pause before the gateways are asked for again: a tenth of the time waited so far, within limits, so that the
/// record is not asked a hundred times a second.
pub fn receipt_poll_interval(waited: Duration) -> Duration {
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

    /// The newest change that every gateway is known to have applied. If the record did not answer a moment ago, it is not
    /// asked again.
    pub fn confirmed_up_to(&mut self) -> ConfirmedUpTo {
        if self.record.as_ref().is_some_and(|record| !record.is_connected()) {
            return ConfirmedUpTo::UNKNOWN;
        }
        self.gateways().map_or(ConfirmedUpTo::UNKNOWN, |found| {
            ConfirmedUpTo::new(found.confirmed_up_to(), ChangeNumber(0))
        })
    }

    /// Waits until every gateway has applied change `number`, for [`RECEIPT_TIMEOUT`] at most.
    pub fn receipt(&mut self, number: ChangeNumber) -> Result<Receipt, StoreError> {
        let begun = Instant::now();
        loop {
            let receipt = self.gateways()?.receipt(number);
            if receipt.is_complete() || begun.elapsed() >= RECEIPT_TIMEOUT {
                return Ok(receipt);
            }
            std::thread::sleep(receipt_poll_interval(begun.elapsed()));
        }
    }
}

pub(super) fn list(connection: &Connection) -> Result<Gateways, TransactionError> {
    let (now, boot, wall) = (BootInstant::now(), boot_clock::boot_id(), Timestamp::now());
    // where /proc is not mounted, a process does not know the id of the boot: its row counts as of this one, so that no
    // receipt leaves out a gateway that runs
    let mut statement = connection.prepare_cached(
        "SELECT id, name, started, applied, lease_until, boot = ?1 OR boot = '' OR ?1 = '', process, uses_saved
         FROM gateways ORDER BY name, started",
    )?;
    let entries = statement.query_map([boot], |row| {
        let (lease, may_be_of_this_boot): (i64, bool) = (row.get(4)?, row.get(5)?);
        let left = lease.saturating_sub(now.0.cast_signed());
        let wall_at = |milliseconds: i64| Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MIN);
        Ok(GatewayEntry {
            id: row.get(0)?,
            name: row.get(1)?,
            started: wall_at(row.get(2)?),
            applied: ChangeNumber(row.get::<_, i64>(3)?.cast_unsigned()),
            lease_until: wall_at(wall.as_millisecond().saturating_add(left)),
            is_live: may_be_of_this_boot
                && (0..=LONGEST_LEASE_MS).contains(&left)
                && !process_identity::has_ended(&row.get::<_, String>(6)?),
            uses_saved: wall_at(row.get(7)?),
        })
    })?;
    let entries = entries.collect::<Result<_, _>>()?;
    Ok(Gateways { at: wall, head: change::head(connection)?.number, unsure_until: None, entries })
}

/// A gateway's own row in an embedded store, by which others know that it runs. Its methods block.
#[derive(Debug)]
pub struct GatewayRegistration {
    database: Database,
    id: String,
    name: String,
    process: String,
    lease: Duration,
}

impl GatewayRegistration {
    /// Writes the row, before the gateway reads anything.
    pub fn register(path: &Path, name: &str, lease: Duration) -> Result<Self, StoreError> {
        let mut database = Database::open(path, OpenMode::Relaxed)?;
        // the row comes first of all that a gateway does, so here an older store is brought up to date
        database.migrate()?;
        let id = Uuid::new_v4().simple().to_string();
        let mut registration =
            Self { database, id, name: name.to_owned(), process: process_identity::current(), lease };
        registration.renew(ChangeNumber(0), Timestamp::UNIX_EPOCH)?;
        Ok(registration)
    }

    /// Says that the gateway has applied every change up to `applied`, runs for another lease, and has saved the uses of keys
    /// with two secrets until then.
    pub fn renew(&mut self, applied: ChangeNumber, uses_saved: Timestamp) -> Result<(), StoreError> {
        let (now, boot) = (BootInstant::now(), boot_clock::boot_id());
        let Self { database, id, name, process, lease } = self;
        database.write(|connection| {
            connection
                .prepare_cached(
                    "DELETE FROM gateways WHERE (boot <> ?1 AND boot <> '' AND ?1 <> '')
                     OR lease_until NOT BETWEEN ?2 AND ?3",
                )?
                .execute((
                    boot,
                    now.0.cast_signed().saturating_sub(REMEMBERED_MS),
                    now.0.cast_signed().saturating_add(LONGEST_LEASE_MS),
                ))?;
            connection
                .prepare_cached(
                    "INSERT INTO gateways (id, name, started, applied, boot, process, lease_until, uses_saved)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                     ON CONFLICT (id) DO UPDATE SET applied = excluded.applied, lease_until = excluded.lease_until,
                     uses_saved = excluded.uses_saved",
                )?
                .execute((
                    &*id,
                    &*name,
                    Timestamp::now().as_millisecond(),
                    applied.0.cast_signed(),
                    boot,
                    &*process,
                    (now + *lease).0.cast_signed(),
                    uses_saved.as_millisecond().max(0),
                ))?;
            Ok(())
        })
    }

    /// Removes the row. Call it after the gateway's last request.
    pub fn deregister(&mut self) -> Result<(), StoreError> {
        let Self { database, id, .. } = self;
        database.write(|connection| {
            connection.prepare_cached("DELETE FROM gateways WHERE id = ?1")?.execute([&*id])?;
            Ok(())
        })
    }
}
