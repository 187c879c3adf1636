//! A PostgreSQL server for the tests of this module: the one of the integration tests.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use self::postgres::Postgres;

#[path = "../../../tests/support/postgres.rs"]
#[allow(dead_code, reason = "the integration tests use more of it")]
mod postgres;
#[path = "../../../tests/support/relay.rs"]
#[allow(dead_code, reason = "the integration tests use more of it")]
mod relay;

/// How long a server may take for what it is told.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn wait_for(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The URL of an empty database of a server that all tests of this process share. It ends with the process.
pub(super) fn empty_database() -> String {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    let server = SERVER.get_or_init(Postgres::start);
    server.url(&server.create_database())
}
