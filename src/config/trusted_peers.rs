//! Peers that may say where a connection or a request comes from.

use std::fmt;

use ipnet::IpNet;

use super::reader::Reader;
use super::yaml::{Node, Value};

/// The word for the peers at Unix sockets.
const UNIX: &str = "unix";

/// Peers that are believed: networks, and whoever comes by a Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedPeers {
    /// Those that come by TCP.
    pub networks: Vec<IpNet>,
    /// Those that come by a Unix socket. No network stands for them: it would stand for processes that come by TCP too.
    pub unix: bool,
}

impl TrustedPeers {
    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Each of them, as it is written in the configuration.
    pub fn described(&self) -> Vec<String> {
        let networks = self.networks.iter().map(ToString::to_string);
        networks.chain(self.unix.then(|| UNIX.to_owned())).collect()
    }
}

impl fmt::Display for TrustedPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.described().join(", "))
    }
}

pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<TrustedPeers> {
    let items = reader.list(node, "a list of networks such as [10.0.0.0/8, 192.0.2.7], or [unix]")?;
    let mut peers = TrustedPeers::default();
    for item in items {
        if matches!(&item.value, Value::Text(text) if text.text == UNIX) {
            peers.unix = true;
            continue;
        }
        let network =
            reader.parsed(item, "an address or a network such as 10.0.0.0/8, or the word unix", |text| {
                text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
            });
        let Some(network) = network else { continue };
        if network != network.trunc() {
            reader.error(
                item,
                format!("expected '{}' with this prefix length, found '{network}'", network.trunc()),
            );
        }
        peers.networks.push(network);
    }
    Some(peers)
}
