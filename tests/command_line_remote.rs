//! `portcullis key`, `account` and `environment` over a gateway's management API: the real program, from a folder that
//! has no configuration and no store, beside a real gateway or a server that is none.

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use portcullis::model::{AccountKind, Name};
use portcullis::store::{NewAccount, Store};
use serde_json::{Value, json};
use support::certificates::Authority;
use support::cli::{Cli, Key, Outcome};
use support::gateway::{Gateway, Plan};
use support::http1::Request;
use support::plain::{Plain, head};
use support::stage::Stage;
use support::upstream::Upstream;
use tempfile::TempDir;

/// The program on another machine: an empty folder, a home of its own, and a gateway's address.
struct Elsewhere {
    folder: TempDir,
    url: String,
    variables: Vec<(&'static str, String)>,
    options: Vec<String>,
}

impl Elsewhere {
    /// Without any key.
    fn new(url: impl Into<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, url: url.into(), variables: Vec::new(), options: Vec::new() }
    }

    /// With a key in the environment.
    fn with_key(url: impl Into<String>, key: &Key) -> Self {
        Self::new(url).variable("PORTCULLIS_KEY", format!("{}:{}", key.access_key, key.secret))
    }

    /// The first admin's key in the environment.
    fn admin(gateway: &Gateway) -> Self {
        Self::with_key(url(gateway), &gateway.admin)
    }

    fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(ToString::to_string));
        self
    }

    /// Writes `~/.netrc`.
    fn netrc(self, text: &str, mode: u32) -> Self {
        let file = self.home_file(".netrc");
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
        self
    }

    fn home_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let output = Cli::program()
            .args(arguments)
            .args(["--url", &self.url])
            .args(&self.options)
            .env("HOME", self.folder.path())
            .envs(self.variables.iter().cloned())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program can be started");
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "portcullis {arguments:?} failed: {outcome:?}");
        outcome
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.succeed(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?} ({error}): {outcome:?}"))
    }

    /// The reason of a refusal: exit status 1, nothing on stdout.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{arguments:?}: {outcome:?}");
        outcome.stderr
    }
}

fn url(gateway: &Gateway) -> String {
    format!("http://{}", gateway.management())
}

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field].as_str().unwrap_or_else(|| panic!("no {field} in {document}"))
}

fn key_of(document: &Value) -> Key {
    Key {
        id: text(document, "id").to_owned(),
        access_key: text(document, "publicValue").to_owned(),
        secret: text(document, "secretValue").to_owned(),
    }
}

fn status_with(gateway: &Gateway, key: &Key, path: &str) -> u16 {
    gateway.exchange(Request::get(path).key(key).mark(&support::marker()).end()).status
}

/// What only one of the two sides has: where things are, and what can be done with them there.
fn without_links(mut document: Value) -> Value {
    let strip = |document: &mut Value| {
        let object = document.as_object_mut().expect("a document");
        object.retain(|name, _| name != "links" && name != "actions");
    };
    strip(&mut document);
    if document["type"] == "collection" {
        let object = document.as_object_mut().expect("a document");
        object.retain(|name, _| ["type", "resourceType", "data"].contains(&name.as_str()));
    }
    if let Some(items) = document.get_mut("data").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(strip);
    }
    document
}

