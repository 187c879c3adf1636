//! Metrics and the access log of the running program.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use support::certificates::Authority;
use support::cli::{Key, basic, basic_raw, minted_secret};
use support::gateway::Site;
use support::http1::Request;
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

#[test]
fn metrics_are_for_admins_and_every_one_is_documented() {
    let stage = Stage::start();
    assert_eq!(stage.gateway.ask_management(Request::get("/metrics")).status, 401);
    assert_eq!(stage.gateway.ask_management(Request::get("/metrics").key(&stage.e1)).status, 403);
    let answer = stage.gateway.ask_management(Request::get("/metrics").key(&stage.gateway.admin));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Type").as_deref(), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    let page = include_str!("../docs/operation.md");
    let mut families = 0;
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, _) = family.split_once(' ').unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/operation.md lacks {name}");
        families += 1;
    }
    assert!(families > 10, "{text}");
    let label = |name: &str| {
        let values =
            text.lines().filter_map(|line| line.split(&format!("{{{name}=\"")).nth(1)?.split('"').next());
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    for value in label("event").iter().chain(&label("cause")).chain(&label("reason")) {
        assert!(page.contains(&format!("`{value}`")), "docs/operation.md lacks {value}");
    }
}

#[test]
fn the_process_its_listeners_certificates_and_reloads_are_in_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let files = Authority::new(folder.path()).sign(&["gw.test"]);
    let stage = Stage::with(|plan| {
        plan.listeners(&format!(
            "  - address: 127.0.0.1:0\n  - address: 127.0.0.1:0\n    tls: {{ certificates: [ {} ] }}\n",
            files.entry()
        ))
    });
    stage.passes(stage.request("GET", "/v1/projects/e1/x"));
    let text = || stage.gateway.metrics();
    let written = |text: &str, name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    let value = |text: &str, name: &str| written(text, name).parse::<f64>().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let before = text();
    for name in ["process_cpu_seconds_total ", "process_max_fds ", "process_open_fds "] {
        assert!(value(&before, name) > 0.0, "{name}");
    }
    assert!(value(&before, "process_resident_memory_bytes ") > 1e6);
    assert!((value(&before, "process_start_time_seconds ") - now).abs() < 600.0);
    let (http, https) = (stage.gateway.http(), stage.gateway.https());
    let certificate = format!("portcullis_certificate_expiry_timestamp_seconds{{listener=\"{https}\"");
    assert!(value(&before, &certificate) > now);
    assert_eq!(before.matches("certificate_expiry_timestamp_seconds{").count(), 1);
    let accepted =
        |listener| format!("portcullis_listener_connections_accepted_total{{listener=\"{listener}\"}} ");
    assert_eq!(written(&before, &accepted(http)), "1");
    assert_eq!(written(&before, &accepted(https)), "0");
    wait_for(PATIENCE, "the request, by route", || {
        text().contains("portcullis_route_requests_total{route=\"/v1\",class=\"2xx\"} 1\n")
            && text().contains("portcullis_route_request_duration_seconds_count{route=\"/v1\"} 1\n")
    });

    let (succeeded, at) = (
        "portcullis_config_last_reload_successful ",
        "portcullis_config_last_reload_success_timestamp_seconds ",
    );
    assert_eq!(written(&before, succeeded), "1");
    let yaml = fs::read_to_string(stage.gateway.site.config()).unwrap();
    fs::write(stage.gateway.site.config(), format!("{yaml}\nnonsense: true\n")).unwrap();
    stage.gateway.signal("HUP");
    wait_for(PATIENCE, "a refused reload", || written(&text(), succeeded) == "0");
    assert_eq!(written(&text(), at), written(&before, at));
    fs::write(stage.gateway.site.config(), yaml).unwrap();
    stage.gateway.signal("HUP");
    wait_for(PATIENCE, "a reload", || written(&text(), succeeded) == "1");
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
        let text = stage.gateway.metrics();
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
    assert_eq!(three.get("accessKey"), None, "it was only claimed: {three}");
    assert_eq!(
        (&three["authFailure"], &three["claimedKey"]),
        (&"wrong_secret".into(), &stage.e1.access_key.as_str().into())
    );
    for line in [one, two, line("four")] {
        assert_eq!((line.get("authFailure"), line.get("claimedKey")), (None, None), "{line}");
    }
    assert_eq!(line("four")["status"], 400);
}

/// A request that gets 401: what it sends, what the access log and the metrics call it, and the access key that the log
/// may name.
struct Refused {
    authorization: Option<String>,
    failure: &'static str,
    claimed: Option<String>,
}

