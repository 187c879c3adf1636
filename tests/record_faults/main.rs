//! Faults of the record in PostgreSQL: real gateways, a real server, and a faulty network between them.

#[path = "../support/mod.rs"]
mod support;
#[path = "../web_page/visitor.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the page's own tests use more of it, and allow it")]
mod visitor;

mod cluster;
mod damaged_replica;
mod harness;
mod operator_errors;
mod partition;
mod paused_gateway;
mod reactivation;
mod record_restart;
mod record_unreachable;
mod rolled_back_record;
mod rotation;
mod unconfirmed_changes;
