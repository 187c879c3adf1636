//! What commands say of what is wrong, unclear or has consequences.

use std::fs;
use std::path::PathBuf;

use crate::support::cli::Outcome;
use crate::support::gateway::Plan;
use crate::support::upstream::Upstream;
use crate::{empty, refusal, site, text, walk};

#[test]
fn explain_says_what_to_do_about_what_is_inactive_or_unknown() {
    let (_directory, cli) = site();
    let key = cli.create_account_key("admin");
    cli.succeed(&["key", "deactivate", &key.access_key]);
    let explained = cli.succeed(&["explain", "--key", &key.access_key, "GET", "/v1/projects/nowhere"]).stdout;
    for next in
        ["`portcullis environment list`", &format!("to make it work: `portcullis key activate {}`\n", key.id)]
    {
        assert!(explained.contains(next), "{explained}");
    }
    cli.succeed(&["environment", "create", "--id", "e1"]);
    let key = cli.create_environment_key("e1");
    cli.succeed(&["key", "deactivate", &key.id]);
    cli.succeed(&["environment", "deactivate", "e1"]);
    let explained = cli.succeed(&["explain", "--key", &key.id, "GET", "/v1/projects/e1"]).stdout;
    let next = format!("`portcullis key activate {}` and `portcullis environment activate e1`\n", key.id);
    assert!(explained.contains(&next), "{explained}");
}

#[test]
fn a_name_that_others_have_too_is_warned_about_with_an_id() {
    let (_directory, cli) = site();
    let id = |outcome: &Outcome| text(&serde_json::from_str(&outcome.stdout).expect("JSON"), "id").to_owned();
    let create = |kind: &str, name: &str| cli.succeed(&[kind, "create", "--name", name, "--output", "json"]);
    for kind in ["account", "environment"] {
        let first = create(kind, "alice");
        assert!(!first.stderr.contains("has the name"), "{first:?}");
        let other = create(kind, "Alice");
        assert!(!other.stderr.contains("has the name"), "names differ by case: {other:?}");
        let second = create(kind, "alice");
        let warning = format!("warning: {kind} {} has the name 'alice' too", id(&first));
        assert!(second.stderr.contains(&warning), "{second:?}");
        let edited = cli.succeed(&[kind, "edit", &id(&other), "--description", "x"]);
        assert!(!edited.stderr.contains("too"), "{edited:?}");
        let edited = cli.succeed(&[kind, "edit", &id(&other), "--name", "alice"]);
        assert!(edited.stderr.contains(&format!("warning: 2 {kind}s have, ")), "{edited:?}");
        // it is done all the same, and what the warning says to do is a command
        let renamed = cli.succeed(&[kind, "edit", &id(&second), "--name", "second"]);
        assert!(!renamed.stderr.contains("too"), "{renamed:?}");
    }
}

#[test]
fn wrong_usage_is_status_2_and_changes_nothing() {
    let (_directory, cli) = site();
    let before = cli.succeed(&["key", "list"]).stdout;
    for usage in [
        &["key", "create"][..],
        &["key", "create", "--account", "admin", "--environment", "e1"],
        &["key", "create", "--account", "admin", "--access-key", "x"],
        &["key", "create", "--account", "admin", "--secret-file", "x"],
        &["key", "edit", "1c1"],
        &["key", "list", "--output", "xml"],
        &["environment", "create", "--id", "a/b"],
        &["environment", "member", "add", "--environment", "e", "--account", "a", "--role", "king"],
        &["account", "create", "--name", "a", "--kind", "god"],
        &["nonsense"],
        &[],
    ] {
        let outcome = cli.run(usage);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{usage:?}: {outcome:?}");
    }
    assert_eq!(cli.succeed(&["key", "list"]).stdout, before);
}

#[test]
fn what_is_not_there_is_refused_and_nothing_is_made() {
    let (directory, cli) = empty();
    let outcome = cli.run(&["key", "list"]);
    assert!(refusal(&outcome).contains("portcullis.yaml"), "{outcome:?}");
    assert_eq!(walk(directory.path()), Vec::<PathBuf>::new());

    cli.succeed(&["init"]);
    fs::remove_file(directory.path().join("portcullis.db")).expect("the store goes");
    for command in [&["key", "list"][..], &["account", "create", "--name", "a"], &["environment", "list"]] {
        let outcome = cli.run(command);
        assert!(refusal(&outcome).contains("`portcullis init` creates it"), "{outcome:?}");
    }
    assert!(!directory.path().join("portcullis.db").exists());
}

#[test]
fn a_store_with_trouble_is_refused_with_what_to_do() {
    let (directory, cli) = site();
    let path = directory.path().join("portcullis.db");
    let whole = fs::read(&path).expect("the store");
    rusqlite::Connection::open(&path)
        .expect("open")
        .pragma_update(None, "user_version", 99)
        .expect("a version");
    assert!(refusal(&cli.run(&["key", "list"])).contains("newer portcullis"));
    fs::write(&path, [&whole[..4096], &[0xa5; 8192]].concat()).expect("written");
    assert!(refusal(&cli.run(&["key", "list"])).contains("restore a backup"));
    fs::write(&path, &whole).expect("written");
    cli.succeed(&["key", "list"]);
    let other = rusqlite::Connection::open(&path).expect("another process's connection");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    assert!(refusal(&cli.run(&["account", "create", "--name", "a"])).contains("locked by another process"));
}

