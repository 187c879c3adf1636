//! Lists, page by page: filtered, sorted, and each page at the cost of what it shows.
//!
//! A page is found by an index in the order asked for, and begins after the last row of the page before it (never by
//! counting rows off). A filter that few rows meet is looked up by its own index instead, and what it finds is sorted.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, Row, params_from_iter};
use serde_json::{Value, json};

use super::error::Fault;
use crate::model::AccountId;

/// Below this many rows a filter is looked up and its rows are sorted; above it the list's own order is followed.
const FEW: u32 = 2_000;

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

/// A field by which lists are filtered and sorted.
#[derive(Debug)]
pub struct Field {
    /// Its name in the API.
    pub name: &'static str,
    /// What its values are.
    pub kind: FieldKind,
    /// What filters compare.
    column: &'static str,
    /// What the list is sorted by; `None`: it cannot be.
    order: Option<&'static str>,
    /// Whether an index finds equal values, and ranges of them.
    is_looked_up: bool,
}

/// What a field's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Free text, compared without regard to case.
    Text,
    /// One of a few words, or a text that is compared byte for byte.
    Word,
    /// A number with this prefix.
    Id(&'static str),
    /// Milliseconds; 0 or NULL is none.
    Time,
    /// An account or an environment.
    Owner,
    /// A count.
    Number,
}

/// One condition.
#[derive(Debug, Clone)]
pub struct Filter {
    /// What is compared.
    pub field: &'static Field,
    /// How, and with what.
    pub test: Test,
}

/// How a field is compared; the words are those of the API's modifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modifier {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Begins with.
    Prefix,
    /// SQL's LIKE.
    Like,
    /// Not SQL's LIKE.
    Notlike,
    /// Has no value.
    Null,
    /// Has a value.
    Notnull,
}

impl Modifier {
    /// Every modifier, in the order of the API's documents.
    pub const ALL: [Self; 11] = [
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Lte,
        Self::Gt,
        Self::Gte,
        Self::Prefix,
        Self::Like,
        Self::Notlike,
        Self::Null,
        Self::Notnull,
    ];

    /// The word in a query string.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Prefix => "prefix",
            Self::Like => "like",
            Self::Notlike => "notlike",
            Self::Null => "null",
            Self::Notnull => "notnull",
        }
    }
}

/// A modifier with its value.
#[derive(Debug, Clone)]
pub struct Test {
    modifier: Modifier,
    operand: Operand,
}

#[derive(Debug, Clone)]
enum Operand {
    None,
    Text(String),
    Number(i64),
    /// The account with this number, if it can be one, or the environment with this id.
    Owner(Option<i64>, String),
    /// No row has such a value.
    Nothing,
}

/// A value that cannot be one of a field's: a date that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is no date: use RFC 3339 (2026-01-05T10:20:30Z) or milliseconds since 1970")]
pub struct InvalidDate {
    /// What was given.
    pub value: String,
}

impl Test {
    pub(super) fn modifier(&self) -> Modifier {
        self.modifier
    }

    /// The account's number and the environment's id, for a field that is an owner.
    pub(super) fn owner(&self) -> Option<(Option<i64>, &str)> {
        match &self.operand {
            Operand::Owner(account, environment) => Some((*account, environment)),
            _ => None,
        }
    }
}

impl Field {
    /// Whether lists can be sorted by it.
    pub fn is_sortable(&self) -> bool {
        self.order.is_some()
    }

    /// The modifiers that it can be filtered with.
    pub fn modifiers(&self) -> &'static [Modifier] {
        use Modifier::{Eq, Gt, Gte, Like, Lt, Lte, Ne, Notlike, Notnull, Null, Prefix};
        match self.kind {
            FieldKind::Text => &[Eq, Ne, Prefix, Like, Notlike, Null, Notnull],
            FieldKind::Word | FieldKind::Owner => &[Eq, Ne, Null, Notnull],
            FieldKind::Id(_) | FieldKind::Time | FieldKind::Number => {
                &[Eq, Ne, Lt, Lte, Gt, Gte, Null, Notnull]
            }
        }
    }

    /// Reads the value of a filter. An id that is none is no error: no row has it.
    pub fn test(&self, modifier: Modifier, value: &str) -> Result<Test, InvalidDate> {
        let operand = match (modifier, self.kind) {
            (Modifier::Null | Modifier::Notnull, _) => Operand::None,
            (_, FieldKind::Text | FieldKind::Word) => Operand::Text(without_end(value)),
            (_, FieldKind::Id(prefix)) => value
                .strip_prefix(prefix)
                .and_then(|n| n.parse().ok())
                .map_or(Operand::Nothing, Operand::Number),
            (_, FieldKind::Number) => value.parse().map_or(Operand::Nothing, Operand::Number),
            (_, FieldKind::Time) => Operand::Number(milliseconds(value)?),
            (_, FieldKind::Owner) => {
                let account = AccountId::from_str(value).ok().map(AccountId::row);
                Operand::Owner(account, value.to_owned())
            }
        };
        Ok(Test { modifier, operand })
    }
}

