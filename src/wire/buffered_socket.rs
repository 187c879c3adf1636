//! A socket with a buffer in each direction.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::buffer_pool::{self, LARGE_BYTES, SMALL_BYTES};
use super::send_progress::SendProgress;
use super::socket::Socket;
use super::splice::Pipe;
use super::stream_socket::StreamSocket;

/// Body pieces up to this size are copied to the end of what waits to be written, so that a head and a small body leave in
/// one write. Larger ones are written from where they are.
const COPY_BYTES: usize = 16 * 1024;

/// A socket with a buffer in each direction: what was read and not consumed yet, and what is yet to be written.
pub struct BufferedSocket {
    socket: Socket,
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// How large a buffer the next read takes: a large one where the last read filled a small one.
    wanted: usize,
    output: Vec<u8>,
    written: usize,
    /// Whether any byte was handed to the socket since [`BufferedSocket::begin_exchange`].
    sent_any: bool,
    eof: bool,
    /// TLS holds bytes that the socket has not taken.
    held_by_tls: bool,
}

impl BufferedSocket {
    /// Buffers for a connected socket.
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            input: Vec::new(),
            start: 0,
            end: 0,
            wanted: SMALL_BYTES,
            output: Vec::new(),
            written: 0,
            sent_any: false,
            eof: false,
            held_by_tls: false,
        }
    }

    /// The socket itself, without TLS.
    pub fn stream(&self) -> &StreamSocket {
        self.socket.stream()
    }

    /// Whether it is under TLS.
    pub fn is_tls(&self) -> bool {
        self.socket.is_tls()
    }

    /// The bytes read and not yet consumed.
    pub fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// The first `count` bytes of the input, for overwriting what must not stay.
    pub fn input_mut(&mut self, count: usize) -> &mut [u8] {
        &mut self.input[self.start..self.start + count]
    }

    /// Drops the first `count` bytes of the input.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "only bytes that were read are consumed");
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Whether the other side has closed its direction.
    pub fn is_eof(&self) -> bool {
        self.eof
    }

    /// What is to be written next, for appending.
    pub fn output(&mut self) -> &mut Vec<u8> {
        if self.output.capacity() == 0 {
            self.output = buffer_pool::take_output();
        }
        &mut self.output
    }

    /// A next request begins: see [`BufferedSocket::sent_nothing`].
    pub fn begin_exchange(&mut self) {
        self.sent_any = false;
    }

    /// Whether not one byte was handed to the socket since [`BufferedSocket::begin_exchange`].
    pub fn sent_nothing(&self) -> bool {
        !self.sent_any
    }

    /// Whether everything has been handed to the socket.
    pub fn is_flushed(&self) -> bool {
        self.written == self.output.len()
    }

    /// How far the other side has taken what was written; what is still to be handed to the socket waits too. `None`
    /// where the kernel does not say.
    pub fn progress(&self) -> Option<SendProgress> {
        let SendProgress { acknowledged, waiting } = SendProgress::of(self.socket.stream())?;
        let unsent = u32::try_from(self.unsent()).unwrap_or(u32::MAX);
        Some(SendProgress { acknowledged, waiting: waiting.saturating_add(unsent) })
    }

    /// How many bytes wait for the socket, about: what TLS holds beside them counts as one.
    pub fn unsent(&self) -> usize {
        self.output.len() - self.written + usize::from(self.held_by_tls)
    }

    /// Gives back the buffers that nothing is in.
    pub fn release(&mut self) {
        self.release_input();
        self.release_output();
    }

    fn release_input(&mut self) {
        if self.start == self.end {
            buffer_pool::return_input(std::mem::take(&mut self.input));
            self.start = 0;
            self.end = 0;
        }
    }

    fn release_output(&mut self) {
        if self.is_flushed() {
            buffer_pool::return_output(std::mem::take(&mut self.output), 2 * COPY_BYTES);
            self.written = 0;
        }
    }

    /// Reads more input. `Ok(0)`: the other side has closed. Holds no buffer while nothing comes.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        self.make_room();
        let mut space = ReadBuf::new(&mut self.input[self.end..]);
        let Poll::Ready(result) = Pin::new(&mut self.socket).poll_read(cx, &mut space) else {
            self.release_input();
            return Poll::Pending;
        };
        result?;
        let read = space.filled().len();
        if read == 0 {
            self.eof = true;
            return Poll::Ready(Ok(0));
        }
        self.wanted = if read < SMALL_BYTES { SMALL_BYTES } else { LARGE_BYTES };
        self.end += read;
        Poll::Ready(Ok(read))
    }

    /// Makes room at the end of the input.
    fn make_room(&mut self) {
        if self.start == self.end {
            if self.input.len() < self.wanted {
                self.release_input();
                self.input = buffer_pool::take_input(self.wanted);
            }
        } else if self.end < self.input.len() {
            // there is some
        } else if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        } else {
            self.input.resize(self.input.len() * 2, 0);
        }
    }

    /// Reads more input, waiting for it.
    pub async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Writes everything that waits.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let count = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.output[self.written..]))?;
            self.advance(count)?;
        }
        self.release_output();
        if !self.socket.is_tls() {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.held_by_tls = flushed.is_pending();
        flushed
    }

    /// Writes everything that waits, waiting for it.
    pub async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Takes some of `bytes`, after what already waits: into the output where they are few, to the socket where they
    /// are many. More than zero unless an error or `Pending`.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let waiting = self.output.len() - self.written;
        if waiting + bytes.len() <= COPY_BYTES {
            self.output().extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        loop {
            let waiting = &self.output[self.written..];
            let head = waiting.len();
            let slices = [IoSlice::new(waiting), IoSlice::new(bytes)];
            let slices = if head == 0 { &slices[1..] } else { &slices[..] };
            let count = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices))?;
            self.advance(count.min(head))?;
            self.release_output();
            if count > head {
                return Poll::Ready(Ok(count - head));
            }
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }

    /// Reads more, at most `count` bytes, into an empty pipe instead of the input. `Ok(0)`: the other side has closed.
    /// For a plain socket with an empty input.
    pub(super) fn poll_fill_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe<'_>,
        count: u64,
    ) -> Poll<io::Result<usize>> {
        let socket = self.socket.stream();
        loop {
            ready!(socket.poll_read_ready(cx))?;
            match socket.try_io(Interest::READABLE, || pipe.fill(socket, count)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                taken => {
                    self.eof |= matches!(taken, Ok(0));
                    return Poll::Ready(taken);
                }
            }
        }
    }

    /// Writes what a pipe holds, or some of it. For a plain socket with everything else written.
    pub(super) fn poll_empty_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe<'_>,
    ) -> Poll<io::Result<usize>> {
        let socket = self.socket.stream();
        loop {
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_io(Interest::WRITABLE, || pipe.empty(socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                given => {
                    self.sent_any |= given.is_ok();
                    return Poll::Ready(given);
                }
            }
        }
    }

    /// Closes the writing direction.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.flush().await?;
        std::future::poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx)).await
    }

    /// Closes the writing direction, within a poll.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn advance(&mut self, count: usize) -> io::Result<()> {
        if count == 0 && self.written < self.output.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += count;
        self.sent_any |= count > 0;
        Ok(())
    }
}
