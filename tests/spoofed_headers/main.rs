//! Headers that somebody trusts: the server behind the gateway, a rule of the gateway, or the gateway itself behind a
//! trusted proxy. Cases 92, 94, 98 and 99.

#[path = "../support/mod.rs"]
mod support;

mod forwarded;
mod headers_servers_believe;
mod trailers;
