//! What a request costs, in instructions. It guards against slow growth that no timing on a shared machine would
//! show.
//!
//! callgrind counts them, so the result is the same on every machine and under every load. The build of the tests
//! takes several times as many as a release, but both grow by the same code. `benches/compare` has the times.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::gateway::Plan;
use support::http1::Request;
use support::stage::Stage;
use support::upstream::Upstream;

/// How long it may take to start, some fifty times slower than without.
const PATIENCE: Duration = Duration::from_mins(2);

/// Requests of the shorter run; the longer one has three times as many. What lies between is theirs alone.
const FEW: u64 = 100;
/// So many per cent above what was measured is a regression. Runs differ by 5, by what happens meanwhile.
const MARGIN: u64 = 25;

/// Instructions of a run with so many requests, each of which must be answered with this status.
fn instructions(count: u64, request: impl Fn(&Stage) -> Vec<u8>, status: u16) -> u64 {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).top("throttle: { failures: 60000 }").prepare();
    site.create_environment("e1");
    site.create_environment("e2");
    let (e1, e2) = (site.create_environment_key("e1"), site.create_environment_key("e2"));
    let counts = site.directory().join("callgrind.out");
    // the wrapper lives as long as the test does
    let out: &str = format!("--callgrind-out-file={}", counts.display()).leak();
    let callgrind = vec!["valgrind", "--quiet", "--tool=callgrind", out].leak();
    let gateway = site.started_by(callgrind).begin_to_start().ready_within(PATIENCE);
    let stage = Stage { gateway, upstream, e1, e2 };
    let bytes = request(&stage);
    let mut client = stage.gateway.connect();
    for _ in 0..count {
        client.send(&bytes);
        let mut answered = client.read().status;
        // on a busy machine, valgrind makes the gateway too late to know that nothing has changed
        for _ in 0..10 {
            if answered == 503 {
                client.send(&bytes);
                answered = client.read().status;
            }
        }
        assert_eq!(answered, status);
    }
    let mut gateway = stage.gateway;
    gateway.signal("TERM");
    // valgrind writes its counts then; on a busy machine all of this takes long
    assert_eq!(gateway.wait_for_exit(4 * PATIENCE), Some(0), "the gateway ends well under valgrind too");
    total(&counts)
}

fn total(file: &Path) -> u64 {
    let text = fs::read_to_string(file).expect("callgrind's counts");
    let line = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    line.and_then(|line| line.trim().parse().ok()).expect("a sum")
}

/// Instructions of each such request.
fn each(request: impl Fn(&Stage) -> Vec<u8>, status: u16) -> u64 {
    let (few, many) = (instructions(FEW, &request, status), instructions(3 * FEW, &request, status));
    (many - few) / (2 * FEW)
}

#[track_caller]
fn assert_cost(what: &str, measured: u64, each: u64) {
    eprintln!("{what}: {each} instructions a request, {measured} when this was written");
    assert!(
        each < measured * (100 + MARGIN) / 100,
        "{what} takes {each} instructions, {measured} when this was written: find what has grown, or say in the \
         commit why it must, and write down the new figure"
    );
}

#[test]
fn a_request_that_is_forwarded_costs_what_it_did_and_little_more_with_a_key_that_is_narrowed_and_ends() {
    let plain = each(|stage| stage.request("GET", "/v1/projects/e1/x").end(), 200);
    assert_cost("a request that is forwarded", 290_000, plain);
    let narrowed = each(
        |stage| {
            let words = ["--read-only", "--path", "/v1/projects/*/**", "--from", "127.0.0.0/8"];
            stage.gateway.succeed(&[&["key", "edit", &stage.e1.id, "--expires", "90d"], &words[..]].concat());
            stage.gateway.succeed(&["key", "rotate", &stage.e1.id]);
            Request::get("/v1/projects/e1/x").key(&stage.e1).end()
        },
        200,
    );
    eprintln!("with a scope, an end and the former of two secrets: {narrowed}");
    // nothing was measured between the two on a quiet machine; what happens meanwhile makes up to a tenth on a busy one
    assert!(narrowed * 100 <= plain * 115, "{narrowed}, and {plain} without");
}

#[test]
fn a_request_that_is_refused_costs_what_it_did() {
    let wrong = |stage: &Stage| Request::get("/v1/projects/e1/x").key(&stage.e1.with_wrong_secret()).end();
    assert_cost("a request that is refused", 290_000, each(wrong, 401));
}
