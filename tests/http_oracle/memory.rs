//! Connections in memory, and a way to run their readers without a runtime.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::rt::{Read, ReadBufCursor, Write};

/// What one side of a connection reads, and what it has written.
#[derive(Default)]
pub(crate) struct Pipe {
    incoming: Vec<u8>,
    at: usize,
    /// No more comes: the reader sees the end of the stream behind the last byte.
    pub(crate) is_closed: bool,
    /// Nothing is read before something was written: a response does not come before its request.
    waits_for_request: bool,
    /// At most this many bytes come in one read.
    piece: usize,
    written: Vec<u8>,
    reader: Option<Waker>,
}

/// One side of a connection.
#[derive(Clone)]
pub(crate) struct Memory(pub(crate) Rc<RefCell<Pipe>>);

impl Memory {
    /// A connection on which `incoming` comes, at most `piece` bytes a read, and then the end of the stream.
    pub(crate) fn that_sends(incoming: &[u8], piece: usize) -> Self {
        let pipe = Pipe { incoming: incoming.to_vec(), is_closed: true, piece, ..Pipe::default() };
        Self(Rc::new(RefCell::new(pipe)))
    }

    /// As [`that_sends`](Self::that_sends), once anything was written.
    pub(crate) fn that_answers(incoming: &[u8], piece: usize) -> Self {
        let memory = Self::that_sends(incoming, piece);
        memory.0.borrow_mut().waits_for_request = true;
        memory
    }

    /// A connection on which nothing has come yet.
    pub(crate) fn open() -> Self {
        Self(Rc::new(RefCell::new(Pipe { piece: usize::MAX, ..Pipe::default() })))
    }

    /// Lets more come.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut pipe = self.0.borrow_mut();
        pipe.incoming.extend_from_slice(bytes);
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
    }

    /// Takes what was written.
    pub(crate) fn take_written(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().written)
    }

    /// The next bytes, `None` where none are there yet.
    fn next(&self, cx: &Context<'_>, room: usize) -> Option<Vec<u8>> {
        let mut pipe = self.0.borrow_mut();
        let left = pipe.incoming.len() - pipe.at;
        if (pipe.waits_for_request && pipe.written.is_empty()) || (left == 0 && !pipe.is_closed) {
            pipe.reader = Some(cx.waker().clone());
            return None;
        }
        let count = left.min(room).min(pipe.piece);
        let at = pipe.at;
        pipe.at += count;
        Some(pipe.incoming[at..at + count].to_vec())
    }

    fn write(&self, bytes: &[u8]) -> usize {
        let mut pipe = self.0.borrow_mut();
        pipe.written.extend_from_slice(bytes);
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        bytes.len()
    }
}

impl Read for Memory {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(bytes) = self.next(cx, into.remaining()) else { return Poll::Pending };
        into.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.write(bytes)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncRead for Memory {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(bytes) = self.next(cx, into.remaining()) else { return Poll::Pending };
        into.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.write(bytes)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Remembers that something may go on.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls `future` until it is done, or until nothing wakes it any more: then it waits for bytes that never come.
pub(crate) fn run_until_stuck<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    while woken.0.swap(false, Ordering::Relaxed) {
        if let Poll::Ready(done) = Pin::new(&mut *future).poll(&mut cx) {
            return Some(done);
        }
    }
    None
}
