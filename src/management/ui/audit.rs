//! The audit log, for admins: newest first, filtered, with what each change made different.

use std::collections::HashMap;

use askama::Template;
use askama::filters::HtmlSafe;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::audit_filters::{self, FilterField};
use super::list_view::{ListDefaults, ListView};
use super::page::{Layout, Rendered, Section, render};
use super::relative_time::full;
use super::signed_in_request::{SignedInRequest, with_query};
use super::table::{Cell, Row, Table, column, sortable_column};
use crate::model::{AccountId, Scope};
use crate::policy::ManagementAction;
use crate::store::{AUDIT_FIELDS, AuditEntry, ObjectId, Page};

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    layout: Layout,
    filters: Vec<FilterField>,
    is_filtered: bool,
    /// `None`: a filter has to be corrected first.
    table: Option<Table>,
}

/// `/audit`
pub(super) async fn list(request: &SignedInRequest<'_>) -> Result<Answer, Refusal> {
    request.caller.require(&ManagementAction::SeeEverything)?;
    let (fields, filters) = audit_filters::read(request).await?;
    let is_filtered = fields.iter().any(|field| !field.value.is_empty());
    let is_wrong = fields.iter().any(|field| field.problem.is_some());
    let defaults =
        ListDefaults { prefix: "", anchor: "entries", fields: AUDIT_FIELDS, sort: "id", descending: true };
    let view = ListView::read(request.http, defaults);
    let mut query = view.query()?;
    query.filters = filters;
    let table = if is_wrong {
        None
    } else {
        let page = request.operations().audit(&request.caller, query).await?;
        Some(table(request, &page, is_filtered, view).await?)
    };
    let status = if is_wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let layout = request.layout("Audit log", Section::Audit);
    Ok(render(status, &AuditPage { layout, filters: fields, is_filtered, table }))
}

/// The history of what has this id, as a link for the pages of those who may see it.
pub(super) fn history_link(request: &SignedInRequest<'_>, kind: &str, id: &str) -> Option<String> {
    let may_see = request.caller.may(&ManagementAction::SeeEverything);
    may_see.then(|| with_query("/audit", &[("object", id), ("type", kind)]))
}

async fn table(
    request: &SignedInRequest<'_>,
    page: &Page<AuditEntry>,
    is_filtered: bool,
    view: ListView,
) -> Result<Table, Refusal> {
    let now = Timestamp::now();
    let ids = page.items.iter().flat_map(|entry| [actor_id(entry)].into_iter().chain(object_ids(entry)));
    let names = request.operations().names(&request.caller, ids.flatten().collect()).await?;
    let columns = vec![
        sortable_column("When", "id"),
        column("Done by"),
        column("Action"),
        column("Object"),
        column("Outcome"),
    ];
    let row = |entry: &AuditEntry| row(entry, &names, now);
    let empty = if is_filtered { "No entries match these filters." } else { "Nothing was recorded yet." };
    Ok(Table::new("entries", "Audit log, newest first".to_owned(), columns, page, row, empty, view))
}

type Names = HashMap<ObjectId, String>;

/// Whoever did it, where that has a name of its own beside what the entry says.
fn actor_id(entry: &AuditEntry) -> Option<ObjectId> {
    entry.access_key.as_ref()?;
    let account = entry.actor.parse().map(ObjectId::Account);
    account.or_else(|_| entry.actor.parse().map(ObjectId::Environment)).ok()
}

/// What it was done to; a membership is of an environment and an account.
fn object_ids(entry: &AuditEntry) -> [Option<ObjectId>; 2] {
    let object = entry.object.as_str();
    let key = || object.parse().ok().map(ObjectId::Key);
    let account = |id: &str| id.parse().ok().map(ObjectId::Account);
    let environment = |id: &str| id.parse().ok().map(ObjectId::Environment);
    match entry.subject.as_str() {
        "key" => [key(), None],
        "account" => [account(object), None],
        "environment" => [environment(object), None],
        "membership" => match object.split_once(':') {
            Some((of, who)) => [account(who), environment(of)],
            None => [environment(object), None],
        },
        _ => [None, None],
    }
}

/// A name with the id beside it.
fn name_and_id(id: &ObjectId, names: &Names) -> String {
    match names.get(id) {
        Some(name) if *name != id.to_string() => format!("{name} ({id})"),
        _ => id.to_string(),
    }
}

fn row(entry: &AuditEntry, names: &Names, now: Timestamp) -> Row {
    let actor = Actor { entry, name: actor_id(entry).map(|id| name_and_id(&id, names)) };
    let differences = Differences {
        lines: differences(entry.before.as_ref(), entry.after.as_ref()),
        is_new: entry.before.is_none(),
    };
    Row {
        id: format!("1al{}", entry.id),
        cells: vec![
            Cell::time_in_full(entry.at, now),
            Cell::html(&actor),
            Cell::tag(action_label(&entry.action)),
            object(entry, names),
            Cell::html(&Outcome { entry }),
        ],
        label: entry.object.clone(),
        menu: Vec::new(),
        below: (!differences.lines.is_empty()).then(|| Rendered::of(&differences)),
        choice: None,
    }
}

