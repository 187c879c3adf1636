//! Unix sockets, to upstreams and from clients.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod endpoints;
mod listeners;
mod servers;
#[path = "../support/mod.rs"]
mod support;

/// Bytes that are different at every place.
fn bytes(count: usize) -> Vec<u8> {
    (0..=count as u64 / 8)
        .flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(count)
        .collect()
}
