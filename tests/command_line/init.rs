//! `init`: what it makes, what it leaves alone, and what happens when it is cut short.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::Value;

use crate::output::failure_to_print;
use crate::support::cli::{Cli, key_in};
use crate::support::postgres::Postgres;
use crate::support::{PATIENCE, contains, wait_for};
use crate::{empty, refusal, site, text, walk};

#[test]
fn init_makes_all_that_is_missing_and_prints_the_first_key_once() {
    let (directory, cli) = empty();
    let outcome = cli.succeed(&["init"]);
    let key = key_in(&outcome.stdout).expect("a key is printed");
    let file = directory.path().join("portcullis.yaml");
    let next = format!("`portcullis serve --config {}`", file.display());
    assert!(outcome.stderr.contains(&next), "what is next must work as it stands there: {outcome:?}");
    let mode = |file: &str| {
        let metadata =
            fs::metadata(directory.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        metadata.permissions().mode() & 0o777
    };
    for private in ["portcullis.db", "portcullis.pepper", "portcullis.yaml", "certs/gateway.key"] {
        assert_eq!(mode(private), 0o600, "{private}");
    }
    mode("certs/gateway.pem");

    let listed = cli.json(&["key", "list"]);
    let [only] = listed["data"].as_array().expect("a list").as_slice() else { panic!("{listed}") };
    assert_eq!(text(only, "publicValue"), key.access_key);
    assert_eq!(only["secretValue"], Value::Null);
    assert_eq!(text(&cli.json(&["account", "show", text(only, "accountId")]), "kind"), "admin");
    for entry in walk(directory.path()) {
        let content = fs::read(&entry).expect("readable");
        assert!(!contains(&content, key.secret.as_bytes()), "{} holds the secret", entry.display());
    }
}

#[test]
fn init_refuses_to_run_twice_and_overwrites_nothing() {
    let (directory, cli) = site();
    let before: Vec<_> =
        walk(directory.path()).into_iter().map(|file| (fs::read(&file).expect("read"), file)).collect();
    let outcome = cli.run(&["init"]);
    assert!(refusal(&outcome).contains("exists already"), "{outcome:?}");
    let after: Vec<_> =
        walk(directory.path()).into_iter().map(|file| (fs::read(&file).expect("read"), file)).collect();
    assert_eq!(before, after);
}

#[test]
fn an_unattended_init_makes_no_key_and_may_be_run_again() {
    let (_directory, cli) = empty();
    let outcome = cli.succeed(&["init", "--unattended"]);
    assert!(outcome.stdout.contains("portcullis key create --account admin"), "{outcome:?}");
    assert_eq!(cli.json(&["key", "list"])["data"], serde_json::json!([]));
    assert!(cli.succeed(&["init", "--unattended"]).stdout.contains("nothing to do"));
    cli.succeed(&["key", "create", "--account", "admin"]);
}

#[test]
fn of_unattended_inits_that_start_at_once_on_one_record_all_succeed() {
    let server = Postgres::start();
    let url = server.url(&server.create_database());
    let sites: Vec<_> = (0..3).map(|_| empty()).collect();
    let mut inits = Vec::new();
    for (number, (directory, _)) in sites.iter().enumerate() {
        let config = format!(
            "listeners: [{{ address: \"127.0.0.1:0\" }}]\nmanagement: {{ address: \"127.0.0.1:0\" }}\n\
             store: {{ postgres: {{ url: \"{url}\", replica: replica.db }}, gateway: gw{number} }}\n\
             pepper_file: portcullis.pepper\nupstreams: {{ api: {{ endpoints: [\"http://127.0.0.1:9\"] }} }}\n\
             routes: [{{ path: /v1, upstream: api }}]\n"
        );
        fs::write(directory.path().join("portcullis.yaml"), config).expect("written");
        let init = Cli::program()
            .args(["init", "--unattended", "--config"])
            .arg(directory.path().join("portcullis.yaml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        inits.push(init.expect("it starts"));
    }
    let ended: Vec<_> = inits.into_iter().map(|init| init.wait_with_output().expect("it ends")).collect();
    assert!(ended.iter().all(|output| output.status.success()), "{ended:?}");
    let accounts = sites[0].1.json(&["account", "list"]);
    assert_eq!(accounts["data"].as_array().map(Vec::len), Some(1), "{accounts}");
}

#[test]
fn init_keeps_what_is_there_and_says_which_half_of_a_certificate_is_missing() {
    let (directory, cli) = site();
    let file = |name: &str| directory.path().join(name);
    let pepper = fs::read(file("portcullis.pepper")).expect("the pepper");
    fs::remove_file(file("portcullis.db")).expect("the store goes");
    fs::remove_file(file("certs/gateway.key")).expect("the certificate's key goes");
    let outcome = cli.run(&["init"]);
    assert!(refusal(&outcome).contains("gateway.key"), "{outcome:?}");
    assert!(!file("portcullis.db").exists(), "the store comes last");

    fs::remove_file(file("certs/gateway.pem")).expect("the certificate goes");
    cli.succeed(&["init"]);
    assert_eq!(fs::read(file("portcullis.pepper")).expect("the pepper"), pepper);
}

#[test]
fn an_init_that_is_killed_can_be_run_again() {
    for round in 0..20 {
        let (directory, cli) = empty();
        let mut init = Cli::program()
            .args(["init", "--config"])
            .arg(directory.path().join("portcullis.yaml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        // once it has made the next of its files, or has ended: each round kills it at another point of its way
        let made = ["portcullis.yaml", "portcullis.pepper", "certs/gateway.key", "portcullis.db"][round % 4];
        wait_for(PATIENCE, "init makes progress", || {
            directory.path().join(made).exists() || init.try_wait().expect("our child").is_some()
        });
        init.kill().expect("our child");
        init.wait().expect("it ended");

        let again = cli.run(&["init"]);
        let there = again.stderr.contains("portcullis.db exists already");
        let cut_short = ["portcullis.pepper", "gateway.key"].iter().any(|file| again.stderr.contains(file));
        assert!(again.code == 0 || there || cut_short, "{again:?}");
        if again.code == 0 || there {
            let keys = cli.json(&["key", "list"]);
            assert_eq!(
                keys["data"].as_array().map(Vec::len),
                Some(1),
                "a store always holds its first key: {keys}"
            );
        }
    }
}

#[test]
fn an_init_that_cannot_show_the_key_says_what_to_do() {
    let (directory, _cli) = empty();
    let said = failure_to_print(&directory, &["init"]);
    assert!(said.contains("its secret was not shown: make another (`portcullis key create`)"), "{said}");
}
