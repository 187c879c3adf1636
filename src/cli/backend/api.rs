//! What the commands ask of a gateway's management API, whatever the type of object.

use std::ops::ControlFlow;

use form_urlencoded::Serializer;
use http::Method;
use serde_json::{Value, json};

use super::{OnListPart, PAGE_ROWS};
use crate::cli::arguments::ConfirmSelf;
use crate::cli::remote::resources::Unexpected;
use crate::cli::remote::{Answer, Body, Client, RemoteError};
use crate::cli::results::{Changed, Fetched, ListPart};
use crate::management::resource_json;
use crate::model::{Description, Name, State};
use crate::store::{Edit, StoreError};

/// Hands over a list of the API's.
pub(super) fn sent_parts<T>(
    client: &mut Client,
    path: &str,
    read: fn(&Value) -> Result<T, Unexpected>,
    on_part: &mut OnListPart<'_, T>,
) -> anyhow::Result<()> {
    let mut failed = None;
    client.pages(with_query(path, &[("limit", &PAGE_ROWS.to_string())]), |items, mut collection| {
        let fetched = |document: Value| read(&document).map(|object| Fetched::from_api(object, document));
        match items.into_iter().map(fetched).collect() {
            Ok(items) => {
                // all pages are printed as one
                if let Some(pagination) = collection.get_mut("pagination").and_then(Value::as_object_mut) {
                    pagination.insert("next".to_owned(), Value::Null);
                    pagination.insert("partial".to_owned(), false.into());
                }
                on_part(ListPart { items, collection: Some(collection) })
            }
            Err(error) => {
                failed = Some(error);
                Ok(ControlFlow::Break(()))
            }
        }
    })?;
    match failed {
        Some(error) => Err(client.unexpected(error.to_string()).into()),
        None => Ok(()),
    }
}

/// What the first page of a list of the API's holds that `is_meant`: filters of the API are not exact.
pub(super) fn matching<T>(
    client: &mut Client,
    target: &str,
    read: fn(&Value) -> Result<T, Unexpected>,
    is_meant: impl Fn(&T) -> bool,
) -> Result<Vec<Fetched<T>>, RemoteError> {
    let mut collection = client.get(target)?.document;
    let Some(Value::Array(items)) = collection.get_mut("data").map(Value::take) else {
        return Err(client.unexpected("it is no list"));
    };
    let mut found = Vec::new();
    for document in items {
        let object = client.read(&document, read)?;
        if is_meant(&object) {
            found.push(Fetched::from_api(object, document));
        }
    }
    Ok(found)
}

/// The one object that was found by a name, as the store says it.
pub(super) fn only_one<T>(
    what: &'static str,
    wanted: &str,
    mut found: Vec<Fetched<T>>,
    id: impl Fn(&T) -> String,
) -> Result<Fetched<T>, StoreError> {
    let wanted = wanted.to_owned();
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(StoreError::NotFound { what, wanted }),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            found.push(last);
            let ids = found.iter().take(5).map(|fetched| id(&fetched.object)).collect::<Vec<_>>().join(", ");
            Err(StoreError::Ambiguous { what, wanted, count: found.len(), ids })
        }
    }
}

/// An answer of the API's about one object, which must be the one that was asked for.
pub(super) fn fetched<T>(
    client: &Client,
    answer: Answer,
    read: fn(&Value) -> Result<T, Unexpected>,
    is_meant: impl Fn(&T) -> bool,
) -> Result<Fetched<T>, RemoteError> {
    let object = client.read(&answer.document, read)?;
    if !is_meant(&object) {
        return Err(client.unexpected("it is another object than the one that was asked for"));
    }
    Ok(Fetched::from_api(object, answer.document))
}

/// The same, for an answer to a change.
pub(super) fn changed<T>(
    client: &Client,
    mut answer: Answer,
    read: fn(&Value) -> Result<T, Unexpected>,
    is_meant: impl Fn(&T) -> bool,
) -> Result<Changed<T>, RemoteError> {
    let (number, is_pending) = (answer.number, answer.is_pending);
    // apart: what a command prints of an object has it only where a change is what it tells of
    let receipt = answer.document.as_object_mut().and_then(|document| document.remove("receipt"));
    Ok(Changed { fetched: fetched(client, answer, read, is_meant)?, number, receipt, is_pending })
}

/// Has the API take the object at `path` to a state. Where it is there already, that is no failure, as it is none in
/// the store.
pub(super) fn change_state(
    client: &mut Client,
    path: &str,
    state: State,
    confirmation: ConfirmSelf,
) -> Result<Answer, RemoteError> {
    let (method, action) = match state {
        State::Active => (Method::POST, Some("activate")),
        State::Inactive => (Method::POST, Some("deactivate")),
        State::Removed => (Method::DELETE, None),
    };
    let confirmed = confirmation.confirm_self.then_some(("confirm", "self"));
    let query: Vec<_> = action.map(|action| ("action", action)).into_iter().chain(confirmed).collect();
    match client.send(&method, &with_query(path, &query), None) {
        Err(refused @ RemoteError::WrongState { .. }) => {
            let now = client.get(path)?;
            // "deactivating" is inactive in the record, and not yet confirmed
            let there = [false, true].map(|is_pending| resource_json::state_word(state, is_pending));
            let is_there =
                now.document.get("state").and_then(Value::as_str).is_some_and(|state| there.contains(&state));
            if is_there { Ok(now) } else { Err(refused) }
        }
        answer => answer,
    }
}

/// The body of an edit: what is absent stays, what is null is taken away.
pub(super) fn edit_body(edit: &Edit) -> Body {
    Body::json(&edit_fields(edit).into())
}

/// The fields that an edit sets.
pub(super) fn edit_fields(edit: &Edit) -> serde_json::Map<String, Value> {
    let mut fields = serde_json::Map::new();
    if let Some(name) = &edit.name {
        fields.insert("name".to_owned(), json!(name.as_ref().map(Name::as_str)));
    }
    if let Some(description) = &edit.description {
        fields.insert("description".to_owned(), json!(description.as_ref().map(Description::as_str)));
    }
    fields
}

/// A path of the API with these parameters added to its query.
pub(super) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    if pairs.is_empty() {
        return path.to_owned();
    }
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sign}{}", Serializer::new(String::new()).extend_pairs(pairs).finish())
}
