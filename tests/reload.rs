//! SIGHUP: the gateway takes a new configuration, connections stay, and new requests follow the new one.

mod support;

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use support::certificates::Authority;
use support::gateway::Plan;
use support::http1::{Client, Request};
use support::http2::{RawHttp2, StreamOutcome};
use support::stage::Stage;
use support::tls::{self, believing, handshake};
use support::upstream::{Answer, Upstream};
use support::{PATIENCE, marker, wait_for};

/// Changes the configuration's text.
#[track_caller]
fn change(stage: &Stage, from: &str, to: &str) {
    let path = stage.gateway.site.config();
    let text = std::fs::read_to_string(path).expect("the configuration");
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).expect("it can be written");
}

/// Has the gateway read its configuration again.
#[track_caller]
fn reload(stage: &Stage) {
    signal(stage, "is reloaded");
}

/// Sends SIGHUP, and waits until the log says `outcome` once more.
#[track_caller]
fn signal(stage: &Stage, outcome: &str) {
    let count = || stage.gateway.log().matches(outcome).count();
    let before = count();
    stage.gateway.signal("HUP");
    wait_for(PATIENCE, outcome, || count() > before);
}

/// The certificate that the management listener shows to a new connection.
#[track_caller]
fn shown(stage: &Stage) -> CertificateDer<'static> {
    let stream = handshake(stage.gateway.management(), "localhost", believing(&[])).expect("a handshake");
    stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

#[test]
fn a_renewed_certificate_of_the_management_listener_is_taken_over() {
    let upstream = Upstream::start();
    let plan = Plan::new(&upstream)
        .management("  tls: { certificates: [ { certificate: management.pem, key: management.key } ] }");
    let site = plan.prepare();
    let folder = site.directory().to_owned();
    let authority = Authority::new(&folder);
    let renew = |name: &str| {
        let files = authority.sign(&[name]);
        std::fs::copy(&files.certificate, folder.join("management.pem")).expect("write the certificate");
        std::fs::copy(&files.key, folder.join("management.key")).expect("write the key");
        CertificateDer::from_pem_file(&files.certificate).expect("a certificate")
    };
    let first = renew("first.test");
    site.create_environment("e1");
    site.create_environment("e2");
    let (e1, e2) = (site.create_environment_key("e1"), site.create_environment_key("e2"));
    let stage = Stage { gateway: site.start(), upstream, e1, e2 };
    assert_eq!(shown(&stage), first);
    let mut kept = tls::connect(stage.gateway.management());
    let mut ask_kept = || {
        let host = stage.gateway.management().to_string();
        let request = Request::without_host("GET", "/v2-beta").header("Host", host).key(&stage.gateway.admin);
        kept.send(request.end());
        kept.read().status
    };
    assert_eq!(ask_kept(), 200);

    let second = renew("second.test");
    reload(&stage);
    assert_eq!(shown(&stage), second);
    assert_eq!(ask_kept(), 200, "open connections go on");

    // a key that is not the certificate's: nothing of this configuration is taken over
    let other = authority.sign(&["other.test"]);
    std::fs::copy(&other.key, folder.join("management.key")).expect("write the key");
    change(&stage, "/v1", "/v7");
    signal(&stage, "is not taken over");
    assert!(stage.gateway.log().contains("management.tls.certificates[0].key"), "{}", stage.gateway.log());
    assert_eq!(shown(&stage), second);
    assert_eq!(stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").end()).status, 200);
    change(&stage, "/v7", "/v1");

    // other files, of another name
    change(
        &stage,
        "certificate: management.pem, key: management.key",
        &other.entry()[2..other.entry().len() - 2],
    );
    reload(&stage);
    assert_eq!(shown(&stage), CertificateDer::from_pem_file(&other.certificate).expect("a certificate"));
    assert_eq!(ask_kept(), 200, "open connections go on");
}

#[test]
fn new_timeouts_count_for_management_too() {
    let stage = Stage::with(|plan| plan.top("timeouts: { header: 10m }"));
    change(&stage, "header: 10m", "header: 200ms");
    reload(&stage);
    let mut silent = TcpStream::connect(stage.gateway.management()).expect("a connection");
    silent.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    assert_eq!(silent.read(&mut [0]).expect("it is closed"), 0);
}

#[test]
fn a_kept_connection_is_judged_by_the_new_configuration() {
    let stage = Stage::start();
    let mut kept = stage.gateway.connect();
    kept.send(stage.request("GET", "/v1/projects/e1/x").end());
    assert_eq!(kept.read().status, 200);
    change(&stage, "/v1", "/v7");
    reload(&stage);
    kept.send(stage.request("GET", "/v1/projects/e1/x").end());
    kept.read().assert_refused(404);
}

#[test]
fn connections_to_the_former_upstreams_are_closed() {
    let stage = Stage::start();
    let mark = marker();
    let key = stage.e1.authorization();
    let mut client = RawHttp2::connect(stage.gateway.https());
    let fields: [(&[u8], &[u8]); 6] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", b"/v1/projects/e1/x"),
        (b"authorization", key.as_bytes()),
        (b"x-marker", mark.as_bytes()),
    ];
    client.headers(1, &fields, true).expect("an open connection");
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(200));
    let seen = stage.upstream.only(&mark);
    assert!(stage.upstream.is_open(seen.connection), "it is kept");
    reload(&stage);
    wait_for(Duration::from_secs(5), "the kept connection is closed", || {
        !stage.upstream.is_open(seen.connection)
    });
    drop(client);
}

