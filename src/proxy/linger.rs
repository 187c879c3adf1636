//! The time after an answer in which the client may still be sending.
//!
//! Many clients read the answer only after they have sent all of their request (wget, curl over HTTP/2). To end the
//! connection or the stream under them at once would take the answer away from them. So what they still send is read and
//! dropped, as long as it moves, within bounds.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use super::streams::OpenStream;
use super::worker::Worker;
use crate::wire::{Peer, Received, Wire};

/// How many answered requests of a worker are waited for at once; those beyond have [`SHORT`].
const PLACES: usize = 256;
const LONG: Bounds =
    Bounds { silence: Duration::from_secs(5), time: Duration::from_mins(1), bytes: 64 << 20 };
const SHORT: Bounds =
    Bounds { silence: Duration::from_secs(2), time: Duration::from_secs(2), bytes: 1 << 20 };

/// What a client may take and still send before it is ended whatever it sends.
struct Bounds {
    /// Without a byte from it.
    silence: Duration,
    time: Duration,
    bytes: usize,
}

/// An answered request whose client may still be sending; gives its place back when dropped.
struct Lingering<'a> {
    worker: &'a Worker,
    stream: &'a OpenStream,
    bounds: &'static Bounds,
    since: Instant,
    bytes: usize,
}

impl<'a> Lingering<'a> {
    fn begin(worker: &'a Worker, stream: &'a OpenStream) -> Self {
        let places = worker.lingering.get();
        worker.lingering.set(places + 1);
        // whoever stops waits for nobody long
        let bounds = if places < PLACES && !worker.is_draining() { &LONG } else { &SHORT };
        stream.set_idle(true);
        stream.set_deadline(bounds.silence);
        Self { worker, stream, bounds, since: stream.about_now(), bytes: 0 }
    }

    /// So many bytes came; whether more may.
    fn goes_on(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let age = self.stream.about_now().saturating_duration_since(self.since);
        self.stream.set_deadline(self.bounds.silence);
        self.bytes < self.bounds.bytes && age < self.bounds.time
    }
}

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        self.stream.set_idle(false);
        self.worker.lingering.set(self.worker.lingering.get() - 1);
    }
}

/// Ends an HTTP/1.1 connection in order: tells the client that nothing more comes, and waits until it ends its own
/// direction.
pub(super) async fn end_connection(worker: &Worker, stream: &OpenStream, wire: &mut Wire) {
    let mut lingering = Lingering::begin(worker, stream);
    let ending = async {
        if wire.shutdown().await.is_err() {
            return;
        }
        loop {
            let waiting = wire.input().len();
            wire.consume(waiting);
            match wire.fill().await {
                Ok(count @ 1..) if lingering.goes_on(count) => {}
                _ => return,
            }
        }
    };
    // whatever ends it, the connection is closed now
    let _ = stream.run_through(ending).await;
}

/// Lets the client of an answered HTTP/2 stream send the rest of its request, before the stream is reset (RFC 9113 §8.1).
pub(super) async fn end_stream(worker: &Worker, stream: &OpenStream, peer: &mut Peer) {
    if peer.is_received() {
        return;
    }
    let mut lingering = Lingering::begin(worker, stream);
    let ending = poll_fn(|cx| {
        while let Ok(Received::Data) = ready!(peer.poll_receive(cx)) {
            let count = peer.received().len();
            peer.consume(count);
            if !lingering.goes_on(count) {
                break;
            }
        }
        Poll::Ready(())
    });
    // whatever ends it, the stream is reset now
    let _ = stream.run_through(ending).await;
}
