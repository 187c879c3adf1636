//! A simulation of the change log, the gateways, their leases and their clocks: thousands of schedules, each from a
//! number, which is printed where one fails and replays it (`PORTCULLIS_SEED`).
//!
//! What a gateway does next and what it may tell the record is decided by the program's own code: [`LeaseState`],
//! [`StorePosition`], [`ChangeHead`] with its hashes, [`last_common_change`], [`lost_revocation`], [`Gateways::receipt`]. Around them is a world with
//! one record, up to five gateways with clocks of their own, and commands on their machines; steps are taken in any
//! order, so that everyone is slow, paused or killed between any two. Questions and answers are lost, late, or come
//! twice; gateways stop, start, restart with their machine, lose their replica; the record is away, is followed by a
//! late standby, comes from an old backup.
//!
//! What must hold, at every step:
//!
//! - Once a receipt is complete, or the time that it names is past, no gateway lets the key pass.
//! - Nothing that a replica knows of deactivations and removals is missing where another takes its place.
//! - Nothing leaves the state "removed"; numbers and hashes follow from one another; a file of a replica only goes on.
//! - When nothing goes wrong any more, every gateway is up to date, has said so, and has a lease, within one lease.
//!
//! It is taken for granted that clocks run right within 200 millionths, that nobody sets the record's clock, that what
//! passed a gateway's look at its lease is on its way within 1.95 s, that whoever asks for a receipt knows that the
//! record still holds the change, and that a record which was put back is noticed (by the server's new timeline, or by a
//! gateway that is ahead): with what it lost may have gone leases, and until the longest has ended no receipt is whole.
//!
//! How many schedules it took to find each way of breaking the protocol:
//!
//! | broken | found after |
//! |---|---|
//! | the head is read before the lease is written | 59 |
//! | a lease is counted from when it is extended | 10 |
//! | acts and acknowledges before the workers confirm | 806 |
//! | in force before the caches have dropped it | 61 |
//! | no margin | 501 |
//! | the gateways are read before the change commits | 333 |
//! | a replica's place is compared by number only | 3 |
//! | an acknowledgement is taken by number only | 577 |
//! | a lease of another start of the machine is trusted | 21 |
//! | nothing is written back | 2 |
//! | a gateway that stops keeps its lease | 784 |
//! | an older copy of the record takes a newer one's place | 2 |
//! | a renewal does not acknowledge again | 6 |
//! | a record that was put back is sure of its leases | 38 |
//!
//! Not found in 150,000: that numbers of two files are compared ([`StorePosition::includes`]); that has a test of its own.
//!
//! [`LeaseState`]: portcullis::store::LeaseState
//! [`StorePosition`]: portcullis::store::StorePosition
//! [`StorePosition::includes`]: portcullis::store::StorePosition::includes
//! [`ChangeHead`]: portcullis::store::ChangeHead
//! [`last_common_change`]: portcullis::store::last_common_change
//! [`lost_revocation`]: portcullis::store::lost_revocation
//! [`Gateways::receipt`]: portcullis::store::Gateways::receipt

mod gateway;
mod log;
mod random;
mod record;
mod world;

use random::Random;
use world::World;

const SCHEDULES: u64 = 20_000;

#[test]
fn no_schedule_breaks_a_promise() {
    if let Ok(seed) = std::env::var("PORTCULLIS_SEED") {
        let seed = seed.parse().expect("PORTCULLIS_SEED is a number");
        if let Err(broken) = World::new(seed, true).run() {
            panic!("{broken}");
        }
        return;
    }
    let schedules = std::env::var("PORTCULLIS_SCHEDULES")
        .map_or(SCHEDULES, |number| number.parse().expect("PORTCULLIS_SCHEDULES is a number"));
    let mut seeds = Random(4);
    for schedule in 1..=schedules {
        let seed = seeds.next();
        if let Err(broken) = World::new(seed, false).run() {
            panic!(
                "schedule {schedule}: {broken}; PORTCULLIS_SEED={seed} cargo test --test simulation replays it"
            );
        }
    }
}
