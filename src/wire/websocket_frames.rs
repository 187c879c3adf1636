//! Where one WebSocket frame ends and the next begins (RFC 6455 §5.2): only there can the gateway send a Close of its own.

/// What a header's first two bytes say about the rest of it: at most 8 bytes of length and 4 of mask.
const LONGEST_HEADER: usize = 14;

/// Follows the frames of one direction of a WebSocket from its first byte on. Looks at their headers only.
#[derive(Debug, Clone, Copy, Default)]
pub struct WebSocketFrames {
    header: [u8; LONGEST_HEADER],
    /// How many bytes of the next frame's header have passed.
    known: usize,
    /// How much of the frame's payload is still to come.
    payload: u64,
    has_closed: bool,
}

impl WebSocketFrames {
    /// Takes note of bytes that have passed.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let step = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= step as u64;
                bytes = &bytes[step..];
                continue;
            }
            let needed = self.header_length();
            let step = (needed - self.known).min(bytes.len());
            self.header[self.known..self.known + step].copy_from_slice(&bytes[..step]);
            self.known += step;
            bytes = &bytes[step..];
            if self.known == self.header_length() {
                self.begin_payload();
            }
        }
    }

    /// Whether another frame can be sent here: the last one is whole, and no Close has passed.
    pub fn is_between_frames(&self) -> bool {
        self.known == 0 && self.payload == 0 && !self.has_closed
    }

    /// Whether a Close has passed.
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// The length of the header, as far as its first two bytes tell.
    fn header_length(&self) -> usize {
        if self.known < 2 {
            return 2;
        }
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        mask + match self.header[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn begin_payload(&mut self) {
        self.payload = match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => self.header[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            short => u64::from(short),
        };
        self.has_closed |= self.header[0] & 0x0f == 8;
        self.known = 0;
    }
}

/// A server's Close frame with a status code.
pub fn websocket_close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [0x88, 2, high, low]
}

/// A client's Close frame with a status code. The mask is there because clients must mask (RFC 6455 §5.3); what it
/// hides from is the client's own choice of bytes, and here is none.
pub fn masked_websocket_close_frame(code: u16) -> [u8; 8] {
    let [high, low] = code.to_be_bytes();
    let mask = [0x5a, 0xa5, 0x3c, 0xc3];
    [0x88, 0x82, mask[0], mask[1], mask[2], mask[3], high ^ mask[0], low ^ mask[1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a payload of this length.
    fn frame(first: u8, length: usize, is_masked: bool) -> Vec<u8> {
        let mask = if is_masked { 0x80 } else { 0 };
        let mut bytes = match length {
            0..=125 => vec![first, mask | u8::try_from(length).unwrap()],
            126..=0xffff => {
                [&[first, mask | 0x7e][..], &u16::try_from(length).unwrap().to_be_bytes()].concat()
            }
            _ => [&[first, mask | 0x7f][..], &(length as u64).to_be_bytes()].concat(),
        };
        bytes.resize(bytes.len() + if is_masked { 4 } else { 0 } + length, 0x88);
        bytes
    }

    #[test]
    fn frames_end_where_their_headers_say_however_they_are_cut() {
        let lengths = [0, 1, 125, 126, 127, 300, 0xffff, 0x1_0000, 70_000];
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for (at, length) in lengths.into_iter().enumerate() {
            bytes.extend(frame(if at % 2 == 0 { 0x81 } else { 0x02 }, length, at % 3 == 0));
            ends.push(bytes.len());
        }
        for step in [1, 2, 3, 7, 1000, bytes.len()] {
            let mut frames = WebSocketFrames::default();
            let mut passed = 0;
            for piece in bytes.chunks(step) {
                frames.pass(piece);
                passed += piece.len();
                assert_eq!(
                    frames.is_between_frames(),
                    ends.contains(&passed),
                    "after {passed} in steps of {step}"
                );
            }
        }
    }

    #[test]
    fn no_frame_may_follow_a_close() {
        let mut frames = WebSocketFrames::default();
        frames.pass(&frame(0x81, 5, false));
        assert!(frames.is_between_frames());
        frames.pass(&websocket_close_frame(1000));
        assert!(!frames.is_between_frames());
    }

    #[test]
    fn an_impossibly_long_frame_never_ends() {
        let mut frames = WebSocketFrames::default();
        frames.pass(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]);
        frames.pass(&[0; 1000]);
        assert!(!frames.is_between_frames());
    }
}
