//! Endpoints at which requests fail get none for a while, and are tried again after it.

use std::time::Duration;

use crate::ill_endpoint::{Endpoint, Health, entry, lost, metric, stage};
use crate::support::gateway::Plan;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, wait_for};

/// What the two workers of a test's gateway may lose before each has ejected an endpoint.
const BEFORE_EJECTION: usize = 2 * 5;

#[test]
fn an_ill_endpoint_costs_a_few_requests_that_cannot_be_sent_twice() {
    for health in
        [Health::Answers(502), Health::Answers(503), Health::Answers(504), Health::Resets, Health::Hangs]
    {
        let (well, ill) = (Endpoint::start(Health::Well), Endpoint::start(health));
        let stage = stage(&[&well, &ill], "");
        let lost = lost(&stage, "POST", 120);
        assert!((5..=BEFORE_EJECTION).contains(&lost), "{health:?}: {lost} of 120 requests were lost");
        assert_eq!(well.requests(), 120 - lost, "{health:?}");
        assert_eq!(metric(&stage, "upstream_endpoint_up", &ill), 0, "{health:?}");
        assert_eq!(metric(&stage, "upstream_endpoint_up", &well), 1, "{health:?}");
        assert_eq!(metric(&stage, "upstream_endpoint_failures_total", &ill), lost as u64, "{health:?}");
        assert!(metric(&stage, "upstream_endpoint_ejections_total", &ill) >= 1, "{health:?}");
        assert_eq!(metric(&stage, "upstream_endpoint_requests_total", &well), well.requests() as u64);
        let log = stage.gateway.log();
        let ejected = log.lines().filter(|line| line.contains("the endpoint is ejected"));
        assert!((1..=2).contains(&ejected.count()), "{health:?}: {log}");
    }
}

#[test]
fn ordinary_answers_are_no_illness() {
    for status in [200, 304, 400, 404, 429, 500, 501] {
        let (well, other) = (Endpoint::start(Health::Well), Endpoint::start(Health::Answers(status)));
        let stage = stage(&[&well, &other], "");
        lost(&stage, "POST", 60);
        assert_eq!(metric(&stage, "upstream_endpoint_failures_total", &other), 0, "{status}");
        assert!(other.requests() >= 20, "{status}: {} of 60", other.requests());
    }
}

#[test]
fn an_endpoint_that_is_well_again_gets_requests_again() {
    let (well, ill) = (Endpoint::start(Health::Well), Endpoint::start(Health::Answers(503)));
    let stage = stage(&[&well, &ill], ", ejection: { for: 300ms }");
    assert!(lost(&stage, "POST", 40) <= 2 * BEFORE_EJECTION);
    ill.becomes(Health::Well);
    wait_for(PATIENCE, "it is back on both workers", || {
        lost(&stage, "GET", 1);
        metric(&stage, "upstream_endpoint_up", &ill) == 1
    });
    assert!(stage.gateway.log().contains("the endpoint is back"));
    let before = ill.requests();
    assert_eq!(lost(&stage, "POST", 60), 0);
    assert!((20..=40).contains(&(ill.requests() - before)), "{} of 60", ill.requests() - before);
}

#[test]
fn the_last_endpoint_is_never_ejected() {
    let single = Endpoint::start(Health::Answers(503));
    let stage_of_one = stage(&[&single], "");
    assert_eq!(lost(&stage_of_one, "POST", 40), 40);
    assert_eq!(single.requests(), 40, "each was answered by the endpoint");
    let two = [Endpoint::start(Health::Answers(503)), Endpoint::start(Health::Answers(503))];
    let stage_of_two = stage(&[&two[0], &two[1]], ", ejection: { for: 1h, at_most: 100% }");
    assert_eq!(lost(&stage_of_two, "POST", 60), 60);
    assert_eq!(two[0].requests() + two[1].requests(), 60);
    // as soon as one is well
    for endpoint in &two {
        endpoint.becomes(Health::Well);
    }
    assert_eq!(lost(&stage_of_two, "POST", 20), 0);
}

