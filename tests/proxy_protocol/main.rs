//! The PROXY protocol on listeners: what load balancers say about where a connection comes from.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod load_balancers;
#[path = "../support/mod.rs"]
mod support;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use load_balancers::LoadBalancer;
use serde_json::json;
use support::api::Api;
use support::gateway::Plan;
use support::http1::{Client, NoAnswer, Request, fresh_source, open_from};
use support::http2::{RawHttp2, StreamOutcome};
use support::stage::Stage;
use support::tls;
use support::upstream::Recorded;
use support::{PATIENCE, marker, wait_for};

/// The network of the load balancers. [`fresh_source`] never gives an address with a last byte of 255.
const FROM: &str = "127.3.3.255/32";
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 3, 3, 255);
const PATH: &str = "/v1/projects/e1/x";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn plan(plan: Plan) -> Plan {
    let proxy_protocol = format!("    proxy_protocol: {{ from: [{FROM}] }}\n");
    plan.listeners(&format!(
        "  - address: 127.0.0.1:0\n{proxy_protocol}  - address: 127.0.0.1:0\n{proxy_protocol}    tls: {{ certificates: [ {{ \
         certificate: certs/gateway.pem, key: certs/gateway.key }} ] }}\n"
    ))
}

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| Stage::with(plan))
}

/// A gateway of its own, that waits a second for what begins a connection.
fn impatient_stage(top: &str) -> Stage {
    Stage::with(|it| plan(it).top("timeouts: { header: 1s, tls_handshake: 1s }").top(top))
}

/// A connection of the load balancer that begins with these bytes.
#[track_caller]
fn from_balancer(address: SocketAddr, header: &[u8]) -> Client {
    let mut client = Client::connect_from(BALANCER, address);
    client.send(header);
    client
}

/// Version 2 with this command and family, and what follows.
fn binary(command: u8, family: u8, variable: &[u8]) -> Vec<u8> {
    let length = u16::try_from(variable.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, variable].concat()
}

/// Version 2 for a client at this address.
fn naming(source: [u8; 4]) -> Vec<u8> {
    binary(0x21, 0x11, &[&source[..], &[198, 51, 100, 1, 200, 1, 1, 187]].concat())
}

#[track_caller]
fn ask(stage: &Stage, client: &mut Client) -> Recorded {
    let mark = marker();
    client.send(stage.request("GET", PATH).mark(&mark).end());
    let answer = client.read();
    assert_eq!(answer.status, 200, "{answer:?}");
    stage.upstream.only(&mark)
}

fn forwarded_for(request: &Recorded) -> String {
    request.header("X-Forwarded-For").unwrap()
}

fn failures(stage: &Stage) -> u64 {
    let text = Api::admin(&stage.gateway).get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix("portcullis_proxy_protocol_failures_total "));
    line.unwrap_or_else(|| panic!("no such count in {text}")).parse().unwrap()
}

#[test]
fn haproxy_names_the_client_in_every_version_of_the_protocol() {
    let (http, https) = (stage().gateway.http(), stage().gateway.https());
    let kinds = [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
        "send-proxy-v2-ssl",
    ];
    let servers = [http, https]
        .into_iter()
        .flat_map(|address| kinds.map(|kind| format!("{address} source {BALANCER} {kind}")));
    let haproxy = LoadBalancer::haproxy(&servers.collect::<Vec<_>>());
    let (plain, encrypted) = haproxy.addresses.split_at(kinds.len());
    for (address, kind) in plain.iter().zip(kinds) {
        let source = fresh_source();
        let mut client = Client::connect_from(source, *address);
        for _ in 0..2 {
            assert_eq!(forwarded_for(&ask(stage(), &mut client)), source.to_string(), "{kind}");
        }
        let logged = format!("{source}");
        wait_for(PATIENCE, "the access log has the address", || stage().gateway.stdout().contains(&logged));
    }
    for (address, kind) in encrypted.iter().zip(kinds) {
        let source = fresh_source();
        let mut client = tls::over(open_from(source, *address).unwrap());
        let seen = ask(stage(), &mut client);
        assert_eq!(forwarded_for(&seen), source.to_string(), "{kind}");
        assert_eq!(seen.header("X-Forwarded-Proto").as_deref(), Some("https"), "{kind}");

        let mark = marker();
        let mut client = RawHttp2::connect(*address);
        let authorization = stage().e1.authorization();
        let fields: [(&[u8], &[u8]); 6] = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":path", PATH.as_bytes()),
            (b":authority", b"gw.test"),
            (b"authorization", authorization.as_bytes()),
            (b"x-marker", mark.as_bytes()),
        ];
        client.headers(1, &fields, true).unwrap();
        assert!(matches!(client.outcome_of(1), StreamOutcome::Status(200)), "{kind}");
        let named = forwarded_for(&stage().upstream.only(&mark));
        assert!(named.starts_with("127.") && named != BALANCER.to_string(), "{kind}: {named}");
    }
}

