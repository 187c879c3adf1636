//! Listening sockets. One for each worker and IP address, so that no worker takes another's connections; at a Unix socket they
//! share one.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use socket2::{Domain, Protocol, Socket, Type};

use super::unix_socket_file::{self, UnixSocketFile};
use crate::config::ListenAddress;

/// Connections that may wait to be accepted, per socket.
pub(super) const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has it.
    #[error("{address} is in use: another process listens there; stop it, or choose another 'address:'")]
    InUse {
        /// the configured address
        address: ListenAddress,
    },
    /// Ports below 1024 take a right that most users do not have.
    #[error(
        "{address} is not this user's to listen on: ports below 1024 need the capability CAP_NET_BIND_SERVICE (systemd: \
         AmbientCapabilities=CAP_NET_BIND_SERVICE); grant it, or choose a higher port"
    )]
    NotPermitted {
        /// the configured address
        address: SocketAddr,
    },
    /// Something is there that no gateway has made.
    #[error("{} is there and is no socket: the gateway does not replace it; move it, or choose another 'address:'", path.display())]
    NoSocket {
        /// the configured path
        path: PathBuf,
    },
    /// Any other reason.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// the configured address
        address: ListenAddress,
        /// what the system said
        source: io::Error,
    },
}

impl BindError {
    /// What it means that the system refused this address.
    pub fn new(address: impl Into<ListenAddress>, source: io::Error) -> Self {
        match (source.kind(), address.into()) {
            (io::ErrorKind::AddrInUse, address) => Self::InUse { address },
            (io::ErrorKind::PermissionDenied, ListenAddress::Tcp(address)) if address.port() < 1024 => {
                Self::NotPermitted { address }
            }
            (_, address) => Self::Other { address, source },
        }
    }
}

/// One address, and the sockets that listen there.
pub struct BoundListener {
    /// Where it listens: the configured address, with a real port.
    pub address: ListenAddress,
    pub(super) sockets: Vec<Socket>,
    file: Option<UnixSocketFile>,
}

impl BoundListener {
    /// Binds `address`, which is [free](ensure_free), for so many workers, or goes on with the sockets that this process was
    /// handed. There may be more of them than workers: connections that wait in any of them are taken.
    pub fn bind(address: &ListenAddress, workers: usize, handed: Vec<Socket>) -> Result<Self, BindError> {
        let failed = |source| BindError::new(address.clone(), source);
        let mut sockets = handed;
        if sockets.is_empty() {
            sockets.push(match address {
                ListenAddress::Tcp(address) => listen(*address)?,
                ListenAddress::Unix(path) => unix_socket_file::bind(path)?,
            });
        }
        for socket in &sockets {
            socket.set_nonblocking(true).map_err(failed)?;
        }
        let actual = sockets[0].local_addr().map_err(failed)?.as_socket();
        while sockets.len() < workers {
            // who opened a handed socket may not have let it share its port: then workers share the socket
            let own = actual.and_then(|actual| open(actual, true).ok());
            sockets.push(own.map_or_else(|| sockets[0].try_clone(), Ok).map_err(failed)?);
        }
        let file = match address {
            ListenAddress::Tcp(_) => None,
            ListenAddress::Unix(path) => Some(UnixSocketFile::at(path).map_err(failed)?),
        };
        Ok(Self { address: actual.map_or_else(|| address.clone(), ListenAddress::Tcp), sockets, file })
    }

    /// The sockets once more, to hand them over. One that workers share is handed over once.
    pub fn clone_sockets(&self) -> io::Result<Vec<Socket>> {
        let different = if self.file.is_some() { 1 } else { self.sockets.len() };
        self.sockets.iter().take(different).map(Socket::try_clone).collect()
    }

    /// The file of a Unix socket.
    pub fn file(&self) -> Option<&UnixSocketFile> {
        self.file.as_ref()
    }
}

/// Whether an address can be listened on now, without listening there. Comes before each [`listen`]: with `SO_REUSEPORT`
/// alone two gateways would share a port unnoticed.
pub fn ensure_free(address: &ListenAddress) -> Result<(), BindError> {
    match address {
        ListenAddress::Tcp(address) if address.port() == 0 => Ok(()),
        ListenAddress::Tcp(address) => {
            open(*address, false).map(drop).map_err(|source| BindError::new(*address, source))
        }
        ListenAddress::Unix(path) => unix_socket_file::ensure_free(path).map(drop),
    }
}

/// A socket that listens at `address`, and shares its port with others of this user that allow it too.
pub fn listen(address: SocketAddr) -> Result<Socket, BindError> {
    open(address, true).map_err(|source| BindError::new(address, source))
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // a restart must not wait for old connections to be forgotten
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // a socket that only asks whether the address is free must not take connections
    if shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}
