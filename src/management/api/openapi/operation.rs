//! Operation objects: parameters, bodies and answers of each method of each path.

use serde_json::{Map, Value, json};

use super::super::resource_type::{Create, Delete, Link, Type};
use super::super::types;
use super::schemas::{Purpose, body, reference, request_fields};
use super::{PATH, Scope};
use crate::store::FieldKind;
use crate::telemetry::MetricsFormat;

pub(super) fn list(kind: Type, scope: Scope) -> Value {
    let mut parameters = scope.parameters();
    parameters.extend(list_parameters(kind));
    let name = format!("list{}{}", upper(kind.plural), scope.suffix());
    let about = format!("The {} that the caller may see, page by page", kind.plural);
    let statuses: &[u16] = &[404, 422];
    operation(
        &name,
        &about,
        kind,
        parameters,
        None,
        answers(200, reference(&format!("{}Collection", kind.name)), statuses),
    )
}

pub(super) fn create(create: &Create, kind: Type, scope: Scope) -> Value {
    let name = format!("create{}{}", upper(kind.name), scope.suffix());
    let mut body = body(kind, Purpose::Create);
    if scope == Scope::Project
        && let Some(contents) = body["content"].as_object_mut()
    {
        // the path names it, and the body's field is ignored
        for content in contents.values_mut() {
            if let Some(properties) = content["schema"]["properties"].as_object_mut() {
                properties.remove("projectId");
            }
        }
    }
    let mut answers = answers(201, changed(kind), &[404, 413, 422]);
    if create.may_take_rights_away {
        answers = pending(answers, kind);
    }
    operation(&name, create.summary, kind, scope.parameters(), Some(body), answers)
}

pub(super) fn get(kind: Type, scope: Scope) -> Value {
    let name = format!("get{}{}", upper(kind.name), scope.suffix());
    let about = format!("One {}", kind.name);
    operation(&name, &about, kind, item(kind, scope), None, answers(200, reference(kind.name), &[404]))
}

pub(super) fn update(kind: Type, scope: Scope) -> Value {
    let name = format!("update{}{}", upper(kind.name), scope.suffix());
    let parameters = item(kind, scope);
    let body = body(kind, Purpose::Edit);
    let answers = pending(answers(200, changed(kind), &[404, 412, 413, 422]), kind);
    let about = "Other values for what can be edited; with If-Match, only where nobody has changed it since";
    operation(&name, about, kind, parameters, Some(body), answers)
}

pub(super) fn delete(delete: &Delete, kind: Type, scope: Scope) -> Value {
    let name = format!("delete{}{}", upper(kind.name), scope.suffix());
    let mut parameters = item(kind, scope);
    parameters.push(confirm());
    let answers = pending(answers(200, changed(kind), &[404, 412, 422]), kind);
    operation(&name, delete.summary, kind, parameters, None, answers)
}

pub(super) fn act(kind: Type, scope: Scope) -> Value {
    let name = format!("actOn{}{}", upper(kind.name), scope.suffix());
    let names: Vec<_> = kind.actions.iter().map(|action| action.name).collect();
    let mut parameters = item(kind, scope);
    parameters.push(json!({
        "name": "action",
        "in": "query",
        "required": true,
        "description": "One of those that the resource's `actions` offer; another is 422 ActionNotAvailable.",
        "schema": { "type": "string", "enum": names },
    }));
    parameters.push(confirm());
    let mut schema = request_fields(kind, Purpose::Act);
    for (name, property) in kind.actions.iter().flat_map(|action| action.properties) {
        schema["properties"][name] = property();
    }
    let body = json!({ "required": false, "content": { "application/json": { "schema": schema } } });
    let mut answers = pending(answers(200, changed(kind), &[404, 412, 413, 422]), kind);
    if kind.actions.iter().any(|action| action.creates) {
        answers.insert("201".to_owned(), answers["200"].clone());
    }
    operation(
        &name,
        "Runs an action; it is finished when the answer says so",
        kind,
        parameters,
        Some(body),
        answers,
    )
}

