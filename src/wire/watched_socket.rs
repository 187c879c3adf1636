//! A socket that one task reads and writes, while others ask how far the other side has taken what was sent.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::send_progress::SendProgress;
use super::socket::Socket;

/// A socket. It is closed when this is dropped, even if somebody watches it.
pub struct WatchedSocket(Rc<RefCell<Socket>>);

/// Asks how far a [`WatchedSocket`] has come, as long as it is open.
pub struct SocketWatch(Weak<RefCell<Socket>>);

impl WatchedSocket {
    /// Takes a socket over.
    pub fn new(stream: Socket) -> Self {
        Self(Rc::new(RefCell::new(stream)))
    }

    /// A watch on it.
    pub fn watch(&self) -> SocketWatch {
        SocketWatch(Rc::downgrade(&self.0))
    }
}

impl SocketWatch {
    /// How far the other side has taken what was sent. `None` where the kernel does not say, and for one that is closed.
    pub fn progress(&self) -> Option<SendProgress> {
        SendProgress::of(self.0.upgrade()?.borrow().stream())
    }
}

impl AsyncRead for WatchedSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, into)
    }
}

impl AsyncWrite for WatchedSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
