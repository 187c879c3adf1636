//! `apiVersion`: the API's root, with links to all types.

#![allow(clippy::unused_async, reason = "all types have handlers of one signature")]

use serde_json::{Map, Value, json};

use crate::management::api::api_request::ApiRequest;
use crate::management::api::field::field;
use crate::management::api::operation_outcome::OperationOutcome;
use crate::management::api::resource_type::ResourceType;
use crate::management::refusal::Refusal;

const ID: &str = "v2-beta";

pub(super) static TYPE: ResourceType = ResourceType {
    own_fields: &[field("id", "string")],
    ..ResourceType::read_only(
        "apiVersion",
        "apiVersions",
        |request| Box::pin(list(request)),
        |request, id| Box::pin(get(request, id)),
    )
};

async fn list(request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
    Ok(TYPE.page(TYPE.list_query(request)?, vec![document(request)], None))
}

async fn get(request: &ApiRequest<'_>, id: &str) -> Result<OperationOutcome, Refusal> {
    if id == ID { Ok(root(request)) } else { Err(Refusal::NotFound) }
}

/// `GET /v2-beta`
pub(in crate::management::api) fn root(request: &ApiRequest<'_>) -> OperationOutcome {
    OperationOutcome::resource(document(request))
}

fn document(request: &ApiRequest<'_>) -> Value {
    let root = request.root_url();
    let mut links = Map::new();
    for kind in super::ALL.into_iter().filter(|kind| kind.methods(request.audience).is_some()) {
        links.insert(kind.plural.to_owned(), format!("{root}/{}", kind.plural.to_ascii_lowercase()).into());
    }
    links.insert("self".to_owned(), root.into());
    json!({ "id": ID, "type": TYPE.name, "baseType": TYPE.name, "links": links, "actions": {} })
}