pub(super) fn follow(link: &Link, kind: Type, scope: Scope) -> Value {
    let name = format!("{}{}", link.operation_id, scope.suffix());
    let schema = match link.leads_to {
        [one] => reference(one),
        several => json!({ "oneOf": several.iter().map(|name| reference(name)).collect::<Vec<_>>() }),
    };
    operation(&name, link.summary, kind, item(kind, scope), None, answers(200, schema, &[404, 422]))
}

pub(super) fn version() -> Value {
    let answers = answers(200, reference("apiVersion"), &[]);
    operation(
        "getVersion",
        "Where everything begins: links to all types",
        types::root_type(),
        Vec::new(),
        None,
        answers,
    )
}

/// The paths that monitoring asks.
pub(super) fn health_and_metrics() -> Map<String, Value> {
    let text = |about: &str, kind: &str| json!({ "description": about, "content": { kind: { "schema": { "type": "string" } } } });
    let plain = "text/plain; charset=utf-8";
    let open = |name: &str, about: &str, responses: Value| json!({ "get": { "operationId": name, "summary": about, "tags": ["operation"], "security": [], "responses": responses } });
    let metrics = json!({
        "get": {
            "operationId": "getMetrics",
            "summary": "Metrics for Prometheus, for an admin account's key or the token in `management.metrics.token_file`",
            "tags": ["operation"],
            "responses": {
                "200": {
                    "description": "The metrics, in the format that `Accept` prefers",
                    "content": {
                        (MetricsFormat::Prometheus.content_type()): { "schema": { "type": "string" } },
                        (MetricsFormat::OpenMetrics.content_type()): { "schema": { "type": "string" } },
                    },
                },
                "401": refusal(401),
                "403": refusal(403),
                "429": refusal(429),
                "503": refusal(503),
            },
        },
    });
    let document = json!({
        "description": "This document",
        "content": { "application/json": { "schema": { "type": "object" } } },
    });
    [
        (
            "/healthz".to_owned(),
            open("getHealth", "Whether the process serves", json!({ "200": text("It does", plain) })),
        ),
        (
            "/readyz".to_owned(),
            open(
                "getReadiness",
                "Whether keys can be decided about",
                json!({
                    "200": text("They can", plain),
                    "503": text("They cannot: why", plain),
                }),
            ),
        ),
        ("/metrics".to_owned(), metrics),
        (
            PATH.to_owned(),
            open(
                "getDocument",
                "The API's description",
                json!({ "200": document, "400": refusal(400), "403": refusal(403), "421": refusal(421) }),
            ),
        ),
    ]
    .into_iter()
    .collect()
}

fn operation(
    name: &str,
    about: &str,
    kind: Type,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
) -> Value {
    let mut operation = json!({
        "operationId": name,
        "summary": about,
        "tags": [kind.name],
        "parameters": parameters,
        "responses": responses,
    });
    if let (Some(body), Some(operation)) = (body, operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn item(kind: Type, scope: Scope) -> Vec<Value> {
    let mut parameters = scope.parameters();
    parameters.push(path_parameter("id", kind.id_pattern, "The resource's id"));
    parameters
}

pub(super) fn path_parameter(name: &str, pattern: &str, about: &str) -> Value {
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": about,
        "schema": { "type": "string", "pattern": format!("^{pattern}$") },
    })
}

fn confirm() -> Value {
    query_parameter(
        "confirm",
        "`self`: the key or account that is asking is meant",
        json!({ "type": "string" }),
    )
}

fn query_parameter(name: &str, about: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": about, "schema": schema })
}