/// A text with `N` for the numbers of changes, and without where they are in force: of what is so already the API
/// tells no receipt.
fn without_numbers(text: &str) -> String {
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("in force on"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let mut parts = text.split("(change ");
    let mut found = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        found.push_str("(change N");
        found.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    found
}

#[test]
fn a_key_lives_its_whole_life_by_a_key_on_the_command_line() {
    let stage = Stage::start();
    let admin = &stage.gateway.admin;
    let pair = format!("{}:{}", admin.access_key, admin.secret);
    let cli = Elsewhere::new(format!("{}/v2-beta/", url(&stage.gateway))).options(&["--key", &pair]);

    let outcome = cli.succeed(&["key", "create", "--environment", "e1", "--name", "ci", "--output", "json"]);
    assert!(outcome.stderr.contains("shown this once"), "{outcome:?}");
    let made: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let key = key_of(&made);
    assert!(text(&made["links"], "endpoint").ends_with("/v1/projects/e1"), "as the API sends it: {made}");
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/hosts"), 200);

    let table = cli.succeed(&["key", "create", "--account", "admin"]).stdout;
    assert!(table.contains("access key  pca_") && table.contains("secret key  pcs_"), "{table}");

    let shown = cli.json(&["key", "show", &key.access_key]);
    assert_eq!((text(&shown, "id"), &shown["secretValue"]), (&*key.id, &Value::Null));
    let edited = cli.json(&["key", "edit", &key.id, "--name", "build", "--description", "two\nlines"]);
    assert_eq!((text(&edited, "name"), text(&edited, "description")), ("build", "two\nlines"));
    assert_eq!(cli.json(&["key", "edit", &key.id, "--description", ""])["description"], Value::Null);

    let refused = cli.refused(&["key", "delete", &key.id]);
    assert!(refused.contains("deactivate it first"), "{refused}");
    let line = cli.succeed(&["key", "deactivate", &key.access_key]).stdout;
    assert!(line.starts_with(&format!("key {} ({}) is inactive (change ", key.access_key, key.id)), "{line}");
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/hosts"), 401);
    let once_more = cli.succeed(&["key", "deactivate", &key.id]).stdout;
    assert_eq!(line.split_once('\n').map(|(first, _)| first), Some(once_more.trim_end()), "changes nothing");
    cli.succeed(&["key", "activate", &key.id]);
    cli.succeed(&["key", "activate", &key.id]);
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/hosts"), 200);
    cli.succeed(&["key", "deactivate", &key.id]);
    assert_eq!(text(&cli.json(&["key", "delete", &key.id]), "state"), "removed");
    assert_eq!(text(&cli.json(&["key", "delete", &key.id]), "state"), "removed");
    assert_eq!(text(&cli.json(&["key", "show", &key.id]), "state"), "removed");
    assert!(cli.refused(&["key", "activate", &key.id]).contains("is removed"));
    assert!(
        cli.refused(&["key", "show", &key.access_key]).contains("there is no key"),
        "found by its id only"
    );
}

#[test]
fn an_environment_and_its_members_live_by_a_key_in_the_environment() {
    let stage = Stage::start();
    let gateway = &stage.gateway;
    let alice = gateway.create_account("alice", "user");
    gateway.create_account("bob", "user");
    let pair = format!("{}:{}", gateway.admin.access_key, gateway.admin.secret);
    let cli = Elsewhere::new(url(gateway)).variable("PORTCULLIS_KEY", pair);

    let made = cli.json(&["environment", "create", "--id", "1a5", "--name", "live", "--owner", "alice"]);
    assert_eq!((text(&made, "id"), text(&made, "name"), text(&made, "type")), ("1a5", "live", "project"));
    let members = cli.succeed(&["environment", "member", "list", "--environment", "live"]).stdout;
    assert_eq!(members, format!("ACCOUNT  NAME   ROLE\n{alice}      alice  owner\n"), "no other owner");
    cli.succeed(&["environment", "create", "--id", "e9"]);
    let members = cli.json(&["environment", "member", "list", "--environment", "e9"]);
    assert_eq!(text(&members["data"][0], "name"), "admin", "who asks owns what is made");

    let add =
        |role| ["environment", "member", "add", "--environment", "live", "--account", "bob", "--role", role];
    cli.succeed(&add("member"));
    assert_eq!(text(&cli.json(&add("readonly")), "role"), "readonly");
    let remove = ["environment", "member", "remove", "--environment", "live", "--account", "bob"];
    assert!(cli.succeed(&remove).stdout.contains("is no member of environment 1a5 (change "));
    assert!(cli.refused(&remove).contains("there is no member"));
    let last = ["environment", "member", "remove", "--environment", "live", "--account", "alice"];
    assert!(cli.refused(&last).contains("owner"), "the API keeps an owner");

    assert_eq!(text(&cli.json(&["environment", "edit", "live", "--name", "prod"]), "name"), "prod");
    assert!(cli.refused(&["environment", "delete", "prod"]).contains("deactivate it first"));
    for _ in 0..2 {
        cli.succeed(&["environment", "deactivate", "prod"]);
    }
    cli.succeed(&["environment", "activate", "prod"]);
    cli.succeed(&["environment", "deactivate", "prod"]);
    assert_eq!(text(&cli.json(&["environment", "delete", "prod"]), "state"), "removed");
    assert_eq!(text(&cli.json(&["environment", "delete", "1a5"]), "state"), "removed");
    assert!(cli.refused(&["environment", "show", "prod"]).contains("there is no environment 'prod'"));
    assert!(cli.refused(&["environment", "create", "--id", "1a5"]).contains("not given out again"));
}

#[test]
fn an_account_lives_by_a_key_in_netrc() {
    let stage = Stage::start();
    let admin = &stage.gateway.admin;
    let entry = format!("machine 127.0.0.1\n  login {}\n  password \"{}\"\n", admin.access_key, admin.secret);
    let cli = Elsewhere::new(url(&stage.gateway)).netrc(&entry, 0o600);

    let made = cli.succeed(&["account", "create", "--name", "alice", "--description", "d"]);
    assert_eq!(made.stderr, "", "a private file is no reason for a warning");
    assert!(made.stdout.contains("kind         user\n"), "{made:?}");
    assert_eq!(text(&cli.json(&["account", "create", "--name", "ops", "--kind", "admin"]), "kind"), "admin");
    assert_eq!(text(&cli.json(&["account", "edit", "alice", "--name", "Alice"]), "name"), "Alice");
    assert!(
        cli.refused(&["account", "show", "alice"]).contains("there is no account 'alice'"),
        "case counts"
    );
    assert!(cli.refused(&["account", "edit", "Alice", "--name", ""]).contains("always has a name"));
    assert!(cli.refused(&["account", "delete", "Alice"]).contains("deactivate it first"));
    for _ in 0..2 {
        cli.succeed(&["account", "deactivate", "Alice"]);
    }
    cli.succeed(&["account", "activate", "Alice"]);
    let id = text(&cli.json(&["account", "deactivate", "Alice"]), "id").to_owned();
    cli.succeed(&["account", "delete", "Alice"]);
    assert_eq!(text(&cli.json(&["account", "delete", &id]), "state"), "removed");

    for _ in 0..2 {
        cli.succeed(&["account", "create", "--name", "twin"]);
    }
    let ambiguous = cli.refused(&["account", "show", "twin"]);
    assert_eq!(ambiguous, stage.gateway.run(&["account", "show", "twin"]).stderr, "as the store says it");
    assert!(ambiguous.contains("2 accounts are named 'twin': use the id (1a"), "{ambiguous}");
}

#[test]
fn both_sides_print_the_same() {
    let stage = Stage::start();
    let gateway = &stage.gateway;
    let cli = Elsewhere::admin(gateway);
    let alice = gateway.create_account("alice", "user");
    gateway.add_member("e1", "alice", "member");
    // an environment that is called as an account is: whose keys are these?
    gateway.succeed(&[
        "environment",
        "create",
        "--id",
        &alice,
        "--name",
        "prod",
        "--description",
        "a\tb\n\"c\"",
    ]);
    gateway.succeed(&["environment", "create", "--id", "own", "--owner", "alice"]);
    let theirs = gateway.create_account_key("alice");
    let key = gateway.create_environment_key("prod");
    gateway.succeed(&["key", "edit", &key.id, "--name", "ключ \\u009b", "--description", "two\nlines"]);

    let same = |arguments: &[&str]| {
        let (here, there) = (gateway.run(arguments), cli.run(arguments));
        assert_eq!(here.code, there.code, "{arguments:?}: {here:?} {there:?}");
        assert_eq!(without_numbers(&here.stdout), without_numbers(&there.stdout), "{arguments:?}");
        assert_eq!(here.stderr, there.stderr, "{arguments:?}");
        if here.code == 0 {
            assert_eq!(
                without_links(gateway.json(arguments)),
                without_links(cli.json(arguments)),
                "{arguments:?}"
            );
        }
    };
    // the key that asks is used by asking; all others stay as they are
    for arguments in [
        &["account", "list"][..],
        &["account", "show", "alice"],
        &["account", "show", "nobody"],
        &["environment", "list"],
        &["environment", "show", "prod"],
        &["environment", "show", "Prod"],
        &["environment", "member", "list", "--environment", "e1"],
        &["environment", "member", "list", "--environment", "own"],
        &["environment", "member", "list", "--environment", "prod"],
        &["key", "list", "--environment", "e1"],
        &["key", "list", "--environment", "prod"],
        &["key", "list", "--account", "alice"],
        &["key", "list", "--account", "1a99"],
        &["key", "show", &key.id],
        &["key", "show", &key.access_key],
        &["key", "show", &theirs.access_key],
        &["key", "show", "1c99"],
        &["key", "edit", &key.id, "--name", "other"],
        &["key", "edit", &key.id, "--name", &"x".repeat(256)],
        &["environment", "edit", "prod", "--description", ""],
        &["account", "edit", "alice", "--description", "left"],
        &["environment", "member", "add", "--environment", "e1", "--account", "alice", "--role", "owner"],
        &["key", "deactivate", &key.id],
        &["key", "activate", &key.id],
        &["environment", "deactivate", "prod"],
        &["environment", "activate", "prod"],
        &["account", "deactivate", "alice"],
        &["account", "activate", "alice"],
    ] {
        same(arguments);
    }
    let all = cli.succeed(&["key", "list"]).stdout;
    assert!(
        all.contains(&format!("account {alice}")) && all.contains(&format!("environment {alice}")),
        "{all}"
    );

    // what is made or ended cannot be made or ended twice
    let remove = ["environment", "member", "remove", "--environment", "e1", "--account", "alice"];
    let add =
        ["environment", "member", "add", "--environment", "e1", "--account", "alice", "--role", "member"];
    gateway.succeed(&add);
    let here = gateway.succeed(&remove).stdout;
    cli.succeed(&add);
    assert_eq!(without_numbers(&cli.succeed(&remove).stdout), without_numbers(&here));
    gateway.succeed(&add);
    let here = gateway.json(&remove);
    gateway.succeed(&add);
    assert_eq!(without_links(cli.json(&remove)), without_links(here));
    let fields = |document: Value| {
        without_links(document).as_object().expect("a document").keys().cloned().collect::<Vec<_>>()
    };
    let create = ["key", "create", "--environment", "prod", "--name", "n"];
    assert_eq!(fields(cli.json(&create)), fields(gateway.json(&create)));
    let headings = |outcome: Outcome| {
        let names = outcome.stdout.lines().map(|line| line[..12].to_owned()).collect::<Vec<_>>();
        (names, outcome.stderr)
    };
    assert_eq!(headings(cli.succeed(&create)), headings(gateway.succeed(&create)));
}

#[test]
fn a_change_has_the_number_of_its_row_in_the_log() {
    let stage = Stage::start();
    let cli = Elsewhere::admin(&stage.gateway);
    let number = |outcome: Outcome| {
        let rest = outcome.stdout.split("(change ").nth(1).map(str::to_owned);
        rest.and_then(|rest| rest.split_once(')')?.0.parse::<i64>().ok()).expect("a number")
    };
    let store = rusqlite::Connection::open(stage.gateway.directory().join("portcullis.db")).expect("open");
    let newest =
        || store.query_row("SELECT max(number) FROM changes", [], |row| row.get::<_, i64>(0)).expect("one");
    let alice = stage.gateway.create_account("alice", "user");
    for arguments in [
        &["key", "deactivate", &stage.e1.id][..],
        &["account", "deactivate", &alice],
        &["account", "activate", &alice],
        &["environment", "deactivate", "e2"],
        &["environment", "member", "add", "--environment", "e1", "--account", &alice, "--role", "member"],
        &["environment", "member", "remove", "--environment", "e1", "--account", &alice],
        &["environment", "delete", "e2"],
    ] {
        assert_eq!(number(cli.succeed(arguments)), newest(), "{arguments:?}");
    }
}

#[test]
fn lists_longer_than_a_page_are_the_same_from_both_sides() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare();
    let mut store = Store::open(&site.directory().join("portcullis.db")).expect("the store");
    for number in 0..1_040 {
        let name = Name::parse(&format!("account {number}{}", "!".repeat(number / 500))).expect("a name");
        let new = NewAccount { name: name.expect("not empty"), kind: AccountKind::User, description: None };
        store.create_account(&new).expect("made");
    }
    drop(store);
    let gateway = site.start();
    let cli = Elsewhere::admin(&gateway);
    let (here, there) = (gateway.succeed(&["account", "list"]), cli.succeed(&["account", "list"]));
    assert_eq!(here.stdout, there.stdout);
    assert_eq!(here.stdout.lines().count(), 1_042, "a line each, and one heading");
    assert!(here.stdout.contains("account 1039!!"));
    let (here, there) = (gateway.json(&["account", "list"]), cli.json(&["account", "list"]));
    assert_eq!(there["data"].as_array().map(Vec::len), Some(1_041));
    assert_eq!(
        (&there["pagination"]["next"], &there["pagination"]["partial"]),
        (&Value::Null, &json!(false))
    );
    assert!(there["data"][1_040]["links"]["self"].is_string(), "as the API sends them");
    assert_eq!(without_links(here), without_links(there));

    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Cli::program();
    command.args(["account", "list", "--url", &cli.url]).env("PORTCULLIS_KEY", &cli.variables[0].1);
    let status = command.stdout(writer).status().expect("it runs");
    assert_eq!(status.code(), Some(0), "a reader that has seen enough is no failure");
}

