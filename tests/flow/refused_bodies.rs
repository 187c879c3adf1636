//! Clients that still send when they have been refused, case 114.

use super::*;

/// A gateway for refusals, in front of an upstream that must see none of what is refused.
fn refusing() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        Stage::with(|plan| {
            plan.routes(
                "\n  - { path: /v1, upstream: api, environment: \"/v1/projects/{environment}\" }\n  - path: /small\n    \
                 upstream: api\n    access: public\n    methods: [POST, PUT]\n    body_bytes: 1KiB\n",
            )
        })
    })
}

/// What each refusal asks for, with a key or without: path, the key's use, status.
const REFUSALS: [(&str, bool, u16); 4] = [
    ("/v1/projects/e1/x", false, 401),
    ("/v1/projects/e2/x", true, 403),
    ("/nothing", true, 404),
    ("/small", false, 413),
];

#[test]
fn case_114_curl_and_wget_show_the_refusal_of_an_upload() {
    let stage = refusing();
    let directory = tempfile::tempdir().expect("a directory");
    let file = |size: usize| {
        let path = directory.path().join(size.to_string());
        std::fs::write(&path, vec![b'u'; size]).expect("a file");
        path.to_str().expect("a plain path").to_owned()
    };
    let (half_a_megabyte, three_megabytes) = (file(500_000), file(3_000_000));
    let authorization = format!("Authorization: {}", stage.e1.authorization());
    for (path, with_key, status) in REFUSALS {
        let plain = format!("http://{}{path}", stage.gateway.http());
        let secure = format!("https://localhost:{}{path}", stage.gateway.https().port());
        for (version, url, upload) in [
            ("--http2", &secure, &half_a_megabyte),
            ("--http2", &secure, &three_megabytes),
            ("--http2-prior-knowledge", &plain, &half_a_megabyte),
            ("--http1.1", &secure, &three_megabytes),
            ("--http1.1", &plain, &three_megabytes),
        ] {
            let about = format!("curl {version} {url} with {upload}");
            let mut curl = Command::new("curl");
            // without `Expect` it sends at once, as small uploads do anyway
            curl.args(["-sS", "-k", version, "--max-time", "30", "-H", "Expect:", "-T", upload]);
            curl.args(["-o", "-", "-w", "\n%{http_code}"]);
            if with_key {
                curl.args(["-H", &authorization]);
            }
            let output = curl.arg(url).output().expect("curl can be started");
            let said = String::from_utf8_lossy(&output.stdout);
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{about}: {said}\n{complaint}");
            assert!(said.ends_with(&format!("\n{status}")), "{about}: {said}\n{complaint}");
            assert!(said.contains("\"baseType\":\"error\""), "{about}: {said}");
        }
        for url in [&plain, &secure] {
            let mut wget = Command::new("wget");
            wget.args(["-nv", "-S", "--tries=1", "--no-check-certificate", "--content-on-error", "-O", "-"]);
            wget.args(["--timeout=30", "--post-file", &three_megabytes]);
            if with_key {
                wget.args(["--header", &authorization]);
            }
            let output = wget.arg(url).output().expect("wget can be started");
            let (said, log) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(log.contains(&format!("HTTP/1.1 {status} ")), "wget {url}: {log}");
            // wget leaves the body of a 401 that it has an answer to
            assert!(status == 401 || said.contains("\"baseType\":\"error\""), "wget {url}: {said}\n{log}");
        }
    }
    stage.upstream.assert_unseen("uuuuuuuuuu", "a refused upload");
}

#[test]
fn case_114_a_slow_sender_reads_its_refusal_at_the_end() {
    let stage = refusing();
    // longer in all than a silence may be
    let pieces = |send: &mut dyn FnMut(&[u8])| {
        for _ in 0..24 {
            send(&[b'u'; 16_000]);
            std::thread::sleep(Duration::from_millis(250));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = stage.gateway.connect();
            let request = Request::new("POST", "/v1/projects/e1/x").header("Content-Length", "384000").end();
            client.send(request);
            pieces(&mut |piece| client.try_send(piece).expect("the connection is open"));
            client.read().assert_refused(401);
            assert!(client.ends_within(PATIENCE));
        });
        scope.spawn(|| {
            let mut client = RawHttp2::connect(stage.gateway.https());
            client
                .headers(1, &unauthenticated("POST", b"/v1/projects/e1/x"), false)
                .expect("an open connection");
            pieces(&mut |piece| client.data(1, piece, false).expect("the connection is open"));
            client.data(1, b"", true).expect("the connection is open");
            assert_eq!(client.outcome_of(1), StreamOutcome::Status(401));
            // all was taken: nothing is left to be reset
            client.write(PING, 0, 0, &[7; 8]).expect("the connection is open");
            loop {
                let frame = client.read(PATIENCE).expect("an answer to the ping");
                assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
                if frame.kind == PING {
                    break;
                }
            }
        });
    });
    stage.upstream.assert_unseen("uuuuuuuuuu", "a refused upload");
}

/// Whether the program that listens at `local` still has its end of a connection from `remote`.
fn is_held(local: u16, remote: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells of its connections");
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    table.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        // what only the kernel still has belongs to no file
        columns.len() > 9
            && columns[1].ends_with(&local)
            && columns[2].ends_with(&remote)
            && columns[9] != "0"
    })
}

#[test]
fn case_114_the_body_of_a_refused_request_is_read_and_dropped_within_bounds() {
    let stage = refusing();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // endless
            let mut client = stage.gateway.connect();
            let request = Request::new("POST", "/v1/projects/e1/x").header("Transfer-Encoding", "chunked");
            client.send(request.end());
            let piece = [b"100000\r\n".as_slice(), &vec![b'u'; 1 << 20], b"\r\n"].concat();
            let mut sent = 0;
            while client.try_send(&piece).is_ok() {
                sent += 1;
                assert!(sent < 200, "the gateway reads {sent} MiB of a request that it has refused");
            }
        });
        scope.spawn(|| {
            // silent
            let mut client = stage.gateway.connect();
            let request = Request::new("POST", "/v1/projects/e1/x").header("Content-Length", "3000000").end();
            client.send(request);
            client.read().assert_refused(401);
            wait_for(PATIENCE, "a client that sends nothing more is not waited for", || {
                !is_held(stage.gateway.http().port(), client.local_address().port())
            });
        });
        scope.spawn(|| {
            // silent on a stream: it is reset without an error, and the connection goes on
            let mut client = RawHttp2::connect(stage.gateway.https());
            client
                .headers(1, &unauthenticated("POST", b"/v1/projects/e1/x"), false)
                .expect("an open connection");
            client.data(1, b"u", false).expect("an open connection");
            assert_eq!(client.outcome_of(1), StreamOutcome::Status(401));
            assert_eq!(client.outcome_of(1), StreamOutcome::Reset(0));
            client.headers(3, &unauthenticated("GET", b"/nothing"), true).expect("an open connection");
            assert_eq!(client.outcome_of(3), StreamOutcome::Status(404));
        });
    });
}
