//! `apiKey`.

use serde_json::Value;
use zeroize::Zeroizing;

use super::api_request::ApiRequest;
use super::input::Input;
use super::types::Type;
use super::{collection, query};
use crate::management::answer::Answer;
use crate::management::operations::{Changed, NewPair, Operations};
use crate::management::refusal::Refusal;
use crate::management::resource_json;
use crate::model::{AccessKey, InvalidId, KeyId, KeyOwner, State};
use crate::policy::Act;
use crate::store::{Edit, KeyEntry};

/// The keys of the environment that the path goes through, or those that the caller may see.
pub(super) async fn list(call: &ApiRequest<'_>, owner: Option<KeyOwner>) -> Result<Answer, Refusal> {
    let listed = query::read(call.request, Type::ApiKey.listed_by())?;
    let owner = owner.or_else(|| call.context.clone().map(KeyOwner::Environment));
    let page = call.operations().keys(call.caller, owner, listed.query.clone()).await?;
    let data: Vec<_> = page.items.iter().map(|entry| show(call, entry)).collect();
    Ok(call.found(&collection::document(call, Type::ApiKey, &listed, &data, page.next.as_ref())))
}

/// One key, and through an environment only one of its own.
pub(super) async fn get(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = find(call, id).await?;
    Ok(call.found_at(&show(call, &entry), entry.revision))
}

/// What the `account` link leads to: the owner.
pub(super) async fn owner(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    match find(call, id).await?.key.owner {
        KeyOwner::Account(id) => super::account::get(call, &id.to_string()).await,
        KeyOwner::Environment(id) => super::project::get(call, id.as_str()).await,
    }
}

/// A new key; its secret is in the answer and nowhere else.
pub(super) async fn create(call: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let mut input = Input::read(call.request)?;
    let pair = chosen_pair(call, &mut input)?;
    let owner = match (&call.context, call.caller.is_admin()) {
        (Some(environment), _) => KeyOwner::Environment(environment.clone()),
        (None, true) => match input.text("accountId")? {
            Some(id) => named_owner(call, id).await?,
            None => Operations::own_keys(call.caller),
        },
        // what others say of the owner does not count
        (None, false) => Operations::own_keys(call.caller),
    };
    let issued =
        call.operations().create_key(call.caller, owner, input.name()?, input.description()?, pair).await?;
    let (entry, in_force) = (&issued.changed.value, issued.changed.is_confirmed());
    let view = call.view(call.caller.may(&Act::ChangeKeys(entry.key.owner.clone())), !in_force);
    let secret = issued.secret.as_ref().map(crate::auth::Secret::as_str);
    let mut document = resource_json::key(entry, secret, &view);
    let endpoints = call.management.settings().endpoints(&entry.key.owner, &call.request.host);
    if let Some(endpoint) = endpoints.into_iter().next() {
        document["links"]["endpoint"] = endpoint.into();
    }
    Ok(call.once(document, entry.revision, &issued.changed.receipt))
}

/// Another name or description.
pub(super) async fn update(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let key = find(call, id).await?.key.id;
    let edit = Edit { expected: call.expected(), ..Input::read(call.request)?.edit()? };
    let done = call.operations().edit_key(call.caller, key, edit).await?;
    Ok(answer(call, &done))
}

/// An inactive key goes for good.
pub(super) async fn delete(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    set_state(call, id, State::Removed).await.map_err(ApiRequest::not_deletable)
}

/// Activates, deactivates or removes.
pub(super) async fn set_state(call: &ApiRequest<'_>, id: &str, state: State) -> Result<Answer, Refusal> {
    let id = find(call, id).await?.key.id;
    let done =
        call.operations().set_key_state(call.caller, id, call.transition(state), call.confirmed()).await?;
    Ok(answer(call, &done))
}

async fn find(call: &ApiRequest<'_>, id: &str) -> Result<KeyEntry, Refusal> {
    let id: KeyId = id.parse().map_err(|_: InvalidId| Refusal::NotFound)?;
    let entry = call.operations().key(call.caller, id).await?;
    let is_here = match (&call.context, &entry.key.owner) {
        (None, _) => true,
        (Some(context), KeyOwner::Environment(owner)) => context == owner,
        (Some(_), KeyOwner::Account(_)) => false,
    };
    if is_here { Ok(entry) } else { Err(Refusal::NotFound) }
}

fn show(call: &ApiRequest<'_>, entry: &KeyEntry) -> Value {
    let may_change = call.caller.may(&Act::ChangeKeys(entry.key.owner.clone()));
    resource_json::key(
        entry,
        None,
        &call.view(may_change, call.confirmed_up_to.is_pending(entry.revision, entry.key.state)),
    )
}

fn answer(call: &ApiRequest<'_>, done: &Changed<KeyEntry>) -> Answer {
    let may_change = call.caller.may(&Act::ChangeKeys(done.value.key.owner.clone()));
    let document = resource_json::key(&done.value, None, &call.view(may_change, !done.is_confirmed()));
    call.done(document, done.value.revision, &done.receipt)
}

/// The pair that an admin brings; what others say of a pair does not count.
fn chosen_pair(call: &ApiRequest<'_>, input: &mut Input) -> Result<NewPair, Refusal> {
    let secret = input.take_secret();
    if !call.caller.is_admin() {
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

/// The account, or else the environment, with this id.
async fn named_owner(call: &ApiRequest<'_>, id: &str) -> Result<KeyOwner, Refusal> {
    let unknown = || {
        Refusal::invalid(
            "InvalidReference",
            "accountId",
            "no account and no environment has this id".to_owned(),
        )
    };
    if let Ok(id) = id.parse()
        && let Ok(entry) = call.operations().account(call.caller, id).await
        && entry.object.state != State::Removed
    {
        return Ok(KeyOwner::Account(id));
    }
    let id = id.parse().map_err(|_| unknown())?;
    match call.operations().present_environment(call.caller, &id).await {
        Ok(_) => Ok(KeyOwner::Environment(id)),
        Err(Refusal::NotFound) => Err(unknown()),
        Err(refusal) => Err(refusal),
    }
}
