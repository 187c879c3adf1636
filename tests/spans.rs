//! Spans by the OpenTelemetry Protocol: what a collector gets, whose traces are recorded, and that no collector, be it
//! away, slow or wrong, is noticed by those who send requests.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;
use support::certificates::{Authority, server};
use support::cli::Key;
use support::gateway::{Gateway, Plan};
use support::http1::{Client, Request};
use support::raw_upstream::{self, RawUpstream};
use support::upstream::{Answer, Recorded, Upstream};
use support::{PATIENCE, contains, marker, python, wait_for};

const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "1234567890123456";
const ACCEPTED: &str = "HTTP/1.1 200 OK\nContent-Type: application/x-protobuf";

/// A gateway that sends spans to a collector of the test's.
struct Traced {
    // first, so that the gateway ends before what it uses
    gateway: Gateway,
    upstream: Upstream,
    collector: Upstream,
    e1: Key,
}

/// What a collector got.
struct Received {
    bodies: Vec<Vec<u8>>,
    documents: Vec<Value>,
}

impl Traced {
    /// A gateway that records this share of traces.
    fn start(sample: &str) -> Self {
        Self::with(sample, |plan| plan)
    }

    fn with(sample: &str, change: impl FnOnce(Plan) -> Plan) -> Self {
        let collector = Upstream::start();
        collector.answer("/v1/traces", Answer::with(ACCEPTED, b""));
        let url = format!("http://{}", collector.address());
        Self::sending_to(&url, collector, sample, change)
    }

    fn sending_to(url: &str, collector: Upstream, sample: &str, change: impl FnOnce(Plan) -> Plan) -> Self {
        let upstream = Upstream::start();
        let tracing = format!("tracing: {{ otlp: \"{url}\", sample: {sample} }}");
        let site = change(Plan::new(&upstream).top(&tracing)).prepare();
        site.create_environment("e1");
        let e1 = site.create_environment_key("e1");
        Self { gateway: site.start(), upstream, collector, e1 }
    }

    fn request(&self, target: &str) -> Request {
        Request::get(target).key(&self.e1)
    }

    /// Sends a request that passes; what the upstream got of it.
    #[track_caller]
    fn passes(&self, request: Request) -> Recorded {
        let mark = marker();
        assert_eq!(self.gateway.exchange(request.mark(&mark).end()).status, 200);
        self.upstream.only(&mark)
    }

    fn metric(&self, name: &str) -> u64 {
        let mut client = Client::connect(self.gateway.management());
        client.send(Request::get("/metrics").key(&self.gateway.admin).end());
        let text = client.read().text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("_total "));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    /// Stops the gateway, which sends what it has left.
    fn stop(self) -> Received {
        let Self { gateway, collector, .. } = self;
        let (site, code) = gateway.stop();
        assert_eq!(code, Some(0));
        drop(site);
        Received::of(&collector)
    }
}

impl Received {
    fn of(collector: &Upstream) -> Self {
        let posted = collector.requests("POST /v1/traces HTTP/1.1");
        for request in &posted {
            assert_eq!(request.header("Content-Type").as_deref(), Some("application/x-protobuf"));
            assert_eq!(request.header("Host").unwrap(), collector.address().to_string());
        }
        let bodies: Vec<_> = posted.into_iter().map(|request| request.body).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut decode = python::script("otlp_spans.py");
        for (number, body) in bodies.iter().enumerate() {
            let file = folder.path().join(number.to_string());
            fs::write(&file, body).unwrap();
            decode.arg(file);
        }
        let output = decode.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let documents = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { bodies, documents }
    }

    fn spans(&self) -> Vec<&Value> {
        self.documents.iter().flat_map(|document| document["spans"].as_array().unwrap()).collect()
    }

    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.spans().into_iter().filter(|span| span["kind"] == kind).collect()
    }

    fn servers(&self) -> Vec<&Value> {
        self.of_kind("SPAN_KIND_SERVER")
    }

    fn clients(&self) -> Vec<&Value> {
        self.of_kind("SPAN_KIND_CLIENT")
    }

    #[track_caller]
    fn server_at(&self, path: &str) -> &Value {
        let found: Vec<_> =
            self.servers().into_iter().filter(|span| span["attributes"]["url.path"] == path).collect();
        assert_eq!(found.len(), 1, "{path}: {:?}", self.documents);
        found[0]
    }
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since.as_nanos().try_into().unwrap()
}

