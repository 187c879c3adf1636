//! Case 92: a server behind takes no mount point, path, method, host, user, address or certificate from a client.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use portcullis::wire::SPOOFABLE_HEADERS;

use crate::support::http1::Request;
use crate::support::http2::{RawHttp2, StreamOutcome};
use crate::support::http2_upstream::{Http2Upstream, Seen};
use crate::support::stage::Stage;
use crate::support::upstream::Recorded;
use crate::support::{find, marker};

/// Names by which servers were seen to believe a client. The gateway's own table has them and more; this list does not
/// shrink with it.
const SEEN_IN_SERVERS: &str = "SCRIPT_NAME PATH_INFO SCRIPT_FILENAME PATH_TRANSLATED DOCUMENT_ROOT REQUEST_URI REQUEST_METHOD \
    QUERY_STRING REMOTE_USER REMOTE_ADDR REMOTE_HOST REMOTE_PORT REMOTE_IDENT AUTH_TYPE SERVER_NAME SERVER_PORT SERVER_ADDR \
    SERVER_PROTOCOL GATEWAY_INTERFACE HTTPS Proxy Daphne-Root-Path X-Script-Name X-Forwarded-Script-Name X-Vhm-Root \
    X-Traversal-Path X-Request-Base X-Forwarded X-Forwarded-Prefix X-Forwarded-Path X-Forwarded-Uri X-Forwarded-Method \
    X-Forwarded-Server X-Forwarded-Scheme X-Forwarded-Protocol X-Forwarded-Ssl X-Forwarded-Client-Cert Forwarded \
    Forwarded-For X-Real-IP X-Original-URL X-Original-URI X-Original-Method X-Original-Host X-Original-For X-Rewrite-URL \
    X-HTTP-Method X-HTTP-Method-Override X-Method-Override X-HTTP-Host-Override X-Host X-Scheme X-URL-Scheme X-Https \
    Front-End-Https X-Sendfile-Type X-Accel-Mapping X-Accel-Redirect X-ProxyUser-Ip X-Client-IP X-Cluster-Client-Ip \
    Client-IP Proxy-Client-IP WL-Proxy-Client-IP WL-Proxy-Client-Cert WL-Proxy-SSL True-Client-IP CF-Connecting-IP \
    Fastly-Client-IP X-Originating-IP X-Remote-Addr X-Remote-User X-Custom-IP-Authorization Base-URL Proxy-Host Request-Uri \
    SSL_CLIENT_CERT SSL_CLIENT_VERIFY SSL_CLIENT_S_DN SSL-Client-Subject-DN X-SSL-Client-Cert X-SSL-Client-S-DN Client-Cert \
    Client-Cert-Chain X-Client-Cert X-Client-Certificate X-ClientCert X-ARR-ClientCert X-ARR-SSL X-Amzn-Mtls-Clientcert \
    X-Iis-WindowsAuthToken MS-ASPNETCORE-CLIENTCERT MS-ASPNETCORE-WINAUTHTOKEN MS-ASPNETCORE-TOKEN X-MS-Client-Principal \
    X-MS-Client-Principal-Name X-WAWS-Unencoded-URL Unencoded-URL X-Proxied-Https Proxy-Auth-Cert $WSRU $WSRA $WSCC $WSSN \
    HTTP_CLIENT_IP HTTP_X_FORWARDED_FOR Impersonate-User X-Envoy-Original-Path X-Middleware-Subrequest X-Matched-Path \
    X-WebAuth-User X-Auth-Request-User X-Consumer-Username Tailscale-User-Login OIDC_CLAIM_sub Shib-Session-ID";

/// What clients rightly send: it passes.
const USED_BY_CLIENTS: [&str; 15] = [
    "Accept-Language",
    "Cookie",
    "Depth",
    "Destination",
    "HTTP-Referer",
    "If-Match",
    "Lock-Token",
    "Overwrite",
    "Prefer",
    "Referer",
    "Timeout",
    "X-Auth-Token",
    "X-CSRF-Token",
    "X-Requested-With",
    "x-ms-client-request-id",
];

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::start)
}

/// Every listed name in every spelling that a server may take for it.
fn forged_names() -> Vec<String> {
    let listed =
        SPOOFABLE_HEADERS.iter().flat_map(|(_, names)| *names).map(|name| match name.strip_prefix('-') {
            Some(rest) => format!("${rest}"),
            None => name.replace('*', "anything"),
        });
    let mut names = Vec::new();
    for name in listed.chain(SEEN_IN_SERVERS.split_whitespace().map(str::to_owned)) {
        let plain = name.replace('_', "-");
        let (under, dots) = (plain.replace('-', "_"), plain.replace('-', "."));
        let mixed = plain.replacen('-', "_", 1);
        names.extend([
            plain.to_lowercase(),
            plain.to_uppercase(),
            under.to_lowercase(),
            under.to_uppercase(),
            dots.to_lowercase(),
            mixed,
            plain.replace('-', "~"),
        ]);
    }
    names.sort();
    names.dedup();
    assert!(names.len() > 1500, "{}", names.len());
    names
}

/// In numbers that the limits on headers and trailers allow.
fn batches(names: &[String]) -> impl Iterator<Item = &[String]> {
    names.chunks(30)
}

