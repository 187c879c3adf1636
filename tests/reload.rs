//! SIGHUP: the configuration is taken over while connections stay, and what comes next is judged by the new one.

mod support;

use std::time::Duration;

use support::http1::Request;
use support::http2::{Fate, RawHttp2};
use support::stage::Stage;
use support::{PATIENCE, marker, wait_for};

/// Changes the configuration's text.
#[track_caller]
fn change(stage: &Stage, from: &str, to: &str) {
    let path = stage.gateway.site.config();
    let text = std::fs::read_to_string(path).expect("the configuration");
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).expect("it can be written");
}

/// Has the gateway read its configuration again.
#[track_caller]
fn reload(stage: &Stage) {
    stage.gateway.signal("HUP");
    wait_for(PATIENCE, "the configuration is reloaded", || stage.gateway.log().contains("is reloaded"));
}

#[test]
fn a_kept_connection_is_judged_by_the_new_configuration() {
    let stage = Stage::start();
    let mut kept = stage.gateway.connect();
    kept.send(stage.request("GET", "/v1/projects/e1/x").end());
    assert_eq!(kept.read().status, 200);
    change(&stage, "/v1", "/v7");
    reload(&stage);
    kept.send(stage.request("GET", "/v1/projects/e1/x").end());
    kept.read().assert_refused(404);
}

#[test]
fn connections_to_the_former_upstreams_are_closed() {
    let stage = Stage::start();
    let mark = marker();
    let key = stage.e1.authorization();
    let mut client = RawHttp2::connect(stage.gateway.https());
    let fields: [(&[u8], &[u8]); 6] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", b"/v1/projects/e1/x"),
        (b"authorization", key.as_bytes()),
        (b"x-marker", mark.as_bytes()),
    ];
    client.headers(1, &fields, true).expect("an open connection");
    assert_eq!(client.fate_of(1), Fate::Status(200));
    let seen = stage.upstream.only(&mark);
    assert!(stage.upstream.is_open(seen.connection), "it is kept");
    reload(&stage);
    wait_for(Duration::from_secs(5), "the kept connection is closed", || {
        !stage.upstream.is_open(seen.connection)
    });
    drop(client);
}

#[test]
fn access_control_that_is_switched_on_counts_on_kept_connections() {
    let stage = Stage::with(|plan| plan.top("access_control: disabled"));
    let path = "/v1/projects/e1/x";
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
    ];
    let mut kept = stage.gateway.connect();
    let mut kept2 = RawHttp2::connect(stage.gateway.https());
    kept.send(Request::get(path).end());
    assert_eq!(kept.read().status, 200);
    kept2.headers(1, &fields, true).expect("an open connection");
    assert_eq!(kept2.fate_of(1), Fate::Status(200));
    change(&stage, "access_control: disabled", "access_control: enabled");
    reload(&stage);
    kept.send(Request::get(path).end());
    kept.read().assert_refused(401);
    kept2.headers(3, &fields, true).expect("an open connection");
    assert_eq!(kept2.fate_of(3), Fate::Status(401));
}
