//! `projectMember`: an account's role in an environment. Its id is both ids with a colon between them.

use std::collections::HashSet;

use http::StatusCode;
use serde_json::{Value, json};

use crate::management::api::api_request::ApiRequest;
use crate::management::api::audience::Audience;
use crate::management::api::field::{FieldSpec, SetBy, field};
use crate::management::api::input::{Input, wrong_type};
use crate::management::api::operation_outcome::OperationOutcome;
use crate::management::api::resource_type::{AuditNames, Create, Delete, Methods, ResourceType};
use crate::management::operations::Changed;
use crate::management::refusal::Refusal;
use crate::management::resource_json::{self, ACCOUNT_ID_TYPE};
use crate::model::{AccountId, EnvironmentId, InvalidId, Membership, Role, State, UnknownRole};
use crate::policy::ManagementAction;
use crate::store::{ExpectedRevision, MEMBER_FIELDS, MemberEntry};

pub(super) static TYPE: ResourceType = ResourceType {
    methods: |audience| match audience {
        Audience::Admin | Audience::User | Audience::Creator | Audience::Owner => Some(Methods::ALL),
        Audience::Member | Audience::EnvironmentKey => Some(Methods::READ),
        Audience::Readonly => None,
    },
    is_in_environments: true,
    own_fields: FIELDS,
    list_fields: MEMBER_FIELDS,
    create: Some(Create {
        handler: |request| Box::pin(create(request)),
        summary: "A new projectMember",
        may_take_rights_away: true,
        given_together: None,
    }),
    update: Some(|request, id| Box::pin(update(request, id))),
    delete: Some(Delete {
        handler: |request, id| Box::pin(delete(request, id)),
        summary: "Ends the membership",
    }),
    audit: Some(AuditNames {
        subject: "membership",
        create: "add",
        update: "role",
        new_object: Some("projectId"),
    }),
    id_pattern: "[A-Za-z0-9][A-Za-z0-9_-]{0,63}:1a[1-9][0-9]{0,17}",
    ..ResourceType::read_only(
        "projectMember",
        "projectMembers",
        |request| Box::pin(list(request)),
        |request, id| Box::pin(get(request, id)),
    )
};

const FIELDS: &[FieldSpec] = &[
    field("id", "string"),
    field("projectId", "reference[project]").set_by(SetBy::Everyone),
    field("externalId", "string").set_by(SetBy::Everyone).required(),
    field("externalIdType", "string").set_by(SetBy::Everyone),
    field("role", "enum")
        .one_of(&["owner", "member", "restricted", "readonly"])
        .set_by(SetBy::Everyone)
        .editable()
        .required_in_edits(),
    field("name", "string"),
    field("state", "string"),
];

/// The members of the environment that the path goes through, or the memberships that the caller may see.
async fn list(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    let query = TYPE.list_query(request)?;
    let environment = request.environment.as_ref();
    let page = request.operations().members(request.caller, environment, query.for_store.clone()).await?;
    let options = request.options(false, false);
    let data = page.items.iter().map(|entry| resource_json::member(entry, &options)).collect();
    Ok(TYPE.page(query, data, page.next))
}

async fn get(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let (environment, account) = parse(request, id)?;
    let entry = request.operations().member(request.caller, &environment, account).await?;
    Ok(OperationOutcome::resource(resource_json::member(&entry, &request.options(false, false))))
}

/// Adds a member, or gives a member another role.
async fn create(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    let input = request.input()?;
    let environment = if let Some(environment) = &request.environment {
        environment.clone()
    } else {
        let id = input.required("projectId")?;
        let unknown = || Refusal::invalid("InvalidReference", "projectId", "no environment has this id");
        let id: EnvironmentId = id.parse().map_err(|_| unknown())?;
        request.operations().existing_environment(request.caller, &id).await.map_err(
            |refusal| match refusal {
                Refusal::NotFound => unknown(),
                refusal => refusal,
            },
        )?;
        id
    };
    if let Some(kind) = input.text("externalIdType")? {
        require_account(kind)?;
    }
    let account = account_id(input.required("externalId")?)?;
    let membership = Membership { account, environment, role: role(input.required("role")?)? };
    let changed = request.operations().add_member(request.caller, membership).await?;
    // the new role of a member may permit less than the old one
    Ok(reply(request, StatusCode::CREATED, &changed))
}

