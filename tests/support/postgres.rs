//! A PostgreSQL server of the test's own: made from a folder that is prepared once, on a Unix socket in a directory of
//! its own, and ended with the test, whatever becomes of it.
//!
//! A gateway reaches it by a [`Relay`], whose port stays while the server is stopped, killed or replaced.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::relay::Relay;
use super::{PATIENCE, wait_for};

/// Who runs a server, which refuses to run as root.
const USER: &str = "postgres";
/// Only the socket's name is made of it: no port is taken.
const PORT: &str = "5432";
const SETTINGS: [&str; 7] = [
    "listen_addresses=",
    "shared_buffers=16MB",
    "max_connections=60",
    "wal_level=replica",
    "hot_standby=on",
    "log_min_messages=warning",
    "jit=off",
];

/// How a server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are ended, and everything is written down.
    Fast,
    /// At once, with a recovery at the next start.
    Immediate,
}

/// A server. Dropped, it ends, and its directory goes.
pub struct Postgres {
    running: Mutex<Option<Running>>,
    /// Whether it waits for its disk at a commit.
    fsync: bool,
    directory: TempDir,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Ends the server and removes its directory when this process ends without running destructors. It waits for the
    /// end of its standard input, which only we hold.
    guardian: (Child, ChildStdin),
}

const GUARDIAN: &str = r#"cat >/dev/null
all="$1 $(ps -o pid= --ppid "$1")"
kill -QUIT "$1" 2>/dev/null; kill -CONT $all 2>/dev/null
for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
kill -KILL $all 2>/dev/null
rm -rf -- "$2""#;

/// A copy of a server's data, as of a moment.
#[derive(Debug)]
pub struct Backup {
    directory: TempDir,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("directory", &self.directory.path()).finish_non_exhaustive()
    }
}

impl Postgres {
    /// An empty server that never waits for its disk: only a test that ends the machine would see that.
    #[track_caller]
    pub fn start() -> Self {
        Self::made_from(&template(), false)
    }

    /// An empty server that waits for its disk at each commit, as one in earnest does.
    #[track_caller]
    pub fn start_with_fsync() -> Self {
        Self::made_from(&template(), true)
    }

    #[track_caller]
    fn made_from(data: &Path, fsync: bool) -> Self {
        let server = Self { running: Mutex::new(None), fsync, directory: directory() };
        copy(data, &server.data());
        server.start_again();
        server
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(format!(".s.PGSQL.{PORT}"))
    }

    /// The URL of a database without any relay: no fault of the network is between.
    pub fn url(&self, database: &str) -> String {
        let directory = self.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{directory}/{database}")
    }

    /// A way to this server on a port.
    pub fn relay(&self) -> Relay {
        Relay::to(&self.socket())
    }

