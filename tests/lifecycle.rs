//! Keys, accounts, environments and memberships change by the command line while the gateway runs. It sees every
//! change soon, ends what the change forbids, and leaves the rest alone. Cases 74, 77, 79, 80 and 117 are here too.

mod support;

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use support::cli::{Key, basic, minted_secret};
use support::clock::WallClock;
use support::gateway::{Gateway, Plan, Site};
use support::http1::{Client, NoAnswer, Request, fresh_source};
use support::postgres::{Postgres, Stop};
use support::upstream::{Answer, Conversation, Recorded, Upstream};
use support::{PATIENCE, marker, wait_for};

/// From the end of a command to its effect in every worker of a running gateway.
const SEEN_WITHIN: Duration = Duration::from_millis(500);

/// A gateway of the test's own, running, with environments `e1` and `e2`.
struct House {
    // first, so that the gateway ends before its upstream
    gateway: Gateway,
    upstream: Upstream,
}

impl House {
    #[track_caller]
    fn start() -> Self {
        Self::with("")
    }

    #[track_caller]
    fn with(top: &str) -> Self {
        let upstream = Upstream::start();
        let gateway = Plan::new(&upstream).top(top).start();
        gateway.create_environment("e1");
        gateway.create_environment("e2");
        Self { gateway, upstream }
    }

    fn status_of(&self, request: Request, key: &Key) -> u16 {
        self.gateway.exchange(request.key(key).end()).status
    }

    fn status(&self, path: &str, key: &Key) -> u16 {
        self.status_of(Request::get(path), key)
    }

    /// Waits until the gateway answers so; a command has just ended. Every worker must: connections fall to any.
    #[track_caller]
    fn soon(&self, path: &str, key: &Key, status: u16) {
        self.soon_for(&|| Request::get(path), key, status);
    }

    #[track_caller]
    fn soon_for(&self, request: &dyn Fn() -> Request, key: &Key, status: u16) {
        let about = format!("{:?} with {} is answered {status}", request(), key.access_key);
        wait_for(SEEN_WITHIN, &about, || (0..8).all(|_| self.status_of(request(), key) == status));
    }

    /// What time it is for the gateway, as its access log (JSON, on standard output) tells.
    #[track_caller]
    fn time(&self, key: &Key) -> Timestamp {
        let path = path_in("e1");
        assert_eq!(self.status(&path, key), 200);
        let mut line = None;
        wait_for(PATIENCE, "a request in the access log", || {
            line = self.gateway.stdout().lines().find(|line| line.contains(&path)).map(str::to_owned);
            line.is_some()
        });
        let line: serde_json::Value =
            serde_json::from_str(&line.expect("just found")).expect("a line of JSON");
        line["time"]
            .as_str()
            .and_then(|time| time.parse().ok())
            .unwrap_or_else(|| panic!("no time in {line}"))
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) {
        self.gateway.succeed(arguments);
    }
}

const IN_E1: &str = "/v1/projects/e1/x";
const IN_E2: &str = "/v1/projects/e2/x";

#[test]
fn a_key_works_once_it_is_created() {
    let house = House::start();
    let environment_key = house.gateway.create_environment_key("e1");
    house.soon(IN_E1, &environment_key, 200);
    house.soon(IN_E2, &environment_key, 403);
    let account = house.gateway.create_account("alice", "user");
    let account_key = house.gateway.create_account_key(&account);
    house.soon(IN_E1, &account_key, 403);
    house.gateway.add_member("e1", "alice", "member");
    house.soon(IN_E1, &account_key, 200);
    house.soon(IN_E2, &account_key, 403);
}

#[test]
fn an_environment_is_known_once_it_is_created() {
    let house = House::start();
    let account = house.gateway.create_account("alice", "user");
    let key = house.gateway.create_account_key(&account);
    // its absence is remembered, and then no longer
    house.soon("/v1/projects/e3/x", &key, 403);
    house.run(&["environment", "create", "--id", "e3", "--owner", "alice"]);
    house.soon("/v1/projects/e3/x", &key, 200);
}

