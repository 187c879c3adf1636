//! TLS listeners: versions, certificates by name, protocols, key exchange.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion};
use support::certificates::{Authority, Files};
use support::http1::{Client, NoAnswer};
use support::http2::{RawHttp2, StreamOutcome};
use support::stage::Stage;
use support::tls::{believing, handshake};
use support::{PATIENCE, marker, show};
use tempfile::TempDir;

/// A gateway with three certificates on its TLS listener, and the authority that signed them.
struct Tls {
    stage: Stage,
    authority: Authority,
    /// For `first.test`, `wild.test` with `*.wild.test`, `last.test`.
    files: [Files; 3],
    _directory: TempDir,
}

fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::new(directory.path());
        let files = [
            authority.sign(&["first.test", "localhost"]),
            authority.sign(&["wild.test", "*.wild.test"]),
            authority.sign(&["last.test"]),
        ];
        let entries: Vec<String> = files.iter().map(Files::entry).collect();
        let listeners = format!(
            "  - address: 127.0.0.1:0\n  - address: 127.0.0.1:0\n    tls: {{ certificates: [ {} ] }}\n",
            entries.join(", ")
        );
        let stage = Stage::with(|plan| plan.listeners(&listeners));
        Tls { stage, authority, files, _directory: directory }
    })
}

/// The certificate that the gateway shows to a client that asks for `name`.
fn shown_to(name: &str, config: ClientConfig) -> CertificateDer<'static> {
    let stream = handshake(tls().stage.gateway.https(), name, Arc::new(config)).expect("a handshake");
    stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

fn in_file(files: &Files) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&files.certificate).expect("a certificate")
}

#[test]
fn tls_1_2_and_1_3_are_spoken() {
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let config = tls().authority.client(&[version], &["http/1.1"]);
        let stream =
            handshake(tls().stage.gateway.https(), "first.test", Arc::new(config)).expect("a handshake");
        assert_eq!(stream.conn.protocol_version(), Some(name));
        let mark = marker();
        let mut client = Client::over(stream);
        client.send(tls().stage.request("GET", "/v1/projects/e1/x").mark(&mark).end());
        assert_eq!(client.read().status, 200, "{name:?}");
        assert_eq!(tls().stage.upstream.only(&mark).header("X-Forwarded-Proto").as_deref(), Some("https"));
    }
}

#[test]
fn sessions_are_resumed_and_aes_128_comes_before_what_the_client_prefers() {
    let config = Arc::new(tls().authority.client(&[&TLS13], &["http/1.1"]));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let gateway = &tls().stage.gateway;
        let mut stream = handshake(gateway.https(), "first.test", Arc::clone(&config)).expect("a handshake");
        let suite = stream.conn.negotiated_cipher_suite().expect("after the handshake").suite();
        assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
        let request = tls().stage.request("GET", "/v1/projects/e1/x").header("Connection", "close").end();
        stream.write_all(&request).expect("send");
        // the ticket comes on the way; the end is told by TLS, or this would be an error
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the whole answer and its end");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", show(&answer));
        assert_eq!(stream.conn.handshake_kind(), Some(kind));
    }
}

#[test]
fn older_versions_are_refused() {
    // a TLS 1.1 hello: no supported_versions, so that 3.2 is the newest it knows
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);
    let mut tcp = TcpStream::connect(tls().stage.gateway.https()).expect("connect");
    tcp.write_all(&hello).expect("write");
    let mut client = Client::over(tcp);
    match client.take(7, PATIENCE) {
        // alert, fatal
        Ok(bytes) => assert_eq!((bytes[0], bytes[5]), (0x15, 2), "{}", show(&bytes)),
        Err(NoAnswer::Closed(_)) => {}
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn the_certificate_is_chosen_by_name_and_the_first_answers_unknown_names() {
    let trusting = || tls().authority.client(&[&TLS13], &[]);
    for (name, index) in [("first.test", 0), ("wild.test", 1), ("a.wild.test", 1), ("last.test", 2)] {
        assert_eq!(shown_to(name, trusting()), in_file(&tls().files[index]), "{name}");
    }
    let believing = || ClientConfig::clone(&believing(&[]));
    for name in ["unknown.test", "a.b.wild.test", "LAST.TEST.example", "127.0.0.1"] {
        assert_eq!(shown_to(name, believing()), in_file(&tls().files[0]), "{name}");
    }
    assert_eq!(shown_to("LAST.test", trusting()), in_file(&tls().files[2]), "names have no case");
    let mut silent = believing();
    silent.enable_sni = false;
    assert_eq!(shown_to("last.test", silent), in_file(&tls().files[0]), "without a name");
}

#[test]
fn protocols_are_agreed_on_by_alpn() {
    let agreed = |offered: &[&str]| {
        let config = tls().authority.client(&[&TLS13, &TLS12], offered);
        handshake(tls().stage.gateway.https(), "first.test", Arc::new(config))
            .map(|stream| stream.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(agreed(&["h2", "http/1.1"]).expect("a handshake").as_deref(), Some(&b"h2"[..]));
    assert_eq!(agreed(&["http/1.1", "h2"]).expect("a handshake").as_deref(), Some(&b"h2"[..]));
    assert_eq!(agreed(&["http/1.1"]).expect("a handshake").as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(agreed(&["h2"]).expect("a handshake").as_deref(), Some(&b"h2"[..]));
    assert_eq!(agreed(&[]).expect("a handshake"), None);
    let refused = agreed(&["spdy/3", "h3"]).expect_err("no protocol in common");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
}

#[test]
fn without_alpn_http_1_1_is_spoken() {
    let config = tls().authority.client(&[&TLS13], &[]);
    let stream = handshake(tls().stage.gateway.https(), "first.test", Arc::new(config)).expect("a handshake");
    let mut client = Client::over(stream);
    client.send(tls().stage.request("GET", "/v1/projects/e1/x").end());
    assert_eq!(client.read().status, 200);
}

#[test]
fn http_2_is_spoken_where_it_was_agreed_on() {
    let mut client = RawHttp2::connect(tls().stage.gateway.https());
    let key = tls().stage.e1.authorization();
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"first.test"),
        (b":path", b"/v1/projects/e1/x"),
        (b"authorization", key.as_bytes()),
    ];
    client.headers(1, &fields, true).expect("an open connection");
    assert_eq!(client.outcome_of(1), StreamOutcome::Status(200));
}

#[test]
fn a_client_that_offers_a_post_quantum_exchange_gets_it() {
    let group_of = |groups: Option<&[NamedGroup]>| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if let Some(groups) = groups {
            provider.kx_groups.retain(|group| groups.contains(&group.name()));
        }
        let config = tls().authority.client_with(provider, &[&TLS13, &TLS12], &[]);
        let stream =
            handshake(tls().stage.gateway.https(), "first.test", Arc::new(config)).expect("a handshake");
        stream.conn.negotiated_key_exchange_group().expect("a group").name()
    };
    assert_eq!(group_of(None), NamedGroup::X25519MLKEM768);
    assert_eq!(group_of(Some(&[NamedGroup::X25519])), NamedGroup::X25519, "others are served too");
    assert_eq!(group_of(Some(&[NamedGroup::secp256r1])), NamedGroup::secp256r1);
}

#[test]
fn a_second_connection_resumes_the_first() {
    let config = Arc::new(tls().authority.client(&[&TLS13], &["http/1.1"]));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let stream =
            handshake(tls().stage.gateway.https(), "first.test", Arc::clone(&config)).expect("a handshake");
        kinds.push(stream.conn.handshake_kind().expect("finished"));
        let mut client = Client::over(stream);
        client.send(tls().stage.request("GET", "/v1/projects/e1/x").end());
        assert_eq!(client.read().status, 200); // the tickets come with it
    }
    assert_eq!(kinds[1], rustls::HandshakeKind::Resumed, "{kinds:?}");
}

