//! What a row of the table of types holds: names, fields, who may do what, and the functions that do it.

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::api_request::ApiRequest;
use super::audience::Audience;
use super::field::{FieldSpec, STATE_FIELDS};
use super::operation_outcome::OperationOutcome;
use super::query::{self, ListQuery};
use crate::management::refusal::Refusal;
use crate::store::{Field, Marker};

/// A row of the table.
pub(super) type Type = &'static ResourceType;

/// What a function of a type returns.
pub(super) type HandlerFuture<'a> = BoxFuture<'a, Result<OperationOutcome, Refusal>>;
/// A function for the collection.
pub(super) type CollectionHandler = for<'a> fn(&'a ApiRequest<'a>) -> HandlerFuture<'a>;
/// A function for the resource with this id.
pub(super) type ResourceHandler = for<'a> fn(&'a ApiRequest<'a>, &'a str) -> HandlerFuture<'a>;

/// A type of resource.
pub(super) struct ResourceType {
    /// `apiKey`
    pub(super) name: &'static str,
    /// `apiKeys`
    pub(super) plural: &'static str,
    /// What an audience may do; `None`: the type does not exist for it.
    pub(super) methods: fn(Audience) -> Option<Methods>,
    /// Whether `/v2-beta/projects/{id}/` has this type too, with what belongs to that environment.
    pub(super) is_in_environments: bool,
    /// Its fields, without those of `has_state`.
    pub(super) own_fields: &'static [FieldSpec],
    /// Whether it has a state, which brings more fields.
    pub(super) has_state: bool,
    /// Fields that its collection is filtered and sorted by.
    pub(super) list_fields: &'static [Field],
    /// Whether its collection names these fields. Rancher's does not for projects.
    pub(super) shows_list_fields: bool,
    /// `GET` on the collection.
    pub(super) list: CollectionHandler,
    /// `POST` on the collection, where `methods` allow it.
    pub(super) create: Option<Create>,
    /// `GET` on a resource.
    pub(super) get: ResourceHandler,
    /// `PUT` on a resource, where `methods` allow it.
    pub(super) update: Option<ResourceHandler>,
    /// `DELETE` on a resource, where `methods` allow it.
    pub(super) delete: Option<Delete>,
    /// `POST` on a resource, for those who may `PUT`; in alphabetical order.
    pub(super) actions: &'static [Action],
    /// `GET` on what a link of a resource names.
    pub(super) links: &'static [Link],
    /// What the audit log calls refused changes; `None`: nobody changes this type through the API.
    pub(super) audit: Option<AuditNames>,
    /// Pattern of its ids, for the `OpenAPI` document.
    pub(super) id_pattern: &'static str,
}

/// Creating a resource.
pub(super) struct Create {
    pub(super) handler: CollectionHandler,
    pub(super) summary: &'static str,
    /// Whether it may take rights away, and is 202 until every gateway has confirmed it.
    pub(super) may_take_rights_away: bool,
    /// Fields that are given together or not at all.
    pub(super) given_together: Option<[&'static str; 2]>,
}

/// Deleting a resource.
pub(super) struct Delete {
    pub(super) handler: ResourceHandler,
    pub(super) summary: &'static str,
}

/// A field's name, and what makes its schema.
type ExtraProperty = (&'static str, fn() -> Value);

/// An action: `POST …?action=name`.
pub(super) struct Action {
    pub(super) name: &'static str,
    pub(super) handler: ResourceHandler,
    /// Action and subject in the audit log.
    pub(super) audit: (&'static str, &'static str),
    /// Fields that it reads, beside those of an update, and their `OpenAPI` schemas.
    pub(super) properties: &'static [ExtraProperty],
    /// Whether it is answered 201, as it makes something that is shown once.
    pub(super) creates: bool,
}

impl Action {
    pub(super) const fn new(
        name: &'static str,
        handler: ResourceHandler,
        audit: (&'static str, &'static str),
    ) -> Self {
        Self { name, handler, audit, properties: &[], creates: false }
    }

    /// Those of a type that the audit log calls `subject`: its objects are activated, deactivated, removed and updated.
    pub(super) const fn of_states(
        subject: &'static str,
        [activate, deactivate, remove, update]: [ResourceHandler; 4],
    ) -> [Self; 4] {
        [
            Self::new("activate", activate, ("activate", subject)),
            Self::new("deactivate", deactivate, ("deactivate", subject)),
            Self::new("remove", remove, ("remove", subject)),
            Self::new("update", update, ("edit", subject)),
        ]
    }
}

/// A link beside `self`.
pub(super) struct Link {
    /// Its last path segment, in lower case.
    pub(super) path: &'static str,
    pub(super) handler: ResourceHandler,
    pub(super) operation_id: &'static str,
    pub(super) summary: &'static str,
    /// The schemas of what it leads to, one of them.
    pub(super) leads_to: &'static [&'static str],
}

/// Words of the audit log.
pub(super) struct AuditNames {
    pub(super) subject: &'static str,
    /// The action of `POST` on the collection.
    pub(super) create: &'static str,
    /// The action of `PUT`.
    pub(super) update: &'static str,
    /// The field that names a new object; `None`: it is named by its owner.
    pub(super) new_object: Option<&'static str>,
}

/// Methods on a collection and on a resource, each in Rancher's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Methods {
    pub(super) collection: &'static [&'static str],
    pub(super) resource: &'static [&'static str],
}

