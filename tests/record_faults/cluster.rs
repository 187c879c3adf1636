//! A cluster: gateways that share a record. Each reaches it through a relay of its own, which tests can disturb.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::cli::{Key, Outcome};
use crate::support::gateway::{Gateway, Plan, Site};
use crate::support::http1::{Client, Request, Response};
use crate::support::postgres::Postgres;
use crate::support::relay::Relay;
use crate::support::upstream::{Answer, Upstream};
use crate::support::{PATIENCE, marker, pause, wait_for};

/// How long a gateway may act on what it has applied.
pub const LEASE: Duration = Duration::from_secs(3);

/// A lease that is still longer than answers wait for gateways when it was renewed a while ago.
pub const LONG_LEASE: Duration = Duration::from_secs(7);

/// How soon a gateway is back, or refuses.
pub const SOON: Duration = Duration::from_secs(2);

/// The pause between two requests of a steady load.
pub const OFTEN: Duration = Duration::from_millis(10);

pub const PATH: &str = "/v1/projects/e1/x";

/// A record, an upstream, and a key of environment `e1`.
pub struct Cluster {
    pub server: Postgres,
    pub upstream: Upstream,
    pub database: String,
    /// The operator's command line, with the first admin's key and an undisturbed connection.
    pub operator_site: Site,
    pub key: Key,
}

/// A gateway and its relay.
pub struct Node {
    // first, so that it ends before its relay
    pub gateway: Gateway,
    pub relay: Relay,
}

impl Cluster {
    #[track_caller]
    pub fn start() -> Self {
        Self::on(Postgres::start())
    }

    #[track_caller]
    pub fn on(server: Postgres) -> Self {
        let database = server.create_database();
        let upstream = Upstream::start();
        let operator_site = plan(&upstream, &server.url(&database), "office").prepare();
        operator_site.create_environment("e1");
        let key = operator_site.create_environment_key("e1");
        Self { server, upstream, database, operator_site, key }
    }

    pub fn plan(&self, relay: &Relay, name: &str) -> Plan {
        plan(&self.upstream, &relay.url(&self.database), name)
    }

    /// One more gateway, with a lease that lasts longer than answers wait for gateways.
    #[track_caller]
    pub fn node_with_long_lease(&self, name: &str) -> Node {
        let relay = self.server.relay();
        let plan =
            Plan::new(&self.upstream).postgres(&relay.url(&self.database), name, &format!("{LONG_LEASE:?}"));
        Node { gateway: plan.join(&self.operator_site).start(), relay }
    }

    /// One more gateway's directory, and its relay.
    #[track_caller]
    pub fn site(&self, name: &str) -> (Site, Relay) {
        let relay = self.server.relay();
        (self.plan(&relay, name).join(&self.operator_site), relay)
    }

    /// One more gateway.
    #[track_caller]
    pub fn node(&self, name: &str) -> Node {
        let (site, relay) = self.site(name);
        Node { gateway: site.start(), relay }
    }

    #[track_caller]
    pub fn new_key(&self) -> Key {
        self.operator_site.create_environment_key("e1")
    }

    /// Deactivates a key by the operator's command line.
    pub fn deactivate(&self, key: &Key) -> Outcome {
        self.operator_site.run(&["key", "deactivate", &key.access_key])
    }

    /// How many changes the record has.
    pub fn changes(&self) -> usize {
        let count = self.server.sql(&self.database, "SELECT count(*) FROM portcullis.changes");
        count.parse().expect("a number")
    }

    /// The record is another server from now on.
    pub fn move_to(&mut self, server: Postgres) {
        let old = std::mem::replace(&mut self.server, server);
        let config = std::fs::read_to_string(self.operator_site.config()).expect("the configuration");
        let (from, to) = (old.url(&self.database), self.server.url(&self.database));
        std::fs::write(self.operator_site.config(), config.replace(&from, &to)).expect("the configuration");
    }

    /// What the record says of a key.
    pub fn state(&self, key: &Key) -> String {
        let sql = format!("SELECT state FROM portcullis.keys WHERE access_key = '{}'", key.access_key);
        self.server.sql(&self.database, &sql)
    }
}

fn plan(upstream: &Upstream, url: &str, name: &str) -> Plan {
    Plan::new(upstream).postgres(url, name, &format!("{}s", LEASE.as_secs()))
}

impl Node {
    /// The answer to a request with a key.
    #[track_caller]
    pub fn ask(&self, key: &Key) -> Response {
        self.gateway.exchange(Request::get(PATH).key(key).end())
    }

