//! Several gateways on one record in PostgreSQL, without faults: when the answer to a change says so, every gateway has
//! applied it.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

#[path = "../support/mod.rs"]
mod support;
#[path = "../web_page/visitor.rs"]
#[allow(dead_code, reason = "the page's own tests use more of it")]
mod visitor;

mod cluster;
mod lists;
mod receipts;
mod revocations;
mod sharing;
mod startup;
mod store_copy;
mod streams;
mod tls;
mod uses_and_fingerprints;
