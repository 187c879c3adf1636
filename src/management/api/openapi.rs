//! The `OpenAPI` 3.1 document: every route, status and error of the management listener's API, made from the same
//! table of types that routes its requests.

#![allow(
    clippy::needless_pass_by_value,
    reason = "documents are put together by value; json! looks at them only"
)]

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::path::ROOT;
use super::types::{Audience, FieldSpec, Type, Who};
use crate::management::app::{Answer, json as json_answer, refuse};
use crate::management::refusal::Refusal;
use crate::management::request::Request;
use crate::store::FieldKind;

/// Where the document is. It holds no secret and needs no key.
pub(super) const PATH: &str = "/openapi.json";

/// An environment's id, as in `model::EnvironmentId`.
const ENVIRONMENT_ID: &str = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}";

/// What names may not hold: controls, and what changes the direction of text.
const PLAIN_LINE: &str =
    "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]*$";

/// The same for descriptions, which may have tabs and several lines.
const PLAIN: &str =
    "^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]*$";

/// Answers with the document.
pub(super) fn answer(request: &Request) -> Answer {
    if request.head.method == http::Method::GET {
        json_answer(StatusCode::OK, &document(&request.base()))
    } else {
        refuse(&Refusal::MethodNotAllowed { allow: "GET".to_owned(), detail: None }, &request.id)
    }
}

/// The document, for a server that is reached at `base`.
fn document(base: &str) -> Value {
    let mut paths = Map::new();
    paths.insert(ROOT.to_owned(), json!({ "get": version() }));
    for kind in Type::ALL {
        describe(&mut paths, kind, Place::Top);
        if kind.is_seen_through_environments() {
            describe(&mut paths, kind, Place::Project);
        }
    }
    paths.extend(machines());
    let schemas: Map<String, Value> = Type::ALL
        .into_iter()
        .flat_map(|kind| {
            let name = kind.name();
            [(name.to_owned(), resource(kind)), (format!("{name}Collection"), collection(kind))]
        })
        .chain([("error".to_owned(), error())])
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis management API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Keys, accounts, environments (`project`), memberships and the audit log, in the shapes of \
                Rancher's v2-beta API. Type names may be written in any case, in singular or plural. Fields that are \
                unknown, or that the caller may not set, are ignored.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": base }],
        "security": [{ "basic": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The access key is the user name, the secret key the password (RFC 7617).",
                },
            },
            "schemas": schemas,
        },
    })
}

/// From where a type is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// `/v2-beta/…`
    Top,
    /// `/v2-beta/projects/{projectId}/…`
    Project,
}

impl Place {
    fn prefix(self) -> String {
        match self {
            Self::Top => ROOT.to_owned(),
            Self::Project => format!("{ROOT}/projects/{{projectId}}"),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Top => "",
            Self::Project => "InProject",
        }
    }

    fn parameters(self) -> Vec<Value> {
        match self {
            Self::Top => Vec::new(),
            Self::Project => {
                let about = "The environment: what is seen is what belongs to it.";
                vec![path_parameter("projectId", ENVIRONMENT_ID, about)]
            }
        }
    }
}

fn describe(paths: &mut Map<String, Value>, kind: Type, place: Place) {
    // an admin knows every method that there is
    let Some(methods) = kind.methods(Audience::Admin) else { return };
    let path = format!("{}/{}", place.prefix(), kind.plural().to_ascii_lowercase());
    let mut on_collection = Map::new();
    on_collection.insert("get".to_owned(), list(kind, place));
    if methods.collection.contains(&"POST") {
        on_collection.insert("post".to_owned(), create(kind, place));
    }
    paths.insert(path.clone(), on_collection.into());

    let mut on_resource = Map::new();
    on_resource.insert("get".to_owned(), get(kind, place));
    if methods.resource.contains(&"PUT") {
        on_resource.insert("put".to_owned(), update(kind, place));
        on_resource.insert("delete".to_owned(), delete(kind, place));
    }
    if !kind.actions(Audience::Admin).is_empty() {
        on_resource.insert("post".to_owned(), act(kind, place));
    }
    paths.insert(format!("{path}/{{id}}"), on_resource.into());
    match kind {
        Type::ApiKey => {
            let one_of = json!({ "oneOf": [reference("account"), reference("project")] });
            let link = follow(
                "getOwnerOfApiKey",
                "The account or environment that owns the key",
                kind,
                place,
                one_of,
            );
            paths.insert(format!("{path}/{{id}}/account"), json!({ "get": link }));
        }
        Type::Account => {
            let list = reference("apiKeyCollection");
            let link = follow("listKeysOfAccount", "The account's keys", kind, place, list);
            paths.insert(format!("{path}/{{id}}/apikeys"), json!({ "get": link }));
        }
        _ => {}
    }
}

