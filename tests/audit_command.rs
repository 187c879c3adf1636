//! `portcullis audit`: the audit log as JSON lines.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc;

use serde_json::Value;
use support::cli::Cli;
use support::stage::Stage;
use support::{PATIENCE, wait_for};

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn the_audit_log_is_printed_and_followed_as_json_lines() {
    let stage = Stage::start();
    let printed = stage.gateway.succeed(&["audit"]).stdout;
    let lines: Vec<_> = printed.lines().map(parsed).collect();
    let created = |line: &&Value| line["action"] == "create" && line["resourceType"] == "apiKey";
    assert!(lines.iter().filter(created).count() >= 2, "{printed}");
    assert!(lines.iter().all(|line| line["type"] == "auditLog" && line["outcome"] == "done"), "{printed}");
    let number = |line: &Value| line["id"].as_str().unwrap()[3..].parse::<u64>().unwrap();
    assert!(lines.is_sorted_by_key(number), "{printed}");
    assert!(!printed.contains(&stage.e1.secret), "{printed}");

    let mut follower = Cli::program()
        .args(["audit", "--follow", "--config"])
        .arg(stage.gateway.site.config())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, received) = mpsc::channel();
    let output = BufReader::new(follower.stdout.take().unwrap());
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    for expected in printed.lines() {
        assert_eq!(received.recv_timeout(PATIENCE).unwrap(), expected);
    }
    stage.gateway.succeed(&["key", "deactivate", &stage.e1.access_key]);
    let line = parsed(&received.recv_timeout(PATIENCE).unwrap());
    assert_eq!((&line["action"], &line["via"]), (&"deactivate".into(), &"command".into()));
    // its reader is gone: it ends by itself with what comes next
    drop(received);
    wait_for(PATIENCE, "the end of the command", || {
        stage.gateway.succeed(&["key", "edit", &stage.e1.id, "--expires", "90d"]);
        follower.try_wait().unwrap().is_some_and(|status| status.success())
    });
}
