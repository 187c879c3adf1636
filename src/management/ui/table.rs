//! A list as a table: sortable headers, search, page size, the next page, and a menu of actions in each row.

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::Timestamp;

use super::chart::group_thousands;
use super::list_view::{ListView, SIZES};
use super::page::Rendered;
use super::relative_time::RelativeTime;
use crate::model::State;
use crate::store::{ChangeNumber, ConfirmedUpTo, KeyEntry, Marker, Page, Total};

/// A list.
#[derive(Template)]
#[template(path = "table.html")]
pub(super) struct Table {
    /// The id of its element, and what its parts' ids begin with.
    pub(super) id: &'static str,
    /// What it lists, for those who do not see what it belongs to.
    pub(super) caption: String,
    /// In order.
    pub(super) columns: Vec<Column>,
    /// In order.
    pub(super) rows: Vec<Row>,
    /// What is said where there is no row, and no search.
    pub(super) empty: &'static str,
    /// What can be searched for, as the placeholder of the box; `None`: no box.
    pub(super) search: Option<&'static str>,
    /// How it is looked at.
    pub(super) view: ListView,
    next: Option<String>,
    previous: Option<String>,
    total: Option<Total>,
    bulk: Option<BulkAction>,
    /// What one of its rows is called, and several.
    nouns: (&'static str, &'static str),
}

/// A column.
pub(super) struct Column {
    label: &'static str,
    sort: Option<&'static str>,
}

/// A column by which the list can be sorted.
pub(super) fn sortable_column(label: &'static str, field: &'static str) -> Column {
    Column { label, sort: Some(field) }
}

/// A column by which it cannot.
pub(super) fn column(label: &'static str) -> Column {
    Column { label, sort: None }
}

/// A row.
pub(super) struct Row {
    /// The object's id.
    pub(super) id: String,
    /// As many as there are columns.
    pub(super) cells: Vec<Cell>,
    /// What the menu is of, and what is in it; empty: there is no menu.
    pub(super) label: String,
    /// What can be done with it.
    pub(super) menu: Vec<MenuItem>,
    /// What stands below it, as wide as the table.
    pub(super) below: Option<Rendered>,
    /// What its box sends when it is ticked; `None`: it has no box.
    pub(super) choice: Option<String>,
}

/// What can be done with several rows at once.
struct BulkAction {
    label: &'static str,
    action: &'static str,
    /// Where to come back to.
    to: String,
}

/// What stands in a row's column.
pub(super) enum Cell {
    /// A badge.
    State(StateBadge),
    /// A text, or that there is none.
    Text(Option<String>),
    /// A text that leads somewhere.
    Link { text: String, href: String },
    /// A word that is copied rather than read.
    Code(String),
    /// A kind, a role or an action.
    Tag(String),
    /// A time.
    Time(RelativeTime),
    /// A time: how long ago, and when exactly.
    TimeInFull(RelativeTime),
    /// When and from where something was used; never, perhaps.
    LastUse { last: Option<RelativeTime>, address: Option<String> },
    /// When a key ends: how long from now, and whether that is soon; never, perhaps.
    Expires { at: Option<RelativeTime>, is_soon: bool },
    /// A count.
    Number(String),
    /// A component.
    Html(Rendered),
}

/// An entry of a menu.
pub(super) enum MenuItem {
    /// Leads to a form or a question.
    Form { label: &'static str, hook: &'static str, href: String, is_destructive: bool },
    /// Leads to another page.
    Page { label: &'static str, hook: &'static str, href: String },
    /// Leads to the API, in another tab.
    NewTab { label: &'static str, hook: &'static str, href: String },
}

impl HtmlSafe for Table {}