#[test]
fn a_key_is_deactivated_activated_and_deleted() {
    let house = House::start();
    let key = house.gateway.create_environment_key("e1");
    let other = house.gateway.create_environment_key("e1");
    house.soon(IN_E1, &key, 200);
    let refused = house.gateway.run(&["key", "delete", &key.access_key]);
    assert_eq!(refused.code, 1, "an active key is not deleted: {refused:?}");
    assert!(!refused.stderr.is_empty(), "{refused:?}");
    assert_eq!(house.status(IN_E1, &key), 200);
    for _ in 0..3 {
        house.run(&["key", "deactivate", &key.access_key]);
        house.soon(IN_E1, &key, 401);
        house.run(&["key", "deactivate", &key.access_key]);
        house.run(&["key", "activate", &key.id]);
        house.soon(IN_E1, &key, 200);
    }
    house.run(&["key", "deactivate", &key.id]);
    house.soon(IN_E1, &key, 401);
    house.run(&["key", "delete", &key.access_key]);
    house.soon(IN_E1, &key, 401);
    let refused = house.gateway.run(&["key", "activate", &key.access_key]);
    assert_eq!(refused.code, 1, "a removed key comes back: {refused:?}");
    assert_eq!(house.status(IN_E1, &key), 401);
    assert_eq!(house.status(IN_E1, &other), 200);
}

#[test]
fn a_deactivated_account_or_environment_stops_its_keys() {
    let house = House::start();
    house.gateway.create_account("alice", "user");
    house.gateway.add_member("e1", "alice", "member");
    house.gateway.add_member("e2", "alice", "member");
    let alice = house.gateway.create_account_key("alice");
    let environment = house.gateway.create_environment_key("e1");
    house.soon(IN_E1, &alice, 200);
    house.soon(IN_E1, &environment, 200);
    house.run(&["account", "deactivate", "alice"]);
    house.soon(IN_E1, &alice, 401);
    assert_eq!(house.status(IN_E1, &environment), 200);
    house.run(&["account", "activate", "alice"]);
    house.soon(IN_E1, &alice, 200);
    house.run(&["environment", "deactivate", "e1"]);
    house.soon(IN_E1, &alice, 403);
    house.soon(IN_E1, &environment, 401);
    house.soon(IN_E1, &house.gateway.admin, 403);
    assert_eq!(house.status(IN_E2, &alice), 200);
    house.run(&["environment", "delete", "e1"]);
    house.soon(IN_E1, &environment, 401);
    house.soon(IN_E1, &alice, 403);
    house.run(&["account", "deactivate", "alice"]);
    house.run(&["account", "delete", "alice"]);
    house.soon(IN_E2, &alice, 401);
}

#[test]
fn case_74_a_changed_role_decides_the_next_request() {
    let house = House::start();
    house.gateway.create_account("alice", "user");
    let alice = house.gateway.create_account_key("alice");
    let write = || Request::new("POST", IN_E1);
    let own = || Request::new("PUT", "/v1/projects/e1");
    house.soon(IN_E1, &alice, 403);
    for (role, reading, writing, owning) in [
        ("readonly", 200, 403, 403),
        ("member", 200, 200, 403),
        ("owner", 200, 200, 200),
        ("restricted", 200, 200, 403),
        ("readonly", 200, 403, 403),
    ] {
        house.gateway.add_member("e1", "alice", role);
        house.soon(IN_E1, &alice, reading);
        house.soon_for(&write, &alice, writing);
        house.soon_for(&own, &alice, owning);
    }
    house.run(&["environment", "member", "remove", "--environment", "e1", "--account", "alice"]);
    house.soon(IN_E1, &alice, 403);
    // on a kept connection, too
    let mut client = house.gateway.connect();
    client.send(Request::get(IN_E1).key(&alice).end());
    assert_eq!(client.read().status, 403);
    house.gateway.add_member("e1", "alice", "member");
    wait_for(SEEN_WITHIN, "a kept connection sees the change", || {
        client.send(Request::get(IN_E1).key(&alice).end());
        client.read().status == 200
    });
}

