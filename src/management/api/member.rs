//! `projectMember`: an account's role in an environment. Its id is both ids with a colon between them.

use http::StatusCode;

use super::api_request::{ApiRequest, numbered};
use super::input::Input;
use super::project::{account_id, require_account, role};
use super::types::Type;
use super::{collection, query};
use crate::management::answer::Answer;
use crate::management::refusal::Refusal;
use crate::management::resource_json;
use crate::model::{AccountId, EnvironmentId, Membership, State};
use crate::policy::Act;
use crate::store::{Expected, MemberEntry, Receipt};

/// The members of the environment that the path goes through, or the memberships that the caller may see.
pub(super) async fn list(call: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let listed = query::read(call.request, Type::ProjectMember.listed_by())?;
    let page = call.operations().members(call.caller, call.context.as_ref(), listed.query.clone()).await?;
    let data: Vec<_> =
        page.items.iter().map(|entry| resource_json::member(entry, &call.view(false, false))).collect();
    Ok(call.found(&collection::document(call, Type::ProjectMember, &listed, &data, page.next.as_ref())))
}

/// One membership.
pub(super) async fn get(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let (environment, account) = parse(call, id)?;
    let entry = call.operations().member(call.caller, &environment, account).await?;
    Ok(call.found(&resource_json::member(&entry, &call.view(false, false))))
}

/// A new member, or another role for one.
pub(super) async fn create(call: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let input = Input::read(call.request)?;
    let environment = if let Some(context) = &call.context {
        context.clone()
    } else {
        let id = input.required("projectId")?;
        let unknown = || Refusal::invalid("InvalidReference", "projectId", "no environment has this id");
        let id: EnvironmentId = id.parse().map_err(|_| unknown())?;
        call.operations().present_environment(call.caller, &id).await.map_err(|refusal| match refusal {
            Refusal::NotFound => unknown(),
            refusal => refusal,
        })?;
        id
    };
    if let Some(kind) = input.text("externalIdType")? {
        require_account(kind)?;
    }
    let account = account_id(input.required("externalId")?)?;
    let membership = Membership { account, environment, role: role(input.required("role")?)? };
    let done = call.operations().add_member(call.caller, membership).await?;
    let document = show(call, &done.value, !done.is_confirmed());
    // a member that was there may have less rights now
    Ok(answer(call, ApiRequest::status(&done.receipt, StatusCode::CREATED), document, &done.receipt))
}

/// Another role.
pub(super) async fn update(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let (environment, account) = parse(call, id)?;
    unversioned(call, &environment, account).await?;
    let role = role(Input::read(call.request)?.required("role")?)?;
    let done = call.operations().set_role(call.caller, Membership { account, environment, role }).await?;
    let document = show(call, &done.value, !done.is_confirmed());
    Ok(answer(call, ApiRequest::status(&done.receipt, StatusCode::OK), document, &done.receipt))
}

/// No longer a member.
pub(super) async fn delete(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let (environment, account) = parse(call, id)?;
    unversioned(call, &environment, account).await?;
    let done = call.operations().remove_member(call.caller, &environment, account).await?;
    let mut document = show(call, &done.value, !done.is_confirmed());
    document["state"] = resource_json::state_word(State::Removed, !done.is_confirmed()).into();
    Ok(answer(call, ApiRequest::status(&done.receipt, StatusCode::OK), document, &done.receipt))
}

/// A membership has no revision of its own: its answer carries the change's number alone.
fn answer(
    call: &ApiRequest<'_>,
    status: StatusCode,
    mut document: serde_json::Value,
    receipt: &Receipt,
) -> Answer {
    document["receipt"] = resource_json::receipt(receipt);
    numbered(call.answer(status, &document), receipt.number)
}

/// 404 comes first; then, a membership has no revision that `If-Match` could name: only `*` matches.
async fn unversioned(
    call: &ApiRequest<'_>,
    environment: &EnvironmentId,
    account: AccountId,
) -> Result<(), Refusal> {
    call.operations().member(call.caller, environment, account).await?;
    match call.expected() {
        Expected::Any => Ok(()),
        Expected::OneOf(_) => Err(Refusal::PreconditionFailed {
            detail: "a membership has no revision: send If-Match with '*', or without it".to_owned(),
        }),
    }
}

fn show(call: &ApiRequest<'_>, entry: &MemberEntry, is_pending: bool) -> serde_json::Value {
    let may_change = call.caller.may(&Act::ChangeMembers(entry.membership.environment.clone()));
    resource_json::member(entry, &call.view(may_change, is_pending))
}

fn parse(call: &ApiRequest<'_>, id: &str) -> Result<(EnvironmentId, AccountId), Refusal> {
    let (environment, account) = id.split_once(':').ok_or(Refusal::NotFound)?;
    let environment: EnvironmentId = environment.parse().map_err(|_| Refusal::NotFound)?;
    let account = account.parse().map_err(|_| Refusal::NotFound)?;
    match &call.context {
        Some(context) if *context != environment => Err(Refusal::NotFound),
        _ => Ok((environment, account)),
    }
}
