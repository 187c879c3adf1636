//! The management listener itself: apart from the proxy, and only under names it is known by.

mod support;

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use support::api::{Api, exchange, request};
use support::http1::{Client, Request, fresh_source};
use support::stage::Stage;
use support::{PATIENCE, marker, wait_for};

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
fn case_90_a_host_that_it_is_not_known_by_is_refused() {
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

/// A browser that knows a key from its own window sends it with every request, whoever's page has made it.
#[test]
fn what_another_sites_page_sends_with_a_browsers_own_key_changes_nothing() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let ours = format!("http://{}", stage.gateway.management());
    let post = |headers: &[(&str, &str)]| {
        let mut request = api.request("POST", "/v2-beta/apikeys").header("Content-Type", "text/plain");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        api.send(request.body(r#"{"name":"forged"}"#))
    };
    for headers in [
        &[("Origin", "http://evil.example")] as &[_],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
        &[("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "navigate")],
        &[("Origin", &ours), ("Origin", "http://evil.example")],
    ] {
        let answer = post(headers);
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("Forbidden")), "{answer:?}");
        assert!(answer.header("x-api-schemas").is_some(), "{answer:?}");
    }
    assert_eq!(api.ids("/v2-beta/apikeys?name=forged"), [""; 0]);
    assert_eq!(post(&[("Origin", &ours), ("Sec-Fetch-Site", "same-origin")]).status, 201);
    // following a link is no harm
    let link = api.request("GET", "/v2-beta").header("Sec-Fetch-Site", "cross-site");
    assert_eq!(api.send(link.header("Sec-Fetch-Mode", "navigate").end()).status, 200);
}

#[test]
fn links_are_secure_where_a_trusted_proxy_says_that_the_client_speaks_tls() {
    let own = |stage: &Stage| {
        let api = Api::admin(&stage.gateway);
        let answer = api.send(api.request("GET", "/v2-beta").header("X-Forwarded-Proto", "https").end());
        answer.json()["links"]["self"].as_str().unwrap().to_owned()
    };
    assert!(own(&Stage::start()).starts_with("http://"));
    assert!(own(&Stage::with(|plan| plan.top("trusted_proxies: [127.0.0.0/8]"))).starts_with("https://"));
}

#[test]
fn a_client_that_never_reads_its_answers_loses_its_place() {
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
fn writes_that_wait_for_a_store_that_somebody_holds_are_all_refused_within_seconds() {
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
