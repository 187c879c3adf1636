//! Header blocks (RFC 7541): as the h2 crate writes them, Huffman-coded and with references to its table, and by hand,
//! with everything that an encoder may do.

use http::{Method, Request, Uri};

use super::NUMBER;
use super::conversation::{CONTINUATION, HEADERS};
use crate::memory::{Memory, run_until_stuck};
use crate::random::Random;

const NAMES: &[&str] = &[
    "accept",
    "x-name",
    "cookie",
    "te",
    "content-type",
    "x_name",
    "user-agent",
    "host",
    "connection",
    "X-Upper",
    "a b",
    "content-length",
    "transfer-encoding",
    "keep-alive",
    "priority",
    "",
    ":path",
    ":odd",
    "x-\u{e4}",
    "expect",
];
const VALUES: &[&str] = &[
    "",
    "a",
    "trailers",
    "a=b; c=d",
    "h",
    " a",
    "a\r\nb",
    "a\u{0}",
    "3",
    "text/plain",
    "\u{fc}",
    "100-continue",
    "\ta",
];

/// The lines of one request's head, mostly well-formed.
pub(super) fn lines(random: &mut Random, number: u32) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut push = |name: &str, value: &str| lines.push((name.to_owned(), value.to_owned()));
    push(":method", ["GET", "POST", "PUT", "get", "CONNECT", "G T"][random.below(24).saturating_sub(18)]);
    push(":scheme", ["https", "http", "HTTPS", "a+b-c.1", "1a", ""][random.below(24).saturating_sub(18)]);
    push(":authority", ["h", "h:8080", "", "a@b"][random.below(16).saturating_sub(12)]);
    push(
        ":path",
        ["/", "/a?b=c", "/a#b", "*", "", "a", "/\u{e4}", "/a b", "/%41"][random.below(24).saturating_sub(15)],
    );
    // one of the four may be missing, twice, or late
    match random.below(24) {
        0 => drop(lines.remove(random.below(4))),
        1 => {
            let line = lines[random.below(4)].clone();
            lines.push(line);
        }
        2 => {
            let line = lines.remove(random.below(4));
            lines.push(("accept".to_owned(), "a".to_owned()));
            lines.push(line);
        }
        3 => lines.push((":protocol".to_owned(), "websocket".to_owned())),
        _ => {}
    }
    lines.push((NUMBER.to_owned(), number.to_string()));
    lines.extend(fields(random));
    lines
}

