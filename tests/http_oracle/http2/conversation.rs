//! What a client says on one connection, step by step.

use std::fmt;

use super::blocks::{self, Encoder};
use crate::generate::disturb;
use crate::random::Random;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITISED: u8 = 0x20;

/// What a client says, and how it ends.
pub(crate) struct Conversation {
    /// The bytes of each step. A step ends with a ping that numbers it: whoever answers that has read the step.
    pub(crate) steps: Vec<Vec<u8>>,
    /// The last step was changed at random places: perhaps nothing answers its ping.
    pub(crate) is_disturbed: bool,
    /// The requests are as the h2 crate's client writes them.
    pub(crate) is_by_h2: bool,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            writeln!(f, "step {at}: b\"{}\"", step.escape_ascii())?;
        }
        Ok(())
    }
}

/// The client while it makes up what to say.
struct Client {
    steps: Vec<Vec<u8>>,
    encoder: Encoder,
    next: u32,
    /// Streams whose body is still to come.
    open: Vec<u32>,
}

impl Conversation {
    /// Any frames, after the preface and the settings.
    #[allow(dead_code, reason = "the fuzz targets use it")]
    pub(crate) fn of_frames(frames: &[u8]) -> Self {
        let mut client = Client::default();
        client.greet();
        client.step(frames.to_vec());
        Self { steps: client.steps, is_disturbed: true, is_by_h2: false }
    }

    /// A request for each header block.
    #[allow(dead_code, reason = "the fuzz targets use it")]
    pub(crate) fn of_blocks<'a>(blocks: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut client = Client::default();
        client.greet();
        for block in blocks {
            let mut out = Vec::new();
            frame(&mut out, HEADERS, END_STREAM | END_HEADERS, client.next, block);
            client.next += 2;
            client.step(out);
        }
        Self { steps: client.steps, is_disturbed: false, is_by_h2: false }
    }

    pub(crate) fn new(random: &mut Random) -> Self {
        let mut client = Client::default();
        client.greet();
        let count = 1 + random.below(8);
        let is_by_h2 = random.below(2) == 0;
        if is_by_h2 {
            client.by_h2(random, count);
        } else {
            (0..count).for_each(|_| client.act(random));
        }
        let mut steps = client.steps;
        let is_disturbed = random.below(2) == 0;
        if is_disturbed {
            steps.truncate(2 + random.below(steps.len() - 1));
            disturb(steps.last_mut().expect("the preface is a step"), random, 2);
        }
        Self { steps, is_disturbed, is_by_h2 }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self { steps: Vec::new(), encoder: Encoder::default(), next: 1, open: Vec::new() }
    }
}

impl Client {
    /// Begins the connection.
    fn greet(&mut self) {
        let mut out = PREFACE.to_vec();
        frame(&mut out, SETTINGS, 0, 0, &[]);
        self.step(out);
    }

    fn step(&mut self, mut bytes: Vec<u8>) {
        let number = (self.steps.len() as u64).to_be_bytes();
        frame(&mut bytes, PING, 0, 0, &number);
        self.steps.push(bytes);
    }

    /// Requests as a usual client sends them.
    fn by_h2(&mut self, random: &mut Random, count: usize) {
        for block in blocks::by_h2(random, count) {
            let mut out = Vec::new();
            header_frames(&mut out, self.next, END_STREAM, &block, random);
            self.next += 2;
            self.step(out);
        }
    }

    fn act(&mut self, random: &mut Random) {
        let mut out = Vec::new();
        let open = if self.open.is_empty() { None } else { Some(random.below(self.open.len())) };
        match (random.below(16), open) {
            (0..=6, _) | (7..=12, None) => {
                let lines = blocks::lines(random, self.next);
                let block = self.encoder.encode(&lines, random);
                let ends = random.below(2) == 0;
                header_frames(&mut out, self.next, if ends { END_STREAM } else { 0 }, &block, random);
                if !ends {
                    self.open.push(self.next);
                }
                // identifiers may be left out
                self.next += [2, 2, 2, 4][random.below(4)];
            }
            (7..=10, Some(at)) => {
                let ends = random.below(2) == 0;
                data(&mut out, self.open[at], ends, random);
                if ends {
                    self.open.swap_remove(at);
                }
            }
            (11, Some(at)) => {
                let block = self.encoder.encode(&blocks::fields(random), random);
                header_frames(&mut out, self.open.swap_remove(at), END_STREAM, &block, random);
            }
            (12, Some(at)) => frame(&mut out, RST_STREAM, 0, self.open.swap_remove(at), &8u32.to_be_bytes()),
            (13, at) => {
                let stream = at.map_or(0, |at| self.open[at]);
                frame(&mut out, WINDOW_UPDATE, 0, stream, &100u32.to_be_bytes());
            }
            (14, _) => frame(&mut out, PRIORITY, 0, self.next + 6, &[0, 0, 0, 0, 9]),
            _ => frame(&mut out, 0xfa, 0xff, 0, b"unknown"),
        }
        self.step(out);
    }
}

fn data(out: &mut Vec<u8>, stream: u32, ends: bool, random: &mut Random) {
    let content = vec![b'd'; random.below(40)];
    let (mut flags, mut payload) = (if ends { END_STREAM } else { 0 }, content);
    if random.below(4) == 0 {
        let padding = random.below(20);
        flags |= PADDED;
        payload.insert(0, u8::try_from(padding).expect("below 20"));
        payload.extend(std::iter::repeat_n(0, padding));
    }
    frame(out, DATA, flags, stream, &payload);
}

/// A block in one frame or in pieces, sometimes padded, sometimes with a priority.
fn header_frames(out: &mut Vec<u8>, stream: u32, flags: u8, block: &[u8], random: &mut Random) {
    let cut = if random.below(4) == 0 { random.below(block.len() + 1) } else { block.len() };
    let (first, rest) = block.split_at(cut);
    let mut payload = Vec::new();
    let mut flags = flags;
    let padding = random.below(10);
    let is_padded = random.below(6) == 0;
    if is_padded {
        flags |= PADDED;
        payload.push(u8::try_from(padding).expect("below 10"));
    }
    if random.below(6) == 0 {
        flags |= PRIORITISED;
        payload.extend_from_slice(&[0, 0, 0, 0, 15]);
    }
    payload.extend_from_slice(first);
    if is_padded {
        payload.extend(std::iter::repeat_n(0, padding));
    }
    if rest.is_empty() {
        flags |= END_HEADERS;
    }
    frame(out, HEADERS, flags, stream, &payload);
    if !rest.is_empty() {
        let (one, two) = rest.split_at(random.below(rest.len() + 1));
        frame(out, CONTINUATION, 0, stream, one);
        frame(out, CONTINUATION, END_HEADERS, stream, two);
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [.., a, b, c] = (payload.len() as u64).to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
