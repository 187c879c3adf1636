//! Tunnels: only after the upstream itself has changed the protocol (CVE-2018-1002105: a gateway that believed the
//! client's wish relayed whatever came next).

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use jiff::Timestamp;

use super::client_response::{push_field, status_line};
use super::exchange::{Exchange, ExchangeEnd, ExchangeFailure, WaitingFor};
use super::headers::{KEY_EXPIRES, pass_response_fields};
use super::http_date::HttpDate;
use super::upstream_response::UpstreamAttempt;
use super::websocket::{GOING_AWAY, websocket_accept};
use crate::telemetry::GaugeGuard;
use crate::wire::{
    BodyCopy, BodyLength, HeaderRule, Peer, PeerError, Received, ResponseHead, WebSocketFrames,
    masked_websocket_close_frame, websocket_close_frame,
};

/// Whether the upstream's 101 is the answer to what was asked. `key`: the `Sec-WebSocket-Key` that the gateway sent
/// itself; a client that sent its own checks the answer itself.
fn check(head: &ResponseHead, protocol: &[u8], key: Option<&str>) -> Result<(), &'static str> {
    let mut protocols = head.fields.values(HeaderRule::Upgrade);
    if !protocols.next().is_some_and(|chosen| chosen.eq_ignore_ascii_case(protocol))
        || protocols.next().is_some()
    {
        return Err("the upstream changed to another protocol than was asked for");
    }
    if let Some(key) = key {
        let expected = websocket_accept(key);
        let accept =
            head.fields.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(b"Sec-WebSocket-Accept"));
        if accept.is_none_or(|(_, _, value)| value != expected.as_bytes()) {
            return Err("the upstream's WebSocket handshake is wrong");
        }
    }
    Ok(())
}

impl Exchange<'_> {
    /// Opens the tunnel that the upstream has agreed to, and moves bytes until both sides have ended it. `asked`: the whole
    /// request had been sent.
    pub(super) async fn tunnel(
        &self,
        client: &mut Peer,
        upstream: &mut UpstreamAttempt,
        asked: bool,
        head: &ResponseHead,
    ) -> Result<(ExchangeEnd, bool), ExchangeFailure> {
        let admitted = self.permitted.admitted;
        let Some(protocol) = admitted.upgrade.filter(|_| asked) else {
            return Err(self.broken("the upstream changed the protocol unasked"));
        };
        check(head, protocol, self.permitted.websocket_key.as_deref()).map_err(|what| self.broken(what))?;
        self.answered(101);
        self.progress.waiting_for.set(WaitingFor::TunnelBytes);
        let _open = GaugeGuard::increase(&self.metrics.tunnels_open);
        open(client, upstream.peer_mut(), head, protocol, (self.worker.date(), self.key_expires_soon()))
            .map_err(|_| ExchangeFailure::Ended(ExchangeEnd::ClientGone("the client is gone")))?;
        let frames = admitted.is_websocket().then_some(&self.progress.frames);
        let frames_to_upstream = admitted.is_websocket().then_some(&self.progress.frames_to_upstream);
        let may_move = || self.permitted.has_lease();
        let mut up = BodyCopy::tunnel(frames_to_upstream).only_while(&may_move);
        let mut down = BodyCopy::tunnel(frames).only_while(&may_move);
        let mut moved = None;
        let (mut to_client, mut to_upstream) = (WebSocketClose::default(), WebSocketClose::default());
        let result = poll_fn(|cx| {
            let upstream = upstream.peer_mut();
            if self.progress.closes_websocket.get() {
                let frame = websocket_close_frame(GOING_AWAY);
                let down = to_client.poll(cx, &mut down, &self.progress.frames, upstream, client, &frame);
                let frame = masked_websocket_close_frame(GOING_AWAY);
                let frames = &self.progress.frames_to_upstream;
                let up = to_upstream.poll(cx, &mut up, frames, client, upstream, &frame);
                return match (down, up) {
                    (Poll::Ready(Err(())), _) | (_, Poll::Ready(Err(()))) => Poll::Ready(Err(())),
                    (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
                    _ => Poll::Pending,
                };
            }
            let from_client = poll_running(&mut up, cx, client, upstream);
            let from_upstream = poll_running(&mut down, cx, upstream, client);
            let bytes = Some((up.bytes, down.bytes, up.is_done()));
            if moved != bytes {
                moved = bytes;
                self.stream.set_deadline(self.timeouts.tunnel_idle);
            }
            match (from_client, from_upstream) {
                (Poll::Ready(Err(())), _) | (_, Poll::Ready(Err(()))) => Poll::Ready(Err(())),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        })
        .await;
        self.progress.received.set(up.bytes);
        self.progress.sent.set(down.bytes);
        match result {
            Ok(()) => Ok((ExchangeEnd::Completed { reusable: false }, false)),
            Err(()) => Err(ExchangeFailure::Ended(ExchangeEnd::Aborted("the tunnel broke"))),
        }
    }
}

/// Closes one direction of a WebSocket in order when the gateway stops.
#[derive(Default)]
struct WebSocketClose {
    /// How much of the Close frame has been taken.
    sent: usize,
}

impl WebSocketClose {
    /// Lets the frame under way end, then sends the Close to `to`. After that nothing of `from` passes any more; ready
    /// when `from` has sent its own Close or ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        copy: &mut BodyCopy<'_>,
        frames: &Cell<WebSocketFrames>,
        from: &mut Peer,
        to: &mut Peer,
        frame: &[u8],
    ) -> Poll<Result<(), ()>> {
        if self.sent == 0 && !frames.get().is_between_frames() && !frames.get().has_closed() {
            // what is ready may be more than this frame's end, or end in the middle of the next
            if poll_running(copy, cx, from, to)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if !frames.get().is_between_frames() && !frames.get().has_closed() {
                return Poll::Pending;
            }
        }
        let is_own_close = !frames.get().has_closed() || self.sent > 0;
        while is_own_close && self.sent < frame.len() {
            self.sent += ready!(to.poll_send(cx, &frame[self.sent..])).map_err(|_| ())?;
        }
        ready!(to.poll_flush(cx)).map_err(|_| ())?;
        let mut seen = frames.get();
        while !seen.has_closed() {
            match ready!(from.poll_receive(cx)).map_err(|_| ())? {
                Received::End => break,
                Received::Data => {
                    seen.pass(from.received());
                    frames.set(seen);
                    let count = from.received().len();
                    from.consume(count);
                }
            }
        }
        to.poll_close(cx).map_err(|_| ())
    }
}

