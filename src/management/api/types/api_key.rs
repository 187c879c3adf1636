//! `apiKey`: an access key and its secret key, of an account or of an environment.

use http::StatusCode;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::management::api::api_request::ApiRequest;
use crate::management::api::audience::Audience;
use crate::management::api::field::{DESCRIPTION, FieldSpec, NAME, SetBy, field};
use crate::management::api::input::Input;
use crate::management::api::operation_outcome::OperationOutcome;
use crate::management::api::resource_type::{
    Action, AuditNames, Create, Delete, Link, Methods, ResourceType, not_deletable,
};
use crate::management::operations::{Changed, NewPair};
use crate::management::refusal::Refusal;
use crate::management::resource_json;
use crate::model::{AccessKey, InvalidId, KeyId, KeyOwner, State, WantedOverlap};
use crate::policy::ManagementAction;
use crate::store::{KEY_FIELDS, KeyEdit, KeyEntry};

pub(super) static TYPE: ResourceType = ResourceType {
    methods: |audience| match audience {
        Audience::Admin | Audience::User | Audience::Creator | Audience::Owner => Some(Methods::ALL),
        Audience::Member | Audience::EnvironmentKey => Some(Methods::READ),
        Audience::Readonly => None,
    },
    is_in_environments: true,
    own_fields: FIELDS,
    has_state: true,
    list_fields: KEY_FIELDS,
    create: Some(Create {
        handler: |request| Box::pin(create(request)),
        summary: "A new key. Its secret is in this answer and nowhere else.",
        may_take_rights_away: false,
        given_together: Some(["publicValue", "secretValue"]),
    }),
    update: Some(|request, id| Box::pin(update(request, id))),
    delete: Some(Delete {
        handler: |request, id| Box::pin(delete(request, id)),
        summary: "Removes what is inactive, for good; what is active is 405",
    }),
    actions: {
        const STATES: [Action; 4] = Action::of_states(
            "key",
            [
                |request, id| Box::pin(set_state(request, id, State::Active)),
                |request, id| Box::pin(set_state(request, id, State::Inactive)),
                |request, id| Box::pin(set_state(request, id, State::Removed)),
                |request, id| Box::pin(update(request, id)),
            ],
        );
        const END: Action = Action::new(
            "endrotation",
            |request, id| Box::pin(end_rotation(request, id)),
            ("endrotation", "key"),
        );
        const ROTATE: Action = Action {
            properties: &[
                ("overlap", || {
                    duration_schema("How long the former secret stays valid; 24h where nothing is said")
                }),
                ("untilUnused", || {
                    duration_schema("Instead: until nobody has used it for so long, and the new one was used")
                }),
                ("atMost", || duration_schema("With untilUnused: how long it is valid at most; 30d")),
            ],
            creates: true,
            ..Action::new("rotate", |request, id| Box::pin(rotate(request, id)), ("rotate", "key"))
        };
        let [activate, deactivate, remove, update] = STATES;
        &[activate, deactivate, END, remove, ROTATE, update]
    },
    links: &[Link {
        path: "account",
        handler: |request, id| Box::pin(owner(request, id)),
        operation_id: "getOwnerOfApiKey",
        summary: "The account or environment that owns the key",
        leads_to: &["account", "project"],
    }],
    audit: Some(AuditNames { subject: "key", create: "create", update: "edit", new_object: None }),
    // the access key will do too, and has these characters where the gateway has minted it
    id_pattern: "[0-9A-Za-z_-]{1,128}",
    ..ResourceType::read_only(
        "apiKey",
        "apiKeys",
        |request| Box::pin(list(request)),
        |request, id| Box::pin(get(request, id)),
    )
};

const FIELDS: &[FieldSpec] = &[
    field("id", "string"),
    NAME.nullable(),
    field("kind", "string"),
    DESCRIPTION,
    field("accountId", "reference[account]").set_by(SetBy::Admins),
    field("ownerType", "enum").one_of(&["account", "project"]),
    field("publicValue", "string").at_most(4096).set_by(SetBy::Admins),
    field("secretValue", "password").at_most(4096).nullable().set_by(SetBy::Admins).only_at_creation(),
    field("expires", "date").nullable().set_by(SetBy::Everyone).editable(),
    field("expired", "boolean"),
    field("scope", "map[json]").nullable().set_by(SetBy::Everyone).editable(),
    field("secretSince", "date"),
    field("secretLastUsed", "date").nullable(),
    field("secretLastUsedAddress", "string").nullable(),
    field("secretUses", "int"),
    field("previousSince", "date").nullable(),
    field("previousEnds", "date").nullable(),
    field("previousUntilUnused", "string").nullable(),
    field("previousLastUsed", "date").nullable(),
    field("previousLastUsedAddress", "string").nullable(),
    field("previousUses", "int"),
    field("lastUsed", "date").nullable(),
    field("lastUsedAddress", "string").nullable(),
    field("useCount", "int"),
];