impl Table {
    /// A table of what is on a page.
    #[allow(
        clippy::too_many_arguments,
        reason = "what a table is made of, named where it is called by types of their own"
    )]
    pub(super) fn new<T>(
        id: &'static str,
        caption: String,
        columns: Vec<Column>,
        page: &Page<T>,
        row: impl Fn(&T) -> Row,
        empty: &'static str,
        view: ListView,
    ) -> Self {
        Self {
            id,
            caption,
            columns,
            rows: page.items.iter().map(row).collect(),
            empty,
            search: None,
            next: page.next.as_ref().map(|marker: &Marker| view.next(&marker.to_string())),
            previous: page.previous.as_ref().map(|marker: &Marker| view.previous(&marker.to_string())),
            total: page.total,
            bulk: None,
            nouns: ("entry", "entries"),
            view,
        }
    }

    /// With words for what it counts: one, and several.
    pub(super) fn counting(mut self, one: &'static str, several: &'static str) -> Self {
        self.nouns = (one, several);
        self
    }

    /// With a box in each row that has a choice, and a button for all that are ticked.
    pub(super) fn with_bulk_action(mut self, label: &'static str, action: &'static str, to: String) -> Self {
        if self.rows.iter().any(|row| row.choice.is_some()) {
            self.bulk = Some(BulkAction { label, action, to });
        }
        self
    }

    /// How many rows there are on all pages.
    fn total_text(&self) -> Option<String> {
        let (one, several) = self.nouns;
        Some(match self.total? {
            Total::Exactly(1) => format!("1 {one}"),
            Total::Exactly(count) => format!("{} {several}", group_thousands(count as u64)),
            Total::MoreThan(count) => format!("More than {} {several}", group_thousands(count as u64)),
        })
    }

    /// With a box to search in.
    pub(super) fn searched(mut self, placeholder: &'static str) -> Self {
        self.search = Some(placeholder);
        self
    }

    fn has_menu(&self) -> bool {
        self.rows.iter().any(|row| !row.menu.is_empty())
    }

    /// Page sizes: how many, the list in that size, and whether it is the one in use.
    fn sizes(&self) -> [(usize, String, bool); SIZES.len()] {
        SIZES.map(|size| (size, self.view.sized(size), size == self.view.limit))
    }

    /// Whether there is anything to leaf through.
    fn has_pages(&self) -> bool {
        self.next.is_some() || !self.view.is_first() || self.view.limit != SIZES[0]
    }
}

impl Cell {
    /// A text that may be absent.
    pub(super) fn text(text: Option<impl ToString>) -> Self {
        Self::Text(text.map(|text| text.to_string()))
    }

    /// A text that leads somewhere.
    pub(super) fn link(text: &(impl ToString + ?Sized), href: String) -> Self {
        Self::Link { text: text.to_string(), href }
    }

    /// A kind, a role or an action.
    pub(super) fn tag(word: &str) -> Self {
        Self::Tag(word.to_owned())
    }

    /// A badge; `revision` is the last change of what has the state.
    pub(super) fn state(state: State, revision: ChangeNumber, confirmed_up_to: ConfirmedUpTo) -> Self {
        let is_pending = confirmed_up_to.is_pending(revision, state);
        Self::State(StateBadge { state, is_pending, is_expired: false, scope: None })
    }

    /// The badges of a key, which may have ended by itself, and may be narrowed.
    pub(super) fn key_state(entry: &KeyEntry, now: Timestamp, confirmed_up_to: ConfirmedUpTo) -> Self {
        let state = entry.key.state;
        let is_pending = confirmed_up_to.is_pending(entry.revision, state);
        let scope = entry.key.scope.as_ref().map(|scope| scope.restrictions().join("; "));
        Self::State(StateBadge { state, is_pending, is_expired: entry.key.has_expired(now), scope })
    }

    /// A badge for what is there, or is not any more.
    pub(super) fn live(is_live: bool) -> Self {
        let state = if is_live { State::Active } else { State::Inactive };
        Self::State(StateBadge { state, is_pending: false, is_expired: false, scope: None })
    }

    /// A count.
    pub(super) fn number(count: u64) -> Self {
        Self::Number(group_thousands(count))
    }

    /// Whether it is cut where there is no room for it.
    fn is_text(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Link { .. })
    }

    /// A component.
    pub(super) fn html(component: &(impl Template + HtmlSafe)) -> Self {
        Self::Html(Rendered::of(component))
    }

    /// A time as seen from now, and when exactly.
    pub(super) fn time_in_full(at: Timestamp, now: Timestamp) -> Self {
        Self::TimeInFull(RelativeTime { at, now })
    }

    /// A time as seen from now.
    pub(super) fn time(at: Timestamp, now: Timestamp) -> Self {
        Self::Time(RelativeTime { at, now })
    }
}

/// A state as a badge: icon, colour and word.
#[derive(Template)]
#[template(path = "state.html")]
pub(super) struct StateBadge {
    /// Which.
    pub(super) state: State,
    /// A gateway has not confirmed it yet.
    pub(super) is_pending: bool,
    /// It has ended by itself.
    pub(super) is_expired: bool,
    /// What its scope leaves to a key.
    pub(super) scope: Option<String>,
}

impl StateBadge {
    fn name(&self) -> &'static str {
        if self.state == State::Active && self.is_expired { "expired" } else { self.state.as_str() }
    }

    fn word(&self) -> &'static str {
        match (self.state, self.is_pending) {
            (State::Active, _) if self.is_expired => "Expired",
            (State::Active, false) => "Active",
            (State::Active, true) => "Activating",
            (State::Inactive, false) => "Inactive",
            (State::Inactive, true) => "Deactivating",
            (State::Removed, false) => "Removed",
            (State::Removed, true) => "Removing",
        }
    }
}

impl HtmlSafe for StateBadge {}
