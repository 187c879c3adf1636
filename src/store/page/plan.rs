//! How the rows of a page are found.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, Row, params_from_iter};

use super::super::error::Fault;
use super::condition::Conditions;
use super::field::{Field, Filter};
use super::marker::Marker;
use super::{Cursor, Listing, Page, Query};

/// Below this many rows a filter is looked up and its rows are sorted.
const FEW: u32 = 2_000;

/// So many rows of the list's order are looked at to tell how many of them meet the conditions.
const SAMPLE: i64 = 2_000;

/// A page for which more rows of the list's order than these would be read, one here and one there, is found faster by
/// reading all in the order in which they lie, and sorting what is found.
const MANY: i64 = 50_000;

/// By which way the rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Along the index that is in the list's order.
    Order,
    /// By the filter with this place in the query.
    Filter(usize),
    /// What the list is about is few rows.
    Scope,
    /// All are read.
    Scan,
}

/// What a page begins with and is sorted by.
struct Order<'a> {
    field: &'a Field,
    /// The column, qualified.
    column: String,
    descending: bool,
    after: Option<&'a Marker>,
}

impl<'a> Order<'a> {
    fn of(listing: &Listing, query: &'a Query) -> Self {
        let field = query.sort.filter(|field| field.is_sortable()).unwrap_or(&listing.fields[0]);
        let column = format!("{}.{}", listing.table, field.order.unwrap_or(listing.row));
        Self { field, column, descending: query.descending, after: query.after.as_ref() }
    }
}

