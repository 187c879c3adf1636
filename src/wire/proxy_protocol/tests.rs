use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The source that a header names, whose length must be all of it.
#[track_caller]
fn source(header: &[u8]) -> Option<String> {
    let followed = [header, b"GET / HTTP/1.1\r\n"].concat();
    let parsed = ProxyHeader::parse(&followed).unwrap_or_else(|e| panic!("{e}: {}", header.escape_ascii()));
    let parsed = parsed.unwrap_or_else(|| panic!("not whole: {}", header.escape_ascii()));
    assert_eq!(parsed.length, header.len(), "{}", header.escape_ascii());
    for length in 0..header.len() {
        let part = ProxyHeader::parse(&header[..length]);
        assert!(matches!(part, Ok(None)), "{length} bytes of {}: {part:?}", header.escape_ascii());
    }
    parsed.source.map(|source| source.to_string())
}

#[track_caller]
fn refused(header: &[u8]) -> String {
    match ProxyHeader::parse(header) {
        Err(error) => error.to_string(),
        parsed => panic!("{parsed:?} of {}", header.escape_ascii()),
    }
}

/// Version 2 with this command and family, and what follows.
fn binary(command: u8, family: u8, variable: &[u8]) -> Vec<u8> {
    let length = u16::try_from(variable.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, variable].concat()
}

/// From 192.0.2.7:258 to 198.51.100.1:443.
const TCP4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 1, 187];

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// With the right checksum, behind and before other extensions.
fn with_checksum() -> Vec<u8> {
    let [before, after] = [extension(2, b"api.example"), extension(4, &[0; 9])];
    let variable = [&TCP4[..], &before, &extension(CHECKSUM, &[0; 4]), &after].concat();
    let mut header = binary(0x21, 0x11, &variable);
    let at = FIXED_BYTES + 12 + before.len() + 3;
    let sum = crc32c([&header, &[], &[]]);
    header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    header
}

#[test]
fn lines_name_the_source() {
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443", Some("192.0.2.7:56324")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535", Some("255.255.255.255:65535")),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0", Some("0.0.0.0:0")),
        ("PROXY TCP6 2001:db8::1 ::1 56324 443", Some("[2001:db8::1]:56324")),
        ("PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::1 1 2", Some("[2001:db8::1]:1")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2", Some("[::ffff:192.0.2.7]:1")),
        ("PROXY UNKNOWN", None),
        ("PROXY UNKNOWN ", None),
        ("PROXY UNKNOWN 192.0.2.7 198.51.100.1 56324 443", None),
        (&format!("PROXY UNKNOWN {}", "x".repeat(107 - 2 - 14)), None),
    ] {
        assert_eq!(source(format!("{line}\r\n").as_bytes()).as_deref(), expected, "{line}");
    }
}

#[test]
fn a_line_has_one_spelling() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 x\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP4\t192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100 56324 443\r\n",
        "PROXY TCP4 0x7f.1 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 056324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1  443\r\n",
        "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP6 [2001:db8::1] ::1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP6 2001:db8::1::2 ::1 1 2\r\n",
        "PROXY TCP 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN \r\r\n",
        "PROXY UNKNOWN a\rb\r\n",
    ] {
        assert_eq!(refused(line.as_bytes()), ProxyHeaderError::Line.to_string(), "{line:?}");
    }
    assert_eq!(refused(b"PROXY UNKNOWN \xff\r\n"), ProxyHeaderError::Line.to_string());
}

#[test]
fn a_line_is_107_bytes_at_most() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 2 - 14 + 1));
    assert_eq!(refused(long.as_bytes()), ProxyHeaderError::TooLong.to_string());
    assert_eq!(refused(&long.as_bytes()[..107]), ProxyHeaderError::TooLong.to_string());
    assert!(matches!(ProxyHeader::parse(&long.as_bytes()[..106]), Ok(None)));
}

#[test]
fn something_else_is_no_header() {
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PROXYTCP4",
        b"proxy TCP4",
        b" PROXY",
        b"\x16\x03\x01",
        b"\r\n\r\n\r\n",
        b"\r\nPROXY ",
        b"\r\n\r\n\0\r\nQUIT\r",
    ] {
        assert_eq!(refused(other), ProxyHeaderError::Missing.to_string(), "{}", other.escape_ascii());
        assert!(!ProxyHeader::is_begun(other));
    }
    assert!(ProxyHeader::is_begun(b"PROXY x") && ProxyHeader::is_begun(&binary(0x21, 0x11, &TCP4)));
}

#[test]
fn version_2_names_the_source() {
    for family in [0x11, 0x12] {
        assert_eq!(source(&binary(0x21, family, &TCP4)).as_deref(), Some("192.0.2.7:258"));
    }
    let mut tcp6 = [0; 36];
    tcp6[..2].copy_from_slice(&[0x20, 1]);
    tcp6[15] = 9;
    tcp6[32..34].copy_from_slice(&[1, 2]);
    for family in [0x21, 0x22] {
        assert_eq!(source(&binary(0x21, family, &tcp6)).as_deref(), Some("[2001::9]:258"));
    }
    let extended = [&TCP4[..], &extension(1, b"h2"), &extension(0xE0, &[7; 990])].concat();
    assert_eq!(source(&binary(0x21, 0x11, &extended)).as_deref(), Some("192.0.2.7:258"));
    assert_eq!(source(&with_checksum()).as_deref(), Some("192.0.2.7:258"));
}

