//! The management listener: it is separate from the proxy, and answers only to known names.

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use support::api::{Api, exchange, request};
use support::gateway::Gateway;
use support::http1::{Client, Request, Response, fresh_source, open_from};
use support::stage::Stage;
use support::{PATIENCE, marker, tls, wait_for};

#[test]
fn case_86_management_is_reached_on_its_own_listener_only() {
    let stage = Stage::with(|plan| {
        plan.routes(
            "  - path: /v2-beta\n    upstream: api\n    account: allow\n    environment: \"/v2-beta/projects/{environment}\"\n  \
             - path: /openapi.json\n    upstream: api\n    access: public\n",
        )
    });
    let admin = &stage.gateway.admin;
    for target in ["/v2-beta/apikeys", "/v2-beta", "/v2-beta/accounts/1a1", "/openapi.json"] {
        let mark = marker();
        let answer = stage.gateway.exchange(Request::get(target).key(admin).mark(&mark).end());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(stage.upstream.only(&mark).path(), target, "it is proxied, not served");
    }
    for target in ["/", "/keys", "/metrics", "/readyz", "/session"] {
        let answer = stage.gateway.exchange(Request::get(target).key(admin).end());
        assert_eq!(answer.status, 404, "{target}: {answer:?}");
    }
    // and what the proxy serves is not served there
    let answer =
        exchange(&stage.gateway, request(&stage.gateway, "GET", "/v1/projects/e1/x").key(&stage.e1).end());
    assert_ne!(answer.status, 200, "{answer:?}");
}

