//! The SQLite store of a running gateway: it notices what other programs do to the files (case 126), it acts only
//! within its lease (case 124), and after its end the file alone is the whole store.

mod support;

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;
use support::api::Api;
use support::cli::{Key, Outcome};
use support::gateway::{Gateway, Plan, Site};
use support::http1::{Client, Request};
use support::upstream::{Answer, Upstream};
use support::{PATIENCE, marker, stays, wait_for};

const PATH: &str = "/v1/projects/e1/x";

/// A lease that ends, with its margin, while a receipt is waited for.
const LEASE: Duration = Duration::from_secs(2);

/// A running gateway with environment `e1`, and two keys of it.
struct Fixture {
    // first, so that the gateway ends before its upstream
    gateway: Gateway,
    upstream: Upstream,
    key: Key,
    other: Key,
}

impl Fixture {
    #[track_caller]
    fn start() -> Self {
        Self::with("", &[])
    }

    /// With more keys of `store:`, and started by a program that becomes the gateway.
    #[track_caller]
    fn with(store: &str, wrapper: &'static [&'static str]) -> Self {
        let upstream = Upstream::start();
        let plan = Plan::new(&upstream).store(&format!("  sqlite: portcullis.db\n{store}"));
        let gateway = plan.prepare().started_by(wrapper).start();
        gateway.create_environment("e1");
        let [key, other] = [(); 2].map(|()| gateway.create_environment_key("e1"));
        let fixture = Self { gateway, upstream, key, other };
        fixture.soon(&fixture.key, 200);
        fixture.soon(&fixture.other, 200);
        fixture
    }

    #[track_caller]
    fn with_short_lease(wrapper: &'static [&'static str]) -> Self {
        Self::with(&format!("  max_staleness: {LEASE:?}"), wrapper)
    }

    fn status(&self, key: &Key) -> u16 {
        self.gateway.exchange(Request::get(PATH).key(key).end()).status
    }

    #[track_caller]
    fn soon(&self, key: &Key, status: u16) {
        let what = format!("{} is answered {status}", key.access_key);
        wait_for(PATIENCE, &what, || (0..6).all(|_| self.status(key) == status));
    }

    /// A key is refused, and the upstream hears nothing of it.
    #[track_caller]
    fn is_refused(&self, key: &Key, statuses: &[u16]) {
        let mark = marker();
        let answer = self.gateway.exchange(Request::get(PATH).mark(&mark).key(key).end());
        assert!(statuses.contains(&answer.status), "{answer:?}");
        self.upstream.assert_unseen(&mark, "a refused request");
    }

    #[track_caller]
    fn readiness(&self) -> u16 {
        let mut client = Client::connect(self.gateway.management());
        client.send(Request::get("/readyz").end());
        client.read().status
    }

    /// An endless answer.
    #[track_caller]
    fn stream(&self, key: &Key) -> Client {
        let path = format!("/v1/projects/e1/{}", marker());
        let endless = Answer::after_head(|_, conversation| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            conversation.send(head).ok();
            while conversation.send("1\r\nx\r\n").is_ok()
                && !conversation.ends_within(Duration::from_millis(5))
            {}
            false
        });
        self.upstream.answer(&path, endless);
        let mut client = self.gateway.connect();
        client.send(Request::get(&path).key(key).end());
        client.take(100, PATIENCE).expect("the stream goes on");
        client
    }

    fn deactivate(&self, key: &Key) -> Outcome {
        self.gateway.run(&["key", "deactivate", &key.access_key])
    }
}

fn store(site: &Site) -> PathBuf {
    site.directory().join("portcullis.db")
}

fn with_suffix(store: &Path, end: &str) -> PathBuf {
    store.with_extension(format!("db-{end}"))
}

/// The store's file and what lies beside it.
fn files(site: &Site) -> Vec<String> {
    let names = fs::read_dir(site.directory()).expect("the directory").filter_map(Result::ok);
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("portcullis.db")).collect();
    names.sort();
    names
}

// --- case 126: the end ---

