//! Runs the commands of `docs/migration.md` beside a running gateway, with files as nginx, Kong and Rancher leave them.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use support::cli::Key;
use support::gateway::Gateway;
use support::http1::Request;
use support::stage::Stage;

const CONSUMER: &str = "8a4c6c3e-6f0c-4f6e-9c0a-0d3b8f1f7f00";

/// A program of this name that prints `text`, in place of one that asks another system.
fn program(folder: &Path, name: &str, text: &str) {
    let (answer, path) = (folder.join(format!("{name}.answer")), folder.join(name));
    fs::write(&answer, text).unwrap();
    fs::write(&path, format!("#!/bin/sh\nexec cat '{}'\n", answer.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What this program of the system makes of `text`, up to the first space.
fn digest(program: &str, text: &str) -> String {
    let output =
        Command::new("sh").args(["-c", &format!("printf %s \"$1\" | {program}"), "sh", text]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn htpasswd(options: &[&str], name: &str, secret: &str) -> String {
    let output = Command::new("htpasswd").arg("-nb").args(options).args([name, secret]).output();
    String::from_utf8(output.expect("htpasswd, of the package apache2-utils").stdout)
        .unwrap()
        .trim()
        .to_owned()
        + "\n"
}

/// The secret is right: whatever the key may do, it is known.
fn is_known(gateway: &Gateway, name: &str, secret: &str) -> bool {
    let key = Key { id: String::new(), access_key: name.to_owned(), secret: secret.to_owned() };
    gateway.exchange(Request::get("/v1/projects/e1/x").key(&key).end()).status != 401
}

#[test]
fn every_command_of_the_page_on_migration_works() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/migration.md")).unwrap();
    let stage = Stage::start();
    let gateway = &stage.gateway;
    let folder = gateway.site.directory();
    let programs = folder.join("bin");
    fs::create_dir(&programs).unwrap();
    let nginx = [
        htpasswd(&["-B"], "nginx-bcrypt", "one secret"),
        htpasswd(&["-m"], "nginx-apr1", "two secret"),
        htpasswd(&["-s"], "nginx-sha", "three secret"),
    ];
    fs::write(folder.join("htpasswd"), nginx.concat()).unwrap();
    let kong = digest("sha1sum", &format!("four secret{CONSUMER}"));
    program(
        &programs,
        "curl",
        &format!(
            r#"{{"next":null,"data":[{{"created_at":1700000000,"id":"b6b4f6c2-0f0f-4f6e-9c0a-0d3b8f1f7f01","tags":null,
            "username":"kong-user","password":"{kong}","consumer":{{"id":"{CONSUMER}"}}}}]}}"#
        ),
    );
    program(
        &programs,
        "psql",
        &format!("username,password,consumer_id\nkong-user,{kong},{CONSUMER}\nkong-two,{kong},{CONSUMER}\n"),
    );
    let rancher = digest("sha256sum", "0a1b2c3d4e5ffive secret");
    program(
        &programs,
        "mysql",
        &format!(
            "public_value\tsecret_value\tname\tdescription\tstate\tkind\n\
             0123456789ABCDEF0123\tSHA256:0a1b2c3d4e5f:{rancher}\tci\tNULL\tactive\tapiKey\n"
        ),
    );

    let mut blocks = 0;
    let mut lines = page.lines();
    while let Some(line) = lines.by_ref().find(|line| line.trim() == "```sh") {
        let indent = line.len() - line.trim_start().len();
        let block: Vec<_> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        let block: Vec<_> = block.iter().map(|line| line.get(indent..).unwrap_or_default()).collect();
        let commands = block.join("\n").replace("/etc/nginx/htpasswd", "htpasswd");
        let output = Command::new("sh")
            .args(["-eux", "-c", &commands])
            .current_dir(folder)
            .env("SECRET", "six secret of twenty-two")
            .env("PATH", {
                let ours = Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().unwrap();
                format!("{}:{}:{}", programs.display(), ours.display(), std::env::var("PATH").unwrap())
            })
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}\n{}{said}", String::from_utf8_lossy(&output.stdout));
        blocks += 1;
    }
    assert_eq!(blocks, 5, "of the page");
    for (name, secret) in [
        ("alice", "six secret of twenty-two"),
        ("nginx-bcrypt", "one secret"),
        ("nginx-apr1", "two secret"),
        ("nginx-sha", "three secret"),
        ("kong-user", "four secret"),
        ("kong-two", "four secret"),
        ("0123456789ABCDEF0123", "five secret"),
    ] {
        assert!(is_known(gateway, name, secret), "{name}");
        assert!(!is_known(gateway, name, "another secret"), "{name}");
    }
}
