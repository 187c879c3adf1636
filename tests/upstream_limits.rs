//! Limits of connections to upstreams: how many there are, who gets them, and who waits.

mod support;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use support::cli::Key;
use support::gateway::Plan;
use support::http1::{Client, Request};
use support::http2::connect_from;
use support::http2_upstream::Http2Upstream;
use support::raw_upstream::{self, RawUpstream};
use support::stage::Stage;
use support::upstream::{Answer, Upstream};
use support::{PATIENCE, wait_for};

const SLOW: &str = "/v1/projects/e1/slow";

/// Never answers, and ends when the gateway does.
fn silent() -> Answer {
    Answer::after_head(|_, conversation| {
        conversation.ends_within(PATIENCE);
        false
    })
}

/// Answers wait until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn answer(self: &Arc<Self>) -> Answer {
        let gate = Arc::clone(self);
        Answer::after_head(move |_, conversation| {
            let open = gate.open.lock().expect("not poisoned");
            drop(gate.changed.wait_timeout_while(open, PATIENCE, |open| !*open).expect("not poisoned"));
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
        })
    }

    fn open(&self) {
        *self.open.lock().expect("not poisoned") = true;
        self.changed.notify_all();
    }
}

fn get(path: &str, key: Option<&Key>) -> http::Request<()> {
    let mut request = http::Request::get(format!("https://gw.test{path}"));
    if let Some(key) = key {
        request = request.header("authorization", key.authorization());
    }
    request.body(()).expect("a request")
}

/// An answer's status, and its `Retry-After`.
type Brief = (u16, Option<String>);

fn brief(answer: &http::Response<h2::RecvStream>) -> Brief {
    let retry_after = answer.headers().get("retry-after");
    (
        answer.status().as_u16(),
        retry_after.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
    )
}

/// Many requests at once over HTTP/2; those without an answer stay open until this is dropped.
struct Flood {
    answers: mpsc::Receiver<Brief>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

fn flood(
    address: SocketAddr,
    (connections, streams): (usize, usize),
    request: impl Fn() -> http::Request<()> + Send + 'static,
) -> Flood {
    let (tell, answers) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let mut open = Vec::new();
            for _ in 0..connections {
                let client = connect_from(Ipv4Addr::LOCALHOST, address).await.expect("a connection");
                for _ in 0..streams {
                    let mut ready = client.clone().ready().await.expect("an open connection");
                    let (answer, _) = ready.send_request(request(), true).expect("a stream");
                    let tell = tell.clone();
                    tokio::spawn(async move {
                        if let Ok(answer) = answer.await {
                            tell.send(brief(&answer)).ok();
                        }
                    });
                }
                open.push(client);
            }
            stopped.await.ok();
        });
    });
    Flood { answers, _stop: stop }
}

/// A gateway in front of an upstream with these settings, with two environments and a key for each.
fn stage(settings: &str, top: &str, wrapper: &'static [&'static str]) -> Stage {
    let upstream = Upstream::start();
    let entry = format!("  api: {{ endpoints: [\"http://{}\"]{settings} }}\n", upstream.address());
    let site = Plan::new(&upstream).upstreams(&entry).top(top).prepare();
    let [e1, e2] = ["e1", "e2"].map(|environment| {
        site.create_environment(environment);
        site.create_environment_key(environment)
    });
    Stage { gateway: site.started_by(wrapper).start(), upstream, e1, e2 }
}

/// Whether the other key is served, whichever worker its connections come to.
#[track_caller]
fn assert_e2_is_served(stage: &Stage) {
    let read = Request::get("/v1/projects/e2/x").key(&stage.e2).end();
    for _ in 0..8 {
        assert_eq!(stage.gateway.exchange(&read).status, 200, "another key is served");
    }
}

