//! `portcullis store backup` and `store restore`: copies of a store in use, and which copies are refused.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use support::cli::{Cli, Key};
use support::gateway::{Gateway, Plan, Site};
use support::http1::Request;
use support::marker;
use support::upstream::Upstream;

/// A gateway's directory with environment `e1`, and a folder for copies in it.
#[track_caller]
fn prepare(upstream: &Upstream) -> Site {
    let site = Plan::new(upstream).prepare();
    site.create_environment("e1");
    fs::create_dir(site.directory().join("copies")).expect("a folder");
    site
}

fn store(site: &Site) -> PathBuf {
    site.directory().join("portcullis.db")
}

fn copy(site: &Site, name: &str) -> String {
    site.directory().join("copies").join(name).to_str().expect("a path in UTF-8").to_owned()
}

/// The names of all files in a folder.
fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Whether a key is let through to the upstream.
#[track_caller]
fn passes(upstream: &Upstream, gateway: &Gateway, key: &Key) -> bool {
    let mark = marker();
    let answer = gateway.exchange(Request::get("/v1/projects/e1/x").key(key).mark(&mark).end());
    let passes = answer.status == 200;
    assert!(passes || answer.status == 401, "{answer:?}");
    assert_eq!(upstream.saw(&mark), passes, "{answer:?}");
    passes
}

/// Runs a command that must be refused with exit status 1; the reason.
#[track_caller]
fn refused(site: &Site, arguments: &[&str]) -> String {
    let outcome = site.run(arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{arguments:?}: {outcome:?}");
    outcome.stderr
}

#[test]
fn a_copy_of_a_store_in_use_is_whole_private_and_overwrites_nothing_unasked() {
    let upstream = Upstream::start();
    let gateway = prepare(&upstream).start();
    let first = gateway.create_environment_key("e1");
    let file = copy(&gateway, "copy.db");
    let over = AtomicBool::new(false);
    // while others write without a pause
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                gateway.create_environment_key("e1");
            }
        });
        for round in 0..3 {
            let overwrite: &[&str] = if round == 0 { &[] } else { &["--overwrite"] };
            gateway.succeed(&[&["store", "backup", file.as_str()], overwrite].concat());
            assert_eq!(files(&gateway.directory().join("copies")), ["copy.db"], "nothing lies beside it");
            let mode = fs::metadata(&file).expect("the copy").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        over.store(true, Ordering::Release);
    });
    let last = gateway.create_environment_key("e1");
    let before = fs::read(&file).expect("the copy");
    let said = refused(&gateway, &["store", "backup", &file]);
    assert!(said.contains("exists already"), "{said}");
    let itself = store(&gateway);
    for overwrite in [&["--overwrite"][..], &[]] {
        let arguments = [&["store", "backup", itself.to_str().expect("a path")], overwrite].concat();
        assert!(refused(&gateway, &arguments).contains("is the store itself"));
    }
    let said = refused(&gateway, &["store", "backup", &copy(&gateway, "no/such/folder.db")]);
    assert!(said.contains("folder.db") && !said.contains("unfinished"), "{said}");
    // a log beside it would be read as the new file's
    fs::write(copy(&gateway, "other.db-wal"), "").expect("written");
    assert!(refused(&gateway, &["store", "backup", &copy(&gateway, "other.db")]).contains("other.db-wal"));
    assert_eq!(files(&gateway.directory().join("copies")), ["copy.db", "other.db-wal"]);
    assert_eq!(fs::read(&file).expect("the copy"), before);

    // a gateway that begins with the copy knows the first key, and not the last
    let (site, _) = gateway.stop();
    fs::remove_file(store(&site)).expect("the store is lost");
    site.succeed(&["store", "restore", &file]);
    let gateway = site.start();
    assert!(passes(&upstream, &gateway, &first));
    assert!(!passes(&upstream, &gateway, &last));
    let gateways = gateway.json(&["gateways"]);
    assert_eq!(gateways["data"].as_array().map(Vec::len), Some(1), "no lease came along: {gateways}");
}

#[test]
fn a_copy_is_not_put_back_behind_newer_changes_unless_that_is_meant_and_no_key_comes_back_to_life() {
    let upstream = Upstream::start();
    let gateway = prepare(&upstream).start();
    let [kept, stopped, removed] = [(); 3].map(|()| gateway.create_environment_key("e1"));
    let file = copy(&gateway, "copy.db");
    gateway.succeed(&["store", "backup", &file]);
    let restore = ["store", "restore", file.as_str()];
    let said = refused(&gateway, &restore);
    assert!(said.contains("in use by") && said.contains("stop the gateway first"), "{said}");
    let discard = [&restore[..], &["--discard-newer"]].concat();
    assert!(refused(&gateway, &discard).contains("in use by"));
    // a copy that lacks nothing is put back without a word
    let (site, _) = gateway.stop();
    site.succeed(&restore);
    let gateway = site.start();
    for key in [&kept, &stopped, &removed] {
        assert!(passes(&upstream, &gateway, key));
    }

    gateway.succeed(&["key", "deactivate", &stopped.id]);
    gateway.succeed(&["key", "deactivate", &removed.id]);
    gateway.succeed(&["key", "delete", &removed.id]);
    let lost = gateway.create_environment_key("e1");
    let (site, _) = gateway.stop();
    let said = refused(&site, &restore);
    assert!(said.contains("has 4 changes that the copy lacks") && said.contains("--discard-newer"), "{said}");
    // somebody looks at it
    let looking = Connection::open(store(&site)).expect("the store");
    looking.query_row("SELECT count(*) FROM keys", [], |row| row.get::<_, i64>(0)).expect("a count");
    let said = refused(&site, &discard);
    assert!(said.contains("another process has the store") && said.contains("open: end it first"), "{said}");
    drop(looking);
    let gateway = site.start();
    assert!(passes(&upstream, &gateway, &lost), "what was refused has changed nothing");
    let (site, _) = gateway.stop();

    let done = site.succeed(&discard);
    assert!(done.stderr.contains("4 newer changes are lost"), "{done:?}");
    assert!(done.stderr.contains("2 deactivations, removals and lesser roles"), "{done:?}");
    let left = files(site.directory());
    assert!(!left.iter().any(|name| name.contains("unfinished") || name.ends_with("-wal")), "{left:?}");
    assert_eq!(fs::metadata(store(&site)).expect("the store").permissions().mode() & 0o777, 0o600);
    let gateway = site.start();
    assert!(passes(&upstream, &gateway, &kept));
    for key in [&stopped, &removed, &lost] {
        assert!(!passes(&upstream, &gateway, key), "{}", key.access_key);
    }
    assert_eq!(gateway.json(&["key", "show", &removed.id])["state"], "removed");
}

