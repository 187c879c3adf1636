//! Several gateways on one record in PostgreSQL, when all is well: what one does is so on all when its answer says so.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

#[path = "../support/mod.rs"]
mod support;
#[path = "../web_page/visitor.rs"]
#[allow(dead_code, reason = "the page's own tests use more of it")]
mod visitor;

mod copying;
mod house;
mod lists;
mod notes;
mod receipts;
mod rights;
mod sharing;
mod starting;
mod streams;
mod tls;
