//! Keys from other systems: what `key import` reports, that imported keys work, and that nothing is half done.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};

use support::cli::{Cli, Outcome, basic};
use support::gateway::Gateway;
use support::http1::Request;
use support::stage::Stage;
use support::wait_for;

/// A store of a gateway that hashes cheaply.
fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(cheap_stage)
}

fn cheap_stage() -> Stage {
    Stage::with(|plan| plan.top("argon2: { memory: 1MiB, iterations: 1, threads: 2 }"))
}

fn write(gateway: &Gateway, name: &str, text: &str) -> String {
    let path = gateway.site.directory().join(name);
    fs::write(&path, text).expect("write the file");
    path.to_str().expect("UTF-8").to_owned()
}

fn import(gateway: &Gateway, format: &str, file: &str, more: &[&str]) -> Outcome {
    let arguments = ["key", "import", "--format", format, "--environment", "e1", file];
    gateway.site.run(&[&arguments[..], more].concat())
}

/// A line of a file, by Debian's htpasswd.
fn htpasswd(options: &[&str], name: &str, secret: &str) -> String {
    let output = Command::new("htpasswd").arg("-nb").args(options).args([name, secret]).output();
    let output = output.expect("htpasswd, of the package apache2-utils");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned() + "\n"
}

#[track_caller]
fn status(gateway: &Gateway, name: &str, secret: &str) -> u16 {
    let request = Request::get("/v1/projects/e1/x").header("Authorization", basic(name, secret));
    gateway.exchange(request.end()).status
}

#[test]
fn users_of_an_htpasswd_file_keep_their_passwords() {
    let gateway = &stage().gateway;
    let long = "x".repeat(72);
    let users: [(&str, &[&str], &str); 5] = [
        ("ht-bcrypt", &["-B", "-C", "5"], "s3cret: one"),
        ("ht-bcrypt-72", &["-B", "-C", "4"], &long),
        ("ht-apr1", &["-m"], "sécret two"),
        ("ht-apr1-long", &["-m"], "a secret that is longer than two blocks of MD5 are"),
        ("ht-sha1", &["-s"], "secret three"),
    ];
    let text: String = users.iter().map(|(name, options, secret)| htpasswd(options, name, secret)).collect();
    let hash_of_three = text.trim_end().rsplit("{SHA}").next().expect("a hash").to_owned();
    let text = text
        + &htpasswd(&["-d"], "ht-des", "secret")
        + &htpasswd(&["-p"], "ht-plain", "secret")
        + &htpasswd(&["-5"], "ht-sha512", "secret")
        + &htpasswd(&["-s"], "ht-sha1", "another secret");
    let file = write(gateway, "htpasswd", &text);

    let dry = import(gateway, "htpasswd", &file, &["--dry-run"]);
    assert_eq!(dry.code, 1, "{dry:?}");
    assert!(dry.stdout.contains("line 1: ht-bcrypt: importable\n"), "{dry:?}");
    assert!(dry.stdout.contains("5 would be imported, 0 already imported, 4 refused"), "{dry:?}");
    assert_eq!(status(gateway, "ht-sha1", "secret three"), 401, "nothing was imported");

    let first = import(gateway, "htpasswd", &file, &[]);
    assert_eq!(first.code, 1, "{first:?}");
    assert!(first.stdout.contains("5 imported, 0 already imported, 4 refused"), "{first:?}");
    for (line, reason) in [
        ("line 6: ht-des: refused: ", "DES"),
        ("line 7: ht-plain: refused: ", "plain text"),
        ("line 8: ht-sha512: refused: ", "'$6$' is not supported"),
        ("line 9: ht-sha1: refused: ", "line 5 has the same name already"),
    ] {
        let found = first.stdout.lines().find(|found| found.starts_with(line));
        assert!(found.is_some_and(|found| found.contains(reason)), "{reason}: {first:?}");
    }
    assert!(!first.stdout.contains("in force on nothing") && first.stdout.contains("(change "), "{first:?}");

    // the same names with other secrets
    let other = write(gateway, "htpasswd-2", &htpasswd(&["-s"], "ht-sha1", "another secret"));
    let third = import(gateway, "htpasswd", &other, &[]);
    assert_eq!(third.code, 1, "{third:?}");
    for (name, _, secret) in users {
        assert_eq!(status(gateway, name, secret), 200, "{name}");
        assert_eq!(status(gateway, name, &format!("{secret}x")), 401, "{name}");
        assert_eq!(status(gateway, name, &secret[1..]), 401, "{name}");
        assert_eq!(status(gateway, name, secret), 200, "{name} again");
    }
    // the same file twice
    let second = import(gateway, "htpasswd", &file, &["--output", "json"]);
    let document: serde_json::Value = serde_json::from_str(&second.stdout).expect("JSON");
    let counts = ["imported", "alreadyImported", "refused"].map(|name| document[name].as_u64().unwrap());
    assert_eq!(counts, [0, 5, 4], "{document:#}");
    assert_eq!(document["lines"][0]["result"], "already imported", "{document:#}");
    assert_eq!(document["lines"][5]["result"], "refused", "{document:#}");
    let elsewhere =
        gateway.site.run(&["key", "import", "--format", "htpasswd", "--environment", "e2", &file]);
    assert!(elsewhere.stdout.contains("already, of e1"), "{elsewhere:?}");
    for text in [gateway.log(), first.stdout, first.stderr] {
        assert!(!text.contains("secret three") && !text.contains(&hash_of_three), "{text}");
    }
}

