//! `portcullis key`, `account` and `environment` over a gateway's management API: the real program, from a folder that
//! has no configuration and no store, beside a real gateway or a server that is none.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod both_sides;
mod credentials;
mod elsewhere;
mod life;
