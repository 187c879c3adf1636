//! The API's documents, in the shapes of Rancher's. The command line prints the same ones; it has no server, so there
//! `links` and `actions` are empty.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::model::{Account, Description, Environment, KeyOwner, Name, State};
use crate::store::{AuditEntry, GatewayEntry, KeyEntry, MemberEntry, Receipt};

/// The one template that environments are made from: they have nothing of their own to choose.
pub(super) const TEMPLATE_ID: &str = "1pt1";

/// Rancher's word for the ids of its own accounts, by which members are named.
pub const ACCOUNT_ID_TYPE: &str = "rancher_id";

/// Where documents are seen from: what their links begin with, and which actions they offer.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Scheme, host and path, up to and without the type's segment; `None`: there are no links.
    pub(super) prefix: Option<String>,
    /// The caller may change what is shown.
    pub(super) offers_actions: bool,
    /// The change that this is the answer to is not confirmed yet.
    pub(super) is_pending: bool,
}

impl View {
    /// As the command line shows it, which has no server.
    pub fn without_links(is_pending: bool) -> Self {
        Self { is_pending, ..Self::default() }
    }

    fn url(&self, plural: &str, id: &str) -> Option<String> {
        let prefix = self.prefix.as_ref()?;
        Some(format!("{prefix}/{}/{id}", plural.to_ascii_lowercase()))
    }

    /// `links`, with those beside `self` that the type has: Rancher writes their addresses in lower case.
    fn links(&self, plural: &str, id: &str, more: &[&str]) -> Map<String, Value> {
        let mut links = Map::new();
        if let Some(url) = self.url(plural, id) {
            for link in more {
                links.insert((*link).to_owned(), format!("{url}/{}", link.to_ascii_lowercase()).into());
            }
            links.insert("self".to_owned(), url.into());
        }
        links
    }

    fn actions(&self, plural: &str, id: &str, names: &[&str]) -> Map<String, Value> {
        let url = self.url(plural, id).filter(|_| self.offers_actions);
        let action = |name: &&str| {
            url.as_ref().map(|url| ((*name).to_owned(), format!("{url}/?action={name}").into()))
        };
        names.iter().filter_map(action).collect()
    }
}

/// The word for a state, or for the way to it while a gateway has not confirmed what is so in the record.
pub fn state_word(state: State, is_pending: bool) -> &'static str {
    match state {
        State::Active if is_pending => "activating",
        State::Inactive if is_pending => "deactivating",
        State::Removed if is_pending => "removing",
        state => state.as_str(),
    }
}

/// What every resource with a state says of itself.
struct Resource<'a> {
    id: String,
    kind: &'a str,
    plural: &'a str,
    base: &'a str,
    /// The value of its own field `kind`.
    kind_field: &'a str,
    name: Option<&'a Name>,
    description: Option<&'a Description>,
    state: State,
    uuid: &'a str,
    created: Timestamp,
    removed: Option<Timestamp>,
    links: &'a [&'a str],
    more_actions: &'a [&'a str],
}

impl Resource<'_> {
    /// The document, with the fields of its own type in `more`.
    fn with(self, view: &View, more: Value) -> Value {
        let state = state_word(self.state, view.is_pending);
        let mut actions = actions_of(self.state).to_vec();
        if self.state != State::Removed {
            actions.extend(self.more_actions);
        }
        let mut document = json!({
            "id": self.id,
            "type": self.kind,
            "baseType": self.base,
            "links": view.links(self.plural, &self.id, self.links),
            "actions": view.actions(self.plural, &self.id, &actions),
            "name": self.name.map(Name::as_str),
            "description": self.description.map(Description::as_str),
            "state": state,
            "kind": self.kind_field,
            "uuid": self.uuid,
            "transitioning": if view.is_pending { "yes" } else { "no" },
            "transitioningMessage": view.is_pending.then_some("In Progress"),
            "transitioningProgress": null,
        });
        if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
            insert_time(document, "created", Some(self.created));
            insert_time(document, "removed", self.removed);
            document.extend(more);
        }
        document
    }
}

/// Where a change is in force, and where not yet. What [`Receipt::is_complete`] says decides the status of the API, the
/// notice of the page and the exit status of the command line; whoever gets the document reads it in `complete`.
pub fn receipt(receipt: &Receipt) -> Value {
    let gateways = |gateways: &[GatewayEntry]| -> Vec<Value> {
        gateways.iter().map(|gateway| json!({ "id": gateway.id, "name": gateway.name })).collect()
    };
    json!({
        "change": receipt.number.0,
        "complete": receipt.is_complete(),
        "applied": gateways(&receipt.applied),
        "waiting": gateways(&receipt.waiting),
        "notAfter": receipt.not_after().map(|time| time.to_string()),
    })
}

/// Whether a receipt's document says that the change is in force everywhere. One that does not say so does not.
pub fn is_complete(receipt: &Value) -> bool {
    receipt.get("complete").and_then(Value::as_bool) == Some(true)
}

/// The actions that a state offers, in the words of URLs.
pub(super) fn actions_of(state: State) -> &'static [&'static str] {
    match state {
        State::Active => &["update", "deactivate"],
        State::Inactive => &["update", "activate", "remove"],
        State::Removed => &[],
    }
}