#[test]
fn keys_of_rancher_and_kong_and_plain_pairs_work() {
    use digests::{sha1, sha256};
    let gateway = &stage().gateway;
    let salt = "0a1b2c3d4e5f60718293";
    let rancher = format!(
        "public_value\tsecret_value\tname\tdescription\n0123456789ABCDEF0001\tSHA256:{salt}:{}\tci\tNULL\n",
        sha256(&format!("{salt}rancher-secret"))
    );
    let consumer = "8a4c6c3e-6f0c-4f6e-9c0a-0d3b8f1f7f00";
    let kong = format!(
        r#"{{"data":[{{"username":"kong-user","password":"{}","consumer":{{"id":"{consumer}"}}}}]}}"#,
        sha1(&format!("kong-secret{consumer}"))
    );
    let csv = "access_key,secret,name,description,expires\ncsv-user,\"plain, secret of csv 1234\",\"Csv, user\",,90d\n\
               csv-short,abc\ncsv-intl,sécret-with-accents-1234567,\ncsv-bad,x,,,yesterday\n1c7,some-secret-1234567890\n\
               pcs-ok,pcs_minted-like\n";
    for (format, text, code) in [("rancher", rancher.as_str(), 0), ("kong", &kong, 0), ("csv", csv, 1)] {
        let file = write(gateway, &format!("{format}.txt"), text);
        let done = import(gateway, format, &file, &[]);
        assert_eq!(done.code, code, "{done:?}");
        if format == "csv" {
            let line =
                |start: &str| done.stdout.lines().find(|line| line.starts_with(start)).unwrap_or_default();
            assert!(line("line 2: csv-user: imported as 1c").ends_with(char::is_numeric), "{done:?}");
            assert!(line("line 3: csv-short: imported").contains("weak"), "{done:?}");
            assert!(line("line 4: csv-intl: imported").contains("Latin-1"), "{done:?}");
            assert!(line("line 5: csv-bad: refused").contains("expires"), "{done:?}");
            assert!(line("line 6: 1c7: refused").contains("form of a key id"), "{done:?}");
            assert!(line("line 7: pcs-ok: refused").contains("the gateway's own"), "{done:?}");
        }
        let again = import(gateway, format, &file, &[]);
        assert!(again.stdout.contains(" 0 imported") || again.stdout.starts_with("line"), "{again:?}");
        assert_eq!(
            again.stdout.matches("already imported as").count(),
            if code == 0 { 1 } else { 3 },
            "{again:?}"
        );
    }
    for (name, secret) in [
        ("0123456789ABCDEF0001", "rancher-secret"),
        ("kong-user", "kong-secret"),
        ("csv-user", "plain, secret of csv 1234"),
        ("csv-intl", "sécret-with-accents-1234567"),
    ] {
        assert_eq!(status(gateway, name, secret), 200, "{name}");
        assert_eq!(status(gateway, name, "another"), 401, "{name}");
    }
    let shown = gateway.site.json(&["key", "show", "csv-user"]);
    assert_eq!(shown["name"], "Csv, user", "{shown:#}");
    assert!(shown["expires"].is_string(), "{shown:#}");
    assert_eq!(gateway.site.json(&["key", "show", "0123456789ABCDEF0001"])["name"], "ci");
}

/// The hashes as these systems write them, from the system's own programs.
mod digests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn digest(program: &str, text: &str) -> String {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8(output.stdout).expect("text").split(' ').next().expect("a digest").to_owned()
    }

    pub fn sha1(text: &str) -> String {
        digest("sha1sum", text)
    }

    pub fn sha256(text: &str) -> String {
        digest("sha256sum", text)
    }
}

