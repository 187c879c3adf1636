//! The files in `deploy/`, as far as a machine without Docker can check them: the gateway accepts the configuration, and the
//! other files agree with it. The Helm chart has tests of its own, and so has what is there for Prometheus.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml::Value;
use support::cli::Cli;
use support::gateway::Plan;
use support::http1::{Client, Request};
use support::postgres::Postgres;
use support::upstream::Upstream;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("deploy/{name}: {error}"))
}

/// The documents in a YAML file, with merge keys and anchors resolved.
fn documents(name: &str) -> Vec<Value> {
    let text = text(name);
    let documents = text.split("\n---\n").map(|document| {
        let mut value: Value =
            serde_yaml::from_str(document).unwrap_or_else(|error| panic!("{name}: {error}"));
        value.apply_merge().unwrap_or_else(|error| panic!("{name}: {error}"));
        value
    });
    documents.collect()
}

/// The only item of a list.
#[track_caller]
fn only(list: &Value) -> &Value {
    let items = list.as_sequence().unwrap_or_else(|| panic!("no list: {list:?}"));
    assert_eq!(items.len(), 1, "{list:?}");
    &items[0]
}

fn seconds(text: &str) -> u64 {
    let text = text.strip_suffix('s').unwrap_or(text);
    text.parse().unwrap_or_else(|_| panic!("no seconds: {text}"))
}

/// What the shared configuration gives running requests when the gateway stops.
fn drain_timeout() -> u64 {
    let config: Value = serde_yaml::from_str(&text("portcullis.yaml")).unwrap();
    seconds(config["drain_timeout"].as_str().unwrap())
}

/// The ports of the shared configuration: the clients' and management's.
fn ports() -> (u64, u64) {
    let config: Value = serde_yaml::from_str(&text("portcullis.yaml")).unwrap();
    let port = |value: &Value| value.as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    (port(&only(&config["listeners"])["address"]), port(&config["management"]["address"]))
}

#[test]
fn the_shared_configuration_is_one_that_the_gateway_takes_and_serves() {
    let server = Postgres::start();
    let upstream = Upstream::start();
    let url = server.url(&server.create_database());
    // an ordinary site, whose configuration is then the one of deploy/ with places of the test's own
    let site = Plan::new(&upstream).postgres(&url, "gw", "60s").prepare();
    let folder = site.directory().display().to_string();
    let ours = text("portcullis.yaml")
        .replace("/var/lib/portcullis/replica.db", &format!("{folder}/other.db"))
        .replace("/etc/portcullis/secrets/pepper", &format!("{folder}/portcullis.pepper"));
    let checked = site.directory().join("checked.yaml");
    fs::write(&checked, &ours).unwrap();
    let environment = [("DATABASE_URL", url), ("UPSTREAM", format!("http://{}", upstream.address()))];
    let output = Cli::program()
        .args(["check", "--config"])
        .arg(&checked)
        .envs(environment.clone())
        .output()
        .expect("the program can be started");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("/v1"), "{said}");

    let (http, management) = ports();
    let free = ours.replace(&format!("0.0.0.0:{http}"), "127.0.0.1:0");
    let free = free.replace(&format!("0.0.0.0:{management}"), "127.0.0.1:0");
    assert_eq!(free.matches("127.0.0.1:0").count(), 2, "{free}");
    // its log is JSON, in which the harness finds the addresses too
    fs::write(site.config(), free).unwrap();
    let gateway = site.environment(environment).start();
    for path in ["/healthz", "/readyz"] {
        let mut client = Client::connect(gateway.management());
        client.send(Request::without_host("GET", path).header("Host", "10.1.2.3:8081").end());
        let answer = client.read();
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
}

/// One word of a command.
#[track_caller]
fn only_word(command: &Value, at: usize) -> String {
    command[at].as_str().unwrap_or_else(|| panic!("no word {at} in {command:?}")).to_owned()
}