fn list(kind: Type, place: Place) -> Value {
    let mut parameters = place.parameters();
    parameters.extend(list_parameters(kind));
    let name = format!("list{}{}", upper(kind.plural()), place.suffix());
    let about = format!("The {} that the caller may see, page by page", kind.plural());
    let statuses: &[u16] = &[404, 422];
    operation(
        &name,
        &about,
        kind,
        parameters,
        None,
        answers(200, reference(&format!("{}Collection", kind.name())), statuses),
    )
}

fn create(kind: Type, place: Place) -> Value {
    let name = format!("create{}{}", upper(kind.name()), place.suffix());
    let about = match kind {
        Type::ApiKey => "A new key. Its secret is in this answer and nowhere else.".to_owned(),
        _ => format!("A new {}", kind.name()),
    };
    let body = body(kind, Purpose::Create);
    let answers = answers(201, reference(kind.name()), &[404, 413, 422]);
    operation(&name, &about, kind, place.parameters(), Some(body), answers)
}

fn get(kind: Type, place: Place) -> Value {
    let name = format!("get{}{}", upper(kind.name()), place.suffix());
    let about = format!("One {}", kind.name());
    operation(&name, &about, kind, item(kind, place), None, answers(200, reference(kind.name()), &[404]))
}

fn update(kind: Type, place: Place) -> Value {
    let name = format!("update{}{}", upper(kind.name()), place.suffix());
    let parameters = item(kind, place);
    let body = body(kind, Purpose::Edit);
    let answers = pending(answers(200, reference(kind.name()), &[404, 412, 413, 422]), kind);
    let about = "Other values for what can be edited; with If-Match, only where nobody has changed it since";
    operation(&name, about, kind, parameters, Some(body), answers)
}

fn delete(kind: Type, place: Place) -> Value {
    let name = format!("delete{}{}", upper(kind.name()), place.suffix());
    let mut parameters = item(kind, place);
    parameters.push(confirm());
    let about = if kind == Type::ProjectMember {
        "Ends the membership"
    } else {
        "Removes what is inactive, for good; what is active is 405"
    };
    let answers = pending(answers(200, reference(kind.name()), &[404, 412, 422]), kind);
    operation(&name, about, kind, parameters, None, answers)
}

fn act(kind: Type, place: Place) -> Value {
    let name = format!("actOn{}{}", upper(kind.name()), place.suffix());
    let mut parameters = item(kind, place);
    parameters.push(json!({
        "name": "action",
        "in": "query",
        "required": true,
        "description": "One of those that the resource's `actions` offer; another is 422 ActionNotAvailable.",
        "schema": { "type": "string", "enum": kind.actions(Audience::Admin) },
    }));
    parameters.push(confirm());
    let mut schema = object(kind, Purpose::Act);
    if kind == Type::Project {
        let member = json!({
            "type": "object",
            "properties": {
                "externalId": { "type": "string", "pattern": "^1a[1-9][0-9]{0,17}$" },
                "role": { "type": "string", "enum": ["owner", "member", "restricted", "readonly"] },
            },
            "required": ["externalId", "role"],
        });
        schema["properties"]["members"] = json!({
            "type": ["array", "null"],
            "items": member,
            "description": "For setmembers: all members that the environment is to have",
        });
    }
    let body = json!({ "required": false, "content": { "application/json": { "schema": schema } } });
    let answers = pending(answers(200, reference(kind.name()), &[404, 412, 413, 422]), kind);
    operation(
        &name,
        "Runs an action; it is finished when the answer says so",
        kind,
        parameters,
        Some(body),
        answers,
    )
}

fn follow(name: &str, about: &str, kind: Type, place: Place, schema: Value) -> Value {
    let name = format!("{name}{}", place.suffix());
    operation(&name, about, kind, item(kind, place), None, answers(200, schema, &[404, 422]))
}

fn version() -> Value {
    let answers = answers(200, reference("apiVersion"), &[]);
    operation(
        "getVersion",
        "Where everything begins: links to all types",
        Type::ApiVersion,
        Vec::new(),
        None,
        answers,
    )
}