#[test]
fn nginx_names_the_client() {
    let gateways = [stage().gateway.http(), stage().gateway.https()];
    let nginx = LoadBalancer::nginx(&gateways, BALANCER);
    let source = fresh_source();
    let mut plain = Client::connect_from(source, nginx.addresses[0]);
    assert_eq!(forwarded_for(&ask(stage(), &mut plain)), source.to_string());
    let source = fresh_source();
    let mut encrypted = tls::over(open_from(source, nginx.addresses[1]).unwrap());
    assert_eq!(forwarded_for(&ask(stage(), &mut encrypted)), source.to_string());
}

#[test]
fn haproxys_own_checks_come_from_haproxy() {
    let stage = Stage::with(plan);
    let http = stage.gateway.http();
    let check = "check inter 200ms check-send-proxy";
    let _haproxy = LoadBalancer::haproxy(&[
        format!(
            "{http} source {BALANCER} send-proxy-v2 {check}\n  option httpchk\n  http-check send meth GET uri /healthz hdr Host gw.test hdr X-Marker local-2"
        ),
        format!(
            "{http} source {BALANCER} send-proxy {check}\n  option httpchk\n  http-check send meth GET uri /healthz hdr Host gw.test hdr X-Marker local-1"
        ),
    ]);
    for mark in ["local-1", "local-2"] {
        assert_eq!(forwarded_for(&stage.upstream.wait_for(mark)), BALANCER.to_string(), "{mark}");
    }
    assert_eq!(failures(&stage), 0);
}

#[test]
fn curl_names_the_client() {
    for (scheme, address) in [("http", stage().gateway.http()), ("https", stage().gateway.https())] {
        let mark = marker();
        let mut curl = Command::new("curl");
        curl.args(["-sSk", "--max-time", "20", "--haproxy-protocol", "--interface"])
            .arg(BALANCER.to_string());
        curl.args(["-H", &format!("Authorization: {}", stage().e1.authorization()), "-H"]);
        curl.arg(format!("X-Marker: {mark}")).arg(format!("{scheme}://{address}{PATH}"));
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(forwarded_for(&stage().upstream.only(&mark)), BALANCER.to_string());
    }
}

#[test]
fn headers_may_come_byte_by_byte() {
    for header in [b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(), naming([192, 0, 2, 7])] {
        let mut tcp = open_from(BALANCER, stage().gateway.http()).unwrap();
        for byte in &header {
            tcp.write_all(&[*byte]).unwrap();
        }
        let seen = ask(stage(), &mut Client::over(tcp));
        let expected = if header[0] == b'P' { "2001:db8::7" } else { "192.0.2.7" };
        assert_eq!(forwarded_for(&seen), expected);
    }
    // and all at once with what follows
    let mark = marker();
    let request = stage().request("GET", PATH).mark(&mark).end();
    let mut client = from_balancer(stage().gateway.http(), &[naming([192, 0, 2, 8]), request].concat());
    assert_eq!(client.read().status, 200);
    assert_eq!(forwarded_for(&stage().upstream.only(&mark)), "192.0.2.8");
}

