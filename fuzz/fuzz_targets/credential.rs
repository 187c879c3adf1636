//! Credentials: the property of `tests/credential_property`, over whatever the fuzzer finds.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/credential_property/property.rs"]
mod property;

fuzz_target!(|value: &[u8]| property::assert_read_plainly(value));