#[test]
fn who_speaks_for_itself_names_nobody() {
    // also with addresses filled in (kanidm#3866), nonsense, or a wrong checksum
    let wrong = [&TCP4[..], &extension(CHECKSUM, &[1; 4])].concat();
    for (family, variable) in
        [(0x00, &b""[..]), (0x11, &TCP4), (0x11, b""), (0x21, &[9; 40]), (0xFF, b"\x03\xFF"), (0x11, &wrong)]
    {
        assert_eq!(source(&binary(0x20, family, variable)), None, "{family}");
    }
    // unspecified, and Unix sockets
    for (family, variable) in
        [(0x00, &b""[..]), (0x00, &TCP4), (0x01, &TCP4), (0x10, &TCP4), (0x31, &[7; 216]), (0x32, &[0; 216])]
    {
        assert_eq!(source(&binary(0x21, family, variable)), None, "{family}");
    }
}

#[test]
fn what_version_2_does_not_know_is_refused() {
    for command in [0x00, 0x01, 0x10, 0x11, 0x22, 0x2F, 0x31, 0xFF] {
        let error = ProxyHeaderError::VersionOrCommand.to_string();
        assert_eq!(refused(&binary(command, 0x11, &TCP4)), error);
    }
    for family in [0x03, 0x0F, 0x13, 0x23, 0x33, 0x40, 0x41, 0x51, 0xFF] {
        assert_eq!(refused(&binary(0x21, family, &[0; 216])), ProxyHeaderError::Family.to_string());
    }
    let long = binary(0x21, 0x11, &[0; 1025]);
    assert_eq!(refused(&long[..FIXED_BYTES]), ProxyHeaderError::TooLong.to_string());
    assert_eq!(refused(&binary(0x20, 0, &[0; 1025])), ProxyHeaderError::TooLong.to_string());
}

#[test]
fn lengths_agree() {
    let cut = [&TCP4[..], &[1, 0]].concat();
    let overlong = [&TCP4[..], &[1, 0, 2, 9]].concat();
    let checksum = [&TCP4[..], &extension(CHECKSUM, &[0; 3])].concat();
    for (family, variable) in [
        (0x11, &b""[..]),
        (0x11, &TCP4[..11]),
        (0x21, &[0; 35]),
        (0x31, &[0; 215]),
        (0x11, &cut),
        (0x11, &overlong),
        (0x11, &checksum),
    ] {
        assert_eq!(refused(&binary(0x21, family, variable)), ProxyHeaderError::Lengths.to_string());
    }
}

#[test]
fn a_checksum_is_of_the_whole_header() {
    assert_eq!(crc32c([b"123", b"456", b"789"]), 0xE306_9283);
    let right = with_checksum();
    // all but what makes it another header
    for at in FIXED_BYTES..FIXED_BYTES + 12 {
        let mut wrong = right.clone();
        wrong[at] ^= 1;
        assert_eq!(refused(&wrong), ProxyHeaderError::Checksum.to_string(), "byte {at}");
    }
    let last = right.len() - 1;
    let mut wrong = right.clone();
    wrong[last] ^= 0x80;
    assert_eq!(refused(&wrong), ProxyHeaderError::Checksum.to_string());
    let two = [&TCP4[..], &extension(CHECKSUM, &[0; 4]), &extension(CHECKSUM, &[0; 4])].concat();
    assert_eq!(refused(&binary(0x21, 0x11, &two)), ProxyHeaderError::Checksum.to_string());
}

#[tokio::test]
async fn not_one_byte_too_much_is_read() {
    for header in [b"PROXY TCP4 192.0.2.7 198.51.100.1 258 443\r\n".to_vec(), with_checksum()] {
        for at_once in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.set_nodelay(true).unwrap();
            let mut server = StreamSocket::from(listener.accept().await.unwrap().0);
            let send = async {
                if at_once {
                    client.write_all(&[&header[..], b"next"].concat()).await.unwrap();
                } else {
                    for byte in &header {
                        client.write_all(&[*byte]).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    client.write_all(b"next").await.unwrap();
                }
            };
            let (source, ()) = tokio::join!(read_proxy_header(&server), send);
            assert_eq!(source.unwrap(), Some("192.0.2.7:258".parse().unwrap()));
            let mut next = [0; 4];
            server.read_exact(&mut next).await.unwrap();
            assert_eq!(&next, b"next");
        }
    }
}

#[tokio::test]
async fn an_early_end_is_no_header() {
    for (sent, expected) in [(&b""[..], ProxyHeaderError::Unused), (b"PROXY TCP4 1", ProxyHeaderError::Ended)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = StreamSocket::from(listener.accept().await.unwrap().0);
        client.write_all(sent).await.unwrap();
        drop(client);
        let error = read_proxy_header(&server).await.unwrap_err();
        assert_eq!(error.to_string(), expected.to_string());
    }
}
