//! One client connection with HTTP/2: its streams, its limits, its end.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::headers::ClientInfo;
use super::lingering_close;
use super::open_streams::{Interrupt, OpenStream};
use super::refusal::Refusal;
use super::request_context::{AfterRequest, RequestContext};
use super::request_id;
use super::trace_context::TraceContext;
use super::worker_context::WorkerContext;
use crate::wire::{BufferedSocket, Http2Connection, Http2ErrorCode, Http2Limits, Http2Request, Peer};

/// Streams that the client may end before their time until the connection is looked at: where they are more than half
/// of all, it asks only to cancel (rapid reset, CVE-2023-44487, at a pace that lets each stream be accepted first).
const MIN_CANCELLED_STREAMS: u64 = 100;
/// How long a client has to acknowledge that the connection is about to end.
const GOAWAY_TIME: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(super) async fn serve(worker: &Rc<WorkerContext>, socket: BufferedSocket, client: Rc<ClientInfo>) {
    let stream = worker.streams.open_connection();
    stream.set_idle(true);
    // not the active config: that would keep connections to upstreams open after a reload, for as long as this one lasts
    let snapshot = Arc::clone(&worker.active_config().snapshot);
    let (limits, timeouts) = (&snapshot.limits, &snapshot.timeouts);
    let http2_limits = Http2Limits {
        header_bytes: limits.header_bytes,
        header_count: limits.header_count,
        line_bytes: snapshot.request_line_bytes(),
        streams: limits.http2_streams,
        early_resets: limits.http2_resets,
    };
    let connection = Http2Connection::new(socket, http2_limits, stream.coarse_now());
    connection.wipe_fields(snapshot.credential_places.headers.clone());

    let cancelled = Rc::new(Cell::new(0u64));
    let mut served = 0u64;
    let observe = |served| {
        let unsent = connection.unsent();
        // a slow client fetches what the kernel holds before this is less
        let progress = if unsent > 0 { connection.progress() } else { None };
        let acknowledged = progress.map(|progress| progress.acknowledged);
        Activity { served, stream_count: stream.stream_count(), unsent, acknowledged }
    };
    let mut seen = observe(served);
    let mut seen_since = stream.coarse_now();
    let mut idle_timeout = timeouts.idle;
    stream.set_deadline(timeouts.header);
    loop {
        match stream.run(poll_fn(|cx| connection.poll_request(cx, stream.coarse_now()))).await {
            Ok(Some(request)) => {
                served += 1;
                if served == limits.requests_per_connection {
                    connection.drain();
                }
                if cancelled.get() >= MIN_CANCELLED_STREAMS && cancelled.get() * 2 > served {
                    tracing::debug!("an HTTP/2 client cancels most of what it asks for");
                    connection.abort(Http2ErrorCode::ENHANCE_YOUR_CALM);
                }
                let context = StreamContext {
                    worker: Rc::clone(worker),
                    client: Rc::clone(&client),
                    stream: stream.open_stream(),
                    cancelled: Rc::clone(&cancelled),
                };
                tokio::task::spawn_local(context.serve(request));
            }
            Ok(None) | Err(Interrupt::Close) => return,
            Err(Interrupt::Changed) => {}
            Err(Interrupt::Drain) => {
                connection.drain();
                idle_timeout = GOAWAY_TIME;
                (seen, seen_since) = (observe(served), stream.coarse_now());
                stream.set_deadline(idle_timeout);
            }
            Err(Interrupt::Deadline) => {
                if !connection.has_received_settings() {
                    return;
                }
                let now = stream.coarse_now();
                let before = std::mem::replace(&mut seen, observe(served));
                if before != seen {
                    seen_since = now;
                }
                // streams that have ended may still be on their way to a client that is slow
                let current_timeout = if seen.unsent > 0 { timeouts.write } else { idle_timeout };
                let is_idle =
                    seen.stream_count == 0 && now.saturating_duration_since(seen_since) >= current_timeout;
                match (connection.is_draining(), is_idle) {
                    (true, true) => return,
                    (true, false) => connection.finish_draining(),
                    (false, true) => connection.drain(),
                    (false, false) => {}
                }
                stream.set_deadline(idle_timeout.min(current_timeout));
            }
        }
    }
}

/// What changes as long as the client does anything.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Activity {
    served: u64,
    stream_count: u32,
    unsent: usize,
    acknowledged: Option<u64>,
}

/// What one stream is served with.
struct StreamContext {
    worker: Rc<WorkerContext>,
    client: Rc<ClientInfo>,
    stream: OpenStream,
    /// Streams of the connection that the client has ended before their time.
    cancelled: Rc<Cell<u64>>,
}

impl StreamContext {
    async fn serve(self, request: Http2Request) {
        let Self { worker, client, stream, cancelled } = self;
        let Http2Request { mut head, refused, length, peer } = request;
        let mut peer = Peer::Http2(peer);
        let active_config = worker.active_config();
        head.fields.mark_credentials(&active_config.snapshot.credential_places.headers);
        // a client that has cancelled already costs nothing more
        if poll_fn(|cx| Poll::Ready(peer.poll_disconnected(cx))).await.is_ready() {
            cancelled.set(cancelled.get() + 1);
            return;
        }
        let arrived = Instant::now();
        client.check_trusted(&active_config.snapshot.trusted_proxies);
        let length = match refused {
            Some(error) => Err(Refusal::Head(error)),
            None => length.map_err(Refusal::Framing),
        };
        let mut id = [0; _];
        let context = RequestContext {
            worker: &worker,
            active_config: &active_config,
            client: &client,
            stream: &stream,
            access_control: active_config.snapshot.access_control(client.listener),
            request_id: request_id::choose(&client, &head, || worker.random_bytes(), &mut id),
            trace: TraceContext::new(&client, &head, active_config.snapshot.sample, || worker.random_bytes()),
            arrived,
            keep_alive: true,
        };
        let after = context.serve(&head, length, &mut peer).await;
        if matches!(after, AfterRequest::Reset | AfterRequest::ResetWhenSent)
            && let Peer::Http2(peer) = &mut peer
        {
            // what ended through the upstream or the gateway is not held against the client
            cancelled.set(cancelled.get() + u64::from(peer.is_reset_by_client()));
            // an answer that ended early must not look whole; the other streams of the connection go on
            peer.reset(Http2ErrorCode::INTERNAL_ERROR);
        } else {
            lingering_close::end_stream(&worker, &stream, &mut peer).await;
        }
    }
}
