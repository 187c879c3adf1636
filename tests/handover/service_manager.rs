//! Under systemd: what it is told, and a restart that refuses nobody because systemd keeps the sockets.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use crate::load::{Load, TARGET};
use crate::support::cli::Key;
use crate::support::gateway::{Plan, Site};
use crate::support::http1::{Client, Request};
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, wait_for};
use crate::{StopAtEnd, known_address, set_management_address};

/// A program that plays systemd's part, and the gateway that it runs.
struct Systemd {
    manager: Child,
    lines: Receiver<String>,
    site: Site,
    http: SocketAddr,
    key: Key,
}

impl Systemd {
    fn start(upstream: &Upstream, port: u16, top: &str) -> Self {
        let (http, management) = (known_address(port), known_address(port + 1));
        let plan = Plan::new(upstream)
            .listeners(&format!("  - address: {http}\n  - address: \"unix:http.sock\"\n"))
            .top(top);
        let site = plan.prepare();
        set_management_address(&site, management);
        site.create_environment("e1");
        let key = site.create_environment_key("e1");
        let mut manager = Command::new("/usr/bin/python3")
            .arg("tests/programs/service_manager.py")
            .arg(site.directory().join("notify"))
            .args([env!("CARGO_BIN_EXE_portcullis"), "serve", "--config"])
            .arg(site.config())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let output = BufReader::new(manager.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        let systemd = Self { manager, lines, site, http, key };
        systemd.sees("told READY=1");
        systemd
    }

    /// Waits for a line, and gives those that came before it.
    #[track_caller]
    fn sees(&self, wanted: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(wanted) => return before,
                Ok(line) => before.push(line),
                Err(error) => panic!("no '{wanted}' came ({error}), but {before:?}"),
            }
        }
    }

    fn command(&mut self, line: &str) {
        writeln!(self.manager.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn status(&self) -> u16 {
        let mut client = Client::connect(self.http);
        client.send(Request::get(TARGET).key(&self.key).end());
        client.read().status
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.command("stop");
        self.manager.wait().ok();
    }
}

#[test]
fn a_restart_refuses_nobody_because_the_sockets_are_kept() {
    let upstream = Upstream::start();
    let mut systemd = Systemd::start(&upstream, 8131, "drain_timeout: 1s");
    let load = Load::default();
    let (http, key) = (systemd.http, systemd.key.clone());
    let socket = systemd.site.directory().join("http.sock");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| load.new_connections(http, &key));
            scope.spawn(|| load.new_unix_connections(&socket, &key));
        }
        let stop = StopAtEnd(&load);
        for _ in 0..3 {
            systemd.command("restart");
            systemd.sees("ended 0");
            systemd.sees("told STOPPING=1");
            systemd.sees("told READY=1");
            let more = load.answered.load(Ordering::Relaxed) + 20;
            wait_for(PATIENCE, "requests pass again", || load.answered.load(Ordering::Relaxed) > more);
        }
        drop(stop);
    });
    load.assert_whole();
}

#[test]
fn systemd_is_told_of_reloads_upgrades_and_that_the_gateway_works() {
    let upstream = Upstream::start();
    let mut systemd = Systemd::start(&upstream, 8133, "drain_timeout: 1s");
    systemd.sees("alive");
    systemd.sees("alive");
    systemd.site.succeed(&["reload"]);
    systemd.sees("told RELOADING=1");
    systemd.sees("told READY=1");
    // a refused one has ended too, and the command says so: it is what the unit calls
    let config = std::fs::read_to_string(systemd.site.config()).unwrap();
    std::fs::write(systemd.site.config(), config.replace("workers: 2", "workers: 3")).unwrap();
    assert_eq!(systemd.site.run(&["reload"]).code, 1);
    systemd.sees("told RELOADING=1");
    systemd.sees("told READY=1");
    let told = systemd.site.succeed(&["upgrade"]).stdout;
    let pid = told.split_whitespace().find_map(|word| word.parse::<u32>().ok()).unwrap();
    systemd.sees(&format!("told MAINPID={pid}"));
    // the new process is the service: it stores the socket of its third worker, and is watched
    systemd.sees("told FDSTORE=1 FDNAME=listen-");
    systemd.sees("told READY=1");
    systemd.sees("alive");
    assert_eq!(systemd.status(), 200);
    // it is stopped in order, too
    systemd.command("restart");
    systemd.sees("ended 0");
    systemd.sees("told READY=1");
    assert_eq!(systemd.status(), 200);
}

#[test]
fn a_listener_that_moves_or_goes_leaves_no_socket_behind() {
    let upstream = Upstream::start();
    let mut systemd = Systemd::start(&upstream, 8143, "drain_timeout: 1s");
    let [one, all] = [known_address(8145), SocketAddr::from(([0; 4], 8145))];
    let extra = |address: SocketAddr| format!("listeners:\n  - address: {address}\n");
    let config = systemd.site.config().to_owned();
    let without = std::fs::read_to_string(&config).unwrap();
    let [with_one, with_all] = [one, all].map(|address| without.replacen("listeners:\n", &extra(address), 1));
    for is_upgrade in [true, false] {
        for text in [&with_one, &with_all, &with_one, &without] {
            std::fs::write(&config, text).unwrap();
            if is_upgrade {
                systemd.site.succeed(&["upgrade"]);
            } else {
                systemd.command("restart");
                systemd.sees("ended 0");
            }
            systemd.sees("told READY=1");
            if *text != without {
                // the process of before may still close its own
                wait_for(PATIENCE, "it is served", || status_at(one) == Some(401));
            }
        }
        // a connection that is not refused would wait for ever
        wait_for(PATIENCE, "it is refused", || TcpStream::connect(one).is_err());
    }
    assert_eq!(systemd.status(), 200);
}

fn status_at(address: SocketAddr) -> Option<u16> {
    let mut client = Client::over(TcpStream::connect(address).ok()?);
    client.send(Request::get(TARGET).end());
    Some(client.try_read(false, PATIENCE).ok()?.status)
}