/// SQLite's LIKE ends a pattern at a NUL and would find all that begins like it. Nothing that is stored holds one, nor
/// the control that stands in for it.
fn without_end(text: &str) -> String {
    text.replace('\0', "\u{1}")
}

fn milliseconds(value: &str) -> Result<i64, InvalidDate> {
    let date = || value.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    let number = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
    number.or_else(date).ok_or_else(|| InvalidDate { value: value.to_owned() })
}

/// Where a page ended: opaque to clients, and good only for the order it was made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Marker {
    sort: String,
    value: Value,
    row: i64,
}

/// A text that is no marker of this list in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the marker is not one that a page of this list gave: begin again without it")]
pub struct InvalidMarker;

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = json!([self.sort, self.value, self.row]).to_string();
        write!(f, "m{}", URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Marker {
    type Err = InvalidMarker;

    fn from_str(text: &str) -> Result<Self, InvalidMarker> {
        let encoded = text.strip_prefix('m').ok_or(InvalidMarker)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| InvalidMarker)?;
        let (sort, value, row) = serde_json::from_slice(&bytes).map_err(|_| InvalidMarker)?;
        Ok(Self { sort, value, row })
    }
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

/// A kind of rows that can be listed.
pub(super) struct Listing {
    /// Its table.
    table: &'static str,
    /// What is selected, and from what beside the table.
    columns: &'static str,
    join: &'static str,
    /// The column that tells rows apart, qualified.
    row: &'static str,
    /// What search looks at.
    searched: &'static [&'static str],
    /// What it can be filtered and sorted by; the first is the order where none is asked for.
    pub(super) fields: &'static [Field],
    /// Rows that were removed stay in the table, and out of lists.
    has_removed: bool,
}

const fn field(
    name: &'static str,
    kind: FieldKind,
    column: &'static str,
    order: Option<&'static str>,
    is_looked_up: bool,
) -> Field {
    Field { name, kind, column, order, is_looked_up }
}

/// By which fields keys can be filtered and sorted.
pub const KEY_FIELDS: &[Field] = &[
    field("id", FieldKind::Id("1c"), "keys.id", Some("id"), true),
    field("name", FieldKind::Text, "keys.sorted_name", Some("sorted_name"), true),
    field("description", FieldKind::Text, "keys.description", Some("sorted_description"), false),
    field("accountId", FieldKind::Owner, "keys.owner", None, true),
    field("publicValue", FieldKind::Text, "keys.access_key", Some("access_key"), true),
    field("state", FieldKind::Word, "keys.state", Some("state"), true),
    field("kind", FieldKind::Word, "'apiKey'", None, false),
    field("uuid", FieldKind::Word, "keys.uuid", None, true),
    field("created", FieldKind::Time, "keys.created", Some("created"), true),
    field("removed", FieldKind::Time, "keys.removed", None, false),
    field("lastUsed", FieldKind::Time, "keys.last_used", Some("last_used"), true),
    field("useCount", FieldKind::Number, "keys.uses", Some("uses"), true),
];

/// By which fields accounts can be filtered and sorted.
pub const ACCOUNT_FIELDS: &[Field] = &[
    field("id", FieldKind::Id("1a"), "accounts.id", Some("id"), true),
    field("name", FieldKind::Text, "accounts.sorted_name", Some("sorted_name"), true),
    field("description", FieldKind::Text, "accounts.description", None, false),
    field("kind", FieldKind::Word, "accounts.kind", Some("kind"), true),
    field("state", FieldKind::Word, "accounts.state", Some("state"), true),
    field("uuid", FieldKind::Word, "accounts.uuid", None, false),
    field("created", FieldKind::Time, "accounts.created", Some("created"), true),
    field("removed", FieldKind::Time, "accounts.removed", None, false),
];