/// What an action of the audit log is called on the page. The API's words that say enough are their own labels.
fn action_label(action: &str) -> &str {
    match action {
        "endrotation" => "end former secret",
        "rehash" => "renew hash",
        "add" => "add member",
        "role" => "change role",
        other => other,
    }
}

/// The object, and the way to it where it was there.
fn object(entry: &AuditEntry, names: &Names) -> Cell {
    let label = match object_ids(entry) {
        [Some(account), Some(environment)] => {
            format!("{} in {}", name_and_id(&account, names), name_and_id(&environment, names))
        }
        [Some(id), None] => name_and_id(&id, names),
        _ => entry.object.clone(),
    };
    let text = format!("{} {label}", entry.subject);
    if entry.change.is_none() {
        return Cell::Text(Some(text));
    }
    let id = &entry.object;
    let href = match entry.subject.as_str() {
        "key" => format!("/keys/{id}"),
        "account" => format!("/accounts/{id}"),
        "environment" => format!("/environments/{id}"),
        // the environment's id and the account's, with a colon between them
        "membership" => format!("/environments/{}#members", id.split(':').next().unwrap_or_default()),
        _ => return Cell::Text(Some(text)),
    };
    Cell::Link { text, href }
}

/// Who did it, with which key, from where.
#[derive(Template)]
#[template(path = "audit_actor.html")]
struct Actor<'a> {
    entry: &'a AuditEntry,
    /// Name and id; `None`: only what the entry says.
    name: Option<String>,
}

impl HtmlSafe for Actor<'_> {}

impl Actor<'_> {
    fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.entry.actor)
    }

    /// The account's page; an environment, or who has a shell on the machine, is none.
    fn account(&self) -> Option<String> {
        self.entry.actor.parse::<AccountId>().ok().map(|id| format!("/accounts/{id}"))
    }
}

/// The list of all that was done with the same key.
pub(super) fn of_key(key: &str) -> String {
    with_query("/audit", &[("key", key)])
}

/// How it went.
#[derive(Template)]
#[template(path = "audit_outcome.html")]
struct Outcome<'a> {
    entry: &'a AuditEntry,
}

impl HtmlSafe for Outcome<'_> {}

/// What is different afterwards.
#[derive(Template)]
#[template(path = "audit_differences.html")]
struct Differences {
    lines: Vec<Difference>,
    is_new: bool,
}

impl HtmlSafe for Differences {}

/// A field that is different.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    field: String,
    before: Option<String>,
    after: Option<String>,
}

/// The fields in which two versions of an object differ; all that have a value, where there is one version only.
fn differences(before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let nothing = serde_json::Map::new();
    let fields = |version: Option<&Value>| version.and_then(Value::as_object).unwrap_or(&nothing).clone();
    let (before, after) = (fields(before), fields(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| Difference {
            field: name.clone(),
            before: before.get(name).and_then(|value| words(name, value)),
            after: after.get(name).and_then(|value| words(name, value)),
        })
        .filter(|difference| difference.before != difference.after)
        .collect()
}

/// A value as people read it; `None` for none.
fn words(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if matches!(name, "created" | "removed" | "expires") => {
            let at = number.as_i64().and_then(|at| Timestamp::from_millisecond(at).ok());
            Some(at.map_or_else(|| number.to_string(), full))
        }
        Value::Object(_) if name == "scope" => {
            let scope = value.to_string();
            Some(scope.parse().map_or(scope, |scope: Scope| scope.restrictions().join("; ")))
        }
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn difference(field: &str, before: Option<&str>, after: Option<&str>) -> Difference {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Difference { field: field.to_owned(), before: owned(before), after: owned(after) }
    }

    #[test]
    fn only_what_is_different_is_shown() {
        let before = json!({ "id": "1c5", "name": null, "state": "active", "removed": null });
        let after =
            json!({ "id": "1c5", "name": "ci", "state": "inactive", "removed": 1_767_608_430_000_i64 });
        assert_eq!(
            differences(Some(&before), Some(&after)),
            [
                difference("name", None, Some("ci")),
                difference("removed", None, Some("2026-01-05 10:20:30 UTC")),
                difference("state", Some("active"), Some("inactive")),
            ]
        );
    }

    #[test]
    fn what_is_new_is_shown_without_what_it_lacks() {
        let after = json!({ "id": "1c5", "name": null });
        assert_eq!(differences(None, Some(&after)), [difference("id", None, Some("1c5"))]);
        assert!(differences(None, None).is_empty());
    }
}
