//! Clients that come by Unix sockets.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::api::Api;
use crate::support::cli::Key;
use crate::support::gateway::Plan;
use crate::support::http1::Request;
use crate::support::stage::Stage;
use crate::support::upstream::{Recorded, Upstream};
use crate::support::{PATIENCE, marker, wait_for};

const PATH: &str = "/v1/projects/e1/x";
const SOCKET: &str = "  - address: \"unix:http.sock\"\n";

/// A gateway with a port and a socket, that has these settings too.
fn stage(settings: &str, top: &str) -> Stage {
    let listeners = format!("  - address: 127.0.0.1:0\n{SOCKET}{settings}");
    Stage::with(|plan| plan.listeners(&listeners).top(top))
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("http.sock")
}

/// The status of what answers these bytes, after which the connection ends; 0: nothing does.
fn status_of(socket: &Path, bytes: &[u8]) -> u16 {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

fn ask(socket: &Path, request: Request) -> u16 {
    status_of(socket, &request.header("Connection", "close").end())
}

/// What the upstream sees of a request that passes, behind these bytes.
#[track_caller]
fn passes(stage: &Stage, before: &[u8], change: impl FnOnce(Request) -> Request) -> Recorded {
    let mark = marker();
    let request = change(stage.request("GET", PATH)).mark(&mark).header("Connection", "close").end();
    assert_eq!(status_of(&socket(stage.gateway.directory()), &[before, &request].concat()), 200);
    stage.upstream.only(&mark)
}

#[track_caller]
fn curl(socket: &Path, url: &str, key: Option<&Key>) -> String {
    let mut command = Command::new("curl");
    command.args(["-sk", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--unix-socket"]);
    command.arg(socket).arg(format!("{url}{PATH}"));
    if let Some(key) = key {
        command.args(["-u", &format!("{}:{}", key.access_key, key.secret)]);
    }
    let outcome = command.output().unwrap();
    assert!(outcome.status.success(), "{outcome:?}");
    String::from_utf8(outcome.stdout).unwrap()
}

#[test]
fn clients_are_served_as_they_are_by_tcp() {
    let stage = stage("", "");
    let socket = socket(stage.gateway.directory());
    assert_eq!(curl(&socket, "http://localhost", Some(&stage.e1)), "1.1 200");
    assert_eq!(curl(&socket, "http://localhost", None), "1.1 401");
    assert_eq!(curl(&socket, "http://localhost", Some(&stage.e2)), "1.1 403");
    let seen = passes(&stage, b"", |request| request.header("X-Forwarded-For", "192.0.2.7"));
    assert_eq!(seen.header("X-Forwarded-For").as_deref(), Some("127.0.0.1"));
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let name = format!("unix:{}", socket.display());
    assert!(stage.gateway.log().contains(&format!("listening on {name}\n")), "{}", stage.gateway.log());
    let count = format!("portcullis_listener_connections_accepted_total{{listener=\"{name}\"}} 4");
    assert!(stage.gateway.metrics().contains(&count), "{}", stage.gateway.metrics());
    let text = stage.gateway.succeed(&["check"]).stdout;
    assert!(text.contains(&format!("\n  {name}  http\n")), "{text}");
    wait_for(PATIENCE, "the access log has the address", || stage.gateway.stdout().contains("127.0.0.1"));
}

#[test]
fn tls_is_spoken_there_too() {
    let stage = stage(
        "    tls: { certificates: [ { certificate: certs/gateway.pem, key: certs/gateway.key } ] }\n",
        "",
    );
    let socket = socket(stage.gateway.directory());
    assert_eq!(curl(&socket, "https://localhost", Some(&stage.e1)), "2 200");
    assert_eq!(curl(&socket, "https://localhost", None), "2 401");
    assert!(stage.gateway.log().contains("http.sock (tls)\n"), "{}", stage.gateway.log());
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let stage = stage("    proxy_protocol: { from: [unix] }\n", "trusted_proxies: [192.0.2.8]");
    let reported = |request: Request| request.header("X-Forwarded-For", "198.51.100.9");
    let seen = passes(&stage, b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n", reported);
    assert_eq!(seen.header("X-Forwarded-For").as_deref(), Some("192.0.2.7"));
    // the address that is named counts for `trusted_proxies` too
    let seen = passes(&stage, b"PROXY TCP4 192.0.2.8 198.51.100.1 1 2\r\n", reported);
    assert_eq!(seen.header("X-Forwarded-For").as_deref(), Some("198.51.100.9, 192.0.2.8"));
    let seen = passes(&stage, b"PROXY UNKNOWN\r\n", reported);
    assert_eq!(seen.header("X-Forwarded-For").as_deref(), Some("127.0.0.1"));
    // required
    assert_eq!(ask(&socket(stage.gateway.directory()), stage.request("GET", PATH)), 0);
    assert_eq!(stage.gateway.metric("portcullis_proxy_protocol_failures_total"), 1);
    // and refused where it is not
    let plain = self::stage("", "");
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n";
    let request = plain.request("GET", PATH).header("Connection", "close").end();
    assert_eq!(status_of(&socket(plain.gateway.directory()), &[&header[..], &request].concat()), 400);
}

#[test]
fn only_the_word_unix_trusts_it_and_trusts_nobody_else() {
    let reported = |request: Request| request.header("X-Forwarded-For", "192.0.2.7");
    let by_network = stage("", "trusted_proxies: [127.0.0.0/8, 192.0.2.0/24]");
    let seen = passes(&by_network, b"", reported);
    assert_eq!(seen.header("X-Forwarded-For").as_deref(), Some("127.0.0.1"));
    let by_word = stage("", "trusted_proxies: [unix]");
    let seen = passes(&by_word, b"", reported);
    assert_eq!(seen.header("X-Forwarded-For").as_deref(), Some("192.0.2.7, 127.0.0.1"));
    let seen = by_word.passes(reported(by_word.request("GET", PATH)));
    assert_ne!(seen.header("X-Forwarded-For").as_deref(), Some("192.0.2.7, 127.0.0.1"));
}

#[test]
fn a_key_for_networks_is_judged_by_the_loopback_address_or_what_is_reported() {
    let narrow = |stage: &Stage, networks: &[&str]| {
        let body = json!({ "scope": { "networks": networks } });
        Api::admin(&stage.gateway).create_key("/v2-beta/projects/e1/apikeys", &body)
    };
    let stage = stage("", "trusted_proxies: [unix]");
    let socket = socket(stage.gateway.directory());
    let get = |key: &Key| Request::get(PATH).key(key);
    let (loopback, other) = (narrow(&stage, &["127.0.0.1"]), narrow(&stage, &["10.0.0.0/8"]));
    assert_eq!([ask(&socket, get(&loopback)), ask(&socket, get(&other))], [200, 401]);
    let from = |key: &Key| get(key).header("X-Forwarded-For", "10.1.2.3");
    assert_eq!([ask(&socket, from(&loopback)), ask(&socket, from(&other))], [401, 200]);
}

#[test]
fn a_socket_that_nobody_listens_at_is_replaced_and_removed_at_the_end() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).listeners(SOCKET).prepare();
    let path = socket(site.directory());
    drop(UnixListener::bind(&path).unwrap());
    let gateway = site.start();
    assert_eq!(ask(&path, Request::get(PATH)), 401);
    let (site, code) = gateway.stop();
    assert_eq!(code, Some(0));
    assert!(!path.exists());
    // what another process has put there since is not this gateway's
    let gateway = site.start();
    fs::remove_file(&path).unwrap();
    // so that the inode is not given away again
    let _others =
        [UnixListener::bind(path.with_extension("other")).unwrap(), UnixListener::bind(&path).unwrap()];
    let (site, _) = gateway.stop();
    assert!(path.exists());
    fs::remove_file(&path).unwrap();
    // a crash leaves its own
    let site = site.start().crash();
    assert!(path.exists());
    let gateway = site.start();
    assert_eq!(ask(&path, Request::get(PATH)), 401);
    drop(gateway);
}

#[test]
fn the_file_of_a_systemd_socket_unit_stays() {
    // systemd's part: it listens beside the configuration, and passes the socket on
    const SOCKET_UNIT: &[&str] = &[
        "python3",
        "-c",
        "import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.path.dirname(sys.argv[-1]) + '/http.sock')
listener.listen()
os.dup2(listener.fileno(), 3)
os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1', 'LISTEN_FDNAMES': 'portcullis.socket'}
os.execv(sys.argv[1], sys.argv[1:])",
    ];
    let upstream = Upstream::start();
    let gateway = Plan::new(&upstream).listeners(SOCKET).prepare().started_by(SOCKET_UNIT).start();
    let path = socket(gateway.directory());
    assert_eq!(ask(&path, Request::get(PATH)), 401);
    let (_site, code) = gateway.stop();
    assert_eq!(code, Some(0));
    assert!(path.exists(), "systemd listens there");
}

#[test]
fn what_somebody_uses_is_left_alone() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).listeners(SOCKET).prepare();
    let path = socket(site.directory());
    let live = UnixListener::bind(&path).unwrap();
    let (site, outcome) = *site.try_start().unwrap_err();
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("http.sock is in use: another process listens there"), "{outcome:?}");
    assert!(UnixStream::connect(&path).is_ok());
    drop(live);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    let (site, outcome) = *site.try_start().unwrap_err();
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("http.sock is there and is no socket"), "{outcome:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    // nor is what a link leads to
    let (file, stale) = (path.with_extension("file"), path.with_extension("stale"));
    fs::rename(&path, &file).unwrap();
    drop(UnixListener::bind(&stale).unwrap());
    for target in [&file, &stale] {
        fs::remove_file(&path).ok();
        std::os::unix::fs::symlink(target, &path).unwrap();
        let found = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["serve", "--config"])
            .arg(site.config())
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&found.stderr).contains("is no socket"), "{found:?}");
        assert!(target.exists());
    }
    assert!(fs::metadata(&stale).unwrap().file_type().is_socket());
}
