//! The header or trailer fields of one message, and the bytes that they came in.

use std::ops::Range;

use zeroize::Zeroize;

use super::buffer_pool;
use super::field::{Field, Span};
use super::field_name_set::FieldNameSet;
use super::header_rule::HeaderRule;

/// Field lines and the bytes they stand in.
#[derive(Clone, Default)]
pub struct FieldBlock {
    pub(super) bytes: Vec<u8>,
    pub(super) fields: Vec<Field>,
}

impl FieldBlock {
    /// Empties the block and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
    }

    /// Empties the block, and sees to it that it has memory to be filled.
    pub(super) fn begin(&mut self) {
        self.clear();
        if self.bytes.capacity() == 0 {
            (self.bytes, self.fields) = buffer_pool::take_block();
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Appends a field; name and value must already be valid.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_as(HeaderRule::of(name), name, value);
    }

    /// As [`push`](Self::push), for a name whose rule is known.
    pub(super) fn push_as(&mut self, rule: HeaderRule, name: &[u8], value: &[u8]) {
        let name = self.append(name);
        let value = self.append(value);
        self.fields.push(Field { name, value, rule });
    }

    /// Gives the fields with these names the rule of a credential, and other spellings of the names that of an alias.
    pub fn mark_credentials(&mut self, names: &FieldNameSet) {
        if names.is_empty() {
            return;
        }
        for field in &mut self.fields {
            let name = field.name.of(&self.bytes);
            if names.contains(name) {
                let is_plain = name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-');
                field.rule = if is_plain { HeaderRule::Credential } else { HeaderRule::Alias };
            }
        }
    }

    /// Keeps only the fields for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(HeaderRule, &[u8]) -> bool) {
        let Self { bytes, fields } = self;
        fields.retain(|field| keep(field.rule, field.name.of(bytes)));
    }

    /// The fields in order: rule, name, value.
    pub fn iter(&self) -> impl Iterator<Item = (HeaderRule, &[u8], &[u8])> {
        self.fields.iter().map(|field| (field.rule, field.name.of(&self.bytes), field.value.of(&self.bytes)))
    }

    /// The values of the fields that fall under `rule`.
    pub fn values(&self, rule: HeaderRule) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |field| field.rule == rule).map(|field| field.value.of(&self.bytes))
    }

    /// Where the values of credentials stand in the block's bytes.
    pub(super) fn credentials_of(fields: &[Field]) -> impl Iterator<Item = Range<usize>> + '_ {
        fields
            .iter()
            .filter(|field| {
                matches!(
                    field.rule,
                    HeaderRule::Authorization | HeaderRule::ProxyAuthorization | HeaderRule::Credential
                )
            })
            .map(|field| field.value.start as usize..field.value.end as usize)
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span::new(start, self.bytes.len())
    }
}

/// Overwrites the credentials, so that no secret stays in memory that is used again.
impl Drop for FieldBlock {
    fn drop(&mut self) {
        let (mut bytes, fields) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.fields));
        Self::credentials_of(&fields).for_each(|range| bytes[range].zeroize());
        buffer_pool::return_block(bytes, fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_marked_in_one_spelling_and_wiped() {
        let mut block = FieldBlock::default();
        for name in ["Accept", "X-API-KEY", "x_api_key", "X.Api-Key", "X-Token"] {
            block.push(name.as_bytes(), b"secret");
        }
        block.mark_credentials(&FieldNameSet::default());
        assert_eq!(block.values(HeaderRule::Credential).count(), 0);
        block.mark_credentials(&FieldNameSet::new(["X-API-Key", "x-token"]));
        let rules: Vec<_> = block.iter().map(|(rule, ..)| rule).collect();
        let expected = [
            HeaderRule::Other,
            HeaderRule::Credential,
            HeaderRule::Alias,
            HeaderRule::Alias,
            HeaderRule::Credential,
        ];
        assert_eq!(rules, expected);
        let wiped: Vec<_> = FieldBlock::credentials_of(&block.fields).map(|at| &block.bytes[at]).collect();
        assert_eq!(wiped, [b"secret"; 2]);
    }
}
