//! A stream of an HTTP/2 connection, and heads between HTTP/2 and the gateway's own form.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::body::{BodyError, Length, decimal};
use super::field::{FieldBlock, FieldName, Span};
use super::head::{RequestHead, ResponseHead, Version};
use super::peer::{PeerError, Received};

/// The most that is handed to a stream at once.
const SEND_BYTES: usize = 64 * 1024;

/// One HTTP/2 stream during one exchange.
pub struct Http2Peer {
    receive: Option<RecvStream>,
    chunk: Bytes,
    ended: bool,
    trailers: FieldBlock,
    send: Option<SendStream<Bytes>>,
    /// How many bytes are still to be sent, where the last of them ends the stream.
    left: Option<u64>,
    respond: Option<h2::server::SendResponse<Bytes>>,
}

impl Http2Peer {
    /// The client's side: a request was received, an answer may be sent.
    pub fn client(receive: RecvStream, respond: h2::server::SendResponse<Bytes>) -> Self {
        Self {
            receive: Some(receive),
            chunk: Bytes::new(),
            ended: false,
            trailers: FieldBlock::default(),
            send: None,
            left: None,
            respond: Some(respond),
        }
    }

    /// The upstream's side: a request is being sent.
    pub fn upstream(send: SendStream<Bytes>) -> Self {
        Self {
            receive: None,
            chunk: Bytes::new(),
            ended: false,
            trailers: FieldBlock::default(),
            send: Some(send),
            left: None,
            respond: None,
        }
    }

    /// The upstream has answered, its body follows.
    pub fn expect_body(&mut self, receive: RecvStream) {
        self.receive = Some(receive);
        self.ended = false;
    }

    /// The request ended with its head.
    pub fn sent(&mut self) {
        self.send = None;
    }

    /// The length of the body of the answer whose head was received; `to_head`: the request was HEAD.
    pub fn announced(&self, head: &ResponseHead, to_head: bool) -> Result<Length, BodyError> {
        let ended = self.receive.as_ref().is_none_or(RecvStream::is_end_stream);
        if ended || to_head || matches!(head.status, 204 | 304) {
            return Ok(Length::NONE);
        }
        single_length(&head.fields)
    }

    /// Sends a small body whole, as much at a time as the client takes.
    pub fn send_last(&mut self, body: &[u8]) -> Result<(), PeerError> {
        let mut send = self.send.take().ok_or(PeerError::Closed)?;
        Ok(send.send_data(Bytes::copy_from_slice(body), true)?)
    }

    /// Sends the head of an answer; `ends`: no body follows.
    pub fn respond(&mut self, response: http::Response<()>, ends: bool) -> Result<(), PeerError> {
        let mut respond = self.respond.take().ok_or(PeerError::Closed)?;
        self.send = Some(respond.send_response(response, ends)?);
        if ends {
            self.send = None;
        }
        Ok(())
    }

    /// Says that the body has so many bytes and no trailers: the stream ends with the last of them, not after it.
    pub fn end_after(&mut self, length: u64) {
        self.left = Some(length);
    }

    /// Sends an interim answer (1xx).
    pub fn inform(&mut self, response: http::Response<()>) -> Result<(), PeerError> {
        let respond = self.respond.as_mut().ok_or(PeerError::Closed)?;
        Ok(respond.send_informational(response)?)
    }

    /// Ends the stream at once.
    pub fn reset(&mut self, reason: Reason) {
        if let Some(send) = &mut self.send {
            send.send_reset(reason);
        } else if let Some(respond) = &mut self.respond {
            respond.send_reset(reason);
        }
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
        self.left = self.left.map(|left| left.saturating_sub(count as u64));
        let ends = self.left == Some(0);
        send.send_data(Bytes::copy_from_slice(&bytes[..count]), ends)?;
        if ends {
            self.send = None;
        }
        Poll::Ready(Ok(count))
    }

    pub(super) fn finish(&mut self, trailers: &FieldBlock) -> Result<(), PeerError> {
        let Some(mut send) = self.send.take() else { return Ok(()) };
        if trailers.is_empty() {
            send.send_data(Bytes::new(), true)?;
        } else {
            send.send_trailers(header_map(trailers.iter().map(|(_, name, value)| (name, value))))?;
        }
        Ok(())
    }

    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match (&mut self.send, &mut self.respond) {
            (Some(send), _) => send.poll_reset(cx).map(|_| ()),
            (None, Some(respond)) => respond.poll_reset(cx).map(|_| ()),
            (None, None) => Poll::Pending,
        };
        reset.map(|()| ())
    }
}

impl RequestHead {
    /// Takes over a head from HTTP/2.
    pub fn from_http2(&mut self, request: &http::Request<RecvStream>) {
        let fields = &mut self.fields;
        fields.begin();
        self.version = Version::Http2;
        self.method = fields.append(request.method().as_str().as_bytes());
        let target = request.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        self.target = fields.append(target.as_bytes());
        self.authority = request.uri().authority().map(|name| fields.append(name.as_str().as_bytes()));
        self.protocol = request
            .extensions()
            .get::<h2::ext::Protocol>()
            .map(|protocol| fields.append(protocol.as_str().as_bytes()));
        push_fields(fields, request.headers());
        // HTTP/2 may send a cookie in pieces; HTTP/1.1 knows one line (RFC 9113 §8.2.3)
        let cookies: Vec<&[u8]> =
            request.headers().get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if cookies.len() > 1 {
            fields.retain(|_, name| name != b"cookie");
            fields.push(b"cookie", &cookies.join(&b"; "[..]));
        }
    }

    /// The length of the body of a request that came by HTTP/2. The library holds the announced length to what
    /// arrives.
    pub fn http2_body(&self, body: &RecvStream) -> Result<Length, BodyError> {
        if body.is_end_stream() {
            return Ok(Length::NONE);
        }
        single_length(&self.fields)
    }
}

fn single_length(fields: &FieldBlock) -> Result<Length, BodyError> {
    let mut lengths = fields.values(FieldName::ContentLength);
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(Length::Chunked),
        (Some(length), None) => decimal(length).map(Length::Exact).ok_or(BodyError::ContentLength),
        _ => Err(BodyError::ContentLength),
    }
}

impl ResponseHead {
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

/// The fields as a header map for HTTP/2. Names and values were checked when they were read; one that the library
/// does not take is left out.
pub(super) fn header_map<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

impl FieldBlock {
    /// The fields as a header map for HTTP/2.
    pub fn to_header_map(&self) -> HeaderMap {
        header_map(self.iter().map(|(_, name, value)| (name, value)))
    }
}
