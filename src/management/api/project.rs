//! `project`: environments, and who belongs to them.

use std::collections::HashSet;

use serde_json::Value;

use super::api_request::ApiRequest;
use super::input::{Input, wrong_type};
use super::types::Type;
use super::{collection, query};
use crate::management::answer::Answer;
use crate::management::operations::Changed;
use crate::management::refusal::Refusal;
use crate::management::resource_json;
use crate::model::{AccountId, Environment, EnvironmentId, InvalidId, Role, State};
use crate::policy::Act;
use crate::store::{Edit, Entry};

/// What projects are filtered by; Rancher's clients send more, and expect it to be ignored.
const FILTERS: [&str; 3] = ["id", "name", "uuid"];

/// The environments that the caller may see.
pub(super) async fn list(call: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let mut listed = query::read(call.request, Type::Project.listed_by())?;
    listed.query.filters.retain(|filter| FILTERS.contains(&filter.field.name));
    let page = call.operations().environments(call.caller, listed.query.clone()).await?;
    let data: Vec<_> = page.items.iter().map(|entry| show(call, entry)).collect();
    Ok(call.found(&collection::document(call, Type::Project, &listed, &data, page.next.as_ref())))
}

/// One environment.
pub(super) async fn get(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = call.operations().environment(call.caller, &parse(id)?).await?;
    Ok(call.found_at(&show(call, &entry), entry.revision))
}

/// A new environment, with the members that the request names; else the caller becomes its owner.
pub(super) async fn create(call: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let input = Input::read(call.request)?;
    let id = match input.text("id")? {
        None => None,
        Some(text) if text.len() > EnvironmentId::MAX_BYTES => {
            let most = EnvironmentId::MAX_BYTES;
            return Err(Refusal::too_long("id", format!("an environment id has {most} characters at most")));
        }
        Some(text) => Some(
            text.parse()
                .map_err(|error: InvalidId| Refusal::invalid("InvalidCharacters", "id", error.to_string()))?,
        ),
    };
    if let Some(template) = input.text("projectTemplateId")?
        && template != resource_json::TEMPLATE_ID
    {
        let detail = format!("there is one template, '{}'", resource_json::TEMPLATE_ID);
        return Err(Refusal::invalid("InvalidReference", "projectTemplateId", detail));
    }
    // none at all are as good as none named, as in Rancher
    let members = members_in(&input)?.unwrap_or_default();
    let (name, description) = (input.name()?, input.description()?);
    let done = call.operations().create_environment(call.caller, id, name, description, members).await?;
    let document = resource_json::environment(&done.value.object, &call.view(true, !done.is_confirmed()));
    Ok(call.once(document, done.value.revision, &done.receipt))
}

/// Another name or description.
pub(super) async fn update(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let edit = Edit { expected: call.expected(), ..Input::read(call.request)?.edit()? };
    let done = call.operations().edit_environment(call.caller, parse(id)?, edit).await?;
    Ok(answer(call, &done))
}

/// An environment goes for good, an active one too, with its keys and memberships.
pub(super) async fn delete(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let done = call.operations().remove_environment(call.caller, parse(id)?, call.expected()).await;
    Ok(answer(call, &done.map_err(ApiRequest::not_deletable)?))
}

/// Activates, deactivates, or removes what is inactive.
pub(super) async fn set_state(call: &ApiRequest<'_>, id: &str, state: State) -> Result<Answer, Refusal> {
    let done =
        call.operations().set_environment_state(call.caller, parse(id)?, call.transition(state)).await?;
    Ok(answer(call, &done))
}

/// The action `setmembers`: these are the members, and no others.
pub(super) async fn set_members(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let id = parse(id)?;
    let input = Input::read(call.request)?;
    let needed = || Refusal::invalid("MissingRequired", "members", "'members' is needed: a list");
    let members = members_in(&input)?.ok_or_else(needed)?;
    let done = call.operations().set_members(call.caller, &id, members, call.expected()).await?;
    let entry = call.operations().environment(call.caller, &id).await?;
    let document = resource_json::environment(&entry.object, &call.view(true, !done.is_confirmed()));
    Ok(call.done(document, entry.revision, &done.receipt))
}

/// The members that a request names, if it names any, each once.
pub(super) fn members_in(input: &Input) -> Result<Option<Vec<(AccountId, Role)>>, Refusal> {
    let Some(members) = input.list("members")? else { return Ok(None) };
    let members = members.iter().map(read_member).collect::<Result<Vec<_>, _>>()?;
    let mut named = HashSet::new();
    if let Some((twice, _)) = members.iter().find(|(account, _)| !named.insert(*account)) {
        return Err(Refusal::invalid("NotUnique", "externalId", format!("account {twice} is named twice")));
    }
    Ok(Some(members))
}

fn read_member(member: &Value) -> Result<(AccountId, Role), Refusal> {
    let text = |field: &'static str| match member.get(field) {
        Some(Value::String(text)) => Ok(text.as_str()),
        None | Some(Value::Null) => {
            Err(Refusal::invalid("MissingRequired", field, format!("every member needs '{field}'")))
        }
        Some(_) => Err(wrong_type(field)),
    };
    match member.get("externalIdType") {
        Some(Value::String(kind)) => require_account(kind)?,
        None | Some(Value::Null) => {}
        Some(_) => return Err(wrong_type("externalIdType")),
    }
    Ok((account_id(text("externalId")?)?, role(text("role")?)?))
}

/// Members are accounts, and nobody whom only another system knows.
pub(super) fn require_account(id_type: &str) -> Result<(), Refusal> {
    if id_type == resource_json::ACCOUNT_ID_TYPE {
        return Ok(());
    }
    let detail = format!("only '{}' is known: members are accounts", resource_json::ACCOUNT_ID_TYPE);
    Err(Refusal::invalid("InvalidOption", "externalIdType", detail))
}

/// An account as a member is named.
pub(super) fn account_id(text: &str) -> Result<AccountId, Refusal> {
    text.parse()
        .map_err(|error: InvalidId| Refusal::invalid("InvalidReference", "externalId", error.to_string()))
}

/// A role.
pub(super) fn role(text: &str) -> Result<Role, Refusal> {
    text.parse().map_err(|error: crate::model::UnknownRole| {
        Refusal::invalid("InvalidOption", "role", error.to_string())
    })
}

fn parse(id: &str) -> Result<EnvironmentId, Refusal> {
    id.parse().map_err(|_: InvalidId| Refusal::NotFound)
}

fn show(call: &ApiRequest<'_>, entry: &Entry<Environment>) -> Value {
    let may_change = call.caller.may(&Act::ChangeEnvironment(entry.object.id.clone()));
    // a project's links lead through it, wherever it is seen from
    let is_pending = call.confirmed_up_to.is_pending(entry.revision, entry.object.state);
    resource_json::environment(&entry.object, &call.top_view(may_change, is_pending))
}

fn answer(call: &ApiRequest<'_>, done: &Changed<Entry<Environment>>) -> Answer {
    let document = resource_json::environment(&done.value.object, &call.top_view(true, !done.is_confirmed()));
    call.done(document, done.value.revision, &done.receipt)
}