#[test]
fn a_key_from_elsewhere_can_be_brought_from_elsewhere() {
    let stage = Stage::start();
    let cli = Elsewhere::admin(&stage.gateway);
    let file = cli.home_file("secret");
    let file = file.to_str().expect("a path");
    let import = |access_key, owner| {
        ["key", "create", "--access-key", access_key, "--secret-file", file, "--environment", owner]
    };
    fs::write(file, "hV7q0sPz\"\\3XkLmB1yRtEw\n").expect("written");
    let outcome = cli.succeed(&import("0123456789ABCDEF0123", "e1"));
    assert!(outcome.stderr.is_empty() && !outcome.stdout.contains("hV7q"), "{outcome:?}");
    assert!(outcome.stdout.contains("owner        environment e1\n"), "{outcome:?}");
    let key = Key {
        id: String::new(),
        access_key: "0123456789ABCDEF0123".to_owned(),
        secret: "hV7q0sPz\"\\3XkLmB1yRtEw".to_owned(),
    };
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/hosts"), 200);

    assert!(cli.refused(&import("0123456789ABCDEF0123", "e1")).contains("already"));
    assert!(cli.refused(&import("pce_mine", "e1")).contains("the gateway's own"));
    fs::write(file, "hunter2").expect("written");
    let outcome = cli.succeed(&import("weak", "e1"));
    assert!(outcome.stderr.contains("weak"), "{outcome:?}");
    fs::write(file, b"\xff\xfe").expect("written");
    assert!(cli.refused(&import("bytes", "e1")).contains("not UTF-8"));

    stage.gateway.create_account("alice", "user");
    stage.gateway.add_member("e1", "alice", "owner");
    let alice = stage.gateway.create_account_key("alice");
    let cli = Elsewhere::with_key(url(&stage.gateway), &alice);
    let before = stage.gateway.json(&["key", "list"]);
    let keys = before["data"].as_array().map(Vec::len);
    fs::write(file, "hV7q0sPz3XkLmB1yRtEw").expect("written");
    fs::write(cli.home_file("secret"), "hV7q0sPz3XkLmB1yRtEw").expect("written");
    assert!(cli.refused(&import("other", "e1")).contains("only an admin's key"));
    assert_eq!(
        stage.gateway.json(&["key", "list"])["data"].as_array().map(Vec::len),
        keys,
        "nothing was made"
    );
}

