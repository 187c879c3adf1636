//! What the gateway itself says in a WebSocket's name: the handshake's key (RFC 6455 §4), and Close frames.

use std::task::{Context, Poll, Waker};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::refusal::Refusal;
use crate::wire::{Peer, websocket_close_frame};

/// RFC 6455 §1.3.
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// RFC 6455 §7.4.1: the gateway is stopping.
pub(super) const GOING_AWAY: u16 = 1001;
/// The same section: the key may not do this any more.
const POLICY_VIOLATION: u16 = 1008;
/// The IANA registry of close codes: the gateway does not know at present whether it may.
const TRY_AGAIN_LATER: u16 = 1013;

/// A `Sec-WebSocket-Key` for an upstream whose client came by HTTP/2 and so sent none.
pub(super) fn websocket_key(random: [u8; 16]) -> String {
    STANDARD.encode(random)
}

/// The `Sec-WebSocket-Accept` that answers a key.
pub(super) fn websocket_accept(key: &str) -> String {
    let text = format!("{key}{WEBSOCKET_GUID}");
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// Sends a Close frame with the reason, and ends the connection. Only if the last frame to the client is whole. `false`:
/// the client takes nothing now, and is not waited for.
pub(super) fn end_websocket(client: &mut Peer, why: &Refusal) -> bool {
    let code = if matches!(why, Refusal::Unavailable(_)) { TRY_AGAIN_LATER } else { POLICY_VIOLATION };
    let (frame, cx) = (websocket_close_frame(code), &mut Context::from_waker(Waker::noop()));
    if !matches!(client.poll_send(cx, &frame), Poll::Ready(Ok(sent)) if sent == frame.len()) {
        return false;
    }
    matches!(client.poll_close(cx), Poll::Ready(Ok(())))
}
