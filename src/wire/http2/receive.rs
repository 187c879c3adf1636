//! What a client sends, frame by frame (RFC 9113 §6).

use zeroize::Zeroize;

use super::super::body_framing::BodyLength;
use super::super::head::RequestHead;
use super::closed_streams::ClosedState;
use super::connection::{Connection, Http2Limits, State};
use super::frame::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHeader, GOAWAY, HEADER_BYTES, HEADERS,
    Http2ErrorCode, MAX_WINDOW, PAYLOAD_BYTES, PING, PREFACE, PRIORITISED, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, saturating_u32, setting,
};
use super::frame_outcome::{FrameOutcome, NewRequest, PartialHeaderBlock, Violation};
use super::hpack_decoder::HpackDecoder;
use super::request_head::{HeadReader, HeadValidation, body_length};

const PROTOCOL_ERROR: Violation = Violation::Connection(Http2ErrorCode::PROTOCOL_ERROR);
const FRAME_SIZE_ERROR: Violation = Violation::Connection(Http2ErrorCode::FRAME_SIZE_ERROR);

/// How many frames may make up a header block, beside those that are full.
const MAX_SMALL_FRAMES: usize = 16;
/// Window updates by less than this count as idle frames.
const SMALL_INCREMENT: u32 = 1024;
/// How many idle frames a request excuses: pings that measure, windows that open.
const PER_REQUEST: u32 = 4;

impl Connection {
    /// Takes the next frame from the input.
    pub(super) fn receive(&mut self) -> Result<FrameOutcome, Violation> {
        if self.preface < PREFACE.len() {
            let missing = &PREFACE[self.preface..];
            let count = missing.len().min(self.socket.input().len());
            if self.socket.input()[..count] != missing[..count] {
                return Err(PROTOCOL_ERROR);
            }
            self.socket.consume(count);
            self.preface += count;
        }
        let Some(header) = FrameHeader::read(self.socket.input()) else {
            return Ok(FrameOutcome::Incomplete);
        };
        if header.length > PAYLOAD_BYTES {
            return Err(FRAME_SIZE_ERROR);
        }
        // the client's first frame (RFC 9113 §3.4)
        if !self.has_settings && (header.kind != SETTINGS || header.has(ACK)) {
            return Err(PROTOCOL_ERROR);
        }
        if let Some(block) = &self.block
            && (header.kind != CONTINUATION || header.stream != block.stream)
        {
            return Err(PROTOCOL_ERROR);
        }
        let length = HEADER_BYTES + header.length;
        if self.socket.input().len() < length {
            return Ok(FrameOutcome::Incomplete);
        }
        let step = self.frame(header);
        self.socket.consume(length);
        step
    }

    fn frame(&mut self, header: FrameHeader) -> Result<FrameOutcome, Violation> {
        let is_about_stream =
            matches!(header.kind, DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION);
        let is_about_connection = matches!(header.kind, SETTINGS | PING | GOAWAY);
        if (is_about_stream && header.stream == 0) || (is_about_connection && header.stream != 0) {
            return Err(PROTOCOL_ERROR);
        }
        match header.kind {
            DATA => self.data(header),
            HEADERS => self.headers(header),
            CONTINUATION => self.continuation(header),
            RST_STREAM => self.reset_stream(header),
            SETTINGS => self.settings(header),
            PING => self.ping(header),
            WINDOW_UPDATE => self.window_update(header),
            PRIORITY => self.priority(header),
            GOAWAY => self.goaway(header),
            // a client cannot push
            PUSH_PROMISE => Err(PROTOCOL_ERROR),
            // others mean nothing (RFC 9113 §4.1)
            _ => self.count_idle_frame(),
        }
    }

    /// Priorities are ignored (RFC 9113 §5.3.2), but a stream must not depend on itself (RFC 7540 §5.3.1).
    fn priority(&mut self, header: FrameHeader) -> Result<FrameOutcome, Violation> {
        let payload: [u8; 5] = self.payload(header)?;
        if depends_on(&payload) == Some(header.stream) {
            return Err(Violation::Stream(header.stream, Http2ErrorCode::PROTOCOL_ERROR));
        }
        self.count_idle_frame()
    }

    /// The client begins no new streams, and reads what it has asked for.
    fn goaway(&mut self, header: FrameHeader) -> Result<FrameOutcome, Violation> {
        if header.length < 8 {
            return Err(FRAME_SIZE_ERROR);
        }
        self.client_sent_goaway();
        self.count_idle_frame()
    }

