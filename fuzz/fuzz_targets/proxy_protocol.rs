//! The beginning of a connection from a load balancer: where a PROXY protocol header ends does not depend on what follows or
//! how it came, and an address is only named where a second, plain reading finds it.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use portcullis::wire::ProxyHeader;

const LONGEST: usize = 16 + 1024;

fuzz_target!(|input: &[u8]| {
    let parsed = match ProxyHeader::parse(input) {
        Err(_) => return,
        Ok(None) => {
            assert!(input.len() < LONGEST);
            return;
        }
        Ok(Some(parsed)) => parsed,
    };
    assert!(ProxyHeader::is_begun(input) && parsed.length <= input.len().min(LONGEST));
    let (header, rest) = input.split_at(parsed.length);
    for length in 0..header.len() {
        assert!(matches!(ProxyHeader::parse(&header[..length]), Ok(None)), "{length} bytes are enough");
    }
    for next in [&b""[..], b"\r\n", b"\x16\x03\x01", rest] {
        let again = ProxyHeader::parse(&[header, next].concat());
        assert!(matches!(again, Ok(Some(again)) if again == parsed), "what follows matters");
    }
    let read = if header[0] == b'P' { of_line(header) } else { of_binary(header) };
    assert_eq!(parsed.source, read);
});

fn of_line(header: &[u8]) -> Option<SocketAddr> {
    let line = std::str::from_utf8(header).expect("text").strip_suffix("\r\n").expect("a whole line");
    assert!(header.len() <= 107 && !line.contains(['\r', '\n']));
    let words: Vec<&str> = line.split(' ').collect();
    if words[1] == "UNKNOWN" {
        return None;
    }
    let [_, family, source, destination, port, other_port] = words[..] else { panic!("{line:?}") };
    for address in [source, destination] {
        let address: IpAddr = address.parse().expect("an address");
        assert_eq!(family, if address.is_ipv4() { "TCP4" } else { "TCP6" });
    }
    for port in [port, other_port] {
        assert_eq!(port.parse::<u16>().expect("a port").to_string(), port);
    }
    Some(SocketAddr::new(source.parse().expect("an address"), port.parse().expect("a port")))
}

fn of_binary(header: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    assert_eq!(usize::from(port(14)) + 16, header.len());
    match (header[12], header[13]) {
        (0x20, _) => None,
        (0x21, 0x11 | 0x12) => Some((<[u8; 4]>::try_from(&header[16..20]).expect("four"), port(24)).into()),
        (0x21, 0x21 | 0x22) => Some((<[u8; 16]>::try_from(&header[16..32]).expect("sixteen"), port(48)).into()),
        (0x21, family) => {
            assert!(family >> 4 == 0 || family & 15 == 0 || family >> 4 == 3, "{family}");
            None
        }
        other => panic!("{other:?}"),
    }
}
