//! `account`.

use serde_json::Value;

use super::api_request::ApiRequest;
use super::input::Input;
use super::types::Type;
use super::{collection, query};
use crate::management::answer::Answer;
use crate::management::operations::Changed;
use crate::management::refusal::Refusal;
use crate::management::resource_json;
use crate::model::{Account, AccountId, AccountKind, InvalidId, KeyOwner, State};
use crate::policy::Act;
use crate::store::{Edit, Entry, NewAccount};

/// The accounts that the caller may see.
pub(super) async fn list(call: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let listed = query::read(call.request, Type::Account.listed_by())?;
    let page = call.operations().accounts(call.caller, listed.query.clone()).await?;
    let data: Vec<_> = page.items.iter().map(|entry| show(call, entry)).collect();
    Ok(call.found(&collection::document(call, Type::Account, &listed, &data, page.next.as_ref())))
}

/// One account.
pub(super) async fn get(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = call.operations().account(call.caller, parse(id)?).await?;
    Ok(call.found_at(&show(call, &entry), entry.revision))
}

/// What the `apikeys` link leads to.
pub(super) async fn keys(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let id = call.operations().account(call.caller, parse(id)?).await?.object.id;
    super::key::list(call, Some(KeyOwner::Account(id))).await
}

/// A new account.
pub(super) async fn create(call: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let input = Input::read(call.request)?;
    input.required("name")?;
    let nameless = || Refusal::invalid("MissingRequired", "name", "an account needs a name");
    let kind = match input.text("kind")? {
        None => AccountKind::User,
        Some(word) => word.parse().map_err(|error: crate::model::UnknownKind| {
            Refusal::invalid("InvalidOption", "kind", error.to_string())
        })?,
    };
    let new =
        NewAccount { name: input.name()?.ok_or_else(nameless)?, kind, description: input.description()? };
    let done = call.operations().create_account(call.caller, new).await?;
    let document = resource_json::account(&done.value.object, &call.view(true, !done.is_confirmed()));
    Ok(call.once(document, done.value.revision, &done.receipt))
}

/// Another name or description.
pub(super) async fn update(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let edit = Edit { expected: call.expected(), ..Input::read(call.request)?.edit()? };
    let done = call.operations().edit_account(call.caller, parse(id)?, edit).await?;
    Ok(answer(call, &done))
}

/// An inactive account goes for good, with its keys and memberships.
pub(super) async fn delete(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    set_state(call, id, State::Removed).await.map_err(ApiRequest::not_deletable)
}

/// Activates, deactivates or removes.
pub(super) async fn set_state(call: &ApiRequest<'_>, id: &str, state: State) -> Result<Answer, Refusal> {
    let done = call
        .operations()
        .set_account_state(call.caller, parse(id)?, call.transition(state), call.confirmed())
        .await?;
    Ok(answer(call, &done))
}

fn parse(id: &str) -> Result<AccountId, Refusal> {
    id.parse().map_err(|_: InvalidId| Refusal::NotFound)
}

fn show(call: &ApiRequest<'_>, entry: &Entry<Account>) -> Value {
    resource_json::account(
        &entry.object,
        &call.view(
            call.caller.may(&Act::ManageAccounts),
            call.confirmed_up_to.is_pending(entry.revision, entry.object.state),
        ),
    )
}

fn answer(call: &ApiRequest<'_>, done: &Changed<Entry<Account>>) -> Answer {
    let document = resource_json::account(&done.value.object, &call.view(true, !done.is_confirmed()));
    call.done(document, done.value.revision, &done.receipt)
}
