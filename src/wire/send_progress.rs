//! How far the other side of a connection has taken what was sent, asked of the kernel (`sock_diag(7)`).
//!
//! A write succeeds when the kernel has room, megabytes before the other side has taken anything. Only acknowledgements
//! show whether a slow side still takes bytes. Asking costs two system calls: it is for when a deadline has passed, not
//! for each write.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::fs::fstat;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::stream_socket::StreamSocket;

/// How much of what was sent the other side has acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendProgress {
    /// Bytes that it has acknowledged since the connection began. At a Unix socket a number that grows as it takes them.
    pub acknowledged: u64,
    /// Bytes that the kernel holds until it acknowledges them.
    pub waiting: u32,
}

// <linux/netlink.h>, <linux/sock_diag.h>, <linux/inet_diag.h>, <linux/unix_diag.h>, <linux/tcp.h>
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_UNIX: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const INET_DIAG_INFO: u16 = 2;
/// `struct unix_diag_rqlen`: what was received, then what the other side has not taken.
const UNIX_DIAG_RQLEN: u16 = 4;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const ALL_STATES: u32 = u32::MAX;
const NO_COOKIE: u32 = u32::MAX;
const MESSAGE_HEADER_BYTES: usize = 16;
/// Family, state, timer, retransmissions; the socket's identity; expiry; then the queues.
const QUEUE_AT: usize = MESSAGE_HEADER_BYTES + 4 + 48 + 4 + 4;
const TCP_ATTRIBUTES_AT: usize = MESSAGE_HEADER_BYTES + 72;
/// Behind `struct unix_diag_msg`.
const UNIX_ATTRIBUTES_AT: usize = MESSAGE_HEADER_BYTES + 16;
/// `tcpi_bytes_acked` in `struct tcp_info`.
const ACKNOWLEDGED_AT: usize = 120;

thread_local! {
    /// `None`: this system does not answer such questions.
    static KERNEL: Option<OwnedFd> = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    ).ok();
}

impl SendProgress {
    /// Asks about a connection. `None` where the kernel does not say.
    pub fn of(socket: &StreamSocket) -> Option<Self> {
        match socket {
            StreamSocket::Tcp(tcp) => {
                ask(&tcp_question(tcp.local_addr().ok()?, tcp.peer_addr().ok()?), Self::read_tcp)
            }
            StreamSocket::Unix(unix) => {
                let inode = u32::try_from(fstat(unix).ok()?.st_ino).ok()?;
                ask(&unix_question(inode), Self::read_unix)
            }
        }
    }

    fn read_tcp(answer: &[u8]) -> Option<Self> {
        let waiting = u32::from_ne_bytes(bytes_at(answer, QUEUE_AT)?);
        let at = attribute(answer, TCP_ATTRIBUTES_AT, INET_DIAG_INFO)?;
        let acknowledged = u64::from_ne_bytes(bytes_at(answer, at + ACKNOWLEDGED_AT)?);
        Some(Self { acknowledged, waiting })
    }

    fn read_unix(answer: &[u8]) -> Option<Self> {
        let at = attribute(answer, UNIX_ATTRIBUTES_AT, UNIX_DIAG_RQLEN)?;
        let waiting = u32::from_ne_bytes(bytes_at(answer, at + 4)?);
        // nobody counts what was taken; what waits becomes less by it
        Some(Self { acknowledged: u64::from(u32::MAX - waiting), waiting })
    }
}

/// Sends a question and has `read` look at the answer.
fn ask(question: &[u8], read: impl FnOnce(&[u8]) -> Option<SendProgress>) -> Option<SendProgress> {
    KERNEL.with(|kernel| {
        let kernel = kernel.as_ref()?;
        let mut answer = [0; 1024];
        // the kernel answers before `send` returns
        let came = send(kernel, question, SendFlags::empty())
            .and_then(|_| recv(kernel, &mut answer[..], RecvFlags::empty()));
        let (count, _) = came.map_err(io::Error::from).ok()?;
        let answer = answer.get(..count)?;
        (u16_at(answer, 4)? == SOCK_DIAG_BY_FAMILY).then(|| read(answer))?
    })
}

