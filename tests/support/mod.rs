//! The harness of the integration tests: the real program on free ports of the loopback interface, a real store
//! made by its own command line, an upstream that writes down every byte it gets, and clients that send raw bytes.
//!
//! A test looks at both sides: what the client was answered, and what the upstream saw. Tests that share a gateway
//! tell their requests apart by a [`marker`].

#![allow(dead_code, reason = "every test file is a crate of its own and uses its own part of the harness")]

pub mod api;
pub mod browser;
pub mod certificates;
pub mod cli;
pub mod clock;
pub mod element;
pub mod gateway;
pub mod http1;
pub mod http2;
pub mod http2_upstream;
pub mod lists;
pub mod memory;
pub mod open_streams;
pub mod postgres;
pub mod python;
pub mod random;
pub mod raw_upstream;
pub mod relay;
pub mod stage;
pub mod tls;
pub mod upstream;
pub mod webdriver;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what must happen soon. Long, because the machine may be busy: a test that passes never
/// waits this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds, looking every two milliseconds; fails with `what` after `patience`.
#[track_caller]
pub fn wait_for(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < patience, "waited {patience:?} in vain: {what}");
        std::thread::sleep(pause(since));
    }
}

/// Watches that `condition` holds for all of `time`; fails with `what` as soon as it does not.
#[track_caller]
pub fn stays(time: Duration, what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while since.elapsed() < time {
        assert!(condition(), "no longer true after {:?}: {what}", since.elapsed());
        std::thread::sleep(pause(since));
    }
}

/// How long to pause before a condition is looked at again: what takes longer is looked at less often, and leaves the
/// machine to what it waits for.
pub fn pause(since: Instant) -> Duration {
    (since.elapsed() / 10).clamp(Duration::from_millis(2), Duration::from_millis(25))
}

/// A text that no other request of this process holds, so that a test finds its own requests in a shared upstream.
/// Plain letters and digits: no rewriting between client and upstream could hide it.
pub fn marker() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("mark{}z{}z", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether `haystack` holds `needle`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    find(haystack, needle).is_some()
}

/// Where `needle` begins in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// Bytes as a failure message shows them.
pub fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
