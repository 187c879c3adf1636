//! Metrics and the access log of the running program.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::cli::Key;
use support::gateway::{Gateway, Site};
use support::http1::{Client, Request, Response};
use support::stage::Stage;
use support::{PATIENCE, wait_for};

/// A gateway whose access log is a file in a directory that outlives it.
struct Logged {
    // first, so that the gateway ends before its log goes
    stage: Stage,
    file: PathBuf,
    directory: tempfile::TempDir,
}

impl Logged {
    fn start(format: &str) -> Self {
        Self::at(format, |_| {})
    }

    fn at(format: &str, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("access.log");
        prepare(&file);
        let log = format!("log: {{ format: {format}, access: {{ file: {} }} }}", file.display());
        Self { stage: Stage::with(|plan| plan.top(&log)), file, directory }
    }

    /// The log once it holds all of `marks`; workers write it in no order.
    fn wait_for(&self, marks: &[&str]) -> String {
        let mut log = String::new();
        wait_for(PATIENCE, &format!("{marks:?} in the access log"), || {
            log = fs::read_to_string(&self.file).unwrap_or_default();
            marks.iter().all(|mark| log.contains(mark))
        });
        log
    }
}

fn metrics(gateway: &Gateway, request: Request) -> Response {
    let mut client = Client::connect(gateway.management());
    client.send(request.end());
    client.read()
}

#[test]
fn metrics_are_for_admins_and_every_one_is_documented() {
    let stage = Stage::start();
    assert_eq!(metrics(&stage.gateway, Request::get("/metrics")).status, 401);
    assert_eq!(metrics(&stage.gateway, Request::get("/metrics").key(&stage.e1)).status, 403);
    let answer = metrics(&stage.gateway, Request::get("/metrics").key(&stage.gateway.admin));
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let page = include_str!("../docs/operation.md");
    let mut families = 0;
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = family.split_once(' ').unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert!(page.contains(&format!("`{name}{suffix}`")), "docs/operation.md lacks {name}{suffix}");
        families += 1;
    }
    assert!(families > 10, "{text}");
    let label = |name: &str| {
        let values =
            text.lines().filter_map(|line| line.split(&format!("{{{name}=\"")).nth(1)?.split('"').next());
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    for value in label("event").iter().chain(&label("cause")) {
        assert!(page.contains(&format!("`{value}`")), "docs/operation.md lacks {value}");
    }
}

#[test]
fn requests_are_counted_by_their_outcome() {
    let stage = Stage::start();
    stage.passes(stage.request("GET", "/v1/projects/e1/x"));
    stage.refuses(stage.request("GET", "/v1/projects/e2/x"), &[403]);
    stage.refuses(Request::get("/v1/projects/e1/x"), &[401]);
    let expected = [
        r#"portcullis_requests_allowed_total{class="2xx"} 1"#,
        r#"portcullis_requests_refused_total{status="401"} 1"#,
        r#"portcullis_requests_refused_total{status="403"} 1"#,
        r#"portcullis_refusals_total{cause="forbidden"} 1"#,
        r#"portcullis_refusals_total{cause="unauthenticated"} 1"#,
        "portcullis_connections_accepted_total 3",
        "portcullis_upstream_connects_total 1",
        "portcullis_upstream_reuses_total 0",
        "portcullis_request_duration_seconds_count 1",
        "portcullis_requests_open 0",
    ];
    // a request is counted when its answer has ended, which the client may see a moment earlier
    wait_for(PATIENCE, "all requests in the metrics", || {
        let text = metrics(&stage.gateway, Request::get("/metrics").key(&stage.gateway.admin)).text();
        expected.into_iter().all(|line| text.lines().any(|found| found == line))
    });
}

#[test]
fn a_key_tells_how_often_it_was_used_also_before_a_restart() {
    let stage = Stage::start();
    let show = |site: &Site, key: &Key| site.succeed(&["key", "show", &key.access_key]).stdout;
    stage.passes(stage.request("GET", "/v1/projects/e1/x"));
    let Stage { gateway, upstream, e1, e2 } = stage;
    let (site, _) = gateway.stop();
    let shown = show(&site, &e1);
    assert!(shown.contains(", 1 request\n"), "{shown}");

    let stage = Stage { gateway: site.start(), upstream, e1, e2 };
    stage.passes(stage.request("GET", "/v1/projects/e1/x"));
    // a use of the key, though not of what it asks for
    stage.refuses(stage.request("GET", "/v1/projects/e2/x"), &[403]);
    // none, whoever it claims to be
    stage.refuses(Request::get("/v1/projects/e1/x").key(&stage.e1.with_wrong_secret()), &[401]);
    let Stage { gateway, e1, e2, .. } = stage;
    let (site, _) = gateway.stop();
    let shown = show(&site, &e1);
    assert!(shown.contains(", 3 requests\n"), "{shown}");
    let shown = show(&site, &e2);
    assert!(shown.contains("last used    -\n"), "{shown}");
}