/// Gives a member another role.
async fn update(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let (environment, account) = parse(request, id)?;
    refuse_revisions(request, &environment, account).await?;
    let role = role(request.input()?.required("role")?)?;
    let membership = Membership { account, environment, role };
    let changed = request.operations().set_role(request.caller, membership).await?;
    Ok(reply(request, StatusCode::OK, &changed))
}

async fn delete(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let (environment, account) = parse(request, id)?;
    refuse_revisions(request, &environment, account).await?;
    let changed = request.operations().remove_member(request.caller, &environment, account).await?;
    let mut document = document(request, &changed);
    document["state"] = resource_json::state_word(State::Removed, !changed.is_confirmed()).into();
    Ok(OperationOutcome::change(StatusCode::OK, document, None, &changed.receipt))
}

/// A membership has no revision that `If-Match` could name: only `*` matches. 404 comes first.
async fn refuse_revisions(
    request: &ApiRequest<'_>,
    environment: &EnvironmentId,
    account: AccountId,
) -> Result<(), Refusal> {
    request.operations().member(request.caller, environment, account).await?;
    match request.expected() {
        ExpectedRevision::Any => Ok(()),
        ExpectedRevision::OneOf(_) => Err(Refusal::PreconditionFailed {
            detail: "a membership has no revision: send If-Match with '*', or without it".to_owned(),
        }),
    }
}

fn reply(
    request: &ApiRequest<'_>,
    confirmed: StatusCode,
    changed: &Changed<MemberEntry>,
) -> OperationOutcome {
    OperationOutcome::change(confirmed, document(request, changed), None, &changed.receipt)
}

fn document(request: &ApiRequest<'_>, changed: &Changed<MemberEntry>) -> Value {
    let entry = &changed.value;
    let may_change =
        request.caller.may(&ManagementAction::ChangeMembers(entry.membership.environment.clone()));
    resource_json::member(entry, &request.options(may_change, !changed.is_confirmed()))
}

fn parse(request: &ApiRequest<'_>, id: &str) -> Result<(EnvironmentId, AccountId), Refusal> {
    let (environment, account) = id.split_once(':').ok_or(Refusal::NotFound)?;
    let environment: EnvironmentId = environment.parse().map_err(|_| Refusal::NotFound)?;
    let account = account.parse().map_err(|_| Refusal::NotFound)?;
    match &request.environment {
        Some(of_path) if *of_path != environment => Err(Refusal::NotFound),
        _ => Ok((environment, account)),
    }
}

/// The members that a request names, each once; `None` if it has no such field.
pub(in crate::management::api) fn members_in(
    input: &Input,
) -> Result<Option<Vec<(AccountId, Role)>>, Refusal> {
    let Some(members) = input.list("members")? else { return Ok(None) };
    let members = members.iter().map(member_in).collect::<Result<Vec<_>, _>>()?;
    let mut named = HashSet::new();
    if let Some((twice, _)) = members.iter().find(|(account, _)| !named.insert(*account)) {
        return Err(Refusal::invalid("NotUnique", "externalId", format!("account {twice} is named twice")));
    }
    Ok(Some(members))
}

fn member_in(member: &Value) -> Result<(AccountId, Role), Refusal> {
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

/// Refuses ids of other systems: members are accounts.
fn require_account(id_type: &str) -> Result<(), Refusal> {
    if id_type == ACCOUNT_ID_TYPE {
        return Ok(());
    }
    let detail = format!("only '{ACCOUNT_ID_TYPE}' is known: members are accounts");
    Err(Refusal::invalid("InvalidOption", "externalIdType", detail))
}

fn account_id(text: &str) -> Result<AccountId, Refusal> {
    text.parse()
        .map_err(|error: InvalidId| Refusal::invalid("InvalidReference", "externalId", error.to_string()))
}

fn role(text: &str) -> Result<Role, Refusal> {
    text.parse().map_err(|error: UnknownRole| Refusal::invalid("InvalidOption", "role", error.to_string()))
}

/// The `OpenAPI` schema of the field that [`members_in`] reads.
pub(in crate::management::api) fn members_schema(about: &str) -> Value {
    let member = json!({
        "type": "object",
        "properties": {
            "externalId": { "type": "string", "pattern": "^1a[1-9][0-9]{0,17}$" },
            "externalIdType": { "enum": [ACCOUNT_ID_TYPE, null] },
            "role": { "type": "string", "enum": ["owner", "member", "restricted", "readonly"] },
        },
        "required": ["externalId", "role"],
    });
    json!({ "type": ["array", "null"], "items": member, "description": about })
}
