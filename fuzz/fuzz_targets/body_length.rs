//! The fields that say how long a body is, before a body and a next request: hyper sees the end of the body where
//! `wire` does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::{read_requests, read_response};

fuzz_target!(|fields: &[u8]| {
    let body = b"\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    read_requests(&[b"POST / HTTP/1.1\r\nHost: h\r\n", fields, body].concat());
    read_response(&[b"HTTP/1.1 200 OK\r\n", fields, body].concat());
});
