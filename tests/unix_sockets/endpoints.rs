//! Upstreams at Unix sockets.

use std::fs;

use tempfile::TempDir;

use crate::bytes;
use crate::servers::{Nginx, also_at};
use crate::support::api::Api;
use crate::support::gateway::Plan;
use crate::support::http1::Request;
use crate::support::stage::Stage;
use crate::support::upstream::Answer;
use crate::support::{PATIENCE, marker, wait_for};

const PATH: &str = "/v1/projects/e1/x";

/// A gateway whose upstream is reached by a Unix socket.
struct UnixStage {
    // first, so that the gateway ends before the socket's directory goes
    stage: Stage,
    socket: String,
    _directory: TempDir,
}

fn unix_stage(change: impl FnOnce(Plan) -> Plan) -> UnixStage {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let name = socket.display().to_string();
    let stage =
        Stage::with(|plan| change(plan.upstreams(&format!("  api: {{ endpoints: [\"unix:{name}\"] }}\n"))));
    also_at(&socket, stage.upstream.address());
    UnixStage { stage, socket: name, _directory: directory }
}

#[test]
fn requests_pass_as_they_do_by_tcp() {
    let UnixStage { stage, socket, .. } = &unix_stage(|plan| plan);
    let seen = stage.passes(stage.request("GET", PATH));
    assert_eq!(seen.header("Host").as_deref(), Some("gw.test"));
    // a client that names no host
    let mark = marker();
    let old = format!(
        "GET {PATH} HTTP/1.0\r\nX-Marker: {mark}\r\nAuthorization: {}\r\n\r\n",
        stage.e1.authorization()
    );
    assert_eq!(stage.gateway.exchange(old).status, 200);
    assert_eq!(stage.upstream.only(&mark).header("Host").as_deref(), Some("localhost"));
    // connections are kept
    let mut client = stage.gateway.connect();
    let before = stage.upstream.connections();
    for _ in 0..20 {
        client.send(stage.request("GET", PATH).end());
        assert_eq!(client.read().status, 200);
    }
    assert!(stage.upstream.connections() <= before + 1);
    let metrics = Api::admin(&stage.gateway).get("/metrics").text();
    let label =
        format!("portcullis_upstream_endpoint_requests_total{{upstream=\"api\",endpoint=\"unix:{socket}\"}}");
    assert!(metrics.contains(&label), "{metrics}");
    let text = stage.gateway.succeed(&["check"]).stdout;
    assert!(text.contains(&format!("to api (unix:{socket})")), "{text}");
}

#[test]
fn large_bodies_pass_both_ways() {
    let UnixStage { stage, .. } = &unix_stage(|plan| plan);
    let mut client = stage.gateway.connect();
    for length in [1, 65_536, 131_073, 9_000_001] {
        let body = bytes(length);
        let head = stage.request("PUT", PATH);
        client.send(head.body(&body));
        let answer = client.read();
        assert_eq!(answer.status, 200);
        assert!(answer.body.ends_with(&body), "{length} bytes are echoed");
    }
}

#[test]
fn tunnels_pass() {
    let UnixStage { stage, .. } = &unix_stage(|plan| plan);
    stage.upstream.answer(
        PATH,
        Answer::after_head(|_, conversation| {
            let head =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            conversation.send(head).ok();
            while let Ok(bytes) = conversation.receive() {
                if bytes.is_empty() || conversation.send(&bytes).is_err() {
                    break;
                }
            }
            false
        }),
    );
    let mut client = stage.gateway.connect();
    let request = stage.request("GET", PATH).header("Connection", "Upgrade").header("Upgrade", "websocket");
    client.send(request.end());
    assert_eq!(client.read().status, 101);
    for word in ["one", "two", "three"] {
        client.send(word);
        assert_eq!(client.take(word.len(), PATIENCE).unwrap(), word.as_bytes());
    }
    client.finish_sending();
    assert!(client.ends_within(PATIENCE));
}

#[test]
fn what_does_not_answer_is_told_and_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let [dead, live] = ["dead.sock", "live.sock"].map(|name| directory.path().join(name));
    let stage = Stage::with(|plan| {
        plan.upstreams(&format!(
            "  api:\n    endpoints: [\"unix:{}\", \"unix:{}\"]\n    health: {{ path: /healthz, interval: 200ms, timeout: \
             200ms, down: 1 }}\n",
            dead.display(),
            live.display()
        ))
    });
    let ask = || stage.gateway.exchange(stage.request("GET", PATH).end());
    let refused = ask();
    assert_eq!(refused.status, 502, "{refused:?}");
    also_at(&live, stage.upstream.address());
    wait_for(PATIENCE, "it is connected to", || ask().status == 200);
    for _ in 0..20 {
        assert_eq!(ask().status, 200);
    }
    let down = format!("endpoint=unix:{}", dead.display());
    wait_for(PATIENCE, "the health check finds it down", || {
        stage.gateway.log().lines().any(|line| line.contains("is down") && line.contains(&down))
    });
    also_at(&dead, stage.upstream.address());
    let up =
        format!("portcullis_upstream_endpoint_up{{upstream=\"api\",endpoint=\"unix:{}\"}} 1", dead.display());
    wait_for(PATIENCE, "the health check finds it up", || {
        Api::admin(&stage.gateway).get("/metrics").text().contains(&up)
    });
}

#[test]
fn nginx_at_a_unix_socket() {
    let nginx = Nginx::start(
        "    location /v1/projects/e1/back { return 200 \
         \"$host $http_x_forwarded_for\"; }\n    location /v1/projects/e1/put/ { dav_methods PUT; create_full_put_path on; }",
    );
    let large = bytes(40_000_000);
    let entry = format!("  api: {{ endpoints: [\"unix:{}\"] }}\n", nginx.socket.display());
    let stage = Stage::with(|plan| plan.upstreams(&entry));
    let mut client = stage.gateway.connect();
    client.send(stage.request("GET", "/v1/projects/e1/back").end());
    assert_eq!(client.read().text(), format!("gw.test {}", client.local_address().ip()));
    client.send(stage.request("PUT", "/v1/projects/e1/put/large").body(&large));
    assert_eq!(client.read().status, 201);
    let stored = fs::read(nginx.directory().join("v1/projects/e1/put/large")).unwrap();
    assert!(stored == large, "{} bytes are stored", stored.len());
    client.send(stage.request("GET", "/v1/projects/e1/put/large").end());
    let answer = client.read();
    assert!(
        answer.status == 200 && answer.body == large,
        "{} bytes with {}",
        answer.body.len(),
        answer.status
    );
    client.send(Request::get("/v1/projects/e1/back").end());
    assert_eq!(client.read().status, 401);
}
