//! Bodies in chunks, of a request and of a response: hyper reads what `wire` accepts in the same way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::{read_requests, read_response};

fuzz_target!(|chunks: &[u8]| {
    let framing = b"Transfer-Encoding: chunked\r\n\r\n";
    let next = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    read_requests(&[b"POST / HTTP/1.1\r\nHost: h\r\n", &framing[..], chunks, next].concat());
    read_response(&[b"HTTP/1.1 200 OK\r\n", &framing[..], chunks].concat());
});
