//! What a reader understood of a message, in a form that can be compared.

use std::fmt;

use portcullis::wire::{BodyError, ChunkError, HeadError};

/// A field's name in lower case, and its value.
pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// One request or response, as far as it was read.
#[derive(Default, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Method and target, or the status code.
    pub(crate) start: Vec<u8>,
    /// Sorted by name; those of one name keep their order.
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    /// The message was read to its end.
    pub(crate) is_whole: bool,
    /// It came as HTTP/1.2 or above, which `wire` reads as HTTP/1.1.
    pub(crate) has_higher_version: bool,
}

/// Everything that a reader understood, and why it stopped.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reading {
    pub(crate) messages: Vec<Message>,
    pub(crate) refused: Option<Refused>,
}

/// Why `wire` reads no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Head(HeadError),
    Body(BodyError),
}

impl Refused {
    /// The name under which `differences` lists it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Head(error) => format!("head: {error:?}"),
            Self::Body(BodyError::Chunk(ChunkError::Trailers(error))) => format!("trailers: {error:?}"),
            Self::Body(BodyError::Chunk(error)) => format!("chunk: {error:?}"),
            Self::Body(error) => format!("body: {error:?}"),
        }
    }
}

/// Sorts fields by name, so that readers with and without a hash map give one order.
pub(crate) fn sorted(mut fields: Vec<Field>) -> Vec<Field> {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let lines = |fields: &[Field]| -> Vec<String> {
            fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
        };
        f.debug_struct("Message")
            .field("start", &text(&self.start))
            .field("fields", &lines(&self.fields))
            .field("body", &text(&self.body))
            .field("trailers", &lines(&self.trailers))
            .field("is_whole", &self.is_whole)
            .field("has_higher_version", &self.has_higher_version)
            .finish()
    }
}
