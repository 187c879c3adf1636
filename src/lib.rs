//! Portcullis: a gateway that stands in front of an existing HTTP API and decides, request by request, who may pass.
//!
//! # Modules
//!
//! The modules by layer. A module may use those below it, never those above or beside it (`tests/layers.rs` checks
//! this):
//!
//! | layer | module | what it is for |
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
//! `proxy::accept` takes the connection, `proxy::http1_connection` or `proxy::http2_connection` reads the head, and
//! `proxy::pipeline` shows the six steps in one function: admit → route → authenticate → decide → forward → record. Each
//! step has a file of its own and hands on a value of its own type.
//!
//! A request to the management listener goes through `management::service`: `admit` (host, origin, body) → `identify`
//! (the caller) → `api` or `ui`, which read what it asks for, call `management::operations`, and render the outcome. An
//! operation asks `policy::authorize`, has `store::AsyncStore` make the change, and waits until the gateways have applied it.

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
