//! Writes out what still waits for a client, as long as the client takes any of it.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::open_streams::{Interrupt, OpenStream};
use crate::wire::{Peer, StallDetector};

/// Writes out what waits. `false`: the other side took not one byte for the time of `limit`, or is gone.
pub(super) async fn flush(peer: &mut Peer, stream: &OpenStream, limit: Duration) -> bool {
    // once before anything can interrupt it, so that a last response leaves even if the gateway is stopping
    if let Poll::Ready(flushed) = poll_fn(|cx| Poll::Ready(peer.poll_flush(cx))).await {
        return flushed.is_ok();
    }
    let mut stall = StallDetector::new(limit, stream.coarse_now());
    let mut unsent = peer.unsent();
    stream.set_deadline(StallDetector::first_check(limit));
    loop {
        match stream.run_ignoring_changes(poll_fn(|cx| peer.poll_flush(cx))).await {
            Ok(flushed) => return flushed.is_ok(),
            Err(Interrupt::Deadline) => {}
            Err(_) => return false,
        }
        if std::mem::replace(&mut unsent, peer.unsent()) != unsent {
            stall.bytes_moved(limit, stream.coarse_now());
        }
        let Some(next) = stall.check(stream.coarse_now(), peer.progress()) else { return false };
        stream.set_deadline(next);
    }
}