#[test]
fn case_103_slow_requests_leave_open_files_and_connections_to_others() {
    let stage = stage("", "timeouts: { upstream_connect: 1s }", &["prlimit", "--nofile=400:400"]);
    let log = stage.gateway.log();
    assert!(log.contains("the system allows 400 open files"), "{log}");
    assert!(log.contains("'limits.connections' is ") && log.contains(" instead of 20000"), "{log}");
    stage.upstream.answer(SLOW, silent());
    stage.upstream.answer("/healthz", silent());
    // with a key, and on a public route
    for (path, key, connections) in [(SLOW, Some(stage.e1.clone()), 20), ("/healthz", None, 5)] {
        let flood = flood(stage.gateway.https(), (connections, 120), move || get(path, key.as_ref()));
        let busy = (503, Some("1".to_owned()));
        assert_eq!(flood.answers.recv_timeout(PATIENCE), Ok(busy.clone()), "{path}");
        let mut refused = 1;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) {
            assert_e2_is_served(&stage);
            let mut checker = Client::connect(stage.gateway.management());
            checker.send(Request::get("/readyz").end());
            assert_eq!(checker.read().status, 200, "{path}");
        }
        let reached = || stage.upstream.requests(path).len();
        wait_for(PATIENCE, "whoever is beyond the share is refused", || {
            for answer in flood.answers.try_iter() {
                assert_eq!(answer, busy, "{path}");
                refused += 1;
            }
            refused + reached() == connections * 120
        });
        assert!((10..200).contains(&reached()), "{path}: {} requests are at the upstream", reached());
        drop(flood);
    }
    let read = Request::get("/v1/projects/e1/x").key(&stage.e1).end();
    wait_for(PATIENCE, "the key is served again", || stage.gateway.exchange(&read).status == 200);
    let log = stage.gateway.log();
    assert!(!log.contains("cannot accept") && !log.contains("endpoint failed"), "{log}");
}

#[test]
fn case_103_connections_to_an_http2_upstream_are_bounded_too() {
    let upstream = Http2Upstream::start(None);
    let settings = "protocol: http2, max_connections: 2, max_waiting: 10";
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], {settings} }}\n", upstream.address());
    let stage = Stage::with(|plan| plan.upstreams(&entry));
    // from now on it is known how many requests a connection takes
    assert_e2_is_served(&stage);
    let key = stage.e1.clone();
    // one connection, and so one worker
    let flood = flood(stage.gateway.https(), (1, 120), move || get("/v1/projects/e1/silent", Some(&key)));
    for number in 0..50 {
        let answer = flood.answers.recv_timeout(PATIENCE);
        assert_eq!(answer, Ok((503, Some("1".to_owned()))), "answer {number}");
    }
    wait_for(PATIENCE, "the key has its share", || upstream.requests("silent").len() > 40);
    assert_e2_is_served(&stage);
    assert!(upstream.requests("silent").len() < 60, "two thirds of twice 40 streams");
    assert!(upstream.open() <= 4, "{} connections of two workers", upstream.open());
}

#[test]
fn case_103_tunnels_count_as_long_as_they_are_open() {
    let stage = stage(", max_connections: 4, max_waiting: 0", "", &[]);
    let accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let open = Answer::after_head(move |_, conversation| {
        conversation.send(accept).is_ok() && !conversation.ends_within(PATIENCE)
    });
    stage.upstream.answer("/v1/projects/e1/socket", open);
    let upgrade = stage.request("GET", "/v1/projects/e1/socket").header("Connection", "Upgrade");
    let upgrade = upgrade.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
    let upgrade = upgrade.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").end();
    let mut tunnels = Vec::new();
    for _ in 0..24 {
        let mut client = stage.gateway.connect();
        client.send(&upgrade);
        let answer = client.read();
        if answer.status == 101 {
            tunnels.push(client);
        } else {
            answer.assert_refused(503);
            assert_eq!(answer.header("Retry-After").as_deref(), Some("1"));
        }
    }
    // two of four, of each of two workers
    assert!((2..=4).contains(&tunnels.len()), "{} tunnels", tunnels.len());
    assert_e2_is_served(&stage);
    tunnels.clear();
    wait_for(PATIENCE, "ended tunnels count no longer", || {
        let mut client = stage.gateway.connect();
        client.send(&upgrade);
        client.read().status == 101
    });
}

/// Runs a test with one HTTP/2 connection, all of whose requests are served by the same worker.
fn on_one_connection<F: Future>(stage: &Stage, test: impl FnOnce(SendRequest<Bytes>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        test(connect_from(Ipv4Addr::LOCALHOST, stage.gateway.https()).await.expect("a connection")).await;
    });
}

fn send(client: &mut SendRequest<Bytes>, path: &str, key: &Key) -> ResponseFuture {
    client.send_request(get(path, Some(key)), true).expect("a stream").0
}

async fn answer(response: ResponseFuture) -> Brief {
    let answer = tokio::time::timeout(PATIENCE, response).await.expect("in time");
    brief(&answer.expect("an answer"))
}

