//! The page of one object: its facts, what can be done with it, and what belongs to it.

use askama::Template;
use http::StatusCode;

use super::super::answer::Answer;
use super::page::{Frame, Section, render};
use super::table::{Cell, Item, Table};
use super::visit::Visit;

/// One object.
#[derive(Template)]
#[template(path = "details.html")]
pub(super) struct Details {
    frame: Frame,
    heading: String,
    /// The list that it is in: where, and what it is called.
    pub(super) up: (String, &'static str),
    /// What is known of it.
    pub(super) facts: Vec<(&'static str, Cell)>,
    /// What can be done with it.
    pub(super) menu: Vec<Item>,
    /// What else is to be seen of it.
    pub(super) links: Vec<(&'static str, String)>,
    /// What belongs to it.
    pub(super) list: Option<Belongings>,
    /// This page, to come back to.
    pub(super) here: String,
}

/// A heading, where one is added (word, address), and the list.
pub(super) type Belongings = (&'static str, Option<(&'static str, String)>, Table);

impl Details {
    /// A page with nothing on it but a heading.
    pub(super) fn new(visit: &Visit<'_>, section: Section, heading: String) -> Self {
        Self {
            frame: visit.frame(heading.clone(), section),
            heading,
            up: ("/".to_owned(), "Overview"),
            facts: Vec::new(),
            menu: Vec::new(),
            links: Vec::new(),
            list: None,
            here: visit.here(),
        }
    }

    /// Shows it.
    pub(super) fn show(&self) -> Answer {
        render(StatusCode::OK, self)
    }
}
