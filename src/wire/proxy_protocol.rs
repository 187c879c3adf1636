//! The PROXY protocol, versions 1 and 2, as a receiver: a load balancer says before the first byte of a connection where it
//! comes from (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::RecvFlags;

use super::stream_socket::StreamSocket;

/// The longest line of version 1, with CR LF.
const MAX_LINE_BYTES: usize = 107;
const LINE_BEGIN: &[u8] = b"PROXY ";

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, and the length of what follows.
const FIXED_BYTES: usize = 16;
/// How long what follows may be: addresses and extensions.
const MAX_VARIABLE_BYTES: usize = 1024;
const MAX_BYTES: usize = FIXED_BYTES + MAX_VARIABLE_BYTES;
/// Of a Unix socket, twice.
const UNIX_ADDRESSES_BYTES: usize = 216;
/// The extension with a checksum of the whole header (`PP2_TYPE_CRC32C`).
const CHECKSUM: u8 = 3;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Where the connection comes from. `None`: the sender speaks for itself, or does not know.
    pub source: Option<SocketAddr>,
    /// How long the header is. What follows is the client's.
    pub length: usize,
}

/// Why a connection does not begin with a header that can be believed.
#[derive(Debug, thiserror::Error)]
pub enum ProxyHeaderError {
    /// It begins with something else.
    #[error("it does not begin with a PROXY protocol header")]
    Missing,
    /// A line of version 1.
    #[error("a PROXY protocol line that does not keep to the specification")]
    Line,
    /// Longer than it may be.
    #[error("a PROXY protocol header that is too long")]
    TooLong,
    /// Another version than 2, or a command other than LOCAL and PROXY.
    #[error("an unknown version or command of the PROXY protocol")]
    VersionOrCommand,
    /// An unassigned family or transport.
    #[error("an unknown address family or transport in a PROXY protocol header")]
    Family,
    /// Addresses or extensions that do not fit into it.
    #[error("a PROXY protocol header whose lengths contradict each other")]
    Lengths,
    /// Its checksum is another one.
    #[error("a PROXY protocol header with a wrong checksum")]
    Checksum,
    /// The connection ended first.
    #[error("the connection ended within its PROXY protocol header")]
    Ended,
    /// The connection ended, or failed, before the first byte: so do checks whether the port is open.
    #[error("the connection ended before its PROXY protocol header")]
    Unused,
    /// The socket.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

impl ProxyHeader {
    /// Parses the header at the beginning of `input`. `None`: more must come, and all of `input` belongs to the header.
    pub fn parse(input: &[u8]) -> Result<Option<Self>, ProxyHeaderError> {
        if begins_like(input, LINE_BEGIN) {
            parse_line(input)
        } else if begins_like(input, SIGNATURE) {
            parse_binary(input)
        } else {
            Err(ProxyHeaderError::Missing)
        }
    }

    /// Whether `input` begins like a header of either version.
    pub fn is_begun(input: &[u8]) -> bool {
        input.starts_with(LINE_BEGIN) || input.starts_with(SIGNATURE)
    }
}

/// Whether `input` begins with `expected`, as far as either goes.
fn begins_like(input: &[u8], expected: &[u8]) -> bool {
    let length = input.len().min(expected.len());
    input[..length] == expected[..length]
}

/// Version 1: `PROXY TCP4 192.0.2.7 198.51.100.1 56324 443`, or `PROXY UNKNOWN` and anything.
fn parse_line(input: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let input = &input[..input.len().min(MAX_LINE_BYTES)];
    let Some(end) = memchr::memchr(b'\n', input) else {
        return if input.len() < MAX_LINE_BYTES { Ok(None) } else { Err(ProxyHeaderError::TooLong) };
    };
    let line = input[..end].strip_suffix(b"\r").ok_or(ProxyHeaderError::Line)?;
    let source = line_source(&line[LINE_BEGIN.len()..])?;
    Ok(Some(ProxyHeader { source, length: end + 1 }))
}

/// The source that the rest of a line names.
fn line_source(rest: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let rest = std::str::from_utf8(rest).map_err(|_| ProxyHeaderError::Line)?;
    if rest.contains('\r') {
        return Err(ProxyHeaderError::Line);
    }
    let mut words = rest.split(' ');
    let parse_address: fn(&str) -> Option<IpAddr> = match words.next() {
        // whatever follows says nothing
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some("TCP6") => |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(ProxyHeaderError::Line),
    };
    let mut addresses = || {
        let (source, _) = (parse_address(words.next()?)?, parse_address(words.next()?)?);
        let (port, _) = (port(words.next()?)?, port(words.next()?)?);
        words.next().is_none().then(|| SocketAddr::new(source, port))
    };
    addresses().map(Some).ok_or(ProxyHeaderError::Line)
}

/// One spelling only: no sign, no leading zero.
fn port(word: &str) -> Option<u16> {
    let is_plain = word == "0" || !word.starts_with(['0', '+']);
    word.parse().ok().filter(|_| is_plain)
}

/// Version 2.
fn parse_binary(input: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let Some(fixed) = input.get(..FIXED_BYTES) else { return Ok(None) };
    let is_local = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyHeaderError::VersionOrCommand),
    };
    let variable = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if variable > MAX_VARIABLE_BYTES {
        return Err(ProxyHeaderError::TooLong);
    }
    let length = FIXED_BYTES + variable;
    let Some(header) = input.get(..length) else { return Ok(None) };
    // with LOCAL the family and all that follows mean nothing, whatever is there
    let source = if is_local { None } else { binary_source(header)? };
    Ok(Some(ProxyHeader { source, length }))
}

