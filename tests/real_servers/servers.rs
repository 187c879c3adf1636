//! The real servers, each on a free port, with a small API that says which of its handlers ran.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{PATIENCE, pause, python, wait_for};

/// A server that runs; it ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    processes: Vec<Child>,
    _directory: TempDir,
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.processes.iter_mut().for_each(end);
    }
}

/// Asks a server to end, which ends its workers, and kills it where it does not.
fn end(process: &mut Child) {
    Command::new("kill").args(["-s", "TERM", &process.id().to_string()]).status().ok();
    let since = Instant::now();
    while matches!(process.try_wait(), Ok(None)) {
        if since.elapsed() > Duration::from_secs(5) {
            process.kill().ok();
        }
        std::thread::sleep(pause(since));
    }
}

/// A command for a server that ends with the test, even where the test is killed.
fn server_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program.as_ref());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("portcullis-server-").tempdir().expect("a directory")
}

/// Starts a Python server that says on standard error where it listens, after `word`.
#[track_caller]
fn python_server(program: &str, arguments: &[&str], word: &str) -> Server {
    let directory = directory();
    let mut command = server_command(python::program(program).get_program());
    command.current_dir(python::folder()).env("PYTHONDONTWRITEBYTECODE", "1").env("HOME", directory.path());
    command.args(arguments).stderr(Stdio::piped());
    let mut process = command.spawn().expect("it can be started");
    let mut lines =
        BufReader::new(process.stderr.take().expect("it was piped")).lines().map_while(Result::ok);
    let mut said = Vec::new();
    let address = loop {
        let line = lines.next().unwrap_or_else(|| panic!("{program} ended: {said:#?}"));
        let place = line.split_once(word).map(|(_, place)| place.trim_start_matches("http://"));
        if let Some(address) = place.and_then(|place| place.split(' ').next()?.parse().ok()) {
            break address;
        }
        said.push(line);
    };
    // what it says further is nobody's concern, and must not fill the pipe
    std::thread::spawn(move || lines.for_each(drop));
    Server { address, processes: vec![process], _directory: directory }
}

/// gunicorn with its defaults, and a Flask API.
pub fn gunicorn() -> Server {
    python_server("gunicorn", &["--bind", "127.0.0.1:0", "--threads", "4", "flask_api:app"], "Listening at: ")
}

/// Daphne behind a proxy, and a Django API.
pub fn daphne() -> Server {
    let arguments = ["-b", "127.0.0.1", "-p", "0", "--proxy-headers", "django_api:application"];
    python_server("daphne", &arguments, "Listening on TCP address ")
}

/// nginx that passes every header on, before PHP-FPM.
pub fn php_fpm() -> Server {
    let directory = directory();
    let socket = directory.path().join("php.sock");
    let mut php = start_php_fpm(directory.path(), &socket);
    wait_for(PATIENCE, "PHP-FPM listens", || {
        assert!(matches!(php.try_wait(), Ok(None)), "PHP-FPM ended: {}", log(directory.path(), "php.log"));
        UnixStream::connect(&socket).is_ok()
    });
    // nginx takes no port by itself, and another test may take the free one first
    let (address, nginx) =
        (0..10).find_map(|_| start_nginx(directory.path(), &socket)).unwrap_or_else(|| {
            end(&mut php);
            panic!("nginx does not start: {}", log(directory.path(), "nginx.log"))
        });
    Server { address, processes: vec![nginx, php], _directory: directory }
}

fn log(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap_or_default()
}

fn start_php_fpm(directory: &Path, socket: &Path) -> Child {
    let configuration = directory.join("php.conf");
    let text = format!(
        "[global]\nerror_log = {0}/php.log\ndaemonize = no\n[api]\nlisten = {1}\npm = static\npm.max_children = 4\n",
        directory.display(),
        socket.display()
    );
    // root runs it as root, which it wants to be told; anybody else as themselves
    let text = if is_root() { format!("{text}user = root\ngroup = root\n") } else { text };
    fs::write(&configuration, text).expect("it can be written");
    let mut command = server_command(debian_program("php-fpm"));
    command.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"]).arg(configuration);
    command.spawn().expect("PHP-FPM can be started")
}

/// `None` where the port was taken by somebody else.
fn start_nginx(directory: &Path, socket: &Path) -> Option<(SocketAddr, Child)> {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("a bound socket");
    drop(free);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/api.php");
    let configuration = directory.join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log;\n{user}\
         events {{ worker_connections 64; }}\n\
         http {{\n  access_log off; client_body_temp_path {directory}/body; fastcgi_temp_path {directory}/fastcgi;\n  \
         proxy_temp_path {directory}/proxy; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;\n  \
         underscores_in_headers on; ignore_invalid_headers off; merge_slashes on;\n  \
         server {{\n    listen {address};\n    location / {{\n      \
         fastcgi_param REQUEST_METHOD $request_method;\n      fastcgi_param QUERY_STRING $query_string;\n      \
         fastcgi_param CONTENT_LENGTH $content_length;\n      fastcgi_param DOCUMENT_URI $document_uri;\n      \
         fastcgi_param REQUEST_URI $request_uri;\n      fastcgi_param REMOTE_ADDR $remote_addr;\n      \
         fastcgi_param SCRIPT_FILENAME {script};\n      fastcgi_pass unix:{socket};\n    }}\n  }}\n}}\n",
        directory = directory.display(),
        user = if is_root() { "user root;\n" } else { "" },
        script = script.display(),
        socket = socket.display(),
    );
    fs::write(&configuration, text).expect("it can be written");
    let mut command = server_command(debian_program("nginx"));
    command.arg("-c").arg(&configuration).arg("-e").arg(directory.join("nginx.log"));
    let mut nginx = command.spawn().expect("nginx can be started");
    let since = Instant::now();
    loop {
        if !matches!(nginx.try_wait(), Ok(None)) {
            return None;
        }
        if directory.join("nginx.pid").exists() && TcpStream::connect(address).is_ok() {
            return Some((address, nginx));
        }
        assert!(since.elapsed() < PATIENCE, "nginx does not listen: {}", log(directory, "nginx.log"));
        std::thread::sleep(pause(since));
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id");
    output.stdout.trim_ascii() == b"0"
}

/// A program of Debian's, whose name may end with its version.
#[track_caller]
fn debian_program(name: &str) -> PathBuf {
    let found = fs::read_dir("/usr/sbin").expect("a folder of programs").filter_map(Result::ok);
    let mut found: Vec<PathBuf> = found
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(name))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("there is no {name}; ./test installs what the tests need"))
}
