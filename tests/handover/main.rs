//! Another process takes over without a gap: no connection is refused, no request is lost, and what cannot start leaves
//! everything as it was.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

#[path = "../support/mod.rs"]
mod support;

mod load;
mod service_manager;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use load::{Load, TARGET};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use support::api::Api;
use support::certificates::Authority;
use support::cli::{Key, Outcome};
use support::gateway::{Gateway, Plan, Site};
use support::http1::{Client, Request};
use support::postgres::Postgres;
use support::raw_upstream::{self, RawUpstream};
use support::tls::{believing, handshake};
use support::upstream::{Answer, Conversation, Recorded, Upstream};
use support::{PATIENCE, marker, stays, wait_for};

/// A gateway whose process is followed by others.
struct Service {
    // first, so that the processes end before what they use
    gateway: Gateway,
    /// The processes that took over, the last one last.
    pids: Vec<u32>,
    key: Key,
    /// The program: a link, as a package's is.
    program: PathBuf,
}

impl Service {
    fn start(site: Site) -> Self {
        site.create_environment("e1");
        let key = site.create_environment_key("e1");
        let program = site.directory().join("program");
        symlink(env!("CARGO_BIN_EXE_portcullis"), &program).unwrap();
        // called by that name; the wrapper lives as long as the test does
        let script: &str = format!("exec -a '{}' \"$0\" \"$@\"", program.display()).leak();
        let wrapper = vec!["bash", "-c", script].leak();
        Self { gateway: site.started_by(wrapper).start(), pids: Vec::new(), key, program }
    }

    fn upgrade(&self) -> Outcome {
        self.gateway.run(&["upgrade"])
    }

    /// Hands over, by the command, and waits until it has been said that another process has taken over.
    #[track_caller]
    fn succeed(&mut self) {
        let outcome = self.upgrade();
        assert_eq!(outcome.code, 0, "{outcome:?}\n{}", self.gateway.log());
        let pid = outcome.stdout.split_whitespace().find_map(|word| word.parse().ok());
        self.pids.push(pid.unwrap_or_else(|| panic!("no process: {outcome:?}")));
    }

    /// How many processes have said that they are ready, the first one too.
    fn ready_count(&self) -> usize {
        self.gateway.log().matches("serve: ready\n").count()
    }

    #[track_caller]
    fn works(&self) {
        assert_eq!(self.gateway.exchange(Request::get(TARGET).key(&self.key).end()).status, 200);
        assert_eq!(Client::connect(self.gateway.management()).read_from("/healthz"), 200);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for pid in &self.pids {
            // those before the last have ended by themselves
            drop(std::process::Command::new("kill").arg(pid.to_string()).output());
        }
        for pid in &self.pids {
            wait_for(PATIENCE, "a process that took over has ended", || !is_running(*pid));
        }
    }
}

fn is_running(pid: u32) -> bool {
    // one that nobody waits for stays as a zombie, where process 1 does not
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn child_of(parent: u32) -> Option<u32> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // behind the name, which may hold anything: state, parent
        let parent_of = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        parent_of == Some(&parent.to_string())
    })
}

/// An address that no other process has: tests that run at once are different processes.
fn known_address(port: u16) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 119, high, low], port))
}

/// Has the configuration name the address of the management listener.
fn set_management_address(site: &Site, management: SocketAddr) {
    let text = fs::read_to_string(site.config()).unwrap();
    let changed =
        text.replace("management:\n  address: 127.0.0.1:0", &format!("management:\n  address: {management}"));
    assert_ne!(text, changed);
    fs::write(site.config(), changed).unwrap();
}

trait ReadFrom {
    fn read_from(self, path: &str) -> u16;
}

impl ReadFrom for Client {
    fn read_from(mut self, path: &str) -> u16 {
        self.send(Request::get(path).end());
        self.read().status
    }
}

/// Sends back what it receives, until the other side ends.
fn echo(_: &Recorded, conversation: &mut Conversation) -> bool {
    conversation
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .ok();
    while let Ok(bytes) = conversation.receive() {
        if bytes.is_empty() || conversation.send(&bytes).is_err() {
            break;
        }
    }
    false
}

