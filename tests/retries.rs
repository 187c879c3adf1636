//! Which requests to an HTTP/2 upstream are sent again: those that it says it has not looked at (RFC 9113 §8.7), and
//! no others.

mod support;

use std::collections::HashMap;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use support::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    connect_from, frame,
};
use support::raw_upstream::RawUpstream;
use support::stage::Stage;

const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What the upstream does with a request when its head comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reaction {
    /// Answers it once it is whole.
    Answer,
    /// Refuses it at once.
    Refuse,
    /// Refuses it once it is whole.
    RefuseWhenWhole,
    /// Says goodbye with this code: looks at neither this nor any later one.
    GoAway(u32),
    /// Takes it, says goodbye, and closes without an answer.
    Close,
}

/// What of a request came.
#[derive(Clone, Default)]
struct ReceivedRequest {
    body: Vec<u8>,
    has_trailers: bool,
}

/// An HTTP/2 upstream that picks what it looks at.
struct SelectiveUpstream {
    plain: RawUpstream,
    /// Every head that came.
    heads: Arc<Mutex<usize>>,
    /// The requests that were looked at.
    taken: Arc<Mutex<Vec<ReceivedRequest>>>,
}

impl SelectiveUpstream {
    /// `judge` is asked with the connection's number and the request's number on it.
    fn start(judge: impl Fn(usize, usize) -> Reaction + Send + Sync + 'static) -> Self {
        let heads = Arc::new(Mutex::new(0));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (count, log) = (Arc::clone(&heads), Arc::clone(&taken));
        let plain = RawUpstream::start(move |connection, mut reader| {
            reader.read_exact(&mut vec![0; PREFACE.len()])?;
            reader.get_mut().write_all(&frame(SETTINGS, 0, 0, &[]))?;
            let judge = |request| {
                *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                judge(connection, request)
            };
            converse(reader, judge, |seen| {
                log.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
            })
        });
        Self { plain, heads, taken }
    }

    fn heads(&self) -> usize {
        *self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self) -> Vec<ReceivedRequest> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stage(&self) -> Stage {
        let entry =
            format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", self.plain.address());
        Stage::with(|plan| plan.upstreams(&entry))
    }
}

/// Serves a connection from behind the preface and its own SETTINGS.
fn converse(
    mut reader: BufReader<TcpStream>,
    judge: impl Fn(usize) -> Reaction,
    log: impl Fn(ReceivedRequest),
) -> io::Result<()> {
    let mut open: HashMap<u32, (Reaction, ReceivedRequest)> = HashMap::new();
    let (mut requests, mut last, mut said_goodbye) = (0, 0u32, false);
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let stream = u32::from_be_bytes(stream);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        reader.read_exact(&mut payload)?;
        let wire = reader.get_mut();
        match kind {
            SETTINGS if flags & ACK == 0 => wire.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            HEADERS if open.contains_key(&stream) => {
                open.entry(stream).and_modify(|(_, seen)| seen.has_trailers = true);
            }
            HEADERS => {
                let verdict = judge(requests);
                requests += 1;
                match verdict {
                    _ if said_goodbye => {}
                    Reaction::GoAway(code) => {
                        said_goodbye = true;
                        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
                        wire.write_all(&frame(GOAWAY, 0, 0, &payload))?;
                    }
                    Reaction::Refuse => {
                        wire.write_all(&frame(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes()))?;
                    }
                    Reaction::Answer | Reaction::RefuseWhenWhole | Reaction::Close => {
                        last = stream;
                        open.insert(stream, (verdict, ReceivedRequest::default()));
                    }
                }
            }
            DATA if !payload.is_empty() => {
                let more = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
                wire.write_all(&frame(WINDOW_UPDATE, 0, 0, &more))?;
                if let Some((_, seen)) = open.get_mut(&stream) {
                    seen.body.extend_from_slice(&payload);
                    wire.write_all(&frame(WINDOW_UPDATE, 0, stream, &more))?;
                }
            }
            _ => {}
        }
        if matches!(kind, HEADERS | DATA)
            && flags & END_STREAM != 0
            && let Some((verdict, seen)) = open.remove(&stream)
        {
            if verdict == Reaction::RefuseWhenWhole {
                wire.write_all(&frame(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes()))?;
                continue;
            }
            log(seen);
            if verdict == Reaction::Close {
                let payload = [stream.to_be_bytes(), [0; 4]].concat();
                return wire.write_all(&frame(GOAWAY, 0, 0, &payload));
            }
            // `:status: 200`, from the static table
            wire.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]))?;
        }
    }
}