#[test]
fn access_control_that_is_switched_on_counts_on_kept_connections() {
    let stage = Stage::with(|plan| plan.top("access_control: disabled"));
    let path = "/v1/projects/e1/x";
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
    ];
    let mut kept = stage.gateway.connect();
    let mut kept2 = RawHttp2::connect(stage.gateway.https());
    kept.send(Request::get(path).end());
    assert_eq!(kept.read().status, 200);
    kept2.headers(1, &fields, true).expect("an open connection");
    assert_eq!(kept2.outcome_of(1), StreamOutcome::Status(200));
    change(&stage, "access_control: disabled", "access_control: enabled");
    reload(&stage);
    kept.send(Request::get(path).end());
    kept.read().assert_refused(401);
    kept2.headers(3, &fields, true).expect("an open connection");
    assert_eq!(kept2.outcome_of(3), StreamOutcome::Status(401));
}

#[test]
fn case_70_a_reload_drops_nothing_that_is_open() {
    let stage = Stage::start();
    let certificates = stage.gateway.directory().join("certs");
    let authority = Authority::new(stage.gateway.directory());
    // an endless answer over plain HTTP and one over TLS, an upload, and a kept connection of each kind
    let answer = || {
        Answer::after_head(|_, conversation| {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            conversation.send(head).ok();
            while conversation.send("8\r\ndata: x\n\r\n").is_ok()
                && !conversation.ends_within(Duration::from_millis(10))
            {}
            false
        })
    };
    let over: [fn(&Stage) -> Client; 2] =
        [|stage| stage.gateway.connect(), |stage| tls::connect(stage.gateway.https())];
    let mut streams = over.map(|connect| {
        let path = format!("/v1/projects/e1/{}", marker());
        stage.upstream.answer(&path, answer());
        let mut client = connect(&stage);
        client.send(stage.request("GET", &path).end());
        client.take(500, PATIENCE).expect("the stream goes on");
        client
    });
    let mut kept = over.map(|connect| connect(&stage));
    let path = format!("/v1/projects/e1/{}", marker());
    let mut upload = stage.gateway.connect();
    upload.send(stage.request("POST", &path).header("Transfer-Encoding", "chunked").end());
    upload.send("3\r\nabc\r\n");
    stage.upstream.wait_for(&path);
    for _ in 0..3 {
        let files = authority.sign(&["localhost"]);
        std::fs::copy(&files.certificate, certificates.join("gateway.pem")).expect("the new certificate");
        std::fs::copy(&files.key, certificates.join("gateway.key")).expect("its key");
        reload(&stage);
        let stream = handshake(stage.gateway.https(), "localhost", believing(&[])).expect("a handshake");
        let shown = &stream.conn.peer_certificates().expect("a certificate")[0];
        assert_eq!(*shown, CertificateDer::from_pem_file(&files.certificate).expect("a certificate"));
        for client in &mut streams {
            client.take(500, PATIENCE).expect("the stream goes on");
        }
        for client in &mut kept {
            client.send(stage.request("GET", "/v1/projects/e1/x").end());
            assert_eq!(client.read().status, 200);
        }
        upload.send("1\r\nd\r\n");
    }
    upload.send("0\r\n\r\n");
    let answer = upload.read();
    assert_eq!(answer.status, 200, "{answer:?}");
}
