//! Portcullis: a gateway that stands in front of an existing HTTP API and decides, request by request, who may pass.
//!
//! # The map
//!
//! Rooms in the order of the layers; a room may use those below it, never those above or beside it
//! (`tests/layers.rs` holds this):
//!
//! | layer | room | what it is for |
//! |---|---|---|
//! | 1 | [`cli`] | the commands: parse, call, print |
//! | 2 | [`server`] | puts the parts together: start, reload, drain |
//! | 3 | [`proxy`], [`management`] | the two planes; neither knows the other |
//! | 4 | [`auth`], [`upstream`], [`telemetry`] | verification; connections to upstreams; logs and metrics |
//! | 5 | [`store`], [`wire`] | the record and its change log; bytes on sockets: HTTP/1.1 heads and bodies, HTTP/2 streams |
//! | 6 | [`policy`] | paths, routes, decisions: pure, no I/O, no clock |
//! | 7 | [`config`], then [`model`] | the YAML; keys, accounts, environments: plain data and rules |
//!
//! # The way of a request
//!
//! `proxy::worker` accepts, `proxy::connection` reads the head, and `proxy::pipeline` takes it through
//! admit → route → authenticate → decide → forward → record, a value of its own type at each step.

pub mod auth;
pub mod cli;
pub mod config;

pub mod management;
pub mod model;
pub mod policy;
pub mod proxy;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod wire;