#[test]
fn what_is_no_whole_copy_of_this_version_is_not_put_back() {
    let upstream = Upstream::start();
    let site = prepare(&upstream);
    let key = site.create_environment_key("e1");
    let good = copy(&site, "good.db");
    site.succeed(&["store", "backup", &good]);
    let bytes = fs::read(&good).expect("the copy");
    let write = |name: &str, content: &[u8]| {
        let file = copy(&site, name);
        fs::write(&file, content).expect("written");
        file
    };
    let mut flipped = bytes.clone();
    let quarter = flipped.len() / 4;
    flipped[quarter..2 * quarter].fill(0xff);
    let newer = write("newer.db", &bytes);
    Connection::open(&newer).and_then(|it| it.pragma_update(None, "user_version", 99)).expect("changed");
    let rewritten = write("rewritten.db", &bytes);
    Connection::open(&rewritten)
        .and_then(|it| it.execute("UPDATE changes SET content = '{}' WHERE number = 2", []))
        .expect("changed");
    let other = copy(&site, "other.db");
    Connection::open(&other).and_then(|it| it.execute_batch("CREATE TABLE t (x)")).expect("made");
    let itself = store(&site).to_str().expect("a path").to_owned();
    for (file, said) in [
        (copy(&site, "missing.db"), "missing.db"),
        (write("empty.db", b""), "the file is empty"),
        (write("text.db", &b"not a store at all".repeat(500)), "damaged"),
        (write("short.db", &bytes[..bytes.len() / 2]), "damaged"),
        (write("flipped.db", &flipped), "damaged"),
        (newer, "schema version 99"),
        (rewritten, "change 2 does not follow"),
        (other, "not a store of Portcullis"),
        (itself, "is the store itself"),
    ] {
        let refused = refused(&site, &["store", "restore", &file, "--discard-newer"]);
        assert!(refused.contains(said) && refused.contains("was not put back"), "{file}: {refused}");
    }
    let left = files(site.directory());
    assert!(!left.iter().any(|name| name.contains("unfinished")), "{left:?}");
    // a store that is damaged itself may have changes that nobody can see
    fs::write(store(&site), &flipped).expect("the store is damaged");
    let restore = ["store", "restore", good.as_str()];
    let said = refused(&site, &restore);
    assert!(said.contains("cannot be told") && said.contains("--discard-newer"), "{said}");
    site.succeed(&[&restore[..], &["--discard-newer"]].concat());
    let gateway = site.start();
    assert!(passes(&upstream, &gateway, &key));
}

#[test]
fn whenever_a_command_is_killed_copy_and_store_are_whole() {
    let upstream = Upstream::start();
    let site = prepare(&upstream);
    let key = site.create_environment_key("e1");
    let (good, file) = (copy(&site, "good.db"), copy(&site, "copy.db"));
    site.succeed(&["store", "backup", &good]);
    let kill = |arguments: &[&str], after: Duration| {
        let mut program = Cli::program();
        program.args(arguments).arg("--config").arg(site.config()).stderr(Stdio::null());
        let mut child = program.spawn().expect("the program can be started");
        std::thread::sleep(after);
        // an error means that it has ended
        let _ = child.kill();
        child.wait().expect("it ends");
    };
    let is_whole = |file: &Path| {
        let connection = Connection::open(file).expect("a file");
        let found = connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        let keys = connection.query_row("SELECT count(*) FROM keys", [], |row| row.get::<_, i64>(0));
        assert_eq!((found.as_deref(), keys), (Ok("ok"), Ok(2)), "{}", file.display());
    };
    for step in 0..12 {
        let after = Duration::from_millis(step * 9);
        kill(&["store", "backup", &file, "--overwrite"], after);
        if Path::new(&file).exists() {
            is_whole(Path::new(&file));
        }
        kill(&["store", "restore", &good], after);
        is_whole(&store(&site));
    }
    site.succeed(&["store", "backup", &file, "--overwrite"]);
    site.succeed(&["store", "restore", &file]);
    let gateway = site.start();
    assert!(passes(&upstream, &gateway, &key));
}