    #[track_caller]
    pub fn status(&self, key: &Key) -> u16 {
        self.ask(key).status
    }

    /// The status of the answer to a request with a key; 0 where the connection is cut: an answer that is under way
    /// when a lease ends goes no further.
    fn status_or_cut(&self, key: &Key) -> u16 {
        let mut client = self.gateway.connect();
        if client.try_send(Request::get(PATH).key(key).end()).is_err() {
            return 0;
        }
        client.try_read(false, PATIENCE).map_or(0, |answer| answer.status)
    }

    /// Waits until a key is answered so.
    #[track_caller]
    pub fn soon(&self, within: Duration, key: &Key, status: u16) {
        let mut seen = Vec::new();
        let about = format!("{} is answered {status}", key.access_key);
        let since = Instant::now();
        loop {
            // every worker must: connections fall to any
            seen.push((0..6).map(|_| self.status_or_cut(key)).collect::<Vec<_>>());
            if seen.last().is_some_and(|seen| seen.iter().all(|&seen| seen == status)) {
                return;
            }
            assert!(since.elapsed() < within, "waited {within:?} in vain: {about}; saw {:?}", seen.last());
            std::thread::sleep(pause(since));
        }
    }

    /// A key is answered 503, with when to ask again.
    #[track_caller]
    pub fn is_refused_for_now(&self, key: &Key) {
        let answer = self.ask(key);
        answer.assert_refused(503);
        assert!(answer.header("Retry-After").is_some(), "{answer:?}");
    }

    #[track_caller]
    pub fn readiness(&self) -> u16 {
        let mut client = Client::connect(self.gateway.management());
        client.send(Request::get("/readyz").end());
        client.read().status
    }

    #[track_caller]
    pub fn public(&self) -> u16 {
        self.gateway.exchange(Request::get("/healthz").end()).status
    }

    pub fn api(&self) -> Api<'_> {
        Api::admin(&self.gateway)
    }

    /// Makes an account by the API.
    #[track_caller]
    pub fn write(&self) -> Response {
        self.api().post("/v2-beta/accounts", &json!({ "name": marker(), "kind": "user" }))
    }

    /// Opens a stream that goes on for as long as the gateway lets it.
    #[track_caller]
    pub fn stream(&self, cluster: &Cluster, key: &Key) -> Stream {
        let path = format!("/v1/projects/e1/{}", marker());
        cluster.upstream.answer(
            &path,
            Answer::after_head(|_, conversation| {
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                conversation.send(head).ok();
                while conversation.send("8\r\ndata: x\n\r\n").is_ok()
                    && !conversation.ends_within(Duration::from_millis(5))
                {}
                false
            }),
        );
        let mut client = self.gateway.connect();
        client.send(Request::get(&path).key(key).end());
        client.take(1_000, PATIENCE).expect("the stream goes on");
        Stream { client }
    }

    /// The gateway's process stands still.
    pub fn stand_still(&self) {
        self.gateway.signal("STOP");
        wait_for(PATIENCE, "it stands still", || {
            let status = std::fs::read_to_string(format!("/proc/{}/stat", self.gateway.pid()));
            status.is_ok_and(|status| status.contains(") T "))
        });
    }

    #[track_caller]
    pub fn logged(&self, within: Duration, text: &str) {
        let deadline = Instant::now() + within;
        while !self.gateway.log().contains(text) {
            assert!(Instant::now() < deadline, "the log does not say '{text}':\n{}", self.gateway.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn replica(&self) -> PathBuf {
        self.gateway.replica()
    }
}

/// A client in the middle of an endless answer.
pub struct Stream {
    pub client: Client,
}

impl Stream {
    #[track_caller]
    pub fn goes_on(&mut self) {
        let more = self.client.take(500, PATIENCE);
        assert!(more.is_ok(), "the stream ended: {more:?}");
    }

    /// Fails where the stream does not end, or ends as though it were whole.
    #[track_caller]
    pub fn ends(&mut self, within: Duration) {
        assert!(self.client.ends_within(within), "the stream goes on after {within:?}");
        assert!(!self.client.unread().ends_with(b"0\r\n\r\n"), "cut off, it must not look complete");
    }
}

/// The names of the gateways in a part of a receipt.
pub fn names(gateways: &Value) -> Vec<String> {
    let gateways = gateways.as_array().unwrap_or_else(|| panic!("no gateways: {gateways}"));
    gateways.iter().map(|gateway| gateway["name"].as_str().expect("a name").to_owned()).collect()
}