#[test]
fn case_126_an_orderly_stop_leaves_one_file_that_holds_everything() {
    let fixture = Fixture::start();
    let api = Api::admin(&fixture.gateway);
    // by each of the gateway's connections: requests, single objects, lists, changes, receipts, uses
    assert_eq!(api.get("/v2-beta/apikeys").status, 200);
    assert_eq!(api.get(&format!("/v2-beta/apikeys/{}", fixture.other.id)).status, 200);
    let stopped = api.act(&format!("/v2-beta/apikeys/{}", fixture.other.id), "deactivate");
    assert_eq!(stopped.status, 200, "{stopped:?}");
    let Fixture { gateway, upstream, key, other } = fixture;
    let (site, code) = gateway.stop();
    assert_eq!(code, Some(0));
    assert_eq!(files(&site), ["portcullis.db"]);
    // commands leave nothing beside it either
    site.succeed(&["explain", "--key", &key.access_key, "GET", PATH]);
    site.succeed(&["key", "edit", &key.access_key, "--name", "renamed"]);
    assert_eq!(files(&site), ["portcullis.db"]);
    // a copy of the file alone is whole
    let copy = Plan::new(&upstream).join(&site);
    fs::copy(store(&site), store(&copy)).expect("copied");
    let fixture = Fixture { gateway: copy.start(), upstream, key, other };
    fixture.is_refused(&fixture.other, &[401]);
    assert_eq!(fixture.status(&fixture.key), 200);
    assert_eq!(fixture.gateway.json(&["key", "show", &fixture.key.access_key])["name"], "renamed");
}

#[test]
fn case_126_a_gateway_that_does_not_start_leaves_one_file() {
    let upstream = Upstream::start();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let site = Plan::new(&upstream).listeners(&format!("  - address: {address}\n")).prepare();
    let (site, outcome) = *site.try_start().expect_err("its port is taken");
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(files(&site), ["portcullis.db"]);
}

// --- case 126: while it runs ---

/// What somebody does to a store's files, with a backup at hand, is noticed at once, and said.
#[track_caller]
fn is_noticed(harm: impl FnOnce(&Gateway, &Path, &Path), said: &str) -> (Fixture, PathBuf) {
    let fixture = Fixture::start();
    let store = store(&fixture.gateway);
    let backup = store.with_extension("backup");
    let copy = format!("VACUUM INTO '{}'", backup.display());
    Connection::open(&store).expect("the store").execute_batch(&copy).expect("a backup");
    // what the backup does not know
    assert_eq!(fixture.deactivate(&fixture.other).code, 0);
    fixture.is_refused(&fixture.other, &[401]);
    let mut stream = fixture.stream(&fixture.key);

    harm(&fixture.gateway, &store, &backup);
    // the lease would last for a minute
    fixture.soon(&fixture.key, 503);
    fixture.is_refused(&fixture.key, &[503]);
    fixture.is_refused(&fixture.other, &[503]);
    assert!(stream.ends_within(PATIENCE), "the stream goes on");
    assert_eq!(fixture.readiness(), 503);
    assert_eq!(fixture.gateway.exchange(Request::get("/healthz").end()).status, 200);
    // no receipt of it
    let api = Api::admin(&fixture.gateway);
    let change = api.post("/v2-beta/accounts", &json!({ "name": marker(), "kind": "user" }));
    assert_eq!(change.status, 503, "{change:?}");
    stays(Duration::from_millis(300), "every key is refused", || fixture.status(&fixture.key) == 503);
    let log = fixture.gateway.log();
    let is_about_it = |line: &&str| line.contains("cannot follow the store") && line.contains(said);
    let line = log.lines().find(is_about_it).unwrap_or_default();
    for part in [said, "every key is answered 503", "stop the gateway", "start the gateway", "portcullis.db"]
    {
        assert!(line.contains(part), "no '{part}' in\n{log}");
    }
    (fixture, backup)
}

/// Does what the log says, and sees that it helps.
#[track_caller]
fn is_put_right(fixture: Fixture, backup: &Path) {
    let Fixture { gateway, upstream, key, other } = fixture;
    let (site, code) = gateway.stop();
    assert_eq!(code, Some(0));
    for end in ["wal", "shm"] {
        fs::remove_file(with_suffix(&store(&site), end)).ok();
    }
    fs::copy(backup, store(&site)).expect("put in place");
    let fixture = Fixture { gateway: site.start(), upstream, key, other };
    // as the backup has it
    fixture.soon(&fixture.key, 200);
    fixture.soon(&fixture.other, 200);
}

#[test]
fn case_126_another_file_in_the_place_of_the_store_is_noticed() {
    let keep = |backup: &Path| fs::copy(backup, backup.with_extension("kept")).expect("a copy");
    let renamed = |_: &Gateway, store: &Path, backup: &Path| {
        keep(backup);
        fs::rename(backup, store).expect("renamed");
    };
    let (fixture, backup) = is_noticed(renamed, "was replaced by another file");
    is_put_right(fixture, &backup.with_extension("kept"));
}

#[test]
fn case_126_a_store_that_is_removed_and_made_again_is_noticed() {
    let made_again = |gateway: &Gateway, store: &Path, backup: &Path| {
        fs::remove_file(store).expect("removed");
        let is_missed = || gateway.log().contains("is gone while in use");
        wait_for(PATIENCE, "it is missed", is_missed);
        // on another inode
        let new = store.with_extension("new");
        fs::copy(backup, &new).expect("copied");
        fs::rename(new, store).expect("renamed");
    };
    let (fixture, backup) = is_noticed(made_again, "was replaced by another file");
    is_put_right(fixture, &backup);
}

