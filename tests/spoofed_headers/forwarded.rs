//! Cases 98 and 99: what the upstream learns of how a request came, and which address counts as its source.

use std::sync::OnceLock;

use crate::support::http1::{Client, Request};
use crate::support::http2;
use crate::support::marker;
use crate::support::stage::Stage;
use crate::support::tls::{believing, handshake};
use crate::support::upstream::Recorded;

/// Nobody is trusted.
fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::start)
}

/// All of the loopback network is a proxy, and so is 10.0.0.0/8.
fn behind_proxies() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| Stage::with(|plan| plan.top("trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]")))
}

const NONE: [String; 0] = [];

fn called(host: &str) -> Request {
    Request::without_host("GET", "/v1/projects/e1/x").header("Host", host).key(&stage().e1)
}

/// Sends the request over TLS; what the upstream saw of it.
fn over_tls(request: Request) -> Recorded {
    let mark = marker();
    let tls = handshake(stage().gateway.https(), "localhost", believing(&["http/1.1"])).expect("a handshake");
    let mut client = Client::over(tls);
    client.send(request.mark(&mark).end());
    assert_eq!(client.read().status, 200);
    stage().upstream.only(&mark)
}

#[test]
fn case_98_the_forwarded_port_is_the_one_that_the_client_called() {
    for (host, plain, tls) in [
        ("api.example.com", "80", "443"),
        ("api.example.com:8443", "8443", "8443"),
        ("api.example.com:80", "80", "80"),
        ("127.0.0.1", "80", "443"),
        ("127.0.0.1:3000", "3000", "3000"),
        ("[::1]", "80", "443"),
        ("[2001:db8::8080]:9", "9", "9"),
        ("api8080", "80", "443"),
    ] {
        let seen = stage().passes(called(host));
        assert_eq!(
            (seen.all("X-Forwarded-Port"), seen.all("X-Forwarded-Host")),
            (vec![plain.into()], vec![host.into()])
        );
        let seen = over_tls(called(host));
        assert_eq!(
            (seen.all("X-Forwarded-Port"), seen.all("X-Forwarded-Proto")),
            (vec![tls.into()], vec!["https".into()])
        );
        if !host.starts_with('[') {
            let mark = marker();
            let request = http::Request::get(format!("https://{host}/v1/projects/e1/x"))
                .header("authorization", stage().e1.authorization())
                .header("x-marker", &mark)
                .body(())
                .expect("a request");
            let answer = http2::exchange(stage().gateway.https(), request, b"").expect("an answer");
            assert_eq!(answer.status, 200, "{host}");
            assert_eq!(stage().upstream.only(&mark).all("X-Forwarded-Port"), [tls], "{host}");
        }
    }
    // HTTP/1.0 may come without a Host
    let mark = marker();
    let head = format!(
        "GET /v1/projects/e1/x HTTP/1.0\r\nAuthorization: {}\r\nX-Marker: {mark}\r\n\r\n",
        stage().e1.authorization()
    );
    assert_eq!(stage().gateway.exchange(head).status, 200);
    assert_eq!(stage().upstream.only(&mark).all("X-Forwarded-Port"), ["80"]);
}

#[test]
fn case_98_behind_a_proxy_the_port_is_the_one_that_the_proxy_names() {
    let stage = behind_proxies();
    for (said, port) in [
        (&[][..], "8080"),
        (&[("X-Forwarded-Port", "9443")][..], "9443"),
        (&[("X-Forwarded-Host", "api.example.com:444"), ("X-Forwarded-Proto", "https")], "444"),
        (&[("X-Forwarded-Host", "api.example.com"), ("X-Forwarded-Proto", "https")], "443"),
        (&[("X-Forwarded-Host", "api.example.com")], "80"),
    ] {
        let request =
            Request::without_host("GET", "/v1/projects/e1/x").header("Host", "gateway.internal:8080");
        let request =
            said.iter().fold(request.key(&stage.e1), |request, (name, value)| request.header(name, value));
        assert_eq!(stage.passes(request).all("X-Forwarded-Port"), [port], "{said:?}");
    }
}