#[test]
fn a_restarted_gateway_knows_what_was_revoked() {
    let house = House::start();
    let revoked = house.gateway.create_environment_key("e1");
    let kept = house.gateway.create_environment_key("e1");
    house.soon(IN_E1, &revoked, 200);
    house.run(&["key", "deactivate", &revoked.access_key]);
    house.soon(IN_E1, &revoked, 401);
    let House { gateway, upstream } = house;
    // a crash loses nothing that a command has reported as done
    let house = House { gateway: gateway.crash().start(), upstream };
    assert_eq!(house.status(IN_E1, &kept), 200);
    assert_eq!(house.status(IN_E1, &revoked), 401);
    let (site, code) = house.gateway.stop();
    assert_eq!(code, Some(0), "SIGTERM is an orderly end");
    site.succeed(&["key", "activate", &revoked.access_key]);
    let house = House { gateway: site.start(), upstream: house.upstream };
    assert_eq!(house.status(IN_E1, &revoked), 200);
}

// --- the first answers of a gateway that starts ---

/// A plan whose one listener has an address of this process's own, which is known before the gateway starts.
fn with_known_address(plan: Plan, port: u16) -> (Plan, String) {
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = format!("127.117.{high}.{low}:{port}");
    (plan.listeners(&format!("  - address: {address}\n")), address)
}

/// Asks with a right key again and again; gives the answers.
fn answers_until(over: &AtomicBool, address: &str, key: &Key, answered: &AtomicUsize) -> Vec<String> {
    let mut answers = Vec::new();
    while !over.load(Ordering::Acquire) {
        let Ok(tcp) = TcpStream::connect(address) else {
            std::thread::yield_now();
            continue;
        };
        let mut client = Client::over(tcp);
        client.send(Request::get(IN_E1).key(key).end());
        answers.push(match client.try_read(false, PATIENCE) {
            Ok(answer) => answer.status.to_string(),
            Err(broken) => format!("{broken:?}"),
        });
        answered.fetch_add(1, Ordering::AcqRel);
    }
    answers
}

/// Starts a gateway while its key is in use: whatever it answers from its first moment on is right.
#[track_caller]
fn starts_with_right_answers(site: Site, address: &str, key: &Key) -> Gateway {
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..2).map(|_| scope.spawn(|| answers_until(&over, address, key, &answered))).collect();
        let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let gateway = site.start();
            wait_for(PATIENCE, "the gateway answers", || answered.load(Ordering::Acquire) >= 20);
            gateway
        }));
        // whatever went wrong, nobody goes on asking
        over.store(true, Ordering::Release);
        for asking in asking {
            let answers = asking.join().expect("it asks");
            assert!(answers.iter().all(|answer| answer == "200"), "{answers:?}");
        }
        started.expect("the gateway starts")
    })
}

#[test]
fn case_117_the_first_answers_are_right_with_an_embedded_store() {
    let upstream = Upstream::start();
    let (plan, address) = with_known_address(Plan::new(&upstream), 8117);
    let mut site = plan.prepare();
    site.create_environment("e1");
    let key = site.create_environment_key("e1");
    for _ in 0..4 {
        (site, _) = starts_with_right_answers(site, &address, &key).stop();
    }
}

#[test]
fn case_117_the_first_answers_are_right_with_postgresql_and_without_it_within_the_lease() {
    let (server, upstream) = (Postgres::start(), Upstream::start());
    let url = server.url(&server.create_database());
    let (plan, address) = with_known_address(Plan::new(&upstream).postgres(&url, "one", "60s"), 8118);
    let mut site = plan.prepare();
    site.create_environment("e1");
    let key = site.create_environment_key("e1");
    for _ in 0..2 {
        (site, _) = starts_with_right_answers(site, &address, &key).stop();
    }
    // the lease outlives a crash, in the replica
    let mut site = starts_with_right_answers(site, &address, &key).crash();
    server.stop(Stop::Fast);
    for _ in 0..3 {
        site = starts_with_right_answers(site, &address, &key).crash();
    }
}

