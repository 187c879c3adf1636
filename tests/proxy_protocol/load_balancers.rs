//! haproxy and nginx as load balancers in front of the gateway: they pass connections on, and say where these come from.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::http1::fresh_source;
use crate::support::{PATIENCE, wait_for};

/// A load balancer that runs; it ends when it is dropped.
pub struct LoadBalancer {
    process: Child,
    /// Where it listens, one for each of its servers.
    pub addresses: Vec<SocketAddr>,
    _directory: TempDir,
}

impl LoadBalancer {
    /// haproxy, which passes connections on to each of these `server` lines, which begin with an address.
    #[track_caller]
    pub fn haproxy(servers: &[String]) -> Self {
        let addresses = addresses(servers.len());
        let mut text = String::from(
            "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 20s\n  timeout client 20s\n  timeout server 20s\n",
        );
        for (number, (server, address)) in servers.iter().zip(&addresses).enumerate() {
            writeln!(text, "listen l{number}\n  bind {address}\n  server gateway {server}")
                .expect("a String takes all");
        }
        Self::start(addresses, |directory| {
            let configuration = directory.join("haproxy.cfg");
            fs::write(&configuration, text).expect("it can be written");
            let mut haproxy = Command::new("setpriv");
            haproxy.args(["--pdeathsig", "TERM", "haproxy", "-db", "-f"]).arg(configuration);
            haproxy
        })
    }

    /// nginx, which passes connections on to each of these gateways from `source`, with version 1 of the protocol.
    #[track_caller]
    pub fn nginx(gateways: &[SocketAddr], source: Ipv4Addr) -> Self {
        let addresses = addresses(gateways.len());
        let servers = gateways.iter().zip(&addresses).map(|(gateway, address)| {
            format!("server {{ listen {address}; proxy_pass {gateway}; proxy_bind {source}; proxy_protocol on; }}\n")
        });
        let servers: String = servers.collect();
        Self::start(addresses, |directory| {
            let configuration = directory.join("nginx.conf");
            let text = format!(
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off; worker_processes 1;\n\
                 pid {0}/nginx.pid; error_log {0}/nginx.log;\nevents {{ worker_connections 64; }}\nstream {{\n{servers}}}\n",
                directory.display()
            );
            fs::write(&configuration, text).expect("it can be written");
            let mut nginx = Command::new("setpriv");
            nginx.args(["--pdeathsig", "TERM", "/usr/sbin/nginx", "-c"]).arg(configuration);
            nginx
        })
    }

    #[track_caller]
    fn start(addresses: Vec<SocketAddr>, command: impl FnOnce(&Path) -> Command) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = command(directory.path());
        let said = File::create(directory.path().join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let mut process = command.spawn().expect("it can be started");
        wait_for(PATIENCE, "the load balancer listens", || {
            let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
            assert!(matches!(process.try_wait(), Ok(None)), "it ended: {log}\n{command:?}");
            addresses.iter().all(|address| TcpStream::connect(address).is_ok())
        });
        Self { process, addresses, _directory: directory }
    }
}

/// Addresses at which nothing else listens.
fn addresses(count: usize) -> Vec<SocketAddr> {
    let source = fresh_source();
    (9000..).take(count).map(|port| SocketAddr::from((source, port))).collect()
}

impl Drop for LoadBalancer {
    fn drop(&mut self) {
        // nginx ends its workers only if it is asked to
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.process),
            rustix::process::Signal::TERM,
        )
        .ok();
        self.process.wait().ok();
    }
}