#[test]
fn who_is_no_admin_does_what_the_role_permits() {
    let stage = Stage::start();
    let gateway = &stage.gateway;
    gateway.create_account("alice", "user");
    let bob = gateway.create_account("bob", "user");
    gateway.add_member("e1", "alice", "owner");
    gateway.add_member("e2", "alice", "member");
    gateway.create_environment("e3");
    gateway.add_member("e3", "alice", "readonly");
    let alice = gateway.create_account_key("alice");
    let cli = Elsewhere::with_key(url(gateway), &alice);

    let own = cli.json(&["key", "create", "--account", "alice"]);
    let made = key_of(&cli.json(&["key", "create", "--environment", "e1"]));
    assert_eq!(status_with(gateway, &made, "/v1/projects/e1/hosts"), 200);
    cli.succeed(&["key", "deactivate", text(&own, "publicValue")]);
    cli.succeed(&["key", "deactivate", &made.id]);
    let refused = cli.refused(&["key", "activate", &made.access_key]);
    assert!(refused.contains("an environment's key is named by its id"), "{refused}");
    assert!(cli.succeed(&["key", "list", "--environment", "e1"]).stdout.contains(&made.id));
    assert_eq!(cli.json(&["account", "list"])["data"].as_array().map(Vec::len), Some(1), "itself");

    // another account by its id, which only admins can look up
    let add = |account| {
        ["environment", "member", "add", "--environment", "e1", "--role", "member", "--account", account]
    };
    cli.succeed(&add(&bob));
    cli.succeed(&["environment", "member", "remove", "--environment", "e1", "--account", &bob]);
    assert!(cli.refused(&add("1a99")).contains("there is no account '1a99'"));

    // 403, 404 and 405: what may not be done, what may not be known of, what nobody of this role can do
    let add =
        ["environment", "member", "add", "--environment", "e2", "--account", "alice", "--role", "owner"];
    let refused = cli.refused(&add);
    assert!(refused.contains("may not do this (403)"), "{refused}");
    assert!(cli.refused(&["key", "list", "--environment", "e3"]).contains("(404)"));
    assert!(cli.refused(&["key", "create", "--account", "bob"]).contains("there is no account 'bob'"));
    assert!(cli.refused(&["account", "create", "--name", "x"]).contains("may not do this (405)"));
    assert!(cli.refused(&["account", "deactivate", "alice"]).contains("may not do this (405)"));
    assert!(cli.refused(&["key", "create", "--environment", "e2"]).contains("may not do this (405)"));
    // an environment's key only looks
    let cli = Elsewhere::with_key(url(gateway), &stage.e1);
    assert!(cli.succeed(&["environment", "show", "e1"]).stdout.contains("e1"));
    assert!(cli.refused(&["environment", "show", "e2"]).contains("there is no environment 'e2'"));
    assert!(cli.refused(&["key", "deactivate", &stage.e1.id]).contains("(405)"));
}