#[test]
fn ejection_can_be_turned_off() {
    let (well, ill) = (Endpoint::start(Health::Well), Endpoint::start(Health::Answers(503)));
    let stage = stage(&[&well, &ill], ", ejection: off, balance: turn");
    let lost = lost(&stage, "POST", 60);
    assert!((28..=32).contains(&lost), "{lost} of 60");
    assert_eq!(metric(&stage, "upstream_endpoint_up", &ill), 1);
}

#[test]
fn a_reload_does_not_forget_who_is_ill() {
    let (well, ill) = (Endpoint::start(Health::Well), Endpoint::start(Health::Answers(503)));
    let stage = stage(&[&well, &ill], ", ejection: { for: 1h }");
    while stage.gateway.log().matches("the endpoint is ejected").count() < 2 {
        lost(&stage, "POST", 1);
    }
    let before = ill.requests();
    let config = stage.gateway.site.config();
    let text = std::fs::read_to_string(config).expect("the configuration");
    std::fs::write(config, text.replace("upstream_response: 400ms", "upstream_response: 500ms"))
        .expect("it can be written");
    stage.gateway.signal("HUP");
    wait_for(PATIENCE, "the reload", || stage.gateway.log().contains("the configuration is reloaded"));
    assert_eq!(lost(&stage, "POST", 60), 0);
    assert_eq!(ill.requests(), before);
    assert_eq!(metric(&stage, "upstream_endpoint_failures_total", &ill), before as u64);
}

/// Requests at a silent endpoint pile up there: whoever comes next goes where fewer wait.
#[test]
fn an_endpoint_with_many_requests_in_flight_gets_few_more() {
    let (well, silent) = (Endpoint::start(Health::Well), Endpoint::start(Health::Hangs));
    let entry = entry(&[well.address(), silent.address()], ", ejection: off");
    let stage = Stage::with(|plan| {
        plan.upstreams(&entry).top("timeouts: { upstream_response: 20s }\ndrain_timeout: 100ms")
    });
    let request = stage.request("POST", "/v1/projects/e1/x").body("body");
    // each that hangs keeps its connection
    let mut hanging = Vec::new();
    let mut answered = 0;
    for _ in 0..60 {
        let mut client = stage.gateway.connect();
        client.send(&request);
        match client.try_read(false, Duration::from_millis(200)) {
            Ok(answer) => {
                assert_eq!(answer.status, 200);
                answered += 1;
            }
            Err(_) => hanging.push(client),
        }
    }
    assert!(hanging.len() <= 4, "{} of 60 requests hang, {answered} were answered", hanging.len());
}

#[test]
fn check_tells_how_requests_are_shared_and_endpoints_checked() {
    let settings = "endpoints: [\"http://10.0.0.1:80\", \"http://10.0.0.2:80\"], balance: turn, ejection: { consecutive: 2, \
                    for: 10s, at_most: 100% }, health: { path: /up }";
    let entries =
        format!("  api: {{ {settings} }}\n  web: {{ endpoints: [\"http://10.0.0.3:80\"], ejection: off }}\n");
    let site = Plan::new(&Upstream::start()).upstreams(&entries).prepare();
    let text = site.cli.run(&["check"]).stdout;
    for line in [
        "  api  balance turn, ejected for 10s after 2 failures in a row, at most 100%, health check GET /up every 3s, down \
         after 3 failures, up after 1\n",
        "  web  one endpoint, no health check\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let outcome = site.cli.run(&["check", "--output", "json"]);
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("a document");
    let api = &document["upstreams"][0];
    assert_eq!(
        (&api["balance"], &api["ejection"]["for"], &api["ejection"]["atMost"]),
        (&"turn".into(), &"10s".into(), &"100%".into())
    );
    assert_eq!((&api["health"]["path"], &api["health"]["timeout"]), (&"/up".into(), &"1s".into()));
    assert!(document["upstreams"][1]["health"].is_null() && document["upstreams"][1]["ejection"].is_null());
}
