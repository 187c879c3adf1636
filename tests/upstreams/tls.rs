//! Upstreams over TLS.

use super::*;

/// An HTTP/1.1 upstream in TLS that answers every request with `tls`.
fn tls_upstream(config: ServerConfig) -> RawUpstream {
    let config = Arc::new(config);
    RawUpstream::start(move |_, reader| {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        let mut reader = BufReader::new(StreamOwned::new(session, reader.into_inner()));
        loop {
            raw_upstream::head(&mut reader)?;
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntls")?;
            reader.get_mut().flush()?;
        }
    })
}

/// Two authorities, and a certificate of the first for `api.test`.
struct Authorities {
    trusted: Authority,
    other: Authority,
    _directories: [TempDir; 2],
}

impl Authorities {
    fn new() -> Self {
        let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        Self {
            trusted: Authority::new(directories[0].path()),
            other: Authority::new(directories[1].path()),
            _directories: directories,
        }
    }
}

fn tls_entry(port: u16, host: &str, rest: &str) -> String {
    format!("  api: {{ endpoints: [\"https://{host}:{port}\"], {rest} }}\n")
}

fn ask(upstreams: &str) -> Response {
    let stage = Stage::with(|plan| plan.upstreams(upstreams));
    stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").end())
}

#[test]
fn an_upstream_in_tls_must_show_a_certificate_of_the_given_authority() {
    let authorities = Authorities::new();
    let files = authorities.trusted.sign(&["api.test", "localhost"]);
    let upstream = tls_upstream(server(&files, &["http/1.1"]));
    let port = upstream.address().port();
    let trusted = authorities.trusted.file();
    let (trusted, other) = (trusted.display(), authorities.other.file());
    let other = other.display();

    let answer = ask(&tls_entry(port, "localhost", &format!("tls: {{ ca: \"{trusted}\" }}")));
    assert_eq!((answer.status, answer.text().as_str()), (200, "tls"));
    let named = format!("tls: {{ ca: \"{trusted}\", server_name: api.test }}");
    assert_eq!(ask(&tls_entry(port, "127.0.0.1", &named)).status, 200, "by the name that is given");

    ask(&tls_entry(port, "localhost", &format!("tls: {{ ca: \"{other}\" }}"))).assert_refused(502);
    ask(&tls_entry(port, "localhost", "protocol: http1")).assert_refused(502); // the system's roots
    let misnamed = format!("tls: {{ ca: \"{trusted}\", server_name: evil.test }}");
    ask(&tls_entry(port, "localhost", &misnamed)).assert_refused(502);
    ask(&tls_entry(port, "127.0.0.1", &format!("tls: {{ ca: \"{trusted}\" }}"))).assert_refused(502);
}

#[test]
fn a_new_authority_is_trusted_once_it_is_in_the_file() {
    let authorities = Authorities::new();
    let upstream = tls_upstream(server(&authorities.other.sign(&["localhost"]), &["http/1.1"]));
    let file = authorities.trusted.file();
    let rest = format!("ejection: off, tls: {{ ca: \"{}\" }}", file.display());
    let stage = Stage::with(|plan| plan.upstreams(&tls_entry(upstream.address().port(), "localhost", &rest)));
    let ask = || stage.gateway.exchange(stage.request("GET", "/v1/projects/e1/x").end()).status;
    assert_eq!(ask(), 502);
    let former = std::fs::read(&file).expect("the authority's certificate");
    let both = [&former[..], b"-----BEGIN CERTIFICATE-----\n"].concat();
    std::fs::write(&file, &both).expect("half a file");
    wait_for(PATIENCE, "it is told", || stage.gateway.log().contains("cannot be used"));
    let other = std::fs::read(authorities.other.file()).expect("the authority's certificate");
    std::fs::write(&file, [former, other].concat()).expect("the whole file");
    wait_for(PATIENCE, "the upstream is trusted", || ask() == 200);
}

#[test]
fn a_plain_upstream_where_tls_is_wanted_is_502() {
    let upstream = RawUpstream::start(|_, mut reader| {
        reader.fill_buf()?;
        reader.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    });
    let authorities = Authorities::new();
    let rest = format!("tls: {{ ca: \"{}\" }}", authorities.trusted.file().display());
    ask(&tls_entry(upstream.address().port(), "localhost", &rest)).assert_refused(502);
}

#[test]
fn bytes_behind_an_answer_in_tls_are_no_answer_to_the_next_request() {
    let authorities = Authorities::new();
    let files = authorities.trusted.sign(&["localhost"]);
    let config = Arc::new(server(&files, &["http/1.1"]));
    let upstream = RawUpstream::start(move |_, reader| {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        let mut reader = BufReader::new(StreamOwned::new(session, reader.into_inner()));
        loop {
            raw_upstream::head(&mut reader)?;
            // the gateway's first read ends where the answer does; the rest of the TLS record stays inside of TLS
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: ".to_vec();
            let head = answer.len() + 8;
            answer.extend_from_slice(format!("{}\r\n\r\n", 8192 - head).as_bytes());
            answer.resize(8192, b'a');
            answer.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled");
            reader.get_mut().write_all(&answer)?;
            reader.get_mut().flush()?;
        }
    });
    let rest = format!("tls: {{ ca: \"{}\" }}", authorities.trusted.file().display());
    let entry = tls_entry(upstream.address().port(), "localhost", &rest);
    let stage = Stage::with(|plan| plan.upstreams(&entry));
    let mut client = stage.gateway.connect();
    for _ in 0..3 {
        client.send(stage.request("GET", "/v1/projects/e1/x").end());
        let answer = client.read();
        assert!(answer.body.starts_with(b"aaa"), "{}", answer.text());
    }
}

#[test]
fn an_http2_upstream_in_tls_is_agreed_on_by_alpn() {
    let authorities = Authorities::new();
    let files = authorities.trusted.sign(&["localhost"]);
    let rest = format!("protocol: http2, tls: {{ ca: \"{}\" }}", authorities.trusted.file().display());
    let upstream = Http2Upstream::start(Some(server(&files, &["h2"])));
    let answer = ask(&tls_entry(upstream.address().port(), "localhost", &rest));
    assert_eq!((answer.status, answer.header("X-Upstream").as_deref()), (200, Some("http2")));
    // one that agrees on nothing, or on HTTP/1.1 only, is not what was asked for
    let upstream = tls_upstream(server(&files, &["http/1.1"]));
    ask(&tls_entry(upstream.address().port(), "localhost", &rest)).assert_refused(502);
}
