//! Buffers that no connection of this thread uses just now.
//!
//! Which connection is next to send something is not known. So none keeps a buffer while it waits: ten thousand idle
//! connections share the few that the busy ones need, and those are still in the processor's cache.

use std::cell::RefCell;

/// What a connection reads with at first, and what it may write behind before it must write.
pub(super) const SMALL_BYTES: usize = 8 * 1024;
/// What it reads with while much comes: fewer, larger system calls.
pub(super) const LARGE_BYTES: usize = 256 * 1024;

/// How many of each are kept for a next use.
const SMALL: usize = 256;
const LARGE: usize = 16;

struct Spare {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

thread_local! {
    static SPARE: RefCell<Spare> =
        const { RefCell::new(Spare { small: Vec::new(), large: Vec::new(), outputs: Vec::new() }) };
}

/// A buffer of [`SMALL_BYTES`] or [`LARGE_BYTES`] to read into; what is in it means nothing.
pub(super) fn take_input(bytes: usize) -> Vec<u8> {
    let kept = SPARE.with_borrow_mut(|spare| match bytes {
        SMALL_BYTES => spare.small.pop(),
        _ => spare.large.pop(),
    });
    kept.unwrap_or_else(|| vec![0; bytes])
}

/// Takes back a buffer that was read into, however long it has become.
pub(super) fn give_input(buffer: Vec<u8>) {
    SPARE.with_borrow_mut(|spare| match buffer.len() {
        SMALL_BYTES if spare.small.len() < SMALL => spare.small.push(buffer),
        LARGE_BYTES if spare.large.len() < LARGE => spare.large.push(buffer),
        _ => {}
    });
}

/// An empty buffer to write into.
pub(super) fn take_output() -> Vec<u8> {
    SPARE.with_borrow_mut(|spare| spare.outputs.pop()).unwrap_or_default()
}

/// Takes back a buffer that was written out; one that grew beyond `most` is not kept.
pub(super) fn give_output(mut buffer: Vec<u8>, most: usize) {
    if buffer.capacity() == 0 || buffer.capacity() > most {
        return;
    }
    buffer.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.outputs.len() < SMALL {
            spare.outputs.push(buffer);
        }
    });
}