#[test]
fn a_key_stops_itself_only_when_that_is_meant() {
    let stage = Stage::start();
    let admin = stage.gateway.create_account("ops", "admin");
    let key = stage.gateway.create_account_key("ops");
    let cli = Elsewhere::with_key(url(&stage.gateway), &key);
    for arguments in [["key", "deactivate", &key.id], ["account", "deactivate", &admin]] {
        assert!(cli.refused(&arguments).contains("repeat it with --confirm-self"));
    }
    let stopped = cli.succeed(&["key", "deactivate", &key.access_key, "--confirm-self"]);
    assert!(stopped.stdout.contains("is inactive"), "{stopped:?}");
    assert!(cli.refused(&["key", "list"]).contains("(401)"));
}

#[test]
fn a_key_that_does_not_work_is_told_by_where_it_comes_from_and_never_shown() {
    let stage = Stage::start();
    let (url, wrong) = (url(&stage.gateway), stage.gateway.admin.with_wrong_secret());
    let pair = format!("{}:{}", wrong.access_key, wrong.secret);
    let entry = format!("default login {} password {}", wrong.access_key, wrong.secret);
    for (cli, source) in [
        (Elsewhere::new(&*url).options(&["--key", &pair]), "the key given with --key"),
        (Elsewhere::new(&*url).variable("PORTCULLIS_KEY", &*pair), "the key in PORTCULLIS_KEY"),
        (Elsewhere::new(&*url).netrc(&entry, 0o600), "/.netrc"),
    ] {
        let refused = cli.refused(&["key", "list"]);
        assert!(refused.contains(source) && refused.contains("(401)"), "{refused}");
        assert!(!refused.contains(&wrong.secret), "{refused}");
    }
    // who fails too often is told to wait; with seconds to go the command does not
    let cli = Elsewhere::with_key(&*url, &wrong);
    support::wait_for(support::PATIENCE, "the throttle closes", || {
        cli.refused(&["key", "list"]).contains("(429)")
    });
    let refused = cli.refused(&["key", "list"]);
    assert!(refused.contains("try again in"), "{refused}");
}

