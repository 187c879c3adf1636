use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};

use super::*;
use crate::cli::remote::credential::KeyArgument;

const PATIENCE: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    answer: Duration::from_millis(300),
    pause: Duration::from_secs(2),
};

/// A request as the server saw it: which connection it came on, its head, its body.
#[derive(Debug)]
struct Request {
    connection: usize,
    head: String,
    body: String,
}

/// A server that gives these answers one after another, and closes the connection after an answer that says so. An
/// empty answer is none: the connection stays open. The port is told before the answers are made.
fn server(answers: impl FnOnce(u16) -> Vec<String>) -> (u16, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = mpsc::channel();
    let answers = answers(port);
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        let mut silent = Vec::new();
        for (connection, stream) in listener.incoming().flatten().enumerate() {
            let mut reader = BufReader::new(stream);
            loop {
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                    head.push_str(&line);
                }
                if head.is_empty() {
                    break;
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let body = String::from_utf8(body).unwrap();
                seen.send(Request { connection, head, body }).ok();
                let answer = answers.next().unwrap_or_default();
                if answer.is_empty() {
                    silent.push(reader);
                    break;
                }
                reader.get_mut().write_all(answer.as_bytes()).ok();
                if answer.contains("Connection: close") {
                    break;
                }
            }
        }
    });
    (port, requests)
}

fn client(port: u16) -> Client {
    let origin: Origin = format!("http://127.0.0.1:{port}").parse().unwrap();
    let given: KeyArgument = "pca_x:hush-hush".parse().unwrap();
    let credential = Credential::find(Some(&given), &origin).unwrap();
    Client::new(origin, credential, None, PATIENCE).unwrap()
}

fn answer(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len())
}

fn found() -> String {
    answer("200 OK", "ETag: \"7\"\r\n", "{\"type\":\"apiVersion\"}")
}

fn busy(status: &str, after: &str) -> String {
    answer(status, &format!("Retry-After: {after}\r\n"), "{\"type\":\"error\",\"detail\":\"wait\"}")
}

#[test]
fn one_connection_carries_all_requests_and_is_replaced_where_the_server_has_closed_it() {
    let closing = answer("200 OK", "Connection: close\r\n", "{\"type\":\"apiVersion\"}");
    let (port, requests) = server(|_| vec![found(), closing, found()]);
    let mut client = client(port);
    for _ in 0..3 {
        client.get("/v2-beta").unwrap();
    }
    let seen: Vec<_> = requests.try_iter().collect();
    assert_eq!(seen.iter().map(|request| request.connection).collect::<Vec<_>>(), [0, 0, 1]);
    for request in seen {
        let head = request.head.to_ascii_lowercase();
        assert!(head.starts_with("get /v2-beta http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{head}");
        assert!(request.head.contains("Basic cGNhX3g6aHVzaC1odXNo\r\n"), "{head}");
    }
}

#[test]
fn what_is_busy_is_asked_again_a_few_times_with_the_same_body() {
    let (port, requests) =
        server(|_| vec![busy("503 x", "0"), busy("429 x", "0"), busy("503 x", "1"), found()]);
    let body = Body::json(&serde_json::json!({ "name": "ci" }));
    let answer = client(port).send(&Method::POST, "/v2-beta/apikeys", Some(&body)).unwrap();
    assert_eq!(answer.number, Some(ChangeNumber(7)));
    let bodies: Vec<_> = requests.try_iter().map(|request| request.body).collect();
    assert_eq!(bodies, ["{\"name\":\"ci\"}"; 4]);

    let (port, requests) = server(|_| vec![busy("503 x", "0"); 9]);
    let error = client(port).get("/v2-beta").unwrap_err();
    assert!(matches!(error, RemoteError::Busy { status: 503, .. }), "{error}");
    assert_eq!(requests.try_iter().count(), 4);

    let (port, requests) = server(|_| vec![busy("429 x", "3600"); 2]);
    let error = client(port).get("/v2-beta").unwrap_err();
    assert!(error.to_string().contains("wait: try again in 3600s"), "{error}");
    assert_eq!(requests.try_iter().count(), 1);
}

#[test]
fn what_is_not_said_to_be_worth_another_try_is_not_done_twice() {
    let unsure = "{\"type\":\"error\",\"code\":\"Service Unavailable\",\"detail\":\"it may have been made\"}";
    let (port, requests) = server(|_| vec![answer("503 x", "", unsure), found()]);
    let error = client(port).send(&Method::POST, "/v2-beta/apikeys", None).unwrap_err();
    assert!(error.to_string().contains("it may have been made"), "{error}");
    assert_eq!(requests.try_iter().count(), 1);
}

#[test]
fn a_server_that_is_silent_is_given_up_and_a_change_is_said_to_be_uncertain() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_owned();
    for answers in [vec![], vec![half]] {
        let (port, requests) = server(|_| answers);
        let mut client = client(port);
        let error = client.get("/v2-beta").unwrap_err();
        assert!(matches!(error, RemoteError::Slow { is_change: false, .. }), "{error}");
        let error = client.send(&Method::DELETE, "/v2-beta/apikeys/1c5", None).unwrap_err();
        assert!(matches!(error, RemoteError::Slow { .. }), "{error}");
        assert!(error.to_string().contains("whether the change was made is not known"), "{error}");
        assert_eq!(requests.try_iter().map(|request| request.connection).collect::<Vec<_>>(), [0, 1]);
    }
}

