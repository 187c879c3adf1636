//! Tests of the test harness: what it says about a gateway must also be true of a plain connection to its upstream.

mod support;

use support::cli::{Key, basic, key_in, minted_secret};
use support::gateway::Plan;
use support::http1::{Client, NoAnswer, Request};
use support::upstream::{Answer, Upstream};
use support::{PATIENCE, marker, wait_for};

#[test]
fn the_upstream_echoes_the_bytes_it_got() {
    let upstream = Upstream::start();
    let mark = marker();
    let request = Request::get("/x?y").mark(&mark).body("abc");
    let mut client = Client::connect(upstream.address());
    client.send(&request);
    assert_eq!(client.read().body, request);
    let seen = upstream.only(&mark);
    assert_eq!((seen.raw.as_slice(), seen.body.as_slice()), (request.as_slice(), &b"abc"[..]));
    assert_eq!(seen.header("host").as_deref(), Some("gw.test"));
}

#[test]
fn the_upstream_reads_chunks_and_trailers() {
    let upstream = Upstream::start();
    let mark = marker();
    let mut client = Client::connect(upstream.address());
    let head = Request::new("POST", "/x").mark(&mark).header("Transfer-Encoding", "chunked");
    client.send(head.raw("\r\n3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nX-T: u\r\n").end());
    assert_eq!(client.read().status, 200);
    let seen = upstream.only(&mark);
    assert_eq!(seen.body, b"abcd");
    assert_eq!(seen.all_trailers("x-t"), ["u"]);
}

#[test]
fn half_a_request_is_seen_too() {
    let upstream = Upstream::start();
    upstream.assert_untouched("before anything was sent");
    let mark = marker();
    Client::connect(upstream.address()).send(format!("GET /{mark}"));
    wait_for(PATIENCE, "the upstream sees the bytes", || upstream.saw(&mark));
    assert!(upstream.requests(&mark).is_empty());
}

#[test]
fn answers_follow_the_script() {
    let upstream = Upstream::start();
    upstream.answer("/gone", Answer::with("HTTP/1.1 410 Gone\nX-A: b", b"away"));
    upstream.answer(
        "/stream",
        Answer::after_head(|_, conversation| {
            conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").ok();
            conversation.send("2\r\nde\r\n0\r\nX-T: u\r\n\r\n").is_ok()
        }),
    );
    let mut client = Client::connect(upstream.address());
    client.send(Request::get("/gone").end());
    let answer = client.read();
    assert_eq!(
        (answer.status, answer.header("x-a").as_deref(), answer.text().as_str()),
        (410, Some("b"), "away")
    );
    client.send(Request::get("/stream").end());
    let answer = client.read();
    assert_eq!(answer.text(), "abcde");
    assert_eq!(answer.trailers, [("X-T".to_owned(), b"u".to_vec())]);
}

#[test]
fn answers_are_read_strictly() {
    let upstream = Upstream::start();
    for (path, bytes) in [
        ("/lf", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        ("/both", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("/space", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
        ("/version", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        upstream.answer(path, Answer::Bytes(bytes.into()));
        let mut client = Client::connect(upstream.address());
        client.send(Request::get(path).end());
        let read = client.try_read(false, PATIENCE);
        assert!(matches!(read, Err(NoAnswer::Malformed(..))), "{path}: {read:?}");
    }
}

#[test]
fn keys_and_credentials_are_written_as_clients_do() {
    assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    let secret = minted_secret(7);
    assert_eq!(secret.len(), "pcs_".len() + 40 + 6);
    let Key { access_key, secret: found, .. } =
        key_in(&format!("  access key  pca_0123456789abcdefghjk\n  secret key: {secret}\n"))
            .expect("it is there");
    assert_eq!((access_key.as_str(), found.as_str()), ("pca_0123456789abcdefghjk", secret.as_str()));
}

#[test]
fn a_site_is_made_by_the_command_line() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare();
    site.create_environment("e1");
    let account = site.create_account("alice", "user");
    site.add_member("e1", "alice", "readonly");
    let keys = [site.create_environment_key("e1"), site.create_account_key(&account), site.admin.clone()];
    assert!(keys[0].access_key.starts_with("pce_") && keys[1].access_key.starts_with("pca_"));
    for key in keys {
        assert_eq!((key.access_key.len(), key.secret.len()), (24, 50));
        let shown = site.json(&["key", "show", &key.access_key]);
        assert_eq!(shown["publicValue"], key.access_key.as_str());
    }
}