fn ten_upgrades_under_load(upstream: &Upstream, site: Site) {
    let mut service = Service::start(site);
    upstream.answer("/v1/projects/e1/tunnel", Answer::after_head(echo));
    let (http, https, key) = (service.gateway.http(), service.gateway.https(), service.key.clone());
    let load = Load::default();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| load.new_connections(http, &key));
            scope.spawn(|| load.kept_connection(http, &key, Duration::ZERO));
        }
        // idle for most of the time: a request may be on its way when the process is told to end
        scope.spawn(|| load.kept_connection(http, &key, Duration::from_millis(7)));
        scope.spawn(|| load.http2(https, &key));
        let stop = StopAtEnd(&load);
        for round in 0..10 {
            let mut tunnel = service.gateway.connect();
            let request = Request::get("/v1/projects/e1/tunnel").key(&key);
            tunnel.send(request.header("Connection", "Upgrade").header("Upgrade", "websocket").end());
            assert_eq!(tunnel.read().status, 101);
            let mut upload = service.gateway.connect();
            let head = Request::new("POST", TARGET).key(&key).header("Transfer-Encoding", "chunked");
            upload.send(head.end());
            upload.send("3\r\nabc\r\n");
            let deactivated = service.gateway.create_environment_key("e1");
            let before = load.answered.load(Ordering::Relaxed);

            service.succeed();
            // both go on where they are
            tunnel.send("still here");
            assert_eq!(tunnel.take(10, PATIENCE).expect("the tunnel goes on"), b"still here");
            upload.send("3\r\ndef\r\n0\r\n\r\n");
            let uploaded = upload.read();
            assert_eq!(uploaded.status, 200, "round {round}: {uploaded:?}");
            // while both processes run, a receipt is about both
            let told = service.gateway.succeed(&["key", "deactivate", &deactivated.id]).stdout;
            assert!(told.contains("in force on "), "{told}");
            for _ in 0..4 {
                let refused = service.gateway.exchange(Request::get(TARGET).key(&deactivated).end());
                assert_eq!(refused.status, 401);
            }
            let more = before + 50;
            wait_for(PATIENCE, "the load goes on", || load.answered.load(Ordering::Relaxed) > more);
        }
        drop(stop);
    });
    load.assert_whole();
    assert!(load.ended.load(Ordering::Relaxed) >= 10, "kept connections move to the new process: {load:?}");
    service.works();
    let first = service.gateway.wait_for_exit(4 * PATIENCE);
    assert_eq!(first, Some(0), "the first process ends well");
    assert!(!service.gateway.log().contains("ERROR"), "{}", service.gateway.log());
}

/// Ends the load even where the test fails.
struct StopAtEnd<'a>(&'a Load);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[test]
fn a_unix_socket_is_handed_over_without_losing_a_request() {
    let upstream = Upstream::start();
    let listeners = "  - address: 127.0.0.1:0\n  - address: \"unix:http.sock\"\n";
    let site = Plan::new(&upstream).listeners(listeners).top("drain_timeout: 1s").prepare();
    let mut service = Service::start(site);
    let (socket, key) = (service.gateway.directory().join("http.sock"), service.key.clone());
    let load = Load::default();
    let inode = || fs::metadata(&socket).unwrap().ino();
    let before = inode();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| load.new_unix_connections(&socket, &key));
        }
        let stop = StopAtEnd(&load);
        for _ in 0..3 {
            let more = load.answered.load(Ordering::Relaxed) + 50;
            service.succeed();
            wait_for(PATIENCE, "the load goes on", || load.answered.load(Ordering::Relaxed) > more);
        }
        assert_eq!(service.gateway.wait_for_exit(4 * PATIENCE), Some(0), "the first process ends well");
        let more = load.answered.load(Ordering::Relaxed) + 50;
        wait_for(PATIENCE, "the load goes on", || load.answered.load(Ordering::Relaxed) > more);
        drop(stop);
    });
    load.assert_whole();
    assert_eq!(inode(), before);
    // one that takes over without it
    let config = service.gateway.config().to_owned();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("  - address: \"unix:http.sock\"\n", "  - address: \"unix:other.sock\"\n"),
    )
    .unwrap();
    service.succeed();
    wait_for(PATIENCE, "it is removed", || !socket.exists());
    let other = service.gateway.directory().join("other.sock");
    assert!(other.exists());
    // at the end the last one removes what it listens at
    drop(std::process::Command::new("kill").arg(service.pids.last().unwrap().to_string()).output());
    wait_for(PATIENCE, "it is removed", || !other.exists());
}