/// The trace, the parent and the flags in the `traceparent` that the upstream got.
fn traceparent(recorded: &Recorded) -> [String; 3] {
    let value = recorded.header("traceparent").expect("a traceparent");
    let parts: Vec<_> = value.split('-').map(str::to_owned).collect();
    [parts[1].clone(), parts[2].clone(), parts[3].clone()]
}

#[test]
fn a_request_and_its_attempt_are_spans_as_the_protocol_defines_them() {
    let before = unix_nanos();
    let folder = tempfile::tempdir().unwrap();
    let access_log = folder.path().join("access.log");
    let log = format!("log: {{ format: json, access: {{ file: {} }} }}", access_log.display());
    let traced =
        Traced::with("1.0", |plan| plan.top(&log).store("  sqlite: portcullis.db\n  gateway: gate-7"));
    let (upstream, secret) = (traced.upstream.address(), traced.e1.secret.clone());
    let seen = traced.passes(traced.request("/v1/projects/e1/x?token=hidden-query"));
    let wrong = Request::get("/v1/projects/e1/wrong").key(&traced.e1.with_wrong_secret());
    assert_eq!(traced.gateway.exchange(wrong.end()).status, 401);
    assert_eq!(traced.gateway.exchange(traced.request("/nowhere").end()).status, 404);
    traced.upstream.answer("/v1/projects/e1/ill", Answer::with("HTTP/1.1 500 Internal Server Error", b"x"));
    assert_eq!(traced.gateway.exchange(traced.request("/v1/projects/e1/ill").end()).status, 500);
    let invented = Request::new("BREW", "/v1/projects/e1/pot").key(&traced.e1).end();
    traced.gateway.exchange(invented);
    let received = traced.stop();

    for document in &received.documents {
        let version = env!("CARGO_PKG_VERSION");
        let resource = serde_json::json!({
            "service.name": "portcullis", "service.version": version, "service.instance.id": "gate-7"
        });
        assert_eq!((&document["resource"], &document["scope"]), (&resource, &"portcullis".into()));
    }
    let [trace, parent, flags] = traceparent(&seen);
    let served = received.server_at("/v1/projects/e1/x");
    let expected = serde_json::json!({
        "http.request.method": "GET", "url.path": "/v1/projects/e1/x", "url.scheme": "http",
        "http.route": "/v1", "http.response.status_code": 200, "server.address": served["attributes"]["server.address"],
        "client.address": served["attributes"]["client.address"], "network.protocol.version": "1.1",
        "network.peer.address": served["attributes"]["client.address"],
    });
    assert_eq!(served["attributes"], expected);
    assert!(served["attributes"]["client.address"].as_str().unwrap().starts_with("127."), "{served}");
    assert_eq!((&served["name"], &served["status"]), (&"GET /v1".into(), &"STATUS_CODE_UNSET".into()));
    assert_eq!((&served["traceId"], &served["parentSpanId"]), (&trace.clone().into(), &"".into()));
    assert_eq!(served["flags"], 0x101);
    assert_eq!(flags, "01", "the upstream is told that the trace is recorded");

    let children: Vec<_> =
        received.clients().into_iter().filter(|span| span["traceId"] == trace.as_str()).collect();
    assert_eq!(children.len(), 1, "{children:?}");
    let attempt = children[0];
    assert_eq!((&attempt["parentSpanId"], &attempt["name"]), (&served["spanId"], &"GET".into()));
    assert_eq!(attempt["spanId"], parent.as_str(), "what the upstream does is a part of the attempt");
    assert_ne!(attempt["spanId"], served["spanId"]);
    let expected = serde_json::json!({
        "http.request.method": "GET", "http.response.status_code": 200, "server.address": "127.0.0.1",
        "server.port": upstream.port(), "portcullis.upstream": "api",
    });
    assert_eq!(attempt["attributes"], expected);
    let time = |span: &Value, name: &str| span[name].as_u64().unwrap();
    let after = unix_nanos();
    let moments = [
        before,
        time(served, "start"),
        time(attempt, "start"),
        time(attempt, "end"),
        time(served, "end"),
        after,
    ];
    assert!(moments.is_sorted(), "{moments:?}");

    for (path, status, name, error) in [
        ("/v1/projects/e1/wrong", 401, "GET /v1", None),
        ("/nowhere", 404, "GET", None),
        ("/v1/projects/e1/ill", 500, "GET /v1", Some("500")),
    ] {
        let span = received.server_at(path);
        assert_eq!(
            (&span["attributes"]["http.response.status_code"], &span["name"]),
            (&status.into(), &name.into())
        );
        assert_eq!(span["attributes"]["error.type"].as_str(), error, "{span}");
        assert_eq!(span["status"] == "STATUS_CODE_ERROR", error.is_some(), "{span}");
    }
    let invented = received.server_at("/v1/projects/e1/pot");
    assert_eq!(invented["attributes"]["http.request.method"], "_OTHER");
    assert!(invented["name"] == "HTTP /v1" || invented["name"] == "HTTP", "{invented}");

    // ids as in the access log
    let lines = fs::read_to_string(&access_log).unwrap();
    for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert_eq!(received.server_at(line["path"].as_str().unwrap())["traceId"], line["trace_id"]);
    }
    // nothing that may be a secret
    for hidden in [secret.as_str(), "hidden-query", "Basic", "mark"] {
        assert!(received.bodies.iter().all(|body| !contains(body, hidden.as_bytes())), "{hidden}");
    }
}

