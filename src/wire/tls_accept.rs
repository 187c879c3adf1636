//! TLS handshakes with clients, and an answer in words for those that speak plain HTTP instead, or TLS where plain HTTP is
//! spoken.

use std::io;

use rustix::net::RecvFlags;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroize as _;

use super::field_syntax::is_token;
use super::stream_socket::StreamSocket;

/// The longest method that is looked for, as in request lines.
const METHOD_BYTES: usize = 32;
/// How much of such a request is taken off the socket at most. What is left unread has the system reset the connection,
/// and some clients then lose the answer.
const UNREAD_BYTES: usize = 64 * 1024;

const PLAIN_HTTP_RESPONSE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 75\r\nConnection: close\r\n\r\n\
    Portcullis speaks TLS on this port: call it by https:// instead of http://\n";

const TLS_CLIENT_RESPONSE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 82\r\nConnection: close\r\n\r\n\
    Portcullis speaks plain HTTP on this port: call it by http:// instead of https://\n";

/// What a client's first record of TLS begins with: the type "handshake". No request does.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsAcceptError {
    /// The client began with a request in plain HTTP. It has been answered.
    #[error("the client speaks plain HTTP, not TLS")]
    PlainHttp,
    /// The socket failed, or the handshake.
    #[error(transparent)]
    Handshake(#[from] io::Error),
}

/// Shakes hands with a client. Looks at its first bytes before: one that sends a plain HTTP request gets one answer that
/// says so. To be run within a time limit.
pub async fn accept_tls(
    socket: StreamSocket,
    tls: &TlsAcceptor,
) -> Result<TlsStream<StreamSocket>, TlsAcceptError> {
    let mut first = [0; METHOD_BYTES + 1];
    // they stay where they are; a client that sends them one by one gets the alert that any other garbage gets
    let count = socket.receive(&mut first, RecvFlags::PEEK).await?;
    if is_request(&first[..count]) {
        refuse(&socket, PLAIN_HTTP_RESPONSE).await?;
        return Err(TlsAcceptError::PlainHttp);
    }
    Ok(tls.accept(socket).await?)
}

/// Waits for a client's first byte on a port without TLS. One that begins a TLS handshake gets one answer that says so, and
/// this is true. To be run within a time limit.
pub async fn refuse_tls(socket: &StreamSocket) -> io::Result<bool> {
    let mut first = [0];
    // it stays where it is
    let count = socket.receive(&mut first, RecvFlags::PEEK).await?;
    if count == 0 || first[0] != HANDSHAKE_RECORD {
        return Ok(false);
    }
    refuse(socket, TLS_CLIENT_RESPONSE).await?;
    Ok(true)
}

/// Whether a connection begins like a request line: with a method and a space. No record of TLS does.
fn is_request(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    method > 0 && bytes.get(method) == Some(&b' ')
}

/// Answers. Never waits for the client: a new connection's buffer takes the answer whole.
async fn refuse(socket: &StreamSocket, response: &[u8]) -> io::Result<()> {
    // it may hold a credential
    let mut unread = vec![0; UNREAD_BYTES];
    let taken = socket.receive(&mut unread, RecvFlags::empty()).await;
    unread.zeroize();
    taken?;
    socket.send(response).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_and_a_space_are_a_request_and_tls_is_not() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"POST ", b"PRI * HTTP/2.0", b"x-own_method /"] {
            assert!(is_request(bytes), "{}", bytes.escape_ascii());
        }
        let long = [b'A'; METHOD_BYTES + 1];
        for bytes in
            [&b""[..], b"\x16\x03\x01\x02\x00", b"\x80\x2e\x01", b" GET /", b"GET", b"SSH-2.0-x\r\n", &long]
        {
            assert!(!is_request(bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn each_answer_has_the_length_that_it_announces() {
        for response in [PLAIN_HTTP_RESPONSE, TLS_CLIENT_RESPONSE] {
            let text = std::str::from_utf8(response).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{text}");
        }
    }
}
