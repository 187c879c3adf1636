//! Real clients, end to end: curl, Python, nghttp2, WebSocket, gRPC.

mod support;

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Barrier, OnceLock};
use std::time::Duration;

use support::cli::Key;
use support::raw_upstream::RawUpstream;
use support::stage::Stage;
use support::upstream::{Answer, Recorded};
use support::{PATIENCE, contains, marker};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::start();
        // answers with the body alone, where others echo the whole request
        stage.upstream.answer(
            "/v1/projects/e1/echo",
            Answer::after_body(|request: &Recorded, conversation| {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
                let body = if request.method == "HEAD" { &[][..] } else { &request.body };
                conversation.send([head.as_bytes(), body].concat()).is_ok()
            }),
        );
        stage
    })
}

/// Runs a program that must succeed, and gives its standard output.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{command:?} cannot be started ({error}); ./test installs what the tests need")
    });
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

/// Debian's own Python, whose packages `./test` installs.
fn python(script: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(program(script));
    command
}

/// curl that prints status and version, with the gateway's own certificate as authority.
fn curl(arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"])
        .arg("--cacert")
        .arg(certificate())
        .args(arguments);
    command
}

fn certificate() -> PathBuf {
    stage().gateway.directory().join("certs/gateway.pem")
}

fn user(key: &Key) -> String {
    format!("{}:{}", key.access_key, key.secret)
}

fn url(path: &str) -> String {
    format!("http://{}{path}", stage().gateway.http())
}

fn tls_url(path: &str) -> String {
    format!("https://localhost:{}{path}", stage().gateway.https().port())
}

#[test]
fn curl_with_u_on_every_version_of_http() {
    let user = user(&stage().e1);
    for (arguments, path, seen) in [
        (&["--http1.1"][..], url("/v1/projects/e1/x"), "200 1.1"),
        (&["--http1.1"], tls_url("/v1/projects/e1/x"), "200 1.1"),
        (&["--http2"], tls_url("/v1/projects/e1/x"), "200 2"),
        (&["--http2-prior-knowledge"], url("/v1/projects/e1/x"), "200 2"),
        (&["--http1.1"], url("/v1/projects/e2/x"), "403 1.1"),
        (&["--http2"], tls_url("/v1/projects/e2/x"), "403 2"),
        (&["--http2"], url("/v1/projects/e1/x"), "200 1.1"), // an upgrade to h2c is not followed
        (&["--http1.0"], url("/v1/projects/e1/x"), "200 1.1"),
        (&["--tls-max", "1.2"], tls_url("/v1/projects/e1/x"), "200 2"),
        (&["-I"], tls_url("/v1/projects/e1/x"), "200 2"),
        (&["--path-as-is"], url("/v1/projects/e1/../e2/x"), "400 1.1"),
    ] {
        let mut command = curl(arguments);
        let said = run(command.args(["-u", &user, &path]));
        // curl names the version of the answer, and an answer to HTTP/1.0 may call itself either
        let said = said.replace("200 1.0", "200 1.1").replace("200 1\n", "200 1.1\n");
        assert_eq!(said, seen, "{arguments:?} {path}");
    }
    for (arguments, path) in [(&["--http1.1"][..], url("/v1/projects/e1/x")), (&["--http2"], tls_url("/v1"))]
    {
        assert!(run(curl(arguments).arg(&path)).starts_with("401 "), "{path}");
    }
}

#[test]
fn case_118_curl_that_offers_h2c_is_asked_for_its_key() {
    // without a challenge `--anyauth` sends no key
    let mut command = curl(&["--http2", "--anyauth"]);
    let said = run(command.args(["-u", &user(&stage().e1), &url("/v1/projects/e1/x")]));
    assert_eq!(said, "200 1.1");
}

