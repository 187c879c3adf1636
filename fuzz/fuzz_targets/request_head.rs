//! Requests, one after the other: hyper reads what `wire` accepts in the same way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::read_requests;

fuzz_target!(|input: &[u8]| read_requests(input));
