//! Buffers and field blocks that no connection of this thread uses at the moment.
//!
//! No connection keeps a buffer while it waits. So ten thousand idle connections cost no buffers, and the busy ones use
//! those that are still in the processor's cache.

use std::cell::RefCell;

use super::field::Field;

/// The buffer that a connection reads into at first.
pub(super) const SMALL_BYTES: usize = 8 * 1024;
/// The buffer that it reads into while much comes: fewer, larger system calls.
pub(super) const LARGE_BYTES: usize = 256 * 1024;

/// How many of each are kept for a next use.
const SMALL: usize = 256;
const LARGE: usize = 16;
/// A block that has grown beyond this is not kept.
const BLOCK_BYTES: usize = 16 * 1024;

struct Spare {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    /// Most requests need two blocks, one after the other.
    blocks: Vec<(Vec<u8>, Vec<Field>)>,
}

thread_local! {
    static SPARE: RefCell<Spare> = const {
        RefCell::new(Spare { small: Vec::new(), large: Vec::new(), outputs: Vec::new(), blocks: Vec::new() })
    };
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
pub(super) fn return_input(buffer: Vec<u8>) {
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
pub(super) fn return_output(mut buffer: Vec<u8>, most: usize) {
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

/// An empty block's bytes and fields.
pub(super) fn take_block() -> (Vec<u8>, Vec<Field>) {
    SPARE.with_borrow_mut(|spare| spare.blocks.pop()).unwrap_or_default()
}

/// Takes back the memory of a block. Its secrets have been wiped before.
pub(super) fn return_block(mut bytes: Vec<u8>, mut fields: Vec<Field>) {
    if !(1..=BLOCK_BYTES).contains(&bytes.capacity()) {
        return;
    }
    bytes.clear();
    fields.clear();
    // when the thread ends, nothing is kept
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.blocks.len() < SMALL {
            spare.blocks.push((bytes, fields));
        }
    });
}
