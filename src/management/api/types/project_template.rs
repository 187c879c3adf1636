//! `projectTemplate`: what environments are made from in Rancher. Its command line asks for one before it creates an
//! environment; here there is one, and it never changes.

#![allow(clippy::unused_async, reason = "all types have handlers of one signature")]

use serde_json::{Value, json};

use crate::management::api::api_request::ApiRequest;
use crate::management::api::field::field;
use crate::management::api::operation_outcome::OperationOutcome;
use crate::management::api::query;
use crate::management::api::resource_type::ResourceType;
use crate::management::refusal::Refusal;
use crate::management::resource_json::TEMPLATE_ID;

const NAME: &str = "Cattle";

pub(super) static TYPE: ResourceType = ResourceType {
    own_fields: &[field("id", "string"), field("name", "string"), field("description", "string").nullable()],
    ..ResourceType::read_only(
        "projectTemplate",
        "projectTemplates",
        |request| Box::pin(list(request)),
        |request, id| Box::pin(get(request, id)),
    )
};

/// Clients look for other templates by their names: there is none.
async fn list(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    let is_other = |name: &str| !name.eq_ignore_ascii_case(NAME);
    let mut names = query::parameters(request.http.query()).filter(|(name, _)| name == "name");
    let found = if names.any(|(_, name)| is_other(&name)) { Vec::new() } else { vec![document(request)] };
    Ok(TYPE.page(TYPE.list_query(request)?, found, None))
}

async fn get(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    if id == TEMPLATE_ID { Ok(OperationOutcome::resource(document(request))) } else { Err(Refusal::NotFound) }
}

fn document(request: &ApiRequest<'_>) -> Value {
    let url = format!("{}/projecttemplates/{TEMPLATE_ID}", request.root_url());
    json!({
        "id": TEMPLATE_ID,
        "type": TYPE.name,
        "baseType": TYPE.name,
        "links": { "self": url },
        "actions": {},
        "name": NAME,
        "description": "What Rancher's command line asks for; every environment is alike here",
    })
}
