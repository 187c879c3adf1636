//! A connected socket of either kind: TCP, or Unix.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
pub enum StreamSocket {
    /// TCP.
    Tcp(TcpStream),
    /// Unix, to a process of this machine.
    Unix(UnixStream),
}

impl From<TcpStream> for StreamSocket {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(tcp)
    }
}

impl From<UnixStream> for StreamSocket {
    fn from(unix: UnixStream) -> Self {
        Self::Unix(unix)
    }
}

/// Calls the same method of either kind.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            StreamSocket::Tcp($stream) => $call,
            StreamSocket::Unix($stream) => $call,
        }
    };
}

impl StreamSocket {
    /// Has what is written leave at once: whoever writes, writes messages whole.
    pub fn send_at_once(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.set_nodelay(true),
            // it always does
            Self::Unix(_) => Ok(()),
        }
    }

    /// Has the other side see a reset when this is closed. At a Unix socket nobody sees more than an end.
    pub fn reset_when_closed(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => SockRef::from(tcp).set_linger(Some(Duration::ZERO)),
            Self::Unix(_) => Ok(()),
        }
    }

    /// The error that the system has noted, if any.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        either!(self, stream => stream.take_error())
    }

    /// Whether there is something to read, or the other side has closed.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read_ready(cx))
    }

    /// Whether something can be written.
    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_write_ready(cx))
    }

    /// Does something with it that may have to wait until it is ready.
    pub(super) fn try_io<T>(&self, interest: Interest, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        either!(self, stream => stream.try_io(interest, act))
    }

    /// Waits until something has come, and reads it, or only looks at it ([`RecvFlags::PEEK`]). 0: the other side has
    /// closed.
    pub(super) async fn receive(&self, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let receive = || recv(self, &mut *into, flags).map(|(count, _)| count).map_err(io::Error::from);
        either!(self, stream => stream.async_io(Interest::READABLE, receive).await)
    }

    /// Writes some of `bytes`, waiting for room.
    pub(super) async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => {
            stream.writable().await?;
            stream.try_write(bytes)
        })
    }
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, stream => stream.as_fd())
    }
}

impl AsyncRead for StreamSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, into))
    }
}

impl AsyncWrite for StreamSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
