//! A gateway in front of an upstream, with two environments and a key for each: what most tests need.

use super::cli::Key;
use super::gateway::{Gateway, Plan};
use super::http1::{Request, Response};
use super::marker;
use super::upstream::{Recorded, Upstream};

/// Upstream, gateway, keys.
#[derive(Debug)]
pub struct Stage {
    // first, so that the gateway ends before its upstream
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

    /// Sends a request that must reach the upstream and be answered 200; returns what the upstream saw.
    ///
    /// The request gets a marker and ends here.
    #[track_caller]
    pub fn passes(&self, request: Request) -> Recorded {
        let mark = marker();
        let bytes = request.mark(&mark).end();
        let answer = self.gateway.exchange(&bytes);
        assert_eq!(answer.status, 200, "{}\n{answer:?}", String::from_utf8_lossy(&bytes));
        self.upstream.only(&mark)
    }

    /// Sends a request that the gateway must refuse with one of these statuses, and of which the upstream must see
    /// nothing.
    ///
    /// The request gets a marker and ends here.
    #[track_caller]
    pub fn refuses(&self, request: Request, statuses: &[u16]) -> Response {
        let mark = marker();
        let bytes = request.mark(&mark).end();
        let answer = self.gateway.exchange(&bytes);
        let about = String::from_utf8_lossy(&bytes).into_owned();
        assert!(statuses.contains(&answer.status), "expected {statuses:?} for\n{about}\nsaw\n{answer:?}");
        if !bytes.starts_with(b"HEAD ") {
            answer.assert_refused(answer.status);
        }
        self.upstream.assert_unseen(&mark, &about);
        answer
    }
}