#[test]
fn case_90_an_unknown_host_name_is_refused() {
    let stage = Stage::with(|plan| plan.management("  hosts: [gateway.example.com]"));
    let admin = &stage.gateway.admin;
    let status = |host: &str, target: &str| {
        let request = Request::without_host("GET", target).header("Host", host).key(admin).end();
        exchange(&stage.gateway, request).status
    };
    for host in [
        "127.0.0.1",
        "127.0.0.1:8081",
        "localhost",
        "LOCALHOST:1",
        "[::1]:80",
        "gateway.example.com",
        "Gateway.Example.com:8081",
    ] {
        assert_eq!(status(host, "/v2-beta"), 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:8081",
        "gateway.example.com.evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
    ] {
        assert_eq!(status(host, "/v2-beta"), 421, "{host}");
        assert_eq!(status(host, "/"), 421, "{host}");
        // machines ask under whatever name they know
        assert_eq!(status(host, "/healthz"), 200, "{host}");
        assert_eq!(status(host, "/metrics"), 200, "{host}");
    }
    // the host becomes part of every link, so it is nothing but a host
    for host in [
        "",
        "localhost:x",
        ":80",
        "localhost:+80",
        "[[::1]]",
        "[127.0.0.1]",
        "evil.example/?.localhost",
        "\"><b>.localhost",
    ] {
        assert_eq!(status(host, "/v2-beta"), 400, "{host:?}");
    }
    let twice =
        Request::without_host("GET", "/v2-beta").header("Host", "localhost").header("Host", "evil.example");
    assert_eq!(exchange(&stage.gateway, twice.key(admin).end()).status, 400);
}

/// Signs in as a browser does that is at a page of `origin`; `headers` are the proxy's.
fn sign_in(gateway: &Gateway, host: &str, origin: &str, headers: &[(&str, &str)]) -> Response {
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("access_key", &gateway.admin.access_key)
        .append_pair("secret_key", &gateway.admin.secret)
        .finish();
    let request = Request::without_host("POST", "/sign-in").header("Host", host).header("Origin", origin);
    let request = request.header("Sec-Fetch-Site", "same-origin");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    exchange(gateway, request.body(body))
}

#[test]
fn behind_a_trusted_proxy_links_have_the_browsers_scheme_and_host() {
    let stage = Stage::with(|plan| {
        plan.top("trusted_proxies: [127.0.0.0/8]").management("  hosts: [gw.example.com]")
    });
    let gateway = &stage.gateway;
    let inner = gateway.management().to_string();
    let outer = "https://gw.example.com";
    for (host, headers) in [
        ("gw.example.com", &[("X-Forwarded-Proto", "https")][..]),
        (&inner, &[("X-Forwarded-Proto", "HTTPS"), ("X-Forwarded-Host", "gw.example.com")]),
    ] {
        let answer = sign_in(gateway, host, outer, headers);
        assert_eq!(answer.status, 303, "{headers:?}: {answer:?}");
        let cookie = answer.header("Set-Cookie").expect("a session");
        let (pair, attributes) = cookie.split_once("; ").expect("attributes");
        assert!(pair.starts_with("__Host-portcullis="), "{cookie}");
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict; Secure");
        let with = |method: &str, target: &str| {
            let request = Request::without_host(method, target).header("Host", host);
            headers.iter().fold(request, |request, (name, value)| request.header(name, value))
        };
        let page = exchange(gateway, with("GET", "/keys").header("Cookie", pair).end());
        assert_eq!(page.status, 200, "{page:?}");
        let version = exchange(gateway, with("GET", "/v2-beta").key(&gateway.admin).end()).json();
        assert_eq!(version["links"]["self"], "https://gw.example.com/v2-beta");
        let create = |origin: &str| {
            let request = with("POST", "/v2-beta/apikeys").key(&gateway.admin).header("Origin", origin);
            exchange(gateway, request.body("{}")).status
        };
        assert_eq!((create(outer), create("http://gw.example.com")), (201, 403));
        assert_eq!(sign_in(gateway, host, "http://gw.example.com", headers).status, 403);
    }
    // and the other way round: TLS only behind the proxy, or nothing that is a scheme
    for (scheme, link) in
        [("http", "http://gw.example.com/v2-beta"), ("gopher", "http://gw.example.com/v2-beta")]
    {
        let request = Request::without_host("GET", "/v2-beta").header("Host", "gw.example.com");
        let request = request.header("X-Forwarded-Proto", scheme).key(&gateway.admin);
        assert_eq!(exchange(gateway, request.end()).json()["links"]["self"], link);
    }
    // a proxy that was called by another name has passed on what a page elsewhere wants
    for (host, forwarded, status) in [
        ("gw.example.com", "evil.example", 421),
        ("evil.example", "gw.example.com", 421),
        (&inner, "gw.example.com, gw.example.com", 400),
        (&inner, "", 400),
    ] {
        let request = Request::without_host("GET", "/v2-beta").header("Host", host);
        let request = request.header("X-Forwarded-Host", forwarded).key(&gateway.admin);
        assert_eq!(exchange(gateway, request.end()).status, status, "{host} {forwarded}");
    }
}

#[test]
fn case_49_management_ignores_forwarded_fields_of_untrusted_peers() {
    let stage =
        Stage::with(|plan| plan.top("trusted_proxies: [192.0.2.7]").management("  hosts: [gw.example.com]"));
    let gateway = &stage.gateway;
    let headers = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "gw.example.com")];
    let inner = gateway.management().to_string();
    let request = Request::without_host("GET", "/v2-beta").header("Host", &inner).key(&gateway.admin);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    assert_eq!(exchange(gateway, request.end()).json()["links"]["self"], format!("http://{inner}/v2-beta"));
    assert_eq!(sign_in(gateway, &inner, "https://gw.example.com", &headers).status, 403);
    let answer = sign_in(gateway, &inner, &format!("http://{inner}"), &headers);
    let cookie = answer.header("Set-Cookie").expect("a session");
    assert!(cookie.starts_with("portcullis=") && !cookie.contains("Secure"), "{cookie}");
    let request = Request::without_host("GET", "/v2-beta").header("Host", "evil.example").key(&gateway.admin);
    let request = request.header("X-Forwarded-Host", "gw.example.com");
    assert_eq!(exchange(gateway, request.end()).status, 421);
}