#[test]
fn the_compose_file_agrees_with_the_configuration() {
    let compose = documents("compose.yaml").remove(0);
    let (http, management) = ports();
    let mut outside = Vec::new();
    for name in ["gateway-1", "gateway-2"] {
        let gateway = &compose["services"][name];
        assert_eq!(gateway["hostname"], name, "receipts name it by its machine's name");
        let grace = seconds(gateway["stop_grace_period"].as_str().unwrap());
        assert!(grace > drain_timeout(), "{grace}s");
        let words = |value: &Value| -> Vec<String> {
            value.as_sequence().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let ports = words(&gateway["ports"]);
        let inside: Vec<u64> =
            ports.iter().map(|port| port.rsplit(':').next().unwrap().parse().unwrap()).collect();
        assert_eq!(inside, [http, management]);
        outside.extend(ports.iter().map(|port| port.rsplit_once(':').unwrap().0.to_owned()));
        let volumes = words(&gateway["volumes"]);
        assert!(volumes.contains(&"./portcullis.yaml:/etc/portcullis/portcullis.yaml:ro".to_owned()));
        assert!(volumes.contains(&"pepper:/etc/portcullis/secrets:ro".to_owned()), "{volumes:?}");
        let replica = volumes.iter().find_map(|volume| volume.strip_suffix(":/var/lib/portcullis"));
        assert!(compose["volumes"].get(replica.expect("a replica")).is_some());
        outside.push(replica.unwrap().to_owned());
        let url = gateway["environment"]["DATABASE_URL"].as_str().unwrap();
        assert!(url.contains("@record/") && compose["services"].get("record").is_some(), "{url}");
    }
    let count = outside.len();
    outside.sort_unstable();
    outside.dedup();
    assert_eq!(outside.len(), count, "the gateways share a port or a replica: {outside:?}");
    let init = &compose["services"]["init"];
    assert_eq!(only_word(&init["command"], 0), "init");
    assert!(
        !init["volumes"]
            .as_sequence()
            .unwrap()
            .iter()
            .any(|volume| volume == "pepper:/etc/portcullis/secrets:ro")
    );
    // nothing but the two that the file's head names is taken from outside
    let text = text("compose.yaml");
    let taken = text.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next());
    assert!(
        taken.clone().count() > 2
            && taken.clone().all(|name| ["POSTGRES_PASSWORD", "UPSTREAM"].contains(&name))
    );
}

#[test]
fn the_systemd_unit_is_one_that_systemd_takes() {
    let unit = text("portcullis.service");
    let setting = |name: &str| -> &str {
        let found = unit.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        found.unwrap_or_else(|| panic!("no {name}="))
    };
    assert!(seconds(setting("TimeoutStopSec")) > drain_timeout());
    assert_eq!(setting("StateDirectory"), "portcullis");
    let start = setting("ExecStart");
    assert!(start.ends_with(" serve --config /etc/portcullis/portcullis.yaml"), "{start}");
    // 20,000 connections and one each to an upstream, and some more
    assert!(setting("LimitNOFILE").parse::<u32>().unwrap() > 40_256);
    assert!(setting("ExecReload").contains(" reload "));

    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not here: the unit's keys were looked at by this test alone");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("portcullis.service");
    let program = start.split(' ').next().unwrap();
    fs::write(&copy, unit.replace(program, env!("CARGO_BIN_EXE_portcullis"))).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("portcullis.service")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn the_dockerfile_builds_what_this_project_is() {
    let dockerfile = text("Dockerfile");
    let toolchain = fs::read_to_string(file("../rust-toolchain.toml")).unwrap();
    let channel =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    assert!(dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={channel}\n")), "{channel}");
    let (minor, _) = channel.rsplit_once('.').unwrap();
    assert!(dockerfile.contains(&format!("FROM rust:{minor}-")), "{minor}");
    let (_, last) = dockerfile.rsplit_once("FROM ").unwrap();
    assert!(last.contains("\nUSER ") && !last.contains("cargo"), "{last}");
    assert!(last.contains("\nHEALTHCHECK ") && last.contains(r#"CMD ["portcullis", "health", "#), "{last}");
    let (http, management) = ports();
    assert!(last.contains(&format!("EXPOSE {http} {management}\n")));
    assert!(last.contains(r#"CMD ["serve", "--config", "/etc/portcullis/portcullis.yaml"]"#));
    // what the build needs is sent to it: whatever the sources include from outside their folder stands in tests only
    let ignored = text("Dockerfile.dockerignore");
    for needed in ["Cargo.toml", "Cargo.lock", "README.md", "src", "templates"] {
        assert!(ignored.lines().any(|line| line == format!("!{needed}")), "{needed}");
        assert!(file("..").join(needed).exists(), "{needed}");
    }
}
