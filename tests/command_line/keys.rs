//! Keys, accounts and environments from their making to their end.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::cli::Cli;
use crate::{refusal, site, text};

#[test]
fn a_key_is_found_by_its_pair_and_the_secret_is_printed_nowhere() {
    let (_directory, cli) = site();
    let key = cli.create_account_key("admin");
    let pair = format!("{}:{}", key.access_key, key.secret);
    for command in [&["key", "show", &pair][..], &["key", "deactivate", &pair], &["key", "delete", &pair]] {
        let outcome = cli.succeed(command);
        assert!(outcome.stdout.contains(&key.access_key), "{outcome:?}");
        assert!(!format!("{outcome:?}").contains(&key.secret), "{outcome:?}");
    }
    let unknown = format!("pca_00000000000000000000:{}", key.secret);
    for command in [&["key", "show", &unknown][..], &["key", "edit", &unknown, "--name", "x"]] {
        let outcome = cli.run(command);
        let refused = refusal(&outcome);
        assert!(refused.contains("there is no key") && !refused.contains(&key.secret), "{refused}");
    }
    for command in [&["key", "show", &key.secret][..], &["explain", "--key", &key.secret, "GET", "/v1"]] {
        let outcome = cli.run(command);
        let refused = refusal(&outcome);
        assert!(refused.contains("this is a secret key"), "{refused}");
        assert!(!format!("{outcome:?}").contains(&key.secret), "{refused}");
    }
    let explained = cli.succeed(&["explain", "--key", &pair, "GET", "/v1/projects/x"]);
    assert!(explained.stdout.contains("the secret was not compared"), "{explained:?}");
    assert!(!format!("{explained:?}").contains(&key.secret), "{explained:?}");
}

#[test]
fn a_new_key_is_the_management_apis_document() {
    let (_directory, cli) = site();
    cli.create_environment("1a5");
    let made =
        cli.json(&["key", "create", "--environment", "1a5", "--name", "ci", "--description", "deploys"]);
    for (field, value) in [
        ("type", "apiKey"),
        ("baseType", "credential"),
        ("kind", "apiKey"),
        ("name", "ci"),
        ("description", "deploys"),
        ("accountId", "1a5"),
        ("state", "active"),
        ("transitioning", "no"),
    ] {
        assert_eq!(text(&made, field), value);
    }
    assert!(text(&made, "id").starts_with("1c") && text(&made, "uuid").len() == 36);
    assert!(text(&made, "publicValue").starts_with("pce_") && text(&made, "secretValue").starts_with("pcs_"));
    assert!(text(&made, "created").ends_with('Z') && made["createdTS"].is_i64());
    let empty = Value::Object(serde_json::Map::new());
    assert_eq!((&made["links"], &made["actions"]), (&empty, &empty));
    for null in ["removed", "transitioningMessage", "transitioningProgress"] {
        assert_eq!(made.get(null), Some(&Value::Null), "{null}");
    }
    assert!(made.get("removedTS").is_none());

    let shown = cli.json(&["key", "show", text(&made, "publicValue")]);
    assert_eq!(shown["secretValue"], Value::Null);
    assert_eq!(shown["id"], made["id"]);
    let collection = cli.json(&["key", "list", "--environment", "1a5"]);
    assert_eq!((text(&collection, "type"), text(&collection, "resourceType")), ("collection", "apiKey"));
    assert_eq!(collection["data"], Value::Array(vec![shown]));
}

#[test]
fn a_key_goes_from_active_to_removed_and_no_further() {
    let (_directory, cli) = site();
    cli.create_environment("e1");
    let key = cli.create_environment_key("e1");
    let outcome = cli.run(&["key", "delete", &key.access_key]);
    assert!(refusal(&outcome).contains("deactivate it first"), "{outcome:?}");

    assert_eq!(text(&cli.json(&["key", "deactivate", &key.access_key]), "state"), "inactive");
    assert_eq!(text(&cli.json(&["key", "deactivate", &key.id]), "state"), "inactive");
    assert_eq!(text(&cli.json(&["key", "activate", &key.id]), "state"), "active");
    cli.succeed(&["key", "deactivate", &key.id]);
    let removed = cli.json(&["key", "delete", &key.id]);
    assert_eq!(text(&removed, "state"), "removed");
    assert!(removed["removed"].is_string() && removed["removedTS"].is_i64(), "{removed}");

    assert!(refusal(&cli.run(&["key", "activate", &key.id])).contains("nothing brings it back"));
    assert!(refusal(&cli.run(&["key", "edit", &key.id, "--name", "x"])).contains("removed"));
    assert_eq!(cli.json(&["key", "list", "--environment", "e1"])["data"], Value::Array(Vec::new()));
    assert_eq!(text(&cli.json(&["key", "show", &key.id]), "state"), "removed");
}

