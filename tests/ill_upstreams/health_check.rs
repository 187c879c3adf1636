//! Health checks: the gateway asks each endpoint whether it is well, before requests find out.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tempfile::TempDir;

use crate::ill_endpoint::{Endpoint, Health, entry, lost, metric, metric_of, stage};
use crate::support::certificates::{Authority, server};
use crate::support::http1::{Client, Request};
use crate::support::http2::{PING, SETTINGS, WINDOW_UPDATE, frame};
use crate::support::http2_upstream::Http2Upstream;
use crate::support::raw_upstream::RawUpstream;
use crate::support::stage::Stage;
use crate::support::{PATIENCE, wait_for};

/// Ejection is off: what keeps requests away is the check.
const CHECKED: &str = ", ejection: off, health: { path: /health, interval: 200ms, timeout: 200ms }";

#[test]
fn an_endpoint_that_is_down_gets_no_requests_and_is_back_when_it_is_up() {
    for health in [Health::Hangs, Health::Resets, Health::Answers(503), Health::Answers(404)] {
        let (well, ill) = (Endpoint::start(Health::Well), Endpoint::start(health));
        let stage = stage(&[&well, &ill], CHECKED);
        wait_for(PATIENCE, "it is found to be down", || metric(&stage, "upstream_endpoint_up", &ill) == 0);
        assert!(stage.gateway.log().contains("health check: the endpoint is down"), "{health:?}");
        wait_for(PATIENCE, "both workers know", || lost(&stage, "POST", 10) == 0);
        let before = metric(&stage, "upstream_endpoint_requests_total", &ill);
        assert_eq!(lost(&stage, "POST", 40), 0, "{health:?}");
        assert_eq!(metric(&stage, "upstream_endpoint_requests_total", &ill), before, "{health:?}");
        assert_eq!(metric(&stage, "upstream_endpoint_up", &well), 1, "{health:?}");
        let mut client = Client::connect(stage.gateway.management());
        client.send(Request::get("/readyz").end());
        assert_eq!(client.read().status, 200, "{health:?}: the gateway itself is ready");
        ill.becomes(Health::Well);
        wait_for(PATIENCE, "it is found to be up", || metric(&stage, "upstream_endpoint_up", &ill) == 1);
        assert_eq!(lost(&stage, "POST", 40), 0, "{health:?}");
        let share = metric(&stage, "upstream_endpoint_requests_total", &ill) - before;
        assert!((10..=30).contains(&share), "{health:?}: {share} of 40");
    }
}

#[test]
fn if_all_are_down_requests_are_sent_all_the_same() {
    let endpoints = [Health::Answers(500), Health::Answers(500)].map(Endpoint::start);
    let stage = stage(&endpoints.each_ref(), CHECKED);
    wait_for(PATIENCE, "both are down", || {
        endpoints.iter().all(|endpoint| metric(&stage, "upstream_endpoint_up", endpoint) == 0)
    });
    let answer = stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").end());
    assert_eq!((answer.status, answer.text().as_str()), (500, "ok"), "the endpoint's own answer");
    assert_eq!(lost(&stage, "POST", 20), 20);
    for endpoint in &endpoints {
        assert!(metric(&stage, "upstream_endpoint_requests_total", endpoint) >= 5, "both get some");
    }
}

#[test]
fn an_endpoint_that_is_up_again_need_not_wait_for_the_end_of_its_ejection() {
    let (well, ill) = (Endpoint::start(Health::Well), Endpoint::start(Health::Well));
    let check = ", ejection: { for: 1h }, health: { path: /, interval: 200ms, timeout: 200ms, down: 10 }";
    let stage = stage(&[&well, &ill], check);
    ill.becomes(Health::Answers(503));
    while stage.gateway.log().matches("the endpoint is ejected").count() < 2 {
        lost(&stage, "GET", 1);
    }
    wait_for(PATIENCE, "it is down by the check too", || {
        stage.gateway.log().contains("health check: the endpoint is down")
    });
    ill.becomes(Health::Well);
    wait_for(PATIENCE, "it is back", || {
        assert_eq!(lost(&stage, "GET", 1), 0);
        metric(&stage, "upstream_endpoint_up", &ill) == 1
    });
}

/// Each endpoint is checked once after the start and each reload, and never again.
const CHECKED_ONCE: &str = ", ejection: off, health: { path: /health, interval: 1h, timeout: 200ms }";

#[test]
fn the_first_check_decides_alone_and_a_start_waits_for_it() {
    for health in [Health::Hangs, Health::Answers(503)] {
        let (well, ill) = (Endpoint::start(Health::Well), Endpoint::start(health));
        let stage = stage(&[&well, &ill], CHECKED_ONCE);
        assert_eq!(lost(&stage, "POST", 20), 0, "{health:?}");
        assert_eq!(ill.requests(), 1, "{health:?}: the check");
        assert_eq!(metric(&stage, "upstream_endpoint_up", &well), 1, "{health:?}");
    }
}