#[test]
fn the_balancer_speaks_for_itself_or_for_whom_it_names() {
    let filled = [192, 0, 2, 7, 198, 51, 100, 1, 200, 1, 1, 187];
    for (header, expected) in [
        (binary(0x20, 0x11, &filled), "127.3.3.255"),
        (binary(0x20, 0x00, b""), "127.3.3.255"),
        (binary(0x21, 0x00, b""), "127.3.3.255"),
        (binary(0x21, 0x31, &[7; 216]), "127.3.3.255"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.3.3.255"),
        (b"PROXY UNKNOWN 192.0.2.7 198.51.100.1 1 2\r\n".to_vec(), "127.3.3.255"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(), "2001:db8::7"),
    ] {
        let mut client = from_balancer(stage().gateway.http(), &header);
        let about = header.escape_ascii().to_string();
        assert_eq!(forwarded_for(&ask(stage(), &mut client)), expected, "{about}");
        let mut tcp = open_from(BALANCER, stage().gateway.https()).unwrap();
        tcp.write_all(&header).unwrap();
        assert_eq!(forwarded_for(&ask(stage(), &mut tls::over(tcp))), expected, "{about}, TLS");
    }
}

#[test]
fn case_49_what_is_no_whole_header_closes_the_connection() {
    let stage = Stage::with(plan);
    let request = stage.request("GET", PATH).mark("garbage").end();
    let checksum = [&[192, 0, 2, 7, 198, 51, 100, 1, 200, 1, 1, 187][..], &[3, 0, 4, 1, 2, 3, 4]].concat();
    let wrong = [
        b"".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n".to_vec(),
        format!("PROXY UNKNOWN {}\r\n", "x".repeat(200)).into_bytes(),
        binary(0x21, 0x11, &[0; 1025]),
        binary(0x21, 0x11, &checksum),
        binary(0x31, 0x11, &[0; 12]),
        b"\x16\x03\x01\x00\x05".to_vec(),
    ];
    for header in &wrong {
        let about = header.escape_ascii().to_string();
        for address in [stage.gateway.http(), stage.gateway.https()] {
            let mut client = from_balancer(address, &[&header[..], &request].concat());
            assert!(client.ends_within(PATIENCE), "{about}");
            assert!(client.unread().is_empty(), "{about} was answered: {}", support::show(client.unread()));
        }
    }
    stage.upstream.assert_untouched("no header");
    let closed = 2 * u64::try_from(wrong.len()).unwrap();
    assert_eq!(failures(&stage), closed);
    let log = stage.gateway.log();
    let lines = log.matches("a connection from a peer in proxy_protocol.from was closed").count();
    // once for each worker in ten seconds
    assert!((1..=8).contains(&lines), "{lines} lines in {log}");
    // a check whether the port is open is no failure
    drop(Client::connect_from(BALANCER, stage.gateway.http()));
    assert_eq!(
        forwarded_for(&ask(&stage, &mut from_balancer(stage.gateway.http(), &naming([10, 1, 1, 1])))),
        "10.1.1.1"
    );
    assert_eq!(failures(&stage), closed);
}

#[test]
fn case_49_a_header_that_never_ends_is_ended_and_frees_its_place() {
    let stage = impatient_stage("limits: { connections: 2 }");
    for address in [stage.gateway.http(), stage.gateway.https()] {
        let begun = Instant::now();
        let mut clients = [from_balancer(address, b"PROXY TCP4 192.0"), from_balancer(address, SIGNATURE)];
        for client in &mut clients {
            assert!(client.ends_within(PATIENCE));
        }
        assert!(begun.elapsed() > Duration::from_millis(800), "after {:?}", begun.elapsed());
        drop(clients);
        let mut client = from_balancer(stage.gateway.http(), &naming([192, 0, 2, 7]));
        assert_eq!(forwarded_for(&ask(&stage, &mut client)), "192.0.2.7");
    }
    assert_eq!(failures(&stage), 4);
}

#[test]
fn one_time_limit_is_for_the_header_and_the_handshake() {
    let stage = impatient_stage("");
    let mut client = from_balancer(stage.gateway.https(), &naming([192, 0, 2, 7]));
    assert!(client.ends_within(PATIENCE));
    assert_eq!(failures(&stage), 0);
}

#[test]
fn connections_are_counted_for_whom_they_are_named() {
    let stage = Stage::with(|it| plan(it).top("limits: { connections_per_source: 2 }"));
    let http = stage.gateway.http();
    let mut open = [(); 2].map(|()| from_balancer(http, &naming([192, 0, 2, 7])));
    for client in &mut open {
        ask(&stage, client);
    }
    let mut third = from_balancer(http, &naming([192, 0, 2, 7]));
    third.send(stage.request("GET", PATH).end());
    assert!(matches!(third.try_read(false, PATIENCE), Err(NoAnswer::Closed(_))), "a third one of 192.0.2.7");
    let others: Vec<_> = (1..6)
        .map(|last| {
            let mut client = from_balancer(http, &naming([192, 0, 2, 7 + last]));
            ask(&stage, &mut client);
            client
        })
        .collect();
    assert_eq!(others.len(), 5);
    // an IPv6 host chooses among the addresses of its /64
    let in_network = |network: u8, host: u8| {
        let source = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, host];
        let gateway = [&source[..8], &[0; 7], &[0xff]].concat();
        binary(0x21, 0x21, &[&source[..], &gateway, &[200, 1, 1, 187]].concat())
    };
    let mut of_network = [1, 2].map(|host| from_balancer(http, &in_network(1, host)));
    for client in &mut of_network {
        ask(&stage, client);
    }
    let mut third = from_balancer(http, &in_network(1, 3));
    third.send(stage.request("GET", PATH).end());
    assert!(matches!(third.try_read(false, PATIENCE), Err(NoAnswer::Closed(_))), "a third one of the /64");
    ask(&stage, &mut from_balancer(http, &in_network(2, 1)));
    drop(open);
    wait_for(PATIENCE, "their places are free", || {
        let mut client = from_balancer(http, &naming([192, 0, 2, 7]));
        client.send(stage.request("GET", PATH).end());
        client.try_read(false, PATIENCE).is_ok()
    });
}