#[test]
fn http_2_and_tls_are_told() {
    let traced = Traced::start("1.0");
    let mut client = support::tls::connect(traced.gateway.https());
    client.send(traced.request("/v1/projects/e1/tls").end());
    assert_eq!(client.read().status, 200);
    let mut client = support::http2::RawHttp2::connect(traced.gateway.https());
    let key = traced.e1.authorization();
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"api.test:8443"),
        (b":path", b"/v1/projects/e1/h2?x=y"),
        (b"authorization", key.as_bytes()),
    ];
    client.headers(1, &fields, true).unwrap();
    assert_eq!(client.outcome_of(1), support::http2::StreamOutcome::Status(200));
    drop(client);
    let received = traced.stop();
    let over_tls = &received.server_at("/v1/projects/e1/tls")["attributes"];
    assert_eq!(
        (&over_tls["url.scheme"], &over_tls["network.protocol.version"]),
        (&"https".into(), &"1.1".into())
    );
    let attributes = &received.server_at("/v1/projects/e1/h2")["attributes"];
    assert_eq!(attributes["network.protocol.version"], "2");
    assert_eq!(
        (&attributes["server.address"], &attributes["server.port"]),
        (&"api.test".into(), &8443.into())
    );
}

#[test]
fn the_share_of_traces_is_recorded_and_the_upstream_is_told_which() {
    for (sample, expected) in [("0", 0..=0), ("0.5", 60..=140), ("1", 200..=200)] {
        let traced = Traced::start(sample);
        let flags: HashMap<String, bool> = (0..200)
            .map(|_| {
                let [trace, _, flags] = traceparent(&traced.passes(traced.request("/v1/projects/e1/x")));
                (trace, flags == "01")
            })
            .collect();
        assert_eq!(flags.len(), 200);
        let received = traced.stop();
        let recorded: Vec<_> =
            received.servers().iter().map(|span| span["traceId"].as_str().unwrap().to_owned()).collect();
        assert!(expected.contains(&recorded.len()), "{sample}: {}", recorded.len());
        assert_eq!(flags.values().filter(|sampled| **sampled).count(), recorded.len(), "{sample}");
        assert!(recorded.iter().all(|trace| flags[trace]), "{sample}");
    }
}

