//! A socket of which only so much is read.
//!
//! hyper and h2 take some things in for ever, without waiting and so without noticing that their time is up: 1xx answers,
//! pings, settings.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf};

use super::socket::Socket;

/// The most that is read of a socket. A single read may exceed it, the next one fails.
#[derive(Debug, Clone)]
pub struct ReadLimit {
    bytes: usize,
    left: Arc<AtomicUsize>,
}

impl ReadLimit {
    /// A limit of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { bytes, left: Arc::new(AtomicUsize::new(bytes)) }
    }

    /// So many bytes may be read again from now on.
    pub fn renew(&self) {
        self.left.store(self.bytes, Ordering::Relaxed);
    }

    /// The socket under this limit.
    pub fn apply(&self, socket: Socket) -> impl AsyncRead + AsyncWrite + Send + Unpin + use<> {
        let (reader, writer) = tokio::io::split(socket);
        tokio::io::join(LimitedReader { reader, limit: self.clone() }, writer)
    }
}

struct LimitedReader {
    reader: ReadHalf<Socket>,
    limit: ReadLimit,
}

impl AsyncRead for LimitedReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { reader, limit } = self.get_mut();
        let left = limit.left.load(Ordering::Relaxed);
        if left == 0 {
            let why = format!("more than {} bytes came", limit.bytes);
            return Poll::Ready(Err(io::Error::other(why)));
        }
        let before = into.filled().len();
        ready!(Pin::new(reader).poll_read(cx, into))?;
        let count = into.filled().len() - before;
        limit.left.store(left.saturating_sub(count), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}
