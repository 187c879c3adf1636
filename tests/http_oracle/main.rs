//! hyper and h2 check `wire`: they must read whatever it accepts in the same way.
//!
//! The gateway reads HTTP with code of its own (`docs/decisions/0011-hyper-as-oracle.md` says why). Two readers that
//! disagree on where a request ends, or on what it says, are how requests are smuggled. So each run gives some 200,000
//! generated and mutated connections to both, and compares method, target, fields, body, trailers and end of each
//! message. What `wire` refuses and they take is allowed, and listed in [`differences`], which the documents repeat.
//!
//! `PORTCULLIS_CASES=10` tries ten times as many. A failure prints the connection as a byte string.

mod compare;
mod differences;
mod generate;
mod http2;
mod memory;
mod message;
#[path = "../support/random.rs"]
mod random;
mod read_by_hyper;
mod read_by_wire;

use std::collections::BTreeMap;

use differences::{DIFFERENCES, Difference, IN_CHUNKS, IN_HTTP2, IN_REQUESTS, IN_RESPONSES};
use http2::Conversation;
use message::{Message, Reading};
use random::Random;

/// How many times the usual number of connections is tried.
fn times() -> usize {
    std::env::var("PORTCULLIS_CASES").map_or(1, |times| times.parse().expect("PORTCULLIS_CASES is a number"))
}

/// How often each kind of difference was seen, with the first example of those that nobody lists.
#[derive(Default)]
struct Seen {
    known: BTreeMap<&'static str, usize>,
    unknown: BTreeMap<String, (usize, String)>,
}

impl Seen {
    /// Holds two readings of `input` against one another.
    fn compare(&mut self, input: &[u8], ours: &Reading, theirs: &[Message]) {
        if let Some(kind) = compare::differs(ours, theirs) {
            self.note(kind, || format!("b\"{}\"\nwire: {ours:#?}\nhyper: {theirs:#?}", input.escape_ascii()));
        }
    }

    fn note(&mut self, kind: String, example: impl FnOnce() -> String) {
        if let Some(known) = differences::known(&kind) {
            *self.known.entry(known.name).or_default() += 1;
        } else {
            self.unknown.entry(kind).or_insert_with(|| (0, example())).0 += 1;
        }
    }

    /// Fails where a difference was seen that is not in the list, or one of `expected` was not.
    fn judge(&self, expected: &[&str]) {
        for (kind, (count, example)) in &self.unknown {
            println!("{count} times: {kind}\n{example}\n");
        }
        let kinds: Vec<_> = self.unknown.keys().collect();
        assert!(kinds.is_empty(), "differences between wire and hyper that are not in the list: {kinds:#?}");
        let met: Vec<_> = self.known.keys().copied().collect();
        assert_eq!(met, expected, "the differences that were met: does the list still tell the truth?");
    }
}

fn piece(random: &mut Random) -> usize {
    if random.below(4) == 0 { 1 + random.below(7) } else { usize::MAX }
}

#[test]
fn requests_are_read_as_hyper_reads_them() {
    let (mut random, mut seen, mut whole) = (Random(0x5eed), Seen::default(), 0);
    for _ in 0..70_000 * times() {
        let input = generate::requests(&mut random);
        let ours = read_by_wire::requests(&input);
        whole += ours.messages.iter().filter(|message| message.is_whole).count();
        seen.compare(&input, &ours, &read_by_hyper::requests(&input, piece(&mut random)));
    }
    seen.judge(IN_REQUESTS);
    assert!(whole > 50_000 * times(), "only {whole} requests were read whole");
}

#[test]
fn responses_are_read_as_hyper_reads_them() {
    let (mut random, mut seen, mut whole) = (Random(0xbead), Seen::default(), 0);
    for _ in 0..60_000 * times() {
        let input = generate::response(&mut random);
        let method = ["GET", "HEAD"][random.below(4) / 3];
        let ours = read_by_wire::response(&input, method == "HEAD");
        whole += ours.messages.iter().filter(|message| message.is_whole).count();
        seen.compare(&input, &ours, &read_by_hyper::response(&input, method, piece(&mut random)).messages);
    }
    seen.judge(IN_RESPONSES);
    assert!(whole > 20_000 * times(), "only {whole} responses were read whole");
}

#[test]
fn chunks_are_read_as_hyper_reads_them() {
    let (mut random, mut seen, mut whole) = (Random(0xc4a2), Seen::default(), 0);
    for turn in 0..70_000 * times() {
        let ours = if turn % 2 == 0 {
            let input = generate::chunks(&mut random, b"POST / HTTP/1.1\r\nHost: h\r\n");
            let ours = read_by_wire::requests(&input);
            seen.compare(&input, &ours, &read_by_hyper::requests(&input, piece(&mut random)));
            ours
        } else {
            let input = generate::chunks(&mut random, b"HTTP/1.1 200 OK\r\n");
            let ours = read_by_wire::response(&input, false);
            seen.compare(&input, &ours, &read_by_hyper::response(&input, "GET", piece(&mut random)).messages);
            ours
        };
        whole += usize::from(ours.messages.first().is_some_and(|message| message.is_whole));
    }
    seen.judge(IN_CHUNKS);
    assert!(whole > 25_000 * times(), "only {whole} bodies were read whole");
}

#[test]
fn http2_is_read_as_h2_reads_it() {
    let (mut random, mut seen, mut whole) = (Random(0x42), Seen::default(), 0);
    for _ in 0..6_000 * times() {
        let conversation = Conversation::new(&mut random);
        let (ours, theirs) = http2::both(&conversation);
        whole += ours.requests.iter().filter(|served| served.message.is_whole).count();
        if let Some(kind) = http2::differs(&conversation, &ours, &theirs) {
            seen.note(kind, || format!("{conversation:?}\nwire: {ours:#?}\nh2: {theirs:#?}"));
        }
    }
    seen.judge(IN_HTTP2);
    assert!(whole > 8_000 * times(), "only {whole} requests were read whole");
}

/// The list in the documents is the list of the code.
#[test]
fn the_documents_name_every_difference() {
    let page = include_str!("../../docs/decisions/0011-hyper-as-oracle.md");
    let met = [IN_REQUESTS, IN_RESPONSES, IN_CHUNKS, IN_HTTP2].concat();
    for Difference { name, why } in DIFFERENCES {
        assert!(
            page.contains(&format!("| `{name}` | {why} |")),
            "the page does not say: | `{name}` | {why} |"
        );
        assert!(met.contains(name), "no test meets {name}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, DIFFERENCES.len(), "the page names differences that the code does not");
}