/// Sends what a client of plain HTTP sends, to a port that speaks TLS.
#[track_caller]
fn assert_told_to_use_https(address: SocketAddr, request: &[u8]) {
    let mut client = Client::connect(address);
    client.send(request);
    let answer = client.read();
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text().contains("TLS") && answer.text().contains("https://"), "{answer:?}");
    assert_eq!(answer.header("Connection").as_deref(), Some("close"));
    assert!(client.ends_within(PATIENCE) && !client.was_reset(), "{}", show(request));
}

#[test]
fn plain_http_on_a_tls_listener_is_answered_in_words() {
    let mark = marker();
    let get = tls().stage.request("GET", "/v1/projects/e1/x").mark(&mark).end();
    let post = tls().stage.request("POST", "/v1/projects/e1/x").mark(&mark).body([b'x'; 10_000]);
    for request in [&get[..], &post, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET "] {
        assert_told_to_use_https(tls().stage.gateway.https(), request);
    }
    tls().stage.upstream.assert_unseen(&mark, "plain HTTP on a TLS listener");

    assert_ne!(tls().stage.gateway.metric("portcullis_tls_failures_total"), 0);

    // what is neither HTTP nor TLS ends without an answer in words
    let mut client = Client::connect(tls().stage.gateway.https());
    client.send(b"SSH-2.0-OpenSSH_9.9\r\n");
    assert!(client.ends_within(PATIENCE));
}

#[test]
fn plain_http_on_a_management_listener_with_tls_is_answered_in_words() {
    let tls = "  tls: { certificates: [ { certificate: certs/gateway.pem, key: certs/gateway.key } ] }";
    let stage = Stage::with(|plan| plan.management(tls));
    assert_told_to_use_https(stage.gateway.management(), b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
}

#[test]
fn tls_on_a_listener_without_tls_is_answered_in_words() {
    let name = ServerName::try_from("first.test").expect("a name");
    let mut session = ClientConnection::new(believing(&["h2", "http/1.1"]), name).expect("a session");
    let mut hello = Vec::new();
    session.write_tls(&mut hello).expect("a hello");
    // whole, and as far as it shows what it is
    for bytes in [&hello[..], &hello[..5]] {
        let mut client = Client::connect(tls().stage.gateway.http());
        client.send(bytes);
        let answer = client.read();
        answer.assert_refused(400);
        assert!(answer.text().contains("a TLS client on a listener without tls"), "{answer:?}");
        assert!(client.ends_within(PATIENCE));
    }
    let failed = handshake(tls().stage.gateway.http(), "first.test", believing(&[]));
    assert!(failed.is_err(), "a TLS handshake on a plain listener");
}

#[test]
fn a_certificate_that_does_not_fit_its_key_is_refused_at_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    let (one, other) = (authority.sign(&["one.test"]), authority.sign(&["other.test"]));
    let upstream = support::upstream::Upstream::start();
    let mixed = Files { certificate: one.certificate, key: other.key }.entry();
    let listeners = format!("  - address: 127.0.0.1:0\n    tls: {{ certificates: [ {mixed} ] }}\n");
    let site = support::gateway::Plan::new(&upstream).listeners(&listeners).prepare();
    let outcome = site.run(&["serve"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.stderr.contains("one_test.pem") || outcome.stderr.contains("other_test.key"),
        "{outcome:?}"
    );
}
