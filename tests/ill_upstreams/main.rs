//! Endpoints that are ill: they hang, reset, answer 503, refuse, come back. What their upstream loses by it.

#[path = "../support/mod.rs"]
mod support;

mod ejection;
mod health_check;
mod ill_endpoint;
mod names;
mod retry;