/// Starts an import into `e1`, without waiting for its end.
fn begin_import(gateway: &Gateway, file: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["key", "import", "--format", "htpasswd", "--environment", "e1", file])
        .arg("--config")
        .arg(gateway.site.config())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// Ends it with this signal.
fn stop(mut child: Child, signal: Signal) {
    kill_process(Pid::from_child(&child), signal).expect("it runs");
    assert!(!child.wait().expect("it has ended").success());
}

#[test]
fn a_stop_in_the_middle_leaves_whole_lines_and_the_same_file_goes_on() {
    let stage = cheap_stage();
    let gateway = &stage.gateway;
    let hash = htpasswd(&["-s"], "x", "secret").trim().replacen("x:", "", 1);
    let count = 3_000;
    let text = (0..count).map(|number| format!("user-{number}:{hash}\n")).collect::<Vec<_>>().concat();
    let file = write(gateway, "many", &text);
    let imported = || gateway.site.run(&["key", "list"]).stdout.matches("user-").count();
    let mut before = 0;
    for (signal, user) in [(Signal::TERM, "user-100"), (Signal::INT, "user-700"), (Signal::KILL, "user-1300")]
    {
        let child = begin_import(gateway, &file);
        wait_for(support::PATIENCE, "the next keys", || gateway.site.run(&["key", "show", user]).code == 0);
        stop(child, signal);
        let now = imported();
        assert!((before + 1..count).contains(&now), "{now} were imported before {signal:?}");
        before = now;
    }
    // what became of the first keys meanwhile: used, edited, rotated, stopped, ended
    for user in ["user-0", "user-100"] {
        assert_eq!(status(gateway, user, "secret"), 200);
    }
    gateway.succeed(&["key", "edit", "user-1", "--name", "edited"]);
    gateway.succeed(&["key", "rotate", "user-2"]);
    gateway.succeed(&["key", "rotate", "user-3", "--overlap", "0"]);
    gateway.succeed(&["key", "deactivate", "user-4"]);
    gateway.succeed(&["key", "deactivate", "user-5"]);
    gateway.succeed(&["key", "delete", "user-5"]);
    wait_for(support::PATIENCE, "the hash of the one that was used to be replaced", || {
        rehashed(gateway, "user-0")
    });
    let rest = import(gateway, "htpasswd", &file, &[]);
    assert_eq!(rest.code, 1, "{}", rest.stderr);
    let summary = format!("{} imported, {} already imported, 1 refused", count - before, before - 1);
    assert!(rest.stdout.contains(&summary), "{summary}: {}", &rest.stdout[rest.stdout.len() - 300..]);
    for (line, said) in [
        ("line 1: user-0: already imported as ", "was used since"),
        ("line 2: user-1: already imported as ", ""),
        ("line 3: user-2: already imported as ", ""),
        ("line 4: user-3: already imported as ", "another secret since"),
        ("line 5: user-4: already imported as ", ""),
        ("line 6: user-5: refused: ", "was removed"),
    ] {
        let found = rest.stdout.lines().find(|found| found.starts_with(line));
        assert!(found.is_some_and(|found| found.contains(said)), "{line}: {found:?}");
    }
    assert_eq!(status(gateway, &format!("user-{}", count - 1), "secret"), 200);
    assert_eq!(status(gateway, "user-4", "secret"), 401);
}

/// The hash that the key was imported with is gone.
fn rehashed(gateway: &Gateway, access_key: &str) -> bool {
    let store =
        rusqlite::Connection::open(gateway.site.directory().join("portcullis.db")).expect("the store");
    let select = "SELECT \"inner\" IS NULL FROM keys WHERE access_key = ?1";
    store.query_row(select, [access_key], |row| row.get(0)).expect("a key")
}

#[test]
fn a_long_import_says_how_far_it_is() {
    let stage = Stage::start();
    let hash = htpasswd(&["-s"], "x", "secret").trim().replacen("x:", "", 1);
    let text = (0..20_000).map(|number| format!("user-{number}:{hash}\n")).collect::<Vec<_>>().concat();
    let mut child = begin_import(&stage.gateway, &write(&stage.gateway, "many", &text));
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let progress = said.find(|line| line.as_ref().is_ok_and(|line| line.contains(" of 20000 lines, ")));
    let progress = progress.expect("progress").expect("text");
    assert!(progress.contains(" a second, ") && progress.ends_with(" left"), "{progress}");
    stop(child, Signal::INT);
    assert_eq!(stage.gateway.site.run(&["key", "show", "user-0"]).code, 0);
}

