//! Headers that somebody believes: the server behind, a rule of the gateway, or the gateway itself where a trusted proxy
//! stands before it. Cases 92, 94, 98 and 99.

#[path = "../support/mod.rs"]
mod support;

mod forwarded;
mod headers_servers_believe;
mod trailers;