/// By which fields environments can be filtered and sorted.
pub const ENVIRONMENT_FIELDS: &[Field] = &[
    field("created", FieldKind::Time, "environments.created", Some("created"), true),
    field("id", FieldKind::Word, "environments.id", Some("id"), true),
    field("name", FieldKind::Text, "environments.sorted_name", Some("sorted_name"), true),
    field("description", FieldKind::Text, "environments.description", None, false),
    field("state", FieldKind::Word, "environments.state", Some("state"), true),
    field("uuid", FieldKind::Word, "environments.uuid", None, false),
    field("removed", FieldKind::Time, "environments.removed", None, false),
];

/// What an audit row is about, in the API's words.
const RESOURCE_TYPE: &str = "CASE audit.subject WHEN 'key' THEN 'apiKey' WHEN 'environment' THEN 'project' \
    WHEN 'membership' THEN 'projectMember' ELSE audit.subject END";

/// By which fields the audit log can be filtered; it is always in the order of its ids.
pub const AUDIT_FIELDS: &[Field] = &[
    field("id", FieldKind::Id("1al"), "audit.id", Some("id"), true),
    field("created", FieldKind::Time, "audit.at", None, true),
    field("action", FieldKind::Word, "audit.action", None, true),
    field("resourceType", FieldKind::Word, RESOURCE_TYPE, None, false),
    field("resourceId", FieldKind::Word, "audit.object", None, true),
    field("accountId", FieldKind::Word, "audit.actor", None, true),
    field("accessKey", FieldKind::Word, "audit.access_key", None, true),
    field("clientIp", FieldKind::Word, "audit.address", None, false),
    field("outcome", FieldKind::Word, "audit.outcome", None, false),
    field("via", FieldKind::Word, "audit.via", None, false),
    field("requestId", FieldKind::Word, "audit.request", None, false),
];

/// By which fields memberships can be filtered; they are always in the order of their environments, then accounts.
pub const MEMBER_FIELDS: &[Field] = &[
    field("projectId", FieldKind::Word, "environments.id", Some("environment"), false),
    field("externalId", FieldKind::Id("1a"), "memberships.account", None, false),
    field("role", FieldKind::Word, "memberships.role", None, false),
    field("name", FieldKind::Text, "accounts.sorted_name", None, false),
];

impl Listing {
    pub(super) const MEMBERS: Self = Self {
        table: "memberships",
        columns: "memberships.account, memberships.role, environments.id AS environment_id, accounts.name",
        join: "JOIN environments ON environments.row = memberships.environment
            JOIN accounts ON accounts.id = memberships.account",
        row: "memberships.account",
        searched: &["accounts.sorted_name"],
        fields: MEMBER_FIELDS,
        has_removed: false,
    };

    pub(super) const KEYS: Self = Self {
        table: "keys",
        columns: "keys.*, environments.id AS environment_id",
        join: "LEFT JOIN environments ON environments.row = keys.environment",
        row: "keys.id",
        searched: &["keys.sorted_name", "keys.description", "keys.access_key"],
        fields: KEY_FIELDS,
        has_removed: true,
    };

    pub(super) const ACCOUNTS: Self = Self {
        table: "accounts",
        columns: "accounts.*",
        join: "",
        row: "accounts.id",
        searched: &["accounts.sorted_name", "accounts.description"],
        fields: ACCOUNT_FIELDS,
        has_removed: true,
    };

    pub(super) const ENVIRONMENTS: Self = Self {
        table: "environments",
        columns: "environments.*",
        join: "",
        row: "environments.row",
        searched: &["environments.id", "environments.sorted_name", "environments.description"],
        fields: ENVIRONMENT_FIELDS,
        has_removed: true,
    };

    pub(super) const AUDIT: Self = Self {
        table: "audit",
        columns: "audit.*",
        join: "",
        row: "audit.id",
        searched: &["audit.object", "audit.actor", "audit.access_key"],
        fields: AUDIT_FIELDS,
        has_removed: false,
    };

