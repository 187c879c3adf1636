//! Sends lines to this machine's syslog.
//!
//! The format is that of `syslog(3)`, which every daemon reads at its socket: `<priority>name[pid]: text`, the time being
//! the daemon's. RFC 5424 is for the network: rsyslog takes its version for the program's name.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `authpriv`, which only administrators read, and `notice`.
const PRIORITY: u8 = 10 << 3 | 5;
/// How long the daemon may take to make room for a line.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The socket of a syslog daemon.
pub(super) struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// The daemon at this socket; it need not be there yet.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, socket: None }
    }

    /// Hands over a line, if it can be done now. The daemon is looked for anew after each failure: one that is started again
    /// has another socket under the same name.
    pub(super) fn send(&mut self, line: &str) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.path)?,
        };
        let message = format!("<{PRIORITY}>portcullis[{}]: {line}", std::process::id());
        socket.send(message.as_bytes())?;
        self.socket = Some(socket);
        Ok(())
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    socket.connect(path).map_err(named)?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok(socket)
}
