//! The page of one object: its facts, what can be done with it, and what belongs to it.

use askama::Template;
use http::StatusCode;

use super::super::answer::Answer;
use super::page::{Layout, Section, render};
use super::signed_in_request::SignedInRequest;
use super::table::{Cell, MenuItem, Table};

/// One object.
#[derive(Template)]
#[template(path = "detail.html")]
pub(super) struct DetailPage {
    layout: Layout,
    heading: String,
    /// The list that it is in: where, and what it is called.
    pub(super) up: (String, &'static str),
    /// What is known of it.
    pub(super) facts: Vec<(&'static str, Cell)>,
    /// What can be done with it.
    pub(super) menu: Vec<MenuItem>,
    /// What else is to be seen of it.
    pub(super) links: Vec<(&'static str, String)>,
    /// What belongs to it.
    pub(super) list: Option<RelatedList>,
    /// This page, to come back to.
    pub(super) here: String,
}

/// A heading, where one is added (word, address), and the list.
pub(super) type RelatedList = (&'static str, Option<(&'static str, String)>, Table);

impl DetailPage {
    /// A page with nothing on it but a heading.
    pub(super) fn new(request: &SignedInRequest<'_>, section: Section, heading: String) -> Self {
        Self {
            layout: request.layout(heading.clone(), section),
            heading,
            up: ("/".to_owned(), "Overview"),
            facts: Vec::new(),
            menu: Vec::new(),
            links: Vec::new(),
            list: None,
            here: request.url(),
        }
    }

    /// Shows it.
    pub(super) fn show(&self) -> Answer {
        render(StatusCode::OK, self)
    }
}