// --- what is open when a change comes ---

/// A piece of an endless answer.
const PIECE: &[u8] = b"8\r\ndata: x\n\r\n";

/// An answer that goes on until the gateway ends the connection; counts its pieces and remembers its end.
#[derive(Clone, Default)]
struct Endless {
    ended: Arc<Mutex<Vec<String>>>,
}

impl Endless {
    /// The script: a head, then a piece every ten milliseconds.
    fn answer(&self) -> Answer {
        let ours = self.clone();
        Answer::after_head(move |request, conversation| {
            conversation
                .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                .ok();
            while conversation.send(PIECE).is_ok() && !conversation.ends_within(Duration::from_millis(10)) {}
            ours.end(request);
            false
        })
    }

    fn end(&self, request: &Recorded) {
        self.ended.lock().expect("no test panics in here").push(request.path());
    }

    fn has_ended(&self, path: &str) -> bool {
        self.ended.lock().expect("no test panics in here").iter().any(|ended| ended == path)
    }
}

/// A client in the middle of an endless answer.
struct Listening {
    client: Client,
    path: String,
}

impl Listening {
    #[track_caller]
    fn to(house: &House, endless: &Endless, path: String, key: &Key) -> Self {
        house.upstream.answer(&path, endless.answer());
        let mut client = house.gateway.connect();
        client.send(Request::get(&path).key(key).end());
        let start = client.take(12, PATIENCE).expect("the answer begins");
        assert_eq!(start, b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&start));
        client.take_until(PIECE, PATIENCE).expect("the stream goes on");
        Self { client, path }
    }

    /// Fails where the stream does not go on.
    #[track_caller]
    fn goes_on(&mut self) {
        // what waits to be read may be older than the change
        assert!(!self.client.ends_within(Duration::from_millis(30)), "the stream of {} ended", self.path);
        let more = self.client.take(self.client.unread().len() + PIECE.len(), PATIENCE);
        assert!(more.is_ok(), "the stream of {} ended: {more:?}", self.path);
    }

    /// Fails where the stream goes on, for the client or at the upstream.
    #[track_caller]
    fn ends(&mut self, endless: &Endless) {
        assert!(self.client.ends_within(SEEN_WITHIN), "the stream of {} goes on", self.path);
        assert!(!self.client.unread().ends_with(b"0\r\n\r\n"), "cut off, it must not look complete");
        wait_for(PATIENCE, "the upstream's side ends", || endless.has_ended(&self.path));
    }
}

fn path_in(environment: &str) -> String {
    format!("/v1/projects/{environment}/{}", marker())
}

#[test]
fn a_deactivated_key_loses_its_streams_and_others_go_on() {
    let house = House::start();
    let endless = Endless::default();
    let [key, other] = [(); 2].map(|()| house.gateway.create_environment_key("e1"));
    house.soon(IN_E1, &key, 200);
    house.soon(IN_E1, &other, 200);
    let mut streams: Vec<_> = (0..4).map(|_| Listening::to(&house, &endless, path_in("e1"), &key)).collect();
    let mut others: Vec<_> = (0..4).map(|_| Listening::to(&house, &endless, path_in("e1"), &other)).collect();
    house.run(&["key", "deactivate", &key.access_key]);
    for stream in &mut streams {
        stream.ends(&endless);
    }
    for stream in &mut others {
        stream.goes_on();
    }
    assert_eq!(house.status(IN_E1, &other), 200);
}