#[test]
fn case_49_strangers_are_served_as_themselves_and_refused_with_a_header() {
    let (http, https) = (stage().gateway.http(), stage().gateway.https());
    let source = fresh_source();
    let mut client = Client::connect_from(source, http);
    assert_eq!(forwarded_for(&ask(stage(), &mut client)), source.to_string());
    let mut client = tls::over(open_from(source, https).unwrap());
    assert_eq!(forwarded_for(&ask(stage(), &mut client)), source.to_string());

    let mark = marker();
    let request = stage().request("GET", PATH).mark(&mark).end();
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n".to_vec();
    for header in [line, naming([192, 0, 2, 7]), binary(0x20, 0x00, b""), b"PROXY UNKNOWN\r\n".to_vec()] {
        for address in [http, https] {
            let about = format!("{} at {address}", header.escape_ascii());
            let mut client = Client::connect(address);
            client.send([&header[..], &request].concat());
            if let Ok(answer) = client.try_read(false, PATIENCE) {
                assert_eq!(answer.status, 400, "{about}: {answer:?}");
                let is_named = answer.text().contains("PROXY protocol header");
                assert!(is_named || address == https, "{about}: {answer:?}");
            }
            assert!(client.ends_within(PATIENCE), "{about}");
        }
    }
    stage().upstream.assert_unseen(&mark, "a stranger's header");
    // a method of that name is one, for strangers
    let mut client = Client::connect(http);
    client.send(Request::new("PROXY", PATH).key(&stage().e1).header("Content-Length", "0").end());
    assert_eq!(client.read().status, 200);
}

#[test]
fn the_named_address_decides_where_keys_may_be_used() {
    let body = json!({ "scope": { "networks": ["192.0.2.0/24", "2001:db8::/32"] } });
    let key = Api::admin(&stage().gateway).create_key("/v2-beta/projects/e1/apikeys", &body);
    let status = |header: &[u8]| {
        let mut client = from_balancer(stage().gateway.http(), header);
        client.send(Request::get(PATH).key(&key).end());
        client.read().status
    };
    assert_eq!(status(&naming([192, 0, 2, 200])), 200);
    assert_eq!(status(&naming([192, 0, 3, 200])), 401);
    assert_eq!(status(b"PROXY TCP6 2001:db8:1::1 ::1 1 2\r\n"), 200);
    assert_eq!(status(b"PROXY TCP6 2001:db9:1::1 ::1 1 2\r\n"), 401);
    assert_eq!(status(&binary(0x20, 0x11, &[192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0])), 401, "LOCAL");
}

#[test]
fn trusted_proxies_are_compared_with_the_named_address() {
    let stage = Stage::with(|it| plan(it).top(&format!("trusted_proxies: [10.9.0.0/16, {FROM}]")));
    let said = |header: &[u8]| {
        let mark = marker();
        let mut client = from_balancer(stage.gateway.http(), header);
        let request = stage.request("GET", PATH).mark(&mark).header("X-Forwarded-For", "203.0.113.5").end();
        client.send(request);
        assert_eq!(client.read().status, 200);
        forwarded_for(&stage.upstream.only(&mark))
    };
    assert_eq!(said(&naming([10, 9, 0, 1])), "203.0.113.5, 10.9.0.1");
    assert_eq!(said(&naming([10, 8, 0, 1])), "10.8.0.1");
    assert_eq!(said(b"PROXY UNKNOWN\r\n"), "203.0.113.5, 127.3.3.255");
}

#[test]
fn case_49_guesses_are_counted_for_the_named_address() {
    let stage = Stage::with(|it| plan(it).top("throttle: { failures: 5 }"));
    let wrong = stage.e1.with_wrong_secret();
    let status = |source| {
        let mut client = from_balancer(stage.gateway.http(), &naming(source));
        client.send(Request::get(PATH).key(&wrong).end());
        client.read().status
    };
    let throttled = (0..50).any(|_| status([192, 0, 2, 7]) == 429);
    assert!(throttled, "192.0.2.7 was never throttled");
    assert_eq!(status([192, 0, 2, 8]), 401, "another client of the same balancer");
}

#[test]
fn check_says_who_must_send_the_header() {
    let site = plan(Plan::new(&stage().upstream)).prepare();
    let text = site.run(&["check"]).stdout;
    assert!(text.contains("PROXY protocol: required from 127.3.3.255/32, refused from others"), "{text}");
    let document = site.json(&["check"]);
    assert_eq!(document["listeners"][0]["proxyProtocol"], json!({ "from": ["127.3.3.255/32"] }));
    let open = std::fs::read_to_string(site.config()).unwrap().replace(FROM, "0.0.0.0/0");
    std::fs::write(site.config(), open).unwrap();
    let text = site.run(&["check"]).stdout;
    assert!(text.contains("proxy_protocol: 0.0.0.0/0: every client may say"), "{text}");
}