#[test]
fn a_reload_waits_for_no_check_and_ends_those_that_the_configuration_has_no_more() {
    let (well, ill, added) =
        (Endpoint::start(Health::Well), Endpoint::start(Health::Hangs), Endpoint::start(Health::Hangs));
    let stage = stage(&[&well, &ill], CHECKED_ONCE);
    let reload = |from: &str, to: &str| {
        let text = std::fs::read_to_string(stage.gateway.config()).expect("the configuration");
        assert!(text.contains(from), "{text}");
        std::fs::write(stage.gateway.config(), text.replace(from, to)).expect("it can be written");
        stage.gateway.succeed(&["reload"]);
    };
    let is_down = |endpoint: &Endpoint| {
        let down =
            format!("upstream_endpoint_up{{upstream=\"api\",endpoint=\"{}\"}} 0\n", endpoint.address());
        stage.gateway.metrics().contains(&down)
    };
    let urls = [&ill, &added].map(|endpoint| format!("\"http://{}\"", endpoint.address()));
    reload(&urls[0], &urls.join(", "));
    wait_for(PATIENCE, "the new endpoint is found to be down", || is_down(&added));
    assert!(is_down(&ill) && !is_down(&well), "what is known of the others stays");
    reload(CHECKED_ONCE, "");
    wait_for(PATIENCE, "nothing is known of them any more", || !is_down(&ill) && !is_down(&added));
}

/// Sends the same bytes on each connection without an end, from the gateway's first bytes on, and reads nothing more. How
/// many connections there are now.
fn flood(bytes: Vec<u8>) -> (RawUpstream, Arc<AtomicUsize>) {
    let open = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&open);
    // answers to pings find no room
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    SockRef::from(&listener).set_recv_buffer_size(1).expect("a socket option");
    let upstream = RawUpstream::over(listener, move |_, mut reader| {
        reader.read_exact(&mut [0])?;
        now.fetch_add(1, Ordering::SeqCst);
        while reader.get_mut().write_all(&bytes).is_ok() {}
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    });
    (upstream, open)
}

#[test]
fn an_endpoint_that_sends_without_an_end_is_down_and_holds_up_no_other_check() {
    let pings = [frame(SETTINGS, 0, 0, b""), frame(PING, 0, 0, b"12345678").repeat(3_000)].concat();
    let floods = [
        ("http1", b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(3_000)),
        ("http2", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(3_000)),
        ("http2", pings),
    ];
    for (protocol, bytes) in floods {
        let well = Endpoint::start(Health::Well);
        let (ill, open) = flood(bytes);
        let entries = entry(&[well.address()], CHECKED)
            + &entry(&[ill.address()], &format!("{CHECKED}, protocol: {protocol}")).replace("api:", "ill:");
        let stage = Stage::with(|plan| plan.upstreams(&entries));
        let before = well.requests();
        wait_for(PATIENCE, "four checks of either", || {
            ill.connections() >= 4 && well.requests() - before >= 4
        });
        let log = stage.gateway.log();
        assert!(log.contains("no answer: more than 65536 bytes came"), "{log}");
        assert!(!log.contains(&format!("endpoint={}", well.address())), "{log}");
        wait_for(PATIENCE, "each check has ended its connection", || open.load(Ordering::SeqCst) <= 1);
    }
}

#[test]
fn one_checker_asks_for_all_workers() {
    let endpoint = Endpoint::start(Health::Well);
    let stage = stage(&[&endpoint], CHECKED);
    wait_for(PATIENCE, "a check", || endpoint.requests() > 0);
    let before = endpoint.requests();
    std::thread::sleep(Duration::from_secs(1));
    let checks = endpoint.requests() - before;
    assert!((1..=6).contains(&checks), "{checks} checks in a second, one was due every 200 ms");
    drop(stage);
}

/// A gateway that checks an upstream by TLS and HTTP/2; the endpoint's metrics.
fn stage_of_tls(upstream: &Http2Upstream, authority: &Authority) -> Stage {
    let entry = format!(
        "  api: {{ endpoints: [\"https://{}\"], protocol: http2, tls: {{ ca: \"{}\", server_name: api.test }}, \
         health: {{ path: /health, interval: 200ms, timeout: 200ms }} }}\n",
        upstream.address(),
        authority.file().display()
    );
    Stage::with(|plan| plan.upstreams(&entry))
}

#[test]
fn an_endpoint_in_tls_is_checked_in_tls_and_must_show_its_certificate() {
    let directories: [TempDir; 2] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let authorities = directories.each_ref().map(|directory| Authority::new(directory.path()));
    let upstream = Http2Upstream::start(Some(server(&authorities[0].sign(&["api.test"]), &["h2"])));
    let up = format!("upstream_endpoint_up{{upstream=\"api\",endpoint=\"{}\"}}", upstream.address());

    let trusting = stage_of_tls(&upstream, &authorities[0]);
    wait_for(PATIENCE, "checks by HTTP/2", || upstream.requests("health").len() > 4);
    assert_eq!(metric_of(&trusting, &up), 1);
    assert!(!trusting.gateway.log().contains("health check"), "{}", trusting.gateway.log());

    let distrusting = stage_of_tls(&upstream, &authorities[1]);
    wait_for(PATIENCE, "it is down", || metric_of(&distrusting, &up) == 0);
    assert!(distrusting.gateway.log().contains("certificate"), "{}", distrusting.gateway.log());
}