    /// Makes an empty database, with a name that no other has.
    #[track_caller]
    pub fn create_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} STRATEGY wal_log"));
        name
    }

    /// Runs SQL and gives what it prints: a line a row, without its end.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs SQL that may fail.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = as_user("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-p", PORT, "-h"])
            .arg(self.directory.path())
            .args(["-d", database, "-c", sql])
            .stdin(Stdio::null())
            .output()
            .expect("psql can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// What `pg_dump` says of a database.
    #[track_caller]
    pub fn dump(&self, database: &str) -> String {
        let mut command = as_user("pg_dump");
        command.args(["-U", USER, "-p", PORT, "-h"]).arg(self.directory.path());
        succeed(command.args(["-d", database]))
    }

    /// Runs a script, as `psql` does it by default: each statement is a transaction of its own.
    #[track_caller]
    pub fn sql_file(&self, database: &str, script: &str) {
        let file = self.directory.path().join("script.sql");
        fs::write(&file, script).expect("a script");
        own(&file);
        let mut command = as_user("psql");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", USER, "-p", PORT, "-h"]);
        command.arg(self.directory.path()).args(["-d", database, "-f"]);
        succeed(command.arg(file));
    }

    /// Starts it again after it was stopped or killed, and waits until it takes connections.
    #[track_caller]
    pub fn start_again(&self) {
        let mut running = self.lock();
        assert!(running.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let mut command = as_user("postgres");
        command.arg("-D").arg(self.data()).args(["-p", PORT, "-k"]).arg(self.directory.path());
        for setting in SETTINGS.into_iter().chain([if self.fsync { "fsync=on" } else { "fsync=off" }]) {
            command.args(["-c", setting]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("PostgreSQL can be started");
        let mut guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(child.id().to_string())
            .arg(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        let leash = guardian.stdin.take().expect("its input was piped");
        wait_for(PATIENCE, "PostgreSQL takes connections", || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("PostgreSQL has ended with {status}; it said\n{}", self.log());
            }
            // one of a server that was killed may still be there
            let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let lines: Vec<_> = file.lines().map(str::trim).collect();
            lines.first().is_some_and(|id| *id == child.id().to_string())
                && lines.get(7).is_some_and(|state| matches!(*state, "ready" | "standby"))
        });
        *running = Some(Running { child, guardian: (guardian, leash) });
    }

    /// Stops it.
    #[track_caller]
    pub fn stop(&self, how: Stop) {
        let running = self.lock().take().expect("it runs");
        let name = if how == Stop::Fast { "INT" } else { "QUIT" };
        signal(name, &[running.child.id()]);
        running.wait();
    }

    /// Ends it and all its processes without warning.
    #[track_caller]
    pub fn kill(&self) {
        let mut running = self.lock().take().expect("it runs");
        // it starts no more processes: all that there are get killed
        signal("STOP", &[running.child.id()]);
        let processes = processes(running.child.id());
        running.child.kill().ok();
        signal("KILL", &processes[1..]);
        wait_for(PATIENCE, "its processes are gone", || {
            processes[1..].iter().all(|process| {
                // one that nobody has waited for yet holds nothing any more
                let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
                stat.is_empty() || stat.contains(") Z ")
            })
        });
        running.wait();
    }

    /// Lets it and all its processes stand still.
    #[track_caller]
    pub fn pause(&self) {
        let running = self.lock();
        let id = running.as_ref().expect("it runs").child.id();
        // itself first: it starts no more of them
        signal("STOP", &[id]);
        signal("STOP", &processes(id)[1..]);
    }

    /// Lets it go on.
    #[track_caller]
    pub fn go_on(&self) {
        let running = self.lock();
        signal("CONT", &processes(running.as_ref().expect("it runs").child.id()));
    }

    /// A standby that follows this server. It has all that was committed so far.
    #[track_caller]
    pub fn standby(&self) -> Self {
        Self::made_from(self.base_backup(true).directory.path().join("data").as_path(), self.fsync)
    }

    /// Makes a standby the primary.
    #[track_caller]
    pub fn promote(&self) {
        self.sql("postgres", "SELECT pg_promote()");
        wait_for(PATIENCE, "the standby is promoted", || {
            self.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f")
        });
    }

    /// Waits until the standby has applied what the primary has written.
    #[track_caller]
    pub fn wait_for_standby(&self, standby: &Self) {
        let written = self.sql("postgres", "SELECT pg_current_wal_lsn()");
        wait_for(PATIENCE, "the standby has what the primary has", || {
            standby.sql("postgres", &format!("SELECT pg_last_wal_replay_lsn() >= '{written}'")) == "t"
        });
    }

    /// A copy of all databases, taken while the server runs.
    #[track_caller]
    pub fn backup(&self) -> Backup {
        self.base_backup(false)
    }

    #[track_caller]
    fn base_backup(&self, standby: bool) -> Backup {
        let backup = Backup { directory: directory() };
        let mut command = as_user("pg_basebackup");
        command.args(["-U", USER, "-p", PORT, "-c", "fast", "-N", "-h"]).arg(self.directory.path());
        command.arg("-D").arg(backup.directory.path().join("data"));
        if standby {
            command.arg("-R");
        }
        succeed(&mut command);
        backup
    }

    /// Puts a copy in the place of what the stopped server holds.
    #[track_caller]
    pub fn restore(&self, backup: &Backup) {
        assert!(self.lock().is_none(), "a server is stopped before it is restored");
        fs::remove_dir_all(self.data()).expect("the data can be removed");
        copy(&backup.directory.path().join("data"), &self.data());
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Waits for its end; the guardian is not needed any more.
    #[track_caller]
    fn wait(mut self) {
        let (mut guardian, leash) = self.guardian;
        // killed before its input ends, so that it does nothing
        guardian.kill().ok();
        guardian.wait().ok();
        drop(leash);
        wait_for(PATIENCE, "PostgreSQL ends", || !matches!(self.child.try_wait(), Ok(None)));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(running) = self.lock().take() else { return };
        let all = processes(running.child.id());
        try_signal("QUIT", &all[..1]);
        // where it was paused
        try_signal("CONT", &all);
        running.wait();
        if std::thread::panicking() {
            eprintln!("PostgreSQL said\n{}", self.log());
        }
    }
}

/// A cluster that every server of every test run is a copy of. Made once.
fn template() -> PathBuf {
    static LOCK: Mutex<()> = Mutex::new(());
    let _ours = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    // unit tests are not told of it
    let shared = option_env!("CARGO_TARGET_TMPDIR");
    let folder = Path::new(shared.unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tmp")));
    fs::create_dir_all(folder).expect("a folder for what tests share");
    let version = succeed(Command::new(program("postgres")).arg("--version"));
    let version: String = version.chars().filter(char::is_ascii_digit).collect();
    let template = folder.join(format!("postgres-{version}-1"));
    if !template.exists() {
        // where two processes make one at once, the second one's is taken away again
        let made = directory();
        let data = made.path().join("data");
        let options = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--wal-segsize=1", "--no-sync"];
        succeed(as_user("initdb").args(options).arg("-D").arg(&data));
        let ours = tempfile::Builder::new().prefix("postgres-").tempdir_in(folder).expect("a folder");
        let inner = ours.path().join("data");
        succeed(Command::new("cp").arg("-a").args([&data, &inner]));
        // an error means that the other one's is there
        fs::rename(&inner, &template).ok();
    }
    template
}

/// A directory of which the server's user is the owner.
fn directory() -> TempDir {
    // a socket's path must be short
    let folder = std::env::temp_dir();
    let folder = if folder.as_os_str().len() < 40 { folder } else { PathBuf::from("/tmp") };
    let directory = tempfile::Builder::new().prefix("pcpg-").tempdir_in(folder).expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("its mode");
    own(directory.path());
    directory
}

fn copy(from: &Path, to: &Path) {
    succeed(Command::new("cp").args(["-a", "--reflink=auto"]).args([from, to]));
    own(to);
}

fn own(path: &Path) {
    if is_root() {
        succeed(Command::new("chown").args(["-R", &format!("{USER}:")]).arg(path));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of PostgreSQL, run as a user as which it runs.
fn as_user(name: &str) -> Command {
    let program = program(name);
    let mut command;
    if is_root() {
        command = Command::new("setpriv");
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--init-groups"]).arg(program);
    } else {
        command = Command::new(program);
    }
    command.current_dir("/").env("LC_ALL", "C");
    command
}

/// Where a program of PostgreSQL is: the newest that Debian installed, or one on the PATH.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let found = versions.filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let program = version.path().join("bin").join(name);
        program.exists().then_some((number, program))
    });
    found.max().map_or_else(|| PathBuf::from(name), |(_, program)| program)
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; ./test installs PostgreSQL"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server's process ids, its own first.
fn processes(server: u32) -> Vec<u32> {
    let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &server.to_string()]).output();
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let children = listed.unwrap_or_default();
    [server].into_iter().chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
}

#[track_caller]
fn signal(name: &str, processes: &[u32]) {
    assert!(try_signal(name, processes), "signal {name} could not be sent to {processes:?}");
}

fn try_signal(name: &str, processes: &[u32]) -> bool {
    let ids = processes.iter().map(ToString::to_string);
    // one that has just ended is no failure
    processes.is_empty()
        || Command::new("kill").arg(format!("-{name}")).args(ids).stderr(Stdio::null()).status().is_ok()
}
