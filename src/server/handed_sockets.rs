//! Listening sockets that this process did not open: the process that it takes over from had them, or systemd keeps them.

use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use socket2::Socket;

use crate::config::ListenAddress;
use crate::proxy::{self, BindError, PortUse, UnixSocketFile};

/// What a listening socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests to the API.
    Proxy,
    /// The management listener.
    Management,
}

impl Purpose {
    /// The name of the socket of this worker: the one that systemd keeps it by, and that it has when it is handed over. That
    /// of a Unix socket names its file, too: another process may put its own in the same place.
    pub(super) fn socket_name(
        self,
        configured: &ListenAddress,
        worker: usize,
        file: Option<&UnixSocketFile>,
    ) -> String {
        let prefix = self.prefix(configured);
        match (self, file) {
            (Self::Proxy, None) => format!("{prefix}{worker}"),
            (Self::Proxy, Some(file)) => format!("{prefix}{worker}-{}", file.inode()),
            (Self::Management, _) => prefix,
        }
    }

    fn prefix(self, configured: &ListenAddress) -> String {
        // names may not contain colons (sd_pid_notify_with_fds(3))
        let address = configured.to_string().replace(':', "_");
        match self {
            Self::Proxy => format!("listen-{address}-"),
            Self::Management => format!("management-{address}"),
        }
    }
}

/// Sockets that wait to be taken. What is left over at the end is closed.
#[derive(Debug, Default)]
pub(super) struct HandedSockets(Vec<(String, Socket)>);

impl HandedSockets {
    /// Those that systemd passes on (`LISTEN_FDS`, `sd_listen_fds(3)`): kept for this service at its last end, or opened by a
    /// socket unit.
    pub(super) fn from_service_manager() -> Self {
        let mut found = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
        let sockets = (0..found.len()).zip(names).filter_map(|(at, name)| {
            let taken = found.take_tcp_listener(at).map(|tcp| tcp.map(Socket::from));
            let taken = taken.or_else(|_| Ok(found.take_unix_listener(at)?.map(Socket::from)));
            if let Err::<_, std::io::Error>(error) = &taken {
                tracing::warn!(%error, name, "systemd has passed on what is no listening TCP or Unix socket");
            }
            Some((name, taken.ok()??))
        });
        Self(sockets.collect())
    }

    /// One more.
    pub(super) fn push(&mut self, name: String, socket: OwnedFd) {
        self.0.push((name, socket.into()));
    }

    /// Fails if another process listens at an address that none of these is for.
    pub(super) fn ensure_free(
        &self,
        purpose: Purpose,
        configured: &ListenAddress,
    ) -> Result<PortUse, BindError> {
        if self.0.iter().any(|(name, socket)| is_for(name, socket, purpose, configured)) {
            return Ok(PortUse::Shared);
        }
        let own: Vec<_> = self.0.iter().filter(|(_, socket)| is_in_the_way(socket, configured)).collect();
        // where one of these has the port, nobody else can: the new socket shares it, until the old one is given up
        for (_, socket) in &own {
            socket.set_reuse_port(true).map_err(|source| BindError::new(configured.clone(), source))?;
        }
        if own.is_empty() {
            proxy::ensure_free(configured)?;
            return Ok(PortUse::Alone);
        }
        Ok(PortUse::Shared)
    }

    /// Takes those of one listener. Where the configuration leaves the port to the system, it is that of the first one found.
    pub(super) fn take(&mut self, purpose: Purpose, configured: &ListenAddress) -> Vec<Socket> {
        let mut taken: Vec<Socket> = Vec::new();
        for (name, socket) in std::mem::take(&mut self.0) {
            let is_same = |first: &Socket| first.local_addr().ok() == socket.local_addr().ok();
            if is_for(&name, &socket, purpose, configured) && taken.first().is_none_or(is_same) {
                taken.push(socket);
            } else {
                self.0.push((name, socket));
            }
        }
        taken
    }

    /// Closes those that are left over, and gives their names.
    pub(super) fn into_names(self) -> Vec<String> {
        self.0.into_iter().map(|(name, _)| name).filter(|name| !name.is_empty()).collect()
    }
}