#[test]
fn stopping_the_last_admin_key_is_done_and_warned_about() {
    let (_directory, cli) = site();
    let keys = cli.json(&["key", "list"]);
    let only = text(&keys["data"][0], "id").to_owned();
    let outcome = cli.succeed(&["key", "deactivate", &only]);
    assert!(outcome.stderr.contains("no active admin account has an active key"), "{outcome:?}");
    cli.create_account_key("admin");
    cli.succeed(&["key", "activate", &only]);
    let outcome = cli.succeed(&["key", "deactivate", &only]);
    assert_eq!(outcome.stderr, "", "another admin key works");
    cli.succeed(&["account", "deactivate", "admin"]);
    let outcome = cli.succeed(&["account", "delete", "admin"]);
    assert!(outcome.stderr.contains("account create --kind admin"), "its key needs an account: {outcome:?}");
}

#[test]
fn a_change_says_where_it_is_in_force_or_that_no_gateway_runs() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare();
    let nobody = "no gateway runs on this store now";
    let create = ["account", "create", "--name", "alice"];
    assert!(site.succeed(&create).stdout.ends_with(&format!("\n{nobody}\n")), "nobody has applied it");
    assert!(!site.json(&["account", "edit", "alice", "--name", "bob"]).to_string().contains(nobody));
    let gateway = site.start();
    let outcome = gateway.succeed(&["account", "edit", "bob", "--name", "carol"]);
    assert!(outcome.stdout.contains("in force on ") && !outcome.stdout.contains(nobody), "{outcome:?}");
    // killed: its lease has not ended, but it acts on nothing
    let site = gateway.crash();
    let listed = site.succeed(&["gateways"]).stdout;
    let row = listed.lines().nth(1).expect("a row");
    assert!(row.contains("  crashed  -  "), "a future time would look as if it acted until then: {listed}");
    assert_eq!(site.json(&["gateways"])["data"][0]["state"], "inactive");
    assert!(site.succeed(&["account", "edit", "carol", "--name", "dora"]).stdout.contains(nobody));
}

#[test]
fn an_environment_that_no_path_can_name_is_warned_about() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).routes("  - { path: /, upstream: api, account: allow }").prepare();
    let warning = "warning: no route in ";
    let outcome = site.succeed(&["environment", "create", "--id", "e1"]);
    assert!(outcome.stderr.starts_with(warning) && outcome.stderr.contains("'environment:'"), "{outcome:?}");
    let outcome = site.succeed(&["key", "create", "--environment", "e1"]);
    assert!(outcome.stderr.starts_with(warning), "{outcome:?}");
    let outcome = site.succeed(&["key", "create", "--account", "admin"]);
    assert!(!outcome.stderr.contains("warning"), "{outcome:?}");
    let site = Plan::new(&upstream).prepare();
    assert_eq!(
        site.succeed(&["environment", "create", "--id", "e1"]).stderr,
        "",
        "its paths have environments"
    );
}

#[test]
fn a_rotation_says_how_long_the_former_secret_works() {
    let (_directory, cli) = site();
    let key = cli.json(&["key", "create", "--account", "admin"]);
    let id = text(&key, "id");
    let rotated = cli.succeed(&["key", "rotate", id]).stderr;
    let end = format!("`portcullis key rotate {id} --end` stops it at once");
    assert!(rotated.contains("The former secret works until 2") && rotated.contains(&end), "{rotated}");
    cli.succeed(&["key", "rotate", id, "--end"]);
    let at_once = cli.succeed(&["key", "rotate", id, "--overlap", "0"]).stderr;
    assert!(!at_once.contains("former"), "{at_once}");
}

#[test]
fn a_key_that_is_not_found_says_how_keys_are_named() {
    let (_directory, cli) = site();
    let outcome = cli.run(&["key", "deactivate", "build server"]);
    assert!(refusal(&outcome).contains("there is no key 'build server'"), "{outcome:?}");
    assert!(outcome.stderr.contains("`portcullis key list`"), "{outcome:?}");
}

#[test]
fn a_gateway_that_cannot_start_leaves_no_row_and_says_why_last() {
    let upstream = Upstream::start();
    let running = Plan::new(&upstream).prepare().start();
    let taken = format!("  - address: {}\n", running.http());
    let site = Plan::new(&upstream).listeners(&taken).prepare();
    let Err(failed) = site.try_start() else { panic!("two gateways on one port") };
    let (site, outcome) = *failed;
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(last.contains(&format!("{} is in use", running.http())), "{outcome:?}");
    assert_eq!(site.json(&["gateways"])["data"], serde_json::json!([]), "it never ran");

    // what fails after the row is written
    let site = Plan::new(&upstream).prepare();
    let pepper = site.directory().join("portcullis.pepper");
    fs::remove_file(&pepper).expect("the pepper goes");
    portcullis::auth::Peppers::create(&pepper).expect("another one");
    let Err(failed) = site.try_start() else { panic!("a gateway with a pepper of another store") };
    let (site, outcome) = *failed;
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("the store holds fingerprints under pepper"), "{outcome:?}");
    assert_eq!(site.json(&["gateways"])["data"], serde_json::json!([]), "it never ran");
}
