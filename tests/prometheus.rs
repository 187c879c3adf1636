//! What Prometheus gets, by its own tools: the metrics, the token that lets it in, and the files in `deploy/prometheus`.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::http1::Request;
use support::python;
use support::stage::Stage;
use support::{PATIENCE, wait_for};

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let stage = Stage::start();
    stage.passes(stage.request("GET", "/v1/projects/e1/x"));
    let text = stage.gateway.metrics();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
}

#[test]
fn metrics_come_as_openmetrics_to_those_who_ask_for_it() {
    let stage = Stage::start();
    let request = Request::get("/metrics").key(&stage.gateway.admin);
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let answer = stage.gateway.ask_management(request.header("Accept", accept));
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("Content-Type").as_deref(), Some(expected));
    let text = answer.text();
    assert!(text.contains("# TYPE portcullis_build info\n") && text.ends_with("# EOF\n"), "{text}");
}

fn bearer(path: &str, token: &str) -> Request {
    Request::get(path).header("Authorization", format!("Bearer {token}"))
}

#[test]
fn a_scraper_with_the_token_gets_the_metrics_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metrics.token");
    let write = |token: &str| {
        fs::write(&file, format!("{token}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("the-first-token");
    let stage =
        Stage::with(|plan| plan.management(&format!("  metrics: {{ token_file: {} }}", file.display())));
    let gateway = &stage.gateway;
    let answer = gateway.ask_management(bearer("/metrics", "the-first-token"));
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("portcullis_build_info{"));
    assert_eq!(
        gateway
            .ask_management(Request::get("/metrics").header("Authorization", "bearer the-first-token"))
            .status,
        200
    );
    assert_eq!(
        gateway.ask_management(Request::get("/metrics").key(&gateway.admin)).status,
        200,
        "an admin, as before"
    );
    for wrong in ["the-first-toke", "the-first-token2", "The-first-token", "", " the-first-token"] {
        assert_eq!(gateway.ask_management(bearer("/metrics", wrong)).status, 401, "{wrong:?}");
    }
    assert_eq!(gateway.ask_management(Request::get("/metrics")).status, 401);
    let twice = bearer("/metrics", "the-first-token").header("Authorization", "Bearer the-first-token");
    assert_eq!(gateway.ask_management(twice).status, 401);
    for path in ["/v2-beta", "/v2-beta/apikeys", "/v2-beta/accounts", "/v2-beta/auditlogs"] {
        let request = Request::without_host("GET", path).header("Host", "localhost");
        let request = request.header("Authorization", "Bearer the-first-token");
        assert_eq!(gateway.ask_management(request).status, 401, "{path}");
    }
    stage.refuses(bearer("/v1/projects/e1/x", "the-first-token"), &[401]);

    write("the-second-token");
    gateway.signal("HUP");
    wait_for(PATIENCE, "the new token", || {
        gateway.ask_management(bearer("/metrics", "the-second-token")).status == 200
    });
    assert_eq!(gateway.ask_management(bearer("/metrics", "the-first-token")).status, 401);
    fs::remove_file(&file).unwrap();
    gateway.signal("HUP");
    wait_for(PATIENCE, "a refused reload", || gateway.log().contains("the configuration is not taken over"));
    assert_eq!(
        gateway.ask_management(bearer("/metrics", "the-second-token")).status,
        200,
        "the old one stays"
    );
    assert!(!gateway.log().contains("-token\n"), "{}", gateway.log());
}

#[test]
fn check_tells_what_is_wrong_with_the_token_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metrics.token");
    fs::write(&file, "token\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let stage =
        Stage::with(|plan| plan.management(&format!("  metrics: {{ token_file: {} }}", file.display())));
    let outcome = stage.gateway.run(&["check"]);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("metrics.token' can be read by every user of this machine"), "{said}");
    for (text, expected) in
        [("", "should hold one line of text"), ("two words", "without blanks"), (" ", "without blanks")]
    {
        fs::write(&file, text).unwrap();
        let outcome = stage.gateway.run(&["check"]);
        assert_eq!(outcome.code, 1);
        assert!(outcome.stderr.contains("management.metrics.token_file: "), "{outcome:?}");
        assert!(outcome.stderr.contains(expected), "{outcome:?}");
    }
}

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus").join(name)
}

#[test]
fn promtool_accepts_the_scrape_configuration_and_every_alert_fires_when_it_should() {
    for arguments in [
        &["check", "config", "--syntax-only", "prometheus.yml"][..],
        &["check", "rules", "alerts.yml"],
        &["test", "rules", "alerts.test.yml"],
    ] {
        let output =
            Command::new("promtool").args(arguments).current_dir(deployed("")).output().expect("promtool");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
    let tests = fs::read_to_string(deployed("alerts.test.yml")).unwrap();
    for alert in fs::read_to_string(deployed("alerts.yml")).unwrap().lines() {
        let Some((_, name)) = alert.split_once("- alert: ") else { continue };
        assert_eq!(tests.matches(&format!("alertname: {name}\n")).count(), 2, "{name} is not tested");
    }
}

/// The names of metrics in an expression.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("portcullis_") || word.starts_with("process_"));
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
}

#[test]
fn every_metric_that_the_alerts_and_the_dashboard_name_is_there() {
    let stage = Stage::start();
    let text = stage.gateway.metrics();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let there: BTreeSet<_> = types.map(str::to_owned).collect();
    let dashboard: Value = serde_json::from_slice(&fs::read(deployed("dashboard.json")).unwrap()).unwrap();
    let mut named = BTreeSet::new();
    for rule in fs::read_to_string(deployed("alerts.yml")).unwrap().lines() {
        named.append(&mut names(rule));
    }
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap_or_else(|| panic!("{panel}"));
        assert!(place("x") + place("w") <= 24 && place("h") > 0 && place("y") < 1000, "{panel}");
        assert!(panel["title"].is_string(), "{panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(["timeseries", "stat"].map(Value::from).contains(&panel["type"]), "{panel}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            assert!(
                target["refId"].is_string() && target["datasource"]["uid"] == "${datasource}",
                "{target}"
            );
            let mut of_target = names(target["expr"].as_str().unwrap());
            assert!(!of_target.is_empty(), "{target}");
            named.append(&mut of_target);
        }
    }
    assert_eq!(dashboard["uid"], "portcullis");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    let missing: Vec<_> = named.difference(&there).collect();
    assert!(missing.is_empty() && named.len() > 20, "{missing:?} are not in\n{text}");
}

#[test]
fn grafana_knows_every_setting_of_the_dashboard() {
    let read = |file: &Path| python::script("grafana_dashboard.py").arg(file).output().unwrap();
    let output = read(&deployed("dashboard.json"));
    assert!(output.status.success(), "{output:?}");

    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.json");
    let text = fs::read_to_string(deployed("dashboard.json")).unwrap();
    assert!(text.contains("\"gridPos\""));
    fs::write(&wrong, text.replacen("\"gridPos\"", "\"gridPosition\"", 1)).unwrap();
    let output = read(&wrong);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stdout).contains("gridPosition"));
}
