//! TLS handshakes with clients, and an answer in words for those that speak plain HTTP instead.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroize as _;

use super::field_syntax::is_token;

/// The longest method that is looked for, as in request lines.
const METHOD_BYTES: usize = 32;
/// How much of such a request is taken off the socket at most. What is left unread has the system reset the connection,
/// and some clients then lose the answer.
const UNREAD_BYTES: usize = 64 * 1024;

const PLAIN_HTTP_RESPONSE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 75\r\nConnection: close\r\n\r\n\
    Portcullis speaks TLS on this port: call it by https:// instead of http://\n";

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
pub async fn accept_tls(tcp: TcpStream, tls: &TlsAcceptor) -> Result<TlsStream<TcpStream>, TlsAcceptError> {
    let mut first = [0; METHOD_BYTES + 1];
    // they stay where they are; a client that sends them one by one gets the alert that any other garbage gets
    let count = tcp.peek(&mut first).await?;
    if is_request(&first[..count]) {
        refuse_plain_http(&tcp).await?;
        return Err(TlsAcceptError::PlainHttp);
    }
    Ok(tls.accept(tcp).await?)
}

/// Whether a connection begins like a request line: with a method and a space. No record of TLS does.
fn is_request(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    method > 0 && bytes.get(method) == Some(&b' ')
}

/// Answers. Never waits for the client: a new connection's buffer takes the answer whole.
async fn refuse_plain_http(tcp: &TcpStream) -> io::Result<()> {
    // it may hold a credential
    let mut unread = vec![0; UNREAD_BYTES];
    let taken = tcp.try_read(&mut unread);
    unread.zeroize();
    taken?;
    tcp.writable().await?;
    tcp.try_write(PLAIN_HTTP_RESPONSE)?;
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
    fn the_answer_has_the_length_that_it_announces() {
        let text = std::str::from_utf8(PLAIN_HTTP_RESPONSE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{text}");
    }
}