/// The keys of the environment that the path goes through, or those that the caller may see.
async fn list(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    list_of(request, request.environment.clone().map(KeyOwner::Environment)).await
}

/// The keys of `owner`, or those that the caller may see.
pub(super) async fn list_of(
    request: &ApiRequest<'_>,
    owner: Option<KeyOwner>,
) -> Result<OperationOutcome, Refusal> {
    let query = TYPE.list_query(request)?;
    let page = request.operations().keys(request.caller, owner, query.for_store.clone()).await?;
    let data = page.items.iter().map(|entry| document(request, entry)).collect();
    Ok(TYPE.page(query, data, page.next))
}

/// One key. A path through an environment finds only keys of this environment.
async fn get(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let entry = find(request, id).await?;
    Ok(OperationOutcome::resource_at(document(request, &entry), entry.revision))
}

async fn owner(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    match find(request, id).await?.key.owner {
        KeyOwner::Account(id) => super::account::get(request, &id.to_string()).await,
        KeyOwner::Environment(id) => super::project::get(request, id.as_str()).await,
    }
}

async fn create(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    let mut input = request.input()?;
    let pair = chosen_pair(request, &mut input)?;
    let owner = match (&request.environment, request.caller.is_admin()) {
        (Some(environment), _) => KeyOwner::Environment(environment.clone()),
        (None, true) => match input.text("accountId")? {
            Some(id) => owner_with_id(request, id).await?,
            None => request.caller.owner().clone(),
        },
        // only admins choose the owner
        (None, false) => request.caller.owner().clone(),
    };
    let issued =
        request.operations().create_key(request.caller, owner, key_edit(request, &input)?, pair).await?;
    let (entry, is_pending) = (&issued.changed.value, !issued.changed.is_confirmed());
    let may_change = request.caller.may(&ManagementAction::ChangeKeys(entry.key.owner.clone()));
    let secret = issued.secret.as_ref().map(crate::auth::Secret::as_str);
    let mut document = resource_json::key(entry, secret, &request.options(may_change, is_pending));
    // the key exists: the answer must have its secret, though it may lack an endpoint
    if let Ok(owner) = request.management.operations.key_owner(request.caller, &entry.key.owner).await {
        let endpoints = request.management.settings().endpoints(&owner, &request.http.host);
        if let Some(endpoint) = endpoints.into_iter().next() {
            document["links"]["endpoint"] = endpoint.into();
        }
    }
    Ok(OperationOutcome::created(document, entry.revision, &issued.changed.receipt))
}

async fn update(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let key = find(request, id).await?.key.id;
    let mut edit = key_edit(request, &request.input()?)?;
    edit.common.expected = request.expected();
    let changed = request.operations().edit_key(request.caller, key, edit).await?;
    Ok(reply(request, &changed))
}

/// Gives a key another secret, which is in this answer and nowhere else.
async fn rotate(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let key = find(request, id).await?.key.id;
    let input = request.input()?;
    let wanted =
        WantedOverlap::read(input.text("overlap")?, input.text("untilUnused")?, input.text("atMost")?)?;
    let issued = request.operations().rotate_key(request.caller, key, wanted, request.expected()).await?;
    let (entry, is_pending) = (&issued.changed.value, !issued.changed.is_confirmed());
    let secret = issued.secret.as_ref().map(crate::auth::Secret::as_str);
    let document = resource_json::key(entry, secret, &request.options(true, is_pending));
    Ok(OperationOutcome::created(document, entry.revision, &issued.changed.receipt))
}

/// Ends the former secret of a key that was rotated.
async fn end_rotation(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let key = find(request, id).await?.key.id;
    let changed = request.operations().end_rotation(request.caller, key, request.expected()).await?;
    Ok(reply(request, &changed))
}

fn duration_schema(description: &str) -> Value {
    // of any type: the other actions do not look at it
    json!({ "description": format!("{description}. A duration with its unit, such as 24h") })
}

