//! One client connection with HTTP/1.1: heads in, one request after the other.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::headers::{Client, nominated};
use super::pipeline::{Afterwards, RequestContext};
use super::refusal::Refusal;
use super::request_id;
use super::stall::Stall;
use super::streams::{Interrupt, OpenStream};
use super::worker::{Generation, Worker};
use super::{http2, linger};
use crate::config::Limits;
use crate::wire::{HTTP2_PREFACE, HeadLimits, Http1Peer, Length, Peer, RequestHead, Wire};

/// How long the last bytes to a client that has ended its direction may take.
const LAST_BYTES: Duration = Duration::from_secs(2);
/// How often a client that is about to be reset is asked whether it has taken everything.
const TAKEN_PAUSE: Duration = Duration::from_millis(20);

/// Serves a connection until it ends.
pub(super) async fn serve(worker: &Rc<Worker>, mut peer: Box<Http1Peer>, client: Rc<Client>) {
    let stream = worker.streams.open();
    let mut served = 0;
    loop {
        if peer.wire.input().is_empty() {
            stream.set_deadline(patience(worker, served));
            stream.set_idle(true);
            // no more than this is kept of a future while a connection waits
            let filled = poll_fn(|cx| stream.poll_through(cx, |cx| peer.wire.poll_fill(cx))).await;
            stream.set_idle(false);
            if !matches!(filled, Ok(Ok(1..))) {
                return;
            }
        }
        // serving takes many times the memory that waiting does: it is there for as long as a request is
        let next = Box::pin(serve_next(worker, &client, &stream, peer, &mut served)).await;
        let Next::Served { peer: served_peer, afterwards, is_last } = next else {
            if let Next::Http2(peer) = next {
                drop(stream);
                Box::pin(http2::serve(worker, peer.wire, client)).await;
            }
            return;
        };
        peer = served_peer;
        match afterwards {
            Afterwards::KeepAlive if !worker.is_draining() => {}
            Afterwards::Cut => return cut(&peer.wire),
            Afterwards::BreakOff if peer.sends_until_close() => {
                return Box::pin(cut_when_taken(&peer.wire, &stream, worker)).await;
            }
            _ => return Box::pin(close(worker, &mut peer.wire, &stream, is_last)).await,
        }
    }
}

