//! Judging a request target takes no more than a fixed amount of work for each of its bytes, whatever they are.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::policy::{HeaderValues, RouteTable, admit_target, apply_selectors, count_work};

#[path = "../routes.rs"]
mod routes;

/// As in `src/policy/work_counter/tests.rs`.
const PER_BYTE: usize = 7;
const BESIDE: usize = 400;

static TABLE: LazyLock<RouteTable> = LazyLock::new(routes::with_selectors);

fuzz_target!(|target: &[u8]| {
    let table = &*TABLE;
    let work = count_work(|| {
        let Ok(admitted) = admit_target(target) else { return };
        if let Ok(routed) = table.classify(&admitted) {
            let _ = apply_selectors(routed, admitted.query, &|_| HeaderValues::Absent);
        }
    });
    let allowed = PER_BYTE * target.len() + BESIDE;
    assert!(work <= allowed, "{work} units of work for {} bytes, at most {allowed}", target.len());
});
