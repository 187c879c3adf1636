//! Case 92 with real servers: gunicorn with Flask, Daphne with Django, nginx with PHP-FPM. Whatever a client says
//! about paths, methods and itself, the handler runs that the gateway has decided on.

#[path = "../support/mod.rs"]
mod support;

mod servers;

use std::net::Ipv4Addr;

use portcullis::wire::SPOOFABLE_HEADERS;
use serde_json::{Value, json};
use servers::{Server, daphne, gunicorn, php_fpm};
use support::gateway::{Plan, ROUTES};
use support::http1::{Client, Request, Response};
use support::stage::Stage;

const DOCS: &str = "  - path: /v1/docs\n    upstream: api\n    access: public\n";

/// A gateway before a real server. The server takes `/v1/docs` for published, and everything that is neither that nor in
/// an environment for internal.
struct Front {
    // first, so that the gateway ends before its upstream
    stage: Stage,
    server: Server,
}

impl Front {
    fn before(server: Server) -> Self {
        let entry = format!("  api: {{ endpoints: [\"http://{}\"] }}\n", server.address());
        let stage = Stage::with(|plan: Plan| plan.upstreams(&entry).routes(&format!("{ROUTES}{DOCS}")));
        Self { stage, server }
    }

    fn send(&self, request: Request) -> Response {
        self.stage.gateway.exchange(request.end())
    }

    /// Past the gateway, from the address that the gateway has.
    fn directly(&self, request: Request) -> Response {
        let mut client = Client::connect_from(Ipv4Addr::LOCALHOST, self.server.address());
        client.send(request.header("Connection", "close").end());
        client.read()
    }

    fn as_e1(&self, method: &str, target: &str) -> Request {
        self.stage.request(method, target)
    }

    /// Whatever ran is what the gateway let a key of e1 do: a resource of e1, by this method, mounted nowhere, for a client
    /// of the loopback network that came by plain HTTP and is nobody but its key.
    #[track_caller]
    fn assert_in_e1(&self, answer: &Response, method: &str, about: &str) {
        let Some(handler) = answer.header("X-Handled-By") else {
            assert!(answer.status >= 400, "{about}: {answer:?}");
            return;
        };
        assert_eq!(handler, "resource", "{about}: {answer:?}");
        if method != "HEAD" {
            let expected = json!({
                "handler": "resource", "environment": "e1", "method": method, "mount": "", "scheme": "http",
                "host": "gw.test", "user": null, "proxy": null, "key": self.stage.e1.access_key,
            });
            assert_eq!(without_address(answer), expected, "{about}");
        }
    }
}

/// What the handler said, but for the client's address, which must be one of the loopback network.
#[track_caller]
fn without_address(answer: &Response) -> Value {
    let mut said = answer.json();
    let address = said.as_object_mut().and_then(|said| said.remove("address")).unwrap_or_default();
    assert!(address.as_str().is_some_and(|address| address.starts_with("127.")), "{address} in {answer:?}");
    said
}

/// The spellings of a listed name that a server may take for it.
fn spellings(name: &str) -> Vec<String> {
    let name = match name.strip_prefix('-') {
        Some(rest) => format!("${rest}"),
        None => name.replace('*', "anything"),
    };
    let mut spellings = vec![name.clone(), name.replace('-', "_"), name.replace('-', ".")];
    spellings.dedup();
    spellings
}

/// Sends `/v1/projects/e1` and more as every value that moves a server elsewhere, one name at a time where a server is
/// known to believe it, and the rest in groups.
#[track_caller]
fn headers_move_nothing(front: &Front) {
    let target = "/v1/projects/e1/v1/projects/e2/x";
    let known = [
        "script-name",
        "path-info",
        "daphne-root-path",
        "x-script-name",
        "x-forwarded-prefix",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        "x-real-ip",
        "client-ip",
        "proxy",
        "remote-user",
    ];
    for name in known.iter().flat_map(|name| spellings(name)) {
        for value in ["/v1/projects/e1", "/v1/projects/e2/x", "DELETE"] {
            let answer = front.send(front.as_e1("GET", target).header(&name, value));
            assert_eq!(answer.status, 200, "{name}: {value}: {answer:?}");
            front.assert_in_e1(&answer, "GET", &format!("{name}: {value}"));
        }
    }
    let all: Vec<String> =
        SPOOFABLE_HEADERS.iter().flat_map(|(_, names)| *names).flat_map(|name| spellings(name)).collect();
    for names in all.chunks(50) {
        for value in ["/v1/projects/e1", "/v1/projects/e2/x", "192.0.2.7", "admin"] {
            let mut request = front.as_e1("GET", target);
            for name in names {
                request = request.header(name, value);
            }
            let answer = front.send(request);
            assert_eq!(answer.status, 200, "{names:?}: {value}: {answer:?}");
            front.assert_in_e1(&answer, "GET", &format!("{names:?}: {value}"));
        }
    }
    // what is public is that one path, and nothing below it
    for name in known.iter().flat_map(|name| spellings(name)) {
        for value in ["/v1", "/docs", "/v1/projects/e2/x"] {
            let answer = front.send(Request::get("/v1/docs").header(&name, value));
            assert_eq!(
                answer.header("X-Handled-By").as_deref(),
                Some("published"),
                "{name}: {value}: {answer:?}"
            );
        }
    }
}

