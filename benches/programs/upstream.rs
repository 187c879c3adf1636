//! The one upstream of all that `benches/compare` measures: `upstream ADDRESS`.
//!
//! HTTP/1.1 with kept connections, one thread, and as little else as can be, so that it is never what limits:
//! 512 bytes on any path, 1 MiB where the path ends in `/large`; bodies of requests are read whole before the answer.

mod heads;

use std::sync::LazyLock;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const SMALL: usize = 512;
const LARGE: usize = 1024 * 1024;

static SMALL_ANSWER: LazyLock<Vec<u8>> = LazyLock::new(|| answer(SMALL));
static LARGE_ANSWER: LazyLock<Vec<u8>> = LazyLock::new(|| answer(LARGE));

fn answer(length: usize) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("usage: upstream ADDRESS"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = listen(&address)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // a peer that goes away in the middle is no failure of the upstream
            tokio::spawn(async { serve(stream).await.ok() });
        }
    })
}

/// Room for ten thousand that connect at once.
fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address.parse()?)?;
    Ok(socket.listen(16_384)?)
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 4096];
    let mut filled = 0;
    while let Some((end, read)) = heads::read_head(&mut stream, &mut buffer, filled).await? {
        let head = &buffer[..end];
        let length = heads::content_length(head);
        let answer = if is_large(head) { &*LARGE_ANSWER } else { &*SMALL_ANSWER };
        let is_last = heads::closes(head);
        let there = length.min(read - end);
        if there < length {
            buffer.resize(heads::BUFFER_BYTES, 0);
            heads::read_body(&mut stream, &mut buffer, length - there, None).await?;
            filled = 0;
        } else {
            buffer.copy_within(end + length..read, 0);
            filled = read - end - length;
        }
        stream.write_all(answer).await?;
        if is_last {
            break;
        }
    }
    Ok(())
}

fn is_large(head: &[u8]) -> bool {
    head.split(|byte| *byte == b' ').nth(1).is_some_and(|path| path.ends_with(b"/large"))
}