/// The source that a whole header with the command PROXY names.
fn binary_source(header: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let variable = &header[FIXED_BYTES..];
    // the upper half is the family, the lower one the transport; with 0 in either, addresses mean nothing
    let (source, addresses_bytes) = match header[13] {
        0x00..=0x02 | 0x10 | 0x20 | 0x30 => return Ok(None),
        0x11 | 0x12 => (ip_source(variable.first_chunk::<4>(), variable.get(8..10)), 12),
        0x21 | 0x22 => (ip_source(variable.first_chunk::<16>(), variable.get(32..34)), 36),
        0x31 | 0x32 => (None, UNIX_ADDRESSES_BYTES),
        _ => return Err(ProxyHeaderError::Family),
    };
    let extensions = variable.get(addresses_bytes..).ok_or(ProxyHeaderError::Lengths)?;
    check_extensions(header, extensions)?;
    Ok(source)
}

fn ip_source<const N: usize>(address: Option<&[u8; N]>, port: Option<&[u8]>) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    Some(SocketAddr::new(IpAddr::from(*address?), u16::from_be_bytes(port?.try_into().ok()?)))
}

/// Each extension is a type, a length and so many bytes. Only the checksum is looked at: it must be right if it is there.
fn check_extensions(header: &[u8], mut extensions: &[u8]) -> Result<(), ProxyHeaderError> {
    let mut checksum = None;
    while let [kind, high, low, rest @ ..] = extensions {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = rest.split_at_checked(length).ok_or(ProxyHeaderError::Lengths)?;
        if *kind == CHECKSUM {
            let value: [u8; 4] = value.try_into().map_err(|_| ProxyHeaderError::Lengths)?;
            let begin = header.len() - rest.len();
            if checksum.replace((u32::from_be_bytes(value), begin)).is_some() {
                return Err(ProxyHeaderError::Checksum);
            }
        }
        extensions = next;
    }
    if !extensions.is_empty() {
        return Err(ProxyHeaderError::Lengths);
    }
    // it is made with zeros in its own place
    let is_right =
        checksum.is_none_or(|(sum, begin)| crc32c([&header[..begin], &[0; 4], &header[begin + 4..]]) == sum);
    if is_right { Ok(()) } else { Err(ProxyHeaderError::Checksum) }
}

/// CRC-32C (RFC 3720, appendix B.4).
fn crc32c(parts: [&[u8]; 3]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let bytes = parts.into_iter().flatten();
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg()))
    })
}

/// Reads a connection's header and not one byte more: what follows is for TLS or HTTP. To be run within a time limit.
/// Returns what [`ProxyHeader::source`] says.
pub async fn read_proxy_header(socket: &StreamSocket) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut header = [0; MAX_BYTES];
    let mut length = 0;
    loop {
        // what is only looked at stays in the socket
        let seen = socket.receive(&mut header[length..], RecvFlags::PEEK).await;
        let seen = match seen {
            Ok(0) | Err(_) if length == 0 => return Err(ProxyHeaderError::Unused),
            Ok(0) => return Err(ProxyHeaderError::Ended),
            seen => length + seen?,
        };
        let parsed = ProxyHeader::parse(&header[..seen])?;
        let end = parsed.map_or(seen, |header| header.length);
        length += socket.receive(&mut header[length..end], RecvFlags::empty()).await?;
        if let Some(ProxyHeader { source, .. }) = parsed.filter(|header| header.length == length) {
            return Ok(source);
        }
    }
}
