//! As much of WebSocket (RFC 6455) as the sample API needs: the handshake, a greeting, an echo of frames.

use std::io;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest payload that is echoed.
const PAYLOAD_BYTES: u64 = 1024 * 1024;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FINAL: u8 = 0x80;

/// The answer to a client's handshake (section 4.2.2); none where it is not one.
pub(super) fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let is = |name, expected: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(expected.as_bytes()))
    };
    if !is(UPGRADE, "websocket") || !is(SEC_WEBSOCKET_VERSION, "13") {
        return None;
    }
    // SHA-1 is what the RFC fixes here; nothing rests on its strength
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(headers.get(SEC_WEBSOCKET_KEY)?.as_bytes());
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    HeaderValue::from_str(&STANDARD.encode(digest.finish())).ok()
}

/// Greets, then sends back every frame until the client closes; with `once` it closes after the greeting.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    greeting: &str,
    once: bool,
) -> io::Result<()> {
    write_frame(&mut stream, FINAL | TEXT, greeting.as_bytes()).await?;
    if once {
        write_frame(&mut stream, FINAL | CLOSE, &1000_u16.to_be_bytes()).await?;
        return stream.shutdown().await;
    }
    loop {
        let (first, payload) = read_frame(&mut stream).await?;
        match first & 0x0f {
            CLOSE => {
                write_frame(&mut stream, FINAL | CLOSE, &payload).await?;
                return stream.shutdown().await;
            }
            PING => write_frame(&mut stream, FINAL | PONG, &payload).await?,
            PONG => {}
            // a fragment is echoed as a fragment, so that messages of any number of fragments come back whole
            _ => write_frame(&mut stream, first, &payload).await?,
        }
    }
}

/// Reads one frame of a client: its first byte and its payload without the mask (section 5.2).
async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let first = stream.read_u8().await?;
    let second = stream.read_u8().await?;
    if second & 0x80 == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a client's frame has no mask"));
    }
    let length = match second & 0x7f {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    if length > PAYLOAD_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a frame is longer than the sample API echoes",
        ));
    }
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await?;
    let mut payload = Vec::new();
    stream.take(length).read_to_end(&mut payload).await?;
    if payload.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
    Ok((first, payload))
}

async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), first: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a client sends it.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first];
        if payload.len() < 126 {
            frame.push(0x80 | u8::try_from(payload.len()).unwrap());
        } else {
            frame.push(0x80 | 0x7e);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        frame
    }

    #[test]
    fn the_handshake_is_answered_as_in_the_rfc() {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        assert_eq!(accept_key(&headers), None);
        // the example of RFC 6455, section 1.3
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(accept_key(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn frames_come_back_and_a_close_ends_it() {
        let (mut client, server) = tokio::io::duplex(4096);
        let serving = tokio::spawn(async move { serve(server, "hi", false).await });
        let long = vec![b'x'; 300];
        for frame in [masked(0x81, b"one"), masked(0x82, &long), masked(0x89, b"p"), masked(0x88, &[3, 232])]
        {
            client.write_all(&frame).await.unwrap();
        }
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        let expected = [
            b"\x81\x02hi".as_slice(),
            b"\x81\x03one",
            b"\x82\x7e\x01\x2c",
            &long,
            b"\x8a\x01p",
            b"\x88\x02\x03\xe8",
        ]
        .concat();
        assert_eq!(received, expected);
        serving.await.unwrap().unwrap();
    }
}
