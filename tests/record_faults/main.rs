//! The record in PostgreSQL meets trouble: real gateways, a real server, and a network between them that misbehaves.

#[path = "../support/mod.rs"]
mod support;

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
