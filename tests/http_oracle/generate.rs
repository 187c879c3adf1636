//! Generates HTTP/1.1 messages, mostly well-formed, and mutates them.

use crate::random::Random;

/// Text where readers disagree.
const AWKWARD: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"#",
    b"?",
    b"//",
    b"0",
    b"00",
    b"+",
    b"-",
    b"0x",
    b"_",
    b"chunked",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b" HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\r\n ",
    b"\r\n\t",
    b": ",
    b" :",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"ffffffffffffffff",
    b"10000000000000000",
];

const METHODS: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "PROPFIND",
    "get",
    "M-SEARCH",
    "X!#$%&'*+-.^_`|~",
];
const TARGETS: &[&str] = &[
    "/",
    "/a",
    "/v1/projects/e1/x",
    "/a?b=c&d",
    "/a/./b",
    "/%41",
    "/a;b=c",
    "/a?b?c",
    "/:@!$&'()*+,;=-._~",
    "//a",
    "/a//b",
    "http://h/",
    "http://h:80/a?b",
    "*",
    "/a{b}",
    "/a|b",
    "/a?{b}|^`",
    "/\u{e4}",
    "/a#b",
    "/a\"b",
    "/a<b>",
    "a",
];
const NAMES: &[&str] = &[
    "Host",
    "Accept",
    "X-Name",
    "x_name",
    "X.Name",
    "Cookie",
    "Te",
    "Trailer",
    "Expect",
    "Upgrade",
    "Keep-Alive",
    "A",
    "User-Agent",
    "Date",
    "Via",
    "X-!#$%&'*+-.^_`|~",
];
const VALUES: &[&str] = &[
    "",
    "a",
    "h",
    "a b",
    "\ta \t",
    "a,b",
    "\"a\\\"b\"",
    "a:b",
    "trailers",
    "100-continue",
    "\u{fc}",
    "close",
    "keep-alive",
    "x, close",
    "websocket",
    "  ",
    "a  b",
];

fn text<'t>(random: &mut Random, list: &[&'t str]) -> &'t str {
    list[random.below(list.len())]
}

fn push_field(out: &mut Vec<u8>, random: &mut Random) {
    let space = ["", " ", "  ", "\t"][random.below(4)];
    let line = format!("{}:{space}{}\r\n", text(random, NAMES), text(random, VALUES));
    out.extend_from_slice(line.as_bytes());
}

/// One to three requests of one connection.
pub(crate) fn requests(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..=random.below(3) {
        let version = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"][random.below(4)];
        let line = format!("{} {} {version}\r\n", text(random, METHODS), text(random, TARGETS));
        out.extend_from_slice(line.as_bytes());
        message(&mut out, random);
    }
    disturb(&mut out, random, 3);
    out
}

/// Up to two interim answers and the last one.
pub(crate) fn response(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..random.below(3) / 2 {
        out.extend_from_slice(
            ["HTTP/1.1 100 Continue\r\n", "HTTP/1.1 103 Early Hints\r\n"][random.below(2)].as_bytes(),
        );
        for _ in 0..random.below(2) {
            push_field(&mut out, random);
        }
        out.extend_from_slice(b"\r\n");
    }
    let status = [
        "200 OK",
        "200",
        "200 ",
        "404 Not Found",
        "204 No Content",
        "304 Not Modified",
        "500 \u{e4}",
        "999 x",
    ];
    let version = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"][random.below(4)];
    out.extend_from_slice(format!("{version} {}\r\n", text(random, &status)).as_bytes());
    message(&mut out, random);
    disturb(&mut out, random, 3);
    out
}

/// A request in chunks, or an answer in chunks behind `head`; the chunks are what is disturbed.
pub(crate) fn chunks(random: &mut Random, head: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    chunked(&mut body, random);
    disturb(&mut body, random, 4);
    let mut out = [head, b"Transfer-Encoding: chunked\r\n\r\n", &body].concat();
    if random.below(2) == 0 {
        out.extend_from_slice(b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    out
}

/// Fields, the empty line, and a body that the fields announce.
fn message(out: &mut Vec<u8>, random: &mut Random) {
    if random.below(8) > 0 {
        out.extend_from_slice(b"Host: h\r\n");
    }
    for _ in 0..random.below(4) {
        push_field(out, random);
    }
    match random.below(8) {
        0..=2 => out.extend_from_slice(b"\r\n"),
        3 | 4 => {
            let length = random.below(20);
            out.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
            out.extend(std::iter::repeat_n(b'b', length));
        }
        5 | 6 => {
            out.extend_from_slice(
                ["Transfer-Encoding: chunked\r\n\r\n", "transfer-encoding:Chunked \r\n\r\n"][random.below(2)]
                    .as_bytes(),
            );
            chunked(out, random);
        }
        _ => {
            let framing = [
                "Content-Length: 3\r\nContent-Length: 3\r\n",
                "Content-Length: 3, 3\r\n",
                "Content-Length: 03\r\n",
                "Content-Length: +3\r\n",
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                "Content-Length: \r\n",
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                "Transfer-Encoding: gzip, chunked\r\n",
                "Transfer-Encoding: chunked, identity\r\n",
                "Transfer-Encoding: identity\r\n",
                "Content-Length: 3\r\nContent-Length: 4\r\n",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding : chunked\r\n",
                "Content-Length: 18446744073709551616\r\n",
                "Content-Length: 3 3\r\n",
                "Transfer-Encoding: xchunked\r\n",
            ];
            out.extend_from_slice(format!("{}\r\n", text(random, &framing)).as_bytes());
            out.extend_from_slice(
                ["abc", "3\r\nabc\r\n0\r\n\r\n", "0\r\n\r\n", ""][random.below(4)].as_bytes(),
            );
        }
    }
}

fn chunked(out: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.below(4) {
        let size = 1 + random.below(20);
        let extension = ["", "", "", "", ";a", ";a=b", ";a=\"b;c\"", "; a = b", ";", "  "][random.below(10)];
        let digits =
            [format!("{size:x}"), format!("{size:X}"), format!("000{size:x}")][random.below(3)].clone();
        out.extend_from_slice(format!("{digits}{extension}\r\n").as_bytes());
        out.extend(std::iter::repeat_n(b'c', size));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(["0\r\n", "0\r\n", "000\r\n", "0;last\r\n"][random.below(4)].as_bytes());
    for _ in 0..random.below(3) {
        push_field(out, random);
    }
    out.extend_from_slice(b"\r\n");
}

/// Changes up to `most` places; two times in five none.
pub(crate) fn disturb(bytes: &mut Vec<u8>, random: &mut Random, most: usize) {
    if random.below(5) < 2 {
        return;
    }
    for _ in 0..=random.below(most) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(12)).min(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                drop(bytes.splice(to..to, piece));
            }
            3 => bytes.truncate(end),
            _ => {
                let piece = AWKWARD[random.below(AWKWARD.len())];
                drop(bytes.splice(at..at, piece.iter().copied()));
            }
        }
    }
}
