//! One client connection with HTTP/1.1: heads in, one request after the other.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::headers::{ClientInfo, is_named_by_connection};
use super::open_streams::{Interrupt, OpenStream};
use super::refusal::Refusal;
use super::request_context::{AfterRequest, RequestContext};
use super::request_id;
use super::trace_context::TraceContext;
use super::worker_context::{ActiveConfig, WorkerContext};
use super::{http2_connection, lingering_close};
use crate::wire::{
    BodyLength, BufferedSocket, HTTP2_PREFACE, HeadLimits, Http1Peer, Peer, ProxyHeader, RequestHead,
    StallDetector,
};

/// How long the end of TLS may take to reach a client that has ended its direction.
const TLS_CLOSE_TIME: Duration = Duration::from_secs(2);
/// How often to look whether a client that is about to be reset has acknowledged everything.
const ACKNOWLEDGED_POLL: Duration = Duration::from_millis(20);

/// How the first message of a TLS client begins: a record with a handshake, of version 3.x (RFC 8446 §5.1).
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];

/// Serves a connection until it ends.
pub(super) async fn serve(worker: &Rc<WorkerContext>, mut peer: Box<Http1Peer>, client: Rc<ClientInfo>) {
    let stream = worker.streams.open_connection();
    let mut served = 0;
    loop {
        if peer.socket.input().is_empty() {
            stream.set_deadline(first_byte_timeout(worker, served));
            stream.set_idle(true);
            // a connection that waits keeps this small future and nothing else
            let filled = poll_fn(|cx| stream.poll_ignoring_changes(cx, |cx| peer.socket.poll_fill(cx))).await;
            stream.set_idle(false);
            if !matches!(filled, Ok(Ok(1..))) {
                return;
            }
        }
        // serving takes many times the memory that waiting does: it is freed when the request ends
        let next = Box::pin(serve_next(worker, &client, &stream, peer, &mut served)).await;
        let NextRequest::Served { peer: served_peer, after, is_last } = next else {
            if let NextRequest::Http2(peer) = next {
                drop(stream);
                Box::pin(http2_connection::serve(worker, peer.socket, client)).await;
            }
            return;
        };
        peer = served_peer;
        match after {
            AfterRequest::KeepAlive if !worker.closes_idle() => {}
            AfterRequest::Reset => return reset(&peer.socket),
            AfterRequest::ResetWhenSent if peer.sends_until_close() => {
                return Box::pin(reset_when_acknowledged(&peer.socket, &stream, worker)).await;
            }
            _ => return Box::pin(close(worker, &mut peer.socket, &stream, is_last)).await,
        }
    }
}

/// What came of waiting for a next request on a connection.
enum NextRequest {
    /// It carried a request, and an answer as far as it came.
    Served {
        /// The connection.
        peer: Box<Http1Peer>,
        /// What becomes of it.
        after: AfterRequest,
        /// The client has said that it sends no other, and has sent all of this one.
        is_last: bool,
    },
    /// The client speaks HTTP/2 without having asked.
    Http2(Box<Http1Peer>),
    /// The client is gone, or has been silent for too long.
    End,
}

/// Serves the request that has begun to arrive.
async fn serve_next(
    worker: &Rc<WorkerContext>,
    client: &ClientInfo,
    stream: &OpenStream,
    mut peer: Box<Http1Peer>,
    served: &mut u64,
) -> NextRequest {
    let mut head = RequestHead::default();
    let read = read_head(&mut peer.socket, &mut head, stream, worker, *served == 0).await;
    let arrived = Instant::now();
    let (active_config, body, is_readable) = match read {
        ReadHead::Request(active_config) => (active_config, body_length(&head), true),
        ReadHead::Refused(refusal) => {
            head = RequestHead::default();
            (worker.active_config(), Err(refusal), false)
        }
        ReadHead::Http2 => return NextRequest::Http2(peer),
        ReadHead::End => return NextRequest::End,
    };
    client.check_trusted(&active_config.snapshot.trusted_proxies);
    *served += 1;
    if let Ok(length) = &body {
        peer.expect_body(*length);
    }
    let mut id = [0; _];
    let context = RequestContext {
        worker,
        active_config: &active_config,
        client,
        stream,
        access_control: active_config.snapshot.access_control(client.listener),
        request_id: request_id::choose(client, &head, || worker.random_bytes(), &mut id),
        trace: TraceContext::new(client, &head, active_config.snapshot.sample, || worker.random_bytes()),
        arrived,
        keep_alive: is_readable
            && *served < active_config.snapshot.limits.requests_per_connection
            && !worker.is_draining(),
    };
    let mut peer = Peer::Http1(peer);
    let after = context.serve(&head, body, &mut peer).await;
    let is_last = peer.is_received() && is_named_by_connection(&head.fields, b"close");
    match peer {
        Peer::Http1(peer) => NextRequest::Served { peer, after, is_last },
        _ => NextRequest::End,
    }
}

