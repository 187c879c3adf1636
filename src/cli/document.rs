//! The management API's documents, as the command line prints them. It has no server, so `links` and `actions` are
//! empty.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::output::seconds;
use crate::model::{Account, ApiKey, Description, Environment, KeyOwner, Membership, Name, State};

/// What every resource says of itself.
struct Resource<'a> {
    id: String,
    kind: &'a str,
    base: &'a str,
    name: Option<&'a Name>,
    description: Option<&'a Description>,
    state: State,
    uuid: &'a str,
    created: Timestamp,
    removed: Option<Timestamp>,
}

impl Resource<'_> {
    /// The document, with the fields of its own type in `more`.
    fn with(self, kind_field: &str, more: Value) -> Value {
        let mut document = json!({
            "id": self.id,
            "type": self.kind,
            "baseType": self.base,
            "links": {},
            "actions": {},
            "name": self.name.map(Name::as_str),
            "description": self.description.map(Description::as_str),
            "state": self.state.as_str(),
            "kind": kind_field,
            "uuid": self.uuid,
            "created": seconds(self.created).to_string(),
            "createdTS": self.created.as_millisecond(),
            "removed": self.removed.map(|time| seconds(time).to_string()),
            "transitioning": "no",
            "transitioningMessage": null,
            "transitioningProgress": null,
        });
        if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
            // a date that is null has no number beside it
            if let Some(removed) = self.removed {
                document.insert("removedTS".to_owned(), removed.as_millisecond().into());
            }
            document.extend(more);
        }
        document
    }
}

/// `apiKey`. The secret is there when the key was just made, and never again.
pub(super) fn key(key: &ApiKey, secret: Option<&str>) -> Value {
    let account = match &key.owner {
        KeyOwner::Account(id) => id.to_string(),
        KeyOwner::Environment(id) => id.to_string(),
    };
    let resource = Resource {
        id: key.id.to_string(),
        kind: "apiKey",
        base: "credential",
        name: key.name.as_ref(),
        description: key.description.as_ref(),
        state: key.state,
        uuid: &key.uuid,
        created: key.created,
        removed: key.removed,
    };
    resource.with(
        "apiKey",
        json!({ "accountId": account, "publicValue": key.access_key.as_str(), "secretValue": secret }),
    )
}

/// `account`.
pub(super) fn account(account: &Account) -> Value {
    let resource = Resource {
        id: account.id.to_string(),
        kind: "account",
        base: "account",
        name: Some(&account.name),
        description: account.description.as_ref(),
        state: account.state,
        uuid: &account.uuid,
        created: account.created,
        removed: account.removed,
    };
    resource.with(account.kind.as_str(), json!({}))
}

/// `project`: an environment.
pub(super) fn environment(environment: &Environment) -> Value {
    let resource = Resource {
        id: environment.id.to_string(),
        kind: "project",
        base: "account",
        name: environment.name.as_ref(),
        description: environment.description.as_ref(),
        state: environment.state,
        uuid: &environment.uuid,
        created: environment.created,
        removed: environment.removed,
    };
    resource.with("project", json!({}))
}

/// `projectMember`. A membership has no id of its own: it is named by its two ends.
pub(super) fn member(membership: &Membership) -> Value {
    json!({
        "id": format!("{}:{}", membership.environment, membership.account),
        "type": "projectMember",
        "baseType": "projectMember",
        "links": {},
        "actions": {},
        "projectId": membership.environment.as_str(),
        "externalId": membership.account.to_string(),
        "externalIdType": "rancher_id",
        "role": membership.role.as_str(),
    })
}

/// A list of resources of one type.
pub(super) fn collection(resource_type: &str, data: impl Iterator<Item = Value>) -> Value {
    json!({
        "type": "collection",
        "resourceType": resource_type,
        "links": {},
        "actions": {},
        "data": data.collect::<Vec<_>>(),
    })
}
