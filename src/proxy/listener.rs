//! Listening sockets: one for each worker and address, so that no worker takes another's connections.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, per socket.
const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has it.
    #[error("{address} is in use: another process listens there; stop it, or choose another 'address:'")]
    InUse {
        /// the configured address
        address: SocketAddr,
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
    /// Any other reason.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// the configured address
        address: SocketAddr,
        /// what the system said
        source: io::Error,
    },
}

impl BindError {
    /// What it means that the system refused this address.
    pub fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied if address.port() < 1024 => Self::NotPermitted { address },
            _ => Self::Other { address, source },
        }
    }
}

/// One address, bound once for each worker, or more often.
pub struct BoundListener {
    /// Where it listens: the configured address, with a real port.
    pub address: SocketAddr,
    pub(super) sockets: Vec<TcpListener>,
}

impl BoundListener {
    /// Binds `address` for so many workers, or goes on with the sockets that this process was handed. There may be more of
    /// them than workers: connections that wait in any of them are taken.
    pub fn bind(address: SocketAddr, workers: usize, handed: Vec<TcpListener>) -> Result<Self, BindError> {
        let failed = |source| BindError::new(address, source);
        let mut sockets = handed;
        if sockets.is_empty() {
            ensure_free(address)?;
            sockets.push(open(address, true).map_err(failed)?);
        }
        for socket in &sockets {
            socket.set_nonblocking(true).map_err(failed)?;
        }
        let actual = sockets[0].local_addr().map_err(failed)?;
        while sockets.len() < workers {
            // who opened a handed socket may not have let it share its port: then workers share the socket
            let next = open(actual, true).or_else(|_| sockets[0].try_clone()).map_err(failed)?;
            sockets.push(next);
        }
        Ok(Self { address: actual, sockets })
    }

    /// The sockets once more, to hand them over.
    pub fn clone_sockets(&self) -> io::Result<Vec<TcpListener>> {
        self.sockets.iter().map(TcpListener::try_clone).collect()
    }
}

/// Whether an address can be listened on now, without listening there. With `SO_REUSEPORT` alone two gateways would share
/// a port unnoticed.
pub fn ensure_free(address: SocketAddr) -> Result<(), BindError> {
    if address.port() != 0 {
        drop(open(address, false).map_err(|source| BindError::new(address, source))?);
    }
    Ok(())
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
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
    Ok(socket.into())
}
