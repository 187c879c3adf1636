//! Requests that failed at one endpoint and do no harm twice go to another one.

use std::net::SocketAddr;

use crate::ill_endpoint::{Endpoint, Health, entry, lost, metric, metric_of, stage};
use crate::support::stage::Stage;

const ILL: [Health; 4] = [Health::Answers(503), Health::Answers(502), Health::Resets, Health::Hangs];

#[test]
fn an_ill_endpoint_costs_no_request_that_may_be_sent_twice() {
    for health in ILL {
        let (well, ill) = (Endpoint::start(Health::Well), Endpoint::start(health));
        let stage = stage(&[&well, &ill], "");
        assert_eq!(lost(&stage, "GET", 60), 0, "{health:?}");
        assert_eq!(lost(&stage, "PUT", 60), 0, "{health:?}: the body is sent again");
        assert_eq!(well.requests(), 120, "{health:?}: each came once");
        assert!((1..=10).contains(&ill.requests()), "{health:?}: {}", ill.requests());
        assert_eq!(metric_of(&stage, "upstream_retries_total"), ill.requests() as u64, "{health:?}");
    }
}

#[test]
fn a_request_goes_on_until_it_finds_an_endpoint_that_is_well() {
    let endpoints = [Health::Resets, Health::Well, Health::Answers(504)].map(Endpoint::start);
    let stage = stage(&endpoints.each_ref(), ", ejection: off");
    // not so many that the budget matters
    assert_eq!(lost(&stage, "GET", 5), 0);
    assert_eq!(endpoints[1].requests(), 5);
    assert!(endpoints[0].requests() + endpoints[2].requests() >= 2);
}

#[test]
fn a_second_attempt_takes_no_endpoints_turn() {
    let (well, ill) = (Endpoint::start(Health::Well), Endpoint::start(Health::Answers(503)));
    let stage = stage(&[&ill, &well], ", ejection: off, balance: turn");
    assert_eq!(lost(&stage, "GET", 20), 0);
    // one more for each worker whose last turn was the ill one's
    assert!((10..=12).contains(&ill.requests()), "{} of 20 came first to the ill one", ill.requests());
    assert_eq!(well.requests(), 20);
}

#[test]
fn what_is_ill_everywhere_is_answered_by_an_endpoint() {
    let endpoints = [Health::Answers(503), Health::Answers(503)].map(Endpoint::start);
    let stage = stage(&endpoints.each_ref(), "");
    let answer = stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").end());
    assert_eq!((answer.status, answer.text().as_str()), (503, "ok"));
    assert_eq!(endpoints[0].requests() + endpoints[1].requests(), 2);
}

#[test]
fn an_upstream_with_one_endpoint_is_asked_once() {
    for health in ILL {
        let single = Endpoint::start(health);
        let stage = stage(&[&single], "");
        assert_eq!(lost(&stage, "GET", 3), 3);
        assert_eq!(single.requests(), 3, "{health:?}");
    }
}

#[test]
fn a_body_that_is_no_longer_here_is_not_sent_again() {
    let endpoints = [Health::Answers(503), Health::Answers(503)].map(Endpoint::start);
    let stage = stage(&endpoints.each_ref(), "");
    for (length, times) in [(10, 2), (64 << 10, 2), ((64 << 10) + 1, 1), (1 << 20, 1)] {
        let before = endpoints[0].requests() + endpoints[1].requests();
        let answer =
            stage.gateway.exchange(stage.request("PUT", "/v1/projects/e1/x").body(vec![b'x'; length]));
        assert_eq!(answer.status, 503);
        let sent = endpoints[0].requests() + endpoints[1].requests() - before;
        assert_eq!(sent, times, "{length} bytes");
    }
}

/// If all fails under its load, twice the load would not help.
#[test]
fn few_requests_are_sent_again() {
    let endpoints = [Health::Answers(503), Health::Answers(503)].map(Endpoint::start);
    let stage = stage(&endpoints.each_ref(), ", ejection: off");
    let count = 300;
    assert_eq!(lost(&stage, "GET", count), count);
    let again = endpoints[0].requests() + endpoints[1].requests() - count;
    // ten for each worker, a fifth, and what is rounded up
    assert!((20..=22 + count / 5).contains(&again), "{again} of {count}");
    assert_eq!(metric_of(&stage, "upstream_retries_total"), again as u64);
}

#[test]
fn a_refusing_endpoint_costs_no_request_at_all() {
    let (well, other) = (Endpoint::start(Health::Well), Endpoint::start(Health::Well));
    // nobody listens there any more
    let gone: SocketAddr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("a bound socket")
    };
    let addresses = [gone, well.address(), other.address()];
    let entry = entry(&addresses, ", ejection: { consecutive: 2, for: 200ms }");
    let stage = Stage::with(|plan| plan.upstreams(&entry));
    assert_eq!(lost(&stage, "POST", 90), 0);
    assert!(metric(&stage, "upstream_endpoint_requests_total", &well) >= 30);
    // it comes back, without a request lost
    let back = Endpoint::at(gone, Health::Well);
    crate::support::wait_for(crate::support::PATIENCE, "requests at the endpoint that is back", || {
        assert_eq!(lost(&stage, "POST", 3), 0);
        back.requests() > 10
    });
}

/// Well and ill in turn, faster than an ejection lasts.
#[test]
fn a_flapping_endpoint_costs_no_request_that_may_be_sent_twice() {
    let (well, flapping) = (Endpoint::start(Health::Well), Endpoint::start(Health::Well));
    let stage = stage(&[&well, &flapping], ", ejection: { consecutive: 3, for: 100ms }");
    for round in 0..12 {
        flapping.becomes(if round % 2 == 0 { ILL[round % 3] } else { Health::Well });
        assert_eq!(lost(&stage, "GET", 25), 0, "round {round}");
    }
    assert!(flapping.requests() > 5, "{}", flapping.requests());
}

/// Not even without a body, which could be sent again.
#[test]
fn what_does_harm_twice_is_not_sent_again() {
    for health in ILL {
        let endpoints = [health, health].map(Endpoint::start);
        let stage = stage(&endpoints.each_ref(), "");
        let answer = stage.gateway.exchange(stage.request("POST", "/v1/projects/e1/x").body(""));
        assert_ne!(answer.status, 200);
        assert_eq!(endpoints[0].requests() + endpoints[1].requests(), 1, "{health:?}");
    }
}
