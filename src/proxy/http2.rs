//! One client connection with HTTP/2: its streams, its limits, its end.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::headers::Client;
use super::http1::line_bytes;
use super::linger;
use super::pipeline::{Afterwards, RequestContext};
use super::refusal::Refusal;
use super::request_id;
use super::streams::{Interrupt, OpenStream};
use super::worker::Worker;
use crate::wire::{Http2Connection, Http2Limits, Http2Request, Peer, Reason, Wire};

/// Streams that the client may end before their time until the connection is looked at: where they are more than half
/// of all, it asks only to cancel (rapid reset, CVE-2023-44487, at a pace that lets each stream be accepted first).
const MIN_CUT_STREAMS: u64 = 100;
/// What a client is given to answer that it knows of the connection's end.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(super) async fn serve(worker: &Rc<Worker>, wire: Wire, client: Rc<Client>) {
    let stream = worker.streams.open();
    stream.set_idle(true);
    // not the generation: it would keep the upstreams of before a reload as long as this connection lasts
    let snapshot = Arc::clone(&worker.generation().snapshot);
    let (limits, timeouts) = (&snapshot.limits, &snapshot.timeouts);
    let http2_limits = Http2Limits {
        header_bytes: limits.header_bytes,
        header_count: limits.header_count,
        line_bytes: line_bytes(limits),
        streams: limits.http2_streams,
        early_resets: limits.http2_resets,
    };
    let connection = Http2Connection::new(wire, http2_limits, stream.about_now());

    let cut = Rc::new(Cell::new(0u64));
    let mut served = 0u64;
    let look = |served| {
        let unsent = connection.unsent();
        // a slow client fetches what the kernel holds before this is less
        let progress = if unsent > 0 { connection.progress() } else { None };
        let acknowledged = progress.map(|progress| progress.acknowledged);
        Seen { served, carried: stream.carried(), unsent, acknowledged }
    };
    let mut seen = look(served);
    let mut seen_since = stream.about_now();
    let mut patience = timeouts.idle;
    stream.set_deadline(timeouts.header);
    loop {
        match stream.run(poll_fn(|cx| connection.poll_request(cx, stream.about_now()))).await {
            Ok(Some(request)) => {
                served += 1;
                if served == limits.requests_per_connection {
                    connection.drain();
                }
                if cut.get() >= MIN_CUT_STREAMS && cut.get() * 2 > served {
                    tracing::debug!("an HTTP/2 client cancels most of what it asks for");
                    connection.give_up(Reason::ENHANCE_YOUR_CALM);
                }
                let context = StreamContext {
                    worker: Rc::clone(worker),
                    client: Rc::clone(&client),
                    stream: stream.carry(),
                    cut: Rc::clone(&cut),
                };
                tokio::task::spawn_local(context.serve(request));
            }
            Ok(None) | Err(Interrupt::Close) => return,
            Err(Interrupt::Changed) => {}
            Err(Interrupt::Drain) => {
                connection.drain();
                patience = GOODBYE;
                (seen, seen_since) = (look(served), stream.about_now());
                stream.set_deadline(patience);
            }
            Err(Interrupt::Deadline) => {
                if !connection.is_greeted() {
                    return;
                }
                let now = stream.about_now();
                let before = std::mem::replace(&mut seen, look(served));
                if before != seen {
                    seen_since = now;
                }
                // streams that have ended may still be on their way to a client that is slow
                let patience_now = if seen.unsent > 0 { timeouts.write } else { patience };
                let is_idle = seen.carried == 0 && now.saturating_duration_since(seen_since) >= patience_now;
                match (connection.is_draining(), is_idle) {
                    (true, true) => return,
                    (true, false) => connection.stop_waiting(),
                    (false, true) => connection.drain(),
                    (false, false) => {}
                }
                stream.set_deadline(patience.min(patience_now));
            }
        }
    }
}

/// What changes as long as there is a client.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    served: u64,
    carried: u32,
    unsent: usize,
    acknowledged: Option<u64>,
}

/// One stream's surroundings.
struct StreamContext {
    worker: Rc<Worker>,
    client: Rc<Client>,
    stream: OpenStream,
    /// Streams of the connection that the client has ended before their time.
    cut: Rc<Cell<u64>>,
}

impl StreamContext {
    async fn serve(self, request: Http2Request) {
        let Self { worker, client, stream, cut } = self;
        let Http2Request { head, refused, length, peer } = request;
        let mut peer = Peer::Http2(peer);
        // a client that has cancelled already costs nothing more
        if poll_fn(|cx| Poll::Ready(peer.poll_gone(cx))).await.is_ready() {
            cut.set(cut.get() + 1);
            return;
        }
        let arrived = Instant::now();
        let generation = worker.generation();
        client.judge(&generation.snapshot.trusted_proxies);
        let length = match refused {
            Some(error) => Err(Refusal::Head(error)),
            None => length.map_err(Refusal::Framing),
        };
        let mut id = [0; _];
        let context = RequestContext {
            worker: &worker,
            generation: &generation,
            client: &client,
            stream: &stream,
            access_control: generation.snapshot.access_control(client.listener),
            request_id: request_id::choose(&client, &head, || worker.random_bytes(), &mut id),
            arrived,
            keep_alive: true,
        };
        let afterwards = context.serve(&head, length, &mut peer).await;
        if matches!(afterwards, Afterwards::Cut | Afterwards::BreakOff)
            && let Peer::Http2(peer) = &mut peer
        {
            // what ended through the upstream or the gateway is not held against the client
            cut.set(cut.get() + u64::from(peer.is_ended_by_client()));
            // an answer that ended early must not look whole; the other streams of the connection go on
            peer.reset(Reason::INTERNAL_ERROR);
        } else {
            linger::end_stream(&worker, &stream, &mut peer).await;
        }
    }
}