#[test]
fn a_renamed_key_loses_nothing() {
    let house = House::start();
    let endless = Endless::default();
    let key = house.gateway.create_environment_key("e1");
    house.soon(IN_E1, &key, 200);
    let mut stream = Listening::to(&house, &endless, path_in("e1"), &key);
    house.run(&["key", "edit", &key.access_key, "--name", "renamed"]);
    house.run(&["environment", "edit", "e1", "--name", "renamed too"]);
    let since = Instant::now();
    while since.elapsed() < SEEN_WITHIN * 2 {
        stream.goes_on();
    }
    house.run(&["key", "deactivate", &key.access_key]);
    stream.ends(&endless);
}

#[test]
fn what_a_change_of_rights_forbids_ends_and_the_rest_goes_on() {
    let house = House::start();
    let endless = Endless::default();
    house.gateway.create_account("alice", "user");
    house.gateway.add_member("e1", "alice", "member");
    house.gateway.add_member("e2", "alice", "member");
    let alice = house.gateway.create_account_key("alice");
    let environment = house.gateway.create_environment_key("e1");
    house.soon(IN_E2, &alice, 200);
    house.soon(IN_E1, &alice, 200);
    house.soon(IN_E1, &environment, 200);
    let mut in_e1 = Listening::to(&house, &endless, path_in("e1"), &alice);
    let mut in_e2 = Listening::to(&house, &endless, path_in("e2"), &alice);
    let mut of_e1 = Listening::to(&house, &endless, path_in("e1"), &environment);
    let mut of_admin = Listening::to(&house, &endless, path_in("e1"), &house.gateway.admin);
    // a lesser role still allows reading
    house.gateway.add_member("e1", "alice", "readonly");
    house.soon_for(&|| Request::new("POST", IN_E1), &alice, 403);
    in_e1.goes_on();
    house.run(&["environment", "member", "remove", "--environment", "e1", "--account", "alice"]);
    in_e1.ends(&endless);
    in_e2.goes_on();
    of_e1.goes_on();
    house.run(&["environment", "deactivate", "e1"]);
    of_e1.ends(&endless);
    of_admin.ends(&endless);
    in_e2.goes_on();
    house.run(&["account", "deactivate", "alice"]);
    in_e2.ends(&endless);
}

#[test]
fn a_deactivated_key_loses_its_uploads() {
    let house = House::start();
    let [key, other] = [(); 2].map(|()| house.gateway.create_environment_key("e1"));
    house.soon(IN_E1, &key, 200);
    house.soon(IN_E1, &other, 200);
    let upload = |key: &Key| {
        let path = path_in("e1");
        let mut client = house.gateway.connect();
        client.send(Request::new("POST", &path).key(key).header("Transfer-Encoding", "chunked").end());
        client.send("3\r\nabc\r\n");
        (client, house.upstream.wait_for(&path).connection)
    };
    let (mut cut, cut_connection) = upload(&key);
    let (mut kept, kept_connection) = upload(&other);
    house.run(&["key", "deactivate", &key.access_key]);
    wait_for(SEEN_WITHIN, "the upload ends at the upstream", || !house.upstream.is_open(cut_connection));
    assert!(cut.ends_within(PATIENCE), "the client may go on sending");
    assert!(
        !house.upstream.bytes_of(cut_connection).ends_with(b"0\r\n\r\n"),
        "cut off, it must not look complete"
    );
    assert!(house.upstream.is_open(kept_connection));
    kept.send("1\r\nd\r\n0\r\n\r\n");
    let answer = kept.read();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_refused_upload_does_not_hold_up_the_next_change() {
    let house = House::start();
    let [key, other] = [(); 2].map(|()| house.gateway.create_environment_key("e1"));
    house.soon(IN_E1, &key, 200);
    house.soon(IN_E1, &other, 200);
    let path = path_in("e1");
    let mut upload = house.gateway.connect();
    // little enough to be waited for behind the refusal
    upload.send(Request::new("POST", &path).key(&key).header("Content-Length", "1000").end());
    upload.send("abc");
    house.upstream.wait_for(&path);
    house.run(&["key", "deactivate", &key.access_key]);
    assert_eq!(upload.read().status, 401);
    house.run(&["key", "deactivate", &other.access_key]);
    house.soon(IN_E1, &other, 401);
}

#[test]
fn streams_end_when_the_store_was_not_heard_of_for_too_long() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare();
    site.create_environment("e1");
    let key = site.create_environment_key("e1");
    let text = std::fs::read_to_string(site.config()).expect("the configuration");
    let sqlite = "  sqlite: portcullis.db\n";
    let text = text.replace(sqlite, &format!("{sqlite}  max_staleness: 1s\n"));
    std::fs::write(site.config(), text).expect("it can be written");
    let house = House { gateway: site.start(), upstream };
    let endless = Endless::default();
    let mut listening = Listening::to(&house, &endless, path_in("e1"), &key);
    let store = house.gateway.site.directory().join("portcullis.db");
    std::fs::rename(&store, store.with_extension("away")).expect("the store can be moved");
    wait_for(PATIENCE, "the upstream's side ends", || endless.has_ended(&listening.path));
    assert!(listening.client.ends_within(PATIENCE), "the stream goes on");
    assert_eq!(house.status(IN_E1, &key), 503);
}