#[test]
fn a_trusted_proxy_decides_for_its_traces_and_a_stranger_for_none() {
    let trusting = |sample: &str| Traced::with(sample, |plan| plan.top("trusted_proxies: [127.0.0.0/8]"));
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    let not_sampled = format!("00-{TRACE}-{PARENT}-00");

    let traced = trusting("0");
    let seen = traced.passes(traced.request("/v1/projects/e1/x").header("traceparent", &sampled));
    assert_eq!(traceparent(&seen)[2], "01");
    traced.passes(traced.request("/v1/projects/e1/y"));
    let received = traced.stop();
    assert_eq!(received.spans().len(), 2, "{:?}", received.documents);
    let span = received.server_at("/v1/projects/e1/x");
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&TRACE.into(), &PARENT.into()));
    assert_eq!(span["flags"], 0x301, "its parent is another program's");
    assert_eq!(received.clients()[0]["flags"], 0x101);

    let traced = trusting("1");
    let seen = traced.passes(traced.request("/v1/projects/e1/x").header("traceparent", &not_sampled));
    assert_eq!(traceparent(&seen)[2], "00");
    assert!(traced.stop().spans().is_empty());

    let traced = Traced::start("0");
    let seen = traced.passes(traced.request("/v1/projects/e1/x").header("traceparent", &sampled));
    assert_eq!(traceparent(&seen)[2], "00");
    assert!(traced.stop().spans().is_empty(), "a stranger has nothing recorded");

    let traced = Traced::start("1");
    let seen = traced.passes(traced.request("/v1/projects/e1/x").header("traceparent", &not_sampled));
    assert_eq!(traceparent(&seen)[2], "01");
    let received = traced.stop();
    let span = received.server_at("/v1/projects/e1/x");
    assert_ne!(span["traceId"], TRACE, "a stranger hides nothing");
    assert_eq!(span["parentSpanId"], "");
}

#[test]
fn each_attempt_is_a_span() {
    let ill = Upstream::start();
    ill.answer("/v1/projects/e1/x", Answer::with("HTTP/1.1 503 Service Unavailable", b"x"));
    let well = Upstream::start();
    let endpoints = format!(
        "  api: {{ endpoints: [\"http://{}\", \"http://{}\"], ejection: off, balance: turn }}\n",
        ill.address(),
        well.address()
    );
    let traced = Traced::with("1", |plan| plan.upstreams(&endpoints));
    let mark = marker();
    for _ in 0..20 {
        assert_eq!(
            traced.gateway.exchange(traced.request("/v1/projects/e1/x").mark(&mark).end()).status,
            200
        );
    }
    let received = traced.stop();
    let tried_twice: Vec<_> = received
        .clients()
        .into_iter()
        .filter(|span| span["attributes"].get("http.request.resend_count") == Some(&1.into()))
        .collect();
    assert!(!tried_twice.is_empty(), "{:?}", received.documents);
    let sent: Vec<_> =
        [&ill, &well].iter().flat_map(|upstream| upstream.requests(&mark)).map(|r| traceparent(&r)).collect();
    assert_eq!(sent.len(), received.clients().len());
    for second in tried_twice {
        let of_trace = |spans: Vec<&Value>| -> Vec<Value> {
            spans.into_iter().filter(|span| span["traceId"] == second["traceId"]).cloned().collect()
        };
        let (attempts, served) = (of_trace(received.clients()), of_trace(received.servers()));
        assert_eq!((attempts.len(), served.len()), (2, 1));
        assert!(attempts.iter().all(|attempt| attempt["parentSpanId"] == served[0]["spanId"]));
        let first = &attempts.iter().find(|attempt| *attempt != second).unwrap();
        assert_eq!(first["attributes"]["http.response.status_code"], 503);
        assert_eq!(
            (&first["attributes"]["error.type"], &first["status"]),
            (&"503".into(), &"STATUS_CODE_ERROR".into())
        );
        assert_eq!(first["attributes"]["server.port"], ill.address().port());
        assert_eq!(second["attributes"]["server.port"], well.address().port());
        for attempt in [first, second] {
            let told = sent.iter().any(|[trace, parent, _]| {
                attempt["traceId"] == trace.as_str() && attempt["spanId"] == parent.as_str()
            });
            assert!(told, "each upstream hears of its own attempt");
        }
    }
}

