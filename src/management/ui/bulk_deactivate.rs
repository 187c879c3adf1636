//! Deactivating several keys at once: one question that names them, and one answer that says what became of each.

use askama::Template;
use askama::filters::HtmlSafe;
use http::StatusCode;
use tokio::task::JoinSet;

use super::super::answer::Answer;
use super::super::operations::{Changed, SelfLockout};
use super::super::refusal::Refusal;
use super::form::Form;
use super::key_display::{find_key, key_label};
use super::list_page::ListPage;
use super::list_view::{ListDefaults, ListView};
use super::page::{Layout, Section, render};
use super::signed_in_request::{SignedInRequest, form_return_path, receipt_sentence, sentence};
use super::table::{Cell, Row, Table, column};
use crate::model::{KeyId, State};
use crate::store::{Attempt, KEY_FIELDS, KeyEntry, Page};

/// As many as the longest page of a list shows.
const MAX_KEYS: usize = 100;
const LIST: &str = "/keys";

#[derive(Template)]
#[template(path = "bulk_deactivate.html")]
struct ConfirmPage {
    layout: Layout,
    /// Those that will be deactivated.
    keys: Vec<KeyEntry>,
    /// Those that will not, and why.
    skipped: Vec<(String, &'static str)>,
    to: String,
}

/// `/keys/deactivate`: the question
pub(super) async fn confirm(request: &SignedInRequest<'_>) -> Result<Answer, Refusal> {
    let query = form_urlencoded::parse(request.http.query().as_bytes());
    let ids: Vec<_> = query.filter(|(name, _)| name == "key").map(|(_, value)| value).collect();
    let mut page = ConfirmPage {
        layout: request.layout("Deactivate API keys", Section::Keys),
        keys: Vec::new(),
        skipped: Vec::new(),
        to: request.return_path(LIST),
    };
    for id in read_ids(ids.iter().map(|id| &**id))? {
        let entry = find_key(request, &id.to_string()).await?;
        let label = key_label(&entry.key).to_owned();
        if entry.key.state != State::Active {
            page.skipped.push((label, "It is not active."));
        } else if request.caller.principal().key.id == id {
            page.skipped.push((label, "You have signed in with this key. Deactivate it on its own."));
        } else {
            page.keys.push(entry);
        }
    }
    Ok(render(StatusCode::OK, &page))
}

/// `/keys/deactivate`
pub(super) async fn deactivate(request: &SignedInRequest<'_>, form: &Form) -> Result<Answer, Refusal> {
    let ids = read_ids(form.values("key"))?;
    let mut changes = JoinSet::new();
    for (at, id) in ids.iter().copied().enumerate() {
        let (operations, caller) = (request.operations().clone(), request.caller.clone());
        // at once: each waits until every gateway has applied it
        changes.spawn(async move {
            let entry = operations.key(&caller, id).await;
            let done =
                operations.set_key_state(&caller, id, State::Inactive, SelfLockout::NotConfirmed).await;
            (at, entry.ok(), done)
        });
    }
    let mut results = Vec::new();
    while let Some(result) = changes.join_next().await {
        // an error means that it panicked, which the runtime has reported
        results.extend(result);
    }
    results.sort_unstable_by_key(|(at, ..)| *at);
    let mut rows = Vec::new();
    for (at, entry, done) in results {
        let id = ids[at];
        if let Err(refusal) = &done {
            let attempt = Attempt::from_client("deactivate", "key", &id.to_string());
            request.operations().audit_refusal(&request.caller, attempt, refusal).await;
        }
        rows.push(row(id, entry.as_ref(), &done));
    }
    let defaults =
        ListDefaults { prefix: "", anchor: "deactivated", fields: KEY_FIELDS, sort: "id", descending: false };
    let view = ListView::read(request.http, defaults);
    let columns = ["Key", "Access key", "Result"].map(column).into();
    let page = Page::whole(rows);
    let table = Table::new(
        "deactivated",
        "What became of each key".to_owned(),
        columns,
        &page,
        |row: &ResultRow| row.cells(),
        "No keys were selected.",
        view,
    );
    let to = form_return_path(form, LIST);
    Ok(render(
        StatusCode::OK,
        &ListPage {
            layout: request.layout("API keys deactivated", Section::Keys),
            up: Some((to, "API keys")),
            heading: "API keys deactivated",
            intro: "What became of each key that you selected.",
            add: None,
            table,
        },
    ))
}

/// The ids, each once.
fn read_ids<'a>(given: impl Iterator<Item = &'a str>) -> Result<Vec<KeyId>, Refusal> {
    let mut ids: Vec<KeyId> = Vec::new();
    for id in given {
        let id = id.parse().map_err(|_| Refusal::NotFound)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
        if ids.len() > MAX_KEYS {
            let detail = format!("at most {MAX_KEYS} keys are deactivated at once: select fewer");
            return Err(Refusal::Invalid { code: "MaxLimitExceeded", field: None, detail });
        }
    }
    if ids.is_empty() {
        let detail = "no keys are selected: go back and tick those that you want to deactivate";
        return Err(Refusal::invalid("MissingRequired", "key", detail));
    }
    Ok(ids)
}

/// What became of one key.
#[derive(Template)]
#[template(path = "bulk_result.html")]
struct KeyResult {
    is_done: bool,
    word: &'static str,
    detail: String,
}

impl HtmlSafe for KeyResult {}

struct ResultRow {
    id: KeyId,
    /// Label and access key; `None` for a key that is not there, or not for the caller to see.
    key: Option<(String, String)>,
    result: KeyResult,
}

fn row(id: KeyId, entry: Option<&KeyEntry>, done: &Result<Changed<KeyEntry>, Refusal>) -> ResultRow {
    let (is_done, word, detail) = match done {
        Ok(done) => (true, "Deactivated", receipt_sentence(done)),
        Err(refusal) if refusal.field() == Some("confirm") => {
            let detail = "You have signed in with this key. Deactivate it on its own.";
            (false, "Not deactivated", detail.to_owned())
        }
        Err(Refusal::NotFound) => {
            (false, "Not found", "The key is not there, or your account may not see it.".to_owned())
        }
        Err(Refusal::Forbidden { detail: None }) => {
            (false, "Not permitted", "Your account may not change this key.".to_owned())
        }
        Err(refusal) => {
            let detail = refusal.detail().map_or_else(|| "Try again.".to_owned(), sentence);
            (false, "Not deactivated", detail)
        }
    };
    let key = entry.map(|entry| (key_label(&entry.key).to_owned(), entry.key.access_key.to_string()));
    ResultRow { id, key, result: KeyResult { is_done, word, detail } }
}

impl ResultRow {
    fn cells(&self) -> Row {
        let id = self.id.to_string();
        let (label, access_key) = match &self.key {
            Some((label, access_key)) => (label.clone(), Cell::Code(access_key.clone())),
            None => (id.clone(), Cell::Text(None)),
        };
        Row {
            cells: vec![Cell::link(&label, format!("/keys/{id}")), access_key, Cell::html(&self.result)],
            id,
            label,
            menu: Vec::new(),
            below: None,
            choice: None,
        }
    }
}
