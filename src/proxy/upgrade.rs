//! Tunnels: only after the upstream itself has changed the protocol (CVE-2018-1002105: a gateway that believed the
//! client's wish relayed whatever came next).

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::Upstream;
use super::date::HttpDate;
use super::forward::{Ended, Exchange, Failure, Phase};
use super::headers::pass_response_fields;
use super::pipeline::CountedOpen;
use super::refusal::Refusal;
use super::respond::{push_field, status_line};
use crate::wire::{
    BodyCopy, FieldName, Frames, Length, Peer, PeerError, Received, ResponseHead, close_frame,
    masked_close_frame,
};

/// RFC 6455 §1.3.
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A `Sec-WebSocket-Key` for an upstream whose client came by HTTP/2 and so sent none.
pub(super) fn websocket_key(random: [u8; 16]) -> String {
    STANDARD.encode(random)
}

/// Whether the upstream's 101 is the answer to what was asked. `key`: the `Sec-WebSocket-Key` that the gateway sent
/// itself; a client that sent its own checks the answer itself.
fn check(head: &ResponseHead, protocol: &[u8], key: Option<&str>) -> Result<(), &'static str> {
    let mut protocols = head.fields.values(FieldName::Upgrade);
    if !protocols.next().is_some_and(|chosen| chosen.eq_ignore_ascii_case(protocol))
        || protocols.next().is_some()
    {
        return Err("the upstream changed to another protocol than was asked for");
    }
    if let Some(key) = key {
        let text = format!("{key}{WEBSOCKET_GUID}");
        let expected = STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
        let accept =
            head.fields.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(b"Sec-WebSocket-Accept"));
        if accept.is_none_or(|(_, _, value)| value != expected.as_bytes()) {
            return Err("the upstream's WebSocket handshake is wrong");
        }
    }
    Ok(())
}

/// RFC 6455 §7.4.1: the gateway is stopping.
const GOING_AWAY: u16 = 1001;
/// The same section: the key may not do this any more.
const POLICY_VIOLATION: u16 = 1008;
/// The IANA registry of close codes: the gateway does not know at present whether it may.
const TRY_AGAIN_LATER: u16 = 1013;

/// Ends a WebSocket whose last frame to the client is whole: with a word why, and in order. `false`: the client takes
/// nothing now, and nobody waits for it.
pub(super) fn end_websocket(client: &mut Peer, why: &Refusal) -> bool {
    let code = if matches!(why, Refusal::Unavailable(_)) { TRY_AGAIN_LATER } else { POLICY_VIOLATION };
    let (frame, cx) = (close_frame(code), &mut Context::from_waker(Waker::noop()));
    if !matches!(client.poll_send(cx, &frame), Poll::Ready(Ok(sent)) if sent == frame.len()) {
        return false;
    }
    matches!(client.poll_close(cx), Poll::Ready(Ok(())))
}

impl Exchange<'_> {
    /// Opens the tunnel that the upstream has agreed to, and moves bytes until both sides have ended it. `asked`: the whole
    /// request had been sent.
    pub(super) async fn tunnel(
        &self,
        client: &mut Peer,
        upstream: &mut Upstream,
        asked: bool,
        head: &ResponseHead,
    ) -> Result<(Ended, bool), Failure> {
        let admitted = self.permitted.admitted;
        let Some(protocol) = admitted.upgrade.filter(|_| asked) else {
            return Err(Failure::broken("the upstream changed the protocol unasked"));
        };
        check(head, protocol, self.permitted.websocket_key)
            .map_err(|what| Failure::Ended(Ended::Refused(Refusal::UpstreamBroken(what))))?;
        self.answered(101);
        self.progress.phase.set(Phase::Tunnel);
        self.metrics.tunnels_open.increase();
        let _open = CountedOpen(&self.metrics.tunnels_open);
        begin(client, upstream.peer_mut(), head, protocol, self.worker.date())
            .map_err(|_| Failure::Ended(Ended::Gone("the client is gone")))?;
        let frames = admitted.is_websocket().then_some(&self.progress.frames);
        let frames_to_upstream = admitted.is_websocket().then_some(&self.progress.frames_to_upstream);
        let may_move = || self.permitted.is_fresh();
        let mut up = BodyCopy::tunnel(frames_to_upstream).only_while(&may_move);
        let mut down = BodyCopy::tunnel(frames).only_while(&may_move);
        let mut moved = None;
        let (mut to_client, mut to_upstream) = (Goodbye::default(), Goodbye::default());
        let result = poll_fn(|cx| {
            let upstream = upstream.peer_mut();
            if self.progress.says_goodbye.get() {
                let frame = close_frame(GOING_AWAY);
                let down = to_client.poll(cx, &mut down, &self.progress.frames, upstream, client, &frame);
                let frame = masked_close_frame(GOING_AWAY);
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
            Ok(()) => Ok((Ended::Answered { reusable: false }, false)),
            Err(()) => Err(Failure::Ended(Ended::BrokenOff("the tunnel broke"))),
        }
    }
}

/// How far one direction of a WebSocket is with its end when the gateway stops.
#[derive(Default)]
struct Goodbye {
    /// How much of the Close frame has been taken.
    sent: usize,
}

impl Goodbye {
    /// Lets the frame under way end, then sends the Close to `to`. After that nothing of `from` passes any more; ready
    /// when `from` has sent its own Close or ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        copy: &mut BodyCopy<'_>,
        frames: &Cell<Frames>,
        from: &mut Peer,
        to: &mut Peer,
        frame: &[u8],
    ) -> Poll<Result<(), ()>> {
        if self.sent == 0 && !frames.get().takes_another() && !frames.get().has_closed() {
            // what is ready may be more than this frame's end, or end in the middle of the next
            if poll_running(copy, cx, from, to)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if !frames.get().takes_another() && !frames.get().has_closed() {
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

impl Exchange<'_> {
    /// Whether it is a WebSocket whose tunnel is open.
    pub(super) fn is_open_websocket(&self) -> bool {
        self.progress.phase.get() == Phase::Tunnel && self.permitted.admitted.is_websocket()
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
fn begin(
    client: &mut Peer,
    upstream: &mut Peer,
    head: &ResponseHead,
    protocol: &[u8],
    date: HttpDate,
) -> Result<(), PeerError> {
    match client {
        Peer::Http1(peer) => {
            let output = peer.wire.output();
            status_line(output, head.status, head.reason());
            pass_response_fields(head, false, |name, value| push_field(output, name, value));
            push_field(output, b"Connection", b"Upgrade");
            push_field(output, b"Upgrade", protocol);
            output.extend_from_slice(b"\r\n");
            peer.expect_body(Length::UntilClose);
            peer.begin_body(Length::UntilClose);
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
            })?;
        }
        Peer::Http2Upstream(_) => return Err(PeerError::Closed),
    }
    if let Peer::Http1(peer) = upstream {
        peer.expect_body(Length::UntilClose);
        peer.begin_body(Length::UntilClose);
    }
    Ok(())
}
