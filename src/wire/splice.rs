//! Moves bytes from one socket to another without copying them into this process (splice(2)), through a pipe.
//!
//! Copying is most of what a large body costs.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// What a pipe is asked to hold: more takes fewer system calls.
const PIPE_BYTES: usize = 1 << 20;

/// One worker's pipes: those that are empty, and how many there are.
pub struct PipePool {
    empty: RefCell<Vec<PipeEnds>>,
    made: Cell<usize>,
    most: usize,
}

struct PipeEnds {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe, and how many bytes are in it. Goes back to the others when dropped, unless it holds bytes of a body that
/// broke off: then they are closed with it.
pub(super) struct Pipe<'a> {
    pool: &'a PipePool,
    /// There until it is dropped.
    ends: Option<PipeEnds>,
    held: usize,
}

impl PipePool {
    /// How many pipes a worker has at most. One is taken only while bytes are in it: this many clients may be slow at
    /// once, what others are sent is copied.
    pub const LIMIT: usize = 64;

    /// A pool without pipes, which makes `most` at most.
    pub fn new(most: usize) -> Self {
        Self { empty: RefCell::default(), made: Cell::new(0), most }
    }

    /// An empty pipe, unless there are too many, or the system has none.
    pub(super) fn take(&self) -> Option<Pipe<'_>> {
        let kept = self.empty.borrow_mut().pop();
        let ends = match kept {
            Some(ends) => ends,
            None if self.made.get() == self.most => return None,
            None => {
                let ends = PipeEnds::new().ok()?;
                self.made.set(self.made.get() + 1);
                ends
            }
        };
        Some(Pipe { pool: self, ends: Some(ends), held: 0 })
    }
}

impl PipeEnds {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // where this is refused, a smaller one will do
        let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
        Ok(Self { read, write })
    }
}

impl Pipe<'_> {
    /// Bytes that were taken in and not handed on.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes in what the socket has, at most `count` bytes; 0 where the other side has closed. For an empty pipe
    /// alone: of a full one, "would block" says nothing about the socket.
    pub(super) fn fill(&mut self, socket: impl AsFd, count: u64) -> io::Result<usize> {
        let Some(ends) = self.ends.as_ref().filter(|_| self.held == 0) else { return Ok(0) };
        let count = usize::try_from(count).map_or(PIPE_BYTES, |count| count.min(PIPE_BYTES));
        self.held = splice(socket, None, &ends.write, None, count, SpliceFlags::NONBLOCK)?;
        Ok(self.held)
    }

    /// Hands on what the socket takes of the bytes held.
    pub(super) fn empty(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let given = splice(&ends.read, None, socket, None, self.held, SpliceFlags::NONBLOCK)?;
        self.held -= given;
        Ok(given)
    }
}

impl Drop for Pipe<'_> {
    fn drop(&mut self) {
        match self.ends.take() {
            Some(ends) if self.held == 0 => self.pool.empty.borrow_mut().push(ends),
            _ => self.pool.made.set(self.pool.made.get() - 1),
        }
    }
}