#[test]
fn the_access_log_tells_of_every_request_and_of_no_secret() {
    let logged = Logged::start("json");
    let stage = &logged.stage;
    stage.passes(stage.request("GET", "/v1/projects/e1/one?token=hidden-query"));
    stage.refuses(stage.request("POST", "/v1/projects/e2/two"), &[403]);
    stage.refuses(Request::get("/v1/projects/e1/three").key(&stage.e1.with_wrong_secret()), &[401]);
    stage.refuses(stage.request("GET", "/v1/projects/e1/\x1b[31m/../four"), &[400]);
    stage.refuses(stage.request("GET", "http://user:hidden-password@gw.test/five"), &[400, 401]);
    let log = logged.wait_for(&["one", "two", "three", "four", "five"]);

    for secret in [stage.e1.secret.as_str(), "hidden", "Basic "] {
        assert!(!log.contains(secret), "the access log holds {secret:?}:\n{log}");
    }
    assert!(!log.bytes().any(|byte| byte.is_ascii_control() && byte != b'\n'), "{log:?}");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |part: &str| {
        let found = lines.iter().find(|line| line["path"].as_str().is_some_and(|path| path.contains(part)));
        found.unwrap_or_else(|| panic!("{part} is not in\n{log}"))
    };
    let one = line("one");
    assert_eq!(one["status"], 200);
    assert_eq!(one["method"], "GET");
    assert_eq!(one["path"], "/v1/projects/e1/one");
    assert!(one["source"].as_str().is_some_and(|source| source.starts_with("127.")), "{one}");
    assert_eq!(one["accessKey"], stage.e1.access_key);
    assert_eq!(one["route"], "/v1");
    assert_eq!(one["upstream"], "api");
    let two = line("two");
    assert_eq!((&two["status"], &two["accessKey"]), (&403.into(), &stage.e1.access_key.as_str().into()));
    let three = line("three");
    assert_eq!(three["status"], 401);
    assert!(three["bytesOut"].as_u64().is_some_and(|bytes| bytes > 100), "{three}");
    assert_eq!(three.get("accessKey"), None, "a key that was only claimed is not logged: {three}");
    assert_eq!(line("four")["status"], 400);
}

#[test]
fn a_rotated_access_log_is_opened_again_on_sighup() {
    let logged = Logged::start("text");
    let stage = &logged.stage;
    stage.passes(stage.request("GET", "/v1/projects/e1/before"));
    logged.wait_for(&["/v1/projects/e1/before"]);
    let rotated = logged.directory.path().join("access.log.1");
    fs::rename(&logged.file, &rotated).unwrap();
    stage.gateway.signal("HUP");
    wait_for(PATIENCE, "a new access log", || logged.file.exists());
    stage.passes(stage.request("GET", "/v1/projects/e1/after"));
    let log = logged.wait_for(&["/v1/projects/e1/after"]);
    assert!(!log.contains("before"), "{log}");
    assert!(!fs::read_to_string(&rotated).unwrap().contains("after"));
}

#[test]
fn an_access_log_that_cannot_be_written_is_reported_once_and_holds_up_no_request() {
    let stage = Stage::with(|plan| plan.top("log: { access: { file: /dev/full } }"));
    stage.passes(stage.request("GET", "/v1/projects/e1/one"));
    let told = "lines of the access log are lost until it can be written again";
    wait_for(PATIENCE, told, || stage.gateway.log().contains(told));
    for _ in 0..3 {
        stage.passes(stage.request("GET", "/v1/projects/e1/more"));
    }
    let all_lost = || {
        let text = metrics(&stage.gateway, Request::get("/metrics").key(&stage.gateway.admin)).text();
        text.contains("portcullis_access_log_lines_dropped_total 4")
    };
    wait_for(PATIENCE, "four lost lines in the metrics", all_lost);
    assert_eq!(stage.gateway.log().matches(told).count(), 1, "{}", stage.gateway.log());
}

#[test]
fn an_access_log_that_nobody_reads_holds_up_no_request() {
    // 8 MiB of lines may wait; each request below leaves almost 8 KiB
    const REQUESTS: usize = 1500;
    let mut reader = None;
    let logged = Logged::at("text", |file| {
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        // open for reading and writing, so that opening waits for nobody; never read
        reader = Some(File::options().read(true).write(true).open(file).unwrap());
    });
    let target = format!("/v1/projects/e1/{}", "x".repeat(7800));
    let request = logged.stage.request("GET", &target).end();
    let mut client = logged.stage.gateway.connect();
    for at in 0..REQUESTS {
        client.send(&request);
        assert_eq!(client.read().status, 200, "request {at}");
    }
    wait_for(PATIENCE, "lost lines in the metrics", || {
        let text =
            metrics(&logged.stage.gateway, Request::get("/metrics").key(&logged.stage.gateway.admin)).text();
        let mut values =
            text.lines().filter_map(|line| line.strip_prefix("portcullis_access_log_lines_dropped_total "));
        values.any(|value| value != "0")
    });
    drop(reader);
}
