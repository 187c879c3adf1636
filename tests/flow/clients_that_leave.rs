//! Clients that leave before the answer, case 113.

use super::*;

/// An upstream's answer that does not come: tells through the channel that the request came, and whether the gateway
/// ended the connection.
fn never() -> (Answer, mpsc::Receiver<bool>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let answer = Answer::after_body(move |_, conversation| {
        let tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
        tell.send(false).ok();
        tell.send(conversation.ends_within(PATIENCE)).ok();
        false
    });
    (answer, told)
}

#[test]
fn case_113_a_client_that_leaves_before_the_answer_ends_the_upstreams_request() {
    let stage = Stage::start();
    for how in [
        "closes",
        "ends its direction",
        "resets",
        "closes TLS",
        "closes HTTP/2",
        "sends half a request and closes",
    ] {
        for method in ["GET", "POST"] {
            let about = format!("a client that {how} after {method}");
            let path = format!("/v1/projects/e1/{}", marker());
            let (answer, told) = never();
            stage.upstream.answer(&path, answer);
            let request = stage.request(method, &path);
            let mut request = if method == "POST" { request.body("hello") } else { request.end() };
            if how.starts_with("sends half") {
                request.extend(stage.request("POST", &path).header("Content-Length", "5").end());
                request.extend(b"hell");
            }
            let came = || told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{about}: it does not come"));
            let mut half_open = None;
            if how == "closes HTTP/2" {
                let mut client = RawHttp2::connect(stage.gateway.https());
                let key = stage.e1.authorization();
                let mut fields = unauthenticated(method, path.as_bytes()).to_vec();
                fields.push((b"authorization", key.as_bytes()));
                client.headers(1, &fields, method == "GET").expect("an open connection");
                if method == "POST" {
                    client.data(1, b"hello", true).expect("an open connection");
                }
                came();
                drop(client);
            } else {
                let mut client = match how {
                    "closes TLS" => tls::connect(stage.gateway.https()),
                    _ => stage.gateway.connect(),
                };
                client.send(request);
                came();
                match how {
                    "ends its direction" => {
                        client.finish_sending();
                        half_open = Some(client);
                    }
                    "resets" => client.reset(),
                    _ => drop(client),
                }
            }
            assert!(came(), "{about}: the upstream works on");
            drop(half_open);
            let line = log_line(&stage, &path);
            assert!(line.contains("the client is gone"), "{about}: {line}");
        }
    }
}

#[test]
fn case_113_a_client_that_ends_its_direction_after_a_pipelined_request_has_not_left() {
    let stage = Stage::start();
    for next in ["GET", "POST", "chunked"] {
        let path = format!("/v1/projects/e1/{}", marker());
        let (tell, told) = mpsc::channel::<()>();
        let told = Mutex::new(told);
        stage.upstream.answer(
            &path,
            Answer::after_body(move |_, conversation| {
                told.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PATIENCE).ok();
                conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst").is_ok()
            }),
        );
        let mark = marker();
        let request =
            stage.request(if next == "GET" { "GET" } else { "POST" }, "/v1/projects/e1/next").mark(&mark);
        let request = match next {
            "GET" => request.end(),
            "POST" => request.body("hello"),
            _ => request.header("Transfer-Encoding", "chunked").raw("\r\n5\r\nhello\r\n0\r\n").end(),
        };
        let mut client = stage.gateway.connect();
        client.send([stage.request("GET", &path).end(), request].concat());
        client.finish_sending();
        let seen = stage.upstream.wait_for(&path);
        stays(Duration::from_millis(300), "the upstream works on", || {
            stage.upstream.is_open(seen.connection)
        });
        tell.send(()).expect("the upstream waits");
        assert_eq!(client.read().text(), "first", "{next}");
        assert_eq!(client.read().status, 200, "{next}");
        stage.upstream.only(&mark);
        assert!(client.ends_within(PATIENCE), "{next}");
    }
}
