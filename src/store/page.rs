//! Lists, page by page: filtered, sorted, and each page at the cost of what it shows.
//!
//! [`field`] says what can be asked, [`listings`] which lists there are, [`plan`] how the rows are found, [`pattern`]
//! compares texts, and [`marker`] says where a page ended.

mod condition;
mod field;
mod listings;
mod marker;
mod pattern;
mod plan;

use rusqlite::types::Value as Sql;

pub use field::{Field, FieldKind, Filter, InvalidDate, Modifier};
pub(super) use listings::Listing;
pub use listings::{ACCOUNT_FIELDS, AUDIT_FIELDS, ENVIRONMENT_FIELDS, KEY_FIELDS, MEMBER_FIELDS};
pub use marker::{InvalidMarker, Marker};
pub(super) use pattern::replace_like;

/// What a list can be asked.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// All must hold.
    pub filters: Vec<Filter>,
    /// A text that the name, the description or the public half holds, without regard to case.
    pub search: Option<String>,
    /// The order; by id where there is none.
    pub sort: Option<&'static Field>,
    /// From the greatest down.
    pub descending: bool,
    /// Where the page before ended.
    pub after: Option<Marker>,
    /// How many at most; at least 1.
    pub limit: usize,
}

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins; `None` on the last.
    pub next: Option<Marker>,
}

/// Which rows a list is about, before its filters.
pub(super) struct Cursor {
    condition: Option<(&'static str, Vec<Sql>)>,
    /// The rows are one owner's, in the order of the indexes that begin with the owner.
    is_owned: bool,
}

impl Cursor {
    pub(super) fn everything() -> Self {
        Self { condition: None, is_owned: false }
    }

    /// The keys of one owner.
    pub(super) fn owned(owner: i64) -> Self {
        Self { condition: Some(("keys.owner = ?", vec![owner.into()])), is_owned: true }
    }

    /// Few rows, by a condition that an index serves.
    pub(super) fn few(condition: &'static str, parameters: Vec<Sql>) -> Self {
        Self { condition: Some((condition, parameters)), is_owned: false }
    }
}

#[cfg(test)]
mod tests;
