//! Schema objects: the bodies of requests and answers.

use serde_json::{Map, Value, json};

use super::super::field::{FieldSpec, SetBy};
use super::super::resource_type::Type;
use super::super::types::{ENVIRONMENT_ID_PATTERN, members_schema};
use crate::management::resource_json::{ACCOUNT_ID_TYPE, TEMPLATE_ID};
use crate::model::Scope;

/// A time (RFC 3339), or nothing.
const TIME: &str =
    "^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}))?$";

/// The pattern of names: no controls, and nothing that changes the direction of text.
const PLAIN_LINE: &str =
    "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]*$";

/// The pattern of descriptions: as of names, but with tabs and several lines.
const PLAIN: &str =
    "^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]*$";

/// A request's body, as JSON and as a form.
pub(super) fn body(kind: Type, purpose: Purpose) -> Value {
    let schema = request_fields(kind, purpose);
    let mut form = schema.clone();
    if let Some(properties) = form["properties"].as_object_mut() {
        // a form has no lists
        properties.remove("members");
        properties.remove("scope");
        for property in properties.values_mut() {
            // and no null
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
pub(super) enum Purpose {
    Create,
    Edit,
    /// An action, which may edit or need no fields.
    Act,
}

/// The fields of a type that a request sets.
pub(super) fn request_fields(kind: Type, purpose: Purpose) -> Value {
    let fields = kind.fields();
    let is_set = |spec: &&FieldSpec| match purpose {
        Purpose::Create => spec.set_by != SetBy::Gateway,
        Purpose::Edit | Purpose::Act => spec.is_editable,
    };
    let fields = fields.iter().filter(is_set);
    let properties: Map<String, Value> = fields
        .clone()
        .map(|spec| {
            // an action that needs no fields ignores them
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
                // an action that needs no fields does not look at it
                ("expires" | "scope", None) if purpose == Purpose::Act => schema = json!({}),
                ("expires", None) => schema["pattern"] = TIME.into(),
                ("scope", None) => schema = scope_schema(),
                ("name", None) => schema["pattern"] = PLAIN_LINE.into(),
                ("description", None) => schema["pattern"] = PLAIN.into(),
                ("publicValue", None) => schema["pattern"] = "^[!-9;-~]{0,128}$".into(),
                ("secretValue", None) => {
                    schema["pattern"] = "^[^\\u0000-\\u001f\\u007f-\\u009f]{0,768}$".into();
                }
                ("accountId", None) => {
                    schema["description"] = "For admins: an account, or an environment".into();
                }
                ("id", None) => schema["pattern"] = format!("^({ENVIRONMENT_ID_PATTERN})?$").into(),
                ("projectId", None) => schema["pattern"] = format!("^{ENVIRONMENT_ID_PATTERN}$").into(),
                ("externalId", None) => schema["pattern"] = "^1a[1-9][0-9]{0,17}$".into(),
                ("externalIdType", None) => schema["enum"] = json!([ACCOUNT_ID_TYPE, null]),
                ("projectTemplateId", None) => schema["enum"] = json!([TEMPLATE_ID, "", null]),
                ("members", None) => {
                    schema = members_schema("Its members; without them, whoever asks is its owner");
                }
                _ => {}
            }
            (spec.name.to_owned(), schema)
        })
        .collect();
    let is_needed = |spec: &&FieldSpec| match purpose {
        Purpose::Create => spec.required,
        Purpose::Edit => spec.required_in_edits,
        Purpose::Act => false,
    };
    let required: Vec<_> = fields.filter(is_needed).map(|spec| spec.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    let together = kind.create.as_ref().and_then(|create| create.given_together);
    if let Some([one, other]) = together.filter(|_| purpose == Purpose::Create) {
        schema["dependentRequired"] = json!({ one: [other], other: [one] });
    }
    schema
}

/// A resource in an answer.
pub(super) fn resource(kind: Type) -> Value {
    let mut properties: Map<String, Value> =
        kind.fields().iter().map(|spec| (spec.name.to_owned(), shown(spec))).collect();
    properties.insert("type".to_owned(), json!({ "const": kind.name }));
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

/// What a key may do of what its owner may.
fn scope_schema() -> Value {
    let list = |most: usize, pattern: &str, description: &str| {
        let items = json!({ "type": "string", "pattern": pattern });
        json!({ "type": "array", "maxItems": most, "items": items, "description": description })
    };
    json!({
        "type": ["object", "null"],
        "description": "What the key may do of what its owner may: a field that is left out, and an empty list, narrow \
            nothing; null is all of it",
        "additionalProperties": false,
        "properties": {
            "read_only": { "type": "boolean", "description": "Only reading, as for the role readonly" },
            "methods": list(Scope::MAX_METHODS, "^[A-Z]{1,32}$", "Only these methods"),
            "paths": list(
                Scope::MAX_PATHS,
                // ends with no dot, and has '**' at its end only
                "^(/|(/([*]|[A-Za-z0-9._~-]*[A-Za-z0-9_~-]))+(/[*][*])?|/[*][*])$",
                "Only these paths: '*' is one segment, '**' at the end is all that lies beneath"
            ),
            "networks": list(
                Scope::MAX_NETWORKS,
                "^[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?$",
                "Only from these networks or addresses"
            ),
        },
    })
}

fn shown(spec: &FieldSpec) -> Value {
    if spec.name == "scope" {
        return scope_schema();
    }
    let kind = match spec.kind {
        "int" => "integer",
        "boolean" => "boolean",
        "map[json]" => "object",
        "array[string]" | "array[projectMember]" => "array",
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

pub(super) fn collection(kind: Type) -> Value {
    json!({
        "type": "object",
        "required": ["type", "resourceType", "data", "links", "pagination"],
        "properties": {
            "type": { "const": "collection" },
            "resourceType": { "const": kind.name },
            "data": { "type": "array", "items": reference(kind.name) },
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

/// A receipt.
pub(super) fn receipt() -> Value {
    let gateways = |about: &str| {
        json!({
            "type": "array",
            "description": about,
            "items": {
                "type": "object",
                "required": ["id", "name"],
                "properties": {
                    "id": { "type": "string", "description": "Made anew at every start of the gateway" },
                    "name": { "type": "string" },
                },
            },
        })
    };
    json!({
        "type": "object",
        "description": "Where a change is in force, and where it is not known to be",
        "required": ["change", "complete", "applied", "waiting", "notAfter"],
        "properties": {
            "change": { "type": "integer", "description": "The change's number" },
            "complete": {
                "type": "boolean",
                "description": "Whether it is in force on every gateway. Where it is not, the status is 202, or 201 \
                    where a resource with a state was made",
            },
            "applied": gateways("The gateways where it is in force"),
            "waiting": gateways(
                "Those that may still act on what was before. With 202 and none here, nobody could be asked"
            ),
            "notAfter": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "After this time, by the record's clock, none of those acts on what was before",
            },
        },
    })
}

pub(super) fn error() -> Value {
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

pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}
