//! What our programs read of an HTTP/1.1 head: where it ends, and how long the body behind it is.

#![allow(dead_code, reason = "each of the programs that share this file uses a part of it")]

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Room for a head, and for what of a body is read with it.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// The length of the head at the beginning of `bytes`, with its empty line.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// What `Content-Length` says, 0 without one.
pub fn content_length(head: &[u8]) -> usize {
    value_of(head, b"content-length").and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// Whether the head says `Connection: close`.
pub fn closes(head: &[u8]) -> bool {
    value_of(head, b"connection").is_some_and(|value| value.trim().eq_ignore_ascii_case("close"))
}

fn value_of<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name).then(|| std::str::from_utf8(value).ok())?
    })
}

/// Reads until a whole head is in `buffer`, which holds `filled` bytes. Gives the head's length and what is filled
/// now; nothing where the peer has closed.
pub async fn read_head(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    mut filled: usize,
) -> std::io::Result<Option<(usize, usize)>> {
    loop {
        if let Some(end) = head_end(&buffer[..filled]) {
            return Ok(Some((end, filled)));
        }
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(None);
        }
        filled += read;
    }
}

/// Reads a message's whole body, of which `filled - end` bytes are there, and hands each part to `to`, where there is
/// one.
pub async fn read_body(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    mut missing: usize,
    mut to: Option<&mut TcpStream>,
) -> std::io::Result<()> {
    while missing > 0 {
        let read = stream.read(buffer).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        missing = missing.saturating_sub(read);
        if let Some(to) = &mut to {
            to.write_all(&buffer[..read]).await?;
        }
    }
    Ok(())
}