/// Waits without holding up the connections of the test.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn case_103_the_queue_serves_in_turn_forgets_clients_that_leave_and_is_bounded() {
    let top = "timeouts: { upstream_connect: 10s }";
    let stage = stage(", max_connections: 1, max_waiting: 6", top, &[]);
    let gate = Arc::new(Gate::default());
    stage.upstream.answer(SLOW, gate.answer());
    let waiting = |count| stage.gateway.metric("portcullis_upstream_waiting") == count;
    on_one_connection(&stage, async |mut client| {
        let first = send(&mut client, SLOW, &stage.e1);
        until("the first reaches the upstream", || stage.upstream.requests(SLOW).len() == 1).await;
        let leaves = send(&mut client, "/v1/projects/e1/left", &stage.e1);
        until("the second waits", || waiting(1)).await;
        let stays = send(&mut client, "/v1/projects/e2/x", &stage.e2);
        until("the third waits", || waiting(2)).await;
        drop(leaves);
        until("who has gone waits no longer", || waiting(1)).await;
        let more = [send(&mut client, SLOW, &stage.e1), send(&mut client, SLOW, &stage.e1)];
        let refused = answer(send(&mut client, SLOW, &stage.e1)).await;
        assert_eq!(refused, (503, Some("1".to_owned())), "one key does not get all places of the queue");
        gate.open();
        assert_eq!(answer(first).await.0, 200);
        assert_eq!(answer(stays).await.0, 200);
        for more in more {
            assert_eq!(answer(more).await.0, 200);
        }
        until("nobody waits", || waiting(0)).await;
    });
    assert!(stage.upstream.requests("/left").is_empty(), "who has gone costs the upstream nothing");
    assert_eq!(stage.upstream.connections(), 1, "one connection, used again and again");
}

#[test]
fn case_103_a_request_that_waits_too_long_gets_503_with_retry_after() {
    let stage = stage(", max_connections: 1", "timeouts: { upstream_connect: 300ms }", &[]);
    stage.upstream.answer(SLOW, silent());
    on_one_connection(&stage, async |mut client| {
        let _first = send(&mut client, SLOW, &stage.e1);
        until("the first reaches the upstream", || stage.upstream.requests(SLOW).len() == 1).await;
        let begun = Instant::now();
        assert_eq!(
            answer(send(&mut client, "/v1/projects/e2/x", &stage.e2)).await,
            (503, Some("1".to_owned()))
        );
        assert!(begun.elapsed() >= Duration::from_millis(300), "after {:?}", begun.elapsed());
    });
    let refused = stage.gateway.metric("portcullis_refusals_total{cause=\"upstream_busy\"}");
    assert_eq!(refused, 1);
}

#[test]
fn case_103_a_reload_keeps_the_limit() {
    let stage = stage(", max_connections: 4, max_waiting: 0", "drain_timeout: 100ms", &[]);
    stage.upstream.answer(SLOW, silent());
    on_one_connection(&stage, async |mut client| {
        let _held = [send(&mut client, SLOW, &stage.e1), send(&mut client, SLOW, &stage.e1)];
        until("both reach the upstream", || stage.upstream.requests(SLOW).len() == 2).await;
        for settings in [", max_connections: 4, max_waiting: 0", ", max_connections: 6, max_waiting: 0"] {
            let text = std::fs::read_to_string(stage.gateway.config()).expect("the configuration");
            let at = text.find(", max_connections").expect("a setting");
            let end = at + text[at..].find(" }").expect("the entry's end");
            std::fs::write(stage.gateway.config(), [&text[..at], settings, &text[end..]].concat())
                .expect("it can be written");
            let told = || stage.gateway.log().matches("is reloaded").count();
            let before = told();
            stage.gateway.signal("HUP");
            until("it is reloaded", || told() > before).await;
            if settings.contains('4') {
                assert_eq!(answer(send(&mut client, "/v1/projects/e1/x", &stage.e1)).await.0, 503);
                assert_eq!(answer(send(&mut client, "/v1/projects/e2/x", &stage.e2)).await.0, 200);
            } else {
                assert_eq!(answer(send(&mut client, "/v1/projects/e1/x", &stage.e1)).await.0, 200);
            }
        }
    });
}

/// What is kept idle is not what decides: as many requests as there were at once find their connections again.
#[test]
fn many_requests_at_once_make_no_connections_over_and_over() {
    const CLIENTS: usize = 640;
    let barrier = Arc::new(Barrier::new(CLIENTS));
    let upstream = RawUpstream::start(move |_, mut reader| {
        loop {
            raw_upstream::head(&mut reader)?;
            // all are here at once, each on a connection of its own
            barrier.wait();
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
    });
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let request = stage.request("GET", "/v1/projects/e1/x").end();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| stage.gateway.connect()).collect();
    for _ in 0..4 {
        for client in &mut clients {
            client.send(&request);
        }
        for client in &mut clients {
            assert_eq!(client.read().status, 200);
        }
    }
    assert_eq!(upstream.connections(), CLIENTS);
}