#[test]
fn the_file_of_another_program_in_the_place_of_a_unix_socket_is_left_alone() {
    let upstream = Upstream::start();
    let listeners = "  - address: 127.0.0.1:0\n  - address: \"unix:http.sock\"\n";
    let mut service = Service::start(Plan::new(&upstream).listeners(listeners).prepare());
    let socket = service.gateway.directory().join("http.sock");
    service.succeed();
    fs::remove_file(&socket).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let refused = service.upgrade();
    assert!(refused.code == 1 && refused.stderr.contains("http.sock is in use"), "{refused:?}");
    service.works();
    assert_eq!(service.gateway.wait_for_exit(4 * PATIENCE), Some(0));
    drop(std::process::Command::new("kill").arg(service.pids.last().unwrap().to_string()).output());
    wait_for(PATIENCE, "it ends", || !is_running(*service.pids.last().unwrap()));
    assert!(socket.exists());
}

#[test]
fn ten_upgrades_under_load_lose_nothing_with_an_embedded_store() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).top("drain_timeout: 5s").prepare();
    ten_upgrades_under_load(&upstream, site);
}

#[test]
fn ten_upgrades_under_load_lose_nothing_with_postgresql() {
    let server = Postgres::start();
    let upstream = Upstream::start();
    let plan = Plan::new(&upstream).postgres(&server.url(&server.create_database()), "one", "60s");
    ten_upgrades_under_load(&upstream, plan.top("drain_timeout: 5s").prepare());
}

#[test]
fn what_does_not_start_leaves_the_gateway_as_it_was() {
    let upstream = Upstream::start();
    let mut service = Service::start(Plan::new(&upstream).prepare());
    let config = service.gateway.config().to_owned();
    let right = fs::read_to_string(&config).unwrap();
    // what only the start finds
    let taken = std::net::TcpListener::bind(known_address(8135)).unwrap();
    let address = taken.local_addr().unwrap();
    fs::write(&config, right.replace("listeners:\n", &format!("listeners:\n  - address: {address}\n")))
        .unwrap();
    let refused = service.upgrade();
    let says_why =
        refused.stderr.contains("the new process does not start") && refused.stderr.contains("is in use");
    assert!(refused.code == 1 && says_why, "{refused:?}");
    service.works();
    // every mistake, as the new process finds them
    fs::write(&config, right.replace("listeners:\n", "workers: some\nlisteners:\n  - port: 80\n")).unwrap();
    for command in ["upgrade", "reload"] {
        let refused = service.gateway.run(&[command]);
        let says_why = refused.stderr.contains("workers: expected") && refused.stderr.contains("'port'");
        assert!(refused.code == 1 && says_why, "{refused:?}");
        // nothing of it is needed to find the gateway
        assert_eq!(service.gateway.run(&["health"]).code, 0);
    }
    service.works();
    // by signal, too; the configuration cannot be read at all
    fs::write(&config, "{").unwrap();
    let ended = || service.gateway.log().matches("no other process takes over").count();
    service.gateway.signal("USR2");
    wait_for(PATIENCE, "it is said that nothing has come of it", || ended() == 3);
    fs::write(&config, &right).unwrap();
    service.works();
    // a program that hangs is waited for, and one that is missing is not
    let swap = |script: Option<&str>| {
        fs::remove_file(&service.program).ok();
        if let Some(script) = script {
            fs::write(&service.program, script).unwrap();
            fs::set_permissions(&service.program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
        }
    };
    swap(None);
    let refused = service.upgrade();
    assert!(refused.code == 1 && refused.stderr.contains("cannot be started"), "{refused:?}");
    swap(Some("#!/bin/sh\nexec sleep 600\n"));
    service.gateway.signal("USR2");
    wait_for(PATIENCE, "the new process is started", || {
        service.gateway.log().matches("starting the process").count() == 5
    });
    let refused = service.upgrade();
    assert!(refused.code == 1 && refused.stderr.contains("under way already"), "{refused:?}");
    service.works();
    assert_eq!(service.ready_count(), 1);
    assert_eq!(service.gateway.run(&["health"]).code, 0);
    // told to stop, it takes the one that hangs with it
    let sleeper = child_of(service.gateway.pid()).expect("the new process waits");
    service.gateway.signal("TERM");
    assert_eq!(service.gateway.wait_for_exit(PATIENCE), Some(0));
    assert!(!is_running(sleeper));
    for command in ["health", "reload", "upgrade"] {
        let refused = service.gateway.run(&[command]);
        assert!(refused.code == 1 && refused.stderr.contains("no gateway runs with this"), "{refused:?}");
    }
}

#[test]
fn commands_to_a_running_gateway_do_not_need_its_environment() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare().environment([("PUBLIC_URL", "http://api.test".to_owned())]);
    let mut service = Service::start(site);
    let config = service.gateway.config().to_owned();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("public_url: ${{PUBLIC_URL}}\n{text}")).unwrap();
    let other = service.gateway.run(&["key", "list"]);
    assert!(other.code == 1 && other.stderr.contains("PUBLIC_URL is not set"), "{other:?}");
    for command in ["health", "reload"] {
        service.gateway.succeed(&[command]);
    }
    service.succeed();
    service.works();
    // but for the store's own path
    fs::write(&config, text.replace("sqlite: ", "sqlite: ${STORE_FOLDER}/")).unwrap();
    let lost = service.gateway.run(&["health"]);
    assert!(lost.code == 1 && lost.stderr.contains("STORE_FOLDER is not set"), "{lost:?}");
}