    /// Handles a frame other than PRIORITY for a stream that has ended or never began.
    fn late_frame(&mut self, id: u32, closed: ClosedState) -> Result<FrameOutcome, Violation> {
        match closed {
            ClosedState::Idle => Err(PROTOCOL_ERROR),
            ClosedState::EndedHere => self.count_idle_frame(),
            ClosedState::Reset => Err(Violation::Stream(id, Http2ErrorCode::STREAM_CLOSED)),
            ClosedState::Complete => Err(Violation::Connection(Http2ErrorCode::STREAM_CLOSED)),
        }
    }

    /// The payload of the frame at the front of the input, where it has this length.
    fn payload<const N: usize>(&self, header: FrameHeader) -> Result<[u8; N], Violation> {
        let payload = &self.socket.input()[HEADER_BYTES..][..header.length];
        payload.try_into().map_err(|_| FRAME_SIZE_ERROR)
    }

    fn data(&mut self, header: FrameHeader) -> Result<FrameOutcome, Violation> {
        let (id, ends) = (header.stream, header.has(END_STREAM));
        let length = saturating_u32(header.length);
        if length > self.receive_window {
            return Err(Violation::Connection(Http2ErrorCode::FLOW_CONTROL_ERROR));
        }
        self.receive_window -= length;
        let payload = &self.socket.input()[HEADER_BYTES..][..header.length];
        let content = header.content(payload).ok_or(PROTOCOL_ERROR)?;
        let number = self.streams.find(id);
        let ends_stream = ends && number.is_some_and(|number| self.streams.get(number).receives());
        // messages may be small and many; what says nothing at all, or comes too late, is of no use to anybody
        if content.is_empty() && !ends_stream {
            self.count_idle_frame()?;
        }
        let closed = match number {
            Some(number) => self.streams.get(number).closed(),
            None => Some(self.closed.of(id)),
        };
        let Some(number) = number.filter(|_| closed.is_none()) else {
            self.release_capacity(None, length);
            return match closed {
                // it was answered before its body had come, and the client does not know yet
                None | Some(ClosedState::EndedHere) => Ok(FrameOutcome::Handled),
                Some(closed) => self.late_frame(id, closed),
            };
        };
        let stream = self.streams.get(number);
        if stream.is_received {
            self.release_capacity(None, length);
            return Err(Violation::Stream(id, Http2ErrorCode::STREAM_CLOSED));
        }
        let count = content.len();
        let left = stream.announced.map(|left| left.checked_sub(count as u64));
        let violation = if length > stream.receive_window {
            Some(Http2ErrorCode::FLOW_CONTROL_ERROR)
        } else if left == Some(None) || (ends && !matches!(left, None | Some(Some(0)))) {
            // RFC 9113 §8.1.1: of another length than announced
            Some(Http2ErrorCode::PROTOCOL_ERROR)
        } else {
            None
        };
        if let Some(reason) = violation {
            self.release_capacity(None, length);
            return Err(Violation::Stream(id, reason));
        }
        stream.receive_window -= length;
        stream.announced = left.flatten();
        stream.received.extend_from_slice(&self.socket.input()[HEADER_BYTES..][content]);
        stream.is_received = ends;
        stream.wake();
        // padding is taken at once
        let padding = length - saturating_u32(count);
        if padding > 0 {
            self.release_capacity(Some(number), padding);
        }
        Ok(FrameOutcome::Handled)
    }

    fn headers(&mut self, header: FrameHeader) -> Result<FrameOutcome, Violation> {
        // clients' streams have odd numbers
        if header.stream.is_multiple_of(2) {
            return Err(PROTOCOL_ERROR);
        }
        let payload = &self.socket.input()[HEADER_BYTES..][..header.length];
        let mut content = header.content(payload).ok_or(PROTOCOL_ERROR)?;
        let mut depends_on_itself = false;
        if header.has(PRIORITISED) {
            depends_on_itself = depends_on(&payload[content.clone()]) == Some(header.stream);
            content.start += 5;
            if content.start > content.end {
                return Err(PROTOCOL_ERROR);
            }
        }
        let place = HEADER_BYTES + content.start..HEADER_BYTES + content.end;
        let (stream, ends_stream) = (header.stream, header.has(END_STREAM));
        if header.has(END_HEADERS) {
            let known = self.streams.find(stream);
            let Self { decoder, socket, limits, .. } = self;
            let read = read(decoder, limits, &socket.input()[place.clone()], known.is_some());
            if !matches!(read, Ok(HeaderBlock { holds_credential: false, .. })) {
                socket.input_mut(place.end)[place.start..].zeroize();
            }
            return self.header_block(stream, known, ends_stream, read?.malformed_if(depends_on_itself));
        }
        let bytes = self.socket.input()[place.clone()].to_vec();
        self.socket.input_mut(place.end)[place.start..].zeroize();
        self.block = Some(PartialHeaderBlock { stream, ends_stream, depends_on_itself, bytes, frames: 1 });
        Ok(FrameOutcome::Handled)
    }

