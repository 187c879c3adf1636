//! `listeners:` and `public_url:`: where clients reach the gateway.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use super::pem_files::{self, PairError, read_pem_file};
use super::reader::{Files, Reader};
use super::yaml::{Node, Text, Value};
use super::{AccessControl, ListenAddress, TrustedPeers, trusted_peers, unix_socket};

/// One address on which the proxy accepts connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: ListenAddress,
    /// TLS, or plain HTTP where absent.
    pub tls: Option<ListenerTls>,
    /// What this listener says itself, over [`super::Config::access_control`]. A listener beyond loopback is only
    /// open without keys where it says so here.
    pub access_control: Option<AccessControl>,
    /// Load balancers: connections from these peers begin with a PROXY protocol header, and no others do.
    pub proxy_protocol_from: TrustedPeers,
}

/// The certificates of a TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// Chosen by SNI; the first answers unknown names. Never empty.
    pub certificates: Vec<CertificateFiles>,
}

/// A certificate chain and its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
}

impl Listener {
    /// What holds here: the listener's own word, or the configuration's.
    pub fn access_control(&self, config: &super::Config) -> AccessControl {
        self.access_control.unwrap_or(config.access_control)
    }
}

pub(super) const ACCESS_CONTROL: [(&str, AccessControl); 2] =
    [("enabled", AccessControl::Enabled), ("disabled", AccessControl::Disabled)];

/// Reads `listeners:`.
pub(super) fn read_all(
    reader: &mut Reader<'_>,
    node: &Node,
    general: AccessControl,
) -> Option<Vec<Listener>> {
    let mut taken = Vec::new();
    reader.items(node, "a list of listeners", |reader, node| {
        let listener = read(reader, node, general)?;
        if !listener.address.is_shared() && taken.contains(&listener.address) {
            reader.error(node, format!("another listener has the address {}", listener.address));
        }
        taken.push(listener.address.clone());
        Some(listener)
    })
}

fn read(reader: &mut Reader<'_>, node: &Node, general: AccessControl) -> Option<Listener> {
    let section = reader.section(node, &["address", "tls", "access_control", "proxy_protocol"])?;
    let own = section.get("access_control").and_then(|node| reader.word(node, &ACCESS_CONTROL));
    let tls = section.get("tls").map(|node| read_tls(reader, node));
    let address_node = reader.required(&section, "address");
    let address = address_node.and_then(|node| read_listen_address(reader, node));
    let mut proxy_protocol_from = TrustedPeers::default();
    reader.set(&mut proxy_protocol_from, section.get("proxy_protocol"), |reader, node| {
        read_proxy_protocol(reader, node, address.as_ref())
    });
    let (address_node, address) = (address_node?, address?);
    if !address.is_local() && general == AccessControl::Disabled && own.is_none() {
        reader.error(
            address_node,
            format!(
                "{address} is reached from other machines while access control is disabled: the listener must say \
                 'access_control: enabled' or 'access_control: disabled' itself"
            ),
        );
    }
    let tls = match tls {
        None => None,
        Some(tls) => Some(tls?),
    };
    Some(Listener { address, tls, access_control: own, proxy_protocol_from })
}

fn read_proxy_protocol(
    reader: &mut Reader<'_>,
    node: &Node,
    address: Option<&ListenAddress>,
) -> Option<TrustedPeers> {
    let section = reader.section(node, &["from"])?;
    let from = reader.required(&section, "from")?;
    let peers = trusted_peers::read(reader, from)?;
    // whoever is not listed has no header: a list of others would silently ask nobody for one
    let (fits, expected) = match address {
        None => return Some(peers),
        Some(ListenAddress::Tcp(_)) => {
            (!peers.networks.is_empty() && !peers.unix, "the addresses or networks of your load balancers")
        }
        Some(ListenAddress::Unix(_)) => (
            peers.networks.is_empty() && peers.unix,
            "[unix]: whoever comes by this socket has no other name",
        ),
    };
    if !fits {
        return reader.unexpected(from, expected);
    }
    Some(peers)
}