/// What is said of a key: absent fields stay as they are, or get their default.
fn key_edit(request: &ApiRequest<'_>, input: &Input) -> Result<KeyEdit, Refusal> {
    let expires = input.end("expires")?.map(|end| end.from(request.operations().now()));
    let scope = input.has("scope").then(|| input.scope("scope")).transpose()?;
    Ok(KeyEdit { common: input.edit()?, expires, scope })
}

/// Removes an inactive key for good.
async fn delete(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    set_state(request, id, State::Removed).await.map_err(not_deletable)
}

async fn set_state(request: &ApiRequest<'_>, id: &str, state: State) -> Result<OperationOutcome, Refusal> {
    let id = find(request, id).await?.key.id;
    let changed = request
        .operations()
        .set_key_state(request.caller, id, request.transition(state), request.self_lockout())
        .await?;
    Ok(reply(request, &changed))
}

/// The key with this id or this access key.
async fn find(request: &ApiRequest<'_>, id: &str) -> Result<KeyEntry, Refusal> {
    let entry = if let Ok(id) = id.parse::<KeyId>() {
        request.operations().key(request.caller, id).await?
    } else {
        // no access key has the form of an id
        let access_key = id.parse().map_err(|_: InvalidId| Refusal::NotFound)?;
        request.operations().key_with_access_key(request.caller, access_key).await?
    };
    let is_here = match (&request.environment, &entry.key.owner) {
        (None, _) => true,
        (Some(environment), KeyOwner::Environment(owner)) => environment == owner,
        (Some(_), KeyOwner::Account(_)) => false,
    };
    if is_here { Ok(entry) } else { Err(Refusal::NotFound) }
}

fn document(request: &ApiRequest<'_>, entry: &KeyEntry) -> Value {
    let may_change = request.caller.may(&ManagementAction::ChangeKeys(entry.key.owner.clone()));
    let is_pending = request.confirmed_up_to.is_pending(entry.revision, entry.key.state);
    resource_json::key(entry, None, &request.options(may_change, is_pending))
}

fn reply(request: &ApiRequest<'_>, changed: &Changed<KeyEntry>) -> OperationOutcome {
    let may_change = request.caller.may(&ManagementAction::ChangeKeys(changed.value.key.owner.clone()));
    let options = request.options(may_change, !changed.is_confirmed());
    let document = resource_json::key(&changed.value, None, &options);
    OperationOutcome::change(StatusCode::OK, document, Some(changed.value.revision), &changed.receipt)
}

/// The pair that an admin chose. What others send is ignored.
fn chosen_pair(request: &ApiRequest<'_>, input: &mut Input) -> Result<NewPair, Refusal> {
    let secret = input.take_secret();
    if !request.caller.is_admin() {
        return Ok(NewPair::Minted);
    }
    let missing = |field: &str, other: &str| {
        Refusal::invalid("MissingRequired", field, format!("'{other}' is given, so '{field}' is needed too"))
    };
    match (input.text("publicValue")?, secret) {
        (None, None) => Ok(NewPair::Minted),
        (Some(_), None) => Err(missing("secretValue", "publicValue")),
        (None, Some(_)) => Err(missing("publicValue", "secretValue")),
        (Some(access_key), Some(secret)) => {
            if access_key.len() > AccessKey::MAX_BYTES {
                let most = AccessKey::MAX_BYTES;
                return Err(Refusal::too_long(
                    "publicValue",
                    format!("an access key has {most} bytes at most"),
                ));
            }
            let access_key: AccessKey = access_key.parse().map_err(|error: InvalidId| {
                Refusal::invalid("InvalidCharacters", "publicValue", error.to_string())
            })?;
            Ok(NewPair::Chosen { access_key, secret: Zeroizing::new(secret.as_bytes().to_vec()) })
        }
    }
}

/// The account with this id, or else the environment.
async fn owner_with_id(request: &ApiRequest<'_>, id: &str) -> Result<KeyOwner, Refusal> {
    let unknown = || {
        Refusal::invalid(
            "InvalidReference",
            "accountId",
            "no account and no environment has this id".to_owned(),
        )
    };
    if let Ok(id) = id.parse()
        && let Ok(entry) = request.operations().account(request.caller, id).await
        && entry.object.state != State::Removed
    {
        return Ok(KeyOwner::Account(id));
    }
    let id = id.parse().map_err(|_| unknown())?;
    match request.operations().existing_environment(request.caller, &id).await {
        Ok(_) => Ok(KeyOwner::Environment(id)),
        Err(Refusal::NotFound) => Err(unknown()),
        Err(refusal) => Err(refusal),
    }
}