#[track_caller]
fn assert_not_forged(seen: &Recorded) {
    for (name, value) in seen.headers.iter().chain(&seen.trailers) {
        assert!(find(value, b"forged").is_none(), "{name} came through: {seen:?}");
    }
}

#[track_caller]
fn assert_not_forged_in_http_2(seen: &Seen) {
    for (name, value) in seen.head.headers.iter().chain(seen.trailers.iter().flatten()) {
        assert!(find(value.as_bytes(), b"forged").is_none(), "{name} came through: {seen:?}");
    }
}

#[test]
fn case_92_no_header_that_servers_believe_reaches_the_upstream() {
    for names in batches(&forged_names()) {
        let mut request = stage().request("GET", "/v1/projects/e1/x");
        for name in names {
            request = request.header(name, "forged");
        }
        assert_not_forged(&stage().passes(request));
    }
    // nor where no key is needed
    for names in batches(&forged_names()) {
        let mut request = Request::get("/healthz");
        for name in names {
            request = request.header(name, "forged");
        }
        assert_not_forged(&stage().passes(request));
    }
}

#[test]
fn case_92_what_clients_use_passes() {
    let mut request = stage().request("GET", "/v1/projects/e1/x");
    for name in USED_BY_CLIENTS {
        request = request.header(name, "theirs");
    }
    let seen = stage().passes(request);
    for name in USED_BY_CLIENTS {
        assert_eq!(seen.all(name), ["theirs"], "{name} in {seen:?}");
    }
}

#[test]
fn case_92_no_trailer_that_servers_believe_reaches_the_upstream() {
    for names in batches(&forged_names()) {
        let mark = marker();
        let head =
            stage().request("POST", "/v1/projects/e1/x").mark(&mark).header("Transfer-Encoding", "chunked");
        let trailers = format!("{}: forged\r\n", names.join(": forged\r\n"));
        let request = [head.end(), b"0\r\nX-Checksum: kept\r\n".to_vec(), trailers.into(), b"\r\n".to_vec()];
        assert_eq!(stage().gateway.exchange(request.concat()).status, 200);
        let seen = stage().upstream.only(&mark);
        assert_eq!(seen.all_trailers("X-Checksum"), ["kept"], "{seen:?}");
        assert_not_forged(&seen);
    }
}

/// Sends the names as headers and again as trailers over HTTP/2.
fn send_by_http_2(
    client: &mut RawHttp2,
    stream: u32,
    stage: &Stage,
    path: &str,
    mark: &str,
    names: &[String],
) {
    let authorization = stage.e1.authorization();
    // upper case is malformed in HTTP/2
    let names: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let forged = names.iter().map(|name| (name.as_bytes(), &b"forged"[..]));
    let mut head: Vec<(&[u8], &[u8])> = vec![
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"gw.test"),
        (b":path", path.as_bytes()),
        (b"authorization", authorization.as_bytes()),
        (b"x-marker", mark.as_bytes()),
    ];
    head.extend(forged.clone());
    client.headers(stream, &head, false).expect("an open connection");
    client.data(stream, b"body", false).expect("an open connection");
    let trailers: Vec<_> = std::iter::once((&b"x-checksum"[..], &b"kept"[..])).chain(forged).collect();
    client.headers(stream, &trailers, true).expect("an open connection");
    assert_eq!(client.outcome_of(stream), StreamOutcome::Status(200), "{names:?}");
}

#[test]
fn case_92_nor_over_http_2() {
    let mut client = RawHttp2::connect(stage().gateway.https());
    for (names, stream) in batches(&forged_names()).zip((1..).step_by(2)) {
        let mark = marker();
        send_by_http_2(&mut client, stream, stage(), "/v1/projects/e1/x", &mark, names);
        let seen = stage().upstream.only(&mark);
        assert_eq!(seen.all_trailers("X-Checksum"), ["kept"], "{seen:?}");
        assert_not_forged(&seen);
    }
}

#[test]
fn case_92_nor_to_an_upstream_that_speaks_http_2() {
    let upstream = Http2Upstream::start(None);
    let entry = format!("  api: {{ endpoints: [\"http://{}\"], protocol: http2 }}\n", upstream.address());
    let stage = Stage::with(|plan| plan.upstreams(&entry));
    let mut client = RawHttp2::connect(stage.gateway.https());
    for (names, stream) in batches(&forged_names()).zip((1..).step_by(2)) {
        let mark = marker();
        let path = format!("/v1/projects/e1/{mark}");
        send_by_http_2(&mut client, stream, &stage, &path, &mark, names);
        let seen = upstream.only(&mark);
        let trailers = seen.trailers.as_ref().expect("the harmless one");
        assert_eq!(trailers["x-checksum"], "kept", "{seen:?}");
        assert_not_forged_in_http_2(&seen);
    }
}

#[test]
fn the_document_on_headers_has_the_whole_table() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/headers.md");
    let text = fs::read_to_string(document).expect("it can be read");
    for (reader, names) in SPOOFABLE_HEADERS {
        let shown = names.iter().map(|name| match name.strip_prefix('-') {
            Some(rest) => format!("`${rest}`"),
            None => format!("`{name}`"),
        });
        let row = format!("| {reader} | {} |", shown.collect::<Vec<_>>().join(", "));
        assert!(text.lines().any(|line| line == row), "docs/headers.md lacks the row\n{row}");
    }
}
