//! Finds the rows of a page, by the cheapest way.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, Row, params_from_iter};

use super::super::error::TransactionError;
use super::condition::Conditions;
use super::field::{Field, Filter};
use super::marker::Marker;
use super::{ListDefinition, ListScope, Page, PageQuery, Total};

/// If fewer rows match a filter, they are looked up by it and sorted.
const LOOKUP_MAX_ROWS: u32 = 2_000;

/// How many rows of the list's order are looked at to estimate how many of them match.
const SAMPLE: i64 = 2_000;

/// If more rows of the list's order would be read, at random places, it is faster to read all rows in the order of the
/// table and to sort those that match.
const SCAN_FROM_ROWS: i64 = 50_000;

/// So many rows are looked at to tell how many a list has.
const MAX_COUNTED: u32 = 10_000;

/// Rows as they were read.
struct Found<T> {
    items: Vec<T>,
    first: Option<Marker>,
    last: Option<Marker>,
    /// Whether there are more after them.
    has_more: bool,
}

/// How the rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Along the index that is in the list's order.
    Order,
    /// By the filter with this place in the query.
    Filter(usize),
    /// By the list's scope, which has few rows.
    Scope,
    /// All rows are read.
    Scan,
    /// Along the table itself, which is in the order of its first field.
    Table,
}

/// How a page is sorted, and where it begins.
struct Order<'a> {
    field: &'a Field,
    /// The column; `None`: the one that tells rows apart.
    bare_column: Option<&'static str>,
    /// The column, qualified.
    column: String,
    /// What markers of this order are called.
    name: &'static str,
    descending: bool,
    after: Option<&'a Marker>,
}

impl<'a> Order<'a> {
    fn of(listing: &ListDefinition, query: &'a PageQuery) -> Self {
        let field = query.sort.filter(|field| field.is_sortable()).unwrap_or(&listing.fields[0]);
        let (bare_column, name) = match field.order {
            Some("sorted_name") if query.is_natural => (Some("natural_name"), "naturalName"),
            order => (order, field.name),
        };
        let column = format!("{}.{}", listing.table, bare_column.unwrap_or(listing.row));
        Self { field, bare_column, column, name, descending: query.descending, after: query.after.as_ref() }
    }
}