/// What came of reading a request's head.
enum ReadHead {
    /// It is served by the configuration of the time when it had come.
    Request(Rc<ActiveConfig>),
    Refused(Refusal),
    /// The client speaks HTTP/2 without having asked.
    Http2,
    /// The client is gone, or has been silent for too long.
    End,
}

/// Reads the head of the request that has begun to arrive.
async fn read_head(
    socket: &mut BufferedSocket,
    head: &mut RequestHead,
    stream: &OpenStream,
    worker: &WorkerContext,
    first: bool,
) -> ReadHead {
    let active_config = worker.active_config();
    let timeouts = &active_config.snapshot.timeouts;
    let limits = &active_config.snapshot.limits;
    let limits = HeadLimits {
        header_bytes: limits.header_bytes,
        header_count: limits.header_count,
        line_bytes: active_config.snapshot.request_line_bytes(),
    };
    stream.set_deadline(timeouts.header);
    let mut scanned = 0;
    loop {
        if first && !socket.is_tls() && socket.input().starts_with(&HTTP2_PREFACE[..3]) {
            let length = socket.input().len().min(HTTP2_PREFACE.len());
            if socket.input()[..length] == HTTP2_PREFACE[..length] {
                if length == HTTP2_PREFACE.len() {
                    return ReadHead::Http2;
                }
                match fill(socket, stream).await {
                    Ok(()) => continue,
                    Err(next) => return next,
                }
            }
        }
        match head.parse(socket.input(), &mut scanned, &limits) {
            Ok(Some(length)) => {
                let active_config = worker.active_config();
                head.fields.mark_credentials(&active_config.snapshot.credential_places.headers);
                head.wipe_credentials_in(socket.input_mut(length));
                socket.consume(length);
                stream.clear_deadline();
                return ReadHead::Request(active_config);
            }
            _ if first && !socket.is_tls() && socket.input().starts_with(&TLS_HANDSHAKE) => {
                return ReadHead::Refused(Refusal::Malformed("a TLS client on a listener without tls"));
            }
            Ok(None) => {}
            Err(_) if first && ProxyHeader::is_begun(socket.input()) => {
                return ReadHead::Refused(Refusal::Malformed(
                    "a PROXY protocol header that is not expected here",
                ));
            }
            Err(error) => return ReadHead::Refused(Refusal::Head(error)),
        }
        if let Err(next) = fill(socket, stream).await {
            return next;
        }
    }
}

async fn fill(socket: &mut BufferedSocket, stream: &OpenStream) -> Result<(), ReadHead> {
    match stream.run_ignoring_changes(socket.fill()).await {
        Ok(Ok(1..)) => Ok(()),
        Err(Interrupt::Deadline) => Err(ReadHead::Refused(Refusal::ClientTimeout)),
        Ok(_) | Err(_) => Err(ReadHead::End),
    }
}

/// How long a client may take for the first byte of a request.
fn first_byte_timeout(worker: &WorkerContext, served: u64) -> Duration {
    let timeouts = &worker.active_config().snapshot.timeouts;
    if served == 0 { timeouts.header } else { timeouts.idle }
}

fn body_length(head: &RequestHead) -> Result<BodyLength, Refusal> {
    BodyLength::of_request(head).map_err(Refusal::Framing)
}

/// Closes in order, so that the client can read the answer: if bytes were left unread, the system would reset the
/// connection. `is_last`: nothing more will come.
async fn close(worker: &WorkerContext, socket: &mut BufferedSocket, stream: &OpenStream, is_last: bool) {
    if !is_last || !socket.input().is_empty() {
        lingering_close::end_connection(worker, stream, socket).await;
    } else if socket.is_tls() {
        // TLS says that it was the whole of it
        stream.set_deadline(TLS_CLOSE_TIME);
        // whatever ends it, the connection is closed now
        let _ = stream.run_ignoring_changes(socket.shutdown()).await;
    }
}

/// Resets the connection once the client has acknowledged what was sent. After an orderly end it would take the answer for
/// a whole one.
async fn reset_when_acknowledged(socket: &BufferedSocket, stream: &OpenStream, worker: &WorkerContext) {
    let limit = worker.active_config().snapshot.timeouts.write;
    let mut stall = StallDetector::new(limit, stream.coarse_now());
    stream.clear_deadline();
    while let Some(progress) = socket.progress().filter(|progress| progress.waiting > 0) {
        let is_stalled = stall.check(stream.coarse_now(), Some(progress)).is_none();
        if is_stalled || stream.run_ignoring_changes(tokio::time::sleep(ACKNOWLEDGED_POLL)).await.is_err() {
            break;
        }
    }
    reset(socket);
}

/// Resets the connection, so that half an answer is not taken for a whole one.
fn reset(socket: &BufferedSocket) {
    // what cannot be reset is closed: the client then sees an early end
    let _ = socket.stream().reset_when_closed();
}
