//! `auditLog`: who changed what, or was refused. For admins.

use crate::management::api::api_request::ApiRequest;
use crate::management::api::audience::Audience;
use crate::management::api::field::{FieldSpec, field};
use crate::management::api::operation_outcome::OperationOutcome;
use crate::management::api::resource_type::{Methods, ResourceType};
use crate::management::refusal::Refusal;
use crate::management::resource_json;
use crate::store::AUDIT_FIELDS;

pub(super) static TYPE: ResourceType = ResourceType {
    methods: |audience| (audience == Audience::Admin).then_some(Methods::READ),
    own_fields: FIELDS,
    list_fields: AUDIT_FIELDS,
    id_pattern: "1al[1-9][0-9]{0,17}",
    ..ResourceType::read_only(
        "auditLog",
        "auditLogs",
        |request| Box::pin(list(request)),
        |request, id| Box::pin(get(request, id)),
    )
};

const FIELDS: &[FieldSpec] = &[
    field("id", "string"),
    field("created", "date"),
    field("via", "enum").one_of(&["command", "api", "page"]),
    field("accountId", "string"),
    field("accessKey", "string").nullable(),
    field("clientIp", "string").nullable(),
    field("requestId", "string").nullable(),
    field("action", "string"),
    field("resourceType", "enum").one_of(&["account", "apiKey", "project", "projectMember"]),
    field("resourceId", "string"),
    field("outcome", "enum").one_of(&["done", "refused"]),
    field("reason", "string").nullable(),
    field("changeNumber", "int").nullable(),
    field("before", "map[json]").nullable(),
    field("after", "map[json]").nullable(),
];

async fn list(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    let query = TYPE.list_query(request)?;
    let page = request.operations().audit(request.caller, query.for_store.clone()).await?;
    let options = request.options(false, false);
    let data = page.items.iter().map(|entry| resource_json::audit(entry, &options)).collect();
    Ok(TYPE.page(query, data, page.next))
}

async fn get(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    let digits = id.strip_prefix("1al").ok_or(Refusal::NotFound)?;
    // an id has one spelling
    if digits.starts_with(['0', '+', '-']) {
        return Err(Refusal::NotFound);
    }
    let number = digits.parse().map_err(|_| Refusal::NotFound)?;
    let entry = request.operations().audit_entry(request.caller, number).await?;
    Ok(OperationOutcome::resource(resource_json::audit(&entry, &request.options(false, false))))
}