fn tunnel(conversation: &mut Conversation) -> io::Result<()> {
    conversation.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")?;
    loop {
        let bytes = conversation.receive()?;
        if bytes.is_empty() {
            return Ok(());
        }
        conversation.send(bytes)?;
    }
}

#[test]
fn a_deactivated_key_loses_its_tunnels() {
    let house = House::start();
    let [key, other] = [(); 2].map(|()| house.gateway.create_environment_key("e1"));
    house.soon(IN_E1, &key, 200);
    house.soon(IN_E1, &other, 200);
    let open = |key: &Key| {
        let path = path_in("e1");
        let echo = Answer::after_head(|_, conversation| {
            tunnel(conversation).ok();
            false
        });
        house.upstream.answer(&path, echo);
        let mut client = house.gateway.connect();
        client.send(
            Request::get(&path).key(key).header("Connection", "Upgrade").header("Upgrade", "echo").end(),
        );
        assert_eq!(client.read().status, 101);
        client.send("hello");
        assert_eq!(client.take(5, PATIENCE).expect("an echo"), b"hello");
        (client, house.upstream.wait_for(&path).connection)
    };
    let (mut cut, connection) = open(&key);
    let (mut kept, _) = open(&other);
    house.run(&["key", "deactivate", &key.access_key]);
    assert!(cut.ends_within(SEEN_WITHIN), "the tunnel goes on");
    wait_for(PATIENCE, "the tunnel ends at the upstream", || !house.upstream.is_open(connection));
    kept.send("still");
    assert_eq!(kept.take(5, PATIENCE).expect("an echo"), b"still");
}

#[test]
fn a_waiting_request_of_a_deactivated_key_ends_too() {
    let house = House::start();
    let key = house.gateway.create_environment_key("e1");
    house.soon(IN_E1, &key, 200);
    let path = path_in("e1");
    house.upstream.answer(&path, Answer::after_body(|_, conversation| !conversation.ends_within(PATIENCE)));
    let mut client = house.gateway.connect();
    client.send(Request::get(&path).key(&key).end());
    let connection = house.upstream.wait_for(&path).connection;
    house.run(&["key", "deactivate", &key.access_key]);
    wait_for(SEEN_WITHIN, "the request ends at the upstream", || !house.upstream.is_open(connection));
    match client.try_read(false, PATIENCE) {
        Ok(answer) => answer.assert_refused(401),
        Err(error) => assert!(matches!(error, NoAnswer::Closed(_)), "{error:?}"),
    }
}

// --- the wall clock ---

/// A house whose gateway reads a clock that the test sets, with all that a wrong clock could end.
struct Clockwork {
    // before the house: they end while the gateway can still be asked why
    stream: Listening,
    kept: Client,
    key: Key,
    clock: WallClock,
    house: House,
}

