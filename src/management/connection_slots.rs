//! How many connections the management listener takes, and which one it closes when there are too many.
//!
//! If all slots are taken, a connection that waits for a whole request is closed: the one that has waited longest, of
//! the source that has most. So silent connections never keep a health check out, not even one from their own address.
//! If requests under way take all slots, a few more are kept for health checks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::model::ClientSource;

/// Slots beyond the limits, for health checks only.
const HEALTH_SLOTS: usize = 16;

/// How many connections there may be: in all, and of one source address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) all: usize,
    pub(super) of_source: usize,
}

/// The slots of the listener.
#[derive(Default)]
pub(super) struct ConnectionSlots {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, Open>,
    opened: u64,
}

struct Open {
    source: ClientSource,
    /// Since when it has waited for a request; `None` while one is answered.
    waits_since: Option<Instant>,
    is_for_health: bool,
    evicted: CancellationToken,
}

/// A connection's slot. It is free again when this is dropped, or taken away when another connection needs it.
pub(super) struct Slot {
    table: Arc<Mutex<Table>>,
    number: u64,
    is_for_health: bool,
    evicted: CancellationToken,
}

impl ConnectionSlots {
    /// A slot for a connection from `source`; `None` if all are taken.
    pub(super) fn acquire(&self, source: ClientSource, limits: Limits) -> Option<Slot> {
        let mut table = locked(&self.table);
        let is_for_health = !table.make_room(source, limits);
        if is_for_health
            && table.count(|open| open.is_for_health) >= HEALTH_SLOTS
            && !table.evict_one(|open| open.is_for_health)
        {
            return None;
        }
        table.opened += 1;
        let (number, evicted) = (table.opened, CancellationToken::new());
        let waits_since = Some(Instant::now());
        table.open.insert(number, Open { source, waits_since, is_for_health, evicted: evicted.clone() });
        Some(Slot { table: Arc::clone(&self.table), number, is_for_health, evicted })
    }
}

impl Slot {
    /// A whole request is here. `false` where the connection is to be closed: then nothing may be done for it.
    pub(super) fn begin_request(&self) -> bool {
        let mut table = locked(&self.table);
        let open = table.open.get_mut(&self.number);
        open.is_some_and(|open| {
            open.waits_since = None;
            true
        })
    }

    /// The request is answered.
    pub(super) fn end_request(&self) {
        if let Some(open) = locked(&self.table).open.get_mut(&self.number) {
            open.waits_since = Some(Instant::now());
        }
    }

    /// Whether nothing but health checks may be answered.
    pub(super) fn is_for_health(&self) -> bool {
        self.is_for_health
    }

    /// Waits until the slot is taken away.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        locked(&self.table).open.remove(&self.number);
    }
}

fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// Whether there is a slot within the limits, if need be by closing another connection.
    fn make_room(&mut self, source: ClientSource, limits: Limits) -> bool {
        let of_source = |open: &Open| !open.is_for_health && open.source == source;
        if self.count(of_source) >= limits.of_source {
            return self.evict_one(of_source);
        }
        let within = |open: &Open| !open.is_for_health;
        self.count(within) < limits.all || self.evict_one(within)
    }

    fn count(&self, which: impl Fn(&Open) -> bool) -> usize {
        self.open.values().filter(|open| which(open)).count()
    }

    /// Closes the one that has waited longest for a request, of the source that has most.
    fn evict_one(&mut self, which: impl Fn(&Open) -> bool) -> bool {
        let mut counts: HashMap<ClientSource, usize> = HashMap::new();
        for open in self.open.values() {
            *counts.entry(open.source).or_default() += 1;
        }
        let waiting = self.open.iter().filter(|(_, open)| which(open));
        let first = waiting
            .filter_map(|(number, open)| Some((open.waits_since?, *number, open.source)))
            .min_by_key(|(since, number, source)| (usize::MAX - counts[source], *since, *number));
        let Some((_, number, _)) = first else { return false };
        if let Some(open) = self.open.remove(&number) {
            open.evicted.cancel();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { all: 8, of_source: 4 };

    fn source(last: u8) -> ClientSource {
        ClientSource::of([192, 0, 2, last].into())
    }

    fn is_closed(slot: &Slot) -> bool {
        slot.evicted.is_cancelled()
    }

    #[test]
    fn the_longest_idle_connection_of_the_source_with_most_is_evicted() {
        let connections = ConnectionSlots::default();
        let admit = |last| connections.acquire(source(last), LIMITS).unwrap();
        let many: Vec<_> = (0..4).map(|_| admit(1)).collect();
        let few: Vec<_> = (0..3).map(|_| admit(2)).collect();
        let other = admit(3);
        // no slot at all, and none for one more of a source
        let next = admit(4);
        assert!(is_closed(&many[0]) && !many[1..].iter().any(is_closed));
        let more = admit(1);
        assert!(!is_closed(&many[2]) && !is_closed(&few[1]), "one of the two with most gave way");
        assert!([&other, &next, &more].iter().all(|slot| !slot.is_for_health() && !is_closed(slot)));
        assert!(!many[0].begin_request(), "nothing is done for what is closed");
    }

    #[test]
    fn running_requests_stay_and_health_checks_have_slots_of_their_own() {
        let connections = ConnectionSlots::default();
        let admit = |last| connections.acquire(source(last), LIMITS);
        let busy: Vec<_> = (0..8).map(|number| admit(number / 4).unwrap()).collect();
        assert!(busy.iter().all(Slot::begin_request));
        let mut checks: Vec<_> = (0..HEALTH_SLOTS).map(|_| admit(0).unwrap()).collect();
        assert!(checks.iter().all(Slot::is_for_health));
        checks.push(admit(1).unwrap());
        assert!(is_closed(&checks[0]), "a silent one holds no such slot either");
        assert!(checks[1..].iter().all(Slot::begin_request));
        assert!(admit(2).is_none());
        assert!(!busy.iter().any(is_closed));
        busy[7].end_request();
        let next = admit(2).unwrap();
        assert!(is_closed(&busy[7]) && !next.is_for_health());
        drop(busy);
        assert!(!admit(0).unwrap().is_for_health());
    }
}
