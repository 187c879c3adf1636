//! Resources as JSON, in the shapes of Rancher's API. The command line prints the same documents. It has no server, so
//! their `links` and `actions` are empty.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::model::{Account, Description, Environment, KeyOwner, Name, State};
use crate::store::{AuditEntry, GatewayEntry, KeyEntry, KeyUsage, MemberEntry, Receipt};

/// The only template of environments.
pub(super) const TEMPLATE_ID: &str = "1pt1";

/// Rancher's name of the kind of ids that name members: those of its own accounts.
pub const ACCOUNT_ID_TYPE: &str = "rancher_id";

/// How a document is rendered.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// What links begin with, up to the segment of the type; `None`: no links.
    pub(super) prefix: Option<String>,
    /// Whether the caller may change the resource.
    pub(super) offers_actions: bool,
    /// Whether some gateway has not confirmed the resource's state.
    pub(super) is_pending: bool,
    /// The record's time, which tells whether a key has ended.
    pub(super) now: Timestamp,
}

impl RenderOptions {
    /// For the command line, which has no server.
    pub fn without_links(is_pending: bool) -> Self {
        Self { is_pending, now: Timestamp::now(), ..Self::default() }
    }

    fn url(&self, plural: &str, id: &str) -> Option<String> {
        let prefix = self.prefix.as_ref()?;
        Some(format!("{prefix}/{}/{id}", plural.to_ascii_lowercase()))
    }

    /// `links`: `self` and `more`. Rancher writes their URLs in lower case.
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

/// The name of a state, or of the transition to it while some gateway has not confirmed it.
pub fn state_word(state: State, is_pending: bool) -> &'static str {
    match state {
        State::Active if is_pending => "activating",
        State::Inactive if is_pending => "deactivating",
        State::Removed if is_pending => "removing",
        state => state.as_str(),
    }
}

/// What all resources with a state have.
struct Resource<'a> {
    id: String,
    kind: &'a str,
    plural: &'a str,
    base: &'a str,
    /// The value of the field `kind`.
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
    /// The document, with the fields of its type in `more`.
    fn with(self, options: &RenderOptions, more: Value) -> Value {
        let state = state_word(self.state, options.is_pending);
        let mut actions = actions_in_state(self.state).to_vec();
        if self.state != State::Removed {
            actions.extend(self.more_actions);
        }
        let mut document = json!({
            "id": self.id,
            "type": self.kind,
            "baseType": self.base,
            "links": options.links(self.plural, &self.id, self.links),
            "actions": options.actions(self.plural, &self.id, &actions),
            "name": self.name.map(Name::as_str),
            "description": self.description.map(Description::as_str),
            "state": state,
            "kind": self.kind_field,
            "uuid": self.uuid,
            "transitioning": if options.is_pending { "yes" } else { "no" },
            "transitioningMessage": options.is_pending.then_some("In Progress"),
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

/// Which gateways have applied a change, and which have not. `complete` is what the API's status, the page's notice and the
/// command line's exit status follow.
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

/// Whether a receipt's document says that every gateway has applied the change.
pub fn is_complete(receipt: &Value) -> bool {
    receipt.get("complete").and_then(Value::as_bool) == Some(true)
}

/// The actions that a state offers.
pub(super) fn actions_in_state(state: State) -> &'static [&'static str] {
    match state {
        State::Active => &["update", "deactivate"],
        State::Inactive => &["update", "activate", "remove"],
        State::Removed => &[],
    }
}

/// Inserts a date, and with `TS` after its name its milliseconds. A date that is null has no milliseconds.
fn insert_time(document: &mut Map<String, Value>, name: &str, time: Option<Timestamp>) {
    let seconds = time.map(|time| Timestamp::from_second(time.as_second()).unwrap_or(time).to_string());
    document.insert(name.to_owned(), seconds.into());
    if let Some(time) = time {
        document.insert(format!("{name}TS"), time.as_millisecond().into());
    }
}

/// `apiKey`. Only the answer to its creation has the secret.
pub fn key(entry: &KeyEntry, secret: Option<&str>, options: &RenderOptions) -> Value {
    let KeyEntry { key, usage, .. } = entry;
    let (owner, owner_type) = match &key.owner {
        KeyOwner::Account(id) => (id.to_string(), "account"),
        KeyOwner::Environment(id) => (id.to_string(), "project"),
    };
    let former = key.former_at(options.now);
    let address = |usage: &KeyUsage| usage.address.map(|address| address.to_string());
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
        more_actions: if former.is_some() { &["rotate", "endrotation"] } else { &["rotate"] },
    };
    let mut document = resource.with(
        options,
        json!({
            "accountId": owner,
            // an environment's id may look like an account's
            "ownerType": owner_type,
            "publicValue": key.access_key.as_str(),
            "secretValue": secret,
            "lastUsedAddress": address(usage),
            "useCount": usage.uses,
            "expired": key.has_expired(options.now),
            "scope": key.scope.as_ref().map(|scope| scope.json()),
            "secretUses": entry.secret_usage.uses,
            "secretLastUsedAddress": address(&entry.secret_usage),
            "previousUses": entry.former_usage.uses,
            "previousLastUsedAddress": address(&entry.former_usage),
            "previousUntilUnused": former
                .and_then(|former| former.until_unused)
                .map(|idle| humantime::format_duration(idle).to_string()),
        }),
    );
    if let Value::Object(document) = &mut document {
        insert_time(document, "secretSince", Some(key.secret_since));
        insert_time(document, "secretLastUsed", entry.secret_usage.at);
        insert_time(document, "previousSince", former.map(|former| former.since));
        insert_time(document, "previousEnds", former.map(|former| former.ends));
        insert_time(document, "previousLastUsed", entry.former_usage.at);
        insert_time(document, "expires", key.expires);
        insert_time(document, "lastUsed", usage.at);
    }
    document
}

/// `account`.
pub fn account(account: &Account, options: &RenderOptions) -> Value {
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
    resource.with(options, json!({}))
}

/// `project`: an environment.
pub fn environment(environment: &Environment, options: &RenderOptions) -> Value {
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
        options,
        json!({
            "healthState": "healthy",
            "members": null,
            "orchestration": "cattle",
            "projectTemplateId": TEMPLATE_ID,
        }),
    )
}

/// `projectMember`. Its id is that of the environment and that of the account.
pub fn member(entry: &MemberEntry, options: &RenderOptions) -> Value {
    let membership = &entry.membership;
    let id = format!("{}:{}", membership.environment, membership.account);
    json!({
        "id": id,
        "type": "projectMember",
        "baseType": "projectMember",
        "links": options.links("projectMembers", &id, &[]),
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
pub fn audit(entry: &AuditEntry, options: &RenderOptions) -> Value {
    let id = format!("1al{}", entry.id);
    let mut document = json!({
        "id": id,
        "type": "auditLog",
        "baseType": "auditLog",
        "links": options.links("auditLogs", &id, &[]),
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

/// The API's type for what the record calls `subject`.
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
