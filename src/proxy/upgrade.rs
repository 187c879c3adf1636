//! Tunnels: only after the upstream itself has changed the protocol (CVE-2018-1002105: a gateway that believed the
//! client's wish relayed whatever came next).

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::Upstream;
use super::forward::{Ended, Exchange, Failure, Phase};
use super::headers::pass_response_fields;
use super::refusal::Refusal;
use super::respond::{push_field, status_line};
use crate::wire::{BodyCopy, FieldName, Length, Peer, PeerError, ResponseHead, close_frame};

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

/// RFC 6455 §7.4.1: the key may not do this any more.
const POLICY_VIOLATION: u16 = 1008;
/// The same registry: the gateway does not know at present whether it may.
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
        self.stream.set_tunnel();
        begin(client, upstream.peer_mut(), head, protocol)
            .map_err(|_| Failure::Ended(Ended::Broken("the client is gone")))?;
        let frames = admitted.is_websocket().then_some(&self.progress.frames);
        let may_move = || self.permitted.is_fresh();
        let mut up = BodyCopy::tunnel(self.permitted.stripped, None).only_while(&may_move);
        let mut down = BodyCopy::tunnel(self.permitted.stripped, frames).only_while(&may_move);
        let mut moved = None;
        let result = poll_fn(|cx| {
            let upstream = upstream.peer_mut();
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
            Err(()) => Err(Failure::Ended(Ended::Broken("the tunnel broke"))),
        }
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
                pass_response_fields(head, false, |name, value| {
                    if !name.eq_ignore_ascii_case(b"Sec-WebSocket-Accept") {
                        block.field(name, value);
                    }
                });
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
