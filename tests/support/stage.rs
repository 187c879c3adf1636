//! A gateway in front of an upstream, with two environments and a key for each: what most tests need.

use super::cli::Key;
use super::gateway::{Gateway, Plan};
use super::http1::Request;
use super::upstream::Upstream;

/// Upstream, gateway, keys.
#[derive(Debug)]
pub struct Stage {
    pub gateway: Gateway,
    pub upstream: Upstream,
    /// The key of environment `e1`.
    pub e1: Key,
    /// The key of environment `e2`.
    pub e2: Key,
}

impl Stage {
    /// A gateway as [`Plan::new`] describes it.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(|plan| plan)
    }

    /// A gateway whose plan the test changes first.
    #[track_caller]
    pub fn with(change: impl FnOnce(Plan) -> Plan) -> Self {
        let upstream = Upstream::start();
        let site = change(Plan::new(&upstream)).prepare();
        site.create_environment("e1");
        site.create_environment("e2");
        let e1 = site.create_environment_key("e1");
        let e2 = site.create_environment_key("e2");
        Self { gateway: site.start(), upstream, e1, e2 }
    }

    /// A request into `e1` with its key.
    pub fn request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target).key(&self.e1)
    }
}