#[test]
fn case_90_requests_of_another_sites_page_change_nothing() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let own = format!("http://{}", stage.gateway.management());
    let secure = format!("https://{}", stage.gateway.management());
    let key = format!("/v2-beta/apikeys/{}", stage.e1.id);
    let before = (api.ids("/v2-beta/apikeys"), api.document(&key));
    let forged: [&[(&str, &str)]; 9] = [
        &[("Origin", "http://evil.test"), ("Sec-Fetch-Site", "cross-site")],
        &[("Origin", "http://evil.test")],
        &[("Origin", "null")],
        &[("Origin", "")],
        &[("Origin", &secure)],
        &[("Origin", &own), ("Origin", "http://evil.test")],
        &[("Origin", &own), ("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
    ];
    let with = |method: &str, target: &str, headers: &[(&str, &str)]| {
        let request = api.request(method, target);
        headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    for headers in forged {
        for (method, target) in [
            ("POST", "/v2-beta/apikeys"),
            ("POST", "/v2-beta/projects/e1/apikeys"),
            ("PUT", key.as_str()),
            ("DELETE", key.as_str()),
            ("POST", &format!("{key}/?action=deactivate")),
        ] {
            let answer = api.send(with(method, target, headers).body(r#"{"name":"forged"}"#));
            assert_eq!(answer.status, 403, "{method} {target} {headers:?}: {answer:?}");
            assert_eq!(answer.json()["code"], "Forbidden", "{answer:?}");
            assert!(answer.header("x-api-schemas").is_some(), "{answer:?}");
        }
    }
    assert_eq!((api.ids("/v2-beta/apikeys"), api.document(&key)), before);
    // from a page of the listener's own, and from a client that says nothing of either
    for headers in [&[("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")][..], &[]] {
        assert_eq!(api.send(with("POST", "/v2-beta/apikeys", headers).body("{}")).status, 201, "{headers:?}");
    }
    // following a link is no harm
    let link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")];
    assert_eq!(api.send(with("GET", "/v2-beta", &link).end()).status, 200);
}

#[test]
fn wrong_keys_are_throttled_as_on_the_proxy_and_a_right_one_never_is() {
    let stage = Stage::with(|plan| plan.top("throttle: { failures: 3 }"));
    let source = fresh_source();
    let status = |key: &support::cli::Key| {
        let mut client = Client::connect_from(source, stage.gateway.management());
        client.send(request(&stage.gateway, "GET", "/v2-beta").key(key).end());
        let answer = client.read();
        (answer.status, answer.header("retry-after").is_some())
    };
    let wrong = stage.gateway.admin.with_wrong_secret();
    assert_eq!(
        [0; 5].map(|_| status(&wrong)),
        [(401, false), (401, false), (401, false), (429, true), (429, true)]
    );
    assert_eq!(status(&stage.gateway.admin).0, 200);
    // the two listeners count together
    let mut client = Client::connect_from(source, stage.gateway.http());
    client.send(Request::get("/v1/projects/e1/x").key(&wrong).end());
    assert_eq!(client.read().status, 429);
}

#[test]
fn case_91_no_key_works_before_init_has_printed_one() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    assert_eq!(api.ids("/v2-beta/accounts"), ["1a1"], "one admin account");
    assert_eq!(api.ids("/v2-beta/apikeys?accountId=1a1"), ["1c1"], "with one key");
    for (user, password) in
        [("admin", "admin"), ("admin", ""), ("", ""), ("portcullis", "portcullis"), ("admin", "password")]
    {
        let given = request(&stage.gateway, "GET", "/v2-beta")
            .header("Authorization", support::cli::basic(user, password));
        assert_eq!(exchange(&stage.gateway, given.end()).status, 401, "{user}:{password}");
    }
    // init prints it once: a second init makes nothing and prints nothing
    let again = stage.gateway.run(&["init"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(support::cli::key_in(&again.stdout).is_none(), "{again:?}");
    assert_eq!(api.post("/v2-beta/apikeys", &json!({})).status, 201);
}

#[test]
fn a_client_that_speaks_tls_where_there_is_none_is_told_so() {
    let stage = Stage::start();
    let mut client = TcpStream::connect(stage.gateway.management()).expect("it connects");
    client.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    // the first record of a handshake, and the beginning of a ClientHello
    let hello = [&b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"[..], &[7; 190]].concat();
    client.write_all(&hello).expect("written");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer, and the end");
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("plain HTTP on this port: call it by http:// instead of https://"), "{answer}");
    assert_eq!(exchange(&stage.gateway, request(&stage.gateway, "GET", "/readyz").end()).status, 200);
}

#[test]
fn a_client_that_never_reads_its_answers_is_disconnected() {
    let stage = Stage::with(|plan| plan.top("timeouts: { write: 200ms }"));
    let mut client = TcpStream::connect(stage.gateway.management()).unwrap();
    client.set_nonblocking(true).unwrap();
    let requests = request(&stage.gateway, "GET", "/v2-beta").end().repeat(100);
    wait_for(PATIENCE, "end of a connection that takes nothing", || match client.write(&requests) {
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    });
}

#[test]
fn writes_to_a_locked_store_are_refused_within_seconds() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let holder = rusqlite::Connection::open(stage.gateway.directory().join("portcullis.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let api = &api;
            scope.spawn(move || {
                let mut client = Client::connect(api.gateway.management());
                let body = json!({ "id": format!("late{number}") }).to_string();
                client.send(api.request("POST", "/v2-beta/projects").body(body));
                let answer = client.try_read(true, Duration::from_mins(1)).expect("an answer");
                assert_eq!(answer.status, 503, "{answer:?}");
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
            });
        }
        assert_eq!(api.ids("/v2-beta/projects"), ["e1", "e2"], "who reads does not wait");
    });
    // one waits in vain, and perhaps a second one
    assert!(began.elapsed() < Duration::from_secs(18), "{:?}", began.elapsed());
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(api.post("/v2-beta/projects", &json!({ "id": "after" })).status, 201);
    assert_eq!(api.ids("/v2-beta/projects"), ["e1", "e2", "after"], "what was refused was not done");
}

/// Opens connections that send `bytes` and no more, until `most` are there.
fn silent(address: SocketAddr, source: Ipv4Addr, bytes: &[u8], most: usize) -> Vec<TcpStream> {
    let open = (0..most).map(|_| {
        let mut client = open_from(source, address).expect("a connection");
        // it may be closed by now
        client.write_all(bytes).ok();
        client
    });
    open.collect()
}

fn assert_ready(gateway: &Gateway, source: Ipv4Addr, is_tls: bool) {
    let wire = open_from(source, gateway.management()).expect("a connection");
    let mut client = if is_tls { tls::over(wire) } else { Client::over(wire) };
    client.send(request(gateway, "GET", "/readyz").end());
    let answer = client.try_read(true, Duration::from_secs(8)).expect("an answer before anything times out");
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn case_107_silent_connections_keep_no_health_check_out() {
    const TLS: &str =
        "  tls: { certificates: [ { certificate: certs/gateway.pem, key: certs/gateway.key } ] }";
    // as many as fit, and some more; what times out does so after the test
    for is_tls in [false, true] {
        let stage = Stage::with(|plan| {
            let plan = plan.top("timeouts: { header: 60s }");
            if is_tls { plan.management(TLS) } else { plan }
        });
        let (gateway, attacker) = (&stage.gateway, fresh_source());
        let half_head: &[u8] = if is_tls { b"\x16\x03\x01" } else { b"GET /readyz HTTP/1.1\r\nHost: x\r\n" };
        for bytes in [&b""[..], half_head] {
            let open = silent(gateway.management(), attacker, bytes, 300);
            for source in [attacker, fresh_source(), attacker, attacker] {
                assert_ready(gateway, source, is_tls);
            }
            let others: Vec<_> =
                (0..5).flat_map(|_| silent(gateway.management(), fresh_source(), bytes, 64)).collect();
            for source in [attacker, fresh_source(), attacker] {
                assert_ready(gateway, source, is_tls);
            }
            let is_open = |client: &TcpStream| {
                client.set_nonblocking(true).unwrap();
                // what is closed ends, or is reset where it had not read everything
                match client.peek(&mut [0; 1]) {
                    Ok(_) => false,
                    Err(error) => error.kind() != ErrorKind::ConnectionReset,
                }
            };
            wait_for(PATIENCE, "no more are open than may be", || {
                open.iter().chain(&others).filter(|client| is_open(client)).count() <= 256
            });
        }
    }
}

#[test]
fn case_107_requests_whose_bodies_never_come_keep_no_health_check_out() {
    let stage = Stage::start();
    let (gateway, attacker) = (&stage.gateway, fresh_source());
    let head = request(gateway, "POST", "/sign-in").header("Content-Length", "10").end();
    let began = Instant::now();
    let open = silent(gateway.management(), attacker, &head, 300);
    for source in [attacker, fresh_source(), attacker] {
        assert_ready(gateway, source, false);
    }
    // and whoever has a key is served
    let answer = exchange(gateway, request(gateway, "GET", "/v2-beta/apikeys").key(&gateway.admin).end());
    assert_eq!(answer.status, 200, "{answer:?} after {:?}", began.elapsed());
    drop(open);
}

#[test]
fn case_107_running_requests_leave_slots_for_health_checks() {
    let stage = Stage::with(|plan| plan.management("  connections: 4\n  connections_per_source: 2"));
    let (gateway, source) = (&stage.gateway, fresh_source());
    let holder = rusqlite::Connection::open(gateway.directory().join("portcullis.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    // writes that wait for the record
    let write = |number: u32| {
        let mut client = Client::connect_from(source, gateway.management());
        let body = json!({ "id": format!("late{number}") }).to_string();
        client.send(request(gateway, "POST", "/v2-beta/projects").key(&gateway.admin).body(body));
        client
    };
    let mut busy = [write(0), write(1)];
    wait_for(PATIENCE, "both places of the source are taken", || {
        // one that was not read yet gives way to the next connection: then it comes again
        for (client, number) in busy.iter_mut().zip(0..) {
            if client.ends_within(Duration::from_millis(100)) {
                *client = write(number);
            }
        }
        let mut client = Client::connect_from(source, gateway.management());
        client.send(request(gateway, "GET", "/v2-beta").key(&gateway.admin).end());
        let answer = client.read();
        answer.status == 503 && answer.header("connection").as_deref() == Some("close")
    });
    assert_ready(gateway, source, false);
    let open = silent(gateway.management(), source, b"", 40);
    assert_ready(gateway, source, false);
    assert_ready(gateway, fresh_source(), false);
    holder.execute_batch("ROLLBACK").unwrap();
    drop((open, busy));
}
