//! A conversation with `wire`, over a loopback socket.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use portcullis::wire::{BufferedSocket, Http2Connection, Http2Limits, Http2Request, Peer, Received, Socket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, spawn_local};

use super::conversation::{ACK, Conversation, GOAWAY, PING};
use super::{Log, Outcome, fields_of};

const LIMITS: Http2Limits = Http2Limits {
    header_bytes: 64 * 1024,
    header_count: 100,
    line_bytes: 64 * 1024,
    streams: 100,
    early_resets: 100,
};
/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_mins(1);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

pub(super) fn serve(conversation: &Conversation) -> Outcome {
    RUNTIME.with(|runtime| LocalSet::new().block_on(runtime, converse(conversation)))
}

async fn converse(conversation: &Conversation) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (mut client, (socket, _)) = (client.expect("a connection"), accepted.expect("a connection"));
    // closed with a reset: many thousands of connections would use up the ports
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
    socket.set_nodelay(true).expect("an option");
    let connection =
        Http2Connection::new(BufferedSocket::new(Socket::Plain(socket.into())), LIMITS, Instant::now());
    let log = Log::default();
    let serving = spawn_local(accept(connection, log.clone()));
    let mut ended_at = usize::MAX;
    let mut answers = Answers::default();
    for (at, step) in conversation.steps.iter().enumerate() {
        log.step.set(at);
        let answers_ping = !conversation.is_disturbed || at + 1 < conversation.steps.len();
        let goes_on = tokio::time::timeout(PATIENCE, async {
            if answers_ping {
                client.write_all(step).await.is_ok() && answers.until_ping(&mut client, at as u64).await
            } else {
                // whatever it is read as, the end of the stream comes after it
                let _ = client.write_all(step).await;
                let _ = client.shutdown().await;
                answers.until_the_end(&mut client).await
            }
        });
        if !goes_on.await.expect("the connection answers, or ends") {
            ended_at = at;
            break;
        }
    }
    drop(client);
    tokio::time::timeout(PATIENCE, serving).await.expect("the connection ends").expect("nothing panics");
    Outcome { requests: log.requests.take(), ended_at }
}

/// What the gateway's side says, frame by frame.
#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
}

impl Answers {
    /// Reads as far as the answer to the ping with this number. `false`: the connection was given up.
    async fn until_ping(&mut self, socket: &mut TcpStream, number: u64) -> bool {
        loop {
            while let Some((&[a, b, c, kind, flags, ..], _)) = self.bytes.split_first_chunk::<9>() {
                let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
                if self.bytes.len() < end {
                    break;
                }
                let frame: Vec<u8> = self.bytes.drain(..end).collect();
                if kind == GOAWAY {
                    return false;
                }
                if kind == PING && flags & ACK != 0 && frame[9..] == number.to_be_bytes() {
                    return true;
                }
            }
            if !matches!(socket.read_buf(&mut self.bytes).await, Ok(1..)) {
                return false;
            }
        }
    }

    /// Reads until the gateway's side has closed. `false`: it has said why.
    async fn until_the_end(&mut self, socket: &mut TcpStream) -> bool {
        self.until_ping(socket, u64::MAX).await
    }
}

async fn accept(connection: Http2Connection, log: Log) {
    while let Some(request) = poll_fn(|cx| connection.poll_request(cx, Instant::now())).await {
        if request.refused.is_none() && request.length.is_ok() {
            spawn_local(receive(request, log.clone()));
        }
    }
}

/// Reads a request to its end, and answers it.
async fn receive(request: Http2Request, log: Log) {
    let Http2Request { head, peer, .. } = request;
    let start = [head.method(), b" ", head.authority().unwrap_or_default(), b" ", head.target()].concat();
    let number = log.begin(start, fields_of(&head.fields));
    let mut peer = Peer::Http2(peer);
    loop {
        match poll_fn(|cx| peer.poll_receive(cx)).await {
            Err(_) => return,
            Ok(Received::Data) => {
                let count = peer.received().len();
                log.update(number, |message| message.body.extend_from_slice(peer.received()));
                peer.consume(count);
            }
            Ok(Received::End) => break,
        }
    }
    log.update(number, |message| {
        message.trailers = fields_of(peer.trailers());
        message.is_whole = true;
    });
    if let Peer::Http2(peer) = &mut peer {
        // a client that has cancelled the stream wants no answer
        let _ = peer.respond(200, true, |_| ());
    }
}
