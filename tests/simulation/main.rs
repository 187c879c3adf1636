//! A simulation of the change log, the gateways, their leases and their clocks: thousands of schedules, each from a
//! number, which is printed where one fails and replays it.

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