#[test]
fn an_upstream_that_is_not_there_leaves_an_attempt_that_failed() {
    // bound, so that nobody else has the port, and not listening
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    nobody.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = nobody.local_addr().unwrap().as_socket().unwrap().port();
    let endpoints = format!("  api: {{ endpoints: [\"http://127.0.0.1:{port}\"] }}\n");
    let traced = Traced::with("1", |plan| plan.upstreams(&endpoints));
    assert_eq!(traced.gateway.exchange(traced.request("/v1/projects/e1/x").end()).status, 502);
    let received = traced.stop();
    let attempts = received.clients();
    assert!(!attempts.is_empty());
    assert!(attempts.iter().all(|attempt| attempt["attributes"]["error.type"] == "connect"), "{attempts:?}");
    let served = received.server_at("/v1/projects/e1/x");
    assert_eq!(served["attributes"]["error.type"], "upstream_unreachable");
}

/// Sends requests and sees that each is answered at once, whatever the collector does.
#[track_caller]
fn requests_are_answered(traced: &Traced) {
    for _ in 0..20 {
        let since = Instant::now();
        traced.passes(traced.request("/v1/projects/e1/x"));
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    }
}

#[test]
fn a_collector_that_refuses_loses_spans_that_are_counted_and_told() {
    let traced = Traced::start("1");
    traced.collector.answer("/v1/traces", Answer::with("HTTP/1.1 400 Bad Request", b"no"));
    requests_are_answered(&traced);
    wait_for(PATIENCE, "the spans are counted as lost", || traced.metric("portcullis_spans_dropped") == 40);
    assert_eq!(traced.metric("portcullis_spans_exported"), 0);
    let log = traced.gateway.log();
    assert!(log.contains("does not take spans, which are lost: status 400 Bad Request"), "{log}");
    assert_eq!(traced.collector.requests("POST /v1/traces").len(), 1, "it is not sent again");

    // what cannot be understood was taken all the same
    traced.collector.answer("/v1/traces", Answer::with("HTTP/1.1 200 OK", b"<html>\xff\xff\xff\xff</html>"));
    requests_are_answered(&traced);
    wait_for(PATIENCE, "the spans are counted as taken", || traced.metric("portcullis_spans_exported") == 40);
    assert!(traced.gateway.log().contains("takes spans again"), "{}", traced.gateway.log());

    // `ExportTracePartialSuccess { rejected_spans: 3, error_message: "too\nold" }`
    traced.collector.answer("/v1/traces", Answer::with(ACCEPTED, b"\x0a\x0b\x08\x03\x12\x07too\nold"));
    requests_are_answered(&traced);
    wait_for(PATIENCE, "the rest is counted as taken", || traced.metric("portcullis_spans_exported") == 77);
    assert_eq!(traced.metric("portcullis_spans_dropped"), 43);
    assert!(traced.gateway.log().contains(r"says of spans: too\nold"), "{}", traced.gateway.log());
}

#[test]
fn a_collector_that_cannot_now_is_asked_again_when_it_says() {
    let traced = Traced::start("1");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    traced.collector.answer(
        "/v1/traces",
        Answer::after_body(move |_, conversation| {
            let answer = match count.fetch_add(1, Ordering::SeqCst) {
                0 => "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
                // it ends in the middle of things
                1 => return false,
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            };
            conversation.send(answer).is_ok()
        }),
    );
    requests_are_answered(&traced);
    wait_for(PATIENCE, "the spans are taken", || traced.metric("portcullis_spans_exported") == 40);
    assert_eq!((asked.load(Ordering::SeqCst), traced.metric("portcullis_spans_dropped")), (3, 0));
}