#[test]
fn case_126_a_backup_that_is_copied_over_the_store_is_noticed() {
    let copied = |_: &Gateway, store: &Path, backup: &Path| {
        fs::copy(backup, store).expect("copied");
    };
    let (fixture, backup) = is_noticed(copied, "was written to by another program");
    is_put_right(fixture, &backup);
}

#[test]
fn case_126_a_backup_that_is_copied_with_its_times_is_noticed() {
    let copied = |_: &Gateway, store: &Path, backup: &Path| {
        let done = Command::new("cp").arg("-p").args([backup, store]).status();
        assert!(done.is_ok_and(|status| status.success()));
    };
    let (fixture, backup) = is_noticed(copied, "was written to by another program");
    is_put_right(fixture, &backup);
}

#[test]
fn case_126_a_log_or_its_index_that_is_removed_is_noticed_and_nothing_is_lost() {
    for end in ["wal", "shm"] {
        let removed =
            |_: &Gateway, store: &Path, _: &Path| fs::remove_file(with_suffix(store, end)).expect("removed");
        let (fixture, _) = is_noticed(removed, &format!("portcullis.db-{end} was removed"));
        let Fixture { gateway, upstream, key, other } = fixture;
        let (site, code) = gateway.stop();
        assert_eq!(code, Some(0));
        assert_eq!(files(&site), ["portcullis.db"], "{end}");
        let fixture = Fixture { gateway: site.start(), upstream, key, other };
        fixture.soon(&fixture.key, 200);
        fixture.is_refused(&fixture.other, &[401]);
    }
}

#[test]
fn case_126_a_log_that_is_emptied_is_noticed() {
    let emptied = |_: &Gateway, store: &Path, _: &Path| {
        OpenOptions::new()
            .write(true)
            .open(with_suffix(store, "wal"))
            .expect("a log")
            .set_len(0)
            .expect("cut");
    };
    is_noticed(emptied, "portcullis.db-wal was removed, replaced or cut short");
}

#[test]
fn case_126_a_log_that_somebody_has_put_there_is_left_alone() {
    let theirs = b"another store's log";
    let replaced = |_: &Gateway, store: &Path, _: &Path| {
        let log = with_suffix(store, "wal");
        fs::rename(&log, log.with_extension("away")).expect("moved");
        fs::write(&log, theirs).expect("a file");
    };
    let (fixture, _) = is_noticed(replaced, "portcullis.db-wal was removed, replaced or cut short");
    let (site, code) = fixture.gateway.stop();
    assert_eq!(code, Some(0));
    assert_eq!(fs::read(with_suffix(&store(&site), "wal")).expect("still there"), theirs);
}

#[test]
fn case_126_checkpoints_and_backups_by_other_processes_are_no_alarm() {
    let fixture = Fixture::start();
    let path = store(&fixture.gateway);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                assert_eq!(fixture.status(&fixture.key), 200);
            }
        });
        let one = Connection::open(&path).expect("the store");
        one.busy_timeout(PATIENCE).expect("a timeout");
        let fill = "CREATE TABLE IF NOT EXISTS filled (x); INSERT INTO filled VALUES (randomblob(2000000))";
        for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
            // more than a thousand frames: the second one is written back by itself
            for _ in 0..3 {
                one.execute_batch(fill).expect("written");
            }
            one.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())).expect("written back");
        }
        one.execute_batch("DROP TABLE filled; VACUUM").expect("written anew");
        drop(one);
        // what a backup does to the file: another name, another mode, reading
        let link = path.with_extension("link");
        fs::hard_link(&path, &link).expect("a link");
        fs::remove_file(link).expect("removed");
        let mode = fs::metadata(&path).expect("the store").permissions();
        fs::set_permissions(&path, mode).expect("its mode");
        drop(fs::read(&path).expect("read"));
        assert_eq!(fixture.deactivate(&fixture.other).code, 0);
        over.store(true, Ordering::Release);
        asking.join().expect("every answer is 200");
    });
    fixture.is_refused(&fixture.other, &[401]);
    assert!(!fixture.gateway.log().contains("cannot follow"), "{}", fixture.gateway.log());
}

// --- case 124 ---

/// Sets the largest file that the gateway may write: beyond it writes fail as they do on a full disk.
#[track_caller]
fn limit_files(gateway: &Gateway, limit: &str) {
    let set = Command::new("prlimit").args(["--pid", &gateway.pid().to_string(), limit]).status();
    assert!(set.is_ok_and(|status| status.success()), "prlimit sets a limit");
}