fn list_parameters(kind: Type) -> Vec<Value> {
    let text = || json!({ "type": "string" });
    let mut parameters = vec![
        query_parameter(
            "limit",
            "Rows on a page: 100 where absent, 3000 at most; 0 or less is the most",
            text(),
        ),
        query_parameter("sort", "The field to sort by", text()),
        query_parameter("order", "`asc`, or `desc`", text()),
    ];
    for field in kind.list_fields {
        let modifiers: Vec<_> =
            field.modifiers().iter().map(|modifier| format!("`_{}`", modifier.as_str())).collect();
        let about = format!(
            "Only where `{0}` is this; `{0}` with {1} compares otherwise",
            field.name,
            modifiers.join(", ")
        );
        let schema = match field.kind {
            FieldKind::Time => json!({
                "type": "string",
                "anyOf": [{ "format": "date-time" }, { "pattern": "^[0-9]{1,15}$" }],
            }),
            _ => text(),
        };
        parameters.push(query_parameter(field.name, &about, schema));
    }
    parameters
}

/// The answers of an operation: success, the refusals of any request, and those with the statuses `more`.
fn answers(good: u16, schema: Value, more: &[u16]) -> Map<String, Value> {
    let about = if good == 201 { "Made" } else { "Done" };
    let good_answer = json!({
        "description": about,
        "headers": { "X-API-Schemas": schemas_header(), "X-Request-Id": { "schema": { "type": "string" } } },
        "content": { "application/json": { "schema": schema } },
    });
    let mut answers = Map::new();
    answers.insert(good.to_string(), good_answer);
    let mut statuses = vec![400, 401, 403, 405, 421, 429, 503];
    statuses.extend(more);
    for status in statuses {
        answers.insert(status.to_string(), refusal(status));
    }
    answers
}

/// Adds the answer to a change that is not confirmed yet.
fn pending(mut answers: Map<String, Value>, kind: Type) -> Map<String, Value> {
    let pending = json!({
        "description": "Done in the record, and not confirmed within 5 seconds by the gateways that `receipt` names",
        "content": { "application/json": { "schema": changed(kind) } },
    });
    answers.insert("202".to_owned(), pending);
    answers
}

/// The body of the answer to a change: the resource and the receipt.
fn changed(kind: Type) -> Value {
    json!({
        "allOf": [reference(kind.name)],
        "properties": { "receipt": reference("receipt") },
        "required": ["receipt"],
    })
}

fn schemas_header() -> Value {
    json!({ "description": "Where the schemas for this scope are", "schema": { "type": "string", "format": "uri" } })
}

fn refusal(status: u16) -> Value {
    let about = match status {
        400 => "The request cannot be read: InvalidBodyContent, InvalidFormat, Bad Request",
        401 => "No key, or one that does not work",
        403 => "Not for the caller to do, or sent by another site's page",
        404 => "There is no such thing, or the caller may not know of it",
        405 => "The caller's role, or the resource's state, knows no such method",
        412 => "Somebody else has changed the resource",
        413 => "The body is larger than 64 KiB",
        421 => "The listener is not known by that host name",
        422 => {
            "What the request says cannot be: InvalidAction, ActionNotAvailable, InvalidOption, InvalidReference, \
            InvalidCharacters, InvalidDateFormat, InvalidState, MissingRequired, MaxLimitExceeded, MaxLengthExceeded, \
            MinLengthExceeded, \
            NotUnique"
        }
        429 => "Too many failures from this address",
        _ => "The record cannot be reached now",
    };
    let mut headers = Map::new();
    headers.insert("X-Request-Id".to_owned(), json!({ "schema": { "type": "string" } }));
    match status {
        401 => {
            headers.insert("WWW-Authenticate".to_owned(), json!({ "schema": { "type": "string" } }));
        }
        405 => {
            headers.insert("Allow".to_owned(), json!({ "schema": { "type": "string" } }));
        }
        429 | 503 => {
            headers.insert("Retry-After".to_owned(), json!({ "schema": { "type": "integer" } }));
        }
        _ => {}
    }
    json!({
        "description": about,
        "headers": headers,
        "content": { "application/json": { "schema": reference("error") } },
    })
}

fn upper(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}
