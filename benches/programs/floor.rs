//! The floor under every proxy that `benches/compare` measures: `floor ADDRESS UPSTREAM`.
//!
//! One thread reads a head, writes it to a kept connection of its own to the upstream, reads the answer by its
//! `Content-Length` and writes it back. Nothing is looked at, changed, counted or logged.

mod heads;

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, upstream] = &arguments[..] else { anyhow::bail!("usage: floor ADDRESS UPSTREAM") };
    let (address, upstream): (SocketAddr, SocketAddr) = (address.parse()?, upstream.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            // who goes away in the middle ends this pair of connections, and nothing else
            tokio::spawn(async move { serve(stream, upstream).await.ok() });
        }
    })
}

async fn serve(mut client: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut upstream = TcpStream::connect(upstream).await?;
    upstream.set_nodelay(true)?;
    let mut buffer = vec![0; heads::BUFFER_BYTES];
    while pass(&mut client, &mut upstream, &mut buffer).await? {
        pass(&mut upstream, &mut client, &mut buffer).await?;
    }
    Ok(())
}

/// Passes one message on; false where there is none any more.
async fn pass(from: &mut TcpStream, to: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<bool> {
    let Some((end, filled)) = heads::read_head(from, buffer, 0).await? else { return Ok(false) };
    let length = heads::content_length(&buffer[..end]);
    to.write_all(&buffer[..filled]).await?;
    heads::read_body(from, buffer, length.saturating_sub(filled - end), Some(to)).await?;
    Ok(true)
}
