//! A client's HTTP/2 frames: h2 reads the requests that `wire` accepts in the same way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::read_frames;

fuzz_target!(|frames: &[u8]| read_frames(frames));
