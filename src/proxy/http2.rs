//! One client connection with HTTP/2: its streams, its limits, its end.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};

use super::headers::Client;
use super::pipeline::{Afterwards, RequestContext};
use super::refusal::Refusal;
use super::request_id;
use super::streams::{Interrupt, OpenStream};
use super::worker::Worker;
use crate::wire::{HeadError, Http2Peer, Length, Peer, RequestHead, Wire};

/// What a client may send ahead of what the upstream takes, on one stream and on all.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// What waits to be sent on one stream at most.
const SEND_BUFFER_BYTES: usize = 32 << 10;
/// Streams that the gateway may have to reset because of the client's errors before the connection is given up
/// (`MadeYouReset`, CVE-2025-8671).
const MAX_ERROR_RESETS: usize = 256;
/// Streams that may end cut off before the connection is looked at: where they are more than half of all, the client
/// asks only to cancel (rapid reset, CVE-2023-44487, at a pace that lets each stream be accepted first).
const MIN_CUT_STREAMS: u64 = 100;
/// What a client without open streams is given to answer that it knows of the connection's end.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(super) async fn serve(worker: &Rc<Worker>, wire: Wire, client: Rc<Client>) {
    let stream = worker.streams.open();
    stream.set_idle(true);
    // not the generation: it would keep the upstreams of before a reload as long as this connection lasts
    let snapshot = Arc::clone(&worker.generation().snapshot);
    let (limits, timeouts) = (&snapshot.limits, &snapshot.timeouts);
    stream.set_deadline(timeouts.header);
    let handshake = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes + limits.uri_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits.http2_resets)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_connect_protocol()
        .handshake::<_, Bytes>(wire);
    let Ok(Ok(mut connection)) = stream.run(handshake).await else { return };

    let cut = Rc::new(Cell::new(0u64));
    let mut served = 0u64;
    // what was seen at the last deadline; two in a row without a stream between them mean that nobody is there
    let mut served_at_deadline = None;
    let mut patience = timeouts.idle;
    stream.set_deadline(patience);
    loop {
        match stream.run(poll_fn(|cx| connection.poll_accept(cx))).await {
            Ok(Some(Ok((request, respond)))) => {
                served += 1;
                if served == limits.requests_per_connection {
                    connection.graceful_shutdown();
                }
                if cut.get() >= MIN_CUT_STREAMS && cut.get() * 2 > served {
                    tracing::debug!("an HTTP/2 client cancels most of what it asks for");
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                let context = StreamContext {
                    worker: Rc::clone(worker),
                    client: Rc::clone(&client),
                    stream: stream.carry(),
                    cut: Rc::clone(&cut),
                };
                tokio::task::spawn_local(context.serve(request, respond));
            }
            Ok(None | Some(Err(_))) | Err(Interrupt::Close) => return,
            Err(Interrupt::Changed) => {}
            Err(Interrupt::Drain) => {
                connection.graceful_shutdown();
                served_at_deadline = Some(served);
                patience = GOODBYE;
                stream.set_deadline(patience);
            }
            Err(Interrupt::Deadline) => {
                if stream.carried() == 0 {
                    match served_at_deadline {
                        Some(before) if before == served => return,
                        _ => connection.graceful_shutdown(),
                    }
                    served_at_deadline = Some(served);
                }
                stream.set_deadline(patience);
            }
        }
    }
}

/// One stream's surroundings.
struct StreamContext {
    worker: Rc<Worker>,
    client: Rc<Client>,
    stream: OpenStream,
    /// Streams of the connection that ended cut off.
    cut: Rc<Cell<u64>>,
}

impl StreamContext {
    async fn serve(self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let Self { worker, client, stream, cut } = self;
        let arrived = Instant::now();
        let generation = worker.generation();
        client.judge(&generation.snapshot.trusted_proxies);
        let mut head = RequestHead::default();
        head.from_http2(&request);
        let body = request.into_body();
        let length = if head.fields.len() > generation.snapshot.limits.header_count {
            Err(Refusal::Head(HeadError::TooMany))
        } else if head.protocol().is_some() {
            Ok(Length::NONE)
        } else {
            head.http2_body(&body).map_err(Refusal::Framing)
        };
        let mut peer = Peer::Http2(Http2Peer::client(body, respond));
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
        // an answer that ended early must not look whole; the other streams of the connection go on
        let afterwards = context.serve(&head, length, &mut peer).await;
        if afterwards == Afterwards::Cut
            && let Peer::Http2(peer) = &mut peer
        {
            cut.set(cut.get() + 1);
            peer.reset(Reason::INTERNAL_ERROR);
        }
    }
}
