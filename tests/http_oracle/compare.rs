//! Compares what two readers understood of the same bytes.

use crate::differences;
use crate::message::{Message, Reading, Refused};

/// How two readings of the same bytes differ. What hyper reads alike, and what `wire` leaves off while hyper does too,
/// is no difference.
pub(crate) fn differs(ours: &Reading, theirs: &[Message]) -> Option<String> {
    for (at, message) in ours.messages.iter().enumerate() {
        let Some(other) = theirs.get(at) else {
            return Some(differences::looser(message));
        };
        let (mine, other) = (differences::comparable(message), differences::comparable(other));
        if mine.start != other.start {
            return Some("another method, target or status".to_owned());
        }
        if mine.fields != other.fields {
            return Some("other fields".to_owned());
        }
        if !other.body.starts_with(&mine.body) {
            return Some("another body".to_owned());
        }
        match (mine.is_whole, other.is_whole) {
            (true, false) => return Some("hyper does not reach the end of the message".to_owned()),
            (true, true) if mine.body != other.body => return Some("a longer body".to_owned()),
            (true, true) if mine.trailers != other.trailers => return Some("other trailers".to_owned()),
            (true, true) => {}
            (false, false) => return None,
            (false, true) => return Some(reads_on(ours)),
        }
    }
    (theirs.len() > ours.messages.len()).then(|| reads_on(ours))
}

/// hyper reads on where `wire` does not.
fn reads_on(ours: &Reading) -> String {
    ours.refused.map_or_else(|| "wire waits for more".to_owned(), Refused::name)
}