impl Refused {
    /// With keys in every state. What the log must not show is a secret, or holds the text `hidden`.
    fn all(stage: &Stage) -> Vec<Self> {
        let cli = &stage.gateway.cli;
        let user = cli.create_account("u1", "user");
        cli.create_environment("e3");
        let [inactive, deleted] = [(); 2].map(|()| cli.create_environment_key("e1"));
        let [of_environment, of_account] = [cli.create_environment_key("e3"), cli.create_account_key(&user)];
        let [chosen, stopped] =
            ["chosen", "stopped"].map(|name| cli.import_environment_key("e1", name, "a chosen secret"));
        for key in [&inactive, &deleted, &stopped] {
            cli.succeed(&["key", "deactivate", &key.access_key]);
        }
        cli.succeed(&["key", "delete", &deleted.access_key]);
        cli.succeed(&["environment", "deactivate", "e3"]);
        cli.succeed(&["account", "deactivate", &user]);

        let sent = |authorization: String, failure, claimed: Option<&str>| Self {
            authorization: Some(authorization),
            failure,
            claimed: claimed.map(str::to_owned),
        };
        let of = |key: &Key, failure| sent(key.authorization(), failure, Some(&key.access_key));
        let e1 = stage.e1.access_key.as_str();
        let nobody = "pce_zzzzzzzzzzzzzzzzzzzz";
        let mistyped = format!("{}x", &minted_secret(1)[..49]);
        vec![
            Self { authorization: None, failure: "no_credential", claimed: None },
            sent("Bearer hidden-token".to_owned(), "malformed", None),
            sent(basic_raw(b"hidden-garbage"), "malformed", None),
            sent(basic("hidden-user", ""), "malformed", None),
            sent(basic(e1, &mistyped), "checksum", Some(e1)),
            sent(basic(e1, &minted_secret(1)[..40]), "checksum", Some(e1)),
            sent(basic("hidden-password", minted_secret(1)), "checksum", None),
            sent(basic(minted_secret(2), minted_secret(1)), "checksum", None),
            sent(basic(nobody, minted_secret(1)), "unknown_key", Some(nobody)),
            sent(basic("hidden-password", "hidden too"), "unknown_key", None),
            sent(basic("hidden password \u{e9}", "hidden too"), "unknown_key", None),
            of(&deleted, "unknown_key"),
            of(&stage.e1.with_wrong_secret(), "wrong_secret"),
            sent(basic(&chosen.access_key, "hidden-guess"), "wrong_secret", Some("chosen")),
            of(&inactive, "inactive_key"),
            sent(basic(&inactive.access_key, minted_secret(1)), "inactive_key", Some(&inactive.access_key)),
            of(&stopped, "inactive_key"),
            of(&of_environment, "inactive_owner"),
            of(&of_account, "inactive_owner"),
        ]
    }

    fn request(&self, path: &str) -> Request {
        let request = Request::get(path);
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }
}

/// Sends all of them; `fields_of` reads the reason and the access key from a line of the log.
fn assert_access_log_says_why(format: &str, fields_of: impl Fn(&str) -> (Option<String>, Option<String>)) {
    let logged = Logged::start(format);
    let stage = &logged.stage;
    let all = Refused::all(stage);
    let expected = stage.refuses(Request::get("/v1/projects/e1/x"), &[401]).without_id_and_date();
    let mut marks = Vec::new();
    // what is read from the store, what a failure has left in memory, and what a success has
    for round in ["cold", "failed", "used"] {
        if round == "used" {
            stage.passes(stage.request("GET", "/v1/projects/e1/x"));
            stage.passes(
                Request::get("/v1/projects/e1/x").header("Authorization", basic("chosen", "a chosen secret")),
            );
        }
        for (at, case) in all.iter().enumerate() {
            let mark = format!("{round}-{at}-");
            let answer = stage.refuses(case.request(&format!("/v1/projects/e1/{mark}")), &[401]);
            assert_eq!(answer.without_id_and_date(), expected, "{mark} {}", case.failure);
            marks.push((mark, case));
        }
    }
    let log = logged.wait_for(&marks.iter().map(|(mark, _)| mark.as_str()).collect::<Vec<_>>());
    for (mark, case) in &marks {
        let line = log.lines().find(|line| line.contains(mark.as_str())).unwrap();
        assert_eq!(fields_of(line), (Some(case.failure.to_owned()), case.claimed.clone()), "{line}");
    }
    let secrets = [stage.e1.secret.clone(), minted_secret(1), minted_secret(2), minted_secret(0)];
    for secret in secrets.iter().map(String::as_str).chain(["hidden", "Basic "]) {
        assert!(!log.contains(secret), "the access log holds {secret:?}:\n{log}");
    }

    let count = |failure: &str| marks.iter().filter(|(_, case)| case.failure == failure).count();
    let text = stage.gateway.metrics();
    for failure in ["malformed", "checksum", "unknown_key", "wrong_secret", "inactive_key", "inactive_owner"]
    {
        let line =
            format!("portcullis_authentication_failures_total{{reason=\"{failure}\"}} {}", count(failure));
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    // and the one that the others were compared with
    let refused = marks.len() + 1;
    for line in [
        format!(
            "portcullis_authentication_failures_total{{reason=\"no_credential\"}} {}",
            count("no_credential") + 1
        ),
        format!("portcullis_requests_refused_total{{status=\"401\"}} {refused}"),
        format!("portcullis_refusals_total{{cause=\"unauthenticated\"}} {refused}"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_access_log_and_the_metrics_say_why_a_request_got_401_and_the_client_does_not_learn_it() {
    assert_access_log_says_why("json", |line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["reason"], "unauthenticated");
        assert_eq!(line.get("accessKey"), None, "that is for keys whose secret was verified: {line}");
        let field = |name| line.get(name).map(|value| value.as_str().unwrap().to_owned());
        (field("authFailure"), field("claimedKey"))
    });
}

#[test]
fn the_access_log_as_text_says_why_a_request_got_401() {
    assert_access_log_says_why("text", |line| {
        assert!(
            line.contains(" reason=\"unauthenticated\" auth_failure=") && !line.contains(" key="),
            "{line}"
        );
        let field = |name| line.split_once(name)?.1.split(' ').next().map(str::to_owned);
        (field(" auth_failure="), field(" claimed_key="))
    });
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
        let text = stage.gateway.metrics();
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
        let text = logged.stage.gateway.metrics();
        let mut values =
            text.lines().filter_map(|line| line.strip_prefix("portcullis_access_log_lines_dropped_total "));
        values.any(|value| value != "0")
    });
    // the log tells it once the reader goes on
    let mut reader = reader.expect("it is open");
    std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    let told = "lines of the access log are lost: what takes them is too slow";
    wait_for(PATIENCE, told, || logged.stage.gateway.log().contains(told));
}