/// Whether the socket keeps others from listening at this address: it has the same port, and one of the two is for all
/// addresses of the machine.
fn is_in_the_way(socket: &Socket, configured: &ListenAddress) -> bool {
    let actual = socket.local_addr().ok().and_then(|actual| actual.as_socket());
    actual.zip(configured.tcp()).is_some_and(|(actual, configured)| {
        let all = actual.ip().is_unspecified() || configured.ip().is_unspecified();
        actual.port() == configured.port() && all
    })
}

/// By the address that it has. A port that the system chose tells nothing: then by the name. A Unix socket whose file is gone,
/// or is another's, is reached by nobody.
fn is_for(name: &str, socket: &Socket, purpose: Purpose, configured: &ListenAddress) -> bool {
    if configured.is_shared() {
        return name.starts_with(&purpose.prefix(configured));
    }
    let Ok(actual) = socket.local_addr() else { return false };
    match configured {
        ListenAddress::Tcp(address) => actual.as_socket() == Some(*address),
        ListenAddress::Unix(path) => {
            let named = name.strip_prefix(&purpose.prefix(configured)).and_then(|rest| rest.split_once('-'));
            let is_own =
                |file: UnixSocketFile| named.is_none_or(|(_, inode)| inode == file.inode().to_string());
            actual.as_pathname() == Some(path) && UnixSocketFile::at(path).is_ok_and(is_own)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    fn socket() -> (ListenAddress, OwnedFd) {
        // one that is free at all addresses of the machine: other tests have ports at some
        let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let socket = TcpListener::bind(("127.0.0.1", port)).unwrap();
        (socket.local_addr().unwrap().into(), socket.into())
    }

    #[test]
    fn sockets_are_found_by_their_address_or_by_name_where_the_system_chose_the_port() {
        let address = |text: &str| ListenAddress::from(text.parse::<SocketAddr>().unwrap());
        let any = &address("127.0.0.1:0");
        let name = |purpose: Purpose, worker| purpose.socket_name(any, worker, None);
        assert_eq!(name(Purpose::Proxy, 1), "listen-127.0.0.1_0-1");
        assert_eq!(name(Purpose::Management, 0), "management-127.0.0.1_0");
        let mut handed = HandedSockets::default();
        let [first, second, management] = std::array::from_fn(|_| socket());
        let again = first.1.try_clone().unwrap();
        handed.push(name(Purpose::Management, 0), management.1);
        handed.push(name(Purpose::Proxy, 0), first.1);
        handed.push(name(Purpose::Proxy, 1), again);
        handed.push(name(Purpose::Proxy, 0), second.1);
        // two listeners whose ports the system chose
        for (count, address) in [(2, first.0), (1, second.0)] {
            let taken = handed.take(Purpose::Proxy, any);
            assert_eq!(taken.len(), count);
            assert!(taken.iter().all(|socket| socket.local_addr().unwrap().as_socket() == address.tcp()));
        }
        assert!(handed.take(Purpose::Proxy, any).is_empty());
        // a socket unit calls it something else
        assert_eq!(handed.take(Purpose::Management, &management.0).len(), 1);
        assert!(handed.into_names().is_empty());
    }

    #[test]
    fn a_port_moves_between_one_address_and_all_of_the_machine() {
        let (one, socket) = socket();
        let all = ListenAddress::from(SocketAddr::from(([0; 4], one.tcp().unwrap().port())));
        let mut handed = HandedSockets::default();
        let refused = handed.ensure_free(Purpose::Management, &all);
        assert!(matches!(refused, Err(BindError::InUse { .. })), "another process may have it: {refused:?}");
        handed.push("former".to_owned(), socket);
        let port = handed.ensure_free(Purpose::Management, &all).unwrap();
        let new = proxy::listen(all.tcp().unwrap(), port).unwrap();
        assert!(handed.take(Purpose::Management, &all).is_empty());
        assert_eq!(handed.into_names(), ["former"]);

        let mut handed = HandedSockets::default();
        handed.push("new".to_owned(), new.into());
        let port = handed.ensure_free(Purpose::Management, &one).unwrap();
        proxy::listen(one.tcp().unwrap(), port).unwrap();
    }
}