#[test]
fn the_nearest_key_counts() {
    let stage = Stage::start();
    let url = url(&stage.gateway);
    let Key { access_key, secret, .. } = &stage.gateway.admin;
    let (pair, nobody) = (format!("{access_key}:{secret}"), "pca_nobody:nothing");
    let entry = format!("machine 127.0.0.1 login {access_key} password {secret}");
    let wrong = "machine 127.0.0.1 login pca_nobody password nothing";
    let works = |cli: Elsewhere| cli.succeed(&["account", "list"]);
    works(
        Elsewhere::new(&*url)
            .options(&["--key", &pair])
            .variable("PORTCULLIS_KEY", nobody)
            .netrc(wrong, 0o600),
    );
    works(Elsewhere::new(&*url).variable("PORTCULLIS_KEY", &*pair).netrc(wrong, 0o600));
    works(Elsewhere::new(&*url).variable("PORTCULLIS_KEY", "").netrc(&entry, 0o600));

    // the access key alone: the secret of the entry with that login, or the one in the environment
    let several = format!("{wrong}\n{entry}\n");
    works(Elsewhere::new(&*url).options(&["--key", access_key]).netrc(&several, 0o600));
    works(Elsewhere::new(&*url).variable("PORTCULLIS_KEY", access_key).variable("PORTCULLIS_SECRET", secret));
    let refused =
        Elsewhere::new(&*url).options(&["--key", access_key]).netrc(wrong, 0o600).refused(&["key", "list"]);
    assert!(refused.contains("has no secret") && refused.contains("127.0.0.1"), "{refused}");

    // a file that others can read is used, and complained of
    let open = works(Elsewhere::new(&*url).netrc(&entry, 0o644));
    assert!(open.stderr.contains("can be read by others: chmod 600"), "{open:?}");
    // NETRC names another file, which must be there
    let cli = Elsewhere::new(&*url).netrc(wrong, 0o600);
    let other = cli.home_file("other");
    fs::write(&other, &entry).expect("written");
    let other = other.to_str().expect("a path").to_owned();
    works(cli.variable("NETRC", &*other));
    let refused = Elsewhere::new(&*url).variable("NETRC", "/nonexistent/netrc").refused(&["key", "list"]);
    assert!(refused.contains("cannot read /nonexistent/netrc"), "{refused}");
    let refused =
        Elsewhere::new(&*url).netrc("machine a\nlogin \"pcs_secret", 0o600).refused(&["key", "list"]);
    assert!(
        refused.contains("line 2: a quote is not closed") && !refused.contains("pcs_secret"),
        "{refused}"
    );

    let refused = Elsewhere::new(&*url).refused(&["key", "list"]);
    assert!(
        refused.contains("no key for http://127.0.0.1") && refused.contains("PORTCULLIS_KEY="),
        "{refused}"
    );
}

#[test]
fn the_gateway_can_be_named_in_the_environment_and_overruled() {
    let stage = Stage::start();
    let run = |url: &str, arguments: &[&str]| {
        let output = Cli::program()
            .args(arguments)
            .arg("--config")
            .arg(stage.gateway.config())
            .env("PORTCULLIS_URL", url)
            .env(
                "PORTCULLIS_KEY",
                format!("{}:{}", stage.gateway.admin.access_key, stage.gateway.admin.secret),
            )
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        document["links"]["self"].is_string()
    };
    let show = ["environment", "show", "e1", "--output", "json"];
    assert!(run(&url(&stage.gateway), &show), "from the gateway");
    assert!(!run("", &show), "from the store");
    assert!(!run(&url(&stage.gateway), &[&show[..], &["--url", ""]].concat()), "from the store");
}

