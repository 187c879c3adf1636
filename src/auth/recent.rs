//! The keys that a thread has met lately, found by the MAC of their pair.
//!
//! The cache that all threads share is a table of tables: with ten thousand keys in use, each look-up in it reads a
//! dozen places of memory that are not in the processor's cache, and writes down that it was made. Here a key is found
//! in two. It is the cache's own entry, which ends for both at once: what has left the cache, or has ended there, is
//! not found here either. Of what has left, an empty shell of some 500 bytes stays until its place is needed.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::fingerprint::Mac;
use super::identity::Identity;
use crate::store::BootTime;

/// Places that a key may be in: as many as fit a cache line.
const WAYS: usize = 4;
/// How many times as many places a thread has, in 256 KiB.
const SETS: usize = 4096;

/// Sixteen seconds, about: how exactly the shared cache knows which keys are in use.
pub(super) fn period(now: BootTime) -> u64 {
    now.0 >> 14
}

#[derive(Clone, Default)]
struct Place {
    /// A part of the MAC.
    tag: u64,
    identity: Weak<Identity>,
}

#[repr(align(64))]
#[derive(Clone, Default)]
struct Set([Place; WAYS]);

thread_local! {
    static MET: RefCell<Vec<Set>> = const { RefCell::new(Vec::new()) };
}

/// The key whose pair has this MAC, if this thread has met it and the shared cache was asked for it in this `period`:
/// so that the cache knows which keys are in use.
pub(super) fn find(mac: &Mac, period: u64) -> Option<Arc<Identity>> {
    let (set, tag) = place(mac);
    MET.with_borrow(|sets| {
        let place = sets.get(set)?.0.iter().find(|place| place.tag == tag)?;
        let identity = place.identity.upgrade()?;
        let is_known = !identity.is_stale()
            && identity.asked_for.load(Ordering::Relaxed) == period
            && identity.mac.matches(mac);
        is_known.then_some(identity)
    })
}

/// Remembers what the shared cache has found in this `period`.
pub(super) fn keep(mac: &Mac, identity: &Arc<Identity>, period: u64) {
    identity.asked_for.store(period, Ordering::Relaxed);
    let (set, tag) = place(mac);
    MET.with_borrow_mut(|sets| {
        if sets.is_empty() {
            sets.resize(SETS, Set::default());
        }
        let places = &mut sets[set].0;
        // its own, else one that nothing is in, else any
        let at = places
            .iter()
            .position(|place| place.tag == tag)
            .or_else(|| places.iter().position(|place| place.identity.strong_count() == 0))
            .unwrap_or(usize::from(mac.0[31]) % WAYS);
        if !std::ptr::eq(places[at].identity.as_ptr(), Arc::as_ptr(identity)) {
            places[at] = Place { tag, identity: Arc::downgrade(identity) };
        }
    });
}

/// Which set, and what tells those in it apart. The MAC is as good as random.
fn place(mac: &Mac) -> (usize, u64) {
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
        assert!(crate::auth::cache::Entry::life(&*identity).begin());
        identity
    }

    #[test]
    fn a_key_is_found_by_its_whole_mac_in_the_period_it_was_kept_in() {
        let identity = live(1, mac(1, 1));
        assert!(find(&mac(1, 1), 5).is_none());
        keep(&mac(1, 1), &identity, 5);
        assert!(find(&mac(1, 1), 5).is_some_and(|found| Arc::ptr_eq(&found, &identity)));
        assert!(find(&mac(1, 1), 6).is_none(), "the shared cache is asked again");
        assert!(find(&mac(1, 2), 5).is_none(), "the same place and tag, another MAC");
        keep(&mac(1, 1), &identity, 6);
        assert!(find(&mac(1, 1), 6).is_some());
    }

    #[test]
    fn what_has_ended_or_is_gone_is_not_found() {
        let (ended, gone) = (live(1, mac(1, 1)), live(2, mac(2, 1)));
        keep(&mac(1, 1), &ended, 5);
        keep(&mac(2, 1), &gone, 5);
        crate::auth::cache::Entry::life(&*ended).end();
        drop(gone);
        assert!(find(&mac(1, 1), 5).is_none());
        assert!(find(&mac(2, 1), 5).is_none());
    }

    #[test]
    fn a_set_holds_four_and_then_gives_a_place_away() {
        let macs: Vec<Mac> = (1..=8)
            .map(|number| {
                let mut mac = mac(9, number);
                mac.0[0] = number;
                mac
            })
            .collect();
        let all: Vec<_> = macs.iter().map(|mac| live(1, *mac)).collect();
        for (mac, identity) in macs.iter().zip(&all) {
            keep(mac, identity, 5);
        }
        let found = macs.iter().filter(|mac| find(mac, 5).is_some()).count();
        assert_eq!(found, WAYS);
        assert!(find(&macs[7], 5).is_some(), "the last one is there");
    }
}