#[test]
fn what_a_reload_cannot_change_an_upgrade_can() {
    let upstream = Upstream::start();
    let mut service = Service::start(Plan::new(&upstream).prepare());
    let config = service.gateway.config().to_owned();
    let change = |from: &str, to: &str| {
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&config, text.replace(from, to)).unwrap();
    };
    let http = service.gateway.http();
    assert_eq!(service.gateway.succeed(&["health"]).stdout, "the gateway decides about keys\n");
    let told = service.gateway.succeed(&["reload"]).stdout;
    assert_eq!(told, "the configuration is reloaded\n");
    let extra = known_address(8136);
    change("listeners:\n", &format!("listeners:\n  - address: {extra}\n"));
    for workers in [1, 3] {
        change(if workers == 1 { "workers: 2" } else { "workers: 1" }, &format!("workers: {workers}"));
        let refused = service.gateway.run(&["reload"]);
        assert!(refused.code == 1 && refused.stderr.contains("`portcullis upgrade`"), "{refused:?}");
        service.succeed();
        // wherever a connection lands, somebody takes it
        for _ in 0..30 {
            for address in [http, extra] {
                let mut client = Client::connect(address);
                client.send(Request::get(TARGET).key(&service.key).end());
                assert_eq!(client.read().status, 200, "{workers} workers");
            }
        }
    }
    // and one that is gone
    change(&format!("  - address: {extra}\n"), "");
    service.succeed();
    wait_for(PATIENCE, "the former listener is closed", || std::net::TcpStream::connect(extra).is_err());
    service.works();
}