#[test]
fn curl_with_a_netrc() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("netrc");
    let Key { access_key, secret, .. } = &stage().e1;
    let lines: String = ["127.0.0.1", "localhost"]
        .map(|host| format!("machine {host} login {access_key} password {secret}\n"))
        .concat();
    std::fs::write(&file, lines).expect("write the netrc");
    let file = file.to_str().expect("a plain path");
    for (arguments, path, seen) in [
        (&["--http1.1"][..], url("/v1/projects/e1/x"), "200 1.1"),
        (&["--http2"], tls_url("/v1/projects/e1/x"), "200 2"),
        (&["--http2-prior-knowledge"], url("/v1/projects/e1/x"), "200 2"),
    ] {
        let mut command = curl(arguments);
        assert_eq!(run(command.args(["--netrc-file", file, &path])), seen);
    }
    let address = stage().gateway.http();
    let mut script = python("http_client.py");
    script.args(["netrc", "127.0.0.1", &address.port().to_string(), "/v1/projects/e1/x", file]);
    assert_eq!(run(&mut script), "ok\n");
}

#[test]
fn curl_uploads_and_downloads_what_it_was_given() {
    let directory = tempfile::tempdir().expect("a directory");
    let (up, down) = (directory.path().join("up"), directory.path().join("down"));
    let bytes: Vec<u8> = (0..5_000_000u32).map(|number| (number * 7 % 251).to_le_bytes()[0]).collect();
    std::fs::write(&up, &bytes).expect("write the upload");
    for (arguments, address) in [
        // curl sends Expect: 100-continue with a body of this size
        (&["--http1.1"][..], url("/v1/projects/e1/echo")),
        (&["--http1.1", "-H", "Transfer-Encoding: chunked"], tls_url("/v1/projects/e1/echo")),
        (&["--http2"], tls_url("/v1/projects/e1/echo")),
        (&["--http2-prior-knowledge"], url("/v1/projects/e1/echo")),
    ] {
        let mut command = Command::new("curl");
        command.args(["-sSf", "--max-time", "30", "-u", &user(&stage().e1), "--cacert"]).arg(certificate());
        run(command.arg("-T").arg(&up).arg("-o").arg(&down).args(arguments).arg(&address));
        assert!(std::fs::read(&down).expect("the download") == bytes, "{arguments:?} {address}");
    }
}

#[test]
fn python_clients() {
    let Key { access_key, secret, .. } = &stage().e1;
    let ca = certificate();
    for (base, ca) in
        [(url("/v1/projects/e1"), "none"), (tls_url("/v1/projects/e1"), ca.to_str().expect("a plain path"))]
    {
        let mut script = python("http_client.py");
        assert_eq!(run(script.args(["urllib", &base, access_key, secret, ca])), "ok\n", "{base}");
    }
    let address = stage().gateway.http();
    let mut script = python("http_client.py");
    script.args([
        "kept",
        "127.0.0.1",
        &address.port().to_string(),
        "/v1/projects/e1/echo",
        access_key,
        secret,
    ]);
    assert_eq!(run(&mut script), "ok\n");
}

#[test]
fn nghttp2_keeps_many_streams_busy() {
    let key = format!("authorization: {}", stage().e1.authorization());
    for path in [tls_url("/v1/projects/e1/x"), url("/v1/projects/e1/x")] {
        let said = run(Command::new("h2load").args(["-n2000", "-c8", "-m32", "-H", &key, &path]));
        assert!(said.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{path}\n{said}");
        assert!(said.contains("status codes: 2000 2xx"), "{path}\n{said}");
    }
}

/// A gateway in front of a WebSocket server that echoes messages.
fn websockets() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let server = RawUpstream::start(|_, reader| {
            let mut socket = tungstenite::accept(reader.into_inner()).map_err(std::io::Error::other)?;
            loop {
                let message = socket.read().map_err(std::io::Error::other)?;
                if message.is_text() || message.is_binary() {
                    socket.send(message).map_err(std::io::Error::other)?;
                }
            }
        });
        Stage::with(|plan| plan.upstreams(&server.entry("api")))
    })
}

fn websocket(address: SocketAddr) -> WebSocket<TcpStream> {
    let mut request =
        format!("ws://{address}/v1/projects/e1/subscribe").into_client_request().expect("a request");
    let key = websockets().e1.authorization();
    request.headers_mut().insert("authorization", key.parse().expect("a value"));
    let tcp = TcpStream::connect(address).expect("connect");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let (socket, answer) = tungstenite::client(request, tcp).expect("the upgrade succeeds");
    assert_eq!(answer.status(), 101);
    socket
}