impl Clockwork {
    #[track_caller]
    fn start() -> Self {
        let upstream = Upstream::start();
        let site = Plan::new(&upstream).top("log: { format: json, access: stdout }").prepare();
        site.create_environment("e1");
        let key = site.create_environment_key("e1");
        let clock = WallClock::in_directory(site.directory());
        let house = House { gateway: site.environment(clock.environment()).start(), upstream };
        let stream = Listening::to(&house, &Endless::default(), path_in("e1"), &key);
        let kept = house.gateway.connect();
        Self { stream, kept, key, clock, house }
    }

    /// Sets the clock, and sees that the gateway reads it: the rest proves something only then.
    #[track_caller]
    fn jump(&self, ahead: SignedDuration) {
        self.clock.set_ahead(ahead);
        assert_ahead(&self.house, &self.key, ahead);
    }

    /// Fails where anything ends, is refused or takes longer than with a clock that is right.
    #[track_caller]
    fn goes_on(&mut self) {
        let Self { stream, kept, key, house, .. } = self;
        // long enough for every timer of the gateway to look at its clock
        let since = Instant::now();
        while since.elapsed() < SEEN_WITHIN {
            stream.goes_on();
            kept.send(Request::get(IN_E1).key(key).end());
            assert_eq!(kept.read().status, 200);
            assert_eq!(house.status(IN_E1, key), 200);
        }
        assert_eq!(house.status(IN_E1, &key.with_wrong_secret()), 401);
        let mut management = Client::connect(house.gateway.management());
        management.send(Request::get("/readyz").end());
        assert_eq!(management.read().status, 200, "the gateway is ready");
        // the command's clock is right: the two disagree on when this key was made
        let new = house.gateway.create_environment_key("e1");
        house.soon(IN_E1, &new, 200);
        house.run(&["key", "deactivate", &new.access_key]);
        house.soon(IN_E1, &new, 401);
        assert_eq!(house.status(IN_E1, &house.gateway.admin), 200);
    }
}

/// The gateway looks at the time of day ten times a second.
#[track_caller]
fn assert_ahead(house: &House, key: &Key, ahead: SignedDuration) {
    wait_for(PATIENCE, "the gateway's clock to be off as it was set, by libfaketime", || {
        let off = house.time(key).duration_since(Timestamp::now()) - ahead;
        off.abs() < SignedDuration::from_secs(30)
    });
}

#[test]
fn case_77_a_jumping_wall_clock_ends_nothing() {
    let mut clockwork = Clockwork::start();
    let hour = SignedDuration::from_hours(1);
    // there, two hours back, and a second back as at a leap second
    for ahead in [hour, -hour, -hour - SignedDuration::from_secs(1)] {
        clockwork.jump(ahead);
        clockwork.goes_on();
    }
    // a request that waits while the clock jumps past every time limit
    let house = &clockwork.house;
    let path = path_in("e1");
    let jumped = Arc::new(AtomicBool::new(false));
    let may_answer = Arc::clone(&jumped);
    let late = Answer::after_body(move |_, conversation| {
        while !may_answer.load(Ordering::Acquire) {
            if conversation.ends_within(Duration::from_millis(5)) {
                return false;
            }
        }
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
    });
    house.upstream.answer(&path, late);
    let mut waiting = house.gateway.connect();
    waiting.send(Request::get(&path).key(&clockwork.key).end());
    house.upstream.wait_for(&path);
    clockwork.jump(hour * 24);
    clockwork.goes_on();
    jumped.store(true, Ordering::Release);
    assert_eq!(waiting.read().status, 200);
}

