//! The table of the API's types, one row each. The router, the schemas and the `OpenAPI` document are made from it.

mod account;
mod api_key;
mod api_version;
mod audit_log;
mod project;
mod project_member;
mod project_template;
mod schema;

use super::resource_type::Type;

pub(super) use api_version::root;
pub(super) use project::ID_PATTERN as ENVIRONMENT_ID_PATTERN;
pub(super) use project_member::{members_in, members_schema};

/// Every type, in alphabetical order.
pub(super) static ALL: [Type; 8] = [
    &account::TYPE,
    &api_key::TYPE,
    &api_version::TYPE,
    &audit_log::TYPE,
    &project::TYPE,
    &project_member::TYPE,
    &project_template::TYPE,
    &schema::TYPE,
];

/// The type with this name, in any case, in singular or plural.
pub(super) fn by_name(name: &str) -> Option<Type> {
    ALL.into_iter()
        .find(|kind| kind.name.eq_ignore_ascii_case(name) || kind.plural.eq_ignore_ascii_case(name))
}

/// Whether a type is `project`: paths go through its resources to what belongs to them.
pub(super) fn is_project(kind: Type) -> bool {
    *kind == project::TYPE
}

/// The type that `/v2-beta` itself answers with.
pub(super) fn root_type() -> Type {
    &api_version::TYPE
}

#[cfg(test)]
mod tests {
    use super::super::audience::Audience;
    use super::*;

    #[test]
    fn every_permitted_method_has_a_function() {
        for kind in ALL {
            let methods = kind.methods(Audience::Admin).unwrap();
            assert_eq!(methods.collection.contains(&"POST"), kind.create.is_some(), "{kind:?}");
            assert_eq!(methods.resource.contains(&"PUT"), kind.update.is_some(), "{kind:?}");
            assert_eq!(methods.resource.contains(&"DELETE"), kind.delete.is_some(), "{kind:?}");
            assert_eq!(kind.audit.is_some(), kind.update.is_some(), "{kind:?}");
            for audience in Audience::ALL {
                let own = kind.methods(audience).unwrap_or(methods);
                assert!(own.resource.iter().all(|method| methods.resource.contains(method)), "{kind:?}");
            }
        }
    }
}
