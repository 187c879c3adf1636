//! The oracle of `tests/http_oracle` for the fuzz targets: hyper and h2 must read alike what `wire` accepts.

#![allow(
    dead_code,
    reason = "the tests make up messages of their own, the fuzz targets have the fuzzer for that"
)]

#[path = "../../tests/http_oracle/compare.rs"]
mod compare;
#[path = "../../tests/http_oracle/differences.rs"]
mod differences;
#[path = "../../tests/http_oracle/generate.rs"]
mod generate;
#[path = "../../tests/http_oracle/http2/mod.rs"]
mod http2;
#[path = "../../tests/http_oracle/memory.rs"]
mod memory;
#[path = "../../tests/http_oracle/message.rs"]
mod message;
#[path = "../../tests/support/random.rs"]
mod random;
#[path = "../../tests/http_oracle/read_by_hyper.rs"]
mod read_by_hyper;
#[path = "../../tests/http_oracle/read_by_wire.rs"]
mod read_by_wire;

fn judge(difference: Option<String>) {
    if let Some(kind) = difference {
        assert!(differences::known(&kind).is_some(), "not in the list of differences: {kind}");
    }
}

/// A client's connection.
pub fn read_requests(input: &[u8]) {
    judge(compare::differs(&read_by_wire::requests(input), &read_by_hyper::requests(input, usize::MAX)));
}

/// An upstream's answer to a GET.
pub fn read_response(input: &[u8]) {
    judge(compare::differs(
        &read_by_wire::response(input, false),
        &read_by_hyper::response(input, "GET", usize::MAX).messages,
    ));
}

/// A client's HTTP/2 connection: its frames after the preface and the settings.
pub fn read_frames(frames: &[u8]) {
    read_conversation(http2::Conversation::of_frames(frames));
}

/// The header blocks of a connection's requests.
pub fn read_header_blocks<'a>(blocks: impl Iterator<Item = &'a [u8]>) {
    read_conversation(http2::Conversation::of_blocks(blocks));
}

fn read_conversation(conversation: http2::Conversation) {
    let (ours, theirs) = http2::both(&conversation);
    judge(http2::differs(&conversation, &ours, &theirs));
}
