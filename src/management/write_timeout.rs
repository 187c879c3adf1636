//! Ends a connection whose client does not take its answer. Otherwise a few clients that never read would hold all slots
//! of the listener for good.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::wire::{SendProgress, Socket, StallDetector};

/// A connection that fails when its client has taken no byte for some time.
pub(super) struct WriteTimeout {
    socket: Socket,
    limit: Duration,
    stall: StallDetector,
    /// When to check the client again, while something waits to be written.
    next_check: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(super) fn new(socket: Socket, limit: Duration) -> Self {
        Self { socket, limit, stall: StallDetector::new(limit, Instant::now()), next_check: None }
    }

    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Socket>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = write(Pin::new(&mut self.socket), cx);
        if written.is_ready() {
            self.next_check = None;
            return written;
        }
        let Self { socket, limit, stall, next_check } = self;
        let pause = next_check.get_or_insert_with(|| {
            stall.bytes_moved(*limit, Instant::now());
            Box::pin(sleep(StallDetector::first_check(*limit)))
        });
        loop {
            ready!(pause.as_mut().poll(cx));
            let Some(next) = stall.check(Instant::now(), SendProgress::of(socket.stream())) else {
                let error = format!("the client took nothing for {limit:?}");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
            };
            pause.set(sleep(next));
        }
    }
}

impl AsyncRead for WriteTimeout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, into)
    }
}

impl AsyncWrite for WriteTimeout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.bounded(cx, |socket, cx| socket.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.bounded(cx, |socket, cx| socket.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bounded(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bounded(cx, AsyncWrite::poll_shutdown)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::{interval, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);
    /// Too much for the buffers of both sides.
    const BYTES: usize = 8 << 20;

    /// A connection whose client has little room for what comes.
    async fn connect() -> (WriteTimeout, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16_384).unwrap();
        let client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (WriteTimeout::new(Socket::Plain(server.into()), LIMIT), client)
    }

    #[tokio::test]
    async fn case_109_a_client_that_reads_slowly_gets_all_of_its_answer() {
        let (mut server, mut client) = connect().await;
        let sent = tokio::spawn(async move { server.write_all(&vec![b'x'; BYTES]).await });
        // 20 kB a second for ten times the limit: the kernel takes nothing more for longer than the limit
        let mut pace = interval(Duration::from_millis(100));
        let mut read = 0;
        while read < 100_000 {
            pace.tick().await;
            read += client.read(&mut [0; 2_000]).await.expect("a slow client is not cut");
        }
        let rest = tokio::io::copy(&mut client, &mut tokio::io::sink()).await.unwrap();
        assert_eq!(read + usize::try_from(rest).unwrap(), BYTES);
        sent.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_disconnected() {
        let (mut server, _client) = connect().await;
        let sent = timeout(Duration::from_secs(30), server.write_all(&vec![b'x'; BYTES])).await;
        assert_eq!(sent.expect("an end").unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
