//! `account`: a person or a program that owns keys.

use http::StatusCode;
use serde_json::Value;

use crate::management::api::api_request::ApiRequest;
use crate::management::api::audience::Audience;
use crate::management::api::field::{DESCRIPTION, NAME, SetBy, field};
use crate::management::api::operation_outcome::OperationOutcome;
use crate::management::api::resource_type::{
    Action, AuditNames, Create, Delete, Link, Methods, ResourceType, not_deletable,
};
use crate::management::operations::Changed;
use crate::management::refusal::Refusal;
use crate::management::resource_json;
use crate::model::{Account, AccountId, AccountKind, InvalidId, KeyOwner, State};
use crate::policy::ManagementAction;
use crate::store::{ACCOUNT_FIELDS, Edit, NewAccount, WithRevision};

pub(super) static TYPE: ResourceType = ResourceType {
    methods: |audience| Some(if audience == Audience::Admin { Methods::ALL } else { Methods::READ }),
    own_fields: &[
        field("id", "string"),
        NAME.required(),
        field("kind", "string").one_of(&["admin", "user"]).set_by(SetBy::Admins),
        DESCRIPTION,
    ],
    has_state: true,
    list_fields: ACCOUNT_FIELDS,
    create: Some(Create {
        handler: |request| Box::pin(create(request)),
        summary: "A new account",
        may_take_rights_away: false,
        given_together: None,
    }),
    update: Some(|request, id| Box::pin(update(request, id))),
    delete: Some(Delete {
        handler: |request, id| Box::pin(delete(request, id)),
        summary: "Removes what is inactive, for good; what is active is 405",
    }),
    actions: &Action::of_states(
        "account",
        [
            |request, id| Box::pin(set_state(request, id, State::Active)),
            |request, id| Box::pin(set_state(request, id, State::Inactive)),
            |request, id| Box::pin(set_state(request, id, State::Removed)),
            |request, id| Box::pin(update(request, id)),
        ],
    ),
    links: &[Link {
        path: "apikeys",
        handler: |request, id| Box::pin(keys(request, id)),
        operation_id: "listKeysOfAccount",
        summary: "The account's keys",
        leads_to: &["apiKeyCollection"],
    }],
    audit: Some(AuditNames {
        subject: "account",
        create: "create",
        update: "edit",
        new_object: Some("name"),
    }),
    id_pattern: "1a[1-9][0-9]{0,17}",
    ..ResourceType::read_only(
        "account",
        "accounts",
        |request| Box::pin(list(request)),
        |request, id| Box::pin(get(request, id)),
    )
};

/// The accounts that the caller may see.
async fn list(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    let query = TYPE.list_query(request)?;
    let page = request.operations().accounts(request.caller, query.for_store.clone()).await?;
    let data = page.items.iter().map(|entry| document(request, entry)).collect();
    Ok(TYPE.page(query, data, page.next))
}

pub(super) async fn get(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let entry = request.operations().account(request.caller, parse(id)?).await?;
    Ok(OperationOutcome::resource_at(document(request, &entry), entry.revision))
}

async fn keys(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let id = request.operations().account(request.caller, parse(id)?).await?.object.id;
    super::api_key::list_of(request, Some(KeyOwner::Account(id))).await
}

async fn create(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    let input = request.input()?;
    input.required("name")?;
    let nameless = || Refusal::invalid("MissingRequired", "name", "an account needs a name");
    let kind = match input.text("kind")? {
        None => AccountKind::User,
        Some(word) => word.parse().map_err(|error: crate::model::UnknownAccountKind| {
            Refusal::invalid("InvalidOption", "kind", error.to_string())
        })?,
    };
    let new =
        NewAccount { name: input.name()?.ok_or_else(nameless)?, kind, description: input.description()? };
    let created = request.operations().create_account(request.caller, new).await?;
    let options = request.options(true, !created.is_confirmed());
    let document = resource_json::account(&created.value.object, &options);
    Ok(OperationOutcome::created(document, created.value.revision, &created.receipt))
}

async fn update(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let edit = Edit { expected: request.expected(), ..request.input()?.edit()? };
    let changed = request.operations().edit_account(request.caller, parse(id)?, edit).await?;
    Ok(reply(request, &changed))
}

/// Removes an inactive account for good, with its keys and memberships.
async fn delete(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    set_state(request, id, State::Removed).await.map_err(not_deletable)
}

async fn set_state(request: &ApiRequest<'_>, id: &str, state: State) -> Result<OperationOutcome, Refusal> {
    let changed = request
        .operations()
        .set_account_state(request.caller, parse(id)?, request.transition(state), request.self_lockout())
        .await?;
    Ok(reply(request, &changed))
}

fn parse(id: &str) -> Result<AccountId, Refusal> {
    id.parse().map_err(|_: InvalidId| Refusal::NotFound)
}

fn document(request: &ApiRequest<'_>, entry: &WithRevision<Account>) -> Value {
    let may_change = request.caller.may(&ManagementAction::ManageAccounts);
    let is_pending = request.confirmed_up_to.is_pending(entry.revision, entry.object.state);
    resource_json::account(&entry.object, &request.options(may_change, is_pending))
}

fn reply(request: &ApiRequest<'_>, changed: &Changed<WithRevision<Account>>) -> OperationOutcome {
    let options = request.options(true, !changed.is_confirmed());
    let document = resource_json::account(&changed.value.object, &options);
    OperationOutcome::change(StatusCode::OK, document, Some(changed.value.revision), &changed.receipt)
}
