//! Header blocks of several requests on one connection: h2 decodes what `wire` accepts to the same fields.
//!
//! The first byte of each block is its length.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::read_header_blocks;

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    read_header_blocks(std::iter::from_fn(|| {
        let (&length, tail) = rest.split_first()?;
        let (block, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        Some(block)
    }));
});