impl ListDefinition {
    /// Reads a page.
    pub(in crate::store) fn page<T>(
        &self,
        connection: &Connection,
        query: &PageQuery,
        scope: &ListScope,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>, TransactionError> {
        let before = match &query.before {
            Some(before) => self.page_before(connection, query, before, scope, &read)?,
            None => None,
        };
        let mut page = if let Some(page) = before {
            page
        } else {
            let found = self.rows(connection, query, scope, &read)?;
            let next = found.last.filter(|_| found.has_more);
            let previous = found.first.filter(|_| query.after.is_some());
            Page { items: found.items, next, previous, total: None }
        };
        if query.is_counted {
            page.total = self.total(connection, query, scope, &page)?;
        }
        Ok(page)
    }

    /// The page that ends before a row; `None` where fewer rows than a page has are there: the first page shows them.
    fn page_before<T>(
        &self,
        connection: &Connection,
        query: &PageQuery,
        before: &Marker,
        scope: &ListScope,
        read: &impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<Page<T>>, TransactionError> {
        let backwards =
            PageQuery { descending: !query.descending, after: Some(before.clone()), ..query.clone() };
        let mut found = self.rows(connection, &backwards, scope, read)?;
        if !found.has_more {
            return Ok(None);
        }
        found.items.reverse();
        Ok(Some(Page { items: found.items, next: found.first, previous: found.last, total: None }))
    }

    /// Reads the rows after a marker, or the first ones.
    fn rows<T>(
        &self,
        connection: &Connection,
        query: &PageQuery,
        scope: &ListScope,
        read: &impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Found<T>, TransactionError> {
        let order = Order::of(self, query);
        let limit = query.limit.max(1);
        let plan = self.plan(connection, query, scope, &order)?;
        let mut conditions = Conditions::default();
        let found_by = match plan {
            Plan::Filter(at) => Some(&query.filters[at]),
            _ => None,
        };
        self.add_scope(&mut conditions, scope, found_by);
        self.add_filters(&mut conditions, query, plan);
        // a sign before a column keeps SQLite from finding rows by it
        let sign = if matches!(plan, Plan::Order | Plan::Table) { "" } else { "+" };
        self.start_after_marker(&mut conditions, &order, sign)?;
        let index = match plan {
            Plan::Order if self.has_removed => self.indexed_by(order.bare_column, scope),
            Plan::Scan if scope.is_owned => self.indexed_by(self.fields[0].order, scope),
            Plan::Scan | Plan::Table => "NOT INDEXED".to_owned(),
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
        let mut found = Found { items: Vec::new(), first: None, last: None, has_more: false };
        while let Some(row) = rows.next()? {
            if found.items.len() == limit {
                found.has_more = true;
                break;
            }
            found.items.push(read(row)?);
            let marker = Marker::at(order.name, row.get("page_value")?, row.get("page_row")?);
            found.first.get_or_insert_with(|| marker.clone());
            found.last = Some(marker);
        }
        Ok(found)
    }

    /// How many rows there are on all pages, as far as that is cheap: of so many rows, all are looked at.
    fn total<T>(
        &self,
        connection: &Connection,
        query: &PageQuery,
        scope: &ListScope,
        page: &Page<T>,
    ) -> Result<Option<Total>, TransactionError> {
        if page.next.is_none() && page.previous.is_none() && query.after.is_none() {
            return Ok(Some(Total::Exactly(page.items.len())));
        }
        let mut wanted = Conditions::default();
        self.add_filters(&mut wanted, query, Plan::Scan);
        let mut looked_at = Conditions::default();
        self.add_scope(&mut looked_at, scope, None);
        let index =
            if self.has_removed && !scope.with_removed && (scope.condition.is_none() || scope.is_owned) {
                self.indexed_by(self.fields[0].order, scope)
            } else {
                String::new()
            };
        let statement = format!(
            "SELECT count(*), coalesce(sum(is_met), 0) FROM (SELECT {} AS is_met FROM {} {index} {} {looked_at} LIMIT {})",
            wanted.all(),
            self.table,
            self.join,
            MAX_COUNTED + 1,
        );
        let parameters = params_from_iter(wanted.parameters.iter().chain(&looked_at.parameters));
        let (seen, met): (i64, i64) = connection
            .prepare_cached(&statement)?
            .query_row(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let is_whole = query.filters.is_empty() && query.search.is_none();
        Ok(if seen <= i64::from(MAX_COUNTED) {
            Some(Total::Exactly(usize::try_from(met).unwrap_or_default()))
        } else {
            is_whole.then_some(Total::MoreThan(MAX_COUNTED as usize))
        })
    }

    /// What [`page`](Self::page) would do.
    #[cfg(test)]
    pub(super) fn plan_of(
        &self,
        at: &Connection,
        query: &PageQuery,
        scope: &ListScope,
    ) -> Result<Plan, TransactionError> {
        self.plan(at, query, scope, &Order::of(self, query))
    }

    fn plan(
        &self,
        connection: &Connection,
        query: &PageQuery,
        scope: &ListScope,
        order: &Order<'_>,
    ) -> Result<Plan, TransactionError> {
        // the first field's order is that in which the rows lie
        let is_as_they_lie = order.field.name == self.fields[0].name;
        if scope.with_removed {
            return Ok(if is_as_they_lie { Plan::Table } else { Plan::Scan });
        }
        if scope.condition.is_some() && !scope.is_owned {
            return Ok(Plan::Scope);
        }
        for (at, filter) in query.filters.iter().enumerate() {
            if self.matches_few_rows(connection, scope, filter)? {
                return Ok(Plan::Filter(at));
            }
        }
        let is_whole = query.filters.is_empty() && query.search.is_none();
        if !self.has_removed || is_whole || is_as_they_lie {
            return Ok(Plan::Order);
        }
        self.plan_by_sample(connection, query, scope, order)
    }

    fn matches_few_rows(
        &self,
        connection: &Connection,
        scope: &ListScope,
        filter: &Filter,
    ) -> Result<bool, TransactionError> {
        if !filter.is_a_range() {
            return Ok(false);
        }
        let mut conditions = Conditions::default();
        self.add_scope(&mut conditions, scope, Some(filter));
        conditions.filter(filter, true);
        let probe = format!(
            "SELECT count(*) FROM (SELECT 1 FROM {} {conditions} LIMIT {LOOKUP_MAX_ROWS})",
            self.table
        );
        let found: i64 = connection
            .prepare_cached(&probe)?
            .query_row(params_from_iter(&conditions.parameters), |row| row.get(0))?;
        Ok(found < i64::from(LOOKUP_MAX_ROWS))
    }

    /// Looks at the rows that the page would begin with, and tells from how many of them meet the conditions how many
    /// rows the page would take.
    fn plan_by_sample(
        &self,
        connection: &Connection,
        query: &PageQuery,
        scope: &ListScope,
        order: &Order<'_>,
    ) -> Result<Plan, TransactionError> {
        let mut wanted = Conditions::default();
        self.add_filters(&mut wanted, query, Plan::Order);
        let mut looked_at = Conditions::default();
        self.add_scope(&mut looked_at, scope, None);
        self.start_after_marker(&mut looked_at, order, "")?;
        // within the list's own order a range has a place
        for filter in query.filters.iter().filter(|filter| filter.is_a_range()) {
            if filter.field.order == order.bare_column {
                looked_at.filter(filter, true);
            }
        }
        let sample = format!(
            "SELECT count(*), coalesce(sum(is_met), 0) FROM (SELECT {} AS is_met FROM {} {} {looked_at} {} LIMIT {SAMPLE})",
            wanted.all(),
            self.table,
            self.indexed_by(order.bare_column, scope),
            self.order_by(order, ""),
        );
        let parameters = params_from_iter(wanted.parameters.iter().chain(&looked_at.parameters));
        let (seen, met): (i64, i64) = connection
            .prepare_cached(&sample)?
            .query_row(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let is_all = seen < SAMPLE;
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).max(1);
        let expected = SAMPLE.saturating_mul(limit) / met.max(1);
        Ok(if is_all || (met > 0 && expected < SCAN_FROM_ROWS) { Plan::Order } else { Plan::Scan })
    }

    /// Which rows the list is about. The index of a field by which lists are not sorted does not begin with the owner:
    /// what it finds is compared with the owner then.
    fn add_scope(&self, conditions: &mut Conditions, scope: &ListScope, found_by: Option<&Filter>) {
        if self.has_removed && !scope.with_removed {
            conditions.add(format!("{}.state <> 'removed'", self.table));
        }
        if let Some((condition, parameters)) = &scope.condition {
            let sign = if found_by.is_some_and(|filter| !filter.field.is_sortable()) { "+" } else { "" };
            conditions.add(format!("{sign}{condition}"));
            conditions.parameters.extend_from_slice(parameters);
        }
    }

    /// What the query asks of them.
    fn add_filters(&self, conditions: &mut Conditions, query: &PageQuery, plan: Plan) {
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
    fn start_after_marker(
        &self,
        conditions: &mut Conditions,
        order: &Order<'_>,
        sign: &str,
    ) -> Result<(), TransactionError> {
        if let Some(marker) = order.after {
            let than = if order.descending { '<' } else { '>' };
            conditions.add(format!("({sign}{}, {sign}{}) {than} (?, ?)", order.column, self.row));
            conditions.parameters.extend::<[Sql; 2]>(marker.place(order.name)?);
        }
        Ok(())
    }

    fn order_by(&self, order: &Order<'_>, sign: &str) -> String {
        let direction = if order.descending { "DESC" } else { "ASC" };
        format!("ORDER BY {sign}{} {direction}, {sign}{} {direction}", order.column, self.row)
    }

    fn indexed_by(&self, order: Option<&str>, scope: &ListScope) -> String {
        format!("INDEXED BY {}", self.index(order, scope.is_owned))
    }

    /// The index that holds the list in this order; see the migrations.
    pub(super) fn index(&self, order: Option<&str>, is_owned: bool) -> String {
        let word = match order {
            Some("sorted_name") => "name",
            Some("sorted_description") => "description",
            Some(column) => column,
            None => "id",
        };
        format!("{}_{}_by_{word}", self.table, if is_owned { "owned" } else { "all" })
    }
}