/// What machines ask.
fn machines() -> Map<String, Value> {
    let text = |about: &str, kind: &str| json!({ "description": about, "content": { kind: { "schema": { "type": "string" } } } });
    let plain = "text/plain; charset=utf-8";
    let open = |name: &str, about: &str, responses: Value| json!({ "get": { "operationId": name, "summary": about, "tags": ["operation"], "security": [], "responses": responses } });
    let metrics = json!({
        "get": {
            "operationId": "getMetrics",
            "summary": "Metrics for Prometheus, for an admin account's key",
            "tags": ["operation"],
            "responses": {
                "200": text("The metrics", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
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
        "tags": [kind.name()],
        "parameters": parameters,
        "responses": responses,
    });
    if let (Some(body), Some(operation)) = (body, operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn item(kind: Type, place: Place) -> Vec<Value> {
    let mut parameters = place.parameters();
    let pattern = match kind {
        Type::ApiKey => "1c[1-9][0-9]{0,17}".to_owned(),
        Type::Account => "1a[1-9][0-9]{0,17}".to_owned(),
        Type::Project => ENVIRONMENT_ID.to_owned(),
        Type::ProjectMember => format!("{ENVIRONMENT_ID}:1a[1-9][0-9]{{0,17}}"),
        Type::AuditLog => "1al[1-9][0-9]{0,17}".to_owned(),
        Type::Schema => "[A-Za-z]{1,64}".to_owned(),
        Type::ProjectTemplate | Type::ApiVersion => "[0-9A-Za-z-]{1,64}".to_owned(),
    };
    parameters.push(path_parameter("id", &pattern, "The resource's id"));
    parameters
}

fn path_parameter(name: &str, pattern: &str, about: &str) -> Value {
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
    for field in kind.listed_by() {
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

/// A request's body, as JSON and as a form.
fn body(kind: Type, purpose: Purpose) -> Value {
    let schema = object(kind, purpose);
    let mut form = schema.clone();
    if let Some(properties) = form["properties"].as_object_mut() {
        for property in properties.values_mut() {
            // a form has no null
            property["type"] = "string".into();
            if let Some(options) = property.get_mut("enum").and_then(Value::as_array_mut) {
                options.retain(|option| !option.is_null());
            }
        }
    }
    let is_required = schema.get("required").is_some();
    json!({
        "required": is_required,
        "content": {
            "application/json": { "schema": schema },
            "application/x-www-form-urlencoded": { "schema": form },
        },
    })
}

/// What a request's body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Create,
    Edit,
    /// An edit, or nothing at all.
    Act,
}

/// The fields of a type that a request sets.
fn object(kind: Type, purpose: Purpose) -> Value {
    let fields = kind.fields();
    let is_set = |spec: &&FieldSpec| match purpose {
        Purpose::Create => spec.create != Who::Nobody,
        Purpose::Edit | Purpose::Act => spec.update,
    };
    let fields = fields.iter().filter(is_set);
    let properties: Map<String, Value> = fields
        .clone()
        .map(|spec| {
            // an action that edits nothing does not look at what it is given
            let is_text = spec.required && purpose != Purpose::Act;
            let mut schema =
                json!({ "type": if is_text { json!("string") } else { json!(["string", "null"]) } });
            if is_text && spec.options.is_none() {
                schema["minLength"] = 1.into();
            }
            if let Some(most) = spec.max_length {
                schema["maxLength"] = most.into();
            }
            match (spec.name, spec.options) {
                (_, Some(options)) => {
                    let mut options: Vec<Value> = options.iter().map(|option| (*option).into()).collect();
                    if !spec.required {
                        options.push(Value::Null);
                    }
                    schema["enum"] = options.into();
                }
                ("name", None) => schema["pattern"] = PLAIN_LINE.into(),
                ("description", None) => schema["pattern"] = PLAIN.into(),
                ("publicValue", None) => schema["pattern"] = "^[!-9;-~]{0,128}$".into(),
                ("secretValue", None) => {
                    schema["pattern"] = "^[^\\u0000-\\u001f\\u007f-\\u009f]{0,768}$".into();
                }
                ("accountId", None) => {
                    schema["description"] = "For admins: an account, or an environment".into();
                }
                ("id", None) => schema["pattern"] = format!("^({ENVIRONMENT_ID})?$").into(),
                ("projectId", None) => schema["pattern"] = format!("^{ENVIRONMENT_ID}$").into(),
                ("externalId", None) => schema["pattern"] = "^1a[1-9][0-9]{0,17}$".into(),
                ("externalIdType", None) => schema["enum"] = json!(["rancher_id", null]),
                _ => {}
            }
            (spec.name.to_owned(), schema)
        })
        .collect();
    // an edit may leave a name as it is, and a member has nothing but a role
    let is_needed = |spec: &&FieldSpec| match purpose {
        Purpose::Create => spec.required,
        Purpose::Edit => spec.required && kind == Type::ProjectMember,
        Purpose::Act => false,
    };
    let required: Vec<_> = fields.filter(is_needed).map(|spec| spec.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if kind == Type::ApiKey && purpose == Purpose::Create {
        // a pair that somebody chose comes whole
        schema["dependentRequired"] =
            json!({ "publicValue": ["secretValue"], "secretValue": ["publicValue"] });
    }
    schema
}

/// A resource as answers hold it.
fn resource(kind: Type) -> Value {
    let mut properties: Map<String, Value> =
        kind.fields().iter().map(|spec| (spec.name.to_owned(), shown(spec))).collect();
    properties.insert("type".to_owned(), json!({ "const": kind.name() }));
    properties.insert("baseType".to_owned(), json!({ "type": "string" }));
    let urls = json!({ "type": "object", "additionalProperties": { "type": "string", "format": "uri" } });
    properties.insert("links".to_owned(), urls.clone());
    properties.insert("actions".to_owned(), urls);
    for spec in kind.fields().iter().filter(|spec| spec.kind == "date") {
        let milliseconds = json!({ "type": "integer", "description": "Milliseconds since 1970; absent where there is no date" });
        properties.insert(format!("{}TS", spec.name), milliseconds);
    }
    json!({ "type": "object", "required": ["id", "type", "links"], "properties": properties })
}

fn shown(spec: &FieldSpec) -> Value {
    let kind = match spec.kind {
        "int" => "integer",
        "map[json]" => "object",
        "array[string]" => "array",
        _ => "string",
    };
    let mut schema = json!({ "type": if spec.nullable { json!([kind, "null"]) } else { json!(kind) } });
    if spec.kind == "date" {
        schema["format"] = "date-time".into();
    }
    if let Some(options) = spec.options {
        schema["enum"] = options.into();
    }
    if spec.only_at_creation {
        schema["description"] = "Only in the answer to the creation; null ever after".into();
    }
    schema
}

fn collection(kind: Type) -> Value {
    json!({
        "type": "object",
        "required": ["type", "resourceType", "data", "links", "pagination"],
        "properties": {
            "type": { "const": "collection" },
            "resourceType": { "const": kind.name() },
            "data": { "type": "array", "items": reference(kind.name()) },
            "links": { "type": "object" },
            "sortLinks": { "type": "object", "description": "Field → this list sorted by it" },
            "pagination": {
                "type": "object",
                "properties": {
                    "next": { "type": ["string", "null"], "description": "The next page: follow it as it is" },
                    "limit": { "type": "integer" },
                    "partial": { "type": "boolean", "description": "Whether there is a next page" },
                },
            },
            "sort": { "type": ["object", "null"] },
            "filters": { "type": "object" },
        },
    })
}

fn error() -> Value {
    json!({
        "type": "object",
        "required": ["id", "type", "status", "code"],
        "properties": {
            "id": { "type": "string", "description": "The request's id, as in X-Request-Id and the log" },
            "type": { "const": "error" },
            "status": { "type": "integer" },
            "code": { "type": "string" },
            "message": { "type": ["string", "null"] },
            "detail": { "type": ["string", "null"], "description": "What is wrong, and what to do" },
            "fieldName": { "type": "string", "description": "Which field of the request is wrong" },
        },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The answers of an operation: the good one, those that any request can get, and `more`.
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

/// With the answer to a change that is not confirmed yet.
fn pending(mut answers: Map<String, Value>, kind: Type) -> Map<String, Value> {
    let pending = json!({
        "description": "Done in the record, and not yet confirmed by the gateway",
        "content": { "application/json": { "schema": reference(kind.name()) } },
    });
    answers.insert("202".to_owned(), pending);
    answers
}

fn schemas_header() -> Value {
    json!({ "description": "Where the schemas for this place are", "schema": { "type": "string", "format": "uri" } })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_every_type_is_described_once() {
        let document = document("http://gw.test");
        let mut names = Vec::new();
        for kind in Type::ALL {
            let methods = kind.methods(Audience::Admin).unwrap();
            for place in [Place::Top, Place::Project] {
                if place == Place::Project && !kind.is_seen_through_environments() {
                    continue;
                }
                let path = format!("{}/{}", place.prefix(), kind.plural().to_ascii_lowercase());
                for method in methods.collection {
                    let operation = &document["paths"][&path][method.to_ascii_lowercase()];
                    names.push(
                        operation["operationId"]
                            .as_str()
                            .unwrap_or_else(|| panic!("{method} {path}"))
                            .to_owned(),
                    );
                }
                for method in methods.resource {
                    let operation = &document["paths"][format!("{path}/{{id}}")][method.to_ascii_lowercase()];
                    names.push(
                        operation["operationId"]
                            .as_str()
                            .unwrap_or_else(|| panic!("{method} {path}"))
                            .to_owned(),
                    );
                }
            }
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    fields.values().for_each(|value| check(value, document));
                }
                Value::Array(items) => items.iter().for_each(|value| check(value, document)),
                _ => {}
            }
        }
        let document = document("http://gw.test");
        check(&document, &document);
    }
}