#[test]
fn a_collector_that_never_answers_holds_up_neither_requests_nor_the_stop() {
    let traced = Traced::start("1");
    traced
        .collector
        .answer("/v1/traces", Answer::after_body(|_, conversation| conversation.ends_within(PATIENCE)));
    requests_are_answered(&traced);
    traced.collector.wait_for("POST /v1/traces");
    requests_are_answered(&traced);
    let since = Instant::now();
    let (_site, code) = traced.gateway.stop();
    assert_eq!(code, Some(0));
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
}

#[test]
fn a_collector_that_is_away_is_noticed_by_the_log_and_the_metrics_alone() {
    // bound, so that nobody else has the port, and not listening
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    nobody.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = nobody.local_addr().unwrap().as_socket().unwrap();
    let traced = Traced::sending_to(&format!("http://{address}"), Upstream::start(), "1", |plan| plan);
    requests_are_answered(&traced);
    wait_for(PATIENCE, "the spans are counted as lost", || traced.metric("portcullis_spans_dropped") == 40);
    assert!(traced.gateway.log().contains("cannot connect"), "{}", traced.gateway.log());
}

#[test]
fn a_collector_over_tls_must_show_a_certificate_that_the_system_trusts() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let config = Arc::new(server(&authority.sign(&["localhost"]), &["http/1.1"]));
    let bodies = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&bodies);
    let collector = RawUpstream::start(move |_, reader| {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        let mut reader = std::io::BufReader::new(StreamOwned::new(session, reader.into_inner()));
        loop {
            let head = raw_upstream::head(&mut reader)?;
            assert_eq!(head[0], "POST /custom/path HTTP/1.1");
            let length = head
                .iter()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap()];
            reader.read_exact(&mut body)?;
            counted.fetch_add(1, Ordering::SeqCst);
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            reader.get_mut().flush()?;
        }
    });
    for (trusted, expected) in [(true, 1), (false, 1)] {
        let upstream = Upstream::start();
        let url = format!("https://localhost:{}/custom/path", collector.address().port());
        let site = Plan::new(&upstream).top(&format!("tracing: {{ otlp: \"{url}\", sample: 1 }}")).prepare();
        site.create_environment("e1");
        let e1 = site.create_environment_key("e1");
        let other = tempfile::tempdir().unwrap();
        let roots = if trusted { authority.file() } else { Authority::new(other.path()).file() };
        let site = site.environment([("SSL_CERT_FILE", roots.display().to_string())]);
        let gateway = site.start();
        assert_eq!(gateway.exchange(Request::get("/v1/projects/e1/x").key(&e1).end()).status, 200);
        let (_site, code) = gateway.stop();
        assert_eq!((code, bodies.load(Ordering::SeqCst)), (Some(0), expected), "trusted: {trusted}");
    }
}

#[test]
fn a_reload_changes_the_share_and_not_the_collector() {
    let traced = Traced::start("0");
    let config = traced.gateway.config().to_owned();
    let change = |from: &str, to: &str| {
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&config, text.replace(from, to)).unwrap();
    };
    traced.passes(traced.request("/v1/projects/e1/before"));
    change("sample: 0 ", "sample: 1 ");
    traced.gateway.succeed(&["reload"]);
    traced.passes(traced.request("/v1/projects/e1/after"));
    change("sample: 1 ", "sample: 0 ");
    let collector = format!("http://{}", traced.collector.address());
    change(&collector, "http://127.0.0.1:1");
    let refused = traced.gateway.run(&["reload"]);
    assert!(refused.code == 1 && refused.stderr.contains("'tracing.otlp'"), "{refused:?}");
    change(
        "tracing: { otlp: \"http://127.0.0.1:1\"",
        "tracing: { otlp: \"http://127.0.0.1:1/v1?token=hidden\"",
    );
    let checked = traced.gateway.run(&["check"]);
    assert!(checked.code == 1 && checked.stderr.contains("tracing.otlp"), "{checked:?}");
    assert!(!checked.stderr.contains("hidden"), "{checked:?}");
    let received = traced.stop();
    assert_eq!(received.spans().len(), 2, "{:?}", received.documents);
    received.server_at("/v1/projects/e1/after");
}
