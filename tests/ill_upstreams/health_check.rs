//! Health checks: the gateway asks each endpoint whether it is well, before requests find out.

use std::time::Duration;

use tempfile::TempDir;

use crate::ill_endpoint::{Endpoint, Health, lost, metric, metric_of, stage};
use crate::support::certificates::{Authority, server};
use crate::support::http1::{Client, Request};
use crate::support::http2_upstream::Http2Upstream;
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
    let (well, ill) = (Endpoint::start(Health::Well), Endpoint::start(Health::Answers(503)));
    let check = ", ejection: { for: 1h }, health: { path: /, interval: 200ms, timeout: 200ms, down: 10 }";
    let stage = stage(&[&well, &ill], check);
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
