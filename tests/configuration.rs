//! `check`, `explain` and a reload on the real program, with good files and bad ones.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::cli::{Cli, Outcome};
use support::gateway::{Plan, Site};
use support::http1::Request;
use support::upstream::Upstream;
use support::{PATIENCE, wait_for};
use tempfile::TempDir;

const ROUTES: &str = r#"
  - path: /v2-beta
    upstream: api
    environment: ["/v2-beta/projects/{environment}", "/v2-beta/project/{environment}"]
    account: allow
    shared: [/v2-beta, /v2-beta/schemas, /v2-beta/schemas/**]
    owner_only: ["/v2-beta/projects/{environment}/projectmembers/**"]
    selectors: { query: [projectId], headers: [X-API-Project-Id] }
    method_override: { query: [_method] }
    cors: { origins: ["https://console.example.com"] }
  - path: /healthz
    upstream: api
    access: public
"#;

/// A configuration with its store, an environment `e1` and another one, `e2`.
fn site() -> Site {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).routes(ROUTES).prepare();
    site.create_environment("e1");
    site.create_environment("e2");
    site
}

/// A file on its own: nothing that it names is there.
fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("portcullis.yaml");
    std::fs::write(&path, text).expect("the configuration can be written");
    (directory, path)
}

/// What `check` says about `text`: its lines on stderr, without the directory.
#[track_caller]
fn mistakes(text: &str) -> Vec<String> {
    let (directory, path) = file(text);
    let outcome = Cli::new(&path).run(&["check"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let directory = format!("{}/", directory.path().display());
    outcome.stderr.lines().map(|line| line.replace(&directory, "")).collect()
}

/// Appends to a site's configuration, or replaces in it.
fn change(site: &Site, from: &str, to: &str) {
    let text = std::fs::read_to_string(site.config()).expect("the configuration can be read");
    assert!(text.contains(from), "'{from}' is not in\n{text}");
    std::fs::write(site.config(), text.replacen(from, to, 1)).expect("the configuration can be written");
}

#[track_caller]
fn explain(site: &Site, arguments: &[&str]) -> Value {
    let arguments = [&["explain"], arguments].concat();
    site.json(&arguments)
}

/// `allow`, or the status of the refusal.
#[track_caller]
fn decision(site: &Site, arguments: &[&str]) -> String {
    let answer = explain(site, arguments);
    match answer["status"].as_u64() {
        None => answer["decision"].as_str().unwrap_or_default().to_owned(),
        Some(status) => status.to_string(),
    }
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let text = "\
listeners:
  - address: 127.0.0.1:http
store: { sqlite: portcullis.db }
pepper_file: portcullis.pepper
upstreams:
  api: { endpoints: [\"http://127.0.0.1:3000\"] }
routes:
  - path: /v1/
    upstream: api
  - path: /v2
    upstrem: api
    environment: \"/v3/{environment}\"
limits: { header_count: none, header_count: 5 }
drain_timeout: ${NOT_SET_ANYWHERE}
";
    let found = mistakes(text);
    let expected = [
        "portcullis.yaml:2:14: listeners[0].address: expected an IP address and a port",
        "portcullis.yaml:3:18: store.sqlite: there is no store '",
        "portcullis.yaml:4:14: pepper_file: there is no pepper '",
        "portcullis.yaml:8:11: routes[0].path: '/v1/': only a public path may end with '/'",
        "portcullis.yaml:10:5: routes[1]: the setting 'upstream' is missing",
        "portcullis.yaml:11:5: routes[1].upstrem: unknown setting 'upstrem': did you mean 'upstream'?",
        "portcullis.yaml:12:18: routes[1].environment: '/v3/{environment}' must lie under the route's path '/v2'",
        "portcullis.yaml:13:25: limits.header_count: expected a whole number from 1 to 10000, found 'none'",
        "portcullis.yaml:13:31: limits.header_count: the setting is given twice, first in line 13",
        "portcullis.yaml:14:16: drain_timeout: the environment variable NOT_SET_ANYWHERE is not set",
        "portcullis: 10 mistakes in the configuration",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "expected {expected}\nfound    {found}");
    }
}

#[test]
fn mistakes_are_told_to_programs_too() {
    let (_directory, path) = file("listeners: 5\n");
    let outcome = Cli::new(&path).run(&["check", "--output", "json"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let document: Value = serde_json::from_str(&outcome.stdout).expect("a document");
    assert_eq!(document["valid"], false);
    let errors = document["errors"].as_array().expect("errors");
    assert!(
        errors
            .iter()
            .any(|error| error["line"] == 1 && error["column"] == 12 && error["path"] == "listeners"),
        "{document:#}"
    );
}

#[test]
fn what_is_no_yaml_and_what_is_not_there_is_told() {
    let found = mistakes("listeners: [\nstore: x\n");
    assert!(found[0].starts_with("portcullis.yaml:1:12: the '[' here is never closed"), "{found:?}");
    let outcome = Cli::new(Path::new("/nowhere/portcullis.yaml")).run(&["check"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.starts_with("/nowhere/portcullis.yaml: there is no configuration here"),
        "{outcome:?}"
    );
}

#[test]
fn routes_that_contradict_each_other_are_told_with_their_line() {
    let site = site();
    change(&site, "  - path: /healthz", "  - path: /V2-BETA\n    upstream: api\n  - path: /healthz");
    let outcome = site.run(&["check"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let text = std::fs::read_to_string(site.config()).expect("the configuration can be read");
    let line = 1 + text.lines().position(|line| line.contains("/V2-BETA")).expect("the route");
    assert!(outcome.stderr.contains(&format!("portcullis.yaml:{line}:5: route /V2-BETA: ")), "{outcome:?}");
}

#[test]
fn certificates_must_be_there_and_be_each_other_s() {
    let site = site();
    let certs = site.directory().join("certs");
    site.succeed(&["check"]);

    let key = std::fs::read(certs.join("gateway.key")).expect("a key");
    let other = site_key();
    std::fs::write(certs.join("gateway.key"), other).expect("the key can be written");
    let outcome = site.run(&["check"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("found another one"), "{outcome:?}");
    assert!(outcome.stderr.contains("listeners[1].tls.certificates[0].key: "), "{outcome:?}");

    std::fs::write(certs.join("gateway.key"), "no key").expect("the key can be written");
    let outcome = site.run(&["check"]);
    assert!(outcome.stderr.contains("expected a private key in PEM form in"), "{outcome:?}");

    std::fs::write(certs.join("gateway.key"), key).expect("the key can be written");
    std::fs::remove_file(certs.join("gateway.pem")).expect("the certificate can be removed");
    let outcome = site.run(&["check"]);
    assert!(
        outcome.stderr.contains("listeners[1].tls.certificates[0].certificate: cannot read"),
        "{outcome:?}"
    );
    // what needs no certificate goes on
    site.succeed(&["key", "list"]);
}

/// The private key of another certificate.
fn site_key() -> Vec<u8> {
    let upstream = Upstream::start();
    let other = Plan::new(&upstream).prepare();
    std::fs::read(other.directory().join("certs/gateway.key")).expect("a key")
}

#[test]
fn check_prints_who_reaches_what_and_what_is_open() {
    let site = site();
    let outcome = site.succeed(&["check"]);
    for expected in [
        "/v2-beta  to api (http://127.0.0.1:",
        "/v2-beta/projects/{environment}/…: keys of that environment",
        "/v2-beta/schemas/**: read by every key",
        "access: public: /healthz needs no key",
    ] {
        assert!(outcome.stdout.contains(expected), "{expected}\nis not in\n{}", outcome.stdout);
    }
    let quiet = "access_control: disabled";
    assert!(!outcome.stdout.contains(quiet), "{}", outcome.stdout);

    change(&site, "workers: 2", "workers: 2\naccess_control: disabled");
    change(&site, "account: allow", "account: allow\n    encoded_slash: allow");
    let document = site.json(&["check"]);
    let weakenings = document["weakenings"].to_string();
    assert!(weakenings.contains(quiet) && weakenings.contains("encoded_slash: allow"), "{weakenings}");
    assert_eq!(document["routes"][0]["path"], "/v2-beta");
    assert_eq!(document["listeners"][0]["accessControl"], "disabled");
}

#[test]
fn explain_says_what_the_table_says_and_what_the_gateway_does() {
    let upstream = Upstream::start();
    let gateway = Plan::new(&upstream).routes(ROUTES).start();
    let site = &gateway.site;
    site.create_environment("e1");
    site.create_environment("e2");
    let e1 = site.create_environment_key("e1");
    site.create_account("alice", "user");
    site.add_member("e1", "alice", "readonly");
    let alice = site.create_account_key("alice");
    let admin = site.admin.clone();

    for (key, request, expected) in [
        (None, "GET /healthz", 200),
        (None, "POST /healthz", 401),
        (None, "GET /v2-beta", 401),
        (Some(&e1), "GET /healthz", 200),
        (Some(&e1), "GET /v2-beta", 200),
        (Some(&e1), "POST /v2-beta", 403),
        (Some(&e1), "DELETE /v2-beta/projects/e1/hosts/1", 200),
        (Some(&e1), "GET /v2-beta/projects/e2/hosts", 403),
        (Some(&e1), "GET /v2-beta/accounts", 403),
        (Some(&e1), "POST /v2-beta/projects/e1/projectmembers/x", 403),
        (Some(&e1), "GET /v2-beta/projects/e1/../e2/x", 400),
        (Some(&e1), "GET /v2-beta/projects/e1%2fx", 400),
        (Some(&e1), "GET /nowhere", 404),
        (Some(&e1), "GET /v2-beta/hosts?projectId=e1", 200),
        (Some(&e1), "GET /v2-beta/projects/e1/x?projectId=e2", 403),
        (Some(&e1), "GET /v2-beta/projects/e1/x?_method=DELETE", 400),
        (None, "GET /v2-beta/projects/e1/x?projectId=e2", 401),
        (Some(&admin), "GET /v2-beta/projects/e1/x?projectId=e2", 403),
        (None, "GET /v2-beta/projects/e1/x?_method=DELETE", 400),
        (Some(&e1), "TRACE /v2-beta", 405),
        (Some(&alice), "GET /v2-beta/projects/e1/hosts", 200),
        (Some(&alice), "POST /v2-beta/projects/e1/hosts", 403),
        (Some(&alice), "GET /v2-beta/accounts", 200),
        (Some(&alice), "GET /v2-beta/projects/nothing/x", 403),
        (Some(&admin), "GET /v2-beta/projects/nothing/x", 200),
    ] {
        let (method, path) = request.split_once(' ').expect("a method and a path");
        let mut arguments: Vec<&str> =
            key.map(|key| ["--key", key.access_key.as_str()]).into_iter().flatten().collect();
        arguments.extend([method, path]);
        let answer = explain(site, &arguments);
        let status = answer["status"].as_u64().unwrap_or(200);
        assert_eq!(status, expected, "{arguments:?}\n{answer:#}");

        let mut sent = Request::new(method, path);
        if let Some(key) = key {
            sent = sent.key(key);
        }
        assert_eq!(u64::from(gateway.exchange(sent.end()).status), expected, "the gateway, on {arguments:?}");
    }
}

#[test]
fn explain_takes_headers_and_tells_the_rule() {
    let site = site();
    let key = site.create_environment_key("e1").access_key;
    let by_header = |value: &str| {
        let header = format!("x-api-project-id: {value}");
        explain(&site, &["--key", &key, "--header", &header, "GET", "/v2-beta/hosts"])
    };
    let own = by_header("e1");
    assert_eq!(own["decision"], "allow", "{own:#}");
    assert_eq!(own["rule"], "an environment key reaches its own environment");
    assert_eq!(own["role"], "project");
    assert!(
        own["class"].as_str().is_some_and(|class| class.starts_with("environment(e1): the header")),
        "{own:#}"
    );
    assert_eq!(by_header("e2")["status"], 403);
    assert_eq!(by_header("e/2")["status"], 400);

    let preflight = ["-H", "Origin: https://console.example.com", "-H", "Access-Control-Request-Method: GET"];
    let answer = explain(&site, &[&preflight[..], &["OPTIONS", "/v2-beta/hosts"]].concat());
    assert!(answer["rule"].as_str().is_some_and(|rule| rule.contains("preflight")), "{answer:#}");

    let outcome = site.succeed(&["explain", "--key", &key, "GET", "/v2-beta/projects/e2/hosts?a=b"]);
    for expected in [
        "GET /v2-beta/projects/e2/hosts?a=b",
        &format!("{key} (active) of environment e1 (active)"),
        "/v2-beta to api",
        "environment(e2)",
        "e2 (active)",
        "deny, with 403",
        "an environment key reaches no environment but its own",
    ] {
        assert!(outcome.stdout.contains(expected), "{expected}\nis not in\n{}", outcome.stdout);
    }
}

#[test]
fn explain_knows_dead_and_unknown_keys() {
    let site = site();
    let key = site.create_environment_key("e1");
    let path = ["GET", "/v2-beta/projects/e1/x"];
    let ask = |key: &str| decision(&site, &[&["--key", key][..], &path].concat());
    assert_eq!(ask(&key.access_key), "allow");
    assert_eq!(ask(&key.id), "allow", "an id names a key too");
    assert_eq!(ask("pce_00000000000000000000"), "401");
    let told = explain(&site, &["--key", "pce_00000000000000000000", "GET", "/v2-beta/projects/e1/x"]);
    assert!(told["rule"].as_str().is_some_and(|rule| rule.contains("`portcullis key list`")), "{told}");
    let url = "https://api.example.com/v2-beta/projects/e1/x?a=b";
    let told = explain(&site, &["--key", &key.access_key, "GET", url]);
    assert_eq!(told["request"], "GET /v2-beta/projects/e1/x?a=b", "of a URL the path: {told}");
    assert_eq!(told["decision"], "allow", "{told}");
    site.succeed(&["key", "deactivate", &key.id]);
    assert_eq!(ask(&key.access_key), "401");
    site.succeed(&["key", "delete", &key.id]);
    assert_eq!(ask(&key.access_key), "401");
    let told = explain(&site, &["--key", &key.access_key, "GET", "/v2-beta/projects/e1/x"]);
    assert_eq!(told["rule"], "the key was removed", "{told}");
    assert_eq!(
        decision(&site, &["--key", &key.access_key, "GET", "/healthz"]),
        "allow",
        "public paths ask for no key"
    );
}

#[test]
fn explain_says_what_to_do_about_a_method_and_a_path_that_are_not_right() {
    let site = site();
    let outcome = site.run(&["explain", "G T", "/v2-beta"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    let expected = "invalid value 'G T' for '<METHOD>': expected a method such as GET, and the path after it";
    assert!(outcome.stderr.contains(expected), "{outcome:?}");
    let outcome = site.succeed(&["explain", "get", "/healthz"]).stdout;
    let note = "note         upper and lower case count in methods: 'get' is not GET\n";
    assert!(outcome.contains("deny, with 401") && outcome.ends_with(note), "{outcome}");
    let answer = explain(&site, &["options", "/nowhere"]);
    let notes = "upper and lower case count in methods: 'options' is not OPTIONS; `portcullis check` lists the routes";
    assert_eq!(answer["note"], notes);
    assert_eq!(explain(&site, &["PURGE", "/healthz"]).get("note"), None);
}

#[test]
fn explain_exits_with_1_only_where_that_is_asked_for() {
    let site = site();
    let code = |arguments: &[&str]| site.run(arguments).code;
    assert_eq!(code(&["explain", "GET", "/v2-beta"]), 0);
    assert_eq!(code(&["explain", "--fail-on-deny", "GET", "/v2-beta"]), 1);
    assert_eq!(code(&["explain", "--fail-on-deny", "GET", "/healthz"]), 0);
}

#[test]
fn explain_follows_access_control() {
    let site = site();
    change(&site, "workers: 2", "workers: 2\naccess_control: disabled");
    assert_eq!(decision(&site, &["GET", "/v2-beta/accounts"]), "allow");
    assert_eq!(decision(&site, &["--key", "nobody", "GET", "/v2-beta/accounts"]), "401");
    assert_eq!(decision(&site, &["GET", "/v2-beta/projects/e1/../e2"]), "400");
    change(
        &site,
        "listeners:\n  - address: 127.0.0.1:0",
        "listeners:\n  - address: 127.0.0.1:0\n    access_control: enabled",
    );
    let answer = explain(&site, &["GET", "/v2-beta/accounts"]);
    assert_eq!(answer["status"], 401, "{answer:#}");
    assert!(answer["note"].as_str().is_some_and(|note| note.contains("disabled")), "{answer:#}");
}

#[test]
fn wrong_usage_is_2_and_a_missing_store_1() {
    let run = |arguments: &[&str]| -> Outcome {
        let output = Cli::program().args(arguments).output().expect("the program can be started");
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    };
    for arguments in [
        &[][..],
        &["nonsense"],
        &["explain", "GET"],
        &["explain", "--header", "Authorization: Basic x", "GET", "/"],
        &["check", "--output", "xml"],
    ] {
        let outcome = run(arguments);
        assert_eq!(outcome.code, 2, "{arguments:?}: {outcome:?}");
        assert!(!outcome.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["check", "--help"], &["explain", "--help"], &["--version"]] {
        let outcome = run(arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{arguments:?}");
    }
    let help = run(&["explain", "--help"]).stdout;
    assert!(help.contains("Examples:") && help.contains("--fail-on-deny"), "{help}");

    let upstream = Upstream::start();
    let (_directory, path) = file(&Plan::new(&upstream).yaml());
    let outcome = Cli::new(&path).run(&["explain", "--key", "pca_x", "GET", "/v1"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.starts_with("portcullis: there is no store at "), "{outcome:?}");
}

#[test]
fn the_example_passes_once_it_is_prepared() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("portcullis.yaml");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yaml");
    std::fs::copy(example, &path).expect("the example can be copied");
    let cli = Cli::new(&path);
    // in a fresh checkout nothing is wrong with it but what `init` makes
    let outcome = cli.run(&["check"]);
    let complaints: Vec<_> = outcome.stderr.lines().collect();
    for (complaint, key) in complaints.iter().zip([
        "listeners[1].tls.certificates[0].certificate: ",
        "listeners[1].tls.certificates[0].key: ",
        "store.sqlite: ",
        "pepper_file: ",
    ]) {
        assert!(complaint.contains(key), "{outcome:?}");
    }
    assert_eq!((outcome.code, complaints.len()), (1, 5), "{outcome:?}");
    cli.succeed(&["init"]);
    let outcome = cli.succeed(&["check"]);
    assert!(outcome.stdout.contains("/v2-beta"), "{outcome:?}");
}

#[test]
fn variables_come_from_the_environment() {
    let site = site();
    change(&site, "workers: 2", "workers: ${PORTCULLIS_TEST_WORKERS}");
    let check = |workers: Option<&str>| {
        let mut command: Command = Cli::program();
        command.args(["check", "--config"]).arg(site.config());
        if let Some(workers) = workers {
            command.env("PORTCULLIS_TEST_WORKERS", workers);
        }
        command.output().expect("the program can be started")
    };
    assert!(check(Some("3")).status.success());
    for wrong in [None, Some("hunter2"), Some("[3]")] {
        let output = check(wrong);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{wrong:?}");
        assert!(stderr.contains(": workers: "), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn check_refuses_what_serve_would_refuse() {
    let site = site();
    let (store, pepper) =
        (site.directory().join("portcullis.db"), site.directory().join("portcullis.pepper"));
    let refused = || {
        let outcome = site.run(&["check", "--output", "json"]);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        let document: Value = serde_json::from_str(&outcome.stdout).expect("a document");
        assert_eq!(document["valid"], false);
        document["errors"].to_string()
    };
    std::fs::write(&pepper, "ab".repeat(32)).expect("another pepper");
    assert!(refused().contains("the store holds fingerprints under pepper"), "{}", refused());
    std::fs::write(&pepper, "no pepper").expect("no pepper");
    std::fs::write(&store, "no store").expect("no store");
    let both = refused();
    assert!(both.contains("is damaged") && both.contains("64 hexadecimal digits"), "{both}");

    std::fs::remove_file(&pepper).expect("the pepper goes");
    let lost = refused();
    assert!(lost.contains("allow_missing_pepper: true"), "init is no way out where there is a store: {lost}");
}

#[test]
fn an_access_log_needs_its_folder() {
    let site = site();
    change(&site, "routes:", "log: { access: { file: none/access.log } }\nroutes:");
    let outcome = site.run(&["check"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("there is no folder"), "{outcome:?}");
}

#[test]
fn a_reload_takes_over_a_right_configuration_and_refuses_any_other_whole() {
    let upstream = Upstream::start();
    let gateway = Plan::new(&upstream).routes(ROUTES).start();
    let public = |path: &str| gateway.exchange(Request::get(path).end()).status;
    let reload = |config: &str, told: &str| {
        std::fs::write(gateway.config(), config).expect("the configuration can be written");
        let before = gateway.log().matches(told).count();
        gateway.signal("HUP");
        wait_for(PATIENCE, told, || gateway.log().matches(told).count() > before);
    };
    let old = std::fs::read_to_string(gateway.config()).expect("the configuration");
    let renamed = old.replace("path: /healthz", "path: /alive");
    assert_eq!((public("/healthz"), public("/alive")), (200, 404));
    reload(&renamed.replace("access: public", "access: pubic"), "expected 'public' or 'keys', found 'pubic'");
    reload(&renamed.replace("path: /v2-beta", "path: /alive"), "is not taken over");
    reload(
        &format!("cache: {{ unknown_keys: 7 }}\nkey_prefix: other\nlog: {{ format: json }}\n{renamed}"),
        "'key_prefix', 'cache', 'log' cannot change while the gateway runs",
    );
    assert_eq!((public("/healthz"), public("/alive")), (200, 404), "the old one stays");
    reload(&renamed, "the configuration is reloaded");
    assert_eq!((public("/healthz"), public("/alive")), (404, 200));
}

#[test]
fn a_store_that_is_gone_is_told_with_the_time_that_is_left() {
    let gateway = site().start();
    let store = gateway.directory().join("portcullis.db");
    std::fs::rename(&store, store.with_extension("away")).expect("the store goes");
    wait_for(PATIENCE, "the alarm", || gateway.log().contains("is gone while in use"));
    let log = gateway.log();
    assert!(log.contains("seconds every key will be answered 503") && !log.contains("init"), "{log}");
    std::fs::rename(store.with_extension("away"), &store).expect("the store comes back");
    wait_for(PATIENCE, "the end of the alarm", || gateway.log().contains("the store can be followed again"));
}
