//! Large bodies between plain sockets go through pipes (splice): they arrive complete, whatever their length and
//! pace, and a body that breaks off is never taken for complete.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{OnceLock, mpsc};

use support::http1::Response;
use support::raw_upstream::{self, RawUpstream};
use support::stage::Stage;
use support::{PATIENCE, wait_for};

const TARGET: &str = "/v1/projects/e1/x";

/// Bytes that are different at every place, so that a piece that is lost, doubled or out of its turn is seen.
fn bytes(from: usize, count: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let all = BYTES.get_or_init(|| {
        (0..1_u64 << 20).flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
    });
    &all[from..from + count]
}

/// An upstream that answers GET with as many [`bytes`] as `X-Length` says, and anything else with what it was sent.
fn upstream() -> RawUpstream {
    RawUpstream::start(|_, mut reader| {
        loop {
            let lines = raw_upstream::head(&mut reader)?;
            let number = |name: &str| {
                let line = lines.iter().find_map(|line| line.strip_prefix(name));
                line.map_or(0, |value| value.parse::<usize>().expect("a number"))
            };
            let body = if lines[0].starts_with("GET ") {
                bytes(0, number("X-Length: ")).to_vec()
            } else {
                let mut body = vec![0; number("Content-Length: ")];
                reader.read_exact(&mut body)?;
                body
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            reader.get_mut().write_all(head.as_bytes())?;
            reader.get_mut().write_all(&body)?;
        }
    })
}

fn assert_same(found: &[u8], wanted: &[u8]) {
    if found != wanted {
        let first = found.iter().zip(wanted).position(|(found, wanted)| found != wanted);
        panic!("{} bytes of {}, the first that differs: {first:?}", found.len(), wanted.len());
    }
}

#[test]
fn bodies_of_all_lengths_arrive_as_they_were_sent() {
    let upstream = upstream();
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let mut client = stage.gateway.connect();
    // around what is copied, what goes through a pipe, what a pipe holds
    let lengths =
        [0, 1, 8_191, 65_535, 65_536, 65_537, 73_728, 131_072, 1_048_575, 1_048_576, 1_048_577, 5_000_001];
    for length in lengths {
        let get = stage.request("GET", TARGET).header("X-Length", length.to_string()).end();
        client.send(&get);
        let answer = client.read();
        assert_eq!(answer.status, 200);
        assert_same(&answer.body, bytes(0, length));

        let body = bytes(3, length);
        let put = stage.request("PUT", TARGET).body(body);
        client.send(&put);
        let answer = client.read();
        assert_eq!(answer.status, 200);
        assert_same(&answer.body, body);
    }
}

#[test]
fn more_slow_clients_than_pipes_get_their_bodies() {
    const CLIENTS: usize = 200;
    const LENGTH: usize = 5 << 20;
    let upstream = upstream();
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let get = stage.request("GET", TARGET).header("X-Length", LENGTH.to_string()).end();
    let before = pipes_of(stage.gateway.pid());
    let mut clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut tcp = TcpStream::connect(stage.gateway.http()).expect("connect");
            tcp.set_read_timeout(Some(PATIENCE)).expect("a socket option");
            tcp.write_all(&get).expect("send");
            tcp
        })
        .collect();
    // all of them are held up before anybody reads: the heads are there
    for tcp in &clients {
        wait_for(PATIENCE, "the answer has begun", || tcp.peek(&mut [0; 512]).is_ok_and(|count| count > 100));
    }
    let pipes = pipes_of(stage.gateway.pid()) - before;
    assert!((1..=2 * 64).contains(&pipes), "{pipes} pipes of two workers");
    let wanted = bytes(0, LENGTH);
    for tcp in &mut clients {
        let mut answer = [0; 200];
        let mut came = 0;
        while !answer[..came].windows(4).any(|end| end == b"\r\n\r\n") {
            came += tcp.read(&mut answer[came..]).expect("the head");
        }
        let head = answer[..came].windows(4).position(|end| end == b"\r\n\r\n").expect("found") + 4;
        let mut body = answer[head..came].to_vec();
        body.resize(LENGTH, 0);
        tcp.read_exact(&mut body[came - head..]).expect("the whole body");
        assert_same(&body, wanted);
    }
}

/// How many pipes a process has open, about.
fn pipes_of(pid: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its open files");
    let names = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let ends = names.filter(|name| name.to_string_lossy().starts_with("pipe:")).count();
    ends / 2
}

#[test]
fn a_body_that_breaks_off_is_not_taken_for_whole() {
    let upstream = RawUpstream::start(|_, mut reader| {
        raw_upstream::head(&mut reader)?;
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
        reader.get_mut().write_all(bytes(0, 900_000))
    });
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let mut client = stage.gateway.connect();
    client.send(stage.request("GET", TARGET).end());
    assert!(client.try_read(false, PATIENCE).is_err(), "900,000 bytes are no answer of 1,000,000");
    // the connection ended with it
    assert!(client.ends_within(PATIENCE));
}

#[test]
fn a_client_that_goes_away_ends_the_upload() {
    let (tell, told) = mpsc::channel();
    let upstream = RawUpstream::start(move |_, mut reader| {
        raw_upstream::head(&mut reader)?;
        let mut body = Vec::new();
        // an end before the announced length, or a reset
        let ended = reader.read_to_end(&mut body);
        tell.send((body.len(), ended.is_ok())).ok();
        Ok(())
    });
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let mut client = stage.gateway.connect();
    client.send(stage.request("PUT", TARGET).header("Content-Length", "1000000").end());
    client.send(bytes(0, 900_000));
    client.finish_sending();
    let (count, _) = told.recv_timeout(PATIENCE).expect("the upstream's connection ends");
    assert!(count <= 900_000, "{count} bytes");
}

#[test]
fn a_key_that_is_deactivated_gets_no_more_of_a_large_body() {
    let upstream = RawUpstream::start(|_, mut reader| {
        raw_upstream::head(&mut reader)?;
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")?;
        let piece = bytes(0, 1 << 20);
        while reader.get_mut().write_all(piece).is_ok() {}
        Ok(())
    });
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let mut tcp = TcpStream::connect(stage.gateway.http()).expect("connect");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    tcp.write_all(&stage.request("GET", TARGET).end()).expect("send");
    raw_upstream::skip(&mut tcp, 50 << 20).expect("it flows");
    stage.gateway.succeed(&["key", "deactivate", &stage.e1.id]);
    // what the system holds for it still comes, then its end
    let mut rest = 0;
    let mut piece = vec![0; 1 << 20];
    while let Ok(count @ 1..) = tcp.read(&mut piece) {
        rest += count;
        assert!(rest < 64 << 20, "it goes on");
    }
}

#[test]
fn the_next_request_follows_right_after_an_upload() {
    let upstream = upstream();
    let stage = Stage::with(|plan| plan.upstreams(&upstream.entry("api")));
    let body = bytes(0, 300_000);
    let mut both = stage.request("PUT", TARGET).body(body);
    both.extend(stage.request("GET", TARGET).header("X-Length", "200000").end());
    let mut client = stage.gateway.connect();
    client.send(&both);
    let answers: [Response; 2] = [client.read(), client.read()];
    assert_same(&answers[0].body, body);
    assert_same(&answers[1].body, bytes(0, 200_000));
}