/// Paths that one reader or another takes for one of another environment (cases 21 to 41).
const PATHS: [&str; 40] = [
    "/v1/projects/e1/../e2/x",
    "/v1/projects/e1/%2e%2e/e2/x",
    "/v1/projects/e1/.%2e/e2/x",
    "/v1/projects/e1/..;/e2/x",
    "/v1/projects/e1/..%2fe2/x",
    "/v1/projects/e1/..%5ce2/x",
    "/v1/projects/e1/..\\e2/x",
    "/v1/projects/e1/%252e%252e/e2/x",
    "/v1/projects/e1/..%252fe2/x",
    "/v1/projects/e1%2f..%2fe2/x",
    "/v1/projects//e2/x",
    "//v1/projects/e2/x",
    "/v1//projects/e2/x",
    "/v1/projects/e1//../e2/x",
    "/v1/projects/e1/x/../../e2/x",
    "/v1/projects/e1/..%00/e2/x",
    "/v1/projects/e1%00/../e2/x",
    "/v1/projects/e1/..%0a/e2/x",
    "/v1/projects/e1/.../../e2/x",
    "/v1/projects/e1/..%c0%afe2/x",
    "/v1/projects/e1/%c0%ae%c0%ae/e2/x",
    "/v1/projects/e1/\u{ff0e}\u{ff0e}/e2/x",
    "/v1/projects/e1;/../e2/x",
    "/v1/projects/e1/x;/../../e2/x",
    "/v1/projects/e1/x?/../../e2/x",
    "/v1/projects/e1/x#/../../e2/x",
    "/v1/projects/e1/x%23/../../e2/x",
    "/v1/projects/e1/x%3f/../../e2/x",
    "/v1/projects/%65%32/x",
    "/v1/%70rojects/e2/x",
    "/v1/projects/E2/x",
    "/V1/projects/e2/x",
    "/v1/projects/e2%20/x",
    "/v1/projects/e2./x",
    "/v1/projects/e2;a=b/x",
    "/v1/docs/../projects/e2/x",
    "/v1/docs%2f..%2fprojects/e2/x",
    "/v1/docs;/../projects/e2/x",
    "/v1/docs/%2e%2e/hosts",
    "/healthz/../v1/projects/e2/x",
];

#[track_caller]
fn paths_lead_nowhere_else(front: &Front) {
    for path in PATHS {
        let answer = front.send(front.as_e1("GET", path));
        front.assert_in_e1(&answer, "GET", path);
        let answer = front.send(Request::get(path));
        assert_eq!(answer.header("X-Handled-By"), None, "{path} without a key: {answer:?}");
        for target in [format!("http://gw.test{path}"), format!("HTTP://gw.test{path}")] {
            let answer = front.send(front.as_e1("GET", &target));
            front.assert_in_e1(&answer, "GET", &target);
        }
    }
}

/// Members who only read do not write, however they say so.
#[track_caller]
fn methods_stay_what_they_are(front: &Front) {
    let headers = [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "Request-Method",
        "X-Original-Method",
    ];
    for name in headers.iter().flat_map(|name| spellings(name)) {
        for (method, other) in [("GET", "DELETE"), ("POST", "GET"), ("HEAD", "PUT")] {
            let mut request = front.as_e1(method, "/v1/projects/e1/x").header(&name, other);
            if method == "POST" {
                request = request.header("Content-Length", "0");
            }
            let answer = front.send(request);
            assert_eq!(answer.status, 200, "{method} with {name}: {other}: {answer:?}");
            front.assert_in_e1(&answer, method, &format!("{method} with {name}: {other}"));
        }
    }
}

/// Without the gateway the server does believe it: a test that it never fails proves nothing.
#[track_caller]
fn believes_directly(front: &Front, name: &str) {
    let request = Request::get("/v1/projects/e1/v1/projects/e2/x").header(name, "/v1/projects/e1");
    let answer = front.directly(request);
    assert_eq!(answer.json()["environment"], "e2", "{name}: {answer:?}");
}

#[test]
fn case_92_gunicorn_with_flask() {
    let front = Front::before(gunicorn());
    believes_directly(&front, "SCRIPT_NAME");
    let answer = front.directly(Request::get("/v1/projects/e1/x").header("Proxy", "http://192.0.2.7"));
    assert_eq!(answer.json()["proxy"], "http://192.0.2.7", "{answer:?}");
    headers_move_nothing(&front);
    paths_lead_nowhere_else(&front);
    methods_stay_what_they_are(&front);
}

#[test]
fn case_92_daphne_with_django() {
    let front = Front::before(daphne());
    believes_directly(&front, "Daphne-Root-Path");
    headers_move_nothing(&front);
    paths_lead_nowhere_else(&front);
    methods_stay_what_they_are(&front);
}

#[test]
fn case_92_nginx_with_php_fpm() {
    let front = Front::before(php_fpm());
    believes_directly(&front, "X-Forwarded-Prefix");
    headers_move_nothing(&front);
    paths_lead_nowhere_else(&front);
    methods_stay_what_they_are(&front);
}
