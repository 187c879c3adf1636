//! Servers at Unix sockets.

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{PATIENCE, wait_for};

/// Has a server that listens on a port answer at a Unix socket too, for as long as the test program runs.
pub fn also_at(path: &Path, server: SocketAddr) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(server));
            let Ok(server) = server else { continue };
            server.set_nodelay(true).unwrap();
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                io::copy(&mut from_client, &mut to_server).ok();
                to_server.shutdown(Shutdown::Write).ok();
            });
            let (mut from_server, mut to_client) = (server, client);
            std::thread::spawn(move || {
                io::copy(&mut from_server, &mut to_client).ok();
                to_client.shutdown(Shutdown::Write).ok();
            });
        }
    });
}

/// An nginx that runs; it ends when it is dropped.
pub struct Nginx {
    process: Child,
    /// Where it listens.
    pub socket: PathBuf,
    directory: TempDir,
}

impl Nginx {
    /// One with these lines in its `server`.
    pub fn start(server: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("nginx-").tempdir().expect("a directory");
        let at = directory.path().display().to_string();
        let socket = directory.path().join("nginx.sock");
        let configuration = directory.path().join("nginx.conf");
        let user =
            if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) { "user root;\n" } else { "" };
        let text = format!(
            "daemon off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/nginx.log;\n{user}\
             events {{ worker_connections 64; }}\nhttp {{\n  access_log off; client_body_temp_path {at}/body;\n  \
             fastcgi_temp_path {at}/fastcgi; proxy_temp_path {at}/proxy; uwsgi_temp_path {at}/uwsgi;\n  \
             scgi_temp_path {at}/scgi;\n  client_max_body_size 0; keepalive_requests 100000;\n  \
             server {{\n    listen unix:{at}/nginx.sock;\n    root {at};\n{server}\n  }}\n}}\n"
        );
        fs::write(&configuration, text).expect("it can be written");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "nginx", "-c"]).arg(&configuration);
        command.arg("-e").arg(directory.path().join("nginx.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().expect("nginx can be started");
        wait_for(PATIENCE, "nginx listens", || {
            let log = fs::read_to_string(directory.path().join("nginx.log")).unwrap_or_default();
            assert!(matches!(process.try_wait(), Ok(None)), "nginx ended: {log}");
            UnixStream::connect(&socket).is_ok()
        });
        Self { process, socket, directory }
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        Command::new("kill").args(["-s", "TERM", &self.process.id().to_string()]).status().ok();
        self.process.wait().ok();
    }
}
