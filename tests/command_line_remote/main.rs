//! `portcullis key`, `account` and `environment` with `--url`: the real program in a folder without configuration and
//! store, and a real gateway or a server that is not one.

#[path = "../support/mod.rs"]
mod support;

mod credentials;
mod lifecycle_and_roles;
mod remote_machine;
mod same_output;
mod unexpected_answers;
