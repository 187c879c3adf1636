//! Frames (RFC 9113 §4 and §6): their headers, and what is common to them.

/// The bytes before a frame's payload.
pub(super) const HEADER_BYTES: usize = 9;
/// The largest payload that either side sends, as long as neither has asked for more (RFC 9113 §4.2).
pub(super) const PAYLOAD_BYTES: usize = 16 * 1024;
/// The largest window there can be (RFC 9113 §6.9.1).
pub(super) const MAX_WINDOW: i64 = (1 << 31) - 1;
/// The window that a connection and its streams begin with (RFC 9113 §6.9.2).
pub(super) const DEFAULT_WINDOW: u32 = 65_535;
/// What a client begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the PING after the first GOAWAY carries; its answer shows that the client knows (RFC 9113 §6.8).
pub(super) const SHUTDOWN_PING: [u8; 8] = *b"farewell";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITISED: u8 = 0x20;

/// Settings (RFC 9113 §6.5.2, RFC 8441 §3).
pub(super) mod setting {
    pub(in super::super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(in super::super) const ENABLE_PUSH: u16 = 2;
    pub(in super::super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(in super::super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(in super::super) const MAX_FRAME_SIZE: u16 = 5;
    pub(in super::super) const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub(in super::super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// Why a stream or a connection is ended (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2ErrorCode(pub(super) u32);

impl Http2ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0);
    /// The rules of the protocol were broken.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// Something went wrong on this side.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More was sent than the window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// A frame came for a stream that is closed.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame has a length that it cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Nothing was done about the request.
    pub const REFUSED_STREAM: Self = Self(7);
    /// A header block cannot be read.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The other side asks for too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// What stands before a frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHeader {
    /// The header at the front of `input`, once it is there.
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let [high, middle, low, kind, flags, stream @ ..] = *input.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind,
            flags,
            // the first bit means nothing (RFC 9113 §4.1)
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        })
    }

    pub(super) fn write(self, output: &mut Vec<u8>) {
        let [.., high, middle, low] = self.length.to_be_bytes();
        let [a, b, c, d] = self.stream.to_be_bytes();
        output.extend_from_slice(&[high, middle, low, self.kind, self.flags, a, b, c, d]);
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Where in the payload of DATA or HEADERS the content stands; nothing where the padding is longer than the frame.
    pub(super) fn content(self, payload: &[u8]) -> Option<std::ops::Range<usize>> {
        if !self.has(PADDED) {
            return Some(0..payload.len());
        }
        let padding = usize::from(*payload.first()?);
        let end = payload.len().checked_sub(padding)?;
        (end >= 1).then_some(1..end)
    }
}

/// A length that a window bounds, as windows are counted.
pub(super) fn saturating_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Writes a frame whose payload is short and known.
pub(super) fn write(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    FrameHeader { length: payload.len(), kind, flags, stream }.write(output);
    output.extend_from_slice(payload);
}
