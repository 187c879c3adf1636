//! The overview, for admins: the last hour, the keys most used, those that were unused the longest, the gateways.

use askama::Template;
use http::StatusCode;
use jiff::Timestamp;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::chart::{Chart, Minute};
use super::keys::{shown, used};
use super::moment::Moment;
use super::page::{Frame, Section, render};
use super::table::{Cell, Row, Table, plain};
use super::view::{Usual, View};
use super::visit::{Visit, see_other};
use crate::model::KeyOwner;
use crate::policy::ManagementAction;
use crate::store::{GatewayEntry, Gateways, KEY_FIELDS, KeyEntry, Page, PageQuery};
use crate::telemetry::{self, Outcome};

/// Keys in each list.
const SHOWN: usize = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    chart: Chart,
    most_used: Table,
    longest_unused: Table,
    /// Who shares the record; `None` where nobody can be asked.
    gateways: Option<Table>,
}

/// `/`: the overview, or what stands in its place for those who are no admins.
pub(super) async fn show(visit: &Visit<'_>) -> Result<Answer, Refusal> {
    if !visit.caller.may(&ManagementAction::SeeEverything) {
        return Ok(see_other("/keys"));
    }
    let now = Timestamp::now();
    let page = OverviewPage {
        most_used: top(visit, "most-used", "Keys most used", "useCount", true, now).await?,
        longest_unused: top(visit, "longest-unused", "Keys unused the longest", "lastUsed", false, now)
            .await?,
        gateways: gateways(visit, now).await,
        chart: Chart::new(&last_hour(visit, now)),
        frame: visit.frame("Overview", Section::Overview),
    };
    Ok(render(StatusCode::OK, &page))
}

/// The requests of the last hour, a minute each, oldest first.
fn last_hour(visit: &Visit<'_>, now: Timestamp) -> Vec<Minute> {
    let minutes = visit.management.history.minutes(now);
    let counts = |minute: &telemetry::Minute| Outcome::ALL.map(|outcome| minute.requests.get(outcome));
    minutes.iter().map(|minute| Minute { start: minute.start, counts: counts(minute) }).collect()
}

/// The gateways that share the record.
async fn gateways(visit: &Visit<'_>, now: Timestamp) -> Option<Table> {
    let Gateways { head, entries, .. } = visit.operations().gateways().await?;
    let row = |gateway: &GatewayEntry| Row {
        id: gateway.id.clone(),
        cells: vec![
            Cell::live(gateway.is_live),
            Cell::text(Some(&gateway.name)),
            Cell::number(gateway.applied.0),
            Cell::number(head.0.saturating_sub(gateway.applied.0)),
            Cell::text(Some(Moment { at: gateway.lease_until, now }.full())),
            Cell::time(gateway.started, now),
        ],
        label: gateway.name.clone(),
        menu: Vec::new(),
    };
    let columns = ["State", "Name", "Applied", "Behind", "Lease until", "Started"].map(plain).into();
    let id = "gateways";
    let usual = Usual { prefix: id, anchor: id, fields: &[], sort: "name", descending: false };
    let view = View::read(visit.request, usual);
    let page = Page { items: entries, next: None };
    Some(Table::new(id, "Gateways".to_owned(), columns, &page, row, "No gateway is there.", view))
}

/// The first keys in an order.
async fn top(
    visit: &Visit<'_>,
    id: &'static str,
    caption: &str,
    order: &'static str,
    descending: bool,
    now: Timestamp,
) -> Result<Table, Refusal> {
    let sort = KEY_FIELDS.iter().find(|field| field.name == order);
    let query = PageQuery { sort, descending, limit: SHOWN, ..PageQuery::default() };
    let mut page = visit.operations().keys(&visit.caller, None, query).await?;
    let confirmed_up_to = visit.operations().confirmed_up_to().await;
    // the first are all that is shown here
    page.next = None;
    if descending {
        page.items.retain(|entry| entry.usage.uses > 0);
    }
    let row = |entry: &KeyEntry| Row {
        id: entry.key.id.to_string(),
        cells: vec![
            Cell::state(entry.key.state, entry.revision, confirmed_up_to),
            Cell::link(shown(&entry.key), format!("/keys/{}", entry.key.id)),
            match &entry.key.owner {
                KeyOwner::Account(id) => Cell::link(&format!("account {id}"), format!("/accounts/{id}")),
                KeyOwner::Environment(id) => {
                    Cell::link(&format!("environment {id}"), format!("/environments/{id}"))
                }
            },
            used(entry, now),
            Cell::number(entry.usage.uses),
        ],
        label: shown(&entry.key).to_owned(),
        menu: Vec::new(),
    };
    let columns =
        vec![plain("State"), plain("Key"), plain("Belongs to"), plain("Last used"), plain("Requests")];
    let usual = Usual { prefix: id, anchor: id, fields: KEY_FIELDS, sort: order, descending };
    let view = View::read(visit.request, usual);
    Ok(Table::new(
        id,
        caption.to_owned(),
        columns,
        &page,
        row,
        "No key has been used yet. Uses are written down every five seconds.",
        view,
    ))
}