/// Where the content of an attribute begins. Attributes begin at `at`.
fn attribute(answer: &[u8], mut at: usize, kind: u16) -> Option<usize> {
    loop {
        let length = usize::from(u16_at(answer, at)?);
        if u16_at(answer, at + 2)? == kind {
            return Some(at + 4);
        }
        at += length.max(4).next_multiple_of(4);
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn tcp_question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut request = vec![family, IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0];
    request.extend_from_slice(&ALL_STATES.to_ne_bytes());
    request.extend_from_slice(&local.port().to_be_bytes());
    request.extend_from_slice(&remote.port().to_be_bytes());
    for address in [local, remote] {
        let mut bytes = [0; 16];
        match address.ip() {
            IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes = address.octets(),
        }
        request.extend_from_slice(&bytes);
    }
    // a link-local address means nothing without its interface
    let interface = if let SocketAddr::V6(local) = local { local.scope_id() } else { 0 };
    for word in [interface, NO_COOKIE, NO_COOKIE] {
        request.extend_from_slice(&word.to_ne_bytes());
    }
    message(&request)
}

/// `struct nlmsghdr` and `struct unix_diag_req`.
fn unix_question(inode: u32) -> Vec<u8> {
    let mut request = vec![AF_UNIX, 0, 0, 0];
    for word in [ALL_STATES, inode, UDIAG_SHOW_RQLEN, NO_COOKIE, NO_COOKIE] {
        request.extend_from_slice(&word.to_ne_bytes());
    }
    message(&request)
}

fn message(request: &[u8]) -> Vec<u8> {
    let length = u32::try_from(MESSAGE_HEADER_BYTES + request.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    // sequence, and who asks: the kernel fills the latter in
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(request);
    message
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    use super::*;

    #[tokio::test]
    async fn the_kernel_reports_acknowledged_and_waiting_bytes() {
        for (listens, calls) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let listener = TcpListener::bind(listens).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut client = TcpStream::connect((calls, port)).await.unwrap();
            let mut server = StreamSocket::from(listener.accept().await.unwrap().0);
            server.write_all(&[1; 1000]).await.unwrap();
            client.read_exact(&mut [0; 1000]).await.unwrap();
            let before = SendProgress::of(&server).expect("the kernel answers");
            // the handshake counts as one byte
            assert!((1000..1002).contains(&before.acknowledged), "{listens}: {before:?}");
            assert_eq!(before.waiting, 0, "{listens}");

            let sent = fill(&server).await;
            let full = SendProgress::of(&server).expect("the kernel answers");
            let taken = full.acknowledged - before.acknowledged;
            assert_eq!(taken + u64::from(full.waiting), sent, "{listens}: {full:?}");
            assert!(full.waiting > 0, "{listens}: {full:?}");
        }
    }

    /// Writes until there is no more room. How much.
    async fn fill(socket: &StreamSocket) -> u64 {
        let mut sent = 0;
        let a_while = std::time::Duration::from_millis(200);
        while let Ok(Ok(count)) = tokio::time::timeout(a_while, socket.send(&[2; 10_000])).await {
            sent += u64::try_from(count).unwrap();
        }
        sent
    }

    #[tokio::test]
    async fn of_a_unix_socket_the_kernel_reports_what_waits() {
        let (server, mut client) = UnixStream::pair().unwrap();
        let server = StreamSocket::from(server);
        let empty = SendProgress::of(&server).expect("the kernel answers");
        assert_eq!(empty.waiting, 0);
        let sent = fill(&server).await;
        let full = SendProgress::of(&server).expect("the kernel answers");
        assert!(
            u64::from(full.waiting) >= sent && full.acknowledged < empty.acknowledged,
            "{full:?} of {sent}"
        );
        client.read_exact(&mut vec![0; usize::try_from(sent / 2).unwrap()]).await.unwrap();
        let half = SendProgress::of(&server).expect("the kernel answers");
        assert!(half.acknowledged > full.acknowledged && half.waiting > 0, "{half:?} after {full:?}");
        client.read_exact(&mut vec![0; usize::try_from(sent - sent / 2).unwrap()]).await.unwrap();
        assert_eq!(SendProgress::of(&server), Some(empty));
    }

    #[test]
    fn a_malformed_kernel_answer_is_ignored() {
        for length in [0, 3, 16, 20, 88, 92, 200] {
            let answer = vec![0; length];
            assert_eq!(SendProgress::read_tcp(&answer), None);
            let answer = vec![1; length];
            assert_eq!(SendProgress::read_unix(&answer), None);
        }
    }
}
