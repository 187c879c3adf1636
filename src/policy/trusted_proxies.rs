//! Where a request came from: what trusted proxies say in `X-Forwarded-*` is believed, and nothing else.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Whether this peer is a trusted proxy.
pub fn is_trusted_proxy(peer: &IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(peer))
}

/// The address that requests are counted under: the peer, or, if the peer is a trusted proxy (`is_trusted`), the right-most address of
/// `X-Forwarded-For` (`hops`, its elements in their order) that is not one of them. A client can write the left end, so
/// it is never used. If an element cannot be read, the last one that could be is used, so that nobody can choose an
/// address by sending something unreadable.
pub fn source_address(peer: IpAddr, is_trusted: bool, hops: &[&[u8]], trusted: &[IpNet]) -> IpAddr {
    let (mut source, mut is_trusted) = (peer, is_trusted);
    for hop in hops.iter().rev() {
        if !is_trusted {
            break;
        }
        let Some(address) = address_of(hop) else { break };
        source = address.to_canonical();
        is_trusted = is_trusted_proxy(&source, trusted);
    }
    source
}

/// The address in an element of `X-Forwarded-For`, as proxies write it: alone, in brackets, with a port.
fn address_of(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?;
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    hop.parse().ok().or_else(with_port).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_say_where_a_request_comes_from() {
        let trusted: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        let source = |peer: &str, hops: &[&str]| {
            let hops: Vec<&[u8]> = hops.iter().map(|hop| hop.as_bytes()).collect();
            let peer = peer.parse().unwrap();
            source_address(peer, is_trusted_proxy(&peer, &trusted), &hops, &trusted).to_string()
        };
        assert_eq!(source("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(source("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(source("10.0.0.1", &["6.6.6.6", "198.51.100.7", "10.0.0.2"]), "198.51.100.7");
        assert_eq!(source("10.0.0.1", &["6.6.6.6", "::ffff:198.51.100.7", "10.0.0.2"]), "198.51.100.7");
        for (hop, address) in [
            ("198.51.100.7:5555", "198.51.100.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[::ffff:198.51.100.7]:443", "198.51.100.7"),
        ] {
            assert_eq!(source("10.0.0.1", &["6.6.6.6", hop, "10.0.0.2:80"]), address, "{hop}");
        }
        for hop in [
            "nonsense",
            "unknown",
            "_hidden",
            "",
            "198.51.100.7:",
            "198.51.100.7:port",
            "198.51.100.7:65536",
            "[198.51.100.7]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]443",
            "[2001:db8::1]:",
            "\"198.51.100.7\"",
            "for=198.51.100.7",
            "198.51.100.007",
            "198.51.100",
            "0x7f.1",
        ] {
            assert_eq!(source("10.0.0.1", &["6.6.6.6", hop, "10.0.0.2"]), "10.0.0.2", "{hop}");
        }
        assert_eq!(source("10.0.0.1", &["10.0.0.3", "10.0.0.2"]), "10.0.0.3");
        assert_eq!(source("10.0.0.1", &[]), "10.0.0.1");
    }
}
