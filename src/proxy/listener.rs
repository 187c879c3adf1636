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
    /// Binds `address` for so many workers, or goes on with the sockets that this process was handed. There may be more of
    /// them than workers: connections that wait in any of them are taken.
    pub fn bind(
        address: &ListenAddress,
        port: PortUse,
        workers: usize,
        handed: Vec<Socket>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError::new(address.clone(), source);
        let mut sockets = handed;
        if sockets.is_empty() {
            sockets.push(match address {
                ListenAddress::Tcp(address) => listen(*address, port)?,
                ListenAddress::Unix(path) => unix_socket_file::bind(path)?,
            });
        }
        for socket in &sockets {
            socket.set_nonblocking(true).map_err(failed)?;
        }
        let actual = sockets[0].local_addr().map_err(failed)?.as_socket();
        while sockets.len() < workers {
            // who opened a handed socket may not have let it share its port: then workers share the socket
            let own = actual.and_then(|actual| listen(actual, PortUse::Shared).ok());
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

/// Who has the port that is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortUse {
    /// Nobody, or it is refused: two gateways would share it unnoticed.
    Alone,
    /// This process: another of its sockets, which lets it be shared.
    Shared,
}

/// Whether an address can be listened on now, without listening there.
pub fn ensure_free(address: &ListenAddress) -> Result<(), BindError> {
    match address {
        ListenAddress::Tcp(address) if address.port() == 0 => Ok(()),
        ListenAddress::Tcp(address) => {
            bind(*address, PortUse::Alone).map(drop).map_err(|source| BindError::new(*address, source))
        }
        ListenAddress::Unix(path) => unix_socket_file::ensure_free(path).map(drop),
    }
}

/// A socket that listens at `address`, and from then on shares its port with others of this user that ask for it.
pub fn listen(address: SocketAddr, port: PortUse) -> Result<Socket, BindError> {
    let listening = || {
        let socket = bind(address, port)?;
        // of sockets that were bound at once, one is refused here
        socket.listen(BACKLOG)?;
        socket.set_reuse_port(true)?;
        Ok(socket)
    };
    listening().map_err(|source| BindError::new(address, source))
}

fn bind(address: SocketAddr, port: PortUse) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // a restart must not wait for old connections to be forgotten
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(port == PortUse::Shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// What becomes of so many gateways that start at once.
    fn bound_at_once(address: &ListenAddress) -> Vec<Result<BoundListener, BindError>> {
        const GATEWAYS: usize = 4;
        let start = Barrier::new(GATEWAYS);
        let bind = || {
            start.wait();
            ensure_free(address)?;
            BoundListener::bind(address, PortUse::Alone, 2, Vec::new())
        };
        thread::scope(|scope| {
            let starting: Vec<_> = (0..GATEWAYS).map(|_| scope.spawn(bind)).collect();
            starting.into_iter().map(|starting| starting.join().unwrap()).collect()
        })
    }

    fn assert_one_listens(outcomes: &[Result<BoundListener, BindError>]) {
        let listening = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let in_use =
            outcomes.iter().filter(|outcome| matches!(outcome, Err(BindError::InUse { .. }))).count();
        // all can be refused: each has found another one's socket that was bound, and did not listen yet
        assert!(
            listening <= 1 && listening + in_use == outcomes.len(),
            "{listening} listen, {in_use} are told why not"
        );
    }

    #[test]
    fn of_gateways_that_start_at_once_one_gets_the_port() {
        let mut most = 0;
        for _ in 0..200 {
            let free = bind(SocketAddr::from(([127, 0, 0, 1], 0)), PortUse::Alone).unwrap();
            let address = free.local_addr().unwrap().as_socket().unwrap().into();
            drop(free);
            let outcomes = bound_at_once(&address);
            assert_one_listens(&outcomes);
            most = most.max(outcomes.iter().filter(|outcome| outcome.is_ok()).count());
        }
        assert_eq!(most, 1);
    }

    #[test]
    fn of_gateways_that_start_at_once_one_takes_the_place_of_a_stale_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        for _ in 0..200 {
            // it stays, and nobody listens there
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let outcomes = bound_at_once(&ListenAddress::Unix(path.clone()));
            assert_one_listens(&outcomes);
            std::os::unix::net::UnixStream::connect(&path).expect("who listens is reached");
            std::fs::remove_file(&path).unwrap();
        }
    }
}
