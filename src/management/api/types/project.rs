//! `project`: an environment, and its members.

use http::StatusCode;
use serde_json::Value;

use super::project_member::{members_in, members_schema};
use crate::management::api::api_request::ApiRequest;
use crate::management::api::audience::Audience;
use crate::management::api::field::{DESCRIPTION, FieldSpec, NAME, SetBy, field};
use crate::management::api::operation_outcome::OperationOutcome;
use crate::management::api::resource_type::{
    Action, AuditNames, Create, Delete, Methods, ResourceType, not_deletable,
};
use crate::management::operations::Changed;
use crate::management::refusal::Refusal;
use crate::management::resource_json;
use crate::model::{Environment, EnvironmentId, InvalidId, State};
use crate::policy::ManagementAction;
use crate::store::{ENVIRONMENT_FIELDS, Edit, WithRevision};

pub(super) static TYPE: ResourceType = ResourceType {
    methods: |audience| match audience {
        Audience::Admin | Audience::Creator => Some(Methods::ALL),
        // users change the environments that they own
        Audience::User | Audience::Owner => Some(Methods::CHANGE),
        Audience::Member | Audience::Readonly | Audience::EnvironmentKey => Some(Methods::READ),
    },
    own_fields: FIELDS,
    has_state: true,
    list_fields: ENVIRONMENT_FIELDS,
    shows_list_fields: false,
    create: Some(Create {
        handler: |request| Box::pin(create(request)),
        summary: "A new project",
        may_take_rights_away: false,
        given_together: None,
    }),
    update: Some(|request, id| Box::pin(update(request, id))),
    delete: Some(Delete {
        handler: |request, id| Box::pin(delete(request, id)),
        summary: "Removes the environment for good, with its keys and memberships; an active one too",
    }),
    actions: &[
        Action::new(
            "activate",
            |request, id| Box::pin(set_state(request, id, State::Active)),
            ("activate", "environment"),
        ),
        Action::new(
            "deactivate",
            |request, id| Box::pin(set_state(request, id, State::Inactive)),
            ("deactivate", "environment"),
        ),
        Action::new(
            "remove",
            |request, id| Box::pin(set_state(request, id, State::Removed)),
            ("remove", "environment"),
        ),
        Action {
            properties: &[("members", || {
                members_schema("For setmembers: all members that the environment is to have")
            })],
            ..Action::new(
                "setmembers",
                |request, id| Box::pin(set_members(request, id)),
                ("edit", "membership"),
            )
        },
        Action::new("update", |request, id| Box::pin(update(request, id)), ("edit", "environment")),
    ],
    audit: Some(AuditNames {
        subject: "environment",
        create: "create",
        update: "edit",
        new_object: Some("id"),
    }),
    id_pattern: ID_PATTERN,
    ..ResourceType::read_only(
        "project",
        "projects",
        |request| Box::pin(list(request)),
        |request, id| Box::pin(get(request, id)),
    )
};

const FIELDS: &[FieldSpec] = &[
    // only an environment's id can be chosen
    field("id", "string").at_most(64).set_by(SetBy::Admins),
    NAME.nullable(),
    field("kind", "string"),
    DESCRIPTION,
    field("healthState", "string"),
    field("members", "array[projectMember]").nullable().set_by(SetBy::Everyone),
    field("orchestration", "string"),
    field("projectTemplateId", "reference[projectTemplate]").nullable().set_by(SetBy::Everyone),
];

/// An environment's id, as in `model::EnvironmentId`.
pub(in crate::management::api) const ID_PATTERN: &str = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}";

/// The filters that count. Rancher's clients send more, and expect that they are ignored.
const FILTERS: [&str; 3] = ["id", "name", "uuid"];

/// The environments that the caller may see.
async fn list(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    let mut query = TYPE.list_query(request)?;
    query.for_store.filters.retain(|filter| FILTERS.contains(&filter.field.name));
    let page = request.operations().environments(request.caller, query.for_store.clone()).await?;
    let data = page.items.iter().map(|entry| document(request, entry)).collect();
    Ok(TYPE.page(query, data, page.next))
}

pub(super) async fn get(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let entry = request.operations().environment(request.caller, &parse(id)?).await?;
    Ok(OperationOutcome::resource_at(document(request, &entry), entry.revision))
}

/// Creates an environment with the members that the request names, or else with the caller as its owner.
async fn create(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    let input = request.input()?;
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
    // an empty list counts as none, as in Rancher
    let members = members_in(&input)?.unwrap_or_default();
    let (name, description) = (input.name()?, input.description()?);
    let created =
        request.operations().create_environment(request.caller, id, name, description, members).await?;
    let options = request.root_options(true, !created.is_confirmed());
    let document = resource_json::environment(&created.value.object, &options);
    Ok(OperationOutcome::created(document, created.value.revision, &created.receipt))
}

async fn update(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let edit = Edit { expected: request.expected(), ..request.input()?.edit()? };
    let changed = request.operations().edit_environment(request.caller, parse(id)?, edit).await?;
    Ok(reply(request, &changed))
}

/// Removes an environment for good, an active one too, with its keys and memberships.
async fn delete(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let changed =
        request.operations().remove_environment(request.caller, parse(id)?, request.expected()).await;
    Ok(reply(request, &changed.map_err(not_deletable)?))
}

/// Activates, deactivates, or removes an inactive environment.
async fn set_state(request: &ApiRequest<'_>, id: &str, state: State) -> Result<OperationOutcome, Refusal> {
    let transition = request.transition(state);
    let changed = request.operations().set_environment_state(request.caller, parse(id)?, transition).await?;
    Ok(reply(request, &changed))
}

/// Replaces the members.
async fn set_members(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let id = parse(id)?;
    let input = request.input()?;
    let needed = || Refusal::invalid("MissingRequired", "members", "'members' is needed: a list");
    let members = members_in(&input)?.ok_or_else(needed)?;
    let changed = request.operations().set_members(request.caller, &id, members, request.expected()).await?;
    let entry = request.operations().environment(request.caller, &id).await?;
    let options = request.root_options(true, !changed.is_confirmed());
    let document = resource_json::environment(&entry.object, &options);
    Ok(OperationOutcome::change(StatusCode::OK, document, Some(entry.revision), &changed.receipt))
}

fn parse(id: &str) -> Result<EnvironmentId, Refusal> {
    id.parse().map_err(|_: InvalidId| Refusal::NotFound)
}

fn document(request: &ApiRequest<'_>, entry: &WithRevision<Environment>) -> Value {
    let may_change = request.caller.may(&ManagementAction::ChangeEnvironment(entry.object.id.clone()));
    let is_pending = request.confirmed_up_to.is_pending(entry.revision, entry.object.state);
    resource_json::environment(&entry.object, &request.root_options(may_change, is_pending))
}

fn reply(request: &ApiRequest<'_>, changed: &Changed<WithRevision<Environment>>) -> OperationOutcome {
    let options = request.root_options(true, !changed.is_confirmed());
    let document = resource_json::environment(&changed.value.object, &options);
    OperationOutcome::change(StatusCode::OK, document, Some(changed.value.revision), &changed.receipt)
}
