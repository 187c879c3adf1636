//! Replies as answers: status, headers and JSON body.

use http::header::{ETAG, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::api_request::{ApiRequest, etag};
use super::operation_outcome::OperationOutcome;
use super::query::{ListQuery, with_changes};
use super::route::Route;
use super::url::url_prefix;
use crate::management::answer::{Answer, json as json_answer};
use crate::management::request::Request;
use crate::model::{KeyOwner, Name};
use crate::store::{Field, Marker};

const ACCOUNT_ID: HeaderName = HeaderName::from_static("x-api-account-id");
const ACCOUNT_KIND: HeaderName = HeaderName::from_static("x-api-account-kind");
const ACCOUNT_NAME: HeaderName = HeaderName::from_static("x-api-account-name");
/// The number of the change that the answer is about.
const CHANGE: HeaderName = HeaderName::from_static("x-api-change");
const SCHEMAS: HeaderName = HeaderName::from_static("x-api-schemas");
const USER_ID: HeaderName = HeaderName::from_static("x-api-user-id");

/// Escaped in a header: everything but visible ASCII, and the percent sign.
const IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"');

/// The answer to a request that was not refused.
pub(super) fn render(reply: OperationOutcome, request: &ApiRequest<'_>) -> Answer {
    let (status, mut document, revision, number) = match reply {
        OperationOutcome::Resource { document, revision } => (StatusCode::OK, document, revision, None),
        OperationOutcome::Collection { resource_type, fields, query, data, next } => {
            let document = collection(request, resource_type, fields, &query, &data, next.as_ref());
            (StatusCode::OK, document, None, None)
        }
        OperationOutcome::Change { status, document, revision, number } => {
            (status, document, revision, Some(number))
        }
    };
    if request.http.header("x-api-action-links").is_some_and(|value| value == "actionLinks") {
        rename_actions(&mut document);
        if let Some(items) = document.get_mut("data").and_then(Value::as_array_mut) {
            items.iter_mut().for_each(rename_actions);
        }
    }
    let mut answer = json_answer(status, &document);
    if let Some(Value::String(secret)) = document.get_mut("secretValue") {
        zeroize::Zeroize::zeroize(secret);
    }
    let headers = answer.headers_mut();
    if let Some(Ok(tag)) = revision.map(|revision| HeaderValue::from_str(&etag(revision))) {
        headers.insert(ETAG, tag);
    }
    if let Some(number) = number {
        headers.insert(CHANGE, HeaderValue::from(number.0));
    }
    set_caller_headers(&mut answer, request);
    answer
}

/// Older clients of Rancher read the actions by this name.
fn rename_actions(document: &mut Value) {
    if let Some(document) = document.as_object_mut()
        && let Some(actions) = document.remove("actions")
    {
        document.insert("actionLinks".to_owned(), actions);
    }
}

/// Who the caller is, as Rancher's servers say it.
fn set_caller_headers(answer: &mut Answer, request: &ApiRequest<'_>) {
    let own = match request.caller.owner() {
        KeyOwner::Account(id) => id.to_string(),
        KeyOwner::Environment(id) => id.to_string(),
    };
    let (kind, name) = match request.caller.account() {
        Some(account) => (account.kind.as_str(), Some(&account.name)),
        None => ("project", None),
    };
    let effective = request.environment.as_ref().map_or(own.clone(), ToString::to_string);
    let name = name.map(|name: &Name| utf8_percent_encode(name.as_str(), IN_HEADER).to_string());
    let values = [
        (ACCOUNT_ID, Some(effective)),
        (USER_ID, Some(own)),
        (ACCOUNT_KIND, Some(kind.to_owned())),
        (ACCOUNT_NAME, name),
    ];
    for (header, value) in values {
        if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
            answer.headers_mut().insert(header, value);
        }
    }
}

/// Says where the schemas are, in every answer, refusals too: Rancher's clients begin there.
pub(super) fn set_schemas_header(answer: &mut Answer, request: &Request, route: &Route) {
    let environment = route.environment_id().ok().flatten();
    let schemas = format!("{}/schemas", url_prefix(request, environment.as_ref()));
    let headers = answer.headers_mut();
    if let Ok(schemas) = HeaderValue::from_str(&schemas) {
        headers.insert(SCHEMAS, schemas);
    }
    // a script on a page does not want the browser's own prompt for a password
    if request.header("x-api-no-challenge").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        headers.remove(WWW_AUTHENTICATE);
    }
}

/// The document of a page, with links to other orders and to the next page.
fn collection(
    request: &ApiRequest<'_>,
    resource_type: &str,
    fields: &[Field],
    query: &ListQuery,
    data: &[Value],
    next: Option<&Marker>,
) -> Value {
    let address = format!("{}{}", request.http.base_url(), request.http.path().trim_end_matches('/'));
    let asked = request.http.query();
    let link = |changes: &[(&str, Option<&str>)]| format!("{address}?{}", with_changes(asked, changes));
    let sort_links: Map<String, Value> = fields
        .iter()
        .filter(|field| field.is_sortable())
        .map(|field| {
            let changes = [("sort", Some(field.name)), ("order", None), ("marker", None)];
            (field.name.to_owned(), link(&changes).into())
        })
        .collect();
    let filters: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let used: Vec<_> = query
                .filters
                .iter()
                .filter(|(name, ..)| *name == field.name)
                .map(|(_, modifier, value)| json!({ "value": value, "modifier": modifier.as_str() }))
                .collect();
            (field.name.to_owned(), if used.is_empty() { Value::Null } else { used.into() })
        })
        .collect();
    let sort = query.for_store.sort.map(|field| {
        let order = if query.for_store.descending { "desc" } else { "asc" };
        let reverse = if query.for_store.descending { "asc" } else { "desc" };
        json!({
            "name": field.name,
            "order": order,
            "reverse": link(&[("sort", Some(field.name)), ("order", Some(reverse)), ("marker", None)]),
        })
    });
    let next = next.map(|marker| link(&[("marker", Some(&marker.to_string()))]));
    json!({
        "type": "collection",
        "resourceType": resource_type,
        "links": { "self": address },
        "createTypes": {},
        "actions": {},
        "data": data,
        "sortLinks": sort_links,
        "pagination": {
            "first": null,
            "previous": null,
            "next": next,
            "limit": query.for_store.limit,
            "total": null,
            "partial": next.is_some(),
        },
        "sort": sort,
        "filters": filters,
        "createDefaults": {},
    })
}
