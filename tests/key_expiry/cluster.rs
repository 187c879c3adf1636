//! Gateways that share a record, each with a wall clock of its own that may be wrong.

use jiff::SignedDuration;

use crate::support::clock::WallClock;
use crate::support::gateway::{Gateway, Plan, Site};
use crate::support::postgres::Postgres;
use crate::support::relay::Relay;
use crate::support::upstream::Upstream;

const NAMES: [&str; 3] = ["gw-one", "gw-two", "gw-three"];

/// Three gateways. There is an environment `e1`. The record's clock is right.
pub struct Cluster {
    // first, so that they end before their record and their upstream
    pub gateways: Vec<Gateway>,
    pub clocks: Vec<WallClock>,
    pub relay: Relay,
    _server: Postgres,
    _upstream: Upstream,
}

impl Cluster {
    /// Each gateway's clock is ahead of the true time by so much.
    #[track_caller]
    pub fn start(ahead: [SignedDuration; 3]) -> Self {
        let server = Postgres::start();
        let database = server.create_database();
        let relay = server.relay();
        let upstream = Upstream::start();
        let plan = |name: &str| Plan::new(&upstream).postgres(&relay.url(&database), name, "60s");
        let first = plan(NAMES[0]).prepare();
        first.create_environment("e1");
        let joined: Vec<Site> = NAMES[1..].iter().map(|name| plan(name).join(&first)).collect();
        let (mut gateways, mut clocks) = (Vec::new(), Vec::new());
        for (site, ahead) in [first].into_iter().chain(joined).zip(ahead) {
            let clock = WallClock::in_directory(site.directory());
            clock.set_ahead(ahead);
            gateways.push(site.environment(clock.environment()).start());
            clocks.push(clock);
        }
        Self { gateways, clocks, relay, _server: server, _upstream: upstream }
    }

    /// All clocks are right.
    #[track_caller]
    pub fn with_right_clocks() -> Self {
        Self::start([SignedDuration::ZERO; 3])
    }

    pub fn one(&self) -> &Gateway {
        &self.gateways[0]
    }
}