    /// Reads a page.
    pub(super) fn page<T>(
        &self,
        connection: &Connection,
        query: &Query,
        cursor: &Cursor,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>, Fault> {
        let sort = query.sort.filter(|field| field.is_sortable()).unwrap_or(&self.fields[0]);
        let order = format!("{}.{}", self.table, sort.order.unwrap_or(self.row));
        let plan = self.plan(connection, query, cursor)?;

        let mut conditions = Conditions::default();
        self.common(&mut conditions, cursor);
        for (at, filter) in query.filters.iter().enumerate() {
            conditions.filter(filter, plan == Plan::Filter(at));
        }
        if let Some(text) = &query.search {
            conditions.search(self.searched, text);
        }
        // a sign before a column keeps SQLite from finding rows by it
        let sign = if plan == Plan::Order { "" } else { "+" };
        if let Some(marker) = &query.after {
            if marker.sort != sort.name {
                return Err(Fault::Store(super::StoreError::Marker(InvalidMarker)));
            }
            let than = if query.descending { '<' } else { '>' };
            conditions.add(format!("({sign}{order}, {sign}{}) {than} (?, ?)", self.row));
            conditions.parameters.extend([sql(&marker.value)?, marker.row.into()]);
        }
        let index = match plan {
            Plan::Order if self.has_removed => {
                format!("INDEXED BY {}", self.index(sort, cursor.is_owned))
            }
            _ => String::new(),
        };
        let direction = if query.descending { "DESC" } else { "ASC" };
        // one more than asked for tells whether there is a next page
        let statement = format!(
            "SELECT {}, {order} AS page_value, {} AS page_row FROM {} {index} {} {conditions} \
             ORDER BY {sign}{order} {direction}, {sign}{} {direction} LIMIT {}",
            self.columns,
            self.row,
            self.table,
            self.join,
            self.row,
            query.limit.max(1) + 1,
        );
        let mut statement = connection.prepare_cached(&statement)?;
        let mut rows = statement.query(params_from_iter(&conditions.parameters))?;
        let mut page = Page { items: Vec::new(), next: None };
        let mut last = None;
        while let Some(row) = rows.next()? {
            if page.items.len() == query.limit.max(1) {
                page.next = last;
                break;
            }
            page.items.push(read(row)?);
            let value = match row.get::<_, Sql>("page_value")? {
                Sql::Integer(number) => number.into(),
                Sql::Text(text) => text.into(),
                _ => Value::Null,
            };
            last = Some(Marker { sort: sort.name.to_owned(), value, row: row.get("page_row")? });
        }
        Ok(page)
    }

    /// The index that holds the list in this order; see the migrations.
    fn index(&self, sort: &Field, is_owned: bool) -> String {
        let word = match sort.order {
            Some("sorted_name") => "name",
            Some("sorted_description") => "description",
            Some(column) => column,
            None => "id",
        };
        format!("{}_{}_by_{word}", self.table, if is_owned { "owned" } else { "all" })
    }

    fn common(&self, conditions: &mut Conditions, cursor: &Cursor) {
        if self.has_removed {
            conditions.add(format!("{}.state <> 'removed'", self.table));
        }
        if let Some((condition, parameters)) = &cursor.condition {
            conditions.add((*condition).to_owned());
            conditions.parameters.extend_from_slice(parameters);
        }
    }

    /// By which way the rows are found: by a filter that few rows meet, or in the list's order.
    fn plan(&self, connection: &Connection, query: &Query, cursor: &Cursor) -> Result<Plan, Fault> {
        if cursor.condition.is_some() && !cursor.is_owned {
            return Ok(Plan::Scope);
        }
        for (at, filter) in query.filters.iter().enumerate() {
            let is_a_range = !matches!(
                filter.test.modifier,
                Modifier::Ne | Modifier::Like | Modifier::Notlike | Modifier::Null | Modifier::Notnull
            );
            if !filter.field.is_looked_up || !is_a_range {
                continue;
            }
            let mut conditions = Conditions::default();
            self.common(&mut conditions, cursor);
            conditions.filter(filter, true);
            let probe =
                format!("SELECT count(*) FROM (SELECT 1 FROM {} {conditions} LIMIT {FEW})", self.table);
            let found: i64 = connection
                .prepare_cached(&probe)?
                .query_row(params_from_iter(&conditions.parameters), |row| row.get(0))?;
            if found < i64::from(FEW) {
                return Ok(Plan::Filter(at));
            }
        }
        Ok(Plan::Order)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// The list's order, along an index.
    Order,
    /// The filter with this place in the query.
    Filter(usize),
    /// What the list is about is few rows.
    Scope,
}

fn sql(value: &Value) -> Result<Sql, Fault> {
    match value {
        Value::String(text) => Some(Sql::Text(text.clone())),
        Value::Number(number) => number.as_i64().map(Sql::Integer),
        _ => None,
    }
    .ok_or(Fault::Store(super::StoreError::Marker(InvalidMarker)))
}

/// What stands behind WHERE.
#[derive(Default)]
struct Conditions {
    text: Vec<String>,
    parameters: Vec<Sql>,
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { Ok(()) } else { write!(f, "WHERE {}", self.text.join(" AND ")) }
    }
}

impl Conditions {
    fn add(&mut self, condition: String) {
        self.text.push(condition);
    }