impl Listing {
    /// Reads a page.
    pub(in crate::store) fn page<T>(
        &self,
        connection: &Connection,
        query: &Query,
        cursor: &Cursor,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>, Fault> {
        let order = Order::of(self, query);
        let limit = query.limit.max(1);
        let plan = self.plan(connection, query, cursor, &order)?;
        let mut conditions = Conditions::default();
        let found_by = match plan {
            Plan::Filter(at) => Some(&query.filters[at]),
            _ => None,
        };
        self.scope(&mut conditions, cursor, found_by);
        self.narrow(&mut conditions, query, plan);
        // a sign before a column keeps SQLite from finding rows by it
        let sign = if plan == Plan::Order { "" } else { "+" };
        self.begin(&mut conditions, &order, sign)?;
        let index = match plan {
            Plan::Order if self.has_removed => self.indexed_by(order.field, cursor),
            Plan::Scan if cursor.is_owned => self.indexed_by(&self.fields[0], cursor),
            Plan::Scan => "NOT INDEXED".to_owned(),
            _ => String::new(),
        };
        // one more than asked for tells whether there is a next page
        let statement = format!(
            "SELECT {}, {} AS page_value, {} AS page_row FROM {} {index} {} {conditions} {} LIMIT {}",
            self.columns,
            order.column,
            self.row,
            self.table,
            self.join,
            self.order_by(&order, sign),
            limit + 1,
        );
        let mut statement = connection.prepare_cached(&statement)?;
        let mut rows = statement.query(params_from_iter(&conditions.parameters))?;
        let mut page = Page { items: Vec::new(), next: None };
        let mut last = None;
        while let Some(row) = rows.next()? {
            if page.items.len() == limit {
                page.next = last;
                break;
            }
            page.items.push(read(row)?);
            last = Some(Marker::at(order.field.name, row.get("page_value")?, row.get("page_row")?));
        }
        Ok(page)
    }

    /// What [`page`](Self::page) would do.
    #[cfg(test)]
    pub(super) fn plan_of(&self, at: &Connection, query: &Query, cursor: &Cursor) -> Result<Plan, Fault> {
        self.plan(at, query, cursor, &Order::of(self, query))
    }

    fn plan(
        &self,
        connection: &Connection,
        query: &Query,
        cursor: &Cursor,
        order: &Order<'_>,
    ) -> Result<Plan, Fault> {
        if cursor.condition.is_some() && !cursor.is_owned {
            return Ok(Plan::Scope);
        }
        for (at, filter) in query.filters.iter().enumerate() {
            if self.is_met_by_few(connection, cursor, filter)? {
                return Ok(Plan::Filter(at));
            }
        }
        let is_whole = query.filters.is_empty() && query.search.is_none();
        // the first field's order is that in which the rows lie
        let is_as_they_lie = order.field.name == self.fields[0].name;
        if !self.has_removed || is_whole || is_as_they_lie {
            return Ok(Plan::Order);
        }
        self.plan_by_sample(connection, query, cursor, order)
    }

    fn is_met_by_few(
        &self,
        connection: &Connection,
        cursor: &Cursor,
        filter: &Filter,
    ) -> Result<bool, Fault> {
        if !filter.is_a_range() {
            return Ok(false);
        }
        let mut conditions = Conditions::default();
        self.scope(&mut conditions, cursor, Some(filter));
        conditions.filter(filter, true);
        let probe = format!("SELECT count(*) FROM (SELECT 1 FROM {} {conditions} LIMIT {FEW})", self.table);
        let found: i64 = connection
            .prepare_cached(&probe)?
            .query_row(params_from_iter(&conditions.parameters), |row| row.get(0))?;
        Ok(found < i64::from(FEW))
    }

    /// Looks at the rows that the page would begin with, and tells from how many of them meet the conditions how many
    /// rows the page would take.
    fn plan_by_sample(
        &self,
        connection: &Connection,
        query: &Query,
        cursor: &Cursor,
        order: &Order<'_>,
    ) -> Result<Plan, Fault> {
        let mut wanted = Conditions::default();
        self.narrow(&mut wanted, query, Plan::Order);
        let mut scope = Conditions::default();
        self.scope(&mut scope, cursor, None);
        self.begin(&mut scope, order, "")?;
        // within the list's own order a range has a place
        for filter in query.filters.iter().filter(|filter| filter.is_a_range()) {
            if filter.field.name == order.field.name {
                scope.filter(filter, true);
            }
        }
        let sample = format!(
            "SELECT count(*), coalesce(sum(is_met), 0) FROM (SELECT {} AS is_met FROM {} {} {scope} {} LIMIT {SAMPLE})",
            wanted.all(),
            self.table,
            self.indexed_by(order.field, cursor),
            self.order_by(order, ""),
        );
        let parameters = params_from_iter(wanted.parameters.iter().chain(&scope.parameters));
        let (seen, met): (i64, i64) = connection
            .prepare_cached(&sample)?
            .query_row(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let is_all = seen < SAMPLE;
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).max(1);
        let expected = SAMPLE.saturating_mul(limit) / met.max(1);
        Ok(if is_all || (met > 0 && expected < MANY) { Plan::Order } else { Plan::Scan })
    }

    /// Which rows the list is about. The index of a field by which lists are not sorted does not begin with the owner:
    /// what it finds is compared with the owner then.
    fn scope(&self, conditions: &mut Conditions, cursor: &Cursor, found_by: Option<&Filter>) {
        if self.has_removed {
            conditions.add(format!("{}.state <> 'removed'", self.table));
        }
        if let Some((condition, parameters)) = &cursor.condition {
            let sign = if found_by.is_some_and(|filter| !filter.field.is_sortable()) { "+" } else { "" };
            conditions.add(format!("{sign}{condition}"));
            conditions.parameters.extend_from_slice(parameters);
        }
    }

    /// What the query asks of them.
    fn narrow(&self, conditions: &mut Conditions, query: &Query, plan: Plan) {
        for (at, filter) in query.filters.iter().enumerate() {
            // the order's index is named, so that no other one is taken
            let finds = plan == Plan::Filter(at) || (plan == Plan::Order && self.has_removed);
            conditions.filter(filter, finds);
        }
        if let Some(text) = &query.search {
            conditions.search(self.searched, text);
        }
    }

    /// Where the page begins.
    fn begin(&self, conditions: &mut Conditions, order: &Order<'_>, sign: &str) -> Result<(), Fault> {
        if let Some(marker) = order.after {
            let than = if order.descending { '<' } else { '>' };
            conditions.add(format!("({sign}{}, {sign}{}) {than} (?, ?)", order.column, self.row));
            conditions.parameters.extend::<[Sql; 2]>(marker.place(order.field.name)?);
        }
        Ok(())
    }

    fn order_by(&self, order: &Order<'_>, sign: &str) -> String {
        let direction = if order.descending { "DESC" } else { "ASC" };
        format!("ORDER BY {sign}{} {direction}, {sign}{} {direction}", order.column, self.row)
    }

    fn indexed_by(&self, sort: &Field, cursor: &Cursor) -> String {
        format!("INDEXED BY {}", self.index(sort, cursor.is_owned))
    }

    /// The index that holds the list in this order; see the migrations.
    pub(super) fn index(&self, sort: &Field, is_owned: bool) -> String {
        let word = match sort.order {
            Some("sorted_name") => "name",
            Some("sorted_description") => "description",
            Some(column) => column,
            None => "id",
        };
        format!("{}_{}_by_{word}", self.table, if is_owned { "owned" } else { "all" })
    }
}
