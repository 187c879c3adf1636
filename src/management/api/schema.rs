//! Schemas: what a type looks like for the caller, as Rancher's clients read it.

use serde_json::{Map, Value, json};

use super::types::{Audience, FieldSpec, Type};

/// The schema of a type; `None` where the audience does not know of the type. `prefix` is what URLs begin
/// with, `top` the same outside any environment.
pub(super) fn document(kind: Type, audience: Audience, prefix: &str, top: &str) -> Option<Value> {
    let methods = kind.methods(audience)?;
    let creates = methods.collection.contains(&"POST");
    let updates = methods.resource.contains(&"PUT");
    let fields: Map<String, Value> = kind
        .fields()
        .iter()
        .map(|spec| {
            let create = creates && spec.is_created_by(audience);
            (spec.name.to_owned(), field(spec, create, updates && spec.update))
        })
        .collect();
    let actions: Map<String, Value> = kind
        .actions(audience)
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "output": kind.name() })))
        .collect();
    let filters: Map<String, Value> = kind
        .listed_by()
        .iter()
        .map(|field| {
            let modifiers: Vec<_> = field.modifiers().iter().map(|modifier| modifier.as_str()).collect();
            (field.name.to_owned(), json!({ "modifiers": modifiers }))
        })
        .collect();
    let place = if kind.is_seen_through_environments() { prefix } else { top };
    let links = json!({
        "self": format!("{prefix}/schemas/{}", kind.name()),
        "collection": format!("{place}/{}", kind.plural().to_ascii_lowercase()),
    });
    Some(json!({
        "id": kind.name(),
        "type": "schema",
        "baseType": "schema",
        "links": links,
        "actions": {},
        "pluralName": kind.plural(),
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

fn field(spec: &FieldSpec, create: bool, update: bool) -> Value {
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

/// All schemas that the audience knows of.
pub(super) fn documents(audience: Audience, prefix: &str, top: &str) -> Vec<Value> {
    Type::ALL.into_iter().filter_map(|kind| document(kind, audience, prefix, top)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn methods(kind: Type, audience: Audience) -> Option<(String, String)> {
        let document = document(kind, audience, "http://gw.test/v2-beta", "http://gw.test/v2-beta")?;
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
            (Type::ApiKey, Admin, &all),
            (Type::ApiKey, User, &all),
            (Type::ApiKey, Owner, &all),
            (Type::ApiKey, Member, &read),
            (Type::ApiKey, EnvironmentKey, &read),
            (Type::ApiKey, Readonly, &None),
            (Type::Project, Admin, &all),
            (Type::Project, User, &change),
            (Type::Project, Creator, &all),
            (Type::Account, Creator, &read),
            (Type::AuditLog, Creator, &None),
            (Type::Project, Member, &read),
            (Type::Project, EnvironmentKey, &read),
            (Type::Account, Admin, &all),
            (Type::Account, User, &read),
            (Type::AuditLog, Admin, &read),
            (Type::AuditLog, User, &None),
        ] {
            assert_eq!(&methods(kind, audience), expected, "{kind:?} {audience:?}");
        }
    }

    #[test]
    fn nobody_can_filter_by_a_secret_or_change_anything_but_name_and_description() {
        for audience in Audience::ALL {
            let Some(document) = document(Type::ApiKey, audience, "", "") else { continue };
            assert!(document["collectionFilters"].get("secretValue").is_none());
            let fields = document["resourceFields"].as_object().unwrap();
            let changed: Vec<_> =
                fields.iter().filter(|(_, field)| field["update"] == true).map(|(name, _)| name).collect();
            let expected: &[&str] = if document["resourceMethods"].as_array().unwrap().len() > 1 {
                &["description", "name"]
            } else {
                &[]
            };
            assert_eq!(changed, expected, "{audience:?}");
        }
    }
}
