//! An upstream's answer: hyper reads what `wire` accepts in the same way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::read_response;

fuzz_target!(|input: &[u8]| read_response(input));