impl Methods {
    pub(super) const ALL: Self = Self { collection: &["GET", "POST"], resource: &["GET", "PUT", "DELETE"] };
    pub(super) const CHANGE: Self = Self { collection: &["GET"], resource: &["GET", "PUT", "DELETE"] };
    pub(super) const READ: Self = Self { collection: &["GET"], resource: &["GET"] };
}

impl ResourceType {
    /// A type that everybody may read and nobody may change, as a base for rows.
    pub(super) const fn read_only(
        name: &'static str,
        plural: &'static str,
        list: CollectionHandler,
        get: ResourceHandler,
    ) -> Self {
        Self {
            name,
            plural,
            methods: |_| Some(Methods::READ),
            is_in_environments: false,
            own_fields: &[],
            has_state: false,
            list_fields: &[],
            shows_list_fields: true,
            list,
            create: None,
            get,
            update: None,
            delete: None,
            actions: &[],
            links: &[],
            audit: None,
            id_pattern: "[0-9A-Za-z-]{1,64}",
        }
    }

    /// What an audience may do; `None`: the type does not exist for it.
    pub(super) fn methods(&self, audience: Audience) -> Option<Methods> {
        (self.methods)(audience)
    }

    /// The actions that an audience's resources may offer.
    pub(super) fn actions(&self, audience: Audience) -> &'static [Action] {
        let may_change = self.methods(audience).is_some_and(|methods| methods.resource.contains(&"PUT"));
        if may_change { self.actions } else { &[] }
    }

    /// Reads the query of a list.
    pub(super) fn list_query(&self, request: &ApiRequest<'_>) -> Result<ListQuery, Refusal> {
        query::read(request.http, self.list_fields)
    }

    /// A page of the collection.
    pub(super) fn page(&self, query: ListQuery, data: Vec<Value>, next: Option<Marker>) -> OperationOutcome {
        let fields = if self.shows_list_fields { self.list_fields } else { &[] };
        OperationOutcome::Collection { resource_type: self.name, fields, query: Box::new(query), data, next }
    }

    /// All fields, in alphabetical order.
    pub(super) fn fields(&self) -> Vec<FieldSpec> {
        let state_fields = if self.has_state { STATE_FIELDS } else { &[] };
        let mut fields = [self.own_fields, state_fields].concat();
        fields.sort_by_key(|field| field.name);
        fields
    }
}

impl PartialEq for ResourceType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ResourceType {}

impl std::fmt::Debug for ResourceType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// `DELETE` says "not allowed" of an object that is removed already, where an action says "not available".
pub(super) fn not_deletable(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Invalid { code: "ActionNotAvailable", detail, .. } => {
            Refusal::MethodNotAllowed { allow: "GET".to_owned(), detail: Some(detail) }
        }
        refusal => refusal,
    }
}