#[test]
fn an_environment_takes_its_keys_and_members_with_it() {
    let (_directory, cli) = site();
    let alice = cli.create_account("alice", "user");
    cli.json(&["environment", "create", "--id", "e1", "--name", "live", "--owner", "alice"]);
    let key = cli.create_environment_key("live");
    let members = cli.json(&["environment", "member", "list", "--environment", "live"]);
    assert_eq!(
        (text(&members["data"][0], "externalId"), text(&members["data"][0], "role")),
        (&*alice, "owner")
    );
    cli.add_member("e1", "alice", "readonly");
    let members = cli.json(&["environment", "member", "list", "--environment", "e1"]);
    assert_eq!(text(&members["data"][0], "role"), "readonly");

    // active as it is
    assert!(cli.succeed(&["environment", "delete", "live"]).stdout.contains("environment e1 is removed"));
    assert_eq!(text(&cli.json(&["key", "show", &key.id]), "state"), "removed");
    assert!(
        refusal(&cli.run(&["environment", "show", "live"]))
            .contains("there is no environment 'live': `portcullis environment list` shows all")
    );
    assert!(refusal(&cli.run(&["environment", "create", "--id", "E1"])).contains("not given out again"));
}

#[test]
fn names_and_descriptions_are_optional_bounded_and_all_that_can_be_edited() {
    let (_directory, cli) = site();
    let key = cli.create_account_key("admin");
    let long = "é".repeat(255);
    let edited = cli.json(&["key", "edit", &key.id, "--name", &long, "--description", &"d".repeat(1024)]);
    assert_eq!(text(&edited, "name"), long);
    assert!(refusal(&cli.run(&["key", "edit", &key.id, "--name", &"é".repeat(256)])).contains("255"));
    assert!(
        refusal(&cli.run(&["key", "edit", &key.id, "--description", &"d".repeat(1025)])).contains("1024")
    );
    assert!(refusal(&cli.run(&["key", "edit", &key.id, "--name", "a\u{1b}[31m"])).contains("control"));
    let edited = cli.json(&["key", "edit", &key.id, "--name", ""]);
    assert_eq!((&edited["name"], text(&edited, "description").len()), (&Value::Null, 1024));
    assert!(refusal(&cli.run(&["account", "edit", "admin", "--name", ""])).contains("always has a name"));
}

#[test]
fn a_key_from_elsewhere_keeps_both_halves_and_gets_no_fingerprint() {
    let (directory, cli) = site();
    let secret = directory.path().join("secret");
    fs::write(&secret, "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQ\n").expect("written");
    let secret = secret.to_str().expect("a path");
    let import = |access_key: &str, file: &str| {
        cli.run(&["key", "create", "--account", "admin", "--access-key", access_key, "--secret-file", file])
    };
    let outcome = import("0123456789ABCDEF0123", secret);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(!outcome.stderr.contains("weak") && !outcome.stdout.contains("abcdefghijk"), "{outcome:?}");
    let store = rusqlite::Connection::open(directory.path().join("portcullis.db")).expect("open");
    let fingerprints = |access_key: &str| -> u32 {
        let count = "SELECT count(*) FROM fingerprints JOIN keys ON keys.id = key WHERE access_key LIKE ?1";
        store.query_row(count, [access_key], |row| row.get(0)).expect("a count")
    };
    assert_eq!((fingerprints("0123456789ABCDEF0123"), fingerprints("pca_%")), (0, 1));
    let phc: String = store
        .query_row("SELECT phc FROM keys WHERE access_key = '0123456789ABCDEF0123'", [], |row| row.get(0))
        .expect("a verifier");
    assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");

    assert!(refusal(&import("0123456789ABCDEF0123", secret)).contains("already"));
    for minted in ["pca_mine", "pce_mine"] {
        assert!(refusal(&import(minted, secret)).contains("the gateway's own"), "{minted}");
    }
    assert!(refusal(&import("1c99", secret)).contains("form of a key id"));
    fs::write(secret, "pcs_mine").expect("written");
    assert!(refusal(&import("mine", secret)).contains("the gateway's own"));
    fs::write(secret, "\n").expect("written");
    assert!(refusal(&import("mine", secret)).contains("empty"));
    fs::write(secret, "hunter2").expect("written");
    let outcome = import("mine", secret);
    assert!(outcome.code == 0 && outcome.stderr.contains("weak"), "{outcome:?}");
}

#[test]
fn a_secret_can_come_on_stdin() {
    let (directory, _cli) = site();
    let mut import = Cli::program()
        .args([
            "key",
            "create",
            "--account",
            "admin",
            "--access-key",
            "deploy",
            "--secret-file",
            "-",
            "--config",
        ])
        .arg(directory.path().join("portcullis.yaml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    import.stdin.take().expect("piped").write_all(b"hV7q0sPz3XkLmB1yRtEw\n").expect("written");
    let output = import.wait_with_output().expect("it ends");
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("deploy"),
        "{output:?}"
    );
}

#[test]
fn every_command_of_the_page_on_keys_works() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/keys.md");
    let page = fs::read_to_string(page).expect("the page");
    let commands: String =
        page.split("```sh\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    assert!(commands.lines().count() > 30, "{commands}");

    let directory = tempfile::tempdir().expect("a directory");
    let program = Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().expect("a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").expect("PATH"));
    let output = Command::new("sh")
        .args(["-eux", "-c", &commands])
        .current_dir(directory.path())
        .env("PATH", path)
        .output()
        .expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let made: Value = serde_json::from_slice(&fs::read(directory.path().join("ci-key.json")).expect("made"))
        .expect("a document");
    assert!(text(&made, "secretValue").starts_with("pcs_"));
}