/// Sends so many POSTs at once over HTTP/2, each with its number as body; their statuses.
fn post_at_once(stage: &Stage, count: usize) -> Vec<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut answers = Vec::new();
        let mut clients = Vec::new();
        for number in 0..count {
            if number % 100 == 0 {
                clients.push(
                    connect_from(Ipv4Addr::LOCALHOST, stage.gateway.https()).await.expect("a connection"),
                );
            }
            let client = clients.last().expect("the first is there from the beginning").clone();
            let request = http::Request::post("https://gw.test/v1/projects/e1/x")
                .header("authorization", stage.e1.authorization())
                .body(())
                .expect("a request");
            let mut client = client.ready().await.expect("an open connection");
            let (answer, mut body) = client.send_request(request, false).expect("a stream");
            body.send_data(Bytes::from(format!("{number:010}")), true).expect("an open stream");
            answers.push(answer);
        }
        let mut statuses = Vec::new();
        for answer in answers {
            let answer = tokio::time::timeout(support::PATIENCE, answer).await.expect("in time");
            statuses.push(answer.expect("an answer").status().as_u16());
        }
        statuses
    })
}

#[track_caller]
fn assert_each_was_taken_once(upstream: &SelectiveUpstream, count: usize) {
    let mut bodies: Vec<_> =
        upstream.taken().into_iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
    bodies.sort_unstable();
    let all: Vec<_> = (0..count).map(|number| format!("{number:010}")).collect();
    assert_eq!(bodies, all);
}

#[test]
fn case_111_requests_that_goaway_leaves_out_are_sent_again_with_their_body() {
    // an orderly goodbye, and one with a reason: what is beyond its last stream was not looked at either way
    for code in [0, ENHANCE_YOUR_CALM] {
        let upstream =
            SelectiveUpstream::start(
                move |_, request| {
                    if request < 20 { Reaction::Answer } else { Reaction::GoAway(code) }
                },
            );
        let stage = upstream.stage();
        assert_eq!(post_at_once(&stage, 144), [200; 144], "code {code}");
        assert_each_was_taken_once(&upstream, 144);
    }
}

#[test]
fn case_111_a_refused_request_goes_over_another_connection_with_its_body_and_trailers() {
    // what becomes of the next request; those after it are answered
    let next = Arc::new(Mutex::new(Reaction::Answer));
    let connections = Arc::new(Mutex::new(Vec::new()));
    let (verdict, log) = (Arc::clone(&next), Arc::clone(&connections));
    let upstream = SelectiveUpstream::start(move |connection, _| {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        std::mem::replace(&mut *verdict.lock().unwrap_or_else(PoisonError::into_inner), Reaction::Answer)
    });
    let stage = upstream.stage();
    let post = |verdict, request: &[u8]| {
        *next.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        connections.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let answer = stage.gateway.exchange(request);
        let connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(connections.len() < 2 || connections[0] != connections[1], "{connections:?}");
        (answer.status, connections.len())
    };
    // whole bodies that were sent, and a large one of which most is still with its client
    let sizes = [
        (0, Reaction::RefuseWhenWhole),
        (10, Reaction::RefuseWhenWhole),
        (64 << 10, Reaction::RefuseWhenWhole),
    ];
    for (length, verdict) in sizes.into_iter().chain([(1 << 20, Reaction::Refuse)]) {
        let body: Vec<u8> = (0..=250).cycle().take(length).collect();
        let request = stage.request("POST", "/v1/projects/e1/x").body(&body);
        assert_eq!(post(verdict, &request), (200, 2), "{length} bytes");
        let taken = upstream.taken().pop().expect("it was taken");
        assert!(taken.body == body, "{} of {length} bytes came", taken.body.len());
    }
    let request = stage.request("POST", "/v1/projects/e1/x").header("Transfer-Encoding", "chunked");
    let request = request.raw("\r\n3\r\nabc\r\n0\r\nX-Up: 7\r\n").end();
    assert_eq!(post(Reaction::RefuseWhenWhole, &request), (200, 2));
    let taken = upstream.taken().pop().expect("it was taken");
    assert_eq!((taken.body.as_slice(), taken.has_trailers), (&b"abc"[..], true));
    // what was sent of it is no longer here
    let request = stage.request("POST", "/v1/projects/e1/x").body(vec![b'x'; (64 << 10) + 1]);
    assert_eq!(post(Reaction::RefuseWhenWhole, &request), (502, 1));
    assert_eq!(upstream.taken().len(), 5, "each was looked at once");
}

