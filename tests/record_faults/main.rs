//! The record in PostgreSQL meets trouble: real gateways, a real server, and a network between them that misbehaves.

#[path = "../support/mod.rs"]
mod support;
#[path = "../web_page/visitor.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the page's own tests use more of it, and allow it")]
mod visitor;

mod again;
mod away;
mod harness;
mod night;
mod partition;
mod replica;
mod restart;
mod rewound;
mod scene;
mod stand_still;
mod unconfirmed;
