//! A cluster: gateways that share a record.

use crate::support::cli::Key;
use crate::support::gateway::{Gateway, Plan, Site};
use crate::support::http1::Request;
use crate::support::postgres::Postgres;
use crate::support::relay::Relay;
use crate::support::upstream::Upstream;

pub const IN_E1: &str = "/v1/projects/e1/x";
pub const IN_E2: &str = "/v1/projects/e2/x";

/// The names of the gateways, in their order.
pub const NAMES: [&str; 3] = ["gw-one", "gw-two", "gw-three"];

/// Gateways, their record, and an upstream. There are environments `e1` and `e2`.
pub struct Cluster {
    // first, so that they end before their record and their upstream
    pub gateways: Vec<Gateway>,
    pub upstream: Upstream,
    pub relay: Relay,
    pub server: Postgres,
    pub database: String,
}

impl Cluster {
    #[track_caller]
    pub fn start(count: usize) -> Self {
        Self::with(count, |plan| plan)
    }

    /// With plans that the test changes first.
    #[track_caller]
    pub fn with(count: usize, change: impl Fn(Plan) -> Plan) -> Self {
        let server = Postgres::start();
        let database = server.create_database();
        let relay = server.relay();
        let upstream = Upstream::start();
        let plan = |name: &str| change(Plan::new(&upstream).postgres(&relay.url(&database), name, "60s"));
        let first = plan(NAMES[0]).prepare();
        first.create_environment("e1");
        first.create_environment("e2");
        let joined: Vec<Site> = NAMES[1..count].iter().map(|name| plan(name).join(&first)).collect();
        let gateways = [first].into_iter().chain(joined).map(Site::start).collect();
        Self { gateways, upstream, relay, server, database }
    }

    pub fn one(&self) -> &Gateway {
        &self.gateways[0]
    }

    pub fn two(&self) -> &Gateway {
        &self.gateways[1]
    }

    /// What every gateway answers now, on several connections: they fall to different workers.
    #[track_caller]
    pub fn everywhere(&self, request: impl Fn() -> Request, key: &Key, status: u16) {
        for (gateway, name) in self.gateways.iter().zip(NAMES) {
            for _ in 0..4 {
                let answer = gateway.exchange(request().key(key).end());
                assert_eq!(answer.status, status, "{:?} with {} on {name}", request(), key.access_key);
            }
        }
    }

    /// [`Cluster::everywhere`] for reading a path.
    #[track_caller]
    pub fn all_answer(&self, path: &str, key: &Key, status: u16) {
        self.everywhere(|| Request::get(path), key, status);
    }
}
