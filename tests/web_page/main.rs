//! The web page over plain HTTP: what a browser would send, and what others would.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod bulk_deactivate;
mod endpoints;
mod forgery;
mod keys;
mod pages;
mod roles;
mod search;
mod signing_in;
mod visitor;

use std::sync::OnceLock;

use support::cli::Key;
use support::gateway::Gateway;
use support::stage::Stage;

/// A gateway that the tests of this program share. What they make on it, they name by a marker.
struct SharedGateway {
    stage: Stage,
    /// An account of kind user: owner of `e1`, member of `e2`, and its key.
    alice: Key,
    alice_id: String,
}

impl SharedGateway {
    fn gateway(&self) -> &Gateway {
        &self.stage.gateway
    }
}

/// The gateway that tests share where they do no harm to one another.
fn shared() -> &'static SharedGateway {
    static SHARED: OnceLock<SharedGateway> = OnceLock::new();
    SHARED.get_or_init(build)
}

fn build() -> SharedGateway {
    let stage = Stage::start();
    let gateway = &stage.gateway;
    let alice_id = gateway.create_account("alice", "user");
    gateway.add_member("e1", "alice", "owner");
    gateway.add_member("e2", "alice", "member");
    let alice = gateway.create_account_key("alice");
    SharedGateway { stage, alice, alice_id }
}
