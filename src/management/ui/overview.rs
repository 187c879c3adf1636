//! The overview, for admins: the last hour, the keys most used, those that were unused the longest, the gateways.

use askama::Template;
use http::StatusCode;
use jiff::Timestamp;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::chart::{Chart, Minute};
use super::key_display::{expires, key_label, last_use, owner_cell, owner_names};
use super::list_view::{ListDefaults, ListView};
use super::page::{Layout, Section, render};
use super::relative_time::RelativeTime;
use super::signed_in_request::{SignedInRequest, redirect};
use super::table::{Cell, Row, Table, column};
use crate::policy::ManagementAction;
use crate::store::{GatewayEntry, Gateways, KEY_FIELDS, KeyEntry, Page, PageQuery};
use crate::telemetry::{self, Outcome};

/// Keys in each list.
const SHOWN: usize = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    layout: Layout,
    chart: Chart,
    /// Keys that end by themselves before long; `None` where none does.
    ending_soon: Option<Table>,
    most_used: Table,
    longest_unused: Table,
    /// Who shares the record; `None` where nobody can be asked.
    gateways: Option<Table>,
}

/// `/`: the overview, or what stands in its place for those who are no admins.
pub(super) async fn show(request: &SignedInRequest<'_>) -> Result<Answer, Refusal> {
    if !request.caller.may(&ManagementAction::SeeEverything) {
        return Ok(redirect("/keys"));
    }
    let now = request.operations().now();
    let page = OverviewPage {
        ending_soon: ending_soon(request, now).await?,
        most_used: top(request, "most-used", "Keys most used", in_order("useCount", true), now).await?,
        longest_unused: top(
            request,
            "longest-unused",
            "Keys unused the longest",
            in_order("lastUsed", false),
            now,
        )
        .await?,
        gateways: gateways(request, now).await,
        chart: Chart::new(&last_hour(request, now)),
        layout: request.layout("Overview", Section::Overview),
    };
    Ok(render(StatusCode::OK, &page))
}

/// The requests of the last hour, a minute each, oldest first.
fn last_hour(request: &SignedInRequest<'_>, now: Timestamp) -> Vec<Minute> {
    let minutes = request.management.history.minutes(now);
    let counts = |minute: &telemetry::Minute| Outcome::ALL.map(|outcome| minute.requests.get(outcome));
    minutes.iter().map(|minute| Minute { start: minute.start, counts: counts(minute) }).collect()
}

/// The gateways that share the record.
async fn gateways(request: &SignedInRequest<'_>, now: Timestamp) -> Option<Table> {
    let Gateways { head, entries, .. } = request.operations().gateways().await?;
    let row = |gateway: &GatewayEntry| Row {
        id: gateway.id.clone(),
        cells: vec![
            Cell::live(gateway.is_live),
            Cell::text(Some(&gateway.name)),
            Cell::number(gateway.applied.0),
            Cell::number(head.0.saturating_sub(gateway.applied.0)),
            Cell::text(Some(RelativeTime { at: gateway.lease_until, now }.full())),
            Cell::time(gateway.started, now),
        ],
        label: gateway.name.clone(),
        menu: Vec::new(),
        below: None,
        choice: None,
    };
    let columns = ["State", "Name", "Applied", "Behind", "Lease until", "Started"].map(column).into();
    let id = "gateways";
    let defaults = ListDefaults { prefix: id, anchor: id, fields: &[], sort: "name", descending: false };
    let view = ListView::read(request.http, defaults);
    let page = Page::whole(entries);
    Some(Table::new(id, "Gateways".to_owned(), columns, &page, row, "There are no gateways.", view))
}

/// The keys that end within the time of the longest notice.
async fn ending_soon(request: &SignedInRequest<'_>, now: Timestamp) -> Result<Option<Table>, Refusal> {
    let Some(notice) = request.operations().lifetimes().longest_notice() else { return Ok(None) };
    let query = PageQuery::keys_that_end_within(now, notice);
    let table = top(request, "ending-soon", "Keys that end soon", query, now).await?;
    Ok(Some(table).filter(|table| !table.rows.is_empty()))
}

/// All keys in this order.
fn in_order(order: &'static str, descending: bool) -> PageQuery {
    let sort = KEY_FIELDS.iter().find(|field| field.name == order);
    PageQuery { sort, descending, ..PageQuery::default() }
}

/// The first keys that a query finds.
async fn top(
    request: &SignedInRequest<'_>,
    id: &'static str,
    caption: &str,
    query: PageQuery,
    now: Timestamp,
) -> Result<Table, Refusal> {
    let (order, descending) = (query.sort.map_or("id", |field| field.name), query.descending);
    let notice = request.operations().lifetimes().longest_notice();
    let query = PageQuery { limit: SHOWN, ..query };
    let mut page = request.operations().keys(&request.caller, None, query).await?;
    let confirmed_up_to = request.operations().confirmed_up_to().await;
    // the first are all that is shown here
    page.next = None;
    if descending {
        page.items.retain(|entry| entry.usage.uses > 0);
    }
    let names = owner_names(request, &page.items).await?;
    let row = |entry: &KeyEntry| Row {
        id: entry.key.id.to_string(),
        cells: vec![
            Cell::key_state(entry, now, confirmed_up_to),
            Cell::link(key_label(&entry.key), format!("/keys/{}", entry.key.id)),
            owner_cell(&entry.key.owner, &names),
            expires(&entry.key, now, notice),
            last_use(entry, now),
            Cell::number(entry.usage.uses),
        ],
        label: key_label(&entry.key).to_owned(),
        menu: Vec::new(),
        below: None,
        choice: None,
    };
    let columns = ["State", "Key", "Belongs to", "Expires", "Last used", "Requests"].map(column).into();
    let defaults = ListDefaults { prefix: id, anchor: id, fields: KEY_FIELDS, sort: order, descending };
    let view = ListView::read(request.http, defaults);
    Ok(Table::new(
        id,
        caption.to_owned(),
        columns,
        &page,
        row,
        "No key has been used yet. Uses are saved every five seconds.",
        view,
    ))
}
