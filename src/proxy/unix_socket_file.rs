//! The files of Unix sockets that clients connect to.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::listener::{BACKLOG, BindError};
use crate::config::ListenAddress;

/// The gateway's user and its group can connect.
const MODE: u32 = 0o660;

/// The file of a Unix socket that this process listens at.
#[derive(Debug, Clone)]
pub struct UnixSocketFile {
    path: PathBuf,
    inode: u64,
}

impl UnixSocketFile {
    /// The one with this path now.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), inode: std::fs::symlink_metadata(path)?.ino() })
    }

    /// The number that no other file of its file system has as long as somebody listens at this one.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Removes it, unless another process has put its own there.
    pub fn remove(&self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode) {
            // one that stays is replaced at the next start
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Removes it unless somebody listens there: once this process does not, another one that took its sockets over may.
    pub fn remove_if_unanswered(&self) {
        let _lock = lock_folder(&self.path);
        if matches!(ensure_free(&self.path), Ok(Unused::Stale)) {
            self.remove();
        }
    }
}

/// What is at a path where nobody listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unused {
    /// Nothing.
    Free,
    /// The socket of a process that is gone.
    Stale,
}

/// Whether this path can be listened at now: there is nothing, or a socket that nobody listens at.
pub(super) fn ensure_free(path: &Path) -> Result<Unused, BindError> {
    let address = || ListenAddress::Unix(path.to_owned());
    let failed = |source| BindError::new(address(), source);
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => {}
        Ok(_) => return Err(BindError::NoSocket { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Unused::Free),
        Err(error) => return Err(failed(error)),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // one with many who wait must not make this wait too
    socket.set_nonblocking(true).map_err(failed)?;
    match socket.connect(&SockAddr::unix(path).map_err(failed)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Unused::Stale),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Unused::Free),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(failed(error)),
        _ => Err(BindError::InUse { address: address() }),
    }
}

/// How long to wait for another gateway, which needs no millisecond. Whoever can read the folder can hold its lock: this may
/// not keep a gateway from starting.
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// Locks the folder of this file against other gateways, where this can be had.
fn lock_folder(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder).ok()?;
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return None,
        }
    }
}

/// Listens there, in the place of a socket that nobody listens at any more.
pub(super) fn bind(path: &Path) -> Result<Socket, BindError> {
    // of gateways that start at once, the second one finds that the first one listens; else it would remove its socket
    let _lock = lock_folder(path);
    let is_stale = ensure_free(path)? == Unused::Stale;
    let bound = || {
        if is_stale {
            std::fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // whatever the umask is, and before anybody can connect
        std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    bound().map_err(|source| BindError::new(ListenAddress::Unix(path.to_owned()), source))
}