/// Up to three fields, one time in five with something that HTTP/2 does not have.
pub(super) fn fields(random: &mut Random) -> Vec<(String, String)> {
    let (names, values) = if random.below(5) == 0 { (NAMES.len(), VALUES.len()) } else { (8, 5) };
    (0..random.below(4))
        .map(|_| {
            let name = NAMES[random.below(names)];
            let value =
                if name == "te" && random.below(8) > 0 { "trailers" } else { VALUES[random.below(values)] };
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

/// An encoder that enters lines into the other side's table and names them from there, at random.
#[derive(Default)]
pub(super) struct Encoder {
    /// The newest first.
    entered: Vec<(String, String)>,
}

/// Entries of the static table that are of use here (RFC 7541, appendix A).
const STATIC: &[(usize, &str, &str)] = &[
    (2, ":method", "GET"),
    (3, ":method", "POST"),
    (4, ":path", "/"),
    (6, ":scheme", "http"),
    (7, ":scheme", "https"),
    (1, ":authority", ""),
    (19, "accept", ""),
    (28, "content-length", ""),
    (31, "content-type", ""),
    (32, "cookie", ""),
    (38, "host", ""),
    (58, "user-agent", ""),
    (57, "transfer-encoding", ""),
    (35, "expect", ""),
];

impl Encoder {
    pub(super) fn encode(&mut self, lines: &[(String, String)], random: &mut Random) -> Vec<u8> {
        let mut out = Vec::new();
        if random.below(12) == 0 {
            // a smaller table, and the usual one again: everything that was entered is gone
            integer(&mut out, 0x20, 5, 0);
            integer(&mut out, 0x20, 5, 4096);
            self.entered.clear();
        }
        for (name, value) in lines {
            let whole =
                STATIC.iter().find(|(_, known, with)| known == name && with == value && !value.is_empty());
            let entered = self.entered.iter().position(|(known, with)| known == name && with == value);
            match (entered, whole) {
                (Some(at), _) if random.below(4) > 0 => integer(&mut out, 0x80, 7, 62 + at),
                (_, Some((index, ..))) if random.below(4) > 0 => integer(&mut out, 0x80, 7, *index),
                _ => self.literal(&mut out, name, value, random),
            }
        }
        out
    }

    fn literal(&mut self, out: &mut Vec<u8>, name: &str, value: &str, random: &mut Random) {
        let by_name = self.entered.iter().position(|(known, _)| known == name).map(|at| 62 + at);
        let by_name =
            by_name.or(STATIC.iter().find(|(_, known, _)| *known == name).map(|(index, ..)| *index));
        let index = by_name.filter(|_| random.below(4) > 0).unwrap_or(0);
        let (first, prefix) = [(0x40, 6), (0x00, 4), (0x10, 4)][random.below(3)];
        integer(out, first, prefix, index);
        if index == 0 {
            string(out, name);
        }
        string(out, value);
        // well below what the table holds, so that nothing is dropped there
        if prefix == 6 && self.entered.len() < 60 {
            self.entered.insert(0, (name.to_owned(), value.to_owned()));
        }
    }
}

fn integer(out: &mut Vec<u8>, first: u8, prefix: u32, number: usize) {
    let most = (1usize << prefix) - 1;
    if number < most {
        out.push(first | u8::try_from(number).expect("below the prefix"));
        return;
    }
    out.push(first | u8::try_from(most).expect("a prefix of 7 bits at most"));
    let mut left = number - most;
    while left >= 128 {
        out.push(0x80 | u8::try_from(left & 0x7f).expect("7 bits"));
        left >>= 7;
    }
    out.push(u8::try_from(left).expect("7 bits"));
}

fn string(out: &mut Vec<u8>, text: &str) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// The blocks of `count` requests of one connection, as the h2 crate's client writes them.
pub(super) fn by_h2(random: &mut Random, count: usize) -> Vec<Vec<u8>> {
    let memory = Memory::open();
    let written = memory.clone();
    let requests: Vec<Request<()>> = (0..count).map(|number| request(random, number)).collect();
    let mut sending = Box::pin(async move {
        let Ok((client, connection)) = h2::client::handshake(memory).await else { return };
        let mut connection = Box::pin(connection);
        let mut client = client.ready().await.expect("the connection is open");
        for request in requests {
            let _ = client.send_request(request, true);
            // until it has nothing more to write
            std::future::poll_fn(|cx| {
                let _ = connection.as_mut().poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
            client = match client.ready().await {
                Ok(client) => client,
                Err(_) => return,
            };
        }
    });
    run_until_stuck(&mut sending);
    drop(sending);
    header_blocks(&written.take_written())
}

fn request(random: &mut Random, number: usize) -> Request<()> {
    let uri = ["https://h/", "https://h/a?b=c", "http://other:8080/v1/projects/e1", "https://h/%41"]
        [random.below(4)];
    let method = [Method::GET, Method::POST, Method::PUT, Method::OPTIONS][random.below(4)].clone();
    let mut request =
        Request::builder().method(method).uri(Uri::from_static(uri)).version(http::Version::HTTP_2);
    request = request.header(NUMBER, number);
    for _ in 0..random.below(5) {
        let name =
            ["accept", "x-name", "cookie", "content-type", "user-agent", "authorization"][random.below(6)];
        let value = [
            "",
            "a",
            "text/plain; charset=utf-8",
            "Mozilla/5.0 (X11)",
            "0123456789~!@#$%^&*()_+{}|",
            "\u{fc}\u{e4}",
        ];
        request = request.header(name, value[random.below(6)].as_bytes());
    }
    request.body(()).expect("the request is well-formed")
}

/// The payloads of the header frames in what a client wrote: none of them is padded, or larger than one frame.
fn header_blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &bytes[super::conversation::PREFACE.len().min(bytes.len())..];
    let mut blocks = Vec::new();
    while let Some((&[a, b, c, kind, ..], _)) = rest.split_first_chunk::<9>() {
        let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        assert_ne!(kind, CONTINUATION, "the heads are small");
        if kind == HEADERS {
            blocks.push(rest[9..end].to_vec());
        }
        rest = &rest[end..];
    }
    blocks
}