#[test]
fn wrong_usage_is_status_2() {
    for (url, options) in [
        ("", &["--key", "pca_x:hush"][..]),
        ("", &["--cacert", "ca.pem"]),
        ("127.0.0.1:8081", &[]),
        ("http://pca_x:hush@127.0.0.1:8081", &[]),
        ("http://127.0.0.1:8081/v1", &[]),
        ("ftp://127.0.0.1", &[]),
    ] {
        let outcome = Elsewhere::new(url).options(options).run(&["key", "list"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{url}: {outcome:?}");
        assert!(!outcome.stderr.contains("hush"), "{outcome:?}");
    }
}

#[test]
fn a_certificate_must_be_trusted() {
    let authority_folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(authority_folder.path());
    let signed = authority.sign(&["localhost", "127.0.0.1"]);
    let ca = authority.file().to_str().expect("a path").to_owned();
    let upstream = Upstream::start();
    let tls = |entry: &str| format!("  tls: {{ certificates: [ {entry} ] }}");
    let gateway = Plan::new(&upstream).management(&tls(&signed.entry())).start();
    let https = format!("https://{}", gateway.management());
    let elsewhere = |url: &str, options: &[&str]| Elsewhere::with_key(url, &gateway.admin).options(options);

    let listed = elsewhere(&https, &["--cacert", &ca]).json(&["account", "list"]);
    assert!(text(&listed["links"], "self").starts_with("https://"), "{listed}");
    elsewhere(&format!("https://localhost:{}", gateway.management().port()), &["--cacert", &ca])
        .succeed(&["account", "list"]);

    let refused = elsewhere(&https, &[]).refused(&["account", "list"]);
    assert!(
        refused.contains("is not signed by anyone whom this machine trusts") && refused.contains("--cacert"),
        "{refused}"
    );
    let development = gateway.directory().join("certs/gateway.pem");
    let development = development.to_str().expect("a path");
    let refused = elsewhere(&https, &["--cacert", development]).refused(&["account", "list"]);
    assert!(refused.contains("gateway.pem names"), "{refused}");
    let other = format!("https://127.0.0.2:{}", gateway.management().port());
    let cli = elsewhere(&other, &["--cacert", &ca]);
    assert!(cli.refused(&["account", "list"]).contains("cannot connect"), "nothing listens there");
    let plain = format!("http://{}", gateway.management());
    let refused = elsewhere(&plain, &[]).refused(&["account", "list"]);
    assert!(refused.contains("https://"), "{refused}");
    for (file, complaint) in [("/nonexistent.pem", "/nonexistent.pem"), ("/dev/null", "holds no certificate")]
    {
        let refused = elsewhere(&https, &["--cacert", file]).refused(&["account", "list"]);
        assert!(refused.contains(complaint), "{refused}");
    }

    // the certificate that `init` makes is its own authority
    let site = Plan::new(&upstream)
        .management(&tls("{ certificate: certs/gateway.pem, key: certs/gateway.key }"))
        .start();
    let https = format!("https://{}", site.management());
    let own = site.directory().join("certs/gateway.pem");
    let own = ["--cacert", own.to_str().expect("a path")];
    Elsewhere::with_key(&*https, &site.admin).options(&own).succeed(&["account", "list"]);
    let refused = Elsewhere::with_key(&*https, &site.admin).refused(&["account", "list"]);
    assert!(refused.contains("--cacert"), "{refused}");
    // a certificate for another name
    let named = authority.sign(&["elsewhere.test"]);
    let site = Plan::new(&upstream).management(&tls(&named.entry())).start();
    let cli = Elsewhere::with_key(format!("https://{}", site.management()), &site.admin)
        .options(&["--cacert", &ca]);
    let refused = cli.refused(&["account", "list"]);
    assert!(refused.contains("cannot be accepted") && refused.contains("elsewhere.test"), "{refused}");
    // no TLS where TLS is expected
    let plain = Plan::new(&upstream).start();
    let cli = Elsewhere::with_key(format!("https://{}", plain.management()), &plain.admin)
        .options(&["--cacert", &ca]);
    assert!(cli.refused(&["account", "list"]).contains("say http://"));
}

const SECRET: &str = "hush-hush-hush-hush";

/// What a command meets at a server that gives this answer to every request.
fn met(answer: impl Into<Vec<u8>>, arguments: &[&str]) -> Outcome {
    let answer = answer.into();
    let server = Plain::start(move |_, mut reader| {
        loop {
            head(&mut reader)?;
            reader.get_mut().write_all(&answer)?;
        }
    });
    let cli = Elsewhere::new(format!("http://{}", server.address()))
        .variable("PORTCULLIS_KEY", format!("pca_x:{SECRET}"));
    let outcome = cli.run(arguments);
    assert!(!outcome.stderr.contains(SECRET), "{outcome:?}");
    outcome
}

fn answer(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len())
}

/// A key as a gateway sends it.
fn key_document() -> Value {
    json!({
        "id": "1c5", "type": "apiKey", "baseType": "credential", "links": {}, "actions": {}, "name": "ci",
        "description": null, "state": "active", "kind": "apiKey", "uuid": "6f2c7e5e-7a2b-4a47-9a0a-0f2f8a4a2f11",
        "created": "2026-01-05T10:20:30Z", "createdTS": 1_767_608_430_000_i64, "removed": null,
        "transitioning": "no", "accountId": "e1", "ownerType": "project", "publicValue": "pce_x",
        "secretValue": null, "lastUsed": null, "lastUsedAddress": null, "useCount": 0,
    })
}

#[test]
fn a_server_that_is_no_portcullis_is_called_so() {
    let show = ["key", "show", "1c5"];
    for (status, body) in [
        ("200 OK", "<html>welcome</html>"),
        ("200 OK", ""),
        ("200 OK", "[]"),
        ("200 OK", "{}"),
        ("200 OK", "{\"type\":5}"),
        ("200 OK", "{\"type\":\"error\"}"),
        ("404 Not Found", "<html>nothing</html>"),
        ("404 Not Found", "{\"message\":\"no\"}"),
        ("401 Unauthorized", "who are you?"),
        ("500 Oops", "{\"type\":\"apiKey\"}"),
        ("503 Busy", "try later"),
    ] {
        let outcome = met(answer(status, "", body), &show);
        assert_eq!((outcome.code, &*outcome.stdout), (1, ""), "{status} {body}: {outcome:?}");
        assert!(outcome.stderr.contains("no Portcullis management API"), "{status} {body}: {outcome:?}");
    }
    let garbage = met("SSH-2.0-OpenSSH_9.9\r\n", &show);
    assert!(garbage.code == 1 && garbage.stderr.contains("does not speak HTTP"), "{garbage:?}");
    let closed = met("", &["key", "list"]);
    assert_eq!(closed.code, 1, "{closed:?}");
    let redirect = met(answer("301 Moved", "Location: https://gw.test/v2-beta\r\n", ""), &show);
    assert!(redirect.stderr.contains("redirect (301) to https://gw.test/v2-beta"), "{redirect:?}");
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let cli = Elsewhere::new(format!("http://{nobody}")).variable("PORTCULLIS_KEY", "pca_x:y");
    assert!(cli.refused(&show).contains("is the gateway running"));
}

#[test]
fn what_a_gateway_would_not_send_is_printed_nowhere() {
    let show = |document: &Value| met(answer("200 OK", "", &document.to_string()), &["key", "show", "1c5"]);
    assert_eq!(show(&key_document()).code, 0);
    for (field, value) in [
        ("id", json!("1c6")),
        ("name", json!("\u{1b}[2Jgone")),
        ("description", json!("\u{202e}txt")),
        ("state", json!("fine")),
        ("publicValue", json!("a b")),
        ("uuid", json!("\u{9b}31m")),
        ("type", json!("account")),
        ("createdTS", json!(9_223_372_036_854_775_807_i64)),
        ("accountId", json!("../1a1")),
    ] {
        let mut document = key_document();
        document[field] = value;
        let outcome = show(&document);
        assert_eq!((outcome.code, &*outcome.stdout), (1, ""), "{field}: {outcome:?}");
        assert!(outcome.stderr.contains("cannot be right"), "{field}: {outcome:?}");
        assert!(outcome.stderr.trim_end().chars().all(|c| !c.is_control()), "{outcome:?}");
    }
    // fields that nobody reads are printed as JSON: without what drives a terminal
    let mut document = key_document();
    document["more"] = json!("\u{9b}31m");
    let outcome =
        met(answer("200 OK", "", &document.to_string()), &["key", "show", "1c5", "--output", "json"]);
    assert!(outcome.code == 0 && outcome.stdout.contains("\\u009b31m"), "{outcome:?}");

    // a list with another's key in it, or without an end
    let list = |data: Value, next: Value| {
        let body = json!({ "type": "collection", "data": data, "pagination": { "next": next } }).to_string();
        met(answer("200 OK", "", &body), &["key", "list"])
    };
    assert_eq!(list(json!([key_document()]), Value::Null).code, 0);
    for (data, next) in [
        (json!([key_document(), { "type": "apiKey" }]), Value::Null),
        (json!({}), Value::Null),
        (json!([]), json!("http://127.0.0.2:1/v2-beta/apikeys?marker=m")),
        (json!([]), json!(["x"])),
    ] {
        let outcome = list(data, next);
        assert!(outcome.code == 1 && outcome.stderr.contains("cannot be right"), "{outcome:?}");
    }
    // a key that is found by its access key is the one with that access key
    let body = json!({ "type": "collection", "data": [key_document()] }).to_string();
    let outcome = met(answer("200 OK", "", &body), &["key", "show", "pce_other"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("there is no key 'pce_other'"), "{outcome:?}");
}

#[test]
fn an_answer_that_is_too_large_is_cut_off() {
    let outcome = met(answer("200 OK", "", &"x".repeat((16 << 20) + 1)), &["key", "show", "1c5"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("more than 16777216 bytes"), "{outcome:?}");
}

#[test]
fn what_is_not_confirmed_is_status_3() {
    let mut document = key_document();
    document["state"] = json!("deactivating");
    document["transitioning"] = json!("yes");
    let fields = "ETag: \"41\"\r\nX-API-Change: 41\r\n";
    let outcome = met(answer("202 Accepted", fields, &document.to_string()), &["key", "deactivate", "1c5"]);
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (3, "key pce_x (1c5) is inactive (change 41)\n"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("not confirmed yet"), "{outcome:?}");
}

#[test]
fn a_refusal_says_what_the_gateway_says_without_the_secret() {
    for (status, body, said) in [
        ("400 x", json!({ "code": "InvalidFormat" }), "refused (400, InvalidFormat): because"),
        ("403 x", json!({}), "may not do this (403): because"),
        ("404 x", json!({}), "(404): because"),
        ("405 x", json!({}), "because"),
        ("412 x", json!({}), "because"),
        ("421 x", json!({ "code": "Misdirected" }), "refused (421, Misdirected): because"),
        ("422 x", json!({ "code": "NotUnique" }), "refused (422, NotUnique): because"),
        ("429 x", json!({}), "(429): because"),
        ("503 x", json!({}), "(503): because"),
        ("500 x", json!({ "code": "Oops" }), "refused (500, Oops): because"),
    ] {
        let mut document = body;
        document["type"] = json!("error");
        document["detail"] =
            json!(format!("because {SECRET}\u{1b}[2J\u{202e}\nis long {}", "!".repeat(9_999)));
        let refused = answer(status, "Retry-After: 86400\r\n", &document.to_string());
        let outcome = met(refused, &["key", "list"]);
        assert_eq!((outcome.code, &*outcome.stdout), (1, ""), "{status}: {outcome:?}");
        assert!(outcome.stderr.contains(said) && outcome.stderr.len() < 700, "{status}: {outcome:?}");
        let line = outcome.stderr.trim_end();
        assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{status}: {outcome:?}");
    }
}

#[test]
fn a_gateway_that_is_busy_is_asked_again_and_that_is_told() {
    let error = json!({ "type": "error", "code": "Service Unavailable" }).to_string();
    let busy = answer("503 x", "Retry-After: 1\r\n", &error);
    let found = answer("200 OK", "", &key_document().to_string());
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server = Plain::start(move |_, mut reader| {
        loop {
            head(&mut reader)?;
            let is_first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            reader.get_mut().write_all(if is_first { busy.as_bytes() } else { found.as_bytes() })?;
        }
    });
    let cli = Elsewhere::new(format!("http://{}", server.address())).variable("PORTCULLIS_KEY", "pca_x:y");
    let outcome = cli.succeed(&["key", "show", "1c5"]);
    assert!(outcome.stderr.contains("cannot do it now (503): trying again in 1s"), "{outcome:?}");
    assert!(outcome.stdout.contains("pce_x"), "{outcome:?}");
}
