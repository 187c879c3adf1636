//! The time after an answer in which the client may still be sending.
//!
//! Many clients read the answer only after they have sent all of their request (wget, curl over HTTP/2). To end the
//! connection or the stream under them at once would take the answer away from them. So what they still send is read and
//! dropped, as long as it moves, within bounds.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use super::open_streams::OpenStream;
use super::worker_context::WorkerContext;
use crate::wire::{BufferedSocket, Peer, Received};

/// How many answered requests of a worker are waited for at once for as long as [`LONG`]. Others get [`SHORT`].
const MAX_LONG: usize = 256;
const LONG: Bounds =
    Bounds { silence: Duration::from_secs(5), time: Duration::from_mins(1), bytes: 64 << 20 };
const SHORT: Bounds =
    Bounds { silence: Duration::from_secs(2), time: Duration::from_secs(2), bytes: 1 << 20 };

/// How long a client may go on sending, and how much, before it is ended.
struct Bounds {
    /// The longest time without a byte from it.
    silence: Duration,
    time: Duration,
    bytes: usize,
}

/// An answered request whose client may still be sending. It is no longer counted once this is dropped.
struct Lingering<'a> {
    worker: &'a WorkerContext,
    stream: &'a OpenStream,
    bounds: &'static Bounds,
    since: Instant,
    bytes: usize,
}

impl<'a> Lingering<'a> {
    fn begin(worker: &'a WorkerContext, stream: &'a OpenStream) -> Self {
        let places = worker.lingering.get();
        worker.lingering.set(places + 1);
        // a gateway that is stopping does not wait long
        let bounds = if places < MAX_LONG && !worker.is_draining() { &LONG } else { &SHORT };
        stream.set_idle(true);
        stream.set_deadline(bounds.silence);
        Self { worker, stream, bounds, since: stream.coarse_now(), bytes: 0 }
    }

    /// Counts bytes that came. `false`: no more may come.
    fn count(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let age = self.stream.coarse_now().saturating_duration_since(self.since);
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
pub(super) async fn end_connection(worker: &WorkerContext, stream: &OpenStream, socket: &mut BufferedSocket) {
    let mut lingering = Lingering::begin(worker, stream);
    let ending = async {
        if socket.shutdown().await.is_err() {
            return;
        }
        loop {
            let waiting = socket.input().len();
            socket.consume(waiting);
            match socket.fill().await {
                Ok(count @ 1..) if lingering.count(count) => {}
                _ => return,
            }
        }
    };
    // whatever ends it, the connection is closed now
    let _ = stream.run_ignoring_changes(ending).await;
}

/// Lets the client of an answered HTTP/2 stream send the rest of its request, before the stream is reset (RFC 9113 §8.1).
pub(super) async fn end_stream(worker: &WorkerContext, stream: &OpenStream, peer: &mut Peer) {
    if peer.is_received() {
        return;
    }
    let mut lingering = Lingering::begin(worker, stream);
    let ending = poll_fn(|cx| {
        while let Ok(Received::Data) = ready!(peer.poll_receive(cx)) {
            let count = peer.received().len();
            peer.consume(count);
            if !lingering.count(count) {
                break;
            }
        }
        Poll::Ready(())
    });
    // whatever ends it, the stream is reset now
    let _ = stream.run_ignoring_changes(ending).await;
}
