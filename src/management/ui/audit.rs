//! The audit log, for admins: newest first, filtered, with what each change made different.

use askama::Template;
use askama::filters::HtmlSafe;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::super::resource_json::resource_type;
use super::moment::full;
use super::page::{Frame, Section, render};
use super::table::{Cell, Row, Table, plain, sorted};
use super::view::{Usual, View};
use super::visit::{Visit, with};
use crate::model::AccountId;
use crate::policy::ManagementAction;
use crate::store::{AUDIT_FIELDS, AuditEntry, Filter, Modifier};

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    filters: Vec<Shown>,
    is_filtered: bool,
    table: Table,
}

/// A filter as it is shown.
struct Shown {
    name: &'static str,
    label: &'static str,
    /// Empty: any text.
    choices: &'static [&'static str],
    value: String,
}

/// Parameter, label, the record's field, and the words to choose from.
const FILTERS: [(&str, &str, &str, &[&str]); 6] = [
    ("action", "Action", "action", &["create", "edit", "activate", "deactivate", "remove", "add", "role"]),
    ("type", "Object type", "resourceType", &["key", "account", "environment", "membership"]),
    ("object", "Object", "resourceId", &[]),
    ("actor", "Done by", "accountId", &[]),
    ("key", "With access key", "accessKey", &[]),
    ("outcome", "Outcome", "outcome", &["done", "refused"]),
];

/// `/audit`
pub(super) async fn list(visit: &Visit<'_>) -> Result<Answer, Refusal> {
    visit.caller.require(&ManagementAction::SeeEverything)?;
    let now = Timestamp::now();
    let usual = Usual { prefix: "", anchor: "entries", fields: AUDIT_FIELDS, sort: "id", descending: true };
    let view = View::read(visit.request, usual);
    let mut query = view.query()?;
    let mut shown = Vec::new();
    for (name, label, field, choices) in FILTERS {
        let value = visit.parameter(name).unwrap_or_default().trim().to_owned();
        let field = AUDIT_FIELDS.iter().find(|known| known.name == field);
        // no field of the audit log that is offered here is a date; types are compared in the API's words
        if let Some(field) = field.filter(|_| !value.is_empty())
            && let Ok(test) =
                field.test(Modifier::Eq, if name == "type" { resource_type(&value) } else { &value })
        {
            query.filters.push(Filter { field, test });
        }
        shown.push(Shown { name, label, choices, value });
    }
    let page = visit.operations().audit(&visit.caller, query).await?;
    let columns = vec![
        sorted("When", "id"),
        plain("Done by"),
        plain("Action"),
        plain("Object"),
        plain("Outcome"),
        plain("What changed"),
    ];
    let row = |entry: &AuditEntry| row(entry, now);
    let empty = "Nothing was done yet that these filters let through.";
    let caption = "Audit log, newest first".to_owned();
    let page = AuditPage {
        frame: visit.frame("Audit log", Section::Audit),
        is_filtered: shown.iter().any(|filter| !filter.value.is_empty()),
        filters: shown,
        table: Table::new("entries", caption, columns, &page, row, empty, view),
    };
    Ok(render(StatusCode::OK, &page))
}

fn row(entry: &AuditEntry, now: Timestamp) -> Row {
    let actor = Actor { entry };
    let outcome = Outcome { entry };
    let differences = Differences {
        lines: differences(entry.before.as_ref(), entry.after.as_ref()),
        is_new: entry.before.is_none(),
    };
    Row {
        id: format!("1al{}", entry.id),
        cells: vec![
            Cell::time(entry.at, now),
            Cell::html(&actor),
            Cell::tag(&entry.action),
            object(entry),
            Cell::html(&outcome),
            if differences.lines.is_empty() { Cell::Text(None) } else { Cell::html(&differences) },
        ],
        label: entry.object.clone(),
        menu: Vec::new(),
    }
}

/// The object, and the way to it where it was there.
fn object(entry: &AuditEntry) -> Cell {
    let text = format!("{} {}", entry.subject, entry.object);
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
}

impl HtmlSafe for Actor<'_> {}

impl Actor<'_> {
    /// The account's page; an environment, or who has a shell on the machine, is none.
    fn account(&self) -> Option<String> {
        self.entry.actor.parse::<AccountId>().ok().map(|id| format!("/accounts/{id}"))
    }
}

/// The list of all that was done with the same key.
fn of_key(key: &str) -> String {
    with("/audit", &[("key", key)])
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
        Value::Number(number) if matches!(name, "created" | "removed") => {
            let at = number.as_i64().and_then(|at| Timestamp::from_millisecond(at).ok());
            Some(at.map_or_else(|| number.to_string(), full))
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