#[test]
fn case_99_addresses_with_ports_and_in_brackets_are_sources_of_their_own() {
    let stage = behind_proxies();
    let wrong = stage.e1.with_wrong_secret();
    let attempt = |forwarded: &str| {
        let request =
            Request::get("/v1/projects/e1/x").key(&wrong).header("X-Forwarded-For", forwarded).end();
        stage.gateway.exchange(request).status
    };
    for (throttled, same, others) in [
        (
            "192.0.2.7:5555",
            ["192.0.2.7", "192.0.2.7:80", "6.6.6.6, [::ffff:192.0.2.7]:1"],
            ["192.0.2.8:5555", "192.0.2.9"],
        ),
        (
            "[2001:db8:1::1]:443",
            ["2001:db8:1::1", "[2001:db8:1::1]", "6.6.6.6, [2001:db8:1:0::1]:9, 10.0.0.9:80"],
            ["[2001:db8:2::1]:443", "2001:db8:3::1"],
        ),
    ] {
        assert!((0..200).any(|_| attempt(throttled) == 429), "{throttled} was never throttled");
        for same in same {
            assert_eq!(attempt(same), 429, "{same} is {throttled}");
        }
        for other in others {
            assert_eq!(attempt(other), 401, "{other} is not {throttled}");
        }
    }
}

#[test]
fn case_99_who_is_behind_something_unreadable_is_counted_as_the_proxy_that_said_it() {
    let stage = behind_proxies();
    let wrong = stage.e1.with_wrong_secret();
    let attempt = |forwarded: &str| {
        let request =
            Request::get("/v1/projects/e1/x").key(&wrong).header("X-Forwarded-For", forwarded).end();
        stage.gateway.exchange(request).status
    };
    // each claims another address left of what cannot be read: none of them counts
    let throttled = (0..200).any(|number| attempt(&format!("198.51.100.{number}, unknown, 10.9.9.9")) == 429);
    assert!(throttled, "10.9.9.9 was never throttled");
    assert_eq!(attempt("198.51.100.1, _hidden, 10.9.9.9:80"), 429);
    assert_eq!(attempt("198.51.100.1, unknown, 10.9.9.8"), 401, "another proxy is another source");
}

const FROM_PROXIES: [(&str, &str); 3] = [
    ("X-Forwarded-Prefix", "/api"),
    ("Forwarded", "for=192.0.2.7;proto=https;host=api.example.com"),
    ("X-Real-IP", "192.0.2.7"),
];

#[test]
fn case_99_the_prefix_and_its_like_pass_from_proxies_and_from_nobody_else() {
    let stranger =
        FROM_PROXIES.iter().fold(called("gw.test"), |request, (name, value)| request.header(name, value));
    let seen = stage().passes(stranger);
    for (name, _) in FROM_PROXIES {
        assert_eq!(seen.all(name), NONE, "{name} in {seen:?}");
    }

    let stage = behind_proxies();
    let mut request = Request::get("/v1/projects/e1/x").key(&stage.e1);
    for (name, value) in FROM_PROXIES {
        request = request.header(name, value);
    }
    for name in ["X_Forwarded_Prefix", "x.forwarded.prefix", "X_Real_IP", "X-Forwarded_Prefix"] {
        request = request.header(name, "forged");
    }
    // what no rule names does not pass, whoever sends it
    let request = request
        .header("SCRIPT_NAME", "forged")
        .header("X-Forwarded-User", "forged")
        .header("Remote-User", "forged");
    let seen = stage.passes(request);
    for (name, value) in FROM_PROXIES {
        assert_eq!(seen.all(name), [value], "{name} in {seen:?}");
    }
    assert!(!String::from_utf8_lossy(&seen.raw).contains("forged"), "{seen:?}");

    // a proxy can say that one is for this hop only; and never as a trailer
    let request = Request::get("/v1/projects/e1/x").key(&stage.e1).header("X-Real-IP", "192.0.2.7");
    assert_eq!(stage.passes(request.header("Connection", "x-real-ip")).all("X-Real-IP"), NONE);
    let mark = marker();
    let head = Request::new("POST", "/v1/projects/e1/x")
        .key(&stage.e1)
        .mark(&mark)
        .header("Transfer-Encoding", "chunked");
    let trailers =
        b"0\r\nX-Forwarded-Prefix: /api\r\nForwarded: for=192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\n\r\n";
    assert_eq!(stage.gateway.exchange([head.end(), trailers.to_vec()].concat()).status, 200);
    assert_eq!(stage.upstream.only(&mark).trailers, []);
}