/// A date, and beside it the milliseconds; a date that is null has no number beside it.
fn insert_time(document: &mut Map<String, Value>, name: &str, time: Option<Timestamp>) {
    let seconds = time.map(|time| Timestamp::from_second(time.as_second()).unwrap_or(time).to_string());
    document.insert(name.to_owned(), seconds.into());
    if let Some(time) = time {
        document.insert(format!("{name}TS"), time.as_millisecond().into());
    }
}

/// `apiKey`. The secret is there when the key was just made, and never again.
pub fn key(entry: &KeyEntry, secret: Option<&str>, view: &View) -> Value {
    let KeyEntry { key, usage, .. } = entry;
    let (owner, owner_type) = match &key.owner {
        KeyOwner::Account(id) => (id.to_string(), "account"),
        KeyOwner::Environment(id) => (id.to_string(), "project"),
    };
    let resource = Resource {
        id: key.id.to_string(),
        kind: "apiKey",
        plural: "apiKeys",
        base: "credential",
        kind_field: "apiKey",
        name: key.name.as_ref(),
        description: key.description.as_ref(),
        state: key.state,
        uuid: &key.uuid,
        created: key.created,
        removed: key.removed,
        links: &["account"],
        more_actions: &[],
    };
    let mut document = resource.with(
        view,
        json!({
            "accountId": owner,
            // an environment's id may look like an account's
            "ownerType": owner_type,
            "publicValue": key.access_key.as_str(),
            "secretValue": secret,
            "lastUsedAddress": usage.address.map(|address| address.to_string()),
            "useCount": usage.uses,
        }),
    );
    if let Value::Object(document) = &mut document {
        insert_time(document, "lastUsed", usage.at);
    }
    document
}

/// `account`.
pub fn account(account: &Account, view: &View) -> Value {
    let resource = Resource {
        id: account.id.to_string(),
        kind: "account",
        plural: "accounts",
        base: "account",
        kind_field: account.kind.as_str(),
        name: Some(&account.name),
        description: account.description.as_ref(),
        state: account.state,
        uuid: &account.uuid,
        created: account.created,
        removed: account.removed,
        links: &["apiKeys"],
        more_actions: &[],
    };
    resource.with(view, json!({}))
}

/// `project`: an environment.
pub fn environment(environment: &Environment, view: &View) -> Value {
    let resource = Resource {
        id: environment.id.to_string(),
        kind: "project",
        plural: "projects",
        base: "account",
        kind_field: "project",
        name: environment.name.as_ref(),
        description: environment.description.as_ref(),
        state: environment.state,
        uuid: &environment.uuid,
        created: environment.created,
        removed: environment.removed,
        links: &["apiKeys", "projectMembers", "schemas"],
        more_actions: &["setmembers"],
    };
    resource.with(
        view,
        json!({
            "healthState": "healthy",
            "members": null,
            "orchestration": "cattle",
            "projectTemplateId": TEMPLATE_ID,
        }),
    )
}

/// `projectMember`. A membership has no id of its own: it is named by its two ends.
pub fn member(entry: &MemberEntry, view: &View) -> Value {
    let membership = &entry.membership;
    let id = format!("{}:{}", membership.environment, membership.account);
    json!({
        "id": id,
        "type": "projectMember",
        "baseType": "projectMember",
        "links": view.links("projectMembers", &id, &[]),
        "actions": {},
        "name": entry.name,
        "state": "active",
        "projectId": membership.environment.as_str(),
        "externalId": membership.account.to_string(),
        "externalIdType": ACCOUNT_ID_TYPE,
        "role": membership.role.as_str(),
    })
}

/// `auditLog`: one row of the audit log.
pub fn audit(entry: &AuditEntry, view: &View) -> Value {
    let id = format!("1al{}", entry.id);
    let mut document = json!({
        "id": id,
        "type": "auditLog",
        "baseType": "auditLog",
        "links": view.links("auditLogs", &id, &[]),
        "actions": {},
        "via": entry.via,
        "accountId": entry.actor,
        "accessKey": entry.access_key,
        "clientIp": entry.address,
        "requestId": entry.request,
        "action": entry.action,
        "resourceType": resource_type(&entry.subject),
        "resourceId": entry.object,
        "outcome": if entry.refusal.is_none() { "done" } else { "refused" },
        "reason": entry.refusal,
        "changeNumber": entry.change.map(|number| number.0),
        "before": entry.before,
        "after": entry.after,
    });
    if let Value::Object(document) = &mut document {
        insert_time(document, "created", Some(entry.at));
    }
    document
}

/// What the record calls something, in the API's words.
pub(super) fn resource_type(subject: &str) -> &str {
    match subject {
        "key" => "apiKey",
        "environment" => "project",
        "membership" => "projectMember",
        other => other,
    }
}

/// A list of resources of one type, as the command line prints it.
pub fn collection(resource_type: &str, data: &[Value]) -> Value {
    json!({
        "type": "collection",
        "resourceType": resource_type,
        "links": {},
        "actions": {},
        "data": data,
    })
}
