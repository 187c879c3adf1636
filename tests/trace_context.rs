//! `traceparent` and `tracestate` (W3C Trace Context), on both sides and in the access log. The cases are those of the
//! W3C's test suite that apply to a proxy.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::sync::OnceLock;

use support::gateway::Plan;
use support::http1::Request;
use support::stage::Stage;
use support::upstream::Recorded;
use support::{PATIENCE, wait_for};

const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "1234567890123456";

fn trusting() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| Stage::with(|plan| plan.top("trusted_proxies: [127.0.0.0/8]")))
}

fn strangers() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::start)
}

/// What the upstream sees of a request with these headers.
fn seen(stage: &Stage, headers: &[(&str, &str)]) -> Recorded {
    let request = stage.request("GET", "/v1/projects/e1/x");
    stage.passes(headers.iter().fold(request, |request, (name, value)| request.header(name, value)))
}

/// The trace, the parent and the flags in the one valid `traceparent` that the upstream got.
#[track_caller]
fn sent(recorded: &Recorded) -> (String, String, String) {
    let all = recorded.all("traceparent");
    assert_eq!(all.len(), 1, "{all:?}");
    let parts: Vec<_> = all[0].split('-').collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{all:?}");
    assert!(all[0].bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')), "{all:?}");
    assert_eq!(parts[0], "00");
    assert!(
        parts[1].bytes().any(|byte| byte != b'0') && parts[2].bytes().any(|byte| byte != b'0'),
        "{all:?}"
    );
    (parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
}

#[test]
fn a_trace_is_begun_where_none_is_there() {
    let mut traces = HashSet::new();
    let mut parents = HashSet::new();
    for stage in [strangers(), trusting()] {
        for _ in 0..20 {
            let recorded = seen(stage, &[]);
            let (trace, parent, flags) = sent(&recorded);
            assert_eq!(flags, "00");
            assert_eq!(recorded.all("tracestate"), Vec::<String>::new());
            assert!(traces.insert(trace) && parents.insert(parent));
        }
    }
}

#[test]
fn a_stranger_chooses_no_trace_has_nothing_recorded_and_sends_no_state() {
    let valid = format!("00-{TRACE}-{PARENT}-01");
    let recorded = seen(strangers(), &[("traceparent", &valid), ("tracestate", "foo=1")]);
    let (trace, parent, flags) = sent(&recorded);
    assert_ne!((trace.as_str(), parent.as_str()), (TRACE, PARENT));
    assert_eq!(flags, "00");
    assert_eq!(recorded.all("tracestate"), Vec::<String>::new());
}

#[test]
fn a_trusted_proxys_trace_is_continued_with_a_parent_of_the_gateway() {
    for (given, flags) in [
        (format!("00-{TRACE}-{PARENT}-00"), "00"),
        (format!("00-{TRACE}-{PARENT}-01"), "01"),
        // flags that mean nothing yet are not passed on
        (format!("00-{TRACE}-{PARENT}-02"), "00"),
        (format!("00-{TRACE}-{PARENT}-ff"), "01"),
        // a future version, as far as it is known
        (format!("cc-{TRACE}-{PARENT}-01"), "01"),
        (format!("cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like"), "01"),
        (format!(" \t00-{TRACE}-{PARENT}-01\t "), "01"),
    ] {
        let recorded = seen(
            trusting(),
            &[("TraceParent", &given), ("TraceState", "foo=1,bar=2"), ("tracestate", "baz=3")],
        );
        let (trace, parent, sent_flags) = sent(&recorded);
        assert_eq!((trace.as_str(), sent_flags.as_str()), (TRACE, flags), "{given}");
        assert_ne!(parent, PARENT, "{given}");
        assert_eq!(recorded.all("tracestate"), ["foo=1,bar=2", "baz=3"], "{given}");
    }
}

#[test]
fn what_is_not_valid_begins_a_trace_and_loses_its_state() {
    let valid = format!("00-{TRACE}-{PARENT}-01");
    let zeros = "0".repeat(32);
    for given in [
        vec![String::new()],
        vec![valid.clone(), valid.clone()],
        vec![valid.clone(), format!("00-{TRACE}-{PARENT}-00")],
        vec![format!("ff-{TRACE}-{PARENT}-01")],
        vec![format!("00-{zeros}-{PARENT}-01")],
        vec![format!("00-{TRACE}-{}-01", &zeros[..16])],
        vec![format!("{valid}-what-the-future-will-not-be-like")],
        vec![format!("cc-{TRACE}-{PARENT}-01.what-the-future-will-not-be-like")],
        vec![valid[..54].to_owned()],
        vec![format!("00-{}-{PARENT}-01", TRACE.replace('1', "A"))],
        vec![format!("00-{TRACE}-{PARENT}-x1")],
        vec![format!("{valid},{valid}")],
    ] {
        let mut headers: Vec<_> = given.iter().map(|value| ("traceparent", value.as_str())).collect();
        headers.push(("tracestate", "foo=1"));
        let recorded = seen(trusting(), &headers);
        let (trace, _, flags) = sent(&recorded);
        assert_ne!(trace, TRACE, "{given:?}");
        assert_eq!(flags, "00", "{given:?}");
        assert_eq!(recorded.all("tracestate"), Vec::<String>::new(), "{given:?}");
    }
    let recorded = seen(trusting(), &[("tracestate", "foo=1")]);
    assert_eq!(recorded.all("tracestate"), Vec::<String>::new(), "without a parent it belongs to nothing");
    let recorded = seen(trusting(), &[("trace-parent", &valid)]);
    assert_ne!(sent(&recorded).0, TRACE, "another header");
}

#[test]
fn no_trace_is_sent_to_an_api_that_begins_its_own() {
    let stage = Stage::with(|plan: Plan| {
        plan.top("strip_headers: [traceparent, tracestate]\ntrusted_proxies: [127.0.0.0/8]")
    });
    let valid = format!("00-{TRACE}-{PARENT}-01");
    let recorded = seen(&stage, &[("traceparent", &valid), ("tracestate", "foo=1")]);
    assert_eq!(recorded.all("traceparent"), Vec::<String>::new());
    assert_eq!(recorded.all("tracestate"), Vec::<String>::new());
}

/// The access log of a gateway that continues a trace, begins one, and refuses one, with what the upstream got.
fn logged(format: &str) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("access.log");
    let log = format!(
        "trusted_proxies: [127.0.0.0/8]\nlog: {{ format: {format}, access: {{ file: {} }} }}",
        file.display()
    );
    let stage = Stage::with(|plan| plan.top(&log));
    seen(&stage, &[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))]);
    let begun = sent(&seen(&stage, &[])).0;
    let other = format!("00-{}-{PARENT}-01", TRACE.replace('1', "a"));
    stage.refuses(Request::get("/v1/projects/e1/refused").header("traceparent", other), &[401]);
    let mut text = String::new();
    wait_for(PATIENCE, "three lines", || {
        text = fs::read_to_string(&file).unwrap_or_default();
        text.lines().count() == 3
    });
    (text, begun)
}

#[test]
fn the_access_log_names_the_trace() {
    let (text, begun) = logged("text");
    let refused = TRACE.replace('1', "a");
    for trace in [TRACE, &begun, &refused] {
        assert_eq!(text.matches(&format!(" trace_id={trace} ")).count(), 1, "{trace} is not in\n{text}");
    }
    let (text, begun) = logged("json");
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let traces: HashSet<_> = lines.map(|line| line["trace_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(traces, HashSet::from([TRACE.to_owned(), begun, refused]));
}
