//! A page that is one list.

use askama::Template;

use super::page::Layout;
use super::table::Table;

/// A heading, where one is added, and the list.
#[derive(Template)]
#[template(path = "list.html")]
pub(super) struct ListPage {
    pub(super) layout: Layout,
    /// The page above it: address and label.
    pub(super) up: Option<(String, &'static str)>,
    pub(super) heading: &'static str,
    /// What it lists, for those who see it for the first time.
    pub(super) intro: &'static str,
    /// Label and address of the form that adds one; `None`: not for the caller.
    pub(super) add: Option<(&'static str, String)>,
    pub(super) table: Table,
}
