//! A small cache of verified keys for each thread, by the MAC of the pair.
//!
//! The cache that all threads share is a table of tables: with ten thousand keys in use, each look-up in it reads a dozen
//! places of memory that are not in the processor's cache, and writes down that it was made. Here a look-up reads two.
//! Both caches share the entries, so a key that is invalidated or evicted there is not found here either. Of an evicted
//! key an empty shell of some 500 bytes stays until its slot is needed.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::fingerprint::Mac;
use super::identity::Identity;
use crate::store::BootInstant;

/// Slots that a key may be in: as many as fit a cache line.
const WAYS: usize = 4;
/// Sets of slots for each thread: 256 KiB.
const SETS: usize = 4096;

/// The number of the current period of about 16 s. Once in each, a key is looked up in the shared cache again, so that
/// the shared cache knows which keys are in use.
pub(super) fn period(now: BootInstant) -> u64 {
    now.0 >> 14
}

#[derive(Clone, Default)]
struct Slot {
    /// A part of the MAC.
    tag: u64,
    identity: Weak<Identity>,
}

#[repr(align(64))]
#[derive(Clone, Default)]
struct Set([Slot; WAYS]);

thread_local! {
    static CACHE: RefCell<Vec<Set>> = const { RefCell::new(Vec::new()) };
}

/// The key whose pair has this MAC, if this thread has it and it was looked up in the shared cache in this `period`.
pub(super) fn get(mac: &Mac, period: u64) -> Option<Arc<Identity>> {
    let (set, tag) = slot(mac);
    CACHE.with_borrow(|sets| {
        let slot = sets.get(set)?.0.iter().find(|slot| slot.tag == tag)?;
        let identity = slot.identity.upgrade()?;
        let is_known = !identity.is_stale()
            && identity.shared_cache_period.load(Ordering::Relaxed) == period
            && identity.mac.matches(mac);
        is_known.then_some(identity)
    })
}

/// Adds a key that the shared cache has found in this `period`.
pub(super) fn insert(mac: &Mac, identity: &Arc<Identity>, period: u64) {
    identity.shared_cache_period.store(period, Ordering::Relaxed);
    let (set, tag) = slot(mac);
    CACHE.with_borrow_mut(|sets| {
        if sets.is_empty() {
            sets.resize(SETS, Set::default());
        }
        let slots = &mut sets[set].0;
        // its own slot, else an empty one, else any
        let at = slots
            .iter()
            .position(|slot| slot.tag == tag)
            .or_else(|| slots.iter().position(|slot| slot.identity.strong_count() == 0))
            .unwrap_or(usize::from(mac.0[31]) % WAYS);
        if !std::ptr::eq(slots[at].identity.as_ptr(), Arc::as_ptr(identity)) {
            slots[at] = Slot { tag, identity: Arc::downgrade(identity) };
        }
    });
}

/// The set, and the tag within it. The MAC is as good as random.
fn slot(mac: &Mac) -> (usize, u64) {
    let tag = mac.0[..8].iter().fold(0, |tag, byte| tag << 8 | u64::from(*byte));
    (usize::try_from(tag % SETS as u64).unwrap_or_default(), tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(first: u8, last: u8) -> Mac {
        let mut bytes = [first; 32];
        bytes[31] = last;
        Mac(bytes)
    }

    fn live(id: i64, mac: Mac) -> Arc<Identity> {
        let identity = Identity::of_account_with(id, mac);
        assert!(crate::auth::cache::CacheEntry::state(&*identity).activate());
        identity
    }

    #[test]
    fn a_key_is_found_by_its_whole_mac_in_the_period_it_was_kept_in() {
        let identity = live(1, mac(1, 1));
        assert!(get(&mac(1, 1), 5).is_none());
        insert(&mac(1, 1), &identity, 5);
        assert!(get(&mac(1, 1), 5).is_some_and(|found| Arc::ptr_eq(&found, &identity)));
        assert!(get(&mac(1, 1), 6).is_none(), "the shared cache is asked again");
        assert!(get(&mac(1, 2), 5).is_none(), "the same slot and tag, another MAC");
        insert(&mac(1, 1), &identity, 6);
        assert!(get(&mac(1, 1), 6).is_some());
    }

    #[test]
    fn an_invalidated_or_dropped_key_is_not_found() {
        let (ended, gone) = (live(1, mac(1, 1)), live(2, mac(2, 1)));
        insert(&mac(1, 1), &ended, 5);
        insert(&mac(2, 1), &gone, 5);
        crate::auth::cache::CacheEntry::state(&*ended).invalidate();
        drop(gone);
        assert!(get(&mac(1, 1), 5).is_none());
        assert!(get(&mac(2, 1), 5).is_none());
    }

    #[test]
    fn a_full_set_of_four_slots_evicts_one() {
        let macs: Vec<Mac> = (1..=8)
            .map(|number| {
                let mut mac = mac(9, number);
                mac.0[0] = number;
                mac
            })
            .collect();
        let all: Vec<_> = macs.iter().map(|mac| live(1, *mac)).collect();
        for (mac, identity) in macs.iter().zip(&all) {
            insert(mac, identity, 5);
        }
        let found = macs.iter().filter(|mac| get(mac, 5).is_some()).count();
        assert_eq!(found, WAYS);
        assert!(get(&macs[7], 5).is_some(), "the last one is there");
    }
}