/// What a connection did next.
enum Next {
    /// It carried a request, and an answer as far as it came.
    Served {
        /// The connection.
        peer: Box<Http1Peer>,
        /// What becomes of it.
        afterwards: Afterwards,
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
    worker: &Rc<Worker>,
    client: &Client,
    stream: &OpenStream,
    mut peer: Box<Http1Peer>,
    served: &mut u64,
) -> Next {
    let mut head = RequestHead::default();
    let came = read_head(&mut peer.wire, &mut head, stream, &worker.generation(), *served == 0).await;
    let arrived = Instant::now();
    // asked after the wait: a request is judged by the configuration in force when it came, not when it began to
    let generation = worker.generation();
    client.judge(&generation.snapshot.trusted_proxies);
    let (body, is_readable) = match came {
        Came::Request => (body_length(&head), true),
        Came::Refused(refusal) => {
            head = RequestHead::default();
            (Err(refusal), false)
        }
        Came::Http2 => return Next::Http2(peer),
        Came::End => return Next::End,
    };
    *served += 1;
    if let Ok(length) = &body {
        peer.expect_body(*length);
    }
    let mut id = [0; _];
    let context = RequestContext {
        worker,
        generation: &generation,
        client,
        stream,
        access_control: generation.snapshot.access_control(client.listener),
        request_id: request_id::choose(client, &head, || worker.random_bytes(), &mut id),
        arrived,
        keep_alive: is_readable
            && *served < generation.snapshot.limits.requests_per_connection
            && !worker.is_draining(),
    };
    let mut peer = Peer::Http1(peer);
    let afterwards = context.serve(&head, body, &mut peer).await;
    let is_last = peer.is_received() && nominated(&head.fields, b"close");
    match peer {
        Peer::Http1(peer) => Next::Served { peer, afterwards, is_last },
        _ => Next::End,
    }
}

/// What a connection brought.
enum Came {
    Request,
    Refused(Refusal),
    /// The client speaks HTTP/2 without having asked.
    Http2,
    /// The client is gone, or has been silent for too long.
    End,
}

/// Reads the head of the request that has begun to arrive.
async fn read_head(
    wire: &mut Wire,
    head: &mut RequestHead,
    stream: &OpenStream,
    generation: &Generation,
    first: bool,
) -> Came {
    let timeouts = &generation.snapshot.timeouts;
    let limits = &generation.snapshot.limits;
    let limits = HeadLimits {
        header_bytes: limits.header_bytes,
        header_count: limits.header_count,
        line_bytes: line_bytes(limits),
    };
    stream.set_deadline(timeouts.header);
    let mut scanned = 0;
    loop {
        if first && !wire.stream().is_tls() && wire.input().starts_with(&HTTP2_PREFACE[..3]) {
            let length = wire.input().len().min(HTTP2_PREFACE.len());
            if wire.input()[..length] == HTTP2_PREFACE[..length] {
                if length == HTTP2_PREFACE.len() {
                    return Came::Http2;
                }
                match fill(wire, stream).await {
                    Ok(()) => continue,
                    Err(next) => return next,
                }
            }
        }
        match head.parse(wire.input(), &mut scanned, &limits) {
            Ok(Some(length)) => {
                head.wipe_credentials_in(wire.input_mut(length));
                wire.consume(length);
                stream.clear_deadline();
                return Came::Request;
            }
            Ok(None) => {}
            Err(error) => return Came::Refused(Refusal::Head(error)),
        }
        if let Err(next) = fill(wire, stream).await {
            return next;
        }
    }
}

async fn fill(wire: &mut Wire, stream: &OpenStream) -> Result<(), Came> {
    match stream.run_through(wire.fill()).await {
        Ok(Ok(1..)) => Ok(()),
        Err(Interrupt::Deadline) => Err(Came::Refused(Refusal::ClientTimeout)),
        Ok(_) | Err(_) => Err(Came::End),
    }
}

/// How long a request line may be: the target, and beside it the method, the version and the authority of a URL.
pub(super) fn line_bytes(limits: &Limits) -> usize {
    limits.uri_bytes + 320
}

/// How long a client may take for the first byte of a request.
fn patience(worker: &Worker, served: u64) -> Duration {
    let timeouts = &worker.generation().snapshot.timeouts;
    if served == 0 { timeouts.header } else { timeouts.idle }
}

fn body_length(head: &RequestHead) -> Result<Length, Refusal> {
    Length::of_request(head).map_err(Refusal::Framing)
}

/// Closes in order: the client has time to read the answer, whatever it still sends: its unread bytes would reset the
/// answer away. `is_last`: nothing more will come.
async fn close(worker: &Worker, wire: &mut Wire, stream: &OpenStream, is_last: bool) {
    if !is_last || !wire.input().is_empty() {
        linger::end_connection(worker, stream, wire).await;
    } else if wire.stream().is_tls() {
        // TLS says that it was the whole of it
        stream.set_deadline(LAST_BYTES);
        // whatever ends it, the connection is closed now
        let _ = stream.run_through(wire.shutdown()).await;
    }
}

/// Resets the connection when the client has taken what was sent: an orderly end would make a whole answer of it.
async fn cut_when_taken(wire: &Wire, stream: &OpenStream, worker: &Worker) {
    let limit = worker.generation().snapshot.timeouts.write;
    let mut stall = Stall::new(limit, stream.about_now());
    stream.clear_deadline();
    while let Some(progress) = wire.progress().filter(|progress| progress.waiting > 0) {
        let is_stalled = stall.look(stream.about_now(), Some(progress)).is_none();
        if is_stalled || stream.run_through(tokio::time::sleep(TAKEN_PAUSE)).await.is_err() {
            break;
        }
    }
    cut(wire);
}

/// Resets the connection, so that half an answer is not taken for a whole one.
fn cut(wire: &Wire) {
    // what cannot be reset is closed: the client then sees an early end
    let _ = SockRef::from(wire.stream().tcp()).set_linger(Some(Duration::ZERO));
}