#[test]
fn case_77_summer_time_ends_nothing() {
    let mut clockwork = Clockwork::start();
    for change in ["2030-03-31T01:00:00Z", "2030-10-27T01:00:00Z"] {
        let change: Timestamp = change.parse().expect("a time");
        clockwork.clock.set(change - SignedDuration::from_millis(300));
        clockwork.goes_on();
        let after = clockwork.house.time(&clockwork.key).duration_since(change);
        let within = SignedDuration::ZERO..SignedDuration::from_mins(1);
        assert!(within.contains(&after), "{after} after the change: no libfaketime?");
    }
}

#[test]
fn case_77_a_gateway_started_with_a_wrong_clock_knows_its_keys() {
    let Clockwork { clock, key, mut house, .. } = Clockwork::start();
    for days in [-365, 365] {
        let (site, _) = house.gateway.stop();
        let ahead = SignedDuration::from_hours(days * 24);
        clock.set_ahead(ahead);
        house = House { gateway: site.start(), upstream: house.upstream };
        assert_ahead(&house, &key, ahead);
        assert_eq!(house.status(IN_E1, &key.with_wrong_secret()), 401);
        assert_eq!(house.status(IN_E1, &house.gateway.admin), 200);
    }
}

// --- who guesses ---

const THROTTLE: &str = "throttle: { failures: 10, window: 60s, block: 60s }";

#[test]
fn case_79_guessing_a_secret_throttles_the_guesser_and_nobody_else() {
    let house = House::with(THROTTLE);
    let key = house.gateway.create_environment_key("e1");
    house.soon(IN_E1, &key, 200);
    for _ in 0..10 {
        let source = fresh_source();
        let mut throttled = 0;
        for guess in 0..100 {
            let mut client = Client::connect_from(source, house.gateway.http());
            client.send(
                Request::get(IN_E1)
                    .header("Authorization", basic(&key.access_key, minted_secret(guess)))
                    .end(),
            );
            let answer = client.read();
            if answer.status == 429 {
                throttled += 1;
                answer.assert_refused(429);
                let seconds = answer.header("Retry-After").and_then(|text| text.parse::<u64>().ok());
                assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{answer:?}");
            } else {
                answer.assert_refused(401);
                assert!(guess < 10, "the guess {guess} was not throttled");
            }
        }
        assert!(throttled >= 90, "{throttled} of 100 were throttled");
        // the right secret is never refused: not elsewhere, and not from here
        assert_eq!(house.status(IN_E1, &key), 200);
        let mut client = Client::connect_from(source, house.gateway.http());
        client.send(Request::get(IN_E1).key(&key).end());
        assert_eq!(client.read().status, 200);
        // a request without credentials has guessed nothing
        client.send(Request::get(IN_E1).end());
        assert_eq!(client.read().status, 401);
    }
}

#[test]
fn case_80_spraying_one_secret_over_many_keys_is_throttled_by_source() {
    let house = House::with(THROTTLE);
    let key = house.gateway.create_environment_key("e1");
    house.soon(IN_E1, &key, 200);
    let secret = minted_secret(80);
    let source = fresh_source();
    let mut statuses = Vec::new();
    for number in 0..60 {
        let mut client = Client::connect_from(source, house.gateway.http());
        let user = format!("pce_{number:020}");
        client.send(Request::get(IN_E1).header("Authorization", basic(user, &secret)).end());
        statuses.push(client.read().status);
    }
    assert_eq!(statuses[..9], [401; 9], "{statuses:?}");
    assert_eq!(statuses[12..], [429; 48], "{statuses:?}");
    assert_eq!(house.status(IN_E1, &key.with_wrong_secret()), 401, "another source has its own count");
    let resident = house.gateway.resident_bytes();
    // many sources with a failure each: the table of sources is bounded
    for number in 0..3_000 {
        let wrong = basic(format!("pce_{number:020}"), &secret);
        house.gateway.exchange(Request::get(IN_E1).header("Authorization", wrong).end());
    }
    let grown = house.gateway.resident_bytes().saturating_sub(resident);
    assert!(grown < 16 << 20, "3,000 sources took {grown} bytes");
}
