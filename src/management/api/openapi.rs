//! The `OpenAPI` 3.1 document: every path, status and error of the management API, made from the table of types.

#![allow(
    clippy::needless_pass_by_value,
    reason = "documents are put together by value; json! looks at them only"
)]

mod operation;
mod schemas;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::resource_type::Type;
use super::types::{self, ENVIRONMENT_ID_PATTERN};
use super::url::ROOT;
use crate::management::answer::{Answer, json as json_answer, refuse};
use crate::management::refusal::Refusal;
use crate::management::request::Request;
use operation::path_parameter;

/// The path of the document. It holds no secret, so it needs no key.
pub(super) const PATH: &str = "/openapi.json";

/// Answers with the document.
pub(super) fn answer(request: &Request) -> Answer {
    if request.head.method == http::Method::GET {
        json_answer(StatusCode::OK, &document(&request.base_url()))
    } else {
        refuse(&Refusal::MethodNotAllowed { allow: "GET".to_owned(), detail: None }, &request.id)
    }
}

/// The document of the server at `base`.
fn document(base: &str) -> Value {
    let mut paths = Map::new();
    paths.insert(ROOT.to_owned(), json!({ "get": operation::version() }));
    for kind in types::ALL {
        describe(&mut paths, kind, Scope::Root);
        if kind.is_in_environments {
            describe(&mut paths, kind, Scope::Project);
        }
    }
    paths.extend(operation::health_and_metrics());
    let schemas: Map<String, Value> = types::ALL
        .into_iter()
        .flat_map(|kind| {
            let name = kind.name;
            [
                (name.to_owned(), schemas::resource(kind)),
                (format!("{name}Collection"), schemas::collection(kind)),
            ]
        })
        .chain([("error".to_owned(), schemas::error()), ("receipt".to_owned(), schemas::receipt())])
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

/// Where paths of a type begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// `/v2-beta/…`
    Root,
    /// `/v2-beta/projects/{projectId}/…`
    Project,
}

impl Scope {
    fn prefix(self) -> String {
        match self {
            Self::Root => ROOT.to_owned(),
            Self::Project => format!("{ROOT}/projects/{{projectId}}"),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Project => "InProject",
        }
    }

    fn parameters(self) -> Vec<Value> {
        match self {
            Self::Root => Vec::new(),
            Self::Project => {
                let about = "The environment: what is seen is what belongs to it.";
                vec![path_parameter("projectId", ENVIRONMENT_ID_PATTERN, about)]
            }
        }
    }
}

fn describe(paths: &mut Map<String, Value>, kind: Type, scope: Scope) {
    let path = format!("{}/{}", scope.prefix(), kind.plural.to_ascii_lowercase());
    let mut on_collection = Map::new();
    on_collection.insert("get".to_owned(), operation::list(kind, scope));
    if let Some(create) = &kind.create {
        on_collection.insert("post".to_owned(), operation::create(create, kind, scope));
    }
    paths.insert(path.clone(), on_collection.into());

    let mut on_resource = Map::new();
    on_resource.insert("get".to_owned(), operation::get(kind, scope));
    if kind.update.is_some() {
        on_resource.insert("put".to_owned(), operation::update(kind, scope));
    }
    if let Some(delete) = &kind.delete {
        on_resource.insert("delete".to_owned(), operation::delete(delete, kind, scope));
    }
    if !kind.actions.is_empty() {
        on_resource.insert("post".to_owned(), operation::act(kind, scope));
    }
    paths.insert(format!("{path}/{{id}}"), on_resource.into());
    for link in kind.links {
        let follow = operation::follow(link, kind, scope);
        paths.insert(format!("{path}/{{id}}/{}", link.path), json!({ "get": follow }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::audience::Audience;
    use super::*;

    #[test]
    fn every_method_of_every_type_is_described_once() {
        let document = document("http://gw.test");
        let mut names = Vec::new();
        for kind in types::ALL {
            let methods = kind.methods(Audience::Admin).unwrap();
            for scope in [Scope::Root, Scope::Project] {
                if scope == Scope::Project && !kind.is_in_environments {
                    continue;
                }
                let path = format!("{}/{}", scope.prefix(), kind.plural.to_ascii_lowercase());
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