fn read_listen_address(reader: &mut Reader<'_>, node: &Node) -> Option<ListenAddress> {
    let text = match &node.value {
        Value::Text(text) => text.text.as_str(),
        _ => "",
    };
    match unix_socket::path_in(text) {
        Some(path) => unix_socket::read(reader, node, path).map(ListenAddress::Unix),
        None => read_address(reader, node).map(ListenAddress::Tcp),
    }
}

/// Reads `public_url:`.
pub(super) fn read_public_url(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let expected = "http:// or https:// with a host, such as https://api.example.com";
    reader.parsed(node, expected, |text| {
        let url: http::Uri = text.parse().ok()?;
        let fits = matches!(url.scheme_str(), Some("http" | "https"))
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && url.query().is_none()
            && !text.contains('#');
        fits.then(|| text.trim_end_matches('/').to_owned())
    })
}

pub(super) fn read_address(reader: &mut Reader<'_>, node: &Node) -> Option<SocketAddr> {
    let written = match &node.value {
        Value::Integer(port) => Some(port.to_string()),
        Value::Text(Text { text, substituted: false }) => Some(text.clone()),
        _ => None,
    };
    if let Some(address) = written.and_then(|text| probable_address(&text)) {
        return reader.unexpected(
            node,
            format_args!(
                "an IP address and a port, such as {address} (0.0.0.0 where other machines are to reach it)"
            ),
        );
    }
    reader.parsed(node, "an IP address and a port, such as 127.0.0.1:8080", |text| text.parse().ok())
}

/// What was meant by a port alone, a port of this machine, or an address without a port.
fn probable_address(text: &str) -> Option<SocketAddr> {
    let port = text.strip_prefix("localhost").unwrap_or(text);
    let port = port.strip_prefix(':').unwrap_or(port);
    match (port.parse::<u16>(), text.parse::<IpAddr>()) {
        (Ok(port), _) => Some((Ipv4Addr::LOCALHOST, port).into()),
        (_, Ok(address)) => Some((address, 8080).into()),
        _ => None,
    }
}

pub(super) fn read_tls(reader: &mut Reader<'_>, node: &Node) -> Option<ListenerTls> {
    let section = reader.section(node, &["certificates"])?;
    let list = reader.required(&section, "certificates")?;
    let certificates = reader.items(list, "a list of certificates with their keys", |reader, node| {
        let section = reader.section(node, &["certificate", "key"])?;
        let certificate_node = reader.required(&section, "certificate");
        let key_node = reader.required(&section, "key");
        let (certificate_node, key_node) = (certificate_node?, key_node?);
        let certificate = reader.path(certificate_node);
        let key = reader.path(key_node);
        let files = CertificateFiles { certificate: certificate?, key: key? };
        if reader.files == Files::Check {
            check_pair(reader, &files, certificate_node, key_node);
        }
        Some(files)
    })?;
    Some(ListenerTls { certificates })
}

/// Both files must be there and hold PEM, and the key must be the certificate's.
fn check_pair(reader: &mut Reader<'_>, files: &CertificateFiles, certificate_node: &Node, key_node: &Node) {
    let certificates = read_certificates(&files.certificate);
    let certificates = certificates.map_err(|message| reader.error(certificate_node, message));
    let key = read_pem_file(&files.key).and_then(|pem| pem_files::private_key(&files.key, &pem));
    let key = key.map_err(|message| reader.error(key_node, message));
    let (Ok(certificates), Ok(key)) = (certificates, key) else { return };
    match pem_files::certified_key(&files.certificate, certificates, key) {
        Ok(_) => {}
        Err(PairError::OtherKey(message)) => reader.error(key_node, message),
        Err(PairError::Unusable(message)) => reader.error(certificate_node, message),
    }
}

/// Reads a file with at least one certificate.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    pem_files::certificates(path, &read_pem_file(path)?)
}
