//! A gateway with a directory of its own: configuration, store, pepper and certificate; and its running program.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::PATIENCE;
use super::cli::{Cli, Key, Outcome, key_in};
use super::http1::{Client, Request, Response};
use super::upstream::Upstream;

/// The routes that most tests use: environments by `/v1/projects/{environment}/…`, a shared part, a public path.
pub const ROUTES: &str = r#"
  - path: /v1
    upstream: api
    environment: "/v1/projects/{environment}"
    account: allow
    shared: [/v1, /v1/schemas, /v1/schemas/**]
  - path: /healthz
    upstream: api
    access: public
"#;

/// The replica of a gateway whose record is in PostgreSQL.
pub const REPLICA: &str = "replica.db";

/// What the configuration of a test's gateway says; [`Plan::start`] makes it and starts it.
#[derive(Debug, Clone)]
pub struct Plan {
    routes: String,
    upstreams: String,
    listeners: String,
    management: String,
    store: String,
    top: String,
}

impl Plan {
    /// A gateway in front of `upstream` (named `api`) with [`ROUTES`], a plain listener, a TLS listener, two workers.
    pub fn new(upstream: &Upstream) -> Self {
        Self {
            routes: ROUTES.to_owned(),
            upstreams: format!("  api: {{ endpoints: [\"http://{}\"] }}\n", upstream.address()),
            listeners: "  - address: 127.0.0.1:0\n  - address: 127.0.0.1:0\n    tls: { certificates: [ { \
                        certificate: certs/gateway.pem, key: certs/gateway.key } ] }\n"
                .to_owned(),
            management: String::new(),
            store: "  sqlite: portcullis.db\n".to_owned(),
            top: "workers: 2\n".to_owned(),
        }
    }

    /// Replaces the routes: list items, indented by two spaces.
    pub fn routes(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.routes);
        self
    }

    /// Adds to the upstreams: entries, indented by two spaces.
    pub fn upstream(mut self, yaml: &str) -> Self {
        self.upstreams.push_str(yaml);
        self.upstreams.push('\n');
        self
    }

    /// Replaces the upstreams: entries, indented by two spaces.
    pub fn upstreams(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.upstreams);
        self
    }

    /// Replaces the listeners: list items, indented by two spaces.
    pub fn listeners(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.listeners);
        self
    }

    /// Adds keys of `management:`, indented by two spaces.
    pub fn management(mut self, yaml: &str) -> Self {
        self.management.push_str(yaml);
        self.management.push('\n');
        self
    }

    /// Replaces the keys of `store:`, indented by two spaces.
    pub fn store(mut self, yaml: &str) -> Self {
        self.store = format!("{yaml}\n");
        self
    }

    /// A gateway of this name, with its record in PostgreSQL at `url`, and a lease of this length, such as `2s`. Its
    /// replica is the file [`REPLICA`].
    pub fn postgres(self, url: &str, name: &str, max_staleness: &str) -> Self {
        self.store(&format!(
            "  postgres: {{ url: \"{url}\", replica: {REPLICA} }}\n  gateway: {name}\n  max_staleness: {max_staleness}"
        ))
    }

    /// Adds top-level keys, such as `trusted_proxies: [127.0.0.0/8]`.
    pub fn top(mut self, yaml: &str) -> Self {
        self.top.push_str(yaml);
        self.top.push('\n');
        self
    }

    /// The configuration file's text.
    pub fn yaml(&self) -> String {
        format!(
            "listeners:\n{}management:\n  address: 127.0.0.1:0\n{}store:\n{}pepper_file: portcullis.pepper\n\
             {}{}upstreams:\n{}routes:\n{}\n",
            self.listeners,
            self.management,
            self.store,
            self.top,
            // thousands of keys are made by all tests together; `command_line` looks at what the default makes
            if self.top.contains("argon2:") { "" } else { "argon2: { memory: 1MiB, iterations: 1 }\n" },
            self.upstreams,
            self.routes.trim_matches('\n')
        )
    }

    /// Writes the configuration and runs `init`.
    #[track_caller]
    pub fn prepare(&self) -> Site {
        let (directory, config) = self.write();
        let cli = Cli::new(&config);
        let outcome = cli.run(&["init"]);
        assert_eq!(outcome.code, 0, "init failed with\n{}\n{outcome:?}", self.yaml());
        let admin = key_in(&outcome.stdout).unwrap_or_else(|| panic!("init printed no key: {outcome:?}"));
        Site { cli, admin, environment: Vec::new(), wrapper: &[], config, directory }
    }

    /// Writes the configuration of one more gateway on the record of `first`, with its pepper and certificate.
    #[track_caller]
    pub fn join(&self, first: &Site) -> Site {
        let (directory, config) = self.write();
        std::fs::create_dir(directory.path().join("certs")).expect("a folder for the certificate");
        for file in ["portcullis.pepper", "certs/gateway.pem", "certs/gateway.key"] {
            std::fs::copy(first.directory().join(file), directory.path().join(file))
                .expect("it can be copied");
        }
        Site {
            cli: Cli::new(&config),
            admin: first.admin.clone(),
            environment: Vec::new(),
            wrapper: &[],
            config,
            directory,
        }
    }

    /// Writes the configuration alone, with a pepper: for a gateway whose record nobody has begun yet.
    #[track_caller]
    pub fn write_alone(&self) -> Site {
        let (directory, config) = self.write();
        let pepper = directory.path().join("portcullis.pepper");
        portcullis::auth::Peppers::create(&pepper).expect("a pepper");
        let key = Key { id: String::new(), access_key: String::new(), secret: String::new() };
        Site { cli: Cli::new(&config), admin: key, environment: Vec::new(), wrapper: &[], config, directory }
    }

    #[track_caller]
    fn write(&self) -> (TempDir, PathBuf) {
        let directory = tempfile::Builder::new().prefix("portcullis-test-").tempdir().expect("a directory");
        let config = directory.path().join("portcullis.yaml");
        std::fs::write(&config, self.yaml()).expect("the configuration can be written");
        (directory, config)
    }

    /// [`Plan::prepare`], then `serve`, until it is ready.
    #[track_caller]
    pub fn start(&self) -> Gateway {
        self.prepare().start()
    }
}

/// A directory with a configuration and a store, whether or not a gateway runs there.
#[derive(Debug)]
pub struct Site {
    pub cli: Cli,
    /// The first admin account's key.
    pub admin: Key,
    environment: Vec<(&'static str, String)>,
    /// What the gateway is started by, such as `env`.
    wrapper: &'static [&'static str],
    config: PathBuf,
    directory: TempDir,
}

impl Site {
    /// Where the configuration, the store and the pepper are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Adds to the environment of the gateway, but not of the other commands.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Has the gateway started by a program that becomes it, such as `env` with options.
    pub fn started_by(mut self, wrapper: &'static [&'static str]) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// The replica's file, where the record is in PostgreSQL.
    pub fn replica(&self) -> PathBuf {
        self.directory().join(REPLICA)
    }

    /// Starts the gateway and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Gateway {
        self.try_start().unwrap_or_else(|failed| panic!("the gateway did not start: {:?}", failed.1))
    }

    /// Starts the gateway and waits until it is ready; what it did where it ended instead.
    #[track_caller]
    pub fn try_start(self) -> Result<Gateway, Box<(Self, Outcome)>> {
        let process = Process::spawn(&self);
        self.wait_until_ready(process, PATIENCE)
    }

    /// Starts the gateway and leaves it at that: [`Starting::ready`] waits.
    #[track_caller]
    pub fn begin_to_start(self) -> Starting {
        Starting { process: Process::spawn(&self), site: self }
    }

    #[track_caller]
    fn wait_until_ready(
        self,
        mut process: Process,
        patience: Duration,
    ) -> Result<Gateway, Box<(Self, Outcome)>> {
        if process.stderr.wait_for_line("ready", patience) {
            process.addresses = addresses(&process.stderr.text());
            return Ok(Gateway { process, site: self });
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = process.child.try_wait() {
                let (stdout, stderr) = (process.stdout.text(), process.stderr.text());
                return Err(Box::new((self, Outcome { code: status.code().unwrap_or(-1), stdout, stderr })));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("the gateway was not ready after {patience:?}; it said\n{}", process.stderr.text());
    }
}

impl Deref for Site {
    type Target = Cli;

    fn deref(&self) -> &Cli {
        &self.cli
    }
}

/// A gateway that was started and may not be ready yet.
#[derive(Debug)]
pub struct Starting {
    // before `site`: the program ends before its directory goes
    process: Process,
    site: Site,
}

impl Starting {
    /// Waits until it is ready; what it did where it ended instead.
    #[track_caller]
    pub fn ready(self) -> Result<Gateway, Box<(Site, Outcome)>> {
        self.site.wait_until_ready(self.process, PATIENCE)
    }

    /// Waits so long for what takes long.
    #[track_caller]
    pub fn ready_within(self, patience: Duration) -> Gateway {
        let ready = self.site.wait_until_ready(self.process, patience);
        ready.unwrap_or_else(|failed| panic!("the gateway did not start: {:?}", failed.1))
    }

    /// Where its configuration and its files are.
    pub fn directory(&self) -> &Path {
        self.site.directory()
    }

    /// All that it has said so far.
    pub fn log(&self) -> String {
        self.process.stderr.text()
    }

    /// Ends the program without warning, as a crash would.
    pub fn crash(mut self) -> Site {
        self.process.child.kill().ok();
        self.process.stop();
        self.site
    }

    /// Tells it to stop, and gives its exit status; `None` where it had to be killed.
    pub fn stop(mut self) -> (Site, Option<i32>) {
        let code = self.process.stop();
        (self.site, code)
    }
}

/// A running gateway. Dropped, it is told to stop, and killed where it does not.
#[derive(Debug)]
pub struct Gateway {
    // before `site`: the program ends before its directory goes
    process: Process,
    pub site: Site,
}

impl Deref for Gateway {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Gateway {
    /// The first plain listener.
    pub fn http(&self) -> SocketAddr {
        self.process.addresses.http.first().copied().expect("the configuration has a plain listener")
    }

    /// Every plain listener, as they stand in the configuration.
    pub fn http_all(&self) -> &[SocketAddr] {
        &self.process.addresses.http
    }

    /// The first TLS listener.
    pub fn https(&self) -> SocketAddr {
        self.process.addresses.https.first().copied().expect("the configuration has a TLS listener")
    }

    /// The management listener.
    pub fn management(&self) -> SocketAddr {
        self.process.addresses.management.expect("the configuration has a management listener")
    }

    /// All that the program wrote to standard error, and that is its log.
    pub fn log(&self) -> String {
        self.process.stderr.text()
    }

    /// All that the program wrote to standard output.
    pub fn stdout(&self) -> String {
        self.process.stdout.text()
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Opens a connection to the plain listener.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.http())
    }

    /// Sends bytes on a connection of their own to the plain listener, and reads one answer.
    #[track_caller]
    pub fn exchange(&self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        let mut client = self.connect();
        client.send(request);
        client.read_answer_to(request)
    }

    /// Sends a request on a connection of its own to the management listener, and reads the answer.
    #[track_caller]
    pub fn ask_management(&self, request: Request) -> Response {
        let mut client = Client::connect(self.management());
        client.send(request.end());
        client.read()
    }

    /// All metrics, as an admin gets them.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let answer = self.ask_management(Request::get("/metrics").key(&self.admin));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    /// A value of the metrics, by its name and labels, such as `portcullis_requests_open`.
    #[track_caller]
    pub fn metric(&self, series: &str) -> u64 {
        let text = self.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series} in\n{text}"))
    }

    /// What authentication has done so often since the start, by the name of the event, such as `argon2_runs`.
    #[track_caller]
    pub fn authentication_count(&self, event: &str) -> u64 {
        self.metric(&format!("portcullis_authentication_total{{event=\"{event}\"}}"))
    }

    /// The program's resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running program");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    /// Sends a signal by name, such as `HUP`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Stops the program and gives its exit status, `None` where it had to be killed.
    pub fn stop(mut self) -> (Site, Option<i32>) {
        let code = self.process.stop();
        (self.site, code)
    }

    /// Waits until the program has ended by itself, and gives its exit status; fails after `patience`.
    #[track_caller]
    pub fn wait_for_exit(&mut self, patience: Duration) -> Option<i32> {
        let mut status = None;
        super::wait_for(patience, "the program ends", || {
            status = self.process.child.try_wait().expect("our own child");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Ends the program without warning, as a crash would.
    pub fn crash(mut self) -> Site {
        self.process.child.kill().ok();
        self.process.stop();
        self.site
    }
}

#[derive(Debug, Default)]
struct Addresses {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    management: Option<SocketAddr>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    stdout: Arc<Collected>,
    stderr: Arc<Collected>,
    addresses: Addresses,
    /// Ends the program and removes its directory when this process ends without running destructors: gateways that
    /// tests share live in statics. It waits for the end of its standard input, which only we hold.
    guardian: Option<(Child, ChildStdin)>,
}

const GUARDIAN: &str = r#"cat >/dev/null
kill -TERM "$1" 2>/dev/null; kill -CONT "$1" 2>/dev/null
for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
kill -KILL "$1" 2>/dev/null
rm -rf -- "$2""#;

impl Process {
    #[track_caller]
    fn spawn(site: &Site) -> Self {
        let mut child = Cli::program_by(site.wrapper)
            .args(["serve", "--config"])
            .arg(site.config())
            .envs(site.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let mut guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(child.id().to_string())
            .arg(site.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        let leash = guardian.stdin.take().expect("its input was piped");
        let stdout = Collected::from(child.stdout.take().expect("it was piped"));
        let stderr = Collected::from(child.stderr.take().expect("it was piped"));
        Self { child, stdout, stderr, addresses: Addresses::default(), guardian: Some((guardian, leash)) }
    }

    fn stop(&mut self) -> Option<i32> {
        if let Some((mut guardian, leash)) = self.guardian.take() {
            // killed before its input ends, so that it does nothing
            guardian.kill().ok();
            guardian.wait().ok();
            drop(leash);
        }
        if let Ok(Some(status)) = self.child.try_wait() {
            return status.code();
        }
        signal(self.child.id(), "TERM");
        // where it stands still it hears of it only then
        signal(self.child.id(), "CONT");
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().ok();
        self.child.wait().ok();
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("the gateway said\n{}", self.stderr.text());
        }
    }
}

fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(done.is_ok_and(|status| status.success()), "signal {name} could not be sent");
}

fn addresses(log: &str) -> Addresses {
    let mut found = Addresses::default();
    for line in log.lines() {
        if let Some(address) = address_after(line, "management on ") {
            found.management = Some(address);
        } else if let Some(address) = address_after(line, "listening on ") {
            if line.contains("(tls)") { found.https.push(address) } else { found.http.push(address) }
        }
    }
    found
}

fn address_after(line: &str, words: &str) -> Option<SocketAddr> {
    let rest = &line[line.find(words)? + words.len()..];
    let end = rest.find(|c: char| !c.is_ascii_hexdigit() && !matches!(c, '.' | ':' | '[' | ']'));
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// Lines that a thread of its own reads from a pipe, so that the program never waits for us.
#[derive(Debug, Default)]
struct Collected {
    state: Mutex<(String, bool)>,
    changed: Condvar,
}

impl Collected {
    fn from(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let collected = Arc::new(Self::default());
        let ours = Arc::clone(&collected);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                ours.lock().0.push_str(&String::from_utf8_lossy(&line));
                ours.changed.notify_all();
                line.clear();
            }
            ours.lock().1 = true;
            ours.changed.notify_all();
        });
        collected
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (String, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        self.lock().0.clone()
    }

    /// Waits for a line that ends with the word `end`; false when the pipe ended or the patience did.
    fn wait_for_line(&self, end: &str, patience: Duration) -> bool {
        let said = |text: &str| text.lines().any(|line| line.split([' ', '"']).any(|word| word == end));
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |(text, ended)| !said(text) && !*ended)
            .unwrap_or_else(PoisonError::into_inner);
        said(&state.0)
    }
}
