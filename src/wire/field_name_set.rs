//! Sets of field names. Like many servers, they treat `_` and `.` as `-`.

/// Field names that the configuration strips, as the gateway compares them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldNameSet(Vec<Box<[u8]>>);

impl FieldNameSet {
    /// A list of these names.
    pub fn new<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(names.into_iter().map(|name| fold(name.as_ref()).collect()).collect())
    }

    /// Whether there is no name in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `name` is one of them, in any spelling that folds to it.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|listed| same_field_name(listed, name))
    }
}

/// Whether two names are the same to a server that treats `_` and `.` as `-`.
pub fn same_field_name(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && fold(one).eq(fold(other))
}

/// `name` as the gateway compares it: lower case, every byte outside `[a-z0-9]` as `-`.
pub(super) fn fold(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(|byte| {
        let lower = byte.to_ascii_lowercase();
        if lower.is_ascii_lowercase() || lower.is_ascii_digit() { lower } else { b'-' }
    })
}
