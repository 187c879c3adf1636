//! Keys, accounts, environments and members from creation to deletion, and what each role can do.

use std::fs;

use serde_json::Value;

use crate::remote_machine::{RemoteMachine, key_of, status_with, text, url};
use crate::support::cli::Key;
use crate::support::http1::Request;
use crate::support::stage::Stage;

#[test]
fn a_key_lives_its_whole_life_by_a_key_on_the_command_line() {
    let stage = Stage::start();
    let admin = &stage.gateway.admin;
    let pair = format!("{}:{}", admin.access_key, admin.secret);
    let cli = RemoteMachine::new(format!("{}/v2-beta/", url(&stage.gateway))).options(&["--key", &pair]);

    let outcome = cli.succeed(&["key", "create", "--environment", "e1", "--name", "ci", "--output", "json"]);
    assert!(outcome.stderr.contains("shown this once"), "{outcome:?}");
    let made: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let key = key_of(&made);
    assert!(text(&made["links"], "endpoint").ends_with("/v1/projects/e1"), "as the API sends it: {made}");
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/hosts"), 200);

    // at the port for clients of the API, the same command says which port it needs
    let proxy = RemoteMachine::with_key(format!("http://{}", stage.gateway.http()), admin);
    for command in [&["key", "list"][..], &["key", "show", &key.id]] {
        let refused = proxy.refused(command);
        assert!(
            refused.contains("not a Portcullis management API") && refused.contains("'management:'"),
            "{refused}"
        );
    }

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
    assert_eq!(line.lines().next(), once_more.lines().next(), "changes nothing");
    cli.succeed(&["key", "activate", &key.id]);
    cli.succeed(&["key", "activate", &key.id]);
    assert_eq!(status_with(&stage.gateway, &key, "/v1/projects/e1/hosts"), 200);
    cli.succeed(&["key", "deactivate", &key.id]);
    assert_eq!(text(&cli.json(&["key", "delete", &key.id]), "state"), "removed");
    assert_eq!(text(&cli.json(&["key", "delete", &key.id]), "state"), "removed");
    assert_eq!(text(&cli.json(&["key", "show", &key.id]), "state"), "removed");
    assert!(cli.refused(&["key", "activate", &key.id]).contains("is removed"));
    assert_eq!(text(&cli.json(&["key", "show", &key.access_key]), "state"), "removed");
}

#[test]
fn an_environment_and_its_members_live_by_a_key_in_the_environment() {
    let stage = Stage::start();
    let gateway = &stage.gateway;
    let alice = gateway.create_account("alice", "user");
    gateway.create_account("bob", "user");
    let pair = format!("{}:{}", gateway.admin.access_key, gateway.admin.secret);
    let cli = RemoteMachine::new(url(gateway)).variable("PORTCULLIS_KEY", pair);

    cli.succeed(&["account", "create", "--name", "carol"]);
    let twice = cli.succeed(&["account", "create", "--name", "carol"]).stderr;
    assert!(twice.contains("has the name 'carol' too"), "{twice}");
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
    for _ in 0..2 {
        cli.succeed(&["environment", "deactivate", "prod"]);
    }
    cli.succeed(&["environment", "activate", "prod"]);
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
    let cli = RemoteMachine::new(url(&stage.gateway)).netrc(&entry, 0o600);

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
fn a_key_from_elsewhere_can_be_brought_from_elsewhere() {
    let stage = Stage::start();
    let cli = RemoteMachine::admin(&stage.gateway);
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
    let cli = RemoteMachine::with_key(url(&stage.gateway), &alice);
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
    let cli = RemoteMachine::with_key(url(gateway), &alice);

    let own = cli.json(&["key", "create", "--account", "alice"]);
    let made = key_of(&cli.json(&["key", "create", "--environment", "e1"]));
    assert_eq!(status_with(gateway, &made, "/v1/projects/e1/hosts"), 200);
    cli.succeed(&["key", "deactivate", text(&own, "publicValue")]);
    // a leaked key of an environment is found by its access key, or by the pair, and the secret is told to nobody
    cli.succeed(&["key", "deactivate", &made.access_key]);
    cli.succeed(&["key", "activate", &made.access_key]);
    let shown = cli.succeed(&["key", "deactivate", &format!("{}:{}", made.access_key, made.secret)]);
    assert!(!format!("{shown:?}").contains(&made.secret), "{shown:?}");
    let hidden = gateway.create_environment_key("e3");
    let refused = cli.refused(&["key", "show", &format!("{}:{}", hidden.access_key, hidden.secret)]);
    assert!(refused.contains("there is no key") && !refused.contains(&hidden.secret), "{refused}");
    assert!(refused.contains("shows those that you may see"), "{refused}");
    assert!(cli.succeed(&["key", "list", "--environment", "e1"]).stdout.contains(&made.id));
    assert_eq!(cli.json(&["account", "list"])["data"].as_array().map(Vec::len), Some(1), "itself");

    // another account by its id, which only admins can look up
    let add = |account| {
        ["environment", "member", "add", "--environment", "e1", "--role", "member", "--account", account]
    };
    cli.succeed(&add(&bob));
    cli.succeed(&["environment", "member", "remove", "--environment", "e1", "--account", &bob]);
    assert!(cli.refused(&add("1a99")).contains("there is no account '1a99'"));
    let refused = cli.refused(&add("bob"));
    assert!(refused.contains("only admins find other accounts by name. Use its id"), "{refused}");

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
    let cli = RemoteMachine::with_key(url(gateway), &stage.e1);
    assert!(cli.succeed(&["environment", "show", "e1"]).stdout.contains("e1"));
    assert!(cli.refused(&["environment", "show", "e2"]).contains("there is no environment 'e2'"));
    assert!(cli.refused(&["key", "deactivate", &stage.e1.id]).contains("(405)"));
}

#[test]
fn a_key_stops_itself_only_when_that_is_meant() {
    let stage = Stage::start();
    let admin = stage.gateway.create_account("ops", "admin");
    let key = stage.gateway.create_account_key("ops");
    let cli = RemoteMachine::with_key(url(&stage.gateway), &key);
    for arguments in [["key", "deactivate", &key.id], ["account", "deactivate", &admin]] {
        assert!(cli.refused(&arguments).contains("repeat it with --confirm-self"));
    }
    let stopped = cli.succeed(&["key", "deactivate", &key.access_key, "--confirm-self"]);
    assert!(stopped.stdout.contains("is inactive"), "{stopped:?}");
    assert!(cli.refused(&["key", "list"]).contains("(401)"));
}

#[test]
fn case_130_a_user_makes_an_environment_from_elsewhere_and_does_not_choose_its_id() {
    let stage = Stage::with(|plan| plan.management("  environments_per_user: 1"));
    stage.gateway.create_account("ada", "user");
    let key = stage.gateway.create_account_key("ada");
    let cli = RemoteMachine::with_key(url(&stage.gateway), &key);
    assert!(cli.refused(&["environment", "create", "--id", "mine"]).contains("leave it out"));
    let made = cli.json(&["environment", "create", "--name", "staging"]);
    let id = text(&made, "id");
    assert!(id.starts_with("1e") && id.len() == 18, "{made}");
    stage.passes(Request::new("POST", format!("/v1/projects/{id}/x")).key(&key));
    assert!(cli.refused(&["environment", "create"]).contains("remove one first"));
    // beside the store the command line is bound to nothing
    let made = stage.gateway.json(&["environment", "create"]);
    assert!(text(&made, "id").starts_with("1e"), "{made}");
    assert_eq!(text(&stage.gateway.json(&["environment", "create", "--id", "chosen"]), "id"), "chosen");
}
