//! `schema`: what a type looks like for the caller, as Rancher's clients read it.

#![allow(clippy::unused_async, reason = "all types have handlers of one signature")]

use serde_json::{Map, Value, json};

use crate::management::api::api_request::ApiRequest;
use crate::management::api::audience::Audience;
use crate::management::api::field::{FieldSpec, field};
use crate::management::api::operation_outcome::OperationOutcome;
use crate::management::api::resource_type::{ResourceType, Type};
use crate::management::refusal::Refusal;

pub(super) static TYPE: ResourceType = ResourceType {
    is_in_environments: true,
    own_fields: &[
        field("id", "string"),
        field("pluralName", "string"),
        field("collectionMethods", "array[string]"),
        field("resourceMethods", "array[string]"),
        field("resourceFields", "map[json]"),
        field("resourceActions", "map[json]"),
        field("collectionFields", "map[json]"),
        field("collectionActions", "map[json]"),
        field("collectionFilters", "map[json]"),
        field("includeableLinks", "array[string]"),
    ],
    id_pattern: "[A-Za-z]{1,64}",
    ..ResourceType::read_only(
        "schema",
        "schemas",
        |request| Box::pin(list(request)),
        |request, id| Box::pin(get(request, id)),
    )
};

/// The schemas of all types that exist for the caller.
async fn list(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    let (here, root) = (request.url_prefix(), request.root_url());
    let schemas = super::ALL.into_iter().filter_map(|kind| document(kind, request.audience, &here, &root));
    Ok(TYPE.page(TYPE.list_query(request)?, schemas.collect(), None))
}

async fn get(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let kind = super::by_name(id).ok_or(Refusal::NotFound)?;
    let schema = document(kind, request.audience, &request.url_prefix(), &request.root_url());
    schema.map(OperationOutcome::resource).ok_or(Refusal::NotFound)
}

/// The schema of a type; `None` if the type does not exist for the audience. URLs begin with `here`, or with `root` if
/// the type is only found outside environments.
fn document(kind: Type, audience: Audience, here: &str, root: &str) -> Option<Value> {
    let methods = kind.methods(audience)?;
    let creates = methods.collection.contains(&"POST");
    let updates = methods.resource.contains(&"PUT");
    let fields: Map<String, Value> = kind
        .fields()
        .iter()
        .map(|spec| {
            let create = creates && spec.is_settable_by(audience);
            (spec.name.to_owned(), field_document(spec, create, updates && spec.is_editable))
        })
        .collect();
    let actions: Map<String, Value> = kind
        .actions(audience)
        .iter()
        .map(|action| (action.name.to_owned(), json!({ "output": kind.name })))
        .collect();
    let filters: Map<String, Value> = kind
        .list_fields
        .iter()
        .map(|field| {
            let modifiers: Vec<_> = field.modifiers().iter().map(|modifier| modifier.as_str()).collect();
            (field.name.to_owned(), json!({ "modifiers": modifiers }))
        })
        .collect();
    let place = if kind.is_in_environments { here } else { root };
    let links = json!({
        "self": format!("{here}/schemas/{}", kind.name),
        "collection": format!("{place}/{}", kind.plural.to_ascii_lowercase()),
    });
    Some(json!({
        "id": kind.name,
        "type": "schema",
        "baseType": "schema",
        "links": links,
        "actions": {},
        "pluralName": kind.plural,
        "collectionMethods": methods.collection,
        "resourceMethods": methods.resource,
        "resourceFields": fields,
        "resourceActions": actions,
        "collectionFields": {},
        "collectionActions": {},
        "collectionFilters": filters,
        "includeableLinks": [],
    }))
}

fn field_document(spec: &FieldSpec, create: bool, update: bool) -> Value {
    let mut field = json!({
        "type": spec.kind,
        "create": create,
        "update": update,
        "readOnCreateOnly": spec.only_at_creation,
    });
    if let Value::Object(field) = &mut field {
        if spec.nullable {
            field.insert("nullable".to_owned(), true.into());
        }
        if spec.required && create {
            field.insert("required".to_owned(), true.into());
        }
        if let Some(characters) = spec.max_length {
            field.insert("maxLength".to_owned(), characters.into());
        }
        if let Some(options) = spec.options {
            field.insert("options".to_owned(), options.into());
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Type {
        super::super::by_name(name).unwrap()
    }

    fn methods(kind: &str, audience: Audience) -> Option<(String, String)> {
        let document = document(named(kind), audience, "http://gw.test/v2-beta", "http://gw.test/v2-beta")?;
        let words = |name: &str| {
            let words: Vec<_> =
                document[name].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
            words.join(" ")
        };
        Some((words("collectionMethods"), words("resourceMethods")))
    }

    #[test]
    fn schemas_differ_by_role() {
        use Audience::{Admin, Creator, EnvironmentKey, Member, Owner, Readonly, User};
        let all = Some(("GET POST".to_owned(), "GET PUT DELETE".to_owned()));
        let change = Some(("GET".to_owned(), "GET PUT DELETE".to_owned()));
        let read = Some(("GET".to_owned(), "GET".to_owned()));
        for (kind, audience, expected) in [
            ("apiKey", Admin, &all),
            ("apiKey", User, &all),
            ("apiKey", Owner, &all),
            ("apiKey", Member, &read),
            ("apiKey", EnvironmentKey, &read),
            ("apiKey", Readonly, &None),
            ("project", Admin, &all),
            ("project", User, &change),
            ("project", Creator, &all),
            ("account", Creator, &read),
            ("auditLog", Creator, &None),
            ("project", Member, &read),
            ("project", EnvironmentKey, &read),
            ("account", Admin, &all),
            ("account", User, &read),
            ("auditLog", Admin, &read),
            ("auditLog", User, &None),
        ] {
            assert_eq!(&methods(kind, audience), expected, "{kind} {audience:?}");
        }
    }

    #[test]
    fn nobody_can_filter_by_a_secret_or_change_anything_but_what_owners_decide() {
        for audience in Audience::ALL {
            let Some(document) = document(named("apiKey"), audience, "", "") else { continue };
            assert!(document["collectionFilters"].get("secretValue").is_none());
            let fields = document["resourceFields"].as_object().unwrap();
            let changed: Vec<_> =
                fields.iter().filter(|(_, field)| field["update"] == true).map(|(name, _)| name).collect();
            let expected: &[&str] = if document["resourceMethods"].as_array().unwrap().len() > 1 {
                &["description", "expires", "name", "scope"]
            } else {
                &[]
            };
            assert_eq!(changed, expected, "{audience:?}");
        }
    }
}