#[test]
fn websocket_frames_of_16_mib_pass() {
    let mut socket = websocket(websockets().gateway.http());
    // just within what this client itself takes as one frame
    let large: Vec<u8> = (0..16u32 << 20).map(|number| (number * 31 % 253).to_le_bytes()[0]).collect();
    for _ in 0..2 {
        socket.send(Message::binary(large.clone())).expect("send 16 MiB");
        let echo = socket.read().expect("the echo").into_data();
        assert!(echo == large, "{} bytes came back", echo.len());
    }
    socket.send(Message::Ping(vec![1, 2, 3].into())).expect("a ping");
    assert_eq!(socket.read().expect("a pong"), Message::Pong(vec![1, 2, 3].into()));
    socket.close(None).expect("a closing handshake");
    while socket.read().is_ok() {}
}

#[test]
fn two_hundred_websockets_are_open_at_once() {
    const COUNT: usize = 200;
    let all_open = Barrier::new(COUNT);
    std::thread::scope(|scope| {
        for number in 0..COUNT {
            let all_open = &all_open;
            std::thread::Builder::new()
                .stack_size(512 * 1024)
                .spawn_scoped(scope, move || {
                    let mut socket = websocket(websockets().gateway.http());
                    all_open.wait();
                    for round in 0..5 {
                        let text = format!("socket {number} round {round}");
                        socket.send(Message::text(text.clone())).expect("send");
                        assert_eq!(
                            socket.read().expect("the echo").into_text().expect("text"),
                            text.as_str()
                        );
                    }
                })
                .expect("a thread");
        }
    });
}

/// The gRPC service, ended with the test.
struct Grpc {
    child: Child,
    address: SocketAddr,
}

impl Grpc {
    fn start() -> Self {
        let mut child = python("grpc_echo.py")
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python can be started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it was piped"))
            .read_line(&mut line)
            .expect("its first line");
        let port = line.trim().strip_prefix("port ").and_then(|port| port.parse().ok());
        let port: u16 =
            port.unwrap_or_else(|| panic!("grpc_echo.py said {line:?}; ./test installs what it needs"));
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        drop(self.child.stdin.take()); // its sign to end
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if std::time::Instant::now() > deadline {
                self.child.kill().ok();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn grpc_calls_of_all_four_kinds_with_trailers() {
    let service = Grpc::start();
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", service.address);
    let stage = Stage::with(|plan| plan.upstreams(&entry));
    let address = stage.gateway.http().to_string();
    let own = "/v1/projects/e1/Echo";
    let said = run(python("grpc_echo.py").args(["call", &address, own, &user(&stage.e1), "e1"]));
    assert_eq!(said, "ok\n");
    let wrong = user(&stage.e1.with_wrong_secret());
    for (path, user, code) in [
        (own, &wrong, "UNAUTHENTICATED"),
        ("/v1/projects/e2/Echo", &user(&stage.e1), "PERMISSION_DENIED"),
        ("/nowhere/Echo", &user(&stage.e1), "UNIMPLEMENTED"),
    ] {
        let said = run(python("grpc_echo.py").args(["refused", &address, path, user, code]));
        assert_eq!(said, "ok\n", "{path}");
    }
}

#[test]
fn a_public_path_needs_no_key() {
    let mark = marker();
    let mark = format!("X-Marker: {mark}");
    assert_eq!(run(curl(&["--http1.1", "-H", &mark]).arg(url("/healthz"))), "200 1.1");
    assert_eq!(run(curl(&["--http2", "-H", &mark]).arg(tls_url("/healthz"))), "200 2");
    assert!(run(curl(&["--http1.1", "-X", "POST"]).arg(url("/healthz"))).starts_with("40"));
    assert!(!contains(stage().gateway.log().as_bytes(), stage().e1.secret.as_bytes()), "a secret in the log");
}