/// One direction of a tunnel, with the reason of a failure left to the log of the other side.
fn poll_running(
    copy: &mut BodyCopy<'_>,
    cx: &mut Context<'_>,
    from: &mut Peer,
    to: &mut Peer,
) -> Poll<Result<(), ()>> {
    if copy.is_done() {
        return Poll::Ready(Ok(()));
    }
    copy.poll(cx, from, to).map_err(|_| ())
}

/// Tells the client that the tunnel is open, and opens it: from now on both sides are bytes.
fn open(
    client: &mut Peer,
    upstream: &mut Peer,
    head: &ResponseHead,
    protocol: &[u8],
    (date, key_expires): (HttpDate, Option<Timestamp>),
) -> Result<(), PeerError> {
    let key_expires = key_expires.map(|expires| expires.to_string());
    match client {
        Peer::Http1(peer) => {
            let output = peer.socket.output();
            status_line(output, head.status, head.reason());
            pass_response_fields(head, false, |name, value| push_field(output, name, value));
            push_field(output, b"Connection", b"Upgrade");
            push_field(output, b"Upgrade", protocol);
            if let Some(expires) = &key_expires {
                push_field(output, KEY_EXPIRES, expires.as_bytes());
            }
            output.extend_from_slice(b"\r\n");
            peer.expect_body(BodyLength::UntilClose);
            peer.begin_body(BodyLength::UntilClose);
        }
        // RFC 8441 §5: 200, without the parts of the handshake that HTTP/2 makes unnecessary
        Peer::Http2(peer) => {
            peer.respond(200, false, |block| {
                let has_date = pass_response_fields(head, false, |name, value| {
                    if !name.eq_ignore_ascii_case(b"Sec-WebSocket-Accept") {
                        block.field(name, value);
                    }
                });
                if !has_date {
                    block.field(b"date", date.text());
                }
                if let Some(expires) = &key_expires {
                    block.field(&KEY_EXPIRES.to_ascii_lowercase(), expires.as_bytes());
                }
            })?;
        }
        Peer::Http2Upstream(_) => return Err(PeerError::Closed),
    }
    if let Peer::Http1(peer) = upstream {
        peer.expect_body(BodyLength::UntilClose);
        peer.begin_body(BodyLength::UntilClose);
    }
    Ok(())
}