    fn continuation(&mut self, header: FrameHeader) -> Result<FrameOutcome, Violation> {
        let Some(mut block) = self.block.take() else { return Err(PROTOCOL_ERROR) };
        let end = HEADER_BYTES + header.length;
        block.append(&self.socket.input()[HEADER_BYTES..end]);
        block.frames += 1;
        self.socket.input_mut(end)[HEADER_BYTES..].zeroize();
        // a block is read as a whole, so there is an end to how much of it may come (RUSTSEC-2024-0332)
        let most = 2 * (self.limits.header_bytes + self.limits.line_bytes) + PAYLOAD_BYTES;
        if block.bytes.len() > most || block.frames > MAX_SMALL_FRAMES + 2 * most / PAYLOAD_BYTES {
            return Err(Violation::Connection(Http2ErrorCode::ENHANCE_YOUR_CALM));
        }
        if !header.has(END_HEADERS) {
            self.block = Some(block);
            return Ok(FrameOutcome::Handled);
        }
        let known = self.streams.find(block.stream);
        let read = read(&mut self.decoder, &self.limits, &block.bytes, known.is_some())?;
        self.header_block(block.stream, known, block.ends_stream, read.malformed_if(block.depends_on_itself))
    }

    /// Handles a whole header block. `known`: the number of the stream, if it is open: then the block is its trailers.
    fn header_block(
        &mut self,
        id: u32,
        known: Option<usize>,
        ends_stream: bool,
        read: HeaderBlock,
    ) -> Result<FrameOutcome, Violation> {
        if let Some(number) = known {
            return self.trailers(number, ends_stream, read);
        }
        if id <= self.closed.last() {
            return self.late_frame(id, self.closed.of(id));
        }
        self.closed.begin(id);
        let has_room = self.streams.len() - self.streams.reset_by_client < self.limits.streams as usize
            // tasks whose streams are gone have not all noticed
            && self.streams.reset_by_client < self.limits.streams as usize;
        if self.state == State::LastStreams || !has_room {
            self.send_reset(id, Http2ErrorCode::REFUSED_STREAM);
            return self.count_idle_frame();
        }
        let refused = match read.validation {
            HeadValidation::Malformed => return Err(Violation::Stream(id, Http2ErrorCode::PROTOCOL_ERROR)),
            HeadValidation::Refused(error) => Some(error),
            HeadValidation::Valid => None,
        };
        let head = read.head;
        let is_tunnel = head.protocol().is_some();
        let length = if is_tunnel { Ok(BodyLength::NONE) } else { body_length(&head.fields, ends_stream) };
        let announced = match length {
            Ok(BodyLength::Exact(length)) if !is_tunnel => Some(length),
            _ => None,
        };
        if ends_stream && announced.is_some_and(|length| length > 0) {
            return Err(Violation::Stream(id, Http2ErrorCode::PROTOCOL_ERROR));
        }
        self.credit_idle_frames(PER_REQUEST);
        let stream = self.streams.open(id, i64::from(self.initial_send_window), announced, ends_stream);
        Ok(FrameOutcome::Request(NewRequest { head, refused, length, stream }))
    }

    fn trailers(
        &mut self,
        number: usize,
        ends_stream: bool,
        read: HeaderBlock,
    ) -> Result<FrameOutcome, Violation> {
        let stream = self.streams.get(number);
        let id = stream.id;
        if let Some(closed) = stream.closed() {
            return self.late_frame(id, closed);
        }
        if stream.is_received {
            return Err(Violation::Stream(id, Http2ErrorCode::STREAM_CLOSED));
        }
        let is_short = stream.announced.is_some_and(|left| left > 0);
        if !ends_stream || is_short || read.validation != HeadValidation::Valid {
            return Err(Violation::Stream(id, Http2ErrorCode::PROTOCOL_ERROR));
        }
        let mut head = read.head;
        stream.trailers = std::mem::take(&mut head.fields);
        stream.is_received = true;
        stream.wake();
        Ok(FrameOutcome::Handled)
    }

    fn reset_stream(&mut self, header: FrameHeader) -> Result<FrameOutcome, Violation> {
        let _: [u8; 4] = self.payload(header)?;
        let id = header.stream;
        let Some(number) = self.streams.find(id) else {
            return match self.closed.of(id) {
                ClosedState::Idle => Err(PROTOCOL_ERROR),
                ClosedState::Complete => self.count_idle_frame(),
                ClosedState::EndedHere | ClosedState::Reset => {
                    self.closed.end(id, ClosedState::Reset);
                    self.count_idle_frame()
                }
            };
        };
        self.streams.client_reset(number);
        if self.streams.reset_early > self.limits.early_resets {
            return Err(Violation::Connection(Http2ErrorCode::ENHANCE_YOUR_CALM));
        }
        Ok(FrameOutcome::Handled)
    }

