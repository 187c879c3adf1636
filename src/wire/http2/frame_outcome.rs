//! What comes of reading a client's frame.

use zeroize::Zeroize as _;

use super::super::body_framing::{BodyError, BodyLength};
use super::super::head::{HeadError, RequestHead};
use super::frame::Http2ErrorCode;

/// What came of reading a frame.
pub(super) enum FrameOutcome {
    /// The frame is not whole yet.
    Incomplete,
    Handled,
    Request(NewRequest),
}

/// A request has begun, on a new stream.
pub(super) struct NewRequest {
    pub(super) head: RequestHead,
    pub(super) refused: Option<HeadError>,
    pub(super) length: Result<BodyLength, BodyError>,
    /// Its number.
    pub(super) stream: usize,
}

/// The client broke a rule of the protocol.
pub(super) enum Violation {
    /// On one stream, with this identifier.
    Stream(u32, Http2ErrorCode),
    Connection(Http2ErrorCode),
}

/// A header block that comes in several frames.
pub(super) struct PartialHeaderBlock {
    pub(super) stream: u32,
    pub(super) ends_stream: bool,
    pub(super) depends_on_itself: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: usize,
}

impl PartialHeaderBlock {
    /// Appends the next part. What the bytes are moved out of is wiped as well.
    pub(super) fn append(&mut self, part: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < part.len() {
            let mut larger = Vec::with_capacity(2 * (self.bytes.len() + part.len()));
            larger.extend_from_slice(&self.bytes);
            std::mem::replace(&mut self.bytes, larger).zeroize();
        }
        self.bytes.extend_from_slice(part);
    }
}

/// A part of a head may hold a credential.
impl Drop for PartialHeaderBlock {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}