#[test]
fn case_124_a_gateway_that_cannot_write_acts_no_longer_than_its_row_says() {
    let fixture = Fixture::with_short_lease(&["env", "--ignore-signal=XFSZ"]);
    let mut stream = fixture.stream(&fixture.key);
    limit_files(&fixture.gateway, "--fsize=4096:");
    // who changes something waits for the gateway until its row is over, and not any longer
    let outcome = fixture.deactivate(&fixture.other);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    fixture.is_refused(&fixture.key, &[503]);
    fixture.is_refused(&fixture.other, &[401, 503]);
    assert!(stream.ends_within(PATIENCE), "the stream goes on");
    assert_eq!(fixture.readiness(), 503);
    let log = fixture.gateway.log();
    assert!(log.contains("cannot write in the store that this gateway is there"), "{log}");
    // with space again it goes on by itself
    limit_files(&fixture.gateway, "--fsize=unlimited:");
    fixture.soon(&fixture.key, 200);
    fixture.is_refused(&fixture.other, &[401]);
    assert_eq!(fixture.deactivate(&fixture.key).code, 0);
    fixture.is_refused(&fixture.key, &[401]);
}

#[test]
fn case_124_a_gateway_whose_store_is_locked_acts_no_longer_than_its_row_says() {
    let fixture = Fixture::with_short_lease(&[]);
    let locking = Connection::open(store(&fixture.gateway)).expect("the store");
    locking.busy_timeout(PATIENCE).expect("a timeout");
    locking.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let row = "SELECT max(lease_until) FROM gateways";
    let until: i64 = locking.query_row(row, [], |row| row.get(0)).expect("its row");
    let now = || portcullis::store::BootInstant::now().0.cast_signed();
    let since = Instant::now();
    let mut last = (0, 0);
    while now() < until {
        last = (now(), fixture.status(&fixture.key));
        assert!(matches!(last.1, 200 | 503), "{last:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    fixture.is_refused(&fixture.key, &[503]);
    assert_eq!(last.1, 503, "it acted until its row was over, and not for less: {:?}", since.elapsed());
    locking.execute_batch("ROLLBACK").expect("given back");
    fixture.soon(&fixture.key, 200);
}

#[test]
fn case_124_a_gateway_that_stood_still_past_its_row_accepts_no_deactivated_key() {
    let fixture = Fixture::with_short_lease(&[]);
    let mut kept: Vec<Client> = (0..20).map(|_| fixture.gateway.connect()).collect();
    for client in &mut kept {
        client.send(Request::get(PATH).key(&fixture.key).end());
        assert_eq!(client.read().status, 200);
    }
    fixture.gateway.signal("STOP");
    wait_for(PATIENCE, "it stands still", || {
        let status = fs::read_to_string(format!("/proc/{}/stat", fixture.gateway.pid()));
        status.is_ok_and(|status| status.contains(") T "))
    });
    let since = Instant::now();
    let outcome = fixture.deactivate(&fixture.key);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(since.elapsed() > LEASE / 2, "nobody waited for it: {:?}", since.elapsed());
    let mut new: Vec<Client> = (0..20).map(|_| fixture.gateway.connect()).collect();
    let mut marks = Vec::new();
    for client in kept.iter_mut().chain(&mut new) {
        let mark = marker();
        client.send(Request::get(PATH).mark(&mark).key(&fixture.key).end());
        marks.push(mark);
    }
    fixture.gateway.signal("CONT");
    for (client, mark) in kept.iter_mut().chain(&mut new).zip(&marks) {
        let answer = client.read();
        assert!(matches!(answer.status, 401 | 503), "{answer:?}");
        fixture.upstream.assert_unseen(mark, "a dead key's request");
    }
    fixture.soon(&fixture.other, 200);
    fixture.soon(&fixture.key, 401);
}

#[test]
fn case_126_what_a_killed_gateway_left_in_the_log_hides_nothing() {
    let Fixture { gateway, upstream, key, other } = Fixture::start();
    let site = gateway.crash();
    assert!(fs::metadata(with_suffix(&store(&site), "wal")).is_ok_and(|log| log.len() > 0), "it was killed");
    let fixture = Fixture { gateway: site.start(), upstream, key, other };
    fixture.soon(&fixture.key, 200);
    let file = File::options().append(true).open(store(&fixture.gateway)).expect("the store");
    let bytes = file.metadata().expect("its size").len();
    // while the log begins anew it may pass for a checkpoint
    wait_for(PATIENCE, "that somebody writes into the file is noticed", || {
        file.set_len(bytes + 4096).and_then(|()| file.set_len(bytes)).expect("written");
        fixture.status(&fixture.key) == 503
    });
}