    fn settings(&mut self, header: FrameHeader) -> Result<FrameOutcome, Violation> {
        if header.has(ACK) {
            return if header.length == 0 { Ok(FrameOutcome::Handled) } else { Err(FRAME_SIZE_ERROR) };
        }
        if !header.length.is_multiple_of(6) {
            return Err(FRAME_SIZE_ERROR);
        }
        for at in (0..header.length).step_by(6) {
            let setting = &self.socket.input()[HEADER_BYTES + at..][..6];
            let name = u16::from_be_bytes([setting[0], setting[1]]);
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            self.setting(name, value)?;
        }
        self.has_settings = true;
        self.send(SETTINGS, ACK, 0, &[]);
        self.count_idle_frame()
    }

    fn setting(&mut self, name: u16, value: u32) -> Result<(), Violation> {
        match name {
            setting::HEADER_TABLE_SIZE => self.announce_no_table = true,
            setting::ENABLE_PUSH | setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                return Err(PROTOCOL_ERROR);
            }
            setting::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                return Err(PROTOCOL_ERROR);
            }
            setting::INITIAL_WINDOW_SIZE => {
                if i64::from(value) > MAX_WINDOW {
                    return Err(Violation::Connection(Http2ErrorCode::FLOW_CONTROL_ERROR));
                }
                // each is worked on for every stream, and a frame may hold thousands
                self.count_idle_frame()?;
                let by = i64::from(value) - i64::from(self.initial_send_window);
                self.initial_send_window = value;
                if !self.streams.each().all(|stream| stream.widen(by)) {
                    return Err(Violation::Connection(Http2ErrorCode::FLOW_CONTROL_ERROR));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn ping(&mut self, header: FrameHeader) -> Result<FrameOutcome, Violation> {
        let payload: [u8; 8] = self.payload(header)?;
        if header.has(ACK) {
            if payload == frame::SHUTDOWN_PING {
                self.shutdown_ping_answered();
            }
            return self.count_idle_frame();
        }
        self.send(PING, ACK, 0, &payload);
        self.count_idle_frame()
    }

    fn window_update(&mut self, header: FrameHeader) -> Result<FrameOutcome, Violation> {
        let increment = u32::from_be_bytes(self.payload(header)?) & 0x7fff_ffff;
        if increment < SMALL_INCREMENT {
            self.count_idle_frame()?;
        }
        if header.stream == 0 {
            self.send_window += i64::from(increment);
            if increment == 0 {
                return Err(PROTOCOL_ERROR);
            }
            if self.send_window > MAX_WINDOW {
                return Err(Violation::Connection(Http2ErrorCode::FLOW_CONTROL_ERROR));
            }
            self.wake_senders();
            return Ok(FrameOutcome::Handled);
        }
        let Some(number) = self.streams.find(header.stream) else {
            let is_idle = self.closed.of(header.stream) == ClosedState::Idle;
            return if is_idle { Err(PROTOCOL_ERROR) } else { self.count_idle_frame() };
        };
        if increment == 0 {
            return Err(Violation::Stream(header.stream, Http2ErrorCode::PROTOCOL_ERROR));
        }
        if !self.streams.get(number).widen(i64::from(increment)) {
            return Err(Violation::Stream(header.stream, Http2ErrorCode::FLOW_CONTROL_ERROR));
        }
        Ok(FrameOutcome::Handled)
    }
}

/// What a header block says.
struct HeaderBlock {
    head: RequestHead,
    validation: HeadValidation,
    /// The block's own bytes hold a credential.
    holds_credential: bool,
}

impl HeaderBlock {
    /// The same, but malformed where `broken`.
    fn malformed_if(mut self, broken: bool) -> Self {
        if broken {
            self.validation = HeadValidation::Malformed;
        }
        self
    }
}

/// The stream that a priority names (RFC 7540 §6.3).
fn depends_on(priority: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*priority.first_chunk()?) & 0x7fff_ffff)
}

/// Reads a whole block, whatever becomes of it: what it enters into the table counts for those after it.
fn read(
    decoder: &mut HpackDecoder,
    limits: &Http2Limits,
    block: &[u8],
    is_trailers: bool,
) -> Result<HeaderBlock, Violation> {
    let mut head = RequestHead::default();
    let mut reader = if is_trailers {
        HeadReader::trailers(&mut head, limits)
    } else {
        HeadReader::request(&mut head, limits)
    };
    let holds_credential = decoder
        .decode(block, |line| reader.take(line))
        .map_err(|_| Violation::Connection(Http2ErrorCode::COMPRESSION_ERROR))?;
    let validation = reader.finish();
    Ok(HeaderBlock { head, validation, holds_credential })
}
