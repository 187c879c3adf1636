//! HTTP/1.1 bytes as `wire` reads them.

use portcullis::wire::{
    BodyDecoder, BodyLength, Decoded, FieldBlock, HeadLimits, HeaderRule, RequestHead, ResponseHead, Version,
};

use crate::message::{Field, Message, Reading, Refused, sorted};

pub(crate) const LIMITS: HeadLimits =
    HeadLimits { header_bytes: 64 * 1024, header_count: 100, line_bytes: 16 * 1024 };

fn fields(block: &FieldBlock) -> Vec<Field> {
    sorted(block.iter().map(|(_, name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect())
}

/// Whether `Connection` names the option.
fn has_option(block: &FieldBlock, option: &[u8]) -> bool {
    block
        .values(HeaderRule::Connection)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|named| named.trim_ascii().eq_ignore_ascii_case(option))
}

/// Whether a head's first line names a minor version of HTTP/1 above those that are known.
fn has_higher_version(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|&byte| byte == b'\r').next().unwrap_or_default();
    memchr::memmem::find(line, b"HTTP/1.").is_some_and(|at| matches!(line.get(at + 7), Some(b'2'..=b'9')))
}

/// Reads a connection's requests, one after the other, until one is refused, unfinished, or the last.
pub(crate) fn requests(input: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let mut rest = input;
    while !rest.is_empty() {
        let mut head = RequestHead::default();
        let taken = match head.parse(rest, &mut 0, &LIMITS) {
            Ok(Some(taken)) => taken,
            Ok(None) => break,
            Err(error) => {
                reading.refused = Some(Refused::Head(error));
                break;
            }
        };
        let length = match BodyLength::of_request(&head) {
            Ok(length) => length,
            Err(error) => {
                reading.refused = Some(Refused::Body(error));
                break;
            }
        };
        let start = [head.method(), b" ", head.target()].concat();
        let has_higher_version = has_higher_version(&rest[..taken]);
        let message =
            Message { start, fields: fields(&head.fields), has_higher_version, ..Message::default() };
        let (message, refused, taken_by_body) =
            body(message, length, BodyDecoder::new(length), &rest[taken..]);
        let goes_on = message.is_whole
            && !has_option(&head.fields, b"close")
            && (head.version == Version::Http11 || has_option(&head.fields, b"keep-alive"));
        reading.messages.push(message);
        reading.refused = refused;
        if !goes_on {
            break;
        }
        rest = &rest[taken + taken_by_body..];
    }
    reading
}

/// Reads the answer to one request: interim ones, and the last. `to_head`: the request was HEAD.
pub(crate) fn response(input: &[u8], to_head: bool) -> Reading {
    let mut rest = input;
    let mut has_higher_version = false;
    loop {
        let mut head = ResponseHead::default();
        let refused = match head.parse(rest, &mut 0, &LIMITS) {
            Ok(Some(taken)) => {
                has_higher_version |= self::has_higher_version(&rest[..taken]);
                rest = &rest[taken..];
                None
            }
            Ok(None) => return Reading::default(),
            Err(error) => Some(Refused::Head(error)),
        };
        let length = match refused {
            Some(refused) => return Reading { messages: Vec::new(), refused: Some(refused) },
            None => BodyLength::of_response(&head, to_head),
        };
        let length = match length {
            Ok(length) => length,
            Err(error) => return Reading { messages: Vec::new(), refused: Some(Refused::Body(error)) },
        };
        if head.status < 200 && head.status != 101 {
            continue;
        }
        let start = head.status.to_string().into_bytes();
        let message =
            Message { start, fields: fields(&head.fields), has_higher_version, ..Message::default() };
        let (message, refused, _) = body(message, length, BodyDecoder::of_response(length, LIMITS), rest);
        return Reading { messages: vec![message], refused };
    }
}

/// Reads a body from the front of `input`, behind which nothing comes. Tells how much it took.
fn body(
    mut message: Message,
    length: BodyLength,
    mut framing: BodyDecoder,
    input: &[u8],
) -> (Message, Option<Refused>, usize) {
    let mut trailers = FieldBlock::default();
    let mut at = 0;
    loop {
        let (skipped, decoded) = match framing.decode(&input[at..], false, &mut trailers) {
            Ok(decoded) => decoded,
            Err(error) => return (message, Some(Refused::Body(error)), at),
        };
        at += skipped;
        match decoded {
            Decoded::Data(ready) => {
                message.body.extend_from_slice(&input[at..at + ready]);
                framing.consumed(ready);
                at += ready;
            }
            Decoded::End => {
                message.trailers = fields(&trailers);
                message.is_whole = true;
                return (message, None, at);
            }
            Decoded::NeedMore => {
                message.is_whole = length == BodyLength::UntilClose;
                return (message, None, at);
            }
        }
    }
}
