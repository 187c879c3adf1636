//! Endpoints with names: all addresses of a name are used, and others when it has others.
//!
//! Each test gives its gateway an `/etc/hosts` of its own, in a mount namespace, and changes it while the gateway runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::ill_endpoint::{Endpoint, Health, lost, metric_of};
use crate::support::gateway::Plan;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, wait_for};

/// Names are looked up every five seconds.
const LOOKUP: Duration = Duration::from_secs(5);

/// A hosts file in which `api.test` has the addresses that the test says.
struct Hosts {
    _directory: TempDir,
    file: PathBuf,
}

impl Hosts {
    fn new(addresses: &[IpAddr]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let hosts = Self { file: directory.path().join("hosts"), _directory: directory };
        hosts.set(addresses);
        hosts
    }

    /// Written in place: the gateway sees this file under another name.
    fn set(&self, addresses: &[IpAddr]) {
        let lines =
            addresses.iter().map(|address| format!("{address} api.test\n")).collect::<Vec<_>>().concat();
        std::fs::write(&self.file, format!("127.0.0.1 localhost\n{lines}")).expect("it can be written");
    }

    /// A gateway that sees it, in front of `api.test` at this port.
    fn stage(&self, port: u16, settings: &str, top: &str) -> Stage {
        let upstream = Upstream::start();
        let entry = format!("  api: {{ endpoints: [\"http://api.test:{port}\"]{settings} }}\n");
        let site = Plan::new(&upstream).upstreams(&entry).top(top).prepare();
        site.create_environment("e1");
        site.create_environment("e2");
        let (e1, e2) = (site.create_environment_key("e1"), site.create_environment_key("e2"));
        Stage { gateway: site.started_by(in_namespace(&self.file)).start(), upstream, e1, e2 }
    }
}

/// What starts a program that sees this file as `/etc/hosts`. As long as the test's process lives.
fn in_namespace(hosts: &Path) -> &'static [&'static str] {
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let hosts: &str = hosts.display().to_string().leak();
    vec!["unshare", "--map-root-user", "--mount", "sh", "-c", script, hosts].leak()
}

fn local(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Two endpoints on one port of two addresses.
fn pair(addresses: [IpAddr; 2]) -> (u16, [Endpoint; 2]) {
    let first = Endpoint::at(SocketAddr::new(addresses[0], 0), Health::Well);
    let port = first.address().port();
    (port, [first, Endpoint::at(SocketAddr::new(addresses[1], port), Health::Well)])
}

#[test]
fn all_addresses_of_a_name_are_used_and_an_ill_one_is_ejected() {
    let (port, endpoints) = pair([local(21), local(22)]);
    let hosts = Hosts::new(&[local(21), local(22)]);
    let stage = hosts.stage(port, "", "timeouts: { upstream_response: 400ms }");
    wait_for(PATIENCE, "requests at both", || {
        assert_eq!(lost(&stage, "GET", 2), 0);
        endpoints.iter().all(|endpoint| endpoint.requests() >= 5)
    });
    endpoints[1].becomes(Health::Hangs);
    assert!(lost(&stage, "POST", 40) <= 10);
    let labels = format!("upstream=\"api\",endpoint=\"api.test:{port}\"");
    assert_eq!(metric_of(&stage, &format!("upstream_endpoint_up{{{labels},address=\"127.0.0.22\"}}")), 0);
    assert_eq!(metric_of(&stage, &format!("upstream_endpoint_up{{{labels},address=\"127.0.0.21\"}}")), 1);
    let log = stage.gateway.log();
    assert!(log.contains(&format!("api.test:{port} (127.0.0.22)")), "{log}");
}

#[test]
fn a_start_waits_for_the_first_check_of_each_address_of_a_name() {
    let (port, endpoints) = pair([local(25), local(26)]);
    endpoints[1].becomes(Health::Hangs);
    let hosts = Hosts::new(&[local(25), local(26)]);
    let check = ", ejection: off, health: { path: /health, interval: 1h, timeout: 400ms }";
    let stage = hosts.stage(port, check, "timeouts: { upstream_response: 400ms }");
    assert_eq!(lost(&stage, "POST", 20), 0);
    assert_eq!(endpoints[1].requests(), 1, "the check");
}

#[test]
fn a_name_that_changes_its_address_loses_no_request_and_one_that_is_lost_keeps_it() {
    let (port, [former, next]) = pair([local(31), local(32)]);
    let hosts = Hosts::new(&[local(31)]);
    let stage = hosts.stage(port, "", "");
    assert_eq!(lost(&stage, "POST", 10), 0);
    assert_eq!(former.requests(), 10);
    hosts.set(&[local(32)]);
    wait_for(3 * LOOKUP, "requests at the new address", || {
        assert_eq!(lost(&stage, "POST", 1), 0);
        next.requests() > 0
    });
    // each worker has heard of it by now
    std::thread::sleep(Duration::from_millis(300));
    let before = former.requests();
    assert_eq!(lost(&stage, "POST", 20), 0);
    assert_eq!(former.requests(), before, "the former address gets nothing more");
    hosts.set(&[]);
    wait_for(3 * LOOKUP, "the name is missed", || {
        assert_eq!(lost(&stage, "POST", 1), 0);
        stage.gateway.log().contains("the name of the endpoint is not found")
    });
    assert_eq!(lost(&stage, "POST", 20), 0, "the addresses found last are used");
    hosts.set(&[local(31)]);
    wait_for(3 * LOOKUP, "requests at the address that is found again", || {
        assert_eq!(lost(&stage, "POST", 1), 0);
        former.requests() > before
    });
}

/// A listener whose queue is full: what else is sent there gets no answer. And what fills it.
fn black_hole(address: SocketAddr) -> (SocketAddr, Socket, Vec<TcpStream>) {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.bind(&address.into()).expect("a free port");
    socket.listen(0).expect("listen");
    let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
    let mut fillers = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        fillers.push(stream);
        assert!(fillers.len() < 100, "the queue does not fill");
    }
    (address, socket, fillers)
}

#[test]
fn an_address_that_swallows_everything_holds_up_only_the_first_requests_and_those_little() {
    for swallows in [IpAddr::from(Ipv6Addr::LOCALHOST), local(42)] {
        let (hole, _socket, _fillers) = black_hole(SocketAddr::new(swallows, 0));
        let well = Endpoint::at(SocketAddr::new(local(41), hole.port()), Health::Well);
        let hosts = Hosts::new(&[swallows, local(41)]);
        // no connection is kept: each request needs a new one
        let settings = ", idle_connections: 0, ejection: { for: 1h }";
        let stage = hosts.stage(hole.port(), settings, "timeouts: { upstream_connect: 2s }");
        let request = stage.request("POST", "/v1/projects/e1/x").body("body");
        let mut slow = 0;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && stage.gateway.log().matches("the endpoint is ejected").count() < 2
        {
            let sent = Instant::now();
            assert_eq!(stage.gateway.exchange(&request).status, 200, "{swallows}");
            assert!(
                sent.elapsed() < Duration::from_millis(1500),
                "{swallows}: one took {:?}",
                sent.elapsed()
            );
            slow += usize::from(sent.elapsed() >= Duration::from_millis(240));
        }
        assert_eq!(stage.gateway.log().matches("the endpoint is ejected").count(), 2, "{swallows}");
        assert!((1..=24).contains(&slow), "{swallows}: {slow} of {} were slow", well.requests());
        let sent = Instant::now();
        assert_eq!(lost(&stage, "POST", 20), 0);
        assert!(sent.elapsed() < Duration::from_secs(2), "20 requests took {:?}", sent.elapsed());
    }
}