#[test]
fn case_111_an_upstream_that_refuses_every_time_is_not_asked_for_ever() {
    for verdict in [Reaction::Refuse, Reaction::GoAway(0)] {
        let upstream = SelectiveUpstream::start(move |_, _| verdict);
        let stage = upstream.stage();
        stage.gateway.exchange(stage.request("POST", "/v1/projects/e1/x").body("b")).assert_refused(502);
        assert!((2..=17).contains(&upstream.heads()), "asked {} times", upstream.heads());
        assert!(upstream.plain.connections() <= 17);
    }
}

#[test]
fn case_111_what_the_upstream_may_have_looked_at_is_not_sent_again() {
    let upstream = SelectiveUpstream::start(|_, _| Reaction::Close);
    let stage = upstream.stage();
    stage.gateway.exchange(stage.request("POST", "/v1/projects/e1/x").body("b")).assert_refused(502);
    assert_eq!(upstream.heads(), 1, "a goodbye that counts the request in");
    // once more does no harm
    stage.gateway.exchange(stage.request("PUT", "/v1/projects/e1/x").body("b")).assert_refused(502);
    assert_eq!(upstream.heads(), 3);
}

/// What is sent the second time would tell the upstream what was true of the key at the first.
#[test]
fn case_111_nothing_is_sent_again_after_a_change() {
    let (open, gate) = std::sync::mpsc::channel();
    let gate = Mutex::new(gate);
    let upstream = SelectiveUpstream::start(move |connection, _| {
        if connection > 0 {
            return Reaction::Answer;
        }
        gate.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(support::PATIENCE).ok();
        Reaction::RefuseWhenWhole
    });
    let stage = upstream.stage();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| {
            stage.gateway.exchange(stage.request("POST", "/v1/projects/e1/x").body("the whole body"))
        });
        support::wait_for(support::PATIENCE, "it reaches the upstream", || upstream.heads() == 1);
        stage.gateway.site.create_environment("e3");
        open.send(()).expect("the upstream waits");
        let answer = answer.join().expect("an answer");
        answer.assert_refused(503);
        assert_eq!(answer.header("Retry-After").as_deref(), Some("1"));
    });
    assert_eq!(upstream.heads(), 1);
}

/// Requests that are sent before it is known how many the upstream takes would be refused.
#[test]
fn case_111_no_request_is_sent_before_the_upstream_has_said_how_many_it_takes() {
    let early = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&early);
    let upstream = RawUpstream::start(move |_, mut reader| {
        reader.read_exact(&mut vec![0; PREFACE.len()])?;
        std::thread::sleep(Duration::from_millis(300));
        let (mut bytes, mut more) = (reader.buffer().to_vec(), vec![0; 1 << 16]);
        reader.get_ref().set_nonblocking(true)?;
        let count = reader.get_ref().peek(&mut more).unwrap_or(0);
        reader.get_ref().set_nonblocking(false)?;
        bytes.extend_from_slice(&more[..count]);
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend(kinds(&bytes));
        reader.get_mut().write_all(&frame(SETTINGS, 0, 0, &[]))?;
        converse(reader, |_| Reaction::Answer, drop)
    });
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", upstream.address());
    let stage = Stage::with(|plan| plan.upstreams(&entry));
    assert_eq!(post_at_once(&stage, 60), [200; 60]);
    let early = early.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(early.contains(&SETTINGS) && !early.contains(&HEADERS), "{early:?} came before");
}

/// The kinds of the frames in `bytes`.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, ..] = *bytes {
        kinds.push(kind);
        bytes = bytes.get(9 + u32::from_be_bytes([0, a, b, c]) as usize..).unwrap_or_default();
    }
    kinds
}
