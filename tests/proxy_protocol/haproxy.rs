//! haproxy as a load balancer in front of the gateway: it passes connections on, and says where they come from.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::http1::fresh_source;
use crate::support::{PATIENCE, wait_for};

/// A haproxy that runs; it ends when it is dropped.
pub struct Haproxy {
    process: Child,
    /// Where it listens, one for each of its servers.
    pub addresses: Vec<SocketAddr>,
    _directory: TempDir,
}

impl Haproxy {
    /// One that passes connections on to each of these `server` lines, which begin with an address.
    #[track_caller]
    pub fn start(servers: &[String]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let source = fresh_source();
        let mut text = String::from(
            "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 20s\n  timeout client 20s\n  timeout server 20s\n",
        );
        let mut addresses = Vec::new();
        for (number, server) in servers.iter().enumerate() {
            // nothing else listens at an address of its own
            let address = SocketAddr::from((source, 9000 + u16::try_from(number).expect("few servers")));
            writeln!(text, "listen l{number}\n  bind {address}\n  server gateway {server}")
                .expect("a String takes all");
            addresses.push(address);
        }
        let configuration = directory.path().join("haproxy.cfg");
        fs::write(&configuration, &text).expect("it can be written");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "haproxy", "-db", "-f"]).arg(configuration);
        let said = fs::File::create(directory.path().join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let mut process = command.spawn().expect("haproxy can be started");
        wait_for(PATIENCE, "haproxy listens", || {
            let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
            assert!(matches!(process.try_wait(), Ok(None)), "haproxy ended: {log}\n{text}");
            addresses.iter().all(|address| TcpStream::connect(address).is_ok())
        });
        Self { process, addresses, _directory: directory }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
