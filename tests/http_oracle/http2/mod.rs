//! HTTP/2: conversations that a client may have, and what it may not say, given to `wire` and to the h2 crate.

mod blocks;
mod conversation;
mod read_by_h2;
mod read_by_wire;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use portcullis::wire::FieldBlock;

use crate::differences;
use crate::message::{Field, Message, sorted};

pub(crate) use conversation::Conversation;

/// What a server made of a conversation.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its requests, in the order in which they began.
    pub(crate) requests: Vec<Served>,
    /// The step in which the server gave up the connection; `usize::MAX` where it did not.
    pub(crate) ended_at: usize,
}

/// A request, and in which steps it was read.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) message: Message,
    pub(crate) began_at: usize,
    /// Where the message is whole.
    pub(crate) ended_at: usize,
}

/// The requests of a connection while they are read.
#[derive(Clone, Default)]
struct Log {
    requests: Rc<RefCell<Vec<Served>>>,
    step: Rc<Cell<usize>>,
}

impl Log {
    /// Begins a request; the number is for [`update`](Self::update).
    fn begin(&self, start: Vec<u8>, fields: Vec<Field>) -> usize {
        let message = Message { start, fields, ..Message::default() };
        let step = self.step.get();
        self.requests.borrow_mut().push(Served { message, began_at: step, ended_at: step });
        self.requests.borrow().len() - 1
    }

    fn update(&self, number: usize, change: impl FnOnce(&mut Message)) {
        let served = &mut self.requests.borrow_mut()[number];
        change(&mut served.message);
        served.ended_at = self.step.get();
    }
}

/// Cookies in one line, as HTTP/1.1 has them (RFC 9113 §8.2.3), and the rest sorted by name.
fn with_one_cookie(fields: Vec<Field>) -> Vec<Field> {
    let (cookies, mut others): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| name == b"cookie");
    if !cookies.is_empty() {
        let pieces: Vec<_> = cookies.into_iter().map(|(_, value)| value).collect();
        others.push((b"cookie".to_vec(), pieces.join(&b"; "[..])));
    }
    sorted(others)
}

fn fields_of(block: &FieldBlock) -> Vec<Field> {
    with_one_cookie(block.iter().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect())
}

/// The field that numbers a conversation's requests, so that those of two servers can be told to be the same.
const NUMBER: &str = "x-number";

impl Outcome {
    /// The request that has the same number.
    fn find(&self, served: &Served) -> Option<&Served> {
        let number =
            |of: &Served| of.message.fields.iter().find(|(name, _)| name == NUMBER.as_bytes()).cloned();
        self.requests.iter().find(|other| number(other) == number(served))
    }
}

/// How the readings of a conversation differ; `None`: they do not. What comes after either has given up the connection
/// is not compared: h2 ends it where `wire` ends the one stream, for some malformed requests.
pub(crate) fn differs(conversation: &Conversation, ours: &Outcome, theirs: &Outcome) -> Option<String> {
    for mine in ours.requests.iter().take_while(|mine| mine.began_at <= theirs.ended_at) {
        let Some(other) = theirs.find(mine) else {
            return Some(differences::looser_http2(&mine.message));
        };
        let (mine_ends, mine, other) = (mine.ended_at, &mine.message, &other.message);
        if (differences::without_fragment(&mine.start), &mine.fields) != (&other.start[..], &other.fields) {
            return Some("another method, target or field".to_owned());
        }
        if mine.is_whole && mine_ends < theirs.ended_at {
            if !other.is_whole {
                return Some("h2 does not reach the end of the request".to_owned());
            }
            if (&mine.body, &mine.trailers) != (&other.body, &other.trailers) {
                return Some("another body, or other trailers".to_owned());
            }
        }
    }
    let whole =
        theirs.requests.iter().filter(|other| other.message.is_whole && other.ended_at < ours.ended_at);
    whole.into_iter().find_map(|other| match ours.find(other) {
        Some(mine) if mine.message.is_whole => None,
        _ => Some(differences::stricter_http2(conversation)),
    })
}

/// Both servers' outcomes of one conversation.
pub(crate) fn both(conversation: &Conversation) -> (Outcome, Outcome) {
    (read_by_wire::serve(conversation), read_by_h2::serve(conversation))
}
