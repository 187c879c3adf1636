//! Paths: the properties of `tests/path_property`, over whatever the fuzzer finds.
//!
//! The first byte chooses the routes, the rest is the path.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use property::{World, counter_example, gateway};

#[path = "../../tests/path_property/property.rs"]
mod property;
#[path = "../../tests/path_property/readings.rs"]
mod readings;
#[path = "../../tests/path_property/scopes.rs"]
mod scopes;

static WORLDS: LazyLock<Vec<(World, Vec<scopes::Scope>)>> = LazyLock::new(|| {
    World::all()
        .into_iter()
        .map(|world| {
            let scopes = scopes::of(&world);
            (world, scopes)
        })
        .collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((&choice, target)) = data.split_first() else { return };
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    let (world, scopes) = &WORLDS[usize::from(choice) % WORLDS.len()];
    if let Some(found) = counter_example(world, &gateway, path) {
        panic!("{found}");
    }
    if let Some(found) = scopes::counter_example(world, scopes, &scopes::matches, path) {
        panic!("{found:?}");
    }
});