    /// `finds`: rows may be looked up by it.
    fn filter(&mut self, filter: &Filter, finds: bool) {
        let sign = if finds { "" } else { "+" };
        let column = format!("{sign}{}", filter.field.column);
        let collation = if filter.field.kind == FieldKind::Text { " COLLATE NOCASE" } else { "" };
        // the columns that have a collation of their own, and those of indexes, keep it
        let collation = if filter.field.is_looked_up { "" } else { collation };
        let compare = |operator: &str| format!("{column} {operator} ?{collation}");
        let condition = match (filter.test.modifier, &filter.test.operand) {
            (Modifier::Null, _) => format!("coalesce({}, '') IN ('', 0)", filter.field.column),
            (Modifier::Notnull, _) => format!("coalesce({}, '') NOT IN ('', 0)", filter.field.column),
            (Modifier::Ne, Operand::Nothing) => return,
            (_, Operand::Nothing | Operand::None) => "0".to_owned(),
            (modifier, Operand::Owner(account, environment)) => {
                self.parameters.extend([account.map_or(Sql::Null, Sql::Integer), environment.clone().into()]);
                let not = if modifier == Modifier::Ne { "NOT " } else { "" };
                // 0 is no row: a NULL in a NOT IN would make it true for none
                format!(
                    "{column} {not}IN (coalesce(?, 0), coalesce((SELECT -row FROM environments WHERE id = ?), 0))"
                )
            }
            (Modifier::Prefix, Operand::Text(text)) => {
                self.parameters.extend([text.clone().into(), format!("{text}\u{10ffff}").into()]);
                format!("{column} >= ?{collation} AND {column} < ?{collation}")
            }
            (modifier, operand) => {
                self.parameters.push(match operand {
                    Operand::Number(number) => (*number).into(),
                    Operand::Text(text) => text.clone().into(),
                    _ => Sql::Null,
                });
                // no time is 0, and comes before none
                let after_none = if filter.field.kind == FieldKind::Time
                    && matches!(modifier, Modifier::Lt | Modifier::Lte)
                {
                    format!(" AND {column} > 0")
                } else {
                    String::new()
                };
                match modifier {
                    Modifier::Ne => compare("<>"),
                    Modifier::Lt => compare("<") + &after_none,
                    Modifier::Lte => compare("<=") + &after_none,
                    Modifier::Gt => compare(">"),
                    Modifier::Gte => compare(">="),
                    Modifier::Like => format!("{column} LIKE ?"),
                    Modifier::Notlike => format!("coalesce({column}, '') NOT LIKE ?"),
                    _ => compare("="),
                }
            }
        };
        self.add(condition);
    }

    fn search(&mut self, columns: &[&str], text: &str) {
        let pattern =
            format!("%{}%", without_end(text).replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        let any: Vec<_> = columns.iter().map(|column| format!("+{column} LIKE ? ESCAPE '\\'")).collect();
        self.parameters.extend(columns.iter().map(|_| Sql::from(pattern.clone())));
        self.add(format!("({})", any.join(" OR ")));
    }
}

#[cfg(test)]
mod tests;
