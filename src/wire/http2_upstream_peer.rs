//! A stream of an HTTP/2 connection to an upstream (the `h2` crate), and heads between its form and the gateway's own.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::body_framing::{BodyError, BodyLength};
use super::field::Span;
use super::field_block::FieldBlock;
use super::head::{FIELD_BYTES, HeadLimits, ResponseHead, Version};
use super::http2::body_length;
use super::peer_result::{PeerError, Received};

/// The most that is handed to a stream at once.
const SEND_BYTES: usize = 64 * 1024;

/// One HTTP/2 stream to an upstream during one exchange.
pub struct Http2UpstreamPeer {
    receive: Option<RecvStream>,
    chunk: Bytes,
    ended: bool,
    trailers: FieldBlock,
    send: Option<SendStream<Bytes>>,
}

impl Http2UpstreamPeer {
    /// A request is being sent.
    pub fn new(send: SendStream<Bytes>) -> Self {
        Self {
            receive: None,
            chunk: Bytes::new(),
            ended: false,
            trailers: FieldBlock::default(),
            send: Some(send),
        }
    }

    /// The upstream has answered, its body follows.
    pub fn expect_body(&mut self, receive: RecvStream) {
        self.receive = Some(receive);
        self.ended = false;
    }

    /// The request ended with its head.
    pub fn request_ended(&mut self) {
        self.send = None;
    }

    /// The length of the body of the answer whose head was received; `to_head`: the request was HEAD.
    pub fn response_length(&self, head: &ResponseHead, to_head: bool) -> Result<BodyLength, BodyError> {
        let ended = self.receive.as_ref().is_none_or(RecvStream::is_end_stream);
        if ended || to_head || matches!(head.status, 204 | 304) {
            return Ok(BodyLength::NONE);
        }
        body_length(&head.fields, false)
    }

    pub(super) fn received(&self) -> &[u8] {
        &self.chunk
    }

    pub(super) fn consume(&mut self, count: usize) {
        bytes::Buf::advance(&mut self.chunk, count);
        if let Some(receive) = &mut self.receive {
            // fails only for a stream that is gone, which the next receive reports
            let _ = receive.flow_control().release_capacity(count);
        }
    }

    pub(super) fn trailers(&mut self) -> &mut FieldBlock {
        &mut self.trailers
    }

    pub(super) fn is_received(&self) -> bool {
        self.chunk.is_empty() && (self.ended || self.receive.as_ref().is_none_or(RecvStream::is_end_stream))
    }

    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, PeerError>> {
        let Some(receive) = &mut self.receive else { return Poll::Ready(Ok(Received::End)) };
        loop {
            if !self.chunk.is_empty() {
                return Poll::Ready(Ok(Received::Data));
            }
            if self.ended {
                return Poll::Ready(Ok(Received::End));
            }
            if let Some(data) = ready!(receive.poll_data(cx)) {
                self.chunk = data?;
            } else {
                if let Some(trailers) = ready!(receive.poll_trailers(cx))? {
                    self.trailers.clear();
                    push_fields(&mut self.trailers, &trailers);
                }
                self.ended = true;
            }
        }
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, PeerError>> {
        let send = self.send.as_mut().ok_or(PeerError::Closed)?;
        send.reserve_capacity(bytes.len().min(SEND_BYTES));
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(capacity) => _ = capacity?,
                None => return Poll::Ready(Err(PeerError::Closed)),
            }
        }
        let count = send.capacity().min(bytes.len());
        send.send_data(Bytes::copy_from_slice(&bytes[..count]), false)?;
        Poll::Ready(Ok(count))
    }

    pub(super) fn finish(&mut self, trailers: &FieldBlock) -> Result<(), PeerError> {
        let Some(mut send) = self.send.take() else { return Ok(()) };
        if trailers.is_empty() {
            send.send_data(Bytes::new(), true)?;
        } else {
            send.send_trailers(trailers.to_header_map())?;
        }
        Ok(())
    }

    pub(super) fn poll_disconnected(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(send) => send.poll_reset(cx).map(|_| ()),
            None => Poll::Pending,
        }
    }
}

impl ResponseHead {
    /// Whether a head that came by HTTP/2 would be within these limits in HTTP/1.1.
    pub fn is_within(&self, limits: &HeadLimits) -> bool {
        self.fields.len() <= limits.header_count
            && self.fields.bytes.len() + FIELD_BYTES * self.fields.len() <= limits.header_bytes
    }

    /// Takes over a head from HTTP/2.
    pub fn from_http2(&mut self, response: &http::response::Parts) {
        self.fields.begin();
        self.version = Version::Http2;
        self.status = response.status.as_u16();
        self.reason = Span::default();
        push_fields(&mut self.fields, &response.headers);
    }
}

fn push_fields(block: &mut FieldBlock, headers: &HeaderMap) {
    for (name, value) in headers {
        block.push(name.as_str().as_bytes(), value.as_bytes());
    }
}

impl FieldBlock {
    /// The fields as a header map for HTTP/2. Names and values were checked when they were read; one that the library
    /// does not take is left out.
    pub fn to_header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (_, name, value) in self.iter() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        map
    }
}
