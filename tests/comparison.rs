//! A quick check that `benches/compare` still works: a full run takes too long for a test.

mod support;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use support::cli::Cli;
use support::gateway::Plan;
use support::upstream::Upstream;

const BENCHES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches");

#[track_caller]
fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_scenario_of_the_comparison_stands_in_its_document() {
    let output = Command::new("python3").arg(format!("{BENCHES}/compare")).arg("--list").output();
    let list = said(&output.expect("python3"));
    let document = std::fs::read_to_string(format!("{BENCHES}/README.md")).expect("the document");
    let (scenarios, _) = list.split_once("\n\n").expect("scenarios, then peers");
    let missing: Vec<&str> = scenarios
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !document.contains(&format!("`{name}`")))
        .collect();
    assert!(scenarios.lines().count() > 10, "{list}");
    assert!(missing.is_empty(), "benches/README.md does not name {missing:?}");
}

#[test]
fn the_gateway_takes_the_configuration_that_it_is_compared_with() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare();
    let folder = site.directory().display();
    let values = serde_json::json!({
        "http": 18080, "https": 18443, "management": 18081, "workers": 1, "upstream": 13000, "kept": 8, "body": 16,
        "certificate": format!("{folder}/certs/gateway.pem"), "key": format!("{folder}/certs/gateway.key"),
        "store_folder": format!("{folder}"), "pepper": format!("{folder}/portcullis.pepper"), "folder": format!("{folder}"),
        "allow_missing_pepper": "false", "routes": "  - { path: /v1, upstream: api }",
    });
    let program = "import json, sys\nfrom comparison.peers.portcullis import CONFIGURATION\n\
                   print(CONFIGURATION.format(**json.load(sys.stdin)))";
    let mut child = Command::new("python3")
        .args(["-B", "-c", program])
        .current_dir(BENCHES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(values.to_string().as_bytes()).expect("it reads");
    drop(input);
    let yaml = said(&child.wait_with_output().expect("it ends"));
    let config = site.directory().join("compared.yaml");
    std::fs::write(&config, yaml).expect("the folder can be written");
    let outcome = Cli::new(&config).run(&["check"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}
