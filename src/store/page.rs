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

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Value as Sql;

use field::{Comparison, Operand};
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
    /// Whether numbers at the beginning and the end of names are compared by their value: 2 before 10.
    pub is_natural: bool,
    /// Where the page before ended.
    pub after: Option<Marker>,
    /// Where the page after begins: the page that ends there is wanted.
    pub before: Option<Marker>,
    /// Whether to count what is found, too.
    pub is_counted: bool,
    /// How many rows at most; at least 1.
    pub limit: usize,
}

impl PageQuery {
    /// The keys that work now and end by themselves within this time, the first to end first.
    pub fn keys_that_end_within(now: Timestamp, within: Duration) -> Self {
        let until = now.checked_add(within).unwrap_or(Timestamp::MAX);
        let filters = [
            ("expires", Modifier::Gt, Operand::Number(now.as_millisecond())),
            ("expires", Modifier::Lte, Operand::Number(until.as_millisecond())),
            ("state", Modifier::Eq, Operand::Text("active".to_owned())),
        ];
        let field = |name| KEY_FIELDS.iter().find(|field| field.name == name);
        let filters = filters.into_iter().filter_map(|(name, modifier, operand)| {
            Some(Filter { field: field(name)?, comparison: Comparison { modifier, operand } })
        });
        Self { filters: filters.collect(), sort: field("expires"), ..Self::default() }
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// Its rows.
    pub items: Vec<T>,
    /// Where the next one begins; `None` on the last.
    pub next: Option<Marker>,
    /// Where the one before ends; `None` on the first.
    pub previous: Option<Marker>,
    /// How many there are on all pages, where that was asked and is cheap to know.
    pub total: Option<Total>,
}

/// How many there are on all pages of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// So many.
    Exactly(usize),
    /// More than were counted.
    MoreThan(usize),
}

impl<T> Page<T> {
    /// A page that is a whole list.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None, previous: None, total: None }
    }
}

/// Which rows a list is about, before its filters.
pub(super) struct ListScope {
    condition: Option<(&'static str, Vec<Sql>)>,
    /// The rows are one owner's, in the order of the indexes that begin with the owner.
    is_owned: bool,
    /// Rows that were removed are in the list too. No index holds them.
    with_removed: bool,
}

impl ListScope {
    pub(super) fn everything() -> Self {
        Self { condition: None, is_owned: false, with_removed: false }
    }

    /// All rows, or those that meet a condition; removed ones too.
    pub(super) fn with_removed(condition: Option<(&'static str, Vec<Sql>)>) -> Self {
        Self { condition, is_owned: false, with_removed: true }
    }

    /// The keys of one owner.
    pub(super) fn owned_by(owner: i64) -> Self {
        Self { condition: Some(("keys.owner = ?", vec![owner.into()])), is_owned: true, with_removed: false }
    }

    /// The rows that match a condition. They must be few, and an index must find them.
    pub(super) fn matching(condition: &'static str, parameters: Vec<Sql>) -> Self {
        Self { condition: Some((condition, parameters)), is_owned: false, with_removed: false }
    }
}

#[cfg(test)]
mod tests;