#[test]
fn what_the_former_process_still_does_outlasts_the_stop_of_the_service() {
    let upstream = Upstream::start();
    let (finish, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let answer = Answer::after_body(move |_, conversation| {
        told.lock().unwrap().recv_timeout(PATIENCE).ok();
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    upstream.answer("/v1/projects/e1/held", answer);
    let mut service = Service::start(Plan::new(&upstream).prepare());
    let mut client = service.gateway.connect();
    let mark = marker();
    client.send(Request::get("/v1/projects/e1/held").key(&service.key).mark(&mark).end());
    upstream.wait_for(&mark);
    let mut management = Client::connect(service.gateway.management());
    let mut is_last_answer = || {
        management.send(Request::get("/readyz").end());
        let answer = management.read();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("Connection").is_some_and(|text| text == "close")
    };
    assert!(!is_last_answer());
    service.succeed();
    wait_for(PATIENCE, "the management connection ends as others do", &mut is_last_answer);
    // systemd tells every process of the service, and once more when its main process has ended
    for _ in 0..2 {
        service.gateway.signal("TERM");
        stays(Duration::from_millis(300), "it goes on", || is_running(service.gateway.pid()));
    }
    finish.send(()).unwrap();
    assert_eq!(client.read().status, 200);
    assert_eq!(service.gateway.wait_for_exit(PATIENCE), Some(0));
}

#[test]
fn a_process_that_took_over_takes_over_renewed_certificates_too() {
    let upstream = Upstream::start();
    let mut service = Service::start(Plan::new(&upstream).prepare());
    service.succeed();
    let folder = service.gateway.directory().join("certs");
    let renewed = Authority::new(&folder).sign(&["renewed.test"]);
    fs::rename(&renewed.certificate, folder.join("gateway.pem")).unwrap();
    fs::rename(&renewed.key, folder.join("gateway.key")).unwrap();
    let expected = CertificateDer::from_pem_file(folder.join("gateway.pem")).unwrap();
    wait_for(PATIENCE, "the new certificate is shown", || {
        let stream = handshake(service.gateway.https(), "renewed.test", believing(&[])).expect("a handshake");
        stream.conn.peer_certificates().unwrap()[0] == expected
    });
}

#[test]
fn a_process_that_takes_over_knows_which_endpoints_are_ill() {
    let upstream = Upstream::start();
    let lost = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lost);
    let hanging = RawUpstream::start(move |_, mut reader| {
        if raw_upstream::head(&mut reader)?[0].contains(TARGET) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        raw_upstream::skip(&mut reader, 1)
    });
    let entry = format!(
        "  api: {{ endpoints: [\"http://{}\", \"http://{}\"], health: {{ path: /health, timeout: 200ms }} }}\n",
        upstream.address(),
        hanging.address()
    );
    let plan = Plan::new(&upstream).upstreams(&entry).top("timeouts: { upstream_response: 400ms }");
    let mut service = Service::start(plan.prepare());
    service.succeed();
    for _ in 0..10 {
        service.works();
    }
    assert_eq!(lost.load(Ordering::SeqCst), 0, "requests at the endpoint that hangs");
}

#[test]
fn the_management_port_is_free_while_streams_still_run() {
    let upstream = Upstream::start();
    upstream.answer("/v1/projects/e1/tunnel", Answer::after_head(echo));
    let (http, management) = (known_address(8137), known_address(8138));
    let plan = Plan::new(&upstream).listeners(&format!("  - address: {http}\n")).top("drain_timeout: 20s");
    let site = plan.prepare();
    set_management_address(&site, management);
    site.create_environment("e1");
    let key = site.create_environment_key("e1");
    let mut first = site.start();
    let mut tunnel = first.connect();
    let request = Request::get("/v1/projects/e1/tunnel").key(&key);
    tunnel.send(request.header("Connection", "Upgrade").header("Upgrade", "websocket").end());
    assert_eq!(tunnel.read().status, 101);
    first.signal("TERM");
    wait_for(PATIENCE, "the ports are free", || {
        [http, management].iter().all(|address| std::net::TcpStream::connect(address).is_err())
    });
    // a second process starts on the same store and the same ports
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["serve", "--config"])
        .arg(first.config())
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let second = KilledAtEnd(second);
    wait_for(PATIENCE, "the second process serves", || {
        std::net::TcpStream::connect(management).is_ok() && std::net::TcpStream::connect(http).is_ok()
    });
    tunnel.send("still here");
    assert_eq!(tunnel.take(10, PATIENCE).expect("the stream of the first one goes on"), b"still here");
    assert_eq!(Api::admin(&first).get("/v2-beta/apikeys").status, 200, "served by the second one");
    drop(tunnel);
    assert_eq!(first.wait_for_exit(PATIENCE), Some(0));
    assert_eq!(first.run(&["health"]).code, 0, "asked of the second one");
    stays(Duration::from_millis(200), "the second one goes on", || is_running(second.0.id()));
}

struct KilledAtEnd(std::process::Child);

impl Drop for KilledAtEnd {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_listener_keeps_the_proxy_protocol() {
    let upstream = Upstream::start();
    let balancer = [127, 3, 3, 254];
    let listener = "  - address: 127.0.0.1:0\n    proxy_protocol: { from: [127.3.3.254] }\n";
    let mut service = Service::start(Plan::new(&upstream).listeners(listener).prepare());
    for round in 0..3 {
        let mut client = Client::connect_from(balancer.into(), service.gateway.http());
        client.send("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n");
        let mark = format!("round-{round}");
        client.send(Request::get(TARGET).key(&service.key).mark(&mark).end());
        assert_eq!(client.read().status, 200, "round {round}");
        assert_eq!(upstream.only(&mark).header("X-Forwarded-For").as_deref(), Some("192.0.2.7"));
        service.succeed();
    }
}