#[test]
fn hostile_files_are_refused_line_by_line() {
    let gateway = &stage().gateway;
    let good = htpasswd(&["-s"], "ht-good", "secret");
    let long = format!("{}:{}", "x".repeat(100), "y".repeat(1 << 20));
    let slow = "$2y$31$MPUAWTDo3iU22iaUClcVuea95mVnLNoC/5q3lPVdjDnJbTGRMX.lu";
    let mut bytes = b"\xef\xbb\xbf# a comment\r\n\r\n".to_vec();
    for line in [
        long.as_bytes(),
        b"ht-31:".as_slice(),
        format!("ht-slow:{slow}").as_bytes(),
        b"\x00\x01\xff\xfe binary",
        b"\x1b[31mred:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        b"ht-empty:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        b"ht-plain:$ecret$word",
        good.trim().as_bytes(),
    ] {
        bytes.extend(line);
        bytes.extend(b"\r\n");
    }
    let path = gateway.site.directory().join("hostile");
    fs::write(&path, &bytes).expect("written");
    let link = gateway.site.directory().join("a link");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let done = import(gateway, "htpasswd", link.to_str().expect("UTF-8"), &[]);
    assert_eq!(done.code, 1, "{done:?}");
    for (line, reason) in [
        ("line 3: refused: ", "longer than 16 KiB"),
        ("line 4: ht-31: refused: ", "plain text"),
        ("line 5: ht-slow: refused: ", "the cost 31"),
        ("line 6: refused: ", "not UTF-8"),
        ("line 7: \\u{1b}[31mred: refused: ", "without spaces"),
        ("line 8: ht-empty: refused: ", "an empty secret"),
        ("line 9: ht-plain: refused: ", "plain text"),
        ("line 10: ht-good: imported as ", ""),
    ] {
        let found = done.stdout.lines().find(|found| found.starts_with(line));
        assert!(found.is_some_and(|found| found.contains(reason)), "{line}: {done:?}");
    }
    assert!(!done.stdout.contains("ecret$") && !done.stdout.contains('\u{1b}'), "{done:?}");
    assert_eq!(status(gateway, "ht-good", "secret"), 200);
    assert_eq!(status(gateway, "ht-empty", ""), 401);

    // from a pipe, and from what is no file
    let fifo = gateway.site.directory().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::write(fifo, good)
    });
    let piped = import(gateway, "htpasswd", fifo.to_str().expect("UTF-8"), &[]);
    assert!(piped.stdout.contains("0 imported, 1 already imported, 0 refused"), "{piped:?}");
    writer.join().expect("it ends").expect("it is read");
    let folder = import(gateway, "htpasswd", gateway.site.directory().to_str().expect("UTF-8"), &[]);
    assert!(folder.code == 1 && folder.stderr.contains("cannot read "), "{folder:?}");
    // a small text that would be a large document
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nbasicauth_credentials: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    let refused = import(gateway, "kong", &write(gateway, "bomb.yaml", bomb), &[]);
    assert!(refused.code == 1 && refused.stderr.contains("neither JSON nor YAML"), "{refused:?}");
    let fields = import(gateway, "csv", &write(gateway, "fields.csv", &",".repeat(16_000)), &[]);
    assert!(fields.stdout.contains("line 1: refused: the line has too many fields"), "{fields:?}");
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is() {
    let gateway = &stage().gateway;
    let file = write(gateway, "some", "bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n");
    let remote = Cli::new(Path::new("portcullis.yaml"));
    let url = format!("https://{}", gateway.management());
    let refused =
        remote.run(&["key", "--url", &url, "import", "--format", "htpasswd", "--account", "admin", &file]);
    assert_ne!(refused.code, 0, "{refused:?}");
    let missing = import(gateway, "htpasswd", "/nonexistent/file", &[]);
    assert!(missing.stderr.contains("cannot read /nonexistent/file"), "{missing:?}");
    let nobody = gateway.site.run(&["key", "import", "--format", "htpasswd", &file]);
    assert_eq!(nobody.code, 2, "{nobody:?}");
    let empty = import(gateway, "kong", &write(gateway, "empty.json", "{}"), &[]);
    assert!(empty.code == 1 && empty.stderr.contains("no basicauth_credentials"), "{empty:?}");
}