#[test]
fn a_change_whose_answer_is_lost_is_not_sent_again() {
    let lost = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 99\r\n\r\n{".to_owned();
    let (port, requests) = server(|_| vec![found(), lost]);
    let mut client = client(port);
    client.get("/v2-beta").unwrap();
    let error = client.send(&Method::POST, "/v2-beta/apikeys", None).unwrap_err();
    assert!(matches!(error, RemoteError::Broken { is_change: true, .. }), "{error}");
    assert_eq!(requests.try_iter().count(), 2);
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let endless = answer("200 OK", "", &"x".repeat(MAX_ANSWER_BYTES + 1));
    let (port, _requests) = server(|_| vec![endless]);
    let mut client = client(port);
    client.timeouts.answer = Duration::from_secs(30);
    let error = client.get("/v2-beta").unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { .. }), "{error}");
}

#[test]
fn a_list_is_followed_on_this_server_only_and_never_in_a_circle() {
    let page = |next: &str| {
        let next = if next.is_empty() { "null".to_owned() } else { format!("\"{next}\"") };
        let body =
            format!(r#"{{"type":"collection","data":[{{"type":"x"}}],"pagination":{{"next":{next}}}}}"#);
        answer("200 OK", "", &body)
    };
    let walk = |next: &dyn Fn(u16) -> String| {
        let (port, requests) = server(|port| vec![page(&next(port)), page("")]);
        let mut items = 0;
        let walked = client(port).pages("/v2-beta/apikeys".to_owned(), |page, _| {
            items += page.len();
            Ok(ControlFlow::Continue(()))
        });
        (walked.map_err(|error| error.to_string()), items, requests.try_iter().count())
    };
    let here = |port| format!("http://127.0.0.1:{port}/v2-beta/apikeys?marker=m");
    assert_eq!(walk(&here), (Ok(()), 2, 2));
    let elsewhere = |port| format!("http://127.0.0.2:{port}/v2-beta/apikeys?marker=m");
    let itself = |port| format!("http://127.0.0.1:{port}/v2-beta/apikeys");
    for next in [&elsewhere as &dyn Fn(u16) -> String, &itself] {
        let (walked, _, requests) = walk(next);
        assert!(walked.unwrap_err().contains("not on this server"));
        assert_eq!(requests, 1);
    }
}

#[test]
fn no_text_of_the_servers_shows_the_secret_or_drives_the_terminal() {
    let detail = "Basic cGNhX3g6aHVzaC1odXNo is hush-hush\\u001b[2J\\u009b1m\\u202e\\nx";
    let body =
        format!("{{\"type\":\"error\",\"code\":\"hush-hush\",\"detail\":\"{detail}{}\"}}", "y".repeat(9999));
    for status in ["400 x", "403 x", "404 x", "405 x", "412 x", "422 x", "429 x", "500 x", "503 x"] {
        let refused = answer(status, "Retry-After: 99\r\n", &body);
        let (port, _requests) = server(|_| vec![refused]);
        let error = client(port).get("/v2-beta").unwrap_err().to_string();
        assert!(!error.contains("hush") && !error.contains("cGNhX3g6") && error.len() < 800, "{error}");
        assert!(!error.contains(|c: char| c.is_control() || c == '\u{202e}'), "{error:?}");
    }
    let redirect = answer("302 x", "Location: http://hush-hush/\r\n", "");
    let (port, requests) = server(|_| vec![redirect]);
    let error = client(port).get("/v2-beta").unwrap_err().to_string();
    assert!(error.contains("redirect (302) to http://…/, and none is followed"), "{error}");
    assert_eq!(requests.try_iter().count(), 1);
}
