//! Lists, page by page: filtered and sorted. A page costs what it shows, however long the list is.
//!
//! [`field`] has the fields and filters, [`list_definitions`] the lists, [`query_plan`] finds the rows, [`like_pattern`]
//! compares texts, and [`marker`] says where a page ended.

mod condition;
mod field;
mod like_pattern;
mod list_definitions;
mod marker;
mod query_plan;

use rusqlite::types::Value as Sql;

pub use field::{Field, FieldKind, Filter, InvalidDate, Modifier};
pub(super) use like_pattern::replace_like;
pub(super) use list_definitions::ListDefinition;
pub use list_definitions::{ACCOUNT_FIELDS, AUDIT_FIELDS, ENVIRONMENT_FIELDS, KEY_FIELDS, MEMBER_FIELDS};
pub use marker::{InvalidMarker, Marker};

/// A query for one page of a list.
#[derive(Debug, Clone, Default)]
pub struct PageQuery {
    /// Rows must match all of them.
    pub filters: Vec<Filter>,
    /// Rows must have this text in the name, the description or the access key, without regard to case.
    pub search: Option<String>,
    /// The order; by id if there is none.
    pub sort: Option<&'static Field>,
    /// Greatest first.
    pub descending: bool,
    /// Where the page before ended.
    pub after: Option<Marker>,
    /// How many rows at most; at least 1.
    pub limit: usize,
}

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// Its rows.
    pub items: Vec<T>,
    /// Where the next one begins; `None` on the last.
    pub next: Option<Marker>,
}

/// Which rows a list is about, before its filters.
pub(super) struct ListScope {
    condition: Option<(&'static str, Vec<Sql>)>,
    /// The rows are one owner's, in the order of the indexes that begin with the owner.
    is_owned: bool,
}

impl ListScope {
    pub(super) fn everything() -> Self {
        Self { condition: None, is_owned: false }
    }

    /// The keys of one owner.
    pub(super) fn owned_by(owner: i64) -> Self {
        Self { condition: Some(("keys.owner = ?", vec![owner.into()])), is_owned: true }
    }

    /// The rows that match a condition. They must be few, and an index must find them.
    pub(super) fn matching(condition: &'static str, parameters: Vec<Sql>) -> Self {
        Self { condition: Some((condition, parameters)), is_owned: false }
    }
}

#[cfg(test)]
mod tests;
