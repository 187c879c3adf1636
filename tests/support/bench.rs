//! What most attack tests need: a gateway with two environments and a key of each kind.

use super::cli::Key;
use super::gateway::{Gateway, Plan};
use super::http1::{Request, Response};
use super::marker;
use super::upstream::{Recorded, Upstream};

/// A gateway with environments `e1` and `e2`.
#[derive(Debug)]
pub struct Bench {
    // first, so that the gateway ends before its upstream
    pub gateway: Gateway,
    pub upstream: Upstream,
    /// An admin account's key (attacks: key A).
    pub admin: Key,
    /// The key of environment `e1`.
    pub e1: Key,
    /// The key of environment `e2`.
    pub e2: Key,
}

impl Bench {
    /// The plain one, with the routes of [`super::gateway::ROUTES`].
    #[track_caller]
    pub fn start() -> Self {
        Self::with(|plan| plan)
    }

    /// One whose configuration `change` has adapted.
    #[track_caller]
    pub fn with(change: impl FnOnce(Plan) -> Plan) -> Self {
        let upstream = Upstream::start();
        let site = change(Plan::new(&upstream)).prepare();
        site.create_environment("e1");
        site.create_environment("e2");
        let e1 = site.create_environment_key("e1");
        let e2 = site.create_environment_key("e2");
        let admin = site.admin.clone();
        Self { gateway: site.start(), upstream, admin, e1, e2 }
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
