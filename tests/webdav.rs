//! `WebDAV`: COPY and MOVE name a second path (case 93), and more methods than GET only read (case 95). The server is
//! rclone's, a client is cadaver: neither was made for these tests.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use support::cli::Key;
use support::gateway::{Gateway, Plan};
use support::http1::{Request, Response};
use support::stage::Stage;
use support::upstream::Upstream;
use support::{http2, marker};
use tempfile::TempDir;

const ROUTES: &str = r#"
  - path: /v1
    upstream: api
    environment: "/v1/projects/{environment}"
    account: allow
    shared: [/v1/schemas/**]
    owner_only: ["/v1/projects/{environment}/members/**"]
    selectors: { query: [projectId] }
    method_override: { query: [_method] }
  - path: /v1/elsewhere
    upstream: api
    account: allow
  - path: /open
    upstream: api
    access: public
    methods: [GET, COPY]
"#;

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| Stage::with(|plan| plan.routes(ROUTES)))
}

fn copy(method: &str, destination: &str) -> Request {
    Request::new(method, "/v1/projects/e1/mine").key(&stage().e1).header("Destination", destination)
}

#[test]
fn case_93_a_destination_in_the_own_environment_passes_as_it_came() {
    for method in ["COPY", "MOVE", "copy", "BIND"] {
        for destination in [
            "/v1/projects/e1/yours",
            "/v1/projects/e1/a%20b;c/x.y/",
            "/v1/projects/e1/x?version=2",
            "http://gw.test/v1/projects/e1/yours",
            "HTTP://GW.test:80/v1/projects/e1/yours",
        ] {
            let seen = stage().passes(
                Request::without_host(method, "/v1/projects/e1/mine")
                    .header("Host", "gw.test")
                    .key(&stage().e1)
                    .header("Destination", destination)
                    .header("Overwrite", "F"),
            );
            assert_eq!(seen.all("Destination"), [destination], "{method}");
            assert_eq!(seen.header("Overwrite").as_deref(), Some("F"));
        }
    }
    // to ordinary methods it is an ordinary header
    let seen = stage().passes(
        Request::new("POST", "/v1/projects/e1/flights").key(&stage().e1).header("Destination", "Lisbon"),
    );
    assert_eq!(seen.header("Destination").as_deref(), Some("Lisbon"));
}

#[test]
fn case_93_a_destination_elsewhere_is_forbidden() {
    for method in ["COPY", "MOVE", "move", "BIND", "PROPFIND"] {
        for destination in [
            "/v1/projects/e2/planted",
            "/v1/projects/E1/planted",
            "/v1/projects/unknown/x",
            "/v1/projects/",
            "/v1/projects",
            "/v1/schemas/x",
            "/v1/elsewhere/x",
            "/nowhere",
            "/open",
            "/",
            "/v1/projects/e1/x?projectId=e2",
            "/v1/other?projectId=e2",
            "/v1/projects/e1/members/9",
            "/v1/projects/e1",
        ] {
            stage().refuses(copy(method, destination), &[403]);
        }
    }
    let to_e2 = |key: &Key| {
        Request::new("COPY", "/v1/projects/e1/mine").key(key).header("Destination", "/v1/projects/e2/x")
    };
    // not even an admin goes from one environment to another: the upstream is told only one
    stage().refuses(to_e2(&stage().gateway.admin), &[403]);
    stage().refuses(to_e2(&stage().e2), &[403]);
    stage().refuses(
        Request::new("COPY", "/v1/projects/e1/mine").header("Destination", "/v1/projects/e2/x"),
        &[401],
    );
    // without a key: from a public path to one that is none
    stage().refuses(Request::new("COPY", "/open").header("Destination", "/v1/projects/e1/x"), &[403]);
    // the second path alone may lie in an environment, for whoever may write there
    let into = |key: &Key| {
        Request::new("COPY", "/v1/templates/x").key(key).header("Destination", "/v1/projects/e1/x")
    };
    stage().passes(into(&stage().gateway.admin));
    stage().refuses(into(&stage().e1), &[403]);
}

#[test]
fn case_93_a_destination_that_is_unclear_is_refused() {
    for method in ["COPY", "MOVE", "cOPY", "REBIND"] {
        for destination in [
            "",
            "mine",
            "*",
            "//v1/projects/e1/x",
            "//gw.test/v1/projects/e1/x",
            "http://other.test/v1/projects/e1/x",
            "https://gw.test/v1/projects/e1/x",
            "http://gw.test:8080/v1/projects/e1/x",
            "http://gw.test@other/v1/projects/e1/x",
            "http://user:word@gw.test/v1/projects/e1/x",
            "http:/v1/projects/e1/x",
            "ftp://gw.test/v1/projects/e1/x",
            "<http://gw.test/v1/projects/e1/x>",
            "http://gw.test?x",
            "/v1/projects/e1/../e2/x",
            "/v1/projects/e1/%2e%2e/e2/x",
            "/v1/projects/e1/..%2fe2/x",
            "/v1/projects/e1/x#/../e2",
            "/v1/projects/e1/..;/e2/x",
            "/v1//projects/e2/x",
            "/v1/projects/e2%2fx",
            "/v1/projects/%65%32/x",
            "/V1/projects/e2/x",
            "/v1/projects/e1/x, /v1/projects/e2/x",
            "/v1/projects/e1/x y",
            "/v1/projects/e1/x?_method=DELETE",
            "/v1/projects/e1/x?project%49d=e2",
            "/v1/projects/e1/x?projectId=e1&projectId=e2",
        ] {
            let request = Request::without_host(method, "/v1/projects/e1/mine")
                .header("Host", "gw.test")
                .key(&stage().e1)
                .header("Destination", destination);
            stage().refuses(request, &[400]);
        }
        let twice = copy(method, "/v1/projects/e1/x").header("destination", "/v1/projects/e2/x");
        stage().refuses(twice, &[400]);
        let dropped = copy(method, "/v1/projects/e1/x").header("Connection", "Destination");
        stage().refuses(dropped, &[400]);
    }
    for method in ["COPY", "MOVE", "copy"] {
        stage().refuses(Request::new(method, "/v1/projects/e1/mine").key(&stage().e1), &[400]);
    }
    // Apache's other name for it reaches nobody
    let seen = stage().passes(
        Request::new("BIND", "/v1/projects/e1/x").key(&stage().e1).header("New-URI", "/v1/projects/e2/x"),
    );
    assert_eq!(seen.header("New-URI"), None);
}

#[test]
fn case_93_a_destination_is_no_trailer() {
    let mark = marker();
    let head = Request::new("BIND", "/v1/projects/e1/x")
        .key(&stage().e1)
        .mark(&mark)
        .header("Transfer-Encoding", "chunked")
        .end();
    let trailers = b"1\r\nx\r\n0\r\nDestination: /v1/projects/e2/x\r\nNew-URI: /y\r\nX-Kept: 1\r\n\r\n";
    let answer = stage().gateway.exchange([head.as_slice(), trailers].concat());
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = stage().upstream.only(&mark);
    assert_eq!((seen.all_trailers("Destination").len(), seen.all_trailers("New-URI").len()), (0, 0));
    assert_eq!(seen.all_trailers("X-Kept"), ["1"]);
}

#[test]
fn case_93_a_destination_over_http_2_is_judged_alike() {
    for (destination, status) in [
        ("/v1/projects/e1/yours", 200),
        ("https://gw.test/v1/projects/e1/yours", 200),
        ("https://gw.test:443/v1/projects/e1/yours", 200),
        ("http://gw.test/v1/projects/e1/yours", 400),
        ("https://other.test/v1/projects/e1/yours", 400),
        ("/v1/projects/e1/../e2/x", 400),
        ("/v1/projects/e2/x", 403),
    ] {
        let (mark, authorization) = (marker(), stage().e1.authorization());
        let fields: [(&[u8], &[u8]); 7] = [
            (b":method", b"MOVE"),
            (b":scheme", b"https"),
            (b":authority", b"gw.test"),
            (b":path", b"/v1/projects/e1/mine"),
            (b"authorization", authorization.as_bytes()),
            (b"destination", destination.as_bytes()),
            (b"x-marker", mark.as_bytes()),
        ];
        let mut client = http2::RawHttp2::connect(stage().gateway.https());
        client.headers(1, &fields, true).expect("an open connection");
        assert_eq!(client.outcome_of(1), http2::StreamOutcome::Status(status), "{destination}");
        if status == 200 {
            assert_eq!(stage().upstream.only(&mark).all("Destination"), [destination]);
        } else {
            stage().upstream.assert_unseen(&mark, destination);
        }
    }
}

#[test]
fn case_93_behind_a_trusted_proxy_the_origin_is_the_one_that_it_names() {
    let stage = Stage::with(|plan| plan.routes(ROUTES).top("trusted_proxies: [127.0.0.0/8]"));
    let move_to = |destination: &str| {
        stage
            .request("MOVE", "/v1/projects/e1/mine")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "dav.example.com")
            .header("Destination", destination)
    };
    stage.passes(move_to("https://dav.example.com/v1/projects/e1/x"));
    stage.passes(move_to("https://DAV.example.com:443/v1/projects/e1/x"));
    stage.refuses(move_to("http://dav.example.com/v1/projects/e1/x"), &[400]);
    stage.refuses(move_to("https://dav.example.com:8443/v1/projects/e1/x"), &[400]);
    stage.refuses(move_to("https://dav.example.com/v1/projects/e2/x"), &[403]);
    // nobody else is believed
    let stranger = copy("MOVE", "https://dav.example.com/v1/projects/e1/x")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "dav.example.com");
    self::stage().refuses(stranger, &[400]);
}

/// rclone's `WebDAV` server over a folder with one file for each environment.
struct Rclone {
    child: Child,
    folder: TempDir,
    url: String,
}

impl Rclone {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for environment in ["e1", "e2"] {
            std::fs::create_dir(folder.path().join(environment)).expect("a folder");
            std::fs::write(folder.path().join(environment).join("mine"), environment).expect("a file");
        }
        let mut child = Command::new("rclone")
            .args([
                "serve",
                "webdav",
                "--addr",
                "127.0.0.1:0",
                "--baseurl",
                "/v1/projects",
                "--dir-cache-time",
                "0s",
            ])
            .arg(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rclone is installed");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("started on ").map(|(_, url)| url.trim().to_owned()))
            .expect("rclone says where it serves");
        std::thread::spawn(move || lines.for_each(drop));
        let url = url.strip_suffix("/v1/projects/").expect("the base of it").to_owned();
        Self { child, folder, url }
    }

    fn gateway(&self) -> (Gateway, Key, Key) {
        let upstream = format!("  api: {{ endpoints: [\"{}\"] }}\n", self.url);
        let site = Plan::new(&Upstream::start()).routes(ROUTES).upstreams(&upstream).prepare();
        site.create_environment("e1");
        site.create_environment("e2");
        let account = site.create_account("reader", "user");
        site.add_member("e1", &account, "readonly");
        let (e1, reader) = (site.create_environment_key("e1"), site.create_account_key(&account));
        (site.start(), e1, reader)
    }

    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join(file)).ok()
    }
}

impl Drop for Rclone {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn case_93_rclones_server_copies_nothing_into_another_environment() {
    let rclone = Rclone::start();
    let (gateway, e1, _) = rclone.gateway();
    let send = |method: &str, destination: &str| -> Response {
        let request =
            Request::new(method, "/v1/projects/e1/mine").key(&e1).header("Destination", destination);
        gateway.exchange(request.header("Overwrite", "T").end())
    };
    for method in ["COPY", "MOVE"] {
        assert_eq!(send(method, "/v1/projects/e2/planted").status, 403);
        assert_eq!(send(method, "/v1/projects/e2/mine").status, 403);
        assert_eq!(send(method, "/v1/projects/e1/../e2/mine").status, 400);
    }
    assert_eq!((rclone.read("e2/planted"), rclone.read("e2/mine").as_deref()), (None, Some("e2")));
    let absolute = format!("http://{}/v1/projects/e1/second", gateway.http());
    assert_eq!(send("COPY", "/v1/projects/e1/first").status, 201);
    let request =
        Request::without_host("MOVE", "/v1/projects/e1/first").header("Host", gateway.http().to_string());
    let answer = gateway.exchange(request.key(&e1).header("Destination", absolute).end());
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!((rclone.read("e1/first"), rclone.read("e1/second").as_deref()), (None, Some("e1")));
}

/// Runs cadaver with these commands; what it says.
fn cadaver(home: &Path, url: &str, commands: &str) -> String {
    let mut child = Command::new("cadaver")
        .arg(url)
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cadaver is installed");
    child.stdin.take().expect("a pipe").write_all(commands.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn case_95_cadaver_reads_with_a_readonly_members_key_from_the_root_of_an_environment_on() {
    let rclone = Rclone::start();
    let (gateway, e1, reader) = rclone.gateway();
    for (key, may_write) in [(&e1, true), (&reader, false)] {
        let home = tempfile::tempdir().expect("a folder");
        let netrc = format!("machine 127.0.0.1 login {} password {}\n", key.access_key, key.secret);
        std::fs::write(home.path().join(".netrc"), netrc).expect("a file");
        std::fs::write(home.path().join("new"), "new").expect("a file");
        let url = format!("http://{}/v1/projects/e1/", gateway.http());
        let said = cadaver(home.path(), &url, "ls\nget mine got\nput new\nquit\n");
        assert!(said.contains("mine"), "the root cannot be listed:\n{said}");
        let got = std::fs::read_to_string(home.path().join("got"));
        assert_eq!(got.ok().as_deref(), Some("e1"), "{said}");
        assert_eq!(rclone.read("e1/new").is_some(), may_write, "{said}");
        std::fs::remove_file(rclone.folder.path().join("e1/new")).ok();
    }
}

#[test]
fn case_95_reading_is_every_safe_method() {
    let (stage, reader) = {
        let site_stage = stage();
        let account = site_stage.gateway.create_account("reader", "user");
        site_stage.gateway.add_member("e1", &account, "readonly");
        (site_stage, site_stage.gateway.create_account_key(&account))
    };
    for method in ["GET", "HEAD", "OPTIONS", "PROPFIND", "QUERY", "REPORT", "SEARCH"] {
        for target in [
            "/v1/projects/e1",
            "/v1/projects/e1/",
            "/v1/projects/e1/x",
            "/v1/projects/e1/members/1",
            "/v1/schemas/x",
        ] {
            stage.passes(Request::new(method, target).key(&reader));
            stage.passes(Request::new(method, target).key(&stage.e1));
        }
        stage.refuses(Request::new(method, "/v1/projects/e2/x").key(&reader), &[403]);
        stage.refuses(Request::new(method, "/v1/projects/e1/x"), &[401]);
    }
    for method in [
        "propfind",
        "PROPPATCH",
        "MKCOL",
        "LOCK",
        "UNLOCK",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "ACL",
        "CHECKOUT",
    ] {
        stage.refuses(Request::new(method, "/v1/projects/e1/x").key(&reader), &[403]);
        stage.refuses(Request::new(method, "/v1/projects/e1").key(&stage.e1), &[403]);
        stage.refuses(Request::new(method, "/v1/schemas/x").key(&stage.e1), &[403]);
    }
    // a public path is still read by GET and HEAD alone, unless it says more
    stage.refuses(Request::new("PROPFIND", "/open"), &[401]);
}
