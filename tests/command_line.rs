//! The command line as an operator uses it: the real program, a process for every command.

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::cli::{Cli, Outcome, key_in};
use support::gateway::Plan;
use support::http1::Request;
use support::upstream::Upstream;
use support::{PATIENCE, marker, wait_for};
use tempfile::TempDir;

/// An empty folder.
fn empty() -> (TempDir, Cli) {
    let directory = tempfile::tempdir().expect("a directory");
    let cli = Cli::new(&directory.path().join("portcullis.yaml"));
    (directory, cli)
}

/// A folder after `init`.
fn site() -> (TempDir, Cli) {
    let (directory, cli) = empty();
    cli.succeed(&["init"]);
    (directory, cli)
}

/// The reason of a refusal, which is exit status 1 with nothing on stdout.
#[track_caller]
fn refusal(outcome: &Outcome) -> &str {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{outcome:?}");
    &outcome.stderr
}

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field].as_str().unwrap_or_else(|| panic!("no {field} in {document}"))
}

#[test]
fn init_makes_all_that_is_missing_and_prints_the_first_key_once() {
    let (directory, cli) = empty();
    let outcome = cli.succeed(&["init"]);
    let key = key_in(&outcome.stdout).expect("a key is printed");
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
        assert!(!support::contains(&content, key.secret.as_bytes()), "{} holds the secret", entry.display());
    }
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
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
    let server = support::postgres::Postgres::start();
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
        support::wait_for(support::PATIENCE, "init makes progress", || {
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
fn explain_says_what_to_do_about_what_is_inactive_or_unknown() {
    let (_directory, cli) = site();
    let key = cli.create_account_key("admin");
    cli.succeed(&["key", "deactivate", &key.access_key]);
    let explained = cli.succeed(&["explain", "--key", &key.access_key, "GET", "/v1/projects/nowhere"]).stdout;
    for next in ["`portcullis environment list`", "`portcullis key activate …`"] {
        assert!(explained.contains(next), "{explained}");
    }
}

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

#[test]
fn a_secret_that_could_not_be_shown_is_reported() {
    let (directory, _cli) = site();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = Cli::program()
        .args(["key", "create", "--account", "admin", "--config"])
        .arg(directory.path().join("portcullis.yaml"))
        .stdout(full)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("its secret was not shown") && !said.contains("pcs_"), "{said}");
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

/// A command whose stdout and stderr go where nothing can be written.
fn into_full(config: &Path, arguments: &[&str]) -> Option<i32> {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut command = Cli::program();
    command.args(arguments).arg("--config").arg(config).stdout(full()).stderr(full());
    command.status().expect("it runs").code()
}

#[test]
fn a_stderr_that_is_full_changes_no_exit_status() {
    let (directory, _cli) = site();
    let config = directory.path().join("portcullis.yaml");
    assert_eq!(into_full(&config, &["key", "show", "nope"]), Some(1));
    assert_eq!(into_full(&config, &["key", "list"]), Some(1));
    assert_eq!(into_full(&directory.path().join("none.yaml"), &["check"]), Some(1));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure_but_for_secrets() {
    let (directory, _cli) = site();
    let into_nobody = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Cli::program();
        command.args(arguments).arg("--config").arg(directory.path().join("portcullis.yaml")).stdout(writer);
        let output = command.output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(into_nobody(&["key", "list"]), (Some(0), String::new()));
    assert_eq!(into_nobody(&["explain", "--fail-on-deny", "GET", "/v1"]), (Some(1), String::new()));
    let (code, said) = into_nobody(&["key", "create", "--account", "admin"]);
    assert!(code == Some(1) && said.contains("its secret was not shown"), "{said}");
}

#[test]
fn an_init_that_cannot_show_the_key_says_what_to_do() {
    let (directory, _cli) = empty();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = Cli::program()
        .args(["init", "--config"])
        .arg(directory.path().join("portcullis.yaml"))
        .stdout(full)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("its secret was not shown: make another (`portcullis key create`)"), "{said}");
}

/// Whatever the umask lets through: a service manager, a container or a careless shell may have set it to nothing.
#[test]
fn every_file_that_is_written_has_a_mode_of_its_own_under_umask_0() {
    const UMASK_0: &[&str] = &["sh", "-c", "umask 0; exec \"$@\"", "sh"];
    let (directory, cli) = empty();
    let config = directory.path().join("portcullis.yaml");
    let run = |arguments: &[&str]| {
        let mut program = Cli::program_by(UMASK_0);
        program.args(arguments).arg("--config").arg(&config).current_dir(directory.path());
        let outcome: Outcome = program.output().expect("the program can be started").into();
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
    };
    run(&["init"]);
    run(&["environment", "create", "--id", "e1"]);
    run(&["store", "backup", "copy.db"]);
    run(&["store", "restore", "copy.db"]);
    modes_are_right(directory.path(), &["portcullis.db", "portcullis.pepper", "portcullis.yaml", "copy.db"]);
    assert!(cli.succeed(&["key", "list"]).stdout.contains("active"));

    let upstream = Upstream::start();
    let log = "log: { access: { file: access.log } }\n";
    let gateway = Plan::new(&upstream).top(log).prepare().started_by(UMASK_0).start();
    let key = gateway.admin.clone();
    let mark = marker();
    assert_eq!(gateway.exchange(Request::get("/v1/x").key(&key).mark(&mark).end()).status, 200);
    assert!(upstream.saw(&mark));
    let folder = gateway.directory();
    for beside in ["portcullis.db-wal", "portcullis.db-shm"] {
        wait_for(PATIENCE, beside, || folder.join(beside).exists());
    }
    // the test has written the configuration itself
    let private = ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm", "portcullis.pepper"];
    modes_are_right(folder, &private);
    let mode = fs::metadata(folder.join("access.log")).expect("the access log").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

/// Nothing in a folder can be written by others than its owner, and these files and all private keys are the owner's
/// alone.
#[track_caller]
fn modes_are_right(folder: &Path, private: &[&str]) {
    let mut seen = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let (metadata, name) = (entry.metadata().expect("it is there"), entry.file_name());
            let name = name.to_string_lossy().into_owned();
            let mode = metadata.permissions().mode() & 0o777;
            assert_eq!(mode & 0o022, 0, "{name} has mode {mode:o}");
            if private.contains(&name.as_str())
                || Path::new(&name).extension().is_some_and(|end| end == "key")
            {
                assert_eq!(mode, 0o600, "{name} has mode {mode:o}");
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            seen.push(name);
        }
    }
    assert!(private.iter().all(|name| seen.iter().any(|seen| seen == name)), "{private:?} in {seen:?}");
}

#[test]
fn what_a_package_installs_beside_the_program_can_be_made() {
    let (folder, cli) = empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.succeed(&["completions", shell]).stdout;
        assert!(script.contains("portcullis") && script.contains("environment"), "{shell}: {script}");
    }
    let script = folder.path().join("completions");
    fs::write(&script, cli.succeed(&["completions", "bash"]).stdout).expect("a file");
    let read = Command::new("bash").arg("-n").arg(&script).output().expect("bash");
    assert!(read.status.success(), "{read:?}");
    let pages = folder.path().join("man");
    fs::create_dir(&pages).expect("a folder");
    cli.succeed(&["man-page", pages.to_str().expect("a name")]);
    for page in ["portcullis.1", "portcullis-serve.1", "portcullis-key-rotate.1"] {
        let text = fs::read_to_string(pages.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(
            text.contains(".SH NAME") && (text.contains("Examples:") || text.contains("First steps:")),
            "{page}: {text}"
        );
    }
}

/// As root, which package managers and many operators are: what commands make must be the gateway's, which runs as the user
/// that the folder belongs to.
#[test]
fn files_that_root_makes_belong_to_the_owner_of_their_folder() {
    use std::os::unix::fs::{MetadataExt as _, chown};

    const USER: u32 = 24_713;
    let (folder, cli) = empty();
    if chown(folder.path(), Some(USER), Some(USER)).is_err() {
        eprintln!("not root: everything belongs to this user anyway");
        return;
    }
    cli.succeed(&["init"]);
    cli.succeed(&["environment", "create", "--id", "e1"]);
    let copy = folder.path().join("copy.db");
    cli.succeed(&["store", "backup", copy.to_str().expect("a name")]);
    let made = walk(folder.path());
    assert!(made.iter().any(|path| path.ends_with("portcullis.pepper")) && made.contains(&copy), "{made:?}");
    for path in made {
        let owner = fs::metadata(&path).expect("a file").uid();
        assert_eq!(owner, USER, "{}", path.display());
    }
}
